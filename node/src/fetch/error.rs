//! Why a fetch fails.

use crate::block::Cid;
use crate::dag::DagError;
use crate::exchange::FetchError as ExchangeError;
use crate::store::StoreError;
use crate::unixfs::directory::DirectoryError;
use crate::unixfs::export::ExportError;
use crate::unixfs::resolve::ResolveError;

/// The most nodes one walk over a whole DAG visits; with 50 bytes for each, some 0.8 GiB.
pub const MAX_DAG_NODES: usize = 1 << 24;

/// Why something could not be fetched. What had arrived is kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// No peer gave a block.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A directory is malformed, or is none.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A file is malformed, or is none.
    #[error(transparent)]
    File(#[from] ExportError),
    /// A node is malformed.
    #[error(transparent)]
    Dag(#[from] DagError),
    /// The path leads nowhere.
    #[error(transparent)]
    Path(#[from] ResolveError),
    /// The DAG is larger than is fetched as one.
    #[error("the DAG below {root} has more than {MAX_DAG_NODES} nodes")]
    TooManyNodes {
        /// Its root.
        root: Cid,
    },
    /// The process is stopping.
    #[error("the fetch was stopped with the process")]
    Stopped,
}
