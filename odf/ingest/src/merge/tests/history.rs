//! What of earlier slices is read.

use std::fs::File;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arrow::array::Int32Array;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::*;
use crate::ground::{HistoryError, Slices};
use crate::merge::changes::{BEHIND, MAX_LATEST_BYTES};
use crate::merge::history::{Condition, Extents, GROUP, MAX_FILE_BYTES, MAX_READERS, MAX_TEXT_BYTES};

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
    let slices = vec![path.to_owned()];
    let vocabulary = Vocabulary::default();
    let history = History {
        slices: &slices,
        vocabulary: &vocabulary,
        ranges: None,
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
        ranges: None,
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
        ranges: None,
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

#[test]
fn every_row_group_of_every_slice_is_read_once_however_many_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = slice(dir.path(), EnabledStatistics::Chunk);
    for count in [1, 3, 50] {
        let slices = vec![path.clone(); count];
        let vocabulary = Vocabulary::default();
        let history = History {
            slices: &slices,
            vocabulary: &vocabulary,
            ranges: None,
        };
        let fields = [Field::new("n", DataType::Int64, false)];
        let mut extents = Extents::new(&fields);
        extents.widen(&[Arc::new(Int64Array::from(vec![300, 700])) as ArrayRef]);
        for (conditions, rows) in [(Vec::new(), 1000), (extents.conditions(), 500)] {
            for processors in [1, 2, MAX_READERS] {
                let mut read = 0;
                history
                    .scan_on(processors, &fields, &conditions, |_, rows| Ok(rows), &mut |rows| {
                        read += rows;
                        Ok(())
                    })
                    .unwrap();
                assert_eq!(read, rows * count, "{count} slices, {processors} readers");
            }
        }
    }
    // A slice that cannot be opened ends all, and nobody waits for it.
    let slices = vec![path, dir.path().join("none")];
    let vocabulary = Vocabulary::default();
    let history = History {
        slices: &slices,
        vocabulary: &vocabulary,
        ranges: None,
    };
    let fields = [Field::new("n", DataType::Int64, false)];
    let scanned = history.scan_on(MAX_READERS, &fields, &[], |_, _| Ok(()), &mut |()| Ok(()));
    assert!(matches!(scanned, Err(MergeError::Slice(_))), "{scanned:?}");
}

/// Ten rows from ten times `number` on, in a file of that name.
fn ten(dir: &Path, number: i64, name: &str) -> PathBuf {
    let numbers = Int64Array::from_iter_values(number * 10..number * 10 + 10);
    let texts = StringArray::from_iter_values((number * 10..number * 10 + 10).map(|n| format!("{n:05}")));
    let batch = RecordBatch::try_from_iter([("n", Arc::new(numbers) as ArrayRef), ("t", Arc::new(texts))]).unwrap();
    let path = dir.join(name);
    let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    path
}

/// The rows read for one key, with what is kept of the slices in `file`.
fn read_known(slices: &[PathBuf], file: &Path, field: &Field, key: i64) -> Result<Vec<i64>, MergeError> {
    read_of(&slices.to_vec(), file, field, key)
}

fn read_of(slices: &dyn Slices, file: &Path, field: &Field, key: i64) -> Result<Vec<i64>, MergeError> {
    let (vocabulary, ranges) = (
        Vocabulary::default(),
        Ranges::new(file, &Disk::new(), std::slice::from_ref(field)),
    );
    let history = History {
        slices,
        vocabulary: &vocabulary,
        ranges: Some(&ranges),
    };
    let keys: ArrayRef = match field.data_type() {
        DataType::Utf8 => Arc::new(StringArray::from(vec![format!("{key:05}")])),
        _ => Arc::new(Int64Array::from(vec![key])),
    };
    let mut extents = Extents::new(std::slice::from_ref(field));
    extents.widen(&[keys]);
    let mut rows = Vec::new();
    let fields = [Field::new("n", DataType::Int64, false)];
    let numbers = |columns: Vec<ArrayRef>, _| Ok(columns[0].as_primitive::<Int64Type>().values().to_vec());
    history.scan(&fields, &extents.conditions(), numbers, &mut |numbers: Vec<i64>| {
        rows.extend(numbers);
        Ok(())
    })?;
    rows.sort_unstable();
    Ok(rows)
}

#[test]
fn slices_that_are_known_not_to_hold_a_key_are_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ranges");
    for field in [
        Field::new("n", DataType::Int64, true),
        Field::new("t", DataType::Utf8, true),
    ] {
        let mut slices: Vec<PathBuf> = (0..40).map(|n| ten(dir.path(), n, &n.to_string())).collect();
        let rows = |slices: &[PathBuf], key| read_known(slices, &file, &field, key).unwrap();
        assert_eq!(rows(&slices, 205), (200..210).collect::<Vec<_>>());
        // Whoever opened them would fail.
        for (at, slice) in slices.iter().enumerate() {
            if at != 20 {
                fs::write(slice, "junk").unwrap();
            }
        }
        assert_eq!(rows(&slices, 205), (200..210).collect::<Vec<_>>());
        assert_eq!(rows(&slices, 5000), [0; 0], "in none");
        assert!(
            read_known(&slices, &file, &field, 105).is_err(),
            "it is opened where it may be"
        );
        // What is new is opened once.
        slices.extend((40..42).map(|n| ten(dir.path(), n, &n.to_string())));
        assert_eq!(rows(&slices, 205), (200..210).collect::<Vec<_>>());
        fs::write(&slices[40], "junk").unwrap();
        assert_eq!(rows(&slices, 415), (410..420).collect::<Vec<_>>());
        fs::remove_file(&slices[41]).unwrap();
        assert_eq!(rows(&slices, 205), (200..210).collect::<Vec<_>>());
    }
}

#[test]
fn what_is_kept_of_slices_never_hides_a_row() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ranges");
    let field = Field::new("n", DataType::Int64, true);
    let slices: Vec<PathBuf> = (0..30).map(|n| ten(dir.path(), n, &n.to_string())).collect();
    let right = |slices: &[PathBuf], of: &dyn Fn(usize) -> i64, what: &str| {
        for at in [0, 1, 14, slices.len() - 1] {
            let first = of(at) * 10;
            let rows = read_known(slices, &file, &field, first + 3).unwrap();
            assert_eq!(rows, (first..first + 10).collect::<Vec<_>>(), "{what}, slice {at}");
        }
    };
    let same = |at: usize| at as i64;
    right(&slices, &same, "made");
    let whole = fs::read(&file).unwrap();
    // Torn, with holes, with a flipped bit, empty, longer, or gone.
    for len in (0..whole.len()).step_by(41) {
        fs::write(&file, &whole[..len]).unwrap();
        right(&slices, &same, "torn");
        let mut holed = whole.clone();
        holed[len..(len + 200).min(whole.len())].fill(0);
        fs::write(&file, &holed).unwrap();
        right(&slices, &same, "with a hole");
        let mut flipped = whole.clone();
        flipped[len] ^= 1;
        fs::write(&file, &flipped).unwrap();
        right(&slices, &same, "with a flipped bit");
    }
    fs::write(&file, [&whole[..], b"and more"].concat()).unwrap();
    right(&slices, &same, "longer");
    fs::remove_file(&file).unwrap();
    right(&slices, &same, "gone");
    assert_eq!(fs::read(&file).unwrap(), whole);
    // History that was written again from some slice on, and a shorter one.
    let mut other = slices[..15].to_vec();
    other.extend((100..120).map(|n| ten(dir.path(), n, &format!("other {n}"))));
    right(
        &other,
        &|at| if at < 15 { at as i64 } else { at as i64 + 85 },
        "written again",
    );
    right(&slices[..20], &same, "shorter");
    right(&slices, &same, "as before");
    // Of other columns.
    let text = Field::new("t", DataType::Utf8, true);
    assert_eq!(
        read_known(&slices, &file, &text, 13).unwrap(),
        (10..20).collect::<Vec<_>>()
    );
    right(&slices, &same, "of other columns");
    // Without statistics nothing is known, and all are read.
    let plain = [slice(dir.path(), EnabledStatistics::None)];
    for _ in 0..2 {
        assert_eq!(read_known(&plain, &file, &field, 5).unwrap().len(), 1000);
    }
}

#[test]
fn what_is_kept_of_slices_has_its_limits() {
    let dir = tempfile::tempdir().unwrap();
    let text = Field::new("t", DataType::Utf8, true);
    for (len, is_kept) in [(MAX_TEXT_BYTES, true), (MAX_TEXT_BYTES + 1, false)] {
        let (path, file) = (
            dir.path().join(len.to_string()),
            dir.path().join(format!("ranges {len}")),
        );
        let texts = StringArray::from(vec!["x".repeat(len)]);
        let numbers = Int64Array::from(vec![1]);
        let batch = RecordBatch::try_from_iter([("n", Arc::new(numbers) as ArrayRef), ("t", Arc::new(texts))]).unwrap();
        let whole = WriterProperties::builder().set_statistics_truncate_length(None).build();
        let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), batch.schema(), Some(whole)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let slices = [path];
        assert_eq!(read_known(&slices, &file, &text, 5).unwrap(), [0; 0]);
        fs::write(&slices[0], "junk").unwrap();
        assert_eq!(read_known(&slices, &file, &text, 5).is_ok(), is_kept, "{len} bytes");
    }
    let (file, number) = (dir.path().join("ranges"), Field::new("n", DataType::Int64, true));
    let slices = [ten(dir.path(), 1, "one"), ten(dir.path(), 2, "two")];
    assert_eq!(read_known(&slices, &file, &number, 5).unwrap(), [0; 0]);
    fs::write(&slices[0], "junk").unwrap();
    for (len, is_read) in [(MAX_FILE_BYTES, true), (MAX_FILE_BYTES + 1, false)] {
        File::options().write(true).open(&file).unwrap().set_len(len).unwrap();
        assert_eq!(read_known(&slices, &file, &number, 5).is_ok(), is_read, "{len} bytes");
    }
}

/// A history whose positions have a slice each but for every third, and which is asked for few of them.
struct Asked<'a> {
    slices: &'a [PathBuf],
    /// Positions asked for.
    asked: AtomicUsize,
}

impl Slices for Asked<'_> {
    fn positions(&self) -> usize {
        self.slices.len() * 3 / 2
    }

    fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    fn files(&self, positions: Range<usize>) -> Result<Vec<Option<PathBuf>>, HistoryError> {
        self.asked.fetch_add(positions.len(), Ordering::Relaxed);
        let file = |at: usize| (at % 3 != 2).then(|| self.slices[at - at / 3].clone());
        Ok(positions.map(file).collect())
    }

    fn mark(&self, position: usize) -> Result<Vec<u8>, HistoryError> {
        Ok(position.to_le_bytes().to_vec())
    }
}

#[test]
fn of_a_long_history_only_the_groups_that_can_hold_a_key_are_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ranges");
    let field = Field::new("n", DataType::Int64, true);
    // One position more than whole groups.
    let count = GROUP * 20 + 2;
    let slices: Vec<PathBuf> = (0..count as i64).map(|n| ten(dir.path(), n, &n.to_string())).collect();
    let read = |count: usize, key: i64| {
        let history = Asked {
            slices: &slices[..count],
            asked: AtomicUsize::new(0),
        };
        let rows = read_of(&history, &file, &field, key).unwrap();
        let first = key / 10 * 10;
        let wanted: Vec<i64> = if key < count as i64 * 10 {
            (first..first + 10).collect()
        } else {
            Vec::new()
        };
        assert_eq!(rows, wanted, "{key} in {count}");
        history.asked.into_inner()
    };
    // One after another, as they come, and all at once.
    for at in 2..=GROUP * 4 {
        read(at, 13);
    }
    let grown = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    read(GROUP * 4, 13);
    assert_eq!(fs::read(&file).unwrap(), grown, "the same whenever it was found out");
    read(count, 13);
    for slice in slices.iter().skip(2) {
        fs::write(slice, "junk").unwrap();
    }
    let behind = count * 3 / 2 % GROUP;
    assert_eq!(read(count, 13), GROUP + behind);
    assert_eq!(read(count, 10 * count as i64), behind, "in none");
    // A group that is damaged where its summary is not is found out about again.
    let mut damaged = fs::read(&file).unwrap();
    let second = 200;
    damaged[second] ^= 1;
    fs::write(&file, &damaged).unwrap();
    let history = Asked {
        slices: &slices,
        asked: AtomicUsize::new(0),
    };
    assert!(
        read_of(&history, &file, &field, 13).is_err(),
        "all of the group are opened"
    );
    assert!(!file.exists());
}

#[test]
fn a_snapshot_reads_no_slice_that_the_kept_state_is_of() {
    let strategy = MergeStrategy::Snapshot {
        primary_key: vec!["k".to_owned()],
        compare_columns: None,
    };
    let case = Case {
        strategy: strategy.clone(),
        event_type: timestamp(),
        text_type: DataType::Utf8,
        has_operations: false,
        memory: Memory::default(),
        chunk: 8,
        forerun: false,
        ingests: Vec::new(),
    };
    let row = |key: &str, value| Given {
        operation: None,
        time: Some(0),
        cells: [
            Value::Text(key.to_owned()),
            Value::Number(0),
            Value::Number(value),
            Value::Null,
        ],
    };
    let snapshot = |value| Ingest {
        rows: vec![row("a", 0), row("b", value)],
        event_time: 0,
    };
    let mut world = World::new();
    for value in 0..12 {
        // Those of before the last time that the state was kept.
        for slice in world.slices.iter().rev().skip(BEHIND) {
            fs::write(slice, "junk").unwrap();
        }
        let written = world.ingest(&case, &strategy, &snapshot(value)).unwrap();
        assert_eq!(written.len(), 2, "{value}");
    }
    let kept = world.beside.path().join("ranges.latest");
    let whole = fs::read(&kept).unwrap();
    assert!(world.ingest(&case, &strategy, &snapshot(11)).unwrap().is_empty());
    // Without it, or if it is not whole, all are read; and so they are if it is too long.
    for at in (0..whole.len()).step_by(7) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        for bytes in [&flipped[..], &whole[..at]] {
            fs::write(&kept, bytes).unwrap();
            assert!(world.ingest(&case, &strategy, &snapshot(11)).is_err(), "{at}");
        }
    }
    for (len, is_read) in [
        (MAX_LATEST_BYTES, false),
        (MAX_LATEST_BYTES + 1, false),
        (whole.len(), true),
    ] {
        fs::write(&kept, &whole).unwrap();
        File::options()
            .write(true)
            .open(&kept)
            .unwrap()
            .set_len(len as u64)
            .unwrap();
        assert_eq!(
            world.ingest(&case, &strategy, &snapshot(11)).is_ok(),
            is_read,
            "{len} bytes"
        );
    }
    // Another key, or other columns that are compared, are another state.
    let other = MergeStrategy::Snapshot {
        primary_key: vec!["k".to_owned()],
        compare_columns: Some(vec!["v".to_owned()]),
    };
    fs::write(&kept, &whole).unwrap();
    assert!(world.ingest(&case, &other, &snapshot(11)).is_err());
    fs::remove_file(&kept).unwrap();
    assert!(world.ingest(&case, &strategy, &snapshot(11)).is_err());
}
