//! Columns of results; how whole runs behave is tested through the binary.

use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _, Date32Array, Int8Array, RecordBatch, TimestampNanosecondArray};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMillisecondType};

use super::*;
use odf_ingest::FitError;
use odf_ingest::infer::timestamp;
use odf_metadata::Vocabulary;

fn schema(fields: &[(&str, DataType, bool)]) -> SchemaRef {
    let fields = fields
        .iter()
        .map(|(name, data_type, nullable)| Field::new(*name, data_type.clone(), *nullable));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn output(fields: &[(&str, DataType, bool)]) -> Result<Output, TransformError> {
    Output::new(&schema(fields), &Vocabulary::default(), None)
}

#[test]
fn system_columns_stand_before_the_others() {
    let nanos = DataType::Timestamp(TimeUnit::Nanosecond, None);
    let result = schema(&[
        ("x", DataType::Int8, true),
        ("event_time", nanos.clone(), false),
        ("op", DataType::Int8, false),
    ]);
    let output = Output::new(&result, &Vocabulary::default(), None).unwrap();
    let expected = schema(&[
        ("offset", DataType::Int64, false),
        ("op", DataType::Int32, false),
        ("system_time", timestamp(), false),
        ("event_time", timestamp(), false),
        ("x", DataType::Int8, true),
    ]);
    assert_eq!(*output.schema(), expected);
    let batch = RecordBatch::try_new(
        result,
        vec![
            Arc::new(Int8Array::from(vec![Some(1), None])),
            Arc::new(TimestampNanosecondArray::from(vec![1_999_999, 2_000_000])),
            Arc::new(Int8Array::from(vec![2, 3])),
        ],
    )
    .unwrap();
    let now = "2026-01-01T00:00:00.123456Z".parse().unwrap();
    let rows = output.complete(&batch, 7, now).unwrap();
    assert_eq!(rows.column(0).as_primitive::<Int64Type>().values(), &[7, 8]);
    assert_eq!(rows.column(1).as_primitive::<Int32Type>().values(), &[2, 3]);
    let times = |at: usize| {
        rows.column(at)
            .as_primitive::<TimestampMillisecondType>()
            .values()
            .to_vec()
    };
    assert_eq!(times(2), [now.millis(), now.millis()]);
    assert_eq!(times(3), [1, 2]);
    assert!(rows.column(4).is_null(1));
}

#[test]
fn rows_are_appended_where_no_query_says_otherwise() {
    let output = output(&[("event_time", DataType::Date32, false)]).unwrap();
    let result = schema(&[("event_time", DataType::Date32, false)]);
    let batch = RecordBatch::try_new(result, vec![Arc::new(Date32Array::from(vec![1]))]).unwrap();
    let rows = output
        .complete(&batch, 0, "2026-01-01T00:00:00Z".parse().unwrap())
        .unwrap();
    assert_eq!(rows.column(1).as_primitive::<Int32Type>().values(), &[0]);
}

#[test]
fn columns_that_cannot_be_are_refused() {
    let time = ("event_time", timestamp(), false);
    assert!(matches!(
        output(&[time.clone(), ("offset", DataType::Int64, false)]),
        Err(TransformError::Reserved(name)) if name == "offset"
    ));
    assert!(matches!(
        output(&[time.clone(), ("system_time", timestamp(), false)]),
        Err(TransformError::Reserved(_))
    ));
    assert!(matches!(
        output(&[("x", DataType::Int64, false)]),
        Err(TransformError::NoEventTime { .. })
    ));
    assert!(matches!(
        output(&[("event_time", DataType::Utf8, false)]),
        Err(TransformError::Fit(FitError::EventTime { .. }))
    ));
    assert!(matches!(
        output(&[time, ("op", DataType::Int64, false)]),
        Err(TransformError::Fit(FitError::Operation { .. }))
    ));
}

#[test]
fn later_results_have_the_columns_of_the_first() {
    let first = output(&[("event_time", timestamp(), false), ("x", DataType::Int64, false)]).unwrap();
    let declared = SetDataSchema {
        raw_arrow_schema: None,
        schema: Some(from_arrow(first.schema()).unwrap()),
    };
    let fit = |fields: &[(&str, DataType, bool)]| {
        Output::new(&schema(fields), &Vocabulary::default(), Some(&declared)).map(|_| ())
    };
    fit(&[("event_time", timestamp(), false), ("x", DataType::Int64, false)]).unwrap();
    for fields in [
        &[("event_time", timestamp(), false)][..],
        &[("event_time", timestamp(), false), ("y", DataType::Int64, false)],
        &[("event_time", timestamp(), false), ("x", DataType::Int32, false)],
        &[("event_time", timestamp(), false), ("x", DataType::Int64, true)],
    ] {
        assert!(matches!(
            fit(fields),
            Err(TransformError::Fit(FitError::Incompatible(_)))
        ));
    }
}

#[test]
fn a_result_is_as_complete_as_the_input_that_is_behind() {
    let day = |day: u32| Some(format!("2024-01-{day:02}T00:00:00Z").parse::<Timestamp>().unwrap());
    assert_eq!(lowest([day(3), day(2), day(9)].into_iter()), day(2));
    assert_eq!(lowest([day(3), None].into_iter()), None);
    assert_eq!(lowest(std::iter::empty()), None);
}
