//! What happens as time passes: late answers, slow peers, dials, searches, and the end of hope.

use std::time::{Duration, Instant};

use cid::Cid;

use super::peer::{Link, MAX_DIALS, PeerNo};
use super::{Action, Client, MAX_REFUSALS, Said, Search, TICK};
use crate::exchange::session::SessionId;
use crate::exchange::verdict::{FetchError, Verdict};
use crate::threads::lock;

/// A dial that has said nothing for this long counts as failed.
const DIAL: Duration = Duration::from_secs(20);
/// When a session has nothing more to ask, blocks that will take longer than this are asked of an idle peer instead.
const STEAL_AFTER: Duration = Duration::from_millis(500);

impl Client {
    /// When [`Client::drive`] must be called next, at the latest.
    pub(in crate::exchange) fn next_tick(&self) -> Option<Instant> {
        self.next_tick
    }

    /// Looks at the clock, if it is time to.
    pub(super) fn tick(&mut self, now: Instant) {
        if self.next_tick.is_none_or(|at| at > now) {
            return;
        }
        self.ranking_is_old = true;
        // Most peers of a busy node have nothing to do with what is fetched here.
        let concerned: Vec<PeerNo> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.is_concerned())
            .map(|(no, _)| *no)
            .collect();
        for no in concerned {
            let Some(peer) = self.peers.get_mut(&no) else { continue };
            for cid in peer.overdue(now) {
                self.silent(no, cid, now);
            }
            self.talk.insert(no);
            self.retry_dial(no, now);
        }
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in ids {
            self.steal(id, now);
            self.search(id, now);
            self.judge(id, now);
        }
        self.next_tick = (!self.wants.is_empty()).then_some(now + TICK);
    }

    /// A peer has not answered in time: others are asked as well.
    fn silent(&mut self, no: PeerNo, cid: Cid, now: Instant) {
        let Some(want) = self.wants.get_mut(&cid) else { return };
        want.say(no, Said::Nothing);
        let held = want.holder == Some(no);
        if held {
            want.holder = None;
        }
        for id in want.sessions() {
            if held {
                self.queue_first(id, cid);
            } else if self
                .sessions
                .get(&id)
                .is_some_and(|session| session.stuck.contains(&cid))
            {
                self.settle_stuck(id, &cid, now);
            }
        }
    }

    /// Asks for a connection to a peer, unless there is one or the last try is too fresh.
    pub(super) fn dial(&mut self, no: PeerNo, now: Instant) {
        let Some(peer) = self.peers.get_mut(&no) else { return };
        if matches!(peer.link, Link::Absent | Link::Unreachable) && peer.dial_after.is_none_or(|at| at <= now) {
            peer.link = Link::Dialing;
            peer.dials += 1;
            peer.dial_after = Some(now + DIAL);
            self.actions.push_back(Action::Dial(peer.id));
        }
    }

    fn retry_dial(&mut self, no: PeerNo, now: Instant) {
        let Some(peer) = self.peers.get_mut(&no) else { return };
        if peer.banned_until.is_some_and(|until| until <= now) {
            peer.banned_until = None;
        }
        if peer.link == Link::Dialing && peer.dial_after.is_some_and(|at| at <= now) {
            peer.dial_came_to_nothing(now);
            return;
        }
        let wanted = |id: &SessionId| self.sessions.get(id).is_some_and(|session| !session.wants.is_empty());
        if peer.dials < MAX_DIALS && peer.sessions.iter().any(wanted) {
            self.dial(no, now);
        }
    }

    /// A session that only waits takes blocks from a slow peer and asks an idle one.
    fn steal(&mut self, id: SessionId, now: Instant) {
        let Some(session) = self.sessions.get(&id) else { return };
        if !session.queue.is_empty() || session.wants.is_empty() {
            return;
        }
        let usable = |no: &PeerNo| {
            self.peers
                .get(no)
                .filter(|peer| peer.is_connected() && !peer.is_unresponsive())
        };
        let idle = session.members.iter().find(|(no, member)| {
            member.blocks > 0 && member.refusals < MAX_REFUSALS && usable(no).is_some_and(|peer| peer.open_blocks == 0)
        });
        let Some((&idle, _)) = idle else { return };
        let mut taken = Vec::new();
        for slow in session.members.keys().filter(|no| **no != idle) {
            let Some(peer) = self.peers.get(slow) else { continue };
            let asks = peer.open_since();
            let Some((oldest, _)) = asks.last() else { continue };
            let age = now.saturating_duration_since(*oldest);
            let left = peer
                .meter
                .rate()
                .map(|rate| Duration::from_secs_f64((peer.open_bytes as f64 / rate).min(1e6)));
            if age < STEAL_AFTER.max(peer.usual_answer()) || left.is_some_and(|left| left < STEAL_AFTER) {
                continue;
            }
            let asks = asks.iter().map(|(_, cid)| *cid).filter(|cid| {
                session.wants.contains(cid) && self.wants.get(cid).is_some_and(|want| want.said(idle).is_none())
            });
            taken.extend(asks.take(peer.open_blocks.div_ceil(2)).map(|cid| (*slow, cid)));
        }
        for (slow, cid) in taken {
            if let Some(want) = self.wants.get_mut(&cid) {
                want.told.retain(|no| *no != slow);
            }
            self.cancel_at(slow, &cid);
            self.assign(id, cid, idle, now);
        }
    }

    /// Asks for providers when it is time to.
    fn search(&mut self, id: SessionId, now: Instant) {
        let times = self.times;
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.wants.is_empty() {
            return;
        }
        let quiet = now.saturating_duration_since(session.last_progress);
        let rested = |at| now.saturating_duration_since(at) >= times.search_every;
        session.search = match session.search {
            Search::Idle if quiet >= times.search_after && session.last_search.is_none_or(rested) => Search::Due(now),
            Search::Done(at) if rested(at) && quiet >= times.search_every => Search::Due(now),
            Search::Running(since) if now.saturating_duration_since(since) >= times.search => Search::Done(since),
            search => search,
        };
        if matches!(session.search, Search::Due(at) if at <= now) {
            // Rather one that no search has been made for.
            let newest = session
                .stuck
                .iter()
                .max_by_key(|cid| self.wants.get(*cid).and_then(|want| want.stuck_since));
            if let Some(cid) = newest.or_else(|| session.wants.iter().next()).copied() {
                session.search = Search::Running(now);
                session.last_search = Some(now);
                self.actions.push_back(Action::NeedProviders(id, cid));
            }
        }
    }

    /// Emits a search that is due without waiting for the next tick.
    pub(in crate::exchange) fn search_due(&mut self, now: Instant) {
        let due: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, session)| matches!(session.search, Search::Due(at) if at <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.search(id, now);
        }
    }

    /// Ends the fetches of a session for which nothing is left to hope for.
    pub(super) fn judge(&mut self, id: SessionId, now: Instant) {
        let patience = self.times.patience;
        self.rank();
        let Some(session) = self.sessions.get(&id) else { return };
        let quiet = now.saturating_duration_since(session.last_progress) >= patience;
        let mut over: Vec<(Cid, bool)> = Vec::new();
        let mut unsearched = false;
        if let Search::Done(begun) = session.search {
            for cid in &session.stuck {
                let Some(want) = self.wants.get(cid) else { continue };
                let silent = want.said.iter().any(|(_, said)| *said == Said::Nothing);
                if silent || self.is_awaited(id, cid) {
                    continue;
                }
                match want.stuck_since {
                    Some(since) if since > begun => unsearched = true,
                    _ => over.push((*cid, false)),
                }
            }
        }
        if quiet {
            let old = |cid: &&Cid| {
                self.wants
                    .get(*cid)
                    .is_some_and(|want| now.saturating_duration_since(want.since) >= patience)
            };
            over.extend(session.wants.iter().filter(old).map(|cid| (*cid, true)));
        }
        for (cid, stalled) in over {
            self.fail(id, cid, stalled, now);
        }
        if unsearched && let Some(session) = self.sessions.get_mut(&id) {
            session.search = Search::Due(now);
        }
    }

    /// Ends the fetches of one session for one block.
    fn fail(&mut self, id: SessionId, cid: Cid, stalled: bool, now: Instant) {
        let Some(want) = self.wants.get(&cid) else { return };
        let verdict = self.verdict(id, want);
        let seconds = u32::try_from(now.saturating_duration_since(want.since).as_secs()).unwrap_or(u32::MAX);
        let tickets: Vec<_> = want
            .tickets
            .iter()
            .filter(|(of, _)| *of == id)
            .map(|(_, ticket)| *ticket)
            .collect();
        for ticket in tickets {
            let error = match stalled {
                true => FetchError::Stalled { cid, seconds, verdict },
                false => FetchError::NotFound { cid, verdict },
            };
            self.actions.push_back(Action::Deliver(ticket, Err(error)));
            self.cancel(ticket);
        }
    }

    fn verdict(&self, id: SessionId, want: &super::Want) -> Verdict {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let said = |what| count(want.said.iter().filter(|(_, said)| *said == what).count());
        let mut asked: Vec<PeerNo> = want
            .told
            .iter()
            .chain(want.said.iter().map(|(no, _)| no))
            .copied()
            .collect();
        asked.sort_unstable();
        asked.dedup();
        let mut verdict = Verdict {
            asked: count(asked.len()),
            refused: said(Said::DontHave),
            silent: said(Said::Nothing),
            ..Verdict::default()
        };
        if let Some(session) = self.sessions.get(&id) {
            verdict.known = count(session.members.len());
            let lost = |no: &&PeerNo| self.peers.get(no).is_some_and(|peer| !peer.is_connected());
            verdict.unreachable = count(session.members.keys().filter(lost).count());
            lock(&session.stats).last_verdict = Some(verdict);
        }
        verdict
    }
}
