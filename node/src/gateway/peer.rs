//! The gateway over a peer: blocks from the store or the network, names from memory or the network.

use std::time::{Duration, SystemTime};

use cid::Cid;

use super::source::{NameValue, Source, SourceError};
use crate::block::Block;
use crate::exchange::{self, FetchError as ExchangeError};
use crate::fetch::{FetchError, Fetcher};
use crate::ipns::{Freshness, Name, Names, ResolveError, Resolved};
use crate::peer::Node;
use crate::store::{Blocks as _, Store};
use crate::threads::blocking;

/// Everything that a peer has and can get.
///
/// Blocks that come from other peers are kept until the next GC. Names that the peer owns are answered from memory,
/// others too for as long as their record's TTL says.
pub struct PeerSource {
    store: Store,
    exchange: exchange::Handle,
    names: Names,
}

impl PeerSource {
    /// A source over a peer and the store that it serves from.
    pub fn new(store: Store, node: &Node) -> Self {
        Self {
            store,
            exchange: node.exchange().clone(),
            names: node.names().clone(),
        }
    }

    /// What memory knows of the name, if that will do.
    async fn remembered(&self, name: &Name) -> Option<Resolved> {
        let own = self
            .names
            .status(name)
            .await
            .ok()
            .flatten()
            .is_some_and(|status| status.own);
        let known = self.names.resolve(name, Freshness::Cached).await.ok()?;
        let fresh = known.age.is_some_and(|age| age < known.record.ttl());
        (!known.expired && (own || fresh)).then_some(known)
    }
}

impl Source for PeerSource {
    type Session = Fetcher;

    fn session(&self) -> Fetcher {
        Fetcher::new(self.store.clone(), Some(self.exchange.session()))
    }

    async fn block(&self, session: &Fetcher, cid: &Cid) -> Result<Block, SourceError> {
        session.block(cid).await.map_err(|error| match error {
            FetchError::Exchange(error @ (ExchangeError::NotFound { .. } | ExchangeError::Unverifiable { .. })) => {
                SourceError::NotFound(error.to_string())
            }
            FetchError::Exchange(error @ ExchangeError::Stalled { .. }) => SourceError::TimedOut(error.to_string()),
            error => SourceError::Failed(error.to_string()),
        })
    }

    async fn has(&self, cid: &Cid) -> bool {
        let (store, cid) = (self.store.clone(), *cid);
        blocking(move || store.has(&cid).unwrap_or(false)).await
    }

    async fn resolve_name(&self, name: &str) -> Result<NameValue, SourceError> {
        let name: Name = name
            .parse()
            .map_err(|error| SourceError::BadName(format!("{name:?} is no name: {error}")))?;
        let resolved = match self.remembered(&name).await {
            Some(resolved) => resolved,
            None => self
                .names
                .resolve(&name, Freshness::Network)
                .await
                .map_err(|error| match error {
                    ResolveError::Store(_) | ResolveError::Routing(_) => SourceError::Failed(error.to_string()),
                    error => SourceError::NotFound(error.to_string()),
                })?,
        };
        let left = resolved
            .record
            .valid_until()
            .duration_since(SystemTime::now())
            .unwrap_or(Duration::ZERO);
        Ok(NameValue {
            path: resolved.value,
            max_age: resolved.record.ttl().min(left),
        })
    }
}
