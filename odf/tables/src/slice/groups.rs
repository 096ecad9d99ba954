//! Rows in the groups in which the Parquet writer gets them, however they come.

use std::collections::VecDeque;

use arrow::compute::BatchCoalescer;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use super::bytes::{bytes_of_rows, rows_reaching};

/// Rows in a group. Page boundaries, and with them the bytes of a file, depend on this being a multiple of 1024.
pub(super) const ROWS_PER_CALL: usize = 8192;

/// A group ends early with the row that brings it to so many bytes, so that groups of long rows are not a multiple of memory.
/// Rows of less than 2 KiB never do.
pub(super) const BYTES_PER_CALL: usize = 16 << 20;

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
            let is_complete = rows == wanted || self.bytes >= BYTES_PER_CALL;
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
        let (all, room) = (bytes_of_rows(&rows, 0..rows.num_rows()), BYTES_PER_CALL - self.bytes);
        if all < room {
            return (rows, all);
        }
        let count = rows_reaching(&rows, 0, room);
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
