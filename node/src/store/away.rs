//! What cannot be read for now: a disk that is not there, a directory that may not be read, a bad sector.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::place::{Holder, Place};

/// After this long it is tried again, when somebody asks.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// Beyond this many the memory begins anew.
const MAX_AWAY: usize = 4096;

/// What is out of reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Gone {
    /// A whole file.
    Holder(Holder),
    /// A part of one.
    Place(Place),
}

/// The places that do not count for as long as they cannot be read.
#[derive(Default)]
pub(super) struct Away {
    count: AtomicUsize,
    tried: Mutex<HashMap<Gone, Instant>>,
}

impl Away {
    fn tried(&self) -> MutexGuard<'_, HashMap<Gone, Instant>> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers that it cannot be read now. True if that is news.
    pub(super) fn note(&self, gone: Gone) -> bool {
        let mut tried = self.tried();
        if tried.len() >= MAX_AWAY && !tried.contains_key(&gone) {
            tried.clear();
        }
        let news = tried.insert(gone, Instant::now()).is_none();
        self.count.store(tried.len(), Ordering::Release);
        news
    }

    /// What keeps the place from being read, and whether it is time to try again.
    pub(super) fn of(&self, place: &Place) -> Option<(Gone, bool)> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let tried = self.tried();
        [Gone::Holder(place.holder), Gone::Place(*place)]
            .into_iter()
            .find_map(|gone| Some((gone, tried.get(&gone)?.elapsed() >= RETRY_AFTER)))
    }

    /// Whether it could not be read.
    pub(super) fn is_away(&self, gone: Gone) -> bool {
        self.count.load(Ordering::Acquire) > 0 && self.tried().contains_key(&gone)
    }

    /// It can be read again.
    pub(super) fn back(&self, gone: Gone) {
        let mut tried = self.tried();
        tried.remove(&gone);
        self.count.store(tried.len(), Ordering::Release);
    }

    /// Nothing of the file is out of reach any more: it is written anew, or gone.
    pub(super) fn forget(&self, holder: Holder) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut tried = self.tried();
        tried.retain(|gone, _| match gone {
            Gone::Holder(known) => *known != holder,
            Gone::Place(place) => place.holder != holder,
        });
        self.count.store(tried.len(), Ordering::Release);
    }
}
