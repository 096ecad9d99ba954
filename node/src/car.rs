//! CAR files: blocks one after another, each under its CID, behind a header that names roots.
//!
//! Spec: <https://ipld.io/specs/transport/car/carv1/>, and for what version 2 puts around one,
//! <https://ipld.io/specs/transport/car/carv2/>. Pure: nothing here reads or writes but what it is given, and nothing is
//! believed of it that a hash does not say.

use std::io::{self, Read};

use bytes::Bytes;
use cid::Cid;
use ipld_core::ipld::Ipld;

use crate::block::{Block, BlockError, MAX_BLOCK_BYTES};
use crate::dag::value_at;

/// The most bytes of a header: room for some 25,000 roots.
pub const MAX_HEADER_BYTES: usize = 1 << 20;
/// The most bytes of a CID.
const MAX_CID_BYTES: usize = 128;
/// What a CAR of version 2 begins with, where another has its header.
const VERSION_2: &[u8] = b"\xa1gversion\x02";
/// Bytes of the rest of a header of version 2.
const HEADER_2_BYTES: u64 = 40;

/// Why a CAR cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CarError {
    /// It cannot be read at all.
    #[error("reading it")]
    Read(#[from] io::Error),
    /// It does not begin as one.
    #[error("it is no CAR of version 1 or 2: {0}")]
    Header(String),
    /// It ends within a block, or a length in it makes no sense.
    #[error("it is cut off or damaged at byte {at}")]
    Damaged {
        /// Where the block begins, from the beginning of the header.
        at: u64,
    },
    /// A block that is not what its CID says.
    #[error("the block in bytes {at} to {end}")]
    Block {
        /// Where the block begins, from the beginning of the header.
        at: u64,
        /// Where the next one begins.
        end: u64,
        /// What is wrong.
        source: BlockError,
    },
}

/// The blocks of a CAR, one after another, each checked.
#[derive(Debug)]
pub struct Reader<R> {
    from: io::Take<R>,
    roots: Vec<Cid>,
    at: u64,
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// It is none of version 1 or 2, or longer than [`MAX_HEADER_BYTES`].
    pub fn new(from: R) -> Result<Self, CarError> {
        let mut reader = Self {
            from: from.take(u64::MAX),
            roots: Vec::new(),
            at: 0,
        };
        let mut header = reader.header()?;
        if header == VERSION_2 {
            reader.enter_version_1()?;
            header = reader.header()?;
        }
        let header = Block::new(crate::block::DAG_CBOR, header).map_err(|error| CarError::Header(error.to_string()))?;
        let field = |name: &str| value_at(&header, &[name]).map_err(|error| CarError::Header(error.to_string()));
        match (field("version")?, field("roots")?) {
            (Ipld::Integer(1), Ipld::List(roots)) => {
                let roots = roots.into_iter().map(|root| match root {
                    Ipld::Link(cid) => Ok(cid),
                    _ => Err(CarError::Header("a root is no link".to_owned())),
                });
                reader.roots = roots.collect::<Result<_, _>>()?;
                Ok(reader)
            }
            (version, _) => Err(CarError::Header(format!("its version is {version:?}"))),
        }
    }

    /// What the CAR is said to be of. Nothing says that it has these blocks.
    pub fn roots(&self) -> &[Cid] {
        &self.roots
    }

    fn header(&mut self) -> Result<Vec<u8>, CarError> {
        let none = || CarError::Header("it has no header".to_owned());
        let length = self
            .length()?
            .filter(|length| *length <= MAX_HEADER_BYTES)
            .ok_or_else(none)?;
        self.bytes(length).map_err(|error| match error {
            CarError::Damaged { .. } => none(),
            error => error,
        })
    }

    /// Goes to where the header of version 2 says that one of version 1 is.
    fn enter_version_1(&mut self) -> Result<(), CarError> {
        let rest = self.bytes(HEADER_2_BYTES as usize)?;
        let number = |at: usize| rest[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let (offset, size) = (number(16), number(24));
        let here = 1 + VERSION_2.len() as u64 + HEADER_2_BYTES;
        let gap = offset
            .checked_sub(here)
            .ok_or_else(|| CarError::Header("its data is said to be within its header".to_owned()))?;
        if io::copy(&mut self.from.by_ref().take(gap), &mut io::sink())? < gap {
            return Err(CarError::Damaged { at: self.at });
        }
        self.at += gap;
        self.from.set_limit(size);
        Ok(())
    }

    /// The next block, or nothing at the end.
    ///
    /// # Errors
    /// It is damaged, or its bytes are not those of its CID.
    pub fn block(&mut self) -> Result<Option<Block>, CarError> {
        let at = self.at;
        let Some(length) = self.length()? else { return Ok(None) };
        if length > MAX_BLOCK_BYTES + MAX_CID_BYTES {
            return Err(CarError::Damaged { at });
        }
        let bytes = Bytes::from(self.bytes(length)?);
        let mut rest = &bytes[..];
        let cid = Cid::read_bytes(&mut rest).map_err(|_| CarError::Damaged { at })?;
        let data = bytes.slice_ref(rest);
        match Block::verify(cid, data) {
            Ok(block) => Ok(Some(block)),
            Err(source) => Err(CarError::Block {
                at,
                end: self.at,
                source,
            }),
        }
    }

    /// A length, or nothing at the end.
    fn length(&mut self) -> Result<Option<usize>, CarError> {
        let at = self.at;
        let mut length = 0_u64;
        for shift in (0..35).step_by(7) {
            let mut byte = [0];
            if self.from.read(&mut byte)? == 0 {
                return if shift == 0 {
                    Ok(None)
                } else {
                    Err(CarError::Damaged { at })
                };
            }
            self.at += 1;
            length |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] & 0x80 == 0 {
                return usize::try_from(length).map(Some).map_err(|_| CarError::Damaged { at });
            }
        }
        Err(CarError::Damaged { at })
    }

    /// So many bytes, which the caller has found to be few.
    fn bytes(&mut self, length: usize) -> Result<Vec<u8>, CarError> {
        let at = self.at;
        let mut bytes = Vec::with_capacity(length);
        self.from.by_ref().take(length as u64).read_to_end(&mut bytes)?;
        self.at += bytes.len() as u64;
        match bytes.len() == length {
            true => Ok(bytes),
            false => Err(CarError::Damaged { at }),
        }
    }
}

/// The header of a CAR of version 1.
pub fn header(roots: &[Cid]) -> Vec<u8> {
    let roots = roots.iter().copied().map(Ipld::Link).collect();
    let fields = [
        ("roots".to_owned(), Ipld::List(roots)),
        ("version".to_owned(), Ipld::Integer(1)),
    ];
    // Links and small numbers always have a form.
    let header = serde_ipld_dagcbor::to_vec(&Ipld::Map(fields.into())).unwrap_or_default();
    let mut framed = length(header.len());
    framed.extend_from_slice(&header);
    framed
}

/// What stands before the bytes of a block.
pub fn frame(cid: &Cid, data: usize) -> Vec<u8> {
    let cid = cid.to_bytes();
    let mut framed = length(cid.len() + data);
    framed.extend_from_slice(&cid);
    framed
}

fn length(bytes: usize) -> Vec<u8> {
    let mut buffer = unsigned_varint::encode::usize_buffer();
    unsigned_varint::encode::usize(bytes, &mut buffer).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::RAW;

    fn made(blocks: &[Block]) -> Vec<u8> {
        let mut bytes = header(&[*blocks[0].cid()]);
        for block in blocks {
            bytes.extend_from_slice(&frame(block.cid(), block.data().len()));
            bytes.extend_from_slice(block.data());
        }
        bytes
    }

    fn read(bytes: &[u8]) -> Result<(Vec<Cid>, Vec<Block>), CarError> {
        let mut reader = Reader::new(bytes)?;
        let mut blocks = Vec::new();
        while let Some(block) = reader.block()? {
            blocks.push(block);
        }
        Ok((reader.roots().to_vec(), blocks))
    }

    fn blocks() -> Vec<Block> {
        let longest = vec![7; MAX_BLOCK_BYTES];
        [b"a".to_vec(), longest]
            .map(|data| Block::new(RAW, data).unwrap())
            .into()
    }

    #[test]
    fn what_is_written_is_read_again_in_both_versions() {
        let blocks = blocks();
        let one = made(&blocks);
        let expected = (vec![*blocks[0].cid()], blocks);
        assert_eq!(read(&one).unwrap(), expected);
        let mut two = [&[VERSION_2.len() as u8][..], VERSION_2, &[0; 16]].concat();
        for number in [60, one.len() as u64, 0] {
            two.extend_from_slice(&number.to_le_bytes());
        }
        two.extend_from_slice(b"padding!!");
        two.extend_from_slice(&one);
        two.extend_from_slice(b"an index");
        assert_eq!(read(&two).unwrap(), expected);
    }

    #[test]
    fn a_car_that_ends_anywhere_but_between_blocks_is_damaged() {
        let block = Block::new(RAW, vec![1, 2, 3]).unwrap();
        let whole = made(std::slice::from_ref(&block));
        let start = header(&[*block.cid()]).len();
        for end in 0..whole.len() {
            assert_eq!(read(&whole[..end]).is_ok(), end == start, "{end}");
        }
    }

    #[test]
    fn lengths_and_bytes_of_strangers_are_not_believed() {
        let start = header(&[]);
        let with = |rest: &[u8]| read(&[&start[..], rest].concat());
        let over = length(MAX_BLOCK_BYTES + MAX_CID_BYTES + 1);
        assert!(matches!(with(&over), Err(CarError::Damaged { at }) if at == start.len() as u64));
        assert!(matches!(with(&[0xff; 10]), Err(CarError::Damaged { .. })));
        assert!(matches!(with(&[0]), Err(CarError::Damaged { .. })));
        assert!(matches!(read(&length(MAX_HEADER_BYTES + 1)), Err(CarError::Header(_))));
        let block = Block::new(RAW, vec![1]).unwrap();
        let other = [&frame(block.cid(), 1)[..], &[2]].concat();
        assert!(matches!(with(&other), Err(CarError::Block { .. })));
        let cut = [&[VERSION_2.len() as u8][..], VERSION_2, &[0; 40]].concat();
        assert!(matches!(read(&cut), Err(CarError::Header(_))));
    }
}
