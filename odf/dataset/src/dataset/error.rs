//! Why a dataset could not be read or changed.

use std::io;
use std::path::{Path, PathBuf};

use odf_disk::DiskError;
use odf_metadata::chain::ChainError;
use odf_metadata::codec::DecodeError;
use odf_metadata::{DatasetId, Multihash};
use odf_tables::slice::SliceError;

use crate::MirrorError;

/// Why a dataset could not be read or changed. Unless a variant says otherwise the dataset is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
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
    /// A file does not hold what it must.
    #[error("{} is damaged: {reason}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A metadata block cannot be read, or a new one not be written.
    #[error("metadata block {}: {source}", .sequence.map(|s| s.to_string()).unwrap_or_default())]
    Block {
        /// Its sequence number, if it is known.
        sequence: Option<u64>,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// A block breaks a rule of the chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// Somebody else is changing the dataset right now.
    #[error("{} is being changed by somebody else; try again", .path.display())]
    Busy {
        /// The chain file.
        path: PathBuf,
    },
    /// The dataset has got a new head since it was opened. Open it again and repeat.
    #[error("the head moved from {expected} to {actual} meanwhile")]
    HeadMoved {
        /// The head it was opened at.
        expected: Multihash,
        /// The head now.
        actual: Multihash,
    },
    /// A dataset of this id is there already.
    #[error("a dataset with the id {0} exists already")]
    Exists(DatasetId),
    /// The chain has no block with this sequence number.
    #[error("the chain has no block {sequence}")]
    NoBlock {
        /// The number.
        sequence: u64,
    },
    /// The chain has no block with this hash.
    #[error("the chain does not hold block {0}")]
    NotInChain(Multihash),
    /// A chain is that of another dataset.
    #[error("this is the chain of {found}, not of {expected}")]
    OtherDataset {
        /// Id in its Seed.
        found: DatasetId,
        /// Id of the dataset.
        expected: DatasetId,
    },
    /// A slice cannot be read or installed.
    #[error(transparent)]
    Slice(#[from] SliceError),
    /// The second form of the dataset.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
}

impl DatasetError {
    pub(super) fn io(operation: &'static str, path: &Path, source: io::Error) -> DatasetError {
        DatasetError::Io {
            operation,
            path: path.to_owned(),
            source,
        }
    }

    /// Whether the disk, or the quota on it, had no room.
    pub fn is_disk_full(&self) -> bool {
        match self {
            DatasetError::Io { source, .. } => odf_disk::is_full(source),
            DatasetError::Slice(error) => error.is_disk_full(),
            _ => false,
        }
    }
}

impl From<DiskError> for DatasetError {
    fn from(error: DiskError) -> Self {
        DatasetError::io(error.operation, &error.path, error.source)
    }
}
