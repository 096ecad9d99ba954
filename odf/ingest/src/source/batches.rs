//! Rows on their way: a part of a file, and the batches that are read from it.

use arrow::record_batch::RecordBatch;

use super::problem::SourceError;

/// A part of a file in bytes: from `start` up to, not including, `end`. `start` is the beginning of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u64,
    /// Number of lines before `start`, for messages.
    pub line: u64,
    /// One past the last byte.
    pub end: u64,
}

/// Batches of a table, one after the other.
pub trait Batches {
    /// The next batch, or none at the end. A batch has at least one row.
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, SourceError>;

    /// Bytes of the file consumed so far.
    fn bytes(&self) -> u64;

    /// Whether the reference implementation has the rows behind the last batch in another block, though it had room for more
    /// ([`BATCH_ROWS`](super::BATCH_ROWS)). The order of equal rows depends on that.
    fn ends_block(&self) -> bool {
        false
    }

    /// Bytes of memory that the columns of the last batch take in the reader of the reference implementation, where that is
    /// known and not what their values take. The order of equal rows depends on that too.
    fn held(&self) -> Option<usize> {
        None
    }

    /// Whether the rows come in the order in which the reference implementation stores them.
    fn is_arranged(&self) -> bool {
        false
    }
}
