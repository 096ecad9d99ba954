//! How many bytes rows take, so that what is held is counted in bytes and not in rows.

use std::ops::Range;

use arrow::array::{Array, AsArray, GenericByteViewArray, OffsetSizeTrait};
use arrow::datatypes::{ByteViewType, DataType};
use arrow::record_batch::RecordBatch;

/// What a value is counted as whose type does not say how long it is.
const UNKNOWN_BYTES: usize = 8;

/// Bytes that the values of these rows take when they are laid out by themselves, whatever they share with others now. The
/// bytes of two ranges that meet are those of both together.
///
/// # Panics
/// The range reaches beyond the batch.
pub fn bytes_of_rows(batch: &RecordBatch, rows: Range<usize>) -> usize {
    batch
        .columns()
        .iter()
        .map(|column| bytes_of(column.as_ref(), rows.clone()))
        .sum()
}

/// How many of the rows from `start` on it takes to reach `bytes`: at least one, and all that are left if they do not.
pub fn rows_reaching(batch: &RecordBatch, start: usize, bytes: usize) -> usize {
    let left = batch.num_rows().saturating_sub(start);
    if left <= 1 || bytes_of_rows(batch, start..start + left) < bytes {
        return left;
    }
    // The least number that reaches it lies behind `below` and not behind `enough`.
    let (mut below, mut enough) = (0, left);
    while enough - below > 1 {
        let middle = below + (enough - below) / 2;
        if bytes_of_rows(batch, start..start + middle) < bytes {
            below = middle;
        } else {
            enough = middle;
        }
    }
    enough
}

/// The rows of a batch in pieces of at most `rows` rows, each ending with the row that brings it to `bytes` bytes.
pub fn pieces(batch: &RecordBatch, rows: usize, bytes: usize) -> impl Iterator<Item = RecordBatch> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let left = batch.num_rows() - start;
        if left == 0 {
            return None;
        }
        let piece = batch.slice(start, left.min(rows.max(1)));
        let taken = rows_reaching(&piece, 0, bytes);
        start += taken;
        Some(piece.slice(0, taken))
    })
}

fn bytes_of(array: &dyn Array, rows: Range<usize>) -> usize {
    match array.data_type() {
        DataType::Utf8 => between(array.as_string::<i32>().value_offsets(), &rows),
        DataType::LargeUtf8 => between(array.as_string::<i64>().value_offsets(), &rows),
        DataType::Binary => between(array.as_binary::<i32>().value_offsets(), &rows),
        DataType::LargeBinary => between(array.as_binary::<i64>().value_offsets(), &rows),
        DataType::Utf8View => views(array.as_string_view(), &rows),
        DataType::BinaryView => views(array.as_binary_view(), &rows),
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            items(list.value_offsets(), list.values().as_ref(), &rows)
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            items(list.value_offsets(), list.values().as_ref(), &rows)
        }
        DataType::FixedSizeList(_, _) => {
            let list = array.as_fixed_size_list();
            let length = usize::try_from(list.value_length()).unwrap_or(0);
            bytes_of(list.values().as_ref(), rows.start * length..rows.end * length)
        }
        DataType::Struct(_) => {
            let members = array.as_struct().columns().iter();
            members.map(|member| bytes_of(member.as_ref(), rows.clone())).sum()
        }
        DataType::FixedSizeBinary(length) => rows.len() * usize::try_from(*length).unwrap_or(0),
        DataType::Boolean | DataType::Null => rows.len(),
        other => rows.len() * other.primitive_width().unwrap_or(UNKNOWN_BYTES),
    }
}

/// Bytes between two offsets, and the offsets themselves.
fn between<O: OffsetSizeTrait>(offsets: &[O], rows: &Range<usize>) -> usize {
    (offsets[rows.end] - offsets[rows.start]).as_usize() + rows.len() * size_of::<O>()
}

fn views<V: ByteViewType + ?Sized>(array: &GenericByteViewArray<V>, rows: &Range<usize>) -> usize {
    let lengths = array.lengths().skip(rows.start).take(rows.len());
    lengths.map(|length| length as usize + size_of::<u128>()).sum()
}

fn items<O: OffsetSizeTrait>(offsets: &[O], items: &dyn Array, rows: &Range<usize>) -> usize {
    let within = offsets[rows.start].as_usize()..offsets[rows.end].as_usize();
    bytes_of(items, within) + rows.len() * size_of::<O>()
}
