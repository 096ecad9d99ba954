//! What pins and work in progress count on, and what is only out of reach for now.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use super::*;

#[test]
fn what_a_pin_needs_of_a_file_outlives_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let leaves: Vec<Block> = (0..4).map(|seed| block(seed, 50_000)).collect();
    let file = store.add_file(Path::new("data/slice")).unwrap();
    for (n, leaf) in leaves.iter().enumerate() {
        store.write_leaf(file, n as u64 * 50_000, leaf).unwrap();
    }
    let root = node(&[&leaves[0], &leaves[2]]);
    store.put(std::slice::from_ref(&root)).unwrap();
    store.pin("cli", root.cid()).unwrap();
    store.flush().unwrap();

    store.remove_files(&[file]).unwrap();
    assert!(!dir.path().join("data/slice").exists());
    let check = |store: &Store| {
        for (n, leaf) in leaves.iter().enumerate() {
            let found = store.get(leaf.cid()).unwrap();
            assert_eq!(found.as_ref(), (n % 2 == 0).then_some(leaf), "{n}");
        }
    };
    check(&store);
    assert_eq!(store.gc().unwrap().missing, []);
    // It does not hang on a flag in the index.
    drop(store);
    fs::remove_dir_all(dir.path().join("store")).unwrap();
    let store = open(dir.path());
    assert!(store.rebuilt());
    check(&store);
}

#[test]
fn a_file_that_takes_the_place_of_another_leaves_what_pins_need_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (old, new) = (block(1, 3000), block(2, 3000));
    let (was, next) = (
        store.add_file(Path::new("chain")).unwrap(),
        store.add_file(Path::new("chain.next")).unwrap(),
    );
    store.write_leaf(was, 0, &old).unwrap();
    store.write_leaf(next, 0, &new).unwrap();
    store.pin("p", old.cid()).unwrap();
    store.rename_file(next, Path::new("chain")).unwrap();
    assert_eq!(fs::read(dir.path().join("chain")).unwrap(), new.data().to_vec());
    for block in [&old, &new] {
        assert_eq!(store.get(block.cid()).unwrap().as_ref(), Some(block));
    }
}

#[test]
fn what_work_in_progress_was_told_is_here_stays_when_its_file_goes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let blocks: Vec<Block> = (0..3).map(|seed| block(seed, 2000)).collect();
    let file = store.add_file(Path::new("f")).unwrap();
    for (n, block) in blocks.iter().enumerate() {
        store.write_leaf(file, n as u64 * 2000, block).unwrap();
    }
    let hold = store.hold();
    assert!(store.has(blocks[0].cid()).unwrap());
    store.put(&blocks[1..2]).unwrap();
    store.remove_file(file).unwrap();
    for (n, block) in blocks.iter().enumerate() {
        assert_eq!(store.has(block.cid()).unwrap(), n < 2, "{n}");
    }
    store.pin("p", blocks[1].cid()).unwrap();
    drop(hold);
    assert_eq!(store.gc().unwrap().removed_blocks, 1);
    assert_eq!(store.get(blocks[1].cid()).unwrap().as_ref(), Some(&blocks[1]));
}

#[test]
fn a_file_that_is_out_of_reach_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let blocks: Vec<Block> = (0..2).map(|seed| block(seed, 2000)).collect();
    let file = store.add_file(Path::new("disk/f")).unwrap();
    for (n, block) in blocks.iter().enumerate() {
        store.write_leaf(file, n as u64 * 2000, block).unwrap();
    }
    store.flush().unwrap();
    drop(store);

    let store = open(dir.path());
    let (mounted, unplugged) = (dir.path().join("disk"), dir.path().join("unplugged"));
    fs::rename(&mounted, &unplugged).unwrap();
    assert_eq!(store.get(blocks[0].cid()).unwrap(), None);
    assert!(!store.has(blocks[1].cid()).unwrap(), "so that it is fetched");
    // A copy that arrives meanwhile is kept.
    store.put(&blocks[1..]).unwrap();
    assert_eq!(store.get(blocks[1].cid()).unwrap().as_ref(), Some(&blocks[1]));
    fs::rename(&unplugged, &mounted).unwrap();
    std::thread::sleep(Duration::from_millis(2100));
    for block in &blocks {
        assert!(store.has(block.cid()).unwrap());
        assert_eq!(store.get(block.cid()).unwrap().as_ref(), Some(block));
    }
}

#[test]
fn a_mark_of_a_walk_during_which_a_block_was_lost_does_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (leaf, root) = (block(1, 2000), block(2, 100));
    let file = store.add_file(Path::new("f")).unwrap();
    store.write_leaf(file, 0, &leaf).unwrap();
    store.put(std::slice::from_ref(&root)).unwrap();
    let walk = store.walk();
    assert!(store.has(leaf.cid()).unwrap());
    fs::write(dir.path().join("f"), vec![0; 2000]).unwrap();
    assert_eq!(store.get(leaf.cid()).unwrap(), None);
    store.mark_complete(&walk, &[*root.cid()]).unwrap();
    assert!(!store.is_complete(root.cid()).unwrap());
    store.mark_complete(&store.walk(), &[*root.cid()]).unwrap();
    assert!(store.is_complete(root.cid()).unwrap());
}

#[test]
fn one_damaged_pack_or_line_costs_itself() {
    let dir = tempfile::tempdir().unwrap();
    let blocks: Vec<Block> = (0..6).map(|seed| block(seed, 100_000)).collect();
    {
        let store = open(dir.path());
        for block in &blocks {
            store.put(std::slice::from_ref(block)).unwrap();
        }
        store.pin("a", blocks[0].cid()).unwrap();
        store.pin("b", blocks[1].cid()).unwrap();
        store.flush().unwrap();
    }
    let packs = dir.path().join("packs");
    fs::remove_file(packs.join("00000002.pack")).unwrap();
    fs::create_dir(packs.join("00000002.pack")).unwrap();
    let mut journal = fs::read(packs.join("pins")).unwrap();
    let last = journal.len() - 3;
    journal[last] ^= 1;
    fs::write(packs.join("pins"), journal).unwrap();
    let rebuild = StoreOptions {
        rebuild: true,
        ..options()
    };
    let store = Store::open(dir.path(), rebuild).unwrap();
    let skipped = store.skipped();
    assert_eq!(skipped.len(), 2, "{skipped:?}");
    assert!(skipped.iter().any(|skipped| skipped.path.ends_with("00000002.pack")));
    assert!(skipped.iter().any(|skipped| skipped.path.ends_with("pins")));
    assert_eq!(store.pins(None).unwrap().len(), 1);
    let here = blocks.iter().filter(|block| store.get(block.cid()).unwrap().is_some());
    assert_eq!(here.count(), 4);
    store.put(&blocks).unwrap();
    store.flush().unwrap();
}

#[test]
fn what_was_passed_over_by_a_rebuild_is_not_taken_for_garbage() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("slice"), b"x").unwrap();
    let rebuild = StoreOptions {
        rebuild: true,
        ..options()
    };
    let store = Store::open(dir.path(), rebuild.clone()).unwrap();
    store.skip(Path::new("dataset"), "damaged");
    store.rebuild_finished().unwrap();
    let collect = |store: &Store| {
        let report = store.gc_with_files(&mut |files| files.remove_unless_needed(Path::new("slice")).map(drop));
        report.unwrap().removed_files
    };
    assert_eq!(collect(&store), 0);
    drop(store);
    let store = Store::open(dir.path(), rebuild).unwrap();
    store.rebuild_finished().unwrap();
    assert_eq!(collect(&store), 1);
}

#[test]
fn the_stores_files_are_its_owners_alone() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["packs", "store"] {
        fs::create_dir(dir.path().join(name)).unwrap();
        fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(0o777)).unwrap();
    }
    let store = open(dir.path());
    store.put(&[block(1, 100)]).unwrap();
    let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
    for (name, expected) in [
        ("packs", 0o700),
        ("store", 0o700),
        ("packs/00000001.pack", 0o600),
        ("packs/pins", 0o600),
        ("packs/synced", 0o600),
    ] {
        assert_eq!(mode(name), expected, "{name}");
    }
    let file = store.add_file(Path::new("d/slice")).unwrap();
    store.write_leaf(file, 0, &block(2, 100)).unwrap();
    assert_eq!((mode("d") & 0o022, mode("d/slice") & 0o022), (0, 0));
    // Nor is a link in the place of a pack followed.
    store.flush().unwrap();
    drop(store);
    let (pack, elsewhere) = (dir.path().join("packs/00000001.pack"), dir.path().join("elsewhere"));
    fs::rename(&pack, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &pack).unwrap();
    let store = open(dir.path());
    assert_eq!(store.get(block(1, 100).cid()).unwrap(), None);
}
