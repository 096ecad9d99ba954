//! What becomes of answers: blocks, HAVE, DONT_HAVE, and blocks that nobody asked for.

use std::time::{Duration, Instant};

use cid::Cid;
use libp2p::PeerId;

use super::peer::{Link, PeerNo};
use super::{Action, Client, MAX_UNREQUESTED, Receipt, Said, Search};
use crate::block::Block;
use crate::exchange::message::{Presence, WantKind};
use crate::exchange::session::SessionId;
use crate::threads::lock;

/// How long a peer that sent too many of those is not talked to.
pub(super) const BAN: Duration = Duration::from_secs(300);
/// The most peers shut out at a time; further ones are only disconnected.
const MAX_BANNED: usize = 1024;

impl Client {
    /// A message came from a connected peer: blocks under the CIDs of their bytes, answers, and a number of blocks
    /// that nobody can have asked for.
    pub(in crate::exchange) fn received(
        &mut self,
        peer: PeerId,
        blocks: Vec<Block>,
        presences: Vec<(Cid, Presence)>,
        unusable: usize,
        now: Instant,
    ) -> Receipt {
        let mut receipt = Receipt::default();
        let Some(&no) = self.numbers.get(&peer) else {
            return receipt;
        };
        let Some(state) = self.peers.get_mut(&no).filter(|peer| peer.is_connected()) else {
            return receipt;
        };
        state.heard(now);
        if (!blocks.is_empty() || !presences.is_empty()) && state.forgive(now, self.times.answer) {
            for id in state.sessions.clone() {
                self.unstick(id);
            }
        }
        for block in blocks {
            if self.is_shut_out(no) {
                break;
            }
            self.received_block(no, block, &mut receipt, now);
        }
        for _ in 0..unusable {
            if self.is_shut_out(no) {
                break;
            }
            receipt.unrequested += 1;
            self.strike(no, now);
        }
        for (cid, presence) in presences {
            let answers = match presence {
                Presence::Have => self.received_have(no, cid, now),
                Presence::DontHave => self.received_dont_have(no, cid, now),
            };
            receipt.answers += u64::from(answers);
        }
        if let Some(peer) = self.peers.get_mut(&no) {
            peer.settle(now);
            for id in peer.sessions.clone() {
                self.run(id);
            }
            if receipt.answers + receipt.blocks + receipt.duplicates > 0 {
                self.greet(no, now);
            }
        }
        receipt
    }

    /// Whether the peer has been shut out, so that the rest of its message is of no interest.
    fn is_shut_out(&self, no: PeerNo) -> bool {
        self.peers.get(&no).is_none_or(|peer| peer.banned_until.is_some())
    }

    fn received_block(&mut self, no: PeerNo, block: Block, receipt: &mut Receipt, now: Instant) {
        let (cid, bytes) = (*block.cid(), block.data().len());
        let Some(peer) = self.peers.get_mut(&no) else { return };
        peer.meter.add(bytes, now);
        let asked = peer.may_send(&cid);
        peer.answered(&cid, now);
        let Some(want) = self.wants.remove(&cid) else {
            if asked {
                receipt.duplicates += 1;
                receipt.duplicate_bytes += bytes as u64;
                if let Some(session) = peer.sessions.first().and_then(|id| self.sessions.get(id)) {
                    lock(&session.stats).duplicates += 1;
                }
            } else {
                receipt.unrequested += 1;
                self.strike(no, now);
            }
            return;
        };
        receipt.blocks += 1;
        receipt.bytes += bytes as u64;
        peer.blocks += 1;
        self.ranking_is_old |= peer.blocks == 1;
        for other in want.told.iter().filter(|other| **other != no) {
            self.cancel_at(*other, &cid);
        }
        let mut credited: Option<SessionId> = None;
        for (id, ticket) in want.tickets {
            self.tickets.remove(&ticket);
            self.actions.push_back(Action::Deliver(ticket, Ok(block.clone())));
            if credited != Some(id) {
                credited = Some(id);
                self.credit(id, no, &cid, bytes, now);
            }
        }
    }

    /// A session's want has been met by a peer.
    fn credit(&mut self, id: SessionId, no: PeerNo, cid: &Cid, bytes: usize, now: Instant) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if !session.wants.remove(cid) {
            return;
        }
        session.stuck.remove(cid);
        session.last_progress = now;
        if session.stuck.is_empty() && !matches!(session.search, Search::Running(_)) {
            session.search = Search::Idle;
        }
        session.estimate = (session.estimate * 7 + bytes) / 8;
        session.meter.add(bytes, now);
        if !session.members.contains_key(&no) {
            self.join(id, no);
        }
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let mut first = false;
        if let Some(member) = session.members.get_mut(&no) {
            first = member.blocks == 0;
            member.blocks += 1;
            member.refusals = 0;
        }
        let mut stats = lock(&session.stats);
        stats.blocks += 1;
        stats.bytes += bytes as u64;
        stats.providers += usize::from(first);
        stats.last_from = self.peers.get(&no).map(|peer| peer.id);
        stats.rate = session.meter.rate().unwrap_or(0.0);
    }

    /// Returns whether it was asked for.
    fn received_have(&mut self, no: PeerNo, cid: Cid, now: Instant) -> bool {
        let Some(peer) = self.peers.get_mut(&no) else {
            return false;
        };
        if peer.asks.get(&cid).is_none_or(|ask| ask.kind == WantKind::Block) {
            return false;
        }
        peer.answered(&cid, now);
        let Some(want) = self.wants.get_mut(&cid) else {
            return true;
        };
        want.told.retain(|other| *other != no);
        want.say(no, Said::Have);
        let held = want.holder.is_some();
        for id in want.sessions() {
            self.join(id, no);
            if !held {
                self.queue_first(id, cid);
            }
        }
        true
    }

    /// Returns whether it was asked for.
    fn received_dont_have(&mut self, no: PeerNo, cid: Cid, now: Instant) -> bool {
        let Some(ask) = self.peers.get_mut(&no).and_then(|peer| peer.refused(&cid, now)) else {
            return false;
        };
        let Some(want) = self.wants.get_mut(&cid) else {
            return true;
        };
        want.say(no, Said::DontHave);
        let held = want.holder == Some(no);
        if held {
            want.holder = None;
        }
        for id in want.sessions() {
            let Some(session) = self.sessions.get_mut(&id) else {
                continue;
            };
            if ask.kind == WantKind::Block
                && let Some(member) = session.members.get_mut(&no)
            {
                member.refusals = member.refusals.saturating_add(1);
            }
            if held {
                self.queue_first(id, cid);
            } else if session.stuck.contains(&cid) {
                self.settle_stuck(id, &cid, now);
            }
        }
        true
    }

    /// Counts a block that nobody asked for.
    fn strike(&mut self, no: PeerNo, now: Instant) {
        let Some(peer) = self.peers.get_mut(&no) else { return };
        peer.unrequested += 1;
        if peer.unrequested == MAX_UNREQUESTED {
            self.ban(no, now);
        }
    }

    fn ban(&mut self, no: PeerNo, now: Instant) {
        self.peers.retain(|_, peer| {
            let keep = peer.link != Link::Absent || peer.banned_until.is_none_or(|until| until > now);
            if !keep {
                self.numbers.remove(&peer.id);
            }
            keep
        });
        let banned = self.peers.values().filter(|peer| peer.banned_until.is_some()).count();
        let until = if banned < MAX_BANNED { now + BAN } else { now };
        let Some(peer) = self.peers.get_mut(&no) else { return };
        peer.banned_until = Some(until);
        tracing::warn!(peer = %peer.id, "disconnecting a peer that sends blocks nobody asked for");
        self.actions.push_back(Action::Disconnect(peer.id));
        for id in std::mem::take(&mut peer.sessions) {
            if let Some(session) = self.sessions.get_mut(&id) {
                session.members.remove(&no);
            }
        }
        self.lose(no);
    }
}
