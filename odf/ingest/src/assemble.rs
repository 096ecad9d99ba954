//! Rows of a table, completed with the system columns and written to a slice.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Date32Array, Int32Array, Int64Array, TimestampMillisecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, TimestampMillisecondType};
use arrow::record_batch::RecordBatch;

use super::IngestError;
use super::effect::{Effect, Gone};
use super::infer::UTC;
use super::linked::Linked;
use super::merge::{MergeError, Operations, Sink};
use super::plan::{Plan, Role};
use super::source::{Problem, SourceError};
use odf_tables::slice::SliceWriter;

const DAY_MILLIS: i64 = 86_400_000;

/// Completes rows and writes them.
pub(super) struct Assembly<'a> {
    pub(super) plan: &'a Plan,
    pub(super) writer: SliceWriter,
    /// Offset of the next row.
    pub(super) next_offset: i64,
    /// System time of all rows, in milliseconds.
    pub(super) system_time: i64,
    /// Event time of rows that have none, in milliseconds.
    pub(super) event_time: i64,
    /// Rows written so far that had none.
    pub(super) without_event_time: u64,
    /// What the rows written so far did.
    pub(super) effect: Effect,
    /// Rows that they retract.
    pub(super) gone: Gone,
    /// The latest event time written, in milliseconds.
    pub(super) latest: Option<i64>,
    /// Sums over links to objects, if the dataset has any.
    pub(super) linked: Option<Linked>,
}

impl Assembly<'_> {
    fn operations(operations: Operations<'_>, rows: usize) -> Int32Array {
        match operations {
            Operations::All(operation) => Int32Array::from_value(operation as i32, rows),
            Operations::Each(each) => Int32Array::from(each.to_vec()),
        }
    }

    /// The event times with gaps filled.
    fn event_times(&mut self, given: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, MergeError> {
        self.without_event_time += given.null_count() as u64;
        let fallback_day = i32::try_from(self.event_time.div_euclid(DAY_MILLIS)).unwrap_or(i32::MAX);
        let filled: ArrayRef = match data_type {
            _ if given.null_count() == 0 => given.clone(),
            DataType::Date32 => {
                let days = given.as_primitive::<Date32Type>();
                let filled = days.iter().map(|day| Some(day.unwrap_or(fallback_day)));
                Arc::new(filled.collect::<Date32Array>())
            }
            _ => {
                let fallback = self.event_time;
                let millis = given.as_primitive::<TimestampMillisecondType>();
                let filled = millis.iter().map(|time| Some(time.unwrap_or(fallback)));
                Arc::new(filled.collect::<TimestampMillisecondArray>().with_timezone(UTC))
            }
        };
        let latest = match data_type {
            DataType::Date32 => {
                let days = filled.as_primitive::<Date32Type>().values().iter().max().copied();
                days.map(|day| i64::from(day) * DAY_MILLIS)
            }
            _ => filled
                .as_primitive::<TimestampMillisecondType>()
                .values()
                .iter()
                .max()
                .copied(),
        };
        self.latest = self.latest.max(latest);
        Ok(filled)
    }
}

/// A required column has no value. Which row it was is found out by who knows the source.
fn missing(column: &str) -> MergeError {
    MergeError::Refused(Box::new(IngestError::Source(SourceError {
        name: "the data".to_owned(),
        place: None,
        column: Some(column.to_owned()),
        problem: Problem::Missing,
    })))
}

impl Sink for Assembly<'_> {
    fn accept(&mut self, batch: &RecordBatch, operations: Operations<'_>) -> Result<(), MergeError> {
        let rows = batch.num_rows();
        let count = rows;
        let end = self.next_offset + i64::try_from(rows).unwrap_or(i64::MAX);
        let plan = self.plan;
        let mut columns = Vec::with_capacity(plan.roles.len());
        for (role, field) in plan.roles.iter().zip(plan.written.fields()) {
            let array: ArrayRef = match role {
                Role::Offset => Arc::new(Int64Array::from_iter_values(self.next_offset..end)),
                Role::Operation => Arc::new(Self::operations(operations, rows)),
                Role::SystemTime => {
                    Arc::new(TimestampMillisecondArray::from_value(self.system_time, rows).with_timezone(UTC))
                }
                Role::EventTime(at) => self.event_times(batch.column(*at), field.data_type())?,
                Role::Data(at) => batch.column(*at).clone(),
            };
            if !field.is_nullable() && array.null_count() > 0 {
                return Err(missing(field.name()));
            }
            columns.push(if array.data_type() == field.data_type() {
                array
            } else {
                cast(&array, field.data_type())?
            });
        }
        self.next_offset = end;
        self.gone.look(batch, operations);
        let rows = RecordBatch::try_new(plan.written.clone(), columns)?;
        if let Some(linked) = &mut self.linked {
            linked
                .add(&rows)
                .map_err(|error| MergeError::Refused(Box::new(error)))?;
        }
        self.writer.write(rows)?;
        match operations {
            // They are text, and what that means is the reader's.
            _ if !plan.roles.contains(&Role::Operation) => self.effect.other += count as u64,
            Operations::All(operation) => self.effect.count(operation as i32, count as u64),
            Operations::Each(each) => each.iter().for_each(|operation| self.effect.count(*operation, 1)),
        }
        Ok(())
    }
}
