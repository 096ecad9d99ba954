//! Blocks that come ahead of being asked for: those of a DAG that a gateway gives as one CAR.
//!
//! Asked for one by one, many small blocks of a gateway that is far away take a round trip for each few of them. Here they come in
//! one answer, and lie ready when a walk asks for them.
//!
//! # Goals, the first before the second
//!
//! 1. Take nothing that is not wanted: only what a block that came before links to, from the root on.
//! 2. Never make anybody wait for what does not come. Who asks for a block waits while the stream gets on at least as well as single
//!    requests would; else that block is asked for as any other.
//! 3. Bounded memory and bounded waste: the stream stands still while too much lies here, and ends when too much came that had
//!    been asked for elsewhere meanwhile.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use cid::Cid;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::block::{Block, DAG_CBOR, DAG_PB, inherent};
use crate::dag;
use crate::store::Visited;
use crate::threads::lock;

/// Bytes that blocks which lie here may take before the stream stands still.
pub const MAX_HELD_BYTES: usize = 32 << 20;
/// What a block that lies here takes beside its bytes: very many may have hardly any.
pub(super) const ENTRY_BYTES: usize = 256;
/// The most blocks that are linked to and have not come. A CAR goes down before it goes on, so this is many for any DAG but a
/// node with very many links.
pub(super) const MAX_EXPECTED: usize = 1 << 18;
/// Bytes that may come in vain, beside a quarter of those that were of use.
pub(super) const MAX_IN_VAIN: u64 = 4 << 20;
/// The stream gets on when it brought so many blocks…
pub(super) const STEP_BLOCKS: u32 = 8;
/// …or so many bytes…
const STEP_BYTES: usize = 64 << 10;
/// …within this time; for the first of them the gateway may have to look for the DAG.
pub(super) const STEP_WITHIN: Duration = Duration::from_secs(1);
const FIRST_STEP_WITHIN: Duration = Duration::from_secs(3);

/// Why a stream is of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unwanted {
    #[error("it gave a block to which nothing before it links")]
    Unlinked,
    #[error("it gave a DAG more slowly than single blocks come")]
    Slow,
    #[error("a node of the DAG is malformed")]
    Malformed,
    #[error("a DAG of which more than {MAX_EXPECTED} blocks are known at once")]
    TooWide,
    #[error("much of it was here already")]
    InVain,
}

/// The blocks of one DAG, on their way.
pub(crate) struct Ahead {
    state: Mutex<State>,
    /// There is room again.
    room: Notify,
}

impl fmt::Debug for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.state);
        write!(
            f,
            "Ahead({} blocks here, {} expected)",
            state.held.len(),
            state.expected.len()
        )
    }
}

struct State {
    /// Linked to, and not here yet.
    expected: HashSet<Cid>,
    /// All that was ever linked to.
    known: Visited,
    held: HashMap<Cid, Block>,
    held_bytes: usize,
    waiting: HashMap<Cid, Vec<oneshot::Sender<Block>>>,
    /// Asked for elsewhere.
    elsewhere: HashSet<Cid>,
    of_use: u64,
    in_vain: u64,
    /// When the last step was done, how long the next may take, and what it has brought.
    step: (Instant, Duration),
    blocks: u32,
    bytes: usize,
    /// It took too long for somebody.
    is_slow: bool,
    has_ended: bool,
}

impl State {
    fn is_full(&self) -> bool {
        self.held_bytes > MAX_HELD_BYTES
    }

    fn step_ends(&self) -> Instant {
        self.step.0 + self.step.1
    }

    fn count(&mut self, blocks: u32, bytes: usize) {
        self.blocks += blocks;
        self.bytes += bytes;
        if self.blocks >= STEP_BLOCKS || self.bytes >= STEP_BYTES {
            self.begin_step(STEP_WITHIN);
        }
    }

    fn begin_step(&mut self, within: Duration) {
        self.step = (Instant::now(), within);
        (self.blocks, self.bytes) = (0, 0);
    }

    /// To whoever waits for it, or kept for whoever asks next.
    fn deliver(&mut self, block: Block) {
        let bytes = block.data().len();
        self.of_use += bytes as u64;
        let waiting = self.waiting.remove(block.cid()).unwrap_or_default();
        let given = waiting
            .into_iter()
            .filter_map(|waiting| waiting.send(block.clone()).ok());
        if given.count() == 0 {
            self.held_bytes += bytes + ENTRY_BYTES;
            self.held.insert(*block.cid(), block);
        }
    }
}

impl Ahead {
    /// Of a DAG with this root, when its stream begins.
    pub(crate) fn of(root: &Cid) -> Self {
        let mut known = Visited::new();
        known.insert(root);
        Self {
            state: Mutex::new(State {
                expected: HashSet::from([*root]),
                known,
                held: HashMap::new(),
                held_bytes: 0,
                waiting: HashMap::new(),
                elsewhere: HashSet::new(),
                of_use: 0,
                in_vain: 0,
                step: (Instant::now(), FIRST_STEP_WITHIN),
                blocks: 0,
                bytes: 0,
                is_slow: false,
                has_ended: false,
            }),
            room: Notify::new(),
        }
    }

    /// A block of the DAG, if it is here or comes soon. Nothing if it is to be asked for alone.
    pub(crate) async fn take(&self, cid: &Cid) -> Option<Block> {
        let mut coming = {
            let mut state = lock(&self.state);
            if let Some(block) = state.held.remove(cid) {
                state.held_bytes -= block.data().len() + ENTRY_BYTES;
                if !state.is_full() {
                    self.room.notify_one();
                }
                return Some(block);
            }
            if state.has_ended || !state.expected.contains(cid) {
                return None;
            }
            if state.is_full() {
                state.elsewhere.insert(*cid);
                return None;
            }
            let (sender, coming) = oneshot::channel();
            state.waiting.entry(*cid).or_default().push(sender);
            coming
        };
        loop {
            let ends = lock(&self.state).step_ends();
            match timeout_at(ends, &mut coming).await {
                Ok(came) => return came.ok(),
                Err(_) => {
                    let mut state = lock(&self.state);
                    if state.step_ends() <= Instant::now() {
                        if let Ok(block) = coming.try_recv() {
                            return Some(block);
                        }
                        state.is_slow = true;
                        state.elsewhere.insert(*cid);
                        return None;
                    }
                }
            }
        }
    }

    /// The stream begins, at first or at another gateway.
    pub(super) fn begin(&self) {
        let mut state = lock(&self.state);
        state.is_slow = false;
        state.begin_step(FIRST_STEP_WITHIN);
    }

    /// A piece of a block came.
    pub(super) fn received(&self, bytes: usize) {
        lock(&self.state).count(0, bytes);
    }

    /// A block came. What came already does no harm: a second gateway begins with the root again.
    ///
    /// # Errors
    /// The stream is of no use any more.
    pub(super) fn came(&self, block: Block) -> Result<(), Unwanted> {
        let links = match block.cid().codec() {
            DAG_PB | DAG_CBOR => dag::links(&block).map_err(|_| Unwanted::Malformed)?,
            _ => Vec::new(),
        };
        let mut state = lock(&self.state);
        let bytes = block.data().len();
        if state.is_slow {
            return Err(Unwanted::Slow);
        }
        state.count(1, 0);
        if !state.expected.remove(block.cid()) {
            if state.known.insert(block.cid()) {
                return Err(Unwanted::Unlinked);
            }
            state.in_vain += bytes as u64;
        } else {
            for link in links {
                if inherent(&link).is_none() && state.known.insert(&link) {
                    state.expected.insert(link);
                }
            }
            if state.expected.len() > MAX_EXPECTED {
                return Err(Unwanted::TooWide);
            }
            if state.elsewhere.remove(block.cid()) {
                state.in_vain += bytes as u64;
            } else {
                state.deliver(block);
            }
        }
        match state.in_vain > state.of_use / 4 + MAX_IN_VAIN {
            true => Err(Unwanted::InVain),
            false => Ok(()),
        }
    }

    /// Waits until there is room for more, and gives back at once if there is.
    pub(super) async fn room(&self) {
        loop {
            // Before the state is looked at, so that no notice is missed.
            let room = self.room.notified();
            if !lock(&self.state).is_full() {
                return;
            }
            // Those that wait for what is behind this ask for it alone.
            {
                let mut state = lock(&self.state);
                let waiting = std::mem::take(&mut state.waiting);
                state.elsewhere.extend(waiting.into_keys());
            }
            room.await;
            lock(&self.state).begin_step(STEP_WITHIN);
        }
    }

    /// How many bytes came.
    pub(super) fn bytes(&self) -> u64 {
        let state = lock(&self.state);
        state.of_use + state.in_vain
    }

    /// Nothing comes any more. What lies here can be had still.
    pub(crate) fn end(&self) {
        let mut state = lock(&self.state);
        state.has_ended = true;
        state.waiting.clear();
        state.expected = HashSet::new();
        state.elsewhere = HashSet::new();
        state.known = Visited::new();
    }
}
