//! Values of columns whose types a source declares.

use odf_metadata::{DataField, DataSchema, ReadStepCsv};

use super::*;

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
        ("1.999", "DECIMAL(10,2)", "1.99"),
        ("-2.675", "DECIMAL(10,2)", "-2.67"),
        ("99999999.995", "DECIMAL(10,2)", "99999999.99"),
        ("99999999.99", "DECIMAL(10,2)", "99999999.99"),
        ("1.5e1", "DECIMAL(10,2)", "15.00"),
        ("2024-01-01 08:30:00", "TIMESTAMP", "2024-01-01T08:30:00Z"),
        ("2024-01-01T08:30:00+02:00", "TIMESTAMP", "2024-01-01T06:30:00Z"),
        ("2024-01-01T00:00:00.1239Z", "TIMESTAMP", "2024-01-01T00:00:00.123Z"),
        ("2016-12-31T23:59:60Z", "TIMESTAMP", "2017-01-01T00:00:00Z"),
        ("2024-01-02T23:00:00-05:00", "DATE", "2024-01-03"),
        ("2024-01-02T00:00:00Z", "DATE", "2024-01-02"),
        ("20240102", "DATE", "2024-01-02"),
        ("0.1000000000000000055", "DOUBLE", "0.1"),
        ("1234567890123456789", "DOUBLE", "1.2345678901234568e18"),
        ("007", "STRING", "007"),
        ("007", "INT", "7"),
        ("+3", "INT", "3"),
    ] {
        assert_eq!(declared_csv(value, declared).unwrap(), [wanted], "{value} {declared}");
    }
    for (value, declared, reason) in [
        ("100000000", "DECIMAL(10,2)", "is not a Decimal(10, 2)"),
        ("3.0", "INT", "is not an Int32"),
        ("1e3", "INT", "is not an Int32"),
        (" 1", "INT", "is not an Int32"),
        ("1 ", "BIGINT", "is not an Int64"),
        (" 1.5", "DOUBLE", "is not a Float64"),
        (" 1.5", "DECIMAL(10,2)", "is not a Decimal(10, 2)"),
        ("2024-01-01T08:30", "TIMESTAMP", "is not a Timestamp"),
        ("2024-01-01 08:30+02:00", "TIMESTAMP", "is not a Timestamp"),
        ("1704067200", "TIMESTAMP", NO_UNIT),
        ("1700000000000", "TIMESTAMP", NO_UNIT),
        ("0", "TIMESTAMP", NO_UNIT),
        ("2024", "DATE", "is not a Date"),
        ("1/2/2024", "DATE", "is not a Date"),
        ("1e400", "DOUBLE", "is beyond the floats"),
        ("1e39", "FLOAT", "is beyond the floats"),
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
    assert_eq!(
        ndjson(Second, "\"2024-01-01T00:00:00.5Z\"").unwrap(),
        ["2024-01-01T00:00:00Z"]
    );
    assert_eq!(ndjson(Millisecond, "1.5").unwrap(), ["1970-01-01T00:00:00.001Z"]);
    assert_eq!(ndjson(Millisecond, "-1.5").unwrap(), ["1969-12-31T23:59:59.999Z"]);
    let error = ndjson(Millisecond, "1e30").unwrap_err();
    assert!(error.contains("`1e30` is not a Timestamp"), "{error}");
}

#[test]
fn what_is_cut_is_told_with_the_number_of_values() {
    use odf_ingest::source::{Alteration, Content, Span};
    let told = |text: &str, step: &ReadStep| {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        let source = Source::for_step("t", Content::Bytes(bytes), step).unwrap();
        let columns = source.declared().unwrap().columns.iter();
        let fields = columns
            .map(|c| Field::new(&c.name, c.data_type.clone(), c.nullable))
            .collect();
        let shape = odf_ingest::shape::Shape::new(fields, None);
        let end = source.len().unwrap();
        // Read twice, as a merge may: told once.
        for _ in 0..2 {
            let mut batches = source.rows(&shape, Span { start: 0, line: 0, end }).unwrap();
            while batches.next_batch().unwrap().is_some() {}
        }
        let told = source.told().into_iter();
        told.map(|(column, changed)| (column, changed.change, changed.values))
            .collect::<Vec<_>>()
    };
    let ddl = |columns: &[&str]| Some(columns.iter().map(|column| (*column).to_owned()).collect());
    let csv = |columns: &[&str], header| {
        ReadStep::Csv(ReadStepCsv {
            ddl_schema: ddl(columns),
            header: Some(header),
            ..ReadStepCsv::default()
        })
    };
    let step = csv(&["t TIMESTAMP", "d DECIMAL(5,1)", "f DOUBLE", "y DATE"], false);
    let plain = "2024-01-01T00:00:00Z,1.5,1,2024-01-01\n";
    let text = format!(
        "{plain}2024-01-01T00:00:00.0001Z,1.55,9007199254740993,2024-01-01T01:00:00Z\n\
         2016-12-31T23:59:60Z,1.66,2,2024-01-01\n"
    );
    let named = |name: &str, change: Alteration, values: u64| (name.to_owned(), change, values);
    let wanted = [
        named("d", Alteration::CutDecimals, 2),
        named("f", Alteration::Rounded, 1),
        named("t", Alteration::CutTimes, 1),
        named("t", Alteration::LeapSeconds, 1),
        named("y", Alteration::CutDays, 1),
    ];
    // By the short way and, because of the doubled quote, by the general one.
    assert_eq!(told(&text, &step), wanted);
    let step = csv(
        &["t TIMESTAMP", "d DECIMAL(5,1)", "f DOUBLE", "y DATE", "s STRING"],
        false,
    );
    let quoted = text.replace('\n', ",\"a\"\"b\"\n");
    assert_eq!(told(&quoted, &step), wanted);
    assert!(
        told(
            plain,
            &csv(&["t TIMESTAMP", "d DECIMAL(5,1)", "f DOUBLE", "y DATE"], false)
        )
        .is_empty()
    );

    let ndjson = ReadStep::NdJson {
        ddl_schema: ddl(&["t TIMESTAMP", "n ARRAY<TIMESTAMP>"]),
        date_format: None,
        encoding: None,
        timestamp_format: None,
        schema: None,
    };
    let text = "{\"t\":1.5}\n{\"t\":2}\n{\"t\":\"2024-01-01T00:00:00.0001Z\",\"n\":[\"2024-01-01T00:00:00.0001Z\"]}\n";
    assert_eq!(
        told(text, &ndjson),
        [named("n", Alteration::CutTimes, 1), named("t", Alteration::CutTimes, 2)]
    );
    let step = csv(&["a INT", "b INT"], true);
    assert_eq!(told("b,a\n1,2\n", &step), [named("header", Alteration::ByName, 0)]);
    assert!(told("a,b\n1,2\n", &step).is_empty());
}
