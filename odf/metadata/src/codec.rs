//! The exact FlatBuffers bytes of a metadata block, both ways.
//!
//! A block file is a `Manifest` table around the finished bytes of a `MetadataBlock` table, and its name is the
//! sha3-256 multihash of the file. Writing is deterministic (one order of builder calls for the whole schema) and
//! gives the bytes kamu gives. Reading takes versions 2 and 3, trusts nothing, and never panics. A block that was
//! read is never written again: [`EncodedBlock`] keeps its bytes.

mod error;
pub(crate) mod field;
pub(crate) mod legacy;
mod limits;
pub(crate) mod reader;
pub(crate) mod scalar;

use bytes::Bytes;
use flatbuffers::WIPOffset;

pub use self::error::DecodeError;
use self::field::{Builder, Tabular as _, voffset};
pub use self::limits::{
    MAX_BLOCK_BYTES, MAX_DECODED_BYTES, MAX_DECODED_VALUES, MAX_DEPTH, METADATA_BLOCK_KIND, MIN_VERSION, VERSION,
};
use self::reader::Source;
use crate::{MetadataBlock, Multihash};

/// A metadata block together with its exact bytes and their hash. The only way to get one is to encode a block or to
/// decode bytes, so the three always belong together.
#[derive(Clone, PartialEq, Eq)]
pub struct EncodedBlock {
    hash: Multihash,
    version: i32,
    bytes: Bytes,
    block: MetadataBlock,
}

impl EncodedBlock {
    /// Gives a new block its bytes, as version [`VERSION`].
    ///
    /// # Errors
    /// What reading the bytes back would say: a block over one of the limits is not written.
    pub fn encode(block: MetadataBlock) -> Result<Self, DecodeError> {
        let bytes = Bytes::from(encode(&block));
        let (version, read) = decode(&bytes)?;
        debug_assert_eq!(read, block, "what was written reads back");
        Ok(Self {
            hash: Multihash::sha3_256(&bytes),
            version,
            bytes,
            block,
        })
    }

    /// Reads a block file and keeps its bytes.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(bytes: impl Into<Bytes>) -> Result<Self, DecodeError> {
        let bytes = bytes.into();
        let (version, block) = decode(&bytes)?;
        Ok(Self {
            hash: Multihash::sha3_256(&bytes),
            version,
            bytes,
            block,
        })
    }

    /// Reads a block file known by name.
    ///
    /// # Errors
    /// [`DecodeError::HashMismatch`] if the bytes are others; nothing of them is looked at then.
    pub fn decode_checked(expected: &Multihash, bytes: impl Into<Bytes>) -> Result<Self, DecodeError> {
        let bytes = bytes.into();
        let actual = Multihash::sha3_256(&bytes);
        if actual != *expected {
            return Err(DecodeError::HashMismatch {
                expected: *expected,
                actual,
            });
        }
        let (version, block) = decode(&bytes)?;
        Ok(Self {
            hash: actual,
            version,
            bytes,
            block,
        })
    }

    /// The block's name: sha3-256 multihash of [`Self::bytes`].
    pub fn hash(&self) -> &Multihash {
        &self.hash
    }

    /// The exact bytes of the block file.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What the bytes say.
    pub fn block(&self) -> &MetadataBlock {
        &self.block
    }

    /// The version the bytes were written as: 2 or 3.
    pub fn version(&self) -> i32 {
        self.version
    }

    /// Lets the bytes go.
    pub fn into_block(self) -> MetadataBlock {
        self.block
    }
}

impl std::fmt::Debug for EncodedBlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EncodedBlock")
            .field("hash", &self.hash)
            .field("block", &self.block)
            .finish_non_exhaustive()
    }
}

/// The bytes of the block file, as version [`VERSION`]. Limits are not checked.
fn encode(block: &MetadataBlock) -> Vec<u8> {
    let mut inner = Builder::new();
    let root = block.write_table(&mut inner);
    inner.finish(root, None);

    let mut outer = Builder::new();
    let content = outer.create_vector::<u8>(inner.finished_data());
    let manifest = outer.start_table();
    outer.push_slot::<i64>(voffset(0), METADATA_BLOCK_KIND, 0);
    outer.push_slot::<i32>(voffset(1), VERSION, 0);
    outer.push_slot_always(voffset(2), WIPOffset::<()>::new(content.value()));
    let root = outer.end_table(manifest);
    outer.finish(root, None);
    outer.finished_data().to_vec()
}

/// Reads the bytes of a block file: its version and the block.
fn decode(bytes: &[u8]) -> Result<(i32, MetadataBlock), DecodeError> {
    if bytes.len() > MAX_BLOCK_BYTES {
        return Err(DecodeError::TooLarge { len: bytes.len() });
    }
    let outer = Source::new(bytes);
    let manifest = outer.root("Manifest")?;
    let kind = manifest
        .slot(0)?
        .map(|at| manifest.inline(at))
        .transpose()?
        .map_or(0, i64::from_le_bytes);
    if kind != METADATA_BLOCK_KIND {
        return Err(DecodeError::NotMetadataBlock { kind });
    }
    let version = manifest
        .slot(1)?
        .map(|at| manifest.inline(at))
        .transpose()?
        .map_or(0, i32::from_le_bytes);
    match version {
        ..MIN_VERSION => return Err(DecodeError::ObsoleteVersion { version }),
        MIN_VERSION..=VERSION => {}
        _ => return Err(DecodeError::UnsupportedVersion { version }),
    }
    let at = manifest.slot(2)?.ok_or(DecodeError::Missing {
        table: "Manifest",
        field: "content",
    })?;
    // A buffer of its own: its offsets count from its own start.
    let inner = Source::new(manifest.bytes(at)?);
    Ok((version, MetadataBlock::read_table(&inner.root("MetadataBlock")?)?))
}

#[cfg(test)]
mod tests;
