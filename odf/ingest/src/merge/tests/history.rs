//! What of earlier slices is read.

use std::fs::File;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arrow::array::Int32Array;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::*;
use crate::merge::history::{Condition, Extents, MAX_READERS};

/// 1000 rows with a number and a text that ascend together, in row groups of 250 and pages of 50 rows.
fn slice(dir: &Path, statistics: EnabledStatistics) -> PathBuf {
    let numbers = Int64Array::from_iter_values(0..1000);
    let texts = StringArray::from_iter_values((0..1000).map(|n| format!("{n:04}")));
    let small = Int32Array::from_iter_values(0..1000);
    let batch = RecordBatch::try_from_iter([
        ("n", Arc::new(numbers) as ArrayRef),
        ("t", Arc::new(texts)),
        ("small", Arc::new(small)),
    ])
    .unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(250))
        .set_data_page_row_count_limit(50)
        .set_write_batch_size(50)
        .set_statistics_enabled(statistics)
        .build();
    let path = dir.join(format!("{statistics:?}"));
    let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    path
}

/// The rows read for keys between two, both included.
fn read(path: &Path, fields: &[Field], least: i64, greatest: i64) -> Vec<i64> {
    let mut extents = Extents::new(fields);
    let keys: Vec<ArrayRef> = fields
        .iter()
        .map(|field| match field.data_type() {
            DataType::Utf8 => {
                Arc::new(StringArray::from(vec![format!("{greatest:04}"), format!("{least:04}")])) as ArrayRef
            }
            _ => Arc::new(Int64Array::from(vec![Some(greatest), None, Some(least)])),
        })
        .collect();
    extents.widen(&keys);
    scan(path, &extents.conditions())
}

fn scan(path: &Path, conditions: &[Condition<'_>]) -> Vec<i64> {
    let slices = [path.to_owned()];
    let vocabulary = Vocabulary::default();
    let history = History {
        slices: &slices,
        vocabulary: &vocabulary,
    };
    let mut rows = Vec::new();
    let fields = [Field::new("n", DataType::Int64, false)];
    let numbers = |columns: Vec<ArrayRef>, _| Ok(columns[0].as_primitive::<Int64Type>().values().to_vec());
    history
        .scan(&fields, conditions, numbers, &mut |numbers: Vec<i64>| {
            rows.extend(numbers);
            Ok(())
        })
        .unwrap();
    rows.sort_unstable();
    rows
}

#[test]
fn only_pages_that_can_hold_a_key_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let number = || Field::new("n", DataType::Int64, true);
    let text = || Field::new("t", DataType::Utf8, true);
    let wider = || Field::new("small", DataType::Int64, true);
    let path = slice(dir.path(), EnabledStatistics::Page);
    for fields in [vec![number()], vec![text()], vec![wider()], vec![text(), number()]] {
        assert_eq!(
            read(&path, &fields, 260, 260),
            (250..300).collect::<Vec<_>>(),
            "one page"
        );
        assert_eq!(
            read(&path, &fields, 249, 301),
            (200..350).collect::<Vec<_>>(),
            "over a border"
        );
        assert_eq!(read(&path, &fields, 1000, 2000), [0; 0], "none");
        assert_eq!(read(&path, &fields, 0, 999), (0..1000).collect::<Vec<_>>(), "all");
    }
    let groups = slice(dir.path(), EnabledStatistics::Chunk);
    assert_eq!(
        read(&groups, &[number()], 260, 260),
        (250..500).collect::<Vec<_>>(),
        "one row group"
    );
    let none = slice(dir.path(), EnabledStatistics::None);
    assert_eq!(read(&none, &[number()], 260, 260).len(), 1000, "without statistics");
    let other = Field::new("n", DataType::Utf8, true);
    assert_eq!(
        read(&path, &[other], 260, 260).len(),
        1000,
        "a type that sorts otherwise"
    );
}

#[test]
fn keys_without_a_value_are_looked_for_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let path = slice(dir.path(), EnabledStatistics::Page);
    let fields = [Field::new("n", DataType::Int64, true)];
    let mut extents = Extents::new(&fields);
    extents.widen(&[Arc::new(Int64Array::new_null(3))]);
    assert_eq!(scan(&path, &extents.conditions()), [0; 0]);
}

#[test]
fn a_scan_that_fails_stops_its_readers() {
    let dir = tempfile::tempdir().unwrap();
    let path = slice(dir.path(), EnabledStatistics::None);
    let slices = vec![path; 100];
    let vocabulary = Vocabulary::default();
    let history = History {
        slices: &slices,
        vocabulary: &vocabulary,
    };
    let fields = [Field::new("n", DataType::Int64, false)];
    let prepared = AtomicUsize::new(0);
    let count = |_, _| Ok(prepared.fetch_add(1, Ordering::Relaxed));
    let refuse = &mut |_: usize| Err(MergeError::EmptyKey);
    assert!(matches!(
        history.scan(&fields, &[], count, refuse),
        Err(MergeError::EmptyKey)
    ));
    assert!(prepared.into_inner() < 100, "most of 400 row groups were not read");

    let absent = [Field::new("absent", DataType::Int64, false)];
    let error = history.scan(&absent, &[], |_, _| Ok(()), &mut |()| Ok(())).unwrap_err();
    assert!(matches!(error, MergeError::History { column, .. } if column == "absent"));
}

#[test]
fn no_more_readers_are_at_work_than_the_limit_says() {
    let dir = tempfile::tempdir().unwrap();
    let path = slice(dir.path(), EnabledStatistics::None);
    // Each has four row groups, so there is more to read than there are readers.
    let slices = vec![path; MAX_READERS];
    let vocabulary = Vocabulary::default();
    let history = History {
        slices: &slices,
        vocabulary: &vocabulary,
    };
    let fields = [Field::new("n", DataType::Int64, false)];
    let (at_work, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let count = |_, _| {
        let now = at_work.fetch_add(1, Ordering::SeqCst) + 1;
        most.fetch_max(now, Ordering::SeqCst);
        // Until all that may come are here, and then long enough for one more.
        let patience = Instant::now() + Duration::from_secs(5);
        while most.load(Ordering::SeqCst) < MAX_READERS && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(20));
        at_work.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    };
    history
        .scan_on(MAX_READERS + 1, &fields, &[], count, &mut |()| Ok(()))
        .unwrap();
    assert_eq!(most.into_inner(), MAX_READERS);
}
