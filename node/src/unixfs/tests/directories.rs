use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::block::{DAG_PB, RAW};
use crate::dag::{PbLink, PbNode};
use crate::unixfs::directory::{
    Built, DirectoryError, Found, Link, Listing, LoadError, Lookup, MAX_LISTED, build, is_plain_name, list,
    list_within, lookup,
};
use crate::unixfs::node::{Data, Kind, decode};
use crate::unixfs::update::{Updated, update};

/// Shards from a dozen entries on, so that a test crosses the threshold often.
const SMALL: Profile = Profile {
    shard_above: 600,
    ..UNIXFS_V1_2025
};
const SMALL_LINKS: Profile = Profile {
    shard_above: 450,
    ..UNIXFS_V0_2015
};

/// The narrowest nodes that there are, and so the deepest trees.
const NARROW: Profile = Profile {
    fanout: Fanout::EIGHT,
    ..SMALL
};

type Entries = BTreeMap<String, Entry>;

fn numbered(count: u64) -> Entries {
    (0..count)
        .map(|number| (format!("file-{number}"), fake_entry(number)))
        .collect()
}

fn shelved(profile: &Profile, entries: &Entries) -> (Built, Shelf) {
    let built = build(profile, entries.clone()).unwrap();
    let mut shelf = Shelf::default();
    shelf.add(built.blocks.clone());
    (built, shelf)
}

fn is_sharded(block: &Block) -> bool {
    decode(block).unwrap().1.kind == Kind::HamtShard
}

/// Applies an update to a shelf that holds exactly one directory, and checks that it then holds exactly the new one.
fn apply(profile: &Profile, shelf: &mut Shelf, root: &Cid, changes: Vec<(String, Option<Entry>)>) -> Updated {
    let updated = update(profile, root, changes, &mut shelf.load()).unwrap();
    for cid in &updated.replaced {
        assert!(
            shelf.0.remove(cid).is_some(),
            "{cid} is reported as replaced and was not there"
        );
    }
    for block in &updated.blocks {
        assert!(
            shelf.0.insert(*block.cid(), block.clone()).is_none(),
            "{block:?} is reported as new and is not"
        );
    }
    assert_eq!(shelf.reach(&updated.entry.cid), shelf.0.keys().copied().collect());
    updated
}

fn check_contents(shelf: &Shelf, root: &Cid, entries: &Entries) {
    let listed = list(root, &mut shelf.load()).unwrap();
    let expected = entries.iter().map(|(name, entry)| Link {
        name: name.clone(),
        cid: entry.cid,
        tsize: entry.tsize,
    });
    assert_eq!(listed, expected.collect::<Vec<_>>());
    for (name, entry) in entries {
        assert_eq!(lookup(root, name, &mut shelf.load()).unwrap().unwrap().cid, entry.cid);
    }
    assert!(lookup(root, "not there", &mut shelf.load()).unwrap().is_none());
}

#[test]
fn a_directory_is_listed_and_looked_into_in_both_forms() {
    for profile in [SMALL, SMALL_LINKS, NARROW] {
        for count in [0, 1, 5, 400] {
            let entries = numbered(count);
            let (built, shelf) = shelved(&profile, &entries);
            assert_eq!(is_sharded(built.blocks.last().unwrap()), count == 400);
            check_contents(&shelf, &built.entry.cid, &entries);
            let own: u64 = built.blocks.iter().map(|block| block.data().len() as u64).sum();
            let below: u64 = entries.values().map(|entry| entry.tsize).sum();
            assert_eq!(built.entry.tsize, own + below);
        }
    }
}

#[test]
fn an_append_to_a_large_directory_touches_one_path() {
    let entries = numbered(20_000);
    let (built, shelf) = shelved(&UNIXFS_V1_2025, &entries);
    let mut loads = 0;
    let mut load = |cid: &Cid| {
        loads += 1;
        shelf.get(cid)
    };
    let change = ("one more".to_owned(), Some(fake_entry(7)));
    let updated = update(&UNIXFS_V1_2025, &built.entry.cid, [change], &mut load).unwrap();
    assert!(
        loads <= 3 && updated.blocks.len() <= 3 && updated.replaced.len() <= 3,
        "{loads} loads"
    );
    assert_eq!(updated.blocks.last().unwrap().cid(), &updated.entry.cid);
}

/// Named as metadata blocks and slices are, by a hash.
fn hashed(number: u64) -> (String, Entry) {
    let hash = crate::block::sha2_256(&number.to_be_bytes());
    let hex: String = hash.digest().iter().map(|byte| format!("{byte:02x}")).collect();
    (format!("f1620{hex}"), fake_entry(number))
}

#[test]
fn an_append_writes_few_bytes_where_nodes_are_narrow() {
    for (count, mean, most) in [(5_000, 2_000, 2_700), (100_000, 2_600, 3_400)] {
        let entries: Entries = (0..count).map(hashed).collect();
        let (built, mut shelf) = shelved(&NARROW, &entries);
        let (mut root, mut sum, mut longest) = (built.entry.cid, 0, 0);
        for number in count..count + 100 {
            let (name, entry) = hashed(number);
            let updated = update(&NARROW, &root, [(name, Some(entry))], &mut shelf.load()).unwrap();
            let new: usize = updated.blocks.iter().map(|block| block.data().len()).sum();
            (sum, longest) = (sum + new, longest.max(new));
            shelf.add(updated.blocks);
            root = updated.entry.cid;
        }
        let found = (sum / 100, longest);
        assert!(found.0 <= mean && found.1 <= most, "{count} entries: {found:?}");
    }
}

#[test]
fn a_removal_from_a_large_directory_reads_a_bounded_part() {
    let entries = numbered(60_000);
    let (built, mut shelf) = shelved(&UNIXFS_V1_2025, &entries);
    let mut loads = 0;
    let mut load = |cid: &Cid| {
        loads += 1;
        shelf.get(cid)
    };
    update(
        &UNIXFS_V1_2025,
        &built.entry.cid,
        [("file-9".to_owned(), None)],
        &mut load,
    )
    .unwrap();
    assert!(loads < 100 && shelf.0.len() > 10_000, "{loads} of {}", shelf.0.len());
    let updated = apply(
        &UNIXFS_V1_2025,
        &mut shelf,
        &built.entry.cid,
        vec![("file-9".to_owned(), None)],
    );
    let mut rest = entries;
    rest.remove("file-9");
    assert_eq!(updated.entry, build(&UNIXFS_V1_2025, rest).unwrap().entry);
}

#[test]
fn an_update_that_changes_nothing_gives_nothing() {
    for count in [3, 300] {
        let entries = numbered(count);
        let (built, shelf) = shelved(&SMALL, &entries);
        let same = vec![
            ("file-1".to_owned(), Some(entries["file-1"])),
            ("not there".to_owned(), None),
        ];
        let updated = update(&SMALL, &built.entry.cid, same, &mut shelf.load()).unwrap();
        assert_eq!(updated.entry, built.entry);
        assert!(updated.blocks.is_empty() && updated.replaced.is_empty());
    }
}

#[test]
fn a_smaller_tsize_alone_can_make_a_directory_one_node_again() {
    // Under block-bytes the varint of the size counts.
    let large = |number| Entry {
        tsize: u64::MAX >> 1,
        ..fake_entry(number)
    };
    let entries: Entries = (0..12).map(|number| (format!("{number:02}"), large(number))).collect();
    let (built, mut shelf) = shelved(&SMALL, &entries);
    assert!(is_sharded(built.blocks.last().unwrap()));
    let changes = entries
        .iter()
        .map(|(name, entry)| (name.clone(), Some(Entry { tsize: 1, ..*entry })))
        .collect();
    let updated = apply(&SMALL, &mut shelf, &built.entry.cid, changes);
    assert!(!is_sharded(&shelf.get(&updated.entry.cid).unwrap()));
}

#[test]
fn names_that_could_leave_the_directory_are_not_written() {
    for name in ["", ".", "..", "a/b", "/", "a\0"] {
        assert!(!is_plain_name(name));
        let entry = fake_entry(1);
        assert!(matches!(
            build(&SMALL, [(name.to_owned(), entry)]),
            Err(DirectoryError::BadName { .. })
        ));
        let (built, shelf) = shelved(&SMALL, &numbered(1));
        let error = update(
            &SMALL,
            &built.entry.cid,
            [(name.to_owned(), Some(entry))],
            &mut shelf.load(),
        );
        assert!(matches!(
            error,
            Err(LoadError::Directory(DirectoryError::BadName { .. }))
        ));
    }
    let twice = [("a".to_owned(), fake_entry(1)), ("a".to_owned(), fake_entry(2))];
    assert!(matches!(
        build(&SMALL, twice),
        Err(DirectoryError::DuplicateName { .. })
    ));
    assert!(is_plain_name("...") && is_plain_name("смотри, 日本") && is_plain_name(" "));
}

#[test]
fn a_block_that_cannot_be_loaded_is_the_callers_error() {
    let (built, mut shelf) = shelved(&SMALL, &numbered(300));
    shelf.0.retain(|cid, _| *cid == built.entry.cid);
    let root = built.entry.cid;
    assert!(matches!(list(&root, &mut shelf.load()), Err(LoadError::Load(_))));
    let removed = update(&SMALL, &root, [("file-1".to_owned(), None)], &mut shelf.load());
    assert!(matches!(removed, Err(LoadError::Load(_))));
}

#[test]
fn a_listing_takes_its_blocks_in_any_order_and_no_others() {
    let (built, shelf) = shelved(&SMALL, &numbered(300));
    let mut listing = Listing::new(built.entry.cid);
    let (mut count, mut asked) = (0, Vec::new());
    loop {
        asked.extend(std::iter::from_fn(|| listing.ask()));
        // Neither in the order that they were asked for, nor against it.
        let Some(any) = asked.len().checked_sub(1).map(|last| asked.swap_remove(last / 2)) else {
            break;
        };
        count += listing.feed(&shelf.get(&any).unwrap()).unwrap().len();
    }
    assert_eq!(count, 300);
    assert!(matches!(
        listing.feed(built.blocks.last().unwrap()),
        Err(DirectoryError::Node(_))
    ));
}

/// A HAMT node whose only link, in bucket 0, is to another node.
fn tower_node(below: &Cid) -> Block {
    shard(
        vec![PbLink {
            cid: *below,
            name: "00".into(),
            tsize: 1,
        }],
        256,
        &[1],
    )
}

fn shard(links: Vec<PbLink>, fanout: u64, field: &[u8]) -> Block {
    let data = Data {
        data: Some(Bytes::copy_from_slice(field)),
        hash_type: Some(0x22),
        fanout: Some(fanout),
        ..Data::new(Kind::HamtShard)
    };
    Block::new(
        DAG_PB,
        PbNode {
            links,
            data: Some(data.encode().into()),
        }
        .encode(),
    )
    .unwrap()
}

#[test]
fn hostile_hamts_are_refused() {
    let list_of = |shelf: &Shelf, root: &Block| match list(root.cid(), &mut shelf.load()) {
        Err(LoadError::Directory(error)) => error,
        other => panic!("{other:?}"),
    };
    let mut shelf = Shelf::default();
    let entry = PbLink {
        cid: fake_entry(1).cid,
        name: "00a".into(),
        tsize: 1,
    };

    // Nine levels use more bits than the hash has.
    let mut top = shard(vec![entry.clone()], 256, &[1]);
    for level in 0..8 {
        shelf.add([top.clone()]);
        if level == 7 {
            assert!(list(top.cid(), &mut shelf.load()).is_ok(), "eight levels are the most");
        }
        top = tower_node(top.cid());
    }
    shelf.add([top.clone()]);
    assert!(matches!(list_of(&shelf, &top), DirectoryError::TooDeep { .. }));

    // At three bits a level there are 21.
    let narrow_node = |name: &'static str, cid: &Cid| {
        let link = PbLink {
            cid: *cid,
            name: name.into(),
            tsize: 1,
        };
        shard(vec![link], 8, &[1])
    };
    let mut top = narrow_node("0a", &entry.cid);
    for level in 0..21 {
        shelf.add([top.clone()]);
        if level == 20 {
            assert!(list(top.cid(), &mut shelf.load()).is_ok(), "21 levels are the most");
        }
        top = narrow_node("0", top.cid());
    }
    shelf.add([top.clone()]);
    assert!(matches!(list_of(&shelf, &top), DirectoryError::TooDeep { .. }));

    let leaf = shard(vec![entry.clone()], 256, &[1]);
    let node = |name: &'static str, cid: &Cid| PbLink {
        cid: *cid,
        name: name.into(),
        tsize: 1,
    };
    let twice = shard(vec![node("00", leaf.cid()), node("01", leaf.cid())], 256, &[3]);
    shelf.add([leaf.clone(), twice.clone()]);
    assert!(matches!(list_of(&shelf, &twice), DirectoryError::RepeatedNode { .. }));

    let narrow = shard(
        vec![PbLink {
            name: "0a".into(),
            ..entry.clone()
        }],
        16,
        &[1],
    );
    let mixed = tower_node(narrow.cid());
    shelf.add([narrow.clone(), mixed.clone()]);
    assert!(matches!(list_of(&shelf, &mixed), DirectoryError::ForeignFanout { .. }));
    assert!(list(narrow.cid(), &mut shelf.load()).is_ok(), "other fanouts are read");
    let change = [("b".to_owned(), Some(fake_entry(2)))];
    let changed = update(&SMALL, narrow.cid(), change, &mut shelf.load());
    assert!(
        matches!(changed, Err(LoadError::Directory(DirectoryError::ForeignFanout { .. }))),
        "and not changed"
    );

    let empty = shard(vec![], 256, &[]);
    let hollow = tower_node(empty.cid());
    shelf.add([empty.clone(), hollow.clone()]);
    assert!(list(empty.cid(), &mut shelf.load()).unwrap().is_empty());
    assert!(matches!(list_of(&shelf, &hollow), DirectoryError::Node(_)));

    let file_below = tower_node(&fake_entry(3).cid);
    shelf.add([
        file_below.clone(),
        Block::new(RAW, 3u64.to_be_bytes().to_vec()).unwrap(),
    ]);
    assert!(matches!(list_of(&shelf, &file_below), DirectoryError::Node(_)));
}

#[test]
fn plain_dag_pb_is_searched_by_link_names() {
    let link = PbLink {
        cid: fake_entry(1).cid,
        name: "a".into(),
        tsize: 1,
    };
    let plain = Block::new(
        DAG_PB,
        PbNode {
            links: vec![link],
            data: None,
        }
        .encode(),
    )
    .unwrap();
    assert!(matches!(Lookup::new("a").feed(&plain).unwrap(), Found::Entry(_)));
    assert_eq!(Lookup::new("b").feed(&plain).unwrap(), Found::Missing);
    let bad_shard = shard(vec![], 255, &[]);
    assert!(
        Lookup::new("a").feed(&bad_shard).is_err(),
        "a bad HAMT is not a plain node"
    );
}

fn change() -> impl Strategy<Value = (String, Option<Entry>)> {
    // Few names, so that replacing and removing happen; sizes of all varint lengths.
    let name = (0..60u32).prop_map(|number| format!("{number:03}"));
    let entry = (0..5u64, 0..64u32).prop_map(|(seed, bits)| Entry {
        tsize: 1 << bits,
        ..fake_entry(seed)
    });
    (name, prop::option::weighted(0.55, entry))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn updates_equal_a_directory_made_from_scratch(
        batches in prop::collection::vec(prop::collection::vec(change(), 1..30), 1..12),
        profile in prop::sample::select(vec![SMALL, SMALL_LINKS, NARROW]),
    ) {
        let mut entries = Entries::new();
        let (built, mut shelf) = shelved(&profile, &entries);
        let mut root = built.entry.cid;
        for batch in batches {
            for (name, entry) in &batch {
                match entry {
                    Some(entry) => entries.insert(name.clone(), *entry),
                    None => entries.remove(name),
                };
            }
            let updated = apply(&profile, &mut shelf, &root, batch);
            prop_assert_eq!(updated.entry, build(&profile, entries.clone()).unwrap().entry);
            root = updated.entry.cid;
        }
        check_contents(&shelf, &root, &entries);
    }

    #[test]
    fn large_hamts_update_as_if_made_from_scratch(
        base in 200..900u64, added in prop::collection::btree_set(0..2000u64, 0..40),
        removed in prop::collection::btree_set(0..900u64, 0..60), narrow in any::<bool>(),
    ) {
        let profile = if narrow { NARROW } else { SMALL };
        let mut entries = numbered(base);
        let (built, mut shelf) = shelved(&profile, &entries);
        let mut changes = Vec::new();
        for number in removed {
            entries.remove(&format!("file-{number}"));
            changes.push((format!("file-{number}"), None));
        }
        for number in added {
            entries.insert(format!("file-{number}"), fake_entry(number + 1));
            changes.push((format!("file-{number}"), Some(fake_entry(number + 1))));
        }
        let updated = apply(&profile, &mut shelf, &built.entry.cid, changes);
        prop_assert_eq!(updated.entry, build(&profile, entries).unwrap().entry);
    }

    #[test]
    fn a_damaged_directory_never_panics(count in 1..40u64, at in any::<prop::sample::Index>(), with in any::<u8>()) {
        let (built, _) = shelved(&SMALL, &numbered(count));
        for block in built.blocks {
            let mut bytes = block.data().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = with;
            let block = Block::new(DAG_PB, bytes).unwrap();
            let _ = Lookup::new("file-1").feed(&block);
            let _ = Listing::new(*block.cid()).feed(&block);
            let mut only = |cid: &Cid| if cid == block.cid() { Ok(block.clone()) } else { Err("not here") };
            let _ = update(&SMALL, block.cid(), [("file-2".to_owned(), None)], &mut only);
        }
    }
}

#[test]
fn one_entry_over_the_limit_is_not_listed() {
    let (built, shelf) = shelved(&SMALL, &numbered(40));
    let root = built.entry.cid;
    assert_eq!(list_within(&root, 40, &mut shelf.load()).unwrap().len(), 40);
    assert!(matches!(
        list_within(&root, 39, &mut shelf.load()),
        Err(LoadError::Directory(DirectoryError::TooManyEntries))
    ));
    // That many entries are not made in a test; that the limit is this one is.
    assert_eq!(MAX_LISTED, 1 << 22);
    assert_eq!(
        list(&root, &mut shelf.load()).unwrap(),
        list_within(&root, MAX_LISTED, &mut shelf.load()).unwrap()
    );
}
