//! Datasets that are being received: their files arrive over days and restarts, and they exist from the moment their
//! head is written.

use std::path::{Path, PathBuf};

use odf_disk::{Access, Disk};

use super::journal::{BlockPlace, Journal};
use super::{
    Blocks, Dataset, DatasetError, DatasetName, ObjectKind, RemoteAliases, StoredBlock, aliases, decode, keep_state,
    write_blocks,
};
use odf_metadata::{DatasetId, MetadataEvent};

use crate::Medium;

/// What every name of a slice or checkpoint begins with while its parts arrive.
pub const INCOMING_PREFIX: &str = ".incoming-";

/// Says in a directory that a dataset is being received there. Without it, a directory that has no head is a dataset that
/// lost it.
const ARRIVING: &str = ".arriving";

/// Directory in that of a dataset that holds objects while their bytes arrive. It is there as long as one arrival, so that
/// what a killed one left is found without a look at all slices and checkpoints that are here.
pub(crate) const UNNAMED_OBJECTS: &str = ".arriving-objects";

/// Whether a directory without a head is one that is still being received, or has nothing of a dataset in it.
pub(super) fn is_arriving(dir: &Path) -> bool {
    let is_there = |name: &str| dir.join(name).symlink_metadata().is_ok();
    is_there(ARRIVING) || !["chain", "info/alias", "refs/head"].into_iter().any(is_there)
}

/// Removes what says that the dataset in `dir` is being received, if it has a head: a process that died in between left it,
/// or a power cut brought it back.
pub(crate) fn has_arrived(disk: &Disk, dir: &Path) -> Result<(), DatasetError> {
    let mark = dir.join(ARRIVING);
    if Dataset::is_in(dir) && mark.symlink_metadata().is_ok() {
        disk.remove_file(&mark)?;
        // Nobody looks again after an end that was in order.
        disk.sync_dir(dir)?;
    }
    Ok(())
}

/// A directory that will be a dataset once it has a head. What arrived in it stays when this is dropped.
pub struct Incoming {
    dir: PathBuf,
    id: DatasetId,
    name: DatasetName,
    medium: Medium,
}

impl Incoming {
    /// Makes the directory of dataset `id` within `datasets`, or goes on with one that an interrupted pull left.
    ///
    /// # Errors
    /// [`DatasetError::Exists`] if the dataset is there already. [`DatasetError::Damaged`] if it is, without a head: its
    /// chain may have blocks that nobody else has.
    pub fn open(datasets: &Path, id: DatasetId, name: &DatasetName, medium: &Medium) -> Result<Self, DatasetError> {
        let dir = datasets.join(id.to_multibase());
        if Dataset::is_in(&dir) {
            return Err(DatasetError::Exists(id));
        }
        if dir.exists() && !is_arriving(&dir) {
            return Err(DatasetError::Damaged {
                path: dir.join("refs/head"),
                reason: "it is missing".to_owned(),
            });
        }
        medium.changing(Some(id))?;
        medium.disk.create_dir_if_missing(&dir, Access::Readable)?;
        // Before anything that a dataset has too.
        medium.disk.create(&dir.join(ARRIVING), Access::Readable)?;
        for part in ["refs", "data", "checkpoints", "info"] {
            medium.disk.create_dir_if_missing(&dir.join(part), Access::Readable)?;
        }
        // Blocks in files that arrive here count for pins of others too, long before the dataset is there.
        medium.disk.sync_dir(&dir)?;
        medium.disk.sync_dir(datasets)?;
        Ok(Self {
            dir,
            id,
            name: name.clone(),
            medium: medium.clone(),
        })
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
        aliases::write_remote(&self.medium.disk, &self.dir, aliases)
    }

    /// Writes the name, the chain, and the head last: from then on the dataset is there. Its files must be in place and
    /// synced.
    ///
    /// # Errors
    /// As [`Dataset::append`]; the dataset is not there then.
    pub fn install(self, blocks: impl Blocks) -> Result<Dataset, DatasetError> {
        let disk = &self.medium.disk;
        let journal = Journal::new(&self.dir, disk);
        let lock = journal.lock()?;
        aliases::write_name(disk, &self.dir, &self.name)?;
        ObjectKind::sync_names(&self.dir, disk)?;
        disk.sync_dir(&self.dir)?;
        let first = blocks.at(0)?;
        let first = first.as_ref().map(|block| &block.block().event);
        if !matches!(first, Some(MetadataEvent::Seed(seed)) if seed.dataset_id == self.id) {
            let reason = format!("the chain is not of {}", self.id);
            return Err(DatasetError::Damaged { path: self.dir, reason });
        }
        let (_, state) = write_blocks(&self.medium, &self.dir, &journal, &lock, None, &blocks, None)?;
        keep_state(&self.medium, &state);
        has_arrived(disk, &self.dir)?;
        Ok(Dataset {
            dir: self.dir,
            medium: self.medium,
            state,
        })
    }
}

impl Dataset {
    /// Whether a directory holds a dataset: it has a head.
    pub fn is_in(dir: &Path) -> bool {
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
