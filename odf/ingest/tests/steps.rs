//! Tables read as the read step of a source says.

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
    assert_eq!(rows("b,more,a\nx,?,1\n", step(true)), ["1 x"]);
    assert_eq!(rows("Other,Names\n1,x\n", step(true)), ["1 x"]);
    let width = "t.csv, line 1: the file has 3 column(s) and the source declares 2 (a, b)";
    let error = refusal("a,c,d\n1,x,y\n", &ReadStep::Csv(step(true)));
    assert!(error.starts_with(width), "{error}");
    let error = refusal("1,x,y\n", &ReadStep::Csv(step(false)));
    assert!(error.starts_with(width), "{error}");
    let error = refusal("a,b\n1,x\n", &ReadStep::Csv(step(false)));
    assert_eq!(
        error,
        "t.csv, line 1, column `a`: `a` is not an Int32, the type of this column"
    );
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
    let text = "{\"x\":[1],\"d\":\"2024-01-02T03:04:05Z\",\"a\":1}\n";
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
        ("{\"b\":\"5\",\"f\":\" 1.5 \"}", "5 1.5 - - - -"),
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
            "\"01:02:03.9\"",
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

fn json(sub_path: Option<&str>) -> ReadStep {
    ReadStep::Json {
        sub_path: sub_path.map(str::to_owned),
        ddl_schema: ddl(&["a BIGINT"]),
        date_format: None,
        encoding: None,
        timestamp_format: None,
        schema: None,
    }
}

#[test]
fn json_rows_lie_at_the_end_of_a_path() {
    let text = "{\"no\":{\"result\":{\"rows\":[{\"a\":0}]}},\"result\":{\"rows\":[{\"a\":1},{\"a\":2}],\"more\":[1]},\"rows\":[{\"a\":3}],\
                \"deep\":{\"x\":{\"y\":[{\"a\":4}]},\"z\":{}}}";
    let found = |path| {
        read(text.as_bytes(), &json(Some(path)))
            .map(|table| table.1)
            .map_err(|e| e.to_string())
    };
    assert_eq!(found("result.rows").unwrap(), ["1", "2"]);
    assert_eq!(found("rows").unwrap(), ["3"]);
    assert_eq!(found("deep.x.y").unwrap(), ["4"]);
    assert_eq!(read(b"[{\"a\":1}]", &json(None)).unwrap().1, ["1"]);
    for path in [
        "result",
        "result.none",
        "deep.x",
        "deep.x.y.z",
        "rows.a",
        "result.more.x",
        "",
    ] {
        assert_eq!(
            found(path).unwrap_err(),
            format!("t.json, line 1: the document has no array `{path}`")
        );
    }
    assert!(
        found("result.more")
            .unwrap_err()
            .contains("an element of the array is not an object")
    );
    assert!(refusal("[]", &json(Some("a.b"))).contains("an object with an array `a.b` is wanted"));
}

#[test]
fn features_come_one_per_line_or_in_a_collection() {
    let lines = "{\"type\":\"Feature\",\"properties\":{\"a\":1,\"geometry\":0},\"geometry\":{\"type\":\"Point\", \"coordinates\":[1.50,2]}}\n\n\
                 {\"type\":\"Feature\",\"properties\":{\"a\":2},\"geometry\":null}\n";
    let columns = ddl(&["geometry STRING", "a BIGINT"]);
    let wanted = ["{\"coordinates\":[1.5,2],\"type\":\"Point\"} 1", "- 2"];
    let step = ReadStep::NdGeoJson {
        ddl_schema: columns.clone(),
        schema: None,
    };
    assert_eq!(read(lines.as_bytes(), &step).unwrap().1, wanted);
    let features = lines.trim().replace("\n\n", ",");
    let collection = format!("{{\"type\":\"FeatureCollection\",\"features\":[{features}]}}");
    let step = ReadStep::GeoJson {
        ddl_schema: columns,
        schema: None,
    };
    assert_eq!(read(collection.as_bytes(), &step).unwrap().1, wanted);
    let open = ReadStep::NdGeoJson {
        ddl_schema: None,
        schema: None,
    };
    assert_eq!(
        read(lines.as_bytes(), &open).unwrap().0,
        ["a:Int64?", "geometry:String?"]
    );
    assert!(refusal("{\"type\":\"Feature\"}", &open).starts_with("t.ndgeojson, line 1: not a GeoJSON feature"));
}

/// Shapefiles in a zip archive, each with one point per value.
fn shapefiles(files: &[(&str, &[(&str, f64)])]) -> Vec<u8> {
    use std::io::{Cursor, Write};
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    for (name, rows) in files {
        let (mut shp, mut shx, mut dbf) = (
            Cursor::new(Vec::new()),
            Cursor::new(Vec::new()),
            Cursor::new(Vec::new()),
        );
        {
            use shapefile::dbase::{FieldName, FieldValue, Record, TableWriterBuilder};
            let table = TableWriterBuilder::new()
                .add_character_field(FieldName::try_from("name").unwrap(), 20)
                .add_numeric_field(FieldName::try_from("size").unwrap(), 10, 2)
                .build_with_dest(&mut dbf);
            let mut writer = shapefile::Writer::new(shapefile::ShapeWriter::with_shx(&mut shp, &mut shx), table);
            for (at, (name, size)) in rows.iter().enumerate() {
                let mut record = Record::default();
                record.insert("name".to_owned(), FieldValue::Character(Some((*name).to_owned())));
                record.insert("size".to_owned(), FieldValue::Numeric(Some(*size)));
                let point = shapefile::Point::new(at as f64, 0.5);
                writer.write_shape_and_record(&point, &record).unwrap();
            }
        }
        for (extension, bytes) in [("shp", shp), ("shx", shx), ("dbf", dbf)] {
            zip.start_file(format!("{name}.{extension}"), options).unwrap();
            zip.write_all(bytes.get_ref()).unwrap();
        }
    }
    zip.finish().unwrap().into_inner()
}

fn shapes(sub_path: Option<&str>, columns: &[&str]) -> ReadStep {
    ReadStep::EsriShapefile {
        ddl_schema: if columns.is_empty() { None } else { ddl(columns) },
        sub_path: sub_path.map(str::to_owned),
        schema: None,
    }
}

#[test]
fn shapefiles_are_found_in_their_archive_and_read() {
    let one = shapefiles(&[("d/towns", &[("Zürich", 1.5), ("Bern", 2.0)])]);
    let (columns, rows) = read(&one, &shapes(None, &[])).unwrap();
    assert_eq!(columns, ["geometry:String?", "name:String?", "size:Float64?"]);
    let point = |x: &str| format!("{{\"type\":\"Point\",\"coordinates\":[{x},0.5]}}");
    assert_eq!(
        rows,
        [
            format!("{} Zürich 1.5", point("0.0")),
            format!("{} Bern 2.0", point("1.0"))
        ]
    );
    let declared = shapes(Some("d/*.shp"), &["geometry STRING", "size DECIMAL(5,2)"]);
    assert_eq!(read(&one, &declared).unwrap().1[1], format!("{} 2.00", point("1.0")));

    let two = shapefiles(&[("a/x", &[("A", 1.0)]), ("b/x", &[("B", 1.0)]), ("b/y", &[("C", 1.0)])]);
    let name = |path: Option<&str>| {
        read(&two, &shapes(path, &["name STRING"]))
            .map(|t| t.1.concat())
            .map_err(|e| e.to_string())
    };
    assert_eq!(name(Some("a/x.shp")).unwrap(), "A");
    assert_eq!(name(Some("a/*")).unwrap(), "A");
    assert_eq!(name(Some("*/y.shp")).unwrap(), "C");
    assert_eq!(
        name(None).unwrap_err(),
        "t.esrishapefile: the archive has several shapefiles; say with subPath which: a/x.shp, b/x.shp, b/y.shp"
    );
    assert!(
        name(Some("b/*"))
            .unwrap_err()
            .ends_with("several .shp of the archive fit subPath `b/*`: b/x.shp, b/y.shp")
    );
    assert!(
        name(Some("*.shp"))
            .unwrap_err()
            .contains("no .shp of the archive fits subPath `*.shp`; there are: a/x.shp,")
    );
    assert!(name(Some("[")).unwrap_err().contains("subPath `[`"));

    let error = refusal("not a zip", &shapes(None, &[]));
    assert!(
        error.starts_with("t.esrishapefile: not a readable zip archive"),
        "{error}"
    );
    let error = read(&one, &shapes(None, &["size INT"])).unwrap_err().to_string();
    assert_eq!(
        error,
        "t.esrishapefile, row 1, column `size`: `1.50` is not an Int32, the type of this column"
    );
}

#[test]
fn damaged_archives_are_refused_and_never_more() {
    let whole = shapefiles(&[("x", &[("A", 1.0), ("B", 2.0)])]);
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x5a;
        let _ = read(&bytes, &shapes(None, &[]));
        let _ = read(&whole[..at], &shapes(None, &[]));
    }
}

#[test]
fn undeclared_json_has_the_types_that_kamu_sees() {
    let text = "{\"z\":1,\"a\":{\"y\":[1,2.5],\"x\":null},\"t\":\"2024-01-01\",\"m\":[1]}\n\
                {\"z\":2.5,\"b\":true,\"a\":{\"w\":\"v\",\"y\":null},\"m\":\"text\"}\n{\"a\":null}\n";
    let open = ReadStep::NdJson {
        ddl_schema: None,
        date_format: None,
        encoding: None,
        timestamp_format: None,
        schema: None,
    };
    let (columns, rows) = read(text.as_bytes(), &open).unwrap();
    let names: Vec<&str> = columns.iter().filter_map(|column| column.split(':').next()).collect();
    assert_eq!(names, ["z", "a", "t", "m", "b"]);
    assert!(
        columns.contains(&"t:String?".to_owned()) && columns.contains(&"m:String?".to_owned()),
        "{columns:?}"
    );
    assert_eq!(
        rows,
        [
            "1.0 {y: [1.0, 2.5], x: , w: } 2024-01-01 [1] -",
            "2.5 {y: , x: , w: v} - text true",
            "- - - - -"
        ]
    );
    let document = format!("[{}]", text.trim().replace('\n', ","));
    let open = ReadStep::Json {
        sub_path: None,
        ddl_schema: None,
        date_format: None,
        encoding: None,
        timestamp_format: None,
        schema: None,
    };
    let (columns, rows) = read(document.as_bytes(), &open).unwrap();
    let names: Vec<&str> = columns.iter().filter_map(|column| column.split(':').next()).collect();
    assert_eq!(names, ["a", "m", "t", "z", "b"]);
    assert_eq!(rows[0], "{x: , y: [1.0, 2.5], w: } [1] 2024-01-01 1.0 -");
}

#[test]
fn text_comes_out_as_it_went_in_wherever_chunks_begin() {
    // Rows that begin with what would be a byte order mark at the start of a file, over several chunks.
    let row = "\u{feff}x,\"a\nb\n\"\r\n";
    let count = 300_000;
    let text = format!("\u{feff}k,v\n{}", row.repeat(count));
    let step = ReadStepCsv {
        header: Some(true),
        ..csv(&["k STRING", "v STRING"])
    };
    let read = rows(&text, step);
    assert_eq!(read.len(), count);
    assert!(read.iter().all(|row| row == "\u{feff}x a\nb\n"));
    let plain = "\u{feff}x,1\n".repeat(count);
    let read = rows(&plain, csv(&["k STRING", "v INT"]));
    assert_eq!((read.len(), read[0].as_str()), (count, "x 1"));
    assert!(read[1..].iter().all(|row| row == "\u{feff}x 1"));
    // The place of an error is right in a late chunk, too.
    let error = refusal(
        &format!("{text}y,\"open\n"),
        &ReadStep::Csv(ReadStepCsv {
            header: Some(true),
            ..csv(&["k STRING", "v STRING"])
        }),
    );
    assert_eq!(
        error,
        format!(
            "t.csv, line {}: a quoted value is not closed before the end of the file",
            count * 3 + 2
        )
    );
    let error = refusal(&format!("{plain}y,z\n"), &ReadStep::Csv(csv(&["k STRING", "v INT"])));
    assert!(
        error.starts_with(&format!("t.csv, line {}, column `v`: `z` is not an Int32", count + 1)),
        "{error}"
    );
    let lines = "{\"a\":1}\n".repeat(count);
    let error = refusal(&format!("{lines}{{\"a\":true}}"), &ndjson(&["a BIGINT"]));
    assert!(
        error.starts_with(&format!("t.ndjson, line {}, column `a`: `true`", count + 1)),
        "{error}"
    );
}
