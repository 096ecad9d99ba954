use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use proptest::prelude::*;

use super::*;

fn chunks(bytes: &[u8]) -> Option<Vec<Range<u64>>> {
    let mut read = |offset: u64, buffer: &mut [u8]| {
        buffer.copy_from_slice(&bytes[offset as usize..][..buffer.len()]);
        Ok(())
    };
    column_chunks(bytes.len() as u64, &mut read).unwrap()
}

fn table(rows: i64, rows_per_group: usize, dictionary: bool) -> Vec<u8> {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(
        (0..rows).map(|row| format!("text {}", row % 7)),
    ));
    let batch = RecordBatch::try_from_iter([("n", numbers), ("t", texts)]).unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(rows_per_group))
        .set_dictionary_enabled(dictionary)
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

/// Field `field` behind the field `before`, of a kind.
fn head(before: u8, field: u8, kind: u8) -> u8 {
    (field - before) << 4 | kind
}

fn zigzag(value: i64) -> Vec<u8> {
    let mut rest = (value << 1) as u64 ^ (value >> 63) as u64;
    let mut bytes = Vec::new();
    while rest > 0x7f {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

/// A file whose footer is this and nothing else is true of it.
fn with_footer(data: usize, footer: &[u8]) -> Vec<u8> {
    let mut file = MAGIC.to_vec();
    file.resize(4 + data, 0);
    file.extend_from_slice(footer);
    file.extend_from_slice(&(footer.len() as u32).to_le_bytes());
    file.extend_from_slice(&MAGIC);
    file
}

/// `FileMetaData` of one row group of such chunks: where data begins, its length, and where the dictionary begins.
fn footer(chunks: &[(i64, i64, Option<i64>)]) -> Vec<u8> {
    let mut bytes = vec![
        head(0, 4, kind::LIST),
        1 << 4 | kind::STRUCT,
        head(0, 1, kind::LIST),
        0xf0 | kind::STRUCT,
    ];
    let mut count = chunks.len();
    while count > 0x7f {
        bytes.push(count as u8 | 0x80);
        count >>= 7;
    }
    bytes.push(count as u8);
    for (data, len, dictionary) in chunks {
        bytes.extend([head(0, 3, kind::STRUCT), head(0, 7, kind::I64)]);
        bytes.extend(zigzag(*len));
        bytes.push(head(7, 9, kind::I64));
        bytes.extend(zigzag(*data));
        if let Some(dictionary) = dictionary {
            bytes.push(head(9, 11, kind::I64));
            bytes.extend(zigzag(*dictionary));
        }
        // Of the metadata, and of the chunk.
        bytes.extend([0, 0]);
    }
    bytes.extend([0, 0]);
    bytes
}

#[test]
fn chunks_lie_where_a_reader_of_parquet_finds_them() {
    for (rows, per_group, dictionary) in [
        (1, 10, true),
        (1000, 100, true),
        (1000, 300, false),
        (50_000, 50_000, true),
    ] {
        let bytes = table(rows, per_group, dictionary);
        let reader = SerializedFileReader::new(bytes::Bytes::from(bytes.clone())).unwrap();
        let expected: Vec<Range<u64>> = (reader.metadata().row_groups().iter())
            .flat_map(|group| group.columns())
            .map(|column| {
                let (start, len) = column.byte_range();
                start..start + len
            })
            .collect();
        assert_eq!(expected.len(), 2 * (rows as usize).div_ceil(per_group));
        assert_eq!(chunks(&bytes), Some(expected));
    }
}

#[test]
fn a_dictionary_belongs_to_its_chunk_and_none_is_at_zero() {
    let file = with_footer(
        100,
        &footer(&[
            (20, 30, Some(10)),
            (40, 10, Some(0)),
            (50, 10, Some(60)),
            (60, 10, None),
        ]),
    );
    assert_eq!(chunks(&file), Some(vec![10..40, 40..50, 50..60, 60..70]));
}

#[test]
fn chunks_outside_of_the_file_make_it_none() {
    let within = |chunk| chunks(&with_footer(100, &footer(&[(4, 10, None), chunk]))).is_some();
    assert!(within((4, 100, None)));
    assert!(within((104, 0, None)));
    for chunk in [
        (4, 101, None),
        (3, 10, None),
        (10, 10, Some(1)),
        (-1, 10, None),
        (10, -1, None),
        (105, 0, None),
        (i64::MAX, i64::MAX, None),
        (i64::MIN, i64::MIN, Some(i64::MIN)),
    ] {
        assert!(!within(chunk), "{chunk:?}");
    }
}

#[test]
fn what_is_no_parquet_file_has_no_chunks() {
    let bytes = table(100, 10, true);
    assert!(chunks(&bytes).is_some());
    for len in 0..bytes.len() {
        assert_eq!(chunks(&bytes[..len]), None, "{len}");
    }
    assert_eq!(chunks(b"PAR1PAR1"), None);
    let mut encrypted = bytes.clone();
    let end = encrypted.len();
    encrypted[end - 4..].copy_from_slice(b"PARE");
    assert_eq!(chunks(&encrypted), None);
    // In another file: field 1 of the chunk, a text.
    let elsewhere = [
        head(0, 4, kind::LIST),
        1 << 4 | kind::STRUCT,
        head(0, 1, kind::LIST),
        1 << 4 | kind::STRUCT,
        head(0, 1, kind::BINARY),
        1,
        b'x',
        0,
        0,
        0,
    ];
    assert_eq!(chunks(&with_footer(100, &elsewhere)), None);
    assert_eq!(chunks(&with_footer(100, &footer(&[]))), Some(Vec::new()));
}

#[test]
fn limits_hold() {
    let many = |count| chunks(&with_footer(100, &footer(&vec![(4, 1, None); count]))).map(|chunks| chunks.len());
    assert_eq!(many(MAX_CHUNKS), Some(MAX_CHUNKS));
    assert_eq!(many(MAX_CHUNKS + 1), None);

    let long = |len: u64| {
        let mut bytes = footer(&[(4, 1, None)]);
        bytes.resize(len as usize, 0);
        chunks(&with_footer(100, &bytes)).is_some()
    };
    assert!(long(MAX_FOOTER_BYTES));
    assert!(!long(MAX_FOOTER_BYTES + 1));

    // Lists in lists, in a field that is passed over.
    let deep = |depth: usize| {
        let mut bytes = vec![head(0, 9, kind::LIST)];
        bytes.extend(std::iter::repeat_n(1 << 4 | kind::LIST, depth - 1));
        bytes.extend([kind::I8, 0]);
        chunks(&with_footer(100, &bytes)).is_some()
    };
    assert!(deep(MAX_DEPTH));
    assert!(!deep(MAX_DEPTH + 1));
}

proptest! {
    #[test]
    fn no_bytes_do_harm(footer in prop::collection::vec(any::<u8>(), 0..200), data in 0usize..100) {
        let file = with_footer(data, &footer);
        for chunk in chunks(&file).unwrap_or_default() {
            prop_assert!(chunk.start >= 4 && chunk.start <= chunk.end && chunk.end <= 4 + data as u64);
        }
    }

    #[test]
    fn no_change_of_a_footer_does_harm(at in 0usize..2_000, to in any::<u8>()) {
        let mut bytes = table(500, 100, true);
        let len = bytes.len();
        bytes[len - 1 - at % len] = to;
        let _ = chunks(&bytes);
    }
}
