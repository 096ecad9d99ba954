//! Each sync is needed: without it there is a power cut that takes what was said to be kept, or makes the store say what is
//! not so.

use std::{ops::Range, path::Path, sync::Arc};

use odf_disk::Disk;
use odf_disk::crash::{Recorder, Refusal, Unsynced, copy_tree};

use super::*;

const BYTES: usize = 500;

/// A store in which two blocks were put, one of them pinned, and all of it flushed.
struct Kept {
    dir: tempfile::TempDir,
    before: tempfile::TempDir,
    recorder: Arc<Recorder>,
    blocks: Vec<Block>,
    /// How many syncs opening it made, and all of it.
    syncs: Range<usize>,
    /// How many calls had been made when the blocks were put, and what its own thread may have written of the index by then.
    put: usize,
    index: tempfile::TempDir,
    _store: Store,
}

impl Kept {
    /// Over nothing, or over what was closed before; with the sync of this number left out.
    fn new(over_nothing: bool, forgotten: Option<usize>) -> Self {
        let [dir, before, index] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
        if !over_nothing {
            let store = open(dir.path());
            store.put(&[block(1, BYTES)]).unwrap();
            store.flush().unwrap();
            drop(store);
            copy_tree(dir.path(), before.path()).unwrap();
        }
        let recorder = Recorder::new(dir.path());
        recorder.others_write(&dir.path().join("store"));
        if let Some(number) = forgotten {
            recorder.forget_sync(number);
        }
        let disk = Disk::with(recorder.clone());
        let store = Store::open(dir.path(), StoreOptions { disk, ..options() }).unwrap();
        let opened = recorder.syncs().len();
        let blocks = vec![block(2, BYTES), block(3, BYTES)];
        store.put(&blocks).unwrap();
        let put = recorder.calls();
        store.run_ahead().unwrap();
        copy_tree(&dir.path().join("store"), index.path()).unwrap();
        store.pin("p", blocks[0].cid()).unwrap();
        store.flush().unwrap();
        Self {
            syncs: opened..recorder.syncs().len(),
            dir,
            before,
            recorder,
            blocks,
            put,
            index,
            _store: store,
        }
    }

    /// The store as it is opened after a power cut: with this of the packs and pins, and the index that `index` makes.
    fn cut(&self, calls: usize, unsynced: Unsynced, index: impl FnOnce(&Path)) -> (tempfile::TempDir, Store) {
        let image = tempfile::tempdir().unwrap();
        let skip = |path: &Path| path.starts_with("store");
        let recorder = &self.recorder;
        recorder
            .image(self.before.path(), calls, unsynced, image.path(), &skip)
            .unwrap();
        let store = image.path().join("store");
        if store.exists() {
            std::fs::remove_dir_all(&store).unwrap();
        }
        index(&store);
        let store = open(image.path());
        (image, store)
    }

    /// The index that was synced.
    fn synced_index(&self, to: &Path) {
        let image = tempfile::tempdir().unwrap();
        let recorder = &self.recorder;
        recorder
            .image(self.before.path(), usize::MAX, Unsynced::Dropped, image.path(), &|_| {
                false
            })
            .unwrap();
        let log = image.path().join("store/db");
        if log.exists() {
            // What else there is sled syncs itself.
            copy_tree(&self.dir.path().join("store"), to).unwrap();
            std::fs::copy(log, to.join("db")).unwrap();
        }
    }

    /// What is wrong after some power cut.
    fn wrong(&self) -> Option<&'static str> {
        for unsynced in [Unsynced::Dropped, Unsynced::Kept] {
            let (_image, store) = self.cut(usize::MAX, unsynced, |to| self.synced_index(to));
            if store.rebuilt() {
                return Some("the index that was flushed is made again");
            }
            if !self.blocks.iter().all(|block| is_here(&store, block)) {
                return Some("a block that was flushed is lost");
            }
            if store.pins(None).unwrap().len() != 1 {
                return Some("a pin is lost");
            }
        }
        let (_image, store) = self.cut(usize::MAX, Unsynced::Dropped, |_| ());
        if !store.rebuilt() {
            return Some("nobody notices that the index is gone");
        }
        let (_image, store) = self.cut(self.put, Unsynced::Dropped, |to| {
            copy_tree(self.index.path(), to).unwrap();
        });
        store.put(&[block(4, BYTES), block(5, BYTES)]).unwrap();
        if self.blocks.iter().any(|block| store.has(block.cid()).unwrap()) {
            return Some("what was lost is said to be where something else was written later");
        }
        None
    }
}

fn is_here(store: &Store, block: &Block) -> bool {
    store.get(block.cid()).unwrap().as_ref() == Some(block)
}

#[test]
fn a_store_that_lacks_any_one_sync_is_found_out() {
    for over_nothing in [true, false] {
        let whole = Kept::new(over_nothing, None);
        assert_eq!(whole.wrong(), None);
        assert!(!whole.syncs.is_empty());
        for number in whole.syncs.clone() {
            let wrong = Kept::new(over_nothing, Some(number)).wrong();
            println!("sync {number}: {wrong:?}");
            assert!(
                wrong.is_some(),
                "over nothing: {over_nothing}, {number} of {:?}",
                whole.syncs
            );
        }
    }
}

/// A change of files, of a store that has one block in the file `old/f`.
struct Change {
    name: &'static str,
    make: fn(&Store, FileId),
    /// Which files there are afterwards, with the number of their block.
    then: &'static [(&'static str, u32)],
}

const CHANGES: [Change; 3] = [
    Change {
        name: "another file",
        make: |store, _| {
            let file = store.add_file(Path::new("new/g")).unwrap();
            store.write_leaf(file, 0, &block(2, BYTES)).unwrap();
            store.flush().unwrap();
        },
        then: &[("old/f", 1), ("new/g", 2)],
    },
    Change {
        name: "another name",
        make: |store, file| store.rename_file(file, Path::new("new/g")).unwrap(),
        then: &[("new/g", 1)],
    },
    Change {
        name: "no file",
        make: |store, file| store.remove_file(file).unwrap(),
        then: &[],
    },
];

impl Change {
    /// The syncs of packs, files and directories that are made on the way, and what is wrong after a power cut at the end.
    fn cut(&self, forgotten: Option<usize>) -> (Range<usize>, Vec<String>, Option<&'static str>) {
        let [dir, before, image] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
        let store = open(dir.path());
        let file = store.add_file(Path::new("old/f")).unwrap();
        store.write_leaf(file, 0, &block(1, BYTES)).unwrap();
        store.flush().unwrap();
        drop(store);
        copy_tree(dir.path(), before.path()).unwrap();

        let recorder = Recorder::new(dir.path());
        forgotten.into_iter().for_each(|number| recorder.forget_sync(number));
        let disk = Disk::with(recorder.clone());
        let store = Store::open(dir.path(), StoreOptions { disk, ..options() }).unwrap();
        let opened = recorder.syncs().len();
        (self.make)(&store, file);
        let syncs = recorder.syncs();

        store.run_ahead().unwrap();
        let is_index = |path: &Path| path.starts_with("store");
        recorder
            .image(before.path(), usize::MAX, Unsynced::Dropped, image.path(), &is_index)
            .unwrap();
        copy_tree(&dir.path().join("store"), &image.path().join("store")).unwrap();
        let after = open(image.path());
        let is_there = |path: &&str| image.path().join(path).exists();
        let files = ["old/f", "new/g"].into_iter().filter(is_there);
        let then = || self.then.iter();
        let wrong = if !files.eq(then().map(|(path, _)| *path)) {
            Some("there is a file too many or too few")
        } else if then().any(|(_, number)| !is_here(&after, &block(*number, BYTES))) {
            Some("a block is lost")
        } else if self.then.is_empty() && is_here(&after, &block(1, BYTES)) {
            Some("the block that went is said to be here")
        } else if then().any(|(path, _)| after.file_at(Path::new(path)).unwrap().is_none()) {
            Some("a file is not known any more")
        } else {
            None
        };
        (opened..syncs.len(), syncs, wrong)
    }
}

#[test]
fn a_change_of_files_that_lacks_any_one_sync_is_found_out() {
    for change in CHANGES {
        let (numbers, syncs, wrong) = change.cut(None);
        assert_eq!(wrong, None, "{}: {syncs:?}", change.name);
        // Those of the index, its witness and the pins have tests of their own.
        let others = ["store/index.rs", "store/witness.rs", "store/pins.rs"];
        let looked_at = numbers.filter(|number| !others.iter().any(|other| syncs[*number].contains(other)));
        let mut count = 0;
        for number in looked_at {
            let (.., wrong) = change.cut(Some(number));
            println!("{}, without {}: {wrong:?}", change.name, syncs[number]);
            assert!(wrong.is_some(), "{}, without {}", change.name, syncs[number]);
            count += 1;
        }
        assert!(count > 0, "{}", change.name);
    }
}

#[test]
fn whoever_opens_the_store_after_a_change_failed_syncs_everything() {
    for fails in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()));
        let recorder = Recorder::new(dir.path());
        let disk = Disk::with(recorder.clone());
        let store = Store::open(dir.path(), StoreOptions { disk, ..options() }).unwrap();
        store.put(&[block(1, BYTES)]).unwrap();
        store.flush().unwrap();
        if fails {
            // What a caller would have synced next stays unsynced, and nobody knows what that is.
            recorder.set_refusal(Refusal::Once(0), std::io::ErrorKind::Other);
            let file = store.add_file(Path::new("f")).unwrap();
            store.write_leaf(file, 0, &block(2, BYTES)).unwrap_err();
        }
        store.ends_well().unwrap();
        drop(store);

        let recorder = Recorder::new(dir.path());
        let disk = Disk::with(recorder.clone());
        drop(Store::open(dir.path(), StoreOptions { disk, ..options() }).unwrap());
        let all = recorder.syncs().iter().filter(|sync| sync.contains("SyncAll")).count();
        assert_eq!(all, usize::from(fails));
    }
}
