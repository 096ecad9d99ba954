//! Room that many want, given out so that nobody takes the share of others.
//!
//! Three limits: of one client, of one network, in all. At a limit somebody makes room if they can be spared: those that
//! wait for nothing but their client go first, the one that has done so for longest before the others. At the limits of a
//! client and of its network that is one of the same client or network; at the limit of all, one of the network that has
//! most. So a newcomer is refused only by what its own address or network has, or where all networks have alike.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::task::AtomicWaker;
use tokio::sync::Notify;

use crate::network::{Network, network, one_client};

/// Whoever takes nothing of what is there for so long can be spared.
pub const STALLED_AFTER: Duration = Duration::from_secs(2);

/// The most questions that are taken back one after the other, with no answer waited for in between.
pub(crate) const MAX_TAKEN_BACK: usize = 256;

/// How much room there is.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// In all.
    pub all: usize,
    /// For one network.
    pub network: usize,
    /// For one client.
    pub one: usize,
    /// For this machine's own address, and for each proxy: many programs and many people have the same one.
    pub many: usize,
}

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The client, or its network, has all that it may have.
    Own,
    /// Everybody together has all there is.
    All,
}

/// Room that many want. Cheap to clone; clones are the same room.
#[derive(Clone)]
pub struct Shares {
    inner: Arc<Inner>,
}

struct Inner {
    room: Room,
    /// Addresses that stand for many.
    many: Vec<IpAddr>,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    next: u64,
    taken: HashMap<u64, Entry>,
}

struct Entry {
    client: IpAddr,
    network: Network,
    begun: Instant,
    state: Arc<State>,
}

/// What goes on in a seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing is asked for.
    Idle,
    /// A question has begun.
    Head,
    /// A question is being answered.
    Work,
}

#[derive(Debug)]
pub(crate) struct Activity {
    pub(crate) phase: Phase,
    /// Since when.
    pub(crate) since: Instant,
    /// Since when there is something that the client does not take, or does not bring.
    pub(crate) stalled: Option<Instant>,
    /// Whether questions are asked while others are being answered: then what comes is not the head of one.
    shared: bool,
    /// Questions that are being answered.
    open: usize,
    /// The number of the last one.
    last: u64,
    /// Those of them that there is something for, and since when the client does not take it.
    offered: Vec<(u64, Instant)>,
    /// Questions that were taken back one after the other, while none was answered.
    taken_back: usize,
}

impl Activity {
    /// What begins, where nothing was asked before.
    pub(crate) fn new(phase: Phase, since: Instant) -> Self {
        Self {
            phase,
            since,
            stalled: None,
            shared: false,
            open: 0,
            last: 0,
            offered: Vec::new(),
            taken_back: 0,
        }
    }

    /// Since when the client does not take something that is there for it.
    pub(crate) fn longest_stalled(&self) -> Option<Instant> {
        let offered = self.offered.iter().map(|(_, since)| *since);
        offered.chain(self.stalled).min()
    }

    /// Since when it takes nothing at all.
    fn all_stalled(&self) -> Option<Instant> {
        let takes_none = self.open > 0 && self.offered.len() >= self.open;
        let last = self.offered.iter().map(|(_, since)| *since).max();
        self.stalled.or(last.filter(|_| takes_none))
    }
}

struct State {
    activity: Mutex<Activity>,
    cut: AtomicBool,
    waker: AtomicWaker,
    notify: Notify,
}

/// A share of the room, until it is dropped. It can be cut: then its room is another's already, and whoever has it is to end.
pub struct Seat {
    id: u64,
    state: Arc<State>,
    inner: Arc<Inner>,
}

impl Shares {
    /// Room for so many; `many` are addresses that stand for many clients, beside 127.0.0.1 and ::1.
    pub fn new(room: Room, many: &[IpAddr]) -> Self {
        let own = [
            IpAddr::from([127, 0, 0, 1]),
            IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
        ];
        let many = own.into_iter().chain(many.iter().map(IpAddr::to_canonical)).collect();
        Self {
            inner: Arc::new(Inner {
                room,
                many,
                table: Mutex::default(),
            }),
        }
    }

    /// A seat for a client, for which another may have to go.
    ///
    /// # Errors
    /// There is none, and nobody who can be spared.
    pub fn take(&self, from: IpAddr) -> Result<Seat, Full> {
        self.take_in(from, network(from))
    }

    /// A seat for a client that comes from another network than what stands for it seems to be in.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn take_in(&self, client: IpAddr, network: Network) -> Result<Seat, Full> {
        self.seat(client, network, true)
    }

    /// A seat for a client, if one is free.
    pub fn spare(&self, from: IpAddr) -> Option<Seat> {
        self.seat(from, network(from), false).ok()
    }

    fn seat(&self, from: IpAddr, network: Network, may_cut: bool) -> Result<Seat, Full> {
        let (client, now) = (one_client(from), Instant::now());
        let room = &self.inner.room;
        let one = match self.inner.many.contains(&client) {
            true => room.many,
            false => room.one,
        };
        let mut table = self.inner.lock();
        let of_client = |entry: &Entry| entry.client == client;
        let of_network = |entry: &Entry| entry.network == network;
        if table.count(of_client) >= one && !(may_cut && table.cut_one(now, of_client)) {
            return Err(Full::Own);
        }
        if table.count(of_network) >= room.network.max(one) && !(may_cut && table.cut_one(now, of_network)) {
            return Err(Full::Own);
        }
        if table.taken.len() >= room.all && !(may_cut && table.make_room(now, network)) {
            return Err(Full::All);
        }
        let state = Arc::new(State::new(now));
        let id = table.next;
        table.next += 1;
        table.taken.insert(
            id,
            Entry {
                client,
                network,
                begun: now,
                state: Arc::clone(&state),
            },
        );
        drop(table);
        Ok(Seat {
            id,
            state,
            inner: Arc::clone(&self.inner),
        })
    }

    /// How many seats are taken.
    pub fn taken(&self) -> usize {
        self.inner.lock().taken.len()
    }

    /// Cuts one that can be spared, whoever has it. Gives back whether there was one.
    pub(crate) fn cut_any(&self) -> bool {
        self.inner.lock().cut_one(Instant::now(), |_| true)
    }

    /// Cuts those that `is_over` says have had their time.
    pub(crate) fn sweep(&self, is_over: impl Fn(&Activity) -> bool) {
        self.inner.lock().taken.retain(|_, entry| {
            let over = is_over(&lock(&entry.state.activity));
            if over {
                entry.state.cut();
            }
            !over
        });
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }
}

impl Table {
    fn count(&self, of: impl Fn(&Entry) -> bool) -> usize {
        self.taken.values().filter(|entry| of(entry)).count()
    }

    /// Cuts the one among some that can best be spared. Gives back whether there was one.
    fn cut_one(&mut self, now: Instant, of: impl Fn(&Entry) -> bool) -> bool {
        let entries = self.taken.iter().filter(|(_, entry)| of(entry));
        let best = entries
            .filter_map(|(id, entry)| Some((entry.sparable(now)?, *id)))
            .max();
        best.is_some_and(|(_, id)| self.cut(id))
    }

    /// Cuts one for somebody of a network, where all is taken.
    fn make_room(&mut self, now: Instant, newcomer: Network) -> bool {
        let mut counts: HashMap<Network, usize> = HashMap::new();
        for entry in self.taken.values() {
            *counts.entry(entry.network).or_default() += 1;
        }
        let own = counts.get(&newcomer).copied().unwrap_or_default();
        let mut others: Vec<(usize, Network)> = counts.into_iter().map(|(network, count)| (count, network)).collect();
        others.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
        let larger = others.iter().take_while(|(count, _)| *count > own);
        for (_, network) in larger {
            if self.cut_one(now, |entry| entry.network == *network) {
                return true;
            }
        }
        // Who asks for nothing loses nothing.
        let is_idle = |entry: &Entry| lock(&entry.state.activity).phase == Phase::Idle;
        if self.cut_one(now, is_idle) {
            return true;
        }
        // All are at work, and somebody has far more than this one would have: the oldest of theirs has had its time.
        let Some((count, most)) = others.first() else {
            return false;
        };
        if *count <= 2 * (own + 1) {
            return false;
        }
        let theirs = self.taken.iter().filter(|(_, entry)| entry.network == *most);
        let oldest = theirs.min_by_key(|(_, entry)| entry.begun).map(|(id, _)| *id);
        oldest.is_some_and(|id| self.cut(id))
    }

    fn cut(&mut self, id: u64) -> bool {
        match self.taken.remove(&id) {
            Some(entry) => {
                entry.state.cut();
                true
            }
            None => false,
        }
    }
}

impl Entry {
    /// Whether it can be spared, and how well: whether nothing is asked for, and for how long nothing has come of it.
    fn sparable(&self, now: Instant) -> Option<(bool, Duration)> {
        let activity = lock(&self.state.activity);
        match (activity.phase, activity.all_stalled()) {
            (Phase::Idle | Phase::Head, _) => Some((true, now.saturating_duration_since(activity.since))),
            (Phase::Work, Some(since)) => {
                let stalled = now.saturating_duration_since(since);
                (stalled >= STALLED_AFTER).then_some((false, stalled))
            }
            (Phase::Work, None) => None,
        }
    }
}

impl State {
    fn new(now: Instant) -> Self {
        Self {
            activity: Mutex::new(Activity::new(Phase::Work, now)),
            cut: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            notify: Notify::new(),
        }
    }

    fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        self.waker.wake();
        self.notify.notify_waiters();
    }

    fn is_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
    }
}

impl Seat {
    /// Something else goes on from now on.
    pub(crate) fn enter(&self, phase: Phase) {
        let mut activity = lock(&self.state.activity);
        activity.phase = phase;
        activity.since = Instant::now();
    }

    /// Questions may be asked while others are being answered.
    pub(crate) fn share(&self) {
        lock(&self.state.activity).shared = true;
    }

    /// A question is answered from now on. Gives back its number.
    pub(crate) fn begin(&self) -> u64 {
        let mut activity = lock(&self.state.activity);
        activity.last += 1;
        activity.open += 1;
        (activity.phase, activity.since) = (Phase::Work, Instant::now());
        activity.last
    }

    /// It has been answered, or nobody wants that any more.
    pub(crate) fn end(&self, id: u64) {
        let mut activity = lock(&self.state.activity);
        activity.open = activity.open.saturating_sub(1);
        activity.offered.retain(|(of, _)| *of != id);
        if activity.open == 0 {
            (activity.phase, activity.since) = (Phase::Idle, Instant::now());
        }
    }

    /// One was answered.
    pub(crate) fn answers(&self) {
        lock(&self.state.activity).taken_back = 0;
    }

    /// One was taken back before it was answered. Whoever does nothing else loses the seat.
    pub(crate) fn taken_back(&self) {
        let mut activity = lock(&self.state.activity);
        activity.taken_back += 1;
        if activity.taken_back > MAX_TAKEN_BACK {
            self.state.cut();
        }
    }

    /// There is something for the one who asked it.
    pub(crate) fn offers(&self, id: u64) {
        lock(&self.state.activity).offered.push((id, Instant::now()));
    }

    /// Who asked it has room for more.
    pub(crate) fn takes(&self, id: u64) {
        lock(&self.state.activity).offered.retain(|(of, _)| *of != id);
    }

    /// Bytes came: a question has begun if none was being answered.
    pub(crate) fn heard(&self) {
        let mut activity = lock(&self.state.activity);
        if activity.phase == Phase::Idle && !activity.shared {
            activity.phase = Phase::Head;
            activity.since = Instant::now();
        }
    }

    /// From now on it is the client that is waited for.
    pub fn waits_for_client(&self) {
        lock(&self.state.activity).stalled.get_or_insert_with(Instant::now);
    }

    /// The client did something.
    pub fn moved(&self) {
        lock(&self.state.activity).stalled = None;
    }

    /// Ready when the seat was cut. Only the task that asked last is woken.
    pub fn poll_cut(&self, context: &mut Context<'_>) -> Poll<()> {
        self.state.waker.register(context.waker());
        match self.state.is_cut() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// Done when the seat is cut; for any number of tasks.
    pub async fn cut(&self) {
        let told = self.state.notify.notified();
        if !self.state.is_cut() {
            told.await;
        }
    }

    /// Whether the seat was cut.
    pub fn is_cut(&self) -> bool {
        self.state.is_cut()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.inner.lock().taken.remove(&self.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
