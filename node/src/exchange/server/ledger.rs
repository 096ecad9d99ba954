//! What one peer wants, and who waits for which block.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use cid::Cid;

use crate::exchange::message::WantKind;

/// A want's place in the order: highest priority first, then first come.
pub(super) type Rank = (Reverse<i32>, u64);
/// A peer's place in line: the smallest is next.
pub(super) type Turn = (u64, u64);

#[derive(Debug)]
pub(super) struct Want {
    pub(super) rank: Rank,
    pub(super) kind: WantKind,
    pub(super) send_dont_have: bool,
    pub(super) state: WantState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WantState {
    /// To be looked up.
    Queued,
    /// A job looks it up; `again` when the answer may be out of date before it comes.
    Reading { again: bool },
    /// Not in the store.
    Waiting,
}

/// A message handed to a connection.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) bytes: usize,
    pub(super) wants: Vec<(Cid, i32, WantKind, bool)>,
}

/// The books of one peer. A CID is kept once and shared by every list that names it.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Which connect of the peer this belongs to; no two ledgers have the same.
    pub(super) epoch: u64,
    pub(super) wants: HashMap<Arc<Cid>, Want>,
    pub(super) ranks: BTreeMap<Rank, Arc<Cid>>,
    pub(super) queue: BTreeMap<Rank, Arc<Cid>>,
    pub(super) in_flight: HashMap<u64, InFlight>,
    pub(super) bytes: usize,
    pub(super) jobs: usize,
    pub(super) failures: u32,
    /// The peer's place in line, if it stands there.
    pub(super) turn: Option<Turn>,
    /// Where the work done for the peer puts its next turn.
    pub(super) served: u64,
}

impl Ledger {
    /// Whether something is being read, sent or to be read.
    pub(super) fn is_busy(&self) -> bool {
        self.jobs > 0 || !self.queue.is_empty() || !self.in_flight.is_empty()
    }
}

/// Who waits for a block, in the order of the blocks' hashes: whoever names a block by another codec waits for the same.
#[derive(Debug, Clone)]
struct Waiter {
    cid: Arc<Cid>,
    epoch: u64,
}

impl Waiter {
    fn key(&self) -> (&multihash::Multihash<64>, u64, u64, u64) {
        (self.cid.hash(), self.cid.codec(), self.cid.version() as u64, self.epoch)
    }
}

impl PartialEq for Waiter {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Waiter {}

impl PartialOrd for Waiter {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiter {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// All wants for blocks that are not in the store, of all peers.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    waiters: BTreeSet<Waiter>,
}

impl Waiting {
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    pub(super) fn insert(&mut self, cid: Arc<Cid>, epoch: u64) {
        self.waiters.insert(Waiter { cid, epoch });
    }

    pub(super) fn remove(&mut self, cid: Arc<Cid>, epoch: u64) {
        self.waiters.remove(&Waiter { cid, epoch });
    }

    /// Takes out whoever waits for the block of that hash, with the CID by which it was asked for.
    pub(super) fn take(&mut self, cid: &Cid) -> Vec<(Arc<Cid>, u64)> {
        if self.waiters.is_empty() {
            return Vec::new();
        }
        // The first of those with this hash, if there were one.
        let from = Waiter {
            cid: Arc::new(Cid::new_v1(0, *cid.hash())),
            epoch: 0,
        };
        let same = self
            .waiters
            .range(from..)
            .take_while(|waiter| waiter.cid.hash() == cid.hash());
        let taken: Vec<Waiter> = same.cloned().collect();
        for waiter in &taken {
            self.waiters.remove(waiter);
        }
        taken.into_iter().map(|waiter| (waiter.cid, waiter.epoch)).collect()
    }

    /// Takes out everybody.
    pub(super) fn take_all(&mut self) -> Vec<(Arc<Cid>, u64)> {
        let all = std::mem::take(&mut self.waiters);
        all.into_iter().map(|waiter| (waiter.cid, waiter.epoch)).collect()
    }
}
