//! Pins: the roots that GC keeps, each under an owner.
//!
//! A journal beside the packs is the truth and memory has the copy: one line for each change, `+ <cid> <owner>` or
//! `- <cid> <owner>`, then a tab and the first bytes of the line's sha2-256, so that a torn line is no line. A pin that has a name
//! has it before that, behind a tab of its own; that it came again with another name says what it is called. When there are many
//! of them it is written anew in one step: the pins that there are, [in their order](sorted), and changes behind. So an opening
//! looks at the changes of late, however many pins there are, and a pin takes the bytes of its line.

mod line;
mod sorted;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use multihash::Multihash;
use odf_disk::{Access, Disk, DiskFile, read_small};

pub use self::line::{MAX_OWNER_BYTES, MAX_PIN_NAME_BYTES, PARTIAL_OWNER, Pin};
use self::{
    line::{came, change, check_name, check_owner, follow, went},
    sorted::Sorted,
};
use super::error::StoreError;
use crate::block::Cid;

/// A journal is written anew when it has this many changes more than [`SLACK_PART`] of the number of pins.
const JOURNAL_SLACK_LINES: u64 = 1024;
/// So that what is written anew is a few hundred bytes for each change.
const SLACK_PART: u64 = 8;
/// The longest journal that is read.
const MAX_JOURNAL_BYTES: u64 = 1 << 30;
/// First line of a journal whose lines have a check.
const HEADER: &str = "pins 2\n";
/// How much of the end of a journal may not have reached the medium.
const UNSURE_BYTES: usize = 64 << 10;

/// The pins, and the file that has them.
pub(super) struct Pins {
    disk: Disk,
    path: PathBuf,
    state: Mutex<State>,
}

struct State {
    known: Known,
    file: DiskFile,
    /// Where the next line goes. Behind it may be what is left of a line that could not be written.
    end: u64,
    dirty: bool,
}

/// What the lines of a journal add up to.
#[derive(Default)]
struct Known {
    sorted: Sorted,
    /// The pins that came or went since, and the names of those that are there.
    changes: BTreeMap<Pin, Option<String>>,
    /// How many pins there are.
    pins: u64,
    /// Lines of changes.
    lines: u64,
    /// How many of them are no change.
    unreadable: u64,
    /// See [`Pins::trail`].
    trail: u64,
}

impl Known {
    /// Reads a journal, but for its first line. With `has_check` each line has one.
    fn read(mut text: Vec<u8>, has_check: bool) -> Self {
        let sorted = if has_check { Sorted::take(&mut text) } else { None };
        let sorted = sorted.unwrap_or_default();
        let mut known = Self {
            pins: sorted.pins,
            trail: sorted.trail(),
            sorted,
            ..Self::default()
        };
        for line in text.split(|byte| *byte == b'\n') {
            // A write that never reached the medium reads as zeros.
            let begin = line.iter().position(|byte| *byte != 0).unwrap_or(line.len());
            let line = &line[begin..];
            if line.is_empty() {
                continue;
            }
            known.lines += 1;
            match change(line, has_check) {
                Some((pin, name)) => {
                    known.trail = follow(known.trail, line);
                    known.set(pin, name);
                }
                None => known.unreadable += 1,
            }
        }
        known
    }

    fn has(&self, pin: &Pin) -> bool {
        let changed = self.changes.get(pin).map(Option::is_some);
        changed.unwrap_or_else(|| self.sorted.contains(pin))
    }

    /// The name of a pin that is there, empty if it has none.
    fn name(&self, pin: &Pin) -> Option<String> {
        let changed = self.changes.get(pin).cloned();
        changed.unwrap_or_else(|| self.sorted.name(pin))
    }

    /// The pin is there from now on and has this name, or it is not.
    fn set(&mut self, pin: Pin, name: Option<String>) {
        match (self.has(&pin), name.is_some()) {
            (false, true) => self.pins += 1,
            (true, false) => self.pins -= 1,
            _ => {}
        }
        self.changes.insert(pin, name);
    }

    /// All pins, or those of one owner, in their order, with their names.
    fn list(&self, owner: Option<&str>) -> Vec<(Pin, String)> {
        let least = least_cid();
        let mut pins: Vec<(Pin, String)> = match owner {
            Some(owner) => self.sorted.of_owner(owner, &least),
            None => self.sorted.all().collect(),
        };
        if !self.changes.is_empty() {
            pins.retain(|(pin, _)| !self.changes.contains_key(pin));
            let first = Pin {
                owner: owner.unwrap_or_default().to_owned(),
                cid: least,
            };
            let changed = self.changes.range(first..);
            let changed = changed.take_while(|(pin, _)| owner.is_none_or(|owner| pin.owner == owner));
            pins.extend(changed.filter_map(|(pin, name)| Some((pin.clone(), name.clone()?))));
            pins.sort();
        }
        pins
    }

    /// Writes a journal of the pins that there are. Gives what it amounts to.
    fn write_anew(&self, disk: &Disk, path: &Path) -> Result<Self, StoreError> {
        let sorted = Sorted::of(&self.list(None));
        let text = [HEADER.as_bytes(), &sorted.written()].concat();
        disk.replace(path, &text, Access::Owner)?;
        Ok(Self {
            pins: sorted.pins,
            trail: sorted.trail(),
            sorted,
            ..Self::default()
        })
    }
}

impl Pins {
    /// Opens the journal at `path`, or makes one. Also gives how many of its lines are no change, or a damaged one.
    pub(super) fn open(disk: &Disk, path: &Path) -> Result<(Self, u64), StoreError> {
        let text = read_small(path, MAX_JOURNAL_BYTES)?;
        let is_whole = text.as_ref().is_some_and(|text| text.starts_with(HEADER.as_bytes()));
        let from = text.as_ref().map_or(0, |text| text.len().saturating_sub(UNSURE_BYTES));
        let unsure = text
            .as_ref()
            .and_then(|text| text.get(from..))
            .unwrap_or_default()
            .to_vec();
        let mut known = match text {
            None => Known::default(),
            Some(mut text) if is_whole => Known::read(text.split_off(HEADER.len()), true),
            Some(text) => Known::read(text, false),
        };
        let unreadable = known.unreadable;
        if !is_whole {
            known = known.write_anew(disk, path)?;
        }
        let file = disk.open(path)?;
        let end = file.len()?;
        if is_whole {
            // Nobody knows whether the last lines were synced, or a sync of them failed: they are written once more.
            match file.write_at(&unsure, from as u64) {
                // Some file systems need room for that; a full one is opened all the same.
                Err(error) if !error.is_full() => return Err(error.into()),
                _ => {}
            }
        }
        let mut state = State {
            known,
            file,
            end,
            dirty: true,
        };
        if is_whole && unsure.last() != Some(&b'\n') {
            // A line that a crash cut off must not run into the next one.
            state.file.write_at(b"\n", end)?;
            state.end += 1;
        }
        let journal = Self {
            disk: disk.clone(),
            path: path.to_path_buf(),
            state: Mutex::new(state),
        };
        Ok((journal, unreadable))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds pins, those that are not there yet, in one write. What is there keeps its name.
    pub(super) fn insert(&self, owner: &str, roots: &[Cid]) -> Result<(), StoreError> {
        self.insert_where(owner, roots, "", |known, pin| !known.has(pin))
    }

    /// Adds pins with a name, or gives that to those that are there, in one write; an empty one is none.
    pub(super) fn insert_named(&self, owner: &str, roots: &[Cid], name: &str) -> Result<(), StoreError> {
        check_name(name)?;
        self.insert_where(owner, roots, name, |known, pin| {
            known.name(pin).as_deref() != Some(name)
        })
    }

    fn insert_where(
        &self,
        owner: &str,
        roots: &[Cid],
        name: &str,
        is_new: impl Fn(&Known, &Pin) -> bool,
    ) -> Result<(), StoreError> {
        check_owner(owner)?;
        let pin = |cid: &Cid| Pin {
            owner: owner.to_owned(),
            cid: *cid,
        };
        let mut state = self.state();
        let mut new: Vec<Pin> = roots.iter().map(pin).filter(|pin| is_new(&state.known, pin)).collect();
        new.sort();
        new.dedup();
        if new.is_empty() {
            return Ok(());
        }
        let new = new.into_iter().map(|pin| (pin, Some(name.to_owned())));
        state.append(new.collect())?;
        self.trim(&mut state)
    }

    /// Takes a pin away; false if there was none.
    pub(super) fn remove(&self, pin: &Pin) -> Result<bool, StoreError> {
        let mut state = self.state();
        if !state.known.has(pin) {
            return Ok(false);
        }
        state.append(vec![(pin.clone(), None)])?;
        self.trim(&mut state)?;
        Ok(true)
    }

    /// Whether there is such a pin.
    pub(super) fn contains(&self, pin: &Pin) -> bool {
        self.state().known.has(pin)
    }

    /// All pins, or those of one owner, in the order of owners.
    pub(super) fn list(&self, owner: Option<&str>) -> Vec<Pin> {
        let pins = self.state().known.list(owner);
        pins.into_iter().map(|(pin, _)| pin).collect()
    }

    /// The name of a pin, empty if it has none; nothing if there is no such pin.
    pub(super) fn name(&self, pin: &Pin) -> Option<String> {
        self.state().known.name(pin)
    }

    /// The names of those pins of one owner that have one.
    pub(super) fn names(&self, owner: &str) -> Vec<(Cid, String)> {
        let mut pins = self.state().known.list(Some(owner));
        pins.retain(|(_, name)| !name.is_empty());
        pins.into_iter().map(|(pin, name)| (pin.cid, name)).collect()
    }

    /// A number that follows from all lines of the journal, so that it is another one when a line is lost that was written
    /// and not synced.
    pub(super) fn trail(&self) -> u64 {
        self.state().known.trail
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        usize::try_from(self.state().known.pins).unwrap_or(usize::MAX)
    }

    /// Makes every change so far durable.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        let mut state = self.state();
        if state.dirty {
            state.file.sync()?;
            state.dirty = false;
        }
        Ok(())
    }

    /// Writes the journal anew if it has many changes.
    fn trim(&self, state: &mut State) -> Result<(), StoreError> {
        if state.known.lines <= state.known.pins / SLACK_PART + JOURNAL_SLACK_LINES {
            return Ok(());
        }
        state.known = state.known.write_anew(&self.disk, &self.path)?;
        state.file = self.disk.open(&self.path)?;
        (state.end, state.dirty) = (state.file.len()?, false);
        Ok(())
    }
}

impl State {
    /// Writes that these pins came, with these names, or went, in one write, and then knows it.
    fn append(&mut self, pins: Vec<(Pin, Option<String>)>) -> Result<(), StoreError> {
        let line = |(pin, name): &(Pin, Option<String>)| match name {
            Some(name) => came(pin, name),
            None => went(pin),
        };
        let lines: Vec<String> = pins.iter().map(line).collect();
        let text = lines.concat();
        self.file.write_at(text.as_bytes(), self.end)?;
        self.end += text.len() as u64;
        self.dirty = true;
        let known = &mut self.known;
        known.lines += lines.len() as u64;
        let follow = |trail, line: &String| follow(trail, line.as_bytes());
        known.trail = lines.iter().fold(known.trail, follow);
        pins.into_iter().for_each(|(pin, name)| known.set(pin, name));
        Ok(())
    }
}

/// The first CID in their order: version 0, whose hash is sha2-256 always.
fn least_cid() -> Cid {
    const SHA2_256: u64 = 0x12;
    let least = Multihash::wrap(SHA2_256, &[0; 32]).ok();
    least.and_then(|hash| Cid::new_v0(hash).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
