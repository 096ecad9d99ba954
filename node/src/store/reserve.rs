//! A file that holds back a little of the disk, so that GC can work when it is full.

use std::{fs, fs::File, path::Path};

use rustix::fs::{FallocateFlags, fallocate};

use super::index::free_bytes;

/// Holds back `bytes`, if that leaves at least `min_free` for everything else. Best effort: a store without a reserve
/// works, only GC may then fail on a disk without a free byte.
pub(super) fn hold(path: &Path, bytes: u64, min_free: u64) {
    let held = fs::metadata(path).is_ok_and(|file| file.len() >= bytes);
    let room = path
        .parent()
        .and_then(free_bytes)
        .is_some_and(|free| free > min_free.saturating_add(bytes));
    if bytes == 0 || held || !room {
        return;
    }
    let made = File::options().write(true).create(true).truncate(false).open(path);
    let reserved = made.and_then(|file| Ok(fallocate(&file, FallocateFlags::empty(), 0, bytes)?));
    if let Err(error) = reserved {
        tracing::debug!(%error, path = %path.display(), "no disk space held back");
        release(path);
    }
}

/// Gives the space back; false if none was held.
pub(super) fn release(path: &Path) -> bool {
    fs::remove_file(path).is_ok()
}
