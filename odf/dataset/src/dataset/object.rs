//! The files that metadata blocks name: slices and checkpoints.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};

use odf_disk::{Disk, DiskError};
use odf_metadata::Multihash;
use odf_metadata::codec::EncodedBlock;

/// What kind of file a metadata block names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// A Parquet file of rows.
    Slice,
    /// The state of an engine.
    Checkpoint,
}

impl ObjectKind {
    /// Both kinds.
    pub const ALL: [Self; 2] = [Self::Slice, Self::Checkpoint];

    /// The directory of a dataset in which such files lie, the same here and in the Simple Transfer Protocol.
    pub const fn directory(self) -> &'static str {
        match self {
            Self::Slice => "data",
            Self::Checkpoint => "checkpoints",
        }
    }

    /// Makes durable the names that objects of every kind have in the dataset in `dir`, whose directories must be there:
    /// for whoever does not hold a list of them.
    ///
    /// # Errors
    /// A sync failed.
    pub(crate) fn sync_names(dir: &Path, disk: &Disk) -> Result<(), DiskError> {
        for kind in Self::ALL {
            disk.sync_dir(&dir.join(kind.directory()))?;
        }
        Ok(())
    }
}

/// A slice or checkpoint as a metadata block names it. Shown as its path within the dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Object {
    /// What it is.
    pub kind: ObjectKind,
    /// Physical hash of the file.
    pub hash: Multihash,
    /// Length of the file in bytes.
    pub size: u64,
}

impl Object {
    /// Makes durable the names that objects have in the dataset in `dir`: files are synced as they arrive, their directories
    /// once for all.
    ///
    /// # Errors
    /// A sync failed.
    pub fn sync_names(objects: &[Object], dir: &Path, disk: &Disk) -> Result<(), DiskError> {
        for kind in ObjectKind::ALL {
            if objects.iter().any(|object| object.kind == kind) {
                disk.sync_dir(&dir.join(kind.directory()))?;
            }
        }
        Ok(())
    }

    /// What a metadata block adds: a slice, a checkpoint, both or nothing.
    pub fn of(block: &EncodedBlock) -> impl Iterator<Item = Self> + use<> {
        let event = &block.block().event;
        let slice = event.new_data().map(|slice| Self {
            kind: ObjectKind::Slice,
            hash: slice.physical_hash,
            size: slice.size,
        });
        let checkpoint = event.new_checkpoint().map(|file| Self {
            kind: ObjectKind::Checkpoint,
            hash: file.physical_hash,
            size: file.size,
        });
        slice.into_iter().chain(checkpoint)
    }

    /// What several metadata blocks add, each file once.
    pub fn of_all<'a>(blocks: impl IntoIterator<Item = &'a EncodedBlock>) -> Vec<Self> {
        let mut seen = HashSet::new();
        let objects = blocks.into_iter().flat_map(Self::of);
        objects
            .filter(|object| seen.insert((object.kind, object.hash)))
            .collect()
    }

    /// Where the file is, or would be, in the directory of a dataset.
    pub fn path(&self, dataset: &Path) -> PathBuf {
        dataset.join(self.kind.directory()).join(self.hash.to_string())
    }

    /// Whether a file of this name and length is in the directory of a dataset. Only complete and checked files get
    /// such a name.
    pub fn is_in(&self, dataset: &Path) -> bool {
        let found = std::fs::metadata(self.path(dataset));
        found.is_ok_and(|found| found.is_file() && found.len() == self.size)
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.directory(), self.hash)
    }
}
