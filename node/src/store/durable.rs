//! The durable store.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use rustix::{buffer::spare_capacity, io::Errno};

use super::{
    Blocks, StoreError, Table,
    flush::Due,
    gate::Gate,
    handles::Handles,
    index::{Entry, Guard, Holder, Index, Place, decode_u64, move_aside, sync_dir},
    pack::Packs,
    pins::Journal,
    reserve,
    stats::Counters,
};
use crate::block::{Block, BlockError, Cid, inherent};

/// Blocks are appended in spans of at most this many bytes (or of one block, if it is larger).
const SPAN_BYTES: u64 = 8 << 20;
/// Everything before this position of the packs is in the flushed index.
pub(super) const SCANNED_PACK: &str = "scanned pack";
pub(super) const SCANNED_OFFSET: &str = "scanned offset";
const EPOCH: &str = "epoch";
const NEXT_FILE: &str = "next file";
const REBUILT: &str = "rebuilt";

/// How a [`Store`] uses the machine.
#[derive(Debug, Clone)]
pub struct StoreOptions {
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
/// A workspace may be open once at a time; sled's own lock refuses a second opening.
///
/// What survives: everything up to the last [`flush`](Self::flush), over `kill -9` and power loss. Blocks that were put
/// later survive too if their bytes reached the disk, since opening reads the ends of the packs. A damaged index is
/// made again from the packs when the store is opened: see [`rebuilt`](Self::rebuilt).
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
    pub(super) journal: Journal,
    pub(super) gate: Arc<Gate>,
    pub(super) counters: Counters,
    pub(super) next_file: AtomicU32,
    /// Raised when a block is lost; marks of completeness from earlier epochs do not count.
    epoch: AtomicU64,
    rebuilt: AtomicBool,
    pub(super) due: Due,
}

/// Paths of the store's own files in a workspace.
struct Layout {
    sled: PathBuf,
    packs: PathBuf,
    /// Counts the flushes of sled, outside sled.
    witness: PathBuf,
    /// There while the index must be made again.
    damage_mark: PathBuf,
    reserve: PathBuf,
    journal: PathBuf,
}

impl Layout {
    fn of(root: &Path) -> Self {
        let packs = root.join("packs");
        Self {
            sled: root.join("store"),
            witness: packs.join("flushed"),
            damage_mark: packs.join("rebuild"),
            reserve: packs.join("reserve"),
            journal: packs.join("pins"),
            packs,
        }
    }
}

impl Store {
    /// Opens the store in the workspace directory `root`, or makes one there: the index in `root/store`, packs in
    /// `root/packs`. Whatever a crash left is put right: torn ends of packs are passed over, whole blocks in them are
    /// taken into the index, renames under way are finished, and an index that cannot be trusted is moved to
    /// `root/store.damaged` and made again.
    ///
    /// # Errors
    /// The directory cannot be written, another process has the store open, or the disk is too full to open sled.
    pub fn open(root: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        match Self::open_once(root, options.clone()) {
            // Damage that showed only when the index was read.
            Err(StoreError::IndexDamaged) => Self::open_once(
                root,
                StoreOptions {
                    rebuild: true,
                    ..options
                },
            ),
            other => other,
        }
    }

    fn open_once(root: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        let layout = Layout::of(root);
        for dir in [&layout.sled, &layout.packs] {
            fs::create_dir_all(dir).map_err(|error| StoreError::io("create", dir, error))?;
        }
        let guard = Guard::new(root, &layout.damage_mark, options.min_free_bytes);
        let open = || Index::open(&layout.sled, &layout.witness, options.cache_bytes, guard.clone());

        let mut opened = if options.rebuild || layout.damage_mark.exists() {
            Err(StoreError::IndexDamaged)
        } else {
            open()
        };
        if matches!(opened, Err(StoreError::Full { .. })) && reserve::release(&layout.reserve) {
            opened = open();
        }
        let (index, rebuilt) = match opened {
            Err(StoreError::IndexDamaged) => {
                // The mark stays until the new index is flushed, so a crash in between starts over.
                File::create(&layout.damage_mark)
                    .map_err(|error| StoreError::io("create", &layout.damage_mark, error))?;
                sync_dir(&layout.packs)?;
                let aside = move_aside(&layout.sled)?;
                match fs::remove_file(&layout.witness) {
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        return Err(StoreError::io("remove", &layout.witness, error));
                    }
                    _ => {}
                }
                tracing::warn!(old = %aside.display(), "making the block index again from the packs");
                (open()?, true)
            }
            other => (other?, false),
        };
        reserve::hold(&layout.reserve, options.reserve_bytes, options.min_free_bytes);

        let counters = Counters::default();
        for (name, counter) in counters.named() {
            counter.store(index.number(name)? as i64, Ordering::Relaxed);
        }
        let store = Self {
            inner: Arc::new(Inner {
                root: root.to_path_buf(),
                packs: Packs::open(&layout.packs, options.pack_bytes)?,
                handles: Handles::new(options.open_files),
                journal: Journal::open(&layout.journal)?,
                gate: Arc::new(Gate::default()),
                counters,
                next_file: AtomicU32::new(index.number(NEXT_FILE)? as u32),
                epoch: AtomicU64::new(index.number(EPOCH)?),
                rebuilt: AtomicBool::new(rebuilt || index.number(REBUILT)? != 0),
                due: Due::default(),
                options,
                index,
            }),
        };
        store.recover(rebuilt, &layout)?;
        Ok(store)
    }

    /// Puts right what the last process left, or reads everything again after damage.
    fn recover(&self, rebuilt: bool, layout: &Layout) -> Result<(), StoreError> {
        let index = &self.inner.index;
        if rebuilt {
            index.set_number(REBUILT, 1)?;
            self.restore_pins()?;
        }
        self.finish_renames()?;
        let from = (index.number(SCANNED_PACK)? as u32, index.number(SCANNED_OFFSET)?);
        self.index_packs(from)?;
        if rebuilt {
            self.flush()?;
            fs::remove_file(&layout.damage_mark)
                .map_err(|error| StoreError::io("remove", &layout.damage_mark, error))?;
        }
        Ok(())
    }

    /// Whether the index was made again from the packs. Registered files and tables are not known any more then: the
    /// owner of the files registers them again and calls [`rebuild_finished`](Self::rebuild_finished). Until that,
    /// this stays true over restarts.
    pub fn rebuilt(&self) -> bool {
        self.inner.rebuilt.load(Ordering::Relaxed)
    }

    /// Says that all files are registered again. Durable.
    ///
    /// # Errors
    /// The index cannot be written.
    pub fn rebuild_finished(&self) -> Result<(), StoreError> {
        self.inner.index.set_number(REBUILT, 0)?;
        self.flush()?;
        self.inner.rebuilt.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// The workspace directory.
    pub fn root(&self) -> &Path {
        &self.inner.root
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

    /// Says that the whole DAG below each of `cids` is here, so that walks may stop there. Everything put so far is
    /// synced first: a mark never outlives the blocks it speaks of.
    ///
    /// # Errors
    /// The blocks cannot be synced, or the index not written.
    pub fn mark_complete(&self, cids: &[Cid]) -> Result<(), StoreError> {
        self.sync_bytes()?;
        let epoch = self.inner.epoch.load(Ordering::Acquire).to_le_bytes();
        for cid in cids {
            self.inner
                .index
                .run(|| self.inner.index.complete.insert(cid.hash().to_bytes(), &epoch))?;
        }
        Ok(())
    }

    /// Whether the whole DAG below `cid` is known to be here. False after any block was lost, until it is marked again.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn is_complete(&self, cid: &Cid) -> Result<bool, StoreError> {
        let mark = self
            .inner
            .index
            .run(|| self.inner.index.complete.get(cid.hash().to_bytes()))?;
        let epoch = mark.and_then(|mark| decode_u64(&mark));
        Ok(epoch == Some(self.inner.epoch.load(Ordering::Acquire)) && self.has(cid)?)
    }

    /// A block was lost: no mark of completeness counts any more.
    pub(super) fn forget_completeness(&self) -> Result<(), StoreError> {
        let epoch = self.inner.epoch.fetch_add(1, Ordering::AcqRel) + 1;
        self.inner.index.set_number(EPOCH, epoch)
    }

    /// Changes an index entry, and the counters with it.
    pub(super) fn update(
        &self,
        key: &[u8],
        change: impl FnMut(&mut Entry) -> bool,
    ) -> Result<Option<(Entry, Entry)>, StoreError> {
        let changed = self.inner.index.update(key, change)?;
        if let Some((before, after)) = &changed {
            self.inner.counters.follow(before, after);
        }
        Ok(changed)
    }

    /// Gives out a number for a new file. The number is never used again.
    pub(super) fn next_file_id(&self) -> Result<u32, StoreError> {
        let id = self.inner.next_file.fetch_add(1, Ordering::Relaxed);
        self.inner.index.set_number(NEXT_FILE, u64::from(id) + 1)?;
        Ok(id)
    }

    /// Appends blocks, given as multihash and bytes, to the packs and takes them into the index.
    pub(crate) fn append(&self, blocks: &[(Vec<u8>, &[u8])]) -> Result<(), StoreError> {
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
                self.update(hash, |entry| entry.add(place))?;
            }
            drop(in_flight);
            rest = behind;
        }
        Ok(())
    }

    /// Writes blocks to the packs although a registered file holds them, because that file will not for much longer.
    /// Durable when this returns. Those in a pack already are passed over.
    ///
    /// # Errors
    /// [`StoreError::Full`] when the disk has no room, or the index cannot be read or written: nothing that was here is gone.
    pub fn put_beside_files(&self, blocks: &[Block]) -> Result<(), StoreError> {
        let mut wanting = Vec::new();
        for block in blocks.iter().filter(|block| inherent(block.cid()).is_none()) {
            let key = block.cid().hash().to_bytes();
            let packed = self
                .inner
                .index
                .entry(&key)?
                .is_some_and(|entry| entry.pack().is_some());
            if !packed {
                wanting.push((key, &block.data()[..]));
            }
        }
        if wanting.is_empty() {
            return Ok(());
        }
        self.append(&wanting)?;
        self.flush()
    }

    /// Whether a block that somebody wants kept must still be written. One that only a file holds need not, but is
    /// remembered as wanted for its own sake.
    pub(crate) fn is_wanting(&self, key: &[u8]) -> Result<bool, StoreError> {
        let Some(entry) = self.inner.index.entry(key)? else {
            return Ok(true);
        };
        if entry.pack().is_none() && !entry.keep {
            let claimed = self.update(key, |entry| {
                let change = !entry.places.is_empty() && !entry.keep;
                entry.keep |= change;
                change
            })?;
            return Ok(claimed.is_none() && self.inner.index.entry(key)?.is_none());
        }
        Ok(false)
    }

    /// Path of a pack or registered file; nothing if the file is not registered.
    pub(super) fn path_of(&self, holder: Holder) -> Result<Option<PathBuf>, StoreError> {
        Ok(match holder {
            Holder::Pack(id) => Some(self.inner.packs.path(id)),
            Holder::File(id) => self.file_path(id)?,
        })
    }

    /// An open handle for reading; nothing if the file is not registered or not there.
    pub(super) fn handle(&self, holder: Holder) -> Result<Option<Arc<File>>, StoreError> {
        let opened = self.inner.handles.get(holder, false, || match self.path_of(holder)? {
            Some(path) => File::open(&path).map_err(|error| StoreError::io("open", &path, error)),
            None => Err(StoreError::io("open", &self.inner.root, ErrorKind::NotFound.into())),
        });
        match opened {
            Ok(file) => Ok(Some(file)),
            Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads a place; nothing if the bytes are not there (any more).
    pub(super) fn read(&self, place: &Place) -> Result<Option<Bytes>, StoreError> {
        let Some(file) = self.handle(place.holder)? else {
            return Ok(None);
        };
        let len = place.len as usize;
        let mut data = Vec::with_capacity(len);
        while data.len() < len {
            let at = place.offset + data.len() as u64;
            match rustix::io::pread(&file, spare_capacity(&mut data), at) {
                Ok(0) => return Ok(None),
                Ok(_) | Err(Errno::INTR) => {}
                // The medium lost it: another place, or a peer, may still have it.
                Err(Errno::IO) => return Ok(None),
                Err(error) => {
                    let path = self.path_of(place.holder)?.unwrap_or_default();
                    return Err(StoreError::io("read", &path, error.into()));
                }
            }
        }
        data.truncate(len);
        Ok(Some(data.into()))
    }

    /// Takes one place out of the index because its bytes are wrong.
    fn quarantine(&self, cid: &Cid, place: &Place) -> Result<(), StoreError> {
        let dropped = self.update(&cid.hash().to_bytes(), |entry| {
            let before = entry.places.len();
            entry.places.retain(|known| known != place);
            entry.places.len() < before
        })?;
        if let Some((_, after)) = dropped {
            tracing::warn!(%cid, ?place, others = after.places.len(), "damaged block dropped from the store");
            if after.places.is_empty() {
                self.forget_completeness()?;
            }
        }
        Ok(())
    }
}

impl Blocks for Store {
    fn has(&self, cid: &Cid) -> Result<bool, StoreError> {
        Ok(self.size(cid)?.is_some())
    }

    fn size(&self, cid: &Cid) -> Result<Option<usize>, StoreError> {
        if let Some(block) = inherent(cid) {
            return Ok(Some(block.data().len()));
        }
        let entry = self.inner.index.entry(&cid.hash().to_bytes())?;
        Ok(entry.and_then(|entry| entry.places.first().map(|place| place.len as usize)))
    }

    fn get(&self, cid: &Cid) -> Result<Option<Block>, StoreError> {
        if let Some(block) = inherent(cid) {
            return Ok(Some(block));
        }
        let key = cid.hash().to_bytes();
        // Every turn either gives the block or drops a place, unless the entry changed in between: places are few, but
        // the bound keeps a busy writer from holding a reader for ever.
        for _ in 0..2 * super::index::MAX_PLACES {
            let Some(entry) = self.inner.index.entry(&key)? else {
                return Ok(None);
            };
            let Some(place) = entry.places.first() else {
                return Ok(None);
            };
            match self.read(place)?.map(|data| Block::verify(*cid, data)) {
                Some(Ok(block)) => return Ok(Some(block)),
                Some(Err(BlockError::UnsupportedHash { .. })) => return Ok(None),
                Some(Err(_)) | None => self.quarantine(cid, place)?,
            }
        }
        Ok(None)
    }

    fn put(&self, blocks: &[Block]) -> Result<(), StoreError> {
        let mut seen = HashSet::new();
        let mut wanting = Vec::new();
        for block in blocks.iter().filter(|block| inherent(block.cid()).is_none()) {
            let key = block.cid().hash().to_bytes();
            if (blocks.len() == 1 || seen.insert(*block.cid().hash())) && self.is_wanting(&key)? {
                wanting.push((key, &block.data()[..]));
            }
        }
        if wanting.is_empty() {
            Ok(())
        } else {
            self.append(&wanting)
        }
    }
}
