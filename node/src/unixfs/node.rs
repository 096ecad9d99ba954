//! The UnixFS message inside a dag-pb node.

use bytes::Bytes;
use cid::Cid;

use super::{Entry, Profile};
use crate::block::{Block, BlockError, DAG_PB, RAW};
use crate::dag::{MAX_LINKS, Malformed, PbNode};
use crate::protobuf::{Value, next_field, put_bytes, put_fixed32, put_number, varint};

/// What a UnixFS node stands for. The numbers are those of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bytes of a file in a node of their own; no longer written.
    Raw = 0,
    /// A directory whose links are all here.
    Directory = 1,
    /// A file, or a part of one.
    File = 2,
    /// Metadata of a file; no longer written.
    Metadata = 3,
    /// A symbolic link.
    Symlink = 4,
    /// A directory, or a part of one, whose links are spread by the hash of their names.
    HamtShard = 5,
}

/// Modification time of a node; read, never written by the profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mtime {
    /// Seconds since 1970.
    pub secs: i64,
    /// Nanoseconds within the second.
    pub nanos: u32,
}

/// The UnixFS message, field by field. Absent fields are not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// What the node stands for.
    pub kind: Kind,
    /// Content of a leaf, target of a symlink, bitfield of a HAMT node.
    pub data: Option<Bytes>,
    /// Bytes of the file below this node, its own included.
    pub filesize: Option<u64>,
    /// Bytes of the file below each link.
    pub blocksizes: Vec<u64>,
    /// Multihash code of the function that spreads the names of a HAMT.
    pub hash_type: Option<u64>,
    /// Buckets of a HAMT node.
    pub fanout: Option<u64>,
    /// Unix permissions.
    pub mode: Option<u32>,
    /// Modification time.
    pub mtime: Option<Mtime>,
}

/// Why a block is not the UnixFS node that it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The bytes are not those of a UnixFS node.
    #[error("{cid} is malformed: {source}")]
    Malformed {
        /// The block.
        cid: Cid,
        /// What is wrong.
        source: Malformed,
    },
    /// The codec is neither raw nor dag-pb, or the dag-pb node has no UnixFS message.
    #[error("{cid} is not UnixFS")]
    NotUnixFs {
        /// The block.
        cid: Cid,
    },
    /// The block is not the one that was asked for.
    #[error("{wanted} was needed, not {got}")]
    WrongBlock {
        /// The block that was needed.
        wanted: Cid,
        /// The block that was given.
        got: Cid,
    },
}

/// What a listing says of a block, from that block alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stat {
    /// A file of that many bytes, as claimed by its root.
    File(u64),
    /// A directory of either form.
    Directory,
    /// A symbolic link to the target, whose bytes are not checked in any way.
    Symlink(Bytes),
}

/// What a block is to a person who lists a directory.
///
/// # Errors
/// Not UnixFS, or malformed.
pub fn stat(block: &Block) -> Result<Stat, NodeError> {
    if block.cid().codec() == RAW {
        return Ok(Stat::File(block.data().len() as u64));
    }
    let (_, data) = decode(block)?;
    Ok(match data.kind {
        Kind::Directory | Kind::HamtShard => Stat::Directory,
        Kind::Symlink => Stat::Symlink(data.data.unwrap_or_default()),
        Kind::Raw | Kind::File | Kind::Metadata => Stat::File(data.content_len()),
    })
}

/// Decodes a dag-pb block into its links and its UnixFS message.
///
/// # Errors
/// Not dag-pb, no UnixFS message, or malformed.
pub fn decode(block: &Block) -> Result<(PbNode, Data), NodeError> {
    let cid = *block.cid();
    if cid.codec() != DAG_PB {
        return Err(NodeError::NotUnixFs { cid });
    }
    let node = PbNode::decode(block.data()).map_err(|source| NodeError::Malformed { cid, source })?;
    let data = node.data.as_ref().ok_or(NodeError::NotUnixFs { cid })?;
    let data = Data::decode(data).map_err(|source| NodeError::Malformed { cid, source })?;
    Ok((node, data))
}

/// A symbolic link to `target`, stored as it is.
///
/// # Errors
/// [`BlockError::TooLarge`] for a target of about 2 MiB.
pub fn symlink(profile: &Profile, target: &str) -> Result<(Entry, Block), BlockError> {
    let data = Data {
        data: Some(Bytes::copy_from_slice(target.as_bytes())),
        ..Data::new(Kind::Symlink)
    };
    let block = profile.node(
        PbNode {
            links: Vec::new(),
            data: Some(data.encode().into()),
        }
        .encode(),
    )?;
    let entry = Entry {
        cid: *block.cid(),
        tsize: block.data().len() as u64,
        size: target.len() as u64,
    };
    Ok((entry, block))
}

impl Data {
    /// A message with nothing but a type.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            data: None,
            filesize: None,
            blocksizes: Vec::new(),
            hash_type: None,
            fanout: None,
            mode: None,
            mtime: None,
        }
    }

    /// Reads a message. As protobuf asks, unknown fields are skipped and the last of a repeated field counts.
    ///
    /// # Errors
    /// Broken protobuf, a missing or unknown type, more than [`MAX_LINKS`] block sizes.
    pub fn decode(bytes: &Bytes) -> Result<Self, Malformed> {
        let mut kind = None;
        let mut data = Self::new(Kind::Raw);
        let mut rest = &bytes[..];
        while let Some(field) = next_field(&mut rest)? {
            match field {
                (1, Value::Number(number)) => kind = Some(Kind::from_number(number)?),
                (2, Value::Bytes(own)) => data.data = Some(bytes.slice_ref(own)),
                (3, Value::Number(size)) => data.filesize = Some(size),
                (4, Value::Number(size)) => data.push_size(size)?,
                (4, Value::Bytes(mut packed)) => {
                    while !packed.is_empty() {
                        data.push_size(varint(&mut packed)?)?;
                    }
                }
                (5, Value::Number(code)) => data.hash_type = Some(code),
                (6, Value::Number(fanout)) => data.fanout = Some(fanout),
                (7, Value::Number(mode)) => data.mode = Some(mode as u32),
                (8, Value::Bytes(time)) => data.mtime = Some(Mtime::decode(time)?),
                (1..=8, _) => return Err(Malformed::WrongWireType),
                _ => {}
            }
        }
        data.kind = kind.ok_or(Malformed::BadUnixFsType)?;
        Ok(data)
    }

    /// The canonical bytes: fields in order of their numbers, block sizes one by one.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 + self.data.as_ref().map_or(0, Bytes::len) + 5 * self.blocksizes.len());
        put_number(&mut out, 1, self.kind as u64);
        if let Some(data) = &self.data {
            put_bytes(&mut out, 2, data);
        }
        let mut number = |field, value: Option<u64>| {
            if let Some(value) = value {
                put_number(&mut out, field, value);
            }
        };
        number(3, self.filesize);
        self.blocksizes.iter().for_each(|size| number(4, Some(*size)));
        number(5, self.hash_type);
        number(6, self.fanout);
        number(7, self.mode.map(u64::from));
        if let Some(mtime) = self.mtime {
            let mut inner = Vec::new();
            put_number(&mut inner, 1, mtime.secs as u64);
            if mtime.nanos != 0 {
                put_fixed32(&mut inner, 2, mtime.nanos);
            }
            put_bytes(&mut out, 8, &inner);
        }
        out
    }

    /// Bytes of the file below this node: what it claims, else the length of its own bytes.
    pub fn content_len(&self) -> u64 {
        self.filesize
            .unwrap_or_else(|| self.data.as_ref().map_or(0, |data| data.len() as u64))
    }

    fn push_size(&mut self, size: u64) -> Result<(), Malformed> {
        if self.blocksizes.len() == MAX_LINKS {
            return Err(Malformed::TooManyLinks);
        }
        self.blocksizes.push(size);
        Ok(())
    }
}

impl Mtime {
    fn decode(mut rest: &[u8]) -> Result<Self, Malformed> {
        let mut time = Self { secs: 0, nanos: 0 };
        while let Some(field) = next_field(&mut rest)? {
            match field {
                (1, Value::Number(secs)) => time.secs = secs as i64,
                (2, Value::Fixed32(nanos)) => time.nanos = nanos,
                (1 | 2, _) => return Err(Malformed::WrongWireType),
                _ => {}
            }
        }
        Ok(time)
    }
}

impl Kind {
    fn from_number(number: u64) -> Result<Self, Malformed> {
        Ok(match number {
            0 => Self::Raw,
            1 => Self::Directory,
            2 => Self::File,
            3 => Self::Metadata,
            4 => Self::Symlink,
            5 => Self::HamtShard,
            _ => return Err(Malformed::BadUnixFsType),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::unixfs::{UNIXFS_V0_2015, UNIXFS_V1_2025};

    #[test]
    fn a_symlink_has_a_type_and_a_target_and_no_size() {
        let (entry, block) = symlink(&UNIXFS_V1_2025, "../a").unwrap();
        assert_eq!(block.data().as_ref(), b"\x0a\x08\x08\x04\x12\x04../a");
        assert_eq!((entry.tsize, entry.size), (10, 4));
        assert_eq!(stat(&block).unwrap(), Stat::Symlink("../a".into()));
        assert_eq!(
            symlink(&UNIXFS_V0_2015, "../a").unwrap().0.cid.version(),
            cid::Version::V0
        );
    }

    #[test]
    fn sizes_are_read_packed_and_unpacked() {
        let unpacked = Data::decode(&Bytes::from_static(&[8, 2, 0x18, 9, 0x20, 4, 0x20, 5])).unwrap();
        let packed = Data::decode(&Bytes::from_static(&[8, 2, 0x18, 9, 0x22, 2, 4, 5])).unwrap();
        assert_eq!(unpacked.blocksizes, [4, 5]);
        assert_eq!(unpacked, packed);
    }

    #[test]
    fn a_type_is_required_and_must_exist() {
        assert_eq!(Data::decode(&Bytes::new()), Err(Malformed::BadUnixFsType));
        assert_eq!(
            Data::decode(&Bytes::from_static(&[8, 6])),
            Err(Malformed::BadUnixFsType)
        );
        assert_eq!(
            Data::decode(&Bytes::from_static(&[8, 1, 0x48, 1])).unwrap().kind,
            Kind::Directory
        );
    }

    #[test]
    fn one_size_over_the_limit_is_refused() {
        let sizes = |count| {
            Data {
                blocksizes: vec![1; count],
                ..Data::new(Kind::File)
            }
            .encode()
        };
        assert!(Data::decode(&sizes(MAX_LINKS).into()).is_ok());
        assert_eq!(Data::decode(&sizes(MAX_LINKS + 1).into()), Err(Malformed::TooManyLinks));
    }

    proptest! {
        #[test]
        fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Data::decode(&bytes.clone().into());
            let node = PbNode { links: Vec::new(), data: Some(bytes.into()) }.encode();
            let _ = stat(&Block::new(DAG_PB, node).unwrap());
        }

        #[test]
        fn messages_round_trip(
            kind in 0..6u64, data in prop::option::of(any::<Vec<u8>>()), filesize in any::<Option<u64>>(),
            blocksizes in any::<Vec<u64>>(), fanout in any::<Option<u64>>(), mode in any::<Option<u32>>(),
            mtime in prop::option::of((any::<i64>(), any::<u32>())),
        ) {
            let message = Data {
                kind: Kind::from_number(kind).unwrap(), data: data.map(Bytes::from), filesize, blocksizes,
                hash_type: fanout, fanout, mode, mtime: mtime.map(|(secs, nanos)| Mtime { secs, nanos }),
            };
            prop_assert_eq!(Data::decode(&message.encode().into()).unwrap(), message);
        }
    }
}
