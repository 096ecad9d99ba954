//! Data slices: immutable Parquet files, written once with both of their hashes, and read back.
//!
//! A [`SliceWriter`] writes exactly what kamu 0.265 writes for the same rows (odf-facts §6): Snappy, `parquet`'s defaults,
//! `offset` declared as the sorting column, row counts per call in multiples of 1024. Physical hash (SHA3-256 of the file)
//! and logical hash (`arrow-digest` of the rows) are taken while the rows go by; nothing is read twice.
//!
//! The file is born under a temporary name. [`WrittenSlice::install`] makes it durable and gives it the name of its hash;
//! until then a crash leaves a temporary file, which [`remove_pending`] sweeps away; dropping the writer leaves none.

mod read;
mod write;

pub(crate) use read::{SliceFile, displayable_column};
pub use read::{SliceReader, conform, displayable, logical_hash};
pub use write::{SliceOptions, SliceWriter, WrittenSlice};

use std::io;
use std::path::{Path, PathBuf};

use arrow::error::ArrowError;
use parquet::errors::ParquetError;

use crate::digest::DigestError;

/// What every name of an unfinished file begins with.
pub const PENDING_PREFIX: &str = ".pending-";

/// Why a slice could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SliceError {
    /// The operating system refused.
    #[error("cannot {operation} {}: {source}", .path.display())]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Not a readable Parquet file, or it could not be written.
    #[error("{}: {source}", .path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: ParquetError,
    },
    /// Rows could not be brought into columns.
    #[error("{}: {source}", .path.display())]
    Arrow {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: ArrowError,
    },
    /// The rows have no logical hash.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// A column that is wanted is not in the file.
    #[error("{}: no column `{column}`", .path.display())]
    NoColumn {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
    },
    /// No row was written.
    #[error("a slice needs at least one row")]
    NoRows,
}

impl SliceError {
    pub(crate) fn io(operation: &'static str, path: &Path, source: io::Error) -> SliceError {
        SliceError::Io {
            operation,
            path: path.to_owned(),
            source,
        }
    }

    fn parquet(path: &Path, source: ParquetError) -> SliceError {
        // A full disk reaches us wrapped; unwrap it so that callers can tell.
        let source = match source {
            ParquetError::External(inner) => match inner.downcast::<io::Error>() {
                Ok(io) => return SliceError::io("write", path, *io),
                Err(inner) => ParquetError::External(inner),
            },
            other => other,
        };
        SliceError::Parquet {
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn arrow(path: &Path, source: ArrowError) -> SliceError {
        SliceError::Arrow {
            path: path.to_owned(),
            source,
        }
    }

    /// Whether the disk, or the quota on it, had no room.
    pub fn is_disk_full(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, SliceError::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }
}

/// Removes what unfinished writings and queries left in a directory. Call it only where nobody else is writing.
pub fn remove_pending(dir: &Path) -> Result<(), SliceError> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(SliceError::io("read", dir, error)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| SliceError::io("read", dir, e))?;
        if entry.file_name().to_string_lossy().starts_with(PENDING_PREFIX) {
            let path = entry.path();
            let removed = if path.is_dir() {
                std::fs::remove_dir_all(&path)
            } else {
                std::fs::remove_file(&path)
            };
            removed.map_err(|e| SliceError::io("remove", &path, e))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
