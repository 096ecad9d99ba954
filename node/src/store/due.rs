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
}
