//! Datasets that are being made: nothing is there until everything is.

use std::path::{Path, PathBuf};

use odf_disk::{Access, PENDING_PREFIX};

use super::journal::Journal;
use super::{
    Dataset, DatasetError, DatasetName, RemoteAliases, StoredBlock, aliases, encode, keep_state, stored, write_blocks,
};
use odf_metadata::chain::ChainState;
use odf_metadata::codec::EncodedBlock;
use odf_metadata::{DatasetId, DatasetKind, MetadataEvent, Seed, Timestamp};
use odf_tables::slice::WrittenSlice;

use crate::Medium;

/// A dataset under construction in a directory of its own. Dropping it removes the directory.
pub struct NewDataset {
    staged: PathBuf,
    target: PathBuf,
    id: DatasetId,
    medium: Medium,
}

impl NewDataset {
    /// Prepares a directory within `datasets` for the dataset `id`. What an earlier, unfinished attempt left is removed.
    ///
    /// # Errors
    /// [`DatasetError::Exists`].
    pub fn stage(
        datasets: &Path,
        id: DatasetId,
        name: &DatasetName,
        medium: &Medium,
    ) -> Result<NewDataset, DatasetError> {
        if datasets.join(id.to_multibase()).symlink_metadata().is_ok() {
            return Err(DatasetError::Exists(id));
        }
        Self::stage_for_place(datasets, id, name, medium)
    }

    /// As [`Self::stage`], for a place that is free when the dataset is put in it.
    pub(crate) fn stage_for_place(
        datasets: &Path,
        id: DatasetId,
        name: &DatasetName,
        medium: &Medium,
    ) -> Result<NewDataset, DatasetError> {
        let target = datasets.join(id.to_multibase());
        let staged = datasets.join(format!("{PENDING_PREFIX}{}", id.to_multibase()));
        medium.changing(Some(id))?;
        medium.disk.remove_tree(&staged)?;
        let new = NewDataset {
            staged,
            target,
            id,
            medium: medium.clone(),
        };
        medium.disk.create_dirs(datasets, Access::Readable)?;
        // Synced when the dataset is written: until then nothing of it counts.
        medium.disk.create_dir(&new.staged, Access::Readable)?;
        for part in ["refs", "data", "checkpoints", "info"] {
            medium.disk.create_dir(&new.staged.join(part), Access::Readable)?;
        }
        aliases::write_name(&medium.disk, &new.staged, name)?;
        Ok(new)
    }

    /// The identity it will have.
    pub fn id(&self) -> DatasetId {
        self.id
    }

    /// The directory new slices are written into.
    pub fn data_dir(&self) -> PathBuf {
        self.staged.join("data")
    }

    /// The directory of the dataset while it is being made.
    pub fn dir(&self) -> &Path {
        &self.staged
    }

    /// Where the dataset is pulled from.
    pub fn set_remote_aliases(&self, aliases: &RemoteAliases) -> Result<(), DatasetError> {
        aliases::write_remote(&self.medium.disk, &self.staged, aliases)
    }

    /// Makes a Seed and blocks of the events, all at `system_time`, and puts the dataset in place. See [`Self::install`].
    pub fn install_events(
        self,
        kind: DatasetKind,
        events: Vec<MetadataEvent>,
        system_time: Timestamp,
        slice: Option<WrittenSlice>,
    ) -> Result<(Dataset, Vec<StoredBlock>), DatasetError> {
        self.write_events(kind, events, system_time, slice)?.put_in_place()
    }

    /// As [`Self::install_events`], but for the last step.
    pub(crate) fn write_events(
        self,
        kind: DatasetKind,
        events: Vec<MetadataEvent>,
        system_time: Timestamp,
        slice: Option<WrittenSlice>,
    ) -> Result<WrittenDataset, DatasetError> {
        let seed = MetadataEvent::Seed(Seed {
            dataset_id: self.id,
            dataset_kind: kind,
        });
        let mut blocks: Vec<EncodedBlock> = Vec::with_capacity(events.len() + 1);
        for (sequence, event) in (0..).zip(std::iter::once(seed).chain(events)) {
            let previous = blocks.last().map(|block| *block.hash());
            blocks.push(encode(sequence, previous, event, system_time)?);
        }
        self.write(blocks, slice)
    }

    /// Checks and writes the chain and puts the dataset in place, complete or not at all, also over a crash.
    ///
    /// # Errors
    /// As [`Dataset::append`]; nothing is there then.
    pub fn install(
        self,
        blocks: Vec<EncodedBlock>,
        slice: Option<WrittenSlice>,
    ) -> Result<(Dataset, Vec<StoredBlock>), DatasetError> {
        self.write(blocks, slice)?.put_in_place()
    }

    fn write(self, blocks: Vec<EncodedBlock>, slice: Option<WrittenSlice>) -> Result<WrittenDataset, DatasetError> {
        let disk = &self.medium.disk;
        let journal = Journal::new(&self.staged, disk);
        let lock = journal.lock()?;
        let (places, state) = write_blocks(&self.medium, &self.staged, &journal, &lock, None, &blocks, slice)?;
        if state.dataset_id != self.id {
            let reason = format!("the chain is of {}", state.dataset_id);
            return Err(DatasetError::Damaged {
                path: self.staged.clone(),
                reason,
            });
        }
        disk.sync_dir(&self.staged)?;
        drop(lock);
        Ok(WrittenDataset {
            new: self,
            stored: stored(blocks, places),
            state,
        })
    }
}

/// A dataset that is complete and durable, but not in its place. Dropping it removes it.
pub(crate) struct WrittenDataset {
    new: NewDataset,
    stored: Vec<StoredBlock>,
    state: ChainState,
}

impl WrittenDataset {
    /// Puts it in place, in one step that survives power loss.
    ///
    /// # Errors
    /// The place is taken, or the system refused.
    fn put_in_place(self) -> Result<(Dataset, Vec<StoredBlock>), DatasetError> {
        let (medium, disk) = (&self.new.medium, &self.new.medium.disk);
        disk.rename(&self.new.staged, &self.new.target)?;
        medium.changed(Some(self.new.id));
        if let Some(datasets) = self.new.target.parent() {
            disk.sync_dir(datasets)?;
        }
        Ok(self.in_place())
    }

    /// The identity it has.
    pub(crate) fn id(&self) -> DatasetId {
        self.new.id
    }

    /// Moves it into a directory where it waits with others, under its id.
    pub(crate) fn wait_in(&mut self, dir: &Path) -> Result<(), DatasetError> {
        let there = dir.join(self.new.id.to_multibase());
        self.new.medium.disk.rename(&self.new.staged, &there)?;
        self.new.staged = there;
        Ok(())
    }

    /// The dataset, once somebody has put it in place.
    pub(crate) fn in_place(self) -> (Dataset, Vec<StoredBlock>) {
        let Self { new, stored, state } = self;
        keep_state(&new.medium, &state);
        let dataset = Dataset {
            dir: new.target.clone(),
            medium: new.medium.clone(),
            state,
        };
        (dataset, stored)
    }
}

impl Drop for NewDataset {
    fn drop(&mut self) {
        // Gone already once it is in place.
        if let Err(error) = self.medium.disk.remove_tree(&self.staged) {
            tracing::debug!(path = %self.staged.display(), %error, "an unfinished dataset stays until the next start");
        }
    }
}
