//! The gateway over a peer: blocks from the store or the network, names from memory or the network.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use cid::Cid;

use super::cache::{Cache, MAX_CACHED_BYTES, MAX_READ_BYTES};
use super::dnslink::{DnsLinks, is_domain};
use super::source::{NameValue, Source, SourceError};
use crate::block::Block;
use crate::exchange::{self, FetchError, Session};
use crate::ipns::{Freshness, Name, Names, ResolveError, Resolved};
use crate::peer::Node;
use crate::store::{Blocks as _, Store, StoreError};
use crate::threads::{blocking, lock};

/// Everything that a peer has and can get.
///
/// Blocks that come from other peers do not go into the store: some are kept in memory for a while
/// ([`MAX_CACHED_BYTES`](super::MAX_CACHED_BYTES)), and nobody else is served them. Names that the peer owns are answered from memory,
/// others too for as long as their record's TTL says.
pub struct PeerSource {
    /// The id of the peer.
    id: String,
    store: Store,
    exchange: exchange::Handle,
    names: Names,
    dns: DnsLinks,
    /// From peers.
    cache: Mutex<Cache>,
    /// From the store.
    read: Arc<Mutex<Cache>>,
}

impl PeerSource {
    /// A source over a peer and the store that it serves from.
    pub fn new(store: Store, node: &Node) -> Self {
        Self {
            id: node.peer_id().to_string(),
            store,
            exchange: node.exchange().clone(),
            names: node.names().clone(),
            dns: DnsLinks::default(),
            cache: Mutex::new(Cache::of(MAX_CACHED_BYTES)),
            read: Arc::new(Mutex::new(Cache::of(MAX_READ_BYTES))),
        }
    }

    /// The same, which knows domains, too.
    #[must_use]
    pub fn with_domains(self, dns: DnsLinks) -> Self {
        Self { dns, ..self }
    }

    fn cached<T>(&self, work: impl FnOnce(&mut Cache) -> T) -> T {
        work(&mut self.cache.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Source for PeerSource {
    type Session = Session;

    fn session(&self, through: &[String]) -> Session {
        let through = through.iter().chain([&self.id]).map(String::as_str);
        let through: Vec<&str> = through.collect();
        self.exchange.session_through(Some(through.join(", ").into()))
    }

    fn id(&self) -> &str {
        &self.id
    }

    async fn here(&self, cid: &Cid) -> Result<Option<Block>, SourceError> {
        if let Some(block) = self.cached(|cache| cache.get(cid)) {
            return Ok(Some(block));
        }
        let (store, read, cid) = (self.store.clone(), Arc::clone(&self.read), *cid);
        let found = blocking(move || read_once(&store, &read, &cid)).await;
        found.map_err(|error| SourceError::Failed(error.to_string()))
    }

    async fn here_together(&self, cids: &[Cid], most: usize) -> Result<Vec<Block>, SourceError> {
        let (store, cids) = (self.store.clone(), cids.to_vec());
        let found = blocking(move || {
            let (mut found, mut bytes) = (Vec::new(), 0);
            for cid in &cids {
                let is_room = found.is_empty() || store.size(cid)?.is_some_and(|size| bytes + size <= most);
                let Some(block) = is_room.then(|| store.get(cid)).transpose()?.flatten() else {
                    break;
                };
                bytes += block.data().len();
                found.push(block);
            }
            Ok(found)
        });
        found
            .await
            .map_err(|error: StoreError| SourceError::Failed(error.to_string()))
    }

    async fn block(&self, session: &Session, cid: &Cid) -> Result<Block, SourceError> {
        let block = session.fetch(cid).await.map_err(|error| match error {
            FetchError::NotFound { .. } | FetchError::Unverifiable { .. } => SourceError::NotFound(error.to_string()),
            FetchError::Stalled { .. } => SourceError::TimedOut(error.to_string()),
            error => SourceError::Failed(error.to_string()),
        })?;
        let block = block.alone();
        self.cached(|cache| cache.keep(block.clone()));
        Ok(block)
    }

    async fn has(&self, cid: &Cid) -> bool {
        if self.cached(|cache| cache.has(cid)) {
            return true;
        }
        let (store, cid) = (self.store.clone(), *cid);
        blocking(move || store.has(&cid).unwrap_or(false)).await
    }

    async fn known_name(&self, name: &str) -> Result<Option<NameValue>, SourceError> {
        match parsed(name) {
            Ok(name) => Ok(self.names.at_hand(&name).await.map(value)),
            Err(_) if is_domain(name) => Ok(self.dns.fixed(name)),
            Err(error) => Err(error),
        }
    }

    async fn resolve_name(&self, name: &str) -> Result<NameValue, SourceError> {
        let key = match parsed(name) {
            Ok(key) => key,
            Err(_) if is_domain(name) => return self.dns.look_up(name).await,
            Err(error) => return Err(error),
        };
        let resolved = self.names.resolve(&key, Freshness::Network).await;
        resolved.map(value).map_err(|error| match error {
            ResolveError::Store(_) | ResolveError::Routing(_) => SourceError::Failed(error.to_string()),
            error => SourceError::NotFound(error.to_string()),
        })
    }
}

/// A block of the store, from memory if it was read of late and is there still.
fn read_once(store: &Store, read: &Mutex<Cache>, cid: &Cid) -> Result<Option<Block>, StoreError> {
    let known = lock(read).get(cid);
    if let Some(block) = known {
        return store.still(block);
    }
    let found = store.get(cid)?;
    if let Some(block) = &found {
        lock(read).keep(block.clone());
    }
    Ok(found)
}

pub(super) fn parsed(name: &str) -> Result<Name, SourceError> {
    name.parse()
        .map_err(|error| SourceError::BadName(format!("{name:?} is no name: {error}")))
}

pub(super) fn value(resolved: Resolved) -> NameValue {
    let valid_until = resolved.record.valid_until();
    let left = valid_until.duration_since(SystemTime::now()).unwrap_or(Duration::ZERO);
    NameValue {
        path: resolved.value,
        max_age: resolved.record.ttl().min(left),
        record: Some(resolved.record.bytes().clone()),
    }
}
