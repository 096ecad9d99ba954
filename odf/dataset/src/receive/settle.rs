//! Files that arrived and are in order, on their way to their names.
//!
//! A sync takes as long for one small file as for hundreds, so those that are complete wait for each other: all of them are
//! synced, and only then does each get its name. What is here under the name of an object survives a power cut with its
//! bytes, or not at all.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use odf_disk::{Disk, DiskError, DiskFile};

use crate::Object;

/// So many complete files wait for each other at most before they get their names. A process that dies loses them.
pub const TOGETHER: usize = 512;
/// Or so many bytes of them.
pub const TOGETHER_BYTES: u64 = 64 << 20;
/// Or so long.
const TOGETHER_TIME: Duration = Duration::from_secs(5);
/// Up to so many files are synced one by one; more cost one sync of the whole file system.
const SYNC_EACH: usize = 32;

/// A file under its unfinished name, which goes with it unless it has got its name.
pub(super) struct Unnamed {
    disk: Disk,
    object: Object,
    /// Dropped early where all are synced together: they are many, and open files are few.
    file: Option<DiskFile>,
    /// Until it has its name.
    pub(super) path: Option<PathBuf>,
    target: PathBuf,
}

impl Unnamed {
    /// A file that was made at `path` and is to be the object at `target`.
    pub(super) fn new(disk: &Disk, object: &Object, file: DiskFile, path: PathBuf, target: PathBuf) -> Self {
        Self {
            disk: disk.clone(),
            object: *object,
            file: Some(file),
            path: Some(path),
            target,
        }
    }

    /// The object that it is to be.
    pub(super) fn object(&self) -> &Object {
        &self.object
    }

    /// The file, as long as it is written.
    pub(super) fn file(&mut self) -> Option<&mut DiskFile> {
        self.file.as_mut()
    }

    /// The unfinished name, for messages.
    pub(super) fn shown(&self) -> &Path {
        self.path.as_deref().unwrap_or(&self.target)
    }

    fn name(mut self) -> Result<(), DiskError> {
        if let Some(path) = &self.path {
            self.disk.rename(path, &self.target)?;
            self.path = None;
        }
        Ok(())
    }
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let removed = self.disk.remove_file(path);
            tracing::debug!(path = %path.display(), ?removed, "a file that did not become an object");
        }
    }
}

/// Those that wait for each other in one dataset's directory.
pub(super) struct Settling {
    disk: Disk,
    dir: PathBuf,
    waiting: Mutex<Vec<Unnamed>>,
    /// Since when the first of them waits.
    since: Mutex<Option<Instant>>,
    /// Held by whoever gives names, so that others can wait for it.
    turn: Mutex<()>,
}

impl Settling {
    /// Nothing yet, in the directory of this dataset.
    pub(super) fn new(disk: &Disk, dir: &Path) -> Self {
        Self {
            disk: disk.clone(),
            dir: dir.to_owned(),
            waiting: Mutex::default(),
            since: Mutex::default(),
            turn: Mutex::default(),
        }
    }

    /// Takes a file that is complete and checked at this moment. When enough wait, or the first waits long enough, they are
    /// synced and get their names.
    ///
    /// # Errors
    /// Those of [`Self::settle`].
    pub(super) fn take(&self, mut file: Unnamed, now: Instant) -> Result<(), DiskError> {
        let mut waiting = lock(&self.waiting);
        if waiting.len() >= SYNC_EACH {
            file.file = None;
        }
        waiting.push(file);
        let bytes: u64 = match waiting.len() {
            TOGETHER.. => TOGETHER_BYTES,
            _ => waiting.iter().map(|file| file.object.size).fold(0, u64::saturating_add),
        };
        drop(waiting);
        let since = *lock(&self.since).get_or_insert(now);
        match bytes >= TOGETHER_BYTES || now.saturating_duration_since(since) >= TOGETHER_TIME {
            true => self.settle(),
            false => Ok(()),
        }
    }

    /// Whether this object is among those that wait.
    pub(super) fn has(&self, object: &Object) -> bool {
        lock(&self.waiting).iter().any(|file| file.object == *object)
    }

    /// Syncs all that wait and gives them their names. When this returns none of those that were taken before waits, nor is
    /// about to get its name in another thread.
    ///
    /// # Errors
    /// A sync or a rename failed. Those that have no name yet are gone.
    pub(super) fn settle(&self) -> Result<(), DiskError> {
        let _turn = lock(&self.turn);
        *lock(&self.since) = None;
        let files = std::mem::take(&mut *lock(&self.waiting));
        if files.len() > SYNC_EACH {
            self.disk.sync_all(&self.dir)?;
        } else {
            for file in files.iter().filter_map(|file| file.file.as_ref()) {
                file.sync()?;
            }
        }
        files.into_iter().try_for_each(Unnamed::name)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use odf_disk::Access;
    use odf_disk::crash::{Recorder, Unsynced, copy_tree};
    use odf_metadata::Multihash;

    use super::*;
    use crate::ObjectKind;

    fn give(settling: &Settling, dir: &Path, number: usize, size: u64, now: Instant) -> Object {
        let bytes = format!("object {number}").into_bytes();
        let hash = Multihash::sha3_256(&bytes);
        let kind = ObjectKind::Slice;
        let object = Object { kind, hash, size };
        let path = dir.join(format!(".arriving-{number}"));
        let mut file = settling.disk.create(&path, Access::Readable).unwrap();
        file.write_all(&bytes).unwrap();
        let target = dir.join(hash.to_string());
        settling
            .take(Unnamed::new(&settling.disk, &object, file, path, target), now)
            .unwrap();
        object
    }

    fn named(dir: &Path) -> usize {
        let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
        names
            .filter(|name| name.to_string_lossy().parse::<Multihash>().is_ok())
            .count()
    }

    #[test]
    fn files_wait_for_each_other_up_to_a_number_a_size_and_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let now = Instant::now();
        let give = |settling: &Settling, dir: &Path, number, size| give(settling, dir, number, size, now);
        let settling = Settling::new(&Disk::new(), dir.path());
        for number in 0..TOGETHER - 1 {
            let object = give(&settling, dir.path(), number, 8);
            assert!(settling.has(&object));
        }
        assert_eq!(named(dir.path()), 0);
        assert!(
            lock(&settling.waiting)
                .iter()
                .filter(|file| file.file.is_some())
                .count()
                <= SYNC_EACH
        );
        let last = give(&settling, dir.path(), TOGETHER, 8);
        assert_eq!(named(dir.path()), TOGETHER);
        assert!(!settling.has(&last));
        give(&settling, dir.path(), TOGETHER + 1, TOGETHER_BYTES - 1);
        assert_eq!(named(dir.path()), TOGETHER);
        give(&settling, dir.path(), TOGETHER + 2, 1);
        assert_eq!(named(dir.path()), TOGETHER + 2);
        let later = |number, waited| super::tests::give(&settling, dir.path(), number, 1, now + waited);
        later(TOGETHER + 4, Duration::ZERO);
        later(TOGETHER + 5, TOGETHER_TIME - Duration::from_millis(1));
        assert_eq!(named(dir.path()), TOGETHER + 2);
        later(TOGETHER + 6, TOGETHER_TIME);
        assert_eq!(named(dir.path()), TOGETHER + 5);
        // What never settles leaves nothing behind.
        give(&settling, dir.path(), TOGETHER + 3, 1);
        drop(settling);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), TOGETHER + 5);
    }

    #[test]
    fn many_files_have_their_bytes_wherever_the_power_goes() {
        for count in [SYNC_EACH, SYNC_EACH + 1] {
            let (live, images) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let before = images.path().join("before");
            copy_tree(live.path(), &before).unwrap();
            let recorder = Recorder::new(live.path());
            let disk = Disk::with(recorder.clone());
            let settling = Settling::new(&disk, live.path());
            let objects: Vec<Object> = (0..count)
                .map(|number| give(&settling, live.path(), number, 8, Instant::now()))
                .collect();
            settling.settle().unwrap();
            disk.sync_dir(live.path()).unwrap();
            let (of, image) = (recorder.calls(), images.path().join("image"));
            // From the last write on: before it nothing has a name.
            for calls in of.saturating_sub(2 * count + 2)..=of {
                for unsynced in Unsynced::ALL {
                    recorder.image(&before, calls, unsynced, &image, &|_| false).unwrap();
                    for object in &objects {
                        if let Ok(bytes) = fs::read(image.join(object.hash.to_string())) {
                            assert_eq!(Multihash::sha3_256(&bytes), object.hash, "{calls} of {of}");
                        }
                    }
                    if calls == of {
                        assert_eq!(named(&image), count);
                    }
                    fs::remove_dir_all(&image).unwrap();
                }
            }
        }
    }
}
