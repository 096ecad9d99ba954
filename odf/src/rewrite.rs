//! History that is written again: chains replaced from some block on, and heads set back.
//!
//! What others pulled or cite stays: roots published before are served for as long as they are pinned, with their metadata
//! blocks, slices and checkpoints. Followers see a diverged history and must agree to it.

use crate::codec::EncodedBlock;
use crate::dataset::{Dataset, DatasetError, StoredBlock};
use crate::layout::LayoutError;
use crate::metadata::Multihash;
use crate::workspace::Workspace;

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

#[cfg(test)]
mod tests;
