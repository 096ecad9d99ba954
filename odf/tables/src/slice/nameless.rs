//! Temporary files that no crash leaves behind: they lose their name as soon as they are open.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use odf_disk::PENDING_PREFIX;

use super::SliceError;

/// Tells apart the files that are being made at one time.
static FILES: AtomicU64 = AtomicU64::new(0);

/// A file in `dir` of no name, to be written and read, and the name that it had, for messages. Its space is free again when
/// it is closed. `purpose` is a word in that name.
///
/// # Errors
/// [`SliceError::Io`], as the operating system has it.
pub fn nameless(dir: &Path, purpose: &str) -> Result<(File, PathBuf), SliceError> {
    let number = FILES.fetch_add(1, Ordering::Relaxed);
    let path = dir.join(format!("{PENDING_PREFIX}{purpose}-{}-{number}", std::process::id()));
    let mut options = File::options();
    let file = options.read(true).write(true).create_new(true).open(&path);
    let file = file.map_err(|error| SliceError::io("create", &path, error))?;
    fs::remove_file(&path).map_err(|error| SliceError::io("remove", &path, error))?;
    Ok((file, path))
}
