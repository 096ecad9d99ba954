//! Values on their way in: what comes out is what went in, or the row is named.

use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use arrow::array::*;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

use super::*;
use odf_ingest::infer::Note;
use odf_metadata::{DataField, DataSchema, ReadStep, ReadStepCsv};

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
        assert_eq!((&column.data_type, column.note), (&DataType::Utf8, Some(Note::Digits)));
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

fn shown(world: &World) -> Vec<String> {
    let short = |row: String| row.splitn(4, ' ').last().unwrap_or_default().to_owned();
    world.rows().into_iter().map(short).collect()
}

fn read_parquet(bytes: Vec<u8>) -> Vec<String> {
    let mut world = World::new();
    world
        .publish(&parquet(bytes, ReadOptions::default()), &Options::default())
        .unwrap();
    shown(&world)
}

#[test]
fn parquet_times_keep_their_digits_before_1970_too_and_within_lists_and_objects() {
    let micros = |values: Vec<i64>| Arc::new(TimestampMicrosecondArray::from(values)) as ArrayRef;
    assert_eq!(
        read_parquet(table(vec![("t", micros(vec![1_000, -1_000]))])),
        ["1970-01-01T00:00:00.001Z", "1969-12-31T23:59:59.999Z"]
    );
    assert_eq!(
        read_parquet(table(vec![("t", micros(vec![1_001, -1]))])),
        ["1970-01-01T00:00:00.001001", "1969-12-31T23:59:59.999999"]
    );
    let nanos = TimestampNanosecondArray::from(vec![Some(1), None]).with_timezone("+02:00");
    assert_eq!(
        read_parquet(table(vec![("t", Arc::new(nanos))])),
        ["1970-01-01T00:00:00.000000001Z", "-"]
    );
    let list = |values: Vec<i64>| {
        let item = Arc::new(Field::new(
            "item",
            DataType::Timestamp(TimeUnit::Microsecond, None),
            true,
        ));
        let offsets = arrow::buffer::OffsetBuffer::from_lengths([1, 1]);
        Arc::new(ListArray::new(item, offsets, micros(values), None)) as ArrayRef
    };
    assert_eq!(
        read_parquet(table(vec![("t", list(vec![0, -2_000]))])),
        ["[1970-01-01T00:00:00Z]", "[1969-12-31T23:59:59.998Z]"]
    );
    assert_eq!(
        read_parquet(table(vec![("t", list(vec![0, 1]))])),
        ["[1970-01-01T00:00:00]", "[1970-01-01T00:00:00.000001]"]
    );
    let object = |values: Vec<i64>| {
        let field = Arc::new(Field::new("x", DataType::Timestamp(TimeUnit::Microsecond, None), true));
        Arc::new(StructArray::from(vec![(field, micros(values))])) as ArrayRef
    };
    assert_eq!(
        read_parquet(table(vec![("o", object(vec![1_000]))])),
        ["{x: 1970-01-01T00:00:00.001Z}"]
    );
    // A dataset of milliseconds refuses what it does not hold, with the row.
    let mut world = World::new();
    world
        .publish(
            &parquet(table(vec![("t", list(vec![0, 0]))]), ReadOptions::default()),
            &Options::default(),
        )
        .unwrap();
    let options = Options {
        changed: Changed::TakeAll,
        ..Options::default()
    };
    let fine = parquet(table(vec![("t", list(vec![0, 1_500]))]), ReadOptions::default());
    let error = world.publish(&fine, &options).unwrap_err().to_string();
    let wanted = "t.parquet, row 2, column `t`: `1970-01-01T00:00:00.001500` has digits below the millisecond";
    assert!(error.starts_with(wanted), "{error}");
    let cut = ReadOptions {
        cut_times: true,
        ..ReadOptions::default()
    };
    let mut world = World::new();
    world
        .publish(
            &parquet(table(vec![("t", micros(vec![-1, 1]))]), cut),
            &Options::default(),
        )
        .unwrap();
    assert_eq!(shown(&world), ["1969-12-31T23:59:59.999Z", "1970-01-01T00:00:00Z"]);
    // Times that no calendar has.
    let far = parquet(
        table(vec![(
            "t",
            Arc::new(TimestampSecondArray::from(vec![i64::MAX / 1_000])),
        )]),
        ReadOptions::default(),
    );
    let error = World::new().publish(&far, &Options::default()).unwrap_err().to_string();
    assert!(
        error.contains("row 1, column `t`: ") && error.contains("lies beyond the times"),
        "{error}"
    );
}

/// INT96 as Spark and Hive write it: nanoseconds of the day, and the Julian day.
mod int96 {
    use ::parquet::data_type::{Int96, Int96Type};
    use ::parquet::file::properties::WriterProperties;
    use ::parquet::file::writer::SerializedFileWriter;
    use ::parquet::schema::parser::parse_message_type;

    use super::*;

    fn julian(time: &str, nanos: u32) -> Int96 {
        let time: Timestamp = time.parse().unwrap();
        let millis = time.millis();
        let (day, of_day) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
        let nanos = u64::try_from(of_day).unwrap() * 1_000_000 + u64::from(nanos);
        let mut value = Int96::new();
        let day = u32::try_from(day + 2_440_588).unwrap();
        value.set_data(nanos as u32, (nanos >> 32) as u32, day);
        value
    }

    /// One leaf column; `levels` are its definition and repetition levels.
    fn file(message: &str, values: &[Int96], levels: Option<(&[i16], &[i16])>) -> Vec<u8> {
        let schema = Arc::new(parse_message_type(message).unwrap());
        let mut bytes = Vec::new();
        let properties = Arc::new(WriterProperties::builder().build());
        let mut writer = SerializedFileWriter::new(&mut bytes, schema, properties).unwrap();
        let mut group = writer.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let (definition, repetition) = (levels.map(|l| l.0), levels.map(|l| l.1));
        column
            .typed::<Int96Type>()
            .write_batch(values, definition, repetition)
            .unwrap();
        column.close().unwrap();
        group.close().unwrap();
        writer.close().unwrap();
        bytes
    }

    const FAR: [&str; 5] = [
        "1000-01-01T00:00:00Z",
        "1677-01-01T00:00:00Z",
        "2000-01-01T01:02:03.456Z",
        "2300-01-01T00:00:00Z",
        "9999-12-31T02:00:00Z",
    ];

    fn far() -> Vec<Int96> {
        FAR.iter().map(|time| julian(time, 0)).collect()
    }

    #[test]
    fn times_far_away_are_what_they_are() {
        let plain = file("message m { required int96 t; }", &far(), None);
        assert_eq!(read_parquet(plain.clone()), FAR);
        // As the event time.
        let mut world = World::new();
        world
            .publish(&parquet(plain.clone(), ReadOptions::default()), &at("t", ""))
            .unwrap();
        let wanted: Vec<String> = FAR
            .iter()
            .enumerate()
            .map(|(row, time)| format!("{row} 0 {time}"))
            .collect();
        assert_eq!(world.rows(), wanted);
        // As a source declares it.
        for (declared, shown) in [
            ("t TIMESTAMP", FAR.map(str::to_owned)),
            ("t STRING", FAR.map(|time| time.trim_end_matches('Z').to_owned())),
        ] {
            let step = ReadStep::Parquet {
                ddl_schema: Some(vec![declared.to_owned()]),
                schema: None,
            };
            assert_eq!(declared_rows(plain.clone(), &step).unwrap(), shown, "{declared}");
        }
        // In objects and lists.
        let object = file("message m { required group o { required int96 t; } }", &far(), None);
        assert_eq!(read_parquet(object), FAR.map(|time| format!("{{t: {time}}}")));
        let list = "message m { required group l (LIST) { repeated group list { required int96 element; } } }";
        let list = file(list, &far(), Some((&[1; 5], &[0, 1, 1, 1, 1])));
        assert_eq!(read_parquet(list), [format!("[{}]", FAR.join(", "))]);
    }

    #[test]
    fn digits_below_the_microsecond_are_not_lost() {
        let fine = |nanos| {
            file(
                "message m { required int96 t; }",
                &[julian(FAR[0], 0), julian(FAR[4], nanos)],
                None,
            )
        };
        assert_eq!(
            read_parquet(fine(123_000)),
            ["1000-01-01T00:00:00", "9999-12-31T02:00:00.000123"]
        );
        let publish = |bytes| World::new().publish(&parquet(bytes, ReadOptions::default()), &Options::default());
        let error = publish(fine(500)).unwrap_err().to_string();
        assert!(
            error.starts_with("t.parquet, row 2, column `t`: `a time` has digits below the microsecond"),
            "{error}"
        );
    }
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

fn declared_csv(value: &str, declared: &str) -> Result<Vec<String>, String> {
    let step = ReadStep::Csv(ReadStepCsv {
        ddl_schema: Some(vec![format!("a {declared}")]),
        ..ReadStepCsv::default()
    });
    declared_rows(format!("{value}\n").into_bytes(), &step)
}

#[test]
fn declared_columns_take_a_value_or_refuse_it() {
    for (value, declared, wanted) in [
        ("1.999", "DECIMAL(10,2)", "2.00"),
        ("2.675", "DECIMAL(10,2)", "2.68"),
        ("-2.675", "DECIMAL(10,2)", "-2.68"),
        ("99999999.99", "DECIMAL(10,2)", "99999999.99"),
        ("1.5e1", "DECIMAL(10,2)", "15.00"),
        ("2024-01-01 08:30", "TIMESTAMP", "2024-01-01T08:30:00Z"),
        ("2024-01-01T08:30+02:00", "TIMESTAMP", "2024-01-01T06:30:00Z"),
        ("2024-01-02T00:00:00Z", "DATE", "2024-01-02"),
        ("20240102", "DATE", "2024-01-02"),
        ("0.1000000000000000055", "DOUBLE", "0.1"),
        ("007", "STRING", "007"),
        ("007", "INT", "7"),
        ("3.0", "INT", "3"),
    ] {
        assert_eq!(declared_csv(value, declared).unwrap(), [wanted], "{value} {declared}");
    }
    for (value, declared, reason) in [
        ("99999999.995", "DECIMAL(10,2)", "is not a Decimal(10, 2)"),
        ("1704067200", "TIMESTAMP", NO_UNIT),
        ("1700000000000", "TIMESTAMP", NO_UNIT),
        ("0", "TIMESTAMP", NO_UNIT),
        ("2024", "DATE", "is not a Date"),
        (
            "2024-01-01T00:00:00.123456Z",
            "TIMESTAMP",
            "has digits below the millisecond",
        ),
        ("2024-01-02T03:04:05Z", "DATE", "has a time of day"),
        ("1/2/2024", "DATE", "is not a Date"),
        ("1e400", "DOUBLE", "is beyond the floats"),
        ("1e39", "FLOAT", "is beyond the floats"),
        ("1234567890123456789", "DOUBLE", "has more digits than the floats"),
        ("123.00000000000000000001", "BIGINT", "is not an Int64"),
        ("1 000", "INT", "is not an Int32"),
        ("1_000", "INT", "is not an Int32"),
    ] {
        let error = declared_csv(value, declared).unwrap_err();
        let wanted = format!("t.csv, line 1, column `a`: `{value}` {reason}");
        assert!(error.starts_with(&wanted), "{error}");
    }
    let error = declared_csv("\"1,000\"", "INT").unwrap_err();
    assert!(error.contains("`1,000` is not an Int32"), "{error}");
}

#[test]
fn declared_types_of_parquet_columns_change_no_value_either() {
    let read = |array: ArrayRef, declared: &str| {
        let step = ReadStep::Parquet {
            ddl_schema: Some(vec![format!("a {declared}")]),
            schema: None,
        };
        declared_rows(table(vec![("a", array)]), &step)
    };
    let floats = |value: f64| Arc::new(Float64Array::from(vec![1.0, value])) as ArrayRef;
    let integers = |value: i64| Arc::new(Int64Array::from(vec![1, value])) as ArrayRef;
    let texts = |value: &str| Arc::new(StringArray::from(vec!["1", value])) as ArrayRef;
    for (array, declared, wanted) in [
        (floats(3.0), "BIGINT", "3"),
        (integers(1 << 53), "DOUBLE", "9007199254740992.0"),
        (texts("2.675"), "DECIMAL(10,2)", "2.68"),
        (texts("1.5e3"), "BIGINT", "1500"),
    ] {
        assert_eq!(read(array, declared).unwrap()[1], wanted, "{declared}");
    }
    let list = |values: Vec<i64>| {
        let item = Arc::new(Field::new("item", DataType::Int64, true));
        let offsets = arrow::buffer::OffsetBuffer::from_lengths([1, values.len() - 1]);
        Arc::new(ListArray::new(item, offsets, Arc::new(Int64Array::from(values)), None)) as ArrayRef
    };
    assert_eq!(read(list(vec![1, 2, 3]), "ARRAY<INT>").unwrap(), ["[1]", "[2, 3]"]);
    for (array, declared, reason) in [
        (floats(1.5), "BIGINT", "`1.5` is not an Int64"),
        (
            floats(1e300),
            "FLOAT",
            "has digits, or a size, that the floats of this column do not keep",
        ),
        (integers((1 << 53) + 1), "DOUBLE", "has digits, or a size"),
        (integers(2), "BOOLEAN", "`2` is not a Bool"),
        (
            list(vec![1, 2, 1 << 40]),
            "ARRAY<INT>",
            "`1099511627776` is not an Int32",
        ),
        (texts("1.5"), "BIGINT", "`1.5` is not an Int64"),
        (texts("1704067200"), "TIMESTAMP", "is not"),
        (
            Arc::new(TimestampMillisecondArray::from(vec![0, 1])),
            "DATE NOT NULL",
            "has a time of day",
        ),
        (
            Arc::new(TimestampMicrosecondArray::from(vec![0, 1])),
            "TIMESTAMP",
            "has digits below the millisecond",
        ),
    ] {
        let error = read(array, declared).unwrap_err();
        let row = if declared == "TIMESTAMP" && error.contains("`1` ") {
            1
        } else {
            2
        };
        assert!(
            error.starts_with(&format!("t.parquet, row {row}, column `a`: ")),
            "{error}"
        );
        assert!(row == 1 || error.contains(reason), "{error}");
    }
}

#[test]
fn a_source_says_the_unit_of_its_integers() {
    let schema = |unit| DataSchema {
        fields: vec![DataField::new(
            "t",
            odf_metadata::DataType::Timestamp {
                unit: Some(unit),
                timezone: None,
            },
        )],
        extra: None,
    };
    let ndjson = |unit, text: &str| {
        let step = ReadStep::NdJson {
            ddl_schema: None,
            date_format: None,
            encoding: None,
            timestamp_format: None,
            schema: Some(schema(unit)),
        };
        declared_rows(format!("{{\"t\":{text}}}\n").into_bytes(), &step)
    };
    use odf_metadata::TimeUnit::{Millisecond, Second};
    // As kamu reads JSON: a number counts the declared unit.
    assert_eq!(ndjson(Second, "1704067200").unwrap(), ["2024-01-01T00:00:00Z"]);
    assert_eq!(ndjson(Millisecond, "1704067200000").unwrap(), ["2024-01-01T00:00:00Z"]);
    assert_eq!(ndjson(Millisecond, "1e12").unwrap(), ["2001-09-09T01:46:40Z"]);
    let error = ndjson(Second, "\"2024-01-01T00:00:00.5Z\"").unwrap_err();
    assert!(error.contains("has digits below the second"), "{error}");
    let error = ndjson(Millisecond, "1.5").unwrap_err();
    assert!(error.contains("`1.5` is not a Timestamp"), "{error}");
}
