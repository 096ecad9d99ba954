//! Blocks that are fetched before their turn: large ones one by one, small ones that are here many at once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cid::Cid;
use odf_doors::Seat;
use tokio::task::JoinHandle;

use super::asking::Asking;
use super::source::{Source, SourceError};
use crate::block::{Block, RAW};

/// The most blocks of one answer that are fetched one by one before their turn.
pub(super) const READ_AHEAD: usize = 8;
/// The most small blocks of one answer that are read at once, and how many an answer says are upcoming.
pub(super) const MAX_LOT: usize = 64;
/// The most bytes of blocks that are read at once, if they are more than one.
pub(super) const LOT_BYTES: usize = 128 << 10;
/// What follows a block of at most so many bytes is expected to be as small, and read many at once.
const SMALL_BYTES: usize = 16 << 10;

/// The blocks of one answer, the next ones on their way while one is sent.
pub(super) struct Ahead<S: Source> {
    pub(super) asking: Arc<Asking<S>>,
    running: HashMap<Cid, Running>,
    /// What is being read at once.
    lot: Option<Lot>,
    /// Blocks that came otherwise since that began.
    passed: usize,
    /// What is left of the last lot, how many it had, and the room for it.
    read: HashMap<Cid, Block>,
    had: usize,
    room: Option<Seat>,
    /// The last block was small.
    is_small: bool,
    /// What comes next was not here.
    is_elsewhere: bool,
}

/// A block on its way before its turn. Dropping it cancels the fetch.
struct Running {
    task: JoinHandle<Result<Block, SourceError>>,
    _room: Seat,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Blocks that are read at once: as many of the first as fit. Dropping it cancels that.
struct Lot {
    cids: Vec<Cid>,
    task: JoinHandle<Result<Vec<Block>, SourceError>>,
    room: Option<Seat>,
}

impl Drop for Lot {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<S: Source> Ahead<S> {
    pub(super) fn new(asking: &Arc<Asking<S>>) -> Self {
        Self {
            asking: Arc::clone(asking),
            running: HashMap::new(),
            lot: None,
            passed: 0,
            read: HashMap::new(),
            had: 0,
            room: None,
            is_small: false,
            is_elsewhere: false,
        }
    }

    /// The block, while fetches of those that come after it begin, as far as the limits allow.
    pub(super) async fn block(&mut self, cid: &Cid, upcoming: impl Iterator<Item = Cid>) -> Result<Block, SourceError> {
        let mut ready = self.read.remove(cid);
        if ready.is_none() && self.lot.as_ref().is_some_and(|lot| lot.cids.contains(cid)) {
            self.end_lot().await;
            ready = self.read.remove(cid);
        }
        if ready.is_none() {
            self.passed += 1;
            // Of a lot that nobody comes to, the answer has no use any more.
            self.lot.take_if(|_| self.passed > MAX_LOT);
        }
        let is_due = self.lot.is_none() && 2 * self.read.len() <= self.had;
        let early = self.running.remove(cid);
        let upcoming = upcoming.filter(|next| next != cid).take(MAX_LOT);
        // What follows a block with links may be below it: only leaves come for certain one after the other.
        let is_one_of_many = self.is_small && !self.is_elsewhere && cid.codec() == RAW && early.is_none();
        match (is_one_of_many, ready.is_some()) {
            (true, true) if is_due => self.begin_lot(upcoming),
            (true, true) => {}
            (true, false) if self.lot.is_none() => {
                // With those that follow, and the answer does not wait for them if they are elsewhere.
                let upcoming: Vec<Cid> = upcoming.collect();
                self.begin_lot([*cid].into_iter().chain(upcoming.iter().copied()));
                self.end_lot().await;
                ready = self.read.remove(cid);
                if ready.is_none() {
                    self.begin(upcoming.into_iter().take(READ_AHEAD));
                }
            }
            _ => self.begin(upcoming.take(READ_AHEAD)),
        }
        let block = match (ready, early) {
            (Some(block), _) => block,
            (None, None) => self.asking.block(cid).await?,
            (None, Some(mut early)) => match (&mut early.task).await {
                Ok(result) => result?,
                Err(error) => return Err(SourceError::Failed(format!("fetching {cid}: {error}"))),
            },
        };
        self.is_small = block.data().len() <= SMALL_BYTES;
        Ok(block)
    }

    /// Whether blocks are here that nobody has to wait for.
    pub(super) fn has_read(&self) -> bool {
        !self.read.is_empty()
    }

    /// Begins to read the next blocks, unless enough of them are here already.
    fn begin_lot(&mut self, upcoming: impl Iterator<Item = Cid>) {
        let (ready, mut cids): (Vec<Cid>, Vec<Cid>) = upcoming
            .take(MAX_LOT)
            .take_while(|next| next.codec() == RAW)
            .filter(|next| !self.running.contains_key(next))
            .partition(|next| self.read.contains_key(next));
        if cids.len() <= ready.len() {
            return;
        }
        let Some(room) = self.asking.ahead() else { return };
        let mut met = HashSet::new();
        cids.retain(|cid| met.insert(*cid));
        self.passed = 0;
        let (asking, wanted) = (Arc::clone(&self.asking), cids.clone());
        self.lot = Some(Lot {
            cids,
            task: tokio::spawn(async move { asking.here_together(&wanted, LOT_BYTES).await }),
            room: Some(room),
        });
    }

    /// What was read at once takes the place of what is left of the lot before. What went wrong, whoever asks for the block alone
    /// is told.
    async fn end_lot(&mut self) {
        let Some(mut lot) = self.lot.take() else { return };
        let blocks = match (&mut lot.task).await {
            Ok(Ok(blocks)) => blocks,
            Ok(Err(_)) | Err(_) => Vec::new(),
        };
        self.is_elsewhere = blocks.is_empty();
        self.had = blocks.len();
        self.read = blocks.into_iter().map(|block| (*block.cid(), block)).collect();
        self.room = lot.room.take().filter(|_| !self.read.is_empty());
    }

    fn begin(&mut self, upcoming: impl Iterator<Item = Cid>) {
        for cid in upcoming {
            if self.running.contains_key(&cid) || self.read.contains_key(&cid) {
                continue;
            }
            let Some(room) = self.asking.ahead() else { return };
            let asking = Arc::clone(&self.asking);
            let task = tokio::spawn(async move { asking.block(&cid).await });
            self.running.insert(cid, Running { task, _room: room });
        }
    }
}
