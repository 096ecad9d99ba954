//! Tables read as the read step of a source says.

mod paths;

use arrow::datatypes::Field;

use super::*;
use odf_ingest::shape::{Shape, type_name};
use odf_ingest::source::{Content, step_for_format};
use odf_metadata::{DataField, DataSchema, DataType, ReadStep, ReadStepCsv, TimeUnit};

/// The columns as `name:Type`, with `?` where they may be null, and the rows.
type Table = (Vec<String>, Vec<String>);

fn read(bytes: &[u8], step: &ReadStep) -> Result<Table, SourceError> {
    let name = format!("t.{}", Format::of_step(step));
    let source = Source::for_step(&name, Content::Bytes(Bytes::copy_from_slice(bytes)), step)?;
    let end = source.len()?;
    let columns = match source.declared() {
        Some(declared) => declared.clone(),
        None => source.infer(end, &mut |_| ControlFlow::Continue(()))?,
    };
    let field = |c: &infer::InferredColumn| Field::new(&c.name, c.data_type.clone(), c.nullable);
    let fields: Vec<Field> = columns.columns.iter().map(field).collect();
    let optional = |f: &Field| if f.is_nullable() { "?" } else { "" };
    let described = |f: &Field| format!("{}:{}{}", f.name(), type_name(f.data_type()), optional(f));
    let names = fields.iter().map(described).collect();
    let shape = Shape::new(fields, None);
    let mut batches = source.rows(&shape, odf_ingest::source::Span { start: 0, line: 0, end })?;
    let mut rows = Vec::new();
    while let Some(batch) = batches.next_batch()? {
        rows.extend(lines(&batch));
    }
    Ok((names, rows))
}

fn refusal(text: &str, step: &ReadStep) -> String {
    read(text.as_bytes(), step).unwrap_err().to_string()
}

fn ddl(columns: &[&str]) -> Option<Vec<String>> {
    Some(columns.iter().map(|c| (*c).to_owned()).collect())
}

fn csv(columns: &[&str]) -> ReadStepCsv {
    let ddl_schema = if columns.is_empty() { None } else { ddl(columns) };
    ReadStepCsv {
        ddl_schema,
        ..ReadStepCsv::default()
    }
}

fn rows(text: &str, step: ReadStepCsv) -> Vec<String> {
    read(text.as_bytes(), &ReadStep::Csv(step)).unwrap().1
}

#[test]
fn csv_has_no_header_and_only_text_unless_the_step_says_more() {
    let (columns, rows) = read(b"1,x\n2,\n", &ReadStep::Csv(csv(&[]))).unwrap();
    assert_eq!(columns, ["column_1:String?", "column_2:String?"]);
    assert_eq!(rows, ["1 x", "2 -"]);
    let header = ReadStepCsv {
        header: Some(true),
        ..csv(&[])
    };
    let (columns, rows) = read(b"a,b\n1,x\n", &ReadStep::Csv(header.clone())).unwrap();
    assert_eq!(
        (columns.join(" "), rows.join("|")),
        ("a:String? b:String?".into(), "1 x".into())
    );
    let infer = ReadStepCsv {
        infer_schema: Some(true),
        ..header
    };
    assert_eq!(
        read(b"a,b\n1,x\n", &ReadStep::Csv(infer)).unwrap().0,
        ["a:Int64?", "b:String?"]
    );
}

#[test]
fn csv_columns_are_found_by_name_or_else_by_place() {
    let step = |header| ReadStepCsv {
        header: Some(header),
        ..csv(&["a INT", "b STRING"])
    };
    assert_eq!(rows("1,x\n2,y\n", step(false)), ["1 x", "2 y"]);
    assert_eq!(rows("a,b\n1,x\n", step(true)), ["1 x"]);
    assert_eq!(rows("b,a\nx,1\n", step(true)), ["1 x"]);
    // A header that has none of the names gives the columns others, as it does in kamu.
    assert_eq!(rows("Other,Names\n1,x\n", step(true)), ["1 x"]);
    assert_eq!(rows("A, B\n1,x\n", step(true)), ["1 x"]);
    for (text, words) in [
        (
            "c,a\n1,x\n",
            "the header lacks `b`; it has `c`, which nothing here takes",
        ),
        ("a,c\n1,x\n", "the header lacks `b`; it has `c`"),
        ("B,A\n1,x\n", "`B` for `b`, `A` for `a` (upper and lower case count)"),
        ("b,more,a\nx,?,1\n", "the header has `more`, which nothing here takes"),
        ("a\n1\n", "the header lacks `b`"),
        ("a,c,d\n1,x,y\n", "the header lacks `b`; it has `c`, `d`"),
    ] {
        let error = refusal(text, &ReadStep::Csv(step(true)));
        assert!(
            error.starts_with("t.csv, line 1: the header ") && error.contains(words),
            "{text:?}: {error}"
        );
    }
    assert!(refusal("a,b,a\n1,x,2\n", &ReadStep::Csv(step(true))).contains("column `a`: this column appears twice"));
    let width = "t.csv, line 1: the file has 3 column(s) and the source declares 2 (a, b)";
    let error = refusal("1,x,y\n", &ReadStep::Csv(step(false)));
    assert!(error.starts_with(width), "{error}");
    let error = refusal("a,b\n1,x\n", &ReadStep::Csv(step(false)));
    assert_eq!(
        error,
        "t.csv, line 1, column `a`: `a` is not an Int32, the type of this column"
    );
}

#[test]
fn values_stay_in_the_columns_that_the_header_names() {
    // Seen: city=Ann, name=Rome.
    let step = ReadStepCsv {
        header: Some(true),
        ..csv(&["city STRING", "name STRING"])
    };
    let error = refusal("nmae,city\nAnn,Rome\n", &ReadStep::Csv(step.clone()));
    assert_eq!(
        error,
        "t.csv, line 1: the header lacks `name`; it has `nmae`, which nothing here takes; names decide which column is which"
    );
    assert_eq!(rows("name,city\nAnn,Rome\n", step), ["Rome Ann"]);
}

#[test]
fn rows_without_a_declared_column_are_no_rows_of_nulls() {
    let step = ndjson(&["id BIGINT", "name STRING"]);
    assert_eq!(read(b"{\"id\":1,\"x\":2}\n{}\n", &step).unwrap().1, ["1 -", "- -"]);
    let error = refusal("{\"id\":1}\n{\"nr\":2,\"x\":3}\n", &step);
    assert_eq!(
        error,
        "t.ndjson, line 2: nothing in it is a column that the source declares (id, name); all of its values would be lost"
    );
    let error = refusal("{\"id\":1,\"Name\":\"x\"}\n", &step);
    assert_eq!(
        error,
        "t.ndjson, line 1, column `Name`: no such column, but `name`: upper and lower case count"
    );
    // It has a value under its own name too.
    assert_eq!(
        read(b"{\"Name\":\"y\",\"id\":1,\"name\":\"x\"}\n", &step).unwrap().1,
        ["1 x"]
    );
    let json = ReadStep::Json {
        sub_path: None,
        ddl_schema: ddl(&["id BIGINT"]),
        date_format: None,
        encoding: None,
        timestamp_format: None,
        schema: None,
    };
    assert!(refusal("[{\"id\":1},{\"ID\":2}]", &json).contains("column `ID`"));
    let features = ReadStep::NdGeoJson {
        ddl_schema: ddl(&["name STRING"]),
        schema: None,
    };
    let feature =
        |properties: &str| format!("{{\"type\":\"Feature\",\"geometry\":{{}},\"properties\":{properties}}}\n");
    assert_eq!(read(feature("{}").as_bytes(), &features).unwrap().1, ["-"]);
    assert!(refusal(&feature("{\"nmae\":\"x\"}"), &features).contains("would be lost"));
    for (line, words) in [
        (
            "{\"type\":\"Feature\",\"geometry\":null,\"properties\":{}}",
            "it has no `geometry`",
        ),
        ("{\"type\":\"Feature\",\"properties\":{}}", "it has no `geometry`"),
        (
            "{\"type\":\"Feature\",\"geometry\":{},\"properties\":null}",
            "it has no `properties`",
        ),
        (
            "{\"type\":\"Point\",\"geometry\":{},\"properties\":{}}",
            "its `type` is not `Feature`",
        ),
    ] {
        let error = refusal(&format!("{line}\n"), &features);
        assert!(
            error.contains("t.ndgeojson, line 1: not a GeoJSON feature") && error.contains(words),
            "{error}"
        );
    }
    let collection = ReadStep::GeoJson {
        ddl_schema: ddl(&["name STRING"]),
        schema: None,
    };
    let document = |rest: &str| format!("{{\"features\":[{{\"geometry\":{{}},\"properties\":{{}}}}]{rest}}}");
    assert_eq!(
        read(document(",\"type\":\"FeatureCollection\"").as_bytes(), &collection)
            .unwrap()
            .1,
        ["-"]
    );
    for rest in ["", ",\"type\":\"Feature\""] {
        let error = refusal(&document(rest), &collection);
        assert!(error.contains("does not say that it is a FeatureCollection"), "{error}");
    }
}

#[test]
fn steps_that_cannot_be_read_by_are_told_without_a_table() {
    let check = |step: ReadStepCsv| odf_ingest::source::check_step("the source", &ReadStep::Csv(step));
    assert!(check(csv(&["a INT"])).is_ok());
    for (step, words) in [
        (csv(&["a WHAT"]), "declares columns that cannot be read"),
        (
            ReadStepCsv {
                encoding: Some("latin1".into()),
                ..csv(&[])
            },
            "`encoding: latin1`",
        ),
        (
            ReadStepCsv {
                timestamp_format: Some("%s".into()),
                ..csv(&[])
            },
            "`timestampFormat: %s`",
        ),
    ] {
        let error = check(step).unwrap_err().to_string();
        assert!(error.starts_with("the source: ") && error.contains(words), "{error}");
    }
}

#[test]
fn csv_is_written_as_the_step_says() {
    let step = |change: fn(&mut ReadStepCsv)| {
        let mut step = csv(&["a STRING", "b STRING"]);
        change(&mut step);
        step
    };
    assert_eq!(rows("1\tx,y\n", step(|s| s.separator = Some("\t".into()))), ["1 x,y"]);
    assert_eq!(rows("'1,2',\"\n", step(|s| s.quote = Some("'".into()))), ["1,2 \""]);
    // The backslash escapes by default, as in kamu, and a doubled quote does so too.
    assert_eq!(rows("\"a\\\"b\",\"c\"\"d\"\n", step(|_| {})), ["a\"b c\"d"]);
    assert_eq!(rows("\"a\\\",x\n", step(|s| s.escape = Some(String::new()))), ["a\\ x"]);
    assert_eq!(rows("\"a~\"\",x\n", step(|s| s.escape = Some("~".into()))), ["a\" x"]);
    for (change, message) in [
        (
            (|s| s.separator = Some("||".into())) as fn(&mut ReadStepCsv),
            "`separator: ||`",
        ),
        (|s| s.separator = Some("é".into()), "`separator: é`"),
        (|s| s.quote = Some(String::new()), "`quote: `"),
        (|s| s.escape = Some("\\\\".into()), "`escape: \\\\`"),
        (
            |s| s.encoding = Some("latin1".into()),
            "`encoding: latin1`, which is not supported; it can only be utf8",
        ),
        (
            |s| s.null_value = Some("NA".into()),
            "`nullValue: NA`, which is not supported; it can only be an empty text",
        ),
        (|s| s.date_format = Some("%d.%m.%Y".into()), "`dateFormat: %d.%m.%Y`"),
        (
            |s| s.timestamp_format = Some("%s".into()),
            "`timestampFormat: %s`, which is not supported; it can only be rfc3339",
        ),
    ] {
        let error = refusal("a,b\n", &ReadStep::Csv(step(change)));
        assert!(error.contains(message), "{error}");
    }
    let stated = step(|s| {
        s.encoding = Some("utf8".into());
        s.null_value = Some(String::new());
        s.date_format = Some("rfc3339".into());
        s.timestamp_format = Some("rfc3339".into());
    });
    assert_eq!(rows("1,\n", stated), ["1 -"]);
}

#[test]
fn columns_are_declared_in_either_way() {
    let schema = DataSchema {
        fields: vec![
            DataField::new("a", DataType::Int64),
            DataField::new("b", DataType::String.optional()),
        ],
        extra: None,
    };
    let odf = ReadStep::Csv(ReadStepCsv {
        schema: Some(schema),
        ..ReadStepCsv::default()
    });
    let declared = ReadStep::Csv(csv(&["a BIGINT NOT NULL, b STRING"]));
    for step in [&odf, &declared] {
        let (columns, rows) = read(b"1,\n2,x\n", step).unwrap();
        assert_eq!(
            (columns, rows),
            (
                vec!["a:Int64".into(), "b:String?".into()],
                vec!["1 -".into(), "2 x".into()]
            )
        );
        let error = refusal("1,x\n,y\n", step);
        assert_eq!(
            error,
            "t.csv, line 2, column `a`: no value, but this column must have one"
        );
    }
    let error = refusal("", &ReadStep::Csv(csv(&["a WHAT"])));
    assert!(
        error.starts_with("t.csv: the source declares columns that cannot be read: `a WHAT`"),
        "{error}"
    );
    let error = refusal("", &ReadStep::Csv(csv(&["a INT", "a INT"])));
    assert_eq!(error, "t.csv, column `a`: this column appears twice; names must differ");
}

#[test]
fn another_format_keeps_the_columns_of_the_step() {
    let step = ndjson(&["a INT"]);
    for format in Format::ALL {
        let other = step_for_format(&step, format);
        assert_eq!(Format::of_step(&other), format);
        assert_eq!(other.schemas(), step.schemas());
    }
    let ReadStep::Csv(other) = step_for_format(&step, Format::Csv) else {
        panic!()
    };
    assert_eq!(other.header, Some(false));
    let open = step_for_format(&step, Format::Parquet);
    assert_eq!(step_for_format(&open, Format::Parquet), open);
    let open = ReadStep::Parquet {
        ddl_schema: None,
        schema: None,
    };
    let ReadStep::Csv(other) = step_for_format(&open, Format::Csv) else {
        panic!()
    };
    assert_eq!(other.header, Some(true));
}

#[test]
fn formats_have_names_and_media_types() {
    for format in Format::ALL {
        assert_eq!(format.name().parse::<Format>().unwrap(), format);
        assert_eq!(format.name().to_uppercase().parse::<Format>().unwrap(), format);
    }
    for (name, format) in [
        ("text/csv; charset=utf-8", Format::Csv),
        ("application/x-ndjson", Format::Ndjson),
        ("application/json", Format::Json),
        ("application/geo+json", Format::GeoJson),
        ("application/x-ndgeojson", Format::NdGeoJson),
        ("application/vnd.apache.parquet", Format::Parquet),
        ("application/vnd.shp", Format::EsriShapefile),
    ] {
        assert_eq!(name.parse::<Format>().unwrap(), format, "{name}");
    }
    assert!("application/zip".parse::<Format>().is_err());
}

fn ndjson(columns: &[&str]) -> ReadStep {
    ReadStep::NdJson {
        ddl_schema: ddl(columns),
        date_format: None,
        encoding: None,
        timestamp_format: None,
        schema: None,
    }
}

#[test]
fn members_that_nobody_declared_are_passed_over() {
    let step = ndjson(&["a BIGINT NOT NULL", "t TIMESTAMP", "d DATE"]);
    let text = "{\"x\":[1],\"d\":\"2024-01-02T00:00:00Z\",\"a\":1}\n";
    let (columns, rows) = read(text.as_bytes(), &step).unwrap();
    assert_eq!(columns, ["a:Int64", "t:Timestamp?", "d:Date"]);
    assert_eq!(rows, ["1 - 2024-01-02"]);
    let error = refusal(&format!("{text}{{\"a\":1}}\n"), &step);
    assert_eq!(
        error,
        "t.ndjson, line 2, column `d`: no value, but this column must have one"
    );
}

#[test]
fn declared_values_are_read_as_kamu_reads_them() {
    let step = ndjson(&[
        "b BIGINT",
        "f DOUBLE",
        "t TIMESTAMP",
        "n ARRAY<DECIMAL(5,2)>",
        "u INT UNSIGNED",
        "s STRING",
    ]);
    let cases = [
        ("{\"b\":\"5\",\"f\":\"1.5\"}", "5 1.5 - - - -"),
        ("{\"b\":3.0,\"f\":2}", "3 2.0 - - - -"),
        ("{\"t\":1517966773840}", "- - 2018-02-07T01:26:13.840Z - - -"),
        ("{\"t\":5}", "- - 1970-01-01T00:00:00.005Z - - -"),
        ("{\"t\":\"2022-09-25 01:02:03\"}", "- - 2022-09-25T01:02:03Z - - -"),
        (
            "{\"t\":\"2022-09-25T01:02:03-01:00\"}",
            "- - 2022-09-25T02:02:03Z - - -",
        ),
        ("{\"t\":\"2022-09-25\"}", "- - 2022-09-25T00:00:00Z - - -"),
        ("{\"n\":[1.555,\"2\",3]}", "- - - [1.55, 2.00, 3.00] - -"),
        ("{\"n\":[],\"s\":5,\"u\":4294967295}", "- - - [] 4294967295 5"),
    ];
    for (text, wanted) in cases {
        assert_eq!(read(text.as_bytes(), &step).unwrap().1, [wanted], "{text}");
    }
    for (text, message) in [
        ("{\"b\":1.5}", "column `b`: `1.5` is not an Int64"),
        ("{\"f\":\" 1.5 \"}", "column `f`: ` 1.5 ` is not a Float64"),
        ("{\"b\":\"3.0\"}", "column `b`: `3.0` is not an Int64"),
        ("{\"b\":true}", "column `b`: `true` is not an Int64"),
        ("{\"b\":[1]}", "column `b`: `[1]` is not an Int64"),
        ("{\"u\":-1}", "column `u`: `-1` is not an UInt32"),
        (
            "{\"t\":\"9/25/2022 1:02:03\"}",
            "column `t`: `9/25/2022 1:02:03` is not a Timestamp",
        ),
        ("{\"n\":[null]}", "column `n`: no value, but this column must have one"),
        ("{\"n\":5}", "column `n`: `5` is not a List"),
        ("{\"n\":[1,\"x\"]}", "column `n`: `x` is not a Decimal(5, 2)"),
    ] {
        let error = refusal(&format!("{{}}\n{text}"), &step);
        assert!(error.starts_with(&format!("t.ndjson, line 2, {message}")), "{error}");
    }
}

#[test]
fn every_odf_type_can_be_declared() {
    let unit = |unit| Some(unit);
    let fields = [
        ("bin", DataType::Binary { fixed_length: None }, "\"00fF\"", "00ff"),
        ("fix", DataType::Binary { fixed_length: Some(2) }, "\"0102\"", "0102"),
        ("bool", DataType::Bool, "true", "true"),
        ("date", DataType::Date, "19000", "2022-01-08"),
        (
            "dec",
            DataType::Decimal {
                precision: 60,
                scale: 1,
            },
            "\"12345678901234567890123456789012345678901234567890.5\"",
            "12345678901234567890123456789012345678901234567890.5",
        ),
        ("f16", DataType::Float16, "1.5", "1.5"),
        ("f32", DataType::Float32, "0.1", "0.1"),
        ("i8", DataType::Int8, "-128", "-128"),
        ("i16", DataType::Int16, "-5", "-5"),
        ("u8", DataType::UInt8, "255", "255"),
        ("u16", DataType::UInt16, "5", "5"),
        ("u64", DataType::UInt64, "18446744073709551615", "18446744073709551615"),
        (
            "time",
            DataType::Time {
                unit: unit(TimeUnit::Second),
            },
            "\"01:02:03\"",
            "01:02:03",
        ),
        (
            "time64",
            DataType::Time {
                unit: unit(TimeUnit::Microsecond),
            },
            "1000001",
            "00:00:01.000001",
        ),
        (
            "sec",
            DataType::Timestamp {
                unit: unit(TimeUnit::Second),
                timezone: None,
            },
            "\"2024-01-01\"",
            "2024-01-01T00:00:00Z",
        ),
        (
            "nano",
            DataType::Timestamp {
                unit: unit(TimeUnit::Nanosecond),
                timezone: None,
            },
            "\"2024-01-01T00:00:00.123456789Z\"",
            "2024-01-01T00:00:00.123456789Z",
        ),
        (
            "zone",
            DataType::Timestamp {
                unit: None,
                timezone: Some("+02:00".into()),
            },
            "\"2024-01-01T02:00:00\"",
            "2024-01-01T02:00:00+02:00",
        ),
        (
            "pair",
            DataType::List {
                item_type: Box::new(DataType::Int64),
                fixed_length: Some(2),
            },
            "[1,2]",
            "[1, 2]",
        ),
        (
            "obj",
            DataType::Struct {
                fields: vec![
                    DataField::new("x", DataType::Int64),
                    DataField::new(
                        "y",
                        DataType::List {
                            item_type: Box::new(DataType::String.optional()),
                            fixed_length: None,
                        }
                        .optional(),
                    ),
                ],
            },
            "{\"z\":0,\"y\":[\"a\",null],\"x\":1}",
            "{x: 1, y: [a, ]}",
        ),
    ];
    for (name, data_type, json, shown) in fields {
        for (data_type, wanted) in [
            (data_type.clone(), vec![shown]),
            (data_type.optional(), vec![shown, "-"]),
        ] {
            let schema = DataSchema {
                fields: vec![DataField::new(name, data_type)],
                extra: None,
            };
            let step = ReadStep::NdJson {
                ddl_schema: None,
                date_format: None,
                encoding: None,
                timestamp_format: None,
                schema: Some(schema),
            };
            let text = format!("{{\"{name}\":{json}}}\n{}", if wanted.len() == 2 { "{}" } else { "" });
            assert_eq!(
                read(text.as_bytes(), &step).map_err(|e| e.to_string()).unwrap().1,
                wanted,
                "{name}"
            );
        }
    }
}

#[test]
fn members_of_objects_are_named_when_they_are_wrong() {
    let object = DataType::Struct {
        fields: vec![
            DataField::new("x", DataType::Int64),
            DataField::new("y", DataType::Bool.optional()),
        ],
    };
    let schema = DataSchema {
        fields: vec![DataField::new("o", object.optional())],
        extra: None,
    };
    let step = ReadStep::NdJson {
        ddl_schema: None,
        date_format: None,
        encoding: None,
        timestamp_format: None,
        schema: Some(schema),
    };
    assert_eq!(
        read(b"{\"o\":null}\n{\"o\":{\"x\":1}}", &step).unwrap().1,
        ["-", "{x: 1, y: }"]
    );
    for (text, message) in [
        ("{\"o\":{}}", "member `x`: no value, but this column must have one"),
        ("{\"o\":{\"x\":\"a\"}}", "member `x`: `a` is not an Int64"),
        ("{\"o\":{\"x\":1,\"x\":2}}", "member `x`: this column appears twice"),
        ("{\"o\":5}", "`5` is not a Struct"),
    ] {
        let error = refusal(text, &step);
        assert!(
            error.starts_with(&format!("t.ndjson, line 1, column `o`: {message}")),
            "{error}"
        );
    }
}
