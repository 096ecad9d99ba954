//! One node of a sharded directory: a HAMT over the hash of the names.
//!
//! The hash is the first half of MurmurHash3 x64-128, and its bits are used from the most significant end. A node
//! links to an entry under the bucket's number plus the entry's name, and to a node one level deeper under the number
//! alone; the number has as many hex digits as the greatest one (two for 256 buckets, one for 8 or 16). The bitfield is written as a big number is: most significant byte first, without
//! leading zero bytes. The spec's prose says otherwise in two places; the bytes that Kubo writes decide.

use std::collections::BTreeMap;
use std::io::Cursor;

use bytes::Bytes;
use cid::Cid;

use super::link::{DirectoryError, Link};
use super::node::{Data, Kind, NodeError};
use super::{Fanout, Profile};
use crate::block::{Block, BlockError};
use crate::dag::{Malformed, PbLink, PbNode};

/// Multihash code of MurmurHash3 x64-64, the one function that names are spread by.
const MURMUR3_X64_64: u64 = 0x22;
/// Bits of the hash of a name.
const HASH_BITS: u32 = 64;

/// What one bucket holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// The only entry whose name falls into the bucket.
    Entry(Link),
    /// A node for the names that fall into the bucket.
    Node {
        /// The block of the node.
        cid: Cid,
        /// Size of the subtree.
        tsize: u64,
    },
}

/// A decoded node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shard {
    /// Bits of the hash that choose a bucket here.
    pub(super) bits: u32,
    /// The buckets in use.
    pub(super) slots: BTreeMap<u32, Slot>,
}

/// The hash that spreads names.
pub(super) fn hash(name: &[u8]) -> u64 {
    // Reading from memory does not fail; were it to, every name would share a bucket, which is still a directory.
    murmur3::murmur3_x64_128(&mut Cursor::new(name), 0).unwrap_or_default() as u64
}

/// The bucket of a name at a level, or nothing when the bits are used up.
pub(super) fn bucket(hash: u64, level: u32, bits: u32) -> Option<u32> {
    let used = level.checked_mul(bits)?;
    let end = used.checked_add(bits).filter(|end| bits > 0 && *end <= HASH_BITS)?;
    Some(((hash >> (HASH_BITS - end)) & ((1 << bits) - 1)) as u32)
}

impl Shard {
    /// Reads a node, of the directory that has the root or of a part of it.
    pub(super) fn decode(block: &Block, node: PbNode, data: &Data) -> Result<Self, NodeError> {
        Self::parse(node, data).map_err(|source| NodeError::Malformed {
            cid: *block.cid(),
            source,
        })
    }

    fn parse(node: PbNode, data: &Data) -> Result<Self, Malformed> {
        let fanout = Fanout::new(data.fanout.unwrap_or(0))
            .ok_or(Malformed::BadShard("its fanout is not a power of two from 8 to 1024"))?;
        if data.hash_type != Some(MURMUR3_X64_64) {
            return Err(Malformed::BadShard("its hash function is not murmur3-x64-64"));
        }
        let field = data.data.as_deref().unwrap_or_default();
        if field.len() as u64 > fanout.buckets() / 8 {
            return Err(Malformed::BadShard("its bitfield is longer than its fanout"));
        }
        let in_use: u32 = field.iter().map(|byte| byte.count_ones()).sum();
        if in_use as usize != node.links.len() {
            return Err(Malformed::BadShard("its bitfield does not count its links"));
        }
        let width = fanout.digits();
        let mut slots = BTreeMap::new();
        for link in node.links {
            let bucket = parse_prefix(&link.name, width)
                .filter(|bucket| is_set(field, *bucket))
                .ok_or(Malformed::BadShard("a link is not in a bucket in use"))?;
            let slot = if link.name.len() == width {
                Slot::Node {
                    cid: link.cid,
                    tsize: link.tsize,
                }
            } else {
                Slot::Entry(Link::from_pb(link.name.slice(width..), link.cid, link.tsize)?)
            };
            if slots.insert(bucket, slot).is_some() {
                return Err(Malformed::BadShard("two links share a bucket"));
            }
        }
        Ok(Self {
            bits: fanout.bits(),
            slots,
        })
    }
}

/// The block of a node with these buckets, each below the profile's fanout, and the size of the subtree.
pub(super) fn encode(profile: &Profile, slots: &BTreeMap<u32, Slot>) -> Result<(Block, u64), BlockError> {
    let mut field = vec![0u8; profile.fanout.buckets() as usize / 8];
    let width = profile.fanout.digits();
    let mut links = Vec::with_capacity(slots.len());
    for (bucket, slot) in slots {
        let byte = field.len() - 1 - (*bucket as usize / 8) % field.len();
        field[byte] |= 1 << (bucket % 8);
        let (name, cid, tsize) = match slot {
            Slot::Entry(link) => (format!("{bucket:0width$X}{}", link.name), link.cid, link.tsize),
            Slot::Node { cid, tsize } => (format!("{bucket:0width$X}"), *cid, *tsize),
        };
        links.push(PbLink {
            cid,
            name: name.into(),
            tsize,
        });
    }
    let zeros = field.iter().take_while(|byte| **byte == 0).count();
    let data = Data {
        data: Some(Bytes::copy_from_slice(&field[zeros..])),
        hash_type: Some(MURMUR3_X64_64),
        fanout: Some(profile.fanout.buckets()),
        ..Data::new(Kind::HamtShard)
    };
    let node = PbNode {
        links,
        data: Some(data.encode().into()),
    };
    let block = profile.node(node.encode())?;
    let tsize = node.links_tsize().saturating_add(block.data().len() as u64);
    Ok((block, tsize))
}

/// Spreads entries whose hashes agree up to `level` over the buckets of a node there. Nodes below are given to
/// `emit`, the node itself is left to the caller.
pub(super) fn spread(
    profile: &Profile,
    level: u32,
    links: Vec<(u64, Link)>,
    emit: &mut dyn FnMut(Block),
) -> Result<BTreeMap<u32, Slot>, DirectoryError> {
    let mut buckets: BTreeMap<u32, Vec<(u64, Link)>> = BTreeMap::new();
    for (hash, link) in links {
        match bucket(hash, level, profile.fanout.bits()) {
            Some(bucket) => buckets.entry(bucket).or_default().push((hash, link)),
            None => return Err(DirectoryError::HashCollision { name: link.name }),
        }
    }
    let mut slots = BTreeMap::new();
    for (bucket, links) in buckets {
        if let Some(slot) = plant(profile, level + 1, links, emit)? {
            slots.insert(bucket, slot);
        }
    }
    Ok(slots)
}

/// What a bucket holds for entries that share it: nothing, the only one, or a node at `level`.
pub(super) fn plant(
    profile: &Profile,
    level: u32,
    mut links: Vec<(u64, Link)>,
    emit: &mut dyn FnMut(Block),
) -> Result<Option<Slot>, DirectoryError> {
    if links.len() < 2 {
        return Ok(links.pop().map(|(_, link)| Slot::Entry(link)));
    }
    let slots = spread(profile, level, links, emit)?;
    let (block, tsize) = encode(profile, &slots)?;
    let cid = *block.cid();
    emit(block);
    Ok(Some(Slot::Node { cid, tsize }))
}

fn parse_prefix(name: &[u8], width: usize) -> Option<u32> {
    let prefix = name.get(..width)?;
    if !prefix.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F')) {
        return None;
    }
    u32::from_str_radix(std::str::from_utf8(prefix).ok()?, 16).ok()
}

fn is_set(field: &[u8], bucket: u32) -> bool {
    let from_end = bucket as usize / 8;
    from_end < field.len() && field[field.len() - 1 - from_end] & (1 << (bucket % 8)) != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unixfs::node::decode;
    use crate::unixfs::{MAX_FANOUT, UNIXFS_V1_2025};

    fn entry(name: &str) -> Slot {
        Slot::Entry(Link {
            name: name.into(),
            cid: Cid::try_from("bafkqaaa").unwrap(),
            tsize: 7,
        })
    }

    #[test]
    fn names_hash_as_in_kubo() {
        assert_eq!(hash(b"470.txt"), 0x006e_88df_5847_e67c);
        assert_eq!(bucket(hash(b"470.txt"), 0, 8), Some(0x00));
        assert_eq!(bucket(hash(b"470.txt"), 1, 8), Some(0x6e));
        assert_eq!(bucket(hash(b"470.txt"), 7, 8), Some(0x7c));
        assert_eq!(bucket(hash(b"470.txt"), 8, 8), None);
        assert_eq!(bucket(hash(b"470.txt"), 0, 3), Some(0));
        assert_eq!(bucket(hash(b"470.txt"), 5, 10), Some(0xe67 & 0x3ff));
    }

    #[test]
    fn the_bitfield_is_trimmed_and_counts_from_the_end() {
        let slots = BTreeMap::from([(0u32, entry("a")), (9, entry("b")), (0x12, entry("c"))]);
        let (block, tsize) = encode(&UNIXFS_V1_2025, &slots).unwrap();
        let (node, data) = decode(&block).unwrap();
        assert_eq!(data.data.as_deref(), Some(&[0x04, 0x02, 0x01][..]));
        assert_eq!(node.links[2].name.as_ref(), b"12c");
        assert_eq!(tsize, block.data().len() as u64 + 21);
        assert_eq!(Shard::decode(&block, node, &data).unwrap(), Shard { bits: 8, slots });
    }

    #[test]
    fn a_node_of_eight_buckets_numbers_them_with_one_digit() {
        let profile = Profile {
            fanout: Fanout::EIGHT,
            ..UNIXFS_V1_2025
        };
        let below = Slot::Node {
            cid: Cid::try_from("bafkqaaa").unwrap(),
            tsize: 9,
        };
        let slots = BTreeMap::from([(0u32, entry("a")), (5, below), (7, entry("7"))]);
        let (block, _) = encode(&profile, &slots).unwrap();
        let (node, data) = decode(&block).unwrap();
        assert_eq!((data.data.as_deref(), data.fanout), (Some(&[0xa1][..]), Some(8)));
        let names: Vec<&[u8]> = node.links.iter().map(|link| link.name.as_ref()).collect();
        assert_eq!(names, [&b"0a"[..], b"5", b"77"]);
        assert_eq!(Shard::decode(&block, node, &data).unwrap(), Shard { bits: 3, slots });
        // Three bits a level, across the ends of bytes: 0x006e88… is 000 000 000 110 111 010 001.
        let levels: Vec<_> = (0..7).map(|level| bucket(hash(b"470.txt"), level, 3)).collect();
        assert_eq!(levels, [0, 0, 0, 6, 7, 2, 1].map(Some));
        assert_eq!(
            bucket(hash(b"470.txt"), 20, 3),
            Some((0x006e_88df_5847_e67cu64 >> 1 & 7) as u32)
        );
        assert_eq!(bucket(hash(b"470.txt"), 21, 3), None, "one bit is left");
    }

    #[test]
    fn inconsistent_nodes_are_refused() {
        let slots = BTreeMap::from([
            (1u32, entry("a")),
            (
                2,
                Slot::Node {
                    cid: Cid::default(),
                    tsize: 0,
                },
            ),
        ]);
        let (block, _) = encode(&UNIXFS_V1_2025, &slots).unwrap();
        let (node, data) = decode(&block).unwrap();
        assert!(Shard::parse(node.clone(), &data).is_ok());
        let with = |change: &dyn Fn(&mut PbNode, &mut Data)| {
            let (mut node, mut data) = (node.clone(), data.clone());
            change(&mut node, &mut data);
            Shard::parse(node, &data).is_err()
        };
        for fanout in [None, Some(0), Some(4), Some(255), Some(2 * MAX_FANOUT), Some(u64::MAX)] {
            assert!(with(&|_, data| data.fanout = fanout), "{fanout:?}");
        }
        assert!(!with(&|_, data| data.fanout = Some(128)));
        assert!(with(&|_, data| data.hash_type = Some(0x12)));
        assert!(with(&|_, data| data.data = Some(vec![0; 33].into())));
        assert!(with(&|_, data| data.data = None));
        assert!(with(&|node, _| node.links.truncate(1)));
        assert!(with(&|node, _| node.links[0].name = "02a".into()), "two in one bucket");
        assert!(with(&|node, _| node.links[0].name = "03a".into()), "not in use");
        assert!(with(&|node, _| node.links[0].name = "0".into()));
        assert!(with(&|node, _| node.links[0].name = "+1a".into()));
        assert!(with(&|node, _| node.links[0].name = Bytes::from_static(b"01\xff")));
    }

    #[test]
    fn the_largest_fanout_is_read_with_three_digits() {
        let digits = [8, 16, 32, 256, 512, MAX_FANOUT].map(|buckets| Fanout::new(buckets).unwrap().digits());
        assert_eq!(digits, [1, 1, 2, 2, 3, 3]);
        let mut field = vec![0; 128];
        field[0] = 0x80;
        let link = PbLink {
            cid: Cid::default(),
            name: "3FFx".into(),
            tsize: 1,
        };
        let data = Data {
            data: Some(field.into()),
            fanout: Some(MAX_FANOUT),
            hash_type: Some(MURMUR3_X64_64),
            ..Data::new(Kind::HamtShard)
        };
        let shard = Shard::parse(
            PbNode {
                links: vec![link],
                data: None,
            },
            &data,
        )
        .unwrap();
        assert_eq!((shard.bits, shard.slots.contains_key(&1023)), (10, true));
    }
}
