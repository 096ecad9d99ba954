//! Peers as a place that blocks, files and other histories of a dataset are taken from.

use bytes::Bytes;
use odf_dataset::Object;
use odf_dataset::receive::{Arrival, Listener, ReceiveError, Source, SourceError};
use odf_metadata::Multihash;
use odf_node::block::Cid;
use odf_node::fetch::Fetcher;
use odf_node::ipns::{Freshness, Origin};
use odf_node::peer::Node;
use tokio::sync::watch;

use super::source::IpfsSource;
use super::{Address, PullError, open, root_of};
use crate::Local;

/// Everybody who has the DAG of a dataset below some root, for threads that may block.
pub struct FromPeers {
    source: IpfsSource,
    answer: Option<Origin>,
    /// The source goes on for as long as this is there.
    _waiting: watch::Sender<()>,
}

impl FromPeers {
    /// What an address stands for now, as far as those know who are asked by `freshness`. `fetcher` looks here first and then
    /// asks peers.
    ///
    /// # Errors
    /// The name cannot be resolved, or leads to no dataset.
    pub async fn at(
        local: &Local,
        node: &Node,
        fetcher: &Fetcher,
        address: &Address,
        freshness: Freshness,
    ) -> Result<Self, PullError> {
        let (value, answer) = match (address, address.name()) {
            (Address::Root { cid, path }, _) => (format!("/ipfs/{cid}/{path}"), None),
            (_, Some(name)) => {
                let resolved = node.names().resolve(name, freshness).await?;
                (
                    resolved.value,
                    Some(resolved.source).filter(|_| freshness != Freshness::Cached),
                )
            }
            (_, None) => (address.to_string(), None),
        };
        let root = root_of(fetcher, &value).await?;
        let found = Self::below(local, fetcher, root, address.to_string()).await?;
        Ok(Self { answer, ..found })
    }

    /// What is below a root; `place` is what messages call it.
    ///
    /// # Errors
    /// It is no dataset, or cannot be had.
    pub async fn below(local: &Local, fetcher: &Fetcher, root: Cid, place: String) -> Result<Self, PullError> {
        let remote = open(fetcher, root).await?;
        let (waiting, wanted) = watch::channel(());
        Ok(Self {
            source: IpfsSource::new(place, remote, local, fetcher, wanted),
            answer: None,
            _waiting: waiting,
        })
    }

    /// Where the answer is from to what the name stands for; none of a root. See [`Pulled::answer`](super::Pulled::answer).
    #[must_use]
    pub fn answer(&self) -> Option<Origin> {
        self.answer
    }

    /// The directory of its slices.
    pub(super) fn data(&self) -> Option<Cid> {
        self.source.data()
    }

    /// The same for a copy that is not served: its files are plain ones, which the block store does not hear of.
    #[must_use]
    pub fn apart(self) -> Self {
        Self {
            source: self.source.apart(),
            ..self
        }
    }
}

impl Source for FromPeers {
    fn place(&self) -> &str {
        self.source.place()
    }

    fn head(&self) -> Result<Option<Multihash>, SourceError> {
        self.source.head()
    }

    fn block(&self, hash: &Multihash) -> Result<Bytes, SourceError> {
        self.source.block(hash)
    }

    fn objects(&self, objects: &[Object], arrival: &Arrival, listener: &Listener<'_>) -> Result<(), ReceiveError> {
        self.source.objects(objects, arrival, listener)
    }
}
