//! The index: sled trees that say where each block is.
//!
//! sled 0.34 needs care in four ways, all of them kept in this file:
//! - it panics on some damaged files, so every call runs under [`Guard::run`], which turns a panic into an error;
//! - its flush ends in `sync_file_range`, which does not make a grown file durable, so [`Index::flush`] syncs the
//!   file itself afterwards;
//! - it recovers from damage by cutting its log off, silently, so a counter beside it tells whether it still knows
//!   everything it once flushed;
//! - space is reclaimed only by its periodic thread, so that one runs, but seldom.

use std::{
    fs::{self, File},
    io::ErrorKind,
    os::unix::fs::FileExt as _,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{StoreError, flush::GroupCommit};

/// How often sled's own thread looks for space to reclaim, in milliseconds.
const RECLAIM_EVERY_MS: u64 = 5_000;
/// How long opening waits for the lock of an earlier opening.
const LOCK_WAIT: Duration = Duration::from_secs(1);
const LOCK_POLL: Duration = Duration::from_millis(5);
/// The most places that are remembered for one block. Files beyond that are not lost: see [`Entry::keep`].
pub(super) const MAX_PLACES: usize = 16;
/// Length of one encoded place: kind, container, offset, length.
const PLACE_BYTES: usize = 1 + 4 + 8 + 4;
/// The entry's [`Entry::keep`] flag in its first byte.
const KEEP: u8 = 1;

/// Key of the number of the last flush, in `meta`.
const GENERATION: &[u8] = b"generation";

/// What holds a range of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Holder {
    /// A pack of the store's own.
    Pack(u32),
    /// A registered file.
    File(u32),
}

/// Where the bytes of a block are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) holder: Holder,
    pub(super) offset: u64,
    pub(super) len: u32,
}

/// What the index knows of one multihash.
///
/// Encoded as one byte of flags, then for each place: kind (1 pack, 2 file), container (u32), offset (u64) and length
/// (u32), little endian.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// Somebody put this block for its own sake while it was in a file, or more files hold it than are remembered:
    /// when the last known file goes, the bytes move to a pack instead of going with it.
    pub(super) keep: bool,
    pub(super) places: Vec<Place>,
}

impl Entry {
    pub(super) fn decode(bytes: &[u8]) -> Self {
        let Some((flags, rest)) = bytes.split_first() else {
            return Self::default();
        };
        let places = rest.chunks_exact(PLACE_BYTES).filter_map(decode_place).collect();
        Self {
            keep: flags & KEEP != 0,
            places,
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 + self.places.len() * PLACE_BYTES);
        bytes.push(if self.keep { KEEP } else { 0 });
        for place in &self.places {
            let (kind, container) = match place.holder {
                Holder::Pack(id) => (1, id),
                Holder::File(id) => (2, id),
            };
            bytes.push(kind);
            bytes.extend_from_slice(&container.to_le_bytes());
            bytes.extend_from_slice(&place.offset.to_le_bytes());
            bytes.extend_from_slice(&place.len.to_le_bytes());
        }
        bytes
    }

    /// Adds a place; false if the entry already says as much.
    pub(super) fn add(&mut self, place: Place) -> bool {
        if let Some(known) = self.places.iter_mut().find(|known| known.holder == place.holder) {
            // A file is written by its owner, so the later word on it counts; a pack is never rewritten.
            let moved = matches!(place.holder, Holder::File(_)) && *known != place;
            if moved {
                *known = place;
            }
            return moved;
        }
        if self.places.len() == MAX_PLACES {
            return !std::mem::replace(&mut self.keep, true);
        }
        // Packs first: they cannot be changed behind the store's back.
        match place.holder {
            Holder::Pack(_) => self.places.insert(0, place),
            Holder::File(_) => self.places.push(place),
        }
        true
    }

    pub(super) fn pack(&self) -> Option<&Place> {
        self.places.iter().find(|place| matches!(place.holder, Holder::Pack(_)))
    }
}

fn decode_place(bytes: &[u8]) -> Option<Place> {
    let container = u32::from_le_bytes(bytes.get(1..5)?.try_into().ok()?);
    let offset = u64::from_le_bytes(bytes.get(5..13)?.try_into().ok()?);
    let len = u32::from_le_bytes(bytes.get(13..17)?.try_into().ok()?);
    let holder = match bytes[0] {
        1 => Holder::Pack(container),
        2 => Holder::File(container),
        _ => return None,
    };
    Some(Place { holder, offset, len })
}

/// Stands between the store and sled: no panic of sled's passes, damage is remembered, and nothing is written to a
/// disk that is nearly full, because sled does not survive a write that fails.
#[derive(Clone)]
pub(super) struct Guard {
    root: Arc<Path>,
    damage_mark: Arc<Path>,
    min_free_bytes: u64,
}

impl Guard {
    /// For a store under `root`; damage that is met is recorded by making the file `damage_mark`.
    pub(super) fn new(root: &Path, damage_mark: &Path, min_free_bytes: u64) -> Self {
        Self {
            root: root.into(),
            damage_mark: damage_mark.into(),
            min_free_bytes,
        }
    }

    /// Runs a call into sled.
    ///
    /// # Errors
    /// [`StoreError::IndexDamaged`] if sled panics or reports damage; the next open then rebuilds the index.
    pub(super) fn run<T>(&self, call: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
        match catch_unwind(AssertUnwindSafe(call)) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) if !is_damage(&error) => Err(match error {
                sled::Error::Io(source) => StoreError::io("use the index of", &self.root, source),
                other => StoreError::Index(other),
            }),
            // sled panics on some writes that fail; its files are as they were then.
            Err(_) if self.room().is_err() => Err(StoreError::Full {
                path: self.root.to_path_buf(),
            }),
            damaged => {
                let error = damaged
                    .err()
                    .map_or_else(|| "sled reports damage".to_owned(), |panic| panic_text(&*panic));
                tracing::error!(error, root = %self.root.display(), "the block index is damaged");
                if let Err(error) = File::create(&self.damage_mark) {
                    tracing::error!(%error, "cannot leave a mark to rebuild the index");
                }
                Err(StoreError::IndexDamaged)
            }
        }
    }

    /// Refuses to go on when less than the reserve is free.
    ///
    /// # Errors
    /// [`StoreError::Full`].
    pub(super) fn room(&self) -> Result<(), StoreError> {
        match free_bytes(&self.root) {
            Some(free) if free < self.min_free_bytes => Err(StoreError::Full {
                path: self.root.to_path_buf(),
            }),
            _ => Ok(()),
        }
    }
}

/// Free bytes on the disk of `path`, for as much as the system tells.
pub(super) fn free_bytes(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Whether an error of sled's means that its files cannot be trusted, rather than that the system refused.
fn is_damage(error: &sled::Error) -> bool {
    match error {
        sled::Error::Io(error) => matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData),
        _ => true,
    }
}

/// sled names the lock in words only.
fn is_lock_held(error: &StoreError) -> bool {
    matches!(error, StoreError::Io { source, .. } if source.to_string().contains("could not acquire lock"))
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("sled panicked")
        .to_owned()
}

/// The open index.
pub(super) struct Index {
    pub(super) guard: Guard,
    db: sled::Db,
    /// multihash → [`Entry`].
    pub(super) blocks: sled::Tree,
    /// file id (u32 BE), offset (u64 BE) → multihash.
    pub(super) leaves: sled::Tree,
    /// file id (u32 BE) → path.
    pub(super) files: sled::Tree,
    /// path → file id (u32 BE).
    pub(super) paths: sled::Tree,
    /// file id (u32 BE) → the path that the file is being renamed to.
    pub(super) renames: sled::Tree,
    /// owner, NUL, CID → nothing.
    pub(super) pins: sled::Tree,
    /// multihash → the epoch (u64 LE) in which the whole DAG below it was here.
    pub(super) complete: sled::Tree,
    /// Counters and positions of the store itself.
    pub(super) meta: sled::Tree,
    log: File,
    dir: PathBuf,
    /// The number of the last flush, in a file outside sled.
    witness: Mutex<(File, u64)>,
    flushing: GroupCommit,
}

impl Index {
    /// Opens the index in `dir`, or makes one there. `witness` is the file that counts flushes.
    ///
    /// # Errors
    /// [`StoreError::IndexDamaged`] when the files are there but cannot be trusted.
    pub(super) fn open(dir: &Path, witness: &Path, cache_bytes: u64, guard: Guard) -> Result<Self, StoreError> {
        let config = sled::Config::new()
            .path(dir)
            .cache_capacity(cache_bytes)
            .flush_every_ms(Some(RECLAIM_EVERY_MS));
        let open = || {
            let db = config.open()?;
            let tree = |name: &str| db.open_tree(name);
            Ok((
                [tree("blocks")?, tree("leaves")?, tree("files")?, tree("paths")?],
                [tree("renames")?, tree("pins")?, tree("complete")?, tree("meta")?],
                db,
            ))
        };
        // After the last handle is dropped, threads of sled's keep its lock for a moment.
        let deadline = Instant::now() + LOCK_WAIT;
        let ([blocks, leaves, files, paths], [renames, pins, complete, meta], db) = loop {
            match guard.run(open) {
                Err(error) if !is_lock_held(&error) => return Err(error),
                Err(_) if Instant::now() >= deadline => return Err(StoreError::InUse(dir.to_path_buf())),
                Err(_) => std::thread::sleep(LOCK_POLL),
                Ok(opened) => break opened,
            }
        };

        let io = |error| StoreError::io("open", witness, error);
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(witness)
            .map_err(io)?;
        let mut number = [0; 8];
        let flushed = match file.read_exact_at(&mut number, 0) {
            Ok(()) => u64::from_le_bytes(number),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => 0,
            Err(error) => return Err(StoreError::io("read", witness, error)),
        };
        let known = guard
            .run(|| meta.get(GENERATION))?
            .and_then(|number| decode_u64(&number))
            .unwrap_or(0);
        if known < flushed {
            tracing::warn!(known, flushed, dir = %dir.display(), "the block index forgot what it had flushed");
            return Err(StoreError::IndexDamaged);
        }
        let log_path = dir.join("db");
        let log = File::open(&log_path).map_err(|error| StoreError::io("open", &log_path, error))?;
        let witness = Mutex::new((file, known));
        let dir = dir.to_path_buf();
        Ok(Self {
            guard,
            db,
            blocks,
            leaves,
            files,
            paths,
            renames,
            pins,
            complete,
            meta,
            log,
            dir,
            witness,
            flushing: GroupCommit::default(),
        })
    }

    /// Runs a call into sled; see [`Guard::run`].
    pub(super) fn run<T>(&self, call: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
        self.guard.run(call)
    }

    /// Makes every change so far durable.
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        self.flushing.run(|| self.flush_now())
    }

    fn flush_now(&self) -> Result<(), StoreError> {
        let mut witness = self.witness.lock().unwrap_or_else(PoisonError::into_inner);
        let next = witness.1 + 1;
        self.run(|| self.meta.insert(GENERATION, &next.to_le_bytes()))?;
        self.run(|| self.db.flush())?;
        let io = |error| StoreError::io("sync the index in", &self.dir, error);
        self.log.sync_data().map_err(io)?;
        if next == 1 {
            sync_dir(&self.dir)?;
        }
        // Not synced: after a power loss it may be older than sled, never newer.
        witness.0.write_all_at(&next.to_le_bytes(), 0).map_err(io)?;
        witness.1 = next;
        Ok(())
    }

    /// The tree of another module's table.
    pub(super) fn table(&self, name: &str) -> Result<sled::Tree, StoreError> {
        self.run(|| self.db.open_tree(format!("table:{name}")))
    }

    /// A number kept in `meta`, or 0.
    pub(super) fn number(&self, key: &str) -> Result<u64, StoreError> {
        Ok(self
            .run(|| self.meta.get(key))?
            .and_then(|number| decode_u64(&number))
            .unwrap_or(0))
    }

    /// Keeps a number in `meta`.
    pub(super) fn set_number(&self, key: &str, number: u64) -> Result<(), StoreError> {
        self.run(|| self.meta.insert(key, &number.to_le_bytes()))?;
        Ok(())
    }

    /// Size of sled's files in bytes.
    pub(super) fn size_on_disk(&self) -> Result<u64, StoreError> {
        self.run(|| self.db.size_on_disk())
    }

    /// The entry of a multihash (in its byte form).
    pub(super) fn entry(&self, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        Ok(self.run(|| self.blocks.get(key))?.map(|bytes| Entry::decode(&bytes)))
    }

    /// Changes an entry in one atomic step, however many threads do. `change` may run several times; it gets the
    /// entry as it is, or an empty one, and says whether it changed it. An entry left without places is removed.
    ///
    /// Gives the entry before and after, or nothing when there was nothing to change.
    pub(super) fn update(
        &self,
        key: &[u8],
        mut change: impl FnMut(&mut Entry) -> bool,
    ) -> Result<Option<(Entry, Entry)>, StoreError> {
        let mut old = self.run(|| self.blocks.get(key))?;
        loop {
            let before = old.as_deref().map(Entry::decode).unwrap_or_default();
            let mut after = before.clone();
            if !change(&mut after) {
                return Ok(None);
            }
            let new = (!after.places.is_empty()).then(|| after.encode());
            match self.run(|| self.blocks.compare_and_swap(key, old.as_deref(), new))? {
                Ok(()) => return Ok(Some((before, after))),
                Err(conflict) => old = conflict.current,
            }
        }
    }
}

/// A little-endian number, if the bytes are one.
pub(super) fn decode_u64(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

/// Makes names created, changed or removed in `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|error| StoreError::io("sync", dir, error))
}

/// Moves a damaged index out of the way, to a name that says so, replacing an older one.
pub(super) fn move_aside(dir: &Path) -> Result<PathBuf, StoreError> {
    let mut name = dir.file_name().unwrap_or_default().to_os_string();
    name.push(".damaged");
    let aside = dir.with_file_name(name);
    match fs::remove_dir_all(&aside) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(StoreError::io("remove", &aside, error)),
    }
    fs::rename(dir, &aside).map_err(|error| StoreError::io("move aside", dir, error))?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(holder: Holder) -> Place {
        Place {
            holder,
            offset: 0x0102_0304_0506_0708,
            len: 9,
        }
    }

    #[test]
    fn entries_have_a_fixed_form() {
        let entry = Entry {
            keep: true,
            places: vec![place(Holder::Pack(7)), place(Holder::File(8))],
        };
        let bytes = entry.encode();
        let golden = [
            1, 1, 7, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1, 9, 0, 0, 0, 2, 8, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1, 9, 0, 0, 0,
        ];
        assert_eq!(bytes, golden);
        assert_eq!(Entry::decode(&bytes), entry);
        assert_eq!(
            Entry::decode(&bytes[..20]).places.len(),
            1,
            "a cut place is not a place"
        );
        assert_eq!(Entry::decode(&[]), Entry::default());
    }

    #[test]
    fn places_beyond_the_limit_leave_a_reminder() {
        let mut entry = Entry::default();
        for id in 0..MAX_PLACES as u32 {
            assert!(entry.add(place(Holder::File(id))));
            assert!(!entry.add(place(Holder::File(id))), "one place for each holder");
        }
        assert!(!entry.keep);
        assert!(entry.add(place(Holder::File(99))));
        assert!(entry.keep && entry.places.len() == MAX_PLACES);
    }

    #[test]
    fn an_index_that_forgot_a_flush_is_not_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let (sled, witness) = (dir.path().join("store"), dir.path().join("flushed"));
        let guard = Guard::new(dir.path(), &dir.path().join("damaged"), 0);
        {
            let index = Index::open(&sled, &witness, 1 << 20, guard.clone()).unwrap();
            index.blocks.insert(b"k", b"v").unwrap();
            index.flush().unwrap();
        }
        assert!(
            Index::open(&sled, &witness, 1 << 20, guard.clone())
                .unwrap()
                .entry(b"k")
                .unwrap()
                .is_some()
        );
        fs::remove_dir_all(&sled).unwrap();
        assert!(matches!(
            Index::open(&sled, &witness, 1 << 20, guard.clone()),
            Err(StoreError::IndexDamaged)
        ));
    }
}
