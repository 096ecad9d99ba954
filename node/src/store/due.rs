//! What must reach the disk at the next flush, besides packs and sled.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::group_commit::GroupCommit;

/// What must reach the disk at the next flush.
#[derive(Default)]
pub(super) struct Due {
    dirty: Mutex<Dirty>,
    names_left: Mutex<NamesLeft>,
    pub(super) bytes: GroupCommit,
    pub(super) all: GroupCommit,
}

/// Files by their number, and directories that changed.
#[derive(Default)]
pub(super) struct Dirty {
    pub(super) files: BTreeSet<u32>,
    pub(super) dirs: BTreeSet<PathBuf>,
}

impl Due {
    pub(super) fn dirty(&self) -> MutexGuard<'_, Dirty> {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn names_left(&self) -> MutexGuard<'_, NamesLeft> {
        self.names_left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Paths that files have lost by renames, until a flush of the index that began later has ended.
#[derive(Default)]
pub(super) struct NamesLeft {
    /// Each with the number of the rename that it was lost by last.
    paths: BTreeMap<Vec<u8>, u64>,
    renames: u64,
    /// The process before this one left some, and nobody knows which.
    earlier: bool,
}

impl NamesLeft {
    pub(super) fn insert(&mut self, path: &[u8]) {
        self.renames += 1;
        self.paths.insert(path.to_vec(), self.renames);
    }

    /// The process before this one did not flush its renames.
    pub(super) fn insert_earlier(&mut self) {
        self.earlier = true;
    }

    pub(super) fn contains(&self, path: &[u8]) -> bool {
        self.earlier || self.paths.contains_key(path)
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.earlier && self.paths.is_empty()
    }

    /// How many renames there were: said when a flush begins, for [`Self::flushed`].
    pub(super) fn renames(&self) -> u64 {
        self.renames
    }

    /// A flush has ended that began after that many renames.
    pub(super) fn flushed(&mut self, renames: u64) {
        self.earlier = false;
        self.paths.retain(|_, rename| *rename > renames);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_left_until_a_flush_that_began_later_has_ended() {
        let mut left = NamesLeft::default();
        left.insert_earlier();
        assert!(left.contains(b"x"));
        left.flushed(left.renames());
        assert!(left.is_empty() && !left.contains(b"x"));
        left.insert(b"a");
        left.insert(b"b");
        let begun = left.renames();
        assert!(left.contains(b"a"), "while the flush goes on");
        left.insert(b"b");
        left.insert(b"c");
        left.flushed(begun);
        assert_eq!([b"a", b"b", b"c"].map(|path| left.contains(path)), [false, true, true]);
        left.flushed(left.renames());
        assert!(!left.contains(b"b") && !left.contains(b"c"));
    }
}
