//! Small files that change as a whole, and survive power loss when the call returns.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use super::DatasetError;
use crate::slice::PENDING_PREFIX;

/// Replaces `dir/name` by `bytes`: written beside it, synced, renamed, the directory synced. Whoever reads sees the old or
/// the new content, never a part.
pub(super) fn write_durably(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), DatasetError> {
    let pending = dir.join(format!("{PENDING_PREFIX}{name}"));
    let mut file = File::create(&pending).map_err(|e| DatasetError::io("create", &pending, e))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(|e| DatasetError::io("write", &pending, e))?;
    let target = dir.join(name);
    fs::rename(&pending, &target).map_err(|e| DatasetError::io("rename", &target, e))?;
    sync_dir(dir)
}

/// Makes the names in a directory survive power loss.
pub(super) fn sync_dir(dir: &Path) -> Result<(), DatasetError> {
    File::open(dir)
        .and_then(|d| d.sync_all())
        .map_err(|e| DatasetError::io("sync", dir, e))
}

/// Reads a small text file of at most `limit` bytes.
pub(super) fn read_small(path: &Path, limit: u64) -> Result<String, DatasetError> {
    let file = File::open(path).map_err(|e| DatasetError::io("open", path, e))?;
    let mut text = String::new();
    let read = file
        .take(limit + 1)
        .read_to_string(&mut text)
        .map_err(|e| DatasetError::io("read", path, e))?;
    if read as u64 > limit {
        return Err(DatasetError::Damaged {
            path: path.to_owned(),
            reason: format!("longer than {limit} bytes"),
        });
    }
    Ok(text)
}
