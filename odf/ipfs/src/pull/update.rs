//! A whole pull, from an address to a followed dataset.

use std::time::Duration;

use odf_node::block::Cid;
use odf_node::fetch::Fetcher;
use odf_node::ipns::{Freshness, Resolved};
use odf_node::peer::Node;

use super::{Address, Destination, Outcome, Progress, PullError, blocking, open, pull, root_of};
use crate::Local;
use odf_dataset::{Dataset, DatasetName};

/// What a pull found out and did.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// How it ended.
    pub outcome: Outcome,
    /// How long ago the network last confirmed the name, if it could not be asked now.
    pub stale: Option<Duration>,
}

/// How to pull.
#[derive(Debug, Clone, Default)]
pub struct PullOptions {
    /// The dataset to update; else the one with the id found, else a new one.
    pub dataset: Option<Dataset>,
    /// Name of a new dataset; else the last part of the address.
    pub name: Option<DatasetName>,
    /// Remember the address with a new dataset, so that its name is enough next time.
    pub alias: bool,
    /// Take the remote chain also if the local one diverged from it or is ahead; local blocks that it lacks are given up.
    pub force: bool,
}

/// Resolves the address, pulls what is new, and keeps the name alive from then on.
///
/// `fetcher` is given so that its counters can be shown while this runs.
///
/// # Errors
/// See [`PullError`]. The dataset is at its old head then.
pub async fn pull_from(
    local: &Local,
    node: &Node,
    fetcher: &Fetcher,
    address: &Address,
    options: PullOptions,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Pulled, PullError> {
    let resolved = match address.name() {
        Some(name) => Some(node.names().resolve(name, Freshness::Network).await?),
        None => None,
    };
    let root = root(fetcher, address, resolved.as_ref()).await?;
    let remote = open(fetcher, root).await?;
    let name = match options.name {
        Some(name) => name,
        None => address
            .default_name()
            .ok_or_else(|| PullError::NoName(address.to_string()))?,
    };
    let known = options.dataset.is_some();
    let alias = options.alias.then(|| address.to_string());
    let destination = Destination {
        dataset: options.dataset,
        name,
        expected_id: address.dataset_id(),
        alias,
        force: options.force,
    };
    let outcome = pull(local, fetcher, &remote, destination, progress).await?;
    if let Some(name) = address.name() {
        node.names().follow(name).await?;
    }
    if options.alias && !known {
        let (dataset, alias) = (outcome.dataset().clone(), address.to_string());
        blocking(move || add_pull_alias(&dataset, alias)).await??;
    }
    if let Outcome::Updated { root, dataset, .. } = &outcome {
        let (store, owner, cid) = (local.store().clone(), dataset.id().to_string(), root.cid);
        blocking(move || store.pin(&owner, &cid).and_then(|()| store.flush())).await??;
        node.exchange().blocks_added(&root.entities());
        node.provide(root.entities()).await?;
    }
    Ok(Pulled {
        outcome,
        stale: resolved.and_then(|resolved| resolved.age).filter(|age| !age.is_zero()),
    })
}

async fn root(fetcher: &Fetcher, address: &Address, resolved: Option<&Resolved>) -> Result<Cid, PullError> {
    match (address, resolved) {
        (Address::Root { cid, path }, _) => root_of(fetcher, &format!("/ipfs/{cid}/{path}")).await,
        (_, Some(resolved)) => root_of(fetcher, &resolved.value).await,
        (_, None) => Err(PullError::NotAPath(address.to_string())),
    }
}

fn add_pull_alias(dataset: &Dataset, alias: String) -> Result<(), PullError> {
    dataset.change_remote_aliases(|aliases| {
        if !aliases.pull_aliases.contains(&alias) {
            aliases.pull_aliases.push(alias);
        }
    })?;
    Ok(())
}
