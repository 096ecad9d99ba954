//! The part of a journal of pins that was written in one piece: each pin once, in their order.
//!
//! A line before it says how long it is, how many lines it has and what its crc32 is. Who has that read as one piece need not
//! look at each of a hundred thousand lines to know that they are as they were, and finds one by halving.

use std::cmp::Ordering;

use super::line::{Pin, came, change, checked, follow, unchecked};
use crate::block::{Cid, cid_from_text};

/// With what the line begins that tells of the part behind it.
const SIGN: &str = "=";

/// Pins in their order, as the lines of the journal.
#[derive(Default)]
pub(super) struct Sorted {
    text: Vec<u8>,
    /// How many there are.
    pub(super) pins: u64,
}

impl Sorted {
    /// Those pins with their names, which come in their order.
    pub(super) fn of(pins: &[(Pin, String)]) -> Self {
        let mut text = Vec::new();
        pins.iter()
            .for_each(|(pin, name)| text.extend(came(pin, name).into_bytes()));
        Self {
            text,
            pins: pins.len() as u64,
        }
    }

    /// What a journal begins with behind its first line, and takes it away from there. Nothing of it if it is not whole.
    pub(super) fn take(journal: &mut Vec<u8>) -> Option<Self> {
        let first = journal.iter().position(|byte| *byte == b'\n')?;
        let (bytes, pins, crc) = numbers(journal.get(..first)?)?;
        let end = (first + 1).checked_add(bytes)?;
        let text = journal.get(first + 1..end)?;
        if crc32fast::hash(text) != crc {
            return None;
        }
        let behind = journal.split_off(end);
        let mut text = std::mem::replace(journal, behind);
        text.drain(..=first);
        Some(Self { text, pins })
    }

    /// The line that is written before it, and then it; nothing if there are no pins.
    pub(super) fn written(&self) -> Vec<u8> {
        let mut written = self.heading().into_bytes();
        written.extend_from_slice(&self.text);
        written
    }

    fn heading(&self) -> String {
        if self.pins == 0 {
            return String::new();
        }
        let (bytes, crc) = (self.text.len(), crc32fast::hash(&self.text));
        checked(&format!("{SIGN} {bytes} {} {crc:08x}", self.pins))
    }

    /// A number that follows from all of it.
    pub(super) fn trail(&self) -> u64 {
        match self.pins {
            0 => 0,
            _ => follow(0, self.heading().as_bytes()),
        }
    }

    /// The name of the pin, if it is among them.
    pub(super) fn name(&self, pin: &Pin) -> Option<String> {
        let found = self.lines(self.position(&pin.owner, &pin.cid)).next()?;
        if compare(found, &pin.owner, &pin.cid) != Some(Ordering::Equal) {
            return None;
        }
        Some(change(found, true).and_then(|(_, name)| name).unwrap_or_default())
    }

    /// Whether the pin is among them.
    pub(super) fn contains(&self, pin: &Pin) -> bool {
        let found = self.lines(self.position(&pin.owner, &pin.cid)).next();
        found.is_some_and(|line| compare(line, &pin.owner, &pin.cid) == Some(Ordering::Equal))
    }

    /// Those of one owner, `least` being the first CID there is.
    pub(super) fn of_owner(&self, owner: &str, least: &Cid) -> Vec<(Pin, String)> {
        let found = self.lines(self.position(owner, least));
        let found = found.take_while(|line| parts(line).is_some_and(|(of, _)| of == owner.as_bytes()));
        found.filter_map(named).collect()
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = (Pin, String)> + '_ {
        self.lines(0).filter_map(named)
    }

    /// The lines from the one on that begins at `at`.
    fn lines(&self, at: usize) -> impl Iterator<Item = &[u8]> {
        let lines = self.text.get(at..).unwrap_or_default().split(|byte| *byte == b'\n');
        lines.filter(|line| !line.is_empty())
    }

    /// Where the first line begins that is not before this pin.
    fn position(&self, owner: &str, cid: &Cid) -> usize {
        let (mut low, mut high) = (0, self.text.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let before = self.text.get(low..middle).unwrap_or_default();
            let start = before
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(low, |at| low + at + 1);
            let behind = self.text.get(start..high).unwrap_or_default();
            let end = behind
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(high, |at| start + at + 1);
            let line = self.text.get(start..end).unwrap_or_default();
            match compare(line, owner, cid) {
                Some(Ordering::Less) | None => low = end,
                Some(_) => high = start,
            }
        }
        low
    }
}

/// What the line before such a part says of it: bytes, pins and crc32.
fn numbers(line: &[u8]) -> Option<(usize, u64, u32)> {
    let mut words = unchecked(line)?.split(' ');
    if words.next() != Some(SIGN) {
        return None;
    }
    let (bytes, pins, crc) = (words.next()?, words.next()?, words.next()?);
    Some((
        bytes.parse().ok()?,
        pins.parse().ok()?,
        u32::from_str_radix(crc, 16).ok()?,
    ))
}

/// The pin of a line, and its name.
fn named(line: &[u8]) -> Option<(Pin, String)> {
    let (pin, name) = change(line, true)?;
    Some((pin, name?))
}

/// The owner of a line, and the text of its CID.
fn parts(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = line.strip_prefix(b"+ ")?;
    let cid = rest.split(|byte| *byte == b' ').next()?;
    let owner = rest.get(cid.len() + 1..)?;
    // What follows is a name, if there is one, and the check.
    let end = owner.iter().position(|byte| *byte == b'\t')?;
    Some((owner.get(..end)?, cid))
}

/// Where the pin of a line is in the order, seen from another.
fn compare(line: &[u8], owner: &str, cid: &Cid) -> Option<Ordering> {
    let (of, text) = parts(line)?;
    Some(match of.cmp(owner.as_bytes()) {
        Ordering::Equal => cid_from_text(std::str::from_utf8(text).ok()?).ok()?.cmp(cid),
        other => other,
    })
}
