//! The latest state of a dataset that takes snapshots, kept beside it: a record of each key that holds, so that the next
//! snapshot reads only the slices that came since.
//!
//! ```text
//! magic, length and text of what is compared, seeds of the hashes
//! positions of the history that it is of, length and mark of the history up to there
//! length of the records, the records, check
//! ```
//!
//! It is a copy of what the slices say, and written anew only when several more have come: each time would cost as much as the
//! state is large. It counts for the history that has its mark, which no other has, and never needs to reach the medium: what
//! did not fails the check, and all slices are read. Hashes are keyed with random numbers that are known here only.

use std::fs;
use std::path::PathBuf;

use odf_disk::{Access, Disk, DiskError};

use super::records::Old;
use crate::ground::Slices;
use crate::merge::history::{Ranges, check};
use crate::merge::keys::Seed;
use crate::merge::spill::Record as _;

const MAGIC: [u8; 16] = *b"odfs latest rows";
/// The longest file. Of a larger state all slices are read each time.
pub(in crate::merge) const MAX_LATEST_BYTES: usize = 16 << 20;
/// How many positions more there must be before it is written again.
pub(in crate::merge) const BEHIND: usize = if cfg!(test) { 2 } else { 16 };

/// Where the state is kept, and of what.
pub(super) struct Latest<'a> {
    path: PathBuf,
    disk: &'a Disk,
    slices: &'a dyn Slices,
    compared: String,
}

/// The state up to a position.
pub(super) struct Kept {
    /// By what keys, and what is compared, are hashed in it.
    pub(super) seeds: [Seed; 2],
    /// The first position that it is not of.
    pub(super) next: usize,
    records: Vec<u8>,
}

impl Kept {
    /// One row of each key that holds.
    pub(super) fn rows(&self) -> impl Iterator<Item = Old> {
        self.records.chunks_exact(Old::BYTES).map(Old::decode)
    }
}

impl<'a> Latest<'a> {
    /// That of a history, beside what else is kept of it. `compared` says what goes into the hashes.
    pub(super) fn beside(ranges: &'a Ranges, slices: &'a dyn Slices, compared: &str) -> Self {
        Self {
            path: ranges.path().with_extension("latest"),
            disk: ranges.disk(),
            slices,
            // A hash may be another one in another version.
            compared: format!("{} {compared}", env!("CARGO_PKG_VERSION")),
        }
    }

    fn header(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        put(&mut bytes, self.compared.as_bytes());
        bytes
    }

    /// What is kept, if it is of this history.
    pub(super) fn read(&self) -> Option<Kept> {
        let found = fs::metadata(&self.path).ok()?;
        if found.len() > MAX_LATEST_BYTES as u64 {
            return None;
        }
        let bytes = fs::read(&self.path).ok()?;
        let (body, sum) = bytes.split_last_chunk()?;
        if u64::from_le_bytes(*sum) != check(0, body) {
            return None;
        }
        let mut rest = body.strip_prefix(&self.header()[..])?;
        let mut number = || {
            let (number, behind) = rest.split_first_chunk()?;
            rest = behind;
            Some(u64::from_le_bytes(*number))
        };
        let seeds = [[number()?, number()?], [number()?, number()?]];
        let next = usize::try_from(number()?).ok()?;
        let mark = take(&mut rest)?;
        let records = take(&mut rest)?;
        let is_it = (1..=self.slices.positions()).contains(&next)
            && records.len().is_multiple_of(Old::BYTES)
            && self.slices.mark(next - 1).ok()? == mark;
        is_it.then(|| Kept {
            seeds,
            next,
            records: records.to_vec(),
        })
    }

    /// Whether the state of now is worth being kept, where one is that is `kept`.
    pub(super) fn is_due(&self, kept: Option<&Kept>) -> bool {
        let next = kept.map_or(0, |kept| kept.next);
        self.slices.positions() >= next + BEHIND
    }

    /// Keeps the state of the whole history. It costs reading more slices if that fails.
    pub(super) fn keep(&self, state: &State, seeds: [Seed; 2]) {
        let positions = self.slices.positions();
        let Some(mark) = positions.checked_sub(1).and_then(|last| self.slices.mark(last).ok()) else {
            return;
        };
        let Some(records) = &state.records else {
            return;
        };
        let mut bytes = self.header();
        let numbers = seeds.into_iter().flatten().chain([positions as u64]);
        numbers.for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
        put(&mut bytes, &mark);
        put(&mut bytes, records);
        let sum = check(0, &bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        if bytes.len() > MAX_LATEST_BYTES {
            return;
        }
        let write = || -> Result<(), DiskError> { self.disk.create(&self.path, Access::Owner)?.write_at(&bytes, 0) };
        if let Err(error) = write() {
            tracing::debug!(path = %self.path.display(), %error, "the latest rows are found out again");
        }
    }
}

/// A state that is gathered to be kept.
pub(super) struct State {
    /// None once they are too many.
    records: Option<Vec<u8>>,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            records: Some(Vec::new()),
        }
    }

    /// Takes in a row that holds.
    pub(super) fn add(&mut self, row: &Old) {
        if let Some(records) = &mut self.records {
            row.encode(records);
        }
        self.records.take_if(|records| records.len() > MAX_LATEST_BYTES);
    }
}

fn put(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
    bytes.extend_from_slice(part);
}

fn take<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let (len, behind) = rest.split_first_chunk()?;
    let (part, behind) = behind.split_at_checked(usize::try_from(u64::from_le_bytes(*len)).ok()?)?;
    *rest = behind;
    Some(part)
}
