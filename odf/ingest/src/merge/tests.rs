//! Every strategy on random histories, row for row against a plain model of it.

mod history;
mod large;
mod model;
mod spill;

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Int64Array, StringArray, StringViewArray, TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Date32Type, Field, Int32Type, Int64Type, Schema, TimestampMillisecondType};
use arrow::record_batch::RecordBatch;
use proptest::prelude::*;
use tempfile::TempDir;

use super::times::DAY_MILLIS;
use super::*;
use crate::assemble::Assembly;
use crate::effect::{Effect, Gone};
use crate::infer::{UTC, timestamp};
use crate::plan::Plan;
use crate::shape::Shape;
use crate::source::SourceError;
use odf_disk::{Disk, PENDING_PREFIX};
use odf_metadata::Vocabulary;
use odf_tables::slice::{SliceOptions, SliceReader, SliceWriter};

use model::{Given, Kept, Refused, Value};

/// What a random test is about.
#[derive(Clone, Debug)]
struct Case {
    strategy: MergeStrategy,
    event_type: DataType,
    /// The type of the first column of text.
    text_type: DataType,
    /// Whether the rows of an upsert say what they do.
    has_operations: bool,
    memory: Memory,
    /// Rows of a batch.
    chunk: usize,
    /// Whether the first rows are a stream of changes, so that histories come about that the strategy never writes.
    forerun: bool,
    ingests: Vec<Ingest>,
}

#[derive(Clone, Debug)]
struct Ingest {
    rows: Vec<Given>,
    /// Event time of rows without one.
    event_time: i64,
}

/// The rows of a table in memory.
struct Table(VecDeque<RecordBatch>);

impl Batches for Table {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        Ok(self.0.pop_front())
    }

    fn bytes(&self) -> u64 {
        0
    }
}

/// A dataset made of nothing but slices.
struct World {
    dir: TempDir,
    /// Where the ranges of the slices are kept.
    beside: TempDir,
    slices: Vec<PathBuf>,
    rows: Vec<Kept>,
    system_time: i64,
}

const COLUMNS: [&str; 4] = ["k", "n", "v", "w"];

impl World {
    fn new() -> World {
        World {
            dir: tempfile::tempdir().unwrap(),
            beside: tempfile::tempdir().unwrap(),
            slices: Vec::new(),
            rows: Vec::new(),
            system_time: 1_000_000,
        }
    }

    /// The slice under construction.
    fn pending(&self) -> PathBuf {
        let mut files = fs::read_dir(self.dir.path()).unwrap().map(|file| file.unwrap().path());
        let is_pending = |path: &PathBuf| path.to_string_lossy().contains(PENDING_PREFIX);
        files.find(is_pending).unwrap()
    }

    /// What is written for some rows; they are in the dataset then.
    fn ingest(&mut self, case: &Case, strategy: &MergeStrategy, ingest: &Ingest) -> Result<Vec<Kept>, MergeError> {
        let vocabulary = Vocabulary::default();
        let mut fields = vec![
            Field::new("offset", DataType::Int64, false),
            Field::new("op", DataType::Int32, false),
            Field::new("system_time", timestamp(), false),
            Field::new("event_time", case.event_type.clone(), false),
        ];
        let types = [case.text_type.clone(), DataType::Int64, DataType::Int64, DataType::Utf8];
        fields.extend(COLUMNS.iter().zip(types).map(|(name, of)| Field::new(*name, of, true)));
        let schema = Arc::new(Schema::new(fields));
        let plan = Plan::of_rows(schema.clone(), schema, &vocabulary, strategy);
        let fields = ranged(strategy, plan.shape(), &vocabulary);
        let none = Vec::<PathBuf>::new();
        let ranges = Ranges::new(&self.beside.path().join("ranges"), &Disk::new(), &fields);
        let setting = Setting {
            shape: plan.shape(),
            history: History {
                slices: if needs_history(strategy) { &self.slices } else { &none },
                vocabulary: &vocabulary,
                ranges: Some(&ranges),
            },
            event_time: ingest.event_time,
            scratch: self.dir.path(),
            memory: case.memory,
            compared: u64::MAX,
            singles: false,
        };
        self.system_time += 1;
        let mut reading = Reading::AsTheyCome;
        loop {
            let mut assembly = Assembly {
                plan: &plan,
                writer: SliceWriter::create(
                    &Disk::new(),
                    self.dir.path(),
                    plan.schema().clone(),
                    &SliceOptions::default(),
                )
                .unwrap(),
                next_offset: self.rows.len() as i64,
                system_time: self.system_time,
                event_time: ingest.event_time,
                without_event_time: 0,
                effect: Effect::default(),
                gone: Gone::of(strategy, plan.shape()),
                latest: None,
                linked: None,
            };
            let mut table = Table(
                ingest
                    .rows
                    .chunks(case.chunk)
                    .map(|rows| batch(plan.shape(), rows, case))
                    .collect(),
            );
            let merged = merge(strategy, &mut table, &setting, reading, &mut assembly, &mut |_| Ok(()))?;
            match merged {
                Merged::Again(_) if reading == Reading::Sorted => panic!("sorted rows are in order"),
                Merged::Again(again) => {
                    reading = again;
                    continue;
                }
                Merged::Done { read, passed_over, .. } => {
                    assert_eq!(read, ingest.rows.len() as u64);
                    if let MergeStrategy::Ledger { primary_key } = strategy {
                        let wanted = model::passed_over(&self.rows, &ingest.rows, primary_key, &case.event_type);
                        assert_eq!(passed_over, wanted);
                    }
                }
            }
            if assembly.writer.rows() == 0 {
                return Ok(Vec::new());
            }
            let _complete = assembly.writer.finish().unwrap();
            let path = self.dir.path().join(self.slices.len().to_string());
            fs::rename(self.pending(), &path).unwrap();
            let written = rows(&path);
            self.slices.push(path);
            self.rows.extend(written.iter().cloned());
            return Ok(written);
        }
    }
}

/// Rows as a batch of the shape.
fn batch(shape: &Shape, rows: &[Given], case: &Case) -> RecordBatch {
    let column = |field: &Field| -> ArrayRef {
        let number = |at: usize| Arc::new(rows.iter().map(|row| row.cell(at).number()).collect::<Int64Array>()) as _;
        let text = |at: usize| rows.iter().map(|row| row.cell(at).text()).collect::<Vec<_>>();
        match field.name().as_str() {
            "event_time" if case.event_type == DataType::Date32 => {
                let day = |time: i64| i32::try_from(time / DAY_MILLIS).unwrap();
                Arc::new(rows.iter().map(|row| row.time.map(day)).collect::<Date32Array>())
            }
            "event_time" => {
                let times = rows.iter().map(|row| row.time);
                Arc::new(times.collect::<TimestampMillisecondArray>().with_timezone(UTC))
            }
            "op" if case.has_operations => Arc::new(rows.iter().map(|row| row.operation).collect::<Int64Array>()),
            "op" => Arc::new(Int64Array::new_null(rows.len())),
            "k" if case.text_type == DataType::Utf8View => Arc::new(StringViewArray::from(text(0))),
            "k" => Arc::new(StringArray::from(text(0))),
            "n" => number(1),
            "v" => number(2),
            _ => Arc::new(StringArray::from(text(3))),
        }
    };
    let columns = shape.schema().fields().iter().map(|field| column(field)).collect();
    RecordBatch::try_new(shape.schema().clone(), columns).unwrap()
}

/// The rows of a slice.
fn rows(path: &Path) -> Vec<Kept> {
    let mut rows = Vec::new();
    for batch in SliceReader::open(path).unwrap() {
        let batch = batch.unwrap();
        let column = |name: &str| batch.column_by_name(name).unwrap();
        let number = |name: &str, row| match column(name) {
            array if array.is_null(row) => Value::Null,
            array => Value::Number(array.as_primitive::<Int64Type>().value(row)),
        };
        let text = |name: &str, row| match column(name) {
            array if array.is_null(row) => Value::Null,
            array => {
                let array = arrow::compute::cast(array, &DataType::Utf8).unwrap();
                Value::Text(array.as_string::<i32>().value(row).to_owned())
            }
        };
        for row in 0..batch.num_rows() {
            let event_time = match column("event_time") {
                days if *days.data_type() == DataType::Date32 => {
                    i64::from(days.as_primitive::<Date32Type>().value(row)) * DAY_MILLIS
                }
                millis => millis.as_primitive::<TimestampMillisecondType>().value(row),
            };
            rows.push(Kept {
                offset: column("offset").as_primitive::<Int64Type>().value(row),
                operation: column("op").as_primitive::<Int32Type>().value(row),
                system_time: column("system_time")
                    .as_primitive::<TimestampMillisecondType>()
                    .value(row),
                event_time,
                cells: [text("k", row), number("n", row), number("v", row), text("w", row)],
            });
        }
    }
    rows
}

/// Runs a case through both.
fn agree(case: &Case) {
    let mut world = World::new();
    for (at, ingest) in case.ingests.iter().enumerate() {
        let changes = MergeStrategy::ChangelogStream {
            primary_key: vec!["k".to_owned()],
        };
        let is_forerun = case.forerun && at == 0;
        let strategy = if is_forerun { &changes } else { &case.strategy };
        let case = &Case {
            has_operations: case.has_operations || matches!(strategy, MergeStrategy::ChangelogStream { .. }),
            ..case.clone()
        };
        let wanted = model::merge(
            strategy,
            &world.rows,
            &ingest.rows,
            world.system_time + 1,
            model::as_event_time(&case.event_type, ingest.event_time),
            case.has_operations,
        );
        let found = world.ingest(case, strategy, ingest).map_err(|error| match error {
            MergeError::NullKey { row, .. } => Refused::NullKey(row),
            MergeError::RepeatedKey { first, second, .. } => Refused::Repeated(first, second),
            MergeError::NoOperation { row, .. } => Refused::NoOperation(row),
            MergeError::NotAnOperation { row, value, .. } => Refused::NotAnOperation(row, value),
            other => panic!("{other}"),
        });
        assert_eq!(found, wanted, "ingest {at}");
        let left = fs::read_dir(world.dir.path()).unwrap().count();
        assert_eq!(left, world.slices.len(), "nothing is left beside the slices");
    }
}

fn value(numbers: bool) -> impl Strategy<Value = Value> {
    (0..6i64).prop_map(move |n| match (n, numbers) {
        (0, _) => Value::Null,
        (n, true) => Value::Number(n - 3),
        (n, false) => Value::Text("x".repeat(usize::try_from(n - 1).unwrap() * 7)),
    })
}

/// `raw` rows may lack a value in their key, and say impossible things.
fn given(raw: bool, event_type: DataType) -> impl Strategy<Value = Given> {
    let unit = if event_type == DataType::Date32 {
        DAY_MILLIS
    } else {
        1000
    };
    let operation = if raw {
        prop_oneof![20 => (0..4i64).prop_map(Some), 1 => Just(None), 1 => Just(Some(-1)), 1 => Just(Some(1 << 40))]
            .boxed()
    } else {
        (0..4i64).prop_map(Some).boxed()
    };
    let key = |numbers| value(numbers).prop_filter("a key has a value", move |value| raw || *value != Value::Null);
    let time = prop::option::of((0..4i64).prop_map(move |n| n * unit));
    (operation, time, key(false), key(true), value(true), value(false)).prop_map(|(operation, time, k, n, v, w)| {
        Given {
            operation,
            time,
            cells: [k, n, v, w],
        }
    })
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn case(strategy: fn(Vec<String>) -> BoxedStrategy<MergeStrategy>) -> impl Strategy<Value = Case> {
    let key = prop_oneof![
        Just(strings(&["k"])),
        Just(strings(&["n"])),
        Just(strings(&["n", "k"])),
        Just(strings(&["event_time", "k"])),
    ];
    let memory = prop_oneof![
        Just(Memory::default()),
        Just(Memory { rows: 1, keys: 1 }),
        Just(Memory { rows: 3000, keys: 200 }),
    ];
    let types = (
        prop_oneof![Just(timestamp()), Just(DataType::Date32)],
        prop_oneof![3 => Just(DataType::Utf8), 1 => Just(DataType::Utf8View)],
    );
    let raw = prop_oneof![3 => Just(false), 1 => Just(true)];
    (
        key.prop_flat_map(strategy),
        types,
        raw,
        memory,
        1..6usize,
        any::<[bool; 2]>(),
    )
        .prop_flat_map(
            |(strategy, (event_type, text_type), raw, memory, chunk, [has_operations, forerun])| {
                let snapshot_of = match &strategy {
                    MergeStrategy::Snapshot { primary_key, .. } if !raw => Some(primary_key.clone()),
                    _ => None,
                };
                let rows = prop::collection::vec(given(raw, event_type.clone()), 0..10);
                let ingest = (rows, 0..5i64).prop_map(move |(mut rows, time)| {
                    if let Some(key) = &snapshot_of {
                        let mut seen = std::collections::BTreeSet::new();
                        // Of an event time that is part of the key each row needs one.
                        rows.iter_mut().for_each(|row| row.time = row.time.or(Some(0)));
                        rows.retain(|row| seen.insert(model::key_of(&row.cells, row.time, key)));
                    }
                    Ingest {
                        rows,
                        event_time: time * 500 + time * DAY_MILLIS / 2,
                    }
                });
                prop::collection::vec(ingest, 1..7).prop_map(move |ingests| Case {
                    strategy: strategy.clone(),
                    event_type: event_type.clone(),
                    text_type: text_type.clone(),
                    has_operations,
                    memory,
                    chunk,
                    forerun,
                    ingests,
                })
            },
        )
}

const CASES: u32 = 1000;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn append_is_its_model(case in case(|_| Just(MergeStrategy::Append).boxed())) {
        agree(&case);
    }

    #[test]
    fn ledger_is_its_model(case in case(|primary_key| Just(MergeStrategy::Ledger { primary_key }).boxed())) {
        agree(&case);
    }

    #[test]
    fn snapshot_is_its_model(case in case(|primary_key| {
        let columns = prop_oneof![
            3 => Just(None),
            1 => Just(Some(strings(&["v"]))),
            1 => Just(Some(strings(&["w", "event_time", "k"]))),
        ];
        let of = move |compare_columns| MergeStrategy::Snapshot { primary_key: primary_key.clone(), compare_columns };
        columns.prop_map(of).boxed()
    })) {
        agree(&case);
    }

    #[test]
    fn changelog_is_its_model(case in case(|primary_key| Just(MergeStrategy::ChangelogStream { primary_key }).boxed())) {
        agree(&case);
    }

    #[test]
    fn upsert_is_its_model(case in case(|primary_key| Just(MergeStrategy::UpsertStream { primary_key }).boxed())) {
        agree(&case);
    }
}

#[test]
fn a_strategy_must_name_columns_that_are_there() {
    let case = |strategy| Case {
        strategy,
        event_type: timestamp(),
        text_type: DataType::Utf8,
        has_operations: true,
        memory: Memory::default(),
        chunk: 1,
        forerun: false,
        ingests: Vec::new(),
    };
    let none = Ingest {
        rows: Vec::new(),
        event_time: 0,
    };
    let refusal = |strategy: MergeStrategy| {
        let case = case(strategy);
        World::new()
            .ingest(&case, &case.strategy, &none)
            .unwrap_err()
            .to_string()
    };
    let of = |primary_key: &[&str]| {
        let primary_key = strings(primary_key);
        [
            MergeStrategy::Ledger {
                primary_key: primary_key.clone(),
            },
            MergeStrategy::Snapshot {
                primary_key: primary_key.clone(),
                compare_columns: None,
            },
            MergeStrategy::ChangelogStream {
                primary_key: primary_key.clone(),
            },
            MergeStrategy::UpsertStream { primary_key },
        ]
    };
    for strategy in of(&[]) {
        assert_eq!(refusal(strategy), "the merge strategy names no primary key column");
    }
    for strategy in of(&["k", "nope"]) {
        assert_eq!(refusal(strategy), "the primary key column `nope` is not in the data");
    }
}
