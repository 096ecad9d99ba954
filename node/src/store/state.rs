//! The open store: its parts, its files, pins and tables, and what it says of itself.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
};

use multihash::Multihash;
use odf_disk::Disk;

use super::{
    away::Away,
    due::Due,
    error::StoreError,
    gate::{Gate, Hold},
    handles::{Handle, Handles, open_to_read},
    index::Index,
    pack::Packs,
    pins::{Pin, Pins},
    place::{FileId, Holder, IndexEntry, Place},
    stats::{Counters, StoreStats},
    table::Table,
    uses::Uses,
};
use crate::block::{Cid, RAW};

pub(super) const EPOCH: &str = "epoch";
pub(super) const NEXT_FILE: &str = "next file";
/// Of a limit, in percent: up to here blocks are kept that nobody asked to keep, and above it room is made.
const FULL_PERCENT: u64 = 90;
/// The most that is remembered of what was passed over.
const MAX_SKIPPED: usize = 1000;

/// How a [`Store`] uses the machine.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Through which everything but sled's own files is written.
    pub disk: Disk,
    /// Memory for sled's cache, in bytes.
    pub cache_bytes: u64,
    /// A pack is closed, and the next one begun, when it would pass this many bytes.
    pub pack_bytes: u64,
    /// Nothing more is written when less than this is free, so that the index never meets a full disk.
    pub min_free_bytes: u64,
    /// The most that the store may hold, in bytes: see [`Store::held_bytes`]. Packs are smaller then, so that the oldest go whole.
    pub max_bytes: Option<u64>,
    /// Space held back in a file, so that GC can work when others filled the disk. 0 holds none back.
    pub reserve_bytes: u64,
    /// How many packs and files are kept open.
    pub open_files: usize,
    /// How many entries of each kind sled has before they are folded into a sorted file. More mean fewer of those, and that
    /// sled writes more for each change.
    pub recent_entries: usize,
    /// How many sorted files of about the same size are merged into one.
    pub run_fan_in: usize,
    /// Make the index again from the packs, even if it looks sound.
    pub rebuild: bool,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            disk: Disk::new(),
            cache_bytes: 8 << 20,
            pack_bytes: 256 << 20,
            min_free_bytes: 16 << 20,
            max_bytes: None,
            reserve_bytes: 4 << 20,
            open_files: 128,
            recent_entries: 256,
            run_fan_in: 8,
            rebuild: false,
        }
    }
}

/// From how many bytes on a store with this limit makes room.
pub(super) fn full_at(max: u64) -> u64 {
    max / 100 * FULL_PERCENT
}

/// The durable store of a workspace. Cloning gives another handle on the same store.
///
/// A workspace may be open once at a time; sled's own lock refuses a second opening. What survives what is said in the
/// documentation of the [module](super).
#[derive(Clone)]
pub struct Store {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) root: PathBuf,
    pub(super) options: StoreOptions,
    pub(super) index: Index,
    pub(super) packs: Packs,
    pub(super) handles: Handles,
    pub(super) pins: Pins,
    pub(super) gate: Arc<Gate>,
    pub(super) away: Away,
    pub(super) counters: Counters,
    /// The number of the next file to be registered.
    pub(super) next_file: Mutex<u32>,
    /// Raised when a block is lost; marks of completeness from earlier epochs do not count.
    pub(super) epoch: AtomicU64,
    /// Held while the epoch is raised, so that the index never has an older one after a newer.
    pub(super) raising: Mutex<()>,
    /// Held while a file is made fit to be written.
    pub(super) preparing: Mutex<()>,
    pub(super) rebuilt: AtomicBool,
    /// The last process did not close the store.
    pub(super) left_open: bool,
    pub(super) due: Due,
    /// When parts of packs were last read.
    pub(super) uses: Uses,
    /// Bytes of disk beside those of blocks, as measured last.
    pub(super) beside: AtomicI64,
    /// Something was refused since room was made last.
    pub(super) refused: AtomicBool,
    pub(super) skipped: Mutex<Vec<Skipped>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(error) = self.packs.close() {
            tracing::debug!(%error, "the next opening begins a new pack, and syncs everything");
        }
    }
}

/// Something damaged that the store went on without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The file.
    pub path: PathBuf,
    /// What was passed over, and why.
    pub reason: String,
}

impl Store {
    /// The workspace directory.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// The disk that the store writes to. It remembers a sync that failed.
    pub fn disk(&self) -> &Disk {
        &self.inner.options.disk
    }

    /// The table of that name, made when first asked for.
    ///
    /// # Errors
    /// The index cannot be written.
    pub fn table(&self, name: &str) -> Result<Table, StoreError> {
        Ok(Table::new(
            self.inner.index.table(name)?,
            self.inner.index.guard.clone(),
        ))
    }

    /// Keeps GC out while blocks are gathered that nothing pins yet, and keeps blocks that are here now from going with
    /// a file that is removed. Waits for a collection that runs.
    pub fn hold(&self) -> Hold {
        self.inner.gate.hold()
    }

    /// Keeps the DAG below `cid` for `owner`, until [`unpin`](Self::unpin). Pinning again changes nothing, its name included. The blocks
    /// need not be here yet; what is here of them and is reached stays. Durable after a flush; blocks that were put
    /// before are synced first, so a power cut never leaves a pin of blocks that it took.
    ///
    /// # Errors
    /// [`StoreError::BadOwner`] for an empty owner, one over [`MAX_OWNER_BYTES`](super::MAX_OWNER_BYTES) or with control
    /// characters; or the blocks cannot be synced or the journal cannot be written: nothing is pinned then.
    pub fn pin(&self, owner: &str, cid: &Cid) -> Result<(), StoreError> {
        self.pin_all(owner, &[*cid])
    }

    /// As [`pin`](Self::pin), for many roots: all of them or none, and what was put before is synced once.
    ///
    /// # Errors
    /// As [`pin`](Self::pin).
    pub fn pin_all(&self, owner: &str, roots: &[Cid]) -> Result<(), StoreError> {
        self.inner.index.guard.room()?;
        self.sync_blocks()?;
        self.inner.pins.insert(owner, roots)
    }

    /// As [`pin_all`](Self::pin_all), with a name, which pins that are there have from now on; an empty one is none. It is of use
    /// to people alone.
    ///
    /// # Errors
    /// As [`pin`](Self::pin), and [`StoreError::PinNameTooLong`] for a name over
    /// [`MAX_PIN_NAME_BYTES`](super::MAX_PIN_NAME_BYTES).
    pub fn pin_named(&self, owner: &str, roots: &[Cid], name: &str) -> Result<(), StoreError> {
        self.inner.index.guard.room()?;
        self.sync_blocks()?;
        self.inner.pins.insert_named(owner, roots, name)
    }

    /// The name of a pin, empty if it has none; nothing if there is no such pin.
    pub fn pin_name(&self, owner: &str, cid: &Cid) -> Option<String> {
        let (owner, cid) = (owner.to_owned(), *cid);
        self.inner.pins.name(&Pin { owner, cid })
    }

    /// The names of those pins of an owner that have one.
    pub fn pin_names(&self, owner: &str) -> Vec<(Cid, String)> {
        self.inner.pins.names(owner)
    }

    /// Ends a pin; false if there was none. Durable after a flush.
    ///
    /// # Errors
    /// The journal cannot be written: nothing changed then.
    pub fn unpin(&self, owner: &str, cid: &Cid) -> Result<bool, StoreError> {
        let owner = owner.to_owned();
        self.inner.pins.remove(&Pin { owner, cid: *cid })
    }

    /// All pins, or those of one owner, in the order of owners.
    ///
    /// # Errors
    /// None; they are in memory.
    pub fn pins(&self, owner: Option<&str>) -> Result<Vec<Pin>, StoreError> {
        Ok(self.inner.pins.list(owner))
    }

    /// Whether there is such a pin, however many there are.
    pub fn is_pinned(&self, owner: &str, cid: &Cid) -> bool {
        let (owner, cid) = (owner.to_owned(), *cid);
        self.inner.pins.contains(&Pin { owner, cid })
    }

    /// Gives `visit` every block that is here, in the order of multihashes, until it answers no. A block is known by its
    /// multihash, so each is a CID of version 1 whose codec is raw, whatever it was put as.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn each_block(&self, visit: &mut dyn FnMut(&Cid) -> bool) -> Result<(), StoreError> {
        let mut goes_on = true;
        self.inner.index.each_entry(|key, entry| {
            if let (true, false, Ok(hash)) = (goes_on, entry.places.is_empty(), Multihash::from_bytes(key)) {
                goes_on = visit(&Cid::new_v1(RAW, hash));
            }
            Ok(())
        })
    }

    /// What the store holds.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn stats(&self) -> Result<StoreStats, StoreError> {
        let counters = &self.inner.counters;
        Ok(StoreStats {
            blocks: Counters::read(&counters.blocks),
            pack_bytes: Counters::read(&counters.pack_bytes),
            file_bytes: Counters::read(&counters.file_bytes),
            files: Counters::read(&counters.files),
            pins: self.inner.pins.len() as u64,
            index_bytes: self.inner.index.size_on_disk()?,
        })
    }

    /// The most that the store may hold, in bytes.
    pub fn max_bytes(&self) -> Option<u64> {
        self.inner.options.max_bytes
    }

    /// What the store holds on the disk, in bytes: packs, index, and blocks in registered files. Of what lies beside the bytes
    /// of blocks it knows what was measured last.
    pub fn held_bytes(&self) -> u64 {
        let counters = &self.inner.counters;
        let read = |counter| i64::try_from(Counters::read(counter)).unwrap_or(i64::MAX);
        let beside = self.inner.beside.load(Ordering::Relaxed);
        let held = read(&counters.pack_bytes).saturating_add(read(&counters.file_bytes));
        u64::try_from(held.saturating_add(beside)).unwrap_or(0)
    }

    /// Whether there is room for blocks that nobody asked to keep.
    pub fn has_room_to_spare(&self) -> bool {
        self.max_bytes().is_none_or(|max| self.held_bytes() < full_at(max))
    }

    /// Refuses to take more than the limit allows.
    ///
    /// # Errors
    /// [`StoreError::OverLimit`].
    pub fn check_room_for(&self, bytes: u64) -> Result<(), StoreError> {
        let Some(max) = self.max_bytes() else {
            return Ok(());
        };
        let held = self.held_bytes();
        if held.saturating_add(bytes) <= max {
            return Ok(());
        }
        self.inner.refused.store(true, Ordering::Relaxed);
        Err(StoreError::OverLimit { max, held })
    }

    /// Whether the index was made again from the packs. Registered files and tables are not known any more then: the
    /// owner of the files registers them again and calls [`rebuild_finished`](Self::rebuild_finished). Until that,
    /// this stays true over restarts.
    pub fn rebuilt(&self) -> bool {
        self.inner.rebuilt.load(Ordering::Relaxed)
    }

    /// A number that follows from all pins and their order. It is another one after each change, also when a power cut took
    /// a change of which no flush had spoken.
    pub fn pins_trail(&self) -> u64 {
        self.inner.pins.trail()
    }

    /// Whether the process that had the store before did not close it, as far as is known: after a power cut it may be
    /// unknown.
    pub fn was_left_open(&self) -> bool {
        self.inner.left_open
    }

    /// What was damaged and left out since the store was opened: packs, lines of the journal of pins, and what
    /// [`skip`](Self::skip) was told.
    pub fn skipped(&self) -> Vec<Skipped> {
        self.inner
            .skipped
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Says that something of the workspace is damaged and was passed over: warns, and remembers it for whoever asks.
    pub fn skip(&self, path: &Path, reason: impl Into<String>) {
        let skipped = Skipped {
            path: path.to_path_buf(),
            reason: reason.into(),
        };
        tracing::warn!(path = %path.display(), reason = skipped.reason, "passed over");
        let mut known = self.inner.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() < MAX_SKIPPED {
            known.push(skipped);
        }
    }

    /// Changes an index entry, and the counters with it. Places in packs that do not count are left out first.
    pub(super) fn update(
        &self,
        key: &[u8],
        mut change: impl FnMut(&mut IndexEntry) -> bool,
    ) -> Result<Option<(IndexEntry, IndexEntry)>, StoreError> {
        let changed = self.inner.index.update(key, |entry| {
            entry.places.retain(|place| self.is_whole(place));
            change(entry)
        })?;
        if let Some((before, after)) = &changed {
            self.inner.counters.follow(before, after);
        }
        Ok(changed)
    }

    /// Gives out a number for a new file. The number is never used again.
    pub(super) fn next_file_id(&self) -> Result<u32, StoreError> {
        let mut next = self.inner.next_file.lock().unwrap_or_else(PoisonError::into_inner);
        let id = *next;
        self.inner.index.set_number(NEXT_FILE, u64::from(id) + 1)?;
        *next = id + 1;
        Ok(id)
    }

    /// Whether a place in a pack lies within what counts of it.
    pub(super) fn is_whole(&self, place: &Place) -> bool {
        match place.holder {
            Holder::Pack(id) => self.inner.packs.holds(id, place),
            Holder::File(_) => true,
        }
    }

    /// Path of a pack or registered file; nothing if the file is not registered.
    pub(super) fn path_of(&self, holder: Holder) -> Result<Option<PathBuf>, StoreError> {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
        Ok(match holder {
            Holder::Pack(id) => Some(self.inner.packs.path(id)),
            Holder::File(id) => {
                let path = self.inner.index.path_of_file(FileId(id))?;
                path.map(|path| self.inner.root.join(OsStr::from_bytes(&path)))
            }
        })
    }

    /// Full path of a registered file.
    ///
    /// # Errors
    /// [`StoreError::UnknownFile`].
    pub fn registered(&self, file: FileId) -> Result<PathBuf, StoreError> {
        self.path_of(Holder::File(file.0))?.ok_or(StoreError::UnknownFile(file))
    }

    /// An open handle for reading; nothing if the file is not registered.
    pub(super) fn handle(&self, holder: Holder) -> Result<Option<Arc<Handle>>, StoreError> {
        let opened = self
            .inner
            .handles
            .get(holder, false, || match (self.path_of(holder)?, holder) {
                (Some(path), _) => open_to_read(&path).map(Handle::Read),
                (None, Holder::File(id) | Holder::Pack(id)) => Err(StoreError::UnknownFile(FileId(id))),
            });
        match opened {
            Err(StoreError::UnknownFile(_)) => Ok(None),
            other => other.map(Some),
        }
    }
}
