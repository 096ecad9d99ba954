//! What one look at a file leaves for the next.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use odf_disk::Disk;

use super::marks::{Believed, CHUNK_BYTES, Change, Marks, VERSION};
use super::reading::Reading;
use crate::source::Fingerprint;

/// How the part of a file is looked at that was taken earlier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Check {
    /// Every byte of a file that was touched since it was last read to the last byte. One of which the file system says that
    /// nothing at all happened to it since then is believed to be as it was.
    #[default]
    Touched,
    /// Also where the file system says that the file grew, its beginning and its end only. A change in the middle of a file
    /// that has grown since is not seen.
    Quick,
    /// Every byte.
    Full,
}

/// What is remembered of a file from one look at it to the next.
#[derive(Debug)]
pub struct Memory {
    check: Check,
    /// When the look began, by the clock of this machine in milliseconds since 1970.
    now: i64,
    /// Bytes between two marks.
    chunk: u64,
    before: Option<Marks>,
    after: Option<Marks>,
}

impl Memory {
    /// What the file at `path` holds, which may not be there.
    ///
    /// The time of the look is that of the machine, whatever the time of the ingest: it is compared with times of files.
    pub fn recall(path: &Path, check: Check) -> Memory {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(now.as_millis()).unwrap_or_default();
        Memory::in_chunks(CHUNK_BYTES, path, check, now)
    }

    /// As [`Self::recall`], with marks after so many bytes each, a whole number of blocks of the hash, and at this time.
    pub(super) fn in_chunks(chunk: u64, path: &Path, check: Check, now: i64) -> Memory {
        Memory {
            check,
            now,
            chunk,
            before: Marks::read(path).filter(|marks| marks.chunk == chunk),
            after: None,
        }
    }

    /// For another look at the file right after the one that this is of.
    pub(crate) fn again(&self) -> Memory {
        Memory {
            check: self.check,
            now: self.now,
            chunk: self.chunk,
            before: self.after.clone(),
            after: None,
        }
    }

    /// Puts what was seen into the file at `path`, for the next look. Nothing depends on it, so a failure is only logged.
    pub fn keep(&self, disk: &Disk, path: &Path) {
        let Some(after) = &self.after else {
            return;
        };
        // Without a whole chunk there is nothing to save.
        if after.marks.is_empty() || self.before.as_ref() == Some(after) {
            return;
        }
        if let Err(error) = after.write(disk, path) {
            tracing::warn!(%error, "what is known of the file is not kept; the next look at it reads all of it");
        }
    }

    /// Bytes between two marks.
    pub(super) fn chunk(&self) -> u64 {
        self.chunk
    }

    /// Marks within the first `length` bytes, if there is reason to believe that those before the last of them still hold.
    pub(super) fn believed(&self, seen: Option<&Fingerprint>, length: u64) -> Option<Believed<'_>> {
        let (before, seen) = (self.before.as_ref()?, seen?);
        let is_untouched = before.rested && before.file == *seen;
        let is_read = is_untouched && before.read;
        let is_believed = match self.check {
            Check::Full => false,
            Check::Touched => is_read,
            Check::Quick => is_untouched || before.file.may_have_grown_to(seen),
        };
        let whole = usize::try_from(length / self.chunk).unwrap_or(usize::MAX);
        let marks = before.marks.get(..whole.min(before.marks.len()))?;
        is_believed.then_some(Believed { marks, is_read })
    }

    /// Where the file of `reading`, all of which was read, is other than the `length` bytes taken earlier, of which the
    /// chain says `taken`.
    pub(super) fn change(&self, taken: &str, length: u64, reading: &Reading<'_>) -> Change {
        if reading.end < length {
            return Change::Shorter(reading.end);
        }
        let Some(before) = self.before.as_ref().filter(|before| before.taken == taken) else {
            return Change::Somewhere;
        };
        let whole = usize::try_from(length / self.chunk).unwrap_or(usize::MAX);
        let pairs = before.marks.iter().zip(&reading.marks).take(whole);
        let agreed = pairs.take_while(|(before, now)| before.agrees(now)).count() as u64;
        let from = agreed * self.chunk;
        Change::Between(from, length.min(from + self.chunk))
    }

    /// Remembers a file that `reading` went through up to what the chain is to say in `taken`.
    pub(super) fn note(&mut self, seen: Option<Fingerprint>, taken: String, reading: Reading<'_>) {
        self.after = seen.map(|seen| Marks {
            version: VERSION,
            chunk: self.chunk,
            file: seen,
            rested: seen.had_rested(self.now),
            read: reading.is_read,
            taken,
            marks: reading.marks,
        });
    }
}
