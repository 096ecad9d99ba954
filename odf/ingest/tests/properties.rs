//! What must hold for every table.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Field};
use proptest::prelude::*;

use super::*;
use odf_ingest::shape::Shape;

/// Values that sit on the borders between types.
const TRICKY: [&str; 34] = [
    "",
    "0",
    "-0",
    "1",
    "-1",
    "007",
    "+5",
    "1.0",
    "1.",
    ".5",
    "-.5",
    "1e5",
    "1E-3",
    "NaN",
    "inf",
    "-inf",
    "nan",
    "true",
    "False",
    "t",
    "2024-01-01",
    "2024-02-30",
    "2024-01-01T00:00:00Z",
    "2024-01-01 00:00:00",
    "2024-01-01T00:00",
    "2024-01-01T25:00:00Z",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "a,b",
    "\"",
    "x\ny",
    "雨",
    " 1",
];

fn quote(value: &str) -> String {
    match value.contains([',', '"', '\n']) {
        true => format!("\"{}\"", value.replace('"', "\"\"")),
        false => value.to_owned(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever types the first pass settles, the second pass reads every row, and text comes out as it went in.
    #[test]
    fn what_is_inferred_can_be_read(rows in prop::collection::vec(prop::collection::vec(0..TRICKY.len(), 2), 1..8)) {
        let mut text = "k,a,b\n".to_owned();
        for row in &rows {
            text.push_str(&format!("x,{},{}\n", quote(TRICKY[row[0]]), quote(TRICKY[row[1]])));
        }
        let source = World::source(&text, Format::Csv);
        let end = source.len().unwrap();
        let inferred = source.infer(end, &mut |_| ControlFlow::Continue(())).unwrap();
        prop_assert_eq!(inferred.rows, rows.len() as u64);
        let fields = inferred.columns.iter().map(|c| Field::new(&c.name, c.data_type.clone(), c.nullable)).collect();
        let shape = Shape::new(fields, None);
        let mut batches = source.rows(&shape, odf_ingest::source::Span { start: 0, line: 0, end }).unwrap();
        let batch = batches.next_batch().unwrap().unwrap();
        for (column, values) in [(1, 0), (2, 1)] {
            let array = batch.column(column);
            prop_assert_eq!(array.null_count(), rows.iter().filter(|row| TRICKY[row[values]].is_empty()).count());
            if *array.data_type() == DataType::Utf8 {
                for (row, value) in array.as_string::<i32>().iter().enumerate() {
                    prop_assert_eq!(value.unwrap_or_default(), TRICKY[rows[row][values]]);
                }
            }
        }
    }

    /// The scanner finds the objects that a whole parse finds, wherever brackets, quotes and escapes stand.
    #[test]
    fn elements_are_those_of_a_whole_parse(
        values in prop::collection::vec("[ -~é雨\n\t]{0,12}", 0..6),
        noise in prop::collection::vec("[\\[\\]{}\",:\\\\ a]{0,8}", 0..3),
        wrap in any::<bool>(),
        pretty in any::<bool>(),
    ) {
        let rows: Vec<_> = values.iter().map(|value| serde_json::json!({ "v": value, value: { "v": [value] } })).collect();
        let document = match wrap {
            true => serde_json::json!({ "a": noise, "rows": rows, "z": { "rows": noise } }),
            false => serde_json::json!(rows),
        };
        let text = if pretty { serde_json::to_string_pretty(&document) } else { serde_json::to_string(&document) };
        let source = World::source(&text.unwrap(), Format::Json);
        let inferred = source.infer(source.len().unwrap(), &mut |_| ControlFlow::Continue(()));
        match inferred {
            Ok(inferred) => prop_assert_eq!(inferred.rows, rows.len() as u64),
            // An empty list of rows cannot be told from another empty list; a name of a column may be `v`.
            Err(error) => prop_assert!(rows.is_empty() && wrap, "{}", error),
        }
    }

    /// Bytes of any kind are read or refused, never more.
    #[test]
    fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..200), format in 0..Format::ALL.len()) {
        let source = Source::bytes("t", Bytes::from(bytes), Format::ALL[format], ReadOptions::default());
        let end = source.len().unwrap();
        if let Ok(inferred) = source.infer(end, &mut |_| ControlFlow::Continue(())) {
            let fields = inferred.columns.iter().map(|c| Field::new(&c.name, c.data_type.clone(), c.nullable)).collect();
            let shape = Shape::new(fields, None);
            if let Ok(mut batches) = source.rows(&shape, odf_ingest::source::Span { start: 0, line: 0, end }) {
                while let Ok(Some(_)) = batches.next_batch() {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Playing the operations of a snapshot dataset one after the other gives each snapshot that was published.
    #[test]
    fn operations_of_a_snapshot_add_up(
        snapshots in prop::collection::vec(prop::collection::btree_map(0..6u8, 0..3u8, 1..6), 1..6),
    ) {
        let mut world = World::new();
        let options = keyed("snapshot", &["k"]);
        for snapshot in &snapshots {
            let mut text = "v,k\n".to_owned();
            for (key, value) in snapshot.iter().rev() {
                text.push_str(&format!("{value},{key}\n"));
            }
            world.publish_text(&text, Format::Csv, &options).unwrap();
            let rows = world.dataset().tail(10_000).unwrap().unwrap();
            let column = |name: &str| rows.column_by_name(name).unwrap().as_primitive::<Int64Type>().values().to_vec();
            let operations = rows.column(1).as_primitive::<arrow::datatypes::Int32Type>();
            let mut state: BTreeMap<i64, i64> = BTreeMap::new();
            for (row, (key, value)) in column("k").into_iter().zip(column("v")).enumerate() {
                match operations.value(row) {
                    0 => prop_assert_eq!(state.insert(key, value), None),
                    1 | 2 => prop_assert_eq!(state.remove(&key), Some(value)),
                    3 => prop_assert_eq!(state.insert(key, value), None),
                    other => prop_assert!(false, "operation {}", other),
                }
            }
            let wanted: BTreeMap<i64, i64> = snapshot.iter().map(|(k, v)| (i64::from(*k), i64::from(*v))).collect();
            prop_assert_eq!(state, wanted);
        }
    }
}
