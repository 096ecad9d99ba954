//! What a merge is about, where its rows go, and how it ends.

use std::path::Path;

use arrow::record_batch::RecordBatch;
use odf_metadata::OperationType;

use super::history::History;
use super::spill::Memory;
use crate::error::MergeError;
use crate::shape::Shape;
use crate::source::SourceError;

/// Where merged rows go: the columns of the [`Shape`] and an operation for each row.
pub(crate) trait Sink {
    fn accept(&mut self, batch: &RecordBatch, operations: Operations<'_>) -> Result<(), MergeError>;
}

/// The operations of the rows of a batch.
#[derive(Clone, Copy)]
pub(crate) enum Operations<'o> {
    All(OperationType),
    /// By number: a stream of changes may have others than ODF gives a meaning.
    Each(&'o [i32]),
}

/// How the rows of append and ledger are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Handed on as they are, for as long as that is right.
    AsTheyCome,
    /// They are in order, but where they are equal those of different blocks, of which there are so many, take turns.
    TakingTurns {
        /// As counted the first time.
        blocks: usize,
    },
    /// They are collected and sorted.
    Sorted,
}

/// How many rows of a table have the key of an earlier one. A ledger takes all of them, an upsert the last one of each key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Repeated {
    /// How many; of an upsert those alone that say something else than the one before them.
    pub(crate) rows: u64,
    /// The first of them, and before it the one whose key it has; counted from 0.
    pub(crate) first: Option<(u64, u64)>,
}

impl Repeated {
    /// The row `second` has the key of the row `first`.
    pub(super) fn note(&mut self, first: u64, second: u64) {
        self.rows += 1;
        if self.first.is_none_or(|(_, found)| second < found) {
            self.first = Some((first, second));
        }
    }
}

/// How a merge ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Merged {
    /// All rows were handed on.
    Done {
        /// How many the table had.
        read: u64,
        /// How many rows held before, for a snapshot.
        held: u64,
        /// How many rows were not handed on that a ledger has the keys of, with other values; of those that are
        /// [compared](Setting::compared).
        passed_over: u64,
        /// Which rows of a ledger or an upsert have the key of an earlier row of the table.
        repeated: Repeated,
    },
    /// The rows are not as they should come: what was handed on is void, start again in this way.
    Again(Reading),
}

impl Merged {
    /// So many rows were read, and what was there made no difference.
    pub(super) fn of(read: u64) -> Merged {
        Merged::Done {
            read,
            held: 0,
            passed_over: 0,
            repeated: Repeated::default(),
        }
    }
}

/// How far a merge is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Far {
    /// So many bytes and rows of the source were read.
    Read { bytes: u64, rows: u64 },
    /// So many rows more were compared, or put in order, now that the source is read.
    Compared(u64),
}

/// Hears how far a merge is; called after each batch.
pub(crate) type OnBatch<'p> = dyn FnMut(Far) -> Result<(), SourceError> + 'p;

/// What a merge is about, beside the new rows.
pub(crate) struct Setting<'a> {
    /// The columns of new rows.
    pub(crate) shape: &'a Shape,
    /// What is there already.
    pub(crate) history: History<'a>,
    /// Event time of rows that have none, in milliseconds.
    pub(crate) event_time: i64,
    /// Where temporary files may be made.
    pub(crate) scratch: &'a Path,
    /// How much may be held in memory.
    pub(crate) memory: Memory,
    /// How many rows, the last ones of the table, are compared with what a ledger has of their keys.
    pub(crate) compared: u64,
    /// A key that stands more than once gets one row when a snapshot or an upsert meets it. kamu leaves the others.
    pub(crate) singles: bool,
}
