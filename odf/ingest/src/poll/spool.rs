//! Files for what passes through, which go away by themselves.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::PollError;

/// Bytes moved at a time.
const COPY_BYTES: usize = 256 << 10;

/// Tells the files of one process apart.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A new file in the spool directory, removed when this is dropped.
#[derive(Debug)]
pub(super) struct Spool {
    path: PathBuf,
}

impl Spool {
    /// Makes an empty file.
    pub(super) fn create(dir: &Path) -> Result<(Spool, File), PollError> {
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = dir.join(format!("poll-{}-{number}", std::process::id()));
            match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
                Ok(file) => return Ok((Spool { path }, file)),
                // Of an earlier process that had this number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(PollError::io("create", &path, error)),
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a spooled file stays behind");
        }
    }
}

/// The file that holds fetched data.
#[derive(Debug)]
pub(super) enum Content {
    /// The source's own, read where it is.
    InPlace(PathBuf),
    /// A copy.
    Spooled(Spool),
}

impl Content {
    /// The file of the source, if that is what is read.
    pub(super) fn own_file(&self) -> Option<&Path> {
        match self {
            Content::InPlace(path) => Some(path),
            Content::Spooled(_) => None,
        }
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Content::InPlace(path) => path,
            Content::Spooled(spool) => spool.path(),
        }
    }
}

/// Why a copy ended early.
pub(super) enum CopyError {
    /// The input failed.
    Read(io::Error),
    /// The output failed.
    Write(io::Error),
    /// There is more than `limit` bytes.
    TooLarge,
    /// `on_bytes` said so.
    Stopped,
}

/// Copies no more than `limit` bytes. `on_bytes` hears the sum after each piece, and says whether to go on.
pub(super) fn copy(
    from: &mut dyn Read,
    to: &mut dyn Write,
    limit: u64,
    mut on_bytes: impl FnMut(u64) -> bool,
) -> Result<u64, CopyError> {
    let mut buffer = vec![0; COPY_BYTES];
    let mut sum = 0;
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(sum),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(CopyError::Read(error)),
        };
        sum += count as u64;
        if sum > limit {
            return Err(CopyError::TooLarge);
        }
        to.write_all(buffer.get(..count).unwrap_or_default())
            .map_err(CopyError::Write)?;
        if !on_bytes(sum) {
            return Err(CopyError::Stopped);
        }
    }
}
