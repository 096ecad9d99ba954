//! Why datasets could not be exchanged with another place.

use std::io;
use std::path::PathBuf;

use super::arrival::ArrivalError;
use super::compare::{MAX_NEW_BLOCK_BYTES, MAX_NEW_BLOCKS};
use super::smart::SmartError;
use odf_dataset::DatasetError;
use odf_disk::DiskError;
use odf_metadata::codec::DecodeError;
use odf_metadata::{DatasetId, Multihash};

/// Why something of a dataset elsewhere could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// A file that must be there is not.
    #[error("{place} has no {file}, which its metadata chain names")]
    Missing {
        /// The dataset.
        place: String,
        /// The file within it.
        file: String,
    },
    /// The head is not one.
    #[error("{place}refs/head is not the hash of a metadata block: {reason}")]
    BadHead {
        /// The dataset, with a slash at its end.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file is longer than any such file can be.
    #[error("{place}{file} is longer than {limit} bytes")]
    TooLong {
        /// The dataset, with a slash at its end.
        place: String,
        /// The file within it.
        file: String,
        /// The most it may have.
        limit: usize,
    },
    /// The server wants to know who asks, or does not like the answer.
    #[error("{url} was refused: the server answered {status}")]
    Denied {
        /// What was asked for.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// The server cannot or does not want to.
    #[error("{url}: the server answered {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// No answer, or none to its end.
    #[error("{url} cannot be reached: {reason}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// Why not.
        reason: String,
    },
    /// A file of this machine.
    #[error("cannot {operation} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Why a sync did not end well. The destination is as it was; what arrived and is in order is kept for the next attempt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SyncError {
    /// There is no dataset there.
    #[error("there is no dataset at {place}")]
    NotFound {
        /// The place.
        place: String,
    },
    /// The place cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A metadata block is damaged or forged.
    #[error("metadata block {hash} of {place}: {source}")]
    Block {
        /// The dataset.
        place: String,
        /// The block.
        hash: Multihash,
        /// What is wrong.
        source: DecodeError,
    },
    /// The remote chain contradicts itself.
    #[error("the metadata chain of {place} is broken at block {hash}: {reason}")]
    Chain {
        /// The dataset.
        place: String,
        /// The block.
        hash: Multihash,
        /// What is wrong.
        reason: String,
    },
    /// More than one sync takes.
    #[error(
        "{place} has more than {MAX_NEW_BLOCKS} metadata blocks, or {MAX_NEW_BLOCK_BYTES} bytes of them, to take at once"
    )]
    TooMuch {
        /// The dataset.
        place: String,
    },
    /// Each side has metadata blocks that the other lacks.
    #[error(
        "the local chain (head {local}, {ours} block(s) of its own) and that of {place} (head {remote}, {theirs} block(s) of \
         its own) diverged after {common} common block(s)"
    )]
    Diverged {
        /// The other place.
        place: String,
        /// Local head.
        local: Multihash,
        /// Remote head.
        remote: Multihash,
        /// Blocks that both have.
        common: u64,
        /// Blocks that only the local chain has.
        ours: u64,
        /// Blocks that only the remote chain has.
        theirs: u64,
    },
    /// A push to a place that has all that is here, and more.
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
    /// The place has another dataset than the one that was expected.
    #[error("{place} has dataset {found}, but {expected} was expected")]
    OtherDataset {
        /// The other place.
        place: String,
        /// Id in the remote Seed.
        found: DatasetId,
        /// Id wanted.
        expected: DatasetId,
    },
    /// Somebody else moved the head of the place during a push.
    #[error("the head of {place} moved meanwhile, to {}", .actual.map_or_else(|| "nothing".to_owned(), |hash| hash.to_string()))]
    HeadMoved {
        /// The place.
        place: String,
        /// The head now.
        actual: Option<Multihash>,
    },
    /// What came is not what it should be, or could not be kept.
    #[error(transparent)]
    Arrival(#[from] ArrivalError),
    /// A transfer by the smart protocol.
    #[error(transparent)]
    Smart(#[from] SmartError),
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
    #[error("interrupted")]
    Cancelled,
}

impl From<DiskError> for SyncError {
    fn from(error: DiskError) -> Self {
        SyncError::Io {
            operation: error.operation,
            path: error.path,
            source: error.source,
        }
    }
}
