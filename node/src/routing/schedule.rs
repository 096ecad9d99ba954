//! What this peer provides: which keys wait to be told to others, and how far the sweep has come that tells all of them again.
//!
//! Others forget a key after 48 hours, so every [`REPROVIDE_INTERVAL`] is a lap around the key space. Each place in it has its
//! time in the lap, by its first bits, and the keys there are due at that time, whenever they were told first: so neighbours,
//! which go to the same peers, are due together, the work is spread over the whole interval, and all that has to be remembered
//! is how far the lap has come. A key that is new, or that nobody could be told of, waits by itself until it has been told.
//!
//! On disk, so that a restart goes on where the peer stopped. In memory is only a number for each key, some 16 bytes, so that
//! whoever asks for a key can be answered without a disk.
//!
//! | key | value |
//! |---|---|
//! | `s` place (its SHA-256 hash) | multihash |
//! | `k` multihash, of one that waits | `due u64 BE` |
//! | `d` `due u64 BE` multihash, likewise | empty |
//! | `p` | how far the sweep is: `lap u64 BE`, place, 1 if it is owed to the public network |
//!
//! Earlier versions had every key under `k` and `d`: those are told when they are due, and wait no longer.

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::keyspace::{Place, Prefix, place_of};
use crate::clock::Clock;
use crate::store::{Change, StoreError, Table};
use crate::threads::lock;

/// How long a lap takes. Others forget a key after 48 hours.
pub const REPROVIDE_INTERVAL: Duration = Duration::from_secs(22 * 3600);
/// How long a key waits that reached only the local network, told by a peer that is to join the public one: as soon as it has,
/// such keys become due at once.
pub const LAN_ONLY_INTERVAL: Duration = Duration::from_secs(3600);
/// How long after an announcement that reached nobody the next try is due.
pub const RETRY_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// How far the sweep goes ahead of the time: a walk is worth more keys then. Where few peers are one region, that makes 22 of it.
const AHEAD: Duration = Duration::from_secs(3600);

/// Table of a store in which the schedule is.
pub(crate) const TABLE: &str = "provide";

/// How many keys change in one step.
const KEYS_AT_ONCE: usize = 64;

const KEY: u8 = b'k';
const DUE: u8 = b'd';
const SORTED: u8 = b's';
const POSITION: u8 = b'p';

/// Seconds of a lap.
const LAP: u64 = REPROVIDE_INTERVAL.as_secs();

/// The keys this peer provides. Clones share them.
#[derive(Clone)]
pub(crate) struct Schedule {
    table: Table,
    clock: Clock,
    /// A number of 64 bits for each key, which nobody outside can compute.
    known: Arc<Mutex<HashSet<u64>>>,
    numbers: RandomState,
    /// How many keys wait.
    waiting: Arc<AtomicUsize>,
    /// Held from looking at what is noted of keys until that is changed: what one tells of and another drops is to count once.
    changing: Arc<Mutex<()>>,
    position: Arc<Mutex<Position>>,
}

/// How far the sweep has come: all of earlier laps is done, and of this one what lies up to a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Position {
    lap: u64,
    done: Place,
    /// Whether keys were told to the local network, in the absence of the public one.
    owed: bool,
}

/// Keys that are due in the sweep.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// Each with its place, in their order.
    pub(crate) keys: Vec<(Place, Vec<u8>)>,
    lap: u64,
}

/// When a place is due in a lap, in seconds since 1970.
fn due_at(lap: u64, place: &Place) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *place;
    let bits = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    lap.saturating_mul(LAP) + ((u128::from(bits) * u128::from(LAP)) >> 64) as u64
}

impl Position {
    /// Where a sweep is that is in time at `now`.
    fn at(now: u64) -> Self {
        let bits = (u128::from(now % LAP) << 64) / u128::from(LAP);
        let mut done = [0; 32];
        for (to, from) in done.iter_mut().zip((bits as u64).to_be_bytes()) {
            *to = from;
        }
        Self {
            lap: now / LAP,
            done,
            owed: false,
        }
    }

    fn encode(&self) -> Vec<u8> {
        [&self.lap.to_be_bytes()[..], &self.done, &[u8::from(self.owed)]].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (lap, rest) = bytes.split_first_chunk::<8>()?;
        let (done, rest) = rest.split_first_chunk::<32>()?;
        Some(Self {
            lap: u64::from_be_bytes(*lap),
            done: *done,
            owed: rest == [1],
        })
    }
}

fn sorted(place: &Place) -> Vec<u8> {
    [&[SORTED][..], place].concat()
}

impl Schedule {
    /// Opens the schedule that is in `table`. Reads it once: call it where blocking is allowed. Of a table that cannot be read
    /// nothing is known.
    pub(crate) fn open(table: Table, clock: Clock) -> Self {
        let now = clock.unix();
        let saved = table.get(&[POSITION]).unwrap_or_else(|error| {
            tracing::warn!(%error, "how far keys were announced again cannot be read");
            None
        });
        let mut position = saved
            .and_then(|bytes| Position::decode(&bytes))
            // A clock that was wrong then would have nothing announced until that time comes.
            .filter(|position| due_at(position.lap, &position.done) <= now + 2 * AHEAD.as_secs())
            .unwrap_or_else(|| Position::at(now));
        if due_at(position.lap, &position.done) + LAP < now {
            // All of them are overdue: one lap is enough.
            position = Position {
                owed: position.owed,
                ..Position::at(now - LAP)
            };
        }
        let schedule = Self {
            table,
            clock,
            known: Arc::default(),
            numbers: RandomState::new(),
            waiting: Arc::default(),
            changing: Arc::default(),
            position: Arc::new(Mutex::new(position)),
        };
        if let Err(error) = schedule.read_table() {
            tracing::warn!(%error, "what this peer provides cannot be read");
        }
        schedule
    }

    fn read_table(&self) -> Result<(), StoreError> {
        for entry in self.table.scan_prefix(&[SORTED]) {
            let (_, key) = entry?;
            lock(&self.known).insert(self.numbers.hash_one(&key[..]));
        }
        let mut unsorted: Vec<Change> = Vec::new();
        for entry in self.table.scan_prefix(&[KEY]) {
            let (at, _) = entry?;
            let Some((_, key)) = at.split_first() else { continue };
            self.waiting.fetch_add(1, Ordering::Relaxed);
            if lock(&self.known).insert(self.numbers.hash_one(key)) {
                unsorted.push((sorted(&place_of(key)), Some(key.to_vec())));
            }
        }
        for changes in unsorted.chunks(KEYS_AT_ONCE) {
            self.table.apply(changes)?;
        }
        match unsorted.is_empty() {
            true => Ok(()),
            false => self.table.insert(&[POSITION], &self.position().encode()),
        }
    }

    /// Whether this peer provides `key`. From memory.
    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        lock(&self.known).contains(&self.numbers.hash_one(key))
    }

    /// Adds keys, due at once. Those already there become due at once too.
    pub(crate) fn add<'a>(&self, keys: impl IntoIterator<Item = &'a [u8]>) -> Result<(), StoreError> {
        self.change(keys, Some(Some(self.clock.unix())))
    }

    /// Stops providing keys. Others forget them when their record expires.
    pub(crate) fn remove<'a>(&self, keys: impl IntoIterator<Item = &'a [u8]>) -> Result<(), StoreError> {
        self.change(keys, None)
    }

    /// Notes that keys have been told: they wait no longer. Those that were removed meanwhile stay removed.
    pub(crate) fn told<'a>(&self, keys: impl IntoIterator<Item = &'a [u8]>) -> Result<(), StoreError> {
        self.change(keys.into_iter().filter(|key| self.contains(key)), Some(None))
    }

    /// Has keys wait that could not be told, or not to all who should be. Those that were removed meanwhile stay removed.
    pub(crate) fn put_off<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a [u8]>,
        wait: Duration,
    ) -> Result<(), StoreError> {
        let due = self.clock.unix() + wait.as_secs();
        self.change(keys.into_iter().filter(|key| self.contains(key)), Some(Some(due)))
    }

    /// Up to `limit` keys that wait and are due, and that are wanted, the longest overdue first.
    pub(crate) fn due(&self, limit: usize, is_wanted: impl Fn(&[u8]) -> bool) -> Result<Vec<Vec<u8>>, StoreError> {
        self.waiting_until(self.clock.unix(), limit, is_wanted)
    }

    fn waiting_until(
        &self,
        time: u64,
        limit: usize,
        is_wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut keys = Vec::new();
        for entry in self.table.scan_prefix(&[DUE]) {
            if keys.len() >= limit {
                break;
            }
            let (at, _) = entry?;
            let Some((due, key)) = at.get(1..).and_then(|rest| rest.split_first_chunk::<8>()) else {
                continue;
            };
            if u64::from_be_bytes(*due) > time {
                break;
            }
            if is_wanted(key) {
                keys.push(key.to_vec());
            }
        }
        Ok(keys)
    }

    /// Up to `limit` keys within `prefix` that wait and are due, and that are wanted. Reads all that are provided there.
    pub(crate) fn due_within(
        &self,
        prefix: &Prefix,
        limit: usize,
        is_wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<(Place, Vec<u8>)>, StoreError> {
        let (now, mut keys) = (self.clock.unix(), Vec::new());
        for entry in self.sorted_from(prefix.first()) {
            let (place, key) = entry?;
            if keys.len() >= limit || !prefix.holds(&place) {
                break;
            }
            if is_wanted(&key) && self.due_of(&key)?.is_some_and(|due| due <= now) {
                keys.push((place, key));
            }
        }
        Ok(keys)
    }

    /// Makes what failed lately, or reached the local network only, due now: somebody to tell has appeared.
    pub(crate) fn retry_now(&self, limit: usize) -> Result<(), StoreError> {
        let now = self.clock.unix();
        let retries = self.waiting_until(now + LAN_ONLY_INTERVAL.as_secs(), limit, |_| true)?;
        self.change(retries.iter().map(Vec::as_slice), Some(Some(now)))
    }

    /// Number of keys provided.
    pub(crate) fn len(&self) -> usize {
        lock(&self.known).len()
    }

    /// How many of them wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// What the sweep comes to next, and in how long; that it is late is no time at all. Nothing if nothing is provided.
    pub(crate) fn next(&self) -> Result<Option<(Vec<u8>, Duration)>, StoreError> {
        let Some((lap, place, key)) = self.after(&self.position())? else {
            return Ok(None);
        };
        let in_seconds = due_at(lap, &place).saturating_sub(self.clock.unix());
        Ok(Some((key, Duration::from_secs(in_seconds))))
    }

    /// How late the sweep is.
    pub(crate) fn behind(&self) -> Result<Duration, StoreError> {
        let next = self.after(&self.position())?;
        let due = next.map_or(u64::MAX, |(lap, place, _)| due_at(lap, &place));
        Ok(Duration::from_secs(self.clock.unix().saturating_sub(due)))
    }

    /// Which part of the lap is done, from 0 to 1.
    pub(crate) fn progress(&self) -> f64 {
        let done = due_at(0, &self.position().done);
        done as f64 / LAP as f64
    }

    fn position(&self) -> Position {
        *lock(&self.position)
    }

    fn sorted_from(&self, place: &Place) -> impl Iterator<Item = Result<(Place, Vec<u8>), StoreError>> + use<> {
        let entries = self.table.scan_from(&sorted(place), &[SORTED]);
        entries.filter_map(|entry| match entry {
            Ok((at, key)) => Some(Ok((at.get(1..)?.try_into().ok()?, key))),
            Err(error) => Some(Err(error)),
        })
    }

    /// The first key after a position, and its lap.
    fn after(&self, position: &Position) -> Result<Option<(u64, Place, Vec<u8>)>, StoreError> {
        let mut entries = self.sorted_from(&position.done);
        let next = entries.find(|entry| entry.as_ref().map_or(true, |(place, _)| *place > position.done));
        if let Some(entry) = next {
            let (place, key) = entry?;
            return Ok(Some((position.lap, place, key)));
        }
        let first = self.sorted_from(&[0; 32]).next().transpose()?;
        Ok(first.map(|(place, key)| (position.lap + 1, place, key)))
    }

    /// The keys that are due in the sweep, from the one on that it comes to next, as far as they are within `prefix`; `limit` at
    /// most. They are still to be told. What `is_here` denies is provided no longer.
    pub(crate) fn stretch(
        &self,
        prefix: &Prefix,
        limit: usize,
        is_here: impl Fn(&[u8]) -> bool,
    ) -> Result<Stretch, StoreError> {
        let Some((lap, first, _)) = self.after(&self.position())? else {
            return Ok(Stretch::default());
        };
        let until = self.clock.unix() + AHEAD.as_secs();
        let (mut stretch, mut gone) = (Stretch { lap, keys: Vec::new() }, Vec::new());
        for entry in self.sorted_from(&first) {
            let (place, key) = entry?;
            if !prefix.holds(&place) || due_at(lap, &place) > until || stretch.keys.len() >= limit {
                break;
            }
            match is_here(&key) {
                true => stretch.keys.push((place, key)),
                false => gone.push(key),
            }
        }
        self.remove(gone.iter().map(Vec::as_slice))?;
        Ok(stretch)
    }

    /// Notes that a stretch has been told.
    pub(crate) fn swept(&self, stretch: &Stretch) -> Result<(), StoreError> {
        let Some((done, _)) = stretch.keys.last() else {
            return Ok(());
        };
        self.move_to(|position| Position {
            lap: stretch.lap,
            done: *done,
            ..position
        })
    }

    /// Notes that keys were told to the local network in the absence of the public one.
    pub(crate) fn owe(&self) -> Result<(), StoreError> {
        if self.position().owed {
            return Ok(());
        }
        self.move_to(|position| Position { owed: true, ..position })
    }

    /// Begins a lap anew if keys are owed to the public network, which has been joined.
    pub(crate) fn sweep_again_if_owed(&self) -> Result<(), StoreError> {
        if !self.position().owed {
            return Ok(());
        }
        self.move_to(|position| Position {
            lap: position.lap.saturating_sub(1),
            owed: false,
            ..position
        })
    }

    fn move_to(&self, to: impl FnOnce(Position) -> Position) -> Result<(), StoreError> {
        let mut position = lock(&self.position);
        let next = to(*position);
        self.table.insert(&[POSITION], &next.encode())?;
        *position = next;
        Ok(())
    }

    fn due_of(&self, key: &[u8]) -> Result<Option<u64>, StoreError> {
        let stored = self.table.get(&[&[KEY], key].concat())?;
        Ok(stored.and_then(|bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?))))
    }

    /// Has keys wait until then or not at all, or drops them: some in one step each, because each step costs as much as many
    /// changes.
    fn change<'a>(&self, keys: impl IntoIterator<Item = &'a [u8]>, to: Option<Option<u64>>) -> Result<(), StoreError> {
        if to.is_some() && self.len() == 0 {
            // There was nothing to sweep for however long.
            self.move_to(|_| Position::at(self.clock.unix()))?;
        }
        let mut keys = keys.into_iter();
        loop {
            // Which keys there are is asked under the lock, too.
            let _changing = lock(&self.changing);
            let step: HashSet<&[u8]> = keys.by_ref().take(KEYS_AT_ONCE).collect();
            if step.is_empty() {
                return Ok(());
            }
            let mut changes: Vec<Change> = Vec::with_capacity(4 * step.len());
            let due = to.flatten();
            let (mut began, mut ended) = (0, 0);
            for key in &step {
                let old = self.due_of(key)?;
                if let Some(old) = old.filter(|old| Some(*old) != due) {
                    changes.push(([&[DUE][..], &old.to_be_bytes(), key].concat(), None));
                }
                if let Some(due) = due.filter(|due| Some(*due) != old) {
                    changes.push(([&[DUE][..], &due.to_be_bytes(), key].concat(), Some(Vec::new())));
                }
                if old != due {
                    changes.push(([&[KEY], *key].concat(), due.map(|due| due.to_be_bytes().to_vec())));
                }
                match to {
                    Some(_) if self.contains(key) => {}
                    Some(_) => changes.push((sorted(&place_of(key)), Some(key.to_vec()))),
                    None => changes.push((sorted(&place_of(key)), None)),
                }
                began += usize::from(old.is_none() && due.is_some());
                ended += usize::from(old.is_some() && due.is_none());
            }
            self.table.apply(&changes)?;
            self.waiting.fetch_add(began, Ordering::Relaxed);
            self.waiting.fetch_sub(ended, Ordering::Relaxed);
            let mut known = lock(&self.known);
            for key in step {
                let number = self.numbers.hash_one(key);
                match to {
                    Some(_) => known.insert(number),
                    None => known.remove(&number),
                };
            }
        }
    }
}
