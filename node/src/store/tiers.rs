//! A map that stays cheap at any size: what changed of late in a sled tree, the rest in runs.
//!
//! sled writes a whole leaf again for each that lies in a segment it cleans, and random keys of a large tree touch another
//! leaf each. So the tree is kept small: once it has too many entries they are **folded** into a new [run](super::run), and
//! runs of about the same size are **merged** when there are enough of them. An entry is written once for each tier then,
//! in one stretch. A look-up asks the tree, then the runs from the newest on; an empty value is a tombstone and hides what
//! older runs say.
//!
//! What holds, whatever happens and wherever it is cut:
//! - **Order.** sled's promise is that a change which survives has with it every change made before. A run has changes that
//!   sled had when the tree was scanned, and sled is flushed after the scan and before the run gets its name, so sled never
//!   comes back to a moment before that. A run names the flush; one that sled does not know of is damage.
//! - **No update is lost.** An update holds `moving` for reading from the moment it reads to its compare-and-swap, and
//!   entries leave the tree under the write lock, after their run counts, and only if they are as they were scanned. So
//!   nothing can come into the tree, be folded and leave it between the two.
//! - **A look-up misses nothing.** It asks the tree before it takes the list of runs, and an entry leaves the tree after its
//!   run is in the list.
//! - **A crash between any two steps leaves duplicates only:** a run whose entries are in the tree still, an unfinished file
//!   that does not count, or runs beside the one they were merged into. The numbers of the folds are in the names of runs,
//!   without gaps from 1 on, so that no list of them is kept: a run within another is a left-over and goes, and anything
//!   else that does not fit is damage. sled knows the number of the last fold before anything leaves the tree, so a newest
//!   run that is missing is noticed, too.
//! - **Tombstones** go in a fold or merge that has the oldest run in it, since there is nothing left to hide.
//! - **Iterating** (`tiers/range.rs`) excludes nobody, and misses nothing for the same reason as a look-up.
//! - **Stops are short.** A fold takes a bounded number of entries, so that a tree from before there were runs is folded
//!   little by little, and a merge of more than [`MERGE_BLOCKS`] is made by a collection only.

use std::{
    cmp::Reverse,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use odf_disk::{Access, Disk};

use super::{
    error::StoreError,
    guard::Guard,
    merged::{Merged, Source},
    numbers::{number, set_number},
    run::{self, Label, Pair, Run, Writer},
};

/// A fold takes at most this many times the entries that make it due.
const FOLD_MAX: usize = 4;
/// Entries leave the tree in chunks of this many, so that nobody waits long.
const REMOVE_AT_ONCE: usize = 256;
/// Merges of more blocks than this wait for a collection.
const MERGE_BLOCKS: u64 = (64 << 20) / 4096;
/// What stands for a number of entries that is not known: many, until they are counted.
const UNCOUNTED: i64 = i64::MAX / 2;
/// In `meta`, behind the name of the map: the number that every run of it has.
const IDENTITY: &str = "identity";
/// The number of the last fold whose entries may have left the tree.
const FOLDED: &str = "folded";
/// How many entries the tree has, as of the last flush.
const RECENT: &str = "recent";

type Runs = Arc<Vec<Arc<Run>>>;

/// What an update makes of a value.
pub(super) enum Change {
    /// Nothing.
    Nothing,
    /// Another value, which is not empty.
    Value(Vec<u8>),
    /// There is none any more.
    Removed,
}

/// How large the parts may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// A fold is due when the tree has that many entries.
    pub(super) recent: usize,
    /// A merge is due when there are that many runs of about the same size.
    pub(super) fan_in: usize,
}

/// The map.
pub(super) struct Tiers {
    guard: Guard,
    disk: Disk,
    /// Where the runs are.
    dir: PathBuf,
    name: &'static str,
    recent: sled::Tree,
    meta: sled::Tree,
    limits: Limits,
    /// From the oldest to the newest.
    runs: RwLock<Runs>,
    /// See the module.
    moving: RwLock<()>,
    /// Held by whoever folds or merges.
    folding: Mutex<()>,
    /// Entries of the tree, more or less.
    count: AtomicI64,
    /// The index has an identity, so it has runs or is about to.
    is_folded: AtomicBool,
    /// The last fold could not be made.
    is_put_off: AtomicBool,
}

/// What was scanned for a fold. Nobody else folds or merges while this lives.
pub(super) struct Fold<'a> {
    tiers: &'a Tiers,
    _folding: MutexGuard<'a, ()>,
    identity: u64,
    entries: Vec<(sled::IVec, sled::IVec)>,
}

impl Tiers {
    /// Opens the map of this name over the tree `recent`; its runs are in a directory of its name in `dir`, neither of which
    /// need be there. `flushed` is the number of the last flush that sled knows of.
    ///
    /// # Errors
    /// [`StoreError::IndexDamaged`] if a run is missing, damaged or of another index.
    pub(super) fn open(
        (guard, disk, dir): (&Guard, &Disk, &Path),
        name: &'static str,
        recent: sled::Tree,
        meta: &sled::Tree,
        flushed: u64,
        limits: Limits,
    ) -> Result<Self, StoreError> {
        let number = |key: &str| number(guard, meta, &format!("{name}: {key}"));
        let dir = dir.join(name);
        let identity = number(IDENTITY)?.unwrap_or(0);
        let runs = open_runs(guard, disk, &dir, identity)?;
        let last = runs.last().map_or(0, |run| run.label.last);
        if last < number(FOLDED)?.unwrap_or(0) {
            return Err(guard.damaged("the newest run is not there"));
        }
        if runs.iter().any(|run| run.label.generation > flushed) {
            return Err(guard.damaged("sled forgot a flush that a run was made after"));
        }
        let count = number(RECENT)?.and_then(|count| i64::try_from(count).ok());
        Ok(Self {
            guard: guard.clone(),
            disk: disk.clone(),
            dir,
            name,
            recent,
            meta: meta.clone(),
            limits: Limits {
                recent: limits.recent.max(1),
                fan_in: limits.fan_in.max(2),
            },
            runs: RwLock::new(Arc::new(runs)),
            moving: RwLock::default(),
            folding: Mutex::default(),
            count: AtomicI64::new(count.unwrap_or(UNCOUNTED).min(UNCOUNTED)),
            is_folded: AtomicBool::new(identity != 0),
            is_put_off: AtomicBool::new(false),
        })
    }

    fn runs(&self) -> Runs {
        self.runs.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_runs(&self, runs: Vec<Arc<Run>>) {
        *self.runs.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(runs);
    }

    /// Whether there are runs, or are about to be: sled alone does not know everything then.
    pub(super) fn is_folded(&self) -> bool {
        self.is_folded.load(Ordering::Relaxed)
    }

    /// Length of all runs in bytes.
    pub(super) fn run_bytes(&self) -> u64 {
        self.runs().iter().map(|run| run.bytes()).sum()
    }

    fn set_number(&self, key: &str, to: u64) -> Result<(), StoreError> {
        set_number(&self.guard, &self.meta, &format!("{}: {key}", self.name), to)
    }

    /// Writes down how many entries the tree has, for the next opening.
    pub(super) fn note_count(&self) -> Result<(), StoreError> {
        let count = self.count.load(Ordering::Relaxed).max(0) as u64;
        self.set_number(RECENT, count)
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<sled::IVec>, StoreError> {
        let value = match self.guard.run(|| self.recent.get(key))? {
            Some(recent) => Some(recent),
            None => self.in_runs(key)?,
        };
        Ok(value.filter(|value| !value.is_empty()))
    }

    /// What the runs say: a value, or a tombstone.
    fn in_runs(&self, key: &[u8]) -> Result<Option<sled::IVec>, StoreError> {
        for run in self.runs().iter().rev() {
            if let Some(value) = run.get(key)? {
                return Ok(Some(value.into()));
            }
        }
        Ok(None)
    }

    /// Changes the value of a key in one atomic step, however many threads do. `change` may run several times, and does not
    /// change this map itself.
    pub(super) fn update(&self, key: &[u8], mut change: impl FnMut(Option<&[u8]>) -> Change) -> Result<(), StoreError> {
        let _staying = self.moving.read().unwrap_or_else(PoisonError::into_inner);
        let mut recent = self.guard.run(|| self.recent.get(key))?;
        // While this holds `moving`, what the runs say of a key that is not in the tree stays as it is.
        let mut below = None;
        loop {
            let known = match (&recent, &below) {
                (Some(recent), _) => Some(recent),
                (None, Some(below)) => Option::as_ref(below),
                (None, None) => below.insert(self.in_runs(key)?).as_ref(),
            };
            let known = known.filter(|value| !value.is_empty());
            let new = match change(known.map(|value| &value[..])) {
                Change::Nothing => return Ok(()),
                Change::Value(value) => value,
                // Not taken out of the tree: a run may have it, or a fold be about to write one.
                Change::Removed => Vec::new(),
            };
            if new[..] == *known.map_or(&[][..], |value| &value[..]) {
                return Ok(());
            }
            let swapped = self
                .guard
                .run(|| self.recent.compare_and_swap(key, recent.as_ref(), Some(new)))?;
            match swapped {
                Ok(()) => {
                    self.count.fetch_add(i64::from(recent.is_none()), Ordering::Relaxed);
                    return Ok(());
                }
                Err(conflict) => recent = conflict.current,
            }
        }
    }

    /// As [`Self::begin_fold`], for a tree that has so many times the entries that somebody who only changes the map is to
    /// fold it. On a full disk everybody would try in vain, so after a fold that could not be made it waits for one that was.
    pub(super) fn begin_overdue_fold(&self, times: usize) -> Result<Option<Fold<'_>>, StoreError> {
        match self.is_put_off.load(Ordering::Relaxed) {
            true => Ok(None),
            false => self.begin_fold(times),
        }
    }

    /// Scans the tree for a fold, if it has `times` the entries that make one due, and nobody else is at it. sled is to be
    /// flushed next, then comes [`Fold::finish`].
    pub(super) fn begin_fold(&self, times: usize) -> Result<Option<Fold<'_>>, StoreError> {
        let due = self.limits.recent.saturating_mul(times);
        let counted = self.count.load(Ordering::Relaxed);
        if !usize::try_from(counted).is_ok_and(|counted| counted >= due) {
            return Ok(None);
        }
        let folding = match self.folding.try_lock() {
            Ok(folding) => folding,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(None),
        };
        let max = self.limits.recent.saturating_mul(FOLD_MAX);
        let (mut entries, mut seen, mut scan) = (Vec::new(), 0_i64, self.recent.iter());
        let is_all = loop {
            if entries.len() >= max {
                break false;
            }
            let Some((key, value)) = self.guard.run(|| scan.next().transpose())? else {
                break true;
            };
            seen += 1;
            // What is longer than a block stays.
            if key.len() + value.len() <= run::MAX_ENTRY_BYTES {
                entries.push((key, value));
            }
        };
        // What came since the last flush of a process that was killed was never counted. As long as there may be more than
        // was seen, the next flush folds again.
        let missed = if is_all {
            seen - counted
        } else {
            (seen + self.limits.recent as i64 - counted).max(0)
        };
        self.count.fetch_add(missed, Ordering::Relaxed);
        if entries.len() < self.limits.recent.div_ceil(2) {
            return Ok(None);
        }
        Ok(Some(Fold {
            tiers: self,
            _folding: folding,
            identity: self.identity()?,
            entries,
        }))
    }

    fn identity(&self) -> Result<u64, StoreError> {
        let name = format!("{}: {IDENTITY}", self.name);
        if let Some(known) = number(&self.guard, &self.meta, &name)?.filter(|known| *known != 0) {
            return Ok(known);
        }
        let new = rand::random::<u64>().max(1);
        self.set_number(IDENTITY, new)?;
        self.is_folded.store(true, Ordering::Relaxed);
        Ok(new)
    }

    /// Merges runs, if enough are of about the same size. For whoever has `folding`.
    fn merge_if_due(&self) -> Result<bool, StoreError> {
        let runs = self.runs();
        let sizes: Vec<(u64, u64)> = runs.iter().map(|run| (run.entries, run.blocks.into())).collect();
        match due_for_merge(&sizes, self.limits) {
            Some(from) => self.merge(from),
            None => Ok(false),
        }
    }

    /// Merges all runs into one, if more than a quarter of their entries are tombstones. What is in the tree stays there.
    /// Whether it did.
    pub(super) fn reclaim(&self) -> Result<bool, StoreError> {
        let _folding = self.folding.lock().unwrap_or_else(PoisonError::into_inner);
        let runs = self.runs();
        let (entries, tombstones) = runs.iter().fold((0, 0), |(entries, tombstones), run| {
            (entries + run.entries, tombstones + run.tombstones)
        });
        let blocks: u64 = runs.iter().map(|run| u64::from(run.blocks)).sum();
        if tombstones * 4 <= entries || blocks > run::MAX_BLOCKS.into() {
            return Ok(false);
        }
        self.merge(0)
    }

    /// Merges the runs from this one on, counted from the oldest, into one, if there is room for it. For whoever has
    /// `folding`.
    fn merge(&self, from: usize) -> Result<bool, StoreError> {
        let runs = self.runs();
        let (stay, merging) = runs.split_at(from.min(runs.len()));
        // One alone has the name already that the merged one would get.
        let (Some(oldest), Some(newest), true) = (merging.first(), merging.last(), merging.len() > 1) else {
            return Ok(false);
        };
        if !self.guard.has_room_for(merging.iter().map(|run| run.bytes()).sum()) {
            return Ok(false);
        }
        let label = Label {
            first: oldest.label.first,
            last: newest.label.last,
            ..newest.label
        };
        let sources = merging.iter().rev().map(|run| Box::new(run.cursor()) as Source<'_>);
        let mut merged = Merged::of(sources.collect())?;
        let entries = merging.iter().map(|run| run.entries).sum();
        let run = self.write(label, stay.is_empty(), entries, || merged.next())?;
        self.set_runs(stay.iter().cloned().chain([run]).collect());
        for old in merging {
            // One that stays is within the new one, and goes when the store is opened.
            let path = self.dir.join(run::name_of(old.label.first, old.label.last));
            if let Err(error) = self.disk.remove_file(&path) {
                tracing::debug!(%error, "a run that was merged is left");
            }
        }
        Ok(true)
    }

    /// Writes a run of so many entries at most; with `is_oldest` there is nothing that its tombstones could hide.
    fn write(
        &self,
        label: Label,
        is_oldest: bool,
        entries: u64,
        mut next: impl FnMut() -> Result<Option<Pair>, StoreError>,
    ) -> Result<Arc<Run>, StoreError> {
        let mut write = || {
            let mut writer = Writer::begin(&self.disk, &self.dir, label, entries)?;
            while let Some((key, value)) = next()? {
                if !(is_oldest && value.is_empty()) {
                    writer.push(&key, &value)?;
                }
            }
            writer.publish()
        };
        let opened = write().and_then(|()| Run::open(&self.guard, &self.dir, label.identity, label.first, label.last));
        opened.map(Arc::new).inspect_err(|_| {
            Writer::discard(&self.disk, &self.dir, label);
            // Its numbers are given out again.
            let path = self.dir.join(run::name_of(label.first, label.last));
            let _ = self.disk.remove_file_if_there(&path);
        })
    }
}

impl Fold<'_> {
    /// Writes what was scanned into a run, and takes it out of the tree where it is as it was. `generation` is a flush of
    /// sled that began after the scan. Whether there was room for it.
    ///
    /// # Errors
    /// A run cannot be written. Nothing has left the tree then, or what has is in a run.
    pub(super) fn finish(self, generation: u64) -> Result<bool, StoreError> {
        let tiers = self.tiers;
        let is_done = self.write(generation);
        tiers.is_put_off.store(!matches!(is_done, Ok(true)), Ordering::Relaxed);
        is_done
    }

    fn write(self, generation: u64) -> Result<bool, StoreError> {
        let tiers = self.tiers;
        let bytes: usize = self.entries.iter().map(|(key, value)| key.len() + value.len()).sum();
        // Blocks are nearly full, and their first keys add little.
        if !tiers.guard.has_room_for(2 * bytes as u64) {
            return Ok(false);
        }
        let runs = tiers.runs();
        let number = runs.last().map_or(0, |run| run.label.last) + 1;
        if !runs.is_empty() || self.entries.iter().any(|(_, value)| !value.is_empty()) {
            let label = Label {
                identity: self.identity,
                first: number,
                last: number,
                generation,
            };
            tiers.disk.create_dirs(&tiers.dir, Access::Owner)?;
            let mut entries = self.entries.iter();
            let run = tiers.write(label, runs.is_empty(), self.entries.len() as u64, || {
                Ok(entries.next().map(|(key, value)| (key.to_vec(), value.to_vec())))
            })?;
            tiers.set_runs(runs.iter().cloned().chain([run]).collect());
            // Before anything leaves the tree, so that this run is missed if it is gone.
            tiers.set_number(FOLDED, number)?;
        }
        for chunk in self.entries.chunks(REMOVE_AT_ONCE) {
            let _moving = tiers.moving.write().unwrap_or_else(PoisonError::into_inner);
            for (key, value) in chunk {
                let swapped = tiers
                    .guard
                    .run(|| tiers.recent.compare_and_swap(key, Some(value), None::<&[u8]>))?;
                tiers.count.fetch_sub(i64::from(swapped.is_ok()), Ordering::Relaxed);
            }
        }
        tiers.merge_if_due()?;
        Ok(true)
    }
}

/// Opens the runs of an index and takes away what a crash left.
fn open_runs(guard: &Guard, disk: &Disk, dir: &Path, identity: u64) -> Result<Vec<Arc<Run>>, StoreError> {
    let list = |error| StoreError::io("list", dir, error);
    let entries = match std::fs::symlink_metadata(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("look at", dir, error)),
        Ok(found) if found.is_symlink() => return Err(list(std::io::Error::other("it is a link"))),
        Ok(_) => std::fs::read_dir(dir).map_err(list)?,
    };
    let mut folds = Vec::new();
    for entry in entries {
        let name = entry.map_err(list)?.file_name();
        folds.extend(name.to_str().and_then(run::folds_of));
    }
    // Each behind those that it is within.
    folds.sort_unstable_by_key(|(first, last)| (*first, Reverse(*last)));
    let (mut runs, mut next) = (Vec::new(), 1_u64);
    let mut left_over = Vec::new();
    for (first, last) in folds {
        if first == next && last >= first && last < u64::MAX {
            runs.push(Arc::new(Run::open(guard, dir, identity, first, last)?));
            next = last + 1;
        } else if first >= 1 && first <= last && last < next {
            left_over.push(dir.join(run::name_of(first, last)));
        } else {
            return Err(guard.damaged("a run is missing, or one too many is there"));
        }
    }
    let cleaned = disk.sweep(dir);
    let removed = left_over.iter().try_for_each(|path| disk.remove_file_if_there(path));
    if let Err(error) = cleaned.and(removed) {
        tracing::debug!(%error, "what a crash left of runs stays");
    }
    Ok(runs)
}

/// From which run on a merge is due, of runs from the oldest to the newest with their entries and blocks: from the oldest of
/// the lowest tier that has enough of them and no larger one behind it.
fn due_for_merge(sizes: &[(u64, u64)], limits: Limits) -> Option<usize> {
    let base = limits.recent as u64;
    let tier = |entries: u64| (entries / base).checked_ilog(limits.fan_in as u64).unwrap_or(0);
    let (mut highest, mut count, mut blocks) = (0, 0, 0);
    for (at, (entries, size)) in sizes.iter().enumerate().rev() {
        let tier = tier(*entries);
        if tier > highest {
            if count >= limits.fan_in {
                return Some(at + 1);
            }
            (highest, count) = (tier, 0);
        }
        count += usize::from(tier == highest);
        blocks += size;
        if blocks > MERGE_BLOCKS {
            return None;
        }
    }
    (count >= limits.fan_in).then_some(0)
}

mod range;

#[cfg(test)]
mod tests;
