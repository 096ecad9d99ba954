//! What is wanted, from here or from peers: blocks, files into their place, directories, whole DAGs.
//!
//! A [`Fetcher`] looks into the store first and asks an exchange session for the rest. What arrives is kept at once,
//! so that an interrupted fetch goes on where it stopped. It fetches in parallel, within named bounds, and never
//! walks into a subtree that is marked complete.

mod gather;
mod nodes;
mod walks;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Fuse};

use crate::block::{Block, Cid};
use crate::dag::DagError;
use crate::exchange::{FetchError as ExchangeError, Session};
use crate::store::{Blocks as _, FileId, Store, StoreError};
use crate::threads::blocking;
use crate::unixfs::directory::{DirectoryError, Link};
use crate::unixfs::export::ExportError;
use crate::unixfs::resolve::{ResolveError, Resolved, Resolver, Step};
use gather::gather;
pub use walks::MAX_DAG_NODES;
use walks::{Content, Everything, Tree};

/// How many blocks one operation asks for at once. With leaves of 1 MiB this is also its memory, in MiB.
pub const MAX_IN_FLIGHT: usize = 64;
/// How many small nodes one operation asks for at once.
pub const MAX_NODES_IN_FLIGHT: usize = 1024;
/// How many nodes are marked complete in one go.
const MARKED_AT_ONCE: usize = 1 << 16;

/// Why something could not be fetched. What had arrived is kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// No peer gave a block.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A directory is malformed, or is none.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A file is malformed, or is none.
    #[error(transparent)]
    File(#[from] ExportError),
    /// A node is malformed.
    #[error(transparent)]
    Dag(#[from] DagError),
    /// The path leads nowhere.
    #[error(transparent)]
    Path(#[from] ResolveError),
    /// The DAG is larger than is fetched as one.
    #[error("the DAG below {root} has more than {MAX_DAG_NODES} nodes")]
    TooManyNodes {
        /// Its root.
        root: Cid,
    },
    /// The process is stopping.
    #[error("the fetch was stopped with the process")]
    Stopped,
}

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

    /// One block, from here or from a peer; it is in the store afterwards.
    ///
    /// # Errors
    /// Nobody gave it, or the store failed.
    pub async fn block(&self, cid: &Cid) -> Result<Block, FetchError> {
        if let Some(block) = self.local(*cid).await? {
            self.counters.local.fetch_add(1, Ordering::Relaxed);
            return Ok(block);
        }
        let block = self.remote(cid).await?;
        let kept = block.clone();
        self.on_store(move |store| store.put(std::slice::from_ref(&kept)))
            .await?;
        Ok(block)
    }

    /// As [`Fetcher::block`], without reading a block that is here.
    ///
    /// # Errors
    /// As [`Fetcher::block`].
    pub async fn ensure(&self, cid: &Cid) -> Result<(), FetchError> {
        let cid = *cid;
        if self.on_store(move |store| store.has(&cid)).await? {
            self.counters.local.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        let block = self.remote(&cid).await?;
        self.on_store(move |store| store.put(std::slice::from_ref(&block)))
            .await
    }

    /// Where a path below `root` leads.
    ///
    /// # Errors
    /// A block on the way is missing or malformed, or there is no such entry.
    pub async fn resolve(&self, root: Cid, path: &str) -> Result<Resolved, FetchError> {
        let mut resolver = Resolver::new(root, path)?;
        loop {
            match resolver.step() {
                Step::Done(resolved) => return Ok(resolved),
                Step::Need(cid) => resolver.feed(&self.block(&cid).await?)?,
            }
        }
    }

    /// The entries of a directory, all nodes of a HAMT fetched in parallel. Entries below nodes that are marked
    /// complete are left out when `skip_complete` is set: whoever asks has them.
    ///
    /// Also gives the nodes that were looked into, so that they can be marked complete when the entries are here.
    ///
    /// # Errors
    /// A node is missing or malformed, or more than [`MAX_LISTED`] entries.
    pub async fn directory(&self, root: Cid, skip_complete: bool) -> Result<(Vec<Link>, Vec<Cid>), FetchError> {
        let mut walk = Tree::new(root, skip_complete);
        gather(self, &mut walk, MAX_NODES_IN_FLIGHT).await?;
        Ok((walk.links, walk.visited))
    }

    /// The file with this root, its leaves written to their place in `file`, which is registered with the store.
    /// Returns its length, and the nodes above the leaves.
    ///
    /// Leaves that are in the store already are taken from there.
    ///
    /// # Errors
    /// A block is missing, or the DAG is not that of a file. Leaves that arrived stay in their place.
    pub async fn file(&self, root: Cid, file: FileId, limit: u64) -> Result<(u64, Vec<Cid>), FetchError> {
        let mut walk = Content::new(root, file, limit);
        gather(self, &mut walk, MAX_IN_FLIGHT).await?;
        Ok((walk.size.unwrap_or(0), walk.nodes))
    }

    /// Every block below `root` into the store. Complete subtrees are not visited; afterwards `root` is marked
    /// complete, with everything below it.
    ///
    /// # Errors
    /// A block is missing or malformed. What arrived is kept.
    pub async fn dag(&self, root: Cid) -> Result<(), FetchError> {
        let walk = self.store.walk();
        let mut all = Everything::below(root);
        gather(self, &mut all, MAX_IN_FLIGHT).await?;
        let nodes = all.nodes;
        self.on_store(move |store| {
            let mut chunks = nodes.chunks(MARKED_AT_ONCE);
            chunks.try_for_each(|chunk| store.mark_complete(&walk, &chunk))
        })
        .await
    }

    async fn remote(&self, cid: &Cid) -> Result<Block, FetchError> {
        let session = self.session.as_ref().ok_or(ExchangeError::Closed { cid: *cid })?;
        let block = session.fetch(cid).await?;
        self.counters.blocks.fetch_add(1, Ordering::Relaxed);
        self.counters
            .bytes
            .fetch_add(block.data().len() as u64, Ordering::Relaxed);
        Ok(block)
    }

    async fn local(&self, cid: Cid) -> Result<Option<Block>, FetchError> {
        self.on_store(move |store| store.get(&cid)).await
    }

    /// The store blocks, so it runs beside the async tasks.
    async fn on_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, FetchError> {
        let store = self.store.clone();
        Ok(blocking(move || work(&store)).await?)
    }

    /// As [`on_store`](Self::on_store), begun at once and awaited when there is time.
    fn job<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, FetchError> + Send + 'static,
    ) -> Fuse<BoxFuture<'static, Result<T, FetchError>>> {
        let store = self.store.clone();
        blocking(move || work(&store)).boxed().fuse()
    }
}
