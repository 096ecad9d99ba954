//! Rows in the groups in which the Parquet writer gets them, however they come.

use std::collections::VecDeque;

use arrow::compute::BatchCoalescer;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use super::bytes::{bytes_of_rows, rows_reaching};

/// Rows in a group. Page boundaries, and with them the bytes of a file, depend on this being a multiple of 1024.
pub(super) const ROWS_PER_CALL: usize = 8192;

/// Rows after which the writer looks whether a page is full. Where a group ends between, it looks elsewhere from then on than
/// the writer of the reference implementation, which gets 8,192 rows however long they are.
const ROWS_PER_LOOK: usize = 1024;

/// A group that has so many bytes ends with the next multiple of [`ROWS_PER_LOOK`] rows, so that groups of long rows are not a
/// multiple of memory. Rows of less than 1 KiB never do.
pub(super) const ENOUGH_BYTES: usize = 8 << 20;

/// It ends in any case with the row that brings it to so many. Rows of less than 8 KiB never do.
pub(super) const BYTES_PER_CALL: usize = 2 * ENOUGH_BYTES;

/// Regroups batches: where a group ends depends on the rows alone and not on how they come.
pub(super) struct Groups {
    begun: BatchCoalescer,
    /// Of the group that was begun.
    bytes: usize,
    complete: VecDeque<RecordBatch>,
}

impl Groups {
    pub(super) fn new(schema: SchemaRef) -> Groups {
        Groups {
            begun: BatchCoalescer::new(schema, ROWS_PER_CALL),
            bytes: 0,
            complete: VecDeque::new(),
        }
    }

    /// Takes rows. What is complete with them is to be taken by [`Self::next`] before more come.
    pub(super) fn push(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let mut start = 0;
        while start < batch.num_rows() {
            let wanted = ROWS_PER_CALL - self.begun.get_buffered_rows();
            let part = batch.slice(start, wanted.min(batch.num_rows() - start));
            let (part, bytes) = self.fitting(part);
            let rows = part.num_rows();
            start += rows;
            self.bytes += bytes;
            let is_looked_at = (self.begun.get_buffered_rows() + rows).is_multiple_of(ROWS_PER_LOOK);
            let is_complete =
                rows == wanted || self.bytes >= BYTES_PER_CALL || (self.bytes >= ENOUGH_BYTES && is_looked_at);
            if is_complete && self.begun.is_empty() {
                // Nothing to regroup, so nothing to copy.
                self.bytes = 0;
                self.complete.push_back(part);
                continue;
            }
            self.begun.push_batch(part)?;
            if is_complete {
                self.finish()?;
            }
        }
        Ok(())
    }

    /// As many of the rows as there is room for in the group that was begun, and their bytes.
    fn fitting(&self, rows: RecordBatch) -> (RecordBatch, usize) {
        let all = bytes_of_rows(&rows, 0..rows.num_rows());
        if self.bytes + all < ENOUGH_BYTES {
            return (rows, all);
        }
        let enough = match ENOUGH_BYTES.saturating_sub(self.bytes) {
            // One at least: what is complete already has been taken out.
            0 => 1,
            room => rows_reaching(&rows, 0, room),
        };
        let begun = self.begun.get_buffered_rows();
        let looked_at = (begun + enough).next_multiple_of(ROWS_PER_LOOK) - begun;
        let most = rows_reaching(&rows, 0, BYTES_PER_CALL - self.bytes);
        let count = looked_at.min(most).min(rows.num_rows());
        let part = rows.slice(0, count);
        let bytes = bytes_of_rows(&part, 0..count);
        (part, bytes)
    }

    /// Completes the group that was begun, if it has rows.
    pub(super) fn finish(&mut self) -> Result<(), ArrowError> {
        self.bytes = 0;
        self.begun.finish_buffered_batch()?;
        while let Some(group) = self.begun.next_completed_batch() {
            self.complete.push_back(group);
        }
        Ok(())
    }

    /// The next complete group.
    pub(super) fn next(&mut self) -> Option<RecordBatch> {
        self.complete.pop_front()
    }
}
