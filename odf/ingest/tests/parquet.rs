//! Parquet tables: what other writers put into them, and what becomes of it.

use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use arrow::array::*;
use arrow::datatypes::{DataType, Field, Schema};

use super::*;
use odf_ingest::shape::{Shape, type_name};

fn source(columns: Vec<(&str, ArrayRef, bool)>) -> Source {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, array, nullable)| Field::new(*name, array.data_type().clone(), *nullable))
        .collect();
    let arrays = columns.into_iter().map(|(_, array, _)| array).collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    Source::bytes("t.parquet", Bytes::from(bytes), Format::Parquet, ReadOptions::default())
}

fn publish(world: &mut World, source: &Source) -> Result<Vec<String>, String> {
    let options = Options {
        changed: Changed::TakeAll,
        ..Options::default()
    };
    world.publish(source, &options).map_err(|error| error.to_string())?;
    let shown = world
        .rows()
        .into_iter()
        .map(|row| row.splitn(4, ' ').last().unwrap_or_default().to_owned());
    Ok(shown.collect())
}

fn columns(world: &World) -> Vec<String> {
    let dataset = world.dataset();
    let schema = dataset
        .state()
        .schema
        .as_ref()
        .and_then(|event| event.schema.as_ref())
        .unwrap();
    let schema = odf_tables::types::to_arrow(schema).unwrap();
    let column = |f: &Arc<Field>| {
        format!(
            "{}:{}{}",
            f.name(),
            type_name(f.data_type()),
            if f.is_nullable() { "?" } else { "" }
        )
    };
    schema.fields().iter().skip(4).map(column).collect()
}

#[test]
fn encodings_are_dropped_and_times_become_milliseconds_in_utc_where_they_have_no_more() {
    let dictionary: DictionaryArray<arrow::datatypes::Int32Type> = vec![Some("x"), None].into_iter().collect();
    let table = source(vec![
        ("large", Arc::new(LargeStringArray::from(vec![Some("a"), None])), true),
        ("view", Arc::new(StringViewArray::from(vec!["b", "c"])), false),
        ("dict", Arc::new(dictionary), true),
        (
            "naive",
            Arc::new(TimestampMicrosecondArray::from(vec![1_001_000, 1_000])),
            true,
        ),
        (
            "zoned",
            Arc::new(TimestampNanosecondArray::from(vec![0, 5_000_000]).with_timezone("+02:00")),
            true,
        ),
        ("date", Arc::new(Date64Array::from(vec![86_400_000, 0])), true),
        ("n", Arc::new(UInt16Array::from(vec![1, 65_535])), false),
        (
            "dec",
            Arc::new(
                Decimal128Array::from(vec![150, -1])
                    .with_precision_and_scale(5, 2)
                    .unwrap(),
            ),
            true,
        ),
    ]);
    let mut world = World::new();
    assert_eq!(
        publish(&mut world, &table).unwrap(),
        [
            "a b x 1970-01-01T00:00:01.001Z 1970-01-01T00:00:00Z 1970-01-02 1 1.50",
            "- c - 1970-01-01T00:00:00.001Z 1970-01-01T00:00:00.005Z 1970-01-01 65535 -0.01",
        ]
    );
    assert_eq!(
        columns(&world),
        [
            "large:String?",
            "view:String",
            "dict:String?",
            "naive:Timestamp?",
            "zoned:Timestamp?",
            "date:Date?",
            "n:UInt16",
            "dec:Decimal(5, 2)?",
        ]
    );
    up_to_date(world.publish(&table, &Options::default()));
}

#[test]
fn nested_columns_are_kept_where_they_have_a_logical_hash() {
    let mut list = ListBuilder::new(StringBuilder::new());
    list.append_value([Some("q"), None]);
    let members = vec![(
        Arc::new(Field::new("x", DataType::Int32, true)),
        Arc::new(Int32Array::from(vec![1])) as ArrayRef,
    )];
    let table = source(vec![
        ("list", Arc::new(list.finish()), true),
        ("s", Arc::new(StructArray::from(members)), true),
    ]);
    let mut world = World::new();
    assert_eq!(publish(&mut world, &table).unwrap(), ["[q, ] {x: 1}"]);

    let duration = source(vec![("d", Arc::new(DurationSecondArray::from(vec![1])), true)]);
    assert_eq!(
        publish(&mut World::new(), &duration).unwrap_err(),
        "t.parquet, column `d`: the type Duration(s) is not supported; cast it to another one first"
    );
}

#[test]
fn types_may_widen_and_nothing_else() {
    let numbers = |array: ArrayRef| source(vec![("n", array, true)]);
    let mut world = World::new();
    assert_eq!(
        publish(&mut world, &numbers(Arc::new(Int64Array::from(vec![1])))).unwrap(),
        ["1"]
    );
    assert_eq!(
        publish(&mut world, &numbers(Arc::new(Int32Array::from(vec![2])))).unwrap(),
        ["1", "2"]
    );
    let error = publish(&mut world, &numbers(Arc::new(Float64Array::from(vec![1.0])))).unwrap_err();
    assert_eq!(
        error,
        "t.parquet, column `n`: `Float64 in the file` is not an Int64, the type of this column"
    );
    let error = publish(
        &mut world,
        &source(vec![("m", Arc::new(Int64Array::from(vec![1])), true)]),
    )
    .unwrap_err();
    assert_eq!(
        error,
        "t.parquet, column `m`: the dataset has no such column; its columns are event_time, n"
    );

    let shape = Shape::new(vec![Field::new("n", DataType::Int64, false)], None);
    let table = numbers(Arc::new(Int64Array::from(vec![Some(1), None])));
    let mut batches = table
        .rows(
            &shape,
            odf_ingest::source::Span {
                start: 0,
                line: 0,
                end: 1,
            },
        )
        .unwrap();
    let error = batches.next_batch().unwrap_err().to_string();
    assert_eq!(
        error,
        "t.parquet, row 2, column `n`: no value, but this column must have one"
    );
}

#[test]
fn an_event_time_may_be_of_any_kind_of_time() {
    for (array, types, wanted) in [
        (
            Arc::new(Int64Array::from(vec![1_700_000_000])) as ArrayRef,
            "at TIMESTAMP(0) NOT NULL",
            "2023-11-14T22:13:20Z",
        ),
        (
            Arc::new(UInt64Array::from(vec![1_700_000_000_500])),
            "at TIMESTAMP(3) NOT NULL",
            "2023-11-14T22:13:20.500Z",
        ),
        (
            Arc::new(TimestampSecondArray::from(vec![0])),
            "at TIMESTAMP",
            "1970-01-01T00:00:00Z",
        ),
        (Arc::new(Date32Array::from(vec![1])), "at DATE", "1970-01-02"),
    ] {
        let table = source(vec![("at", array, false)]);
        let mut world = World::new();
        let options = Options {
            event_time: Some("at".into()),
            types: parse_types(types).unwrap(),
            ..Options::default()
        };
        updated(world.publish(&table, &options));
        assert_eq!(world.rows(), [format!("0 0 {wanted}")]);
    }
    let table = source(vec![("at", Arc::new(Int64Array::from(vec![2024])), false)]);
    let options = Options {
        event_time: Some("at".into()),
        ..Options::default()
    };
    let error = World::new().publish(&table, &options).unwrap_err().to_string();
    let wanted = "t.parquet, row 1, column `at`: `2024` is a number, and nothing says in which unit";
    assert!(error.starts_with(wanted), "{error}");
    let table = source(vec![(
        "event_time",
        Arc::new(TimestampSecondArray::from(vec![0, 5])),
        true,
    )]);
    let mut world = World::new();
    updated(world.publish(&table, &Options::default()));
    assert_eq!(world.rows(), ["0 0 1970-01-01T00:00:00Z", "1 0 1970-01-01T00:00:05Z"]);
}
