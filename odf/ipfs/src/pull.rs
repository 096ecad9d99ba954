//! From a root to a verified local dataset, resumable.
//!
//! The `blocks` directory lists every metadata block, so they come in parallel and the chain is never walked over
//! the network. Order of events: list, fetch metadata blocks, check them against their hashes and the rules of the
//! chain, fetch slices and checkpoints into their place, check their hashes, make everything durable, and only then
//! move the head. Whatever arrived before an interruption is found again in the store.
//!
//! Two forms of roots are taken: format 1 of odfs ([`crate::layout`]), and a plain UnixFS directory with
//! `refs blocks data checkpoints`, as kamu publishes through Kubo.

mod address;
mod objects;
mod transfer;
mod update;

use std::path::PathBuf;

use odf_node::block::{Block, Cid, DAG_CBOR};
use odf_node::dag;
use odf_node::fetch::{FetchError, Fetched, Fetcher};
use odf_node::ipns::ResolveError;
use odf_node::routing::RoutingError;
use odf_node::store::StoreError;

use crate::Local;
use crate::layout::{FORMAT, LayoutError, Root};
use odf_dataset::catalog::CatalogError;
use odf_dataset::rewrite::RewriteError;
use odf_dataset::{Dataset, DatasetError, DatasetName};
use odf_metadata::codec::DecodeError;
use odf_metadata::{DatasetId, Multihash};

pub use address::{Address, AddressError, name_of};
pub use update::{PullOptions, Pulled, pull_from};

/// Longest `refs/head` that is read: a multihash in text is 69 bytes.
const MAX_HEAD_BYTES: usize = 128;

/// Why a pull did not end well. The dataset is at its old head; what arrived is kept for the next attempt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// What a name stands for could not be found out.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The DHTs.
    #[error(transparent)]
    Routing(#[from] RoutingError),
    /// Nothing in the address can be the name of a dataset.
    #[error("`{0}` gives no name for the dataset")]
    NoName(String),
    /// Blocks could not be had.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// What the root points to is no dataset.
    #[error("{cid} is not a dataset: {reason}")]
    NotADataset {
        /// The root.
        cid: Cid,
        /// What is missing or wrong.
        reason: String,
    },
    /// A name stands for something that leads to no content.
    #[error("`{0}` is not a path of the form /ipfs/CID")]
    NotAPath(String),
    /// Written by a newer odfs.
    #[error("{cid} has layout format {format}, this odfs reads {FORMAT}; update odfs")]
    NewerFormat {
        /// The root.
        cid: Cid,
        /// Format found.
        format: i128,
    },
    /// A metadata block is damaged or forged.
    #[error("metadata block {hash}: {source}")]
    Block {
        /// The block.
        hash: Multihash,
        /// What is wrong.
        source: DecodeError,
    },
    /// The directories lack something that the chain names.
    #[error("the publisher's {directory} directory lacks {hash}")]
    Lacks {
        /// `blocks`, `data` or `checkpoints`.
        directory: &'static str,
        /// What is missing.
        hash: Multihash,
    },
    /// A slice or checkpoint is not what its metadata block says.
    #[error("{} is not what its metadata block says: {found} instead of {expected}", .path.display())]
    Object {
        /// The file as it would be named.
        path: PathBuf,
        /// Hash or length in the metadata block.
        expected: String,
        /// Hash or length found.
        found: String,
    },
    /// Local and remote chains went apart.
    #[error(
        "the local chain (head {local}) and the remote one (head {remote}) diverged after {common} common block(s)"
    )]
    Diverged {
        /// Local head.
        local: Multihash,
        /// Remote head.
        remote: Multihash,
        /// Length of the common part.
        common: u64,
    },
    /// The dataset found is not the one that was expected.
    #[error("this is dataset {found}, but {expected} was expected")]
    OtherDataset {
        /// Id in the remote Seed.
        found: DatasetId,
        /// Id wanted.
        expected: DatasetId,
    },
    /// The local dataset.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The local chain could not be replaced.
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
    /// The local dataset could not be found or made.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The DAG of the pulled dataset.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The block store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file.
    #[error("cannot {operation} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// How a pull ended.
#[derive(Debug, Clone)]
#[allow(
    clippy::large_enum_variant,
    reason = "there is one at a time, and every variant holds a dataset"
)]
pub enum Outcome {
    /// The local dataset is at the remote head.
    UpToDate {
        /// The dataset.
        dataset: Dataset,
    },
    /// The local dataset has everything of the remote one, and more.
    Ahead {
        /// The dataset.
        dataset: Dataset,
        /// Head of the remote one.
        remote: Multihash,
    },
    /// The dataset is at the remote head now.
    Updated {
        /// The dataset.
        dataset: Dataset,
        /// Head before; none for a new dataset.
        old_head: Option<Multihash>,
        /// Metadata blocks that came.
        blocks: u64,
        /// Local metadata blocks that were given up for them, or for being ahead.
        dropped: u64,
        /// Slices and checkpoints that came.
        objects: u64,
        /// What the network gave and what was here.
        fetched: Fetched,
        /// The dataset's own root; equals the one pulled if that was in format 1.
        root: Root,
    },
}

impl Outcome {
    /// The dataset.
    pub fn dataset(&self) -> &Dataset {
        match self {
            Self::UpToDate { dataset } | Self::Ahead { dataset, .. } | Self::Updated { dataset, .. } => dataset,
        }
    }
}

/// What a pull is about to do or has done; for progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// The root was read; its head is known.
    Found {
        /// The remote head.
        head: Multihash,
    },
    /// It is known what has to come.
    Planned {
        /// Metadata blocks that came.
        blocks: u64,
        /// Slices and checkpoints to come.
        objects: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// A slice or checkpoint is complete and checked.
    Object {
        /// Its bytes.
        bytes: u64,
    },
}

/// What to pull into.
#[derive(Debug, Clone)]
pub struct Destination {
    /// The local dataset to update. Without one the dataset with the remote id is updated, or a new one made.
    pub dataset: Option<Dataset>,
    /// Name of a new dataset.
    pub name: DatasetName,
    /// Id that the remote dataset must have.
    pub expected_id: Option<DatasetId>,
    /// Where a new dataset is pulled from, as it will remember it.
    pub alias: Option<String>,
    /// Make the local chain the remote one whatever it holds. A dataset of another id is refused all the same.
    pub force: bool,
}

/// A dataset found under a root.
#[derive(Debug, Clone)]
pub struct Remote {
    /// The root that was read.
    pub root: Cid,
    /// The remote head.
    pub head: Multihash,
    /// Whether the root is in format 1, so that the local root must come out equal.
    canonical: bool,
    blocks: Cid,
    data: Option<Cid>,
    checkpoints: Option<Cid>,
}

/// Reads the root below `cid` and the remote head: three or four small blocks.
///
/// # Errors
/// They cannot be had, or are not a dataset.
pub async fn open(fetcher: &Fetcher, cid: Cid) -> Result<Remote, PullError> {
    let not = |reason: &str| PullError::NotADataset {
        cid,
        reason: reason.to_owned(),
    };
    let root = fetcher.block(&cid).await?;
    let (files, canonical) = if cid.codec() == DAG_CBOR {
        (files_of(&root)?, true)
    } else {
        (cid, false)
    };
    let (links, _) = fetcher.directory(files, false).await?;
    let entry = |name: &str| links.iter().find(|link| link.name == name).map(|link| link.cid);
    let refs = entry("refs").ok_or_else(|| not("it has no directory refs"))?;
    let blocks = entry("blocks").ok_or_else(|| not("it has no directory blocks"))?;
    let (refs, _) = fetcher.directory(refs, false).await?;
    let head = refs
        .iter()
        .find(|link| link.name == "head")
        .ok_or_else(|| not("it has no refs/head"))?;
    let head = small_file(fetcher, head.cid, MAX_HEAD_BYTES).await?;
    let head = head
        .as_deref()
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
        .and_then(|text| text.trim_end().parse().ok())
        .ok_or_else(|| not("its refs/head is not a hash"))?;
    Ok(Remote {
        root: cid,
        head,
        canonical,
        blocks,
        data: entry("data"),
        checkpoints: entry("checkpoints"),
    })
}

/// The CID that the value of a name leads to: `/ipfs/CID` or `/ipfs/CID/path`.
///
/// # Errors
/// Not such a path, or a block on it cannot be had.
pub async fn root_of(fetcher: &Fetcher, value: &str) -> Result<Cid, PullError> {
    let malformed = || PullError::NotAPath(value.to_owned());
    let (cid, path) = match value.strip_prefix("/ipfs/").ok_or_else(malformed)?.split_once('/') {
        Some((cid, path)) => (cid, path),
        None => (value.trim_start_matches("/ipfs/"), ""),
    };
    let cid: Cid = cid.parse().map_err(|_| malformed())?;
    let resolved = fetcher.resolve(cid, path).await?;
    if resolved.remainder.is_empty() {
        Ok(resolved.cid)
    } else {
        Err(malformed())
    }
}

/// The link `files` of a root in format 1.
fn files_of(root: &Block) -> Result<Cid, PullError> {
    use ipld_core::ipld::Ipld;
    let cid = *root.cid();
    let not = |reason: &str| PullError::NotADataset {
        cid,
        reason: reason.to_owned(),
    };
    let Ok(Ipld::Map(map)) = dag::value(root) else {
        return Err(not("it is not a map"));
    };
    match map.get("odf") {
        Some(Ipld::Integer(FORMAT)) => {}
        Some(Ipld::Integer(format)) => return Err(PullError::NewerFormat { cid, format: *format }),
        _ => return Err(not("it has no number `odf`")),
    }
    match map.get("files") {
        Some(Ipld::Link(files)) => Ok(*files),
        _ => Err(not("it has no link `files`")),
    }
}

/// A file of at most `limit` bytes; `None` if it is longer or malformed.
pub(crate) async fn small_file(fetcher: &Fetcher, root: Cid, limit: usize) -> Result<Option<Vec<u8>>, PullError> {
    use odf_node::unixfs::export::{FileCursor, Step};
    let mut cursor = FileCursor::new(root);
    let mut content = Vec::new();
    loop {
        match cursor.step() {
            Step::Done => return Ok(Some(content)),
            Step::Data { bytes, .. } => content.extend_from_slice(&bytes),
            Step::Need(cid) => {
                if cursor.feed(&fetcher.block(&cid).await?).is_err() {
                    return Ok(None);
                }
            }
        }
        if content.len() > limit || cursor.size().is_some_and(|size| size > limit as u64) {
            return Ok(None);
        }
    }
}

/// Brings a remote dataset here. See the module for the order of events.
///
/// # Errors
/// See [`PullError`].
pub async fn pull(
    local: &Local,
    fetcher: &Fetcher,
    remote: &Remote,
    destination: Destination,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Outcome, PullError> {
    progress(Progress::Found { head: remote.head });
    if let Some(dataset) = &destination.dataset
        && *dataset.head() == remote.head
    {
        return Ok(Outcome::UpToDate {
            dataset: dataset.clone(),
        });
    }
    transfer::Transfer {
        local,
        fetcher,
        remote,
        progress,
    }
    .run(destination)
    .await
}

/// Runs work that reads or writes the disk beside the async tasks.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, PullError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| PullError::Fetch(FetchError::Stopped))
}
