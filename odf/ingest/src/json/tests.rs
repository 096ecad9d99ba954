//! Whether plain rows go the short way or the general one, the same comes of them.

use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::chunks::all;
use crate::chunks::{Chunk, Rule};
use crate::infer::timestamp;
use crate::source::{Content, Format, MAX_ROW_BYTES, ReadOptions};
use odf_metadata::ReadStep;
use odf_tables::types::from_arrow;

/// Names of columns, and values that they take as they stand.
const COLUMNS: [(&str, [&str; 3]); 9] = [
    ("k", ["\"a\"", "\"\"", "\"\u{96e8} and much more than eight letters\""]),
    (
        "t",
        [
            "\"2024-02-29T12:30:00\"",
            "\"2024-01-01 00:00:00.125Z\"",
            "\"1969-12-31T23:59:59.999Z\"",
        ],
    ),
    ("d", ["\"2024-02-29\"", "\"1969-12-31\"", "\"0001-01-01\""]),
    ("i", ["0", "-7", "999999999999999999"]),
    ("n", ["127", "-128", "0"]),
    ("u", ["255", "0", "1"]),
    ("f", ["0.1", "-1.5e3", "12"]),
    ("x", ["1.25", "-9999.99", "3"]),
    ("b", ["true", "false", "true"]),
];

/// Values on the borders of what is plain, of what fits and of what is JSON.
const TRICKY: &[&str] = &[
    "null",
    "-0",
    "007",
    "+1",
    "1.",
    ".5",
    "1e5",
    "1E+2",
    "1e",
    "-",
    "1.0",
    "-0.0",
    "128",
    "-129",
    "256",
    "-1",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "1234567890123456789012345",
    "1e400",
    "0.1000000000000000055511151231257827",
    "1.999",
    "16777217",
    "NaN",
    "nul",
    "nulll",
    "true",
    "True",
    "falsey",
    "\"\"",
    "\" \"",
    "\"1\"",
    "\"true\"",
    "\"a\\\"b\"",
    "\"\\u0041\"",
    "\"a\\\\\"",
    "\"tab\there\"",
    "\"\u{7f}\"",
    "\"2023-02-29T00:00:00\"",
    "\"2024-01-01\"",
    "\"2024-1-1\"",
    "\"2024-01-01T00:00\"",
    "\"2024-01-01T00:00:00.0001Z\"",
    "\"2024-01-01T00:00:00+02:00\"",
    "\"2024-01-01T23:59:60Z\"",
    "1700000000000",
    "[1, \"]\"]",
    "{\"a\": {\"b\": 1}}",
    "{\"a\":1,\"a\":2}",
    "[]",
    "\"open",
    "\"ends\" x",
    "",
    "1 ",
    "\"{\\\"k\\\":1}\"",
];

/// Keys that are no plain names of columns.
const STRANGE_KEYS: [&str; 5] = ["zz", "K", "\\u006b", "", "k "];

/// Text around the parts of a row; the first is what programs write.
const BLANKS: [&str; 6] = ["", " ", "  ", "\t", "\r", "\u{a0}"];

fn field(at: usize, nullable: bool) -> Field {
    let data_type = match COLUMNS[at].0 {
        "k" => DataType::Utf8,
        "t" => timestamp(),
        "d" => DataType::Date32,
        "i" => DataType::Int64,
        "n" => DataType::Int8,
        "u" => DataType::UInt8,
        "f" => DataType::Float64,
        "x" => DataType::Decimal128(6, 2),
        _ => DataType::Boolean,
    };
    Field::new(COLUMNS[at].0, data_type, nullable)
}

fn shape(required: Option<usize>) -> Shape {
    let fields = (0..COLUMNS.len()).map(|at| field(at, required != Some(at)));
    Shape::new(fields.collect(), None)
}

/// The same text as a table that nobody declared, and as one of a source in the chain.
fn sources(text: &str, cut_times: bool) -> [Source; 2] {
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    let options = ReadOptions {
        cut_times,
        ..ReadOptions::default()
    };
    let fields: Vec<Field> = (0..COLUMNS.len()).map(|at| field(at, true)).collect();
    let step = ReadStep::NdJson {
        ddl_schema: None,
        date_format: None,
        encoding: None,
        timestamp_format: None,
        schema: Some(from_arrow(&Schema::new(fields)).unwrap()),
    };
    [
        Source::bytes("t", bytes.clone(), Format::Ndjson, options),
        Source::for_step("t", Content::Bytes(bytes), &step).unwrap(),
    ]
}

/// The rows of a file that is cut behind the line feeds of these numbers.
fn read(source: &Source, shape: &Shape, text: &str, cuts: &[usize], flat: bool) -> Result<RecordBatch, String> {
    let feeds = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
    let feeds = feeds.map(|(at, _)| at + 1).enumerate();
    let mut ends: Vec<usize> = feeds.filter(|(at, _)| cuts.contains(at)).map(|(_, end)| end).collect();
    ends.push(text.len());
    let (mut batches, mut start) = (Vec::new(), 0);
    for end in ends {
        let bytes = text.as_bytes()[start..end].to_vec();
        let chunk = Chunk {
            ended: bytes.len() as u64,
            bytes,
            start: start as u64,
            line: text[..start].matches('\n').count() as u64,
            open: false,
        };
        let rows = Rows::new(source, shape, Objects::of(source, Rule::Lines, chunk));
        let mut rows = rows.map_err(|error| error.to_string())?;
        rows.flat = Flat::of(shape, &rows.table).filter(|_| flat);
        assert_eq!(rows.flat.is_some(), flat);
        batches.extend(all(rows).map_err(|error| error.to_string())?);
        start = end;
    }
    Ok(concat_batches(shape.schema(), &batches).unwrap())
}

/// One of many that are as programs write them, or of a few that are not.
fn mostly(plain: impl Strategy<Value = String> + 'static, strange: &'static [&'static str]) -> BoxedStrategy<String> {
    let strange = prop::sample::select(strange).prop_map(str::to_owned);
    prop_oneof![400 => plain, 1 => strange].boxed()
}

fn blank() -> BoxedStrategy<String> {
    prop_oneof![200 => Just(""), 40 => Just(" "), 1 => prop::sample::select(&BLANKS[..])]
        .prop_map(str::to_owned)
        .boxed()
}

fn member(at: usize) -> BoxedStrategy<String> {
    let name = Just(COLUMNS[at].0.to_owned());
    let values = COLUMNS[at].1.map(str::to_owned).to_vec();
    let value = prop_oneof![20 => prop::sample::select(values), 1 => Just("null".to_owned())];
    let value = prop_oneof![60 => value, 1 => prop::sample::select(TRICKY).prop_map(str::to_owned)];
    (mostly(name, &STRANGE_KEYS), blank(), blank(), value, blank())
        .prop_map(|(name, before, behind, value, end)| format!("\"{name}\"{before}:{behind}{value}{end}"))
        .boxed()
}

/// A line with its end: members in the order of the columns or mixed, few missing, hardly any twice.
fn line() -> BoxedStrategy<String> {
    let all: Vec<usize> = (0..COLUMNS.len()).collect();
    let order = prop_oneof![
        6 => Just(all.clone()),
        2 => prop::sample::subsequence(all.clone(), 0..=COLUMNS.len()),
        2 => Just(all.clone()).prop_shuffle(),
        1 => prop::collection::vec(0..COLUMNS.len(), 0..4),
    ];
    let members = order.prop_flat_map(|order| order.into_iter().map(member).collect::<Vec<_>>());
    let end = prop_oneof![40 => Just("\n"), 10 => Just("\r\n"), 2 => Just("\n\n"), 2 => Just(" \n"), 1 => Just("")];
    (members, prop_oneof![Just(","), Just(", ")], blank(), blank(), end)
        .prop_map(|(members, comma, before, behind, end)| format!("{before}{{{}}}{behind}{end}", members.join(comma)))
        .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Equal rows, or the same words about the same line and column; wherever the file is cut.
    #[test]
    fn plain_rows_come_out_as_the_general_rules_have_them(
        lines in prop::collection::vec(line(), 1..12),
        mark in prop::bool::weighted(0.1),
        cuts in prop::collection::vec(0..12usize, 0..3),
        required in prop::option::weighted(0.2, 0..COLUMNS.len()),
        cut_times in any::<bool>(),
    ) {
        let text = format!("{}{}", if mark { "\u{feff}" } else { "" }, lines.concat());
        let shape = shape(required);
        for source in sources(&text, cut_times) {
            let wanted = read(&source, &shape, &text, &[], false);
            prop_assert_eq!(&read(&source, &shape, &text, &[], true), &wanted, "{}", text);
            prop_assert_eq!(&read(&source, &shape, &text, &cuts, true), &wanted, "cut: {}", text);
        }
    }
}

/// Each tricky value in each column, alone.
#[test]
fn each_value_comes_out_of_each_column_as_the_general_rules_have_it() {
    let shape = shape(None);
    for (name, ..) in COLUMNS {
        for value in TRICKY {
            let text = format!("{{\"i\":1}}\n{{\"{name}\":{value}}}\n{{\"i\":2}}");
            for source in sources(&text, false).into_iter().chain(sources(&text, true)) {
                let [general, flat] = [false, true].map(|flat| read(&source, &shape, &text, &[], flat));
                assert_eq!(flat, general, "{text}");
            }
        }
    }
}

#[test]
fn rows_as_programs_write_them_go_the_short_way() {
    let shape = shape(None);
    let row = |blank: &str, columns: &[usize]| {
        let member = |at: &usize| format!("\"{}\":{blank}{}", COLUMNS[*at].0, COLUMNS[*at].1[0]);
        format!(
            "{{{}}}",
            columns
                .iter()
                .map(member)
                .collect::<Vec<_>>()
                .join(&format!(",{blank}"))
        )
    };
    let (all, back) = ((0..9).collect::<Vec<_>>(), (0..9).rev().collect::<Vec<_>>());
    let rows = [
        row("", &all),
        row(" ", &back),
        row("", &all),
        row("", &[0, 5, 8]),
        row("", &[3]),
    ];
    let text = format!("{}\n{}", rows.join("\r\n"), rows.join("\n"));
    let source = Source::bytes("t", Bytes::from(text.clone()), Format::Ndjson, ReadOptions::default());
    let chunk = Chunk {
        ended: text.len() as u64,
        bytes: text.clone().into_bytes(),
        start: 0,
        line: 0,
        open: false,
    };
    let Objects::Lines(mut lines) = Objects::of(&source, Rule::Lines, chunk) else {
        panic!("NDJSON has lines");
    };
    let mut table = Table::new(&shape, source.reading()).unwrap();
    Flat::of(&shape, &table).unwrap().take(&mut lines, &mut table).unwrap();
    assert_eq!((lines.rest(), lines.consumed()), (Some(""), text.len() as u64));
    assert_eq!(table.take().unwrap().unwrap().num_rows(), 10);
}

#[test]
fn columns_that_need_the_general_rules_leave_all_rows_to_them() {
    let flat = |field: Field| {
        let shape = Shape::new(vec![field], None);
        let source = Source::bytes("t", Bytes::new(), Format::Ndjson, ReadOptions::default());
        Flat::of(&shape, &Table::new(&shape, source.reading()).unwrap()).is_some()
    };
    assert!(flat(Field::new("a b", DataType::Utf8, true)));
    assert!(!flat(Field::new("a", DataType::Time64(TimeUnit::Nanosecond), true)));
    // What stands in quotes for these names is not their letters.
    for name in ["a\\", "a\"b", "a\nb"] {
        assert!(!flat(Field::new(name, DataType::Utf8, true)), "{name:?}");
    }
}

#[test]
fn a_plain_row_may_be_as_long_as_any() {
    let shape = Shape::new(vec![Field::new("k", DataType::Utf8, true)], None);
    let row = |length: usize| format!("{{\"k\":\"{}\"}}\n", "x".repeat(length - "{\"k\":\"\"}\n".len()));
    for (length, fits) in [(MAX_ROW_BYTES, true), (MAX_ROW_BYTES + 1, false)] {
        let text = row(length);
        let source = Source::bytes("t", Bytes::from(text.clone()), Format::Ndjson, ReadOptions::default());
        let [general, flat] = [false, true].map(|flat| read(&source, &shape, &text, &[], flat));
        assert_eq!(flat.is_ok(), fits);
        assert_eq!(flat, general);
    }
}
