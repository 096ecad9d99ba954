//! Turns at changing a dataset. Commands of several processes run in the one that owns the workspace, and whoever appends
//! rows reads the history first: without turns all but the first would have to begin again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use odf::metadata::DatasetId;

use crate::failure::{Failure, Kind};
use crate::io::Io;

/// How long a command waits for those before it.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long it waits without a word.
const SILENCE: Duration = Duration::from_millis(500);
/// Between two looks at whether the user still wants it.
const LOOK: Duration = Duration::from_millis(100);
/// Between two looks at whether it is the turn of work in the background: others wait for it to begin and end.
const GLANCE: Duration = Duration::from_millis(5);

/// Who waits for what, in the order in which they came. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Turns(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queues: Mutex<Queues>,
    moved: Condvar,
}

#[derive(Default)]
struct Queues {
    next: u64,
    /// The tickets of each dataset; the first has its turn. None is empty.
    waiting: HashMap<DatasetId, VecDeque<u64>>,
}

/// A turn at changing a dataset; it ends when this is dropped.
#[must_use]
pub(crate) struct Turn {
    turns: Turns,
    id: DatasetId,
    ticket: u64,
}

impl Turns {
    /// Waits until everybody is done who wanted to change the dataset before. `name` is for the message that says so.
    ///
    /// # Errors
    /// It took too long, or the user wants to stop.
    pub(super) fn take(&self, id: DatasetId, name: &str, io: &mut Io) -> Result<Turn, Failure> {
        self.take_within(PATIENCE, id, name, io)
    }

    fn take_within(&self, patience: Duration, id: DatasetId, name: &str, io: &mut Io) -> Result<Turn, Failure> {
        let turn = self.queue(id);
        let since = Instant::now();
        let mut told = false;
        let mut queues = self.lock();
        loop {
            let before = queues.before(&turn);
            if before == 0 {
                drop(queues);
                return Ok(turn);
            }
            let waited = since.elapsed();
            let ended = io.check();
            if ended.is_err() || waited >= patience {
                // The turn gives its ticket back, for which it needs the queues.
                drop(queues);
                ended?;
                return Err(Failure::new(
                    Kind::Busy,
                    format!(
                        "{name} is being changed by {before} other command(s), which did not end within {} s",
                        patience.as_secs()
                    ),
                )
                .next("run the command again when they are done; nothing was changed"));
            }
            if !told && waited >= SILENCE.min(patience / 2) {
                told = true;
                drop(queues);
                io.say(format_args!(
                    "waiting for {before} other command(s) that change {name}, at most {} s",
                    patience.as_secs()
                ));
                queues = self.lock();
                continue;
            }
            queues = self
                .0
                .moved
                .wait_timeout(queues, LOOK)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// As [`Self::take`], for work that has all the time and that nobody waits for.
    pub(super) async fn wait(&self, id: DatasetId) -> Turn {
        let turn = self.queue(id);
        while self.lock().before(&turn) > 0 {
            tokio::time::sleep(GLANCE).await;
        }
        turn
    }

    /// Behind everybody who wants to change the dataset by now.
    fn queue(&self, id: DatasetId) -> Turn {
        let mut queues = self.lock();
        let ticket = queues.next;
        queues.next += 1;
        queues.waiting.entry(id).or_default().push_back(ticket);
        Turn {
            turns: self.clone(),
            id,
            ticket,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.0.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queues {
    /// How many have to be done before it is this turn's time.
    fn before(&self, turn: &Turn) -> usize {
        let queue = self.waiting.get(&turn.id);
        queue
            .and_then(|queue| queue.iter().position(|ticket| *ticket == turn.ticket))
            .unwrap_or(0)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut queues = self.turns.lock();
        if let Some(queue) = queues.waiting.get_mut(&self.id) {
            queue.retain(|ticket| *ticket != self.ticket);
            if queue.is_empty() {
                queues.waiting.remove(&self.id);
            }
        }
        drop(queues);
        self.turns.0.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;
    use crate::io::Cancel;

    fn id(number: u8) -> DatasetId {
        DatasetId::from_public_key([number; 32])
    }

    #[test]
    fn one_changes_a_dataset_at_a_time_and_nobody_is_left_out() {
        let turns = Turns::default();
        let (busy, done) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    let turn = turns
                        .take(id(1), "d", &mut Io::apart(std::io::sink(), Cancel::new()))
                        .unwrap();
                    assert!(!busy.swap(true, Ordering::SeqCst), "two at once");
                    std::thread::sleep(Duration::from_millis(2));
                    busy.store(false, Ordering::SeqCst);
                    done.fetch_add(1, Ordering::SeqCst);
                    drop(turn);
                });
            }
        });
        assert_eq!(done.into_inner(), 16);
        assert!(turns.lock().waiting.is_empty());
    }

    #[test]
    fn other_datasets_do_not_wait() {
        let turns = Turns::default();
        let mut io = Io::apart(std::io::sink(), Cancel::new());
        let _one = turns.take(id(1), "one", &mut io).unwrap();
        let _two = turns.take_within(Duration::ZERO, id(2), "two", &mut io).unwrap();
    }

    #[test]
    fn who_waits_too_long_is_told_and_leaves_the_queue() {
        let turns = Turns::default();
        let mut io = Io::apart(std::io::sink(), Cancel::new());
        let first = turns.take(id(1), "d", &mut io).unwrap();
        let late = turns.take_within(Duration::from_millis(50), id(1), "d", &mut io);
        let failure = late.map(|_| ()).unwrap_err();
        assert_eq!(failure.kind(), Kind::Busy);
        assert!(
            failure.message().contains("d is being changed by 1 other"),
            "{}",
            failure.message()
        );
        drop(first);
        let _next = turns.take_within(Duration::ZERO, id(1), "d", &mut io).unwrap();
    }

    #[tokio::test]
    async fn work_in_the_background_takes_its_turn_in_the_queue() {
        let turns = Turns::default();
        let mut io = Io::apart(std::io::sink(), Cancel::new());
        let first = turns.take(id(1), "d", &mut io).unwrap();
        let given_up = tokio::time::timeout(Duration::from_millis(30), turns.wait(id(1))).await;
        assert!(given_up.is_err());
        let second = tokio::spawn({
            let turns = turns.clone();
            async move { turns.wait(id(1)).await }
        });
        while turns.lock().waiting[&id(1)].len() < 2 {
            tokio::time::sleep(GLANCE).await;
        }
        let third = turns.take_within(Duration::ZERO, id(1), "d", &mut io);
        assert_eq!(third.map(|_| ()).unwrap_err().kind(), Kind::Busy);
        drop(first);
        drop(second.await.unwrap());
        assert!(turns.lock().waiting.is_empty());
    }

    #[test]
    fn who_does_not_want_any_more_leaves_the_queue() {
        let turns = Turns::default();
        let cancel = Cancel::new();
        let mut io = Io::apart(std::io::sink(), cancel.clone());
        let first = turns.take(id(1), "d", &mut io).unwrap();
        cancel.set();
        let stopped = turns.take(id(1), "d", &mut io).map(|_| ()).unwrap_err();
        assert_eq!(stopped.kind(), Kind::Interrupted);
        drop(first);
        assert!(turns.lock().waiting.is_empty());
    }
}
