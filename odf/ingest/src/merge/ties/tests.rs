use std::path::Path;

use arrow::array::{Int64Array, TimestampMillisecondArray};
use arrow::datatypes::TimeUnit;

use super::*;
use crate::infer::UTC;
use crate::merge::made_up::{APPEND, Kept, with_setting};
use crate::shape::Shape;

fn shape() -> Shape {
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some(UTC.into()));
    let fields = vec![
        Field::new("event_time", time, true),
        Field::new("number", DataType::Int64, false),
    ];
    Shape::new(fields, Some("event_time"))
}

fn batch(shape: &Shape, times: &[i64], first: i64) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMillisecondArray::from(times.to_vec()).with_timezone(UTC)),
        Arc::new(Int64Array::from_iter_values((first..).take(times.len()))),
    ];
    RecordBatch::try_new(shape.schema().clone(), columns).unwrap()
}

/// The numbers of rows with these times, in the order in which they are stored, when they come in batches of `chunk`.
fn arranged(times: &[i64], chunk: usize, limit: usize, scratch: &Path) -> Vec<i64> {
    let shape = shape();
    with_setting(&shape, limit, scratch, |setting| {
        let mut arranger = setting.arranger(Order::by_event_time(setting).unwrap());
        let mut first = 0;
        for part in times.chunks(chunk) {
            arranger.push(&batch(&shape, part, first), APPEND).unwrap();
            first += part.len() as i64;
        }
        let mut kept = Kept::default();
        arranger.finish(&mut kept).unwrap();
        kept.numbers(1)
    })
}

#[test]
fn few_rows_are_where_kamu_has_them() {
    // The dataset `e` of the recorded case sql-ties: 60 rows, the seconds of which are 0, 4, 8, 12, 3, 7, …
    const RECORDED: [i64; 60] = [
        52, 13, 26, 39, 0, 49, 10, 23, 36, 7, 20, 33, 46, 59, 17, 30, 4, 43, 56, 1, 53, 27, 14, 40, 11, 24, 37, 50, 8,
        21, 34, 47, 31, 44, 5, 18, 57, 2, 15, 41, 28, 54, 12, 25, 38, 51, 35, 22, 9, 48, 32, 45, 6, 58, 19, 3, 42, 16,
        29, 55,
    ];
    let dir = tempfile::tempdir().unwrap();
    let times: Vec<i64> = (0..60).map(|row| row * 4 % 13 * 1000).collect();
    for chunk in [1, 7, 60] {
        assert_eq!(arranged(&times, chunk, 1 << 30, dir.path()), RECORDED, "{chunk}");
    }
    // Not more than an insertion sort is for: as they came.
    let wanted: Vec<i64> = vec![0, 5, 10, 3, 8, 1, 6, 11, 4, 9, 2, 7];
    let times: Vec<i64> = (0..12).map(|row| row * 2 % 5 * 1000).collect();
    assert_eq!(arranged(&times, 12, 1 << 30, dir.path()), wanted);
}

#[test]
fn sides_take_turns_in_whatever_batches_rows_come_and_however_little_memory_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let count = 5 * BATCH_ROWS + 100;
    // All equal: block by block on either side, one row of each in turn.
    let equal = vec![7; count];
    let all = arranged(&equal, 1000, 1 << 30, dir.path());
    let second = 2 * BATCH_ROWS as i64;
    assert_eq!(all[..4], [0, second, 1, second + 1]);
    let (left, right): (Vec<i64>, Vec<i64>) = all.iter().partition(|row| is_left(6, **row as usize / BATCH_ROWS));
    assert!(left.is_sorted() && right.is_sorted());
    assert_eq!(left.len() + right.len(), count);
    assert_eq!(arranged(&equal, 8192, 0, dir.path()), all);
    assert_eq!(arranged(&equal, 3, 100_000, dir.path()), all);
    // Some equal, in no order.
    for values in [3, 50, 20_000] {
        let times: Vec<i64> = (0..count as i64).map(|row| row * 7919 % values).collect();
        let all = arranged(&times, 8192, 1 << 30, dir.path());
        assert!(all.is_sorted_by_key(|row| times[*row as usize]));
        assert_eq!(arranged(&times, 777, 0, dir.path()), all, "{values}");
        let mut rows = all.clone();
        rows.sort_unstable();
        assert!(rows.into_iter().eq(0..count as i64));
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn rows_that_are_in_order_stay_unless_both_sides_of_the_last_match_have_equal_ones() {
    let dir = tempfile::tempdir().unwrap();
    let shape = shape();
    let count = 6 * BATCH_ROWS;
    for tied in 1..6 {
        // Equal at the end of one block and the beginning of the next.
        let mut times: Vec<i64> = (0..count as i64).collect();
        times[tied * BATCH_ROWS] -= 1;
        let mut seams = Seams::default();
        let mut last = i64::MIN;
        for part in times.chunks(5000) {
            seams.rows(last, part);
            last = part.last().copied().unwrap();
            seams.batch(&batch(&shape, part, 0), None);
        }
        let as_they_came = arranged(&times, 5000, 1 << 30, dir.path()).is_sorted();
        let one_side = is_left(6, tied - 1) == is_left(6, tied);
        assert_eq!(seams.moved(), (!one_side).then_some(6), "{tied}");
        assert!(as_they_came || !one_side, "{tied}");
    }
}

#[test]
fn that_rows_will_not_stay_is_foreseen_where_most_blocks_meet_in_equal_ones() {
    let shape = shape();
    let foreseen = |equal: i64, blocks: i64| {
        let mut seams = Seams::default();
        let mut last = i64::MIN;
        let times: Vec<i64> = (0..blocks * BATCH_ROWS as i64).map(|row| row / equal).collect();
        for part in times.chunks(5000) {
            seams.rows(last, part);
            seams.batch(&batch(&shape, part, 0), None);
            last = part.last().copied().unwrap();
        }
        (seams.will_move(), seams.count())
    };
    assert_eq!(foreseen(1000, 12), (true, 12));
    assert_eq!(foreseen(3 * BATCH_ROWS as i64 / 2, 12), (true, 12));
    // Never, or in too few rows to say so.
    assert_eq!(foreseen(1, 12), (false, 12));
    assert_eq!(foreseen(4, 12), (false, 12));
    assert_eq!(foreseen(1000, 2), (false, 2));
}

#[test]
fn rows_that_are_in_order_are_put_right_without_being_sorted() {
    let dir = tempfile::tempdir().unwrap();
    let shape = shape();
    let count = 7 * BATCH_ROWS as i64 + 5;
    for equal in [1, 10, 1000, BATCH_ROWS as i64, 30_000, count] {
        let times: Vec<i64> = (0..count).map(|row| row / equal).collect();
        for limit in [1 << 30, 0] {
            let rows = with_setting(&shape, limit, dir.path(), |setting| {
                let mut righting = Righting::new(setting, Order::by_event_time(setting).unwrap(), 8);
                let mut kept = Kept::default();
                let mut first = 0;
                for part in times.chunks(5000) {
                    let rows = batch(&shape, part, first);
                    first += part.len() as i64;
                    righting.push(&rows, APPEND, &mut kept).unwrap();
                }
                righting.finish(&mut kept).unwrap();
                kept.numbers(1)
            });
            assert_eq!(rows, arranged(&times, 8192, 1 << 30, dir.path()), "{equal}");
        }
    }
}

#[test]
fn blocks_that_are_small_together_are_sorted_together() {
    let dir = tempfile::tempdir().unwrap();
    let times: Vec<i64> = vec![7; BATCH_ROWS + 1];
    // As one block that is in order.
    let bytes = bytes_of_block(&batch(&shape(), &times, 0));
    assert!(bytes < TOGETHER_BYTES, "{bytes}");
    assert!(arranged(&times, 100, 0, dir.path()).is_sorted());
}

#[test]
fn what_the_reader_holds_counts_where_it_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let shape = shape();
    // Out of order, with many equal ones.
    let times: Vec<i64> = (0..BATCH_ROWS as i64 + 1).map(|row| row * 7 % 3).collect();
    let rows = |held: Option<usize>| {
        with_setting(&shape, 1 << 30, dir.path(), |setting| {
            let mut arranger = setting.arranger(Order::by_event_time(setting).unwrap());
            let rows = batch(&shape, &times, 0);
            arranger.holds(&rows, held);
            arranger.push(&rows, APPEND).unwrap();
            let mut kept = Kept::default();
            arranger.finish(&mut kept).unwrap();
            kept.numbers(1)
        })
    };
    let needed = bytes_of_held(&batch(&shape, &times, 0), 0);
    let together = rows(None);
    assert_eq!(rows(Some(TOGETHER_BYTES - needed - 1)), together);
    assert_ne!(rows(Some(TOGETHER_BYTES - needed)), together);
    let moves = |held: usize| {
        let equal = vec![7; times.len()];
        let mut seams = Seams::default();
        seams.rows(i64::MIN, &equal);
        seams.batch(&batch(&shape, &equal, 0), Some(held));
        seams.moved().is_some()
    };
    assert!(!moves(TOGETHER_BYTES - needed - 1));
    assert!(moves(TOGETHER_BYTES - needed));
}
