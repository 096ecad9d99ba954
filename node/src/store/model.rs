//! A model of the store, and a driver that holds the store to it: for the tests and for fuzzing, which share it.
//!
//! A history is a string of bytes. The driver reads operations from it: put, pin, unpin, write files and refer to their
//! parts, rename and remove files, collect garbage, open again, let calls to the disk fail, and cut the power, with the
//! index ahead of the packs, as its last flush left it, or gone. The model is a few sets. Three things are asked:
//! - what was flushed is there after a cut, unless an operation after the flush may have removed it;
//! - what a pin needed and was whole at a flush is whole for as long as the store says that there is that pin;
//! - what the store says it has it gives, and what it gives is right.
//!
//! A broken promise is a panic: this is not for programs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod world;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::Arc,
};

use odf_disk::{
    Call, Device, Disk, FileKey,
    crash::{Recorder, Refusal, Unsynced},
};

use self::world::{World, all_paths, path_of};
use super::{Blocks as _, FileId, Leaf, Store, StoreError, StoreOptions, place::Holder};
use crate::block::Block;

/// The most operations of one history.
const MAX_OPERATIONS: usize = 48;
/// The most power cuts of one history: each costs an opening.
const MAX_CUTS: usize = 4;
/// Whose pins they are.
const OWNER: &str = "history";

/// Records, and takes a copy of sled's files whenever they were synced.
struct Watch {
    recorder: Arc<Recorder>,
    sled: PathBuf,
    flushed: PathBuf,
}

impl Device for Watch {
    fn before(&self, call: &Call<'_>) -> io::Result<()> {
        self.recorder.before(call)
    }

    fn opened(&self, path: &Path, file: FileKey) {
        self.recorder.opened(path, file);
    }

    fn perform(&self, call: &Call<'_>, make: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        self.recorder.perform(call, make)?;
        if let Call::Sync { path, .. } = call
            && *path == self.sled.join("db")
        {
            let _ = fs::remove_dir_all(&self.flushed);
            copy_sled(&self.sled, &self.flushed);
        }
        Ok(())
    }
}

/// Whether a name below the directory of the index is sled's own: runs are written through the disk.
fn is_sleds(name: &Path) -> bool {
    !name.starts_with("runs")
}

fn copy(from: &Path, to: &Path) {
    copy_if(from, to, |_| true);
}

fn copy_sled(from: &Path, to: &Path) {
    copy_if(from, to, is_sleds);
}

fn copy_if(from: &Path, to: &Path, counts: fn(&Path) -> bool) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if !counts(Path::new(&entry.file_name())) {
            continue;
        }
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// The bytes of a history, read as numbers.
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn next(&mut self) -> Option<usize> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(usize::from(*first))
    }

    fn below(&mut self, bound: usize) -> usize {
        self.next().unwrap_or(0) % bound
    }
}

/// What must be true.
#[derive(Default)]
struct Promises {
    /// Blocks that the open store must have.
    here: BTreeSet<usize>,
    /// Blocks that must be there whatever happens.
    kept: BTreeSet<usize>,
    /// Pins of the open store.
    pins: BTreeSet<usize>,
    /// Pins that must be there whatever happens.
    kept_pins: BTreeSet<usize>,
    /// Pins that may be there after a cut or not.
    loose_pins: BTreeSet<usize>,
    /// What a pin needed and had at a flush, for as long as the pin may come back.
    whole: BTreeMap<usize, BTreeSet<usize>>,
    /// For each path, the blocks that its file holds.
    files: BTreeMap<PathBuf, BTreeSet<usize>>,
}

struct History {
    world: &'static World,
    scratch: tempfile::TempDir,
    generation: usize,
    recorder: Arc<Recorder>,
    store: Option<Store>,
    promises: Promises,
}

/// Runs one history. Panics if a promise is broken.
pub fn run(history: &[u8]) {
    let mut numbers = Numbers(history);
    let mut run = History::begin();
    let mut cuts = 0;
    for _ in 0..MAX_OPERATIONS {
        let Some(kind) = numbers.next() else { break };
        match kind % 16 {
            0 => {
                cuts += 1;
                if cuts > MAX_CUTS {
                    break;
                }
                run.cut(&mut numbers);
            }
            1 => run.reopen(),
            2 => run.fail(&mut numbers),
            _ => drop(run.operation(kind, &mut numbers)),
        }
        run.look(kind);
    }
    run.reopen();
}

impl History {
    fn begin() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let mut history = Self {
            world: World::get(),
            generation: 0,
            recorder: Recorder::new(scratch.path()),
            scratch,
            store: None,
            promises: Promises::default(),
        };
        fs::create_dir(history.dir("now")).unwrap();
        history.record();
        history.open();
        history
    }

    fn dir(&self, what: &str) -> PathBuf {
        self.scratch.path().join(format!("{what}-{}", self.generation))
    }

    /// Begins to record a directory that is all on the medium.
    fn record(&mut self) {
        copy(&self.dir("now"), &self.dir("before"));
        self.recorder = Recorder::new(&self.dir("now"));
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("a store is open between operations")
    }

    /// Opens the store and, if the index is a new one, registers the files again, as their owner does.
    fn open(&mut self) {
        let disk = Disk::with(Arc::new(Watch {
            recorder: self.recorder.clone(),
            sled: self.dir("now").join("store"),
            flushed: self.dir("flushed"),
        }));
        let options = StoreOptions {
            disk,
            pack_bytes: 64 << 10,
            min_free_bytes: 0,
            reserve_bytes: 0,
            cache_bytes: 1 << 20,
            recent_entries: 2,
            run_fan_in: 2,
            ..StoreOptions::default()
        };
        let store = Store::open(&self.dir("now"), options).expect("it always opens");
        if store.rebuilt() {
            for path in all_paths() {
                if self.dir("now").join(&path).exists() {
                    let file = store.add_file(&path).unwrap();
                    for parts in &self.world.files {
                        let leaves: Vec<Leaf> = parts.iter().map(|part| self.leaf(*part)).collect();
                        store.adopt_references(file, &leaves).unwrap();
                    }
                }
            }
            store.rebuild_finished().unwrap();
        }
        self.store = Some(store);
    }

    fn leaf(&self, (offset, block): (u64, usize)) -> Leaf {
        let block = &self.world.blocks[block];
        Leaf {
            cid: *block.cid(),
            offset,
            len: block.data().len() as u32,
        }
    }

    /// The store has been opened, perhaps after a cut: what was promised is there, and what is there beyond that counts
    /// from now on.
    fn opened(&mut self) {
        let store = self.store.as_ref().expect("just opened");
        let here: BTreeSet<usize> = (0..self.world.blocks.len()).filter(|n| self.gives(*n)).collect();
        let missing: Vec<usize> = self.promises.kept.difference(&here).copied().collect();
        assert!(missing.is_empty(), "flushed and not there: {missing:?}");
        let pins: BTreeSet<usize> = store
            .pins(Some(OWNER))
            .unwrap()
            .iter()
            .map(|pin| {
                self.world
                    .roots
                    .iter()
                    .position(|root| *root == pin.cid)
                    .expect("a pin that was made")
            })
            .collect();
        let promises = &mut self.promises;
        assert!(
            pins.is_superset(&promises.kept_pins),
            "flushed pins: {pins:?} of {:?}",
            promises.kept_pins
        );
        for pin in pins.difference(&promises.kept_pins) {
            assert!(promises.loose_pins.contains(pin), "pin {pin} comes from nowhere");
        }
        promises.whole.retain(|pin, _| pins.contains(pin));
        for (pin, needed) in &promises.whole {
            let missing: Vec<_> = needed.difference(&here).collect();
            assert!(missing.is_empty(), "pin {pin} was whole and lacks {missing:?}");
        }
        (promises.here, promises.pins) = (here, pins);
        self.promises.files = self.readable_files();
    }

    /// What the store knows of files: for each path, the blocks in it that `counts` says yes to.
    fn files_of_the_store(&self, counts: &dyn Fn(FileId, &[u8]) -> bool) -> BTreeMap<PathBuf, BTreeSet<usize>> {
        let store = self.store();
        let mut files = BTreeMap::new();
        for path in all_paths() {
            if let Some(file) = store.file_at(&path).unwrap() {
                let leaves = store.leaves_of(file).map(|leaf| leaf.unwrap().1);
                let blocks = leaves.filter(|hash| counts(file, hash)).filter_map(|hash| {
                    let is_it = |block: &Block| block.cid().hash().to_bytes() == hash[..];
                    self.world.blocks.iter().position(is_it)
                });
                files.insert(path, blocks.collect());
            }
        }
        files
    }

    /// The parts of files that can be read now.
    fn readable_files(&self) -> BTreeMap<PathBuf, BTreeSet<usize>> {
        self.files_of_the_store(&|file, hash| {
            let places = self.store().places(hash).unwrap();
            places.iter().any(|place| place.holder == Holder::File(file.0))
        })
    }

    /// Whether the store gives the block; it never says that it has one and then does not give it.
    fn gives(&self, n: usize) -> bool {
        let block = &self.world.blocks[n];
        let has = self.store().has(block.cid()).unwrap();
        let found = self.store().get(block.cid()).unwrap();
        assert_eq!(has, found.is_some(), "block {n}: what it has it gives");
        assert!(found.is_none_or(|found| found == *block));
        has
    }

    /// A look at some blocks between operations.
    fn look(&self, seed: usize) {
        for n in (0..self.world.blocks.len()).filter(|n| (n + seed).is_multiple_of(3)) {
            let gives = self.gives(n);
            assert!(gives || !self.promises.here.contains(&n), "block {n} is gone");
        }
    }

    fn reopen(&mut self) {
        self.store = None;
        self.recorder.set_refusal(Refusal::Never, ErrorKind::Other);
        self.open();
        self.opened();
    }

    /// One call of the next operation fails.
    fn fail(&mut self, numbers: &mut Numbers<'_>) {
        let call = numbers.below(24);
        let kinds = [ErrorKind::StorageFull, ErrorKind::Other, ErrorKind::PermissionDenied];
        self.recorder.set_refusal(Refusal::Once(call), kinds[numbers.below(3)]);
        let kind = numbers.next().unwrap_or(3);
        let _ = self.operation(kind, numbers);
        self.recorder.set_refusal(Refusal::Never, ErrorKind::Other);
        if self.store().disk().check().is_err() {
            let error = self.store().flush().unwrap_err();
            assert!(error.is_poisoned(), "{error:?}");
            self.reopen();
        }
        self.promises.files = self.readable_files();
    }

    /// The power goes at some call of the next operation.
    fn cut(&mut self, numbers: &mut Numbers<'_>) {
        let call = numbers.below(40);
        let unsynced = Unsynced::ALL[numbers.below(3)];
        let index = numbers.below(3);
        self.recorder.set_refusal(Refusal::From(call), ErrorKind::Other);
        let kind = numbers.next().unwrap_or(3);
        let _ = self.operation(kind, numbers);
        // Its own thread writes the index out at any time.
        self.store().run_ahead().unwrap();
        let (old, before, flushed) = (self.dir("now"), self.dir("before"), self.dir("flushed"));
        self.generation += 1;
        let now = self.dir("now");
        let skip = |path: &Path| {
            let below = path.strip_prefix("store").ok();
            below.is_some_and(|name| !name.as_os_str().is_empty() && is_sleds(name))
        };
        self.recorder.image(&before, usize::MAX, unsynced, &now, &skip).unwrap();
        match index {
            0 => copy_sled(&old.join("store"), &now.join("store")),
            1 if flushed.exists() => copy_sled(&flushed, &now.join("store")),
            _ => drop(fs::remove_dir_all(now.join("store"))),
        }
        self.store = None;
        for dir in [old, before, flushed] {
            let _ = fs::remove_dir_all(dir);
        }
        self.record();
        self.open();
        self.opened();
        // The directory is as the medium had it.
        self.promises.kept_pins = self.promises.pins.clone();
        self.promises.loose_pins.clear();
    }

    fn operation(&mut self, kind: usize, numbers: &mut Numbers<'_>) -> Result<(), StoreError> {
        match kind % 16 {
            3..=5 => self.put(numbers),
            6 => self.pin(numbers.below(self.world.roots.len())),
            7 => self.unpin(numbers.below(self.world.roots.len())),
            8 | 9 => self.write(numbers),
            10 => self.refer(numbers),
            11 => self.remove(numbers),
            12 => self.rename(numbers),
            13 | 14 => self.flush(),
            _ => self.collect(),
        }
    }

    fn put(&mut self, numbers: &mut Numbers<'_>) -> Result<(), StoreError> {
        let count = 1 + numbers.below(4);
        let wanted: Vec<usize> = (0..count).map(|_| numbers.below(self.world.blocks.len())).collect();
        let blocks: Vec<Block> = wanted.iter().map(|n| self.world.blocks[*n].clone()).collect();
        self.store().put(&blocks)?;
        self.promises.here.extend(wanted);
        Ok(())
    }

    fn pin(&mut self, root: usize) -> Result<(), StoreError> {
        self.promises.loose_pins.insert(root);
        self.store().pin(OWNER, &self.world.roots[root])?;
        self.promises.pins.insert(root);
        Ok(())
    }

    fn unpin(&mut self, root: usize) -> Result<(), StoreError> {
        if self.promises.kept_pins.remove(&root) {
            self.promises.loose_pins.insert(root);
        }
        let there = self.store().unpin(OWNER, &self.world.roots[root])?;
        assert_eq!(there, self.promises.pins.remove(&root));
        Ok(())
    }

    /// The blocks that a path's file holds, as far as is known.
    fn file(&mut self, path: &Path) -> &mut BTreeSet<usize> {
        self.promises.files.entry(path.to_path_buf()).or_default()
    }

    fn write(&mut self, numbers: &mut Numbers<'_>) -> Result<(), StoreError> {
        let file = numbers.below(self.world.files.len());
        let path = path_of(file, numbers.below(2));
        let parts = &self.world.files[file];
        let (offset, block) = parts[numbers.below(parts.len())];
        let id = self.store().add_file(&path)?;
        self.store().write_leaf(id, offset, &self.world.blocks[block])?;
        self.file(&path).insert(block);
        self.promises.here.insert(block);
        Ok(())
    }

    fn refer(&mut self, numbers: &mut Numbers<'_>) -> Result<(), StoreError> {
        let file = numbers.below(self.world.files.len());
        let path = path_of(file, numbers.below(2));
        let id = self.store().add_file(&path)?;
        let parts = self.world.files[file].clone();
        for (offset, block) in &parts {
            self.store().write_at(id, *offset, self.world.blocks[*block].data())?;
        }
        let leaves: Vec<Leaf> = parts.iter().map(|part| self.leaf(*part)).collect();
        self.store().put_references(id, &leaves)?;
        for (_, block) in parts {
            self.file(&path).insert(block);
            self.promises.here.insert(block);
        }
        Ok(())
    }

    /// What only these paths' files hold may go, unless a pin needs it.
    fn give_up(&mut self, paths: &[PathBuf]) {
        let known = self.files_of_the_store(&|_, _| true);
        let held = paths.iter().filter_map(|path| known.get(path));
        let gone: BTreeSet<usize> = held.flatten().copied().collect();
        let promises = &mut self.promises;
        for path in paths {
            promises.files.remove(path);
        }
        let needed = self.needed();
        let promises = &mut self.promises;
        let others: BTreeSet<usize> = promises.files.values().flatten().copied().collect();
        for block in gone
            .iter()
            .filter(|block| !needed.contains(block) && !others.contains(block))
        {
            // It may be in a pack too, but the model does not follow that.
            promises.here.remove(block);
            promises.kept.remove(block);
        }
    }

    /// What pins need of what is here.
    fn needed(&self) -> BTreeSet<usize> {
        let reached = self.promises.pins.iter().flat_map(|pin| {
            let reached = self.world.reach(&self.world.roots[*pin], &self.promises.here);
            reached.into_iter().filter(|block| self.promises.here.contains(block))
        });
        reached.collect()
    }

    fn remove(&mut self, numbers: &mut Numbers<'_>) -> Result<(), StoreError> {
        let paths = all_paths();
        let path = paths[numbers.below(paths.len())].clone();
        let Some(id) = self.store().file_at(&path)? else {
            return Ok(());
        };
        self.give_up(&[path]);
        let outcome = self.store().remove_file(id);
        self.settled_if_gone(id);
        outcome
    }

    fn rename(&mut self, numbers: &mut Numbers<'_>) -> Result<(), StoreError> {
        let file = numbers.below(self.world.files.len());
        let (from, to) = (path_of(file, numbers.below(2)), path_of(file, numbers.below(3)));
        let Some(id) = self.store().file_at(&from)? else {
            return Ok(());
        };
        if from == to {
            return Ok(());
        }
        let held = self.promises.files.remove(&from).unwrap_or_default();
        // Its own blocks count as held by another file meanwhile.
        self.promises.files.insert(PathBuf::from("under way"), held);
        self.give_up(std::slice::from_ref(&to));
        let replaced = self.store().file_at(&to)?;
        let outcome = self.store().rename_file(id, &to);
        replaced.into_iter().for_each(|file| self.settled_if_gone(file));
        let held = self.promises.files.remove(Path::new("under way")).unwrap_or_default();
        let now = if self.store().file_at(&to)? == Some(id) {
            to
        } else {
            from
        };
        self.promises.files.insert(now, held);
        outcome
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.store().flush()?;
        self.pins_are_settled();
        let promises = &mut self.promises;
        promises.kept = promises.here.clone();
        promises.kept_pins = promises.pins.clone();
        promises.loose_pins.clear();
        promises.whole = promises
            .pins
            .iter()
            .map(|pin| {
                let reached = self.world.reach(&self.world.roots[*pin], &promises.here);
                (*pin, reached.intersection(&promises.here).copied().collect())
            })
            .collect();
        Ok(())
    }

    /// A file is given up only after the pins are synced.
    fn settled_if_gone(&mut self, file: FileId) {
        if self.store().registered(file).is_err() {
            self.pins_are_settled();
        }
    }

    /// Pins that were taken away do not come back from here on.
    fn pins_are_settled(&mut self) {
        let promises = &mut self.promises;
        promises.whole.retain(|pin, _| promises.pins.contains(pin));
    }

    fn collect(&mut self) -> Result<(), StoreError> {
        let mut stays = self.needed();
        stays.extend(self.promises.files.values().flatten());
        let promises = &mut self.promises;
        promises.here.retain(|block| stays.contains(block));
        promises.kept.retain(|block| stays.contains(block));
        // The store may have more than the model asks for, and pins reach through that too.
        let all = 0..self.world.blocks.len();
        let there: BTreeSet<usize> = all.filter(|n| self.gives(*n)).collect();
        let report = self.store().gc()?;
        self.pins_are_settled();
        if report.missing.iter().all(|missing| !missing.was_here) {
            stays.extend(self.files_of_the_store(&|_, _| true).values().flatten());
            let roots = self.promises.pins.iter().map(|pin| &self.world.roots[*pin]);
            stays.extend(roots.flat_map(|root| self.world.reach(root, &there)));
            for n in (0..self.world.blocks.len()).filter(|n| !stays.contains(n)) {
                assert!(!self.gives(n), "garbage stayed: block {n}");
            }
        }
        Ok(())
    }
}
