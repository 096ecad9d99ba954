//! What threads make of chunks on its way to the caller: in the order of the chunks, and bounded in bytes.
//!
//! Texts that are worked on and results that wait count together. A thread that has more to give than there is room for waits,
//! but for the one that works on the chunk the caller is at: it may always give one result. So nothing waits for ever, however
//! long results are.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::source::SourceError;

/// Chunks and what is made of them, between the thread that cuts, those that work and the caller.
pub(super) struct Queue<T> {
    /// Bytes that may wait.
    bytes: usize,
    /// Chunks that may be begun.
    chunks: usize,
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    /// The first is the one that the caller is at.
    slots: VecDeque<Slot<T>>,
    /// Its number.
    first: u64,
    /// Bytes of texts and results.
    held: usize,
    /// Bytes of the result that the caller has.
    given: usize,
    /// No more chunks come.
    complete: bool,
    /// The caller wants no more.
    unwanted: bool,
}

struct Slot<T> {
    /// Where the chunk ends in the file.
    end: u64,
    results: VecDeque<(T, usize)>,
    state: Work,
}

enum Work {
    Going,
    Done,
    Failed(SourceError),
    /// The thread ended in the middle of it.
    Lost,
}

impl<T> Queue<T> {
    /// At most `chunks` chunks are begun, and about `bytes` bytes wait.
    pub(super) fn new(bytes: usize, chunks: usize) -> Arc<Queue<T>> {
        Arc::new(Queue {
            bytes,
            chunks,
            state: Mutex::new(State {
                slots: VecDeque::new(),
                first: 0,
                held: 0,
                given: 0,
                complete: false,
                unwanted: false,
            }),
            changed: Condvar::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing panics while it holds this.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'q>(&self, state: MutexGuard<'q, State<T>>) -> MutexGuard<'q, State<T>> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for what becomes of the next chunk, which has a text of so many bytes and ends at `end` in the file. Waits for
    /// room; none if nobody wants it any more.
    pub(super) fn begin(self: &Arc<Self>, text: usize, end: u64) -> Option<Giver<T>> {
        let mut state = self.lock();
        while !state.unwanted
            && (state.slots.len() >= self.chunks || state.held > 0 && state.held.saturating_add(text) > self.bytes)
        {
            state = self.wait(state);
        }
        if state.unwanted {
            return None;
        }
        state.held += text;
        let number = state.first + state.slots.len() as u64;
        state.slots.push_back(Slot {
            end,
            results: VecDeque::new(),
            state: Work::Going,
        });
        Some(Giver {
            queue: self.clone(),
            number,
            text,
            is_done: false,
        })
    }

    /// No more chunks come.
    pub(super) fn complete(&self) {
        self.lock().complete = true;
        self.changed.notify_all();
    }

    /// Nothing more is wanted.
    pub(super) fn refuse(&self) {
        let mut state = self.lock();
        state.unwanted = true;
        state.slots.clear();
        drop(state);
        self.changed.notify_all();
    }

    /// The next result, and where its chunk ends in the file; none behind the last, or when a thread is gone.
    pub(super) fn next(&self) -> Result<Option<(T, u64)>, SourceError> {
        let mut state = self.lock();
        state.held -= std::mem::take(&mut state.given);
        self.changed.notify_all();
        loop {
            let Some(slot) = state.slots.front_mut() else {
                if state.complete || state.unwanted {
                    return Ok(None);
                }
                state = self.wait(state);
                continue;
            };
            let end = slot.end;
            if let Some((result, bytes)) = slot.results.pop_front() {
                state.given = bytes;
                return Ok(Some((result, end)));
            }
            match std::mem::replace(&mut slot.state, Work::Lost) {
                Work::Going => {
                    slot.state = Work::Going;
                    state = self.wait(state);
                }
                Work::Done => {
                    state.slots.pop_front();
                    state.first += 1;
                    self.changed.notify_all();
                }
                Work::Failed(error) => return Err(error),
                Work::Lost => return Ok(None),
            }
        }
    }
}

/// Where what becomes of one chunk is put.
pub(super) struct Giver<T> {
    queue: Arc<Queue<T>>,
    number: u64,
    /// Bytes of the text.
    text: usize,
    is_done: bool,
}

impl<T> Giver<T> {
    /// Hands on a result of so many bytes. Waits for room; false if nobody wants it any more.
    pub(super) fn give(&mut self, result: T, bytes: usize) -> bool {
        let mut state = self.queue.lock();
        loop {
            if state.unwanted {
                return false;
            }
            let at = usize::try_from(self.number - state.first).unwrap_or(usize::MAX);
            let fits = state.held.saturating_add(bytes) <= self.queue.bytes;
            let Some(slot) = state.slots.get_mut(at) else {
                return false;
            };
            if fits || at == 0 && slot.results.is_empty() {
                slot.results.push_back((result, bytes));
                state.held += bytes;
                break;
            }
            state = self.queue.wait(state);
        }
        drop(state);
        self.queue.changed.notify_all();
        true
    }

    /// Nothing more comes of the chunk.
    pub(super) fn finish(mut self, outcome: Result<(), SourceError>) {
        self.end(match outcome {
            Ok(()) => Work::Done,
            Err(error) => Work::Failed(error),
        });
    }

    fn end(&mut self, work: Work) {
        self.is_done = true;
        let mut state = self.queue.lock();
        state.held -= self.text;
        if let Some(at) = self.number.checked_sub(state.first)
            && let Some(slot) = usize::try_from(at).ok().and_then(|at| state.slots.get_mut(at))
        {
            slot.state = work;
        }
        drop(state);
        self.queue.changed.notify_all();
    }
}

impl<T> Drop for Giver<T> {
    fn drop(&mut self) {
        if !self.is_done {
            self.end(Work::Lost);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn no_more_waits_than_there_is_room_for_but_for_one_that_is_wanted() {
        let queue = Queue::new(10, 8);
        let mut first = queue.begin(2, 1).unwrap();
        let mut second = queue.begin(2, 2).unwrap();
        assert!(second.give("b", 6));
        // It is the one that the caller is at: it may give one, however long.
        assert!(first.give("a1", 100));
        let waits = thread::spawn(move || {
            assert!(first.give("a2", 100));
            first.finish(Ok(()));
        });
        thread::sleep(Duration::from_millis(20));
        assert_eq!(queue.lock().held, 110);
        assert_eq!(queue.next().unwrap(), Some(("a1", 1)));
        assert_eq!(queue.next().unwrap(), Some(("a2", 1)));
        waits.join().unwrap();
        second.finish(Ok(()));
        assert_eq!(queue.next().unwrap(), Some(("b", 2)));
        queue.complete();
        assert_eq!(queue.next().unwrap(), None);
        assert_eq!(queue.lock().held, 0);
    }

    #[test]
    fn texts_wait_for_room_and_one_that_is_too_long_for_an_empty_queue() {
        let queue: Arc<Queue<()>> = Queue::new(10, 2);
        let first = queue.begin(100, 1).unwrap();
        let cutter = queue.clone();
        let waits = thread::spawn(move || cutter.begin(1, 2).unwrap().finish(Ok(())));
        thread::sleep(Duration::from_millis(20));
        assert_eq!(queue.lock().slots.len(), 1);
        first.finish(Ok(()));
        waits.join().unwrap();
        queue.complete();
        assert_eq!(queue.next().unwrap(), None);
    }

    #[test]
    fn a_lost_thread_ends_it_and_so_does_a_caller_who_has_enough() {
        let queue: Arc<Queue<()>> = Queue::new(10, 2);
        drop(queue.begin(1, 1).unwrap());
        assert_eq!(queue.next().unwrap(), None);

        let queue: Arc<Queue<()>> = Queue::new(10, 2);
        let mut giver = queue.begin(1, 1).unwrap();
        queue.refuse();
        assert!(!giver.give((), 1));
        assert!(queue.begin(1, 2).is_none());
    }
}
