//! Writing and reading long rows takes no more memory than it says, and gives the same bytes.

use arrow::array::{
    Array, AsArray, BinaryViewArray, BooleanArray, FixedSizeListArray, ListArray, StringViewArray, StructArray,
};
use arrow::datatypes::Int64Type;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::*;
use crate::slice::groups::{BYTES_PER_CALL, Groups, ROWS_PER_CALL};
use crate::slice::pages::HELD_BYTES;
use crate::slice::write::Bounds;

/// Rows with texts of these lengths.
fn texts(lengths: impl Iterator<Item = usize>) -> RecordBatch {
    let texts = lengths.enumerate().map(|(n, length)| Some(noise(n as u64 + 1, length)));
    let texts: StringArray = texts.collect();
    let offsets: ArrayRef = Arc::new(Int64Array::from_iter_values(0..texts.len() as i64));
    RecordBatch::try_from_iter([("offset", offsets), ("text", Arc::new(texts) as ArrayRef)]).unwrap()
}

fn parts(batch: &RecordBatch, rows: usize) -> impl Iterator<Item = RecordBatch> {
    let starts = (0..batch.num_rows()).step_by(rows);
    starts.map(move |start| batch.slice(start, rows.min(batch.num_rows() - start)))
}

fn written(dir: &Path, batch: &RecordBatch, rows: usize, bounds: Bounds) -> (WrittenSlice, usize) {
    let mut writer = SliceWriter::bounded(&Disk::new(), dir, batch.schema(), &kamu(), &[], bounds).unwrap();
    let mut most_held = 0;
    for part in parts(batch, rows) {
        writer.write(part).unwrap();
        most_held = most_held.max(writer.pages().held());
    }
    (writer.finish().unwrap(), most_held)
}

#[test]
fn bytes_do_not_depend_on_where_pages_wait() {
    let dir = tempfile::tempdir().unwrap();
    let batch = texts((0..30_000).map(|n| n % 300));
    // All of them in memory; that these are the bytes of kamu's writer is tested elsewhere.
    let everything = Bounds {
        held_bytes: usize::MAX,
        ..Bounds::default()
    };
    let (slice, most_held) = written(dir.path(), &batch, ROWS_PER_CALL, everything);
    assert!(most_held > 200_000);
    let wanted = (*slice.physical_hash(), slice.size());
    let path = slice.install(dir.path()).unwrap();
    let plain = fs::read(&path).unwrap();
    fs::remove_file(path).unwrap();
    for held_bytes in [0, 200_000, HELD_BYTES] {
        let bounds = Bounds {
            held_bytes,
            ..Bounds::default()
        };
        let (slice, most_held) = written(dir.path(), &batch, 8192, bounds);
        assert_eq!((*slice.physical_hash(), slice.size()), wanted, "{held_bytes}");
        assert!(
            most_held <= held_bytes && (held_bytes == 0 || most_held > 0),
            "{most_held} of {held_bytes}"
        );
        let path = slice.install(dir.path()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), plain);
        fs::remove_file(path).unwrap();
        let left = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, 0, "pages are in a file without a name");
    }
}

#[test]
fn a_group_of_long_rows_ends_with_the_row_that_brings_it_to_the_limit() {
    let long = BYTES_PER_CALL / 10;
    let batch = texts((0..60).map(|n| if n % 3 == 0 { long } else { n }));
    let groups = |rows: usize| {
        let mut groups = Groups::new(batch.schema());
        let mut lengths = Vec::new();
        for part in parts(&batch, rows) {
            groups.push(&part).unwrap();
            lengths.extend(std::iter::from_fn(|| groups.next()).map(|group| group.num_rows()));
        }
        groups.finish().unwrap();
        lengths.extend(std::iter::from_fn(|| groups.next()).map(|group| group.num_rows()));
        lengths
    };
    // Ten long rows and the short ones between them are just over the limit.
    assert_eq!(groups(60), [28, 30, 2]);
    for rows in [1, 7, 29, 59] {
        assert_eq!(groups(rows), groups(60), "{rows}");
    }
    let dir = tempfile::tempdir().unwrap();
    let hash = |rows| *written(dir.path(), &batch, rows, Bounds::default()).0.physical_hash();
    assert_eq!(hash(60), hash(1));
    assert_eq!(hash(60), hash(7));
}

#[test]
fn a_row_group_ends_when_too_much_is_in_no_page() {
    let dir = tempfile::tempdir().unwrap();
    let numbers = |at: i64| Arc::new(Int64Array::from_iter_values((0..20_000).map(|n| n * 7 + at))) as ArrayRef;
    let columns: Vec<(String, ArrayRef)> = (0..20).map(|at| (format!("c{at}"), numbers(at))).collect();
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let row_groups = |unpaged_bytes| {
        let bounds = Bounds {
            unpaged_bytes,
            ..Bounds::default()
        };
        let (slice, _) = written(dir.path(), &batch, 8192, bounds);
        let path = slice.install(dir.path()).unwrap();
        let batches = SliceReader::open(&path).unwrap();
        assert_eq!(batches.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 20_000);
        let file = SliceFile::open(&path, false).unwrap();
        file.metadata().metadata().num_row_groups()
    };
    assert_eq!(row_groups(Bounds::default().unpaged_bytes), 1);
    // A call brings 8192 different numbers of 8 bytes in 20 columns.
    assert_eq!(row_groups(2_500_000), 2);
    assert_eq!(row_groups(1), 3);
}

#[test]
fn long_rows_are_read_in_short_batches_wherever_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    let most = |batch: &RecordBatch, page_index: bool| {
        let statistics = match page_index {
            true => EnabledStatistics::Page,
            false => EnabledStatistics::Chunk,
        };
        let properties = WriterProperties::builder()
            .set_statistics_enabled(statistics)
            .set_offset_index_disabled(!page_index)
            .build();
        let file = fs::File::create(&path).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
        writer.write(batch).unwrap();
        writer.close().unwrap();
        let batches = SliceReader::open(&path).unwrap();
        let rows: Vec<usize> = batches.map(|batch| batch.unwrap().num_rows()).collect();
        assert_eq!(rows.iter().sum::<usize>(), batch.num_rows());
        rows.into_iter().max().unwrap()
    };
    let limit = usize::try_from(BYTES_PER_BATCH).unwrap();
    assert_eq!(most(&texts((0..20_000).map(|n| n % 30)), true), 8192);
    let even = most(&texts((0..400).map(|_| 100_000)), false);
    assert!((limit / 110_000..=limit / 100_000).contains(&even), "{even}");
    // Short rows first, so that the rows of the file are short on average.
    let uneven = texts((0..60_000).map(|n| if n < 59_600 { 10 } else { 100_000 }));
    let rows = most(&uneven, true);
    assert!(rows <= limit / 100_000, "{rows}");
    // One long text, written once.
    let text = noise(1, 20_000);
    let same: ArrayRef = Arc::new(StringArray::from_iter_values((0..5_000).map(|_| &text)));
    let rows = most(&RecordBatch::try_from_iter([("text", same)]).unwrap(), false);
    assert!(rows <= limit / 20_000, "{rows}");

    let file = SliceFile::open(&path, false).unwrap();
    let widths = Widths::of(&fs::File::open(&path).unwrap(), file.metadata().metadata());
    assert_eq!(widths.rows_per_batch(&ProjectionMask::none(1), 7), 7);
}

#[test]
fn bytes_of_rows_add_up_whatever_they_are() {
    const ROWS: usize = 40;
    let text = |n: usize| (!n.is_multiple_of(3)).then(|| "t".repeat(n * 5));
    let strings = || -> ArrayRef { Arc::new((0..ROWS).map(text).collect::<StringArray>()) };
    let item = Arc::new(Field::new("item", DataType::Int64, false));
    let numbers = |count: usize| Arc::new(Int64Array::from_iter_values(0..count as i64));
    let offsets = arrow::buffer::OffsetBuffer::from_lengths(0..ROWS);
    let list: ArrayRef = Arc::new(ListArray::new(
        item.clone(),
        offsets,
        numbers(ROWS * (ROWS - 1) / 2),
        None,
    ));
    let object = StructArray::from(vec![
        (Arc::new(Field::new("s", DataType::Utf8, true)), strings()),
        (Arc::new(Field::new("l", list.data_type().clone(), true)), list.clone()),
    ]);
    let bytes: BinaryViewArray = (0..ROWS).map(|n| text(n).map(String::into_bytes)).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("list", list),
        (
            "pairs",
            Arc::new(FixedSizeListArray::new(item, 2, numbers(2 * ROWS), None)),
        ),
        ("strings", strings()),
        ("struct", Arc::new(object)),
        ("view", Arc::new((0..ROWS).map(text).collect::<StringViewArray>())),
        ("bytes", Arc::new(bytes)),
        ("flag", Arc::new(BooleanArray::from(vec![true; ROWS]))),
    ];
    let whole = RecordBatch::try_from_iter(columns).unwrap();
    // A part whose arrays do not begin where their buffers do.
    for batch in [whole.clone(), whole.slice(7, 30)] {
        let all = bytes_of_rows(&batch, 0..batch.num_rows());
        for cut in 0..=batch.num_rows() {
            let parts = bytes_of_rows(&batch, 0..cut) + bytes_of_rows(&batch, cut..batch.num_rows());
            assert_eq!(parts, all, "{cut}");
        }
        for bytes in [0, 1, 100, 5_000, usize::MAX] {
            let mut start = 0;
            for piece in pieces(&batch, 11, bytes) {
                let rows = piece.num_rows();
                assert_eq!(piece, batch.slice(start, rows));
                let but_one = bytes_of_rows(&piece, 0..rows - 1);
                assert!(
                    rows <= 11 && but_one < bytes.max(1),
                    "{rows} rows, {but_one} of {bytes}"
                );
                start += rows;
            }
            assert_eq!(start, batch.num_rows());
        }
    }
    let items = whole.column(0).as_list::<i32>().values().as_primitive::<Int64Type>();
    let lists = whole.project(&[0]).unwrap();
    assert_eq!(bytes_of_rows(&lists, 0..ROWS), items.len() * 8 + ROWS * 4);
    assert_eq!(bytes_of_rows(&whole.project(&[1]).unwrap(), 3..5), 2 * 2 * 8);
}
