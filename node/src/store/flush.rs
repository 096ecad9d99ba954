//! What must reach the disk, and getting it there in the right order.

use std::{
    collections::BTreeSet,
    fs::File,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    Store, StoreError,
    durable::{SCANNED_OFFSET, SCANNED_PACK},
    index::{Holder, sync_dir},
};

/// Up to this many files are synced one by one; more cost one sync of the whole file system.
const SYNC_EACH_MAX: usize = 32;

/// Runs a costly step once for all threads that wait for it at the same time.
#[derive(Default)]
pub(super) struct GroupCommit {
    asked: AtomicU64,
    done: Mutex<u64>,
}

impl GroupCommit {
    /// Returns once `step` ran, here or in another thread, beginning after this was called.
    pub(super) fn run(&self, step: impl FnOnce() -> Result<(), StoreError>) -> Result<(), StoreError> {
        let ticket = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        if *done >= ticket {
            return Ok(());
        }
        let covered = self.asked.load(Ordering::Acquire);
        step()?;
        *done = covered;
        Ok(())
    }
}

/// What must reach the disk at the next flush, besides packs and sled.
#[derive(Default)]
pub(super) struct Due {
    dirty: Mutex<Dirty>,
    bytes: GroupCommit,
    all: GroupCommit,
}

#[derive(Default)]
struct Dirty {
    files: BTreeSet<u32>,
    dirs: BTreeSet<PathBuf>,
}

impl Store {
    /// Makes everything put, written, pinned or set so far survive a power loss: first packs and files, then sled.
    ///
    /// # Errors
    /// Something could not be synced; it stays due, and the next flush tries again.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.inner.due.all.run(|| self.flush_now())
    }

    fn flush_now(&self) -> Result<(), StoreError> {
        let inner = &*self.inner;
        let (pack, offset) = inner.packs.watermark();
        self.sync_bytes()?;
        inner.index.set_number(SCANNED_PACK, u64::from(pack))?;
        inner.index.set_number(SCANNED_OFFSET, offset)?;
        for (name, counter) in inner.counters.named() {
            inner.index.set_number(name, counter.load(Ordering::Relaxed) as u64)?;
        }
        inner.index.flush()
    }

    /// Syncs packs, files and the directories that name them, but not the index.
    pub(crate) fn sync_bytes(&self) -> Result<(), StoreError> {
        self.inner.due.bytes.run(|| self.sync_bytes_now())
    }

    fn sync_bytes_now(&self) -> Result<(), StoreError> {
        let inner = &*self.inner;
        let (packs, packs_dir) = inner.packs.take_dirty();
        let dirty = std::mem::take(&mut *self.dirty());
        let synced = if packs.len() + dirty.files.len() + dirty.dirs.len() > SYNC_EACH_MAX {
            sync_file_system(&inner.root)
        } else {
            self.sync_each(&packs, packs_dir, &dirty)
        };
        if synced.is_err() {
            inner.packs.still_dirty(&packs, packs_dir);
            let mut due = self.dirty();
            due.files.extend(dirty.files);
            due.dirs.extend(dirty.dirs);
        }
        synced.and_then(|()| inner.journal.sync())
    }

    fn sync_each(&self, packs: &[u32], packs_dir: bool, dirty: &Dirty) -> Result<(), StoreError> {
        let files = dirty.files.iter().map(|id| Holder::File(*id));
        for holder in packs.iter().map(|id| Holder::Pack(*id)).chain(files) {
            // One that was removed since it was written has nothing to keep.
            let Some(file) = self.handle(holder)? else { continue };
            if let Err(error) = file.sync_data() {
                return Err(StoreError::io(
                    "sync",
                    &self.path_of(holder)?.unwrap_or_default(),
                    error,
                ));
            }
        }
        if packs_dir {
            sync_dir(self.inner.packs.dir())?;
        }
        for dir in &dirty.dirs {
            match sync_dir(dir) {
                Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(())
    }

    fn dirty(&self) -> MutexGuard<'_, Dirty> {
        self.inner.due.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file, and if it is new the directories that lead to it, must be synced at the next flush.
    pub(super) fn mark_dirty(&self, file: u32, new_dirs: impl IntoIterator<Item = PathBuf>) {
        let mut dirty = self.dirty();
        dirty.files.insert(file);
        dirty.dirs.extend(new_dirs);
    }
}

/// One sync for everything, however many files were written.
fn sync_file_system(root: &Path) -> Result<(), StoreError> {
    let io = |error| StoreError::io("sync", root, error);
    let dir = File::open(root).map_err(io)?;
    rustix::fs::syncfs(&dir).map_err(|error| io(error.into()))
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn those_who_wait_together_share_one_step_that_began_after_they_asked() {
        const THREADS: u64 = 8;
        let (group, begun, barrier) = (
            GroupCommit::default(),
            AtomicU64::new(0),
            Barrier::new(THREADS as usize + 1),
        );
        std::thread::scope(|scope| {
            let first = scope.spawn(|| {
                group.run(|| {
                    barrier.wait();
                    // The others are waiting for this step, but it began before they asked.
                    while group.asked.load(Ordering::Acquire) < THREADS + 1 {
                        std::thread::yield_now();
                    }
                    Ok(())
                })
            });
            for _ in 0..THREADS {
                scope.spawn(|| {
                    barrier.wait();
                    let step = || {
                        begun.fetch_add(1, Ordering::Relaxed);
                        Ok(())
                    };
                    group.run(step).unwrap();
                    assert_eq!(begun.load(Ordering::Relaxed), 1);
                });
            }
            first.join().unwrap().unwrap();
        });
        let failed = group.run(|| Err(StoreError::Busy));
        assert!(matches!(failed, Err(StoreError::Busy)));
        group.run(|| Ok(())).unwrap();
    }
}
