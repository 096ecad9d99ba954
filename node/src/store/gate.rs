//! Keeps GC and work in progress apart, and remembers what work in progress counts on.

use std::{
    collections::HashSet,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

/// Either any number of holds, or one collection.
#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
    /// There while somebody holds or collects.
    claims: RwLock<Option<Claims>>,
}

#[derive(Default)]
struct State {
    holds: usize,
    collecting: bool,
}

/// Blocks that somebody was told are here, and which must therefore not go before that work is done.
#[derive(Default)]
struct Claims {
    collecting: bool,
    hashes: Mutex<HashSet<Vec<u8>>>,
}

/// While this lives, GC does not run, so blocks that are here stay although nothing pins them yet.
///
/// Take one before asking what is here already, and drop it after pinning the root.
#[must_use = "a hold ends when it is dropped"]
pub struct Hold(Arc<Gate>);

/// The right to collect: no hold begins while this lives.
pub(super) struct Collecting(Arc<Gate>);

/// While this lives, nothing that is claimed goes.
pub(super) struct Claiming<'a>(RwLockReadGuard<'a, Option<Claims>>);

/// While this lives, nothing is claimed.
pub(super) struct Dropping<'a>(RwLockWriteGuard<'a, Option<Claims>>);

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_claims(&self, claims: Option<Claims>) {
        *self.claims.write().unwrap_or_else(PoisonError::into_inner) = claims;
    }

    /// Waits until no collection runs.
    pub(super) fn hold(self: &Arc<Self>) -> Hold {
        let mut state = self.state();
        while state.collecting {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.holds += 1;
        if state.holds == 1 {
            self.set_claims(Some(Claims::default()));
        }
        Hold(self.clone())
    }

    /// The right to collect, unless work is in progress or another collection runs. Puts that have begun end first.
    pub(super) fn collect(self: &Arc<Self>) -> Option<Collecting> {
        let mut state = self.state();
        if state.holds > 0 || state.collecting {
            return None;
        }
        state.collecting = true;
        self.set_claims(Some(Claims {
            collecting: true,
            ..Claims::default()
        }));
        Some(Collecting(self.clone()))
    }

    /// For whoever is about to rely on a block being here. Not to be taken twice by one thread.
    pub(super) fn claiming(&self) -> Claiming<'_> {
        Claiming(self.claims.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// For whoever is about to drop a block.
    pub(super) fn dropping(&self) -> Dropping<'_> {
        Dropping(self.claims.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Claiming<'_> {
    /// Somebody puts a block that is here already, in a pack or only in a file. Packs lose blocks to a collection only.
    pub(super) fn put(&self, key: &[u8], is_packed: bool) {
        if let Some(claims) = self.0.as_ref().filter(|claims| claims.collecting || !is_packed) {
            claims.claim(key);
        }
    }

    /// Somebody is told that a block is here, in a file. During a collection that is no promise: nobody holds then.
    pub(super) fn seen(&self, key: &[u8]) {
        if let Some(claims) = self.0.as_ref().filter(|claims| !claims.collecting) {
            claims.claim(key);
        }
    }
}

impl Claims {
    fn claim(&self, key: &[u8]) {
        let mut hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        if !hashes.contains(key) {
            hashes.insert(key.to_vec());
        }
    }
}

impl Dropping<'_> {
    /// Whether somebody counts on the block.
    pub(super) fn is_claimed(&self, key: &[u8]) -> bool {
        self.0.as_ref().is_some_and(|claims| {
            let hashes = claims.hashes.lock().unwrap_or_else(PoisonError::into_inner);
            hashes.contains(key)
        })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.holds -= 1;
        if state.holds == 0 {
            self.0.set_claims(None);
        }
    }
}

impl Drop for Collecting {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.collecting = false;
        self.0.set_claims(None);
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

    #[test]
    fn claims_last_as_long_as_somebody_holds_or_collects() {
        let gate = Arc::new(Gate::default());
        gate.claiming().put(b"before", false);
        let first = gate.hold();
        gate.claiming().seen(b"a");
        let second = gate.hold();
        drop(first);
        assert!(gate.dropping().is_claimed(b"a") && !gate.dropping().is_claimed(b"before"));
        drop(second);
        assert!(!gate.dropping().is_claimed(b"a"));
        let collecting = gate.collect().unwrap();
        gate.claiming().seen(b"b");
        gate.claiming().put(b"c", true);
        assert!(!gate.dropping().is_claimed(b"b") && gate.dropping().is_claimed(b"c"));
        drop(collecting);
        assert!(!gate.dropping().is_claimed(b"c"));
    }
}
