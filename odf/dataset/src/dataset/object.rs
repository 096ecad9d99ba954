//! The files that metadata blocks name: slices and checkpoints.

use std::collections::HashSet;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use odf_disk::{Access, Disk, PENDING_PREFIX};
use odf_tables::digest::PhysicalHasher;

use super::DatasetError;
use odf_metadata::Multihash;
use odf_metadata::codec::EncodedBlock;

/// How much is copied at a time.
const READ_BYTES: usize = 256 << 10;

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

    /// Puts the bytes of the object, as `reader` gives them, in their place in the directory of a dataset, instead of what is
    /// there. They count once they are what a metadata block says, and survive power loss when this returns.
    ///
    /// # Errors
    /// [`DatasetError::Object`] if they are something else, or the file cannot be read or written. What was there stays.
    pub fn place(&self, disk: &Disk, dataset: &Path, reader: &mut dyn Read) -> Result<(), DatasetError> {
        let target = self.path(dataset);
        let dir = dataset.join(self.kind.directory());
        disk.create_dirs(&dir, Access::Readable)?;
        let pending = dir.join(format!("{PENDING_PREFIX}{}", self.hash));
        let placed = self
            .write(disk, &pending, reader)
            .and_then(|()| Ok(disk.rename(&pending, &target)?));
        if placed.is_err() {
            let removed = disk.remove_file_if_there(&pending);
            tracing::debug!(path = %pending.display(), ?removed, "an object that is not what it should be");
        }
        placed?;
        Ok(disk.sync_dir(&dir)?)
    }

    fn write(&self, disk: &Disk, path: &Path, reader: &mut dyn Read) -> Result<(), DatasetError> {
        let mut file = disk.create(path, Access::Readable)?;
        let (mut hasher, mut received) = (PhysicalHasher::new(), 0);
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let count = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(DatasetError::io("receive", path, error)),
            };
            received += count as u64;
            if received > self.size {
                return Err(self.differs(format!("{} bytes", self.size), format!("at least {received} bytes")));
            }
            let bytes = &buffer[..count];
            io::Write::write_all(&mut file, bytes).map_err(|error| DatasetError::io("write", path, error))?;
            hasher.update(bytes);
        }
        let (found, _) = hasher.finish();
        if received != self.size {
            return Err(self.differs(format!("{} bytes", self.size), format!("{received} bytes")));
        }
        if found != self.hash {
            return Err(self.differs(self.hash.to_string(), found.to_string()));
        }
        Ok(file.sync()?)
    }

    fn differs(&self, expected: String, found: String) -> DatasetError {
        DatasetError::Object {
            object: *self,
            expected,
            found,
        }
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
