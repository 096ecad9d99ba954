//! Whether plain records go the short way or the general one, the same comes of them.

use arrow::array::{AsArray as _, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field};
use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::chunks::{Chunk, all, line_breaks};
use crate::infer::timestamp;
use crate::source::{Content, Format, MAX_ROW_BYTES, ReadOptions};
use odf_metadata::{ReadStep, ReadStepCsv};

/// Fields as they stand in a file, of the first column, which is text, and of a column of integers.
const TEXTS: [&str; 5] = ["a", "", "with blanks ", "\u{96e8}", "5\" x"];
const NUMBERS: [&str; 4] = ["1", "-20", "+3", ""];
/// Fields with quotes.
const QUOTED: [&str; 5] = ["\"\"", "\"a\"", "\"x,y\"", "\"x\ny\"", "\"r\r\n\u{96e8}\""];
/// Fields of which something is wrong, or that the short way does not know.
const TRICKY: [&str; 12] = [
    "\"x\"\"y\"",
    "\"x\"y",
    "\"x\" ",
    "\"\"\"\"",
    "\"open",
    "\"x\\\"y\"",
    "\"x\\y\"",
    "x\\",
    " \"x\"",
    "1.5",
    "\u{feff}",
    "a,b,c",
];

fn shape(names: &[&str]) -> Shape {
    let types = [DataType::Utf8, DataType::Int64, timestamp()];
    let fields = names.iter().zip(types).map(|(name, t)| Field::new(*name, t, true));
    Shape::new(fields.collect(), None)
}

fn layout(width: usize) -> Layout {
    Layout {
        names: (0..width).map(|at| format!("c{at}")).collect(),
        targets: (0..width).map(Some).collect(),
        absent: Vec::new(),
    }
}

/// The same text as a file of somebody's, and as one that a source in the chain has.
fn sources(text: &str, escape: Option<u8>) -> [Source; 2] {
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    let options = ReadOptions {
        escape,
        ..ReadOptions::default()
    };
    let step = ReadStep::Csv(ReadStepCsv {
        escape: escape.map(|escape| char::from(escape).to_string()),
        ..ReadStepCsv::default()
    });
    [
        Source::bytes("t", bytes.clone(), Format::Csv, options),
        Source::for_step("t", Content::Bytes(bytes), &step).unwrap(),
    ]
}

/// The rows of a file that is cut where a row ends, before or at these places behind the last cut.
fn read(source: &Source, width: usize, text: &str, cuts: &[usize], plain: bool) -> Result<RecordBatch, String> {
    let (shape, layout) = (shape(&["a", "b", "c"][..width]), Arc::new(layout(width)));
    let (mut batches, mut start) = (Vec::new(), 0);
    let rule = rule(source);
    let mut cuts = cuts.iter();
    while start < text.len() {
        let rest = &text.as_bytes()[start..];
        let cut = cuts.next().map_or(rest.len(), |cut| *cut).min(rest.len());
        let (whole, open) = match rule.scan(&rest[..cut]) {
            (0, _) => (rest.len(), rule.scan(rest).1),
            _ if cut == rest.len() => (cut, rule.scan(rest).1),
            (whole, _) => (whole, false),
        };
        let chunk = Chunk {
            bytes: rest[..whole].to_vec(),
            start: start as u64,
            line: line_breaks(&text.as_bytes()[..start], rest.first().copied()),
            open,
            ended: whole as u64,
        };
        start += whole;
        let table = || Table::new(&shape, source.reading()).unwrap();
        let short = match plain {
            true => plain::batches(source, &chunk, &layout, table()),
            false => None,
        };
        let general = Rows {
            records: Records::of(source, chunk),
            layout: layout.clone(),
            quoted: Vec::new(),
            table: table(),
        };
        batches.extend(match short {
            Some(batches) => batches,
            None => all(general).map_err(|error| error.to_string())?,
        });
    }
    Ok(concat_batches(shape.schema(), &batches).unwrap())
}

fn one_of(fields: &'static [&'static str]) -> BoxedStrategy<&'static str> {
    let strange = prop_oneof![5 => prop::sample::select(&QUOTED[..]), 1 => prop::sample::select(&TRICKY[..])];
    prop_oneof![60 => prop::sample::select(fields), 2 => strange].boxed()
}

fn record(width: usize) -> BoxedStrategy<String> {
    let times = &["2024-01-01T00:00:00", "2024-01-01", "", "\"2024-01-01 00:00:00.5Z\""];
    let fields = [one_of(&TEXTS), one_of(&NUMBERS), one_of(times)];
    let fields = (fields, prop_oneof![60 => Just(width), 1 => 1..=3usize]);
    let end = prop_oneof![20 => Just("\n"), 5 => Just("\r\n"), 2 => Just("\r"), 1 => Just("\n\n"), 1 => Just("")];
    (fields, end)
        .prop_map(|((fields, width), end)| format!("{}{end}", fields[..width].join(",")))
        .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// Equal rows, or the same words about the same line and column; wherever the file is cut.
    #[test]
    fn plain_records_come_out_as_the_general_parser_has_them(
        (width, records) in (1..=3usize).prop_flat_map(|width| (Just(width), prop::collection::vec(record(width), 1..12))),
        mark in prop::bool::weighted(0.1),
        escape in prop::option::weighted(0.3, Just(b'\\')),
        cuts in prop::collection::vec(0..40usize, 0..3),
    ) {
        let text = format!("{}{}", if mark { "\u{feff}" } else { "" }, records.concat());
        for source in sources(&text, escape) {
            let wanted = read(&source, width, &text, &cuts, false);
            prop_assert_eq!(&read(&source, width, &text, &cuts, true), &wanted, "{:?}", text);
        }
    }

    /// Bytes without a meaning.
    #[test]
    fn whatever_stands_in_a_chunk_comes_out_as_the_general_parser_has_it(
        text in "[a1,\"\\\\\n\r \u{feff}]{0,30}",
        width in 1..=2usize,
        escape in prop::option::of(Just(b'\\')),
        cuts in prop::collection::vec(0..20usize, 0..3),
    ) {
        for source in sources(&text, escape) {
            let wanted = read(&source, width, &text, &cuts, false);
            prop_assert_eq!(&read(&source, width, &text, &cuts, true), &wanted, "{:?}", text);
        }
    }
}

#[test]
fn records_as_programs_write_them_go_the_short_way() {
    let short = |text: &str, start: u64| {
        let [source, _] = sources(text, None);
        let chunk = Chunk {
            bytes: text.as_bytes().to_vec(),
            start,
            line: 0,
            open: false,
            ended: text.len() as u64,
        };
        let table = Table::new(&shape(&["a", "b"]), source.reading()).unwrap();
        let batches = plain::batches(&source, &chunk, &layout(2), table);
        batches.map(|batches| batches.iter().map(RecordBatch::num_rows).sum::<usize>())
    };
    for (text, rows) in [
        ("", 0),
        ("a,1\nb,2\n", 2),
        ("a,1\r\n\r\nb,", 2),
        ("\u{feff}a,1", 1),
        ("\"a,b\",\"1\"\n\"\",\n5\" x,2\n", 3),
    ] {
        assert_eq!(short(text, 0), Some(rows), "{text:?}");
    }
    for text in ["a\n", "a,1,2\n", "a,x\n", "\"a\"\"b\",1\n", "\"a\"b,1\n", "\"a,1\n"] {
        assert_eq!(short(text, 0), None, "{text:?}");
    }
    // A chunk that one row may fill is for the parser that counts.
    let long = |length: usize| format!("{},1", "x".repeat(length - 2));
    assert_eq!(short(&long(MAX_ROW_BYTES - 1), 1), Some(1));
    assert_eq!(short(&long(MAX_ROW_BYTES), 1), None);
}

#[test]
fn a_byte_order_mark_behind_the_first_byte_is_text() {
    let text = "\r\u{feff}\" \"x";
    for source in sources(text, None) {
        for plain in [false, true] {
            let rows = read(&source, 1, text, &[1], plain).unwrap();
            let wanted: StringArray = [Some("\u{feff}\" \"x")].into_iter().collect();
            assert_eq!(rows.column(0).as_string::<i32>(), &wanted);
        }
    }
}

/// Columns that the file lacks may make much of a short row.
#[test]
fn rows_that_are_long_in_memory_are_left_to_the_general_way() {
    const ABSENT: usize = 1000;
    let columns = (0..=ABSENT).map(|at| Field::new(format!("c{at}"), DataType::Int64, true));
    let shape = Shape::new(columns.collect(), None);
    let layout = Layout {
        names: vec!["c0".to_owned()],
        targets: vec![Some(0)],
        absent: (1..=ABSENT).collect(),
    };
    let short = |rows: usize| {
        let text = "1\n".repeat(rows);
        let [source, _] = sources(&text, None);
        let chunk = Chunk {
            bytes: text.into_bytes(),
            start: 0,
            line: 0,
            open: false,
            ended: 2 * rows as u64,
        };
        let table = Table::new(&shape, source.reading()).unwrap();
        plain::batches(&source, &chunk, &layout, table)
    };
    let row_bytes = 8 * (ABSENT + 1);
    let batches = short(plain::MAX_BATCHES_BYTES / row_bytes).unwrap();
    assert!(batches.len() > 1);
    // A batch more is over it.
    assert!(short(plain::MAX_BATCHES_BYTES / row_bytes + 2 * batches[0].num_rows()).is_none());
}
