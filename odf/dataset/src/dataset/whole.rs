//! Whether all files that a chain names are there, remembered for as long as nobody touches the directories they are in.
//!
//! To look for each file makes the cost of a pull that brings nothing that of the whole history. A file that is put there,
//! taken away or replaced changes the times of its directory, so one look lasts until the next such change, and what this
//! program itself adds in a pull is added to what was seen. What a directory does not show is a file that was cut in its
//! place: that is for whoever reads it, and for `odfs verify`, to find.

use super::{Dataset, DatasetError, Object, ObjectKind};
use crate::settled::Stamp;

/// Area of the cache that holds, by dataset, at what head and with which directories all files were seen.
pub(crate) const WHOLE: &str = "whole";

impl Dataset {
    /// As [`Self::lacking`] of all blocks, unless all files were seen and the directories are as they were: then only those of
    /// so many newest blocks are looked for.
    ///
    /// # Errors
    /// As [`Self::lacking`].
    pub fn lacking_now(&self, newest: usize) -> Result<Vec<Object>, DatasetError> {
        let before = self.directories();
        if before.is_some() && before == self.seen() {
            return self.lacking(Some(newest));
        }
        let lacking = self.lacking(None)?;
        if lacking.is_empty() && before == self.directories() {
            self.keep_seen(before);
        }
        Ok(lacking)
    }

    /// Whether all files were seen, at this head and in these directories.
    pub(crate) fn is_known_whole(&self) -> bool {
        let now = self.directories();
        now.is_some() && now == self.seen()
    }

    /// Says that all files are there: those before were, and those that are new were put there just now.
    pub(crate) fn know_whole(&self) {
        self.keep_seen(self.directories());
    }

    fn seen(&self) -> Option<Vec<u8>> {
        self.medium.cache.get(WHOLE, &self.id().to_bytes())
    }

    fn keep_seen(&self, seen: Option<Vec<u8>>) {
        if let Some(seen) = seen {
            self.medium.cache.put(WHOLE, &self.id().to_bytes(), &seen);
        }
    }

    /// The head, and how the directories look from outside; nothing if they cannot be looked at.
    fn directories(&self) -> Option<Vec<u8>> {
        let mut text = self.head().to_string();
        for kind in ObjectKind::ALL {
            let stamp = Stamp::of(&self.dir.join(kind.directory())).ok()?;
            text.push('\n');
            text.push_str(&stamp.text());
        }
        Some(text.into_bytes())
    }
}
