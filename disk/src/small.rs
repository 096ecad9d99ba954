//! Small files, read whole.

use std::fs;
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::DiskError;

/// How much is read at first.
const START_BYTES: usize = 1024;

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
    let mut file = file.take(limit.saturating_add(1));
    // Nearly all such files fit into this, and a listing reads several of each dataset: what `read_to_end` does to a vector
    // that it knows nothing of is a read for each 32 bytes.
    let mut start = [0; START_BYTES];
    let mut filled = 0;
    while let Some(free) = start.get_mut(filled..).filter(|free| !free.is_empty()) {
        match file.read(free) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
    let mut bytes = start.get(..filled).unwrap_or_default().to_vec();
    if filled == START_BYTES {
        file.read_to_end(&mut bytes).map_err(failed)?;
    }
    if bytes.len() as u64 > limit {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_any_length_are_read_whole_up_to_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("small");
        assert_eq!(read_small(&path, 10).unwrap(), None);
        for len in [0, 1, START_BYTES - 1, START_BYTES, START_BYTES + 1, 5 * START_BYTES] {
            let bytes: Vec<u8> = (0..len).map(|n| n as u8).collect();
            fs::write(&path, &bytes).unwrap();
            assert_eq!(read_small(&path, len as u64).unwrap().as_ref(), Some(&bytes), "{len}");
            if let Some(less) = (len as u64).checked_sub(1) {
                let error = read_small(&path, less).unwrap_err();
                assert_eq!(error.source.kind(), ErrorKind::InvalidData, "{len}");
            }
        }
    }
}
