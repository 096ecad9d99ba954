//! When this process makes the roots of appends that were left to it, so that several get one.
//!
//! An append within the batch time of the last root is due at the end of that time, with all that is appended until then. One
//! that comes later gets its root at once: whoever appends seldom never waits.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use odf::metadata::DatasetId;
use tokio::sync::Notify;

/// What is due of each dataset.
#[derive(Default)]
pub(crate) struct Batches {
    state: Mutex<State>,
    /// Something became due, or is so no longer.
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// Nothing is left to this process any more.
    closed: bool,
    datasets: HashMap<DatasetId, Batch>,
}

#[derive(Default)]
struct Batch {
    /// When the last root was made here.
    made: Option<Instant>,
    /// When the name was moved to one last.
    announced: Option<Instant>,
    due: Option<Due>,
}

struct Due {
    at: Instant,
    wanted: Wanted,
    state: Doing,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// It waits for its time.
    Waits,
    /// Somebody is at it.
    Runs,
    /// It failed, and will be tried again. Whoever appends next does it and hears why it fails.
    Failed,
}

/// What an append asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wanted {
    /// A root, which is pinned.
    Root,
    /// A root, and that the dataset's name stands for it.
    Name,
}

impl Batches {
    /// Leaves what an append asks for to this process, and says when it will be done; none if whoever appended is to do it
    /// at once. To be called in the turn at changing the dataset, with the rows appended.
    pub(crate) fn leave(&self, id: DatasetId, wanted: Wanted, batch: Duration, now: Instant) -> Option<Instant> {
        let mut state = self.lock();
        if state.closed {
            return None;
        }
        let entry = state.datasets.entry(id).or_default();
        match &entry.due {
            Some(due) if due.state == Doing::Failed => return None,
            Some(due) if due.wanted >= wanted => return Some(due.at),
            _ => {}
        }
        let last = match wanted {
            Wanted::Root => entry.made,
            Wanted::Name => entry.announced,
        };
        let at = last?.checked_add(batch).filter(|at| *at > now)?;
        let at = entry.due.as_ref().map_or(at, |due| due.at.min(at));
        self.set(state, id, at, wanted);
        Some(at)
    }

    /// Notes what an earlier process was to do.
    pub(crate) fn resume(&self, id: DatasetId, wanted: Wanted, now: Instant) {
        self.set(self.lock(), id, now, wanted);
    }

    fn set(&self, mut state: MutexGuard<'_, State>, id: DatasetId, at: Instant, wanted: Wanted) {
        let due = &mut state.datasets.entry(id).or_default().due;
        *due = Some(Due {
            at,
            wanted,
            state: Doing::Waits,
        });
        drop(state);
        self.changed.notify_one();
    }

    /// The dataset has a root of its head, to which its name was moved if it is `announced`.
    pub(crate) fn made(&self, id: DatasetId, announced: bool) {
        let mut state = self.lock();
        let entry = state.datasets.entry(id).or_default();
        let now = Instant::now();
        entry.made = Some(now);
        if announced {
            entry.announced = Some(now);
        }
        match &mut entry.due {
            // The name is moved in its time.
            Some(due) if due.wanted == Wanted::Name && !announced => {}
            due => *due = None,
        }
        drop(state);
        self.changed.notify_one();
    }

    /// What was due could not be done; it is tried again at `at`, or when something is appended.
    pub(crate) fn failed(&self, id: DatasetId, at: Instant) {
        let mut state = self.lock();
        if let Some(due) = state.datasets.get_mut(&id).and_then(|entry| entry.due.as_mut()) {
            (due.state, due.at) = (Doing::Failed, at);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// The dataset is not there any more.
    pub(crate) fn forget(&self, id: &DatasetId) {
        self.lock().datasets.remove(id);
    }

    /// What was left to this process of a dataset and is not done yet.
    pub(crate) fn due(&self, id: &DatasetId) -> Option<Wanted> {
        let state = self.lock();
        state.datasets.get(id)?.due.as_ref().map(|due| due.wanted)
    }

    /// When the next is to be done.
    pub(crate) fn next(&self) -> Option<Instant> {
        let state = self.lock();
        let waiting = state.datasets.values().filter_map(|entry| entry.due.as_ref());
        waiting.filter(|due| due.state != Doing::Runs).map(|due| due.at).min()
    }

    /// What is to be done at `now`; whoever is told does it.
    pub(crate) fn ripe(&self, now: Instant) -> Vec<DatasetId> {
        self.take(|due| due.state != Doing::Runs && due.at <= now)
    }

    /// Leaves nothing to this process from now on, and gives what was.
    pub(crate) fn close(&self) -> Vec<DatasetId> {
        self.lock().closed = true;
        self.take(|_| true)
    }

    fn take(&self, wanted: impl Fn(&Due) -> bool) -> Vec<DatasetId> {
        let mut state = self.lock();
        let mut taken = Vec::new();
        for (id, entry) in &mut state.datasets {
            if let Some(due) = entry.due.as_mut().filter(|due| wanted(due)) {
                due.state = Doing::Runs;
                taken.push(*id);
            }
        }
        taken
    }

    /// Waits until something became due, or is so no longer.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCH: Duration = Duration::from_secs(1000);

    fn id(number: u8) -> DatasetId {
        DatasetId::from_public_key([number; 32])
    }

    fn later() -> Instant {
        Instant::now() + BATCH
    }

    #[test]
    fn the_first_append_gets_its_root_at_once_and_those_soon_after_share_one() {
        let batches = Batches::default();
        let now = Instant::now();
        assert_eq!(batches.leave(id(1), Wanted::Root, BATCH, now), None);
        batches.made(id(1), false);
        let at = batches.leave(id(1), Wanted::Root, BATCH, now).unwrap();
        assert_eq!(batches.leave(id(1), Wanted::Root, BATCH, now), Some(at));
        assert_eq!(batches.leave(id(2), Wanted::Root, BATCH, now), None, "another dataset");
        assert_eq!(batches.next(), Some(at));
        assert_eq!(batches.ripe(now), []);
        assert_eq!(batches.ripe(at), [id(1)]);
        assert_eq!(batches.ripe(at), [], "once");
        assert_eq!(batches.due(&id(1)), Some(Wanted::Root));
        batches.made(id(1), false);
        assert_eq!((batches.due(&id(1)), batches.next()), (None, None));
        assert_eq!(
            batches.leave(id(1), Wanted::Root, BATCH, later()),
            None,
            "after a while"
        );
    }

    #[test]
    fn a_name_is_moved_once_for_all_that_ask_for_it() {
        let batches = Batches::default();
        let now = Instant::now();
        batches.made(id(1), false);
        assert_eq!(
            batches.leave(id(1), Wanted::Name, BATCH, now),
            None,
            "it was never moved"
        );
        batches.made(id(1), true);
        let at = batches.leave(id(1), Wanted::Root, BATCH, now).unwrap();
        assert!(batches.leave(id(1), Wanted::Name, BATCH, now).unwrap() <= at);
        assert_eq!(batches.leave(id(1), Wanted::Root, BATCH, now), Some(at));
        batches.made(id(1), false);
        assert_eq!(
            batches.due(&id(1)),
            Some(Wanted::Name),
            "the root alone is not what was asked for"
        );
        assert_eq!(batches.ripe(at), [id(1)]);
        batches.made(id(1), true);
        assert_eq!(batches.due(&id(1)), None);
    }

    #[test]
    fn after_a_failure_the_next_append_does_it_and_hears_why() {
        let batches = Batches::default();
        let now = Instant::now();
        batches.made(id(1), true);
        let at = batches.leave(id(1), Wanted::Name, BATCH, now).unwrap();
        batches.ripe(at);
        batches.failed(id(1), later());
        assert_eq!(batches.leave(id(1), Wanted::Name, BATCH, now), None);
        assert!(batches.next().unwrap() >= at, "it is tried again");
        assert_eq!(batches.ripe(later()), [id(1)]);
    }

    #[test]
    fn nothing_is_left_to_a_process_that_ends() {
        let batches = Batches::default();
        let now = Instant::now();
        batches.made(id(1), true);
        batches.leave(id(1), Wanted::Name, BATCH, now).unwrap();
        assert_eq!(batches.close(), [id(1)]);
        assert_eq!(batches.leave(id(1), Wanted::Name, BATCH, now), None);
        batches.forget(&id(1));
        assert_eq!(batches.due(&id(1)), None);
    }
}
