//! Rows as text.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use arrow::array::{
    Date32Array, Date64Array, DurationSecondArray, Float64Array, Int64Array, ListArray, MapBuilder, Time32SecondArray,
    TimestampMillisecondArray, TimestampNanosecondArray,
};
use arrow::datatypes::{Float64Type, Int32Type};

use super::*;
use crate::io::Cancel;

/// Keeps what is written.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A reader that has gone away.
struct Gone;

impl Write for Gone {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

fn written(batches: &[RecordBatch], schema: &SchemaRef, format: Format) -> String {
    let kept = Kept::default();
    let mut io = Io::apart(kept.clone(), Cancel::new());
    write(schema, batches.iter().cloned().map(Ok::<_, Failure>), format, &mut io).unwrap();
    io.finish().unwrap();
    let bytes = kept.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

fn text(columns: Vec<(&str, ArrayRef)>, format: Format) -> String {
    let batch = batch(columns);
    written(std::slice::from_ref(&batch), &batch.schema(), format)
}

fn numbers(range: std::ops::Range<i64>) -> RecordBatch {
    batch(vec![("n", Arc::new(Int64Array::from_iter_values(range)))])
}

/// A list, a struct with a time in it, and a map.
fn nested() -> Vec<(&'static str, ArrayRef)> {
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None, Some(vec![])]);
    let times = TimestampMillisecondArray::from(vec![Some(0), None, Some(i64::MAX)]).with_timezone("UTC");
    let structs = StructArray::from(vec![
        (
            Arc::new(Field::new("at", times.data_type().clone(), true)),
            Arc::new(times) as ArrayRef,
        ),
        (
            Arc::new(Field::new("x", DataType::Utf8, true)),
            Arc::new(StringArray::from(vec![Some("a,\"b\""), Some("c"), None])),
        ),
    ]);
    let mut maps = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    maps.keys().append_value("k");
    maps.values().append_value("v");
    for valid in [true, true, false] {
        maps.append(valid).unwrap();
    }
    vec![
        ("l", Arc::new(lists)),
        ("s", Arc::new(structs)),
        ("m", Arc::new(maps.finish())),
    ]
}

#[test]
fn cells_of_csv_hold_lists_structs_and_maps_as_json() {
    let expected = "l,s,m\n\
        \"[1,null]\",\"{\"\"at\"\":\"\"1970-01-01T00:00:00Z\"\",\"\"x\"\":\"\"a,\\\"\"b\\\"\"\"\"}\",\"{\"\"k\"\":\"\"v\"\"}\"\n\
        ,\"{\"\"at\"\":null,\"\"x\"\":\"\"c\"\"}\",{}\n\
        [],\"{\"\"at\"\":\"\"9223372036854775807 ms since 1970-01-01\"\",\"\"x\"\":null}\",\n";
    assert_eq!(text(nested(), Format::Csv), expected);
    let json: serde_json::Value = serde_json::from_str(&text(nested(), Format::Json)).unwrap();
    assert_eq!(
        json[2],
        serde_json::json!({"l": [], "s": {"at": "9223372036854775807 ms since 1970-01-01", "x": null}, "m": null})
    );
}

#[test]
fn rows_and_columns_as_arrays_keep_every_value_in_its_place() {
    assert_eq!(
        text(nested(), Format::JsonAoa),
        "[[[1,null],[\"1970-01-01T00:00:00Z\",\"a,\\\"b\\\"\"],{\"k\":\"v\"}],[null,[null,\"c\"],{}],\
         [[],[\"9223372036854775807 ms since 1970-01-01\",null],null]]\n"
    );
    let columns: serde_json::Value = serde_json::from_str(&text(nested(), Format::JsonSoa)).unwrap();
    let rows: serde_json::Value = serde_json::from_str(&text(nested(), Format::Json)).unwrap();
    for column in ["l", "s", "m"] {
        for row in 0..3 {
            assert_eq!(columns[column][row], rows[row][column], "{column} {row}");
        }
    }
    let (first, second) = (numbers(0..2), numbers(2..3));
    let schema = first.schema();
    let both = [first, second];
    assert_eq!(written(&both, &schema, Format::JsonAoa), "[[0],[1],[2]]\n");
    assert_eq!(written(&both, &schema, Format::JsonSoa), "{\"n\":[0,1,2]}\n");
    assert_eq!(written(&[], &schema, Format::JsonAoa), "[]\n");
    assert_eq!(written(&[], &schema, Format::JsonSoa), "{\"n\":[]}\n");
}

#[test]
fn columns_that_no_memory_may_hold_are_refused_with_a_way_on() {
    let batch = numbers(0..4);
    let columns = |most| {
        let mut io = Io::apart(io::sink(), Cancel::new());
        let rows = std::iter::once(Ok::<_, Failure>(batch.clone()));
        json::columns_within(most, &batch.schema(), rows, Floats::Text, &mut io)
    };
    columns("0,1,2,3".len()).unwrap();
    let failure = columns("0,1,2,3".len() - 1).unwrap_err();
    assert_eq!(failure.kind(), crate::failure::Kind::Usage);
    assert!(failure.next_step().unwrap().contains("-o ndjson"));
}

#[test]
fn nothing_and_an_empty_text_differ_in_csv() {
    let columns = || -> Vec<(&str, ArrayRef)> {
        let values = StringArray::from(vec![Some(""), None, Some(" "), Some("a,\"b\""), Some("x\ny")]);
        let words: ArrayRef = Arc::new(values.clone());
        vec![
            ("say \"a\", b", Arc::new(values)),
            (
                "coded",
                cast(
                    &words,
                    &DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
                )
                .unwrap(),
            ),
            (
                "n",
                Arc::new(Int64Array::from(vec![None, Some(1), None, Some(2), None])),
            ),
        ]
    };
    assert_eq!(
        text(columns(), Format::Csv),
        "\"say \"\"a\"\", b\",coded,n\n\
         \"\",\"\",\n\
         ,,1\n \
         , ,\n\
         \"a,\"\"b\"\"\",\"a,\"\"b\"\"\",2\n\
         \"x\ny\",\"x\ny\",\n"
    );
}

#[test]
fn floats_that_are_no_numbers_are_told_from_nothing() {
    let values = || {
        [
            Some(1.5),
            Some(f64::NAN),
            None,
            Some(f64::INFINITY),
            Some(f64::NEG_INFINITY),
        ]
    };
    let floats: ArrayRef = Arc::new(Float64Array::from_iter(values()));
    let lines = text(vec![("f", floats.clone())], Format::Ndjson);
    assert_eq!(
        lines,
        "{\"f\":1.5}\n{\"f\":\"NaN\"}\n{\"f\":null}\n{\"f\":\"inf\"}\n{\"f\":\"-inf\"}\n"
    );
    let narrow = cast(&floats, &DataType::Float32).unwrap();
    assert_eq!(text(vec![("f", narrow)], Format::Ndjson), lines);
    let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>([Some(values())]));
    let lists = vec![("l", lists)];
    let list = "[1.5,\"NaN\",null,\"inf\",\"-inf\"]";
    assert_eq!(text(lists.clone(), Format::Ndjson), format!("{{\"l\":{list}}}\n"));
    // As in kamu; that it was done is said beside.
    assert_eq!(
        text(lists.clone(), Format::Json),
        "[{\"l\":[1.5,null,null,null,null]}]\n"
    );
    assert_eq!(
        text(lists, Format::Csv),
        format!("l\n\"{}\"\n", list.replace('"', "\"\""))
    );
}

#[test]
fn times_beyond_the_calendar_are_numbers_and_no_messages() {
    let columns = || -> Vec<(&str, ArrayRef)> {
        vec![
            (
                "t",
                Arc::new(TimestampMillisecondArray::from(vec![1, i64::MIN]).with_timezone("UTC")),
            ),
            ("n", Arc::new(TimestampNanosecondArray::from(vec![1, i64::MAX]))),
            ("d", Arc::new(Date32Array::from(vec![-1, i32::MAX]))),
            ("c", Arc::new(Time32SecondArray::from(vec![3_723, 90_000]))),
            ("p", Arc::new(DurationSecondArray::from(vec![1, i64::MAX]))),
        ]
    };
    assert_eq!(
        text(columns(), Format::Csv),
        "t,n,d,c,p\n\
         1970-01-01T00:00:00.001Z,1970-01-01T00:00:00.000000001,1969-12-31,01:02:03,PT1S\n\
         -9223372036854775808 ms since 1970-01-01,2262-04-11T23:47:16.854775807,2147483647 days since 1970-01-01,90000 s since \
         midnight,9223372036854775807 s\n"
    );
    for format in [Format::Json, Format::Ndjson, Format::Table] {
        let text = text(columns(), format);
        assert!(!text.contains("ERROR"), "{text}");
        // A table breaks lines between words.
        assert!(text.contains("-9223372036854775808"), "{text}");
    }
}

#[test]
fn instants_are_shown_in_utc_whatever_their_zone() {
    for zone in ["UTC", "+02:00", "Europe/Oslo"] {
        let times = TimestampMillisecondArray::from(vec![0]).with_timezone(zone);
        assert_eq!(
            text(vec![("t", Arc::new(times))], Format::Ndjson),
            "{\"t\":\"1970-01-01T00:00:00Z\"}\n"
        );
    }
}

#[test]
fn dates_that_are_counted_in_milliseconds_are_dates_where_no_time_of_day_is_lost() {
    const DAY: i64 = 86_400_000;
    let days: ArrayRef = Arc::new(Date64Array::from(vec![Some(DAY), None, Some(DAY + 1)]));
    for (format, written) in [
        (Format::Csv, "1970-01-02\n\n1970-01-02T00:00:00.001\n"),
        (
            Format::Ndjson,
            "{\"d\":\"1970-01-02\"}\n{\"d\":null}\n{\"d\":\"1970-01-02T00:00:00.001\"}\n",
        ),
    ] {
        let text = text(vec![("d", days.clone())], format);
        assert!(text.ends_with(written), "{text}");
    }
}

#[test]
fn batches_are_one_listing() {
    let (first, second) = (numbers(0..2), numbers(2..3));
    let schema = first.schema();
    let both = [first, second];
    assert_eq!(
        written(&both, &schema, Format::Json),
        "[{\"n\":0},{\"n\":1},{\"n\":2}]\n"
    );
    assert_eq!(
        written(&both, &schema, Format::Ndjson),
        "{\"n\":0}\n{\"n\":1}\n{\"n\":2}\n"
    );
    assert_eq!(written(&both, &schema, Format::Csv), "n\n0\n1\n2\n");
    let table = written(&both, &schema, Format::Table);
    assert_eq!(table.matches(" n ").count(), 1, "{table}");
    assert_eq!(written(&[], &schema, Format::Json), "[]\n");
    assert_eq!(written(&[], &schema, Format::Ndjson), "");
    assert_eq!(written(&[], &schema, Format::Csv), "n\n");
}

#[test]
fn many_rows_are_several_tables() {
    let rows = i64::try_from(TABLE_ROWS).unwrap() * 2;
    let batch = numbers(0..rows + 1);
    let table = written(std::slice::from_ref(&batch), &batch.schema(), Format::Table);
    assert_eq!(table.matches(" n ").count(), 3);
    for row in [0, rows - 1, rows] {
        assert!(table.contains(&format!(" {row} ")), "{row}");
    }
}

#[test]
fn a_reader_that_goes_away_is_told_as_that_in_every_form() {
    let batch = numbers(0..100_000);
    for format in [Format::Table, Format::Json, Format::Ndjson, Format::Csv] {
        let mut io = Io::apart(Gone, Cancel::new());
        let rows = std::iter::once(Ok::<_, Failure>(batch.clone()));
        let failure = write(&batch.schema(), rows, format, &mut io)
            .and_then(|()| io.finish())
            .unwrap_err();
        assert_eq!(failure.kind(), crate::failure::Kind::PipeClosed, "{format:?}");
    }
}

#[test]
fn rows_without_end_stop_when_the_user_wants_it() {
    let batch = numbers(0..10);
    let cancel = Cancel::new();
    let mut io = Io::apart(io::sink(), cancel.clone());
    let mut given = 0;
    let rows = std::iter::from_fn(|| {
        given += 1;
        if given == 3 {
            cancel.set();
        }
        Some(Ok::<_, Failure>(batch.clone()))
    });
    let failure = write(&batch.schema(), rows, Format::Ndjson, &mut io).unwrap_err();
    assert_eq!(failure.kind(), crate::failure::Kind::Interrupted);
}
