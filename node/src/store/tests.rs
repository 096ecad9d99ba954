//! Tests of the store as a whole: one contract on both kinds, then what only the durable one promises.

mod budget;
mod collection;
mod crash;
mod damage;
mod files;
mod folds;
mod form;
mod model;
mod power;
mod promises;
mod syncs;

use std::path::Path;
use std::sync::atomic::Ordering;

use super::{place::MAX_PLACES, *};
use crate::block::{Block, Cid, DAG_CBOR, DAG_PB, RAW};

/// Small limits, so that tests reach them, and no reserve, so that they need no disk.
fn options() -> StoreOptions {
    StoreOptions {
        pack_bytes: 256 << 10,
        min_free_bytes: 0,
        reserve_bytes: 0,
        recent_entries: 16,
        run_fan_in: 2,
        ..StoreOptions::default()
    }
}

fn open(root: &Path) -> Store {
    Store::open(root, options()).unwrap()
}

/// A block of `len` bytes that depend on `seed`.
fn block(seed: u32, len: usize) -> Block {
    let mut state = u64::from(seed) * 2 + 1;
    let bytes: Vec<u8> = (0..len)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect();
    Block::new(RAW, bytes).unwrap()
}

/// A block that links to others.
fn node(children: &[&Block]) -> Block {
    linking(&children.iter().map(|child| *child.cid()).collect::<Vec<_>>())
}

fn linking(children: &[Cid]) -> Block {
    use ipld_core::ipld::Ipld;
    let links = children.iter().map(|child| Ipld::Link(*child)).collect();
    Block::new(DAG_CBOR, serde_ipld_dagcbor::to_vec(&Ipld::List(links)).unwrap()).unwrap()
}

fn leaf(block: &Block, offset: u64) -> Leaf {
    Leaf {
        cid: *block.cid(),
        offset,
        len: block.data().len() as u32,
    }
}

/// Sizes around the branches of the pack writer, and the largest block.
const SIZES: [usize; 8] = [
    1,
    7,
    8,
    4096,
    (64 << 10) - 1,
    64 << 10,
    300_000,
    crate::block::MAX_BLOCK_BYTES,
];

fn contract(store: &dyn Blocks) {
    let blocks: Vec<Block> = SIZES
        .iter()
        .enumerate()
        .map(|(seed, len)| block(seed as u32, *len))
        .collect();
    let absent = block(99, 100);
    assert_eq!(store.get(absent.cid()).unwrap(), None);
    assert_eq!(store.size(absent.cid()).unwrap(), None);
    assert!(!store.has(absent.cid()).unwrap());

    store.put(&blocks).unwrap();
    store.put(&blocks[2..4]).unwrap();
    store.put(&[blocks[0].clone(), blocks[0].clone()]).unwrap();
    store.put(&[]).unwrap();
    for block in &blocks {
        assert_eq!(store.get(block.cid()).unwrap().as_ref(), Some(block));
        assert_eq!(store.size(block.cid()).unwrap(), Some(block.data().len()));
        assert!(store.has(block.cid()).unwrap());
    }

    // The same bytes under another codec are the same entry, and come back under the CID that was asked for.
    let other = Cid::new_v1(DAG_PB, *blocks[1].cid().hash());
    let found = store.get(&other).unwrap().unwrap();
    assert_eq!((found.cid(), found.data()), (&other, blocks[1].data()));

    // Content that every peer has needs no place, even if it was put.
    for text in [
        "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",
        "bafkqaaa",
    ] {
        let cid = Cid::try_from(text).unwrap();
        let empty = store.get(&cid).unwrap().unwrap();
        assert!(store.has(&cid).unwrap() && store.size(&cid).unwrap() == Some(0));
        store.put(&[empty]).unwrap();
    }

    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for step in 0..50 {
                    // Every block is put by two threads.
                    let block = block(1000 + (thread / 2) * 100 + step, 5000 + step as usize);
                    store.put(std::slice::from_ref(&block)).unwrap();
                    assert_eq!(store.get(block.cid()).unwrap(), Some(block));
                }
            });
        }
    });
}

#[test]
fn both_stores_keep_the_contract() {
    let memory = MemoryStore::new();
    contract(&memory);
    assert_eq!(memory.len(), SIZES.len() + 100);

    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    contract(&store);
    let stats = store.stats().unwrap();
    assert_eq!(stats.blocks, SIZES.len() as u64 + 100);
    assert!(stats.pack_bytes >= SIZES.iter().sum::<usize>() as u64);
}

fn table_contract(table: &Table) {
    assert_eq!(table.get(b"a").unwrap(), None);
    table.insert(b"a1", b"x").unwrap();
    table.insert(b"b", b"y").unwrap();
    let changes = [
        (b"a2".to_vec(), Some(b"z".to_vec())),
        (b"b".to_vec(), None),
        (b"a1".to_vec(), Some(vec![])),
    ];
    table.apply(&changes).unwrap();
    let scanned: Vec<_> = table.scan_prefix(b"a").map(Result::unwrap).collect();
    assert_eq!(scanned, [(b"a1".to_vec(), vec![]), (b"a2".to_vec(), b"z".to_vec())]);
    table.remove(b"a1").unwrap();
    table.remove(b"never there").unwrap();
    assert_eq!(table.scan_prefix(b"").count(), 1);

    table.insert(&[1; MAX_KEY_BYTES], &vec![1; MAX_VALUE_BYTES]).unwrap();
    let before = table.scan_prefix(b"").count();
    let too_long = vec![1; MAX_VALUE_BYTES + 1];
    let refused = table.apply(&[(b"c".to_vec(), Some(vec![])), (b"d".to_vec(), Some(too_long))]);
    assert!(matches!(
        refused,
        Err(StoreError::EntryTooLarge {
            limit: MAX_VALUE_BYTES,
            ..
        })
    ));
    let refused = table.insert(&[1; MAX_KEY_BYTES + 1], b"");
    assert!(matches!(
        refused,
        Err(StoreError::EntryTooLarge {
            limit: MAX_KEY_BYTES,
            ..
        })
    ));
    assert_eq!(table.scan_prefix(b"").count(), before, "all or nothing");
}

#[test]
fn tables_are_alike_in_memory_and_on_disk() {
    let memory = MemoryStore::new();
    table_contract(&memory.table("t"));
    assert_eq!(memory.table("t").get(b"a2").unwrap(), Some(b"z".to_vec()));

    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    table_contract(&store.table("t").unwrap());
    assert_eq!(store.table("other").unwrap().get(b"a2").unwrap(), None);
    store.flush().unwrap();
    drop(store);
    assert_eq!(
        open(dir.path()).table("t").unwrap().get(b"a2").unwrap(),
        Some(b"z".to_vec())
    );
}

#[test]
fn marks_are_in_the_entries_and_those_of_earlier_versions_count() {
    let dir = tempfile::tempdir().unwrap();
    let blocks: Vec<Block> = (0..5).map(|seed| block(seed, 100)).collect();
    let [old, here, new, unmarked, bare] = [0, 1, 2, 3, 4].map(|n| *blocks[n].cid());
    let store = open(dir.path());
    store.put(&blocks[..2]).unwrap();
    let (index, epoch) = (&store.inner.index, store.walk());
    index
        .complete
        .insert(
            old.hash().to_bytes(),
            &store.inner.epoch.load(Ordering::Acquire).to_le_bytes(),
        )
        .unwrap();
    store.put_complete(&epoch, &blocks[2..], &[here, new, bare]).unwrap();
    let check = |store: &Store, expected: [bool; 5]| {
        let marks = [old, here, new, unmarked, bare].map(|cid| store.is_complete(&cid).unwrap());
        assert_eq!(marks, expected);
    };
    check(&store, [true, true, true, false, true]);
    assert_eq!(index.complete.len(), 1, "none but the old one");
    store.flush().unwrap();
    drop(store);
    let store = open(dir.path());
    check(&store, [true, true, true, false, true]);
    // A place more takes no mark away, and a lost block takes all.
    let file = store.add_file(Path::new("f")).unwrap();
    store.write_leaf(file, 0, &blocks[2]).unwrap();
    check(&store, [true, true, true, false, true]);
    store.forget_completeness().unwrap();
    check(&store, [false; 5]);
    store.mark_complete(&store.walk(), &[new]).unwrap();
    check(&store, [false, false, true, false, false]);
}

#[test]
fn everything_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let blocks: Vec<Block> = (0..40).map(|seed| block(seed, 30_000)).collect();
    let store = open(dir.path());
    store.put(&blocks).unwrap();
    store.pin("me", blocks[0].cid()).unwrap();
    store.mark_complete(&store.walk(), &[*blocks[1].cid()]).unwrap();
    store.flush().unwrap();
    let stats = store.stats().unwrap();
    assert!(dir.path().join("packs/00000002.pack").exists(), "more than one pack");
    drop(store);

    let store = open(dir.path());
    assert!(!store.rebuilt());
    for block in &blocks {
        assert_eq!(store.get(block.cid()).unwrap().as_ref(), Some(block));
    }
    assert_eq!(
        store.pins(None).unwrap(),
        [Pin {
            owner: "me".into(),
            cid: *blocks[0].cid()
        }]
    );
    assert!(store.is_complete(blocks[1].cid()).unwrap() && !store.is_complete(blocks[2].cid()).unwrap());
    let again = store.stats().unwrap();
    assert_eq!(
        (again.blocks, again.pack_bytes, again.pins),
        (stats.blocks, stats.pack_bytes, 1)
    );
}

#[test]
fn a_second_opening_is_refused_and_harms_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let block = block(1, 100);
    store.put(std::slice::from_ref(&block)).unwrap();
    let error = Store::open(dir.path(), options()).map(|_| ()).unwrap_err();
    assert!(matches!(error, StoreError::InUse(_)), "{error:?}");
    assert_eq!(store.get(block.cid()).unwrap(), Some(block));
    store.flush().unwrap();
}

#[test]
fn pins_have_owners() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (a, b) = (*block(1, 10).cid(), *block(2, 10).cid());
    for (owner, cid) in [("x", &a), ("x y", &a), ("x", &b), ("x", &b)] {
        store.pin(owner, cid).unwrap();
    }
    assert!(store.is_pinned("x", &b) && store.is_pinned("x y", &a) && !store.is_pinned("x y", &b));
    assert_eq!(store.pins(Some("x")).unwrap().len(), 2);
    assert_eq!(store.pins(None).unwrap().len(), 3);
    assert!(store.unpin("x", &a).unwrap() && !store.unpin("x", &a).unwrap());
    assert_eq!(store.stats().unwrap().pins, 2);
    let long = "o".repeat(MAX_OWNER_BYTES + 1);
    for owner in ["", "a\nb", "a\0b", &long] {
        assert!(
            matches!(store.pin(owner, &a), Err(StoreError::BadOwner(_))),
            "{owner:?}"
        );
    }
    store.pin(&long[1..], &a).unwrap();
}
