use std::fs;
use std::path::Path;

use odf_dataset::{Mirror as _, Object};
use odf_disk::Disk;
use odf_disk::crash::{Recorder, Refusal};
use odf_metadata::codec::EncodedBlock;
use odf_metadata::{
    AddData, DataField, DataSchema, DataSlice, DataType, DatasetKind, MetadataBlock, MetadataEvent, Multihash,
    OffsetInterval, Seed, SetDataSchema, Timestamp,
};
use odf_node::block::Cid;
use odf_node::dag;
use odf_node::store::Blocks as _;

use super::*;
use crate::made_up::parquet;

mod arriving;
mod formats;
mod retained;

/// The key of a dataset whose slices are all short.
const SHORT: u8 = 100;

fn open(root: &Path) -> Local {
    Local::open(root, StoreOptions::default()).unwrap()
}

/// The key of a dataset whose slices have column chunks: one of one leaf, one of several that is not long, one of several that is.
const CHUNKS: u8 = 101;

/// What stands for the rows of the `n`th slice: nothing here reads them. Some have several leaves, if not of [`SHORT`].
fn content(key: u8, n: u64) -> Vec<u8> {
    if key == CHUNKS {
        let chunks: [&[usize]; 3] = [
            &[30_000, 20_000],
            &[60_000, 300_000, 500, 9_000, 50_000],
            &[700_000, 900_000, 100],
        ];
        return parquet(n, chunks[n as usize % 3]);
    }
    let more = if key == SHORT { 0 } else { n as usize % 2 };
    format!("dataset {key}, slice {n}. ")
        .repeat(1 + more * 100_000)
        .into_bytes()
}

fn next(key: u8, before: &[EncodedBlock]) -> EncodedBlock {
    let sequence_number = before.len() as u64;
    let event = match sequence_number {
        0 => MetadataEvent::Seed(Seed {
            dataset_id: DatasetId::from_public_key([key; 32]),
            dataset_kind: DatasetKind::Root,
        }),
        1 => MetadataEvent::SetDataSchema(SetDataSchema {
            raw_arrow_schema: None,
            schema: Some(DataSchema {
                fields: vec![DataField::new("offset", DataType::Int64)],
                extra: None,
            }),
        }),
        _ => {
            let n = sequence_number - 2;
            let bytes = content(key, n);
            MetadataEvent::AddData(AddData {
                prev_offset: n.checked_sub(1),
                new_data: Some(DataSlice {
                    logical_hash: Multihash::from_arrow0_sha3_256([n as u8; 32]),
                    physical_hash: Multihash::sha3_256(&bytes),
                    offset_interval: OffsetInterval { start: n, end: n },
                    size: bytes.len() as u64,
                }),
                new_watermark: Timestamp::from_millis(1_780_000_000_000 + n as i64),
                ..AddData::default()
            })
        }
    };
    EncodedBlock::encode(MetadataBlock {
        system_time: Timestamp::from_millis(1_780_000_000_000).unwrap(),
        prev_block_hash: before.last().map(|block| *block.hash()),
        sequence_number,
        event,
    })
    .unwrap()
}

/// A dataset of so many slices that nothing was told of. Whoever closes the store lets go of it before.
fn make(local: &Local, key: u8, name: &str, slices: usize) -> Dataset {
    let mut blocks = Vec::new();
    for _ in 0..slices + 2 {
        blocks.push(next(key, &blocks));
    }
    let id = DatasetId::from_public_key([key; 32]);
    let incoming = local.catalog().receive(id, &name.parse().unwrap()).unwrap();
    place(key, &blocks, incoming.dir());
    incoming.install(blocks).unwrap()
}

fn place(key: u8, blocks: &[EncodedBlock], dir: &Path) {
    for block in blocks {
        for object in Object::of(block) {
            let bytes = content(key, block.block().sequence_number - 2);
            fs::write(object.path(dir), bytes).unwrap();
        }
    }
}

/// One more slice that nothing was told of.
fn append(key: u8, dataset: &mut Dataset) {
    let mut blocks: Vec<EncodedBlock> = dataset.blocks().unwrap().map(|stored| stored.unwrap().block).collect();
    blocks.push(next(key, &blocks));
    let new = blocks.split_off(blocks.len() - 1);
    place(key, &new, dataset.dir());
    dataset.append(new, None).unwrap();
}

fn check_served(local: &Local, name: &str) {
    let dataset = local.catalog().find(name).unwrap();
    let served = local.layout().check(&dataset, &|_| {}).unwrap();
    assert!(served.is_whole(), "{name}: {served:?}");
    assert!(served.blocks > dataset.state().blocks());
}

/// Everything that is in packs is gone, and the index knows nothing of it.
fn empty_packs(root: &Path) {
    for entry in fs::read_dir(root.join("packs")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.ends_with(".pack") || name.starts_with(|c: char| c.is_ascii_digit()) {
            let file = fs::File::options().write(true).open(&path).unwrap();
            let len = file.metadata().unwrap().len();
            file.set_len(0).unwrap();
            file.set_len(len).unwrap();
        }
    }
}

#[test]
fn what_a_cut_left_undone_is_done_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let local = open(dir.path());
    let mut a = make(&local, 1, "a", 2);
    local.layout().moved(&a).unwrap();
    append(1, &mut a);
    make(&local, 2, "b", 1);
    let laid_out = make(&local, 3, "c", 1);
    local.layout().update(&laid_out).unwrap();
    drop((a, laid_out, local));
    let local = open(dir.path());
    for name in ["a", "b", "c"] {
        check_served(&local, name);
        assert!(local.layout().is_current(&local.catalog().find(name).unwrap()).unwrap());
    }
    let pins = local.store().pins(None).unwrap();
    assert_eq!(pins.len(), 4, "{pins:?}");
}

#[test]
fn one_dataset_that_cannot_be_laid_out_stops_nobody_and_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let local = open(dir.path());
    let a = make(&local, 1, "a", 2);
    let behind = |local: &Local| {
        let dataset = local.catalog().find("a").unwrap();
        local.behind(&dataset.id(), dataset.head())
    };
    make(&local, 2, "b", 2);
    let headless = make(&local, 3, "c", 1);
    fs::write(headless.dir().join("refs/head"), "\n").unwrap();
    let missing = a.slice_path(&Multihash::sha3_256(&content(1, 1)));
    let aside = dir.path().join("aside");
    fs::rename(&missing, &aside).unwrap();
    drop((a, headless, local));
    let local = open(dir.path());
    check_served(&local, "b");
    let told = behind(&local).unwrap();
    assert!(told.reason.contains("is missing") && !told.is_full, "{told:?}");
    // Also when the index has to be made again.
    drop(local);
    let options = StoreOptions {
        rebuild: true,
        ..StoreOptions::default()
    };
    let local = Local::open(dir.path(), options).unwrap();
    check_served(&local, "b");
    assert!(behind(&local).is_some());
    fs::rename(&aside, &missing).unwrap();
    drop(local);
    let local = open(dir.path());
    assert_eq!(behind(&local), None);
    check_served(&local, "a");
}

#[test]
fn nodes_that_are_gone_are_made_again_from_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let local = open(dir.path());
    let a = make(&local, 1, "a", 6);
    local.layout().moved(&a).unwrap();
    let root = local.layout().latest(&a.id()).unwrap().unwrap();
    drop((a, local));
    empty_packs(dir.path());
    let local = open(dir.path());
    let a = local.catalog().find("a").unwrap();
    let served = local.layout().check(&a, &|_| {}).unwrap();
    assert!(!served.is_whole() && served.first_lacking.is_some(), "{served:?}");
    drop((a, local));
    let local = open(dir.path());
    let a = local.catalog().find("a").unwrap();
    let again = local.layout().update(&a).unwrap();
    assert_eq!(again.cid, root.cid, "the same files give the same DAG");
    check_served(&local, "a");

    // Without anybody having looked, an append finds it out, too.
    drop((a, local));
    empty_packs(dir.path());
    let local = open(dir.path());
    let mut a = local.catalog().find("a").unwrap();
    append(1, &mut a);
    local.layout().moved(&a).unwrap();
    check_served(&local, "a");
}

#[test]
fn what_others_pinned_outlives_a_dataset_and_a_removal_is_finished_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let local = open(dir.path());
    let a = make(&local, 1, "a", 3);
    local.layout().moved(&a).unwrap();
    make(&local, 2, "b", 1);
    let root = local.layout().latest(&a.id()).unwrap().unwrap().cid;
    local.store().pin("somebody", &root).unwrap();
    local.datasets().delete(&a.id()).unwrap();
    let count = |local: &Local| {
        let (mut open, mut count) = (vec![root], 0);
        while let Some(cid) = open.pop() {
            let block = local
                .store()
                .get(&cid)
                .unwrap()
                .unwrap_or_else(|| panic!("{cid} is missing"));
            open.extend::<Vec<Cid>>(dag::links(&block).unwrap());
            count += 1;
        }
        count
    };
    assert!(count(&local) > 10);
    assert!(!local.catalog().dataset_dir(&a.id()).exists());
    assert_eq!(local.layout().latest(&a.id()).unwrap(), None);
    local.collect_garbage().unwrap();
    count(&local);
    local.store().unpin("somebody", &root).unwrap();
    local.collect_garbage().unwrap();
    assert_eq!(local.store().get(&root).unwrap(), None);

    // Killed behind the point of no return.
    let b = local.catalog().find("b").unwrap();
    local.layout().moved(&b).unwrap();
    let dir_of_b = b.dir().to_owned();
    let id = b.id();
    let aside = dir_of_b.with_file_name(format!(".removed-{}", id.to_multibase()));
    drop((a, b, local));
    fs::rename(&dir_of_b, &aside).unwrap();
    let local = open(dir.path());
    assert!(!aside.exists());
    assert_eq!(local.store().pins(None).unwrap(), []);
    assert_eq!(local.store().stats().unwrap().files, 0);
    assert_eq!(local.layout().latest(&id).unwrap(), None);
    check_served_after_making(&local);
}

fn check_served_after_making(local: &Local) {
    let b = make(local, 2, "b", 1);
    local.layout().moved(&b).unwrap();
    check_served(local, "b");
}

/// Another start of a process that ended well.
fn restart(local: Local, root: &Path) -> Local {
    local.ends_well().unwrap();
    drop(local);
    open(root)
}

#[test]
fn datasets_are_looked_at_only_after_an_end_that_left_something() {
    let dir = tempfile::tempdir().unwrap();
    let local = restart(open(dir.path()), dir.path());
    assert!(local.catalog().is_settled());
    let a = make(&local, 1, "a", 2);
    assert!(!local.catalog().is_settled());
    local.layout().moved(&a).unwrap();
    drop(a);
    let local = restart(local, dir.path());
    assert!(local.catalog().is_settled());
    check_served(&local, "a");
    // What another version left in order may not be for this one.
    local.ends_well().unwrap();
    drop(local);
    let mark = dir.path().join(MARK);
    let text = fs::read_to_string(&mark).unwrap();
    let older = text.replacen(
        &format!("settled {MARK_FORM}"),
        &format!("settled {}", MARK_FORM - 1),
        1,
    );
    assert_ne!(older, text);
    fs::write(&mark, older).unwrap();
    let local = open(dir.path());
    assert!(!local.catalog().is_settled());
    let local = restart(local, dir.path());
    assert!(local.catalog().is_settled());
    // Nothing is changed by looking.
    let local = restart(local, dir.path());
    assert!(local.catalog().is_settled());

    // A head whose DAG was not made, although the process ended in order.
    let mut a = local.catalog().find("a").unwrap();
    append(1, &mut a);
    drop(a);
    let local = restart(local, dir.path());
    assert!(!local.catalog().is_settled());
    let is_current = |local: &Local| local.layout().is_current(&local.catalog().find("a").unwrap()).unwrap();
    assert!(is_current(&local));
    let local = restart(local, dir.path());
    assert!(local.catalog().is_settled());

    // A process that was killed: it says nothing at its end.
    let mut a = local.catalog().find("a").unwrap();
    append(1, &mut a);
    drop((a, local));
    let local = open(dir.path());
    assert!(!local.catalog().is_settled() && is_current(&local));

    // A pin that a power cut took, with everything else on the medium.
    let pins = dir.path().join("packs/pins");
    let local = restart(local, dir.path());
    assert!(local.catalog().is_settled());
    local.ends_well().unwrap();
    drop(local);
    let text = fs::read(&pins).unwrap();
    let cut = text[..text.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    fs::write(&pins, &text[..cut]).unwrap();
    let local = open(dir.path());
    assert!(
        !local.catalog().is_settled() && is_current(&local),
        "it is pinned again"
    );
    check_served(&local, "a");

    // One that cannot be brought up is tried again at each start.
    let mut a = local.catalog().find("a").unwrap();
    append(1, &mut a);
    let missing = a.slice_path(&Multihash::sha3_256(&content(1, 4)));
    let aside = dir.path().join("aside");
    fs::rename(&missing, &aside).unwrap();
    drop(a);
    let local = restart(local, dir.path());
    assert!(!local.catalog().is_settled() && !is_current(&local));
    let local = restart(local, dir.path());
    assert!(!local.catalog().is_settled() && !is_current(&local));
    fs::rename(&aside, &missing).unwrap();
    let local = restart(local, dir.path());
    assert!(is_current(&local));
    let local = restart(local, dir.path());
    assert!(local.catalog().is_settled());

    // Without the index everything is looked at.
    drop(local);
    fs::remove_dir_all(dir.path().join("store")).unwrap();
    let local = open(dir.path());
    assert!(!local.catalog().is_settled());
    check_served(&local, "a");
}

/// Opens a workspace on a disk whose calls can be refused.
fn open_on(recorder: &std::sync::Arc<Recorder>, root: &Path) -> Local {
    let options = StoreOptions {
        disk: Disk::with(recorder.clone()),
        ..StoreOptions::default()
    };
    Local::open(root, options).unwrap()
}

#[test]
fn a_store_that_cannot_be_closed_leaves_no_mark() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join(MARK);
    let end_badly = |recorder: &Recorder, local: &Local| {
        // One failure passes: what the store could not say is unsaid all the same.
        recorder.set_refusal(Refusal::Once(0), std::io::ErrorKind::Other);
        local.ends_well().unwrap_err();
        assert!(recorder.calls() == 1, "nothing follows the call that failed");
    };
    // After a change the mark is gone, and stays so.
    let recorder = Recorder::new(dir.path());
    let local = open_on(&recorder, dir.path());
    let a = make(&local, 1, "a", 2);
    local.layout().moved(&a).unwrap();
    drop(a);
    end_badly(&recorder, &local);
    assert!(!mark.exists());
    let _ = local.ends_well();
    assert!(!mark.exists(), "not with a second attempt either");
    drop(local);
    let local = open(dir.path());
    assert!(!local.catalog().is_settled());
    check_served(&local, "a");
    drop(restart(local, dir.path()));

    // Without one it still stands, and is not believed: the process may have left a slice that it did not finish.
    let recorder = Recorder::new(dir.path());
    let local = open_on(&recorder, dir.path());
    assert!(local.catalog().is_settled() && mark.exists());
    end_badly(&recorder, &local);
    drop(local);
    assert!(mark.exists() && !open(dir.path()).catalog().is_settled());
}
