//! History that is written again: chains replaced from some block on, and heads set back.
//!
//! What others pulled or cite stays: roots published before are served for as long as they are pinned, with their metadata
//! blocks, slices and checkpoints. Followers see a diverged history and must agree to it. What no pinned root needs any more
//! goes with the garbage.

use std::sync::Arc;

use odf_metadata::codec::EncodedBlock;
use odf_metadata::{DatasetId, Multihash};

use crate::catalog::{Catalog, CatalogError};
use crate::dataset::{BlockPlace, Blocks, Dataset, DatasetError, StoredBlock, stored};
use crate::mirror::{Mirror, MirrorError};

/// Why history was not written again, or a dataset not removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RewriteError {
    /// The dataset cannot be changed like that, or at all.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// What older forms need could not be kept.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    /// The dataset cannot be removed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The dataset is gone, but not all that it took up.
    #[error("the dataset {id} is deleted, but what is left of it cannot be removed yet: {source}")]
    Left {
        /// The dataset.
        id: DatasetId,
        /// Why not.
        source: Box<RewriteError>,
    },
}

/// The datasets of a workspace, and the mirror that hears of their changes. Cheap to clone.
#[derive(Clone)]
pub struct Datasets {
    catalog: Catalog,
    mirror: Arc<dyn Mirror>,
}

impl Datasets {
    /// Puts them together.
    pub fn new(catalog: Catalog, mirror: Arc<dyn Mirror>) -> Self {
        Self { catalog, mirror }
    }

    /// The datasets by name and id.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Their second form.
    pub fn mirror(&self) -> &dyn Mirror {
        &*self.mirror
    }

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
        let places = self.replace_arrived(dataset, from, &blocks)?;
        Ok(stored(blocks, places))
    }

    /// As [`Self::replace`], for blocks that need not be in memory. Gives where they lie.
    ///
    /// # Errors
    /// As [`Self::replace`].
    pub(crate) fn replace_arrived(
        &self,
        dataset: &mut Dataset,
        from: u64,
        blocks: &dyn Blocks,
    ) -> Result<Vec<BlockPlace>, RewriteError> {
        let mut take_place = self.mirror.replacing(dataset, from)?;
        Ok(dataset.replace(from, blocks, &mut *take_place)?)
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

    /// Removes a dataset with its files, also a damaged one. What others need of them is kept elsewhere before.
    ///
    /// The directory goes out of sight in one step, so that the dataset is there, whole, or not at all, wherever a crash
    /// comes. What that leaves is finished by [`Self::finish_removals`].
    ///
    /// # Errors
    /// The dataset is as it was, but for [`RewriteError::Left`]: then it is gone.
    pub fn delete(&self, id: &DatasetId) -> Result<(), RewriteError> {
        self.mirror.removing(id, &self.catalog.dataset_dir(id))?;
        self.catalog.set_aside(id)?;
        self.finish_removal(id).map_err(|source| RewriteError::Left {
            id: *id,
            source: source.into(),
        })
    }

    fn finish_removal(&self, id: &DatasetId) -> Result<(), RewriteError> {
        self.mirror.removed(id, &self.catalog.dataset_dir(id))?;
        Ok(self.catalog.remove_aside(id)?)
    }

    /// Removes what is left of datasets whose removal was cut. Gives those of which something stays, with the reason.
    ///
    /// # Errors
    /// The directory of datasets cannot be read.
    pub fn finish_removals(&self) -> Result<Vec<(DatasetId, RewriteError)>, CatalogError> {
        let finish = |id: DatasetId| Some((id, self.finish_removal(&id).err()?));
        Ok(self.catalog.leaving()?.into_iter().filter_map(finish).collect())
    }
}
