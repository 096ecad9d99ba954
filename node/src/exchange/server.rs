//! The serving half, as a state machine: what every peer wants, in which order it is read and sent, and how much may
//! be on the way.
//!
//! Inputs are wantlists, results of store reads and reports of sent messages; outputs are [`Job`]s, which the caller
//! runs on a thread that may block, and messages. A want that cannot be answered stays in the peer's ledger, so that
//! a block that arrives later is pushed. Peers take turns, one message at a time; whoever has been given least in looks
//! and bytes is next, so one who asks for little now and then does not wait for those who ask for much.
//!
//! Bounds: [`MAX_WANTS_PER_PEER`] wants for each peer, of which the lowest in priority give way, and [`MAX_WANTS`] for all;
//! a peer that does not take what it asked for holds at most [`Limits::peer_bytes`], and never more than a part of what is
//! left of [`Limits::total_bytes`] for the others: the more peers take nothing, the less each of them holds, and there is
//! room for one who does. Messages being read count as of the usual length.
//!
//! `ledger.rs` keeps the books, `job.rs` reads the store.

mod job;
mod ledger;

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use cid::Cid;
use libp2p::PeerId;

use super::message::{Message, Presence, WantKind};
use super::wantlist::{MAX_WANTS_PER_PEER, Wantlist};
use job::{Answer, MESSAGE_BYTES, WANTS_PER_JOB};
pub(super) use job::{Answered, Job};
use ledger::{InFlight, Ledger, Turn, Waiting, Want, WantState};

/// The most wants kept for all peers together, some 400 bytes each. When they are that many, the peer with most gives
/// way to one with fewer.
pub(super) const MAX_WANTS: usize = 128 << 10;
/// How many wants a peer that has most gives up at once, so that it is not looked for each time.
const MAX_GIVEN_UP: usize = 64;
/// How many messages are read from the store for one peer at a time.
const JOBS_PER_PEER: usize = 2;
/// After this many messages in a row that could not be sent, a peer's wants are forgotten.
const MAX_FAILURES: u32 = 3;
/// So many bytes of blocks count like one more want when turns are given.
const BYTES_PER_WANT: usize = 4 << 10;

/// A peer holds at most this part of what is left for all peers.
const PART_OF_REST: usize = 4;

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

/// A message for a peer. Its `id` comes back through [`Server::sent`] or [`Server::lost`].
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) peer: PeerId,
    pub(super) id: u64,
    pub(super) message: Message,
}

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Server {
    limits: Limits,
    peers: HashMap<PeerId, Ledger>,
    /// The peers by the epochs of their ledgers.
    epochs: HashMap<u64, PeerId>,
    /// Who waits for a block that is not in the store, and under which CID.
    waiting: Waiting,
    /// Who has something to be looked up, who has been given least first.
    line: BTreeSet<(Turn, PeerId)>,
    /// The turn given last.
    clock: u64,
    /// Peers for which a job runs.
    reading: HashSet<PeerId>,
    jobs: usize,
    bytes: usize,
    wants: usize,
    counter: u64,
    max_wants: usize,
}

impl Server {
    /// A server that knows no peer yet.
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            peers: HashMap::new(),
            epochs: HashMap::new(),
            waiting: Waiting::default(),
            line: BTreeSet::new(),
            clock: 0,
            reading: HashSet::new(),
            jobs: 0,
            bytes: 0,
            wants: 0,
            counter: 0,
            max_wants: MAX_WANTS,
        }
    }

    /// Forgets everything about a peer. What is still being read for it will be thrown away.
    pub(super) fn disconnected(&mut self, peer: &PeerId) {
        if let Some(ledger) = self.peers.remove(peer) {
            self.epochs.remove(&ledger.epoch);
            self.reading.remove(peer);
            if let Some(turn) = ledger.turn {
                self.line.remove(&(turn, *peer));
            }
            self.bytes -= ledger.bytes;
            self.wants -= ledger.wants.len();
            for (cid, want) in ledger.wants {
                if want.state == WantState::Waiting {
                    self.waiting.remove(cid, ledger.epoch);
                }
            }
        }
    }

    /// Whether something is being read, sent or to be read for a peer.
    pub(super) fn is_busy(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(Ledger::is_busy)
    }

    /// How many wants are kept for all peers.
    pub(super) fn wants(&self) -> usize {
        self.wants
    }

    /// A wantlist came from a connected peer.
    pub(super) fn wantlist(&mut self, peer: PeerId, list: Wantlist) {
        if list.is_empty() {
            return;
        }
        let Wantlist {
            only,
            withdrawn,
            entries,
        } = list;
        if only.is_some() || !withdrawn.is_empty() {
            let stays = |cid: &Cid| only.as_ref().is_none_or(|only| only.contains(cid)) && !withdrawn.contains(cid);
            let kept = self.peers.get(&peer).map(|ledger| ledger.wants.keys());
            let gone: Vec<Arc<Cid>> = kept.into_iter().flatten().filter(|cid| !stays(cid)).cloned().collect();
            for cid in gone {
                self.remove(&peer, &cid);
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
            for (wanted, epoch) in self.waiting.take(cid) {
                self.look_again(wanted, epoch);
            }
            if self.jobs > 0 {
                self.read_again(Some(cid));
            }
        }
    }

    /// Any block may be in the store now: everything that waits is looked up again.
    pub(super) fn anything_added(&mut self) {
        for (wanted, epoch) in self.waiting.take_all() {
            self.look_again(wanted, epoch);
        }
        self.read_again(None);
    }

    fn look_again(&mut self, wanted: Arc<Cid>, epoch: u64) {
        let Some(&peer) = self.epochs.get(&epoch) else { return };
        let Some(ledger) = self.peers.get_mut(&peer) else {
            return;
        };
        if let Some(want) = ledger.wants.get_mut(&*wanted) {
            want.state = WantState::Queued;
            ledger.queue.insert(want.rank, wanted);
        }
        self.stand_in_line(peer);
    }

    /// Work that may begin now; called until it gives nothing.
    pub(super) fn next_job(&mut self) -> Option<Job> {
        if self.jobs >= self.limits.jobs || self.may_hold() == 0 {
            return None;
        }
        while let Some(((start, _), peer)) = self.line.pop_first() {
            let may_hold = self.may_hold();
            let Some(ledger) = self.peers.get_mut(&peer) else {
                continue;
            };
            ledger.turn = None;
            if ledger.jobs >= JOBS_PER_PEER || ledger.bytes >= may_hold {
                // Put back in line when a message has gone or a job has ended.
                continue;
            }
            let mut wants = Vec::new();
            while wants.len() < WANTS_PER_JOB {
                let Some((_, cid)) = ledger.queue.pop_first() else {
                    break;
                };
                if let Some(want) = ledger.wants.get_mut(&*cid) {
                    want.state = WantState::Reading { again: false };
                    wants.push((*cid, want.kind));
                }
            }
            if wants.is_empty() {
                continue;
            }
            self.clock = self.clock.max(start);
            ledger.served = ledger.served.max(start) + 1;
            ledger.jobs += 1;
            self.jobs += 1;
            self.reading.insert(peer);
            let epoch = ledger.epoch;
            self.stand_in_line(peer);
            return Some(Job { peer, epoch, wants });
        }
        None
    }

    /// How many bytes one peer may have on the way: its limit, but no more than a part of what is left for all others.
    fn may_hold(&self) -> usize {
        let being_read = self.jobs * MESSAGE_BYTES;
        let left = self.limits.total_bytes.saturating_sub(self.bytes + being_read);
        self.limits.peer_bytes.min(left / PART_OF_REST)
    }

    /// Whether so much is on the way that those who take nothing cost the others.
    pub(super) fn is_short(&self) -> bool {
        self.bytes > self.limits.total_bytes / 2
    }

    /// Whether something is on the way to a peer.
    pub(super) fn holds(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|ledger| ledger.bytes > 0)
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
        if ledger.jobs == 0 {
            self.reading.remove(&peer);
        }
        let (mut message, mut gone, mut bytes) = (Message::default(), Vec::new(), 0);
        let looks = answers
            .iter()
            .filter(|answer| !matches!(answer, Answer::Unread))
            .count() as u64;
        for ((cid, asked), answer) in wants.into_iter().zip(answers) {
            let Some((name, mut want)) = ledger.wants.remove_entry(&cid) else {
                continue;
            };
            let WantState::Reading { again } = want.state else {
                ledger.wants.insert(name, want);
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
                ledger.queue.insert(want.rank, name.clone());
                ledger.wants.insert(name, want);
                continue;
            }
            if let Answer::Missing = answer {
                want.state = WantState::Waiting;
                if want.send_dont_have {
                    message.presences.push((cid, Presence::DontHave));
                    bytes += cid.encoded_len();
                }
                self.waiting.insert(name.clone(), epoch);
                ledger.wants.insert(name, want);
                continue;
            }
            gone.push((cid, want.rank.0.0, want.kind, want.send_dont_have));
            ledger.ranks.remove(&want.rank);
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
        ledger.served += looks + (bytes / BYTES_PER_WANT) as u64;
        if let Some(turn) = ledger.turn.take() {
            self.line.remove(&(turn, peer));
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
        let rank = (Reverse(priority), self.counter);
        let ledger = self.ledger(peer);
        let epoch = ledger.epoch;
        if let Some((name, want)) = ledger.wants.remove_entry(&cid) {
            ledger.ranks.remove(&want.rank);
            ledger.queue.remove(&want.rank);
            // A want for the block is not weakened to a question: the peer asked for the block and has not cancelled.
            let kind = if want.kind == WantKind::Block {
                WantKind::Block
            } else {
                kind
            };
            let was_waiting = want.state == WantState::Waiting;
            let state = if was_waiting { WantState::Queued } else { want.state };
            if state == WantState::Queued {
                ledger.queue.insert(rank, name.clone());
            }
            ledger.ranks.insert(rank, name.clone());
            let want = Want {
                rank,
                kind,
                send_dont_have: send_dont_have || want.send_dont_have,
                state,
            };
            ledger.wants.insert(name.clone(), want);
            if was_waiting {
                self.waiting.remove(name, epoch);
            }
            return;
        }
        if ledger.wants.len() >= MAX_WANTS_PER_PEER || !self.is_room_for(peer) {
            let last = self.peers.get(&peer).and_then(|ledger| ledger.ranks.last_key_value());
            match last {
                Some((last, out)) if rank < *last => {
                    let out = out.clone();
                    self.remove(&peer, &out);
                }
                _ => return,
            }
        }
        self.wants += 1;
        let name = Arc::new(cid);
        let ledger = self.ledger(peer);
        ledger.ranks.insert(rank, name.clone());
        ledger.queue.insert(rank, name.clone());
        let want = Want {
            rank,
            kind,
            send_dont_have,
            state: WantState::Queued,
        };
        ledger.wants.insert(name, want);
    }

    fn ledger(&mut self, peer: PeerId) -> &mut Ledger {
        let (counter, epochs) = (&mut self.counter, &mut self.epochs);
        self.peers.entry(peer).or_insert_with(|| {
            *counter += 1;
            epochs.insert(*counter, peer);
            Ledger {
                epoch: *counter,
                ..Ledger::default()
            }
        })
    }

    /// Whether one more want of the peer has room among those of all peers, if need be at the cost of a peer with more.
    fn is_room_for(&mut self, peer: PeerId) -> bool {
        if self.wants < self.max_wants {
            return true;
        }
        let own = self.peers.get(&peer).map_or(0, |ledger| ledger.wants.len());
        let most = self.peers.iter().max_by_key(|(_, ledger)| ledger.wants.len());
        let Some((&richest, ledger)) = most.filter(|(_, ledger)| ledger.wants.len() > own + 1) else {
            return false;
        };
        let given_up = (ledger.wants.len() - own).div_ceil(2).min(MAX_GIVEN_UP);
        let lowest: Vec<Arc<Cid>> = ledger.ranks.values().rev().take(given_up).cloned().collect();
        for cid in lowest {
            self.remove(&richest, &cid);
        }
        true
    }

    fn remove(&mut self, peer: &PeerId, cid: &Cid) {
        let Some(ledger) = self.peers.get_mut(peer) else { return };
        let Some((name, want)) = ledger.wants.remove_entry(cid) else {
            return;
        };
        self.wants -= 1;
        ledger.ranks.remove(&want.rank);
        ledger.queue.remove(&want.rank);
        if want.state == WantState::Waiting {
            self.waiting.remove(name, ledger.epoch);
        }
    }

    /// Marks what jobs are looking up as possibly out of date.
    fn read_again(&mut self, cid: Option<&Cid>) {
        for peer in &self.reading {
            let Some(ledger) = self.peers.get_mut(peer) else {
                continue;
            };
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
        let may_hold = self.may_hold();
        if let Some(ledger) = self.peers.get_mut(&peer)
            && ledger.turn.is_none()
            && !ledger.queue.is_empty()
            && ledger.jobs < JOBS_PER_PEER
            && (ledger.bytes == 0 || ledger.bytes < may_hold)
        {
            self.counter += 1;
            // Who was away does not save up turns.
            let turn = (ledger.served.max(self.clock), self.counter);
            ledger.turn = Some(turn);
            self.line.insert((turn, peer));
        }
    }
}

#[cfg(test)]
mod tests;
