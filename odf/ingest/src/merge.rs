//! What new rows mean for those that are there (odf-facts §8.1): which rows are written, with which operation, in which
//! order.
//!
//! | strategy | rows written | order |
//! |---|---|---|
//! | append | all | event time, once those without one have the time of the ingest; ties as in the file |
//! | ledger | those whose primary key is in no earlier row; repeats within the file are all kept | the same |
//! | snapshot | the difference between the file and the latest state: `+A` new, `-R` gone, `-C` `+C` changed | primary key, then operation |
//! | changelog stream | all, each with the operation that it says | the same |
//! | upsert stream | the difference that the last row of each key makes to the latest state; `-R` for a row that says so | the same |
//!
//! # Memory
//! However many rows there are, new or earlier, no more than [`Memory`] is held. The rows that a strategy has to compare
//! are reduced to a hash of their key (and of what is compared); what does not fit goes to temporary files by parts of the
//! range of hashes, and each part is compared by itself. Rows that wait, or are to be sorted, go to temporary files too.
//! Append, and ledger without earlier rows, pass straight through to the slice as long as event times do not go backwards;
//! the first that does makes the merge start over, sorting.
//!
//! # Keys without a value
//! In a ledger and an upsert such a key is equal to no other, as in SQL and as kamu has it: the row is new every time. A
//! snapshot refuses it, and a key that it holds twice: the difference to such a state is not defined, and what kamu writes
//! for it retracts rows that are there.
//!
//! # Where kamu loses rows
//! kamu finds new and missing keys by comparing columns, so it does not see a key come or go whose compared columns are
//! all empty. Here it is a row like any other.

mod changes;
mod history;
mod keys;
mod ledger;
mod order;
mod spill;

use std::path::{Path, PathBuf};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Date32Type, Int64Type, SchemaRef, TimestampMillisecondType};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use super::shape::Shape;
use super::source::{Batches, SourceError};
use odf_metadata::{MergeStrategy, OperationType};
use odf_tables::slice::SliceError;

pub use history::History;
pub use spill::Memory;

use changes::Rows;
use keys::Key;
use order::{Order, Sorter};

/// Milliseconds of a day.
const DAY_MILLIS: i64 = 86_400_000;

/// Why new rows could not be merged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// The table could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// An earlier slice could not be read, or the new one not written.
    #[error(transparent)]
    Slice(#[from] SliceError),
    /// A row has no value in its primary key.
    #[error("row {row}: the primary key column `{column}` has no value")]
    NullKey {
        /// Row of the table, from 1, the header not counted.
        row: u64,
        /// The column.
        column: String,
    },
    /// Two rows of a snapshot have one primary key.
    #[error("rows {first} and {second} have the same primary key ({key}); a snapshot holds each key once")]
    RepeatedKey {
        /// Row of the table, from 1, the header not counted.
        first: u64,
        /// The later row.
        second: u64,
        /// The values of the key.
        key: String,
    },
    /// A column of the key is not in the table.
    #[error("the primary key column `{0}` is not in the data")]
    NoKeyColumn(String),
    /// The strategy goes by a key and names no column.
    #[error("the merge strategy names no primary key column")]
    EmptyKey,
    /// A column to be compared is not in the data.
    #[error("the column `{0}`, which the merge strategy compares, is not in the data")]
    NoCompareColumn(String),
    /// A row of a stream of changes does not say what it does.
    #[error("new row {row}: the operation column `{column}` has no value")]
    NoOperation {
        /// Row of those that were read, from 1, the header not counted.
        row: u64,
        /// The column.
        column: String,
    },
    /// A row says something that is no operation.
    #[error(
        "new row {row}: {value} in the column `{column}` is no operation; it takes 0 (append), 1 (retract), 2 (correct from) \
         and 3 (correct to)"
    )]
    NotAnOperation {
        /// Row of those that were read, from 1, the header not counted.
        row: u64,
        /// The column.
        column: String,
        /// What stands there.
        value: i64,
    },
    /// What the merged rows are for does not take one of them.
    #[error(transparent)]
    Refused(Box<super::IngestError>),
    /// Columns did not fit together.
    #[error("rows could not be merged: {0}")]
    Arrow(#[from] ArrowError),
    /// An earlier slice lacks a column or has it in a type that cannot be converted.
    #[error("the earlier slice {} has no usable column `{column}`", .path.display())]
    History {
        /// The slice.
        path: PathBuf,
        /// The column.
        column: String,
    },
}

/// Whether a table may, or must, have a column with the operation of each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OperationColumn {
    /// The name is not free: the strategy says what rows do.
    Reserved,
    /// Rows that do not say are appended.
    Optional,
    /// Every row says it.
    Required,
}

impl OperationColumn {
    pub(super) fn of(strategy: &MergeStrategy) -> OperationColumn {
        match strategy {
            MergeStrategy::Append | MergeStrategy::Ledger { .. } | MergeStrategy::Snapshot { .. } => Self::Reserved,
            MergeStrategy::UpsertStream { .. } => Self::Optional,
            MergeStrategy::ChangelogStream { .. } => Self::Required,
        }
    }
}

/// The columns of the key that a strategy goes by; none for append.
pub(super) fn primary_key(strategy: &MergeStrategy) -> &[String] {
    match strategy {
        MergeStrategy::Append => &[],
        MergeStrategy::Ledger { primary_key }
        | MergeStrategy::Snapshot { primary_key, .. }
        | MergeStrategy::ChangelogStream { primary_key }
        | MergeStrategy::UpsertStream { primary_key } => primary_key,
    }
}

/// Whether a strategy looks at earlier rows.
pub(super) fn needs_history(strategy: &MergeStrategy) -> bool {
    !matches!(strategy, MergeStrategy::Append | MergeStrategy::ChangelogStream { .. })
}

/// Where merged rows go: the columns of the [`Shape`] and an operation for each row.
pub(super) trait Sink {
    fn accept(&mut self, batch: &RecordBatch, operations: Operations<'_>) -> Result<(), MergeError>;
}

/// The operations of the rows of a batch.
#[derive(Clone, Copy)]
pub(super) enum Operations<'o> {
    All(OperationType),
    Each(&'o [OperationType]),
}

/// How a merge ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Merged {
    /// All rows were handed on; how many the table had.
    Done { read: u64 },
    /// Event times go backwards: what was handed on is void, start again with sorting.
    OutOfOrder,
}

/// How many rows were read; called after each batch.
pub(super) type OnBatch<'p> = dyn FnMut(u64, u64) -> Result<(), SourceError> + 'p;

/// What a merge is about, beside the new rows.
pub(super) struct Setting<'a> {
    /// The columns of new rows.
    pub(super) shape: &'a Shape,
    /// What is there already.
    pub(super) history: History<'a>,
    /// Event time of rows that have none, in milliseconds.
    pub(super) event_time: i64,
    /// Where temporary files may be made.
    pub(super) scratch: &'a Path,
    /// How much may be held in memory.
    pub(super) memory: Memory,
}

impl Setting<'_> {
    /// Takes rows to be sorted.
    fn sorter(&self, order: Order) -> Sorter<'_> {
        Sorter::new(order, self.scratch, self.memory.rows)
    }
}

/// Merges the rows of `batches` into `sink`.
///
/// With `sort` false the rows of append and ledger are handed on as they come, and the answer may be
/// [`Merged::OutOfOrder`]; with `sort` true they are collected first.
pub(super) fn merge(
    strategy: &MergeStrategy,
    batches: &mut dyn Batches,
    setting: &Setting<'_>,
    sort: bool,
    sink: &mut dyn Sink,
    on_batch: &mut OnBatch<'_>,
) -> Result<Merged, MergeError> {
    match strategy {
        MergeStrategy::Append => pass(batches, setting, sort, sink, on_batch),
        MergeStrategy::Ledger { primary_key } => {
            let key = Key::new(setting.shape, primary_key)?;
            match setting.history.slices {
                [] => pass(batches, setting, sort, sink, on_batch),
                _ => ledger::merge(&key, batches, setting, sink, on_batch),
            }
        }
        MergeStrategy::Snapshot {
            primary_key,
            compare_columns,
        } => {
            let compare_columns = compare_columns.as_deref();
            let rows = Rows::Snapshot { compare_columns };
            changes::merge(
                &Key::new(setting.shape, primary_key)?,
                rows,
                batches,
                setting,
                sink,
                on_batch,
            )
        }
        MergeStrategy::ChangelogStream { primary_key } => {
            changelog(&Key::new(setting.shape, primary_key)?, batches, setting, sink, on_batch)
        }
        MergeStrategy::UpsertStream { primary_key } => {
            let key = Key::new(setting.shape, primary_key)?;
            changes::merge(&key, Rows::Upsert, batches, setting, sink, on_batch)
        }
    }
}

/// Append, or ledger without earlier rows.
fn pass(
    batches: &mut dyn Batches,
    setting: &Setting<'_>,
    sort: bool,
    sink: &mut dyn Sink,
    on_batch: &mut OnBatch<'_>,
) -> Result<Merged, MergeError> {
    let shape = setting.shape;
    let order = Order::by_event_time(setting)?;
    let mut sorter = sort.then(|| setting.sorter(order));
    let mut last = i64::MIN;
    let mut read = 0u64;
    while let Some(batch) = batches.next_batch()? {
        read += batch.num_rows() as u64;
        on_batch(batches.bytes(), read)?;
        if let Some(sorter) = &mut sorter {
            sorter.push(&batch, Operations::All(OperationType::Append))?;
            continue;
        }
        if let Some(at) = shape.event_time() {
            let times = Times::new(batch.column(at))?;
            let fallback = times.precisely(setting.event_time);
            for row in 0..batch.num_rows() {
                let time = times.get(row).unwrap_or(fallback);
                if time < last {
                    return Ok(Merged::OutOfOrder);
                }
                last = time;
            }
        }
        sink.accept(&batch, Operations::All(OperationType::Append))?;
    }
    if let Some(sorter) = sorter {
        sorter.finish(sink)?;
    }
    Ok(Merged::Done { read })
}

/// A stream of changes, as it is: in the order of keys, and of each key the old row of a correction before the new one.
fn changelog(
    key: &Key,
    batches: &mut dyn Batches,
    setting: &Setting<'_>,
    sink: &mut dyn Sink,
    on_batch: &mut OnBatch<'_>,
) -> Result<Merged, MergeError> {
    let mut sorter = setting.sorter(Order::new(setting, &key.positions, true)?);
    let mut read = 0u64;
    while let Some(batch) = batches.next_batch()? {
        let operations = given_operations(&batch, setting.shape, read, None)?.unwrap_or_default();
        read += batch.num_rows() as u64;
        on_batch(batches.bytes(), read)?;
        sorter.push(&batch, Operations::Each(&operations))?;
    }
    sorter.finish(sink)?;
    Ok(Merged::Done { read })
}

/// The operation with a number.
fn operation(number: i64) -> Option<OperationType> {
    OperationType::try_from(i32::try_from(number).ok()?).ok()
}

/// The operations that the rows of a batch say; none where the shape has no column for them. `before` rows of the table
/// came earlier, for messages.
fn given_operations(
    batch: &RecordBatch,
    shape: &Shape,
    before: u64,
    default: Option<OperationType>,
) -> Result<Option<Vec<OperationType>>, MergeError> {
    let Some(at) = shape.operation() else {
        return Ok(None);
    };
    let column = || shape.name(at).to_owned();
    let given = |(row, number): (u64, Option<i64>)| match (number, default) {
        (Some(value), _) => operation(value).ok_or_else(|| MergeError::NotAnOperation {
            row: before + row,
            column: column(),
            value,
        }),
        (None, Some(default)) => Ok(default),
        (None, None) => Err(MergeError::NoOperation {
            row: before + row,
            column: column(),
        }),
    };
    let numbers = batch.column(at).as_primitive::<Int64Type>();
    (1..).zip(numbers).map(given).collect::<Result<Vec<_>, _>>().map(Some)
}

/// An event time column, whatever its type, as milliseconds.
pub(super) enum Times<'a> {
    Millis(&'a arrow::array::TimestampMillisecondArray),
    Days(&'a arrow::array::Date32Array),
}

impl<'a> Times<'a> {
    pub(super) fn new(array: &'a ArrayRef) -> Result<Times<'a>, MergeError> {
        if let Some(millis) = array.as_primitive_opt::<TimestampMillisecondType>() {
            Ok(Times::Millis(millis))
        } else if let Some(days) = array.as_primitive_opt::<Date32Type>() {
            Ok(Times::Days(days))
        } else {
            let message = format!("the event time column has the type {}", array.data_type());
            Err(MergeError::Arrow(ArrowError::SchemaError(message)))
        }
    }

    /// A time as such a column can hold it.
    fn precisely(&self, millis: i64) -> i64 {
        match self {
            Times::Millis(_) => millis,
            Times::Days(_) => millis.div_euclid(DAY_MILLIS) * DAY_MILLIS,
        }
    }

    pub(super) fn get(&self, row: usize) -> Option<i64> {
        match self {
            Times::Millis(array) => array.is_valid(row).then(|| array.value(row)),
            Times::Days(array) => array.is_valid(row).then(|| i64::from(array.value(row)) * DAY_MILLIS),
        }
    }
}

/// Whether a type can hold event times.
pub(super) fn is_event_time(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Date32) || *data_type == super::infer::timestamp()
}

/// The columns of a batch that are listed, by position.
fn project(batch: &RecordBatch, positions: &[usize]) -> Vec<ArrayRef> {
    positions.iter().map(|at| batch.column(*at).clone()).collect()
}

/// Puts columns together under the schema of the shape.
fn batch_of(schema: &SchemaRef, columns: &[ArrayRef]) -> Result<RecordBatch, MergeError> {
    Ok(RecordBatch::try_new(schema.clone(), columns.to_vec())?)
}

#[cfg(test)]
mod tests;
