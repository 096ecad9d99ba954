//! Where blocks come from: the store, and the peers of one session.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

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
    /// What was looked into, for those who want to know.
    looked_into: Option<Arc<Mutex<LookedInto>>>,
}

/// Blocks in the order in which they were first looked into.
#[derive(Debug, Default)]
struct LookedInto {
    order: Vec<Cid>,
    seen: HashSet<Cid>,
}

impl Fetcher {
    /// Fetches over `session`; without one, from the store alone.
    pub fn new(store: Store, session: Option<Session>) -> Self {
        Self {
            store,
            session,
            counters: Arc::default(),
            looked_into: None,
        }
    }

    /// The same, with a memory for all blocks that it gives.
    #[must_use]
    pub fn recording(self) -> Self {
        Self {
            looked_into: Some(Arc::default()),
            ..self
        }
    }

    /// Whether it remembers which blocks it gave.
    pub fn is_recording(&self) -> bool {
        self.looked_into.is_some()
    }

    /// The blocks that it and its clones gave, each once, in the order in which they were first wanted; none unless it
    /// [records](Self::recording).
    pub fn recorded(&self) -> Vec<Cid> {
        self.looked_into.as_ref().map_or_else(Vec::new, |looked_into| {
            let looked_into = looked_into.lock().unwrap_or_else(PoisonError::into_inner);
            looked_into.order.clone()
        })
    }

    /// A block was given.
    pub(super) fn note(&self, cid: &Cid) {
        if let Some(looked_into) = &self.looked_into {
            let mut looked_into = looked_into.lock().unwrap_or_else(PoisonError::into_inner);
            if looked_into.seen.insert(*cid) {
                looked_into.order.push(*cid);
            }
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
    pub(super) fn count_local(&self, cid: &Cid) {
        self.note(cid);
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
        self.note(cid);
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
