//! Pins: the roots that GC keeps, each under an owner.
//!
//! sled answers questions about pins. A journal beside the packs repeats them, since losing pins with a damaged index
//! would hand everything to GC: one line for each change, `+ <cid> <owner>` or `- <cid> <owner>`.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError, atomic::Ordering},
};

use super::{Store, StoreError, index::sync_dir};
use crate::block::Cid;

/// The longest name of an owner of pins, in bytes.
pub const MAX_OWNER_BYTES: usize = 256;
/// A journal is written anew when it has this many lines more than twice the number of pins.
const JOURNAL_SLACK_LINES: u64 = 1024;

/// A root that is kept, and for whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pin {
    /// Whoever wants it kept: a dataset, a command, a user's word for it.
    pub owner: String,
    /// The root.
    pub cid: Cid,
}

/// The file that repeats all changes of pins.
pub(super) struct Journal {
    path: PathBuf,
    state: Mutex<JournalState>,
}

struct JournalState {
    file: File,
    dirty: bool,
    /// The directory does not durably name the file yet.
    new: bool,
}

impl Journal {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let io = |error| StoreError::io("open", path, error);
        let new = !path.exists();
        let mut file = File::options()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .map_err(io)?;
        // A line that a crash cut off must not run into the next one.
        let text = fs::read(path).map_err(io)?;
        if text.last().is_some_and(|last| *last != b'\n') {
            file.write_all(b"\n").map_err(io)?;
        }
        Ok(Self {
            path: path.to_path_buf(),
            state: Mutex::new(JournalState {
                file,
                dirty: false,
                new,
            }),
        })
    }

    fn state(&self) -> MutexGuard<'_, JournalState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, lines: &str) -> Result<(), StoreError> {
        let mut state = self.state();
        state.dirty = true;
        state
            .file
            .write_all(lines.as_bytes())
            .map_err(|error| StoreError::io("write", &self.path, error))
    }

    pub(super) fn sync(&self) -> Result<(), StoreError> {
        let mut state = self.state();
        if state.dirty {
            state
                .file
                .sync_data()
                .map_err(|error| StoreError::io("sync", &self.path, error))?;
            state.dirty = false;
        }
        if state.new {
            sync_dir(self.path.parent().unwrap_or(Path::new(".")))?;
            state.new = false;
        }
        Ok(())
    }

    /// The pins that the lines add up to, and how many lines there are. Lines that are no change are passed over.
    fn replay(&self) -> Result<(BTreeSet<Pin>, u64), StoreError> {
        let mut text = Vec::new();
        let read = File::open(&self.path).and_then(|mut file| file.read_to_end(&mut text));
        read.map_err(|error| StoreError::io("read", &self.path, error))?;
        let (mut pins, mut lines) = (BTreeSet::new(), 0);
        for line in text.split(|byte| *byte == b'\n') {
            lines += 1;
            let Some((sign, rest)) = std::str::from_utf8(line).ok().and_then(|line| line.split_once(' ')) else {
                continue;
            };
            let Some((cid, owner)) = rest.split_once(' ') else {
                continue;
            };
            let Ok(cid) = Cid::try_from(cid) else { continue };
            let pin = Pin {
                owner: owner.to_owned(),
                cid,
            };
            match sign {
                "+" => pins.insert(pin),
                "-" => pins.remove(&pin),
                _ => continue,
            };
        }
        Ok((pins, lines))
    }

    /// Writes the journal anew with just these pins.
    fn rewrite<'a>(&self, pins: impl Iterator<Item = &'a Pin>) -> Result<(), StoreError> {
        let text: String = pins.map(|pin| line('+', pin)).collect();
        let new = self.path.with_extension("new");
        let written = File::create(&new).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        written.map_err(|error| StoreError::io("write", &new, error))?;
        let mut state = self.state();
        fs::rename(&new, &self.path).map_err(|error| StoreError::io("rename", &new, error))?;
        let file = File::options().read(true).append(true).open(&self.path);
        state.file = file.map_err(|error| StoreError::io("open", &self.path, error))?;
        state.new = true;
        Ok(())
    }
}

fn line(sign: char, pin: &Pin) -> String {
    format!("{sign} {} {}\n", pin.cid, pin.owner)
}

fn key(pin: &Pin) -> Vec<u8> {
    let mut key = pin.owner.clone().into_bytes();
    key.push(0);
    key.extend_from_slice(&pin.cid.to_bytes());
    key
}

fn decode(key: &[u8]) -> Option<Pin> {
    let end = key.iter().position(|byte| *byte == 0)?;
    let owner = std::str::from_utf8(&key[..end]).ok()?.to_owned();
    Some(Pin {
        owner,
        cid: Cid::try_from(&key[end + 1..]).ok()?,
    })
}

fn check_owner(owner: &str) -> Result<(), StoreError> {
    if owner.is_empty() || owner.len() > MAX_OWNER_BYTES || owner.chars().any(char::is_control) {
        return Err(StoreError::BadOwner(owner.chars().take(MAX_OWNER_BYTES).collect()));
    }
    Ok(())
}

impl Store {
    /// Keeps the DAG below `cid` for `owner`, until [`unpin`](Self::unpin). Pinning again changes nothing. The blocks
    /// need not be here yet, but GC refuses to run while one that a pin needs is missing.
    ///
    /// # Errors
    /// [`StoreError::BadOwner`] for an empty owner, one over [`MAX_OWNER_BYTES`] or with control characters; or the
    /// index cannot be written.
    pub fn pin(&self, owner: &str, cid: &Cid) -> Result<(), StoreError> {
        check_owner(owner)?;
        self.inner.index.guard.room()?;
        let pin = Pin {
            owner: owner.to_owned(),
            cid: *cid,
        };
        if self.insert_pin(&pin)? {
            self.inner.journal.append(&line('+', &pin))?;
        }
        Ok(())
    }

    fn insert_pin(&self, pin: &Pin) -> Result<bool, StoreError> {
        let index = &self.inner.index;
        let new = index.run(|| index.pins.insert(key(pin), &[]))?.is_none();
        if new {
            self.inner.counters.pins.fetch_add(1, Ordering::Relaxed);
        }
        Ok(new)
    }

    /// Ends a pin; false if there was none.
    ///
    /// # Errors
    /// The index cannot be written.
    pub fn unpin(&self, owner: &str, cid: &Cid) -> Result<bool, StoreError> {
        let pin = Pin {
            owner: owner.to_owned(),
            cid: *cid,
        };
        let index = &self.inner.index;
        let there = index.run(|| index.pins.remove(key(&pin)))?.is_some();
        if there {
            self.inner.counters.pins.fetch_sub(1, Ordering::Relaxed);
            self.inner.journal.append(&line('-', &pin))?;
        }
        Ok(there)
    }

    /// All pins, or those of one owner, in the order of owners.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn pins(&self, owner: Option<&str>) -> Result<Vec<Pin>, StoreError> {
        let prefix = owner.map_or_else(Vec::new, |owner| [owner.as_bytes(), b"\0"].concat());
        let mut keys = self.inner.index.pins.scan_prefix(prefix).keys();
        let mut pins = Vec::new();
        while let Some(key) = self.inner.index.run(|| keys.next().transpose())? {
            pins.extend(decode(&key));
        }
        Ok(pins)
    }

    /// After the index was lost: takes the pins from the journal.
    pub(super) fn restore_pins(&self) -> Result<(), StoreError> {
        for pin in self.inner.journal.replay()?.0 {
            self.insert_pin(&pin)?;
        }
        Ok(())
    }

    /// Writes the journal anew if most of it speaks of pins that are gone.
    pub(super) fn trim_journal(&self, pins: &[Pin]) -> Result<(), StoreError> {
        let (_, lines) = self.inner.journal.replay()?;
        if lines > 2 * pins.len() as u64 + JOURNAL_SLACK_LINES {
            self.inner.journal.rewrite(pins.iter())
        } else {
            Ok(())
        }
    }
}
