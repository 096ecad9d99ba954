//! Folds and merges of the index: power cuts at any call, damage, and workspaces from before there were any.

use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    path::Path,
    sync::{Arc, Mutex},
};

use odf_disk::{
    Disk,
    crash::{Recorder, Refusal, Unsynced, copy_tree},
};

use super::super::{
    guard::Guard,
    index::Index,
    place::{Holder, Place},
    tiers::{Change, Limits, Tiers},
    witness::Witness,
};
use super::*;

const RECENT: usize = 4;
/// Every other fold ends in a merge.
const MERGING: usize = 2;
/// There is no merge.
const NOT_MERGING: usize = 1000;
/// Keys of each map of the index, most of which are changed again and again.
const KEYS: u32 = 10;
const ROUNDS: u32 = 9;

/// Every key that there is, behind the name of its map, with what stands for its value.
type Content = BTreeMap<Vec<u8>, u64>;

fn open_index(disk: &Disk, dir: &Path, fan_in: usize) -> Result<Index, StoreError> {
    let limits = Limits { recent: RECENT, fan_in };
    let witness = Arc::new(Witness::open(disk, &dir.join("synced")).unwrap());
    let guard = Guard::new(disk, dir, &dir.join("damaged"), 0);
    fs::create_dir_all(dir.join("store")).unwrap();
    Index::open(disk, &dir.join("store"), &witness, (1 << 20, limits), guard)
}

/// The maps of files, which all hold what they are told.
fn maps(index: &Index) -> [(&'static str, &Tiers); 3] {
    [
        ("leaves", &index.leaves),
        ("files", &index.files),
        ("paths", &index.paths),
    ]
}

fn content(index: &Index) -> Content {
    let mut all = Content::new();
    let each = index.each_entry(|key, entry| {
        let found = index.entry(key)?.unwrap();
        assert_eq!(found, entry);
        all.insert([b"blocks ", key].concat(), entry.places[0].offset);
        Ok(())
    });
    each.unwrap();
    for (name, map) in maps(index) {
        for entry in map.range(&[], None) {
            let (key, value) = entry.unwrap();
            assert_eq!(map.get(&key).unwrap().unwrap(), value);
            let value = u64::from_le_bytes(value.try_into().unwrap());
            all.insert([name.as_bytes(), b" ", &key].concat(), value);
        }
    }
    all
}

fn is_sleds(path: &Path) -> bool {
    path.starts_with("store") && path != Path::new("store") && !path.starts_with("store/runs")
}

/// Copies sled's own files as they are now.
fn copy_sled(dir: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(dir.join("store")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() == "runs" {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &to.join(entry.file_name())).unwrap();
        } else {
            // sled takes older snapshots away in a thread of its own.
            let _ = fs::copy(entry.path(), to.join(entry.file_name()));
        }
    }
}

/// A history of an index, with sled's files as they were before each call and when they were synced.
struct History {
    dir: tempfile::TempDir,
    before: tempfile::TempDir,
    recorder: Arc<Recorder>,
    /// Before which call each copy was made.
    copies: Arc<Mutex<Vec<tempfile::TempDir>>>,
    /// What there was after each change.
    moments: Vec<Content>,
    /// After how many calls each flush ended, and of how many changes it spoke.
    flushes: Vec<(usize, usize)>,
    /// Before which calls sled had been synced.
    synced: Vec<usize>,
    merges: usize,
}

/// A change of one map, in turn.
fn change(index: &Index, content: &mut Content, step: u32) {
    let key = format!("key {}", (step / 4 * 7) % KEYS).into_bytes();
    let goes = step % 5 == 4;
    let map = (step as usize % 4).checked_sub(1).map(|map| maps(index)[map]);
    match map {
        Some((_, map)) => {
            let value = u64::from(step).to_le_bytes().to_vec();
            let changed = index.change(map, &key, |_| match goes {
                true => Change::Removed,
                false => Change::Value(value.clone()),
            });
            changed.unwrap();
        }
        None => {
            let place = Place {
                holder: Holder::Pack(1),
                offset: u64::from(step),
                len: 1,
            };
            let changed = index.update(&key, |entry| {
                entry.places.clear();
                if !goes {
                    entry.places.push(place);
                }
                true
            });
            changed.unwrap();
        }
    }
    let key = [map.map_or("blocks", |(name, _)| name).as_bytes(), b" ", &key].concat();
    match goes {
        true => content.remove(&key),
        false => content.insert(key, u64::from(step)),
    };
}

impl History {
    /// With the sync of this number left out.
    fn make(fan_in: usize, forgotten: Option<usize>) -> Self {
        let [dir, before] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
        drop(open_index(&Disk::new(), dir.path(), fan_in).unwrap());
        copy_tree(dir.path(), before.path()).unwrap();
        let recorder = Recorder::new(dir.path());
        forgotten.into_iter().for_each(|number| recorder.forget_sync(number));
        let copies = Arc::new(Mutex::new(Vec::new()));
        recorder.watch({
            let (copies, dir) = (copies.clone(), dir.path().to_path_buf());
            move |_| {
                let copy = tempfile::tempdir().unwrap();
                copy_sled(&dir, copy.path());
                copies.lock().unwrap().push(copy);
            }
        });
        let index = open_index(&Disk::with(recorder.clone()), dir.path(), fan_in).unwrap();
        let (mut content, mut moments, mut flushes) = (Content::new(), vec![Content::new()], Vec::new());
        let mut step = 0;
        for round in 0..ROUNDS {
            for _ in 0..8 + round % 3 {
                change(&index, &mut content, step);
                moments.push(content.clone());
                step += 1;
            }
            if round % 3 == 1 {
                // Its own thread writes it out at any time.
                index.run_ahead().unwrap();
            }
            let spoken_of = moments.len() - 1;
            index.flush().unwrap();
            flushes.push((recorder.calls(), spoken_of));
            if round % 3 == 2 {
                index.run_ahead().unwrap();
            }
        }
        change(&index, &mut content, step);
        moments.push(content);
        index.run_ahead().unwrap();
        drop(index);
        let names = (0..recorder.calls()).map(|calls| recorder.describe(calls + 1));
        let names: Vec<String> = names.collect();
        let is_log = |name: &String| name.starts_with("Sync") && name.contains("store/db");
        Self {
            synced: (0..names.len()).filter(|call| is_log(&names[*call])).collect(),
            merges: names
                .iter()
                .filter(|name| name.starts_with("Remove") && !name.contains(".pending-"))
                .count(),
            dir,
            before,
            recorder,
            copies,
            moments,
            flushes,
        }
    }

    /// What is wrong with the index after a power cut, with sled's files from before some call.
    fn wrong(&self, calls: usize, unsynced: Unsynced, sled: &Path) -> Option<String> {
        let image = tempfile::tempdir().unwrap();
        self.recorder
            .image(self.before.path(), calls, unsynced, image.path(), &is_sleds)
            .unwrap();
        let store = image.path().join("store");
        fs::create_dir_all(&store).unwrap();
        copy_tree(sled, &image.path().join("sled")).unwrap();
        for entry in fs::read_dir(image.path().join("sled")).unwrap() {
            let entry = entry.unwrap();
            let to = store.join(entry.file_name());
            if !to.exists() {
                fs::rename(entry.path(), to).unwrap();
            }
        }
        let index = match open_index(&Disk::new(), image.path(), MERGING) {
            Ok(index) => index,
            Err(error) => return Some(format!("it does not open: {error}")),
        };
        let flushed = self.flushes.iter().rev().find(|(ended, _)| *ended <= calls);
        let flushed = flushed.map_or(0, |(_, spoken_of)| *spoken_of);
        let found = content(&index);
        if !self.moments[flushed..].contains(&found) {
            return Some(format!("it is as at no moment since change {flushed}: {found:?}"));
        }
        // It goes on from there.
        let mut expected = found;
        for step in 100..110 {
            change(&index, &mut expected, step);
        }
        index.flush().unwrap();
        (content(&index) != expected).then(|| "what came later is not there".to_owned())
    }

    /// The first thing that is wrong after some power cut.
    fn first_wrong(&self) -> Option<String> {
        let copies = self.copies.lock().unwrap();
        for calls in 0..=self.recorder.calls() {
            let synced = self.synced.iter().rev().find(|call| **call < calls);
            // As it is written at that moment, and as it was synced last.
            let mut sleds: Vec<(&str, &Path)> = Vec::new();
            sleds.extend(copies.get(calls).map(|copy| ("as it is", copy.path())));
            sleds.extend(synced.map(|call| ("as it was synced", copies[*call].path())));
            for (which, sled) in sleds {
                for unsynced in Unsynced::ALL {
                    if let Some(wrong) = self.wrong(calls, unsynced, sled) {
                        let last = self.recorder.describe(calls);
                        return Some(format!("call {calls} ({last}), {unsynced:?}, sled {which}: {wrong}"));
                    }
                }
            }
        }
        None
    }
}

/// Wherever the power goes, the index is as it was at one moment, none before the last flush.
#[test]
fn a_cut_at_any_call_leaves_the_index_as_it_was_at_one_moment() {
    let history = History::make(MERGING, None);
    assert!(history.merges > 4, "{}", history.merges);
    assert!(history.dir.path().join("store/runs").is_dir());
    assert_eq!(history.first_wrong(), None);
}

#[test]
fn a_run_that_lacks_any_one_sync_is_found_out() {
    for fan_in in [NOT_MERGING, MERGING] {
        let syncs = History::make(fan_in, None).recorder.syncs();
        // That the name of a merged run is synced keeps a disk from doing so after it has taken the old ones away, which the
        // recorder's never does.
        let counts = |sync: &String| fan_in == NOT_MERGING || !sync.starts_with("SyncDir");
        let is_of_runs = |sync: &String| sync.contains("store/run/writer.rs") && counts(sync);
        let looked_at: Vec<usize> = (0..syncs.len()).filter(|number| is_of_runs(&syncs[*number])).collect();
        for number in looked_at.iter().skip(2).take(4) {
            let wrong = History::make(fan_in, Some(*number)).first_wrong();
            println!("without {}: {wrong:?}", syncs[*number]);
            assert!(wrong.is_some(), "without {}", syncs[*number]);
        }
        assert!(looked_at.len() > 6);
    }
}

fn small() -> StoreOptions {
    StoreOptions {
        recent_entries: 4,
        run_fan_in: 3,
        ..options()
    }
}

fn all_there(store: &Store, blocks: &[Block]) {
    for block in blocks {
        assert_eq!(store.get(block.cid()).unwrap().as_ref(), Some(block));
    }
}

#[test]
fn a_disk_that_refuses_a_call_costs_the_fold_alone() {
    let blocks: Vec<Block> = (0..20).map(|seed| block(seed, 100)).collect();
    let mut folded = 0;
    for call in 0..40 {
        let dir = tempfile::tempdir().unwrap();
        let recorder = Recorder::new(dir.path());
        let disk = Disk::with(recorder.clone());
        let store = Store::open(dir.path(), StoreOptions { disk, ..small() }).unwrap();
        store.put(&blocks[..10]).unwrap();
        store.flush().unwrap();
        store.put(&blocks[10..]).unwrap();
        recorder.set_refusal(Refusal::Once(call), ErrorKind::StorageFull);
        let flushed = store.flush();
        recorder.set_refusal(Refusal::Never, ErrorKind::Other);
        all_there(&store, &blocks);
        let is_poisoned = store.disk().check().is_err();
        assert!(flushed.is_ok() || is_poisoned || call < 10, "call {call}: {flushed:?}");
        if !is_poisoned {
            store.flush().unwrap();
            folded += usize::from(runs(dir.path()).len() > 1);
        }
        drop(store);
        let store = Store::open(dir.path(), small()).unwrap();
        assert!(!store.rebuilt(), "call {call}");
        all_there(&store, &blocks);
    }
    assert!(folded > 5, "{folded}");
}

fn runs(root: &Path) -> Vec<std::path::PathBuf> {
    runs_of(root, "blocks")
}

fn runs_of(root: &Path, map: &str) -> Vec<std::path::PathBuf> {
    let runs = fs::read_dir(root.join("store/runs").join(map)).unwrap();
    let mut runs: Vec<_> = runs.map(|entry| entry.unwrap().path()).collect();
    runs.sort();
    runs
}

#[test]
fn a_damaged_run_is_made_again_with_the_index() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 5] = [
        ("a run is gone", |run| fs::remove_file(run).unwrap()),
        ("its end is gone", |run| {
            let len = fs::metadata(run).unwrap().len();
            fs::File::options()
                .write(true)
                .open(run)
                .unwrap()
                .set_len(len - 1)
                .unwrap();
        }),
        ("a byte of it is another", |run| {
            let mut bytes = fs::read(run).unwrap();
            bytes[100] ^= 1;
            fs::write(run, bytes).unwrap();
        }),
        ("it is empty", |run| fs::write(run, b"").unwrap()),
        ("sled's files are gone", |run| {
            let store = run.ancestors().nth(3).unwrap();
            fs::remove_file(store.join("db")).unwrap();
        }),
    ];
    for (name, harm) in harms {
        let dir = tempfile::tempdir().unwrap();
        let blocks: Vec<Block> = (0..40).map(|seed| block(seed, 2000)).collect();
        let store = Store::open(dir.path(), small()).unwrap();
        for some in blocks.chunks(5) {
            store.put(some).unwrap();
            store.flush().unwrap();
        }
        drop(store);
        harm(&runs(dir.path())[0]);
        let mut store = Store::open(dir.path(), small()).unwrap();
        if !store.rebuilt() {
            // What opening did not meet shows on reading, and the next opening knows.
            assert!(blocks.iter().any(|block| store.get(block.cid()).is_err()), "{name}");
            drop(store);
            store = Store::open(dir.path(), small()).unwrap();
        }
        assert!(store.rebuilt(), "{name}");
        all_there(&store, &blocks);
        assert_eq!(store.stats().unwrap().blocks, 40);
        store.rebuild_finished().unwrap();
        assert!(!runs(dir.path()).is_empty(), "a rebuild folds, too");
    }
}

/// Blocks of which each has a file of its own.
fn put_in_files(store: &Store, blocks: &[Block]) {
    for block in blocks {
        let file = store.add_file(&path_of(block)).unwrap();
        store.write_leaf(file, 0, block).unwrap();
    }
}

fn path_of(block: &Block) -> std::path::PathBuf {
    Path::new("data").join(block.cid().to_string())
}

fn all_in_files(store: &Store, blocks: &[Block]) {
    all_there(store, blocks);
    let mut files = store.files_below(Path::new("data")).unwrap();
    for block in blocks {
        let file = store.file_at(&path_of(block)).unwrap().unwrap();
        assert_eq!(store.registered(file).unwrap(), store.root().join(path_of(block)));
        let leaves: Vec<_> = store.leaves_of(file).map(Result::unwrap).collect();
        assert_eq!(leaves, [(0, block.cid().hash().to_bytes())]);
        files.retain(|other| *other != file);
    }
    assert_eq!(files, []);
}

#[test]
fn an_index_from_before_there_were_runs_is_folded_little_by_little() {
    let dir = tempfile::tempdir().unwrap();
    let blocks: Vec<Block> = (0..300).map(|seed| block(seed, 50)).collect();
    let (in_packs, in_files) = blocks.split_at(200);
    let earlier = StoreOptions {
        recent_entries: usize::MAX,
        ..options()
    };
    let store = Store::open(dir.path(), earlier).unwrap();
    store.put(&in_packs[..190]).unwrap();
    put_in_files(&store, &in_files[..90]);
    store.flush().unwrap();
    // As that version left it.
    let index = &store.inner.index;
    for map in ["blocks", "leaves", "files", "paths"] {
        assert!(index.meta.remove(format!("{map}: recent")).unwrap().is_some());
    }
    let generation = index.meta.get("generation").unwrap().unwrap();
    assert_eq!(
        generation.len(),
        8,
        "earlier versions read it for as long as they know everything"
    );
    index.run_ahead().unwrap();
    drop(store);
    for round in 0..10 {
        let store = Store::open(dir.path(), small()).unwrap();
        assert!(!store.rebuilt());
        all_there(&store, &in_packs[..190 + round]);
        all_in_files(&store, &in_files[..90 + round]);
        store.put(&in_packs[190 + round..191 + round]).unwrap();
        put_in_files(&store, &in_files[90 + round..91 + round]);
        store.flush().unwrap();
        let stats = store.stats().unwrap();
        assert_eq!((stats.blocks, stats.files), (282 + 2 * round as u64, 91 + round as u64));
    }
    let store = Store::open(dir.path(), small()).unwrap();
    all_there(&store, in_packs);
    all_in_files(&store, in_files);
    let index = &store.inner.index;
    let mut bytes = 0;
    for map in ["blocks", "leaves", "files", "paths"] {
        let recent = index.number(&format!("{map}: recent")).unwrap();
        assert!(recent < 8, "{map}: {recent}");
        let runs = runs_of(dir.path(), map);
        bytes += runs.iter().map(|run| fs::metadata(run).unwrap().len()).sum::<u64>();
    }
    assert!(bytes > 0 && store.stats().unwrap().index_bytes > bytes);
    assert!(
        index.meta.get("generation").unwrap().is_none(),
        "earlier versions make it again now"
    );

    // A version that had runs of blocks alone kept it like this.
    let flushed = index.number("generation of trees and runs").unwrap();
    let with_runs = [&flushed.to_le_bytes()[..], &[1]].concat();
    index.meta.insert("generation", with_runs).unwrap();
    index.meta.remove("generation of trees and runs").unwrap();
    index.run_ahead().unwrap();
    drop(store);
    let store = Store::open(dir.path(), small()).unwrap();
    assert!(!store.rebuilt());
    all_in_files(&store, in_files);
    store.flush().unwrap();
    let index = &store.inner.index;
    assert_eq!(index.number("generation of trees and runs").unwrap(), flushed + 1);
    assert!(index.meta.get("generation").unwrap().is_none());
}

#[test]
fn a_damaged_run_of_files_is_noticed() {
    let flip = |run: &Path| {
        let mut bytes = fs::read(run).unwrap();
        bytes[100] ^= 1;
        fs::write(run, bytes).unwrap();
    };
    for map in ["leaves", "files", "paths"] {
        for is_gone in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let blocks: Vec<Block> = (0..20).map(|seed| block(seed, 100)).collect();
            let store = Store::open(dir.path(), small()).unwrap();
            put_in_files(&store, &blocks);
            store.flush().unwrap();
            all_in_files(&store, &blocks);
            drop(store);
            for run in runs_of(dir.path(), map) {
                match is_gone {
                    true => fs::remove_file(run).unwrap(),
                    false => flip(&run),
                }
            }
            let mut store = Store::open(dir.path(), small()).unwrap();
            if !is_gone {
                assert!(!store.rebuilt());
                let file = |block| store.file_at(&path_of(block));
                let is_found = |block| {
                    let file = file(block)?.ok_or(StoreError::IndexDamaged)?;
                    store.registered(file)?;
                    store.leaves_of(file).collect::<Result<Vec<_>, _>>()
                };
                assert!(blocks.iter().any(|block| is_found(block).is_err()), "{map}");
                drop(store);
                store = Store::open(dir.path(), small()).unwrap();
            }
            assert!(store.rebuilt(), "{map}");
            for block in &blocks {
                let file = store.add_file(&path_of(block)).unwrap();
                assert_eq!(store.adopt_references(file, &[leaf(block, 0)]).unwrap(), [true]);
            }
            all_in_files(&store, &blocks);
        }
    }
}

#[test]
fn a_collection_gives_back_what_is_gone_from_the_runs() {
    let dir = tempfile::tempdir().unwrap();
    let blocks: Vec<Block> = (0..60).map(|seed| block(seed, 50)).collect();
    let store = Store::open(dir.path(), small()).unwrap();
    for some in blocks.chunks(6) {
        store.put(some).unwrap();
        store.flush().unwrap();
    }
    store.pin("p", blocks[7].cid()).unwrap();
    assert_eq!(store.gc().unwrap().removed_blocks, 59);
    all_there(&store, &blocks[7..8]);
    assert!(blocks[8..].iter().all(|block| !store.has(block.cid()).unwrap()));
    assert_eq!(runs(dir.path()).len(), 1, "tombstones hide nothing any more");
    drop(store);
    let store = Store::open(dir.path(), small()).unwrap();
    assert!(!store.rebuilt());
    assert_eq!(store.gc().unwrap().kept_blocks, 1);
    all_there(&store, &blocks[7..8]);
}
