//! Garbage collection.

use std::{fs, path::Path};

use super::super::gc::{Goal, MAX_REMOVED_NAMED};
use super::*;

fn pack_bytes(dir: &Path) -> u64 {
    let packs = fs::read_dir(dir.join("packs")).unwrap().map(|entry| entry.unwrap());
    let packs = packs.filter(|entry| entry.file_name().to_string_lossy().ends_with(".pack"));
    packs
        .map(|pack| std::os::unix::fs::MetadataExt::blocks(&pack.metadata().unwrap()) * 512)
        .sum()
}

#[test]
fn what_no_pin_reaches_goes_and_its_space_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let leaves: Vec<Block> = (0..60).map(|seed| block(seed, 50_000)).collect();
    store.put(&leaves).unwrap();
    // One in six is kept, scattered over all packs.
    let kept: Vec<&Block> = leaves.iter().step_by(6).collect();
    let inner = node(&kept);
    let root = node(&[&inner, &inner]);
    let file = store.add_file(Path::new("f")).unwrap();
    let in_file = block(500, 1000);
    store.write_leaf(file, 0, &in_file).unwrap();
    store.put(&[inner.clone(), root.clone()]).unwrap();
    store.pin("p", root.cid()).unwrap();
    let before = pack_bytes(dir.path());

    let report = store.gc().unwrap();
    assert_eq!((report.pins, report.kept_blocks), (1, 12));
    assert_eq!((report.removed_blocks, report.removed_bytes), (50, 50 * 50_000));
    let after = pack_bytes(dir.path());
    assert!(after < 700_000 && before > 3_000_000, "{before} {after}");
    assert!(report.freed_bytes > 2_300_000, "{report:?}");
    let check = |store: &Store| {
        for (position, leaf) in leaves.iter().enumerate() {
            let expected = (position % 6 == 0).then_some(leaf);
            assert_eq!(store.get(leaf.cid()).unwrap().as_ref(), expected);
        }
        assert_eq!(
            store.get(in_file.cid()).unwrap().as_ref(),
            Some(&in_file),
            "files are not swept"
        );
        let stats = store.stats().unwrap();
        assert_eq!((stats.blocks, stats.file_bytes), (13, 1000));
    };
    check(&store);
    drop(store);
    let store = open(dir.path());
    check(&store);
    assert_eq!(store.gc().unwrap().removed_blocks, 0);

    store.unpin("p", root.cid()).unwrap();
    assert_eq!(store.gc().unwrap().removed_blocks, 12);
    assert_eq!(store.stats().unwrap().pack_bytes, 0);
    // The bytes of swept blocks do not come back with a new index.
    drop(store);
    let store = Store::open(
        dir.path(),
        StoreOptions {
            rebuild: true,
            ..options()
        },
    )
    .unwrap();
    assert!(store.stats().unwrap().blocks <= 12);
    store.put(&leaves).unwrap();
    assert_eq!(store.get(leaves[3].cid()).unwrap().as_ref(), Some(&leaves[3]));
}

#[test]
fn packs_with_few_dead_bytes_get_holes() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(
        dir.path(),
        StoreOptions {
            pack_bytes: 1 << 20,
            ..options()
        },
    )
    .unwrap();
    let leaves: Vec<Block> = (0..30).map(|seed| block(seed, 100_000)).collect();
    store.put(&leaves).unwrap();
    let kept: Vec<&Block> = leaves
        .iter()
        .enumerate()
        .filter(|(position, _)| position % 5 != 0)
        .map(|(_, b)| b)
        .collect();
    let root = node(&kept);
    store.put(std::slice::from_ref(&root)).unwrap();
    store.pin("p", root.cid()).unwrap();
    let (before, report) = (pack_bytes(dir.path()), store.gc().unwrap());
    assert_eq!(report.removed_blocks, 6);
    assert!(pack_bytes(dir.path()) + 300_000 < before);
    assert!(
        kept.iter()
            .all(|leaf| store.get(leaf.cid()).unwrap().as_ref() == Some(leaf))
    );
    // A scan still finds what is behind the holes.
    drop(store);
    let store = Store::open(
        dir.path(),
        StoreOptions {
            rebuild: true,
            ..options()
        },
    )
    .unwrap();
    assert!(
        kept.iter()
            .all(|leaf| store.get(leaf.cid()).unwrap().as_ref() == Some(leaf))
    );
}

#[test]
fn gc_waits_for_work_in_progress() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let garbage = block(1, 100);
    store.put(std::slice::from_ref(&garbage)).unwrap();
    let hold = store.hold();
    assert!(matches!(store.gc(), Err(StoreError::Busy)));
    assert!(store.has(garbage.cid()).unwrap());
    drop(hold);
    assert_eq!(store.gc().unwrap().removed_blocks, 1);
}

#[test]
fn what_a_block_links_to_depends_on_its_codec() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let leaf = block(1, 100);
    let inner = node(&[&leaf]);
    let as_raw = Cid::new_v1(RAW, *inner.cid().hash());
    // A stranger's block, and a pin, that reach the bytes of the inner node first and as something without links.
    let hostile = linking(&[as_raw]);
    store.put(&[leaf.clone(), inner.clone(), hostile.clone()]).unwrap();
    for (owner, cid) in [("a", &as_raw), ("b", hostile.cid()), ("c", inner.cid())] {
        store.pin(owner, cid).unwrap();
    }
    let report = store.gc().unwrap();
    assert_eq!((report.kept_blocks, report.removed_blocks), (3, 0));
    assert_eq!(store.get(leaf.cid()).unwrap(), Some(leaf));

    store.unpin("c", inner.cid()).unwrap();
    assert_eq!(
        store.gc().unwrap().removed_blocks,
        1,
        "under the other codec it links to nothing"
    );
}

#[test]
fn a_strangers_pin_does_not_keep_gc_from_running() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (leaf, never, garbage) = (block(1, 100), node(&[&block(2, 100)]), block(3, 100));
    let malformed = Block::new(DAG_CBOR, &b"\xff\xff"[..]).unwrap();
    let unknown = Block::new(0x78, &b"{}"[..]).unwrap();
    let root = node(&[&leaf, &never, &malformed, &unknown]);
    store
        .put(&[leaf.clone(), garbage.clone(), malformed.clone(), unknown, root.clone()])
        .unwrap();
    store.pin("stranger", root.cid()).unwrap();
    let report = store.gc().unwrap();
    assert_eq!((report.removed_blocks, report.doubtful_blocks), (1, 0));
    let named: Vec<_> = report.missing.iter().map(|missing| missing.cid).collect();
    assert_eq!(named.len(), 3, "{report:?}");
    assert!(named.contains(never.cid()) && named.contains(malformed.cid()));
    assert!(
        report
            .missing
            .iter()
            .all(|missing| missing.owner == "stranger" && !missing.was_here)
    );
    assert!(store.has(leaf.cid()).unwrap() && store.has(malformed.cid()).unwrap());
}

#[test]
fn a_leaf_that_is_missing_is_named_once_and_costs_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (here, gone, garbage) = (block(1, 100), block(2, 100), block(3, 100));
    let root = node(&[&here, &gone]);
    let other = node(&[&gone, &root]);
    store.put(&[here.clone(), garbage, root, other.clone()]).unwrap();
    store.pin("p", other.cid()).unwrap();
    let report = store.gc().unwrap();
    let named: Vec<_> = report
        .missing
        .iter()
        .map(|missing| (missing.cid, missing.was_here))
        .collect();
    assert_eq!(named, [(*gone.cid(), false)]);
    assert_eq!(
        (report.kept_blocks, report.removed_blocks, report.doubtful_blocks),
        (4, 1, 0)
    );
    store.put(&[gone]).unwrap();
    assert_eq!(store.gc().unwrap().missing, []);
    assert!(store.has(here.cid()).unwrap());
}

#[test]
fn blocks_put_while_gc_runs_stay() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let old: Vec<Block> = (0..200).map(|seed| block(seed, 10_000)).collect();
    store.put(&old).unwrap();
    let root = node(&[&old[0]]);
    store.put(std::slice::from_ref(&root)).unwrap();
    store.pin("p", root.cid()).unwrap();
    let young: Vec<Block> = (1000..1200).map(|seed| block(seed, 10_000)).collect();
    let (begun, wait) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let (store, old, young) = (&store, &old, &young);
        scope.spawn(move || {
            wait.recv().unwrap();
            young
                .iter()
                .for_each(|block| store.put(std::slice::from_ref(block)).unwrap());
        });
        scope.spawn(move || {
            // Readers meet moved and swept blocks, never wrong ones.
            for block in old.iter().cycle().take(2000) {
                let found = store.get(block.cid()).unwrap();
                assert!(found.is_none_or(|found| found == *block));
            }
        });
        let links = |block: &Block| {
            begun.send(())?;
            while !store.has(young[10].cid())? {
                std::thread::yield_now();
            }
            crate::dag::links(block).map_err(Into::into)
        };
        let report = store.gc_following(&links, &mut |_| Ok(()), Goal::Everything);
        assert_eq!(report.unwrap().removed_blocks, 199);
    });
    for block in young.iter().chain([&old[0]]) {
        assert_eq!(store.get(block.cid()).unwrap().as_ref(), Some(block));
    }
    assert_eq!(store.gc().unwrap().removed_blocks, 200);
}

#[test]
fn files_that_are_given_up_stay_while_a_pin_needs_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let blocks: Vec<Block> = (0..2).map(|seed| block(seed, 1000)).collect();
    for (block, path) in blocks.iter().zip(["needed", "not needed"]) {
        let file = store.add_file(Path::new(path)).unwrap();
        store.write_leaf(file, 0, block).unwrap();
    }
    fs::write(dir.path().join("unknown"), b"12345").unwrap();
    let root = node(&[&blocks[0]]);
    store.put(std::slice::from_ref(&root)).unwrap();
    store.pin("owner", root.cid()).unwrap();
    let collect = || {
        let mut gone = Vec::new();
        let report = store.gc_with_files(&mut |files| {
            assert!(files.remove_unless_needed(Path::new("../outside")).is_err());
            for path in ["needed", "not needed", "unknown"] {
                if dir.path().join(path).exists() && files.remove_unless_needed(Path::new(path))? {
                    gone.push(path);
                }
            }
            Ok(())
        });
        let report = report.unwrap();
        assert_eq!(report.removed_files, gone.len() as u64);
        (gone, report.freed_bytes)
    };
    assert_eq!(collect(), (vec!["not needed", "unknown"], 1005));
    assert_eq!(store.get(blocks[0].cid()).unwrap().as_ref(), Some(&blocks[0]));
    assert!(!store.has(blocks[1].cid()).unwrap());
    store.unpin("owner", root.cid()).unwrap();
    assert_eq!(collect().0, ["needed"]);
    assert_eq!(store.stats().unwrap().files, 0);
}

#[test]
fn a_block_put_again_while_gc_runs_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    // Alone in the first pack, which is dead but for the block that is put again.
    let again = block(1, 100);
    store.put(std::slice::from_ref(&again)).unwrap();
    store
        .put(&(10..40).map(|seed| block(seed, 60_000)).collect::<Vec<_>>())
        .unwrap();
    let root = node(&[]);
    store.put(std::slice::from_ref(&root)).unwrap();
    store.pin("p", root.cid()).unwrap();
    let links = |block: &Block| {
        store.put(std::slice::from_ref(&again))?;
        crate::dag::links(block).map_err(Into::into)
    };
    assert_eq!(
        store
            .gc_following(&links, &mut |_| Ok(()), Goal::Everything)
            .unwrap()
            .removed_blocks,
        30
    );
    assert_eq!(store.get(again.cid()).unwrap(), Some(again));
}

#[test]
fn what_a_lost_block_may_have_linked_to_stays_and_gc_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let leaf = block(1, 5000);
    let inner = node(&[&leaf]);
    let root = node(&[&inner]);
    store.put(&[leaf.clone(), inner.clone(), root.clone()]).unwrap();
    store.pin("dataset d", root.cid()).unwrap();
    store.flush().unwrap();
    // The inner node rots.
    let pack = dir.path().join("packs/00000001.pack");
    let bytes = fs::read(&pack).unwrap();
    let at = bytes
        .windows(inner.data().len())
        .position(|window| window == &inner.data()[..])
        .unwrap();
    let damaged: Vec<u8> = bytes
        .iter()
        .enumerate()
        .map(|(n, b)| if n == at { b ^ 1 } else { *b })
        .collect();
    fs::write(&pack, damaged).unwrap();

    for round in 0..3 {
        let garbage = block(100 + round, 1000);
        store.put(std::slice::from_ref(&garbage)).unwrap();
        let report = store.gc().unwrap();
        assert!(report.missing[0].was_here && report.missing[0].cid == *inner.cid() && report.missing.len() == 1);
        assert_eq!(report.missing[0].owner, "dataset d");
        assert!(report.doubtful_blocks > 0);
        assert_eq!(store.get(leaf.cid()).unwrap().as_ref(), Some(&leaf), "round {round}");
        // The first collection cannot tell it from what was linked to; later ones can.
        assert_eq!(store.has(garbage.cid()).unwrap(), round == 0);
    }
    // Also after the store was opened again, and when the index is lost.
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.gc().unwrap().removed_blocks, 0);
    drop(store);
    fs::remove_dir_all(dir.path().join("store")).unwrap();
    let store = open(dir.path());
    store.rebuild_finished().unwrap();
    store.gc().unwrap();
    assert_eq!(store.get(leaf.cid()).unwrap().as_ref(), Some(&leaf));

    store.put(std::slice::from_ref(&inner)).unwrap();
    let report = store.gc().unwrap();
    assert_eq!((report.missing.len(), report.doubtful_blocks), (0, 0));
    assert!(report.removed_blocks > 0, "the garbage of the first round");
    assert_eq!(store.stats().unwrap().blocks, 3);
    store.unpin("dataset d", root.cid()).unwrap();
    assert_eq!(store.gc().unwrap().removed_blocks, 3);
}

#[test]
fn what_is_kept_in_part_is_not_missed_and_others_miss_it_still() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (here, never) = (block(1, 100), block(2, 100));
    let inner = node(&[&never]);
    let root = node(&[&here, &never, &inner]);
    store.put(&[here.clone(), root.clone(), block(3, 100)]).unwrap();
    store.pin(PARTIAL_OWNER, root.cid()).unwrap();
    let report = store.gc().unwrap();
    assert_eq!((report.removed_blocks, &report.missing[..]), (1, &[][..]));
    assert!(store.has(here.cid()).unwrap());
    assert_eq!(
        (store.missing(10).unwrap(), store.survey().unwrap().missing),
        (vec![], 0)
    );

    store.pin("z", root.cid()).unwrap();
    let missing: Vec<_> = store
        .missing(10)
        .unwrap()
        .into_iter()
        .map(|missing| missing.cid)
        .collect();
    assert_eq!(missing.len(), 2, "{missing:?}");
    assert_eq!(store.survey().unwrap().missing, 1, "of the two one is a leaf");
}

#[test]
fn what_went_is_named_up_to_so_many() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let kept = block(1, 100);
    let gone = block(2, 100);
    store.put(&[kept.clone(), gone.clone()]).unwrap();
    store.pin("p", kept.cid()).unwrap();
    assert_eq!(store.gc().unwrap().removed, [*gone.cid().hash()]);
    assert!(store.gc().unwrap().removed.is_empty());
    let many: Vec<Block> = (0..=MAX_REMOVED_NAMED as u32)
        .map(|number| Block::new(RAW, number.to_le_bytes().to_vec()).unwrap())
        .collect();
    store.put(&many).unwrap();
    let report = store.gc().unwrap();
    assert_eq!(report.removed_blocks, many.len() as u64);
    assert_eq!(report.removed.len(), MAX_REMOVED_NAMED);
}
