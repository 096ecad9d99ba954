//! Getting everything to the disk in the right order.

use std::{path::PathBuf, sync::atomic::Ordering};

use super::{
    due::Dirty,
    error::StoreError,
    place::{FileId, Holder},
    state::Store,
};

/// Up to this many files are synced one by one; more cost one sync of the whole file system.
const SYNC_EACH_MAX: usize = 32;
/// Everything before this position of the packs was synced.
pub(super) const SYNCED_PACK: &str = "scanned pack";
pub(super) const SYNCED_OFFSET: &str = "scanned offset";

impl Store {
    /// Whether anything can be written: no sync has failed since the opening, and more than the reserve is free.
    ///
    /// # Errors
    /// What the next change would end with for one of these reasons.
    pub fn check_writable(&self) -> Result<(), StoreError> {
        self.inner.index.guard.room()
    }

    /// Bytes that are free where the store is, if the system says.
    pub fn free_bytes(&self) -> Option<u64> {
        self.inner.index.guard.free_bytes()
    }

    /// Makes everything put, written, pinned or set so far survive a power loss: first packs, files and pins, then sled.
    ///
    /// # Errors
    /// Something could not be synced. Nobody knows then what the disk kept, so nothing more is written before the store
    /// is opened again: every later flush fails too ([`StoreError::is_poisoned`]).
    pub fn flush(&self) -> Result<(), StoreError> {
        self.inner.due.all.run(|| self.flush_now())
    }

    fn flush_now(&self) -> Result<(), StoreError> {
        let inner = &*self.inner;
        self.sync_bytes()?;
        for (name, counter) in inner.counters.named() {
            inner.index.set_number(name, counter.load(Ordering::Relaxed) as u64)?;
        }
        let renames = inner.due.names_left().renames();
        inner.index.flush()?;
        let mut left = inner.due.names_left();
        left.flushed(renames);
        match left.is_empty() {
            true => inner.packs.note_names_left(false),
            false => Ok(()),
        }
    }

    /// Says that this process ends well: without that, or after a change of the disk that failed, the next opening syncs the
    /// whole file system first and begins a new pack. For a process that ends with the store still open; dropping the last
    /// handle says so too. Nothing is to be put afterwards.
    ///
    /// # Errors
    /// It cannot be written, or a sync has failed before. The next opening then does more than it needs to.
    pub fn ends_well(&self) -> Result<(), StoreError> {
        self.inner.packs.close()
    }

    /// Writes out what the index has, as its own thread does at any time, so that nothing may depend on when: for tests that
    /// cut the power.
    ///
    /// # Errors
    /// The index cannot be written.
    pub fn run_ahead(&self) -> Result<(), StoreError> {
        self.inner.index.run_ahead()
    }

    /// Syncs packs, files, the directories that name them, and pins, but not the index.
    pub(super) fn sync_bytes(&self) -> Result<(), StoreError> {
        self.sync_blocks()?;
        self.inner.pins.sync()
    }

    /// Syncs packs, files and the directories that name them.
    pub(crate) fn sync_blocks(&self) -> Result<(), StoreError> {
        self.inner.due.bytes.run(|| self.sync_blocks_now())
    }

    fn sync_blocks_now(&self) -> Result<(), StoreError> {
        let inner = &*self.inner;
        inner.options.disk.check()?;
        let watermark = inner.packs.watermark();
        let (packs, packs_dir) = inner.packs.take_dirty();
        let dirty = std::mem::take(&mut *inner.due.dirty());
        let synced = if packs.len() + dirty.files.len() + dirty.dirs.len() > SYNC_EACH_MAX {
            inner.options.disk.sync_all(&inner.root).map_err(StoreError::from)
        } else {
            self.sync_each(&packs, packs_dir, &dirty)
        };
        if synced.is_err() {
            inner.packs.still_dirty(&packs, packs_dir);
            let mut due = inner.due.dirty();
            due.files.extend(dirty.files);
            due.dirs.extend(dirty.dirs);
            return synced;
        }
        inner.packs.note_synced(watermark)?;
        inner.index.set_number(SYNCED_PACK, u64::from(watermark.0))?;
        inner.index.set_number(SYNCED_OFFSET, watermark.1)?;
        for file in dirty.files {
            // Whoever wrote to it since marked it again, under the same lock.
            let due = inner.due.dirty();
            if !due.files.contains(&file) {
                inner.index.run(|| inner.index.writing.remove(file.to_be_bytes()))?;
            }
        }
        Ok(())
    }

    pub(super) fn sync_each(&self, packs: &[u32], packs_dir: bool, dirty: &Dirty) -> Result<(), StoreError> {
        let disk = &self.inner.options.disk;
        let files = dirty.files.iter().map(|id| Holder::File(*id));
        for holder in packs.iter().map(|id| Holder::Pack(*id)).chain(files) {
            let handle = match self.handle(holder) {
                // One that was removed since it was written has nothing to keep.
                Ok(None) => continue,
                Err(error) if error.is_not_found() => continue,
                other => other?,
            };
            if let Some(handle) = handle {
                disk.sync_open(handle.file(), &self.path_of(holder)?.unwrap_or_default())?;
            }
        }
        if packs_dir {
            disk.sync_dir(self.inner.packs.dir())?;
        }
        for dir in &dirty.dirs {
            match disk.sync_dir(dir) {
                Err(error) if error.is_not_found() => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// The file, and if it is new the directories that lead to it, must be synced at the next flush; until then its
    /// parts do not count for a later opening without being read. Said after the bytes were written and before the index
    /// speaks of them.
    pub(super) fn mark_dirty(
        &self,
        file: FileId,
        new_dirs: impl IntoIterator<Item = PathBuf>,
    ) -> Result<(), StoreError> {
        let inner = &*self.inner;
        let mut due = inner.due.dirty();
        due.dirs.extend(new_dirs);
        if due.files.insert(file.0) {
            inner
                .index
                .run(|| inner.index.writing.insert(file.0.to_be_bytes(), &[]))?;
        }
        Ok(())
    }
}
