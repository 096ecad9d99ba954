//! JSON rows at the end of a path.

use super::{csv, ddl, ndjson, read, refusal, rows};
use odf_metadata::{ReadStep, ReadStepCsv};

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
                 {\"type\":\"Feature\",\"properties\":{\"a\":2},\"geometry\":{}}\n";
    let columns = ddl(&["geometry STRING", "a BIGINT"]);
    let wanted = ["{\"coordinates\":[1.50,2],\"type\":\"Point\"} 1", "{} 2"];
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

#[test]
fn declared_features_have_the_columns_that_kamu_fills_and_more_only_where_it_finds_nothing() {
    let text = "{\"type\":\"Feature\",\"id\":7,\"properties\":{\"id\":1,\"geometry\":\"shadow\"},\
                \"geometry\":{\"type\":\"Point\",\"coordinates\":[1e2,-0.5E-3,2E5]}}\n\
                {\"type\":\"Feature\",\"id\":8,\"properties\":{\"_id\":9},\"geometry\":{}}\n";
    let step = |ddl_schema| ReadStep::NdGeoJson {
        ddl_schema,
        schema: None,
    };
    let rows = |columns: &[&str]| read(text.as_bytes(), &step(ddl(columns))).unwrap().1;
    assert_eq!(rows(&["id BIGINT"]), ["1", "8"]);
    assert_eq!(rows(&["id BIGINT", "_id BIGINT"]), ["7 1", "8 9"]);
    assert_eq!(rows(&["id BIGINT", "_geometry STRING"]), ["1 shadow", "8 -"]);
    // Numbers of a geometry have the digits that are written, and exponents in one form.
    let point = "{\"coordinates\":[1e+2,-0.5e-3,2e+5],\"type\":\"Point\"}";
    assert_eq!(rows(&["geometry STRING"]), [point, "{}"]);
    // Columns that are not declared are those that kamu finds.
    let (columns, rows) = read(text.as_bytes(), &step(None)).unwrap();
    assert_eq!(columns, ["geometry:String?", "id:Int64?", "_id:Int64?"]);
    assert_eq!(rows, [format!("{point} 1 -"), "{} - 9".to_owned()]);
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
    assert_eq!(names, ["a", "m", "t", "z", "b"]);
    assert!(
        columns.contains(&"t:String?".to_owned()) && columns.contains(&"m:String?".to_owned()),
        "{columns:?}"
    );
    assert_eq!(
        rows,
        [
            "{x: , y: [1.0, 2.5], w: } [1] 2024-01-01 1.0 -",
            "{x: , y: , w: v} text - 2.5 true",
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
fn the_first_rows_say_what_columns_there_are() {
    let open = ReadStep::NdJson {
        ddl_schema: None,
        date_format: None,
        encoding: None,
        timestamp_format: None,
        schema: None,
    };
    let some = usize::try_from(odf_ingest::source::FIRST_ROWS).unwrap();
    let text = |first: usize, last: &str| format!("{}{last}\n", "{\"v\":1}\n".repeat(first));
    let late = "{\"v\":2,\"w\":3}";
    let (columns, _) = read(text(some - 1, late).as_bytes(), &open).unwrap();
    assert_eq!(columns, ["v:Int64?", "w:Int64?"]);
    let (columns, rows) = read(text(some, late).as_bytes(), &open).unwrap();
    assert_eq!((columns, rows.len()), (vec!["v:Int64?".to_owned()], some + 1));
    let error = refusal(&text(some, "{\"v\":\"x\"}"), &open);
    assert!(
        error.starts_with(&format!("t.ndjson, line {}, column `v`", some + 1)),
        "{error}"
    );
    let csv = ReadStep::Csv(ReadStepCsv {
        header: Some(true),
        infer_schema: Some(true),
        ..csv(&[])
    });
    let table = |first: usize| format!("a\n{}x\n", "1\n".repeat(first));
    assert_eq!(read(table(some - 1).as_bytes(), &csv).unwrap().0, ["a:String?"]);
    let error = refusal(&table(some), &csv);
    assert!(
        error.starts_with(&format!("t.csv, line {}, column `a`: `x`", some + 2)),
        "{error}"
    );
}

#[test]
fn objects_follow_one_another_wherever_lines_end() {
    let step = ndjson(&["k STRING", "a INT"]);
    let text = "{\"k\":\"x\",\"a\":1} {\"k\":\"y\",\"a\":02,}\n\n  {\"k\":\"z\",\n\"a\":3}\n{\"k\":\"w\"}\n";
    assert_eq!(read(text.as_bytes(), &step).unwrap().1, ["x 1", "y 2", "z 3", "w -"]);
    // The lines of what is wrong are those of the file.
    let error = refusal(&format!("{text}{{\"a\":true}}\n"), &step);
    assert!(error.starts_with("t.ndjson, line 6, column `a`: `true`"), "{error}");
    let error = refusal("{\"a\":1} {\"a\":2\n{\"a\":3}\n", &step);
    assert!(error.starts_with("t.ndjson, line 1: not a JSON object"), "{error}");
    let error = refusal("{\"a\":1,\"a\":2}\n", &step);
    assert!(error.contains("column `a`: this column appears twice"), "{error}");
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
