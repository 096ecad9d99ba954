//! History that is written again: chains replaced from some block on, and heads set back.
//!
//! What others pulled or cite stays: roots published before are served for as long as they are pinned, with their metadata
//! blocks, slices and checkpoints. Followers see a diverged history and must agree to it. What no pinned root needs any more
//! goes with the garbage.

use odf_node::store::{GcReport, StoreError};

use crate::catalog::CatalogError;
use crate::codec::EncodedBlock;
use crate::dataset::{Dataset, DatasetError, StoredBlock};
use crate::layout::LayoutError;
use crate::metadata::Multihash;
use crate::workspace::Workspace;

/// Why garbage was not collected, or not all of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectError {
    /// The datasets cannot be listed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The block store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why history was not written again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RewriteError {
    /// The dataset cannot be changed like that, or at all.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// What older roots need could not be kept.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

impl Workspace {
    /// Replaces the chain of a dataset from sequence number `from` on: the blocks before stay, `blocks` follow them. Slices
    /// and checkpoints that the new blocks name must be in place already; those of the old blocks stay where they are.
    ///
    /// The blocks are checked against every rule first. When this returns the new head survives power loss; after a crash
    /// on the way the dataset is at its old or its new head, complete. Other handles to the dataset must be opened again.
    ///
    /// # Errors
    /// [`DatasetError::Chain`] names the rule that a block breaks, [`DatasetError::OtherDataset`] and
    /// [`DatasetError::NoBlock`] tell of blocks that do not belong here, [`DatasetError::Busy`] and
    /// [`DatasetError::HeadMoved`] of other writers. The dataset is as it was, unless the disk fails while the files
    /// change places: then it is at its new head when it is opened again.
    pub fn replace(
        &self,
        dataset: &mut Dataset,
        from: u64,
        blocks: Vec<EncodedBlock>,
    ) -> Result<Vec<StoredBlock>, RewriteError> {
        let same = self.layout().keep_from(dataset, from)?;
        let take_place = &mut |next: &_, chain: &_| self.layout().take_place(next, chain, &same);
        Ok(dataset.replace(from, blocks, take_place)?)
    }

    /// Sets the head back to a block of the chain. Gives how many blocks came off.
    ///
    /// # Errors
    /// [`DatasetError::NotInChain`], else as [`Self::replace`].
    pub fn reset(&self, dataset: &mut Dataset, to: &Multihash) -> Result<u64, RewriteError> {
        let target = dataset.block_by_hash(to)?.ok_or(DatasetError::NotInChain(*to))?;
        let kept = target.block.block().sequence_number + 1;
        let dropped = dataset.state().blocks() - kept;
        if dropped > 0 {
            self.replace(dataset, kept, Vec::new())?;
        }
        Ok(dropped)
    }
}

impl Workspace {
    /// Removes what nothing needs: blocks that no pin reaches, and slices and checkpoints that are named neither by their
    /// dataset's chain nor by a pinned root. A dataset that is being changed is passed over.
    ///
    /// # Errors
    /// As [`Store::gc_with_files`](odf_node::store::Store::gc_with_files).
    pub fn collect_garbage(&self) -> Result<GcReport, CollectError> {
        let datasets = self.catalog().entries()?;
        let mut passed_over = Vec::new();
        let report = self.store().gc_with_files(&mut |files| {
            for entry in &datasets {
                let opened = self.catalog().open_entry(entry);
                let swept = opened.and_then(|dataset| {
                    dataset.each_unnamed(&mut |path| {
                        let inside = path.strip_prefix(self.store().root()).unwrap_or(path);
                        files.remove_unless_needed(inside).map(drop)
                    })
                });
                match swept {
                    Err(DatasetError::Store(error)) => return Err(error),
                    Err(error) => passed_over.push((entry.id, error)),
                    Ok(()) => {}
                }
            }
            Ok(())
        })?;
        for (id, error) in passed_over {
            tracing::warn!(dataset = %id, %error, "the files of a dataset were passed over by the collection of garbage");
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests;
