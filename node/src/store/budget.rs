//! How much of the disk the store may hold, and what it holds.

use std::{fs, os::unix::fs::MetadataExt as _, sync::atomic::Ordering};

use multihash::Multihash;

use super::{
    error::StoreError,
    place::{Holder, IndexEntry},
    reach::Reach,
    state::{Store, full_at},
    stats::Counters,
    uses::Part,
};
use crate::block::{Block, Cid, RAW};

/// Of a limit, in percent: so much is left when room was made, if what nobody needs suffices.
const GOAL_PERCENT: u64 = 75;

/// What the store holds, told apart by who needs it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Survey {
    /// The most that it may hold, in bytes, if there is a limit.
    pub max_bytes: Option<u64>,
    /// All that it holds on the disk: packs, index, and blocks in registered files.
    pub held_bytes: u64,
    /// Pins, over all owners.
    pub pins: u64,
    /// Blocks that pins reach.
    pub pinned_blocks: u64,
    /// Bytes of those that are in packs.
    pub pinned_bytes: u64,
    /// Blocks in packs that no pin reaches: they go when room is needed.
    pub passing_blocks: u64,
    /// Their bytes.
    pub passing_bytes: u64,
    /// Bytes of blocks in registered files.
    pub file_bytes: u64,
    /// Registered files.
    pub files: u64,
    /// Packs.
    pub packs: u64,
    /// Bytes of disk that packs take up, with what is dead in them.
    pub pack_disk_bytes: u64,
    /// Size of the index on disk, in bytes.
    pub index_bytes: u64,
    /// The block that goes first when room is needed; known by its multihash, so its codec is raw.
    pub next_to_go: Option<Cid>,
    /// Blocks that pins need and that are not here; leaves are not looked for.
    pub missing: u64,
}

impl Store {
    /// Looks how much disk packs and index take up. Gives [`held_bytes`](Self::held_bytes) as it is then.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn measure(&self) -> Result<u64, StoreError> {
        let taken = self.pack_disk_bytes() + self.inner.index.size_on_disk()?;
        let taken = i64::try_from(taken).unwrap_or(i64::MAX);
        let blocks = Counters::read(&self.inner.counters.pack_bytes);
        let beside = taken.saturating_sub(i64::try_from(blocks).unwrap_or(i64::MAX));
        self.inner.beside.store(beside, Ordering::Relaxed);
        Ok(self.held_bytes())
    }

    fn pack_disk_bytes(&self) -> u64 {
        let packs = self.inner.packs.list().into_iter();
        let found = packs.filter_map(|id| fs::symlink_metadata(self.inner.packs.path(id)).ok());
        found.map(|pack| pack.blocks() * 512).sum()
    }

    /// How many bytes are to go now so that there is room for what comes: none while less than nine tenths of the limit are held
    /// and nothing was refused.
    ///
    /// # Errors
    /// As [`measure`](Self::measure).
    pub fn room_wanted(&self) -> Result<u64, StoreError> {
        let Some(max) = self.max_bytes() else {
            return Ok(0);
        };
        let held = self.measure()?;
        Ok(
            match (self.inner.refused.load(Ordering::Relaxed), held > full_at(max)) {
                // Whoever was refused needs more than there was, and it is not known how much.
                (true, _) => held,
                (false, true) => held.saturating_sub(max / 100 * GOAL_PERCENT),
                (false, false) => 0,
            },
        )
    }

    /// What the store holds, by who needs it. Follows every pin, as a collection does.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn survey(&self) -> Result<Survey, StoreError> {
        let links = |block: &Block| crate::dag::links(block).map_err(Into::into);
        let reach = self.reach(&links)?;
        let stats = self.stats()?;
        let mut survey = Survey {
            max_bytes: self.max_bytes(),
            held_bytes: self.measure()?,
            pins: reach.pins,
            pinned_blocks: reach.blocks,
            missing: reach.gone - reach.not_missed,
            file_bytes: stats.file_bytes,
            files: stats.files,
            packs: self.inner.packs.list().len() as u64,
            pack_disk_bytes: self.pack_disk_bytes(),
            index_bytes: stats.index_bytes,
            ..Survey::default()
        };
        let mut next: Option<Part> = None;
        self.each_entry(|_, hash, entry| {
            let bytes = self.packed_bytes(&entry);
            if reach.contains(hash) {
                survey.pinned_bytes += bytes;
            } else if bytes > 0 {
                survey.passing_blocks += 1;
                survey.passing_bytes += bytes;
                let used = self.last_use(&entry);
                if next.is_none_or(|next| used.is_some_and(|used| used < next)) {
                    (next, survey.next_to_go) = (used, Some(Cid::new_v1(RAW, *hash)));
                }
            }
            Ok(())
        })?;
        Ok(survey)
    }

    /// Bytes of a block in packs.
    pub(super) fn packed_bytes(&self, entry: &IndexEntry) -> u64 {
        let packed = entry
            .places
            .iter()
            .filter(|place| matches!(place.holder, Holder::Pack(_)));
        let whole = packed.filter(|place| self.is_whole(place));
        whole.map(|place| u64::from(place.len)).sum()
    }

    /// When a block in a pack was last written or read.
    pub(super) fn last_use(&self, entry: &IndexEntry) -> Option<Part> {
        entry
            .places
            .iter()
            .filter_map(|place| self.inner.uses.last(place))
            .max()
    }

    /// From which moment on what no pin reaches stays, so that about `bytes` of the rest of it go: those that were used least
    /// lately.
    pub(super) fn spared_from(&self, reach: &Reach, bytes: u64) -> Result<Part, StoreError> {
        let mut passing = std::collections::BTreeMap::<Part, u64>::new();
        self.each_entry(|_, hash, entry| {
            if let (false, Some(used)) = (reach.contains(hash), self.last_use(&entry)) {
                *passing.entry(used).or_default() += self.packed_bytes(&entry);
            }
            Ok(())
        })?;
        let mut gone = 0;
        for (used, size) in passing {
            if gone >= bytes {
                return Ok(used);
            }
            gone += size;
        }
        Ok((u32::MAX, u32::MAX))
    }

    /// Shows every entry of the index with its multihash.
    pub(super) fn each_entry(
        &self,
        mut visit: impl FnMut(&[u8], &Multihash<64>, IndexEntry) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.inner.index.each_entry(|key, entry| {
            let hash = Multihash::from_bytes(key);
            hash.map_or(Ok(()), |hash| visit(key, &hash, entry))
        })
    }
}
