//! Pins: the roots that GC keeps, each under an owner.
//!
//! A journal beside the packs is the truth and memory has the copy: one line for each change, `+ <cid> <owner>` or
//! `- <cid> <owner>`, then a tab and the first bytes of the line's sha2-256, so that a torn line is no line. It is
//! written anew, in one step, when most of it speaks of pins that are gone.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use odf_disk::{Access, Disk, DiskFile, read_small};

use super::error::StoreError;
use crate::block::{Cid, sha2_256};

/// The longest name of an owner of pins, in bytes.
pub const MAX_OWNER_BYTES: usize = 256;
/// A journal is written anew when it has this many lines more than twice the number of pins.
const JOURNAL_SLACK_LINES: u64 = 1024;
/// The longest journal that is read.
const MAX_JOURNAL_BYTES: u64 = 1 << 30;
/// First line of a journal whose lines have a check.
const HEADER: &str = "pins 2\n";
const CHECK_BYTES: usize = 4;
/// How much of the end of a journal may not have reached the medium.
const UNSURE_BYTES: usize = 64 << 10;

/// A root that is kept, and for whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pin {
    /// Whoever wants it kept: a dataset, a command, a user's word for it.
    pub owner: String,
    /// The root.
    pub cid: Cid,
}

/// The pins, and the file that has them.
pub(super) struct Pins {
    disk: Disk,
    path: PathBuf,
    state: Mutex<State>,
}

struct State {
    pins: BTreeSet<Pin>,
    file: DiskFile,
    /// Where the next line goes. Behind it may be what is left of a line that could not be written.
    end: u64,
    lines: u64,
    dirty: bool,
}

impl Pins {
    /// Opens the journal at `path`, or makes one. Also gives how many of its lines are no change, or a damaged one.
    pub(super) fn open(disk: &Disk, path: &Path) -> Result<(Self, u64), StoreError> {
        let text = read_small(path, MAX_JOURNAL_BYTES)?;
        let whole = text.as_deref().and_then(|text| text.strip_prefix(HEADER.as_bytes()));
        let (pins, lines, unreadable) = match (whole, &text) {
            (Some(rest), _) => replay(rest, true),
            (None, Some(text)) => replay(text, false),
            (None, None) => (BTreeSet::new(), 0, 0),
        };
        if whole.is_none() {
            write_anew(disk, path, &pins)?;
        }
        let file = disk.open(path)?;
        let end = file.len()?;
        if let (Some(_), Some(text)) = (whole, &text) {
            // Nobody knows whether the last lines were synced, or a sync of them failed: they are written once more.
            let from = text.len().saturating_sub(UNSURE_BYTES);
            match file.write_at(&text[from..], from as u64) {
                // Some file systems need room for that; a full one is opened all the same.
                Err(error) if !error.is_full() => return Err(error.into()),
                _ => {}
            }
        }
        let state = State {
            pins,
            file,
            end,
            lines,
            dirty: true,
        };
        let journal = Self {
            disk: disk.clone(),
            path: path.to_path_buf(),
            state: Mutex::new(state),
        };
        if whole.is_some() && text.as_ref().is_some_and(|text| text.last() != Some(&b'\n')) {
            // A line that a crash cut off must not run into the next one.
            let mut state = journal.state();
            state.file.write_at(b"\n", end)?;
            state.end += 1;
        }
        Ok((journal, unreadable))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds pins, those that are not there yet, in one write.
    pub(super) fn insert(&self, owner: &str, roots: &[Cid]) -> Result<(), StoreError> {
        check_owner(owner)?;
        let mut state = self.state();
        let pin = |cid: &Cid| Pin {
            owner: owner.to_owned(),
            cid: *cid,
        };
        let new: BTreeSet<Pin> = roots.iter().map(pin).filter(|pin| !state.pins.contains(pin)).collect();
        if new.is_empty() {
            return Ok(());
        }
        state.append(new.iter().map(|pin| line('+', pin)))?;
        state.pins.extend(new);
        self.trim(&mut state)
    }

    /// Takes a pin away; false if there was none.
    pub(super) fn remove(&self, pin: &Pin) -> Result<bool, StoreError> {
        let mut state = self.state();
        if !state.pins.contains(pin) {
            return Ok(false);
        }
        state.append([line('-', pin)])?;
        state.pins.remove(pin);
        self.trim(&mut state)?;
        Ok(true)
    }

    /// Whether there is such a pin.
    pub(super) fn contains(&self, pin: &Pin) -> bool {
        self.state().pins.contains(pin)
    }

    /// All pins, or those of one owner, in the order of owners.
    pub(super) fn list(&self, owner: Option<&str>) -> Vec<Pin> {
        let state = self.state();
        let wanted = state
            .pins
            .iter()
            .filter(|pin| owner.is_none_or(|owner| pin.owner == owner));
        wanted.cloned().collect()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.state().pins.len()
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

    /// Writes the journal anew if most of it speaks of pins that are gone.
    fn trim(&self, state: &mut State) -> Result<(), StoreError> {
        if state.lines <= 2 * state.pins.len() as u64 + JOURNAL_SLACK_LINES {
            return Ok(());
        }
        write_anew(&self.disk, &self.path, &state.pins)?;
        state.file = self.disk.open(&self.path)?;
        (state.end, state.lines, state.dirty) = (state.file.len()?, state.pins.len() as u64, false);
        Ok(())
    }
}

impl State {
    fn append(&mut self, lines: impl IntoIterator<Item = String>) -> Result<(), StoreError> {
        let lines: Vec<String> = lines.into_iter().collect();
        let text = lines.concat();
        self.file.write_at(text.as_bytes(), self.end)?;
        self.end += text.len() as u64;
        self.lines += lines.len() as u64;
        self.dirty = true;
        Ok(())
    }
}

/// The pins that the lines add up to, how many lines there are, and how many of those are no change.
fn replay(text: &[u8], checked: bool) -> (BTreeSet<Pin>, u64, u64) {
    let (mut pins, mut lines, mut unreadable) = (BTreeSet::new(), 0, 0);
    for line in text.split(|byte| *byte == b'\n') {
        // A write that never reached the medium reads as zeros.
        let begin = line.iter().position(|byte| *byte != 0).unwrap_or(line.len());
        let line = &line[begin..];
        if line.is_empty() {
            continue;
        }
        lines += 1;
        match parse(line, checked) {
            Some(('+', pin)) => drop(pins.insert(pin)),
            Some((_, pin)) => drop(pins.remove(&pin)),
            None => unreadable += 1,
        }
    }
    (pins, lines, unreadable)
}

fn parse(line: &[u8], checked: bool) -> Option<(char, Pin)> {
    let mut line = std::str::from_utf8(line).ok()?;
    if checked {
        let (change, found) = line.rsplit_once('\t')?;
        if found != check(change) {
            return None;
        }
        line = change;
    }
    let (sign, rest) = line.split_once(' ')?;
    let (cid, owner) = rest.split_once(' ')?;
    check_owner(owner).ok()?;
    let pin = Pin {
        owner: owner.to_owned(),
        cid: Cid::try_from(cid).ok()?,
    };
    match sign {
        "+" => Some(('+', pin)),
        "-" => Some(('-', pin)),
        _ => None,
    }
}

fn write_anew(disk: &Disk, path: &Path, pins: &BTreeSet<Pin>) -> Result<(), StoreError> {
    let lines = pins.iter().map(|pin| line('+', pin));
    let text: String = std::iter::once(HEADER.to_owned()).chain(lines).collect();
    Ok(disk.replace(path, text.as_bytes(), Access::Owner)?)
}

fn line(sign: char, pin: &Pin) -> String {
    let change = format!("{sign} {} {}", pin.cid, pin.owner);
    let check = check(&change);
    format!("{change}\t{check}\n")
}

fn check(change: &str) -> String {
    let digest = sha2_256(change.as_bytes());
    digest.digest()[..CHECK_BYTES]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn check_owner(owner: &str) -> Result<(), StoreError> {
    if owner.is_empty() || owner.len() > MAX_OWNER_BYTES || owner.chars().any(char::is_control) {
        return Err(StoreError::BadOwner(owner.chars().take(MAX_OWNER_BYTES).collect()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

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
