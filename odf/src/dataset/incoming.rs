//! Datasets that are being received: their files arrive over days and restarts, and they exist from the moment their
//! head is written.

use std::fs;
use std::path::{Path, PathBuf};

use odf_node::store::Table;

use super::files::sync_dir;
use super::journal::{BlockPlace, Journal};
use super::{
    Dataset, DatasetError, DatasetName, RemoteAliases, StoredBlock, aliases, decode, keep_state, write_blocks,
};
use crate::codec::EncodedBlock;
use crate::metadata::{DatasetId, MetadataEvent};

/// What every name of a slice or checkpoint begins with while its parts arrive.
pub const INCOMING_PREFIX: &str = ".incoming-";

/// A directory that will be a dataset once it has a head. What arrived in it stays when this is dropped.
pub struct Incoming {
    dir: PathBuf,
    id: DatasetId,
}

impl Incoming {
    /// Makes the directory of dataset `id` within `datasets`, or goes on with one that an interrupted pull left.
    ///
    /// # Errors
    /// [`DatasetError::Exists`] if the dataset is there already.
    pub fn open(datasets: &Path, id: DatasetId, name: &DatasetName) -> Result<Self, DatasetError> {
        let dir = datasets.join(id.to_multibase());
        if Dataset::is_in(&dir) {
            return Err(DatasetError::Exists(id));
        }
        for part in ["refs", "data", "checkpoints", "info"] {
            let part = dir.join(part);
            fs::create_dir_all(&part).map_err(|e| DatasetError::io("create", &part, e))?;
        }
        aliases::write_name(&dir, name)?;
        Ok(Self { dir, id })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the dataset is pulled from. It is to know that from the moment it exists.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_remote_aliases(&self, aliases: &RemoteAliases) -> Result<(), DatasetError> {
        aliases::write_remote(&self.dir, aliases)
    }

    /// Writes the chain, and the head last: from then on the dataset is there. Its files must be in place and synced.
    ///
    /// # Errors
    /// As [`Dataset::append`]; the dataset is not there then.
    pub fn install(self, blocks: Vec<EncodedBlock>, states: &Table) -> Result<Dataset, DatasetError> {
        let journal = Journal::new(&self.dir);
        let lock = journal.lock()?;
        for part in ["info", "data", "checkpoints"] {
            sync_dir(&self.dir.join(part))?;
        }
        sync_dir(&self.dir)?;
        self.dir.parent().map_or(Ok(()), sync_dir)?;
        let first = blocks.first().map(|block| &block.block().event);
        if !matches!(first, Some(MetadataEvent::Seed(seed)) if seed.dataset_id == self.id) {
            let reason = format!("the chain is not of {}", self.id);
            return Err(DatasetError::Damaged { path: self.dir, reason });
        }
        let (_, state) = write_blocks(&self.dir, &journal, &lock, None, blocks, None)?;
        keep_state(states, &state);
        Ok(Dataset {
            dir: self.dir,
            states: states.clone(),
            state,
        })
    }
}

impl Dataset {
    /// Whether a directory holds a dataset: it has a head.
    pub(crate) fn is_in(dir: &Path) -> bool {
        dir.join("refs/head").is_file()
    }

    /// The blocks behind the one at `after`, or all, oldest first, read as they are asked for.
    ///
    /// # Errors
    /// The chain file cannot be opened. Items fail where it is damaged, and end there.
    pub fn blocks_after(
        &self,
        after: Option<BlockPlace>,
    ) -> Result<impl Iterator<Item = Result<StoredBlock, DatasetError>> + '_, DatasetError> {
        let mut entries = self
            .journal()
            .entries(after.map_or(0, |place| place.end()), self.chain_len())?;
        Ok(std::iter::from_fn(move || {
            entries
                .next()
                .map(|entry| entry.and_then(|(place, bytes)| decode(place, bytes)))
        }))
    }
}
