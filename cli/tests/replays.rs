//! Derivative datasets computed again, and those that are not what their transform gives.

use std::fs;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use odf::Workspace;
use odf::codec::EncodedBlock;
use odf::dataset::Dataset;
use odf::metadata::{DataSlice, ExecuteTransform, MetadataBlock, MetadataEvent, Multihash, SetDataSchema};
use odf::slice::{SliceReader, SliceWriter};
use serde_json::{Value, json};

use crate::derivatives::{derive, newest, publish, sql, with_root};
use crate::sandbox::Sandbox;

const INTEGRITY: i32 = 10;

/// A root `t`, `d` computed from it in two runs, and `e` from `d`.
fn with_derivatives() -> Sandbox {
    let sandbox = with_root();
    derive(
        &sandbox,
        "d",
        "[{datasetRef: t}]",
        &sql("select at, id, upper(city) as city, now() as seen from t"),
    );
    derive(
        &sandbox,
        "e",
        "[{datasetRef: d}]",
        &sql("select at, id * 10 as ten from d where city != 'ROME'"),
    );
    sandbox.run(&["pull", "e", "--recursive"]).ok();
    publish(&sandbox, "t", &[(1, "Oslo"), (2, "Rome"), (3, "Lima"), (4, "Kyiv")]);
    sandbox.run(&["pull", "e", "--recursive"]).ok();
    sandbox
}

/// `odfs verify`, row by row, whether something is wrong or not.
fn verified(sandbox: &Sandbox, args: &[&str]) -> (Vec<Value>, Option<i32>, String) {
    let outcome = sandbox.run(&[&["verify", "-o", "json"], args].concat());
    let rows = serde_json::from_str::<Vec<Value>>(&outcome.out);
    assert!(rows.is_ok(), "{}\n{}", outcome.out, outcome.err);
    let rows = rows.unwrap_or_default();
    (rows, outcome.code, outcome.err)
}

/// Writes the chain of a dataset again, with other events.
fn rewrite(sandbox: &Sandbox, name: &str, mut change: impl FnMut(&Dataset, &mut MetadataEvent)) {
    let workspace = Workspace::open(&sandbox.workspace(), Default::default()).unwrap();
    let mut dataset = workspace.catalog().find(name).unwrap();
    let mut blocks: Vec<EncodedBlock> = Vec::new();
    for stored in dataset.blocks().unwrap() {
        let mut block: MetadataBlock = stored.unwrap().block.into_block();
        change(&dataset, &mut block.event);
        block.prev_block_hash = blocks.last().map(|block| *block.hash());
        blocks.push(EncodedBlock::encode(block).unwrap());
    }
    workspace
        .datasets()
        .replace(&mut dataset, 1, blocks.split_off(1))
        .unwrap();
}

/// The same of the last run alone.
fn change_last(sandbox: &Sandbox, name: &str, change: impl Fn(&Dataset, &mut ExecuteTransform)) {
    let mut runs = 0;
    rewrite(sandbox, name, |dataset, event| {
        if let MetadataEvent::ExecuteTransform(event) = event {
            runs += 1;
            if runs == 2 {
                change(dataset, event);
            }
        }
    });
    assert_eq!(runs, 2);
}

/// The slice with another city in its first row, with all of its hashes.
fn forged(dataset: &Dataset, slice: &DataSlice) -> DataSlice {
    let data = dataset.data_dir();
    let reader = SliceReader::open(&data.join(slice.physical_hash.to_string())).unwrap();
    let mut writer = SliceWriter::create(dataset.disk(), &data, reader.schema().clone(), &Default::default()).unwrap();
    for batch in reader {
        let batch = batch.unwrap();
        let at = batch.schema().index_of("city").unwrap();
        let cities = cast(batch.column(at), &DataType::Utf8).unwrap();
        let cities = cities.as_string::<i32>().iter().enumerate();
        let cities: StringArray = cities
            .map(|(row, city)| if row == 0 { Some("ELSEWHERE") } else { city })
            .collect();
        let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
        columns[at] = cast(&(Arc::new(cities) as ArrayRef), columns[at].data_type()).unwrap();
        writer
            .write(RecordBatch::try_new(batch.schema(), columns).unwrap())
            .unwrap();
    }
    let written = writer.finish().unwrap();
    let forged = DataSlice {
        logical_hash: *written.logical_hash(),
        physical_hash: *written.physical_hash(),
        size: written.size(),
        ..slice.clone()
    };
    written.install(&data).unwrap();
    forged
}

#[test]
fn what_was_computed_comes_out_again_inputs_first() {
    let sandbox = with_derivatives();
    let (rows, code, err) = verified(&sandbox, &["e", "--replay", "--recursive"]);
    assert_eq!(code, Some(0), "{err}");
    let names: Vec<&Value> = rows.iter().map(|row| &row["Dataset"]).collect();
    assert_eq!(names, ["t", "d", "e"]);
    let counts: Vec<Value> = rows
        .iter()
        .map(|row| json!([row["Result"], row["Replayed"]["blocks"], row["Replayed"]["rows"]]))
        .collect();
    assert_eq!(
        counts,
        [json!(["ok", null, null]), json!(["ok", 2, 4]), json!(["ok", 2, 3])]
    );
    let table = sandbox.run(&["verify", "--replay", "-o", "table"]).ok();
    assert!(table.contains("2 blocks") && table.contains("nothing"), "{table}");
    // Nothing is left of it.
    let id = fs::read_dir(sandbox.workspace().join("datasets")).unwrap();
    for dir in id.map(|entry| entry.unwrap().path().join("data")) {
        let names = fs::read_dir(&dir).unwrap().map(|file| file.unwrap().file_name());
        let others: Vec<_> = names
            .filter(|name| !name.to_string_lossy().starts_with("f1620"))
            .collect();
        assert!(others.is_empty(), "{others:?}");
    }
    // Columns of the listing are as they were without it.
    let (rows, ..) = verified(&sandbox, &["d"]);
    assert_eq!(rows[0].get("Replayed"), None);
}

#[test]
fn a_forged_row_passes_every_hash_and_is_found_by_computing_again() {
    let sandbox = with_derivatives();
    change_last(&sandbox, "d", |dataset, event| {
        event.new_data = Some(forged(dataset, event.new_data.as_ref().unwrap()));
    });
    sandbox.run(&["verify", "d", "--logical"]).ok();
    let (rows, code, err) = verified(&sandbox, &["d", "--replay"]);
    assert_eq!(code, Some(INTEGRITY), "{err}");
    let last = newest(&sandbox, "d");
    let (sequence, hash) = (&last["Sequence"], last["Hash"].as_str().unwrap());
    let words = format!(
        "d: metadata block {sequence} ({hash}): 1 of its 2 row(s) did not come of the transform, and 1 of 2 row(s) that did are \
         missing; the first is at offset 2"
    );
    assert!(err.contains(&words) && err.contains("Next: "), "{err}");
    let difference = &rows[0]["Difference"];
    assert_eq!(rows[0]["Result"], "differs");
    assert_eq!((&difference["kind"], &difference["block"]), (&json!("rows"), sequence));
    assert_eq!(difference["onlyRecorded"], 1);
    let cities = |side: &str| difference[side][0]["city"].clone();
    assert_eq!(
        (cities("recordedRows"), cities("computedRows")),
        (json!("ELSEWHERE"), json!("LIMA"))
    );
    let table = sandbox.run(&["verify", "d", "--replay", "-o", "table"]);
    let lines: Vec<&str> = table
        .out
        .lines()
        .filter(|line| line.contains("ELSEWHERE") || line.contains("LIMA"))
        .collect();
    assert_eq!(lines.len(), 2, "{}", table.out);
    assert!(lines[0].contains('-') && lines[1].contains('+'), "{lines:?}");
}

#[test]
fn what_a_block_says_of_its_inputs_and_of_time_is_compared_too() {
    type Change = fn(&mut ExecuteTransform);
    let cases: [(&str, &str, Change); 4] = [
        ("interval", "says that rows were read up to offset 2", |event| {
            event.query_inputs[0].new_offset = Some(2);
        }),
        ("interval", "which is not in its chain behind", |event| {
            event.query_inputs[0].new_block_hash = Some(Multihash::sha3_256(b"nowhere"));
        }),
        // Rows of the part before are not read again.
        ("rows", "2 of its 2 row(s) did not come", |event| {
            event.query_inputs[0].new_block_hash = None;
            event.query_inputs[0].new_offset = None;
        }),
        ("watermark", "its watermark is 2030-01-01T00:00:00Z", |event| {
            event.new_watermark = Some("2030-01-01T00:00:00Z".parse().unwrap());
        }),
    ];
    for (kind, words, change) in cases {
        let sandbox = with_derivatives();
        change_last(&sandbox, "d", |_, event| change(event));
        sandbox.run(&["verify", "d", "--logical"]).ok();
        let (rows, code, err) = verified(&sandbox, &["d", "--replay"]);
        assert_eq!(code, Some(INTEGRITY), "{err}");
        assert!(err.contains(words), "{err}");
        assert_eq!(rows[0]["Difference"]["kind"], kind, "{err}");
    }
}

#[test]
fn columns_that_the_transform_does_not_give_are_found_at_their_block() {
    let sandbox = with_derivatives();
    rewrite(&sandbox, "d", |_, event| {
        if let MetadataEvent::SetDataSchema(SetDataSchema {
            schema: Some(schema), ..
        }) = event
        {
            schema.fields.last_mut().unwrap().name = "heard".to_owned();
        }
    });
    let (rows, code, err) = verified(&sandbox, &["d", "--replay"]);
    assert_eq!(code, Some(INTEGRITY), "{err}");
    let difference = &rows[0]["Difference"];
    assert_eq!(
        (&difference["kind"], &difference["block"]),
        (&json!("schema"), &json!(3)),
        "{err}"
    );
    assert!(err.contains("`seen`") && err.contains("`heard`"), "{err}");
}

#[test]
fn runs_of_other_engines_are_checked_by_hash_and_it_is_said() {
    let sandbox = with_derivatives();
    derive(
        &sandbox,
        "elsewhere",
        "[{datasetRef: t}]",
        "{kind: Sql, engine: flink, query: \"select * from t\"}",
    );
    // As if an engine had computed it: the blocks of `d`.
    let workspace = Workspace::open(&sandbox.workspace(), Default::default()).unwrap();
    let catalog = workspace.catalog();
    let (d, mut elsewhere) = (catalog.find("d").unwrap(), catalog.find("elsewhere").unwrap());
    for stored in d.blocks().unwrap() {
        let block = stored.unwrap().block.into_block();
        if let Some(slice) = block.event.new_data() {
            fs::copy(
                d.slice_path(&slice.physical_hash),
                elsewhere.slice_path(&slice.physical_hash),
            )
            .unwrap();
        }
        let is_data = matches!(
            block.event,
            MetadataEvent::SetDataSchema(_) | MetadataEvent::ExecuteTransform(_)
        );
        if is_data {
            let now = block.system_time.max(elsewhere.state().system_time);
            elsewhere.append_events(vec![block.event], now, None).unwrap();
        }
    }
    drop((d, elsewhere, workspace));
    let (rows, code, err) = verified(&sandbox, &["elsewhere", "--replay"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(
        err.contains("elsewhere: 2 block(s) are checked by hash only") && err.contains("`flink`"),
        "{err}"
    );
    let replayed = &rows[0]["Replayed"];
    assert_eq!((&replayed["blocks"], &replayed["byHash"]), (&json!(0), &json!(2)));
}
