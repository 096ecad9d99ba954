//! Blocks that are parts of registered files.

use std::{fs, path::Path};

use super::*;

#[test]
fn parts_of_a_file_are_blocks_without_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let blocks: Vec<Block> = (0..5).map(|seed| block(seed, 100_000)).collect();
    let path = Path::new("datasets/d/data/slice");

    let file = store.add_file(path).unwrap();
    assert_eq!(store.add_file(path).unwrap(), file);
    assert_eq!(store.file_at(path).unwrap(), Some(file));
    // From many threads, in any order.
    std::thread::scope(|scope| {
        for (position, block) in blocks.iter().enumerate().rev() {
            let store = &store;
            scope.spawn(move || store.write_leaf(file, position as u64 * 100_000, block).unwrap());
        }
    });
    let bytes: Vec<u8> = blocks.iter().flat_map(|block| block.data().to_vec()).collect();
    assert_eq!(fs::read(dir.path().join(path)).unwrap(), bytes);
    store.flush().unwrap();
    drop(store);

    let store = open(dir.path());
    for block in &blocks {
        assert_eq!(store.get(block.cid()).unwrap().as_ref(), Some(block));
    }
    let stats = store.stats().unwrap();
    assert_eq!(
        (stats.blocks, stats.pack_bytes, stats.file_bytes, stats.files),
        (5, 0, 500_000, 1)
    );
    store.put(&blocks).unwrap();
    assert_eq!(
        store.stats().unwrap().pack_bytes,
        0,
        "what a file holds is not stored twice"
    );
}

#[test]
fn a_file_that_many_begin_at_once_keeps_the_parts_of_all() {
    const THREADS: u32 = 4;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for round in 0..200 {
        let file = store.add_file(Path::new(&format!("f{round}"))).unwrap();
        let blocks: Vec<Block> = (0..THREADS).map(|n| block(round * THREADS + n, 100)).collect();
        let barrier = std::sync::Barrier::new(THREADS as usize);
        std::thread::scope(|scope| {
            for (position, block) in blocks.iter().enumerate() {
                let (store, barrier) = (&store, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    store.write_leaf(file, position as u64 * 100, block).unwrap();
                });
            }
        });
        for block in &blocks {
            assert!(store.has(block.cid()).unwrap(), "round {round}");
        }
    }
}

#[test]
fn leaves_are_adopted_only_where_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (first, second) = (block(1, 1000), block(2, 1000));
    fs::write(
        dir.path().join("f"),
        [first.data().as_ref(), &second.data()[..999]].concat(),
    )
    .unwrap();
    let file = store.add_file(Path::new("f")).unwrap();
    let adopted = store
        .adopt_references(file, &[leaf(&first, 0), leaf(&second, 1000), leaf(&second, 0)])
        .unwrap();
    assert_eq!(adopted, [true, false, false]);
    assert!(store.has(first.cid()).unwrap() && !store.has(second.cid()).unwrap());
}

#[test]
fn a_renamed_file_keeps_its_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let block = block(1, 5000);
    let file = store.add_file(Path::new("a/part")).unwrap();
    let other = store.add_file(Path::new("b")).unwrap();
    store.write_leaf(file, 10, &block).unwrap();

    let crossed = [(file, Path::new("b")), (other, Path::new("c"))];
    assert!(matches!(store.rename_files(&crossed), Err(StoreError::PathTaken(_))));
    for outside in ["/etc/x", "../x", "", "a/../x"] {
        assert!(matches!(
            store.rename_file(file, Path::new(outside)),
            Err(StoreError::OutsideWorkspace(_))
        ));
        assert!(matches!(
            store.add_file(Path::new(outside)),
            Err(StoreError::OutsideWorkspace(_))
        ));
    }
    store
        .rename_files(&[(file, Path::new("c/d/whole")), (other, Path::new("e"))])
        .unwrap();
    assert!(dir.path().join("c/d/whole").exists() && !dir.path().join("a/part").exists());
    assert_eq!(store.file_at(Path::new("a/part")).unwrap(), None);
    assert_eq!(store.get(block.cid()).unwrap().as_ref(), Some(&block));
    store.flush().unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.file_at(Path::new("c/d/whole")).unwrap(), Some(file));
    assert_eq!(store.get(block.cid()).unwrap().as_ref(), Some(&block));

    // A file at the new path gives way, with what only it held.
    let (again, gone) = (store.add_file(Path::new("again")).unwrap(), super::block(2, 10));
    store.write_leaf(file, 6000, &gone).unwrap();
    store.write_leaf(again, 0, &block).unwrap();
    store.rename_file(again, Path::new("c/d/whole")).unwrap();
    assert_eq!(store.file_at(Path::new("c/d/whole")).unwrap(), Some(again));
    assert!(matches!(store.registered(file), Err(StoreError::UnknownFile(_))));
    assert_eq!(store.get(block.cid()).unwrap().as_ref(), Some(&block));
    assert!(!store.has(gone.cid()).unwrap());
    assert_eq!(fs::metadata(dir.path().join("c/d/whole")).unwrap().len(), 5000);
}

#[test]
fn removing_a_file_takes_only_what_nothing_else_holds() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let [alone, shared, wanted, packed] = [1, 2, 3, 4].map(|seed| block(seed, 2000));
    store.put(std::slice::from_ref(&packed)).unwrap();
    let (one, two) = (
        store.add_file(Path::new("one")).unwrap(),
        store.add_file(Path::new("two")).unwrap(),
    );
    for (position, block) in [&alone, &shared, &wanted, &packed].into_iter().enumerate() {
        store.write_leaf(one, position as u64 * 2000, block).unwrap();
    }
    store.write_leaf(two, 0, &shared).unwrap();
    // Pinned while only the file holds it.
    store.pin("p", wanted.cid()).unwrap();
    store.mark_complete(&store.walk(), &[*shared.cid()]).unwrap();

    store.remove_file(one).unwrap();
    assert!(!dir.path().join("one").exists());
    assert!(matches!(
        store.write_leaf(one, 0, &alone),
        Err(StoreError::UnknownFile(_))
    ));
    store.remove_file(one).unwrap();
    assert_eq!(store.get(alone.cid()).unwrap(), None);
    for block in [&shared, &wanted, &packed] {
        assert_eq!(store.get(block.cid()).unwrap().as_ref(), Some(block));
    }
    assert!(
        !store.is_complete(shared.cid()).unwrap(),
        "something was lost, so marks must be made again"
    );
    let stats = store.stats().unwrap();
    assert_eq!(
        (stats.blocks, stats.files, stats.file_bytes, stats.pack_bytes),
        (3, 1, 2000, 4000)
    );
    assert_ne!(
        store.add_file(Path::new("one")).unwrap(),
        one,
        "numbers are not used twice"
    );
}

#[test]
fn a_block_in_more_files_than_are_remembered_survives_most_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let block = block(1, 100);
    let files: Vec<FileId> = (0..=MAX_PLACES)
        .map(|number| {
            let file = store.add_file(Path::new(&format!("f{number}"))).unwrap();
            store.write_leaf(file, 0, &block).unwrap();
            file
        })
        .collect();
    store.remove_files(&files[..files.len() - 1]).unwrap();
    assert_eq!(store.get(block.cid()).unwrap(), Some(block));
}

#[test]
fn a_block_that_a_file_has_twice_outlives_either_copy() {
    let dir = tempfile::tempdir().unwrap();
    let (twice, other) = (block(1, 500), block(2, 500));
    for (lost, by_store) in [(0, true), (500, true), (0, false), (500, false)] {
        let path = format!("f{lost}{by_store}");
        let store = open(dir.path());
        let file = store.add_file(Path::new(&path)).unwrap();
        store.write_leaf(file, 0, &twice).unwrap();
        store.write_leaf(file, 500, &twice).unwrap();
        if by_store {
            store.write_leaf(file, lost, &other).unwrap();
        } else {
            store.write_at(file, lost, other.data()).unwrap();
        }
        assert_eq!(store.get(twice.cid()).unwrap().as_ref(), Some(&twice), "{path}");
        store.write_at(file, 500 - lost, other.data()).unwrap();
        assert_eq!(store.get(twice.cid()).unwrap(), None, "{path}: no copy is left");
        assert!(!store.has(twice.cid()).unwrap());
        store.remove_file(file).unwrap();
    }
}

#[test]
fn a_part_written_over_is_no_longer_the_old_block() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (old, new) = (block(1, 500), block(2, 500));
    let file = store.add_file(Path::new("f")).unwrap();
    store.write_leaf(file, 0, &old).unwrap();
    store.write_leaf(file, 0, &new).unwrap();
    assert!(!store.has(old.cid()).unwrap());
    assert_eq!(store.get(new.cid()).unwrap(), Some(new));
    assert_eq!(store.stats().unwrap().file_bytes, 500);
}

#[test]
fn blocks_put_beside_files_outlive_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
    let blocks: Vec<Block> = [&b"first"[..], b"second"]
        .map(|data| Block::new(RAW, data).unwrap())
        .into();
    std::fs::write(dir.path().join("file"), b"firstsecond").unwrap();
    let file = store.add_file(Path::new("file")).unwrap();
    let leaf = |block: &Block, offset| Leaf {
        cid: *block.cid(),
        offset,
        len: block.data().len() as u32,
    };
    store
        .put_references(file, &[leaf(&blocks[0], 0), leaf(&blocks[1], 5)])
        .unwrap();
    store.put_beside_files(&blocks[1..]).unwrap();
    let packed = store.stats().unwrap().pack_bytes;
    store.put_beside_files(&blocks[1..]).unwrap();
    assert_eq!(store.stats().unwrap().pack_bytes, packed, "once is enough");
    // Not through the store, as a crash leaves it.
    std::fs::remove_file(dir.path().join("file")).unwrap();
    drop(store);
    let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
    assert!(store.get(blocks[0].cid()).unwrap().is_none());
    assert_eq!(store.get(blocks[1].cid()).unwrap().as_ref(), Some(&blocks[1]));
}

#[test]
fn a_file_may_be_cut_in_several_ways() {
    let dir = tempfile::tempdir().unwrap();
    let (bytes, path) = (block(1, 1000).data().clone(), Path::new("f"));
    let parts = |lens: &[usize]| -> Vec<Leaf> {
        let mut offset = 0;
        let mut leaves = Vec::new();
        for len in lens {
            let part = bytes.slice(offset..offset + len);
            leaves.push(Leaf {
                cid: *Block::new(crate::block::RAW, part).unwrap().cid(),
                offset: offset as u64,
                len: *len as u32,
            });
            offset += len;
        }
        leaves
    };
    let cuts = [parts(&[600, 400]), parts(&[300, 300, 400]), parts(&[1000])];
    let all_here = |store: &Store, cuts: &[Vec<Leaf>]| {
        let mut leaves = cuts.iter().flatten();
        leaves.all(|leaf| {
            store
                .get(&leaf.cid)
                .unwrap()
                .is_some_and(|block| block.data().len() == leaf.len as usize)
        })
    };
    fs::write(dir.path().join(path), &bytes).unwrap();
    let store = open(dir.path());
    let file = store.add_file(path).unwrap();
    for cut in &cuts {
        store.put_references(file, cut).unwrap();
        store.put_references(file, cut).unwrap();
    }
    assert!(all_here(&store, &cuts));
    // The last part is the same in two.
    assert_eq!(store.leaves_of(file).count(), 5);
    drop(store);
    let store = open(dir.path());
    assert!(all_here(&store, &cuts));

    // A name of its own, and a copy for whom needs one part when the file goes.
    store.rename_file(file, Path::new("g")).unwrap();
    assert!(all_here(&store, &cuts));
    store.pin("somebody", &cuts[1][0].cid).unwrap();
    store.pin("somebody", &cuts[2][0].cid).unwrap();
    store.remove_file(file).unwrap();
    let left: Vec<bool> = cuts
        .iter()
        .flatten()
        .map(|leaf| store.has(&leaf.cid).unwrap())
        .collect();
    assert_eq!(left, [false, false, true, false, false, true]);
    assert_eq!(store.leaves_of(file).count(), 0);
}

#[test]
fn a_part_that_is_not_there_any_more_gives_way() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (old, new) = (block(1, 1000), block(2, 500));
    let leaf = |block: &Block| Leaf {
        cid: *block.cid(),
        offset: 0,
        len: block.data().len() as u32,
    };
    fs::write(dir.path().join("f"), old.data()).unwrap();
    let file = store.add_file(Path::new("f")).unwrap();
    store.put_references(file, &[leaf(&old)]).unwrap();
    fs::write(dir.path().join("f"), new.data()).unwrap();
    store.put_references(file, &[leaf(&new)]).unwrap();
    assert!(store.get(new.cid()).unwrap().is_some() && !store.has(old.cid()).unwrap());
    assert_eq!(store.leaves_of(file).count(), 1);

    // What is written over is found out by whoever reads it.
    let half = Block::new(crate::block::RAW, new.data().slice(..250)).unwrap();
    store.put_references(file, &[leaf(&half)]).unwrap();
    assert_eq!(store.leaves_of(file).count(), 2);
    let other = block(3, 500);
    store.write_leaf(file, 0, &other).unwrap();
    assert!(store.get(half.cid()).unwrap().is_none() && store.get(new.cid()).unwrap().is_none());
    assert_eq!(store.get(other.cid()).unwrap().as_ref(), Some(&other));
    assert_eq!(store.leaves_of(file).count(), 1);
}
