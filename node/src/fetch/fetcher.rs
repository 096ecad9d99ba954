//! Where blocks come from: the store, and the peers of one session.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Fuse};

use super::error::FetchError;
use crate::block::{Block, Cid};
use crate::exchange::{AheadOf, FetchError as ExchangeError, Session, Verdict};
use crate::store::{Blocks as _, Store, StoreError};
use crate::threads::blocking;

/// What a [`Fetcher`] has done so far.
#[derive(Debug, Default)]
struct Counters {
    blocks: AtomicU64,
    bytes: AtomicU64,
    local: AtomicU64,
}

/// What a [`Fetcher`] has done so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Fetched {
    /// Blocks that came from peers.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blocks that were here already.
    pub local: u64,
}

/// Fetches over one exchange session, or from the store alone. Cheap to clone; clones share session and counters.
#[derive(Clone)]
pub struct Fetcher {
    store: Store,
    session: Option<Session>,
    counters: Arc<Counters>,
}

impl Fetcher {
    /// Fetches over `session`; without one, from the store alone.
    pub fn new(store: Store, session: Option<Session>) -> Self {
        Self {
            store,
            session,
            counters: Arc::default(),
        }
    }

    /// The session, for its statistics and to name providers.
    pub fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// Has all of a DAG come in one answer where a gateway gives it, see [`Session::ahead`]; unless its root is here, and
    /// then most of it as a rule.
    ///
    /// # Errors
    /// The store failed.
    pub async fn ahead(&self, root: &Cid) -> Result<Option<AheadOf>, FetchError> {
        let Some(session) = self.session.as_ref().filter(|session| session.gateways() > 0) else {
            return Ok(None);
        };
        let root = *root;
        let is_here = self.on_store(move |store| store.has(&root)).await?;
        Ok(if is_here { None } else { session.ahead(&root) })
    }

    /// What has been done so far.
    pub fn fetched(&self) -> Fetched {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { blocks, bytes, local } = &*self.counters;
        Fetched {
            blocks: read(blocks),
            bytes: read(bytes),
            local: read(local),
        }
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// Something that was asked for was here.
    pub(super) fn count_local(&self) {
        self.counters.local.fetch_add(1, Ordering::Relaxed);
    }

    /// A block from a peer. It is not kept.
    pub(super) async fn remote(&self, cid: &Cid) -> Result<Block, FetchError> {
        let nobody = || ExchangeError::NotFound {
            cid: *cid,
            verdict: Verdict::default(),
        };
        let session = self.session.as_ref().ok_or_else(nobody)?;
        let block = session.fetch(cid).await?;
        self.counters.blocks.fetch_add(1, Ordering::Relaxed);
        self.counters
            .bytes
            .fetch_add(block.data().len() as u64, Ordering::Relaxed);
        Ok(block)
    }

    /// A block that is here.
    pub(super) async fn local(&self, cid: Cid) -> Result<Option<Block>, FetchError> {
        self.on_store(move |store| store.get(&cid)).await
    }

    /// The store blocks, so it runs beside the async tasks.
    pub(super) async fn on_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, FetchError> {
        let store = self.store.clone();
        Ok(blocking(move || work(&store)).await?)
    }

    /// As [`on_store`](Self::on_store), begun at once and awaited when there is time.
    pub(super) fn job<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, FetchError> + Send + 'static,
    ) -> Fuse<BoxFuture<'static, Result<T, FetchError>>> {
        let store = self.store.clone();
        blocking(move || work(&store)).boxed().fuse()
    }
}
