//! Why a dataset could not be received.

use std::io;
use std::path::PathBuf;

use odf_disk::DiskError;
use odf_metadata::codec::DecodeError;
use odf_metadata::{DatasetId, Multihash};

use super::Cancelled;
use super::limits::{MAX_NEW_BLOCK_BYTES, MAX_NEW_BLOCKS};
use crate::catalog::CatalogError;
use crate::rewrite::RewriteError;
use crate::{DatasetError, ErrorOf, MirrorError, Object};

/// Tells the errors of a [`Source`](super::Source) from others. It has no values.
#[derive(Debug)]
pub enum OfSource {}

/// Why something of a dataset elsewhere could not be read. What it is made of is the source's own matter.
pub type SourceError = ErrorOf<OfSource>;

/// Why a dataset did not come here. It is as it was, or not there; objects that were complete are kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// There is no dataset there.
    #[error("there is no dataset at {place}")]
    NotFound {
        /// The place.
        place: String,
    },
    /// The place cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
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
    /// More than is taken at once.
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
    /// The bytes of an object are not those that a metadata block names.
    #[error("{object} is not what its metadata block says: {found} instead of {expected}")]
    Object {
        /// The object.
        object: Object,
        /// Length or hash in the metadata block.
        expected: String,
        /// Length or hash found.
        found: String,
    },
    /// A metadata block names an object that did not come.
    #[error("{0} is missing, and a metadata block names it")]
    Lacking(Object),
    /// The stream of an object broke off.
    #[error("{object} could not be read to its end: {source}")]
    Broken {
        /// The object.
        object: Object,
        /// Why not.
        source: io::Error,
    },
    /// The new blocks do not follow the local head, and the local chain was not to be replaced.
    #[error("the new metadata blocks follow {}, but the local head is {local}", .follows.map_or_else(|| "nothing".to_owned(), |hash| hash.to_string()))]
    NotAhead {
        /// The local head.
        local: Multihash,
        /// What the first new block follows; nothing for a Seed.
        follows: Option<Multihash>,
    },
    /// Something else is bringing the same dataset here.
    #[error("the dataset {0} is being received already")]
    Busy(DatasetId),
    /// The dataset.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The dataset could not be found or made; its name may be taken.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The second form of the dataset.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
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

impl From<RewriteError> for ReceiveError {
    fn from(error: RewriteError) -> Self {
        match error {
            RewriteError::Dataset(error) => error.into(),
            RewriteError::Mirror(error) => error.into(),
            RewriteError::Catalog(error) => error.into(),
            RewriteError::Left { source, .. } => (*source).into(),
        }
    }
}

impl From<DiskError> for ReceiveError {
    fn from(error: DiskError) -> Self {
        Self::Io {
            operation: error.operation,
            path: error.path,
            source: error.source,
        }
    }
}
