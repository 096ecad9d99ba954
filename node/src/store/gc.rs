//! Garbage collection: mark from the pins, sweep the index, give the space of packs back.
//!
//! Only packs lose blocks; registered files are touched only if their owner gives them up. What is in doubt stays and the
//! rest goes: a pinned block that was here and is missing might have linked to anything that was here at the collection
//! before, so all of that is kept until the block is back or its pin gone; what came later is collected as ever.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::Path,
    sync::atomic::Ordering,
};

use multihash::Multihash;

use super::{
    compact::PUNCH_MIN_BYTES,
    content::EVERYTHING,
    error::StoreError,
    files::check_path,
    place::{Holder, Place, Position},
    reach::{IN_PART, Links, Missing, Reach, UNSETTLED},
    record, reserve,
    state::Store,
    uses::Part,
};
use crate::block::Block;

/// Packs with at least this share of dead bytes, in percent, are copied together; others only get holes.
const COMPACT_DEAD_PERCENT: u64 = 50;

/// The most removed blocks that are named one by one.
pub const MAX_REMOVED_NAMED: usize = 1 << 18;

/// What a collection did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GcReport {
    /// Pins that were followed.
    pub pins: u64,
    /// Blocks that they keep.
    pub kept_blocks: u64,
    /// Blocks removed.
    pub removed_blocks: u64,
    /// The hashes of the first [`MAX_REMOVED_NAMED`] of them; of none where only so much went as room was needed for.
    pub removed: Vec<Multihash<64>>,
    /// Bytes of the blocks removed.
    pub removed_bytes: u64,
    /// Files removed that their owner gave up and no pin needed.
    pub removed_files: u64,
    /// Bytes of disk given back by packs and files.
    pub freed_bytes: u64,
    /// Blocks that pins need and that could not be followed; the first of them, if there are many.
    pub missing: Vec<Missing>,
    /// Blocks that stayed only because a missing one may have linked to them.
    pub doubtful_blocks: u64,
    /// Bytes of blocks in packs that no pin reaches and that stayed, as they were used of late or came meanwhile.
    pub passing_bytes: u64,
}

/// How much a collection takes away of what no pin reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// All of it.
    Everything,
    /// About so many bytes: what was used least lately.
    Bytes(u64),
}

/// Files in the workspace that their owner has no use for, to be removed if no pin needs them.
pub struct GivenUp<'a> {
    store: &'a Store,
    reach: &'a Reach,
    removed_files: u64,
    freed_bytes: u64,
}

impl GivenUp<'_> {
    /// Removes a file, given by its path relative to the workspace, unless a pin reaches a block in it, or might. Says
    /// whether the file is gone.
    ///
    /// # Errors
    /// [`StoreError::OutsideWorkspace`], or the file cannot be removed or the index not be changed.
    pub fn remove_unless_needed(&mut self, path: &Path) -> Result<bool, StoreError> {
        let path = check_path(path)?;
        let full = self.store.root().join(path);
        let len = fs::symlink_metadata(&full).map_or(0, |file| file.len());
        if self.reach.is_in_doubt() {
            return Ok(false);
        }
        match self.store.file_at(path)? {
            Some(file) => {
                for leaf in self.store.leaves_of(file) {
                    let (_, hash) = leaf?;
                    if Multihash::from_bytes(&hash).is_ok_and(|hash| self.reach.contains(&hash)) {
                        return Ok(false);
                    }
                }
                self.store.drop_files(&[file])?;
            }
            // Perhaps it is not registered only because it was passed over when all were.
            None if self.store.inner.index.number(IN_PART)? != 0 => return Ok(false),
            None => self.store.disk().remove_file(&full)?,
        }
        self.removed_files += 1;
        self.freed_bytes += len;
        Ok(true)
    }
}

impl Store {
    /// Removes the blocks in packs that no pin reaches, and gives their space back. Blocks put while this runs stay, those
    /// that were here already too. Works on a full disk.
    ///
    /// # Errors
    /// Nothing was removed on [`StoreError::Busy`] (somebody has a [`Hold`](super::Hold), or another collection runs) and
    /// on [`StoreError::GcRefused`] (files are still to be registered after a rebuild). On others, what was removed is
    /// what nothing needs; the next collection goes on.
    pub fn gc(&self) -> Result<GcReport, StoreError> {
        self.gc_with_files(&mut |_| Ok(()))
    }

    /// As [`gc`](Self::gc), and `files` names files that their owner has no use for any more. It is called while nobody
    /// has a [`Hold`](super::Hold).
    ///
    /// # Errors
    /// As [`gc`](Self::gc), and those of `files`.
    pub fn gc_with_files(
        &self,
        files: &mut dyn FnMut(&mut GivenUp<'_>) -> Result<(), StoreError>,
    ) -> Result<GcReport, StoreError> {
        self.gc_following(
            &|block| crate::dag::links(block).map_err(Into::into),
            files,
            Goal::Everything,
        )
    }

    /// As [`gc_with_files`](Self::gc_with_files), but only about `bytes` of blocks go: of what no pin reaches, what was used
    /// least lately. Blocks used at about the same time go together.
    ///
    /// # Errors
    /// As [`gc_with_files`](Self::gc_with_files).
    pub fn make_room(
        &self,
        bytes: u64,
        files: &mut dyn FnMut(&mut GivenUp<'_>) -> Result<(), StoreError>,
    ) -> Result<GcReport, StoreError> {
        let links = |block: &Block| crate::dag::links(block).map_err(Into::into);
        self.gc_following(&links, files, Goal::Bytes(bytes))
    }

    /// As [`gc_with_files`](Self::gc_with_files), with other links, up to a goal.
    pub(super) fn gc_following(
        &self,
        links: Links<'_>,
        files: &mut dyn FnMut(&mut GivenUp<'_>) -> Result<(), StoreError>,
        goal: Goal,
    ) -> Result<GcReport, StoreError> {
        let inner = &*self.inner;
        let Some(_collecting) = inner.gate.collect() else {
            return Err(StoreError::Busy);
        };
        if self.rebuilt() {
            let reason = "the index was rebuilt and the datasets' files are not all registered again".to_owned();
            return Err(StoreError::GcRefused { reason });
        }
        if goal != Goal::Everything {
            // So that what goes of the last pack gives its space back, too.
            inner.packs.roll();
        }
        // What is put from here on is young, and stays whatever the pins say.
        let watermark = inner.packs.watermark();
        let mut reach = self.reach(links)?;
        let mut report = GcReport {
            pins: reach.pins,
            kept_blocks: reach.blocks,
            missing: std::mem::take(&mut reach.missing),
            ..GcReport::default()
        };
        // A pin that was taken away must not come back to a DAG that is gone, nor may a block lose its place in a pack to a
        // file that the power can still take.
        self.sync_bytes()?;
        for key in &reach.doubted {
            self.set_lost(key, EVERYTHING)?;
        }

        if goal != Goal::Everything {
            // Of a DAG that nobody keeps the leaves may go and the nodes stay, which are complete no more. Said before.
            self.forget_completeness()?;
        }
        let reserve = inner.packs.dir().join("reserve");
        reserve::release(self.disk(), &reserve);
        let outcome = self
            .collect(&reach, watermark, goal, &mut report)
            .and_then(|met| {
                self.settle(&reach)?;
                // What follows pins does not look for leaves: those that are missing are as many as were not met.
                if met + reach.gone < reach.blocks {
                    report.missing = self.first_missing(links)?;
                }
                Ok(())
            })
            .and_then(|()| {
                let mut given_up = GivenUp {
                    store: self,
                    reach: &reach,
                    removed_files: 0,
                    freed_bytes: 0,
                };
                let outcome = files(&mut given_up);
                report.removed_files += given_up.removed_files;
                report.freed_bytes += given_up.freed_bytes;
                outcome
            });
        reserve::hold(
            self.disk(),
            &reserve,
            inner.options.reserve_bytes,
            inner.options.min_free_bytes,
        );
        outcome?;
        inner
            .uses
            .retain(|pack| inner.packs.list().binary_search(&pack).is_ok());
        inner.refused.store(false, Ordering::Relaxed);
        Ok(report)
    }

    /// Remembers up to where there may be something that only the missing blocks linked to, and forgets those that are
    /// back or that nobody needs.
    fn settle(&self, reach: &Reach) -> Result<(), StoreError> {
        let index = &self.inner.index;
        let doubted: HashSet<&[u8]> = reach.doubted.iter().map(|key| &key[..]).collect();
        let mut lost = index.lost.iter().keys();
        while let Some(key) = index.run(|| lost.next().transpose())? {
            if !doubted.contains(&key[..]) {
                index.run(|| index.lost.remove(&key))?;
            }
        }
        let end = self.inner.packs.watermark();
        for key in doubted {
            self.set_lost(key, end)?;
        }
        index.set_number(UNSETTLED, 0)?;
        self.flush()
    }

    /// Gives how many of the blocks that pins reach are here.
    fn collect(
        &self,
        reach: &Reach,
        watermark: Position,
        goal: Goal,
        report: &mut GcReport,
    ) -> Result<u64, StoreError> {
        let inner = &*self.inner;
        // sled needs space even to forget. Without any, bytes that nothing needs go first.
        if inner.index.guard.is_short() {
            self.drop_first(reach, watermark, report)?;
        }
        let spared = match goal {
            Goal::Everything => None,
            Goal::Bytes(bytes) => Some(self.spared_from(reach, bytes)?),
        };
        let Swept { met, mut used } = self.sweep(reach, watermark, spared, report)?;
        // The index must not come back to bytes that are gone.
        self.flush()?;
        inner.packs.distrust_index(false)?;
        inner.index.reclaim()?;

        for id in inner.packs.list().into_iter().filter(|id| *id <= watermark.0) {
            let used = used.remove(&id).unwrap_or(0);
            if used == 0 && id < watermark.0 {
                report.freed_bytes += self.drop_pack(id)?;
                continue;
            }
            let mut len = self.pack_len(id)?;
            if id == watermark.0 {
                // What came later was perhaps not met.
                len = len.min(watermark.1);
            }
            let dead = len.saturating_sub(used);
            let mostly_dead = dead >= PUNCH_MIN_BYTES && dead * 100 >= len * COMPACT_DEAD_PERCENT;
            let compacted = if mostly_dead { self.compact(id) } else { Ok(None) };
            match compacted {
                Ok(Some(freed)) => report.freed_bytes += freed,
                Ok(None) | Err(StoreError::Full { .. }) if id < watermark.0 && dead >= PUNCH_MIN_BYTES => {
                    report.freed_bytes += self.punch(id, &|_, _| true)?;
                }
                Ok(None) | Err(StoreError::Full { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.flush()?;
        Ok(met)
    }

    /// Gives space back before the index is told. Nobody comes to count on what is here meanwhile.
    fn drop_first(&self, reach: &Reach, watermark: Position, report: &mut GcReport) -> Result<(), StoreError> {
        let inner = &*self.inner;
        let claims = inner.gate.dropping();
        let used = self.used_bytes(&|key, hash, place| reach.needs(hash, place) || claims.is_claimed(key))?;
        let old: Vec<u32> = inner.packs.list().into_iter().filter(|id| *id < watermark.0).collect();
        let (used, dead): (Vec<u32>, Vec<u32>) = old.into_iter().partition(|id| used.contains_key(id));
        for id in dead {
            report.freed_bytes += self.drop_pack(id)?;
        }
        if inner.index.guard.is_short() {
            // The index still speaks of these: if the power goes now it must be made again.
            inner.packs.distrust_index(true)?;
            for id in used {
                report.freed_bytes += self.punch(id, &|hash, place| {
                    reach.needs(hash, place) || claims.is_claimed(&hash.to_bytes())
                })?;
            }
        }
        Ok(())
    }

    /// How many bytes of each pack are records that the index finds and `counts` says yes to.
    fn used_bytes(
        &self,
        counts: &dyn Fn(&[u8], &Multihash<64>, &Place) -> bool,
    ) -> Result<BTreeMap<u32, u64>, StoreError> {
        let mut used = BTreeMap::new();
        self.each_entry(|key, hash, entry| {
            let counting = entry.places.iter().filter(|place| self.is_whole(place));
            for place in counting.filter(|place| counts(key, hash, place)) {
                count_record(&mut used, key, place);
            }
            Ok(())
        })?;
        Ok(used)
    }

    /// Takes everything out of the index that is in packs before the watermark and must not stay, and counts the rest. What was
    /// used from `spared` on stays.
    fn sweep(
        &self,
        reach: &Reach,
        watermark: Position,
        spared: Option<Part>,
        report: &mut GcReport,
    ) -> Result<Swept, StoreError> {
        let (mut blocks, mut pack_bytes, mut file_bytes) = (0, 0, 0);
        let mut swept = Swept::default();
        let young = |place: &Place| place.position().is_none_or(|position| position >= watermark);
        self.each_entry(|key, hash, mut left| {
            let is_reached = reach.contains(hash);
            let is_spared = spared.is_some_and(|from| self.last_use(&left).is_some_and(|used| used >= from));
            let stays = |place: &Place| {
                self.is_whole(place) && (young(place) || is_spared || is_reached || reach.needs(hash, place))
            };
            if !is_reached && left.places.iter().any(|place| !young(place)) {
                // Nobody begins to count on the block in between.
                let claims = self.inner.gate.dropping();
                if left.places.iter().all(stays) {
                    report.doubtful_blocks += u64::from(!is_spared);
                } else if !claims.is_claimed(key) {
                    let changed = self.inner.index.update(key, |entry| {
                        entry.places.retain(stays);
                        true
                    })?;
                    if let Some((before, after)) = changed {
                        let dropped = before.places.iter().filter(|place| !stays(place));
                        report.removed_bytes += dropped.map(|place| u64::from(place.len)).sum::<u64>();
                        if after.places.is_empty() {
                            report.removed_blocks += 1;
                            if spared.is_none() && report.removed.len() < MAX_REMOVED_NAMED {
                                report.removed.push(*hash);
                            }
                            self.inner.index.run(|| self.inner.index.complete.remove(key))?;
                        }
                        left = after;
                    }
                }
            }
            left.places.retain(|place| self.is_whole(place));
            if !is_reached {
                report.passing_bytes += self.packed_bytes(&left);
            }
            blocks += i64::from(!left.places.is_empty());
            swept.met += u64::from(is_reached && left.places.iter().any(|place| !self.is_away(place)));
            for place in &left.places {
                count_record(&mut swept.used, key, place);
                match place.holder {
                    Holder::Pack(_) => pack_bytes += i64::from(place.len),
                    Holder::File(_) => file_bytes += i64::from(place.len),
                }
            }
            Ok(())
        })?;
        let counters = &self.inner.counters;
        counters.blocks.store(blocks, Ordering::Relaxed);
        counters.pack_bytes.store(pack_bytes, Ordering::Relaxed);
        counters.file_bytes.store(file_bytes, Ordering::Relaxed);
        Ok(swept)
    }
}

/// What a sweep met.
#[derive(Default)]
struct Swept {
    /// How many blocks are here that pins reach.
    met: u64,
    /// How many bytes of each pack are records that the index finds.
    used: BTreeMap<u32, u64>,
}

/// Counts a record among those that its pack needs, if it is in one.
fn count_record(used: &mut BTreeMap<u32, u64>, key: &[u8], place: &Place) {
    if let Holder::Pack(id) = place.holder {
        *used.entry(id).or_insert(0) += record::record_end(place) - record::record_start(key.len(), place);
    }
}
