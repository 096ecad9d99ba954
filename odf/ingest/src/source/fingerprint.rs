//! Whether a file is still the one that was looked at, by what the file system says about it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::problem::{Problem, SourceError};
use super::table::{Content, Source};

/// Longer than the time of files stands still.
const TICK: Duration = Duration::from_millis(20);

/// What a file system says about a file: while none of it changes, nor does the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    device: u64,
    inode: u64,
    length: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Fingerprint {
    /// That of the file at `path` now. Of a file that was just written it is taken a moment later, because file systems
    /// count time in ticks, and another change within the same tick would not show.
    pub fn of(path: &Path) -> io::Result<Fingerprint> {
        let mut metadata = fs::metadata(path)?;
        if metadata.modified()?.elapsed().is_ok_and(|age| age < TICK) {
            thread::sleep(TICK);
            metadata = fs::metadata(path)?;
        }
        Ok(Fingerprint {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

impl Source {
    /// That of the file; none for a table in memory, which does not change, and for a file that is not there.
    pub(crate) fn fingerprint(&self) -> Result<Option<Fingerprint>, SourceError> {
        match &self.content {
            Content::Bytes(_) => Ok(None),
            Content::File(path) => match Fingerprint::of(path) {
                Ok(fingerprint) => Ok(Some(fingerprint)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(self.error(Problem::Io(error))),
            },
        }
    }
}
