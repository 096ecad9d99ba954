//! Published shapefiles: what their attributes become, by the header of the `.dbf`.

use std::io::{Cursor, Write as _};
use std::path::PathBuf;

use super::*;
use odf_ingest::infer::Note;
use odf_ingest::shape::type_name;

/// A field: name, type, length, digits behind the point.
type Field<'f> = (&'f str, u8, u8, u8);

/// A zip archive with one point for each row of attributes.
fn archive(language: u8, cpg: Option<&str>, fields: &[Field<'_>], rows: &[&[u8]]) -> Vec<u8> {
    let mut shp = vec![0; 100];
    shp[..4].copy_from_slice(&9994u32.to_be_bytes());
    for at in 1..=rows.len() {
        shp.extend(u32::try_from(at).unwrap().to_be_bytes());
        shp.extend(10u32.to_be_bytes());
        shp.extend(1u32.to_le_bytes());
        shp.extend([1.0f64, 2.0].iter().flat_map(|number| number.to_le_bytes()));
    }
    let length = 1 + fields.iter().map(|field| usize::from(field.2)).sum::<usize>();
    let mut dbf = vec![0; 32];
    dbf[0] = 3;
    dbf[8..10].copy_from_slice(&u16::try_from(33 + 32 * fields.len()).unwrap().to_le_bytes());
    dbf[10..12].copy_from_slice(&u16::try_from(length).unwrap().to_le_bytes());
    dbf[29] = language;
    for (name, kind, length, decimals) in fields {
        let mut field = [0; 32];
        field[..name.len()].copy_from_slice(name.as_bytes());
        field[11] = *kind;
        field[16] = *length;
        field[17] = *decimals;
        dbf.extend(field);
    }
    dbf.push(0x0d);
    for row in rows {
        assert_eq!(row.len(), length);
        dbf.extend(*row);
    }
    dbf.push(0x1a);
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let cpg = cpg.map(|name| ("l.cpg", name.as_bytes().to_vec()));
    for (name, bytes) in [("l.shp", shp), ("l.dbf", dbf)].into_iter().chain(cpg) {
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(&bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn publish(world: &mut World, archive: Vec<u8>) -> Result<(), String> {
    let source = Source::bytes(
        "t.zip",
        Bytes::from(archive),
        Format::EsriShapefile,
        ReadOptions::default(),
    );
    let options = Options {
        changed: Changed::TakeAll,
        ..Options::default()
    };
    world
        .publish(&source, &options)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// The columns of the table and its rows, without the geometry.
fn published(archive: Vec<u8>) -> (Vec<String>, Vec<String>) {
    let mut world = World::new();
    publish(&mut world, archive).unwrap();
    (columns(&world), attributes(&world))
}

fn columns(world: &World) -> Vec<String> {
    let dataset = world.dataset();
    let schema = dataset.state().schema.as_ref().unwrap().schema.clone().unwrap();
    let schema = types::to_arrow(&schema).unwrap();
    let columns = schema.fields().iter().skip(4);
    columns
        .map(|field| format!("{}:{}", field.name(), type_name(field.data_type())))
        .collect()
}

fn attributes(world: &World) -> Vec<String> {
    let point = " {\"type\":\"Point\",\"coordinates\":[1.0,2.0]}";
    let rows = world.rows().into_iter();
    rows.map(|row| row.splitn(4, ' ').last().unwrap().replace(point, ""))
        .collect()
}

#[test]
fn text_is_in_the_code_page_of_the_language_byte_or_the_cpg() {
    let name = &[("NAME", b'C', 8, 0)];
    let japanese: &[&[u8]] = &[b" \x93\x8c\x8b\x9e    "];
    assert_eq!(published(archive(0x13, None, name, japanese)).1, ["東京"]);
    assert_eq!(published(archive(0x03, Some("CP932"), name, japanese)).1, ["東京"]);
    let utf8 = " 東京  ".as_bytes();
    assert_eq!(published(archive(0x13, Some("UTF-8\n"), name, &[utf8])).1, ["東京"]);
    assert_eq!(published(archive(0, None, name, &[utf8])).1, ["東京"]);
    let refused = |archive| publish(&mut World::new(), archive).unwrap_err();
    assert!(refused(archive(0x77, None, name, japanese)).contains("language byte 0x77"));
    assert!(refused(archive(0x13, Some("klingon"), name, japanese)).contains("`klingon`"));
    assert_eq!(
        refused(archive(0xf0, None, name, japanese)),
        "t.zip, row 1, column `NAME`: `\\x93\\x8c\\x8b\\x9e` is not text in UTF-8, the type of this column"
    );
}

#[test]
fn numbers_keep_every_digit() {
    let fields = &[
        ("small", b'N', 4, 0),
        ("id", b'N', 19, 0),
        ("wide", b'N', 20, 0),
        ("price", b'N', 9, 2),
        ("exact", b'N', 20, 3),
        ("area", b'F', 19, 11),
    ];
    let row: Vec<u8> = [
        &b" "[..],
        b"  -7",
        b"   9007199254740993",
        b"    9007199254740993",
        b"  1234.50",
        b" 900719925474099.125",
        b" 1.23456789012e+10 ",
    ]
    .concat();
    let (columns, rows) = published(archive(0, None, fields, &[&row]));
    assert_eq!(
        columns,
        [
            "small:Int64",
            "id:Int64",
            "wide:Decimal(20, 0)",
            "price:Float64",
            "exact:Decimal(19, 3)",
            "area:Float64",
            "geometry:String",
        ]
    );
    assert_eq!(
        rows,
        ["-7 9007199254740993 9007199254740993 1234.5 900719925474099.125 12345678901.2"]
    );
    // More than 64 bits hold, in nineteen digits; more than any number type holds.
    let big = |value: &str| {
        let row = format!(" {value:>19}");
        published(archive(0, None, &[("n", b'N', 19, 0)], &[row.as_bytes()]))
    };
    assert_eq!(big("9999999999999999999").0[0], "n:Decimal(19, 0)");
    assert_eq!(big("9999999999999999999").1, ["9999999999999999999"]);
    assert_eq!(big("-999999999999999999").0[0], "n:Int64");
    let row = format!(" {:>40}", "9".repeat(40));
    let (columns, rows) = published(archive(0, None, &[("n", b'N', 40, 0)], &[row.as_bytes()]));
    assert_eq!((columns[0].as_str(), rows), ("n:String", vec!["9".repeat(40)]));
}

#[test]
fn decimals_come_where_they_are_wanted_and_text_for_want_of_digits_is_told() {
    let fields = &[("n", b'N', 40, 0), ("price", b'N', 9, 2), ("day", b'C', 10, 0)];
    let row = format!(" {}  1234.502024-01-01", "9".repeat(40));
    let inferred = |decimal| {
        let options = ReadOptions {
            decimal,
            ..ReadOptions::default()
        };
        let bytes = Bytes::from(archive(0, None, fields, &[row.as_bytes()]));
        let source = Source::bytes("t.zip", bytes, Format::EsriShapefile, options);
        let end = source.len().unwrap();
        let inferred = source.infer(end, &mut |_| ControlFlow::Continue(())).unwrap();
        let columns = inferred.columns.into_iter();
        columns
            .map(|column| (column.name, type_name(&column.data_type), column.note))
            .collect::<Vec<_>>()
    };
    for (decimal, price) in [(false, "Float64"), (true, "Decimal(8, 2)")] {
        let wanted = [
            ("n", "String", Some(Note::Digits)),
            ("price", price, None),
            // Said by the file, whatever it looks like.
            ("day", "String", None),
            ("geometry", "String", None),
        ];
        let wanted = wanted.map(|(name, data_type, note)| (name.to_owned(), data_type.to_owned(), note));
        assert_eq!(inferred(decimal), wanted);
    }
}

#[test]
fn types_are_those_of_the_header_whatever_the_values() {
    let fields = &[
        ("text", b'C', 10, 0),
        ("day", b'D', 8, 0),
        ("yes", b'L', 1, 0),
        ("n", b'N', 5, 0),
    ];
    let (columns, rows) = published(archive(
        0,
        None,
        fields,
        &[
            b" 2024-01-0120240229T   12",
            b"                   ?     ",
            b" 007       00000000F*****",
        ],
    ));
    assert_eq!(
        columns,
        ["text:String", "day:Date", "yes:Bool", "n:Int64", "geometry:String"]
    );
    assert_eq!(rows, ["2024-01-01 2024-02-29 true 12", "- - - -", "007 - false -"]);

    let mut world = World::new();
    publish(&mut world, archive(0, None, fields, &[b" x         20240229T   12"])).unwrap();
    let error = publish(&mut world, archive(0, None, fields, &[b" x         20240230T   12"])).unwrap_err();
    assert!(
        error.starts_with("t.zip, row 1, column `day`: `2024-02-30` is not a Date"),
        "{error}"
    );
    let error = publish(&mut world, archive(0, None, &[("n", b'M', 10, 0)], &[])).unwrap_err();
    assert!(error.contains("column `n`: the type `M` of dBASE"), "{error}");
}

#[test]
fn an_attribute_that_is_called_as_the_geometry_is_kept() {
    let (columns, rows) = published(archive(0, None, &[("geometry", b'C', 6, 0)], &[b" shadow"]));
    assert_eq!(columns, ["_geometry:String", "geometry:String"]);
    assert_eq!(rows, ["shadow"]);
}

#[test]
fn a_source_reads_what_was_published() {
    // As `odfs ingest` does after `odfs publish` has made the source.
    let fields = &[
        ("id", b'N', 19, 0),
        ("exact", b'N', 20, 3),
        ("day", b'D', 8, 0),
        ("geometry", b'C', 6, 0),
    ];
    let row: &[u8] = b"    9007199254740993 900719925474099.12520240229shadow";
    let mut world = World::new();
    publish(&mut world, archive(0, None, fields, &[row])).unwrap();
    let file: PathBuf = world.dir.path().join("more.zip");
    std::fs::write(&file, archive(0, None, fields, &[row])).unwrap();
    let now = hour(20);
    let mut dataset = world.dataset();
    let options = PushOptions::default();
    let progress = &mut |_| ControlFlow::Continue(());
    push(&mut dataset, "more.zip", &file, &options, now, progress).unwrap();
    let rows = attributes(&world);
    assert_eq!(rows, vec!["9007199254740993 900719925474099.125 2024-02-29 shadow"; 2]);
}
