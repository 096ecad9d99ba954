//! Small files, read whole.

use std::fs;
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::DiskError;

/// Reads a file of at most `limit` bytes; nothing if it is not there. Links are not followed.
///
/// # Errors
/// It cannot be read, or is longer ([`io::ErrorKind::InvalidData`]).
pub fn read_small(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, DiskError> {
    let failed = |error| DiskError::new("read", path, error);
    let opened = fs::OpenOptions::new()
        .read(true)
        .custom_flags((rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits() as i32)
        .open(path);
    let file = match opened {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed)?,
    };
    let mut bytes = Vec::new();
    let read = file
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if read as u64 > limit {
        let reason = format!("it is longer than {limit} bytes");
        return Err(failed(io::Error::new(ErrorKind::InvalidData, reason)));
    }
    Ok(Some(bytes))
}

/// As [`read_small`], for text.
///
/// # Errors
/// As [`read_small`], and if it is not UTF-8 ([`io::ErrorKind::InvalidData`]).
pub fn read_small_text(path: &Path, limit: u64) -> Result<Option<String>, DiskError> {
    let bytes = read_small(path, limit)?;
    let text = bytes.map(String::from_utf8).transpose();
    text.map_err(|_| {
        let error = io::Error::new(ErrorKind::InvalidData, "it is not UTF-8 text");
        DiskError::new("read", path, error)
    })
}
