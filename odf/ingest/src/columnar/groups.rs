//! Where row groups end: the reference implementation reads no two of them at once.

use std::collections::VecDeque;

use arrow::record_batch::RecordBatch;
use parquet::file::metadata::ParquetMetaData;

pub(super) struct RowGroups {
    /// Rows that are left of each, of the present one first.
    left: VecDeque<usize>,
    /// Rows of the next group that were decoded with the last one.
    rest: Option<RecordBatch>,
    is_end: bool,
}

impl RowGroups {
    pub(super) fn of(footer: &ParquetMetaData) -> RowGroups {
        let groups = footer.row_groups().iter();
        let rows = groups.map(|group| usize::try_from(group.num_rows()).unwrap_or(0));
        RowGroups {
            left: rows.filter(|rows| *rows > 0).collect(),
            rest: None,
            is_end: false,
        }
    }

    /// Rows that are left of all.
    pub(super) fn rows(&self) -> usize {
        self.left.iter().fold(0, |all, rows| all.saturating_add(*rows))
    }

    /// Whether a group ends with the rows that were cut last.
    pub(super) fn is_end(&self) -> bool {
        self.is_end
    }

    /// Rows that were decoded already.
    pub(super) fn rest(&mut self) -> Option<RecordBatch> {
        self.rest.take()
    }

    /// The rows up to the end of a group.
    pub(super) fn cut(&mut self, batch: RecordBatch) -> RecordBatch {
        self.is_end = false;
        let rows = batch.num_rows();
        let Some(left) = self.left.front_mut() else {
            return batch;
        };
        if rows < *left {
            *left -= rows;
            return batch;
        }
        let left = *left;
        self.left.pop_front();
        self.is_end = true;
        self.rest = (rows > left).then(|| batch.slice(left, rows - left));
        batch.slice(0, left)
    }
}
