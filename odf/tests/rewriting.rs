use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use bytes::Bytes;
use odf_node::block::{Cid, RAW};
use odf_node::dag;
use odf_node::store::Blocks as _;

use odf::Workspace;
use odf::catalog::Catalog;
use odf::codec::EncodedBlock;
use odf::dataset::{Dataset, DatasetError, Medium, NoMirror, StoredBlock};
use odf::disk::Disk;
use odf::ingest::source::{Format, Source};
use odf::layout::Root;
use odf::metadata::{DatasetId, MetadataBlock, MetadataEvent, Multihash, Seed, SetInfo, Timestamp};
use odf::rewrite::RewriteError;
use odf::verify::{Depth, verify};

fn open(dir: &Path) -> Workspace {
    Workspace::open(dir, Default::default()).unwrap()
}

fn hour(hour: u32) -> Timestamp {
    format!("2026-06-{:02}T{:02}:00:00Z", 1 + hour / 24, hour % 24)
        .parse()
        .unwrap()
}

/// Takes rows up to `rows` into the dataset `d`.
fn take(workspace: &Workspace, rows: u32) -> Dataset {
    let table: String = (0..rows).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let source = Source::bytes("rows.ndjson", Bytes::from(table), Format::Ndjson, Default::default());
    let go_on = &mut |_| ControlFlow::Continue(());
    let name = "d".parse().unwrap();
    let taken = workspace.take(&name, &source, &Default::default(), hour(rows), go_on);
    taken.unwrap().0
}

/// A dataset with four slices, laid out and pinned.
fn make(dir: &Path) -> (Workspace, Dataset, Root) {
    let workspace = open(dir);
    (1..4).for_each(|rows| drop(take(&workspace, rows)));
    let dataset = take(&workspace, 4);
    let root = lay_out(&workspace, &dataset);
    (workspace, dataset, root)
}

fn lay_out(workspace: &Workspace, dataset: &Dataset) -> Root {
    let root = workspace.layout().update(dataset).unwrap();
    workspace.store().pin(&dataset.id().to_string(), &root.cid).unwrap();
    root
}

/// The blocks from `from` on as another history: an event in between, and all of it later.
fn other_history(dataset: &Dataset, from: u64) -> Vec<EncodedBlock> {
    let mut blocks: Vec<EncodedBlock> = dataset.blocks().unwrap().map(|stored| stored.unwrap().block).collect();
    let mut events: Vec<MetadataEvent> = blocks
        .split_off(from as usize)
        .into_iter()
        .map(|block| block.into_block().event)
        .collect();
    events.insert(0, info("otherwise"));
    for event in events {
        let block = MetadataBlock {
            system_time: hour(40),
            prev_block_hash: blocks.last().map(|block| *block.hash()),
            sequence_number: blocks.len() as u64,
            event,
        };
        blocks.push(EncodedBlock::encode(block).unwrap());
    }
    blocks.split_off(from as usize)
}

fn info(text: &str) -> MetadataEvent {
    MetadataEvent::SetInfo(SetInfo {
        description: Some(text.into()),
        keywords: None,
    })
}

/// Reads every block below a root, so each is hashed; their number.
fn check_whole(workspace: &Workspace, root: &Cid) -> usize {
    let (mut seen, mut due) = (BTreeSet::new(), vec![*root]);
    while let Some(cid) = due.pop() {
        if seen.insert(cid) {
            let block = workspace.store().get(&cid).unwrap();
            let block = block.unwrap_or_else(|| panic!("{cid} below {root} is missing"));
            if cid.codec() != RAW {
                due.extend(dag::links(&block).unwrap());
            }
        }
    }
    seen.len()
}

/// The dataset is in order by every way of asking, and its layout is what starting from nothing gives.
fn check_complete(dir: &Path, workspace: &Workspace) -> Dataset {
    let dataset = workspace.catalog().find("d").unwrap();
    verify(&dataset, &NoMirror, Depth::Rows, &|_| {}).unwrap();
    let alone = Catalog::open(&dir.join("datasets"), Medium::new(Disk::new())).unwrap();
    assert_eq!(alone.find("d").unwrap().state(), dataset.state());
    assert!(!dataset.dir().join("chain.next").exists());
    let root = lay_out(workspace, &dataset);
    check_whole(workspace, &root.cid);
    workspace.layout().forget(&dataset.id()).unwrap();
    assert_eq!(lay_out(workspace, &dataset).cid, root.cid);
    dataset
}

#[test]
fn a_replaced_chain_keeps_what_was_before_and_older_roots() {
    let scratch = tempfile::tempdir().unwrap();
    let (workspace, mut dataset, old) = make(scratch.path());
    let blocks = check_whole(&workspace, &old.cid);
    let before: Vec<StoredBlock> = dataset.blocks().unwrap().map(Result::unwrap).collect();
    for from in [3, 1] {
        let new = other_history(&dataset, from);
        let expected: Vec<_> = new.iter().map(|block| *block.hash()).collect();
        let stored = workspace.datasets().replace(&mut dataset, from, new).unwrap();
        assert_eq!(stored.iter().map(|s| *s.block.hash()).collect::<Vec<_>>(), expected);
        for stored in &stored {
            assert_eq!(dataset.block_at(stored.place).unwrap(), *stored);
        }
        assert_eq!(dataset.head(), expected.last().unwrap());
        // Before anything is laid out again, and after.
        assert_eq!(check_whole(&workspace, &old.cid), blocks);
        let again = check_complete(scratch.path(), &workspace);
        assert_eq!(again.head(), dataset.head());
        for (before, now) in before.iter().zip(again.blocks().unwrap()).take(from as usize) {
            assert_eq!(*before, now.unwrap());
        }
        assert_eq!(check_whole(&workspace, &old.cid), blocks);
        workspace.collect_garbage().unwrap();
        assert_eq!(check_whole(&workspace, &old.cid), blocks);
    }
    drop((workspace, dataset));
    let workspace = open(scratch.path());
    check_whole(&workspace, &old.cid);
    // It can be gone on with.
    let next = take(&workspace, 6);
    assert_eq!(next.state().totals.records, 6);
    check_complete(scratch.path(), &workspace);
}

#[test]
fn a_dataset_that_was_reset_goes_on_from_there() {
    let scratch = tempfile::tempdir().unwrap();
    let (workspace, mut dataset, old) = make(scratch.path());
    let head = *dataset.head();
    assert_eq!(workspace.datasets().reset(&mut dataset, &head).unwrap(), 0);
    let (target, total) = (dataset.block_by_sequence(3).unwrap().unwrap(), dataset.state().blocks());
    assert_eq!(
        workspace.datasets().reset(&mut dataset, target.block.hash()).unwrap(),
        total - 4
    );
    assert_eq!(dataset.head(), target.block.hash());
    let rows = dataset.state().totals.records;
    assert!(rows < 4);
    check_complete(scratch.path(), &workspace);
    take(&workspace, 9);
    let dataset = check_complete(scratch.path(), &workspace);
    assert_eq!(dataset.state().totals.records, 9);
    check_whole(&workspace, &old.cid);

    // Down to the Seed alone, in a dataset that nobody laid out.
    let scratch = tempfile::tempdir().unwrap();
    let workspace = open(scratch.path());
    let mut dataset = take(&workspace, 2);
    let seed = dataset.block_by_sequence(0).unwrap().unwrap();
    workspace.datasets().reset(&mut dataset, seed.block.hash()).unwrap();
    assert_eq!(check_complete(scratch.path(), &workspace).state().blocks(), 1);
    // What came off is no longer part of the chain.
    let gone = workspace.datasets().reset(&mut dataset, &head);
    assert!(matches!(gone, Err(RewriteError::Dataset(DatasetError::NotInChain(hash))) if hash == head));
}

#[test]
fn what_does_not_belong_to_the_chain_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let (workspace, mut dataset, old) = make(scratch.path());
    let before = (dataset.state().clone(), fs::read(dataset.chain_path()).unwrap());
    let refused = |dataset: &mut Dataset, from, blocks| match workspace.datasets().replace(dataset, from, blocks) {
        Err(RewriteError::Dataset(error)) => error,
        other => panic!("{other:?}"),
    };
    let beyond = dataset.state().blocks() + 1;
    assert!(matches!(refused(&mut dataset, beyond, vec![]), DatasetError::NoBlock { sequence } if sequence == beyond));
    assert!(matches!(refused(&mut dataset, 0, vec![]), DatasetError::Damaged { .. }));
    // One block too many left out, one too few.
    let blocks = other_history(&dataset, 3);
    assert!(matches!(
        refused(&mut dataset, 2, blocks.clone()),
        DatasetError::Chain(_)
    ));
    assert!(matches!(refused(&mut dataset, 4, blocks), DatasetError::Chain(_)));
    let seed = MetadataBlock {
        system_time: hour(1),
        prev_block_hash: None,
        sequence_number: 0,
        event: MetadataEvent::Seed(Seed {
            dataset_id: DatasetId::from_public_key([7; 32]),
            dataset_kind: dataset.kind(),
        }),
    };
    let foreign = vec![EncodedBlock::encode(seed).unwrap()];
    assert!(matches!(
        refused(&mut dataset, 0, foreign),
        DatasetError::OtherDataset { .. }
    ));
    let mut other = workspace.catalog().find("d").unwrap();
    other.append_events(vec![info("meanwhile")], hour(30), None).unwrap();
    assert!(matches!(
        refused(&mut dataset, 1, vec![]),
        DatasetError::HeadMoved { .. }
    ));
    workspace.datasets().reset(&mut other, &before.0.head).unwrap();
    let dataset = check_complete(scratch.path(), &workspace);
    assert_eq!(
        (dataset.state().clone(), fs::read(dataset.chain_path()).unwrap()),
        before
    );
    check_whole(&workspace, &old.cid);
}

/// What was given up stays for pinned roots, over a lost index too, and goes with the last of them.
#[test]
fn slices_of_an_earlier_history_go_with_its_last_root() {
    let scratch = tempfile::tempdir().unwrap();
    let (workspace, mut dataset, old) = make(scratch.path());
    let (seed, files) = (
        dataset.block_by_sequence(0).unwrap().unwrap(),
        dataset.slices().unwrap(),
    );
    let whole = check_whole(&workspace, &old.cid);
    workspace.datasets().reset(&mut dataset, seed.block.hash()).unwrap();
    // What a crash leaves between a slice and its block.
    fs::write(dataset.slice_path(&Multihash::sha3_256(b"orphan")), b"orphan").unwrap();
    fs::write(dataset.data_dir().join(".pending-slice"), b"being written").unwrap();
    let (data, owner) = (dataset.data_dir(), dataset.id().to_string());
    let count = || fs::read_dir(&data).unwrap().count();
    assert_eq!(workspace.collect_garbage().unwrap().removed_files, 1);
    assert_eq!(count(), files.len() + 1);
    assert_eq!(check_whole(&workspace, &old.cid), whole);
    drop((workspace, dataset));

    fs::remove_dir_all(scratch.path().join("store")).unwrap();
    let options = odf_node::store::StoreOptions {
        rebuild: true,
        ..Default::default()
    };
    let workspace = Workspace::open(scratch.path(), options).unwrap();
    assert_eq!(check_whole(&workspace, &old.cid), whole);
    assert_eq!(workspace.collect_garbage().unwrap().removed_files, 0);
    assert_eq!(check_whole(&workspace, &old.cid), whole);
    workspace.store().unpin(&owner, &old.cid).unwrap();
    // Somebody who holds on to what is here keeps all of it.
    let hold = workspace.store().hold();
    assert!(workspace.collect_garbage().is_err());
    drop(hold);
    let report = workspace.collect_garbage().unwrap();
    assert_eq!(report.removed_files, files.len() as u64);
    assert!(report.freed_bytes >= files.iter().map(|slice| slice.size).sum());
    assert_eq!(count(), 0, "what was being written went at the start");
    let dataset = check_complete(scratch.path(), &workspace);
    workspace.delete(&dataset.id()).unwrap();
    assert_eq!(workspace.store().stats().unwrap().files, 0);
}

#[test]
fn a_chain_beside_the_chain_counts_only_by_the_head() {
    let scratch = tempfile::tempdir().unwrap();
    let (workspace, dataset, _) = make(scratch.path());
    let next = dataset.dir().join("chain.next");
    let whole = fs::read(dataset.chain_path()).unwrap();
    for (content, why) in [
        (&b""[..], "empty"),
        (&[0; 4096], "zeros"),
        (&whole[..whole.len() - 1], "cut off"),
        (&whole[1..], "garbage"),
    ] {
        fs::write(&next, content).unwrap();
        check_complete(scratch.path(), &workspace);
        assert_eq!(fs::read(dataset.chain_path()).unwrap(), whole, "{why}");
    }
    // The head is in neither: nothing is thrown away.
    fs::write(&next, &whole[1..]).unwrap();
    fs::write(dataset.chain_path(), &whole[..whole.len() - 1]).unwrap();
    let error = workspace.catalog().find("d").unwrap_err().to_string();
    assert!(error.contains("chain.next"), "{error}");
    assert_eq!(fs::read(&next).unwrap(), &whole[1..]);
    fs::write(&next, &whole).unwrap();
    drop((workspace, dataset));
    let workspace = open(scratch.path());
    check_complete(scratch.path(), &workspace);
}
