use std::path::Path;

use arrow::array::{Int64Array, StringArray};

use super::*;
use crate::merge::made_up::{APPEND, Kept, with_setting};
use crate::shape::Shape;

fn shape() -> Shape {
    let field = |name: &str, data_type| Field::new(name, data_type, false);
    let fields = vec![
        field("key", DataType::Int64),
        field("number", DataType::Int64),
        field("text", DataType::Utf8),
    ];
    Shape::new(fields, None)
}

/// Rows with these keys, the first of which is the one with a number.
fn batch(shape: &Shape, keys: &[i64], number: i64, text: &str) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(keys.to_vec())),
        Arc::new(Int64Array::from_iter_values((number..).take(keys.len()))),
        Arc::new(StringArray::from_iter_values(keys.iter().map(|_| text))),
    ];
    RecordBatch::try_new(shape.schema().clone(), columns).unwrap()
}

fn with_sorter(limit: usize, scratch: &Path, use_it: impl FnOnce(&Shape, Sorter<'_>)) {
    let shape = shape();
    with_setting(&shape, limit, scratch, |setting| {
        use_it(&shape, setting.sorter(Order::new(setting, &[0], false).unwrap()));
    });
}

#[test]
fn any_number_of_runs_are_merged_and_equal_rows_stay_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    // No room at all: each batch is a run.
    with_sorter(0, dir.path(), |shape, mut sorter| {
        let mut wanted = Vec::new();
        for n in 0..(2 * MAX_RUNS as i64 + 5) {
            let keys = [n * 7 % 11, n * 5 % 13, n % 2];
            wanted.extend((n * 3..).zip(keys).map(|(number, key)| (key, number)));
            sorter.push(&batch(shape, &keys, n * 3, "t"), APPEND).unwrap();
            assert!(sorter.runs.len() < MAX_RUNS, "{n}");
        }
        wanted.sort_by_key(|(key, _)| *key);
        let mut kept = Kept::default();
        sorter.finish(&mut kept).unwrap();
        let rows: Vec<_> = kept.numbers(0).into_iter().zip(kept.numbers(1)).collect();
        assert_eq!(rows, wanted);
    });
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn batches_of_long_rows_have_few_of_them() {
    const ROW_BYTES: usize = 1 << 20;
    let dir = tempfile::tempdir().unwrap();
    let text = "x".repeat(ROW_BYTES);
    for limit in [1 << 30, 6 * ROW_BYTES, 0] {
        with_sorter(limit, dir.path(), |shape, mut sorter| {
            for n in 0..10 {
                let keys = [40 - n, 20 + n, n];
                sorter.push(&batch(shape, &keys, n * 3, &text), APPEND).unwrap();
            }
            assert_eq!(sorter.runs.is_empty(), limit == 1 << 30);
            let mut kept = Kept::default();
            sorter.finish(&mut kept).unwrap();
            assert!(kept.numbers(0).is_sorted());
            assert_eq!(kept.numbers(0).len(), 30);
            let bytes = |batch: &RecordBatch| bytes_of_rows(batch, 0..batch.num_rows());
            let longest = kept.0.iter().map(bytes).max().unwrap();
            assert!(longest <= BATCH_BYTES + 2 * ROW_BYTES, "{longest}");
        });
    }
}
