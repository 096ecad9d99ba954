//! A dataset that is not here: its chain is read and checked, and of its slices those blocks come that somebody wants to
//! look into.
//!
//! What leads from a root to a slice are directories that its owner signed the root of, so that a block under the CID that
//! they name is the owner's. The physical hash of a slice cannot be checked before all of it is here.

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use bytes::Bytes;
use odf_dataset::receive::{Progress, Surveyed, survey};
use odf_metadata::{DataSlice, DatasetId, Multihash};
use odf_node::block::Cid;
use odf_node::fetch::{Fetched, Fetcher};
use odf_node::ipns::{Freshness, Origin};
use odf_node::peer::Node;
use tokio::runtime::Handle;
use tokio::sync::OnceCell;

use super::{Address, FromPeers, PullError, RemoteError, blocking};
use crate::Local;

/// A dataset whose slices come block by block.
#[derive(Clone)]
pub struct OnDemand(Arc<Inner>);

struct Inner {
    chain: Surveyed,
    answer: Option<Origin>,
    /// The directory of its slices; none if it has none.
    data: Option<Cid>,
    fetcher: Fetcher,
    runtime: Handle,
    /// Where each slice begins, once somebody looks into one.
    listed: OnceCell<HashMap<Multihash, Cid>>,
}

impl std::fmt::Debug for OnDemand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnDemand")
            .field("id", &self.0.chain.state.dataset_id)
            .finish_non_exhaustive()
    }
}

impl OnDemand {
    /// What an address stands for now, as far as those know who are asked by `freshness`. Its metadata blocks come here; of
    /// a dataset that is here, only those that are newer.
    ///
    /// # Errors
    /// The name cannot be resolved or leads to no dataset, or the chain is not in order.
    pub async fn at(
        local: &Local,
        node: &Node,
        fetcher: &Fetcher,
        address: &Address,
        freshness: Freshness,
    ) -> Result<Self, PullError> {
        let source = FromPeers::at(local, node, fetcher, address, freshness).await?;
        Self::of(local, fetcher, source, address.dataset_id()).await
    }

    /// What is below a root, of the dataset with this id if one is given; `place` is what messages call it.
    ///
    /// # Errors
    /// It is no dataset or another one, cannot be had, or the chain is not in order.
    pub async fn below(
        local: &Local,
        fetcher: &Fetcher,
        root: Cid,
        place: String,
        id: Option<DatasetId>,
    ) -> Result<Self, PullError> {
        let source = FromPeers::below(local, fetcher, root, place).await?;
        Self::of(local, fetcher, source, id).await
    }

    async fn of(
        local: &Local,
        fetcher: &Fetcher,
        source: FromPeers,
        expected: Option<DatasetId>,
    ) -> Result<Self, PullError> {
        let (answer, data) = (source.answer(), source.data());
        let datasets = local.datasets().clone();
        // Whoever wants to know which blocks were looked into wants those of the whole chain.
        let known = expected.filter(|_| !fetcher.is_recording());
        let chain = blocking(move || {
            let catalog = datasets.catalog();
            let here = match known {
                Some(id) => catalog.by_id(&id)?,
                None => None,
            };
            let go_on = |_: Progress| ControlFlow::Continue(());
            survey(&source, here.as_ref(), expected, catalog.dir(), &go_on)
        });
        Ok(Self(Arc::new(Inner {
            chain: chain.await??,
            answer,
            data,
            fetcher: fetcher.clone(),
            runtime: Handle::current(),
            listed: OnceCell::new(),
        })))
    }

    /// Its chain.
    #[must_use]
    pub fn chain(&self) -> &Surveyed {
        &self.0.chain
    }

    /// Where the answer is from to what the name stands for; none of a root.
    #[must_use]
    pub fn answer(&self) -> Option<Origin> {
        self.0.answer
    }

    /// What came from peers so far, of everything that this fetcher was used for.
    #[must_use]
    pub fn fetched(&self) -> Fetched {
        self.0.fetcher.fetched()
    }

    /// The bytes of some ranges of a slice, each block checked. May be called from any runtime.
    ///
    /// # Errors
    /// The owner's directory lacks it, or a block cannot be had.
    pub async fn read(&self, slice: &DataSlice, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, RemoteError> {
        let (inner, hash, size, ranges) = (self.0.clone(), slice.physical_hash, slice.size, ranges.to_vec());
        let read = self.0.runtime.spawn(async move {
            let listed = inner.listed.get_or_try_init(|| inner.list()).await?;
            let lacks = || RemoteError::Lacks {
                directory: "data",
                hash,
            };
            let root = *listed.get(&hash).ok_or_else(lacks)?;
            Ok(inner.fetcher.parts(root, size, &ranges).await?)
        });
        read.await
            .unwrap_or(Err(RemoteError::Fetch(odf_node::fetch::FetchError::Stopped)))
    }
}

impl Inner {
    async fn list(&self) -> Result<HashMap<Multihash, Cid>, RemoteError> {
        let Some(data) = self.data else {
            return Ok(HashMap::new());
        };
        let (links, _) = self.fetcher.directory(data, false).await?;
        let named = links
            .into_iter()
            .filter_map(|link| Some((link.name.parse().ok()?, link.cid)));
        Ok(named.collect())
    }
}
