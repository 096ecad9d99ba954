//! Power cuts at any call, and a disk that fails, one operation at a time. The model does the same with many.

use std::{fs, io::ErrorKind, path::Path, sync::Arc};

use odf_disk::{
    Disk,
    crash::{Recorder, Refusal, Unsynced},
};

use super::*;

struct Site {
    dir: tempfile::TempDir,
    before: tempfile::TempDir,
    recorder: Arc<Recorder>,
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

impl Site {
    /// A store whose disk is recorded, over what `prepare` flushed.
    fn new(prepare: impl FnOnce(&Store)) -> (Self, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        prepare(&store);
        store.flush().unwrap();
        drop(store);
        let before = tempfile::tempdir().unwrap();
        copy(dir.path(), before.path());
        let recorder = Recorder::new(dir.path());
        let site = Self { dir, before, recorder };
        let store = site.open();
        (site, store)
    }

    fn open(&self) -> Store {
        let disk = Disk::with(self.recorder.clone());
        Store::open(self.dir.path(), StoreOptions { disk, ..options() }).unwrap()
    }

    /// The store as it is opened after the power went at `calls`, with the index as its thread wrote it just before.
    fn cut(&self, store: &Store, calls: usize, unsynced: Unsynced) -> (tempfile::TempDir, Store) {
        store.run_ahead().unwrap();
        let image = tempfile::tempdir().unwrap();
        self.recorder
            .image(self.before.path(), calls, unsynced, image.path(), &|path| {
                path.starts_with("store")
            })
            .unwrap();
        copy(&self.dir.path().join("store"), &image.path().join("store"));
        let store = open(image.path());
        (image, store)
    }
}

/// `has` never says more than `get` gives.
fn honest(store: &Store, block: &Block) -> bool {
    let has = store.has(block.cid()).unwrap();
    let found = store.get(block.cid()).unwrap();
    assert_eq!(has, found.is_some());
    assert!(found.is_none_or(|found| found == *block));
    has
}

#[test]
fn an_index_that_is_ahead_of_the_packs_is_not_believed() {
    let blocks: Vec<Block> = (0..8).map(|seed| block(seed, 30_000)).collect();
    let (site, store) = Site::new(|store| store.put(&blocks[..2]).unwrap());
    for block in &blocks[2..] {
        store.put(std::slice::from_ref(block)).unwrap();
    }
    for unsynced in Unsynced::ALL {
        let (dir, cut) = site.cut(&store, site.recorder.calls(), unsynced);
        let here = blocks.iter().filter(|block| honest(&cut, block)).count();
        match unsynced {
            Unsynced::Kept => assert_eq!(here, 8, "an interrupted pull keeps its progress"),
            Unsynced::Dropped => assert_eq!(here, 2),
            Unsynced::Torn => assert!((2..8).contains(&here)),
        }
        // What is put again, because it is not there, is there for good.
        cut.put(&blocks).unwrap();
        cut.flush().unwrap();
        drop(cut);
        let cut = open(dir.path());
        assert!(blocks.iter().all(|block| honest(&cut, block)), "{unsynced:?}");
    }
}

#[test]
fn parts_of_a_file_that_was_being_written_are_read_before_they_count() {
    let blocks: Vec<Block> = (0..6).map(|seed| block(seed, 9000)).collect();
    let (site, store) = Site::new(|store| {
        let file = store.add_file(Path::new("d/part")).unwrap();
        store.write_leaf(file, 0, &blocks[0]).unwrap();
    });
    let file = store.file_at(Path::new("d/part")).unwrap().unwrap();
    for (n, block) in blocks.iter().enumerate().skip(1) {
        store.write_leaf(file, n as u64 * 9000, block).unwrap();
    }
    for unsynced in Unsynced::ALL {
        let (_dir, cut) = site.cut(&store, site.recorder.calls(), unsynced);
        let here = blocks.iter().filter(|block| honest(&cut, block)).count();
        match unsynced {
            Unsynced::Kept => assert_eq!(here, 6),
            Unsynced::Dropped => assert_eq!(here, 1),
            Unsynced::Torn => assert!((1..6).contains(&here)),
        }
    }
}

#[test]
fn a_file_has_its_new_name_only_when_its_content_is_on_the_medium() {
    let blocks: Vec<Block> = (0..3).map(|seed| block(seed, 9000)).collect();
    let content: Vec<u8> = blocks.iter().flat_map(|block| block.data().to_vec()).collect();
    let (site, store) = Site::new(|_| ());
    let file = store.add_file(Path::new("d/.incoming")).unwrap();
    for (n, block) in blocks.iter().enumerate() {
        store.write_leaf(file, n as u64 * 9000, block).unwrap();
    }
    let written = site.recorder.calls();
    store.rename_file(file, Path::new("d/whole")).unwrap();
    let renamed = site.recorder.calls();
    for calls in written..=renamed {
        for unsynced in Unsynced::ALL {
            let image = tempfile::tempdir().unwrap();
            let recorder = &site.recorder;
            recorder
                .image(site.before.path(), calls, unsynced, image.path(), &|_| false)
                .unwrap();
            match fs::read(image.path().join("d/whole")) {
                Ok(found) => assert_eq!(found, content, "after {}, {unsynced:?}", recorder.describe(calls)),
                Err(_) => assert!(calls < renamed, "durable when it returned, {unsynced:?}"),
            }
        }
    }
    for unsynced in Unsynced::ALL {
        let (_dir, cut) = site.cut(&store, renamed, unsynced);
        assert!(blocks.iter().all(|block| honest(&cut, block)));
    }
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_until_the_store_is_opened_again() {
    let blocks: Vec<Block> = (0..3).map(|seed| block(seed, 9000)).collect();
    let (site, store) = Site::new(|_| ());
    store.put(&blocks[..1]).unwrap();
    // The first call of the flush is the sync of the pack.
    site.recorder.set_refusal(Refusal::Once(0), ErrorKind::Other);
    assert!(!store.flush().unwrap_err().is_poisoned(), "the first tells the cause");
    for _ in 0..2 {
        assert!(store.flush().unwrap_err().is_poisoned());
    }
    assert!(store.put(&blocks[1..2]).unwrap_err().is_poisoned());
    assert!(store.pin("p", blocks[0].cid()).unwrap_err().is_poisoned());
    assert!(store.add_file(Path::new("f")).unwrap_err().is_poisoned());
    assert!(store.gc().unwrap_err().is_poisoned());
    drop(store);

    // What the page cache shows is written again and synced, or it does not count.
    let store = site.open();
    assert!(honest(&store, &blocks[0]));
    store.put(&blocks[2..]).unwrap();
    store.flush().unwrap();
    let (_dir, cut) = site.cut(&store, usize::MAX, Unsynced::Dropped);
    assert!(honest(&cut, &blocks[0]) && honest(&cut, &blocks[2]));
}

#[test]
fn no_mark_of_completeness_outlives_a_block_it_speaks_of() {
    let blocks: Vec<Block> = (0..6).map(|seed| block(seed, 9000)).collect();
    let inner = node(&blocks[..4].iter().collect::<Vec<_>>());
    let root = node(&[&inner, &blocks[4], &blocks[5]]);
    let all = || blocks.iter().chain([&inner, &root]);
    let mut marked = 0;
    // The disk fails from the n-th call on, so that the power can go at any of them.
    for cut_at in 0.. {
        let (site, store) = Site::new(|store| store.put(&blocks[..1]).unwrap());
        store.put(&blocks[1..3]).unwrap();
        site.recorder.set_refusal(Refusal::From(cut_at), ErrorKind::Other);
        let behind: Vec<Block> = blocks[3..].iter().chain([&inner, &root]).cloned().collect();
        let kept = store.put_complete(&store.walk(), &behind, &[*inner.cid(), *root.cid()]);
        site.recorder.set_refusal(Refusal::Never, ErrorKind::Other);
        for unsynced in Unsynced::ALL {
            let (_dir, cut) = site.cut(&store, usize::MAX, unsynced);
            let is_marked = cut.is_complete(root.cid()).unwrap();
            assert!(is_marked || kept.is_err(), "call {cut_at}, {unsynced:?}");
            if is_marked {
                assert!(all().all(|block| honest(&cut, block)), "call {cut_at}, {unsynced:?}");
                assert!(cut.is_complete(inner.cid()).unwrap() && !cut.is_complete(blocks[0].cid()).unwrap());
                marked += 1;
            }
        }
        if kept.is_ok() {
            break;
        }
        assert!(cut_at < 100);
    }
    assert!(marked >= Unsynced::ALL.len());
}

#[test]
fn a_collection_that_is_cut_short_keeps_what_is_pinned() {
    let blocks: Vec<Block> = (0..40).map(|seed| block(seed, 9000)).collect();
    let root = node(&blocks.iter().take(5).collect::<Vec<_>>());
    // The power goes at the n-th call of a collection that copies what is pinned out of packs and removes those.
    let mut cuts = 0;
    loop {
        let (site, store) = Site::new(|store| {
            store.put(&blocks).unwrap();
            store.put(std::slice::from_ref(&root)).unwrap();
            store.pin("p", root.cid()).unwrap();
        });
        site.recorder.set_refusal(Refusal::From(cuts), ErrorKind::Other);
        let collected = store.gc();
        site.recorder.set_refusal(Refusal::Never, ErrorKind::Other);
        for unsynced in Unsynced::ALL {
            let (_dir, cut) = site.cut(&store, usize::MAX, unsynced);
            for kept in blocks.iter().take(5).chain([&root]) {
                assert!(honest(&cut, kept), "call {cuts}, {unsynced:?}");
            }
            assert!(
                blocks
                    .iter()
                    .all(|block| !honest(&cut, block) || cut.get(block.cid()).unwrap().is_some())
            );
            assert_eq!(cut.pins(None).unwrap().len(), 1);
        }
        if collected.is_ok() {
            break;
        }
        cuts += 1;
    }
    assert!(cuts > 5, "{cuts}");
}
