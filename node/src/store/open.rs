//! Opening a store.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
};

use odf_disk::Access;

use super::{
    away::Away,
    due::Due,
    error::StoreError,
    flush::{SYNCED_OFFSET, SYNCED_PACK},
    gate::Gate,
    guard::Guard,
    handles::Handles,
    index::{Index, move_aside},
    pack::Packs,
    pins::Pins,
    reach::{IN_PART, UNSETTLED},
    recover::Packed,
    reserve,
    state::{EPOCH, Inner, NEXT_FILE, Store, StoreOptions},
    stats::Counters,
    tiers::Limits,
    uses::Uses,
    witness::Witness,
};

const REBUILT: &str = "rebuilt";
/// So many packs take up the limit of a store.
const PACKS_OF_LIMIT: u64 = 32;
/// Packs are not smaller than this.
const LEAST_PACK_BYTES: u64 = 256 << 10;

/// Paths of the store's own files in a workspace.
struct Layout {
    sled: PathBuf,
    packs: PathBuf,
    /// What is known to be on the medium.
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
            witness: packs.join("synced"),
            damage_mark: packs.join("rebuild"),
            reserve: packs.join("reserve"),
            journal: packs.join("pins"),
            packs,
        }
    }
}

impl Store {
    /// Opens the store in the workspace directory `root`, or makes one there: the index in `root/store`, packs in
    /// `root/packs`. Whatever a crash left is put right, at a cost that goes with what was not flushed: whole blocks behind
    /// the last sync of the packs are carried over, parts of files that were being written are checked, renames under way
    /// are finished. An index that cannot be trusted is moved to `root/store.damaged` and made again.
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
        let (layout, disk) = (Layout::of(root), options.disk.clone());
        disk.create_dirs(root, Access::Readable)?;
        for dir in [&layout.sled, &layout.packs] {
            disk.create_dirs(dir, Access::Owner)?;
            close_to_others(dir)?;
        }
        let witness = Arc::new(match Witness::open(&disk, &layout.witness) {
            Err(error) if error_is_full(&error) && reserve::release(&disk, &layout.reserve) => {
                Witness::open(&disk, &layout.witness)?
            }
            other => other?,
        });
        let guard = Guard::new(&disk, root, &layout.damage_mark, options.min_free_bytes);
        let limits = Limits {
            recent: options.recent_entries,
            fan_in: options.run_fan_in,
        };
        let cache = options.cache_bytes;
        let open = || Index::open(&disk, &layout.sled, &witness, (cache, limits), guard.clone());

        let known = witness.known();
        if known.is_none_or(|known| known.in_use) {
            // Whoever was killed may have made directories and names that are there and not on the medium.
            disk.sync_all(root)?;
        }
        let distrusted = known.is_some_and(|known| known.rebuild) || layout.damage_mark.exists();
        let mut opened = if options.rebuild || distrusted {
            Err(StoreError::IndexDamaged)
        } else {
            open()
        };
        if matches!(opened, Err(StoreError::Full { .. })) && reserve::release(&disk, &layout.reserve) {
            opened = open();
        }
        let (index, rebuilt) = match opened {
            Err(StoreError::IndexDamaged) => {
                // The mark stays until the new index is flushed, so a crash in between starts over.
                disk.open_or_create(&layout.damage_mark, Access::Owner)?;
                disk.sync_dir(&layout.packs)?;
                let aside = move_aside(&disk, &layout.sled)?;
                witness.write(|known| known.generation = 0, true)?;
                disk.create_dirs(&layout.sled, Access::Owner)?;
                tracing::warn!(old = %aside.display(), "making the block index again from the packs");
                (open()?, true)
            }
            other => (other?, false),
        };
        reserve::hold(&disk, &layout.reserve, options.reserve_bytes, options.min_free_bytes);

        let counters = Counters::default();
        for (name, counter) in counters.named() {
            counter.store(index.number(name)? as i64, Ordering::Relaxed);
        }
        // Both are true of the packs; one of them may be older. The index has all blocks before the position that it names.
        let flushed = (index.number(SYNCED_PACK)? as u32, index.number(SYNCED_OFFSET)?);
        let synced = known.map_or(flushed, |known| known.synced.max(flushed));
        let packed = if known.is_none() && flushed == (0, 0) {
            Packed::Unknown
        } else {
            Packed::Until {
                synced,
                indexed: flushed,
            }
        };
        let packs = Packs::open(&disk, &layout.packs, roll_bytes(&options), &witness, synced)?;
        let (pins, unreadable) = Pins::open(&disk, &layout.journal)?;
        let store = Self {
            inner: Arc::new(Inner {
                root: root.to_path_buf(),
                packs,
                handles: Handles::new(options.open_files),
                pins,
                gate: Arc::new(Gate::default()),
                away: Away::default(),
                counters,
                next_file: Mutex::new(index.number(NEXT_FILE)? as u32),
                epoch: AtomicU64::new(index.number(EPOCH)?),
                raising: Mutex::default(),
                preparing: Mutex::default(),
                rebuilt: AtomicBool::new(rebuilt || index.number(REBUILT)? != 0),
                left_open: known.is_none_or(|known| known.in_use),
                due: Due::default(),
                uses: Uses::default(),
                beside: AtomicI64::new(0),
                refused: AtomicBool::new(false),
                skipped: Mutex::default(),
                options,
                index,
            }),
        };
        if known.is_none_or(|known| known.names_left) {
            store.inner.due.names_left().insert_earlier();
        }
        if unreadable > 0 {
            store.skip(
                &layout.journal,
                format!("{unreadable} damaged line(s) in the journal of pins"),
            );
        }
        store.recover(rebuilt, packed, &layout)?;
        if store.max_bytes().is_some() {
            store.measure()?;
        }
        if let Err(error) = store.inner.packs.note_in_use() {
            tracing::debug!(%error, "nothing can be written here");
        }
        Ok(store)
    }

    /// Puts right what the last process left, or reads everything again after damage.
    fn recover(&self, rebuilt: bool, packed: Packed, layout: &Layout) -> Result<(), StoreError> {
        let index = &self.inner.index;
        if rebuilt {
            index.set_number(REBUILT, 1)?;
            index.set_number(UNSETTLED, 1)?;
        }
        self.finish_renames()?;
        self.recover_packs(packed)?;
        self.recover_files()?;
        if rebuilt {
            self.flush()?;
            self.inner.packs.distrust_index(false)?;
            self.disk().remove_file_if_there(&layout.damage_mark)?;
            self.disk().sync_dir(&layout.packs)?;
        }
        Ok(())
    }

    /// Says that all files are registered again that could be; [`skip`](Self::skip) was told of the others, which are
    /// then not taken for files that nobody needs. Durable.
    ///
    /// # Errors
    /// The index cannot be written.
    pub fn rebuild_finished(&self) -> Result<(), StoreError> {
        self.inner
            .index
            .set_number(IN_PART, u64::from(!self.skipped().is_empty()))?;
        self.inner.index.set_number(REBUILT, 0)?;
        self.flush()?;
        self.inner.rebuilt.store(false, Ordering::Relaxed);
        Ok(())
    }
}

/// A pack of a store with a limit is a small part of it.
fn roll_bytes(options: &StoreOptions) -> u64 {
    let part = options
        .max_bytes
        .map(|max| (max / PACKS_OF_LIMIT).max(LEAST_PACK_BYTES));
    part.map_or(options.pack_bytes, |part| part.min(options.pack_bytes))
}

fn error_is_full(error: &StoreError) -> bool {
    matches!(error, StoreError::Full { .. })
}

/// Nobody else may write there, whatever the umask was when it was made.
fn close_to_others(dir: &Path) -> Result<(), StoreError> {
    let found = fs::metadata(dir).map_err(|error| StoreError::io("look at", dir, error))?;
    if found.permissions().mode() & 0o022 == 0 {
        return Ok(());
    }
    let closed = fs::set_permissions(dir, fs::Permissions::from_mode(0o700));
    closed.map_err(|error| StoreError::io("close to others", dir, error))
}
