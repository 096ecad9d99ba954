//! Marks of completeness: below which nodes everything is here.

use std::sync::atomic::Ordering;

use super::{blocks::Blocks as _, error::StoreError, index::decode_u64, state::Store};
use crate::block::Cid;

/// A look through DAGs that may end in marks of completeness. A block that is lost after it began makes its marks void.
#[derive(Debug, Clone, Copy)]
pub struct Walk {
    epoch: u64,
}

impl Store {
    /// Begins a look through DAGs. To be taken before the first block is looked for.
    pub fn walk(&self) -> Walk {
        Walk {
            epoch: self.inner.epoch.load(Ordering::Acquire),
        }
    }

    /// Says that the whole DAG below each of `cids` was seen to be here by `walk`, so that later ones may stop there.
    /// Everything put so far is synced first: a mark never outlives the blocks it speaks of.
    ///
    /// # Errors
    /// The blocks cannot be synced, or the index not written.
    pub fn mark_complete(&self, walk: &Walk, cids: &[Cid]) -> Result<(), StoreError> {
        self.sync_blocks()?;
        let index = &self.inner.index;
        for cid in cids {
            index.run(|| index.complete.insert(cid.hash().to_bytes(), &walk.epoch.to_le_bytes()))?;
        }
        Ok(())
    }

    /// Whether the whole DAG below `cid` is known to be here. False after any block was lost, until it is marked again.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn is_complete(&self, cid: &Cid) -> Result<bool, StoreError> {
        let index = &self.inner.index;
        let mark = index.run(|| index.complete.get(cid.hash().to_bytes()))?;
        let epoch = mark.and_then(|mark| decode_u64(&mark));
        Ok(epoch == Some(self.inner.epoch.load(Ordering::Acquire)) && self.has(cid)?)
    }
}
