use std::fs;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use tempfile::TempDir;

use super::head::MAX_HEAD_BYTES;
use super::*;
use crate::catalog::{Catalog, CatalogError};
use odf_metadata::chain::ChainRule;
use odf_metadata::{AddData, DataSlice, OffsetInterval, SetDataSchema, SetInfo};
use odf_tables::slice::{SliceOptions, SliceWriter};
use odf_tables::timestamp;
use odf_tables::types::from_arrow;

mod agreed;
mod changes;
mod current;
pub(crate) mod cuts;
mod index;
mod kept;
mod whole;

pub(crate) fn id() -> DatasetId {
    DatasetId::from_public_key([9; 32])
}

pub(crate) fn time(second: u64) -> Timestamp {
    Timestamp::from_millis(1_780_000_000_000 + second as i64 * 1000).unwrap()
}

pub(crate) fn open(dir: &Path) -> Catalog {
    Catalog::open(dir, Medium::new(Disk::new())).unwrap()
}

fn arrow_schema() -> Schema {
    Schema::new(vec![
        Field::new("offset", DataType::Int64, false),
        Field::new("op", DataType::Int32, false),
        Field::new("system_time", timestamp(), false),
        Field::new("event_time", timestamp(), false),
    ])
}

fn schema_event() -> MetadataEvent {
    let schema = Some(from_arrow(&arrow_schema()).unwrap());
    MetadataEvent::SetDataSchema(SetDataSchema {
        raw_arrow_schema: None,
        schema,
    })
}

/// A slice with rows `from..to`, and the event that adds it.
fn rows(disk: &Disk, dir: &Path, from: u64, to: u64) -> (WrittenSlice, MetadataEvent) {
    let each: Vec<(i32, u64)> = (from..to).map(|row| (0, row)).collect();
    rows_that(disk, dir, from, &each)
}

/// A slice with a row from offset `from` on for each operation and the second of its event time, and the event that adds it.
fn rows_that(disk: &Disk, dir: &Path, from: u64, each: &[(i32, u64)]) -> (WrittenSlice, MetadataEvent) {
    let to = from + each.len() as u64;
    let times = || -> ArrayRef {
        let times = TimestampMillisecondArray::from_iter_values(each.iter().map(|(_, second)| time(*second).millis()));
        Arc::new(times.with_timezone("UTC"))
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(from as i64..to as i64)),
        Arc::new(each.iter().map(|(operation, _)| *operation).collect::<Int32Array>()),
        times(),
        times(),
    ];
    let schema = Arc::new(arrow_schema());
    let mut writer = SliceWriter::create(disk, dir, schema.clone(), &SliceOptions::default()).unwrap();
    writer.write(RecordBatch::try_new(schema, columns).unwrap()).unwrap();
    let slice = writer.finish().unwrap();
    let data = DataSlice {
        logical_hash: *slice.logical_hash(),
        physical_hash: *slice.physical_hash(),
        offset_interval: OffsetInterval {
            start: from,
            end: to - 1,
        },
        size: slice.size(),
    };
    let event = AddData {
        prev_offset: from.checked_sub(1),
        new_data: Some(data),
        ..AddData::default()
    };
    (slice, MetadataEvent::AddData(event))
}

/// A dataset with three rows in one slice.
pub(crate) fn make(catalog: &Catalog) -> Dataset {
    let staged = catalog.stage(id(), &"d".parse().unwrap()).unwrap();
    let (slice, event) = rows(&catalog.medium().disk, &staged.data_dir(), 0, 3);
    let events = vec![schema_event(), event];
    staged
        .install_events(DatasetKind::Root, events, time(0), Some(slice))
        .unwrap()
        .0
}

pub(crate) fn add(dataset: &mut Dataset, from: u64, to: u64) -> Result<Vec<StoredBlock>, DatasetError> {
    let (slice, event) = rows(dataset.disk(), &dataset.data_dir(), from, to);
    dataset.append_events(vec![event], time(to), Some(slice))
}

pub(crate) fn info(text: &str) -> MetadataEvent {
    MetadataEvent::SetInfo(SetInfo {
        description: Some(text.into()),
        keywords: None,
    })
}

/// Every block is there, in order, by every way of asking, and every slice is whole.
pub(crate) fn check_complete(dataset: &Dataset) {
    let places = dataset.places().unwrap();
    assert_eq!(places.len() as u64, dataset.state().blocks());
    assert_eq!(places.last().unwrap().end(), dataset.chain_len());
    let blocks: Vec<StoredBlock> = dataset.blocks().unwrap().map(Result::unwrap).collect();
    let state = ChainState::replay(blocks.iter().map(|stored| &stored.block))
        .unwrap()
        .unwrap();
    assert_eq!(&state, dataset.state());
    for slice in dataset.slices().unwrap() {
        let path = dataset.slice_path(&slice.physical_hash);
        assert_eq!(
            odf_tables::digest::physical_hash(&path).unwrap(),
            (slice.physical_hash, slice.size)
        );
    }
    if let Some(tail) = dataset.tail(u64::MAX).unwrap() {
        assert_eq!(tail.num_rows() as u64, dataset.state().totals.records);
    }
}

fn offsets(dataset: &Dataset, rows: u64) -> Vec<i64> {
    use arrow::array::AsArray;
    let tail = dataset.tail(rows).unwrap();
    tail.map_or(vec![], |tail| {
        tail.column(0)
            .as_primitive::<arrow::datatypes::Int64Type>()
            .values()
            .to_vec()
    })
}

#[test]
fn a_dataset_reads_back_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(dir.path());
    let mut dataset = make(&catalog);
    add(&mut dataset, 3, 4).unwrap();
    let stored = add(&mut dataset, 4, 9).unwrap();
    check_complete(&dataset);
    assert_eq!(stored.len(), 1);
    assert_eq!(
        dataset.block_by_hash(stored[0].block.hash()).unwrap().as_ref(),
        Some(&stored[0])
    );
    assert_eq!(dataset.block_by_sequence(4).unwrap().as_ref(), Some(&stored[0]));
    assert!(dataset.block_by_sequence(5).unwrap().is_none());
    assert!(dataset.block_by_hash(&Multihash::sha3_256(b"other")).unwrap().is_none());
    assert_eq!(offsets(&dataset, 1), [8]);
    assert_eq!(offsets(&dataset, 6), [3, 4, 5, 6, 7, 8]);
    assert_eq!(offsets(&dataset, 100), (0..9).collect::<Vec<_>>());
    assert_eq!(offsets(&dataset, 0), [] as [i64; 0]);

    // The same head from a kept state, and from the chain alone.
    for catalog in [catalog, open(dir.path())] {
        let again = catalog.find("d").unwrap();
        assert_eq!(again.state(), dataset.state());
        assert_eq!(again.remote_aliases().unwrap(), RemoteAliases::default());
    }
}

#[test]
fn newest_rows_are_read_from_the_slices_that_hold_them() {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(dir.path());
    let mut dataset = make(&catalog);
    add(&mut dataset, 3, 4).unwrap();
    add(&mut dataset, 4, 9).unwrap();
    let all = dataset.state().last_offset.unwrap() + 1;
    let read = |rows: u64, skipped: u64| -> Vec<i64> {
        let newest = dataset.newest(rows, skipped).unwrap().unwrap();
        let expected = newest.rows();
        let offsets: Vec<i64> = newest
            .flat_map(|batch| batch.unwrap().column(0).as_primitive::<Int64Type>().values().to_vec())
            .collect();
        assert_eq!(offsets.len() as u64, expected);
        offsets
    };
    for rows in [0, 1, 2, 5, 8, 9, 10, u64::MAX] {
        for skipped in [0, 1, 4, 5, 6, 8, 9, 10, u64::MAX] {
            let end = all.saturating_sub(skipped);
            let expected: Vec<i64> = (end.saturating_sub(rows)..end).map(|offset| offset as i64).collect();
            assert_eq!(read(rows, skipped), expected, "{rows} {skipped}");
        }
    }
    // Older slices are not touched, and of those that are left out only the newest, for its columns.
    let slices = dataset.slices().unwrap();
    for slice in &slices[..2] {
        fs::remove_file(dataset.slice_path(&slice.physical_hash)).unwrap();
    }
    let newest = slices.last().unwrap().offset_interval;
    let rows = newest.end - newest.start + 1;
    assert_eq!(read(rows, 0).len() as u64, rows);
    let mut broken = dataset.newest(rows + 1, 0).unwrap().unwrap();
    assert!(broken.next().unwrap().is_err());
    assert!(broken.next().is_none(), "nothing follows a failure");
}

#[test]
fn remote_aliases_are_kept_in_the_form_of_kamu() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = make(&open(dir.path()));
    let aliases = RemoteAliases {
        pull_aliases: vec!["ipns://k51".into()],
        push_aliases: vec![],
    };
    dataset.change_remote_aliases(|known| *known = aliases.clone()).unwrap();
    assert_eq!(dataset.remote_aliases().unwrap(), aliases);
    let text = fs::read_to_string(dataset.dir().join("info/config")).unwrap();
    for line in ["kind: DatasetConfig", "version: 1", "pullAliases:", "pushAliases: []"] {
        assert!(text.contains(line), "{text}");
    }
    // Changes that are made at once, by whatever process, are all kept.
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let dir = dir.path();
            scope.spawn(move || {
                let dataset = open(dir).find("d").unwrap();
                for n in 0..20 {
                    let alias = format!("ipns://{thread}-{n}");
                    dataset
                        .change_remote_aliases(|known| known.push_aliases.push(alias))
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(dataset.remote_aliases().unwrap().push_aliases.len(), 80);
    fs::write(
        dataset.dir().join("info/config"),
        "kind: Other\nversion: 1\ncontent: {}\n",
    )
    .unwrap();
    assert!(matches!(dataset.remote_aliases(), Err(DatasetError::Damaged { .. })));
}

#[test]
fn what_breaks_a_rule_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(dir.path());
    let mut dataset = make(&catalog);
    let before = (dataset.state().clone(), fs::read(dataset.chain_path()).unwrap());
    let Err(DatasetError::Chain(error)) = add(&mut dataset, 5, 6) else {
        panic!("a gap in the offsets")
    };
    assert!(matches!(*error.rule, ChainRule::InvalidEvent { .. }), "{error}");
    let again = dataset.append_events(vec![schema_event()], time(1), None);
    assert!(matches!(again, Err(DatasetError::Chain(error)) if error.is_no_op()));
    assert!(dataset.append(vec![], None).is_err());
    // Nothing of a group is written if its last block is refused.
    assert!(
        dataset
            .append_events(vec![info("x"), schema_event()], time(1), None)
            .is_err()
    );
    assert_eq!(
        (dataset.state().clone(), fs::read(dataset.chain_path()).unwrap()),
        before
    );
    assert_eq!(fs::read_dir(dataset.data_dir()).unwrap().count(), 1);
    check_complete(&catalog.find("d").unwrap());
}

#[test]
fn writers_do_not_overwrite_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(dir.path());
    let mut one = make(&catalog);
    let mut other = catalog.find("d").unwrap();
    one.append_events(vec![info("one")], time(1), None).unwrap();
    let refused = other.append_events(vec![info("other")], time(1), None);
    assert!(matches!(refused, Err(DatasetError::HeadMoved { actual, .. }) if actual == *one.head()));
    let lock = Journal::new(one.dir(), &Disk::new()).lock().unwrap();
    assert!(matches!(
        one.append_events(vec![info("two")], time(1), None),
        Err(DatasetError::Busy { .. })
    ));
    drop(lock);
    one.append_events(vec![info("two")], time(1), None).unwrap();
    check_complete(&one);
}

#[test]
fn damage_is_found_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(dir.path());
    let mut dataset = make(&catalog);
    dataset.append_events(vec![info("x")], time(1), None).unwrap();
    let place = dataset.places().unwrap()[1];
    let chain = dataset.chain_path();
    let whole = fs::read(&chain).unwrap();
    let head = fs::read(dataset.dir().join("refs/head")).unwrap();
    let error = |chain_bytes: &[u8], head_bytes: &[u8]| {
        fs::write(&chain, chain_bytes).unwrap();
        fs::write(dataset.dir().join("refs/head"), head_bytes).unwrap();
        let error = open(dir.path())
            .find("d")
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        fs::write(&chain, &whole).unwrap();
        fs::write(dataset.dir().join("refs/head"), &head).unwrap();
        error
    };
    let mut flipped = whole.clone();
    flipped[place.offset as usize + 60] ^= 1;
    assert_ne!(error(&flipped, &head), "", "a flipped byte");
    assert!(
        error(&whole[..whole.len() - 1], &head).contains("does not hold the head"),
        "a short chain"
    );
    assert!(error(&[], &head).contains("does not hold the head"), "an empty chain");
    assert!(error(&whole, b"f1620").contains("refs/head is damaged"));
    assert_eq!(
        error(&whole, &[&head[..], b"\n"].concat()),
        "",
        "an editor's newline is no damage"
    );
    let long = vec![b'f'; MAX_HEAD_BYTES as usize + 1];
    assert!(error(&whole, &long).contains("longer than"));
    let mut huge = whole.clone();
    huge[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(error(&huge, &head).contains("does not hold the head"));
    assert_eq!(error(&whole, &head), "");
}

#[test]
fn blocks_behind_the_head_do_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(dir.path());
    let mut dataset = make(&catalog);
    let old_head = fs::read(dataset.dir().join("refs/head")).unwrap();
    dataset.append_events(vec![info("lost")], time(1), None).unwrap();
    fs::write(dataset.dir().join("refs/head"), old_head).unwrap();
    let mut dataset = open(dir.path()).find("d").unwrap();
    check_complete(&dataset);
    assert!(dataset.state().info.is_none());
    dataset.append_events(vec![info("found")], time(1), None).unwrap();
    let dataset = open(dir.path()).find("d").unwrap();
    check_complete(&dataset);
    assert_eq!(
        dataset.state().info.as_ref().unwrap().description.as_deref(),
        Some("found")
    );
}

/// An append to a long chain must not read it.
#[test]
fn an_append_does_not_read_the_chain() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(dir.path());
    let mut dataset = make(&catalog);
    dataset
        .append_events((0..2000).map(|n| info(&n.to_string())).collect(), time(1), None)
        .unwrap();
    // Whatever lies before the end is not looked at.
    let mut bytes = fs::read(dataset.chain_path()).unwrap();
    let end = bytes.len();
    bytes[..end - 100].fill(0);
    let whole = fs::read(dataset.chain_path()).unwrap();
    fs::write(dataset.chain_path(), bytes).unwrap();
    let mut again = catalog.find("d").unwrap();
    add(&mut again, 3, 4).unwrap();
    let mut after = fs::read(dataset.chain_path()).unwrap();
    after[..whole.len()].copy_from_slice(&whole);
    fs::write(dataset.chain_path(), after).unwrap();
    check_complete(&open(dir.path()).find("d").unwrap());
}

pub(crate) fn scratch() -> TempDir {
    tempfile::tempdir().unwrap()
}
