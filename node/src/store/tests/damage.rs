//! Bytes that changed behind the store's back, packs cut short, and an index that cannot be trusted.

use std::{fs, os::unix::fs::FileExt as _, path::Path};

use super::*;

fn overwrite(path: &Path, offset: u64, bytes: &[u8]) {
    fs::File::options()
        .write(true)
        .open(path)
        .unwrap()
        .write_all_at(bytes, offset)
        .unwrap();
}

/// Offset of a block's bytes in the first pack.
fn find(dir: &Path, block: &Block) -> u64 {
    let pack = fs::read(dir.join("packs/00000001.pack")).unwrap();
    pack.windows(block.data().len())
        .position(|window| window == &block.data()[..])
        .unwrap() as u64
}

#[test]
fn a_changed_byte_is_noticed_and_another_copy_used() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (twice, once) = (block(1, 1000), block(2, 1000));
    let one = store.add_file(Path::new("one")).unwrap();
    let two = store.add_file(Path::new("two")).unwrap();
    for (file, block, offset) in [(one, &twice, 0), (one, &once, 1000), (two, &twice, 0)] {
        store.write_leaf(file, offset, block).unwrap();
    }
    store.mark_complete(&store.walk(), &[*twice.cid()]).unwrap();
    overwrite(&dir.path().join("one"), 10, b"?");
    assert_eq!(store.get(twice.cid()).unwrap().as_ref(), Some(&twice));
    assert_eq!(store.stats().unwrap().file_bytes, 2000, "the bad place is dropped");
    assert!(store.is_complete(twice.cid()).unwrap(), "nothing was lost");

    overwrite(&dir.path().join("one"), 1999, b"?");
    assert_eq!(store.get(once.cid()).unwrap(), None);
    assert!(!store.has(once.cid()).unwrap(), "so that it is fetched again");
    assert!(!store.is_complete(twice.cid()).unwrap());
    store.write_leaf(one, 1000, &once).unwrap();
    assert_eq!(store.get(once.cid()).unwrap(), Some(once));
}

#[test]
fn a_damaged_or_vanished_pack_loses_only_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let blocks: Vec<Block> = (0..4).map(|seed| block(seed, 100_000)).collect();
    for block in &blocks {
        store.put(std::slice::from_ref(block)).unwrap();
    }
    overwrite(
        &dir.path().join("packs/00000001.pack"),
        find(dir.path(), &blocks[1]),
        b"????",
    );
    assert_eq!(store.get(blocks[1].cid()).unwrap(), None);
    store.flush().unwrap();
    drop(store);
    fs::remove_file(dir.path().join("packs/00000002.pack")).unwrap();
    let store = open(dir.path());
    assert_eq!(store.get(blocks[0].cid()).unwrap().as_ref(), Some(&blocks[0]));
    for lost in &blocks[2..] {
        assert_eq!(store.get(lost.cid()).unwrap(), None);
    }
    store.put(&blocks).unwrap();
    for block in &blocks {
        assert_eq!(store.get(block.cid()).unwrap().as_ref(), Some(block));
    }
}

#[test]
fn a_torn_pack_end_is_passed_over_and_whole_blocks_before_it_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let blocks: Vec<Block> = (0..3).map(|seed| block(seed, 5000)).collect();
    let pack = dir.path().join("packs/00000001.pack");
    {
        let store = open(dir.path());
        store.put(&blocks).unwrap();
        store.flush().unwrap();
    }
    // The index is of an earlier time, and the last record is cut: as after a crash before the flush.
    fs::remove_dir_all(dir.path().join("store")).unwrap();
    fs::remove_file(dir.path().join("packs/synced")).unwrap();
    let len = find(dir.path(), &blocks[2]) + 4999;
    fs::File::options()
        .write(true)
        .open(&pack)
        .unwrap()
        .set_len(len)
        .unwrap();

    let store = open(dir.path());
    assert!(!store.rebuilt(), "a new index is no damaged one");
    assert_eq!(store.get(blocks[0].cid()).unwrap().as_ref(), Some(&blocks[0]));
    assert_eq!(store.get(blocks[1].cid()).unwrap().as_ref(), Some(&blocks[1]));
    assert!(!store.has(blocks[2].cid()).unwrap());
    store.put(&blocks).unwrap();
    store.flush().unwrap();
    drop(store);
    assert_eq!(
        open(dir.path()).get(blocks[2].cid()).unwrap().as_ref(),
        Some(&blocks[2])
    );
}

/// Fills a store with blocks in packs, a file and pins.
fn filled(dir: &Path) -> (Vec<Block>, Block) {
    let blocks: Vec<Block> = (0..60).map(|seed| block(seed, 20_000)).collect();
    let in_file = block(99, 3000);
    let store = open(dir);
    store.put(&blocks).unwrap();
    let file = store.add_file(Path::new("f")).unwrap();
    store.write_leaf(file, 0, &in_file).unwrap();
    store.pin("kept owner", blocks[0].cid()).unwrap();
    store.pin("former owner", blocks[1].cid()).unwrap();
    store.unpin("former owner", blocks[1].cid()).unwrap();
    store.table("t").unwrap().insert(b"k", b"v").unwrap();
    store.flush().unwrap();
    (blocks, in_file)
}

fn check_rebuilt(dir: &Path, store: Store, blocks: &[Block], in_file: &Block) {
    assert!(store.rebuilt());
    for block in blocks {
        assert_eq!(store.get(block.cid()).unwrap().as_ref(), Some(block));
    }
    assert_eq!(
        store.pins(None).unwrap(),
        [Pin {
            owner: "kept owner".into(),
            cid: *blocks[0].cid()
        }]
    );
    let refused = store.gc().unwrap_err();
    assert!(
        matches!(refused, StoreError::GcRefused { .. }),
        "files are still unknown"
    );
    drop(store);

    // It stays so until the files are registered.
    let store = open(dir);
    assert!(store.rebuilt());
    let file = store.add_file(Path::new("f")).unwrap();
    assert_eq!(store.adopt_references(file, &[leaf(in_file, 0)]).unwrap(), [true]);
    store.rebuild_finished().unwrap();
    assert!(!store.rebuilt());
    drop(store);
    let store = open(dir);
    assert!(!store.rebuilt());
    assert_eq!(store.get(in_file.cid()).unwrap().as_ref(), Some(in_file));
    assert_eq!(store.stats().unwrap().blocks, blocks.len() as u64 + 1);
}

#[test]
fn a_lost_index_is_made_again_from_the_packs() {
    let dir = tempfile::tempdir().unwrap();
    let (blocks, in_file) = filled(dir.path());
    fs::remove_dir_all(dir.path().join("store")).unwrap();
    check_rebuilt(dir.path(), open(dir.path()), &blocks, &in_file);
}

#[test]
fn a_rebuild_can_be_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let (blocks, in_file) = filled(dir.path());
    let store = Store::open(
        dir.path(),
        StoreOptions {
            rebuild: true,
            ..options()
        },
    )
    .unwrap();
    assert!(
        dir.path().join("store.damaged/db").exists(),
        "the old one is kept aside"
    );
    check_rebuilt(dir.path(), store, &blocks, &in_file);
}

/// Whatever is overwritten in sled's files, the store opens and gives no wrong bytes; either the index is made again, or
/// it still knows everything.
#[test]
fn a_damaged_index_never_costs_data() {
    let dir = tempfile::tempdir().unwrap();
    let (blocks, _) = filled(dir.path());
    let pristine = dir.path().join("pristine");
    copy_dir(&dir.path().join("store"), &pristine);
    let witness = fs::read(dir.path().join("packs/synced")).unwrap();
    let db_len = fs::metadata(pristine.join("db")).unwrap().len();

    let mut rebuilt = 0;
    let damages: Vec<(&str, u64, usize)> = vec![
        ("db", 0, 64),
        ("db", 0, db_len as usize),
        ("db", db_len / 4, 4096),
        ("db", db_len / 3, 64),
        ("db", 20_000, 20_000),
        ("conf", 0, 8),
        ("conf", 0, 64),
    ];
    for (name, offset, len) in damages {
        fs::remove_dir_all(dir.path().join("store")).unwrap();
        copy_dir(&pristine, &dir.path().join("store"));
        fs::write(dir.path().join("packs/synced"), &witness).unwrap();
        overwrite(&dir.path().join("store").join(name), offset, &vec![0xa5; len]);

        let mut store = open(dir.path());
        let readable = |store: &Store| {
            blocks
                .iter()
                .all(|block| matches!(store.get(block.cid()), Ok(Some(found)) if found == *block))
        };
        if !readable(&store) {
            // Damage that opening did not meet shows on reading, and the next opening knows.
            drop(store);
            store = open(dir.path());
            assert!(
                store.rebuilt(),
                "{name} at {offset}: blocks are missing and nobody noticed"
            );
            assert!(readable(&store), "{name} at {offset}");
        }
        rebuilt += usize::from(store.rebuilt());
    }
    assert!(rebuilt >= 2, "the damage was too small to test anything");
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
