//! What this peer provides, and when each key was last announced.
//!
//! On disk, ordered by the time at which an announcement is due, so that a restart goes on where the peer stopped instead of
//! announcing everything again. In memory is only a number for each key, some 16 bytes, so that whoever asks for a key can be
//! answered without a disk.
//!
//! | key | value |
//! |---|---|
//! | `k` multihash | `due u64 BE` |
//! | `d` `due u64 BE` multihash | empty |

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::clock::Clock;
use crate::store::{StoreError, Table};
use crate::threads::lock;

/// How long after an announcement the next one is due. Others forget it after 48 hours.
pub const REPROVIDE_INTERVAL: Duration = Duration::from_secs(22 * 3600);
/// The same after an announcement that reached only the local network, by a peer that is to join the public one: as
/// soon as it has, such keys become due at once.
pub const LAN_ONLY_INTERVAL: Duration = Duration::from_secs(3600);
/// How long after an announcement that reached nobody the next try is due.
pub const RETRY_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// Table of a store in which the schedule is.
pub(crate) const TABLE: &str = "provide";

/// How many keys change in one step.
const KEYS_AT_ONCE: usize = 64;

const KEY: u8 = b'k';
const DUE: u8 = b'd';

/// The keys this peer provides. Clones share them.
#[derive(Clone)]
pub(crate) struct Schedule {
    table: Table,
    clock: Clock,
    /// A number of 64 bits for each key, which nobody outside can compute.
    known: Arc<Mutex<HashSet<u64>>>,
    numbers: RandomState,
}

impl Schedule {
    /// Opens the schedule that is in `table`. Reads it once: call it where blocking is allowed. Of a table that cannot be read
    /// nothing is known.
    pub(crate) fn open(table: Table, clock: Clock) -> Self {
        let numbers = RandomState::new();
        let mut known = HashSet::new();
        for entry in table.scan_prefix(&[KEY]) {
            match entry {
                Ok((key, _)) => known.extend(key.get(1..).map(|key| numbers.hash_one(key))),
                Err(error) => {
                    tracing::warn!(%error, "what this peer provides cannot be read");
                    break;
                }
            }
        }
        Self {
            table,
            clock,
            known: Arc::new(Mutex::new(known)),
            numbers,
        }
    }

    /// Whether this peer provides `key`. From memory.
    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        lock(&self.known).contains(&self.numbers.hash_one(key))
    }

    /// Adds keys, due at once. Those already there become due at once too.
    pub(crate) fn add<'a>(&self, keys: impl IntoIterator<Item = &'a [u8]>) -> Result<(), StoreError> {
        self.set_due(keys, Some(self.clock.unix()))
    }

    /// Stops providing `key`. Others forget it when their record expires.
    pub(crate) fn remove(&self, key: &[u8]) -> Result<(), StoreError> {
        self.set_due([key], None)
    }

    /// Notes that an announcement has been made or tried, and how long to wait for the next. A key that was removed
    /// meanwhile stays removed.
    pub(crate) fn announced(&self, key: &[u8], wait: Duration) -> Result<(), StoreError> {
        if !self.contains(key) {
            return Ok(());
        }
        self.set_due([key], Some(self.clock.unix() + wait.as_secs()))
    }

    /// Up to `limit` keys that are due, the longest overdue first.
    pub(crate) fn due(&self, limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let now = self.clock.unix();
        let mut keys = Vec::new();
        for entry in self.table.scan_prefix(&[DUE]).take(limit) {
            let (at, _) = entry?;
            let Some((due, key)) = at.get(1..).and_then(|rest| rest.split_first_chunk::<8>()) else {
                continue;
            };
            if u64::from_be_bytes(*due) > now {
                break;
            }
            keys.push(key.to_vec());
        }
        Ok(keys)
    }

    /// Makes what failed lately, or reached the local network only, due now: somebody to tell has appeared.
    pub(crate) fn retry_now(&self, limit: usize) -> Result<(), StoreError> {
        let now = self.clock.unix();
        let mut retries = Vec::new();
        for entry in self.table.scan_prefix(&[DUE]).take(limit) {
            let (at, _) = entry?;
            let Some((due, key)) = at.get(1..).and_then(|rest| rest.split_first_chunk::<8>()) else {
                continue;
            };
            if u64::from_be_bytes(*due) > now + LAN_ONLY_INTERVAL.as_secs() {
                break;
            }
            retries.push(key.to_vec());
        }
        self.set_due(retries.iter().map(Vec::as_slice), Some(now))
    }

    /// Number of keys provided.
    pub(crate) fn len(&self) -> usize {
        lock(&self.known).len()
    }

    fn due_of(&self, key: &[u8]) -> Result<Option<u64>, StoreError> {
        let stored = self.table.get(&[&[KEY], key].concat())?;
        Ok(stored.and_then(|bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?))))
    }

    /// Makes keys due then, or drops them: some in one step each, because each step costs as much as many changes.
    fn set_due<'a>(&self, keys: impl IntoIterator<Item = &'a [u8]>, due: Option<u64>) -> Result<(), StoreError> {
        let mut keys = keys.into_iter().peekable();
        while keys.peek().is_some() {
            let step: Vec<&[u8]> = keys.by_ref().take(KEYS_AT_ONCE).collect();
            let mut changes = Vec::with_capacity(3 * step.len());
            for key in &step {
                if let Some(old) = self.due_of(key)? {
                    changes.push(([&[DUE][..], &old.to_be_bytes(), key].concat(), None));
                }
                if let Some(due) = due {
                    changes.push(([&[DUE][..], &due.to_be_bytes(), key].concat(), Some(Vec::new())));
                }
                changes.push(([&[KEY], *key].concat(), due.map(|due| due.to_be_bytes().to_vec())));
            }
            self.table.apply(&changes)?;
            let mut known = lock(&self.known);
            for key in step {
                let number = self.numbers.hash_one(key);
                match due {
                    Some(_) => known.insert(number),
                    None => known.remove(&number),
                };
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::UNIX_EPOCH;

    use super::*;

    fn schedule(table: &Table, now: &Arc<AtomicU64>) -> Schedule {
        let now = Arc::clone(now);
        let clock = Clock::from_fn(move || UNIX_EPOCH + Duration::from_secs(now.load(Ordering::Relaxed)));
        Schedule::open(table.clone(), clock)
    }

    #[test]
    fn the_cursor_survives_a_restart() {
        let (table, now) = (Table::in_memory(), Arc::new(AtomicU64::new(1_000_000)));
        let first = schedule(&table, &now);
        first.add([&b"a"[..], b"b", b"c"]).unwrap();
        assert_eq!(first.due(10).unwrap().len(), 3);
        first.announced(b"a", REPROVIDE_INTERVAL).unwrap();
        first.announced(b"b", RETRY_INTERVAL).unwrap();

        let second = schedule(&table, &now);
        assert_eq!(second.due(10).unwrap(), [b"c".to_vec()]);
        assert!(second.contains(b"a"));
        now.fetch_add(RETRY_INTERVAL.as_secs(), Ordering::Relaxed);
        assert_eq!(second.due(10).unwrap(), [b"c".to_vec(), b"b".to_vec()]);
        now.fetch_add(REPROVIDE_INTERVAL.as_secs(), Ordering::Relaxed);
        assert_eq!(second.due(10).unwrap(), [b"c".to_vec(), b"b".to_vec(), b"a".to_vec()]);
        assert_eq!(second.due(2).unwrap().len(), 2);
    }

    #[test]
    fn failures_are_retried_when_somebody_appears_but_fresh_announcements_are_not() {
        let (table, now) = (Table::in_memory(), Arc::new(AtomicU64::new(1_000_000)));
        let schedule = schedule(&table, &now);
        schedule.add([&b"a"[..], b"b"]).unwrap();
        schedule.announced(b"a", RETRY_INTERVAL).unwrap();
        schedule.announced(b"b", REPROVIDE_INTERVAL).unwrap();
        assert!(schedule.due(10).unwrap().is_empty());
        schedule.retry_now(10).unwrap();
        assert_eq!(schedule.due(10).unwrap(), [b"a".to_vec()]);
    }

    #[test]
    fn more_keys_than_change_in_one_step_are_all_there_and_a_key_twice_is_one() {
        let (table, now) = (Table::in_memory(), Arc::new(AtomicU64::new(1_000_000)));
        let schedule = schedule(&table, &now);
        let keys: Vec<Vec<u8>> = (0..=KEYS_AT_ONCE).map(|n| n.to_be_bytes().to_vec()).collect();
        let twice = keys.iter().chain(&keys).map(Vec::as_slice);
        schedule.add(twice).unwrap();
        assert_eq!(
            (schedule.len(), schedule.due(1000).unwrap().len()),
            (keys.len(), keys.len())
        );
        now.fetch_add(1, Ordering::Relaxed);
        schedule.add([&keys[0][..], &keys[0]]).unwrap();
        assert_eq!(table.scan_prefix(b"").count(), 2 * keys.len());
    }

    #[test]
    fn what_is_removed_stays_removed() {
        let (table, now) = (Table::in_memory(), Arc::new(AtomicU64::new(1_000_000)));
        let schedule = schedule(&table, &now);
        schedule.add([&b"a"[..]]).unwrap();
        schedule.remove(b"a").unwrap();
        schedule.announced(b"a", REPROVIDE_INTERVAL).unwrap();
        assert!(!schedule.contains(b"a"));
        assert!(schedule.due(10).unwrap().is_empty());
        assert_eq!(table.scan_prefix(b"").count(), 0);
    }
}
