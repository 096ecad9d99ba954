//! The caller's side: [`Handle`] and [`Session`], which may be used from any task or thread.
//!
//! Callers leave commands in an [`Inbox`] that the behaviour empties when it is polled, and wait for their answer on a
//! one-shot channel. The inbox is bounded: fetches by a semaphore, held until the fetch ends; notices of new blocks by
//! a count, past which the behaviour looks again at everything that is wanted; the rest by the number of sessions.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use cid::Cid;
use libp2p::PeerId;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::stats::{SessionStats, Stats};
use super::verdict::FetchError;
use crate::block::{self, Block};
use crate::retrieval::{Ahead, Gateways};
use crate::threads::lock;

/// The most fetches under way in one exchange; the next one waits.
pub(super) const MAX_FETCHES: usize = 65_536;
/// The most new blocks the inbox names one by one.
pub(super) const MAX_ADDED: usize = 65_536;
/// When a block does not come from gateways, peers are asked as well after this long, and the other way round.
const STAND_IN_AFTER: Duration = Duration::from_secs(2);
/// The most DAGs that come to one session ahead of being asked for.
const MAX_AHEAD: usize = 4;
/// The most providers taken from one answer to a search.
pub(super) const MAX_PROVIDERS: usize = 128;

/// Names a [`Session`] towards whoever finds providers for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub(super) u64);

/// Names one call of [`Session::fetch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Ticket(pub(super) u64);

pub(crate) type Reply = oneshot::Sender<Result<Block, FetchError>>;
pub(super) type SharedSessionStats = Arc<Mutex<SessionStats>>;

/// What callers ask of the behaviour.
#[derive(Debug)]
pub(super) enum Command {
    Open(SessionId, SharedSessionStats),
    Close(SessionId),
    Provider(SessionId, PeerId),
    /// The answer to a search.
    Found(SessionId, Vec<PeerId>),
    Fetch {
        session: SessionId,
        ticket: Ticket,
        cid: Cid,
        reply: Reply,
    },
    Cancel(Ticket),
}

/// What waits for the behaviour.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    pub(super) commands: VecDeque<Command>,
    pub(super) added: Vec<Cid>,
    /// More blocks were added than are named in `added`.
    pub(super) added_more: bool,
    waker: Option<Waker>,
    closed: bool,
}

/// State that handles and the behaviour share.
#[derive(Debug)]
pub(super) struct Shared {
    inbox: Mutex<Inbox>,
    stats: Mutex<Stats>,
    fetches: Arc<Semaphore>,
    counter: AtomicU64,
}

impl Shared {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            inbox: Mutex::default(),
            stats: Mutex::default(),
            fetches: Arc::new(Semaphore::new(MAX_FETCHES)),
            counter: AtomicU64::new(0),
        })
    }

    /// Takes what has come, and has the task of `cx` woken when more comes.
    pub(super) fn take(&self, cx: &mut Context<'_>) -> Inbox {
        let mut inbox = lock(&self.inbox);
        inbox
            .waker
            .get_or_insert_with(|| cx.waker().clone())
            .clone_from(cx.waker());
        Inbox {
            commands: std::mem::take(&mut inbox.commands),
            added: std::mem::take(&mut inbox.added),
            added_more: std::mem::take(&mut inbox.added_more),
            waker: None,
            closed: false,
        }
    }

    /// Ends every fetch, now and later, with [`FetchError::Closed`].
    pub(super) fn close(&self) {
        let mut inbox = lock(&self.inbox);
        inbox.closed = true;
        inbox.commands.clear();
        inbox.added = Vec::new();
    }

    pub(super) fn set_stats(&self, stats: &Stats) {
        lock(&self.stats).clone_from(stats);
    }

    fn next(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }

    fn push(&self, change: impl FnOnce(&mut Inbox)) {
        let waker = {
            let mut inbox = lock(&self.inbox);
            if inbox.closed {
                return;
            }
            change(&mut inbox);
            inbox.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn command(&self, command: Command) {
        self.push(|inbox| inbox.commands.push_back(command));
    }
}

/// Fetches and announces blocks, from any task. Cheap to clone; all clones are one exchange.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(super) shared: Arc<Shared>,
    pub(super) gateways: Gateways,
}

impl Handle {
    /// Begins a session: blocks that belong together and are likely to be found at the same peers.
    pub fn session(&self) -> Session {
        self.session_through(None)
    }

    /// The same, of blocks that somebody else asked for: gateways are told through whom that came, in the words of RFC 8586.
    pub fn session_through(&self, through: Option<Arc<str>>) -> Session {
        let id = SessionId(self.shared.next());
        let stats = SharedSessionStats::default();
        self.shared.command(Command::Open(id, stats.clone()));
        Session {
            inner: Arc::new(Inner {
                id,
                shared: self.shared.clone(),
                stats,
                gateways: self.gateways.clone(),
                through,
                ahead: Mutex::default(),
            }),
        }
    }

    /// The gateways that are asked beside peers.
    pub fn gateways(&self) -> &Gateways {
        &self.gateways
    }

    /// Names a peer found by a search that goes on, as [`Session::add_provider`] does.
    pub fn provider_found(&self, session: SessionId, peer: PeerId) {
        self.shared.command(Command::Provider(session, peer));
    }

    /// Answers [`Event::NeedProviders`](super::Event::NeedProviders): the search is over, and these peers are said to
    /// have the block, beside those already handed over; at most 128 are taken. When nobody is left to
    /// be asked after that, fetches fail.
    ///
    /// Peers that are not connected are dialled, so their addresses must be known to the swarm before the call.
    pub fn provide_peers(&self, session: SessionId, mut peers: Vec<PeerId>) {
        peers.truncate(MAX_PROVIDERS);
        self.shared.command(Command::Found(session, peers));
    }

    /// Says that these blocks are in the store now, so that they are sent to the peers that wait for them.
    pub fn blocks_added(&self, cids: &[Cid]) {
        self.shared.push(|inbox| {
            let room = MAX_ADDED - inbox.added.len().min(MAX_ADDED);
            inbox.added.extend_from_slice(&cids[..cids.len().min(room)]);
            inbox.added_more |= cids.len() > room;
        });
    }

    /// What has been moved since the start, and what is under way.
    pub fn stats(&self) -> Stats {
        lock(&self.shared.stats).clone()
    }
}

/// The other side of a handle, in place of a behaviour with peers: for tests of those who fetch.
#[cfg(test)]
pub(crate) struct Answering(Arc<Shared>);

#[cfg(test)]
impl Answering {
    pub(crate) fn new() -> (Handle, Self) {
        let shared = Shared::new();
        let handle = Handle {
            shared: shared.clone(),
            gateways: Gateways::default(),
        };
        (handle, Self(shared))
    }

    /// What was asked for since this was asked last, and where the answers go.
    pub(crate) fn asked(&self) -> Vec<(Cid, Reply)> {
        let commands = std::mem::take(&mut lock(&self.0.inbox).commands);
        let fetch = |command| match command {
            Command::Fetch { cid, reply, .. } => Some((cid, reply)),
            _ => None,
        };
        commands.into_iter().filter_map(fetch).collect()
    }
}

/// Fetches blocks that belong together. Cheap to clone; when the last clone is dropped, its fetches are cancelled.
#[derive(Debug, Clone)]
pub struct Session {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    id: SessionId,
    shared: Arc<Shared>,
    stats: SharedSessionStats,
    gateways: Gateways,
    through: Option<Arc<str>>,
    /// DAGs that come ahead of being asked for.
    ahead: Mutex<Vec<Arc<Ahead>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.command(Command::Close(self.id));
    }
}

impl Session {
    /// The name under which providers are searched for this session.
    pub fn id(&self) -> SessionId {
        self.inner.id
    }

    /// Names a peer that is likely to have the blocks. It is dialled when it is not connected.
    pub fn add_provider(&self, peer: PeerId) {
        self.inner.shared.command(Command::Provider(self.inner.id, peer));
    }

    /// Fetches one block from whichever peer or gateway has it. The bytes are checked against `cid`; they are **not** put into
    /// the store, which is the caller's to do, as is looking there first. Any number of calls may run at once, up to
    /// `MAX_FETCHES` for the whole exchange. Dropping the future withdraws the want.
    ///
    /// # Errors
    /// See [`FetchError`]. The session goes on after each of them, and the call may be repeated, but for
    /// [`FetchError::Closed`].
    pub async fn fetch(&self, cid: &Cid) -> Result<Block, FetchError> {
        if let Some(block) = block::inherent(cid) {
            return Ok(block);
        }
        if block::digest(cid.hash().code(), b"").is_none() {
            return Err(FetchError::Unverifiable {
                cid: *cid,
                code: cid.hash().code(),
            });
        }
        let ahead = lock(&self.inner.ahead).clone();
        for dag in ahead {
            if let Some(block) = dag.take(cid).await {
                return Ok(block);
            }
        }
        let gateways = &self.inner.gateways;
        match gateways.count() {
            0 => self.ask_peers_and_found(cid).await,
            count => {
                let fetched = self.ask_both(cid).await;
                fetched.map_err(|error| error.beside_gateways(count))
            }
        }
    }

    /// Both have as much to do as they can: what gateways cannot take at once is for the peers that give blocks, if any do.
    async fn ask_both(&self, cid: &Cid) -> Result<Block, FetchError> {
        let gateways = &self.inner.gateways;
        let by_http = gateways.block(cid, self.inner.through.as_deref());
        let peers_first = !gateways.is_ready() && self.stats().providers > 0;
        let peers = self.ask_peers_and_found(cid);
        tokio::pin!(by_http, peers);
        if !peers_first {
            match timeout(STAND_IN_AFTER, &mut by_http).await {
                Ok(Some(block)) => return Ok(block),
                Ok(None) => return peers.await,
                Err(_) => {}
            }
        } else {
            match timeout(STAND_IN_AFTER, &mut peers).await {
                Ok(Ok(block)) => return Ok(block),
                Ok(Err(error)) => return by_http.await.ok_or(error),
                Err(_) => {}
            }
        }
        tokio::select! {
            block = &mut by_http => match block {
                Some(block) => Ok(block),
                None => peers.await,
            },
            block = &mut peers => match block {
                Ok(block) => Ok(block),
                Err(error) => by_http.await.ok_or(error),
            },
        }
    }

    /// Asks peers, and over HTTP those of whom a search says meanwhile that they have the block.
    async fn ask_peers_and_found(&self, cid: &Cid) -> Result<Block, FetchError> {
        let gateways = &self.inner.gateways;
        let mut found = gateways.changes();
        let peers = self.ask_peers(cid);
        tokio::pin!(peers);
        loop {
            let before = found.clone();
            let by_http = async {
                // The sender is kept by the gateways.
                let _ = found.changed().await;
                gateways.block(cid, self.inner.through.as_deref()).await
            };
            tokio::pin!(by_http);
            tokio::select! {
                answer = &mut peers => return match answer {
                    // The search that failed has found somebody else.
                    Err(error) if before.has_changed().unwrap_or_default() => by_http.await.ok_or(error),
                    answer => answer,
                },
                block = &mut by_http => if let Some(block) = block {
                    return Ok(block);
                },
            }
        }
    }

    async fn ask_peers(&self, cid: &Cid) -> Result<Block, FetchError> {
        let shared = &self.inner.shared;
        let closed = || FetchError::Closed { cid: *cid };
        let _permit = shared.fetches.clone().acquire_owned().await.map_err(|_| closed())?;
        let ticket = Ticket(shared.next());
        let (reply, answer) = oneshot::channel();
        shared.command(Command::Fetch {
            session: self.inner.id,
            ticket,
            cid: *cid,
            reply,
        });
        let mut guard = CancelOnDrop {
            shared,
            ticket,
            armed: true,
        };
        let answer = answer.await;
        guard.armed = false;
        answer.unwrap_or_else(|_| Err(closed()))
    }

    /// Has a DAG of which nothing is here come from a gateway in one answer, where there is one: [`fetch`](Self::fetch) gives its
    /// blocks from there as long as what this returns is kept. It changes nothing but how long that takes. Not much is fetched
    /// in vain, provided that all of the DAG is fetched, and soon. Within a runtime of tokio.
    pub fn ahead(&self, root: &Cid) -> Option<AheadOf> {
        let inner = &self.inner;
        if inner.gateways.count() == 0 || lock(&inner.ahead).len() >= MAX_AHEAD {
            return None;
        }
        let dag = Arc::new(Ahead::of(root));
        lock(&inner.ahead).push(dag.clone());
        let (gateways, through, root, coming) = (inner.gateways.clone(), inner.through.clone(), *root, dag.clone());
        let task = tokio::spawn(async move {
            gateways.bring(&root, &coming, through.as_deref()).await;
            coming.end();
        });
        let task = task.abort_handle();
        let session = self.clone();
        Some(AheadOf { session, dag, task })
    }

    /// How many gateways are asked beside peers.
    pub fn gateways(&self) -> u32 {
        self.inner.gateways.count()
    }

    /// What this session has fetched from peers, from whom, and how fast.
    pub fn stats(&self) -> SessionStats {
        lock(&self.inner.stats).clone()
    }
}

/// A DAG that comes ahead of being asked for, until this is dropped.
#[derive(Debug)]
#[must_use = "it comes until this is dropped"]
pub struct AheadOf {
    session: Session,
    dag: Arc<Ahead>,
    task: AbortHandle,
}

impl Drop for AheadOf {
    fn drop(&mut self) {
        self.task.abort();
        self.dag.end();
        lock(&self.session.inner.ahead).retain(|dag| !Arc::ptr_eq(dag, &self.dag));
    }
}

struct CancelOnDrop<'a> {
    shared: &'a Shared,
    ticket: Ticket,
    armed: bool,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.shared.command(Command::Cancel(self.ticket));
        }
    }
}

/// The waiting ends of all fetches.
pub(super) type Replies = HashMap<Ticket, Reply>;
