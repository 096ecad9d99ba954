//! How much memory the reader of the reference implementation holds for the rows of a file without declared columns. Its sort
//! counts that memory, not the values, when it decides whether blocks are sorted together; see `merge::ties`.
//!
//! Columns that it takes as they are come in buffers with room for a full block, however few rows the last block of a row
//! group has. Those that it converts are as long as they have to be. Text and bytes are views into pages, each of which counts
//! once a block.

use arrow::array::{Array as _, AsArray as _};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Schema, TimeUnit};
use arrow::record_batch::RecordBatch;

use crate::shape::Shape;
use crate::source::BATCH_ROWS;

/// Counts what is held for batch after batch.
pub(super) struct Room {
    /// Rows that a buffer has room for.
    rows: usize,
    /// Bytes of a row in columns with such buffers, and in the others.
    roomy: usize,
    exact: usize,
    /// Rows of the block that is not complete.
    begun: usize,
    /// Bytes of pages that were read and are not counted yet.
    pages: usize,
}

impl Room {
    /// For a file of so many rows that has each column of the shape `at` a position, if at all. None where there are columns
    /// of which it is not known.
    pub(super) fn of(shape: &Shape, at: &[Option<usize>], file: &Schema, rows: usize) -> Option<Room> {
        let (mut roomy, mut exact) = (0, 0);
        for (column, (field, position)) in shape.schema().fields().iter().zip(at).enumerate() {
            let has = position.and_then(|position| file.fields().get(position));
            match (has.map(|has| has.data_type()), field.data_type()) {
                (Some(DataType::Utf8 | DataType::Utf8View), DataType::Utf8View)
                | (Some(DataType::Binary | DataType::BinaryView), DataType::BinaryView) => roomy += size_of::<u128>(),
                (has, wants) => {
                    let width = wants.primitive_width()?;
                    match !shape.is_made_anew(column) && has.is_some_and(is_taken) && has == Some(wants) {
                        true => roomy += width,
                        false => exact += width,
                    }
                }
            }
        }
        Some(Room {
            rows: rows.min(BATCH_ROWS),
            roomy,
            exact,
            begun: 0,
            pages: 0,
        })
    }

    /// Rows as the reader gives them.
    pub(super) fn read(&mut self, batch: &RecordBatch) {
        self.pages += batch
            .columns()
            .iter()
            .map(|column| match column.data_type() {
                DataType::Utf8View => bytes_of_pages(column.as_string_view().data_buffers()),
                DataType::BinaryView => bytes_of_pages(column.as_binary_view().data_buffers()),
                _ => 0,
            })
            .sum::<usize>();
    }

    /// Bytes for the next rows, which may be the last of a row group.
    pub(super) fn take(&mut self, rows: usize, ends_group: bool) -> usize {
        let mut bytes = std::mem::take(&mut self.pages) + rows * (self.roomy + self.exact);
        self.begun = (self.begun + rows) % BATCH_ROWS;
        if ends_group && self.begun > 0 {
            bytes += self.rows.saturating_sub(self.begun) * self.roomy;
            self.begun = 0;
        }
        bytes
    }
}

/// Whether the reader takes values of this type as they are in the file.
fn is_taken(has: &DataType) -> bool {
    use DataType::{Date32, Float32, Float64, Int32, Int64, Time32, Time64, Timestamp, UInt32, UInt64};
    matches!(
        has,
        Int32 | Int64 | UInt32 | UInt64 | Float32 | Float64 | Date32 | Time32(_) | Time64(_)
    ) || matches!(has, Timestamp(TimeUnit::Millisecond, _))
}

/// A page counts once, however often it is named.
fn bytes_of_pages(pages: &[Buffer]) -> usize {
    let mut pages: Vec<_> = pages.iter().map(|page| (page.data_ptr(), page.capacity())).collect();
    pages.sort_unstable();
    pages.dedup();
    pages.iter().map(|(_, bytes)| bytes).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringViewArray};
    use arrow::datatypes::Field;

    use super::*;
    use crate::infer::timestamp;

    fn field(name: &str, data_type: DataType) -> Field {
        Field::new(name, data_type, true)
    }

    #[test]
    fn there_is_room_for_full_blocks_and_event_times_and_converted_values_have_none() {
        let fields = vec![
            field("event_time", timestamp()),
            field("a", DataType::Int64),
            field("b", DataType::Int16),
        ];
        let shape = Shape::new(fields.clone(), None).with_made_anew("event_time");
        let at = [Some(0), Some(1), Some(2)];
        let mut room = Room::of(&shape, &at, &Schema::new(fields.clone()), 20_000).unwrap();
        assert_eq!(room.take(BATCH_ROWS, false), BATCH_ROWS * 18);
        // The block ends with the row group; the next one begins anew.
        assert_eq!(room.take(10, true), 10 * 10 + BATCH_ROWS * 8);
        assert_eq!(room.take(BATCH_ROWS, true), BATCH_ROWS * 18);
        // In no file there is room for more rows than it has.
        let mut room = Room::of(&shape, &at, &Schema::new(fields.clone()), 100).unwrap();
        assert_eq!(room.take(60, true) + room.take(40, true), 100 * 10 + 2 * 100 * 8);
        // Of lists nothing is known.
        let list = field("c", DataType::new_list(DataType::Int64, true));
        let shape = Shape::new(vec![list.clone()], None);
        assert!(Room::of(&shape, &[Some(0)], &Schema::new(vec![list]), 100).is_none());
    }

    #[test]
    fn a_page_counts_once_a_batch() {
        let view = field("s", DataType::Utf8View);
        let shape = Shape::new(vec![view.clone()], None);
        let file = Schema::new(vec![field("s", DataType::Utf8)]);
        let mut room = Room::of(&shape, &[Some(0)], &file, 2).unwrap();
        let page = Buffer::from(b"a text that is not within its view".to_vec());
        let bytes = page.capacity();
        let mut views = arrow::array::StringViewBuilder::new();
        let first = views.append_block(page.clone());
        let second = views.append_block(page);
        views.try_append_view(first, 0, 20).unwrap();
        views.try_append_view(second, 5, 20).unwrap();
        let views: StringViewArray = views.finish();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![view])), vec![Arc::new(views) as ArrayRef]).unwrap();
        for _ in 0..2 {
            room.read(&batch);
            assert_eq!(room.take(2, true), 2 * 16 + bytes);
        }
    }
}
