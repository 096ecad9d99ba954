//! From a name or a root to a verified local dataset, resumable.
//!
//! This finds out what an address stands for and gives it to [`receive`](odf_dataset::receive::receive) as a source: the
//! `blocks` directory lists every metadata block, so they come in parallel and the chain is never walked over the network;
//! leaves of slices and checkpoints are written straight into their place. Whatever arrived before an interruption is found
//! again in the store.
//!
//! What odfs lays out is taken in every [`Format`], and a plain UnixFS directory with `refs blocks data checkpoints`, as kamu
//! publishes through Kubo.

mod address;
mod chain;
mod meeting;
mod on_demand;
mod peers;
mod source;
mod update;

use odf_dataset::receive::{ReceiveError, SourceError};
use odf_metadata::Multihash;
use odf_node::block::{Block, Cid, DAG_CBOR, cid_from_text};
use odf_node::dag;
use odf_node::fetch::{FetchError, Fetcher};
use odf_node::ipns::ResolveError;
use odf_node::routing::RoutingError;
use odf_node::store::StoreError;

use crate::layout::{Format, LayoutError};

pub use address::{Address, AddressError, id_of, name_of};
pub use meeting::meet;
pub use on_demand::OnDemand;
pub use peers::FromPeers;
pub use update::{PullListener, PullOptions, Pulled, pull_from};

/// Longest `refs/head` that is read: a multihash in text is 69 bytes.
const MAX_HEAD_BYTES: usize = 128;

/// Why what an address leads to could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
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
    #[error("{cid} has layout format {format}, this odfs reads none above {}; update odfs", Format::CURRENT.number())]
    NewerFormat {
        /// The root.
        cid: Cid,
        /// Format found.
        format: i128,
    },
    /// The directories lack something that the chain names.
    #[error("the publisher's {directory} directory lacks {hash}")]
    Lacks {
        /// `blocks`, `data` or `checkpoints`.
        directory: &'static str,
        /// What is missing.
        hash: Multihash,
    },
    /// There is more in the `blocks` directory than is taken at once.
    #[error("{cid} lists more than {blocks} metadata blocks that are not here, or {bytes} bytes of them")]
    TooMuch {
        /// The root.
        cid: Cid,
        /// How many are taken at once.
        blocks: u64,
        /// How many bytes of them.
        bytes: u64,
    },
    /// What came could not be kept in the block store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<RemoteError> for SourceError {
    fn from(error: RemoteError) -> Self {
        Self::new(error)
    }
}

impl From<RemoteError> for ReceiveError {
    fn from(error: RemoteError) -> Self {
        SourceError::from(error).into()
    }
}

/// Why a pull did not end well. Unless it says otherwise the dataset is at its old head, and what arrived is kept for the
/// next attempt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// What a name stands for could not be found out.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The DHTs. The dataset may be at its new head, and not be announced.
    #[error(transparent)]
    Routing(#[from] RoutingError),
    /// Nothing in the address can be the name of a dataset.
    #[error("`{0}` gives no name for the dataset")]
    NoName(String),
    /// What the address leads to cannot be read.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The dataset did not come.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    /// The DAG of the pulled dataset, which is at its new head.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// That the name is followed could not be kept. The dataset is at its new head.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<FetchError> for PullError {
    fn from(error: FetchError) -> Self {
        RemoteError::from(error).into()
    }
}

/// A dataset found under a root.
#[derive(Debug, Clone)]
pub struct Remote {
    /// The root that was read.
    pub root: Cid,
    /// The remote head.
    pub head: Multihash,
    /// The format of the root, in which the local root must come out equal; none of a plain directory.
    format: Option<Format>,
    /// Its newest chain node.
    chain: Option<Cid>,
    blocks: Cid,
    data: Option<Cid>,
    checkpoints: Option<Cid>,
}

/// Reads the root below `cid` and the remote head: three or four small blocks.
///
/// # Errors
/// They cannot be had, or are not a dataset.
pub async fn open(fetcher: &Fetcher, cid: Cid) -> Result<Remote, RemoteError> {
    let not = |reason: &str| RemoteError::NotADataset {
        cid,
        reason: reason.to_owned(),
    };
    let root = fetcher.block(&cid).await?;
    let (files, chain, format) = if cid.codec() == DAG_CBOR {
        let (files, chain, format) = links_of(&root)?;
        (files, chain, Some(format))
    } else {
        (cid, None, None)
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
        format,
        chain,
        blocks,
        data: entry("data"),
        checkpoints: entry("checkpoints"),
    })
}

/// The CID that the value of a name leads to: `/ipfs/CID` or `/ipfs/CID/path`.
///
/// # Errors
/// Not such a path, or a block on it cannot be had.
pub async fn root_of(fetcher: &Fetcher, value: &str) -> Result<Cid, RemoteError> {
    let malformed = || RemoteError::NotAPath(value.to_owned());
    let (cid, path) = match value.strip_prefix("/ipfs/").ok_or_else(malformed)?.split_once('/') {
        Some((cid, path)) => (cid, path),
        None => (value.trim_start_matches("/ipfs/"), ""),
    };
    let cid = cid_from_text(cid).map_err(|_| malformed())?;
    let resolved = fetcher.resolve(cid, path).await?;
    if resolved.remainder.is_empty() {
        Ok(resolved.cid)
    } else {
        Err(malformed())
    }
}

/// The links `files` and `head` of a root that odfs made, and the format of it.
fn links_of(root: &Block) -> Result<(Cid, Option<Cid>, Format), RemoteError> {
    use ipld_core::ipld::Ipld;
    let cid = *root.cid();
    let not = |reason: &str| RemoteError::NotADataset {
        cid,
        reason: reason.to_owned(),
    };
    let Ok(Ipld::Map(map)) = dag::value(root) else {
        return Err(not("it is not a map"));
    };
    let format = match map.get("odf") {
        Some(Ipld::Integer(number)) => match Format::of_number(*number) {
            Some(format) => format,
            None if *number > i128::from(Format::CURRENT.number()) => {
                return Err(RemoteError::NewerFormat { cid, format: *number });
            }
            None => return Err(not("its number `odf` is below 1")),
        },
        _ => return Err(not("it has no number `odf`")),
    };
    match map.get("files") {
        Some(Ipld::Link(files)) => {
            let chain = match map.get("head") {
                Some(Ipld::Link(chain)) => Some(*chain),
                _ => None,
            };
            Ok((*files, chain, format))
        }
        _ => Err(not("it has no link `files`")),
    }
}

/// A file of at most `limit` bytes; `None` if it is longer or malformed.
async fn small_file(fetcher: &Fetcher, root: Cid, limit: usize) -> Result<Option<Vec<u8>>, RemoteError> {
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

/// Runs work that reads or writes the disk beside the async tasks.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, FetchError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| FetchError::Stopped)
}
