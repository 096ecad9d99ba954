use odf_node::dag;
use odf_node::store::Blocks as _;
use serde_json::json;

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use odf::Workspace;
use odf::chain::ChainState;
use odf::compact::{CompactError, Compacted, Options, Outcome, compact};
use odf::dataset::{Dataset, NoMirror};
use odf::metadata::{AddData, DatasetKind, ExtraAttributes, MetadataEvent, Multihash, SetInfo, SourceState, Timestamp};
use odf::slice::conform;
use odf::verify::{Depth, verify};
use odf_reference::{self as golden, Golden};

use crate::world::receive;

/// Attribute of AddData that counts objects which its rows link to, and their bytes.
const LINKED_OBJECTS: &str = "opendatafabric.org/linkedObjects";

fn open(dir: &Path) -> Workspace {
    Workspace::open(dir, Default::default()).unwrap()
}

fn now() -> Timestamp {
    "2027-01-01T00:00:00.123456789Z".parse().unwrap()
}

fn run(workspace: &Workspace, dataset: &mut Dataset, options: &Options) -> Result<Outcome, CompactError> {
    compact(workspace.datasets(), dataset, options, now(), &mut |done, total| {
        assert!(done <= total);
        ControlFlow::Continue(())
    })
}

fn compacted(outcome: Outcome) -> Compacted {
    match outcome {
        Outcome::Compacted(compacted) => compacted,
        Outcome::NothingToDo => panic!("nothing was done"),
    }
}

/// What of a state a compaction must not change.
fn meaning(state: &ChainState) -> ChainState {
    let mut state = state.clone();
    state.head = Multihash::sha3_256(b"");
    (state.sequence_number, state.system_time) = (0, now());
    (state.last_data_block, state.attachments, state.source_block) = (None, None, None);
    (state.totals.slices, state.totals.data_bytes, state.totals.block_bytes) = (0, 0, 0);
    (state.totals.checkpoints, state.totals.checkpoint_bytes) = (0, 0);
    state
}

fn events(dataset: &Dataset) -> Vec<MetadataEvent> {
    let blocks = dataset.blocks_after(None).unwrap();
    blocks.map(|stored| stored.unwrap().block.into_block().event).collect()
}

fn find(name: &str) -> Option<Golden> {
    golden::datasets().into_iter().find(|golden| golden.name == name)
}

#[test]
fn rows_and_meaning_of_kamus_datasets_stay() {
    let scratch = tempfile::tempdir().unwrap();
    let workspace = open(scratch.path());
    for golden in golden::datasets() {
        let mut dataset = receive(&golden, &workspace);
        let (before, rows) = (dataset.state().clone(), dataset.tail(10_000).unwrap());
        let old = workspace.layout().update(&dataset).unwrap();
        workspace.store().pin(&dataset.id().to_string(), &old.cid).unwrap();
        if before.kind == DatasetKind::Derivative {
            let refused = run(&workspace, &mut dataset, &Options::default());
            assert!(matches!(refused, Err(CompactError::Derivative(id)) if id == dataset.id()));
            continue;
        }
        let done = compacted(run(&workspace, &mut dataset, &Options::default()).unwrap());
        let after = dataset.state();
        assert_eq!(
            (done.old_slices, done.new_slices),
            (before.totals.slices, 1),
            "{}",
            golden.name
        );
        assert_eq!((done.old_head, done.new_head), (before.head, after.head));
        assert_eq!((done.old_blocks, done.new_blocks), (before.blocks(), after.blocks()));
        assert_eq!(meaning(&before), meaning(after), "{}", golden.name);
        assert_eq!(after.system_time, now());
        // The same values, of which text is written as views.
        let after_rows = dataset.tail(10_000).unwrap();
        let as_before = rows
            .as_ref()
            .zip(after_rows)
            .map(|(before, after)| conform(&after, &before.schema()).unwrap());
        assert_eq!(rows, as_before, "{}", golden.name);
        for (old, new) in golden
            .blocks()
            .iter()
            .zip(dataset.blocks().unwrap())
            .take(done.common as usize)
        {
            assert_eq!(*old, new.unwrap().block);
        }
        verify(&dataset, workspace.datasets().mirror(), Depth::Rows, &|_| {}).unwrap();
        let again = workspace.catalog().find(golden.name).unwrap();
        assert_eq!(again.state(), dataset.state());
        assert_eq!(
            run(&workspace, &mut dataset, &Options::default()).unwrap(),
            Outcome::NothingToDo
        );
        // What was published before is served on.
        workspace.layout().update(&dataset).unwrap();
        let files = golden.blocks().len() as u64 + before.totals.slices;
        let mut due = vec![old.cid];
        let mut leaves = std::collections::BTreeSet::new();
        while let Some(cid) = due.pop() {
            let block = workspace.store().get(&cid).unwrap().unwrap();
            match cid.codec() {
                odf_node::block::RAW => drop(leaves.insert(cid)),
                _ => due.extend(dag::links(&block).unwrap()),
            }
        }
        assert!(leaves.len() as u64 >= files, "{}", golden.name);
    }
    let left: Vec<_> = fs::read_dir(workspace.catalog().dir()).unwrap().collect();
    assert_eq!(
        left.len(),
        golden::datasets().len(),
        "nothing else stays there: {left:?}"
    );
}

#[test]
fn slices_grow_up_to_the_limits() {
    let Some(golden) = find("counter.long") else { return };
    let scratch = tempfile::tempdir().unwrap();
    let workspace = open(scratch.path());
    let mut dataset = receive(&golden, &workspace);
    let (slices, records, size) = (
        dataset.state().totals.slices,
        dataset.state().totals.records,
        dataset.slices().unwrap()[0].size,
    );
    let limit = |max_slice_bytes, max_slice_records| Options {
        max_slice_bytes,
        max_slice_records,
        ..Options::default()
    };
    for nothing in [limit(size, u64::MAX), limit(u64::MAX, 1), limit(0, 0)] {
        assert_eq!(run(&workspace, &mut dataset, &nothing).unwrap(), Outcome::NothingToDo);
    }
    let done = compacted(run(&workspace, &mut dataset, &limit(u64::MAX, 7)).unwrap());
    assert_eq!((done.old_slices, done.new_slices), (slices, slices.div_ceil(7)));
    let counts: Vec<u64> = dataset
        .slices()
        .unwrap()
        .iter()
        .map(|slice| slice.offset_interval.end - slice.offset_interval.start + 1)
        .collect();
    // The newest are full.
    assert!(counts.iter().skip(1).all(|rows| *rows == 7), "{counts:?}");
    assert_eq!(counts.iter().sum::<u64>(), records);
    // Twice the size of the largest: at least two become one, and none that are too large together.
    let size = dataset.slices().unwrap().iter().map(|slice| slice.size).max().unwrap();
    let done = compacted(run(&workspace, &mut dataset, &limit(2 * size, u64::MAX)).unwrap());
    assert_eq!(done.new_slices, done.old_slices.div_ceil(2));
    // All but the Seed are of the time of the compaction.
    assert_eq!(done.common, 1);
    let mut times = dataset
        .blocks()
        .unwrap()
        .skip(1)
        .map(|stored| stored.unwrap().block.block().system_time);
    assert!(times.all(|time| time == now()));
    verify(&dataset, &NoMirror, Depth::Rows, &|_| {}).unwrap();
}

#[test]
fn metadata_only_keeps_every_declaration() {
    let scratch = tempfile::tempdir().unwrap();
    let workspace = open(scratch.path());
    let options = Options {
        keep_metadata_only: true,
        ..Options::default()
    };
    for golden in golden::datasets() {
        let mut dataset = receive(&golden, &workspace);
        let declared: Vec<MetadataEvent> = events(&dataset)
            .into_iter()
            .filter(|event| !matches!(event, MetadataEvent::AddData(_) | MetadataEvent::ExecuteTransform(_)))
            .collect();
        let outcome = run(&workspace, &mut dataset, &options).unwrap();
        assert_eq!(
            outcome == Outcome::NothingToDo,
            dataset.kind() == DatasetKind::Derivative
        );
        assert_eq!(events(&dataset), declared, "{}", golden.name);
        assert_eq!((dataset.state().totals.records, dataset.state().last_offset), (0, None));
        verify(&dataset, &NoMirror, Depth::Rows, &|_| {}).unwrap();
    }
}

fn state(value: &str) -> Option<SourceState> {
    Some(SourceState {
        source_name: "default".into(),
        kind: "odf/etag".into(),
        value: value.into(),
    })
}

/// Events without rows, and those that say something about the rows.
#[test]
fn events_without_rows_are_taken_in() {
    let Some(golden) = find("counter.long") else { return };
    let scratch = tempfile::tempdir().unwrap();
    let workspace = open(scratch.path());
    let mut dataset = receive(&golden, &workspace);
    let prev_offset = dataset.state().last_offset;
    let mark = |watermark: &str, source: Option<SourceState>, objects: u64| {
        let extra = json!({ LINKED_OBJECTS: { "numObjectsNaive": objects, "sizeNaive": 100 * objects }, "x": objects });
        MetadataEvent::AddData(AddData {
            prev_offset,
            new_watermark: Some(watermark.parse().unwrap()),
            new_source_state: source,
            extra: Some(ExtraAttributes::from_json(&extra.to_string()).unwrap()),
            ..AddData::default()
        })
    };
    let last = "2027-01-01T00:00:00Z";
    let info = MetadataEvent::SetInfo(SetInfo {
        description: Some("in between".into()),
        keywords: None,
    });
    let added = vec![
        mark("2026-12-01T00:00:00Z", state("a"), 1),
        mark(last, state("b"), 2),
        info.clone(),
        mark(last, state("c"), 3),
        // Back to what it was before: the two together say nothing.
        mark(last, state("b"), 4),
    ];
    dataset
        .append_events(added, "2026-12-31T00:00:00Z".parse().unwrap(), None)
        .unwrap();
    let before = meaning(dataset.state());
    compacted(run(&workspace, &mut dataset, &Options::default()).unwrap());
    assert_eq!(meaning(dataset.state()), before);
    let events = events(&dataset);
    let [.., MetadataEvent::AddData(data), end] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert_eq!(*end, info);
    assert_eq!(
        (data.new_watermark, &data.new_source_state),
        (Some(last.parse().unwrap()), &state("b"))
    );
    assert!(data.new_data.is_some());
    let extra = data.extra.clone().unwrap().to_json();
    assert_eq!(
        extra,
        json!({ LINKED_OBJECTS: { "numObjectsNaive": 3, "sizeNaive": 300 }, "x": 2 }).to_string()
    );
}

#[test]
fn what_ends_early_changes_nothing() {
    let Some(golden) = find("cities.snapshot") else { return };
    let scratch = tempfile::tempdir().unwrap();
    let workspace = open(scratch.path());
    let dataset = receive(&golden, &workspace);
    let before = dataset.state().clone();
    let files = || fs::read_dir(dataset.data_dir()).unwrap().count();
    let count = files();
    let early: Timestamp = "2020-01-01T00:00:00Z".parse().unwrap();
    let mut handle = dataset.clone();
    let refused = compact(
        workspace.datasets(),
        &mut handle,
        &Options::default(),
        early,
        &mut |_, _| ControlFlow::Continue(()),
    );
    assert!(matches!(refused, Err(CompactError::TimeBeforeHead { .. })));
    for stop_at in 0..2 {
        let mut calls = 0;
        let stopped = compact(
            workspace.datasets(),
            &mut handle,
            &Options::default(),
            now(),
            &mut |_, _| {
                calls += 1;
                if calls > stop_at {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            },
        );
        assert!(matches!(stopped, Err(CompactError::Stopped)));
    }
    // A slice that is not what it should be.
    let slice = dataset.slices().unwrap().remove(0);
    let (path, other) = (
        dataset.slice_path(&slice.physical_hash),
        dataset.slices().unwrap().remove(1),
    );
    let whole = fs::read(&path).unwrap();
    fs::copy(dataset.slice_path(&other.physical_hash), &path).unwrap();
    let damaged = run(&workspace, &mut handle, &Options::default());
    assert!(matches!(damaged, Err(CompactError::Rows { path: found, .. }) if found == path));
    fs::write(&path, whole).unwrap();
    assert_eq!(files(), count);
    assert_eq!(fs::read_dir(workspace.catalog().dir()).unwrap().count(), 1);
    assert_eq!(*workspace.catalog().find(golden.name).unwrap().state(), before);
    verify(&dataset, &NoMirror, Depth::Rows, &|_| {}).unwrap();
}
