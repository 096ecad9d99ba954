//! Whether a file is still the one that was looked at, by what the file system says about it.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::tick;

/// How long a file must have been left alone before a later change shows in its times for sure, in seconds. Clocks of file
/// systems tick in milliseconds, on some in seconds; a server's may go a little wrong; and what is written through a memory
/// map shows when the page was last written out, for which Linux takes about 35 seconds.
const REST_SECONDS: i64 = 60;

/// What a file system says about a file: while none of it changes, nor does the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    device: u64,
    inode: u64,
    /// Nanoseconds since 1970, where the file system tells. A number of an inode is given again, this is not.
    created: Option<u64>,
    length: u64,
    /// Seconds since 1970 and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Fingerprint {
    /// That of the file at `path` now. Of a file that was just written it is taken a moment later, because file systems
    /// count time in ticks, and another change within the same tick would not show.
    pub fn of(path: &Path) -> io::Result<Fingerprint> {
        let mut metadata = fs::metadata(path)?;
        if tick::pass(path, metadata.modified()?) {
            metadata = fs::metadata(path)?;
        }
        Ok(Fingerprint::of_metadata(&metadata))
    }

    /// That of the file which has this metadata. Whether a later change would show, [`Self::had_rested`] says.
    pub(crate) fn of_metadata(metadata: &Metadata) -> Fingerprint {
        let created = metadata.created().ok().and_then(|time| {
            let since = time.duration_since(UNIX_EPOCH).ok()?;
            u64::try_from(since.as_nanos()).ok()
        });
        Fingerprint {
            device: metadata.dev(),
            inode: metadata.ino(),
            created,
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether `later` can be the same file with more behind what it had: the same inode, longer, and neither of an earlier
    /// time nor changed earlier. A file that was rewritten in place looks the same.
    pub(crate) fn may_have_grown_to(&self, later: &Fingerprint) -> bool {
        (self.device, self.inode, self.created) == (later.device, later.inode, later.created)
            && self.length < later.length
            && self.modified <= later.modified
            && self.changed <= later.changed
    }

    /// Whether the file had been left alone for a while at this time, in milliseconds since 1970. Only then will whatever
    /// is done to it afterwards show in its times.
    pub(crate) fn had_rested(&self, at: i64) -> bool {
        let (latest, _) = self.modified.max(self.changed);
        latest.saturating_add(REST_SECONDS) < at.div_euclid(1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_changed_after_the_wait_looks_different() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for n in 0..50 {
            fs::write(&path, format!("{n:03} before")).unwrap();
            let before = Fingerprint::of(&path).unwrap();
            fs::write(&path, format!("{n:03} behind")).unwrap();
            assert_ne!(before, Fingerprint::of(&path).unwrap(), "{n}");
        }
    }

    #[test]
    fn a_file_that_grew_is_the_same_one_of_no_earlier_time() {
        let before = Fingerprint {
            device: 1,
            inode: 2,
            created: Some(3),
            length: 4,
            modified: (5, 5),
            changed: (6, 6),
        };
        let grown = Fingerprint { length: 5, ..before };
        assert!(before.may_have_grown_to(&grown));
        for other in [
            before,
            Fingerprint { device: 2, ..grown },
            Fingerprint { inode: 3, ..grown },
            // The inode was given again.
            Fingerprint {
                created: Some(4),
                ..grown
            },
            Fingerprint { created: None, ..grown },
            Fingerprint { length: 3, ..grown },
            // `cp -p` of an older file, `touch -d`.
            Fingerprint {
                modified: (5, 4),
                ..grown
            },
            // Nobody can set this one: the clock was put back, or the file system.
            Fingerprint {
                changed: (5, 9),
                ..grown
            },
        ] {
            assert!(!before.may_have_grown_to(&other), "{other:?}");
        }
    }

    #[test]
    fn a_file_has_rested_a_while_after_the_later_of_its_times() {
        let of = |modified, changed| Fingerprint {
            device: 1,
            inode: 2,
            created: None,
            length: 4,
            modified: (modified, 999_999_999),
            changed: (changed, 999_999_999),
        };
        for (modified, changed) in [(100, 50), (50, 100), (100, 100)] {
            let file = of(modified, changed);
            assert!(!file.had_rested((100 + REST_SECONDS) * 1000 + 999));
            assert!(file.had_rested((101 + REST_SECONDS) * 1000));
        }
        // A clock that goes behind that of the file system, and a time in the future.
        assert!(!of(100, 100).had_rested(99_000));
        assert!(!of(i64::MAX, 0).had_rested(i64::MAX));
    }
}
