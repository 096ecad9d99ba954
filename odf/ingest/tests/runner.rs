//! The pipeline from a table to a dataset on disk, whole.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::ops::ControlFlow;
use std::path::Path;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use arrow::util::display::array_value_to_string;
use bytes::Bytes;
use tempfile::TempDir;

use ground::{Outcome, Target, Update, ingest, polled, push, set_watermark};
use odf_dataset::catalog::Catalog;
use odf_dataset::{Dataset, Medium, StoredBlock};
use odf_disk::Disk;
use odf_ingest::source::{Format, Phase, ReadOptions, Source, SourceError};
use odf_ingest::*;
use odf_metadata::{DatasetId, DatasetKind, MergeStrategy, MetadataEvent, Timestamp};
use odf_tables::slice::SliceOptions;
use odf_tables::types;

mod features;
mod formats;
mod golden;
mod ground;
mod growing;
mod marks;
mod parquet;
mod pipeline;
mod properties;
mod readers;
mod reading;
mod shapefiles;
mod steps;
mod strategies;
mod values;

/// A catalog in a directory of its own, and a clock that moves one hour per ingest.
struct World {
    catalog: Catalog,
    hour: u32,
    dir: TempDir,
}

/// 2026-06-01 and so many hours.
fn hour(hour: u32) -> Timestamp {
    format!("2026-06-01T{hour:02}:00:00.5Z").parse().unwrap()
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(&dir.path().join("datasets"), Medium::new(Disk::new())).unwrap();
        World { catalog, hour: 0, dir }
    }

    fn source(text: &str, format: Format) -> Source {
        let name = format!("t.{format}");
        Source::bytes(
            &name,
            Bytes::copy_from_slice(text.as_bytes()),
            format,
            ReadOptions::default(),
        )
    }

    /// Publishes into the one dataset of this world, making it on the first call.
    fn publish(&mut self, source: &Source, options: &Options) -> Result<Outcome, IngestError> {
        let system_time = hour(self.hour);
        self.hour += 1;
        let id = DatasetId::from_public_key([7; 32]);
        let progress = &mut |_| ControlFlow::Continue(());
        match self.catalog.by_id(&id).unwrap() {
            Some(mut dataset) => ingest(Target::Existing(&mut dataset), source, options, system_time, progress),
            None => {
                let staged = self.catalog.stage(id, &"t".parse().unwrap()).unwrap();
                let target = Target::New { staged };
                ingest(target, source, options, system_time, progress)
            }
        }
    }

    fn publish_text(&mut self, text: &str, format: Format, options: &Options) -> Result<Outcome, IngestError> {
        self.publish(&World::source(text, format), options)
    }

    fn dataset(&self) -> Dataset {
        self.catalog.find("t").unwrap()
    }

    fn rows(&self) -> Vec<String> {
        match self.dataset().tail(10_000).unwrap() {
            Some(batch) => lines(&batch),
            None => Vec::new(),
        }
    }
}

/// The rows of a batch, values separated by blanks, without the system time; nulls are `-`.
fn lines(batch: &RecordBatch) -> Vec<String> {
    let batch = odf_tables::slice::displayable(batch);
    let columns: Vec<_> = batch
        .schema()
        .fields()
        .iter()
        .zip(batch.columns())
        .filter(|(field, _)| field.name() != "system_time")
        .map(|(_, column)| column.clone())
        .collect();
    let value = |column: &dyn Array, row| match column.is_null(row) {
        true => "-".to_owned(),
        false => array_value_to_string(column, row).unwrap(),
    };
    (0..batch.num_rows())
        .map(|row| {
            columns
                .iter()
                .map(|column| value(column, row))
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect()
}

fn keyed(strategy: &str, key: &[&str]) -> Options {
    let key = key.iter().map(|name| (*name).to_owned()).collect();
    Options {
        merge: merge_option(Some(strategy), key).unwrap(),
        ..Options::default()
    }
}

fn updated(outcome: Result<Outcome, IngestError>) -> Update {
    match outcome.unwrap() {
        Outcome::Updated(update) => update,
        Outcome::UpToDate => panic!("up to date"),
    }
}

fn up_to_date(outcome: Result<Outcome, IngestError>) {
    assert!(matches!(outcome.unwrap(), Outcome::UpToDate));
}

#[test]
fn a_first_publish_makes_a_whole_dataset_and_a_second_adds_one_block() {
    let mut world = World::new();
    let options = Options {
        event_time: Some("at".into()),
        ..Options::default()
    };
    let first = updated(world.publish_text("at,n\n2024-01-01T00:00:00Z,1\n", Format::Csv, &options));
    let kinds: Vec<&str> = first
        .blocks
        .iter()
        .map(|stored| stored.block.block().event.kind())
        .collect();
    assert_eq!(kinds, ["Seed", "AddPushSource", "SetVocab", "SetDataSchema", "AddData"]);
    assert_eq!((first.old_head, first.rows), (None, 1));
    assert_eq!(
        first.created.as_ref().map(|dataset| *dataset.head()),
        Some(first.new_head)
    );

    let more = "at,n\n2024-01-01T00:00:00Z,1\n2024-01-02T00:00:00Z,2\n";
    let second = updated(world.publish_text(more, Format::Csv, &Options::default()));
    let kinds: Vec<&str> = second
        .blocks
        .iter()
        .map(|stored| stored.block.block().event.kind())
        .collect();
    assert_eq!(kinds, ["AddData"]);
    assert_eq!((second.old_head, second.rows), (Some(first.new_head), 1));
    assert_eq!(
        world.rows(),
        ["0 0 2024-01-01T00:00:00Z 1", "1 0 2024-01-02T00:00:00Z 2"]
    );

    let dataset = world.dataset();
    assert_eq!(dataset.state().watermark, Some("2024-01-02T00:00:00Z".parse().unwrap()));
    assert_eq!(dataset.state().system_time, hour(1));
    let second_slice = second.slice.unwrap();
    let slice = dataset.slice_path(&second_slice.physical_hash);
    assert_eq!(std::fs::metadata(&slice).unwrap().len(), second_slice.size);
    assert_eq!(
        odf_tables::digest::physical_hash(&slice).unwrap().0,
        second_slice.physical_hash
    );
    assert_eq!(
        odf_tables::slice::logical_hash(&slice).unwrap(),
        second_slice.logical_hash
    );
    for stored in &second.blocks {
        assert_eq!(dataset.bytes_at(stored.place).unwrap(), stored.block.bytes());
    }
}

#[test]
fn a_refused_first_publish_leaves_no_dataset() {
    let mut world = World::new();
    let error = world
        .publish_text("a,b\n1,2\n3\n", Format::Csv, &Options::default())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "t.csv, line 3, column `b`: 1 field(s) where the header has 2"
    );
    assert_eq!(std::fs::read_dir(world.dir.path().join("datasets")).unwrap().count(), 0);
}

#[test]
fn a_stopped_publish_changes_nothing() {
    let mut world = World::new();
    updated(world.publish_text("a\n1\n", Format::Csv, &Options::default()));
    let mut dataset = world.dataset();
    let head = *dataset.head();
    for phase in [Phase::Checking, Phase::Reading, Phase::Writing] {
        let stop = &mut |progress: source::Progress| match progress.phase == phase {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        let source = World::source("a\n1\n2\n", Format::Csv);
        let error = ingest(
            Target::Existing(&mut dataset),
            &source,
            &Options::default(),
            hour(5),
            stop,
        )
        .unwrap_err();
        assert!(error.to_string().contains("stopped"), "{error}");
        assert_eq!(*world.dataset().head(), head);
        assert_eq!(
            std::fs::read_dir(dataset.data_dir()).unwrap().count(),
            1,
            "nothing is left in {phase:?}"
        );
    }
}

#[test]
fn a_clock_that_went_back_does_not_break_the_chain() {
    let mut world = World::new();
    world.hour = 5;
    updated(world.publish_text("a\n1\n", Format::Csv, &Options::default()));
    world.hour = 2;
    updated(world.publish_text("a\n1\n2\n", Format::Csv, &Options::default()));
    assert_eq!(world.dataset().state().system_time, hour(5));
}

#[test]
fn the_words_of_the_command_line_make_a_strategy() {
    let key = || vec!["id".to_owned()];
    assert_eq!(merge_option(None, vec![]), Ok(None));
    assert_eq!(
        merge_option(None, key()),
        Ok(Some(MergeStrategy::Ledger { primary_key: key() }))
    );
    assert_eq!(merge_option(Some("Append"), vec![]), Ok(Some(MergeStrategy::Append)));
    let snapshot = MergeStrategy::Snapshot {
        primary_key: key(),
        compare_columns: None,
    };
    assert_eq!(merge_option(Some("snapshot"), key()), Ok(Some(snapshot)));
    assert_eq!(merge_option(Some("append"), key()), Err(MergeOptionError::KeyUnused));
    assert_eq!(
        merge_option(Some("ledger"), vec![]),
        Err(MergeOptionError::KeyMissing("ledger"))
    );
    assert_eq!(
        merge_option(Some("snapshot"), vec![]),
        Err(MergeOptionError::KeyMissing("snapshot"))
    );
    assert_eq!(
        merge_option(Some("upsert"), key()),
        Ok(Some(MergeStrategy::UpsertStream { primary_key: key() }))
    );
    assert_eq!(
        merge_option(Some("changelog"), key()),
        Ok(Some(MergeStrategy::ChangelogStream { primary_key: key() }))
    );
    assert_eq!(
        merge_option(Some("upsert"), vec![]),
        Err(MergeOptionError::KeyMissing("upsert"))
    );
    assert_eq!(
        merge_option(Some("join"), vec![]),
        Err(MergeOptionError::Unknown("join".into()))
    );
}

/// The offsets of a batch.
fn offsets(batch: &RecordBatch) -> Vec<i64> {
    batch.column(0).as_primitive::<Int64Type>().values().to_vec()
}

#[test]
fn the_example_table_is_read_as_people_would_read_it() {
    let path = odf_reference::repository().join("examples/earthquakes.csv");
    let mut world = World::new();
    let source = Source::file(&path, None, ReadOptions::default()).unwrap();
    let options = Options {
        event_time: Some("time".into()),
        ..keyed("ledger", &["id"])
    };
    let update = updated(world.publish(&source, &options));
    assert_eq!(update.rows, 1707);
    let dataset = update.created.unwrap();
    let schema = dataset
        .state()
        .schema
        .as_ref()
        .and_then(|event| event.schema.as_ref())
        .unwrap();
    let columns: Vec<String> = types::to_arrow(schema)
        .unwrap()
        .fields()
        .iter()
        .map(|f| {
            format!(
                "{}:{}{}",
                f.name(),
                shape::type_name(f.data_type()),
                if f.is_nullable() { "?" } else { "" }
            )
        })
        .collect();
    assert_eq!(
        columns,
        [
            "offset:Int64",
            "op:Int32",
            "system_time:Timestamp",
            "time:Timestamp",
            "id:String",
            "latitude:Float64?",
            "longitude:Float64?",
            "depth:Float64?",
            "mag:Float64?",
            "magType:String?",
            "type:String?",
            "place:String?",
            "net:String?",
            "status:String?",
            "sig:Int64?",
            "tsunami:Int64?",
            "felt:Int64?",
            "nst:Int64?",
            "gap:Float64?",
            "dmin:Float64?",
            "rms:Float64?",
        ]
    );
    up_to_date(world.publish(&source, &options));
}
