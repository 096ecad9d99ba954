//! Several things transferred side by side.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// How many objects are transferred at once, as kamu does.
pub const MAX_PARALLEL_TRANSFERS: usize = 10;

/// Transfers things, [`MAX_PARALLEL_TRANSFERS`] at a time; the first failure ends it.
///
/// # Errors
/// The first failure.
pub fn in_parallel<T: Sync, E: Send>(things: &[T], transfer: &(dyn Fn(&T) -> Result<(), E> + Sync)) -> Result<(), E> {
    let queue = Mutex::new(things.iter());
    let failure = Mutex::new(None);
    let failed = AtomicBool::new(false);
    let work = || {
        while !failed.load(Ordering::Acquire) {
            let Some(next) = queue.lock().unwrap_or_else(PoisonError::into_inner).next() else {
                return;
            };
            if let Err(error) = transfer(next) {
                failure
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get_or_insert(error);
                failed.store(true, Ordering::Release);
            }
        }
    };
    thread::scope(|scope| {
        // This thread works too, so that a system without threads left only makes it slower.
        for _ in 1..MAX_PARALLEL_TRANSFERS.min(things.len()) {
            if thread::Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    failure
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .map_or(Ok(()), Err)
}
