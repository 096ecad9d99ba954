//! One table in every format: whatever the rows, they come back equal.

use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, LargeStringArray, StringArray, TimestampMicrosecondArray,
    TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Field, Schema};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use odf_ingest::shape::Shape;
use odf_ingest::source::Content;
use odf_metadata::{ReadStep, ReadStepCsv};

const COLUMNS: [&str; 6] = [
    "i BIGINT",
    "f DOUBLE",
    "b BOOLEAN",
    "s STRING",
    "t TIMESTAMP",
    "n BIGINT NOT NULL",
];

#[derive(Clone, Debug)]
struct Row {
    i: Option<i64>,
    f: Option<f64>,
    b: Option<bool>,
    s: Option<String>,
    t: Option<i64>,
    n: i64,
}

fn row() -> impl Strategy<Value = Row> {
    let finite = any::<f64>().prop_filter("JSON has only finite numbers", |f| f.is_finite());
    let text = "[ -~éß雨\\n\\r\\t\u{feff}]{1,8}";
    // The years 1653 to 2286.
    let millis = -10_000_000_000_000i64..10_000_000_000_000;
    let parts = (
        any::<Option<i64>>(),
        prop::option::of(finite),
        any::<Option<bool>>(),
        prop::option::of(text),
        prop::option::of(millis),
        any::<i64>(),
    );
    parts.prop_map(|(i, f, b, s, t, n)| Row { i, f, b, s, t, n })
}

fn time(millis: i64) -> String {
    Timestamp::from_millis(millis).unwrap().to_string()
}

fn batch(rows: &[Row]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|r| r.i).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|r| r.f).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|r| r.b).collect::<BooleanArray>()),
        Arc::new(rows.iter().map(|r| r.s.clone()).collect::<StringArray>()),
        Arc::new(
            rows.iter()
                .map(|r| r.t)
                .collect::<TimestampMillisecondArray>()
                .with_timezone("UTC"),
        ),
        Arc::new(rows.iter().map(|r| Some(r.n)).collect::<Int64Array>()),
    ];
    let field = |(name, array): (&str, &ArrayRef)| Field::new(name, array.data_type().clone(), name != "n");
    let fields: Vec<Field> = ["i", "f", "b", "s", "t", "n"]
        .into_iter()
        .zip(&columns)
        .map(field)
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// As CSV; quotes in values are written with `escape`.
fn csv(rows: &[Row], escape: &str, header: bool) -> Vec<u8> {
    let text = |s: &String| {
        format!(
            "\"{}\"",
            s.replace('\\', if escape == "\\" { "\\\\" } else { "\\" })
                .replace('"', &format!("{escape}\""))
        )
    };
    let mut out = if header {
        "i,f,b,s,t,n\n".to_owned()
    } else {
        String::new()
    };
    for r in rows {
        let cells = [
            r.i.map_or_else(String::new, |i| i.to_string()),
            r.f.map_or_else(String::new, |f| format!("{f:e}")),
            r.b.map_or_else(String::new, |b| b.to_string()),
            r.s.as_ref().map_or_else(String::new, text),
            r.t.map_or_else(String::new, time),
            r.n.to_string(),
        ];
        out.push_str(&cells.join(","));
        out.push('\n');
    }
    out.into_bytes()
}

fn object(r: &Row) -> Value {
    json!({ "i": r.i, "f": r.f, "b": r.b, "s": r.s, "t": r.t.map(time), "n": r.n })
}

fn lines_of(values: impl Iterator<Item = Value>) -> Vec<u8> {
    values
        .map(|value| format!("{value}\n"))
        .collect::<String>()
        .into_bytes()
}

fn parquet(batch: &RecordBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn read(bytes: Vec<u8>, step: &ReadStep) -> Result<Vec<RecordBatch>, SourceError> {
    let source = Source::for_step("t", Content::Bytes(Bytes::from(bytes)), step)?;
    let columns = source.declared().unwrap().columns.iter();
    let fields = columns
        .map(|c| Field::new(&c.name, c.data_type.clone(), c.nullable))
        .collect();
    let span = odf_ingest::source::Span {
        start: 0,
        line: 0,
        end: source.len()?,
    };
    let mut batches = source.rows(&Shape::new(fields, None), span)?;
    let mut read = Vec::new();
    while let Some(batch) = batches.next_batch()? {
        read.push(batch);
    }
    Ok(read)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_table_is_the_same_in_every_format(rows in prop::collection::vec(row(), 1..20)) {
        let wanted = batch(&rows);
        let ddl_schema = || Some(COLUMNS.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>());
        let csv_step = |escape: Option<&str>, header| ReadStep::Csv(ReadStepCsv {
            ddl_schema: ddl_schema(),
            escape: escape.map(str::to_owned),
            header: Some(header),
            ..ReadStepCsv::default()
        });
        let json_step = |sub_path: Option<&str>| ReadStep::Json {
            sub_path: sub_path.map(str::to_owned),
            ddl_schema: ddl_schema(),
            date_format: None,
            encoding: None,
            timestamp_format: None,
            schema: None,
        };
        let ndjson = ReadStep::NdJson {
            ddl_schema: ddl_schema(), date_format: None, encoding: None, timestamp_format: None, schema: None,
        };
        let feature = |r: &Row| json!({ "type": "Feature", "geometry": {}, "properties": object(r) });
        let objects: Vec<Value> = rows.iter().map(object).collect();
        let features: Vec<Value> = rows.iter().map(feature).collect();
        let cases = [
            (csv(&rows, "\"", true), csv_step(Some(""), true)),
            (csv(&rows, "\\", false), csv_step(None, false)),
            (lines_of(objects.iter().cloned()), ndjson),
            (serde_json::to_vec(&objects).unwrap(), json_step(None)),
            (serde_json::to_vec_pretty(&json!({ "n": [1], "a": { "b": objects } })).unwrap(), json_step(Some("a.b"))),
            (lines_of(features.iter().cloned()), ReadStep::NdGeoJson { ddl_schema: ddl_schema(), schema: None }),
            (
                serde_json::to_vec(&json!({ "type": "FeatureCollection", "features": features })).unwrap(),
                ReadStep::GeoJson { ddl_schema: ddl_schema(), schema: None },
            ),
            (parquet(&wanted), ReadStep::Parquet { ddl_schema: ddl_schema(), schema: None }),
        ];
        for (bytes, step) in cases {
            let read = read(bytes, &step);
            let read = read.map_err(|error| TestCaseError::fail(format!("{}: {error}", Format::of_step(&step))))?;
            prop_assert_eq!(&read, &vec![wanted.clone()], "{}", Format::of_step(&step));
        }
    }
}

#[test]
fn parquet_columns_are_selected_and_cast() {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("other", Arc::new(arrow::array::DurationSecondArray::from(vec![1, 2]))),
        (
            "time",
            Arc::new(TimestampMicrosecondArray::from(vec![1_001_000, 1_000])),
        ),
        ("text", Arc::new(LargeStringArray::from(vec![Some("5"), None]))),
        ("wide", Arc::new(Int64Array::from(vec![1, 2]))),
    ];
    let fields: Vec<Field> = columns
        .iter()
        .map(|(n, a)| Field::new(*n, a.data_type().clone(), true))
        .collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    let file = parquet(&RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap());
    let rows = |columns: &[&str]| {
        let ddl_schema = Some(columns.iter().map(|c| (*c).to_owned()).collect());
        let read = read(
            file.clone(),
            &ReadStep::Parquet {
                ddl_schema,
                schema: None,
            },
        );
        read.map(|batches| batches.iter().flat_map(lines).collect::<Vec<_>>())
            .map_err(|error| error.to_string())
    };
    assert_eq!(
        rows(&["text BIGINT", "wide STRING", "time TIMESTAMP", "none INT"]).unwrap(),
        ["5 1 1970-01-01T00:00:01.001Z -", "- 2 1970-01-01T00:00:00.001Z -"]
    );
    assert_eq!(
        rows(&["none INT NOT NULL"]).unwrap_err(),
        "t, column `none`: the dataset has this column and the file does not"
    );
    assert_eq!(
        rows(&["text STRING NOT NULL"]).unwrap_err(),
        "t, row 2, column `text`: no value, but this column must have one"
    );
    assert_eq!(
        rows(&["other BOOLEAN"]).unwrap_err(),
        "t, column `other`: `Duration(s) in the file` is not a Bool, the type of this column"
    );
    let narrow = RecordBatch::try_new(
        Arc::new(Schema::new(vec![Field::new("wide", DataType::Int64, true)])),
        vec![Arc::new(Int64Array::from(vec![Some(1), None, Some(1 << 40)]))],
    );
    let ddl_schema = Some(vec!["wide INT".to_owned()]);
    let error = read(
        parquet(&narrow.unwrap()),
        &ReadStep::Parquet {
            ddl_schema,
            schema: None,
        },
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "t, row 3, column `wide`: `1099511627776` is not an Int32, the type of this column"
    );
}
