//! One costly step for all who wait for it.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

/// Runs a costly step once for all threads that wait for it at the same time.
#[derive(Default)]
pub(super) struct GroupCommit {
    asked: AtomicU64,
    done: Mutex<u64>,
}

impl GroupCommit {
    /// Returns once `step` ran, here or in another thread, beginning after this was called.
    pub(super) fn run<E>(&self, step: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let ticket = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        if *done >= ticket {
            return Ok(());
        }
        let covered = self.asked.load(Ordering::Acquire);
        step()?;
        *done = covered;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn those_who_wait_together_share_one_step_that_began_after_they_asked() {
        const THREADS: u64 = 8;
        let (group, begun, barrier) = (
            GroupCommit::default(),
            AtomicU64::new(0),
            Barrier::new(THREADS as usize + 1),
        );
        std::thread::scope(|scope| {
            let first = scope.spawn(|| {
                group.run(|| {
                    barrier.wait();
                    // The others are waiting for this step, but it began before they asked.
                    while group.asked.load(Ordering::Acquire) < THREADS + 1 {
                        std::thread::yield_now();
                    }
                    Ok::<_, ()>(())
                })
            });
            for _ in 0..THREADS {
                scope.spawn(|| {
                    barrier.wait();
                    let step = || {
                        begun.fetch_add(1, Ordering::Relaxed);
                        Ok::<_, ()>(())
                    };
                    group.run(step).unwrap();
                    assert_eq!(begun.load(Ordering::Relaxed), 1);
                });
            }
            first.join().unwrap().unwrap();
        });
        assert_eq!(group.run(|| Err("failed")), Err("failed"));
        group.run(|| Ok::<_, ()>(())).unwrap();
    }
}
