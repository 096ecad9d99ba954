//! Blocks in memory, for tests and throw-away peers.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use bytes::Bytes;
use multihash::Multihash;

use super::{blocks::Blocks, error::StoreError, table::Table};
use crate::block::{Block, Cid, inherent};

/// A store without a disk. Cloning gives another handle on the same blocks.
///
/// It grows without limit and forgets everything when the last handle is dropped.
#[derive(Clone, Default)]
pub struct MemoryStore {
    blocks: Arc<RwLock<HashMap<Multihash<64>, Bytes>>>,
    tables: Arc<RwLock<HashMap<String, Table>>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// The table of that name, as [`Store::table`](super::Store::table) gives it, but in memory.
    pub fn table(&self, name: &str) -> Table {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        tables.entry(name.to_owned()).or_insert_with(Table::in_memory).clone()
    }

    /// Forgets the block; true if it was here.
    pub fn remove(&self, cid: &Cid) -> bool {
        self.blocks
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(cid.hash())
            .is_some()
    }

    /// Number of blocks held.
    pub fn len(&self) -> usize {
        self.blocks.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether no block is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn bytes(&self, cid: &Cid) -> Option<Bytes> {
        self.blocks
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(cid.hash())
            .cloned()
    }
}

impl Blocks for MemoryStore {
    fn has(&self, cid: &Cid) -> Result<bool, StoreError> {
        Ok(self.size(cid)?.is_some())
    }

    fn size(&self, cid: &Cid) -> Result<Option<usize>, StoreError> {
        Ok(match inherent(cid) {
            Some(block) => Some(block.data().len()),
            None => self.bytes(cid).map(|data| data.len()),
        })
    }

    fn get(&self, cid: &Cid) -> Result<Option<Block>, StoreError> {
        if let Some(block) = inherent(cid) {
            return Ok(Some(block));
        }
        Ok(self.bytes(cid).and_then(|data| Block::verify(*cid, data).ok()))
    }

    fn put(&self, blocks: &[Block]) -> Result<(), StoreError> {
        let mut kept = self.blocks.write().unwrap_or_else(PoisonError::into_inner);
        for block in blocks.iter().filter(|block| inherent(block.cid()).is_none()) {
            kept.entry(*block.cid().hash()).or_insert_with(|| block.data().clone());
        }
        Ok(())
    }
}
