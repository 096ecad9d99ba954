//! The index: what is known of blocks and files, in sled trees, and under those that grow with them [`Tiers`].
//!
//! sled is a cache that may be ahead of the packs and files, because its own thread writes it out now and then, or
//! behind them, because it forgets what it did not flush. What holds is its order: a change that survives has with it
//! every change made before. So whatever makes an entry doubtful is written before the entry.
//!
//! sled 0.34 needs care in five ways, all of them kept here and in [`Guard`]:
//! - it panics on some damaged files, so every call runs under [`Guard::run`], which turns a panic into an error;
//! - its flush ends in `sync_file_range`, which does not make a grown file durable, so [`Index::flush`] syncs the
//!   file itself afterwards;
//! - it recovers from damage by cutting its log off, silently, so a counter beside it tells whether it still knows
//!   everything it once flushed;
//! - space is reclaimed only by its periodic thread, so that one runs, but seldom;
//! - opening writes zeros over every segment of its log that is free, and its pages are listed anew, so the log is kept
//!   small: by short segments, and by [`Tiers`], which keep what is large out of it.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use odf_disk::{Disk, read_small};

use super::{
    error::StoreError,
    group_commit::GroupCommit,
    guard::Guard,
    handles, numbers,
    place::IndexEntry,
    tiers::{Change, Fold, Limits, Tiers},
    witness::Witness,
};

/// Length of the segments of sled's log in a new index, in bytes. Opening writes zeros over each segment that is free and
/// over the end of the last one, so that with sled's own choice of 512 KiB every command wrote a megabyte for its opening
/// alone. A page of more than a quarter of this has a file of its own.
const SEGMENT_BYTES: usize = 128 << 10;
/// The longest `conf` that sled writes is a tenth of this.
const MAX_CONF_BYTES: u64 = 4 << 10;
/// How often sled's own thread looks for space to reclaim, in milliseconds.
const RECLAIM_EVERY_MS: u64 = 5_000;
/// How long opening waits for the lock of an earlier opening.
const LOCK_WAIT: Duration = Duration::from_secs(1);
const LOCK_POLL: Duration = Duration::from_millis(5);

/// Number of the last flush, in `meta`, once there are runs. Versions that do not know of them, or not of all of them, find
/// no number of a flush then, and make the index again: they would miss what is in runs.
const GENERATION: &str = "generation of trees and runs";
/// Number of the last flush as long as the trees have everything: u64 LE. A version that had runs of blocks alone wrote a
/// byte behind it once there were any.
const GENERATION_OF_TREES: &[u8] = b"generation";
/// sled's files that are opened by name.
const SLED_FILES: [&str; 2] = ["db", "conf"];
/// Where the runs are, beside sled's files, so that all of the index goes aside at once.
const RUNS: &str = "runs";
/// Whoever changes this many times the entries that make a fold due does not wait for a flush.
const OVERFULL: usize = 8;

/// The open index.
pub(super) struct Index {
    pub(super) guard: Guard,
    disk: Disk,
    db: sled::Db,
    /// multihash → [`IndexEntry`].
    blocks: Tiers,
    /// file id (u32 BE), offset (u64 BE) → multihash.
    pub(super) leaves: Tiers,
    /// file id (u32 BE) → path.
    pub(super) files: Tiers,
    /// path → file id (u32 BE).
    pub(super) paths: Tiers,
    /// file id (u32 BE) → the path that the file is being renamed to.
    pub(super) renames: sled::Tree,
    /// file id (u32 BE) of files with bytes that were not synced → nothing.
    pub(super) writing: sled::Tree,
    /// multihash of what has no [`IndexEntry`] → the epoch (u64 LE) in which the whole DAG below it was here. Earlier versions
    /// kept all of them here.
    pub(super) complete: sled::Tree,
    /// multihash of blocks that were here and are not → the position in the packs up to which there may be something
    /// that only they linked to.
    pub(super) lost: sled::Tree,
    /// Counters and positions of the store itself.
    pub(super) meta: sled::Tree,
    log: File,
    dir: PathBuf,
    witness: Arc<Witness>,
    flushing: GroupCommit,
}

impl Index {
    /// Opens the index in `dir`, or makes one there.
    ///
    /// # Errors
    /// [`StoreError::IndexDamaged`] when the files are there but cannot be trusted.
    pub(super) fn open(
        disk: &Disk,
        dir: &Path,
        witness: &Arc<Witness>,
        (cache_bytes, limits): (u64, Limits),
        guard: Guard,
    ) -> Result<Self, StoreError> {
        for name in SLED_FILES {
            check_no_link(&dir.join(name))?;
        }
        let config = sled::Config::new()
            .path(dir)
            .segment_size(segment_bytes(&dir.join("conf")))
            .cache_capacity(cache_bytes)
            .flush_every_ms(Some(RECLAIM_EVERY_MS));
        let open = || {
            let db = config.open()?;
            let tree = |name: &str| db.open_tree(name);
            Ok((
                [tree("blocks")?, tree("leaves")?, tree("files")?, tree("paths")?],
                [
                    tree("renames")?,
                    tree("writing")?,
                    tree("complete")?,
                    tree("lost")?,
                    tree("meta")?,
                ],
                db,
            ))
        };
        // After the last handle is dropped, threads of sled's keep its lock for a moment.
        let deadline = Instant::now() + LOCK_WAIT;
        let ([blocks, leaves, files, paths], [renames, writing, complete, lost, meta], db) = loop {
            match guard.run(open) {
                Err(error) if !is_lock_held(&error) => return Err(error),
                Err(_) if Instant::now() >= deadline => return Err(StoreError::InUse(dir.to_path_buf())),
                Err(_) => std::thread::sleep(LOCK_POLL),
                Ok(opened) => break opened,
            }
        };

        let known = generation(&guard, &meta)?;
        let flushed = witness.known().map_or(0, |known| known.generation);
        if known < flushed {
            tracing::warn!(known, flushed, dir = %dir.display(), "the block index forgot what it had flushed");
            return Err(StoreError::IndexDamaged);
        }
        let runs = dir.join(RUNS);
        check_no_link(&runs)?;
        let map = |name, tree| Tiers::open((&guard, disk, &runs), name, tree, &meta, known, limits);
        let blocks = map("blocks", blocks)?;
        let (leaves, files, paths) = (map("leaves", leaves)?, map("files", files)?, map("paths", paths)?);
        let log = handles::open_to_read(&dir.join("db"))?;
        Ok(Self {
            guard,
            disk: disk.clone(),
            db,
            blocks,
            leaves,
            files,
            paths,
            renames,
            writing,
            complete,
            lost,
            meta,
            log,
            dir: dir.to_path_buf(),
            witness: witness.clone(),
            flushing: GroupCommit::default(),
        })
    }

    /// Runs a call into sled; see [`Guard::run`].
    pub(super) fn run<T>(&self, call: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
        self.guard.run(call)
    }

    fn maps(&self) -> [&Tiers; 4] {
        [&self.blocks, &self.leaves, &self.files, &self.paths]
    }

    /// Makes every change so far durable, then folds entries of the maps that have many.
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        let folds = self.begin_folds()?;
        self.flushing.run(|| self.flush_now())?;
        self.finish_folds(folds).map(drop)
    }

    fn begin_folds(&self) -> Result<Vec<Fold<'_>>, StoreError> {
        let due = self.maps().into_iter().map(|map| map.begin_fold(1));
        due.filter_map(Result::transpose).collect()
    }

    fn flush_now(&self) -> Result<(), StoreError> {
        self.disk.check()?;
        let next = self.generation()? + 1;
        self.maps().into_iter().try_for_each(Tiers::note_count)?;
        if self.maps().into_iter().any(Tiers::is_folded) {
            self.set_number(GENERATION, next)?;
            self.run(|| self.meta.remove(GENERATION_OF_TREES))?;
        } else {
            self.run(|| self.meta.insert(GENERATION_OF_TREES, &next.to_le_bytes()))?;
        }
        self.run(|| self.db.flush())?;
        self.disk.sync_open(&self.log, &self.dir.join("db"))?;
        if next == 1 {
            self.disk.sync_dir(&self.dir)?;
        }
        // Synced the first time, so that an index that is gone is missed. After a power loss it may be older than sled,
        // never newer.
        let first = self.witness.known().unwrap_or_default().generation == 0;
        self.witness.write(|known| known.generation = next, first)
    }

    fn generation(&self) -> Result<u64, StoreError> {
        generation(&self.guard, &self.meta)
    }

    /// Ends folds after a flush that began later. Whether it did all of them; they may wait for another flush.
    fn finish_folds<'a>(&self, folds: impl IntoIterator<Item = Fold<'a>>) -> Result<bool, StoreError> {
        let flushed = self.witness.known().unwrap_or_default().generation;
        let mut are_done = true;
        for fold in folds {
            are_done &= deferrable(fold.finish(flushed))?;
        }
        Ok(are_done)
    }

    /// After a collection: folds what is due and gives back the space of what is gone from the runs.
    pub(super) fn reclaim(&self) -> Result<(), StoreError> {
        loop {
            let folds = self.begin_folds()?;
            if folds.is_empty() {
                break;
            }
            self.flushing.run(|| self.flush_now())?;
            if !self.finish_folds(folds)? {
                break;
            }
        }
        let reclaimed = self.maps().into_iter().map(|map| deferrable(map.reclaim()).map(drop));
        reclaimed.collect()
    }

    /// Writes out what sled has, as its own thread does at any time.
    pub(super) fn run_ahead(&self) -> Result<(), StoreError> {
        self.run(|| self.db.flush())?;
        Ok(())
    }

    /// The tree of another module's table.
    pub(super) fn table(&self, name: &str) -> Result<sled::Tree, StoreError> {
        self.run(|| self.db.open_tree(format!("table:{name}")))
    }

    /// A number kept in `meta`, or 0.
    pub(super) fn number(&self, key: &str) -> Result<u64, StoreError> {
        Ok(numbers::number(&self.guard, &self.meta, key)?.unwrap_or(0))
    }

    /// Keeps a number in `meta`.
    pub(super) fn set_number(&self, key: &str, number: u64) -> Result<(), StoreError> {
        numbers::set_number(&self.guard, &self.meta, key, number)
    }

    /// Size of the index's files in bytes.
    pub(super) fn size_on_disk(&self) -> Result<u64, StoreError> {
        let runs = self.maps().into_iter().map(Tiers::run_bytes);
        Ok(self.run(|| self.db.size_on_disk())? + runs.sum::<u64>())
    }

    /// The entry of a multihash (in its byte form).
    pub(super) fn entry(&self, key: &[u8]) -> Result<Option<IndexEntry>, StoreError> {
        Ok(self.blocks.get(key)?.map(|bytes| IndexEntry::decode(&bytes)))
    }

    /// Shows every entry with its multihash, as it is or was since this began. `visit` may change entries.
    pub(super) fn each_entry(
        &self,
        mut visit: impl FnMut(&[u8], IndexEntry) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for entry in self.blocks.range(&[], None) {
            let (key, value) = entry?;
            visit(&key, IndexEntry::decode(&value))?;
        }
        Ok(())
    }

    /// Changes an entry in one atomic step, however many threads do. `change` may run several times; it gets the
    /// entry as it is, or an empty one, and says whether it changed it. An entry left without places is removed.
    ///
    /// Gives the entry before and after, or nothing when there was nothing to change.
    pub(super) fn update(
        &self,
        key: &[u8],
        mut change: impl FnMut(&mut IndexEntry) -> bool,
    ) -> Result<Option<(IndexEntry, IndexEntry)>, StoreError> {
        let mut changed = None;
        self.change(&self.blocks, key, |known| {
            let before = known.map(IndexEntry::decode).unwrap_or_default();
            let mut after = before.clone();
            if !change(&mut after) {
                changed = None;
                return Change::Nothing;
            }
            let new = match after.places.is_empty() {
                true => Change::Removed,
                false => Change::Value(after.encode()),
            };
            changed = Some((before, after));
            new
        })?;
        Ok(changed)
    }

    /// Changes the value of a key of one of the maps in one atomic step; see [`Tiers::update`].
    pub(super) fn change(
        &self,
        map: &Tiers,
        key: &[u8],
        change: impl FnMut(Option<&[u8]>) -> Change,
    ) -> Result<(), StoreError> {
        map.update(key, change)?;
        if let Some(fold) = map.begin_overdue_fold(OVERFULL)? {
            self.flushing.run(|| self.flush_now())?;
            self.finish_folds([fold])?;
        }
        Ok(())
    }
}

/// What becomes of a fold or merge that failed: it is made another time, unless the index cannot be trusted, or a sync failed.
fn deferrable(done: Result<bool, StoreError>) -> Result<bool, StoreError> {
    match done {
        Err(error) if !error.is_poisoned() && !matches!(error, StoreError::IndexDamaged) => {
            tracing::debug!(%error, "entries of the index are folded another time");
            Ok(false)
        }
        other => other,
    }
}

/// The number of the last flush that sled knows of, or 0.
fn generation(guard: &Guard, meta: &sled::Tree) -> Result<u64, StoreError> {
    if let Some(number) = numbers::number(guard, meta, GENERATION)? {
        return Ok(number);
    }
    let of_trees = guard.run(|| meta.get(GENERATION_OF_TREES))?;
    let number = of_trees.and_then(|number| number.first_chunk().copied());
    Ok(number.map_or(0, u64::from_le_bytes))
}

/// Length of the segments of an index that is there, since sled does not change it, or that of a new one. What `conf` says
/// is checked by sled.
fn segment_bytes(conf: &Path) -> usize {
    let found = read_small(conf, MAX_CONF_BYTES).ok().flatten().unwrap_or_default();
    let said = String::from_utf8_lossy(&found).lines().find_map(|line| {
        let bytes = line.strip_prefix("segment_size: ")?.parse::<usize>().ok()?;
        (bytes.is_power_of_two() && (256..=1 << 24).contains(&bytes)).then_some(bytes)
    });
    said.unwrap_or(SEGMENT_BYTES)
}

fn check_no_link(path: &Path) -> Result<(), StoreError> {
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) {
        return Err(StoreError::io("open", path, std::io::Error::other("it is a link")));
    }
    Ok(())
}

/// sled names the lock in words only.
fn is_lock_held(error: &StoreError) -> bool {
    matches!(error, StoreError::Io { source, .. } if source.to_string().contains("could not acquire lock"))
}

/// Moves a damaged index out of the way, to a name that says so, replacing an older one.
pub(super) fn move_aside(disk: &Disk, dir: &Path) -> Result<PathBuf, StoreError> {
    let mut name = dir.file_name().unwrap_or_default().to_os_string();
    name.push(".damaged");
    let aside = dir.with_file_name(name);
    disk.remove_tree(&aside)?;
    disk.rename(dir, &aside)?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::super::place::{Holder, Place};
    use super::*;

    #[test]
    fn an_index_that_forgot_a_flush_is_not_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let sled = dir.path().join("store");
        let disk = Disk::new();
        let witness = Arc::new(Witness::open(&disk, &dir.path().join("synced")).unwrap());
        let guard = Guard::new(&disk, dir.path(), &dir.path().join("damaged"), 0);
        let limits = Limits { recent: 4, fan_in: 2 };
        let open = || Index::open(&disk, &sled, &witness, (1 << 20, limits), guard.clone());
        let place = Place {
            holder: Holder::Pack(1),
            offset: 16,
            len: 1,
        };
        {
            let index = open().unwrap();
            index.update(b"k", |entry| entry.add(place)).unwrap();
            index.flush().unwrap();
        }
        assert!(open().unwrap().entry(b"k").unwrap().is_some());
        std::fs::remove_dir_all(&sled).unwrap();
        assert!(matches!(open(), Err(StoreError::IndexDamaged)));
    }
}
