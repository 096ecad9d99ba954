//! The open store: its parts, and what is done with one block.

use std::{
    collections::HashSet,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use odf_disk::Disk;
use rustix::{buffer::spare_capacity, io::Errno};

use super::{
    away::{Away, Gone},
    blocks::Blocks,
    due::Due,
    error::StoreError,
    gate::{Claiming, Gate, Hold},
    handles::{Handle, Handles, open_to_read},
    index::Index,
    pack::Packs,
    pins::{Pin, Pins},
    place::{FileId, Holder, IndexEntry, MAX_PLACES, Place, Position},
    stats::{Counters, StoreStats},
    table::Table,
};
use crate::block::{Block, BlockError, Cid, inherent};

/// Blocks are appended in spans of at most this many bytes (or of one block, if it is larger).
const SPAN_BYTES: u64 = 8 << 20;
pub(super) const EPOCH: &str = "epoch";
pub(super) const NEXT_FILE: &str = "next file";
/// The most that is remembered of what was passed over.
const MAX_SKIPPED: usize = 1000;
/// Behind everything there is in packs.
pub(super) const EVERYTHING: Position = (u32::MAX, u64::MAX);

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
    /// Space held back in a file, so that GC can work when others filled the disk. 0 holds none back.
    pub reserve_bytes: u64,
    /// How many packs and files are kept open.
    pub open_files: usize,
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
            reserve_bytes: 4 << 20,
            open_files: 128,
            rebuild: false,
        }
    }
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

/// What came of reading a place.
enum Read {
    Bytes(Bytes),
    /// The place is not there: the file ends before it, or is not registered.
    Wrong,
    /// Nobody can tell what is there.
    Unreachable(Gone, StoreError),
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

    /// Keeps the DAG below `cid` for `owner`, until [`unpin`](Self::unpin). Pinning again changes nothing. The blocks
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

    /// The places of a block that count now.
    pub(super) fn places(&self, key: &[u8]) -> Result<Vec<Place>, StoreError> {
        let mut places = self.inner.index.entry(key)?.unwrap_or_default().places;
        places.retain(|place| self.is_whole(place) && !self.is_away(place));
        Ok(places)
    }

    /// As [`Self::places`], for somebody who may rely on the answer.
    fn seen(&self, key: &[u8]) -> Result<Vec<Place>, StoreError> {
        let claims = self.inner.gate.claiming();
        let places = self.places(key)?;
        if !places.is_empty() && !is_packed(&places) {
            claims.seen(key);
        }
        Ok(places)
    }

    /// Whether a file was being written when the last process ended, and could not be read when the store was opened.
    pub(super) fn is_unchecked(&self, file: FileId) -> Result<bool, StoreError> {
        let index = &self.inner.index;
        let is_away = self.inner.away.is_away(Gone::Holder(Holder::File(file.0)));
        Ok(is_away && index.run(|| index.writing.contains_key(file.0.to_be_bytes()))?)
    }

    pub(super) fn is_away(&self, place: &Place) -> bool {
        match self.inner.away.of(place) {
            None => false,
            Some((_, false)) => true,
            Some((gone, true)) => {
                let again = match gone {
                    // Its parts were to be read before they count: the next opening does that.
                    Gone::Holder(Holder::File(id)) if self.is_unchecked(FileId(id)).unwrap_or(true) => false,
                    Gone::Holder(holder) => self.handle(holder).is_ok_and(|handle| handle.is_some()),
                    Gone::Place(place) => matches!(self.read(&place), Ok(Read::Bytes(_))),
                };
                if again {
                    self.inner.away.back(gone);
                } else {
                    self.inner.away.note(gone);
                }
                !again
            }
        }
    }

    /// Appends blocks, given as multihash and bytes, to the packs and takes them into the index.
    pub(super) fn append(&self, blocks: &[(Vec<u8>, &[u8])]) -> Result<(), StoreError> {
        self.inner.index.guard.room()?;
        let mut rest = blocks;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fitting = rest.iter().take_while(|(_, data)| {
                bytes += data.len() as u64;
                bytes <= SPAN_BYTES.min(self.inner.options.pack_bytes)
            });
            let (span, behind) = rest.split_at(fitting.count().max(1));
            let records: Vec<_> = span.iter().map(|(hash, data)| (&hash[..], *data)).collect();
            let (places, in_flight) = self.inner.packs.append(&records)?;
            for ((hash, _), place) in span.iter().zip(places) {
                self.update(hash, |entry| {
                    // One that cannot be read gives way: there is one place for each pack.
                    entry
                        .places
                        .retain(|known| known.position().is_none() || !self.is_away(known));
                    entry.add(place)
                })?;
            }
            drop(in_flight);
            rest = behind;
        }
        Ok(())
    }

    /// As [`Blocks::put`], for blocks given as multihash and bytes, each once.
    pub(crate) fn put_content(&self, blocks: &[(Vec<u8>, &[u8])]) -> Result<(), StoreError> {
        // Held to the end: what was here when this began to look is not swept before it returns.
        let claims = self.inner.gate.claiming();
        let mut wanting = Vec::new();
        for (key, data) in blocks {
            if self.is_wanting(&claims, key)? {
                wanting.push((key.clone(), *data));
            }
        }
        if wanting.is_empty() {
            Ok(())
        } else {
            self.append(&wanting)
        }
    }

    fn is_wanting(&self, claims: &Claiming<'_>, key: &[u8]) -> Result<bool, StoreError> {
        let places = self.places(key)?;
        if places.is_empty() {
            return Ok(true);
        }
        claims.put(key, is_packed(&places));
        Ok(false)
    }

    /// Path of a pack or registered file; nothing if the file is not registered.
    pub(super) fn path_of(&self, holder: Holder) -> Result<Option<PathBuf>, StoreError> {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
        Ok(match holder {
            Holder::Pack(id) => Some(self.inner.packs.path(id)),
            Holder::File(id) => {
                let index = &self.inner.index;
                let path = index.run(|| index.files.get(id.to_be_bytes()))?;
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

    fn read(&self, place: &Place) -> Result<Read, StoreError> {
        let handle = match self.handle(place.holder) {
            Ok(Some(handle)) => handle,
            Ok(None) => return Ok(Read::Wrong),
            Err(error @ StoreError::Io { .. }) => return Ok(Read::Unreachable(Gone::Holder(place.holder), error)),
            Err(error) => return Err(error),
        };
        let len = place.len as usize;
        let mut data = Vec::with_capacity(len);
        while data.len() < len {
            let at = place.offset + data.len() as u64;
            match rustix::io::pread(handle.file(), spare_capacity(&mut data), at) {
                Ok(0) => return Ok(Read::Wrong),
                Ok(_) | Err(Errno::INTR) => {}
                // The medium does not give it: another place, or a peer, may.
                Err(error) => {
                    let path = self.path_of(place.holder)?.unwrap_or_default();
                    let error = StoreError::io("read", &path, error.into());
                    return Ok(Read::Unreachable(Gone::Place(*place), error));
                }
            }
        }
        data.truncate(len);
        Ok(Read::Bytes(data.into()))
    }

    /// The bytes of a place, if they can be read and are `cid`.
    pub(super) fn read_as(&self, cid: &Cid, place: &Place) -> Result<Option<Block>, StoreError> {
        Ok(match self.read(place)? {
            Read::Bytes(data) => Block::verify(*cid, data).ok(),
            Read::Wrong | Read::Unreachable(..) => None,
        })
    }

    /// As [`Self::read_as`]; wrong bytes are quarantined.
    pub(super) fn get_from(&self, cid: &Cid, place: &Place) -> Result<Option<Block>, StoreError> {
        match self.read(place)? {
            Read::Bytes(data) => match Block::verify(*cid, data) {
                Ok(block) => return Ok(Some(block)),
                Err(BlockError::UnsupportedHash { .. }) => {}
                Err(_) => self.quarantine(cid, place)?,
            },
            Read::Wrong => self.quarantine(cid, place)?,
            Read::Unreachable(..) => {}
        }
        Ok(None)
    }

    /// Writes bytes that are there already once more, so that the next sync counts for them whatever became of an
    /// earlier one.
    pub(super) fn write_again(&self, path: &Path, place: &Place, data: &[u8]) -> Result<(), StoreError> {
        let file = self.inner.options.disk.open(path)?;
        let mut there = vec![0; data.len()];
        let read = file.as_file().read_exact_at(&mut there, place.offset);
        // Somebody may be at work on the file.
        if read.is_ok() && there == data {
            file.write_at(data, place.offset)?;
        }
        Ok(())
    }

    /// Takes one place out of the index because its bytes are wrong.
    fn quarantine(&self, cid: &Cid, place: &Place) -> Result<(), StoreError> {
        let key = cid.hash().to_bytes();
        if let Holder::File(id) = place.holder {
            let other = self.elsewhere_in(FileId(id), place.offset, &key)?;
            self.forget_leaf(FileId(id), place.offset, &key)?;
            if let Some(other) = other {
                self.update(&key, |entry| entry.add(other))?;
                return Ok(());
            }
        }
        let others = self.places(&key)?.iter().filter(|known| *known != place).count();
        if others == 0 {
            self.lose(&key)?;
        }
        self.update(&key, |entry| {
            let before = entry.places.len();
            entry.places.retain(|known| known != place);
            entry.places.len() < before
        })?;
        tracing::warn!(%cid, ?place, others, "damaged block dropped from the store");
        Ok(())
    }

    /// A block is about to be lost: no mark of completeness counts any more, and what only it linked to is in doubt.
    /// Said before the index forgets it.
    pub(super) fn lose(&self, key: &[u8]) -> Result<(), StoreError> {
        self.forget_completeness()?;
        self.set_lost(key, EVERYTHING)
    }

    /// A block is lost, and up to this position in the packs there may be something that only it linked to.
    pub(super) fn set_lost(&self, key: &[u8], until: Position) -> Result<(), StoreError> {
        let index = &self.inner.index;
        let mut value = until.0.to_be_bytes().to_vec();
        value.extend_from_slice(&until.1.to_be_bytes());
        index.run(|| index.lost.insert(key, value))?;
        Ok(())
    }

    /// No mark of completeness counts any more.
    pub(super) fn forget_completeness(&self) -> Result<(), StoreError> {
        let _raising = self.inner.raising.lock().unwrap_or_else(PoisonError::into_inner);
        let epoch = self.inner.epoch.fetch_add(1, Ordering::AcqRel) + 1;
        self.inner.index.set_number(EPOCH, epoch)
    }
}

/// Whether one of the places is in a pack.
pub(super) fn is_packed(places: &[Place]) -> bool {
    places.iter().any(|place| matches!(place.holder, Holder::Pack(_)))
}

impl Blocks for Store {
    fn has(&self, cid: &Cid) -> Result<bool, StoreError> {
        Ok(self.size(cid)?.is_some())
    }

    fn size(&self, cid: &Cid) -> Result<Option<usize>, StoreError> {
        if let Some(block) = inherent(cid) {
            return Ok(Some(block.data().len()));
        }
        let places = self.seen(&cid.hash().to_bytes())?;
        Ok(places.first().map(|place| place.len as usize))
    }

    fn get(&self, cid: &Cid) -> Result<Option<Block>, StoreError> {
        if let Some(block) = inherent(cid) {
            return Ok(Some(block));
        }
        let key = cid.hash().to_bytes();
        // Every turn either gives the block or leaves a place out, unless the entry changed in between: places are few,
        // but the bound keeps a busy writer from holding a reader for ever.
        for _ in 0..2 * MAX_PLACES {
            let places = self.seen(&key)?;
            let Some(place) = places.first() else {
                return Ok(None);
            };
            match self.read(place)? {
                Read::Bytes(data) => match Block::verify(*cid, data) {
                    Ok(block) => return Ok(Some(block)),
                    Err(BlockError::UnsupportedHash { .. }) => return Ok(None),
                    Err(_) => self.quarantine(cid, place)?,
                },
                Read::Wrong => self.quarantine(cid, place)?,
                // A pack that was compacted in between: the index knows where its blocks are now.
                Read::Unreachable(..) if !self.is_whole(place) => {}
                Read::Unreachable(gone, error) => {
                    if self.inner.away.note(gone) {
                        tracing::warn!(%cid, %error, "a block cannot be read for now");
                        if places.len() == 1 {
                            self.forget_completeness()?;
                        }
                    }
                }
            }
        }
        Ok(None)
    }

    fn put(&self, blocks: &[Block]) -> Result<(), StoreError> {
        let mut seen = HashSet::new();
        let wanted = blocks.iter().filter(|block| inherent(block.cid()).is_none());
        let once = wanted.filter(|block| blocks.len() == 1 || seen.insert(*block.cid().hash()));
        let content: Vec<_> = once
            .map(|block| (block.cid().hash().to_bytes(), &block.data()[..]))
            .collect();
        self.put_content(&content)
    }
}
