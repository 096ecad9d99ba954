//! Values on their way in: what comes out is what went in, or the row is named.

mod declared;
mod times;

use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use arrow::array::*;
use arrow::datatypes::{DataType, Field, Schema};

use super::*;
use odf_ingest::infer::Note;
use odf_metadata::ReadStep;

/// Rows of the dataset that a text was published into, or the refusal.
fn published(text: &str, format: Format, options: &Options) -> Result<Vec<String>, String> {
    let mut world = World::new();
    let published = world.publish_text(text, format, options);
    published.map(|_| world.rows()).map_err(|error| error.to_string())
}

fn with_types(types: &str) -> Options {
    Options {
        types: parse_types(types).unwrap(),
        ..Options::default()
    }
}

fn at(column: &str, types: &str) -> Options {
    Options {
        event_time: Some(column.to_owned()),
        ..with_types_or_none(types)
    }
}

fn with_types_or_none(types: &str) -> Options {
    if types.is_empty() {
        Options::default()
    } else {
        with_types(types)
    }
}

fn keyed_by(column: &str) -> Options {
    Options {
        merge: merge_option(None, vec![column.to_owned()]).unwrap(),
        ..Options::default()
    }
}

fn ndjson(csv: &str) -> String {
    let mut lines = csv.lines();
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    let object = |line: &str| {
        let members = names.iter().zip(line.split(','));
        let members: Vec<String> = members.map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}\n", members.join(","))
    };
    lines.map(object).collect()
}

const NO_UNIT: &str = "is a number, and nothing says in which unit it counts since 1970";

#[test]
fn integers_in_a_time_column_need_a_unit_wherever_they_come_from() {
    let seconds = "event_time,v\n1704067200,1\n";
    let year = "year,v\n2024,1\n";
    for format in [Format::Csv, Format::Ndjson] {
        let write = |csv: &str| match format {
            Format::Csv => csv.to_owned(),
            _ => ndjson(csv),
        };
        let line = if format == Format::Csv { 2 } else { 1 };
        for (text, options, column, value) in [
            (seconds, Options::default(), "event_time", "1704067200"),
            (year, at("year", ""), "year", "2024"),
            ("v,t\n1,1704067200000\n", at("t", ""), "t", "1704067200000"),
            ("v,t\n1,0\n", at("t", ""), "t", "0"),
            ("v,t\n1,-5\n", with_types("t TIMESTAMP"), "t", "-5"),
        ] {
            let error = published(&write(text), format, &options).unwrap_err();
            let wanted = format!("t.{format}, line {line}, column `{column}`: `{value}` {NO_UNIT}");
            assert!(error.starts_with(&wanted), "{error}");
            assert!(error.contains("TIMESTAMP(0)"), "{error}");
        }
        for (text, options, wanted) in [
            (
                seconds,
                with_types("event_time TIMESTAMP(0)"),
                "0 0 2024-01-01T00:00:00Z 1",
            ),
            (
                "event_time,v\n1704067200123,1\n",
                with_types("event_time TIMESTAMP(3)"),
                "0 0 2024-01-01T00:00:00.123Z 1",
            ),
            (
                "event_time,v\n1704067200123000,1\n",
                with_types("event_time TIMESTAMP(6)"),
                "0 0 2024-01-01T00:00:00.123Z 1",
            ),
            (
                "event_time,v\n1704067200123000000,1\n",
                with_types("event_time TIMESTAMP(9)"),
                "0 0 2024-01-01T00:00:00.123Z 1",
            ),
            // Not only the event time.
            (
                "v,t\n1,-1\n",
                with_types("t TIMESTAMP(0)"),
                "0 0 2026-06-01T00:00:00.500Z 1 1969-12-31T23:59:59Z",
            ),
        ] {
            assert_eq!(published(&write(text), format, &options).unwrap(), [wanted], "{text}");
        }
        let error = published(
            &write("event_time,v\n1704067200123456,1\n"),
            format,
            &with_types("event_time TIMESTAMP(6)"),
        );
        assert!(error.unwrap_err().contains("has digits below the millisecond"));
        let error = published(
            &write("event_time,v\n9223372036854775807,1\n"),
            format,
            &with_types("event_time TIMESTAMP(0)"),
        );
        assert!(error.unwrap_err().contains("lies beyond the times"));
    }
}

#[test]
fn the_unit_is_written_down_and_holds_for_later_rows_however_they_come() {
    for (format, types, first, second) in [
        (Format::Csv, "event_time TIMESTAMP(0)", "1704067200", "1704153600"),
        (Format::Csv, "event_time TIMESTAMP(3)", "1704067200000", "1704153600000"),
        (Format::Ndjson, "event_time TIMESTAMP(0)", "1704067200", "1704153600"),
        (
            Format::Ndjson,
            "event_time TIMESTAMP(3)",
            "1704067200000",
            "1704153600000",
        ),
    ] {
        let write = |values: &[&str]| {
            let csv = values
                .iter()
                .fold("event_time,v\n".to_owned(), |csv, value| csv + value + ",1\n");
            match format {
                Format::Csv => csv,
                _ => ndjson(&csv),
            }
        };
        let rows = ["0 0 2024-01-01T00:00:00Z 1", "1 0 2024-01-02T00:00:00Z 1"];
        // Pushed.
        let mut world = World::new();
        world
            .publish_text(&write(&[first]), format, &with_types(types))
            .unwrap();
        let file = world.dir.path().join("more");
        std::fs::write(&file, write(&[second])).unwrap();
        let mut dataset = world.dataset();
        let progress = &mut |_| ControlFlow::Continue(());
        push(&mut dataset, "more", &file, &PushOptions::default(), hour(5), progress).unwrap();
        assert_eq!(world.rows(), rows, "{format} {types}");
        // Published again, longer.
        let mut world = World::new();
        world
            .publish_text(&write(&[first]), format, &with_types(types))
            .unwrap();
        world
            .publish_text(&write(&[first, second]), format, &Options::default())
            .unwrap();
        assert_eq!(world.rows(), rows, "{format} {types}");
    }
    // Where times were text, CSV integers are refused later too.
    let mut world = World::new();
    let text = "event_time,v\n2024-01-01T00:00:00Z,1\n";
    world.publish_text(text, Format::Csv, &Options::default()).unwrap();
    let longer = format!("{text}1704153600,2\n");
    let error = world
        .publish_text(&longer, Format::Csv, &Options::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with(&format!("t.csv, line 3, column `event_time`: `1704153600` {NO_UNIT}")),
        "{error}"
    );
    let file = world.dir.path().join("more.csv");
    std::fs::write(&file, "event_time,v\n1704153600,2\n").unwrap();
    let progress = &mut |_| ControlFlow::Continue(());
    let pushed = push(
        &mut world.dataset(),
        "more",
        &file,
        &PushOptions::default(),
        hour(5),
        progress,
    );
    let error = pushed.unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("more, line 2, column `event_time`: `1704153600` {NO_UNIT}")),
        "{error}"
    );
}

#[test]
fn numbers_that_a_float_would_change_are_text_and_it_is_said() {
    let text = "id,w\n1234567890123456789,1e400\nNaN,2\n";
    let source = World::source(text, Format::Csv);
    let inferred = source
        .infer(text.len() as u64, &mut |_| ControlFlow::Continue(()))
        .unwrap();
    for column in &inferred.columns {
        assert_eq!(
            (&column.data_type, &column.note),
            (&DataType::Utf8, &Some(Note::Digits))
        );
    }
    assert_eq!(
        published(text, Format::Csv, &Options::default()).unwrap(),
        [
            "0 0 2026-06-01T00:00:00.500Z 1234567890123456789 1e400",
            "1 0 2026-06-01T00:00:00.500Z NaN 2"
        ]
    );
    let json = "{\"id\":1234567890123456789,\"w\":1e400}\n{\"id\":0.5,\"w\":2}\n";
    assert_eq!(
        published(json, Format::Ndjson, &Options::default()).unwrap(),
        [
            "0 0 2026-06-01T00:00:00.500Z 1234567890123456789 1e400",
            "1 0 2026-06-01T00:00:00.500Z 0.5 2"
        ]
    );
    let decimal = ReadOptions {
        decimal: true,
        ..ReadOptions::default()
    };
    let text = "id\n1234567890123456789\n0.25\n";
    let source = Source::bytes("t.csv", Bytes::from_static(text.as_bytes()), Format::Csv, decimal);
    let mut world = World::new();
    world.publish(&source, &Options::default()).unwrap();
    assert_eq!(
        world.rows(),
        [
            "0 0 2026-06-01T00:00:00.500Z 1234567890123456789.00",
            "1 0 2026-06-01T00:00:00.500Z 0.25"
        ]
    );
    // A type that is said holds, and what does not fit it is refused.
    let error = published("id\n1\nNaN\n", Format::Csv, &with_types("id BIGINT")).unwrap_err();
    assert!(
        error.starts_with("t.csv, line 3, column `id`: `NaN` is not an Int64"),
        "{error}"
    );
    let rows = published("id\n1\n2.50\n", Format::Csv, &with_types("id DECIMAL(5,2)")).unwrap();
    assert_eq!(rows[1], "1 0 2026-06-01T00:00:00.500Z 2.50");
    let error = published("id\n1.23e-5\n", Format::Csv, &with_types("id DECIMAL(5,2)")).unwrap_err();
    assert!(error.contains("`1.23e-5` is not a Decimal(5, 2)"), "{error}");
    let error = published("id\n1\n", Format::Csv, &with_types("no BIGINT")).unwrap_err();
    assert_eq!(error, "t.csv, column `no`: no such column; the file has id");
}

#[test]
fn a_number_that_the_floats_of_a_dataset_do_not_keep_is_refused() {
    for (more, reason) in [
        (
            "1234567890123456789",
            "has more digits than the floats of this column keep",
        ),
        (
            "10.123456789012345678",
            "has more digits than the floats of this column keep",
        ),
        ("1e400", "is beyond the floats of this column"),
        ("1e-400", "is beyond the floats of this column"),
    ] {
        let mut world = World::new();
        world
            .publish_text("w\n0.5\n", Format::Csv, &Options::default())
            .unwrap();
        let text = format!("w\n0.5\n{more}\n");
        let error = world
            .publish_text(&text, Format::Csv, &Options::default())
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with(&format!("t.csv, line 3, column `w`: `{more}` {reason}")),
            "{error}"
        );
    }
    let mut world = World::new();
    world
        .publish_text("w\n0.5\n", Format::Csv, &Options::default())
        .unwrap();
    let error = world
        .publish_text("w\n0.5\n1\n", Format::Csv, &with_types("w BIGINT"))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the column `w` of the dataset is Float64; it cannot become Int64"
    );
}

#[test]
fn keys_that_differ_below_the_millisecond_are_two_rows_or_refused() {
    let first = "ts,v\n2024-01-01T00:00:00.123100Z,1\n";
    let both = format!("{first}2024-01-01T00:00:00.123900Z,2\n");
    let mut world = World::new();
    world.publish_text(first, Format::Csv, &keyed_by("ts")).unwrap();
    updated(world.publish_text(&both, Format::Csv, &keyed_by("ts")));
    assert_eq!(
        world.rows(),
        [
            "0 0 2026-06-01T00:00:00.500Z 2024-01-01T00:00:00.123100Z 1",
            "1 0 2026-06-01T01:00:00.500Z 2024-01-01T00:00:00.123900Z 2"
        ]
    );
    // Where the dataset has milliseconds already.
    let mut world = World::new();
    let first = "ts,v\n2024-01-01T00:00:00.123Z,1\n";
    world.publish_text(first, Format::Csv, &keyed_by("ts")).unwrap();
    let both = format!("{first}2024-01-01T00:00:00.123900Z,2\n");
    let error = world
        .publish_text(&both, Format::Csv, &keyed_by("ts"))
        .unwrap_err()
        .to_string();
    let wanted = "t.csv, line 3, column `ts`: `2024-01-01T00:00:00.123900Z` has digits below the millisecond";
    assert!(error.starts_with(wanted), "{error}");
    // An event time is no text.
    let fine = "event_time,v\n1969-12-31T23:59:59.9999Z,1\n";
    let error = published(fine, Format::Csv, &Options::default()).unwrap_err();
    assert!(error.starts_with("t.csv, line 2, column `event_time`: "), "{error}");
    assert!(error.contains("--cut-times"), "{error}");
    let cut = ReadOptions {
        cut_times: true,
        ..ReadOptions::default()
    };
    let source = Source::bytes("t.csv", Bytes::from_static(fine.as_bytes()), Format::Csv, cut);
    let mut world = World::new();
    world.publish(&source, &Options::default()).unwrap();
    assert_eq!(world.rows(), ["0 0 1969-12-31T23:59:59.999Z 1"]);
}

fn table(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let field = |(name, array): &(&str, ArrayRef)| Field::new(*name, array.data_type().clone(), true);
    let fields: Vec<Field> = columns.iter().map(field).collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn parquet(bytes: Vec<u8>, options: ReadOptions) -> Source {
    Source::bytes("t.parquet", Bytes::from(bytes), Format::Parquet, options)
}

/// What a read step makes of a table.
fn declared_rows(bytes: Vec<u8>, step: &ReadStep) -> Result<Vec<String>, String> {
    let name = format!("t.{}", Format::of_step(step));
    let content = odf_ingest::source::Content::Bytes(Bytes::from(bytes));
    let source = Source::for_step(&name, content, step).map_err(|error| error.to_string())?;
    let columns = source.declared().unwrap().columns.iter();
    let fields = columns
        .map(|c| Field::new(&c.name, c.data_type.clone(), c.nullable))
        .collect();
    let shape = odf_ingest::shape::Shape::new(fields, None);
    let end = source.len().unwrap();
    let span = odf_ingest::source::Span { start: 0, line: 0, end };
    let mut batches = source.rows(&shape, span).map_err(|error| error.to_string())?;
    let mut rows = Vec::new();
    while let Some(batch) = batches.next_batch().map_err(|error| error.to_string())? {
        rows.extend(lines(&batch));
    }
    Ok(rows)
}
