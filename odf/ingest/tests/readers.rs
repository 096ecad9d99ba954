//! What each reader makes of good and bad tables.

use arrow::datatypes::{DataType, Field};

use super::*;
use odf_ingest::infer::timestamp;
use odf_ingest::shape::{Shape, type_name};

/// Infers and reads a table: its columns as `name:Type`, and its rows.
fn read(text: &str, format: Format) -> Result<(Vec<String>, Vec<String>), SourceError> {
    let source = World::source(text, format);
    read_source(&source)
}

fn read_source(source: &Source) -> Result<(Vec<String>, Vec<String>), SourceError> {
    let end = source.len()?;
    let inferred = source.infer(end, &mut |_| ControlFlow::Continue(()))?;
    let fields: Vec<Field> = inferred
        .columns
        .iter()
        .map(|c| Field::new(&c.name, c.data_type.clone(), c.nullable))
        .collect();
    let columns = fields
        .iter()
        .map(|f| format!("{}:{}", f.name(), type_name(f.data_type())))
        .collect();
    let shape = Shape::new(fields, None);
    let rows = read_shape(source, &shape)?;
    assert_eq!(rows.len() as u64, inferred.rows, "both passes see the same rows");
    Ok((columns, rows))
}

fn read_shape(source: &Source, shape: &Shape) -> Result<Vec<String>, SourceError> {
    let mut batches = source.rows(
        shape,
        odf_ingest::source::Span {
            start: 0,
            line: 0,
            end: source.len()?,
        },
    )?;
    let mut rows = Vec::new();
    while let Some(batch) = batches.next_batch()? {
        rows.extend(lines(&batch));
    }
    Ok(rows)
}

fn refusal(text: &str, format: Format) -> String {
    read(text, format).unwrap_err().to_string()
}

#[test]
fn csv_is_read_as_people_write_it() {
    let text = "\u{feff}id,name,when,score,ok,zip,day\r\n\
                1,\"Müller, \"\"Max\"\"\",2024-01-01T12:00:00+02:00,1.5,true,00501,2024-02-29\r\n\
                \r\n\
                -2,雨,2024-01-01 10:00:00,,FALSE,10001,\r\n";
    let (columns, rows) = read(text, Format::Csv).unwrap();
    assert_eq!(
        columns,
        [
            "id:Int64",
            "name:String",
            "when:Timestamp",
            "score:Float64",
            "ok:Bool",
            "zip:String",
            "day:Date"
        ]
    );
    assert_eq!(
        rows,
        [
            "1 Müller, \"Max\" 2024-01-01T10:00:00Z 1.5 true 00501 2024-02-29",
            "-2 雨 2024-01-01T10:00:00Z - false 10001 -",
        ]
    );
}

#[test]
fn csv_values_may_span_lines_and_headers_lack_names() {
    // Also at the very end of the file.
    assert_eq!(read("a\n\"x\n\"", Format::Csv).unwrap().1, ["x\n"]);
    let (columns, rows) = read(",a\n0,\"x\ny\"\n1,z", Format::Csv).unwrap();
    assert_eq!(columns, ["column_1:Int64", "a:String"]);
    assert_eq!(rows, ["0 x\ny", "1 z"]);
}

#[test]
fn tsv_and_other_separators_are_read() {
    let options = ReadOptions {
        separator: Some(b';'),
        ..ReadOptions::default()
    };
    let source = Source::bytes("t", Bytes::from_static(b"a;b\n1;2,5\n"), Format::Csv, options);
    assert_eq!(read_source(&source).unwrap().1, ["1 2,5"]);
    assert_eq!(
        World::source("a|b\n1|2\n", Format::Csv).separator().unwrap(),
        Some(b'|')
    );
    assert_eq!(World::source("[]", Format::Json).separator().unwrap(), None);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.tsv");
    std::fs::write(&path, "a\tb\n1\t2\n").unwrap();
    let source = Source::file(&path, None, ReadOptions::default()).unwrap();
    assert_eq!(read_source(&source).unwrap().0, ["a:Int64", "b:Int64"]);
}

#[test]
fn bad_csv_is_refused_with_its_place() {
    for (text, message) in [
        ("", "t.csv: the file is empty"),
        (
            "a,b\n1,2\n1\n",
            "t.csv, line 3, column `b`: 1 field(s) where the header has 2",
        ),
        (
            "a,b\n1,2,3\n",
            "t.csv, line 2, column `b`: 3 field(s) where the header has 2",
        ),
        (
            "a,b\r\n1,2\r\n\r\n1\r\n",
            "t.csv, line 4, column `b`: 1 field(s) where the header has 2",
        ),
        (
            "a,b,a\n1,2,3\n",
            "t.csv, column `a`: this column appears twice; names must differ",
        ),
        (
            "a,b\n1,\"2\n",
            "t.csv, line 2: a quoted value is not closed before the end of the file",
        ),
    ] {
        assert_eq!(refusal(text, Format::Csv), message, "{text:?}");
    }
    let source =
        |bytes: &'static [u8]| Source::bytes("t.csv", Bytes::from_static(bytes), Format::Csv, ReadOptions::default());
    let error = read_source(&source(b"a,b\n1,2\n3,\xff\n")).unwrap_err().to_string();
    assert_eq!(
        error,
        "t.csv, line 3, column `field 2`: not UTF-8 text; if it is Latin-1 or Windows-1252, save it as UTF-8 (iconv -f \
         WINDOWS-1252 -t UTF-8)"
    );
    let error = read_source(&source(b"\xff\xfea\0")).unwrap_err().to_string();
    assert_eq!(error, "t.csv: not UTF-8 text: it looks like UTF-16; save it as UTF-8");
}

#[test]
fn rows_and_tables_have_limits() {
    let wide = |columns: usize| {
        let names: Vec<String> = (0..columns).map(|n| format!("c{n}")).collect();
        let ones = vec!["1"; columns];
        format!("{}\n{}\n", names.join(","), ones.join(","))
    };
    assert!(read(&wide(source::MAX_COLUMNS), Format::Csv).is_ok());
    assert!(refusal(&wide(source::MAX_COLUMNS + 1), Format::Csv).contains("limit of 4096 columns"));

    let long = |bytes: usize| format!("a\n\"{}\"\n", "x".repeat(bytes - 3));
    assert!(read(&long(source::MAX_ROW_BYTES), Format::Csv).is_ok());
    let open = format!("a\n\"{}", "x\n".repeat(source::MAX_ROW_BYTES));
    assert!(refusal(&open, Format::Csv).contains("is a quote not closed?"));

    let line = |bytes: usize| format!("{{\"a\":\"{}\"}}\n", "x".repeat(bytes - 9));
    assert!(read(&line(source::MAX_ROW_BYTES), Format::Ndjson).is_ok());
    assert!(refusal(&line(source::MAX_ROW_BYTES + 1), Format::Ndjson).contains("limit of 16777216 bytes"));
    let element = |bytes: usize| format!("[{{\"a\":\"{}\"}}]", "x".repeat(bytes - 8));
    assert!(read(&element(source::MAX_ROW_BYTES), Format::Json).is_ok());
    assert!(refusal(&element(source::MAX_ROW_BYTES + 1), Format::Json).contains("limit of 16777216 bytes"));

    let name = |bytes: usize| format!("{}\n1\n", "n".repeat(bytes));
    assert!(read(&name(source::MAX_COLUMN_NAME_BYTES), Format::Csv).is_ok());
    assert!(refusal(&name(source::MAX_COLUMN_NAME_BYTES + 1), Format::Csv).contains("bytes for a column name"));

    let nested = |depth: usize| format!("{{\"a\":{}{}}}\n", "[".repeat(depth), "]".repeat(depth));
    assert!(read(&nested(MAX_JSON_DEPTH), Format::Ndjson).is_ok());
    assert!(refusal(&nested(MAX_JSON_DEPTH + 2), Format::Ndjson).contains("levels of nesting"));
}

#[test]
fn ndjson_columns_are_those_of_all_rows() {
    let text = "\u{feff}{\"a\":1,\"b\":\"x\",\"when\":\"2024-01-01T00:00:00Z\"}\n\n\
                {\"b\":null,\"c\":{\"z\": [1, 2.50],\"y\":\"é\\u00e9\"},\"a\":2.5}\r\n\
                { \"d\" : true , \"big\" : 9223372036854775808, \"zip\": \"007\" }";
    let (columns, rows) = read(text, Format::Ndjson).unwrap();
    assert_eq!(
        columns,
        [
            "a:Float64",
            "b:String",
            "when:Timestamp",
            "c:String",
            "d:Bool",
            "big:String",
            "zip:String"
        ]
    );
    assert_eq!(
        rows,
        [
            "1.0 x 2024-01-01T00:00:00Z - - - -",
            "2.5 - - {\"y\":\"é\\u00e9\",\"z\":[1,2.50]} - - -",
            "- - - - true 9223372036854775808 007",
        ]
    );
}

#[test]
fn bad_ndjson_is_refused_with_its_place() {
    for (text, message) in [
        ("", "t.ndjson: the file is empty"),
        ("\n \n", "t.ndjson: the file is empty"),
        ("{\"a\":1}\n[1]\n", "t.ndjson, line 2: not a JSON object: "),
        (
            "{\"a\":1}\n{\"a\":1}{\"a\":2}\n",
            "t.ndjson, line 2: not a JSON object: trailing characters",
        ),
        ("{\"a\":1}\n{\"a\":\n", "t.ndjson, line 2: not a JSON object: EOF"),
        (
            "{\"a\":1}\n{\"a\":\"\\ud800\"}\n",
            "t.ndjson, line 2, column `a`: not a JSON string: unexpected end of hex escape at its byte 8",
        ),
        (
            "{\"a\":1,\"b\":2,\"a\":3}\n",
            "t.ndjson, line 1, column `a`: this column appears twice",
        ),
        (
            "{\"a\":{\"x\":1}}\n{\"a\":[{\"y\":{\"x\":1,\"z\":2,\"\\u0078\":1}}]}\n",
            "t.ndjson, line 2, column `a`: member `x`: this column appears twice",
        ),
    ] {
        let refusal = refusal(text, Format::Ndjson);
        assert!(refusal.starts_with(message), "{refusal:?} for {text:?}");
    }
}

#[test]
fn json_rows_are_found_wherever_they_are() {
    for text in [
        "[{\"a\":1},{\"a\":2}]",
        "\u{feff} [ {\"a\":1} ,\n {\"a\":2} ] \n",
        "{\"count\":2,\"tags\":[\"x\",[{}]],\"rows\":[{\"a\":1},{\"a\":2}],\"next\":null}",
        "{\"rows\":[{\"a\":1},{\"a\":2}],\"none\":[],\"meta\":{\"rows\":[{\"b\":1}]}}",
    ] {
        assert_eq!(read(text, Format::Json).unwrap().1, ["1", "2"], "{text}");
    }
    let options = ReadOptions {
        sub_path: Some("b".into()),
        ..ReadOptions::default()
    };
    let text = Bytes::from_static(b"{\"a\":[{\"x\":1}],\"b\":[{\"x\":2}]}");
    let source = Source::bytes("t", text, Format::Json, options);
    assert_eq!(read_source(&source).unwrap().1, ["2"]);
}

#[test]
fn bad_json_is_refused_with_its_place() {
    for (text, message) in [
        (" \n", "t.json: the file is empty"),
        (
            "{\"a\":1}\n{\"a\":2}\n",
            "t.json, line 1: the document has no array of objects",
        ),
        ("{\"a\":1}", "t.json, line 1: the document has no array of objects"),
        (
            "{\"a\":{\"rows\":[{\"x\":1}]},\"b\":[1]}",
            "t.json, line 1: no member of the document is an array of objects; where one lies further in, as it may in `a`, its \
             place is said with dots: --member a.NAME",
        ),
        // MAX_NAMED members, and one over.
        (
            "{\"a\":{},\"b\":{},\"c\":{},\"d\":{},\"e\":{},\"f\":{}}",
            "t.json, line 1: no member of the document is an array of objects; where one lies further in, as it may in `a`, \
             `b`, `c`, `d`, `e`, its place is said with dots: --member a.NAME",
        ),
        ("[{\"a\":1},", "t.json, line 1: the document ends within its array"),
        (
            "[{\"a\":1},\n2]",
            "t.json, line 2: an element of the array is not an object",
        ),
        ("[{\"a\":1}\n", "t.json, line 2: the document ends within its array"),
        (
            "[{\"a\":1}] x",
            "t.json, line 1: there is text after the end of the document",
        ),
        (
            "[{\"a\":1} {\"a\":2}]",
            "t.json, line 1: a comma or `]` is missing here",
        ),
        ("[{\"a\":1]", "t.json, line 1: not a JSON object: expected"),
        ("[\n{\"a\":1}]}", "t.json, line 2: not a JSON object"),
        (
            "{\"a\":[{\"x\":1}],\"b\":[{\"x\":2}]}",
            "t.json, line 1: both `a` and `b` are arrays of objects",
        ),
        (
            "[{\"a\":1,\n\"a\":2}]",
            "t.json, line 1, column `a`: this column appears twice",
        ),
    ] {
        let refusal = refusal(text, Format::Json);
        let close = refusal.starts_with(message) || text.ends_with("]}") && refusal.contains("after the end");
        assert!(close, "{refusal:?} for {text:?}");
    }
}

#[test]
fn geojson_properties_become_columns_and_the_geometry_comes_last() {
    let text = "{\"type\":\"FeatureCollection\",\"features\":[\
                {\"type\":\"Feature\",\"geometry\":{\"type\":\"Point\",\"coordinates\":[-118.6671667, 34.4945]},\
                \"properties\":{\"mag\":2,\"place\":\"x\"},\"id\":\"a\"},\
                {\"type\":\"Feature\",\"geometry\":null,\"properties\":{\"mag\":1.5,\"more\":true}},\
                {\"type\":\"Feature\",\"geometry\":null,\"properties\":null}]}";
    let (columns, rows) = read(text, Format::GeoJson).unwrap();
    assert_eq!(
        columns,
        [
            "id:String",
            "mag:Float64",
            "place:String",
            "more:Bool",
            "geometry:String"
        ]
    );
    assert_eq!(
        rows,
        [
            "a 2.0 x - {\"coordinates\":[-118.6671667,34.4945],\"type\":\"Point\"}",
            "- 1.5 - true -",
            "- - - - -"
        ]
    );
    assert!(refusal("{\"features\":[{\"a\":1}]}", Format::GeoJson).contains("it has no `properties`"));
    assert!(refusal("{\"type\":\"Feature\"}", Format::GeoJson).contains("no array `features`"));
}

#[test]
fn a_table_must_fit_the_schema_it_is_read_against() {
    let fields = vec![
        Field::new("i", DataType::Int64, true),
        Field::new("f", DataType::Float64, true),
        Field::new("d", DataType::Date32, true),
        Field::new("t", timestamp(), true),
        Field::new("b", DataType::Boolean, false),
        Field::new("n", DataType::Decimal128(5, 2), true),
    ];
    let shape = Shape::new(fields, None);
    let csv = |row: &str| read_shape(&World::source(&format!("i,f,d,t,b,n\n{row}\n"), Format::Csv), &shape);
    assert_eq!(
        csv("3.0,2,2024-01-01,2024-01-01,true,1.50").unwrap(),
        ["3 2.0 2024-01-01 2024-01-01T00:00:00Z true 1.50"]
    );
    for (row, message) in [
        ("1.5,,,,true,", "column `i`: `1.5` is not an Int64"),
        (
            "9223372036854775808,,,,true,",
            "column `i`: `9223372036854775808` is not an Int64",
        ),
        (",x,,,true,", "column `f`: `x` is not a Float64"),
        (
            ",,2024-01-01T00:00:00Z,,true,",
            "column `d`: `2024-01-01T00:00:00Z` is not a Date",
        ),
        (
            ",,,1700000000,true,",
            "column `t`: `1700000000` is a number, and nothing says in which unit",
        ),
        (
            ",,,2024-01-01T00:00:00.0001Z,true,",
            "column `t`: `2024-01-01T00:00:00.0001Z` has digits below the millisecond",
        ),
        (",,,,yes,", "column `b`: `yes` is not a Bool"),
        (",,,,,", "column `b`: no value, but this column must have one"),
        (",,,,true,1.555", "column `n`: `1.555` is not a Decimal(5, 2)"),
        (",,,,true,1000", "column `n`: `1000` is not a Decimal(5, 2)"),
    ] {
        let error = csv(row).unwrap_err().to_string();
        assert!(error.starts_with(&format!("t.csv, line 2, {message}")), "{error}");
    }
    let json = |row: &str| read_shape(&World::source(row, Format::Ndjson), &shape);
    assert_eq!(
        json("{\"b\":true,\"n\":\"1.5\",\"i\":1}").unwrap(),
        ["1 - - - true 1.50"]
    );
    for (row, message) in [
        ("{\"b\":true,\"i\":\"1\"}", "column `i`: `\"1\"` is not an Int64"),
        ("{\"b\":1}", "column `b`: `1` is not a Bool"),
        ("{\"b\":true,\"f\":[1]}", "column `f`: `[1]` is not a Float64"),
        ("{\"i\":1}", "column `b`: no value, but this column must have one"),
        (
            "{\"b\":true,\"x\":1}",
            "column `x`: the dataset has no such column; its columns are i, f, d, t, b, n",
        ),
    ] {
        let error = json(row).unwrap_err().to_string();
        assert!(error.starts_with(&format!("t.ndjson, line 1, {message}")), "{error}");
    }
    let header = |header: &str| {
        read_shape(&World::source(&format!("{header}\n"), Format::Csv), &shape)
            .unwrap_err()
            .to_string()
    };
    assert!(header("i,f,d,t,b,n,x").contains("column `x`: the dataset has no such column"));
    assert!(header("i,f,d,t,b,x").contains("the file lacks `n`; it has `x`, which nothing here takes"));
    assert!(header("i,f,d,t,b,N").contains("the file has `N` for `n` (upper and lower case count)"));
    assert!(header("i,f,d,t,b").contains("column `n`: the dataset has this column and the file does not"));
    assert_eq!(
        read_shape(&World::source("b,i,f,d,t,n\ntrue,1,,,,\n", Format::Csv), &shape).unwrap(),
        ["1 - - - true -"]
    );
}

#[test]
fn files_that_cannot_be_read_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let open = |name: &str| Source::file(&dir.path().join(name), None, ReadOptions::default());
    let message = |name: &str| open(name).err().unwrap().to_string();
    assert!(message("nope.csv").ends_with("nope.csv: no such file"));
    std::fs::create_dir(dir.path().join("dir.csv")).unwrap();
    assert!(message("dir.csv").ends_with("is a directory; name one table file"));
    std::fs::write(dir.path().join("data.xyz"), "x").unwrap();
    assert!(message("data.xyz").contains("--format csv|ndjson|json|geojson|ndgeojson|parquet|esrishapefile"));
    std::fs::write(dir.path().join("empty.parquet"), "").unwrap();
    assert!(
        read_source(&open("empty.parquet").unwrap())
            .unwrap_err()
            .to_string()
            .ends_with("the file is empty")
    );
    std::fs::write(dir.path().join("bad.parquet"), "PAR1 not really").unwrap();
    let error = read_source(&open("bad.parquet").unwrap()).unwrap_err().to_string();
    assert!(error.contains("not a readable Parquet file"), "{error}");
}

#[test]
fn streams_are_spooled_within_a_limit() {
    let dir = tempfile::tempdir().unwrap();
    let spool = |limit| {
        let path = dir.path().join("spool");
        Source::spool(
            "-",
            &mut &b"a\n1\n"[..],
            &path,
            limit,
            Format::Csv,
            ReadOptions::default(),
        )
    };
    assert_eq!(read_source(&spool(4).unwrap()).unwrap().1, ["1"]);
    assert_eq!(
        spool(3).err().unwrap().to_string(),
        "-: larger than the limit of 3 bytes"
    );
}

#[test]
fn reserved_names_and_event_times_are_checked() {
    let publish = |text: &str, event_time: Option<&str>| {
        let options = Options {
            event_time: event_time.map(str::to_owned),
            ..Options::default()
        };
        let mut world = World::new();
        world
            .publish_text(text, Format::Csv, &options)
            .map(|_| world.rows())
            .map_err(|error| error.to_string())
    };
    for name in ["offset", "op", "system_time"] {
        let error = publish(&format!("a,{name}\n1,2\n"), None).unwrap_err();
        assert_eq!(
            error,
            format!(
                "t.csv, column `{name}`: this name is reserved by ODF (offset, op, system_time); rename the column in the file"
            )
        );
    }
    assert_eq!(
        publish("a,event_time\n1,2024-01-01\n", None).unwrap(),
        ["0 0 2024-01-01 1"]
    );
    assert_eq!(publish("a\n1\n", None).unwrap(), ["0 0 2026-06-01T00:00:00.500Z 1"]);
    let error = publish("a,when\n1,soon\n", Some("when")).unwrap_err();
    assert!(
        error.starts_with("t.csv, column `when`: String cannot serve as event time"),
        "{error}"
    );
    let error = publish("a\n1\n", Some("when")).unwrap_err();
    assert_eq!(error, "t.csv, column `when`: no such column; the file has a");
    assert_eq!(publish("a\n", None).unwrap_err(), "t.csv: there are no rows");
}

#[test]
fn lines_are_told_however_they_end() {
    for (text, line) in [
        ("a,b\r1,2\r3\r", 3),
        ("a,b\r\n1,2\r\n\r\n3\r\n", 4),
        ("a,b\r\r1,2\n3", 4),
        ("a,b\n\"x\ry\",2\n3\n", 4),
    ] {
        let refusal = refusal(text, Format::Csv);
        assert!(
            refusal.starts_with(&format!("t.csv, line {line}, column `b`")),
            "{text:?}: {refusal}"
        );
    }
}
