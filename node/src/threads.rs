//! Threads beside the async ones: work that blocks, and what such threads share.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Runs something that touches the disk or takes long where that is allowed.
///
/// Work that has begun goes on when the caller stops waiting. A panic in `work` goes on in the caller.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(lost) => match lost.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Never begun, because the runtime is going down: nobody will look at what this returns.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Locks a mutex over values that are whole at every step, so that a panic elsewhere does not spoil them.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_reaches_whoever_waits() {
        assert_eq!(blocking(|| 7).await, 7);
        let waiting = tokio::spawn(blocking(|| panic!("told")));
        assert!(waiting.await.unwrap_err().is_panic());
    }
}
