//! Who is asked for what.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use cid::Cid;

use super::peer::{AskState, MAX_HAVE_ASKS, Peer, PeerNo};
use super::{Client, MAX_REFUSALS, Said, Search, SessionState, Want};
use crate::exchange::message::WantKind;
use crate::exchange::session::SessionId;

/// How many wants of one session are asked before the next session has its turn.
const QUANTUM: usize = 32;
/// How far behind a want that nobody has room for another one is looked for.
const SCAN: usize = 64;
/// The most blocks that one session asks of all peers together.
const MAX_SESSION_ASKS: usize = 4096;
/// In a new session, this many wants are asked of others beside the first choice.
const PROBED_WANTS: usize = 16;
/// How many members of a session are asked beside the first choice.
const PROBED_MEMBERS: usize = 4;
/// How many connected peers outside a session are asked along.
const PROBED_GUESTS: usize = 16;
/// The longest time from one question of a session to strangers to the next.
const WIDEN_LAST: Duration = Duration::from_secs(10);
/// A rate for peers of which nothing is known, in bytes per second.
const GUESSED_RATE: f64 = (1 << 20) as f64;

enum Choice {
    Ask(PeerNo),
    /// Somebody may have it, but has no room now.
    Wait {
        /// Whether any peer of the session has room.
        room: bool,
    },
    Nobody,
}

impl Client {
    /// Asks whatever can be asked now.
    pub(in crate::exchange) fn drive(&mut self, now: Instant) {
        self.tick(now);
        while let Some(id) = self.runnable.pop_front() {
            if let Some(session) = self.sessions.get_mut(&id) {
                session.runnable = false;
            }
            if self.schedule(id, now) {
                self.run(id);
            }
        }
    }

    /// Gives one session its turn. Returns whether it has more to ask.
    fn schedule(&mut self, id: SessionId, now: Instant) -> bool {
        let mut waiting = Vec::new();
        let mut asked = 0;
        let mut latest = None;
        while asked < QUANTUM {
            let Some(cid) = self.sessions.get_mut(&id).and_then(|session| session.queue.pop_front()) else {
                break;
            };
            let Some(session) = self.sessions.get(&id) else {
                return false;
            };
            let Some(want) = self.wants.get(&cid).filter(|want| want.holder.is_none()) else {
                continue;
            };
            if !session.wants.contains(&cid) {
                continue;
            }
            match self.choose(session, want) {
                Choice::Ask(no) => {
                    self.assign(id, cid, no, now);
                    asked += 1;
                    latest = Some(cid);
                }
                Choice::Wait { room } => {
                    waiting.push(cid);
                    if !room || waiting.len() >= SCAN {
                        break;
                    }
                }
                Choice::Nobody => self.stick(id, cid, now),
            }
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            for cid in waiting.into_iter().rev() {
                session.queue.push_front(cid);
            }
        }
        if let Some(cid) = latest {
            self.widen(id, cid, now);
        }
        asked == QUANTUM
    }

    /// Now and then, asks connected peers outside a session whether they have what it asked a member for last: whoever
    /// said so too late for the first blocks, or has connected since, becomes a member.
    fn widen(&mut self, id: SessionId, latest: Cid, now: Instant) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if now < session.widen_at {
            return;
        }
        session.widen_at = now + session.widen_every;
        session.widen_every = (session.widen_every * 2).min(WIDEN_LAST);
        self.probe_guests(id, latest, now);
    }

    fn choose(&self, session: &SessionState, want: &Want) -> Choice {
        let connected = |no: &PeerNo| self.peers.get(no).filter(|peer| peer.is_connected());
        let (mut here, mut asks, mut rated, mut rates) = (0, 0, 0, 0.0);
        for peer in session.members.keys().filter_map(connected) {
            here += 1;
            asks += peer.open_blocks;
            if let Some(rate) = peer.meter.rate() {
                rated += 1;
                rates += rate;
            }
        }
        let (alone, full) = (here < 2, asks >= MAX_SESSION_ASKS);
        let fallback = if rated == 0 {
            GUESSED_RATE
        } else {
            rates / f64::from(rated)
        };

        let (mut best, mut last_resort, mut eligible, mut room, mut refusing) = (None, None, false, false, false);
        for (no, member) in &session.members {
            let Some(peer) = connected(no) else { continue };
            let has_room = !full && peer.has_room(session.estimate, alone);
            room |= has_room;
            let said = want.said(*no);
            if matches!(said, Some(Said::DontHave | Said::Nothing)) || peer.is_unresponsive() {
                continue;
            }
            if member.refusals >= MAX_REFUSALS && said != Some(Said::Have) {
                refusing = true;
                if has_room {
                    last_resort = Some(*no);
                }
                continue;
            }
            eligible = true;
            if !has_room {
                continue;
            }
            let finish = peer.finish(session.estimate, fallback) * if said == Some(Said::Have) { 0.5 } else { 1.0 };
            if best.is_none_or(|(least, _)| finish < least) {
                best = Some((finish, *no));
            }
        }
        match (best, last_resort) {
            (Some((_, no)), _) => Choice::Ask(no),
            (None, Some(no)) if !eligible => Choice::Ask(no),
            (None, _) if eligible || refusing => Choice::Wait { room },
            (None, _) => Choice::Nobody,
        }
    }

    pub(super) fn assign(&mut self, id: SessionId, cid: Cid, no: PeerNo, now: Instant) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let fresh = session.probed < PROBED_WANTS && session.members.values().all(|member| member.blocks == 0);
        session.probed += usize::from(fresh);
        session.stuck.remove(&cid);
        let estimate = session.estimate;
        if let Some(want) = self.wants.get_mut(&cid) {
            want.holder = Some(no);
            want.queued = false;
        }
        self.ask(no, cid, WantKind::Block, estimate, now);
        if fresh {
            self.probe_members(id, cid, now);
            self.probe_guests(id, cid, now);
        }
    }

    /// Nobody is left to be asked for a want: strangers are asked whether they have it, and a search is due.
    fn stick(&mut self, id: SessionId, cid: Cid, now: Instant) {
        if let Some(want) = self.wants.get_mut(&cid) {
            want.queued = false;
            want.stuck_since.get_or_insert(now);
        }
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.stuck.insert(cid);
        self.probe_guests(id, cid, now);
        self.settle_stuck(id, &cid, now);
    }

    /// Says when a search is due for a stuck want: at once if nobody can answer any more.
    pub(super) fn settle_stuck(&mut self, id: SessionId, cid: &Cid, now: Instant) {
        self.rank();
        let hopeless = !self.is_awaited(id, cid);
        let after = self.times.search_after;
        let since = self.wants.get(cid).and_then(|want| want.stuck_since).unwrap_or(now);
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let due = if hopeless { now } else { now + after };
        match session.search {
            Search::Idle => session.search = Search::Due(due),
            Search::Due(at) if due < at => session.search = Search::Due(due),
            Search::Done(begun) if since > begun => session.search = Search::Due(due),
            Search::Done(_) if hopeless => self.judge(id, now),
            _ => {}
        }
    }

    /// Whether somebody may still answer for a stuck want without a search: an open question, a guest to be asked
    /// when it has room, a member that has said nothing about it yet or was lost and will be dialled, or a dial.
    pub(super) fn is_awaited(&self, id: SessionId, cid: &Cid) -> bool {
        let (Some(want), Some(session)) = (self.wants.get(cid), self.sessions.get(&id)) else {
            return false;
        };
        let ask = |no: &PeerNo| self.peers.get(no).and_then(|peer| peer.asks.get(cid));
        let hope = |no: &PeerNo| {
            let unasked = |peer: &Peer| peer.is_connected() && want.said(*no).is_none();
            self.peers.get(no).is_some_and(|peer| peer.may_come() || unasked(peer))
        };
        want.told
            .iter()
            .any(|no| ask(no).is_some_and(|ask| ask.state == AskState::Open))
            || self.guests_left(want, session, self.guests(session)).next().is_some()
            || session.members.keys().any(hope)
    }

    fn probe_members(&mut self, id: SessionId, cid: Cid, now: Instant) {
        let Some(session) = self.sessions.get(&id) else { return };
        let members: Vec<_> = session.members.keys().copied().collect();
        self.probe(members, PROBED_MEMBERS, cid, now);
    }

    fn probe_guests(&mut self, id: SessionId, cid: Cid, now: Instant) {
        self.rank();
        let (Some(want), Some(session)) = (self.wants.get(&cid), self.sessions.get(&id)) else {
            return;
        };
        let guests: Vec<_> = self.guests_left(want, session, self.guests(session)).collect();
        self.probe(guests, PROBED_GUESTS, cid, now);
    }

    /// Brings [`Client::ranking`] up to date when a peer has come or time has passed since it was made.
    pub(super) fn rank(&mut self) {
        if !std::mem::take(&mut self.ranking_is_old) {
            return;
        }
        let connected = self.peers.iter().filter(|(_, peer)| peer.is_connected());
        let mut ranking: Vec<_> = connected.map(|(no, peer)| (Reverse(peer.blocks), *no)).collect();
        ranking.sort_unstable();
        self.ranking = ranking.into_iter().map(|(_, no)| no).collect();
    }

    /// Connected peers outside a session that can be asked whether they have a block, the most useful ones first.
    fn guests<'a>(&'a self, session: &'a SessionState) -> impl Iterator<Item = PeerNo> + use<'a> {
        let fit = |no: &PeerNo| {
            let peer = self.peers.get(no);
            peer.is_some_and(|peer| peer.is_connected() && peer.presences && !peer.is_unresponsive())
                && !session.members.contains_key(no)
        };
        self.ranking.iter().copied().filter(fit)
    }

    /// Which of `guests` are still to be asked about a want: as many as bring it to [`PROBED_GUESTS`].
    fn guests_left<'a>(
        &'a self,
        want: &'a Want,
        session: &SessionState,
        guests: impl Iterator<Item = PeerNo> + 'a,
    ) -> impl Iterator<Item = PeerNo> + 'a {
        let strangers = |no: &&PeerNo| !session.members.contains_key(no);
        let silent_or_no = want.said.iter().map(|(no, _)| no).filter(strangers).count();
        let asked = |no: &PeerNo| self.peers.get(no).is_some_and(|peer| peer.asks.contains_key(&want.cid));
        let open = want
            .told
            .iter()
            .filter(strangers)
            .filter(|no| want.said(**no).is_none() && asked(no))
            .count();
        let left = PROBED_GUESTS.saturating_sub(silent_or_no + open);
        guests
            .filter(move |no| want.said(*no).is_none() && !asked(no))
            .take(left)
    }

    /// A peer has connected or answered questions: it is asked about wants that nobody else is left for.
    pub(super) fn greet(&mut self, no: PeerNo, now: Instant) {
        let Some(peer) = self.peers.get(&no).filter(|peer| peer.open_haves < MAX_HAVE_ASKS / 2) else {
            return;
        };
        let room = MAX_HAVE_ASKS - peer.open_haves;
        let stuck: Vec<Cid> = self
            .sessions
            .values()
            .filter(|session| !session.members.contains_key(&no))
            .flat_map(|session| session.stuck.iter().map(move |cid| (session, cid)))
            .filter(|(session, cid)| {
                let want = self.wants.get(cid);
                want.is_some_and(|want| self.guests_left(want, session, std::iter::once(no)).next().is_some())
            })
            .map(|(_, cid)| *cid)
            .take(room)
            .collect();
        for cid in stuck {
            self.probe(vec![no], 1, cid, now);
        }
    }

    fn probe(&mut self, peers: Vec<PeerNo>, most: usize, cid: Cid, now: Instant) {
        let mut asked = 0;
        for no in peers {
            if asked == most {
                break;
            }
            let (Some(want), Some(peer)) = (self.wants.get(&cid), self.peers.get(&no)) else {
                continue;
            };
            let fit = peer.is_connected() && peer.presences && !peer.is_unresponsive();
            if fit && want.said(no).is_none() && !peer.asks.contains_key(&cid) && peer.open_haves < MAX_HAVE_ASKS {
                self.ask(no, cid, WantKind::Have, 0, now);
                asked += 1;
            }
        }
    }

    fn ask(&mut self, no: PeerNo, cid: Cid, kind: WantKind, estimate: usize, now: Instant) {
        let (Some(want), Some(peer)) = (self.wants.get_mut(&cid), self.peers.get_mut(&no)) else {
            return;
        };
        if peer.ask(cid, want.priority, kind, estimate, now, self.times.answer) {
            if !want.told.contains(&no) {
                want.told.push(no);
            }
            self.talk.insert(no);
        }
    }
}
