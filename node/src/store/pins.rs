//! Pins: the roots that GC keeps, each under an owner.
//!
//! A journal beside the packs is the truth and memory has the copy: one line for each change, `+ <cid> <owner>` or
//! `- <cid> <owner>`, then a tab and the first bytes of the line's sha2-256, so that a torn line is no line. When there are many
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

pub use self::line::{MAX_OWNER_BYTES, PARTIAL_OWNER, Pin};
use self::{
    line::{change, check_owner, follow, line},
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
    /// The pins that came or went since, and whether they are there.
    changes: BTreeMap<Pin, bool>,
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
                Some((is_there, pin)) => {
                    known.trail = follow(known.trail, line);
                    known.set(pin, is_there);
                }
                None => known.unreadable += 1,
            }
        }
        known
    }

    fn has(&self, pin: &Pin) -> bool {
        let changed = self.changes.get(pin).copied();
        changed.unwrap_or_else(|| self.sorted.contains(pin))
    }

    fn set(&mut self, pin: Pin, is_there: bool) {
        match (self.has(&pin), is_there) {
            (false, true) => self.pins += 1,
            (true, false) => self.pins -= 1,
            _ => {}
        }
        self.changes.insert(pin, is_there);
    }

    /// All pins, or those of one owner, in their order.
    fn list(&self, owner: Option<&str>) -> Vec<Pin> {
        let least = least_cid();
        let mut pins: Vec<Pin> = match owner {
            Some(owner) => self.sorted.of_owner(owner, &least),
            None => self.sorted.all().collect(),
        };
        if !self.changes.is_empty() {
            pins.retain(|pin| !self.changes.contains_key(pin));
            let first = Pin {
                owner: owner.unwrap_or_default().to_owned(),
                cid: least,
            };
            let changed = self.changes.range(first..);
            let changed = changed.take_while(|(pin, _)| owner.is_none_or(|owner| pin.owner == owner));
            pins.extend(changed.filter(|(_, is_there)| **is_there).map(|(pin, _)| pin.clone()));
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

    /// Adds pins, those that are not there yet, in one write.
    pub(super) fn insert(&self, owner: &str, roots: &[Cid]) -> Result<(), StoreError> {
        check_owner(owner)?;
        let pin = |cid: &Cid| Pin {
            owner: owner.to_owned(),
            cid: *cid,
        };
        let mut state = self.state();
        let mut new: Vec<Pin> = roots.iter().map(pin).filter(|pin| !state.known.has(pin)).collect();
        new.sort();
        new.dedup();
        if new.is_empty() {
            return Ok(());
        }
        state.append(new, true)?;
        self.trim(&mut state)
    }

    /// Takes a pin away; false if there was none.
    pub(super) fn remove(&self, pin: &Pin) -> Result<bool, StoreError> {
        let mut state = self.state();
        if !state.known.has(pin) {
            return Ok(false);
        }
        state.append(vec![pin.clone()], false)?;
        self.trim(&mut state)?;
        Ok(true)
    }

    /// Whether there is such a pin.
    pub(super) fn contains(&self, pin: &Pin) -> bool {
        self.state().known.has(pin)
    }

    /// All pins, or those of one owner, in the order of owners.
    pub(super) fn list(&self, owner: Option<&str>) -> Vec<Pin> {
        self.state().known.list(owner)
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
    /// Writes that these pins came or went, in one write, and then knows it.
    fn append(&mut self, pins: Vec<Pin>, is_there: bool) -> Result<(), StoreError> {
        let sign = if is_there { '+' } else { '-' };
        let lines: Vec<String> = pins.iter().map(|pin| line(sign, pin)).collect();
        let text = lines.concat();
        self.file.write_at(text.as_bytes(), self.end)?;
        self.end += text.len() as u64;
        self.dirty = true;
        let known = &mut self.known;
        known.lines += lines.len() as u64;
        let follow = |trail, line: &String| follow(trail, line.as_bytes());
        known.trail = lines.iter().fold(known.trail, follow);
        pins.into_iter().for_each(|pin| known.set(pin, is_there));
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
mod tests {
    use std::{collections::BTreeSet, fs};

    use super::*;
    use crate::block::{Block, RAW};

    fn pin(owner: &str, seed: u8) -> Pin {
        let cid = *Block::new(RAW, vec![seed]).unwrap().cid();
        Pin {
            owner: owner.to_owned(),
            cid,
        }
    }

    fn insert(pins: &Pins, pin: &Pin) {
        pins.insert(&pin.owner, &[pin.cid]).unwrap();
    }

    fn open(path: &Path) -> (Pins, u64) {
        Pins::open(&Disk::new(), path).unwrap()
    }

    #[test]
    fn the_journal_is_the_truth_and_a_damaged_line_is_no_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pins");
        let (pins, _) = open(&path);
        for n in 0..3 {
            insert(&pins, &pin("a long owner", n));
            insert(&pins, &pin("a long owner", n));
        }
        assert!(pins.remove(&pin("a long owner", 1)).unwrap());
        assert!(!pins.remove(&pin("a long owner", 1)).unwrap());
        let kept = [pin("a long owner", 0), pin("a long owner", 2)];
        let mut expected = kept.to_vec();
        expected.sort();
        assert_eq!(open(&path).0.list(None), expected);
        let text = fs::read(&path).unwrap();

        // Cut within the owner's name, which must not become another owner.
        let cut = text.iter().rposition(|byte| *byte == b'\t').unwrap() - 2;
        fs::write(&path, &text[..cut]).unwrap();
        let (pins, unreadable) = open(&path);
        assert_eq!((pins.len(), unreadable), (3, 1));
        insert(&pins, &pin("new", 9));
        let (pins, unreadable) = open(&path);
        assert_eq!((pins.len(), unreadable), (4, 1), "the next line stands alone");

        let mut holed = text.clone();
        let first = HEADER.len();
        holed[first..first + 30].fill(0);
        fs::write(&path, &holed).unwrap();
        let (pins, unreadable) = open(&path);
        assert_eq!((pins.list(None), unreadable), (vec![kept[1].clone()], 1));
    }

    #[test]
    fn the_trail_is_another_one_when_a_line_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pins");
        let (pins, _) = open(&path);
        let mut trails = vec![pins.trail()];
        for n in 0..4 {
            insert(&pins, &pin("a", n));
            trails.push(pins.trail());
        }
        assert!(pins.remove(&pin("a", 2)).unwrap());
        trails.push(pins.trail());
        assert_eq!(open(&path).0.trail(), pins.trail(), "it follows from the file");
        let mut different = trails.clone();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), trails.len(), "another one after each change");
        // Without the last line, cut off or zeros, it is the one before; without another line it is one that never was.
        let text = fs::read(&path).unwrap();
        let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
        let before = text.len() - lines[lines.len() - 1].len();
        for tail in [Vec::new(), vec![0; text.len() - before]] {
            fs::write(&path, [&text[..before], &tail[..]].concat()).unwrap();
            assert_eq!(open(&path).0.trail(), trails[trails.len() - 2]);
        }
        for lost in 1..lines.len() - 1 {
            let rest = lines.iter().enumerate().filter(|(at, _)| *at != lost);
            fs::write(&path, rest.flat_map(|(_, line)| line.to_vec()).collect::<Vec<u8>>()).unwrap();
            assert!(!trails.contains(&open(&path).0.trail()), "line {lost}");
        }
    }

    #[test]
    fn the_pins_of_one_owner_are_found_among_those_of_others() {
        let dir = tempfile::tempdir().unwrap();
        let (pins, _) = open(&dir.path().join("pins"));
        let old = *Block::new_v0(vec![1]).unwrap().cid();
        for owner in ["a", "b", "bb", "c"] {
            for n in 0..3 {
                insert(&pins, &pin(owner, n));
            }
            pins.insert(owner, &[old]).unwrap();
        }
        for owner in ["", "a", "b", "bb", "c", "d"] {
            let mut all = pins.list(None);
            all.retain(|pin| pin.owner == owner);
            assert_eq!(all.len(), if ["", "d"].contains(&owner) { 0 } else { 4 });
            assert!(all.iter().all(|pin| pins.contains(pin)) && !pins.contains(&pin(owner, 9)));
            assert_eq!(pins.list(Some(owner)), all, "{owner:?}");
        }
    }

    /// So many pins that the journal is written anew with the last of them.
    const MANY: u64 = JOURNAL_SLACK_LINES + JOURNAL_SLACK_LINES / (SLACK_PART - 1) + 1;

    /// A journal that was written anew with pins of 40 owners, and some changes behind.
    fn long(path: &Path) -> Pins {
        let (pins, _) = open(path);
        for n in 0..MANY {
            insert(&pins, &pin(&format!("owner {}", n % 40), (n / 40) as u8));
        }
        assert_eq!(pins.state().known.changes.len(), 0, "written anew");
        assert!(pins.remove(&pin("owner 7", 3)).unwrap());
        insert(&pins, &pin("owner 7", 200));
        insert(&pins, &pin("another", 1));
        assert!(pins.remove(&pin("another", 1)).unwrap());
        assert!(pins.remove(&pin("owner 8", 0)).unwrap());
        insert(&pins, &pin("owner 8", 0));
        pins
    }

    #[test]
    fn a_journal_that_was_written_anew_says_the_same_as_its_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pins");
        let pins = long(&path);
        let mut expected: BTreeSet<Pin> = (0..MANY)
            .map(|n| pin(&format!("owner {}", n % 40), (n / 40) as u8))
            .collect();
        expected.remove(&pin("owner 7", 3));
        expected.insert(pin("owner 7", 200));
        let expected: Vec<Pin> = expected.into_iter().collect();
        let (again, unreadable) = open(&path);
        assert_eq!((again.state().known.sorted.pins, unreadable), (MANY, 0));
        for pins in [&pins, &again] {
            assert_eq!(pins.list(None), expected);
            assert_eq!(pins.len(), expected.len());
            for owner in (0..40)
                .map(|n| format!("owner {n}"))
                .chain(["owner".into(), "another".into(), "p".into()])
            {
                let of: Vec<&Pin> = expected.iter().filter(|pin| pin.owner == owner).collect();
                assert_eq!(pins.list(Some(&owner)).iter().collect::<Vec<_>>(), of, "{owner}");
                for n in 0..=255 {
                    let pin = pin(&owner, n);
                    assert_eq!(pins.contains(&pin), of.contains(&&pin), "{owner} {n}");
                }
            }
        }
        assert_eq!(again.trail(), pins.trail());
    }

    #[test]
    fn damage_in_what_was_written_anew_costs_the_lines_that_it_is_in() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pins");
        let pins = long(&path);
        let (all, text) = (pins.list(None), fs::read(&path).unwrap());
        let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
        // The line that tells of the part, and one that is in it.
        let part: usize = lines[..2].iter().map(|line| line.len()).sum();
        let within = lines[..500].iter().map(|line| line.len()).sum::<usize>() + 5;
        for (at, lost) in [(part - 3, 0), (within, 1)] {
            let mut damaged = text.clone();
            damaged[at] ^= 1;
            fs::write(&path, damaged).unwrap();
            let (pins, unreadable) = open(&path);
            assert_eq!(all.len() - pins.len(), lost);
            // The line that tells of the part says nothing now.
            assert_eq!(unreadable, 1 + lost as u64);
            assert!(pins.list(None).iter().all(|pin| all.contains(pin)));
        }
        // Every line that is lost is missed.
        for lost in [1, 2, 600, lines.len() - 1] {
            let rest = lines.iter().enumerate().filter(|(at, _)| *at != lost);
            fs::write(&path, rest.flat_map(|(_, line)| line.to_vec()).collect::<Vec<u8>>()).unwrap();
            assert_ne!(open(&path).0.trail(), pins.trail(), "line {lost}");
        }
    }

    #[test]
    fn a_line_that_could_not_be_written_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pins");
        let recorder = odf_disk::crash::Recorder::new(dir.path());
        let (pins, _) = Pins::open(&Disk::with(recorder.clone()), &path).unwrap();
        insert(&pins, &pin("a", 1));
        recorder.set_refusal(odf_disk::crash::Refusal::Once(0), std::io::ErrorKind::StorageFull);
        assert!(matches!(pins.remove(&pin("a", 1)), Err(StoreError::Full { .. })));
        assert_eq!(pins.list(None), [pin("a", 1)], "memory says what the journal says");
        insert(&pins, &pin("b", 1));
        assert_eq!(open(&path).0.list(None), [pin("a", 1), pin("b", 1)]);
    }

    #[test]
    fn many_roots_are_one_write_and_those_that_are_there_no_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pins");
        let recorder = odf_disk::crash::Recorder::new(dir.path());
        let (pins, _) = Pins::open(&Disk::with(recorder.clone()), &path).unwrap();
        let roots: Vec<Cid> = (0..200).map(|n| pin("a", n).cid).collect();
        let before = recorder.calls();
        pins.insert("a", &roots).unwrap();
        pins.insert("a", &roots).unwrap();
        assert_eq!((recorder.calls() - before, pins.len()), (1, 200));
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1 + 200);
        assert_eq!(open(&path).0.list(None), pins.list(None));
    }

    #[test]
    fn a_journal_of_the_old_form_is_taken_over_and_a_long_one_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pins");
        let kept = pin("an owner", 1);
        fs::write(&path, format!("+ {0} an owner\n+ {0} x\nnonsense\n- {0} x", kept.cid)).unwrap();
        let (pins, unreadable) = open(&path);
        assert_eq!((pins.list(None), unreadable), (vec![kept.clone()], 1));
        for n in 0..JOURNAL_SLACK_LINES {
            insert(&pins, &pin("x", n as u8));
            pins.remove(&pin("x", n as u8)).unwrap();
        }
        assert!(fs::read_to_string(&path).unwrap().lines().count() as u64 <= JOURNAL_SLACK_LINES + 4);
        assert_eq!(open(&path).0.list(None), [kept]);
    }

    #[test]
    fn many_at_once_agree_with_the_journal() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pins");
        let (pins, _) = open(&path);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let pins = &pins;
                scope.spawn(move || {
                    for n in 0..600_u32 {
                        let one = pin("shared", (n % 7) as u8);
                        if (n + thread) % 2 == 0 {
                            insert(pins, &one);
                        } else {
                            pins.remove(&one).unwrap();
                        }
                    }
                });
            }
        });
        assert_eq!(open(&path).0.list(None), pins.list(None));
    }
}
