//! The head of a dataset, and the other small text files in its directory.

use std::io;
use std::path::Path;

use odf_disk::{Access, read_small_text};
use odf_metadata::Multihash;

use super::error::DatasetError;
use crate::Medium;
use crate::settled::id_of;

/// Longest `refs/head` that is read.
pub(super) const MAX_HEAD_BYTES: u64 = 1024;

/// Moves the head: durable when this returns.
pub(super) fn write_head(medium: &Medium, dir: &Path, head: &Multihash) -> Result<(), DatasetError> {
    // What follows a new head, its second form first of all, may be cut off.
    let id = id_of(dir);
    medium.changing(id)?;
    let (path, text) = (dir.join("refs/head"), head.to_string());
    let moved = medium.disk.replace(&path, text.as_bytes(), Access::Readable);
    medium.changed(id);
    Ok(moved?)
}

/// Reads a small text file that must be there.
pub(super) fn read_text(path: &Path, limit: u64) -> Result<String, DatasetError> {
    let text = read_text_if_there(path, limit)?;
    text.ok_or_else(|| DatasetError::Damaged {
        path: path.to_owned(),
        reason: "it is missing".to_owned(),
    })
}

/// Reads a small text file; nothing if there is none.
pub(super) fn read_text_if_there(path: &Path, limit: u64) -> Result<Option<String>, DatasetError> {
    match read_small_text(path, limit) {
        Ok(text) => Ok(text),
        Err(error) if error.source.kind() == io::ErrorKind::InvalidData => Err(DatasetError::Damaged {
            path: error.path,
            reason: error.source.to_string(),
        }),
        Err(error) => Err(error.into()),
    }
}

/// Reads `refs/head`.
pub(super) fn read_head(dir: &Path) -> Result<Multihash, DatasetError> {
    let path = dir.join("refs/head");
    let text = read_text(&path, MAX_HEAD_BYTES)?;
    text.trim_end().parse().map_err(|error| DatasetError::Damaged {
        path,
        reason: format!("{error}"),
    })
}
