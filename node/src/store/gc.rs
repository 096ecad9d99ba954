//! Garbage collection: mark from the pins, sweep the index, give the space of packs back.
//!
//! It stops before touching anything when it is in doubt: a pinned block that is missing or cannot be read might have
//! links to blocks that would then be swept. Only packs lose blocks; registered files are touched only if their owner gives
//! them up.

use std::{
    collections::{BTreeMap, HashSet},
    fs::{self, File},
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};

use multihash::Multihash;
use rustix::fs::{FallocateFlags, fallocate};

use super::{
    Blocks as _, Hold, Store, StoreError,
    files::check_path,
    index::{Entry, Holder, Place, free_bytes},
    pack::{self, Position},
    pins::Pin,
    reserve,
};
use crate::block::{Block, Cid, RAW, SHA2_256, inherent, sha2_256};

/// Packs with at least this share of dead bytes, in percent, are copied together; others only get holes.
const COMPACT_DEAD_PERCENT: u64 = 50;
/// Dead stretches below this stay: a hole needs whole pages, and many small ones cost more than they give.
const PUNCH_MIN_BYTES: u64 = 64 << 10;
/// Holes begin and end at multiples of this, the page of all common file systems.
const PUNCH_ALIGN: u64 = 4096;
/// Blocks are copied out of a pack in batches of this many bytes.
const COPY_BYTES: usize = 8 << 20;

/// Why the links of a block could not be read.
pub type LinksError = Box<dyn std::error::Error + Send + Sync>;

/// What a collection did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GcReport {
    /// Pins that were followed.
    pub pins: u64,
    /// Blocks that they keep.
    pub kept_blocks: u64,
    /// Blocks removed.
    pub removed_blocks: u64,
    /// Bytes of the blocks removed.
    pub removed_bytes: u64,
    /// Files removed that their owner gave up and no pin needed.
    pub removed_files: u64,
    /// Bytes of disk given back by packs and files.
    pub freed_bytes: u64,
}

/// Files in the workspace that their owner has no use for, to be removed if no pin needs them.
pub struct GivenUp<'a> {
    store: &'a Store,
    live: &'a Live,
    removed_files: u64,
    freed_bytes: u64,
}

impl GivenUp<'_> {
    /// Removes a file, given by its path relative to the workspace, unless a pin reaches a block in it. Says whether the
    /// file is gone. One that is not registered is needed by no pin.
    ///
    /// # Errors
    /// [`StoreError::OutsideWorkspace`], or the file cannot be removed or the index not be changed.
    pub fn remove_unless_needed(&mut self, path: &Path) -> Result<bool, StoreError> {
        let path = check_path(path)?;
        let full = self.store.root().join(path);
        let len = fs::symlink_metadata(&full).map_or(0, |file| file.len());
        match self.store.file_at(path)? {
            Some(file) => {
                let index = &self.store.inner.index;
                let mut leaves = index.leaves.scan_prefix(file.0.to_be_bytes());
                while let Some((_, hash)) = index.run(|| leaves.next().transpose())? {
                    if Multihash::from_bytes(&hash).is_ok_and(|hash| self.live.contains(&hash)) {
                        return Ok(false);
                    }
                }
                self.store.remove_file(file)?;
            }
            None => fs::remove_file(&full).map_err(|error| StoreError::io("remove", &full, error))?,
        }
        self.removed_files += 1;
        self.freed_bytes += len;
        Ok(true)
    }
}

/// The hashes that pins keep. 32 bytes each, since there may be millions.
#[derive(Default)]
struct Live(HashSet<[u8; 32]>);

impl Live {
    fn key(hash: &Multihash<64>) -> [u8; 32] {
        match <[u8; 32]>::try_from(hash.digest()) {
            Ok(digest) if hash.code() == SHA2_256 => digest,
            _ => {
                let mut key = [0; 32];
                key.copy_from_slice(sha2_256(&hash.to_bytes()).digest());
                key
            }
        }
    }

    fn insert(&mut self, cid: &Cid) -> bool {
        self.0.insert(Self::key(cid.hash()))
    }

    fn contains(&self, hash: &Multihash<64>) -> bool {
        self.0.contains(&Self::key(hash))
    }
}

impl Store {
    /// Keeps GC out while blocks are gathered that nothing pins yet. Waits for a collection that runs.
    pub fn hold(&self) -> Hold {
        self.inner.gate.hold()
    }

    /// Removes the blocks in packs that no pin reaches, and gives their space back. `links` names the blocks that a
    /// block links to. Blocks put while this runs stay. Works on a full disk.
    ///
    /// # Errors
    /// Nothing was removed on [`StoreError::Busy`] (somebody has a [`Hold`], or another collection runs) and on
    /// [`StoreError::GcRefused`] (a pinned block is missing or unreadable, or files are still to be registered after a
    /// rebuild). On others, what was removed is what nothing needs; the next collection goes on.
    pub fn gc(&self, links: &dyn Fn(&Block) -> Result<Vec<Cid>, LinksError>) -> Result<GcReport, StoreError> {
        self.gc_with_files(links, &mut |_| Ok(()))
    }

    /// As [`gc`](Self::gc), and `files` names files that their owner has no use for any more. It is called while nobody
    /// has a [`Hold`].
    ///
    /// # Errors
    /// As [`gc`](Self::gc), and those of `files`.
    pub fn gc_with_files(
        &self,
        links: &dyn Fn(&Block) -> Result<Vec<Cid>, LinksError>,
        files: &mut dyn FnMut(&mut GivenUp<'_>) -> Result<(), StoreError>,
    ) -> Result<GcReport, StoreError> {
        let inner = &*self.inner;
        let Some(_collecting) = inner.gate.collect() else {
            return Err(StoreError::Busy);
        };
        if self.rebuilt() {
            let reason = "the index was rebuilt and the datasets' files are not all registered again".to_owned();
            return Err(StoreError::GcRefused { reason });
        }
        let mut report = GcReport::default();
        // What is put from here on is young, and stays whatever the pins say.
        let watermark = inner.packs.watermark();
        let pins = self.pins(None)?;
        let live = self.mark(&pins, links, &mut report)?;

        let reserve = inner.packs.dir().join("reserve");
        reserve::release(&reserve);
        let outcome = self
            .collect(&live, watermark, &mut report)
            .and_then(|()| self.trim_journal(&pins))
            .and_then(|()| {
                let mut given_up = GivenUp {
                    store: self,
                    live: &live,
                    removed_files: 0,
                    freed_bytes: 0,
                };
                let outcome = files(&mut given_up);
                report.removed_files += given_up.removed_files;
                report.freed_bytes += given_up.freed_bytes;
                outcome
            });
        reserve::hold(&reserve, inner.options.reserve_bytes, inner.options.min_free_bytes);
        outcome.map(|()| report)
    }

    fn mark(
        &self,
        pins: &[Pin],
        links: &dyn Fn(&Block) -> Result<Vec<Cid>, LinksError>,
        report: &mut GcReport,
    ) -> Result<Live, StoreError> {
        let mut live = Live::default();
        let mut due = Vec::new();
        for pin in pins {
            report.pins += 1;
            let doubt = |cid: &Cid, what: &str| StoreError::GcRefused {
                reason: format!("block {cid}, which {} needs, {what}", pin.owner),
            };
            due.push(pin.cid);
            while let Some(cid) = due.pop() {
                if inherent(&cid).is_some() || !live.insert(&cid) {
                    continue;
                }
                report.kept_blocks += 1;
                if cid.codec() == RAW {
                    if !self.has(&cid)? {
                        return Err(doubt(&cid, "is missing"));
                    }
                    continue;
                }
                let block = self.get(&cid)?.ok_or_else(|| doubt(&cid, "is missing"))?;
                due.extend(links(&block).map_err(|error| doubt(&cid, &format!("cannot be read: {error}")))?);
            }
        }
        Ok(live)
    }

    fn collect(&self, live: &Live, watermark: Position, report: &mut GcReport) -> Result<(), StoreError> {
        let inner = &*self.inner;
        let live_bytes = self.live_bytes(live)?;
        let dead_packs = |store: &Self| -> Result<Vec<u32>, StoreError> {
            let packs = store.inner.packs.list()?.into_iter();
            Ok(packs
                .filter(|id| *id < watermark.0 && !live_bytes.contains_key(id))
                .collect())
        };

        // sled needs space even to forget. Without any, bytes that nothing needs go first; the index still speaks of
        // them for a moment, and would find them damaged.
        if free_bytes(&inner.root).is_some_and(|free| free < inner.options.min_free_bytes) {
            for id in dead_packs(self)? {
                report.freed_bytes += self.drop_pack(id)?;
            }
            for id in inner.packs.list()?.into_iter().filter(|id| *id < watermark.0) {
                report.freed_bytes += self.punch(id, live)?;
            }
        }

        self.sweep(live, watermark, report)?;
        // The index must not come back to bytes that are gone.
        self.flush()?;

        for id in dead_packs(self)? {
            report.freed_bytes += self.drop_pack(id)?;
        }
        for id in inner.packs.list()?.into_iter().filter(|id| *id <= watermark.0) {
            let len = self.pack_len(id)?;
            let dead = len.saturating_sub(live_bytes.get(&id).copied().unwrap_or(0));
            let mostly_dead = dead >= PUNCH_MIN_BYTES && dead * 100 >= len * COMPACT_DEAD_PERCENT;
            let compacted = if mostly_dead { self.compact(id) } else { Ok(None) };
            match compacted {
                Ok(Some(freed)) => report.freed_bytes += freed,
                Ok(None) | Err(StoreError::Full { .. }) if id < watermark.0 && dead >= PUNCH_MIN_BYTES => {
                    report.freed_bytes += self.punch(id, live)?;
                }
                Ok(None) | Err(StoreError::Full { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.flush()
    }

    /// How many bytes of each pack are records that pins need.
    fn live_bytes(&self, live: &Live) -> Result<BTreeMap<u32, u64>, StoreError> {
        let mut bytes = BTreeMap::new();
        self.each_entry(|key, hash, entry| {
            if let Some(place) = entry.pack().filter(|_| live.contains(hash))
                && let Holder::Pack(id) = place.holder
            {
                *bytes.entry(id).or_insert(0) += pack::record_end(place) - pack::record_start(key.len(), place);
            }
            Ok(())
        })?;
        Ok(bytes)
    }

    fn each_entry(
        &self,
        mut visit: impl FnMut(&[u8], &Multihash<64>, &Entry) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let index = &self.inner.index;
        let mut entries = index.blocks.iter();
        while let Some((key, value)) = index.run(|| entries.next().transpose())? {
            if let Ok(hash) = Multihash::from_bytes(&key) {
                visit(&key, &hash, &Entry::decode(&value))?;
            }
        }
        Ok(())
    }

    /// Takes everything out of the index that is in packs before the watermark and not live, and counts the rest.
    fn sweep(&self, live: &Live, watermark: Position, report: &mut GcReport) -> Result<(), StoreError> {
        let (mut blocks, mut pack_bytes, mut file_bytes) = (0, 0, 0);
        let young = |place: &Place| match place.holder {
            Holder::Pack(id) => (id, place.offset) >= watermark,
            Holder::File(_) => true,
        };
        self.each_entry(|key, hash, entry| {
            let mut left = entry.clone();
            if !live.contains(hash) && (entry.keep || !entry.places.iter().all(young)) {
                let swept = self.inner.index.update(key, |entry| {
                    entry.keep = false;
                    entry.places.retain(young);
                    true
                })?;
                if let Some((before, after)) = swept {
                    let dropped = before.places.iter().filter(|place| !young(place));
                    report.removed_bytes += dropped.map(|place| u64::from(place.len)).sum::<u64>();
                    if after.places.is_empty() {
                        report.removed_blocks += 1;
                        self.inner.index.run(|| self.inner.index.complete.remove(key))?;
                    }
                    left = after;
                }
            }
            blocks += i64::from(!left.places.is_empty());
            for place in &left.places {
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
        Ok(())
    }

    fn pack_len(&self, id: u32) -> Result<u64, StoreError> {
        let path = self.inner.packs.path(id);
        Ok(fs::metadata(&path)
            .map_err(|error| StoreError::io("read the size of", &path, error))?
            .len())
    }

    fn drop_pack(&self, id: u32) -> Result<u64, StoreError> {
        let len = self.pack_len(id)?;
        self.inner.handles.forget(Holder::Pack(id));
        self.inner.packs.remove(id)?;
        Ok(len)
    }

    /// Copies what the index still finds in a pack to the newest one, then removes the pack. Gives the bytes freed, or
    /// nothing if somebody is still writing to it.
    fn compact(&self, id: u32) -> Result<Option<u64>, StoreError> {
        let packs = &self.inner.packs;
        if packs.active() == Some(id) {
            packs.roll();
        }
        if packs.is_being_written(id) {
            return Ok(None);
        }
        let mut copied = 0;
        let mut batch: Vec<(Multihash<64>, Place)> = Vec::new();
        let mut batch_bytes = 0;
        let path = packs.path(id);
        pack::scan(id, &path, 0, |_, hash, place| {
            let entry = self.inner.index.entry(&hash.to_bytes())?;
            if entry.is_some_and(|entry| entry.places.contains(&place)) {
                batch.push((hash, place));
                batch_bytes += place.len as usize;
            }
            if batch_bytes >= COPY_BYTES {
                copied += self.copy(&batch)?;
                batch.clear();
                batch_bytes = 0;
            }
            Ok(())
        })?;
        copied += self.copy(&batch)?;
        self.flush()?;
        Ok(Some(self.drop_pack(id)?.saturating_sub(copied)))
    }

    /// Copies blocks to the newest pack. Gives the bytes written.
    fn copy(&self, blocks: &[(Multihash<64>, Place)]) -> Result<u64, StoreError> {
        let mut read = Vec::with_capacity(blocks.len());
        for (hash, place) in blocks {
            // A damaged one is not carried on: it is missing from now on.
            let block = self
                .read(place)?
                .and_then(|data| Block::verify(Cid::new_v1(RAW, *hash), data).ok());
            read.push((hash.to_bytes(), *place, block));
        }
        let records: Vec<pack::Record<'_>> = read
            .iter()
            .filter_map(|(hash, _, block)| Some((&hash[..], &block.as_ref()?.data()[..])))
            .collect();
        self.inner.index.guard.room()?;
        let (places, _in_flight) = self.inner.packs.append(&records)?;
        let mut places = places.into_iter();
        let mut written = 0;
        for (hash, old, block) in &read {
            let new = block.as_ref().and_then(|_| places.next());
            let moved = self.update(hash, |entry| {
                let Some(known) = entry.places.iter().position(|place| place == old) else {
                    return false;
                };
                match new {
                    Some(new) => entry.places[known] = new,
                    None => drop(entry.places.remove(known)),
                }
                true
            })?;
            written += new.map_or(0, |place| {
                pack::record_end(&place) - pack::record_start(hash.len(), &place)
            });
            if new.is_none() && moved.is_some_and(|(_, after)| after.places.is_empty()) {
                self.forget_completeness()?;
            }
        }
        Ok(written)
    }

    /// Gives back the space between the live records of a pack that is not written any more. Gives the bytes freed.
    fn punch(&self, id: u32, live: &Live) -> Result<u64, StoreError> {
        let path: PathBuf = self.inner.packs.path(id);
        let mut stretches = Vec::new();
        let mut dead_from = None;
        let len = pack::scan(id, &path, 0, |_, hash, place| {
            let start = pack::record_start(hash.to_bytes().len(), &place);
            if live.contains(&hash) {
                stretches.extend(dead_from.take().map(|from| (from, start)));
            } else {
                dead_from.get_or_insert(start);
            }
            Ok(())
        })?;
        stretches.extend(dead_from.map(|from| (from, len)));

        let allocated = |file: &File| {
            file.metadata()
                .map(|meta| std::os::unix::fs::MetadataExt::blocks(&meta) * 512)
        };
        let io = |error| StoreError::io("free space in", &path, error);
        let file = File::options().write(true).open(&path).map_err(io)?;
        let before = allocated(&file).map_err(io)?;
        for (from, to) in stretches {
            let (from, to) = (from.next_multiple_of(PUNCH_ALIGN), to / PUNCH_ALIGN * PUNCH_ALIGN);
            if to > from && to - from >= PUNCH_MIN_BYTES {
                let punched = fallocate(
                    &file,
                    FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
                    from,
                    to - from,
                );
                match punched {
                    // Not every file system can; the space comes back when the pack is compacted.
                    Err(rustix::io::Errno::OPNOTSUPP) => return Ok(0),
                    other => other.map_err(|error| io(error.into()))?,
                }
            }
        }
        Ok(before.saturating_sub(allocated(&file).map_err(io)?))
    }
}
