//! Why the store could not do what it was asked.

use std::{
    io,
    path::{Path, PathBuf},
};

use odf_disk::DiskError;

use super::place::FileId;

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk, or the quota on it, has no room. What was there before is unchanged and readable.
    #[error("no space left for {}", .path.display())]
    Full {
        /// What was being written.
        path: PathBuf,
    },
    /// The store holds as much as its owner lets it. What was there before is unchanged and readable.
    #[error("the store holds {held} of {max} bytes, the most that it may")]
    OverLimit {
        /// The limit, in bytes.
        max: u64,
        /// What the store holds, in bytes.
        held: u64,
    },
    /// The operating system refused. After a sync that failed, every later change gives this until the store is opened
    /// again ([`StoreError::is_poisoned`]).
    #[error("cannot {operation} {}", .path.display())]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// sled reports an error. Reopening the store repairs or rebuilds the index.
    #[error("the block index failed")]
    Index(#[source] sled::Error),
    /// sled stopped on damaged data. Reopening the store rebuilds the index from the packs and files.
    #[error("the block index is damaged; it is rebuilt when the workspace is opened again")]
    IndexDamaged,
    /// Another process, or another opening in this one, has the store.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// A key or value is longer than a table takes.
    #[error("a table entry of {len} bytes exceeds the limit of {limit}")]
    EntryTooLarge {
        /// Length found, in bytes.
        len: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The file is not, or no longer, registered.
    #[error("{0} is not registered with the store")]
    UnknownFile(FileId),
    /// Paths given to the store are relative to the workspace and stay inside it.
    #[error("{} is not a path inside the workspace", .0.display())]
    OutsideWorkspace(PathBuf),
    /// A path is wanted for two files at once.
    #[error("{} belongs to another file of the store", .0.display())]
    PathTaken(PathBuf),
    /// The name of an owner of pins is empty, too long or has control characters.
    #[error("{0:?} cannot own pins")]
    BadOwner(String),
    /// The name of a pin is longer than it may be. Kubo's words.
    #[error("pin name is {bytes} bytes (max {most} bytes)")]
    PinNameTooLong {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        most: usize,
    },
    /// Work in progress, or another collection, keeps GC out.
    #[error("garbage collection has to wait: a publish, a pull or another collection is under way")]
    Busy,
    /// GC cannot tell what is needed, so it removed nothing.
    #[error("garbage collection removed nothing: {reason}")]
    GcRefused {
        /// What it is in doubt about.
        reason: String,
    },
}

impl StoreError {
    /// Names the operation and path of an I/O error, and tells a full disk from the rest.
    pub(crate) fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        DiskError::new(operation, path, source).into()
    }

    /// Whether an earlier sync failed, so that nothing more is written before the store is opened again.
    pub fn is_poisoned(&self) -> bool {
        match self {
            Self::Io { source, .. } => odf_disk::is_poisoned(source),
            _ => false,
        }
    }

    /// Whether the disk, the quota on it, or the limit of the store had no room.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Full { .. } | Self::OverLimit { .. } => true,
            Self::Io { source, .. } => odf_disk::is_full(source),
            Self::Index(sled::Error::Io(source)) => odf_disk::is_full(source),
            _ => false,
        }
    }

    /// Whether the error is that a file is not there.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

impl From<DiskError> for StoreError {
    fn from(error: DiskError) -> Self {
        if error.is_full() {
            return Self::Full { path: error.path };
        }
        Self::Io {
            operation: error.operation,
            path: error.path,
            source: error.source,
        }
    }
}
