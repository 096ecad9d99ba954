//! Why datasets could not be exchanged with another place.

mod read;

use std::io;
use std::path::PathBuf;

use odf_dataset::DatasetError;
use odf_dataset::receive::{Cancelled, ReceiveError, SourceError};
use odf_disk::DiskError;
use odf_metadata::Multihash;

pub use read::ReadError;

use crate::smart::SmartError;

/// Why a push did not end well. The destination is at its old head; what arrived there and is in order stays for the next
/// attempt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// There is no dataset there, and none can be made.
    #[error("there is no dataset at {place}")]
    NotFound {
        /// The place.
        place: String,
    },
    /// The chain there cannot be read, or does not go with the local one.
    #[error(transparent)]
    Compare(ReceiveError),
    /// The place has all that is here, and more.
    #[error("{place} is ahead by {by} block(s): its head is {remote}, the local head is {local}")]
    DestinationAhead {
        /// The other place.
        place: String,
        /// Local head.
        local: Multihash,
        /// Remote head.
        remote: Multihash,
        /// Blocks that are not here.
        by: u64,
    },
    /// Somebody else moved the head of the place meanwhile.
    #[error("the head of {place} moved meanwhile, to {}", .actual.map_or_else(|| "nothing".to_owned(), |hash| hash.to_string()))]
    HeadMoved {
        /// The place.
        place: String,
        /// The head now.
        actual: Option<Multihash>,
    },
    /// A transfer by the smart protocol.
    #[error(transparent)]
    Smart(SmartError),
    /// The local dataset.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// A local file, on its way elsewhere, is not what its metadata block says.
    #[error("{} is not what its metadata block says: {found} instead of {expected}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Length or hash in the metadata block.
        expected: String,
        /// Length or hash found.
        found: String,
    },
    /// A file.
    #[error("cannot {operation} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The caller wanted it to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl From<ReceiveError> for PushError {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::Dataset(error) => error.into(),
            ReceiveError::Cancelled(error) => error.into(),
            error => Self::Compare(error),
        }
    }
}

impl From<SourceError> for PushError {
    fn from(error: SourceError) -> Self {
        Self::Compare(error.into())
    }
}

impl From<SmartError> for PushError {
    fn from(error: SmartError) -> Self {
        match error {
            SmartError::Cancelled(error) => error.into(),
            SmartError::Read(error) => SourceError::from(error).into(),
            error => Self::Smart(error),
        }
    }
}

impl From<DiskError> for PushError {
    fn from(error: DiskError) -> Self {
        Self::Io {
            operation: error.operation,
            path: error.path,
            source: error.source,
        }
    }
}
