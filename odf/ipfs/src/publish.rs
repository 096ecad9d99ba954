//! From a head to a pinned root, a signed name and provider records.
//!
//! A name is moved only forward: the head that it stands for must be part of the local chain, or publishing is refused, so
//! that two machines with one key cannot undo each other's work unnoticed, and followers do not meet another history by
//! mistake.

use std::time::SystemTime;

use ipld_core::ipld::Ipld;
use odf_node::block::Cid;
use odf_node::fetch::Fetcher;
use odf_node::ipns::{self, Freshness, Name, PublishOptions};
use odf_node::peer::Node;
use odf_node::routing::RoutingError;
use odf_node::store::StoreError;

use crate::Local;
use crate::announce::announce_rest;
use crate::layout::{LayoutError, Root};
use crate::pull::{self, RemoteError};
use crate::retention::value;
use crate::standing;
use odf_dataset::{Dataset, DatasetError, Sharing};
use odf_metadata::{DatasetId, Multihash};

/// How often a name may move under our hands before publishing gives up.
const MAX_ATTEMPTS: usize = 3;

/// Why a dataset was not published. The dataset itself is unchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The DAG could not be made.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The dataset cannot be read.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The record could not be made or kept.
    #[error(transparent)]
    Name(#[from] ipns::PublishError),
    /// The DHTs.
    #[error(transparent)]
    Routing(#[from] RoutingError),
    /// The name stands for something that is not an ancestor of the local head.
    #[error(
        "{name} already leads to another history, whose newest block {head} is not part of the local one ({found})"
    )]
    Diverged {
        /// The name.
        name: Name,
        /// What it stands for.
        found: String,
        /// The head found there.
        head: Multihash,
    },
    /// The name stands for something whose head cannot be read.
    #[error("{name} already leads to {found}, and it cannot be told whether that is older: {source}")]
    Unreadable {
        /// The name.
        name: Name,
        /// What it stands for.
        found: String,
        /// Why not.
        source: Box<RemoteError>,
    },
    /// The process is stopping.
    #[error("publishing was stopped with the process")]
    Stopped,
}

/// What was published.
#[derive(Debug, Clone)]
pub struct Published {
    /// The name.
    pub name: Name,
    /// The root it stands for now.
    pub root: Root,
    /// Sequence number of its record.
    pub sequence: u64,
    /// When the record expires.
    pub valid_until: SystemTime,
    /// What the name stood for before.
    pub before: Before,
    /// Peers that hold the record; 0 when nobody is in reach, and it is put as soon as somebody is.
    pub holders: usize,
}

/// What a name stood for before it was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// Nothing, as far as this peer knows.
    Nothing,
    /// The same root.
    Same,
    /// A root of an earlier head of the same history.
    Earlier {
        /// How many metadata blocks the head has moved on since.
        blocks: u64,
    },
    /// Something else, or what is not known well enough to say more.
    Other,
}

/// Lays the dataset out, pins its root, moves the name of `key` to it and announces both.
///
/// With nobody in reach this succeeds too: record and announcements are kept and go out when peers appear. `force`
/// publishes over whatever the name stands for.
///
/// # Errors
/// See [`PublishError`]. After [`PublishError::Diverged`] nothing has been announced.
pub async fn publish(
    local: &Local,
    node: &Node,
    dataset: &Dataset,
    key: &odf_node::keystore::Keypair,
    force: bool,
) -> Result<Published, PublishError> {
    let (root, ancestor) = lay_out_after(local, dataset).await?;
    let name = Name::from_public_key(&key.public());
    let path = path_of(&root);
    let mut expected = match node.names().resolve(&name, Freshness::Cached).await {
        Ok(known) => known.value,
        // Nothing is known, so nothing is expected to be there.
        Err(_) => String::new(),
    };
    // What was published from here may be of a history that was written again since.
    let is_ancestor =
        expected.is_empty() || expected == path || ancestor.is_some_and(|root| path_of(&root) == expected);
    if !force && !is_ancestor {
        check_ancestor(local, node, dataset, &name, &expected).await?;
    }
    let min_sequence = dataset.state().sequence_number;
    for _ in 0..MAX_ATTEMPTS {
        let options = PublishOptions {
            min_sequence,
            expected: Some(expected.clone()).filter(|_| !force),
            ..PublishOptions::default()
        };
        match node.names().publish(key, &path, options).await {
            Err(ipns::PublishError::Superseded { name, found, .. }) => {
                check_ancestor(local, node, dataset, &name, &found).await?;
                expected = found;
            }
            Err(error) => return Err(error.into()),
            Ok(published) => {
                share(dataset).await?;
                if pull::name_of(&dataset.id()) == Some(name) {
                    standing::clear_due(local.store(), &dataset.id());
                }
                node.provide(root.entities()).await?;
                announce_rest(local, node, &dataset.id(), &root).await?;
                let before = before(local, dataset, &expected, &path)?;
                return Ok(Published {
                    name,
                    root,
                    sequence: published.record.sequence(),
                    valid_until: published.record.valid_until(),
                    before,
                    holders: published.holders,
                });
            }
        }
    }
    Err(ipns::PublishError::Superseded {
        name,
        found: expected,
        expected: path,
    }
    .into())
}

/// Whether what the name of a key stands for, by all that is known here and that peers say now, is part of the local chain:
/// to be asked before rows are added that could not be announced. If nobody has a record there is nothing against it.
///
/// # Errors
/// [`PublishError::Diverged`]: it stands for blocks that are not here. [`PublishError::Unreadable`].
pub async fn check_base(local: &Local, node: &Node, dataset: &Dataset, name: &Name) -> Result<(), PublishError> {
    let Ok(known) = node.names().resolve(name, Freshness::Network).await else {
        return Ok(());
    };
    // Whatever the head is now, and whether its blocks are here or not: a root that was pinned here was moved to by nobody else.
    let root = known.value.strip_prefix("/ipfs/").and_then(|cid| cid.parse().ok());
    if root.is_some_and(|root| local.store().is_pinned(&dataset.id().to_string(), &root)) {
        return Ok(());
    }
    check_ancestor(local, node, dataset, name, &known.value).await
}

/// Whether what a name was known to stand for is of the history that the dataset has: what came off it was never published
/// under the name then. False also where that is not here to be looked at.
///
/// # Errors
/// The store failed.
pub async fn stands_within(local: &Local, dataset: &Dataset, name: &Name) -> Result<bool, StoreError> {
    let known = ipns::status(local.store(), name)?;
    let Some(value) = known.and_then(|known| known.value) else {
        return Ok(false);
    };
    let fetcher = Fetcher::new(local.store().clone(), None);
    let Ok(root) = pull::root_of(&fetcher, &value).await else {
        return Ok(false);
    };
    let remote = pull::open(&fetcher, root).await;
    Ok(remote.is_ok_and(|remote| matches!(dataset.block_by_hash(&remote.head), Ok(Some(_)))))
}

/// What is announced is everybody's.
async fn share(dataset: &Dataset) -> Result<(), PublishError> {
    let dataset = dataset.clone();
    let noted = pull::blocking(move || match dataset.sharing() {
        // What its owner said of it outlasts the publication.
        Ok(Some(Sharing::Shared)) => Ok(()),
        _ => dataset.set_sharing(Sharing::Published),
    });
    let noted = noted.await;
    Ok(noted.map_err(|_| PublishError::Stopped)??)
}

/// Lays the dataset out at its head and pins the root.
///
/// # Errors
/// See [`LayoutError`].
pub async fn lay_out(local: &Local, dataset: &Dataset) -> Result<Root, PublishError> {
    Ok(lay_out_after(local, dataset).await?.0)
}

/// As [`lay_out`]; also gives the root that was made before it, if that is of an earlier head of the same history.
async fn lay_out_after(local: &Local, dataset: &Dataset) -> Result<(Root, Option<Root>), PublishError> {
    let (local, dataset) = (local.clone(), dataset.clone());
    let work = move || -> Result<(Root, Option<Root>), PublishError> {
        let before = local.layout().latest_of(&dataset)?;
        let root = local.layout().update(&dataset)?;
        local.store().pin(&dataset.id().to_string(), &root.cid)?;
        Ok((root, before))
    };
    pull::blocking(work).await.map_err(|_| PublishError::Stopped)?
}

/// What a name that stands for a root says.
fn path_of(root: &Root) -> String {
    format!("/ipfs/{}", root.cid)
}

/// Notes that the name of the dataset is to be moved to its head, as [`publish`] does, which ends that. Durable when this
/// returns.
///
/// # Errors
/// The index cannot be written.
pub fn set_due(local: &Local, dataset: &Dataset) -> Result<(), StoreError> {
    standing::set_due(local.store(), &dataset.id())
}

/// The datasets whose names are to be moved to their heads, some of which may not be here any more.
///
/// # Errors
/// The index cannot be read.
pub fn all_due(local: &Local) -> Result<Vec<DatasetId>, StoreError> {
    standing::all_due(local.store())
}

/// What a name stood for that said `old` and says `new` now. Looks at what is here only.
fn before(local: &Local, dataset: &Dataset, old: &str, new: &str) -> Result<Before, PublishError> {
    if old.is_empty() {
        return Ok(Before::Nothing);
    }
    if old == new {
        return Ok(Before::Same);
    }
    let store = local.store();
    let root = old.strip_prefix("/ipfs/").and_then(|cid| cid.parse::<Cid>().ok());
    let Some(Ipld::Link(head)) = root.map(|root| value(store, &root, "head")).transpose()?.flatten() else {
        return Ok(Before::Other);
    };
    let (Some(Ipld::Integer(sequence)), Some(Ipld::Bytes(hash))) =
        (value(store, &head, "seq")?, value(store, &head, "hash")?)
    else {
        return Ok(Before::Other);
    };
    let sequence = u64::try_from(sequence).unwrap_or(u64::MAX);
    // A history that was written again has other blocks at the same places.
    let own = dataset.block_by_sequence(sequence)?;
    let is_own = own.is_some_and(|own| own.block.hash().to_bytes() == hash);
    Ok(match is_own {
        true => Before::Earlier {
            blocks: dataset.state().sequence_number.saturating_sub(sequence),
        },
        false => Before::Other,
    })
}

/// Whether what a name stands for is an older state of the dataset.
async fn check_ancestor(
    local: &Local,
    node: &Node,
    dataset: &Dataset,
    name: &Name,
    found: &str,
) -> Result<(), PublishError> {
    let unreadable = |source: RemoteError| PublishError::Unreadable {
        name: *name,
        found: found.to_owned(),
        source: source.into(),
    };
    let fetcher = Fetcher::new(local.store().clone(), Some(node.exchange().session()));
    let root = pull::root_of(&fetcher, found).await.map_err(unreadable)?;
    let remote = pull::open(&fetcher, root).await.map_err(unreadable)?;
    if dataset.block_by_hash(&remote.head)?.is_some() {
        return Ok(());
    }
    Err(PublishError::Diverged {
        name: *name,
        found: found.to_owned(),
        head: remote.head,
    })
}

impl Root {
    /// What is announced: the entities somebody may ask for first. Everything below them is found at the same peer.
    pub fn entities(&self) -> Vec<Cid> {
        vec![self.cid, self.files, self.chain_node]
    }
}
