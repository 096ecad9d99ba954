//! Why the disk could not be changed or read.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Why the disk could not be changed or read. Unless a call says otherwise, nothing was changed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}: {source}", .path.display())]
pub struct DiskError {
    /// What was tried, as a verb.
    pub operation: &'static str,
    /// On what.
    pub path: PathBuf,
    /// Why not.
    #[source]
    pub source: io::Error,
}

impl DiskError {
    /// An error of the operating system, with what was tried on what.
    pub fn new(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Self {
            operation,
            path: path.to_owned(),
            source,
        }
    }

    /// Whether the disk, or the quota on it, had no room.
    pub fn is_full(&self) -> bool {
        is_full(&self.source)
    }

    /// Whether an earlier sync failed, so that nothing more is written before the workspace is opened again.
    pub fn is_poisoned(&self) -> bool {
        is_poisoned(&self.source)
    }

    /// Whether the file is not there.
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == ErrorKind::NotFound
    }
}

/// Whether an error of the operating system means that there was no room.
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
    )
}

/// Whether an error of a [`Disk`](crate::Disk), or of a [`DiskFile`](crate::DiskFile) through [`std::io::Write`], says
/// that an earlier sync failed.
pub fn is_poisoned(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<SyncFailed>())
}

/// The source of the error that every call after a failed sync gives.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the disk failed to keep {} earlier; nothing more is written until odfs is started again", .0.display())]
pub(super) struct SyncFailed(pub(super) PathBuf);
