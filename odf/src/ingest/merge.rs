//! What new rows mean for those that are there (odf-facts §8.1): which rows are written, with which operation, in which
//! order.
//!
//! | strategy | rows written | order |
//! |---|---|---|
//! | append | all | event time, rows without one first; ties as in the file |
//! | ledger | those whose primary key is in no earlier row; repeats within the file are all kept | the same |
//! | snapshot | the difference between the file and the latest state: `+A` new, `-R` gone, `-C` `+C` changed | primary key, then operation |
//!
//! Of earlier rows only hashes of their keys are held in memory (16 bytes a row for ledger, 56 a key for snapshot), never
//! the rows. New rows pass straight through to the slice as long as their event times do not go backwards; the first that
//! does makes the merge start over, collecting and sorting.

mod keys;
mod snapshot;

use std::path::PathBuf;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, new_null_array};
use arrow::compute::{cast, filter_record_batch, interleave_record_batch};
use arrow::datatypes::{DataType, Date32Type, Field, SchemaRef, TimestampMillisecondType};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use super::shape::Shape;
use super::source::{BATCH_ROWS, Batches, SourceError};
use crate::metadata::{MergeStrategy, OperationType, Vocabulary};
use crate::slice::{SliceError, SliceReader};

use keys::KeySet;

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
    /// A strategy of kamu's that publishing a file does not cover.
    #[error("the dataset's merge strategy is {0}; publishing supports append, ledger and snapshot")]
    Unsupported(&'static str),
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

/// The columns that identify a row; none for append.
pub(super) fn primary_key(strategy: &MergeStrategy) -> &[String] {
    match strategy {
        MergeStrategy::Append => &[],
        MergeStrategy::Ledger { primary_key }
        | MergeStrategy::Snapshot { primary_key, .. }
        | MergeStrategy::ChangelogStream { primary_key }
        | MergeStrategy::UpsertStream { primary_key } => primary_key,
    }
}

/// Whether the strategy looks at earlier rows.
pub(super) fn needs_history(strategy: &MergeStrategy) -> bool {
    !matches!(strategy, MergeStrategy::Append | MergeStrategy::ChangelogStream { .. })
}

/// The earlier slices of a dataset, oldest first.
pub struct History<'a> {
    /// Files of the slices.
    pub slices: &'a [PathBuf],
    /// Names of the system columns.
    pub vocabulary: &'a Vocabulary,
}

impl History<'_> {
    /// Visits all rows of all slices with these columns, brought to these types.
    fn scan(
        &self,
        fields: &[Field],
        visit: &mut dyn FnMut(&[ArrayRef]) -> Result<(), MergeError>,
    ) -> Result<(), MergeError> {
        let names: Vec<&str> = fields.iter().map(|f| f.name().as_str()).collect();
        for path in self.slices {
            for batch in SliceReader::open_present(path, Some(&names), 0)? {
                let batch = batch?;
                let columns = fields
                    .iter()
                    .map(|field| match batch.column_by_name(field.name()) {
                        Some(array) if array.data_type() == field.data_type() => Ok(array.clone()),
                        Some(array) => cast(array, field.data_type()).map_err(|_| field),
                        None if field.is_nullable() => Ok(new_null_array(field.data_type(), batch.num_rows())),
                        None => Err(field),
                    })
                    .collect::<Result<Vec<_>, &Field>>()
                    .map_err(|field| MergeError::History {
                        path: path.clone(),
                        column: field.name().clone(),
                    })?;
                visit(&columns)?;
            }
        }
        Ok(())
    }
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

/// Merges the rows of `batches` into `sink`.
///
/// With `sort` false the rows of append and ledger are handed on as they come, and the answer may be
/// [`Merged::OutOfOrder`]; with `sort` true they are collected first.
pub(super) fn merge(
    strategy: &MergeStrategy,
    batches: &mut dyn Batches,
    shape: &Shape,
    history: &History<'_>,
    sort: bool,
    sink: &mut dyn Sink,
    on_batch: &mut OnBatch<'_>,
) -> Result<Merged, MergeError> {
    match strategy {
        MergeStrategy::Append => pass(batches, shape, None, sort, sink, on_batch),
        MergeStrategy::Ledger { primary_key } => {
            let mut seen = KeySet::new(shape, primary_key)?;
            let fields = seen.fields().to_vec();
            history.scan(&fields, &mut |columns| seen.insert(columns))?;
            pass(batches, shape, Some(&seen), sort, sink, on_batch)
        }
        MergeStrategy::Snapshot {
            primary_key,
            compare_columns,
        } => snapshot::merge(
            primary_key,
            compare_columns.as_deref(),
            batches,
            shape,
            history,
            sink,
            on_batch,
        ),
        MergeStrategy::ChangelogStream { .. } => Err(MergeError::Unsupported("ChangelogStream")),
        MergeStrategy::UpsertStream { .. } => Err(MergeError::Unsupported("UpsertStream")),
    }
}

/// Append, or ledger with the keys already `seen`.
fn pass(
    batches: &mut dyn Batches,
    shape: &Shape,
    seen: Option<&KeySet>,
    sort: bool,
    sink: &mut dyn Sink,
    on_batch: &mut OnBatch<'_>,
) -> Result<Merged, MergeError> {
    let mut collected = Vec::new();
    let mut last: Option<i64> = None;
    let mut read = 0u64;
    while let Some(batch) = batches.next_batch()? {
        let rows = batch.num_rows() as u64;
        let batch = match seen {
            None => batch,
            Some(seen) => filter_record_batch(&batch, &seen.unseen(&batch, read)?)?,
        };
        read += rows;
        on_batch(batches.bytes(), read)?;
        if batch.num_rows() == 0 {
            continue;
        }
        if sort {
            collected.push(batch);
            continue;
        }
        if let Some(at) = shape.event_time() {
            let times = Times::new(batch.column(at))?;
            for row in 0..batch.num_rows() {
                let time = times.get(row);
                if time < last {
                    return Ok(Merged::OutOfOrder);
                }
                last = time;
            }
        }
        sink.accept(&batch, Operations::All(OperationType::Append))?;
    }
    if let (true, Some(at)) = (sort, shape.event_time()) {
        hand_on_sorted(&collected, at, sink)?;
    } else {
        for batch in &collected {
            sink.accept(batch, Operations::All(OperationType::Append))?;
        }
    }
    Ok(Merged::Done { read })
}

fn hand_on_sorted(batches: &[RecordBatch], event_time: usize, sink: &mut dyn Sink) -> Result<(), MergeError> {
    let mut order: Vec<(Option<i64>, usize, usize)> = Vec::new();
    for (at, batch) in batches.iter().enumerate() {
        let times = Times::new(batch.column(event_time))?;
        order.extend((0..batch.num_rows()).map(|row| (times.get(row), at, row)));
    }
    // Position breaks ties, so an unstable sort is a stable one.
    order.sort_unstable();
    let batches: Vec<&RecordBatch> = batches.iter().collect();
    for chunk in order.chunks(BATCH_ROWS) {
        let places: Vec<(usize, usize)> = chunk.iter().map(|(_, batch, row)| (*batch, *row)).collect();
        sink.accept(
            &interleave_record_batch(&batches, &places)?,
            Operations::All(OperationType::Append),
        )?;
    }
    Ok(())
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

/// The rows of a batch for which `keep` holds.
fn keep_rows(batch: &RecordBatch, keep: Vec<bool>) -> Result<RecordBatch, MergeError> {
    Ok(filter_record_batch(batch, &BooleanArray::from(keep))?)
}

/// Puts columns together under the schema of the shape.
fn batch_of(schema: &SchemaRef, columns: &[ArrayRef]) -> Result<RecordBatch, MergeError> {
    Ok(RecordBatch::try_new(schema.clone(), columns.to_vec())?)
}
