//! Marks of completeness: below which nodes everything is here.

use std::{collections::HashSet, sync::atomic::Ordering};

use super::{blocks::Blocks, error::StoreError, numbers::decode_u64, state::Store};
use crate::block::{Block, Cid};

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
            let (key, mut is_there) = (cid.hash().to_bytes(), false);
            index.update(&key, |entry| {
                is_there = !entry.places.is_empty();
                is_there && entry.mark(Some(walk.epoch))
            })?;
            if !is_there {
                // What carries its own content has no entry.
                index.run(|| index.complete.insert(key, &walk.epoch.to_le_bytes()))?;
            }
        }
        Ok(())
    }

    /// Keeps blocks as [`put`](Blocks::put) does, each behind what it links to, and says as [`Self::mark_complete`] that the whole
    /// DAG below each of `nodes` is here then. It is one change of the index for a new node, not two.
    ///
    /// # Errors
    /// As `put` and [`Self::mark_complete`].
    pub fn put_complete(&self, walk: &Walk, blocks: &[Block], nodes: &[Cid]) -> Result<(), StoreError> {
        let keys: HashSet<Vec<u8>> = nodes.iter().map(|cid| cid.hash().to_bytes()).collect();
        let mark = |key: &[u8]| keys.contains(key).then_some(walk.epoch);
        self.put_marked(blocks, Some(&mark))?;
        // Those that were here before.
        let mut left = Vec::new();
        for cid in nodes {
            let entry = self.inner.index.entry(&cid.hash().to_bytes())?;
            if entry.and_then(|entry| entry.complete) < Some(walk.epoch) {
                left.push(*cid);
            }
        }
        if left.is_empty() {
            Ok(())
        } else {
            self.mark_complete(walk, &left)
        }
    }

    /// Whether the whole DAG below `cid` is known to be here. False after any block was lost, until it is marked again.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn is_complete(&self, cid: &Cid) -> Result<bool, StoreError> {
        let (index, key) = (&self.inner.index, cid.hash().to_bytes());
        let epoch = Some(self.inner.epoch.load(Ordering::Acquire));
        let is_marked = match index.entry(&key)?.and_then(|entry| entry.complete) {
            mark @ Some(_) if mark == epoch => true,
            // Earlier versions kept all marks in this tree.
            _ => {
                index
                    .run(|| index.complete.get(&key))?
                    .and_then(|mark| decode_u64(&mark))
                    == epoch
            }
        };
        Ok(is_marked && self.has(cid)?)
    }
}
