//! A file that holds back a little of the disk, so that GC can work when it is full.

use std::{fs, path::Path};

use odf_disk::{Access, Disk};

/// Holds back `bytes`, if that leaves at least `min_free` for everything else. Best effort: a store without a reserve
/// works, only GC may then fail on a disk without a free byte.
pub(super) fn hold(disk: &Disk, path: &Path, bytes: u64, min_free: u64) {
    let held = fs::symlink_metadata(path).is_ok_and(|file| file.len() >= bytes);
    let room = path
        .parent()
        .and_then(|dir| disk.free_bytes(dir))
        .is_some_and(|free| free > min_free.saturating_add(bytes));
    if bytes == 0 || held || !room {
        return;
    }
    let made = disk.open_or_create(path, Access::Owner);
    let reserved = made.and_then(|(file, _)| file.allocate(bytes));
    if let Err(error) = reserved {
        tracing::debug!(%error, "no disk space held back");
        release(disk, path);
    }
}

/// Gives the space back; false if none was held.
pub(super) fn release(disk: &Disk, path: &Path) -> bool {
    disk.remove_file(path).is_ok()
}
