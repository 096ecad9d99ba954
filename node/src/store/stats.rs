//! What a store holds, as counters.

use std::sync::atomic::{AtomicI64, Ordering};

use super::place::{Holder, IndexEntry};

/// What a store holds. Kept as counters, so asking is cheap; [`Store::gc`](super::Store::gc) counts them anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStats {
    /// Blocks known, whatever holds them.
    pub blocks: u64,
    /// Bytes of blocks in packs.
    pub pack_bytes: u64,
    /// Bytes of blocks in registered files.
    pub file_bytes: u64,
    /// Registered files.
    pub files: u64,
    /// Pins, over all owners.
    pub pins: u64,
    /// Size of the index on disk, in bytes.
    pub index_bytes: u64,
}

#[derive(Default)]
pub(super) struct Counters {
    pub(super) blocks: AtomicI64,
    pub(super) pack_bytes: AtomicI64,
    pub(super) file_bytes: AtomicI64,
    pub(super) files: AtomicI64,
}

impl Counters {
    pub(super) fn named(&self) -> [(&'static str, &AtomicI64); 4] {
        [
            ("count of blocks", &self.blocks),
            ("count of pack bytes", &self.pack_bytes),
            ("count of file bytes", &self.file_bytes),
            ("count of files", &self.files),
        ]
    }

    /// What was counted, as a number to show.
    pub(super) fn read(counter: &AtomicI64) -> u64 {
        counter.load(Ordering::Relaxed).max(0) as u64
    }

    /// Follows a change of an index entry.
    pub(super) fn follow(&self, before: &IndexEntry, after: &IndexEntry) {
        let bytes = |entry: &IndexEntry, in_pack: bool| -> i64 {
            let held = entry
                .places
                .iter()
                .filter(|place| matches!(place.holder, Holder::Pack(_)) == in_pack);
            held.map(|place| i64::from(place.len)).sum()
        };
        let known = |entry: &IndexEntry| i64::from(!entry.places.is_empty());
        self.blocks.fetch_add(known(after) - known(before), Ordering::Relaxed);
        self.pack_bytes
            .fetch_add(bytes(after, true) - bytes(before, true), Ordering::Relaxed);
        self.file_bytes
            .fetch_add(bytes(after, false) - bytes(before, false), Ordering::Relaxed);
    }
}
