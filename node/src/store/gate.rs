//! Keeps GC and work in progress apart.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Either any number of holds, or one collection.
#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    holds: usize,
    collecting: bool,
}

/// While this lives, GC does not run, so blocks that are here stay although nothing pins them yet.
///
/// Take one before asking what is here already, and drop it after pinning the root.
#[must_use = "a hold ends when it is dropped"]
pub struct Hold(Arc<Gate>);

/// The right to collect: no hold begins while this lives.
pub(super) struct Collecting(Arc<Gate>);

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no collection runs.
    pub(super) fn hold(self: &Arc<Self>) -> Hold {
        let mut state = self.state();
        while state.collecting {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.holds += 1;
        Hold(self.clone())
    }

    /// The right to collect, unless work is in progress or another collection runs.
    pub(super) fn collect(self: &Arc<Self>) -> Option<Collecting> {
        let mut state = self.state();
        if state.holds > 0 || state.collecting {
            return None;
        }
        state.collecting = true;
        Some(Collecting(self.clone()))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.state().holds -= 1;
    }
}

impl Drop for Collecting {
    fn drop(&mut self) {
        self.0.state().collecting = false;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_keep_collections_out_and_wait_for_them() {
        let gate = Arc::new(Gate::default());
        let (first, second) = (gate.hold(), gate.hold());
        assert!(gate.collect().is_none());
        drop((first, second));
        let collecting = gate.collect().unwrap();
        assert!(gate.collect().is_none());
        let waiting = std::thread::spawn({
            let gate = gate.clone();
            move || drop(gate.hold())
        });
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(!waiting.is_finished());
        drop(collecting);
        waiting.join().unwrap();
    }
}
