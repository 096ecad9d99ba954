//! What must reach the disk at the next flush, besides packs and sled.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::group_commit::GroupCommit;

/// What must reach the disk at the next flush.
#[derive(Default)]
pub(super) struct Due {
    dirty: Mutex<Dirty>,
    names_left: Mutex<BTreeSet<Vec<u8>>>,
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

    /// Paths that files have lost by renames since the index was flushed.
    pub(super) fn names_left(&self) -> MutexGuard<'_, BTreeSet<Vec<u8>>> {
        self.names_left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
