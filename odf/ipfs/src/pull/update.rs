//! A whole pull, from an address to a followed dataset.

use std::ops::ControlFlow;
use std::sync::Arc;

use odf_dataset::receive::{Destination, Progress, ReceiveError, Received, receive};
use odf_dataset::{Dataset, DatasetName, RemoteAliases, Sharing};
use odf_node::block::Cid;
use odf_node::fetch::{Fetched, Fetcher};
use odf_node::ipns::{Freshness, Origin, Resolved};
use odf_node::peer::Node;
use tokio::sync::watch;

use super::source::IpfsSource;
use super::{Address, PullError, RemoteError, blocking, open, root_of};
use crate::Local;
use crate::announce::announce_rest;
use crate::layout::Root;

/// What a pull found out and did.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// What came of it.
    pub received: Received,
    /// The dataset's own root, if it has a new head; equals the one pulled if odfs laid that out.
    pub root: Option<Root>,
    /// What the network gave and what was here.
    pub fetched: Fetched,
    /// Where the answer is from to what the name stands for; none of a fixed root, which nobody has to be asked for, and of a
    /// name of which nobody was to be asked. One from memory says nothing of whether there is something newer.
    pub answer: Option<Origin>,
}

/// How to pull.
#[derive(Debug, Clone, Default)]
pub struct PullOptions {
    /// The dataset to update; else the one with the id found, else a new one.
    pub dataset: Option<Dataset>,
    /// Name of a new dataset; else the last part of the address.
    pub name: Option<DatasetName>,
    /// Remember the address with a dataset that was not given, so that its name is enough next time.
    pub alias: bool,
    /// Take the remote chain also if the local one diverged from it or is ahead; local blocks that it lacks are given up.
    pub force: bool,
    /// Who is asked what a name stands for: everybody; peers nearby and those that were named first, where somebody who has the
    /// dataset was named and is connected; or nobody, where news of it has just been heard.
    pub freshness: Freshness,
}

/// Hears how far a pull is, from several threads, and can end it.
pub type PullListener = Arc<dyn Fn(Progress) -> ControlFlow<()> + Send + Sync>;

/// Resolves the address, receives what is new, and keeps the name alive from then on. The collection of garbage waits for
/// the end of it. When this is dropped the pull ends soon; the dataset is then at its old or its new head.
///
/// `fetcher` is given so that its counters can be shown while this runs.
///
/// # Errors
/// See [`PullError`].
pub async fn pull_from(
    local: &Local,
    node: &Node,
    fetcher: &Fetcher,
    address: &Address,
    options: PullOptions,
    listener: PullListener,
) -> Result<Pulled, PullError> {
    let name = match options.name {
        Some(name) => name,
        None => address
            .default_name()
            .ok_or_else(|| PullError::NoName(address.to_string()))?,
    };
    let store = local.store().clone();
    // The first blocks are kept before anything is received.
    let hold = blocking(move || store.hold()).await?;
    let resolved = match address.name() {
        Some(name) => Some(node.names().resolve(name, options.freshness).await?),
        None => None,
    };
    let root = root(fetcher, address, resolved.as_ref()).await?;
    let remote = open(fetcher, root).await?;
    let published = remote.format.map(|_| root);
    let mut aliases = RemoteAliases::default();
    if options.alias {
        aliases.pull_aliases.push(address.to_string());
    }
    let destination = Destination {
        dataset: options.dataset,
        name,
        expected_id: address.dataset_id(),
        aliases,
        force: options.force,
    };
    let (waiting, wanted) = watch::channel(());
    let mut source = IpfsSource::new(address.to_string(), remote, local, fetcher, wanted.clone());
    let datasets = local.datasets().clone();
    let received = blocking(move || {
        let is_here = match (&destination.dataset, &destination.expected_id) {
            (None, Some(id)) => datasets.catalog().by_id(id)?.is_some(),
            (dataset, _) => dataset.is_some(),
        };
        if !is_here {
            source = source.of_a_new_one();
        }
        let listener = |at| match wanted.has_changed() {
            Ok(_) => listener(at),
            Err(_) => ControlFlow::Break(()),
        };
        receive(&datasets, &source, destination, &listener)
    })
    .await??;
    drop((waiting, hold));
    if let Some(name) = address.name() {
        node.names().follow(name).await?;
    }
    if !matches!(received, Received::Ahead { .. }) {
        // Everybody who knows the name can have all of it elsewhere.
        let dataset = received.dataset().clone();
        let noted = blocking(move || dataset.set_sharing(Sharing::Followed)).await?;
        noted.map_err(ReceiveError::Dataset)?;
    }
    let root = match &received {
        Received::Updated(arrived) => announce(local, node, &arrived.dataset, published).await?,
        Received::UpToDate { .. } | Received::Ahead { .. } => None,
    };
    Ok(Pulled {
        received,
        root,
        fetched: fetcher.fetched(),
        answer: resolved
            .filter(|_| options.freshness != Freshness::Cached)
            .map(|resolved| resolved.source),
    })
}

async fn root(fetcher: &Fetcher, address: &Address, resolved: Option<&Resolved>) -> Result<Cid, RemoteError> {
    match (address, resolved) {
        (Address::Root { cid, path }, _) => root_of(fetcher, &format!("/ipfs/{cid}/{path}")).await,
        (_, Some(resolved)) => root_of(fetcher, &resolved.value).await,
        (_, None) => Err(RemoteError::NotAPath(address.to_string())),
    }
}

/// Says that the dataset can be had here. `published` is the root it was pulled by, if that must come out the same.
async fn announce(
    local: &Local,
    node: &Node,
    dataset: &Dataset,
    published: Option<Cid>,
) -> Result<Option<Root>, PullError> {
    let (layout, id) = (local.layout().clone(), dataset.id());
    let Some(root) = blocking(move || layout.latest(&id)).await?? else {
        return Ok(None);
    };
    if let Some(published) = published.filter(|published| *published != root.cid) {
        tracing::warn!(remote = %published, local = %root.cid, "the publisher laid the dataset out otherwise");
    }
    if !dataset.is_shared() {
        return Ok(Some(root));
    }
    node.exchange().blocks_added(&root.entities());
    // Whoever pulls has what it came for: others are told while it goes on, or by the next peer here.
    node.provide_beside(root.entities()).await?;
    announce_rest(local, node, &id, &root).await?;
    Ok(Some(root))
}
