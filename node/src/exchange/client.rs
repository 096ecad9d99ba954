//! The fetching half, as a state machine: who is asked for what, and what becomes of the answers.
//!
//! Inputs are fetches, connections, messages and the time; outputs are wantlist messages per peer and [`Action`]s.
//! There is one [`Want`] for each CID, whoever fetches it; a session says which peers are worth asking. Each want is
//! asked as a block of one peer at a time, the one that will be done first by its measured rate, while peers of which
//! nothing is known are asked whether they have it. A refusal or a silence passes the want on; when nobody is left,
//! providers are searched; when that finds nobody new, the fetch fails and says what was tried.
//!
//! `schedule.rs` decides who is asked, `receive.rs` takes answers, `tick.rs` what happens as time passes, `peer.rs` keeps one peer's books.

mod peer;
mod receive;
mod schedule;
mod tick;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use cid::Cid;
use libp2p::PeerId;

use super::message::Message;
use super::session::{SessionId, SharedSessionStats, Ticket};
use super::verdict::FetchError;
use crate::block::Block;
use peer::{Link, Meter, Peer, PeerNo, REDIAL_AFTER};

/// How many blocks that nobody asked for a peer may send before the connection is closed.
pub(super) const MAX_UNREQUESTED: u32 = 8;
/// After this many refusals in a row a peer is asked only when nobody else is left (Kubo's number).
const MAX_REFUSALS: u32 = 16;
/// A session that has peers asks others along again after this, so that all who have its blocks share the work; and each
/// time after twice as long while nobody new is found.
const WIDEN_FIRST: Duration = Duration::from_millis(100);
/// How often the clock is looked at while anything is wanted.
const TICK: Duration = Duration::from_millis(100);

/// Times the fetching half keeps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// A question is late after this, or earlier when the peer's latency is known.
    pub(super) answer: Duration,
    /// Providers are searched when nothing has come for this long.
    pub(super) search_after: Duration,
    /// A search is repeated after this long without progress.
    pub(super) search_every: Duration,
    /// A search that is not answered counts as one that found nobody after this.
    pub(super) search: Duration,
    /// A fetch fails when nothing has come for it or its session for this long.
    pub(super) patience: Duration,
}

/// What the caller has to do.
#[derive(Debug)]
pub(super) enum Action {
    /// A fetch has ended.
    Deliver(Ticket, Result<Block, FetchError>),
    /// Connect to a peer.
    Dial(PeerId),
    /// Find peers that have a block.
    NeedProviders(SessionId, Cid),
    /// Close all connections to a peer that misbehaves.
    Disconnect(PeerId),
}

/// What one message was good for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Receipt {
    /// Blocks that were wanted.
    pub(super) blocks: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// Blocks that had been asked for but were no longer wanted.
    pub(super) duplicates: u64,
    /// Their bytes.
    pub(super) duplicate_bytes: u64,
    /// Blocks that were never asked for.
    pub(super) unrequested: u64,
    /// Presences that answered a question.
    pub(super) answers: u64,
}

/// What a peer said about a want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Have,
    DontHave,
    Nothing,
}

#[derive(Debug)]
struct Want {
    cid: Cid,
    tickets: Vec<(SessionId, Ticket)>,
    priority: i32,
    since: Instant,
    /// Who has been asked for the block and may still answer in time.
    holder: Option<PeerNo>,
    /// Everybody with a question about it, or with a refusal to be cancelled.
    told: Vec<PeerNo>,
    said: Vec<(PeerNo, Said)>,
    queued: bool,
    /// When there was nobody left to be asked for the first time. Only a search begun later can say that nobody
    /// has it.
    stuck_since: Option<Instant>,
}

/// A peer as one session sees it.
#[derive(Debug, Default)]
struct Member {
    blocks: u64,
    refusals: u32,
    /// It gave a block, said HAVE, or was named as a provider.
    known: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Search {
    Idle,
    Due(Instant),
    Running(Instant),
    /// The answer came for a search begun at this time.
    Done(Instant),
}

#[derive(Debug)]
struct SessionState {
    stats: SharedSessionStats,
    members: BTreeMap<PeerNo, Member>,
    /// Wants that wait for somebody to have room.
    queue: VecDeque<Cid>,
    /// Wants that nobody is left to be asked for.
    stuck: HashSet<Cid>,
    wants: HashSet<Cid>,
    search: Search,
    last_search: Option<Instant>,
    last_progress: Instant,
    /// Wants for which strangers were asked along.
    probed: usize,
    /// When strangers are asked along next, and how long after that again.
    widen_at: Instant,
    widen_every: Duration,
    /// Running mean of block sizes.
    estimate: usize,
    meter: Meter,
    runnable: bool,
}

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Client {
    times: Times,
    numbers: HashMap<PeerId, PeerNo>,
    peers: HashMap<PeerNo, Peer>,
    sessions: HashMap<SessionId, SessionState>,
    wants: HashMap<Cid, Want>,
    tickets: HashMap<Ticket, Cid>,
    runnable: VecDeque<SessionId>,
    /// Peers that may have something to be told.
    talk: BTreeSet<PeerNo>,
    /// Connected peers, the most useful ones first as of the last time that was looked at; some may have gone since.
    ranking: Vec<PeerNo>,
    ranking_is_old: bool,
    pub(super) actions: VecDeque<Action>,
    counter: u32,
    next_tick: Option<Instant>,
}

impl Client {
    pub(super) fn new(times: Times) -> Self {
        Self {
            times,
            numbers: HashMap::new(),
            peers: HashMap::new(),
            sessions: HashMap::new(),
            wants: HashMap::new(),
            tickets: HashMap::new(),
            runnable: VecDeque::new(),
            talk: BTreeSet::new(),
            ranking: Vec::new(),
            ranking_is_old: true,
            actions: VecDeque::new(),
            counter: 0,
            next_tick: None,
        }
    }

    /// How many CIDs are wanted.
    pub(super) fn wants(&self) -> usize {
        self.wants.len()
    }

    /// How many sessions are open.
    pub(super) fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Whether an open session hopes for something from the peer.
    pub(super) fn needs(&self, peer: &PeerId) -> bool {
        self.peer(peer)
            .is_some_and(|peer| !peer.sessions.is_empty() || !peer.asks.is_empty())
    }

    /// Opens a session.
    pub(super) fn open(&mut self, id: SessionId, stats: SharedSessionStats, now: Instant) {
        let state = SessionState {
            stats,
            members: BTreeMap::new(),
            queue: VecDeque::new(),
            stuck: HashSet::new(),
            wants: HashSet::new(),
            search: Search::Idle,
            last_search: None,
            last_progress: now,
            probed: 0,
            widen_at: now,
            widen_every: WIDEN_FIRST,
            estimate: peer::GUESSED_BLOCK_BYTES,
            meter: Meter::default(),
            runnable: false,
        };
        self.sessions.insert(id, state);
    }

    /// Ends a session; its fetches are withdrawn without an answer.
    pub(super) fn close(&mut self, id: SessionId) {
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        for cid in session.wants {
            if let Some(want) = self.wants.get_mut(&cid) {
                for (_, ticket) in want.tickets.extract_if(.., |(of, _)| *of == id) {
                    self.tickets.remove(&ticket);
                }
                if want.tickets.is_empty() {
                    self.withdraw(&cid);
                }
            }
        }
        for no in session.members.into_keys() {
            if let Some(peer) = self.peers.get_mut(&no) {
                peer.sessions.retain(|of| *of != id);
            }
            self.forget_if_unused(no);
        }
    }

    /// Names a peer that should have the session's blocks.
    pub(super) fn add_provider(&mut self, id: SessionId, peer: PeerId, now: Instant) {
        if !self.sessions.contains_key(&id) {
            return;
        }
        let no = self.number(peer);
        if self.peers.get(&no).is_some_and(|peer| peer.banned_until.is_some()) {
            return;
        }
        if let Some(peer) = self.peers.get_mut(&no) {
            peer.dials = 0;
        }
        self.join(id, no);
        self.dial(no, now);
    }

    /// The answer to [`Action::NeedProviders`], or what is left of it: the search is over.
    pub(super) fn found(&mut self, id: SessionId, peers: Vec<PeerId>, now: Instant) {
        for peer in peers {
            self.add_provider(id, peer, now);
        }
        if let Some(session) = self.sessions.get_mut(&id)
            && let Search::Running(since) = session.search
        {
            session.search = Search::Done(since);
        }
        self.judge(id, now);
    }

    /// Begins a fetch.
    pub(super) fn fetch(&mut self, id: SessionId, ticket: Ticket, cid: Cid, now: Instant) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return self
                .actions
                .push_back(Action::Deliver(ticket, Err(FetchError::Closed { cid })));
        };
        if session.wants.is_empty() {
            session.last_progress = now;
            if matches!(session.search, Search::Due(_)) {
                session.search = Search::Idle;
            }
        }
        session.wants.insert(cid);
        self.tickets.insert(ticket, cid);
        self.counter = self.counter.wrapping_add(1);
        let priority = i32::MAX - (self.counter & 0x3fff_ffff) as i32;
        let want = self.wants.entry(cid).or_insert_with(|| Want {
            cid,
            tickets: Vec::new(),
            priority,
            since: now,
            holder: None,
            told: Vec::new(),
            said: Vec::new(),
            queued: false,
            stuck_since: None,
        });
        want.tickets.push((id, ticket));
        if want.holder.is_none() {
            want.queued = true;
            session.queue.push_back(cid);
        }
        self.run(id);
        self.next_tick.get_or_insert(now + TICK);
    }

    /// The caller of a fetch has gone.
    pub(super) fn cancel(&mut self, ticket: Ticket) {
        let Some(cid) = self.tickets.remove(&ticket) else {
            return;
        };
        let Some(want) = self.wants.get_mut(&cid) else { return };
        let Some(at) = want.tickets.iter().position(|(_, of)| *of == ticket) else {
            return;
        };
        let (id, _) = want.tickets.swap_remove(at);
        if !want.tickets.iter().any(|(of, _)| *of == id)
            && let Some(session) = self.sessions.get_mut(&id)
        {
            session.wants.remove(&cid);
            session.stuck.remove(&cid);
        }
        if want.tickets.is_empty() {
            self.withdraw(&cid);
        }
    }

    /// A peer is connected, and not yet known not to speak Bitswap.
    pub(super) fn connected(&mut self, peer: PeerId, now: Instant) {
        let no = self.number(peer);
        let Some(peer) = self.peers.get_mut(&no) else { return };
        if peer.banned_until.is_some_and(|until| until <= now) {
            peer.banned_until = None;
        }
        (peer.link, peer.dials, peer.dial_after) = (Link::Connected, 0, None);
        peer.was_connected = true;
        self.ranking_is_old = true;
        for id in peer.sessions.clone() {
            self.unstick(id);
            self.run(id);
        }
        self.greet(no, now);
    }

    /// The last connection to a peer is gone, or the one that carried what was asked of it.
    pub(super) fn disconnected(&mut self, peer: &PeerId, now: Instant) {
        let Some(&no) = self.numbers.get(peer) else { return };
        let Some(peer) = self.peers.get_mut(&no) else { return };
        peer.link = Link::Absent;
        peer.dial_after = Some(now + REDIAL_AFTER);
        self.lose(no);
        self.forget_if_unused(no);
    }

    /// A peer turned out not to speak Bitswap.
    pub(super) fn mute(&mut self, peer: &PeerId) {
        let Some(&no) = self.numbers.get(peer) else { return };
        if let Some(peer) = self.peers.get_mut(&no) {
            (peer.link, peer.was_connected) = (Link::Mute, false);
            self.lose(no);
        }
    }

    /// A dial failed.
    pub(super) fn dial_failed(&mut self, peer: &PeerId, now: Instant) {
        let Some(&no) = self.numbers.get(peer) else { return };
        if let Some(peer) = self.peers.get_mut(&no)
            && matches!(peer.link, Link::Dialing | Link::Absent)
        {
            peer.dial_came_to_nothing(now);
            for id in peer.sessions.clone() {
                self.judge(id, now);
            }
        }
        self.forget_if_unused(no);
    }

    /// A peer's streams negotiated a protocol with or without HAVE and DONT_HAVE.
    pub(super) fn speaks(&mut self, peer: &PeerId, presences: bool) {
        if let Some(peer) = self.numbers.get(peer).and_then(|no| self.peers.get_mut(no)) {
            peer.presences = presences;
        }
    }

    /// Part of a large message came in.
    pub(super) fn heard(&mut self, peer: &PeerId, now: Instant) {
        let Some(peer) = self.numbers.get(peer).and_then(|no| self.peers.get_mut(no)) else {
            return;
        };
        peer.heard(now);
        for id in &peer.sessions {
            if let Some(session) = self.sessions.get_mut(id) {
                session.last_progress = now;
            }
        }
    }

    /// The next wantlist message to any peer.
    pub(super) fn next_message(&mut self) -> Option<(PeerId, Message)> {
        while let Some(&no) = self.talk.first() {
            let peer = self.peers.get_mut(&no);
            match peer.and_then(|peer| peer.next_message().map(|message| (peer.id, message))) {
                Some(message) => return Some(message),
                None => self.talk.remove(&no),
            };
        }
        None
    }

    /// A message from [`Client::next_message`] has been written, or its stream has failed.
    pub(super) fn message_gone(&mut self, peer: &PeerId) {
        if let Some(&no) = self.numbers.get(peer)
            && let Some(peer) = self.peers.get_mut(&no)
        {
            peer.message_gone();
            self.talk.insert(no);
        }
    }

    /// Puts a want that lost its holder before the others of its session.
    fn queue_first(&mut self, id: SessionId, cid: Cid) {
        let (Some(session), Some(want)) = (self.sessions.get_mut(&id), self.wants.get_mut(&cid)) else {
            return;
        };
        session.stuck.remove(&cid);
        want.queued = true;
        session.queue.push_front(cid);
        self.run(id);
    }

    /// All that nobody was left for is tried again.
    fn unstick(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        for cid in session.stuck.drain() {
            if let Some(want) = self.wants.get_mut(&cid) {
                want.queued = true;
                session.queue.push_back(cid);
            }
        }
    }

    /// Withdraws a want that no fetch waits for.
    fn withdraw(&mut self, cid: &Cid) {
        let Some(want) = self.wants.remove(cid) else { return };
        for no in want.told {
            self.cancel_at(no, cid);
        }
        for id in want.tickets.iter().map(|(id, _)| id) {
            if let Some(session) = self.sessions.get_mut(id) {
                session.wants.remove(cid);
                session.stuck.remove(cid);
            }
        }
    }

    fn cancel_at(&mut self, no: PeerNo, cid: &Cid) {
        if let Some(peer) = self.peers.get_mut(&no) {
            peer.withdraw(cid);
            self.talk.insert(no);
        }
    }

    /// What a peer was asked is open again.
    fn lose(&mut self, no: PeerNo) {
        let Some(peer) = self.peers.get_mut(&no) else { return };
        let sessions = peer.sessions.clone();
        for cid in peer.disconnected() {
            let Some(want) = self.wants.get_mut(&cid) else { continue };
            want.told.retain(|other| *other != no);
            if want.holder == Some(no) {
                want.holder = None;
                for id in want.sessions() {
                    self.queue_first(id, cid);
                }
            }
        }
        for id in sessions {
            self.run(id);
        }
    }

    /// Whether a peer is shut out for now.
    pub(super) fn is_banned(&self, peer: &PeerId, now: Instant) -> bool {
        self.peer(peer)
            .and_then(|peer| peer.banned_until)
            .is_some_and(|until| until > now)
    }

    fn join(&mut self, id: SessionId, no: PeerNo) {
        let (Some(session), Some(peer)) = (self.sessions.get_mut(&id), self.peers.get_mut(&no)) else {
            return;
        };
        session.members.entry(no).or_default().known = true;
        session.widen_every = WIDEN_FIRST;
        if !peer.sessions.contains(&id) {
            peer.sessions.push(id);
            self.unstick(id);
        }
        self.run(id);
    }

    fn run(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id)
            && !session.runnable
        {
            session.runnable = true;
            self.runnable.push_back(id);
        }
    }

    fn peer(&self, peer: &PeerId) -> Option<&Peer> {
        self.peers.get(self.numbers.get(peer)?)
    }

    fn number(&mut self, peer: PeerId) -> PeerNo {
        if let Some(no) = self.numbers.get(&peer) {
            return *no;
        }
        self.counter = self.counter.wrapping_add(1);
        while self.peers.contains_key(&PeerNo(self.counter)) {
            self.counter = self.counter.wrapping_add(1);
        }
        let no = PeerNo(self.counter);
        self.numbers.insert(peer, no);
        self.peers.insert(no, Peer::new(peer));
        no
    }

    fn forget_if_unused(&mut self, no: PeerNo) {
        let Some(peer) = self.peers.get(&no) else { return };
        let gone = matches!(peer.link, Link::Absent | Link::Unreachable);
        if gone && peer.sessions.is_empty() && peer.banned_until.is_none() {
            self.numbers.remove(&peer.id);
            self.peers.remove(&no);
            self.talk.remove(&no);
        }
    }
}

impl Want {
    /// The sessions that wait for it, each once.
    fn sessions(&self) -> Vec<SessionId> {
        let mut ids: Vec<_> = self.tickets.iter().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    fn say(&mut self, no: PeerNo, said: Said) {
        match self.said.iter_mut().find(|(of, _)| *of == no) {
            Some(old) => old.1 = said,
            None => self.said.push((no, said)),
        }
    }

    fn said(&self, no: PeerNo) -> Option<Said> {
        self.said.iter().find(|(of, _)| *of == no).map(|(_, said)| *said)
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
