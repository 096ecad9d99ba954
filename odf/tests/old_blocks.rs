//! Chains of version 2, as kamu wrote them before July 2026, with their schema in the form of before 2025: taken in, gone on
//! with, and given away byte for byte.
//!
//! The blocks come from a writer of this file that shares nothing with the codec: it lays tables out from front to back,
//! without any alignment, where FlatBuffers builders go from back to front.

use std::collections::HashMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use bytes::Bytes;
use odf::codec::EncodedBlock;
use odf::dataset::Dataset;
use odf::dataset::NoMirror;
use odf::export::export;
use odf::ingest::source::{Format, Source};
use odf::ingest::{Changed, Options};
use odf::metadata::{DataField, DataSchema, DatasetId, MetadataEvent, Multihash, SetDataSchema, SetInfo};
use odf::publish::publish;
use odf::pull::Address;
use odf::slice::{SliceOptions, SliceWriter, WrittenSlice};
use odf::verify::{Depth, verify};

use crate::world::Site;

/// A value of a table, or a table.
enum Value {
    /// Bytes within the table.
    Inline(Vec<u8>),
    /// A byte vector behind the table.
    Bytes(Vec<u8>),
    /// A string behind the table.
    Text(&'static str),
    Table(Vec<(u16, Value)>),
    /// A vector of tables.
    Tables(Vec<Value>),
}
use Value::{Inline, Table, Tables, Text};

fn patch(out: &mut [u8], at: usize, target: usize) {
    let offset = u32::try_from(target - at).unwrap();
    out[at..at + 4].copy_from_slice(&offset.to_le_bytes());
}

/// Writes a value behind everything that is there; where it begins.
fn put(out: &mut Vec<u8>, value: &Value) -> usize {
    match value {
        Inline(_) => unreachable!("part of a table"),
        Value::Bytes(bytes) => {
            let at = out.len();
            out.extend((bytes.len() as u32).to_le_bytes());
            out.extend(bytes);
            at
        }
        Text(text) => {
            let at = put(out, &Value::Bytes(text.as_bytes().to_vec()));
            out.push(0);
            at
        }
        Tables(items) => {
            let at = out.len();
            out.extend((items.len() as u32).to_le_bytes());
            out.resize(out.len() + 4 * items.len(), 0);
            for (index, item) in items.iter().enumerate() {
                let target = put(out, item);
                patch(out, at + 4 + 4 * index, target);
            }
            at
        }
        Table(fields) => {
            let slots = fields.iter().map(|(slot, _)| slot + 1).max().unwrap_or(0);
            let vtable = out.len();
            let mut offsets = vec![0_u16; usize::from(slots)];
            let mut size = 4_u16;
            for (slot, value) in fields {
                offsets[usize::from(*slot)] = size;
                size += if let Inline(bytes) = value {
                    bytes.len() as u16
                } else {
                    4
                };
            }
            out.extend((4 + 2 * slots).to_le_bytes());
            out.extend(size.to_le_bytes());
            offsets.iter().for_each(|offset| out.extend(offset.to_le_bytes()));
            // Nothing is where an aligned reader would look for it.
            if out.len().is_multiple_of(2) {
                out.push(0);
            }
            let at = out.len();
            out.extend(((at - vtable) as i32).to_le_bytes());
            let mut due = Vec::new();
            for (_, value) in fields {
                if let Inline(bytes) = value {
                    out.extend(bytes);
                } else {
                    due.push((out.len(), value));
                    out.extend([0; 4]);
                }
            }
            for (place, value) in due {
                let target = put(out, value);
                patch(out, place, target);
            }
            at
        }
    }
}

fn buffer(root: &Value) -> Vec<u8> {
    let mut out = vec![0; 4];
    let at = put(&mut out, root);
    patch(&mut out, 0, at);
    out
}

fn hash(multihash: &Multihash) -> Value {
    Value::Bytes(multihash.to_bytes())
}

fn number<const N: usize>(bytes: [u8; N]) -> Value {
    Inline(bytes.to_vec())
}

/// January 2024 from day 1 on, at noon.
fn noon(day: u16) -> Value {
    let mut bytes = 2024_i32.to_le_bytes().to_vec();
    bytes.extend(day.to_le_bytes());
    bytes.extend([0, 0]);
    bytes.extend(43_200_u32.to_le_bytes());
    bytes.extend(7_u32.to_le_bytes());
    Inline(bytes)
}

/// A block file of version 2.
fn block(sequence: u64, previous: Option<&Multihash>, union: u8, event: Value) -> Vec<u8> {
    let mut fields = vec![(0, noon(1 + sequence as u16))];
    fields.extend(previous.map(|previous| (1, hash(previous))));
    if sequence > 0 {
        fields.push((2, number(sequence.to_le_bytes())));
    }
    fields.extend([(3, number([union])), (4, event)]);
    buffer(&Table(vec![
        (0, number(0x400000_i64.to_le_bytes())),
        (1, number(2_i32.to_le_bytes())),
        (2, Value::Bytes(buffer(&Table(fields)))),
    ]))
}

/// An Arrow IPC schema in which everything is nullable, whatever the slices say.
fn arrow_schema() -> Vec<u8> {
    let int = |bits: i32| (2_u8, vec![(0, number(bits.to_le_bytes())), (1, number([1]))]);
    let time = || (10_u8, vec![(0, number(1_i16.to_le_bytes())), (1, Text("UTC"))]);
    let field = |name, (id, of): (u8, Vec<(u16, Value)>)| {
        let children = (5, Tables(Vec::new()));
        Table(vec![
            (0, Text(name)),
            (1, number([1])),
            (2, number([id])),
            (3, Table(of)),
            children,
        ])
    };
    buffer(&Table(vec![(
        1,
        Tables(vec![
            field("offset", int(64)),
            field("op", int(32)),
            field("system_time", time()),
            field("event_time", time()),
            field("n", int(64)),
        ]),
    )]))
}

/// Three rows.
fn slice(dir: &Path) -> WrittenSlice {
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let schema = Arc::new(Schema::new(vec![
        Field::new("offset", DataType::Int64, false),
        Field::new("op", DataType::Int32, false),
        Field::new("system_time", time.clone(), false),
        Field::new("event_time", time, false),
        Field::new("n", DataType::Int64, true),
    ]));
    let times =
        || -> ArrayRef { Arc::new(TimestampMillisecondArray::from(vec![1_704_369_600_000; 3]).with_timezone("UTC")) };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![0, 1, 2])),
        Arc::new(Int32Array::from(vec![0; 3])),
        times(),
        times(),
        Arc::new(Int64Array::from(vec![Some(10), None, Some(30)])),
    ];
    let mut writer =
        SliceWriter::create(&odf::disk::Disk::new(), dir, schema.clone(), &SliceOptions::default()).unwrap();
    writer.write(RecordBatch::try_new(schema, columns).unwrap()).unwrap();
    writer.finish().unwrap()
}

fn id() -> DatasetId {
    DatasetId::from_public_key([0x2a; 32])
}

/// The chain of version 2 with its data, put into a workspace.
fn old_dataset(site: &Site, dir: &Path) -> (Dataset, Vec<Vec<u8>>) {
    let incoming = site.workspace.catalog().receive(id(), &"old".parse().unwrap()).unwrap();
    let slice = slice(dir);
    let data = vec![
        (0, hash(slice.logical_hash())),
        (1, hash(slice.physical_hash())),
        (2, Table(vec![(1, number(2_u64.to_le_bytes()))])),
        (3, number(slice.size().to_le_bytes())),
    ];
    slice.install(&incoming.dir().join("data")).unwrap();
    let events = [
        (3, Table(vec![(0, Value::Bytes(id().to_bytes().to_vec()))])),
        (8, Table(vec![(0, Text("written long ago"))])),
        (10, Table(vec![(0, Value::Bytes(arrow_schema()))])),
        (1, Table(vec![(2, Table(data)), (4, noon(3))])),
    ];
    let mut files: Vec<Vec<u8>> = Vec::new();
    let mut blocks: Vec<EncodedBlock> = Vec::new();
    for (sequence, (union, event)) in (0..).zip(events) {
        let bytes = block(sequence, blocks.last().map(EncodedBlock::hash), union, event);
        blocks.push(EncodedBlock::decode(bytes.clone()).unwrap());
        files.push(bytes);
    }
    assert!(blocks.iter().all(|block| block.version() == 2));
    let dataset = incoming.install(blocks).unwrap();
    (dataset, files)
}

/// Every block file of an exported dataset by its name.
fn exported(dataset: &Dataset, dir: &Path) -> HashMap<String, Vec<u8>> {
    export(dataset, dir).unwrap();
    fs::read_dir(dir.join("blocks"))
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (
                entry.file_name().into_string().unwrap(),
                fs::read(entry.path()).unwrap(),
            )
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn old_chains_are_kept_byte_for_byte_and_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let here = Site::new(&dir.path().join("here")).await;
    let there = Site::new(&dir.path().join("there")).await;
    there.dial(&here).await;
    let (dataset, files) = old_dataset(&here, dir.path());
    let state = dataset.state();
    assert_eq!((state.totals.records, state.last_offset), (3, Some(2)));
    assert_eq!(state.watermark.unwrap().to_string(), "2024-01-03T12:00:00.000000007Z");
    assert_eq!(
        state.info.as_ref().unwrap().description.as_deref(),
        Some("written long ago")
    );
    let declared = state.schema.as_ref().unwrap().declared().unwrap().unwrap();
    let names: Vec<&str> = declared.fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["offset", "op", "system_time", "event_time", "n"]);
    verify(&dataset, &NoMirror, Depth::Rows, &|_| {}).unwrap();

    // New rows go on top in blocks of today.
    let source = Source::bytes(
        "rows.ndjson",
        Bytes::from("{\"n\":40}\n{\"n\":null}\n"),
        Format::Ndjson,
        Default::default(),
    );
    let now = "2026-12-01T00:00:00Z".parse().unwrap();
    let go_on = &mut |_| ControlFlow::Continue(());
    let name = dataset.name().unwrap();
    let options = Options {
        changed: Changed::TakeAll,
        ..Options::default()
    };
    let (mut dataset, _) = here.workspace.take(&name, &source, &options, now, go_on).unwrap();
    // The schema again in today's form, where other columns are optional, and one is new.
    let mut fields: Vec<DataField> = declared.fields.into_iter().map(required).collect();
    fields.push(DataField::new("m", odf::metadata::DataType::String.optional()));
    fields[4] = DataField::new("n", odf::metadata::DataType::Int64.optional());
    let schema = SetDataSchema {
        raw_arrow_schema: None,
        schema: Some(DataSchema { fields, extra: None }),
    };
    dataset
        .append_events(vec![MetadataEvent::SetDataSchema(schema)], now, None)
        .unwrap();
    let versions: Vec<i32> = dataset
        .blocks()
        .unwrap()
        .map(|stored| stored.unwrap().block.version())
        .collect();
    assert_eq!(versions[..4], [2; 4]);
    assert!(
        versions.len() > 5 && versions[4..].iter().all(|version| *version == 3),
        "{versions:?}"
    );
    let rows = dataset.tail(100).unwrap().unwrap();
    assert_eq!(rows.num_rows(), 5);

    // Out of here, over the network, and out of there.
    let key = here.workspace.keys().generate("mine").unwrap();
    let published = publish(here.workspace.local(), &here.node, &dataset, &key, false)
        .await
        .unwrap();
    let pulled = there.pull(&Address::Name(published.name)).await.unwrap();
    let copy = pulled.received.dataset();
    assert_eq!(
        (copy.state(), copy.tail(100).unwrap().unwrap()),
        (dataset.state(), rows)
    );
    verify(copy, there.workspace.datasets().mirror(), Depth::Rows, &|_| {}).unwrap();
    for (dataset, to) in [(&dataset, "one"), (copy, "two")] {
        let blocks = exported(dataset, &dir.path().join(to));
        assert_eq!(blocks.len(), versions.len());
        for file in &files {
            assert_eq!(&blocks[&Multihash::sha3_256(file).to_string()], file);
        }
    }

    // Written again by us it would be another block: that is why it never is.
    let first = EncodedBlock::decode(files[0].clone()).unwrap();
    let again = EncodedBlock::encode(first.block().clone()).unwrap();
    assert_eq!(again.block(), first.block());
    assert_ne!(again.hash(), first.hash());
}

fn required(field: DataField) -> DataField {
    match field.data_type {
        odf::metadata::DataType::Option { inner } => DataField::new(field.name, *inner),
        _ => field,
    }
}

/// The rules hold for old blocks too.
#[tokio::test(flavor = "multi_thread")]
async fn old_blocks_that_break_a_rule_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let here = Site::new(&dir.path().join("here")).await;
    let (mut dataset, files) = old_dataset(&here, dir.path());
    let info = || Table(vec![(0, Text("again"))]);
    for (sequence, previous) in [(4, dataset.block_by_sequence(2)), (7, dataset.block_by_sequence(3))] {
        let previous = *previous.unwrap().unwrap().block.hash();
        let block = EncodedBlock::decode(block(sequence, Some(&previous), 8, info())).unwrap();
        assert!(dataset.append(vec![block], None).is_err());
    }
    let head = *dataset.head();
    let next = EncodedBlock::decode(block(4, Some(&head), 8, info())).unwrap();
    dataset.append(vec![next], None).unwrap();
    assert_eq!(
        dataset.state().info.as_ref().unwrap().description.as_deref(),
        Some("again")
    );
    let info = SetInfo {
        description: Some("by us".into()),
        keywords: None,
    };
    let now = "2026-12-01T00:00:00Z".parse().unwrap();
    dataset
        .append_events(vec![MetadataEvent::SetInfo(info)], now, None)
        .unwrap();
    assert_eq!(files.len(), 4);
}
