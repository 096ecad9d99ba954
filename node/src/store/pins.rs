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

use multihash::Multihash;
use odf_disk::{Access, Disk, DiskFile, read_small};

use super::error::StoreError;
use crate::block::{Cid, cid_from_text, sha2_256};

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
    /// What the lines amount to, see [`Pins::trail`].
    trail: u64,
    dirty: bool,
}

impl Pins {
    /// Opens the journal at `path`, or makes one. Also gives how many of its lines are no change, or a damaged one.
    pub(super) fn open(disk: &Disk, path: &Path) -> Result<(Self, u64), StoreError> {
        let text = read_small(path, MAX_JOURNAL_BYTES)?;
        let whole = text.as_deref().and_then(|text| text.strip_prefix(HEADER.as_bytes()));
        let Replayed {
            pins,
            lines,
            unreadable,
            mut trail,
        } = match (whole, &text) {
            (Some(rest), _) => replay(rest, true),
            (None, Some(text)) => replay(text, false),
            (None, None) => Replayed::default(),
        };
        if whole.is_none() {
            trail = write_anew(disk, path, &pins)?;
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
            trail,
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
        let Some(owner) = owner else {
            return state.pins.iter().cloned().collect();
        };
        // Pins go by their owner first, so that those of one are found among those of many.
        let first = Pin {
            owner: owner.to_owned(),
            cid: least_cid(),
        };
        let found = state.pins.range(first..).take_while(|pin| pin.owner == owner);
        found.cloned().collect()
    }

    /// A number that follows from all lines of the journal, so that it is another one when a line is lost that was written
    /// and not synced.
    pub(super) fn trail(&self) -> u64 {
        self.state().trail
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
        state.trail = write_anew(&self.disk, &self.path, &state.pins)?;
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
        self.trail = lines
            .iter()
            .fold(self.trail, |trail, line| follow(trail, line.as_bytes()));
        self.dirty = true;
        Ok(())
    }
}

/// What the lines of a journal add up to.
#[derive(Default)]
struct Replayed {
    pins: BTreeSet<Pin>,
    /// How many lines there are.
    lines: u64,
    /// How many of them are no change.
    unreadable: u64,
    trail: u64,
}

/// One line more: its check stands for it.
fn follow(trail: u64, line: &[u8]) -> u64 {
    /// An odd number with bits all over, so that the place of a line counts.
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let check = &line[line.len().saturating_sub(2 * CHECK_BYTES)..];
    check.iter().fold(trail.wrapping_add(1), |trail, byte| {
        (trail ^ u64::from(*byte)).wrapping_mul(FACTOR).rotate_left(23)
    })
}

fn replay(text: &[u8], checked: bool) -> Replayed {
    let mut replayed = Replayed::default();
    let Replayed {
        pins,
        lines,
        unreadable,
        trail,
    } = &mut replayed;
    for line in text.split(|byte| *byte == b'\n') {
        // A write that never reached the medium reads as zeros.
        let begin = line.iter().position(|byte| *byte != 0).unwrap_or(line.len());
        let line = &line[begin..];
        if line.is_empty() {
            continue;
        }
        *lines += 1;
        let change = parse(line, checked);
        if change.is_some() {
            *trail = follow(*trail, line);
        }
        match change {
            Some(('+', pin)) => drop(pins.insert(pin)),
            Some((_, pin)) => drop(pins.remove(&pin)),
            None => *unreadable += 1,
        }
    }
    replayed
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
        cid: cid_from_text(cid).ok()?,
    };
    match sign {
        "+" => Some(('+', pin)),
        "-" => Some(('-', pin)),
        _ => None,
    }
}

/// The first CID in their order: version 0, whose hash is sha2-256 always.
fn least_cid() -> Cid {
    const SHA2_256: u64 = 0x12;
    let least = Multihash::wrap(SHA2_256, &[0; 32]).ok();
    least.and_then(|hash| Cid::new_v0(hash).ok()).unwrap_or_default()
}

/// Writes a journal of these pins alone. Gives its trail.
fn write_anew(disk: &Disk, path: &Path, pins: &BTreeSet<Pin>) -> Result<u64, StoreError> {
    let mut text = HEADER.to_owned();
    let mut trail = 0;
    for pin in pins {
        let line = line('+', pin);
        trail = follow(trail, line.as_bytes());
        text.push_str(&line);
    }
    disk.replace(path, text.as_bytes(), Access::Owner)?;
    Ok(trail)
}

fn line(sign: char, pin: &Pin) -> String {
    let change = format!("{sign} {} {}", pin.cid, pin.owner);
    let check = check(&change);
    format!("{change}\t{check}\n")
}

fn check(change: &str) -> String {
    let digest = sha2_256(change.as_bytes());
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or_default();
    let bytes = digest.digest()[..CHECK_BYTES].iter();
    bytes.flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
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
