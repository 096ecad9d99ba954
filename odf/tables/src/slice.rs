//! Data slices: immutable Parquet files, written once with both of their hashes, and read back.
//!
//! A [`SliceWriter`] writes exactly what kamu 0.265 writes for the same rows (odf-facts §6): Snappy, `parquet`'s defaults,
//! `offset` declared as the sorting column and behind it those by which a query says that its rows are in order, row counts
//! per call in multiples of 1024. Physical hash (SHA3-256 of the file) and logical hash (`arrow-digest` of the rows) are
//! taken while the rows go by; nothing is read twice. Memory is bounded in bytes, whatever rows there are: pages that wait for their row group go to a file without a name, rows go to the encoder in
//! groups that end early where they are long, and are read in batches that do.
//!
//! The file is born under a temporary name. [`WrittenSlice::install`] makes it durable and gives it the name of its hash;
//! until then a crash leaves a temporary file, which [`Disk::sweep`](odf_disk::Disk::sweep) removes; dropping the writer
//! leaves none.

mod bytes;
mod encode;
mod groups;
mod nameless;
mod pages;
mod read;
mod widths;
mod write;

pub use self::bytes::{bytes_of_rows, pieces, rows_reaching};
pub use nameless::nameless;
pub use read::{SliceFile, SliceReader, conform, displayable, displayable_column, logical_hash, logical_hash_telling};
pub use widths::{BYTES_PER_BATCH, Widths};
pub use write::{Codec, Ordered, SliceOptions, SliceWriter, WrittenSlice};

use std::io;
use std::path::{Path, PathBuf};

use arrow::error::ArrowError;
use odf_disk::DiskError;
use parquet::errors::ParquetError;

use crate::digest::DigestError;

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
    /// An error of the operating system, with what was tried on what.
    pub fn io(operation: &'static str, path: &Path, source: io::Error) -> SliceError {
        SliceError::Io {
            operation,
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn parquet(path: &Path, source: ParquetError) -> SliceError {
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

    /// Rows of a file that could not be brought into columns.
    pub fn arrow(path: &Path, source: ArrowError) -> SliceError {
        SliceError::Arrow {
            path: path.to_owned(),
            source,
        }
    }

    /// Whether the disk, or the quota on it, had no room.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, SliceError::Io { source, .. } if odf_disk::is_full(source))
    }
}

impl From<DiskError> for SliceError {
    fn from(error: DiskError) -> Self {
        SliceError::io(error.operation, &error.path, error.source)
    }
}

#[cfg(test)]
mod tests;
