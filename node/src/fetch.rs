//! What is wanted, from here or from peers: blocks, files into their place, directories, whole DAGs.
//!
//! A [`Fetcher`] looks into the store first and asks an exchange session for the rest. What arrives is kept at once,
//! so that an interrupted fetch goes on where it stopped. It fetches in parallel, within named bounds, and never
//! walks into a subtree that is marked complete.

mod nodes;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt as _};

use crate::block::{Block, Cid, DAG_CBOR, DAG_PB, RAW};
use crate::dag::{self, DagError};
use crate::exchange::{FetchError as ExchangeError, Session};
use crate::store::{Blocks as _, FileId, Leaf, Store, StoreError, Visited};
use crate::threads::blocking;
use crate::unixfs::directory::{DirectoryError, Link, Listing, MAX_LISTED};
use crate::unixfs::export::{self, ExportError, Part};
use crate::unixfs::resolve::{ResolveError, Resolved, Resolver, Step};
use nodes::Nodes;

/// How many blocks one operation asks for at once. With leaves of 1 MiB this is also its memory, in MiB.
pub const MAX_IN_FLIGHT: usize = 64;
/// How many small nodes one operation asks for at once.
pub const MAX_NODES_IN_FLIGHT: usize = 1024;
/// The most nodes one [`Fetcher::dag`] visits; with 50 bytes for each, some 0.8 GiB.
pub const MAX_DAG_NODES: usize = 1 << 24;
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
        let mut listing = Listing::new(root);
        let mut visited = Vec::new();
        let mut links = Vec::new();
        let mut under_way = FuturesUnordered::new();
        loop {
            while under_way.len() < MAX_NODES_IN_FLIGHT {
                let Some(cid) = listing.ask() else { break };
                under_way.push(async move {
                    if skip_complete && self.is_complete(cid).await? {
                        return Ok(None);
                    }
                    self.block(&cid).await.map(Some)
                });
            }
            match under_way.next().await {
                None => return Ok((links, visited)),
                Some(block) => {
                    let Some(block) = block? else { continue };
                    links.extend(listing.feed(&block)?);
                    visited.push(*block.cid());
                    if links.len() > MAX_LISTED {
                        return Err(DirectoryError::TooManyEntries.into());
                    }
                }
            }
        }
    }

    /// The file with this root, its leaves written to their place in `file`, which is registered with the store.
    /// Returns its length, and the nodes above the leaves.
    ///
    /// Leaves that are in the store already are taken from there.
    ///
    /// # Errors
    /// A block is missing, or the DAG is not that of a file. Leaves that arrived stay in their place.
    pub async fn file(&self, root: Cid, file: FileId, limit: u64) -> Result<(u64, Vec<Cid>), FetchError> {
        let mut nodes = Vec::new();
        let mut size = None;
        let mut open = vec![Part::root(root)];
        let mut under_way = FuturesUnordered::new();
        loop {
            while under_way.len() < MAX_IN_FLIGHT {
                let Some(part) = open.pop() else { break };
                under_way.push(self.part(part, file, limit));
            }
            let Some(done) = under_way.next().await else { break };
            let (part, opened) = done?;
            size.get_or_insert(opened.size);
            if part.cid.codec() != RAW {
                nodes.push(part.cid);
            }
            open.extend(opened.children.into_iter().rev());
        }
        Ok((size.unwrap_or(0), nodes))
    }

    async fn part(&self, part: Part, file: FileId, limit: u64) -> Result<(Part, export::Opened), FetchError> {
        if let (true, Some(size)) = (part.is_raw(), part.size)
            && self
                .on_store(move |store| is_in_place(store, &part, file, size))
                .await?
        {
            self.counters.local.fetch_add(1, Ordering::Relaxed);
            return Ok((
                part,
                export::Opened {
                    size,
                    data: Bytes::new(),
                    children: Vec::new(),
                },
            ));
        }
        let block = match self.local(part.cid).await? {
            Some(block) => {
                self.counters.local.fetch_add(1, Ordering::Relaxed);
                block
            }
            None => self.remote(&part.cid).await?,
        };
        let opened = export::open(&part, &block)?;
        if part.offset.saturating_add(opened.size) > limit {
            return Err(ExportError::SizeMismatch { cid: part.cid }.into());
        }
        let data = opened.data.clone();
        self.on_store(move |store| {
            if part.is_raw() {
                return store.write_leaf(file, part.offset, &block);
            }
            store.put(std::slice::from_ref(&block))?;
            // Content inside a dag-pb node is no block of its own, so nothing can refer to its place.
            if data.is_empty() {
                Ok(())
            } else {
                store.write_at(file, part.offset, &data)
            }
        })
        .await?;
        Ok((part, opened))
    }

    /// Every block below `root` into the store. Complete subtrees are not visited; afterwards `root` is marked
    /// complete, with everything below it.
    ///
    /// # Errors
    /// A block is missing or malformed. What arrived is kept.
    pub async fn dag(&self, root: Cid) -> Result<(), FetchError> {
        let walk = self.store.walk();
        let mut seen = Visited::new();
        seen.insert(&root);
        let mut nodes = Nodes::default();
        let mut open = vec![root];
        let mut under_way = FuturesUnordered::new();
        loop {
            while under_way.len() < MAX_IN_FLIGHT {
                let Some(cid) = open.pop() else { break };
                under_way.push(async move {
                    let has_links = matches!(cid.codec(), DAG_PB | DAG_CBOR);
                    if !has_links && self.on_store(move |store| store.has(&cid)).await? {
                        return Ok((cid, Vec::new(), false));
                    }
                    if has_links && self.is_complete(cid).await? {
                        return Ok((cid, Vec::new(), false));
                    }
                    let block = self.block(&cid).await?;
                    Ok::<_, FetchError>((cid, dag::links(&block)?, has_links))
                });
            }
            let Some(done) = under_way.next().await else { break };
            let (cid, links, is_node) = done?;
            if is_node {
                nodes.push(cid);
            }
            open.extend(links.into_iter().filter(|link| seen.insert(link)));
            if seen.len() > MAX_DAG_NODES {
                return Err(FetchError::TooManyNodes { root });
            }
        }
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

    async fn is_complete(&self, cid: Cid) -> Result<bool, FetchError> {
        self.on_store(move |store| store.is_complete(&cid)).await
    }

    /// The store blocks, so it runs beside the async tasks.
    async fn on_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, FetchError> {
        let store = self.store.clone();
        Ok(blocking(move || work(&store)).await?)
    }
}

/// Whether a leaf is at its place in the file already, as after an interruption. If the store has it elsewhere only, or
/// not at all, the file is not read.
fn is_in_place(store: &Store, part: &Part, file: FileId, size: u64) -> Result<bool, StoreError> {
    let Ok(len) = u32::try_from(size) else { return Ok(false) };
    if !store.has(&part.cid)? {
        return Ok(false);
    }
    let there = store.adopt_references(
        file,
        &[Leaf {
            cid: part.cid,
            offset: part.offset,
            len,
        }],
    )?;
    Ok(there == [true])
}
