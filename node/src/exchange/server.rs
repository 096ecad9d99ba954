//! The serving half, as a state machine: what every peer wants, in which order it is read and sent, and how much may
//! be on the way.
//!
//! Inputs are wantlists, results of store reads and reports of sent messages; outputs are [`Job`]s, which the caller
//! runs on a thread that may block, and messages. A want that cannot be answered stays in the peer's ledger, so that
//! a block that arrives later is pushed. Peers take turns, one message at a time.
//!
//! Bounds: [`MAX_WANTS_PER_PEER`] wants for each peer, of which the lowest in priority give way; a peer that does
//! not take what it asked for holds at most [`Limits::peer_bytes`], and all together [`Limits::total_bytes`], give
//! or take the messages being read.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, VecDeque};

use cid::Cid;
use libp2p::PeerId;
use multihash::Multihash;

use super::message::{Message, Presence, WantKind, WantlistEntry};
use crate::block::{self, Block};
use crate::store::Blocks;

/// The most wants kept for one peer (Kubo's number).
pub(super) const MAX_WANTS_PER_PEER: usize = 1024;
/// A wanted presence of a block this small is answered with the block.
pub(super) const INLINE_BYTES: usize = 1024;
/// A message is sent once its blocks reach this many bytes. With one more block of the largest size it stays below
/// the frame limit.
pub(super) const MESSAGE_BYTES: usize = 512 << 10;
/// The most wants answered in one message.
const WANTS_PER_JOB: usize = 512;
/// How many messages are read from the store for one peer at a time.
const JOBS_PER_PEER: usize = 2;
/// After this many messages in a row that could not be sent, a peer's wants are forgotten.
const MAX_FAILURES: u32 = 3;

/// How much may be on the way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes handed to the connection of one peer and not yet written.
    pub(super) peer_bytes: usize,
    /// The same for all peers together.
    pub(super) total_bytes: usize,
    /// Store reads at the same time.
    pub(super) jobs: usize,
}

/// A want's place in the order: highest priority first, then first come.
type Rank = (Reverse<i32>, u64);

/// A piece of work for a thread that may block.
#[derive(Debug)]
pub(super) struct Job {
    peer: PeerId,
    /// Which connect of the peer this belongs to.
    epoch: u64,
    wants: Vec<(Cid, WantKind)>,
}

/// What a [`Job`] found.
#[derive(Debug)]
pub(super) struct Answered {
    job: Job,
    answers: Vec<Answer>,
}

#[derive(Debug)]
enum Answer {
    Block(Block),
    Have,
    Missing,
    /// The message was full before the store was asked.
    Unread,
}

/// A message for a peer. Its `id` comes back through [`Server::sent`] or [`Server::lost`].
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) peer: PeerId,
    pub(super) id: u64,
    pub(super) message: Message,
}

#[derive(Debug)]
struct Want {
    rank: Rank,
    kind: WantKind,
    send_dont_have: bool,
    state: WantState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WantState {
    /// To be looked up.
    Queued,
    /// A job looks it up; `again` when the answer may be out of date before it comes.
    Reading { again: bool },
    /// Not in the store.
    Waiting,
}

type Waiting = HashMap<Multihash<64>, Vec<(PeerId, Cid)>>;

/// A message handed to a connection.
#[derive(Debug)]
struct InFlight {
    bytes: usize,
    wants: Vec<(Cid, i32, WantKind, bool)>,
}

#[derive(Debug, Default)]
struct Ledger {
    epoch: u64,
    wants: HashMap<Cid, Want>,
    ranks: BTreeMap<Rank, Cid>,
    queue: BTreeMap<Rank, Cid>,
    in_flight: HashMap<u64, InFlight>,
    bytes: usize,
    jobs: usize,
    failures: u32,
    /// Whether the peer stands in [`Server::turns`].
    in_line: bool,
}

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Server {
    limits: Limits,
    peers: HashMap<PeerId, Ledger>,
    /// Who waits for a block that is not in the store, and under which CID.
    waiting: Waiting,
    turns: VecDeque<PeerId>,
    jobs: usize,
    bytes: usize,
    wants: usize,
    counter: u64,
}

impl Job {
    /// For whom it is done.
    pub(super) fn peer(&self) -> PeerId {
        self.peer
    }

    /// Reads the store until the message is full. A store error is logged and answered like a missing block, so that
    /// the peer asks elsewhere.
    pub(super) fn run(self, store: &dyn Blocks) -> Answered {
        let (mut answers, mut bytes) = (Vec::with_capacity(self.wants.len()), 0);
        for (cid, kind) in &self.wants {
            let answer = if bytes >= MESSAGE_BYTES {
                Answer::Unread
            } else {
                look_up(store, cid, *kind).unwrap_or_else(|error| {
                    tracing::warn!(%cid, %error, "a wanted block could not be read");
                    Answer::Missing
                })
            };
            if let Answer::Block(block) = &answer {
                bytes += block.data().len();
            }
            answers.push(answer);
        }
        Answered { job: self, answers }
    }
}

fn look_up(store: &dyn Blocks, cid: &Cid, kind: WantKind) -> Result<Answer, crate::store::StoreError> {
    if let Some(block) = block::inherent(cid) {
        return Ok(Answer::Block(block));
    }
    if kind == WantKind::Have {
        match store.size(cid)? {
            None => return Ok(Answer::Missing),
            Some(size) if size > INLINE_BYTES => return Ok(Answer::Have),
            Some(_) => {}
        }
    }
    Ok(store.get(cid)?.map_or(Answer::Missing, Answer::Block))
}

impl Server {
    /// A server that knows no peer yet.
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            peers: HashMap::new(),
            waiting: HashMap::new(),
            turns: VecDeque::new(),
            jobs: 0,
            bytes: 0,
            wants: 0,
            counter: 0,
        }
    }

    /// Forgets everything about a peer. What is still being read for it will be thrown away.
    pub(super) fn disconnected(&mut self, peer: &PeerId) {
        if let Some(ledger) = self.peers.remove(peer) {
            self.bytes -= ledger.bytes;
            self.wants -= ledger.wants.len();
            for (cid, want) in &ledger.wants {
                if want.state == WantState::Waiting {
                    forget_waiting(&mut self.waiting, cid, peer);
                }
            }
        }
    }

    /// Whether something is being read, sent or to be read for a peer.
    pub(super) fn is_busy(&self, peer: &PeerId) -> bool {
        self.peers
            .get(peer)
            .is_some_and(|ledger| ledger.jobs > 0 || !ledger.queue.is_empty() || !ledger.in_flight.is_empty())
    }

    /// How many wants are kept for all peers.
    pub(super) fn wants(&self) -> usize {
        self.wants
    }

    /// A wantlist came from a connected peer.
    pub(super) fn wantlist(&mut self, peer: PeerId, entries: Vec<WantlistEntry>, full: bool) {
        if entries.is_empty() && !full {
            return;
        }
        if full {
            let kept: Vec<Cid> = self
                .peers
                .get(&peer)
                .map_or_else(Vec::new, |l| l.wants.keys().copied().collect());
            let named: std::collections::HashSet<&Cid> = entries
                .iter()
                .filter(|entry| !entry.cancel)
                .map(|entry| &entry.cid)
                .collect();
            for cid in kept.iter().filter(|cid| !named.contains(cid)) {
                self.remove(&peer, cid);
            }
        }
        for entry in entries {
            if entry.cancel {
                self.remove(&peer, &entry.cid);
            } else {
                self.insert(peer, entry.cid, entry.priority, entry.kind, entry.send_dont_have);
            }
        }
        self.stand_in_line(peer);
    }

    /// These blocks are in the store now: whoever waits for them is served.
    pub(super) fn blocks_added<'a>(&mut self, cids: impl IntoIterator<Item = &'a Cid>) {
        for cid in cids {
            for (peer, wanted) in self.waiting.remove(cid.hash()).unwrap_or_default() {
                let Some(ledger) = self.peers.get_mut(&peer) else {
                    continue;
                };
                if let Some(want) = ledger.wants.get_mut(&wanted) {
                    want.state = WantState::Queued;
                    ledger.queue.insert(want.rank, wanted);
                }
                self.stand_in_line(peer);
            }
            if self.jobs > 0 {
                self.read_again(Some(cid));
            }
        }
    }

    /// Any block may be in the store now: everything that waits is looked up again.
    pub(super) fn anything_added(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        for (peer, wanted) in waiting.into_values().flatten() {
            let Some(ledger) = self.peers.get_mut(&peer) else {
                continue;
            };
            if let Some(want) = ledger.wants.get_mut(&wanted) {
                want.state = WantState::Queued;
                ledger.queue.insert(want.rank, wanted);
            }
            self.stand_in_line(peer);
        }
        self.read_again(None);
    }

    /// Work that may begin now; called until it gives nothing.
    pub(super) fn next_job(&mut self) -> Option<Job> {
        if self.jobs >= self.limits.jobs || self.bytes >= self.limits.total_bytes {
            return None;
        }
        for _ in 0..self.turns.len() {
            let peer = self.turns.pop_front()?;
            let Some(ledger) = self.peers.get_mut(&peer) else {
                continue;
            };
            ledger.in_line = false;
            if ledger.bytes >= self.limits.peer_bytes || ledger.jobs >= JOBS_PER_PEER {
                // Put back in line when a message has gone or a job has ended.
                continue;
            }
            let mut wants = Vec::new();
            while wants.len() < WANTS_PER_JOB {
                let Some((_, cid)) = ledger.queue.pop_first() else {
                    break;
                };
                if let Some(want) = ledger.wants.get_mut(&cid) {
                    want.state = WantState::Reading { again: false };
                    wants.push((cid, want.kind));
                }
            }
            if wants.is_empty() {
                continue;
            }
            ledger.jobs += 1;
            self.jobs += 1;
            let epoch = ledger.epoch;
            self.stand_in_line(peer);
            return Some(Job { peer, epoch, wants });
        }
        None
    }

    /// A job has ended. Gives the message to send, if its peer still wants any of it.
    pub(super) fn finished(&mut self, found: Answered) -> Option<Outgoing> {
        self.jobs = self.jobs.saturating_sub(1);
        let Answered {
            job: Job { peer, epoch, wants },
            answers,
        } = found;
        let ledger = self.peers.get_mut(&peer).filter(|ledger| ledger.epoch == epoch)?;
        ledger.jobs = ledger.jobs.saturating_sub(1);
        let (mut message, mut gone, mut bytes) = (Message::default(), Vec::new(), 0);
        for ((cid, asked), answer) in wants.into_iter().zip(answers) {
            let Some(want) = ledger.wants.get_mut(&cid) else {
                continue;
            };
            let WantState::Reading { again } = want.state else {
                continue;
            };
            let outdated = match &answer {
                Answer::Have => want.kind == WantKind::Block && asked == WantKind::Have,
                Answer::Missing => again,
                Answer::Unread => true,
                Answer::Block(_) => false,
            };
            if outdated {
                want.state = WantState::Queued;
                ledger.queue.insert(want.rank, cid);
                continue;
            }
            if let Answer::Missing = answer {
                want.state = WantState::Waiting;
                if want.send_dont_have {
                    message.presences.push((cid, Presence::DontHave));
                    bytes += cid.encoded_len();
                }
                self.waiting.entry(*cid.hash()).or_default().push((peer, cid));
                continue;
            }
            gone.push((cid, want.rank.0.0, want.kind, want.send_dont_have));
            ledger.ranks.remove(&want.rank);
            ledger.wants.remove(&cid);
            self.wants -= 1;
            match answer {
                Answer::Block(block) => {
                    bytes += block.data().len();
                    message.blocks.push(block);
                }
                _ => {
                    bytes += cid.encoded_len();
                    message.presences.push((cid, Presence::Have));
                }
            }
        }
        self.stand_in_line(peer);
        if message.is_empty() {
            return None;
        }
        self.counter += 1;
        let id = self.counter;
        let ledger = self.peers.get_mut(&peer)?;
        ledger.bytes += bytes;
        self.bytes += bytes;
        message.pending_bytes = i32::try_from(ledger.bytes - bytes).unwrap_or(i32::MAX);
        ledger.in_flight.insert(id, InFlight { bytes, wants: gone });
        Some(Outgoing { peer, id, message })
    }

    /// A message has been written to the peer's connection.
    pub(super) fn sent(&mut self, peer: PeerId, id: u64) {
        let Some(ledger) = self.peers.get_mut(&peer) else {
            return;
        };
        let Some(message) = ledger.in_flight.remove(&id) else {
            return;
        };
        ledger.failures = 0;
        ledger.bytes -= message.bytes;
        self.bytes -= message.bytes;
        self.stand_in_line(peer);
    }

    /// A message was not written. Its wants are taken up again, unless that has failed too often.
    pub(super) fn lost(&mut self, peer: PeerId, id: u64) {
        let Some(ledger) = self.peers.get_mut(&peer) else {
            return;
        };
        let Some(message) = ledger.in_flight.remove(&id) else {
            return;
        };
        ledger.bytes -= message.bytes;
        self.bytes -= message.bytes;
        ledger.failures += 1;
        if ledger.failures > MAX_FAILURES {
            self.disconnected(&peer);
            return;
        }
        for (cid, priority, kind, send_dont_have) in message.wants {
            self.insert(peer, cid, priority, kind, send_dont_have);
        }
        self.stand_in_line(peer);
    }

    /// The connection that carried everything to a peer is gone, but there is another: what may not have arrived is
    /// sent again.
    pub(super) fn rerouted(&mut self, peer: PeerId) {
        let Some(ledger) = self.peers.get_mut(&peer) else {
            return;
        };
        let lost = std::mem::take(&mut ledger.in_flight);
        self.bytes -= std::mem::take(&mut ledger.bytes);
        for (cid, priority, kind, send_dont_have) in lost.into_values().flat_map(|message| message.wants) {
            self.insert(peer, cid, priority, kind, send_dont_have);
        }
        self.stand_in_line(peer);
    }

    /// A job will never report: its thread failed. The peer's wants are forgotten with it.
    pub(super) fn job_lost(&mut self, peer: &PeerId) {
        self.jobs = self.jobs.saturating_sub(1);
        self.disconnected(peer);
    }

    fn insert(&mut self, peer: PeerId, cid: Cid, priority: i32, kind: WantKind, send_dont_have: bool) {
        self.counter += 1;
        let counter = self.counter;
        let ledger = self.peers.entry(peer).or_insert_with(|| Ledger {
            epoch: counter,
            ..Ledger::default()
        });
        let rank = (Reverse(priority), counter);
        if let Some(want) = ledger.wants.get_mut(&cid) {
            ledger.ranks.remove(&want.rank);
            ledger.queue.remove(&want.rank);
            // A want for the block is not weakened to a question: the peer asked for the block and has not cancelled.
            let kind = if want.kind == WantKind::Block {
                WantKind::Block
            } else {
                kind
            };
            let state = match want.state {
                WantState::Waiting => {
                    forget_waiting(&mut self.waiting, &cid, &peer);
                    WantState::Queued
                }
                state => state,
            };
            *want = Want {
                rank,
                kind,
                send_dont_have: send_dont_have || want.send_dont_have,
                state,
            };
            if state == WantState::Queued {
                ledger.queue.insert(rank, cid);
            }
            ledger.ranks.insert(rank, cid);
            return;
        }
        if ledger.wants.len() >= MAX_WANTS_PER_PEER {
            match ledger.ranks.last_key_value() {
                Some((last, out)) if rank < *last => {
                    let out = *out;
                    self.remove(&peer, &out);
                }
                _ => return,
            }
        }
        let Some(ledger) = self.peers.get_mut(&peer) else {
            return;
        };
        self.wants += 1;
        ledger.wants.insert(
            cid,
            Want {
                rank,
                kind,
                send_dont_have,
                state: WantState::Queued,
            },
        );
        ledger.ranks.insert(rank, cid);
        ledger.queue.insert(rank, cid);
    }

    fn remove(&mut self, peer: &PeerId, cid: &Cid) {
        let Some(ledger) = self.peers.get_mut(peer) else { return };
        let Some(want) = ledger.wants.remove(cid) else { return };
        self.wants -= 1;
        ledger.ranks.remove(&want.rank);
        ledger.queue.remove(&want.rank);
        if want.state == WantState::Waiting {
            forget_waiting(&mut self.waiting, cid, peer);
        }
    }

    /// Marks what jobs are looking up as possibly out of date.
    fn read_again(&mut self, cid: Option<&Cid>) {
        for ledger in self.peers.values_mut().filter(|ledger| ledger.jobs > 0) {
            let mark = |want: &mut Want| {
                if let WantState::Reading { again } = &mut want.state {
                    *again = true;
                }
            };
            match cid {
                Some(cid) => ledger.wants.get_mut(cid).into_iter().for_each(mark),
                None => ledger.wants.values_mut().for_each(mark),
            }
        }
    }

    fn stand_in_line(&mut self, peer: PeerId) {
        if let Some(ledger) = self.peers.get_mut(&peer)
            && !ledger.in_line
            && !ledger.queue.is_empty()
            && ledger.jobs < JOBS_PER_PEER
            && ledger.bytes < self.limits.peer_bytes
        {
            ledger.in_line = true;
            self.turns.push_back(peer);
        }
    }
}

fn forget_waiting(waiting: &mut Waiting, cid: &Cid, peer: &PeerId) {
    if let Some(waiters) = waiting.get_mut(cid.hash()) {
        waiters.retain(|(other, wanted)| other != peer || wanted != cid);
        if waiters.is_empty() {
            waiting.remove(cid.hash());
        }
    }
}

#[cfg(test)]
mod tests;
