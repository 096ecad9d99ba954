use std::io::{Cursor, Write as _};

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::ods::MAX_BLANKS;
use super::package::{MAX_DEPTH, MAX_EVENT_BYTES, MAX_PART_BYTES};
use super::xlsx::MAX_LIST_BYTES;
use super::*;
use crate::source::MAX_ROW_BYTES;

const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>";
const MAIN: &str = "xmlns=\"http://schemas.openxmlformats.org/spreadsheetml/2006/main\"";
const LINKS: &str = "xmlns:r=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships\"";
const KINDS: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";

fn zip(parts: &[(String, String)]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in parts {
        writer.start_file(name.as_str(), SimpleFileOptions::default()).unwrap();
        writer.write_all(text.as_bytes()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A workbook with these sheets (name, content of `sheetData`) and other parts. Style 1 is a date, style 2 one with a time.
/// A sheet whose name begins with a dot is hidden.
pub(super) fn workbook(sheets: &[(&str, &str)], others: &[(&str, &str)]) -> Vec<u8> {
    let (mut parts, mut list, mut links) = (Vec::new(), String::new(), String::new());
    for (at, (name, data)) in (1..).zip(sheets) {
        let state = if name.starts_with('.') { "state=\"hidden\"" } else { "" };
        list += &format!("<sheet name=\"{name}\" sheetId=\"{at}\" {state} r:id=\"rId{at}\"/>");
        links +=
            &format!("<Relationship Id=\"rId{at}\" Type=\"{KINDS}/worksheet\" Target=\"worksheets/sheet{at}.xml\"/>");
        let dimension = "<dimension ref=\"A1:XFD1048576\"/>";
        let sheet = format!("{HEAD}<worksheet {MAIN}>{dimension}<sheetData>{data}</sheetData></worksheet>");
        parts.push((format!("xl/worksheets/sheet{at}.xml"), sheet));
    }
    links += &format!("<Relationship Id=\"rIdS\" Type=\"{KINDS}/styles\" Target=\"/xl/styles.xml\"/>");
    if others.iter().any(|(name, _)| *name == "xl/sharedStrings.xml") {
        links += &format!("<Relationship Id=\"rIdT\" Type=\"{KINDS}/sharedStrings\" Target=\"sharedStrings.xml\"/>");
    }
    let list = format!("{HEAD}<workbook {MAIN} {LINKS}><sheets>{list}</sheets></workbook>");
    let links = format!("{HEAD}<Relationships>{links}</Relationships>");
    let styles = format!(
        "{HEAD}<styleSheet {MAIN}><numFmts><numFmt numFmtId=\"170\" formatCode=\"dd/mm/yyyy\\ hh:mm\"/></numFmts>\
         <cellStyleXfs><xf numFmtId=\"22\"/></cellStyleXfs>\
         <cellXfs><xf numFmtId=\"0\"/><xf numFmtId=\"14\"/><xf numFmtId=\"170\"/></cellXfs></styleSheet>"
    );
    parts.push(("xl/workbook.xml".to_owned(), list));
    parts.push(("xl/_rels/workbook.xml.rels".to_owned(), links));
    parts.push(("xl/styles.xml".to_owned(), styles));
    parts.extend(
        others
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned())),
    );
    zip(&parts)
}

/// A workbook with one sheet and these styles.
fn restyled(data: &str, styles: &str) -> Vec<u8> {
    let links = format!(
        "<Relationships><Relationship Id=\"a\" Type=\"{KINDS}/worksheet\" Target=\"s.xml\"/>\
         <Relationship Id=\"b\" Type=\"{KINDS}/styles\" Target=\"t.xml\"/></Relationships>"
    );
    let parts = [
        (
            "xl/workbook.xml",
            format!("<workbook {LINKS}><sheet name=\"S\" r:id=\"a\"/></workbook>"),
        ),
        ("xl/_rels/workbook.xml.rels", links),
        (
            "xl/s.xml",
            format!("<worksheet><sheetData>{data}</sheetData></worksheet>"),
        ),
        ("xl/t.xml", styles.to_owned()),
    ];
    zip(&parts.map(|(name, text)| (name.to_owned(), text)))
}

/// A workbook of the other kind with these sheets (name, rows). One whose name begins with a dot is hidden.
fn ods(sheets: &[(&str, &str)]) -> Vec<u8> {
    let tables = sheets.iter().map(|(name, rows)| {
        let style = if name.starts_with('.') { "hides" } else { "shows" };
        format!(
            "<table:table table:name=\"{name}\" table:style-name=\"{style}\"><table:table-column/>{rows}</table:table>"
        )
    });
    let tables: String = tables.collect();
    let content = format!(
        "{HEAD}<office:document-content xmlns:office=\"o\" xmlns:table=\"t\" xmlns:text=\"x\" xmlns:style=\"s\" xmlns:calcext=\"c\">\
         <office:automatic-styles><style:style style:name=\"hides\"><style:table-properties table:display=\"false\"/></style:style>\
         <style:style style:name=\"shows\"><style:table-properties table:display=\"true\"/></style:style></office:automatic-styles>\
         <office:body><office:spreadsheet>{tables}</office:spreadsheet></office:body></office:document-content>"
    );
    zip(&[("content.xml".to_owned(), content)])
}

pub(super) fn package(bytes: Vec<u8>) -> Package {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.xlsx");
    std::fs::write(&path, bytes).unwrap();
    let package = Package::open("t.xlsx", &path);
    // The file is opened again for each part.
    let _ = folder.keep();
    package.unwrap()
}

/// The text that a workbook comes to, or why it comes to none.
fn text(bytes: &[u8], sheet: Option<&str>) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let (book, spool) = (folder.path().join("t.xlsx"), folder.path().join("text"));
    std::fs::write(&book, bytes).unwrap();
    match open("t.xlsx", &book, sheet, &spool, ReadOptions::default(), &mut |_| true) {
        Ok(_) => Ok(std::fs::read_to_string(spool).unwrap()),
        Err(error) => Err(error.to_string()),
    }
}

fn one(data: &str) -> Result<String, String> {
    text(&workbook(&[("S", data)], &[]), None)
}

fn one_ods(rows: &str) -> Result<String, String> {
    text(&ods(&[("S", rows)]), None)
}

/// Whether a cell of the tests is a number.
fn is_number(cell: &str) -> bool {
    cell.parse::<f64>().is_ok() && !cell.starts_with("00")
}

/// A row of cells: tags as they are, numbers as numbers, the others as text.
fn row(number: u64, cells: &[&str]) -> String {
    let cells = cells.iter().map(|cell| match cell.starts_with('<') {
        true => (*cell).to_owned(),
        false if is_number(cell) => format!("<c><v>{cell}</v></c>"),
        false => format!("<c t=\"inlineStr\"><is><t>{cell}</t></is></c>"),
    });
    format!("<row r=\"{number}\">{}</row>", cells.collect::<String>())
}

/// The same in the other kind of workbook.
fn ods_row(cells: &[&str]) -> String {
    let cells = cells.iter().map(|cell| match cell.starts_with('<') {
        true => (*cell).to_owned(),
        false if is_number(cell) => {
            format!("<table:table-cell office:value-type=\"float\" office:value=\"{cell}\"><text:p>~</text:p></table:table-cell>")
        }
        false => format!("<table:table-cell office:value-type=\"string\"><text:p>{cell}</text:p></table:table-cell>"),
    });
    format!("<table:table-row>{}</table:table-row>", cells.collect::<String>())
}

#[test]
fn a_sheet_is_the_csv_that_people_would_save() {
    let rows = [
        row(2, &["id", " name "]),
        row(3, &["1", "007"]),
        // Formatted, and empty.
        row(4, &["<c s=\"1\"/>", "<c/>"]),
        row(6, &["<c/>", "a, \"b\"\nc"]),
        row(9, &["<c/>"]),
        row(10, &["2.50", "<c t=\"inlineStr\"><is><t> d </t></is></c>"]),
    ];
    let expected = "\"id\",\"name\"\n1,007\n,\"a, \"\"b\"\"\nc\"\n2.5, d \n";
    assert_eq!(one(&rows.concat()).unwrap(), expected);
    let nothing = "<table:table-row table:number-rows-repeated=\"2\"><table:table-cell table:number-columns-repeated=\"1024\"/></table:table-row>";
    let rows = [
        nothing.to_owned(),
        ods_row(&["id", " name "]),
        ods_row(&["1", "007"]),
        nothing.to_owned(),
        format!(
            "<table:table-row-group>{}</table:table-row-group>",
            ods_row(&["<table:table-cell/>", "a, \"b\"</text:p><text:p>c"])
        ),
        ods_row(&[
            "2.50",
            "<table:table-cell office:value-type=\"string\"><text:p><text:s/>d<text:s/></text:p></table:table-cell>",
        ]),
        "<table:table-row table:number-rows-repeated=\"1048576\"><table:table-cell/></table:table-row>".to_owned(),
    ];
    assert_eq!(one_ods(&rows.concat()).unwrap(), expected);
}

#[test]
fn cells_are_read_as_what_they_hold() {
    let cells = [
        ("100.0", "100"),
        ("1234567890123456789", "1234567890123456789"),
        ("<c t=\"str\"><v>1E5</v></c>", "1E5"),
        ("<c t=\"b\"><v>1</v></c>", "true"),
        ("<c s=\"1\"><v>45292</v></c>", "2024-01-01"),
        ("<c s=\"2\"><v>45292</v></c>", "2024-01-01T00:00:00"),
        ("<c><f>1/8</f><v>0.125</v></c>", "0.125"),
        ("<c t=\"str\"><f>IF(A2,\"\",1)</f><v></v></c>", ""),
        ("<c t=\"d\"><v>2024-01-01T08:30:00</v></c>", "2024-01-01T08:30:00"),
        (
            "<c t=\"inlineStr\"><is><r><t>a</t></r><r><rPr><b/></rPr><t>&amp;&#98;_x0009_</t></r><rPh><t>x</t></rPh></is></c>",
            "a&b\t",
        ),
    ];
    for (cell, value) in cells {
        let read = one(&[row(1, &["k", "v"]), row(2, &["1", cell])].concat());
        assert_eq!(read.unwrap(), format!("\"k\",\"v\"\n1,{value}\n"), "{cell}");
    }
    let of = |attributes: &str, content: &str| format!("<table:table-cell {attributes}>{content}</table:table-cell>");
    let cells = [
        (
            of(
                "office:value-type=\"percentage\" office:value=\"0.125\"",
                "<text:p>12.5%</text:p>",
            ),
            "0.125",
        ),
        (
            of("office:value-type=\"float\" office:value=\"1234567890123456789\"", ""),
            "1234567890123456789",
        ),
        (
            of(
                "office:value-type=\"boolean\" office:boolean-value=\"false\"",
                "<text:p>FALSE</text:p>",
            ),
            "false",
        ),
        (
            of(
                "office:value-type=\"date\" office:date-value=\"2024-01-31\"",
                "<text:p>31.1.24</text:p>",
            ),
            "2024-01-31",
        ),
        (
            of("office:value-type=\"time\" office:time-value=\"PT26H00M00S\"", ""),
            "26:00:00",
        ),
        (
            of(
                "office:value-type=\"string\" office:string-value=\"long\"",
                "<text:p>short</text:p>",
            ),
            "long",
        ),
        (
            of("table:formula=\"of:=&quot;&quot;\" office:value-type=\"string\"", ""),
            "",
        ),
        (
            of(
                "office:value-type=\"string\"",
                "<office:annotation><text:p>no</text:p></office:annotation><text:p>a <text:span>b</text:span>\n  c<text:s text:c=\"2\"/>d</text:p><draw><text:p>no</text:p></draw>",
            ),
            "a b c  d",
        ),
    ];
    for (cell, value) in cells {
        let read = one_ods(&[ods_row(&["k", "v"]), ods_row(&["1", &cell])].concat());
        assert_eq!(read.unwrap(), format!("\"k\",\"v\"\n1,{value}\n"), "{cell}");
    }
}

#[test]
fn cells_that_repeat_are_as_many() {
    let rows = [
        ods_row(&["a", "b", "c"]),
        "<table:table-row table:number-rows-repeated=\"2\"><table:table-cell table:number-columns-repeated=\"2\" office:value-type=\"float\" office:value=\"7\"/></table:table-row>".to_owned(),
    ];
    assert_eq!(one_ods(&rows.concat()).unwrap(), "\"a\",\"b\",\"c\"\n7,7,\n7,7,\n");
}

#[test]
fn a_header_has_the_columns_of_the_table() {
    let named = |header: &[&str], values: &[&str]| one(&[row(1, header), row(2, values)].concat());
    assert_eq!(
        named(&["2024", "<c/>", "b"], &["1", "2", "3"]).unwrap(),
        "\"2024\",\"\",\"b\"\n1,2,3\n"
    );
    // A table that does not begin in the first column.
    assert_eq!(named(&["<c/>", "a"], &["<c/>", "2"]).unwrap(), "\"a\"\n2\n");
    for (header, values, what) in [
        (
            &["a"][..],
            &["1", "2"][..],
            "row 2: the cell B2 has a value, and the header",
        ),
        (&["<c/>", "a"], &["1", "2"], "row 2: the cell A2 has a value"),
        (
            &["a", "<c t=\"e\"><v>#REF!</v></c>"],
            &["1"],
            "row 1, column `B1`: the cell holds the error #REF!",
        ),
    ] {
        let error = named(header, values).unwrap_err();
        assert!(error.contains(what), "{error}");
    }
    for empty in ["", &row(1, &["<c/>"])] {
        assert!(one(empty).unwrap_err().contains("there are no rows"));
    }
}

#[test]
fn values_that_are_none_are_refused_with_their_place() {
    for (cell, what) in [
        ("<c t=\"e\"><v>#DIV/0!</v></c>", "the error #DIV/0!"),
        ("<c><f>A1+1</f></c>", "a formula without a stored value"),
        ("<c><f>A1+1</f><v/></c>", "a formula without a stored value"),
        ("<c><v>1,5</v></c>", "`1,5` is not a number"),
        ("<c s=\"1\"><v>60</v></c>", "the calendar has no day 60"),
        ("<c t=\"s\"><v>0</v></c>", "no shared text 0"),
        ("<c t=\"b\"><v>2</v></c>", "neither true nor false"),
        ("<c t=\"z\"><v>2</v></c>", "a type `z`"),
    ] {
        let error = one(&[row(1, &["a", "b"]), row(4, &["1", cell])].concat()).unwrap_err();
        assert!(error.starts_with("t.xlsx, sheet S, row 4, column `b`: "), "{error}");
        assert!(error.contains(what), "{error}");
    }
    for (attributes, what) in [
        (
            "table:formula=\"of:=1/0\" office:value-type=\"string\" office:string-value=\"\" calcext:value-type=\"error\"",
            "the error #DIV/0!",
        ),
        (
            "table:formula=\"of:=1/0\" office:value-type=\"float\" office:value=\"0\"",
            "the error #DIV/0!",
        ),
        ("office:value-type=\"float\" office:value=\"x\"", "`x` is not a number"),
        ("office:value-type=\"date\"", "has no value"),
        (
            "office:value-type=\"time\" office:time-value=\"8:30\"",
            "`8:30` is not a time",
        ),
    ] {
        let cell = format!("<table:table-cell {attributes}><text:p>#DIV/0!</text:p></table:table-cell>");
        let error = one_ods(&[ods_row(&["a", "b"]), ods_row(&["1", &cell])].concat()).unwrap_err();
        assert!(error.starts_with("t.xlsx, sheet S, row 2, column `b`: "), "{error}");
        assert!(error.contains(what), "{error}");
    }
    let cell = "<table:table-cell table:formula=\"of:=1\"/>";
    let error = one_ods(&[ods_row(&["a", "b"]), ods_row(&["1", cell])].concat()).unwrap_err();
    assert!(error.contains("a formula without a stored value"), "{error}");
}

#[test]
fn which_sheet_is_meant_is_not_guessed() {
    let table = [row(1, &["a"]), row(2, &["1"])].concat();
    let ods_table = [ods_row(&["a"]), ods_row(&["1"])].concat();
    let books = |sheets: [(&'static str, bool); 3]| {
        let of =
            |table: &str| sheets.map(|(name, filled)| (name, if filled { table.to_owned() } else { String::new() }));
        let (left, right) = (of(&table), of(&ods_table));
        let left: Vec<_> = left.iter().map(|(name, data)| (*name, data.as_str())).collect();
        let right: Vec<_> = right.iter().map(|(name, data)| (*name, data.as_str())).collect();
        [workbook(&left, &[]), ods(&right)]
    };
    for book in books([("First", false), ("Second one", true), (".third", true)]) {
        assert_eq!(text(&book, None).unwrap(), "\"a\"\n1\n");
        assert_eq!(text(&book, Some(".third")).unwrap(), "\"a\"\n1\n");
        let sheets = "`First`, `Second one`, `.third` (hidden)";
        let error = text(&book, Some("second")).unwrap_err();
        assert_eq!(
            error,
            format!("t.xlsx: there is no sheet `second`; its sheets are {sheets}")
        );
        assert!(text(&book, Some("First")).unwrap_err().contains("there are no rows"));
    }
    for book in books([("First", true), ("Second", true), ("Third", false)]) {
        assert_eq!(
            text(&book, None).unwrap_err(),
            "t.xlsx: its sheets are `First`, `Second`, `Third`"
        );
    }
}

#[test]
fn limits_hold_to_the_last_one() {
    let at = |number: u64| one(&format!("{}<row r=\"{number}\"><c><v>1</v></c></row>", row(1, &["a"])));
    assert_eq!(at(MAX_SHEET_ROWS).unwrap(), "\"a\"\n1\n");
    let error = at(MAX_SHEET_ROWS + 1).unwrap_err();
    assert!(error.contains("1048576 rows of a sheet"), "{error}");
    let rows = |count: u64| {
        let many = format!(
            "<table:table-row table:number-rows-repeated=\"{count}\"><table:table-cell office:value-type=\"float\" office:value=\"1\"/></table:table-row>"
        );
        one_ods(&[ods_row(&["a"]), many].concat())
    };
    assert_eq!(rows(MAX_SHEET_ROWS - 1).unwrap().lines().count() as u64, MAX_SHEET_ROWS);
    for count in [MAX_SHEET_ROWS, u64::MAX] {
        let error = rows(count).unwrap_err();
        assert!(error.contains("1048576 rows of a sheet"), "{error}");
    }

    let columns = |last: u32| {
        let place = cell::place(1, last - 1);
        let header = format!("<row><c r=\"A1\"><v>1</v></c><c r=\"{place}\"><v>2</v></c></row>");
        one(&[header, row(2, &["1"])].concat())
    };
    let most = u32::try_from(MAX_COLUMNS).unwrap();
    columns(most).unwrap();
    let error = columns(most + 1).unwrap_err();
    assert!(error.contains("4096 columns"), "{error}");
    let error = one_ods(&format!(
        "<table:table-row><table:table-cell table:number-columns-repeated=\"{}\" office:value-type=\"float\" office:value=\"1\"/></table:table-row>",
        MAX_SHEET_COLUMNS + 1
    ))
    .unwrap_err();
    assert!(error.contains("16384 columns of a sheet"), "{error}");
    let blanks = |count: usize| {
        one_ods(&ods_row(&[&format!(
            "<table:table-cell office:value-type=\"string\"><text:p><text:s text:c=\"{count}\"/>x</text:p></table:table-cell>"
        )]))
    };
    blanks(MAX_BLANKS).unwrap();
    for count in [MAX_BLANKS + 1, usize::MAX] {
        assert!(blanks(count).unwrap_err().contains("too many blanks"));
    }

    // Eight cells of the same share a text here, and each has it for itself in its row.
    let long = |bytes: usize| {
        let texts = format!("<sst><si><t>{}</t></si></sst>", "x".repeat(bytes));
        let cells = ["<c t=\"s\"><v>0</v></c>"; 8];
        let header = row(1, &["a", "b", "c", "d", "e", "f", "g", "h"]);
        let data = [header, row(2, &cells)].concat();
        let parts = [("xl/sharedStrings.xml", texts.as_str())];
        let xlsx = text(&workbook(&[("S", &data)], &parts), None);
        let cell = format!(
            "<table:table-cell table:number-columns-repeated=\"8\" office:value-type=\"string\"><text:p>{}</text:p></table:table-cell>",
            "x".repeat(bytes)
        );
        let header = ods_row(&["a", "b", "c", "d", "e", "f", "g", "h"]);
        [xlsx, one_ods(&[header, ods_row(&[&cell])].concat())]
    };
    for read in long(MAX_ROW_BYTES / 8 - 64) {
        read.unwrap();
    }
    for read in long(MAX_ROW_BYTES / 8) {
        let error = read.unwrap_err();
        assert!(error.contains("16777216 bytes for one row"), "{error}");
    }
    let texts = "<t>x</t>".repeat(1 << 10);
    let cell = format!("<c t=\"inlineStr\"><is>{texts}</is></c>");
    assert!(one(&[row(1, &["a"]), row(2, &[&cell])].concat()).is_ok());

    let written = |limit: u64| {
        let source = Source::bytes("t", bytes::Bytes::new(), Format::Csv, ReadOptions::default());
        let mut lines = Lines::new(&source, Vec::new(), limit);
        lines
            .take(1, vec![(0, Ok("a".to_owned()))])
            .map(|_| lines.finish().unwrap())
    };
    written(4).unwrap();
    let error = written(3).unwrap_err().to_string();
    let what = format!("{MAX_SHEET_TEXT_BYTES} bytes of text in a sheet");
    assert!(error.contains(&what), "{error}");
}

#[test]
fn parts_and_what_is_in_them_have_bounds() {
    let parts = |content: &str| package(workbook(&[("S", content)], &[]));
    let read = |package: &Package, limit: u64| {
        let part = package.part_within("xl/worksheets/sheet1.xml", limit);
        part.and_then(package::Part::finish).map_err(|error| error.to_string())
    };
    let small = parts("");
    let length = (1..MAX_PART_BYTES).find(|limit| read(&small, *limit).is_ok()).unwrap();
    let error = read(&small, length - 1).unwrap_err();
    let what = format!("limit of {} bytes in an unpacked part", length - 1);
    assert!(error.contains(&what), "{error}");

    let styles = |bytes: u64| {
        let mebibyte = format!("<x>{}</x>", "y".repeat((1 << 20) - "<x></x>".len()));
        let styles = mebibyte.repeat(usize::try_from(bytes >> 20).unwrap());
        let styles = format!("<styleSheet>{styles}</styleSheet>");
        let data = [row(1, &["a"]), row(2, &["1"])].concat();
        super::tests::text(&restyled(&data, &styles), None)
    };
    styles(MAX_LIST_BYTES - (1 << 20)).unwrap();
    let error = styles(MAX_LIST_BYTES).unwrap_err();
    assert!(
        error.contains(&format!("{MAX_LIST_BYTES} bytes in an unpacked part")),
        "{error}"
    );

    let text = |bytes: u64| parts(&"x".repeat(usize::try_from(bytes).unwrap()));
    // What is read ahead counts, too.
    read(&text(MAX_EVENT_BYTES - (1 << 14)), u64::MAX).unwrap();
    let error = read(&text(MAX_EVENT_BYTES + (1 << 14)), u64::MAX).unwrap_err();
    assert!(error.contains("bytes in one tag or text"), "{error}");

    // Two elements are around them.
    let deep = |depth: usize| parts(&["<a>".repeat(depth), "</a>".repeat(depth)].concat());
    read(&deep(MAX_DEPTH - 2), u64::MAX).unwrap();
    let error = read(&deep(MAX_DEPTH - 1), u64::MAX).unwrap_err();
    assert!(error.contains("256 elements within each other"), "{error}");
}

#[test]
fn cells_out_of_order_and_damaged_workbooks_are_refused() {
    for data in [
        "<row><c r=\"B1\"><v>1</v></c><c r=\"A1\"><v>1</v></c></row>",
        "<row><c r=\"A1\"><v>1</v></c><c r=\"A1\"><v>2</v></c></row>",
        "<row r=\"2\"><c r=\"A2\"><v>1</v></c></row><row r=\"1\"><c r=\"A1\"><v>2</v></c></row>",
    ] {
        let error = one(data).unwrap_err();
        assert!(error.contains("comes behind others"), "{error}");
    }
    for data in [
        "<row r=\"1\"><c r=\"A2\"><v>1</v></c></row>",
        "<row r=\"0\"><c><v>1</v></c></row>",
        "<row r=\"x\"/>",
        "<row r=\"18446744073709551616\"/>",
        "<row>",
        "<row></c>",
        "<row><c><v>&unknown;</v></c></row>",
    ] {
        assert!(one(data).unwrap_err().contains("not a readable workbook"), "{data}");
    }
    let data = [row(1, &["a", "b"]), row(2, &["1", "<c t=\"s\"><v>0</v></c>"])].concat();
    let shared = (
        "xl/sharedStrings.xml",
        "<sst uniqueCount=\"99999999999\"><si><t>x</t></si></sst>",
    );
    let ods_data = [ods_row(&["a", "b"]), ods_row(&["1", "x"])].concat();
    for bytes in [workbook(&[("S", &data)], &[shared]), ods(&[("S", &ods_data)])] {
        assert_eq!(text(&bytes, None).unwrap(), "\"a\",\"b\"\n1,x\n");
        for cut in (0..bytes.len()).step_by(7) {
            assert!(text(&bytes[..cut], None).is_err(), "cut at {cut}");
        }
        for at in (0..bytes.len()).step_by(5) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            // Never another text: each part has a checksum. What is not of a part that is read may be damaged.
            if let Ok(text) = text(&damaged, None) {
                assert_eq!(text, "\"a\",\"b\"\n1,x\n", "{at}");
            }
        }
    }
    // Whatever one byte of the XML becomes, there is no panic.
    for (data, read) in [(&data, one as fn(&str) -> _), (&ods_data, one_ods)] {
        for at in 0..data.len() {
            for byte in [b'<', b'9', b'"', b'&'] {
                let mut data = data.clone().into_bytes();
                data[at] = byte;
                if let Ok(data) = String::from_utf8(data) {
                    let _ = read(&data);
                }
            }
        }
    }
}

#[test]
fn what_is_no_workbook_is_named() {
    let encrypted = zip(&[
        ("content.xml".to_owned(), "x".to_owned()),
        (
            "META-INF/manifest.xml".to_owned(),
            "<m:manifest><m:file-entry><m:encryption-data/></m:file-entry></m:manifest>".to_owned(),
        ),
    ]);
    for (bytes, what) in [
        (
            &b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 and more"[..],
            "an old Excel file (.xls), or a workbook with a password",
        ),
        (b"a,b\n1,2\n", "not a workbook"),
        (b"PK\x03\x04", "not a readable zip archive"),
        (b"", "the file is empty"),
        (&encrypted, "a workbook with a password"),
        (
            &zip(&[("a".to_owned(), String::new())]),
            "there is no xl/workbook.xml in it",
        ),
        (&workbook(&[], &[]), "there are no rows"),
    ] {
        let error = text(bytes, None).unwrap_err();
        assert!(error.contains(what), "{error}");
    }
    assert!(is_workbook(Path::new("a.XLSX")) && is_workbook(Path::new("a.ods")) && !is_workbook(Path::new("xlsx")));
    assert!(is_foreign(Path::new("a.xls")));
}

#[test]
fn a_reading_ends_when_it_is_to() {
    let folder = tempfile::tempdir().unwrap();
    let (book, spool) = (folder.path().join("t.xlsx"), folder.path().join("text"));
    let data = [row(1, &["a"]), row(TOLD_ROWS, &["1"])].concat();
    std::fs::write(&book, workbook(&[("S", &data)], &[])).unwrap();
    let error = open("t.xlsx", &book, None, &spool, ReadOptions::default(), &mut |_| false).unwrap_err();
    assert!(matches!(error.problem, Problem::Cancelled), "{error}");
}
