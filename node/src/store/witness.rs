//! What is known to be on the medium, in a small file outside sled.
//!
//! It is a lower bound: whatever it says was true when it was written. Two slots are written in turn, so that a torn
//! write costs one turn and no more.

use std::{
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use odf_disk::{Access, Disk, DiskFile, read_small};

use super::{error::StoreError, place::Position};
use crate::block::sha2_256;

/// Each slot has a sector of its own.
const SLOT_BYTES: usize = 512;
const RECORD_BYTES: usize = 8 + 8 + 4 + 8 + 4 + 1;
const CHECK_BYTES: usize = 8;
const CLEAN: u8 = 1;
const REBUILD: u8 = 2;
const NAMES_LEFT: u8 = 4;
const IN_USE: u8 = 8;

/// What is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Known {
    serial: u64,
    /// How often the index was flushed.
    pub(super) generation: u64,
    /// Everything in packs before this was synced.
    pub(super) synced: Position,
    /// No pack with a greater number was ever begun.
    pub(super) last_pack: u32,
    /// Nothing was written to packs behind `synced`.
    pub(super) clean: bool,
    /// The index may speak of bytes that are gone, and must be made again.
    pub(super) rebuild: bool,
    /// A file lost its name by a rename since the index was flushed. Whoever opens the store next, after anything but a
    /// power cut, sees this as it was written last.
    pub(super) names_left: bool,
    /// Somebody opened the store and did not close it: what it left unsynced, directories too, is seen by the next one and
    /// can still go.
    pub(super) in_use: bool,
}

/// The file.
pub(super) struct Witness {
    state: Mutex<State>,
}

struct State {
    file: DiskFile,
    known: Known,
    valid: bool,
}

impl Witness {
    /// Opens the witness at `path`, or makes one that knows nothing.
    pub(super) fn open(disk: &Disk, path: &Path) -> Result<Self, StoreError> {
        // One that is too long was not written here; it counts for as much as its slots.
        let found = read_small(path, 1 << 16)?;
        let slots = found.as_deref().map(|bytes| bytes.chunks(SLOT_BYTES).take(2));
        let best = slots.and_then(|slots| slots.filter_map(decode).max_by_key(|known| known.serial));
        if found.is_none() {
            disk.replace(
                path,
                &[encode(&Known::default()), vec![0; SLOT_BYTES]].concat(),
                Access::Owner,
            )?;
        }
        Ok(Self {
            state: Mutex::new(State {
                file: disk.open(path)?,
                known: best.unwrap_or_default(),
                valid: best.is_some(),
            }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known; nothing if there was no witness, or it is unreadable.
    pub(super) fn known(&self) -> Option<Known> {
        let state = self.state();
        state.valid.then_some(state.known)
    }

    /// Writes down what is known now. Without `sync` it may be forgotten, which does no harm.
    ///
    /// # Errors
    /// It cannot be written; the last word may be the old or the new one.
    pub(super) fn write(&self, change: impl FnOnce(&mut Known), sync: bool) -> Result<(), StoreError> {
        let mut state = self.state();
        let mut known = state.known;
        change(&mut known);
        known.serial += 1;
        let at = (known.serial % 2) * SLOT_BYTES as u64;
        // What is behind the record stays as it was made: zeros.
        let slot = encode(&known);
        state
            .file
            .write_at(slot.get(..RECORD_BYTES + CHECK_BYTES).unwrap_or(&slot), at)?;
        if sync {
            state.file.sync()?;
        }
        (state.known, state.valid) = (known, true);
        Ok(())
    }
}

fn encode(known: &Known) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SLOT_BYTES);
    bytes.extend_from_slice(&known.serial.to_le_bytes());
    bytes.extend_from_slice(&known.generation.to_le_bytes());
    bytes.extend_from_slice(&known.synced.0.to_le_bytes());
    bytes.extend_from_slice(&known.synced.1.to_le_bytes());
    bytes.extend_from_slice(&known.last_pack.to_le_bytes());
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    bytes.push(
        flag(known.clean, CLEAN)
            | flag(known.rebuild, REBUILD)
            | flag(known.names_left, NAMES_LEFT)
            | flag(known.in_use, IN_USE),
    );
    let check = sha2_256(&bytes);
    bytes.extend_from_slice(&check.digest()[..CHECK_BYTES]);
    bytes.resize(SLOT_BYTES, 0);
    bytes
}

fn decode(slot: &[u8]) -> Option<Known> {
    let (record, rest) = slot.split_at_checked(RECORD_BYTES)?;
    if rest.get(..CHECK_BYTES)? != &sha2_256(record).digest()[..CHECK_BYTES] {
        return None;
    }
    let u64_at = |at: usize| Some(u64::from_le_bytes(record.get(at..at + 8)?.try_into().ok()?));
    let u32_at = |at: usize| Some(u32::from_le_bytes(record.get(at..at + 4)?.try_into().ok()?));
    Some(Known {
        serial: u64_at(0)?,
        generation: u64_at(8)?,
        synced: (u32_at(16)?, u64_at(20)?),
        last_pack: u32_at(28)?,
        clean: record[32] & CLEAN != 0,
        rebuild: record[32] & REBUILD != 0,
        names_left: record[32] & NAMES_LEFT != 0,
        in_use: record[32] & IN_USE != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_whole_word_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("synced");
        let disk = Disk::new();
        let witness = Witness::open(&disk, &path).unwrap();
        assert_eq!(witness.known(), None);
        for number in 1..=3 {
            witness.write(|known| known.synced = (number, 16), number == 2).unwrap();
        }
        let word = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            Witness::open(&disk, &path).unwrap().known().map(|known| known.synced)
        };
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(word(&whole), Some((3, 16)));
        let mut torn = whole.clone();
        torn[SLOT_BYTES..][10] ^= 1;
        assert_eq!(word(&torn), Some((2, 16)), "the one before");
        torn[0] ^= 1;
        assert_eq!(word(&torn), None);
        assert_eq!(word(&whole[..20]), None);
        assert_eq!(word(&[]), None);
        let known = Known {
            serial: 0x0102_0304_0506_0708,
            generation: 9,
            synced: (7, 1 << 40),
            last_pack: 8,
            clean: true,
            rebuild: true,
            names_left: true,
            in_use: true,
        };
        assert_eq!(decode(&encode(&known)), Some(known));
    }
}
