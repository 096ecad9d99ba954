//! A store with a limit, and a store that is checked.

use std::{fs, os::unix::fs::FileExt as _, path::Path};

use super::*;

const MAX: u64 = 16 << 20;
const SIZE: usize = 100_000;

fn limited(root: &Path) -> Store {
    let options = StoreOptions {
        max_bytes: Some(MAX),
        ..options()
    };
    Store::open(root, options).unwrap()
}

fn make_room(store: &Store) -> GcReport {
    let wanted = store.room_wanted().unwrap();
    assert!(wanted > 0);
    store.make_room(wanted, &mut |_| Ok(())).unwrap()
}

/// What the store takes up, looked at from outside.
fn disk_bytes(dir: &Path) -> u64 {
    let packs = fs::read_dir(dir.join("packs"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap());
    packs
        .map(|file| std::os::unix::fs::MetadataExt::blocks(&file) * 512)
        .sum()
}

#[test]
fn one_block_over_the_limit_is_refused_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let store = limited(dir.path());
    let mut seed = 0;
    let refused = loop {
        if let Err(error) = store.put(&[block(seed, SIZE)]) {
            break error;
        }
        seed += 1;
    };
    let StoreError::OverLimit { max, held } = refused else {
        panic!("{refused}")
    };
    assert!(max == MAX && held <= MAX && held + SIZE as u64 > MAX, "{held}");
    assert!(refused.is_full() && !store.has_room_to_spare());
    assert!((0..seed).all(|seed| store.has(block(seed, SIZE).cid()).unwrap()));
    // Blocks that are here are no news.
    store.put(&[block(0, SIZE)]).unwrap();
    let file = store.add_file(Path::new("f")).unwrap();
    let in_file = store.write_leaf(file, 0, &block(seed, SIZE));
    assert!(matches!(in_file, Err(StoreError::OverLimit { .. })), "{in_file:?}");
    // After a refusal all goes that can: it is not known how much is wanted.
    let report = make_room(&store);
    assert_eq!((report.removed_blocks, report.passing_bytes), (u64::from(seed), 0));
    store.put(&[block(seed, SIZE)]).unwrap();
    assert_eq!(store.room_wanted().unwrap(), 0);
}

#[test]
fn what_was_used_least_lately_goes_first_and_what_is_pinned_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = limited(dir.path());
    // Pinned ones are the oldest, and one of the oldest others is read again and again.
    let kept: Vec<Block> = (1000..1020).map(|seed| block(seed, SIZE)).collect();
    let root = node(&kept.iter().collect::<Vec<_>>());
    store.put(&kept).unwrap();
    store.put(std::slice::from_ref(&root)).unwrap();
    store.pin("p", root.cid()).unwrap();
    let wanted = block(0, SIZE);
    let mut collections = 0;
    for seed in 0..1000 {
        store.put(&[block(seed, SIZE)]).unwrap();
        if seed % 10 == 0 {
            assert_eq!(store.get(wanted.cid()).unwrap().as_ref(), Some(&wanted), "{seed}");
        }
        if store.room_wanted().unwrap() > 0 {
            let report = make_room(&store);
            collections += 1;
            assert!(report.removed_bytes > 0 && report.passing_bytes > 0, "{report:?}");
            assert_eq!(store.room_wanted().unwrap(), 0, "{report:?}");
            assert!(store.has(block(seed, SIZE).cid()).unwrap(), "the newest stays");
        }
        assert!(disk_bytes(dir.path()) <= MAX);
    }
    assert!(collections > 10, "{collections}");
    // Uses are known by parts of packs, and the one that was read stands beside the first ones.
    assert!(!store.has(block(500, SIZE).cid()).unwrap());
    for block in kept.iter().chain([&root]) {
        assert_eq!(store.get(block.cid()).unwrap().as_ref(), Some(block));
    }
    let survey = store.survey().unwrap();
    assert_eq!((survey.pins, survey.pinned_blocks, survey.missing), (1, 21, 0));
    assert!(
        survey.pinned_bytes > 20 * SIZE as u64 && survey.passing_bytes > 20 * SIZE as u64,
        "{survey:?}"
    );
    assert!(
        survey.held_bytes <= MAX && survey.next_to_go.is_some_and(|cid| cid != *wanted.cid()),
        "{survey:?}"
    );
    drop(store);
    let store = limited(dir.path());
    assert!(store.held_bytes().abs_diff(survey.held_bytes) < MAX / 4);
}

/// Of a DAG that nobody keeps a part may go: it is not taken for whole then.
#[test]
fn what_is_left_of_a_dag_is_not_complete() {
    let dir = tempfile::tempdir().unwrap();
    let store = limited(dir.path());
    let leaf = block(0, SIZE);
    let root = node(&[&leaf]);
    store.put(std::slice::from_ref(&leaf)).unwrap();
    store
        .put(&(1..100).map(|seed| block(seed, SIZE)).collect::<Vec<_>>())
        .unwrap();
    let walk = store.walk();
    store.put(std::slice::from_ref(&root)).unwrap();
    store.mark_complete(&walk, &[*root.cid()]).unwrap();
    assert!(store.is_complete(root.cid()).unwrap());
    store.make_room(20 * SIZE as u64, &mut |_| Ok(())).unwrap();
    assert!(!store.has(leaf.cid()).unwrap() && store.has(root.cid()).unwrap());
    assert!(!store.is_complete(root.cid()).unwrap());
    drop(store);
    let store = limited(dir.path());
    assert!(!store.is_complete(root.cid()).unwrap(), "after a restart");
}

#[test]
fn what_is_pinned_alone_makes_no_room_and_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let store = limited(dir.path());
    let kept: Vec<Block> = (0..140).map(|seed| block(seed, SIZE)).collect();
    let root = node(&kept.iter().collect::<Vec<_>>());
    store.put(&kept).unwrap();
    store.put(std::slice::from_ref(&root)).unwrap();
    store.pin("p", root.cid()).unwrap();
    // Some of it is pinned, and a hold keeps the rest.
    let more = (900..).take_while(|seed| store.put(&[block(*seed, SIZE)]).is_ok());
    assert!(more.into_iter().any(|_| store.room_wanted().unwrap() > 0));
    let hold = store.hold();
    let busy = store.make_room(MAX, &mut |_| Ok(()));
    assert!(matches!(busy, Err(StoreError::Busy)), "{busy:?}");
    drop(hold);
    store.make_room(MAX, &mut |_| Ok(())).unwrap();
    assert_eq!(store.survey().unwrap().passing_bytes, 0);
    assert!(kept.iter().all(|block| store.has(block.cid()).unwrap()));
}

/// Changes one byte of a block in a pack, and says in which.
fn damage(dir: &Path, block: &Block) -> std::path::PathBuf {
    let packs = fs::read_dir(dir.join("packs"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    for path in packs.filter(|path| path.extension().is_some_and(|end| end == "pack")) {
        let bytes = fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(64).position(|window| window == &block.data()[..64]) {
            let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.write_all_at(&[!bytes[at + 7]], at as u64 + 7).unwrap();
            return path;
        }
    }
    panic!("{} is in no pack", block.cid())
}

#[test]
fn a_check_names_what_is_damaged_and_what_pins_miss() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (kept, loose) = (block(1, SIZE), block(2, SIZE));
    let root = node(&[&kept]);
    store.put(&[kept.clone(), loose.clone(), root.clone()]).unwrap();
    store.pin("somebody", root.cid()).unwrap();
    let mut seen = 0;
    let sound = store
        .check(&mut |blocks, _| {
            seen = blocks;
            true
        })
        .unwrap()
        .unwrap();
    assert!(sound.is_whole() && sound.blocks == 3 && seen == 3, "{sound:?}");
    assert_eq!(store.check(&mut |_, _| false).unwrap(), None);

    let path = damage(dir.path(), &kept);
    damage(dir.path(), &loose);
    let checked = store.check(&mut |_, _| true).unwrap().unwrap();
    let bad: Vec<Cid> = checked.bad.iter().map(|bad| bad.cid).collect();
    assert!(
        bad.len() == 2 && bad.contains(kept.cid()) && bad.contains(loose.cid()),
        "{checked:?}"
    );
    assert!(checked.bad.iter().all(|bad| bad.path == path && !bad.in_file));
    assert_eq!(checked.missing.len(), 1);
    assert_eq!(
        (&checked.missing[0].cid, &checked.missing[0].owner[..]),
        (kept.cid(), "somebody")
    );
    assert!(checked.unindexed.is_empty() && store.take_from_packs(&[*kept.cid()]).unwrap().is_empty());
    // Whoever has it gives it back, and it is as if nothing had been.
    store.put(&[kept.clone(), loose]).unwrap();
    assert!(store.check(&mut |_, _| true).unwrap().unwrap().is_whole());
    assert_eq!(store.missing(MAX_TOLD).unwrap(), []);
}

#[test]
fn a_block_that_the_index_lost_is_found_in_its_pack() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let kept = block(1, SIZE);
    let root = node(&[&kept]);
    store.put(&[kept.clone(), root.clone()]).unwrap();
    store.pin("p", root.cid()).unwrap();
    let forget = |entry: &mut super::super::place::IndexEntry| {
        entry.places.clear();
        true
    };
    store.update(&kept.cid().hash().to_bytes(), forget).unwrap();
    let checked = store.check(&mut |_, _| true).unwrap().unwrap();
    assert_eq!((checked.missing.len(), &checked.unindexed[..]), (1, &[*kept.cid()][..]));
    assert_eq!(store.take_from_packs(&checked.unindexed).unwrap(), [*kept.cid()]);
    assert_eq!(store.get(kept.cid()).unwrap(), Some(kept));
    assert!(store.check(&mut |_, _| true).unwrap().unwrap().is_whole());
}
