//! `docs/reading.md`, row by row: what is said there is what comes out.

use arrow::datatypes::{DataType, Field};

use super::*;
use odf_ingest::shape::{Shape, type_name};
use odf_ingest::source::Span;

/// The bytes that a cell of the page stands for.
fn bytes(cell: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = cell.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            bytes.extend(c.to_string().bytes());
            continue;
        }
        bytes.push(match rest.next().unwrap() {
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            '\\' => b'\\',
            'x' => {
                let digits: String = rest.by_ref().take(2).collect();
                u8::from_str_radix(&digits, 16).unwrap()
            }
            other => panic!("\\{other}"),
        });
    }
    bytes
}

/// Columns and rows as the page shows them: text in quotes.
fn shown(source: &Source) -> Result<String, SourceError> {
    let end = source.len()?;
    let inferred = source.infer(end, &mut |_| ControlFlow::Continue(()))?;
    let fields: Vec<Field> = inferred
        .columns
        .iter()
        .map(|c| Field::new(&c.name, c.data_type.clone(), c.nullable))
        .collect();
    let columns: Vec<String> = fields
        .iter()
        .map(|f| format!("{} {}", f.name(), type_name(f.data_type())))
        .collect();
    let mut batches = source.rows(&Shape::new(fields, None), Span { start: 0, line: 0, end })?;
    let mut rows = Vec::new();
    while let Some(batch) = batches.next_batch()? {
        for row in 0..batch.num_rows() {
            let value = |column: &arrow::array::ArrayRef| match column.data_type() {
                _ if column.is_null(row) => "null".to_owned(),
                DataType::Utf8 => format!("{:?}", column.as_string::<i32>().value(row)),
                _ => array_value_to_string(column, row).unwrap(),
            };
            rows.push(batch.columns().iter().map(value).collect::<Vec<_>>().join(", "));
        }
    }
    Ok(format!("{} → {}", columns.join(", "), rows.join("; ")))
}

#[test]
fn the_page_about_reading_is_true() {
    let page = include_str!("../../../docs/reading.md");
    let mut format = None;
    let mut rows = 0;
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            format = heading.split(' ').next().unwrap().parse::<Format>().ok();
        }
        // | `what stands in the file` | `what comes out` | why |
        let Some((input, rest)) = line.strip_prefix("| `").and_then(|rest| rest.split_once("` | ")) else {
            continue;
        };
        let Some(format) = format else { continue };
        let input = bytes(input);
        let source = Source::bytes("t", Bytes::from(input), format, ReadOptions::default());
        let outcome = shown(&source).map_err(|error| error.to_string());
        if let Some(refusal) = rest.strip_prefix("refused: `") {
            let words = refusal.split_once("` |").unwrap().0;
            let error = outcome.err().unwrap_or_else(|| panic!("{line}"));
            assert!(error.contains(words), "{line}\n{error}");
        } else {
            let wanted = rest.strip_prefix('`').and_then(|rest| rest.split_once("` |"));
            let outcome = outcome.unwrap_or_else(|error| panic!("{line}\n{error}"));
            assert_eq!(Some(outcome.as_str()), wanted.map(|(wanted, _)| wanted), "{line}");
        }
        rows += 1;
    }
    assert!(rows >= 50, "{rows} rows were found in the page");
}
