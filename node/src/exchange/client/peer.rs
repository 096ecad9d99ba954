//! One peer as the fetching half sees it: what it has been asked, how fast it answers, and what is still to be said.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use cid::Cid;
use libp2p::PeerId;

use super::super::message::{Message, WantKind, WantlistEntry};
use super::super::session::SessionId;

/// The most blocks asked of one peer at a time. Below the 1,024 wants that Kubo keeps for a peer, so that questions
/// for presences fit beside them.
pub(super) const MAX_BLOCK_ASKS: usize = 832;
/// The most questions for presences open at one peer.
pub(super) const MAX_HAVE_ASKS: usize = 64;
/// The most entries in one wantlist message.
pub(super) const MAX_ENTRIES_PER_MESSAGE: usize = 1024;
/// How many wantlist messages may wait at the connection; changes collect until one has gone.
const MAX_MESSAGES_WAITING: usize = 2;
/// How many wants that a peer refused it may keep, for the blocks to be pushed when it gets them. Together with the
/// questions above they stay within the 1,024 wants that Kubo keeps for a peer.
const MAX_KEPT_REFUSALS: usize = 64;
/// How many CIDs a peer is remembered to have been asked, so that a late answer is not taken for an attack.
const MAX_RECENT: usize = 4096;
/// How often a block may come again that the peer has been asked for: questions are repeated, and cancels cross answers
/// on the way.
pub(super) const MAX_DUPLICATES: u8 = 8;
/// What a block is thought to weigh before any has come.
pub(super) const GUESSED_BLOCK_BYTES: usize = 256 << 10;
/// Bytes asked of a peer whose rate is not known.
const FIRST_WINDOW: usize = 4 << 20;
/// Bytes asked at least of a peer that nobody stands beside.
const LONE_WINDOW: usize = 8 << 20;
/// Bytes asked of a peer at most.
const MAX_WINDOW: usize = 64 << 20;
/// After this many dials in a row, a peer is not dialled again unless it is named anew.
pub(super) const MAX_DIALS: u32 = 5;
/// A peer that went away is dialled again after this, and after twice as long each time that it fails.
pub(super) const REDIAL_AFTER: Duration = Duration::from_secs(1);
/// A peer that could not be dialled is dialled again after this.
const REDIAL_UNREACHABLE_AFTER: Duration = Duration::from_secs(30);
/// Blocks asked at least of any peer.
const MIN_WINDOW_BLOCKS: usize = 4;
/// How much time at its rate a peer is asked for, alone and beside others.
const LONE_AHEAD: f64 = 1.0;
const SHARED_AHEAD: f64 = 0.5;
/// The least time a peer is given to answer.
const MIN_ANSWER: Duration = Duration::from_secs(1);
/// A late answer is not missed while the peer was heard this recently…
const QUIET: Duration = Duration::from_secs(1);
/// …unless it is late by this much.
const MUCH_TOO_LATE: Duration = Duration::from_secs(30);
/// A question that is late, and was repeated then in case it got lost, is repeated after this time (Kubo's re-want).
const REPEAT_AFTER: Duration = Duration::from_secs(30);

/// Names a peer within the client; smaller than its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct PeerNo(pub(super) u32);

/// How a peer can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// No connection, none under way.
    Absent,
    /// A dial has been asked for.
    Dialing,
    /// The last dial failed.
    Unreachable,
    /// Connected, and as far as known it speaks Bitswap.
    Connected,
    /// Connected, but it does not speak Bitswap.
    Mute,
}

/// How a question stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AskState {
    /// An answer is expected.
    Open,
    /// No answer within the time; it may still come.
    Late,
    /// The peer said that it has not got the block; it keeps the want.
    Refused,
}

#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) kind: WantKind,
    pub(super) state: AskState,
    at: Instant,
    deadline: Instant,
    repeat_at: Instant,
    priority: i32,
    bytes: usize,
    on_wire: bool,
    /// Nothing else was under way, so the answer tells the peer's latency.
    alone: bool,
}

/// Bytes per second, from what comes while something is asked.
#[derive(Debug, Clone, Default)]
pub(super) struct Meter {
    rate: Option<f64>,
    since: Option<Instant>,
    bytes: usize,
}

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) id: PeerId,
    pub(super) link: Link,
    /// Not before this time is the peer dialled again.
    pub(super) dial_after: Option<Instant>,
    pub(super) dials: u32,
    /// It has been connected, and spoke Bitswap as far as is known.
    pub(super) was_connected: bool,
    /// Whether the peer knows HAVE and DONT_HAVE; true until it is known not to.
    pub(super) presences: bool,
    pub(super) sessions: Vec<SessionId>,
    pub(super) asks: HashMap<Cid, Ask>,
    pub(super) open_blocks: usize,
    pub(super) open_bytes: usize,
    pub(super) open_haves: usize,
    late: usize,
    kept_refusals: usize,
    /// Blocks that this peer ever gave.
    pub(super) blocks: u64,
    pub(super) unrequested: u32,
    pub(super) banned_until: Option<Instant>,
    pub(super) meter: Meter,
    latency: Option<Duration>,
    last_heard: Option<Instant>,
    /// What was asked not long ago, as the hashes of the CIDs, oldest first, and how often each may still come.
    recent: VecDeque<u64>,
    again: HashMap<u64, u8>,
    hasher: RandomState,
    outbox: Outbox,
    messages_waiting: usize,
}

/// Changes of the wantlist not yet sent; the last word on each CID.
#[derive(Debug, Default)]
struct Outbox {
    entries: VecDeque<Option<WantlistEntry>>,
    /// Positions, counted from the first entry ever put in.
    places: HashMap<Cid, u64>,
    first: u64,
}

impl Outbox {
    fn set(&mut self, entry: WantlistEntry) {
        let next = self.first + self.entries.len() as u64;
        match self.places.insert(entry.cid, next) {
            Some(place) => {
                self.places.insert(entry.cid, place);
                if let Some(slot) = self.entries.get_mut((place - self.first) as usize) {
                    *slot = Some(entry);
                }
            }
            None => self.entries.push_back(Some(entry)),
        }
    }

    fn remove(&mut self, cid: &Cid) {
        if let Some(place) = self.places.remove(cid)
            && let Some(slot) = self.entries.get_mut((place - self.first) as usize)
        {
            *slot = None;
        }
    }

    fn take(&mut self, max: usize) -> Vec<WantlistEntry> {
        let mut taken = Vec::new();
        while taken.len() < max {
            let Some(entry) = self.entries.pop_front() else { break };
            self.first += 1;
            if let Some(entry) = entry {
                self.places.remove(&entry.cid);
                taken.push(entry);
            }
        }
        taken
    }
}

impl Meter {
    /// Bytes per second, once known.
    pub(super) fn rate(&self) -> Option<f64> {
        self.rate
    }

    fn start(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    pub(super) fn add(&mut self, bytes: usize, now: Instant) {
        const SAMPLE: Duration = Duration::from_millis(50);
        let since = *self.since.get_or_insert(now);
        self.bytes += bytes;
        let elapsed = now.saturating_duration_since(since);
        if elapsed >= SAMPLE {
            self.sample(elapsed);
            self.since = Some(now);
        }
    }

    fn sample(&mut self, elapsed: Duration) {
        let rate = self.bytes as f64 / elapsed.as_secs_f64().max(1e-3);
        self.rate = Some(self.rate.map_or(rate, |old| 0.7 * old + 0.3 * rate));
        self.bytes = 0;
    }

    fn stop(&mut self, now: Instant) {
        if let Some(since) = self.since.take()
            && self.bytes > 0
            && self.rate.is_none()
        {
            self.sample(now.saturating_duration_since(since));
        }
        self.bytes = 0;
    }
}

impl Peer {
    pub(super) fn new(id: PeerId) -> Self {
        Self {
            id,
            link: Link::Absent,
            dial_after: None,
            dials: 0,
            was_connected: false,
            presences: true,
            sessions: Vec::new(),
            asks: HashMap::new(),
            open_blocks: 0,
            open_bytes: 0,
            open_haves: 0,
            late: 0,
            kept_refusals: 0,
            blocks: 0,
            unrequested: 0,
            banned_until: None,
            meter: Meter::default(),
            latency: None,
            last_heard: None,
            recent: VecDeque::new(),
            again: HashMap::new(),
            hasher: RandomState::new(),
            outbox: Outbox::default(),
            messages_waiting: 0,
        }
    }

    /// A dial came to nothing. Whoever was connected before is tried again soon: what cut the connection may have cut the
    /// next one, too, on its way.
    pub(super) fn dial_came_to_nothing(&mut self, now: Instant) {
        let (link, after) = match self.was_connected && self.dials < MAX_DIALS {
            true => (Link::Absent, REDIAL_AFTER * 2_u32.pow(self.dials.saturating_sub(1))),
            false => (Link::Unreachable, REDIAL_UNREACHABLE_AFTER),
        };
        (self.link, self.dial_after) = (link, Some(now + after));
    }

    /// Whether a connection may come of itself: a dial is under way, or the peer was lost and will be dialled.
    pub(super) fn may_come(&self) -> bool {
        match self.link {
            Link::Dialing => true,
            Link::Absent => self.was_connected && self.dials < MAX_DIALS,
            Link::Unreachable | Link::Connected | Link::Mute => false,
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.link == Link::Connected && self.banned_until.is_none()
    }

    /// Answers are overdue and nothing has been heard since.
    pub(super) fn is_unresponsive(&self) -> bool {
        self.late > 0
    }

    /// Whether another block of about `estimate` bytes may be asked now.
    pub(super) fn has_room(&self, estimate: usize, alone: bool) -> bool {
        if self.open_blocks < MIN_WINDOW_BLOCKS {
            return true;
        }
        let window = match (self.meter.rate(), alone) {
            (None, _) => FIRST_WINDOW,
            (Some(rate), true) => ((rate * LONE_AHEAD) as usize).clamp(LONE_WINDOW, MAX_WINDOW),
            (Some(rate), false) => ((rate * SHARED_AHEAD) as usize).min(MAX_WINDOW),
        };
        self.open_blocks < MAX_BLOCK_ASKS && self.open_bytes + estimate <= window
    }

    /// A time within which this peer usually answers more than once.
    pub(super) fn usual_answer(&self) -> Duration {
        self.latency.unwrap_or_default() * 4
    }

    /// Seconds until a block of `estimate` bytes, asked now, would be here at `rate`.
    pub(super) fn finish(&self, estimate: usize, fallback: f64) -> f64 {
        let rate = self.meter.rate().unwrap_or(fallback).max(1.0);
        self.latency.map_or(0.0, |latency| latency.as_secs_f64()) + (self.open_bytes + estimate) as f64 / rate
    }

    /// Asks for a block, or whether the peer has it. A question for presence is raised to one for the block, never
    /// the other way. Returns whether anything new is asked.
    pub(super) fn ask(
        &mut self,
        cid: Cid,
        priority: i32,
        kind: WantKind,
        estimate: usize,
        now: Instant,
        answer_within: Duration,
    ) -> bool {
        let mut on_wire = false;
        if let Some(ask) = self.asks.get(&cid) {
            if ask.state == AskState::Open && (ask.kind == kind || ask.kind == WantKind::Block) {
                return false;
            }
            on_wire = ask.on_wire;
            self.take_ask(&cid);
        }
        let alone = self.open_blocks == 0 && self.open_haves == 0;
        let patience = self.latency.map_or(answer_within, |latency| {
            (latency * 4 + latency.min(MIN_ANSWER)).clamp(MIN_ANSWER.min(answer_within), answer_within)
        });
        // A long queue at the peer needs no extra time: while it is worked off the peer is heard, and nothing is late.
        let deadline = now + patience;
        match kind {
            WantKind::Block => {
                self.open_blocks += 1;
                self.open_bytes += estimate;
            }
            WantKind::Have => self.open_haves += 1,
        }
        self.meter.start(now);
        self.asks.insert(
            cid,
            Ask {
                kind,
                state: AskState::Open,
                at: now,
                deadline,
                repeat_at: deadline,
                priority,
                bytes: estimate,
                on_wire,
                alone,
            },
        );
        self.outbox.set(WantlistEntry {
            cid,
            priority,
            cancel: false,
            kind,
            send_dont_have: true,
        });
        true
    }

    /// Removes a question and what it counts for.
    fn take_ask(&mut self, cid: &Cid) -> Option<Ask> {
        let ask = self.asks.remove(cid)?;
        self.uncount(&ask);
        Some(ask)
    }

    fn uncount(&mut self, ask: &Ask) {
        match (ask.state, ask.kind) {
            (AskState::Open, WantKind::Block) => {
                self.open_blocks -= 1;
                self.open_bytes -= ask.bytes;
            }
            (AskState::Open, WantKind::Have) => self.open_haves -= 1,
            (AskState::Late, _) => self.late -= 1,
            (AskState::Refused, _) => self.kept_refusals -= 1,
        }
    }

    /// The peer answered a question with the block or with HAVE, which also ends its own record of the want.
    pub(super) fn answered(&mut self, cid: &Cid, now: Instant) -> Option<Ask> {
        let ask = self.take_ask(cid)?;
        self.learn_latency(&ask, now);
        self.outbox.remove(cid);
        self.remember(*cid);
        Some(ask)
    }

    /// The peer has not got the block. It keeps the want, so a cancel is due when the want ends, or at once when it
    /// keeps many.
    pub(super) fn refused(&mut self, cid: &Cid, now: Instant) -> Option<Ask> {
        let old = self.asks.get(cid).filter(|ask| ask.state != AskState::Refused)?.clone();
        self.uncount(&old);
        self.learn_latency(&old, now);
        self.kept_refusals += 1;
        if let Some(ask) = self.asks.get_mut(cid) {
            ask.state = AskState::Refused;
        }
        if self.kept_refusals > MAX_KEPT_REFUSALS {
            self.withdraw(cid);
        }
        Some(old)
    }

    /// Takes a question back, with a cancel if the peer may have seen it.
    pub(super) fn withdraw(&mut self, cid: &Cid) {
        let Some(ask) = self.take_ask(cid) else { return };
        if ask.on_wire {
            self.remember(*cid);
            self.outbox.set(WantlistEntry {
                cid: *cid,
                priority: 0,
                cancel: true,
                kind: WantKind::Block,
                send_dont_have: false,
            });
        } else {
            self.outbox.remove(cid);
        }
    }

    /// Whether a block that came is one that the peer was asked for not long ago, and has not sent too often since.
    pub(super) fn may_send(&mut self, cid: &Cid) -> bool {
        if self.asks.contains_key(cid) {
            return true;
        }
        match self.again.get_mut(&self.hasher.hash_one(cid)) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }

    /// Whether the peer is to be looked at as time passes: it has been asked something, may be asked or dialled for a
    /// session, or is shut out.
    pub(super) fn is_concerned(&self) -> bool {
        !self.asks.is_empty() || !self.sessions.is_empty() || self.link == Link::Dialing || self.banned_until.is_some()
    }

    /// Anything came from the peer, if only part of a message.
    pub(super) fn heard(&mut self, now: Instant) {
        self.last_heard = Some(now);
    }

    /// The peer speaks again: what was late may well come. Returns whether anything was late.
    pub(super) fn forgive(&mut self, now: Instant, answer_within: Duration) -> bool {
        if self.late == 0 {
            return false;
        }
        for ask in self.asks.values_mut().filter(|ask| ask.state == AskState::Late) {
            ask.state = AskState::Open;
            ask.deadline = now + answer_within;
            self.late -= 1;
            match ask.kind {
                WantKind::Block => {
                    self.open_blocks += 1;
                    self.open_bytes += ask.bytes;
                }
                WantKind::Have => self.open_haves += 1,
            }
        }
        true
    }

    /// Marks questions as late, and repeats those that have been open for long. Returns what became late.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<Cid> {
        if self.open_blocks == 0 && self.open_haves == 0 && self.late == 0 {
            return Vec::new();
        }
        let quiet = self
            .last_heard
            .is_none_or(|heard| now.saturating_duration_since(heard) > QUIET);
        let (mut late, mut repeats) = (Vec::new(), Vec::new());
        for (cid, ask) in &mut self.asks {
            let over = now.checked_duration_since(ask.deadline);
            let is_late = ask.state == AskState::Open && over.is_some_and(|over| quiet || over > MUCH_TOO_LATE);
            if is_late {
                late.push(*cid);
            }
            if is_late || (ask.state == AskState::Late && now >= ask.repeat_at) {
                ask.repeat_at = now + REPEAT_AFTER;
                repeats.push(WantlistEntry {
                    cid: *cid,
                    priority: ask.priority,
                    cancel: false,
                    kind: ask.kind,
                    send_dont_have: true,
                });
            }
        }
        for cid in &late {
            if let Some(ask) = self.asks.get(cid).cloned() {
                self.uncount(&ask);
                self.late += 1;
            }
            if let Some(ask) = self.asks.get_mut(cid) {
                ask.state = AskState::Late;
            }
        }
        for entry in repeats {
            self.outbox.set(entry);
        }
        late
    }

    /// The open questions for blocks, the one asked last first, with the time of each.
    pub(super) fn open_since(&self) -> Vec<(Instant, Cid)> {
        let open = |(_, ask): &(&Cid, &Ask)| ask.state == AskState::Open && ask.kind == WantKind::Block;
        let mut asks: Vec<_> = self.asks.iter().filter(open).map(|(cid, ask)| (ask.at, *cid)).collect();
        asks.sort_unstable_by(|a, b| b.cmp(a));
        asks
    }

    /// The next wantlist message, if there is something to say and the connection has room for it.
    pub(super) fn next_message(&mut self) -> Option<Message> {
        if self.messages_waiting >= MAX_MESSAGES_WAITING || !self.is_connected() {
            return None;
        }
        let entries = self.outbox.take(MAX_ENTRIES_PER_MESSAGE);
        if entries.is_empty() {
            return None;
        }
        for entry in entries.iter().filter(|entry| !entry.cancel) {
            if let Some(ask) = self.asks.get_mut(&entry.cid) {
                ask.on_wire = true;
            }
        }
        self.messages_waiting += 1;
        Some(Message {
            entries,
            ..Message::default()
        })
    }

    /// A wantlist message has gone, or was lost with its stream.
    pub(super) fn message_gone(&mut self) {
        self.messages_waiting = self.messages_waiting.saturating_sub(1);
    }

    /// The connection is gone, and with it what the peer knew. Returns the questions that were not refused.
    pub(super) fn disconnected(&mut self) -> Vec<Cid> {
        let asks = std::mem::take(&mut self.asks);
        (self.open_blocks, self.open_bytes, self.open_haves) = (0, 0, 0);
        (self.late, self.kept_refusals) = (0, 0);
        (self.outbox, self.messages_waiting) = (Outbox::default(), 0);
        (self.unrequested, self.last_heard) = (0, None);
        self.recent.clear();
        self.again.clear();
        self.meter.since = None;
        asks.into_keys().collect()
    }

    /// Called when nothing is asked any more, so that idle time does not count against the peer.
    pub(super) fn settle(&mut self, now: Instant) {
        if self.open_blocks == 0 && self.open_haves == 0 {
            self.meter.stop(now);
        }
    }

    fn learn_latency(&mut self, ask: &Ask, now: Instant) {
        if ask.alone && ask.state == AskState::Open {
            let taken = now.saturating_duration_since(ask.at);
            self.latency = Some(self.latency.map_or(taken, |old| (old * 3 + taken) / 4));
        }
    }

    fn remember(&mut self, cid: Cid) {
        let cid = self.hasher.hash_one(cid);
        if self.again.insert(cid, MAX_DUPLICATES).is_none() {
            self.recent.push_back(cid);
            if self.recent.len() > MAX_RECENT
                && let Some(old) = self.recent.pop_front()
            {
                self.again.remove(&old);
            }
        }
    }
}
