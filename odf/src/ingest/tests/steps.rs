//! Tables read as the read step of a source says.

use arrow::datatypes::Field;

use super::shape::{Shape, type_name};
use super::source::{Content, step_for_format};
use super::*;
use crate::metadata::{DataField, DataSchema, DataType, ReadStep, ReadStepCsv};

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
    let mut batches = source.rows(&shape, Span { start: 0, line: 0, end })?;
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
    let step = ReadStep::NdJson {
        ddl_schema: ddl(&["a INT"]),
        date_format: None,
        encoding: None,
        timestamp_format: None,
        schema: None,
    };
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

#[test]
fn members_that_nobody_declared_are_passed_over() {
    let step = ReadStep::NdJson {
        ddl_schema: ddl(&["a BIGINT NOT NULL", "t TIMESTAMP", "d DATE"]),
        date_format: None,
        encoding: None,
        timestamp_format: None,
        schema: None,
    };
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
