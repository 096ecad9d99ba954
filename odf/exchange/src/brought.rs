//! Metadata blocks that came many at once, found by their hash when a walk asks for them.

use std::collections::HashMap;
use std::path::Path;

use bytes::Bytes;

use odf_dataset::{Blocks as _, DatasetError, NewBlocks};
use odf_metadata::Multihash;

/// As much of a hash as tells blocks apart. Who asks checks all of it.
pub(crate) type Key = [u8; 16];

/// The key of a hash; nothing if it is too short to be that of a block.
pub(crate) fn key(hash: &Multihash) -> Option<Key> {
    hash.digest().first_chunk().copied()
}

/// Blocks that came together. In memory there are some tens of bytes for each.
pub(crate) struct Brought {
    blocks: NewBlocks,
    at: HashMap<Key, u32>,
}

impl Brought {
    /// None yet; see [`NewBlocks::beside`].
    pub(crate) fn beside(dir: &Path) -> Self {
        Self {
            blocks: NewBlocks::beside(dir),
            at: HashMap::new(),
        }
    }

    /// How many came.
    pub(crate) fn count(&self) -> u64 {
        self.blocks.count()
    }

    /// How many bytes came.
    pub(crate) fn bytes(&self) -> u64 {
        self.blocks.bytes()
    }

    /// Adds one.
    ///
    /// # Errors
    /// It cannot be put aside.
    pub(crate) fn add(&mut self, hash: &Multihash, bytes: &[u8]) -> Result<(), DatasetError> {
        if let (Some(key), Ok(at)) = (key(hash), u32::try_from(self.count())) {
            self.blocks.push(bytes)?;
            self.at.insert(key, at);
        }
        Ok(())
    }

    /// The bytes of the block of this hash, if it came. They are not checked.
    ///
    /// # Errors
    /// They cannot be read any more.
    pub(crate) fn get(&self, hash: &Multihash) -> Result<Option<Bytes>, DatasetError> {
        match key(hash).and_then(|key| self.at.get(&key)) {
            Some(at) => self.blocks.bytes_at(u64::from(*at)),
            None => Ok(None),
        }
    }
}
