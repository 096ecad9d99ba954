//! Datasets that are being made: nothing is there until everything is.

use std::fs;
use std::path::{Path, PathBuf};

use odf_node::store::Table;

use super::files::sync_dir;
use super::journal::Journal;
use super::{
    Dataset, DatasetError, DatasetName, RemoteAliases, StoredBlock, aliases, crash_point, encode, keep_state,
    write_blocks,
};
use crate::codec::EncodedBlock;
use crate::metadata::{DatasetId, DatasetKind, MetadataEvent, Seed, Timestamp};
use crate::slice::{PENDING_PREFIX, WrittenSlice};

/// A dataset under construction in a directory of its own. Dropping it removes the directory.
pub struct NewDataset {
    staged: PathBuf,
    target: PathBuf,
    id: DatasetId,
}

impl NewDataset {
    /// Prepares a directory within `datasets` for the dataset `id`. What an earlier, unfinished attempt left is removed.
    ///
    /// # Errors
    /// [`DatasetError::Exists`].
    pub fn stage(datasets: &Path, id: DatasetId, name: &DatasetName) -> Result<NewDataset, DatasetError> {
        let target = datasets.join(id.to_multibase());
        if target.exists() {
            return Err(DatasetError::Exists(id));
        }
        let staged = datasets.join(format!("{PENDING_PREFIX}{}", id.to_multibase()));
        if staged.exists() {
            fs::remove_dir_all(&staged).map_err(|e| DatasetError::io("remove", &staged, e))?;
        }
        let new = NewDataset { staged, target, id };
        for part in ["refs", "data", "checkpoints", "info"] {
            let dir = new.staged.join(part);
            fs::create_dir_all(&dir).map_err(|e| DatasetError::io("create", &dir, e))?;
        }
        aliases::write_name(&new.staged, name)?;
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
        aliases::write_remote(&self.staged, aliases)
    }

    /// Makes a Seed and blocks of the events, all at `system_time`, and puts the dataset in place. See [`Self::install`].
    pub fn install_events(
        self,
        kind: DatasetKind,
        events: Vec<MetadataEvent>,
        system_time: Timestamp,
        slice: Option<WrittenSlice>,
        states: &Table,
    ) -> Result<(Dataset, Vec<StoredBlock>), DatasetError> {
        let seed = MetadataEvent::Seed(Seed {
            dataset_id: self.id,
            dataset_kind: kind,
        });
        let mut blocks: Vec<EncodedBlock> = Vec::with_capacity(events.len() + 1);
        for (sequence, event) in (0..).zip(std::iter::once(seed).chain(events)) {
            let previous = blocks.last().map(|block| *block.hash());
            blocks.push(encode(sequence, previous, event, system_time)?);
        }
        self.install(blocks, slice, states)
    }

    /// Checks and writes the chain and puts the dataset in place, complete or not at all, also over a crash.
    ///
    /// # Errors
    /// As [`Dataset::append`]; nothing is there then.
    pub fn install(
        self,
        blocks: Vec<EncodedBlock>,
        slice: Option<WrittenSlice>,
        states: &Table,
    ) -> Result<(Dataset, Vec<StoredBlock>), DatasetError> {
        let journal = Journal::new(&self.staged);
        let lock = journal.lock()?;
        let (stored, state) = write_blocks(&self.staged, &journal, &lock, None, blocks, slice)?;
        if state.dataset_id != self.id {
            let reason = format!("the chain is of {}", state.dataset_id);
            return Err(DatasetError::Damaged {
                path: self.staged.clone(),
                reason,
            });
        }
        for part in ["info", "data", "checkpoints"] {
            sync_dir(&self.staged.join(part))?;
        }
        sync_dir(&self.staged)?;
        fs::rename(&self.staged, &self.target).map_err(|e| DatasetError::io("rename", &self.staged, e))?;
        if let Some(datasets) = self.target.parent() {
            sync_dir(datasets)?;
        }
        crash_point("dataset in place");
        keep_state(states, &state);
        Ok((
            Dataset {
                dir: self.target.clone(),
                states: states.clone(),
                state,
            },
            stored,
        ))
    }
}

impl Drop for NewDataset {
    fn drop(&mut self) {
        // Gone already once it is in place.
        if let Err(error) = fs::remove_dir_all(&self.staged)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::debug!(path = %self.staged.display(), %error, "an unfinished dataset stays until the next start");
        }
    }
}
