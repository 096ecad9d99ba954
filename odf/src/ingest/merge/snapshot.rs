//! The difference between a table and the latest state of the dataset.
//!
//! Two passes over the earlier slices: the first keeps per key the offset of its latest row and a hash of what is compared,
//! the second, only when rows changed or went, fetches exactly those rows.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use arrow::array::{ArrayRef, AsArray};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type};
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use arrow::util::display::array_value_to_string;

use super::keys::{Key, RowHasher};
use super::{History, MergeError, Merged, OnBatch, Operations, Sink, Times, batch_of, keep_rows, project};
use crate::ingest::shape::Shape;
use crate::ingest::source::{BATCH_ROWS, Batches, shorten};
use crate::metadata::OperationType;
use crate::slice::displayable_column;

/// The latest row of a key.
#[derive(Clone, Copy)]
struct Latest {
    offset: i64,
    compared: u128,
    event_time: Option<i64>,
}

/// What is compared to tell a changed row from an unchanged one.
struct Comparison {
    positions: Vec<usize>,
    hasher: RowHasher,
    /// The event time counts too, where the new row has one.
    event_time: Option<usize>,
}

impl Comparison {
    fn new(shape: &Shape, key: &Key, columns: Option<&[String]>) -> Result<Comparison, MergeError> {
        let candidates: Vec<usize> = match columns {
            Some(names) => names
                .iter()
                .map(|name| {
                    shape
                        .position(name)
                        .ok_or_else(|| MergeError::NoKeyColumn(name.clone()))
                })
                .collect::<Result<_, _>>()?,
            None => (0..shape.width()).collect(),
        };
        let is_time = |at: &usize| shape.event_time() == Some(*at);
        let outside_key = candidates.into_iter().filter(|at| !key.positions.contains(at));
        let (times, positions): (Vec<usize>, Vec<usize>) = outside_key.partition(is_time);
        let fields: Vec<Field> = positions.iter().map(|at| shape.schema().field(*at).clone()).collect();
        Ok(Comparison {
            hasher: RowHasher::new(&fields)?,
            positions,
            event_time: times.first().copied(),
        })
    }

    /// Hash and event time of every row.
    fn of(&self, columns: &[ArrayRef], rows: usize) -> Result<Vec<(u128, Option<i64>)>, MergeError> {
        let hashes = if self.positions.is_empty() {
            vec![0; rows]
        } else {
            let compared: Vec<ArrayRef> = self.positions.iter().map(|at| columns[*at].clone()).collect();
            self.hasher.hash(&compared)?
        };
        let times = self.event_time.map(|at| Times::new(&columns[at])).transpose()?;
        Ok(hashes
            .into_iter()
            .enumerate()
            .map(|(row, hash)| (hash, times.as_ref().and_then(|times| times.get(row))))
            .collect())
    }
}

/// A row to be written: which batch, which row of it, as what.
struct Planned {
    batch: usize,
    row: usize,
    operation: OperationType,
}

pub(super) fn merge(
    primary_key: &[String],
    compare_columns: Option<&[String]>,
    batches: &mut dyn Batches,
    shape: &Shape,
    history: &History<'_>,
    sink: &mut dyn Sink,
    on_batch: &mut OnBatch<'_>,
) -> Result<Merged, MergeError> {
    let key = Key::new(shape, primary_key)?;
    let comparison = Comparison::new(shape, &key, compare_columns)?;
    let mut state = latest_state(history, shape, &key, &comparison)?;

    let mut kept: Vec<RecordBatch> = Vec::new();
    let mut plan: Vec<Planned> = Vec::new();
    // Offsets of earlier rows that are needed again, and what they are needed for.
    let mut recalled: HashMap<i64, OperationType> = HashMap::new();
    let mut first_row_of: HashMap<u128, u64> = HashMap::new();
    let mut read = 0u64;
    while let Some(batch) = batches.next_batch()? {
        let hashes = key.of(&batch, read)?;
        let compared = comparison.of(batch.columns(), batch.num_rows())?;
        let mut keep = Vec::with_capacity(batch.num_rows());
        let mut kept_rows = 0;
        for (row, (hash, (compared, event_time))) in hashes.into_iter().zip(compared).enumerate() {
            let number = read + row as u64 + 1;
            match first_row_of.entry(hash) {
                Entry::Occupied(first) => {
                    let key = describe(&project(&batch, &key.positions), row)?;
                    return Err(MergeError::RepeatedKey {
                        first: *first.get(),
                        second: number,
                        key,
                    });
                }
                Entry::Vacant(entry) => entry.insert(number),
            };
            let operation = match state.remove(&hash) {
                None => Some(OperationType::Append),
                Some(old) => {
                    let time_changed = event_time.is_some() && event_time != old.event_time;
                    let changed = old.compared != compared || (comparison.event_time.is_some() && time_changed);
                    if changed {
                        recalled.insert(old.offset, OperationType::CorrectFrom);
                    }
                    changed.then_some(OperationType::CorrectTo)
                }
            };
            keep.push(operation.is_some());
            if let Some(operation) = operation {
                plan.push(Planned {
                    batch: kept.len(),
                    row: kept_rows,
                    operation,
                });
                kept_rows += 1;
            }
        }
        read += batch.num_rows() as u64;
        on_batch(batches.bytes(), read)?;
        if kept_rows > 0 {
            kept.push(keep_rows(&batch, keep)?);
        }
    }
    recalled.extend(state.values().map(|old| (old.offset, OperationType::Retract)));
    drop((state, first_row_of));
    recall(history, shape, &recalled, &mut kept, &mut plan)?;
    hand_on(&key, &kept, plan, sink)?;
    Ok(Merged::Done { read })
}

/// Reads all earlier rows and keeps the latest of each key; keys whose latest row takes them away are not there.
fn latest_state(
    history: &History<'_>,
    shape: &Shape,
    key: &Key,
    comparison: &Comparison,
) -> Result<HashMap<u128, Latest>, MergeError> {
    let mut state: HashMap<u128, Latest> = HashMap::new();
    history.scan(&fields_with_system(history, shape), &mut |columns| {
        let (system, columns) = columns.split_at(2);
        let offsets = system[0].as_primitive::<Int64Type>();
        let operations = system[1].as_primitive::<Int32Type>();
        let keys: Vec<ArrayRef> = key.positions.iter().map(|at| columns[*at].clone()).collect();
        let hashes = key.hasher.hash(&keys)?;
        let compared = comparison.of(columns, offsets.len())?;
        for (row, (hash, (compared, event_time))) in hashes.into_iter().zip(compared).enumerate() {
            match OperationType::try_from(operations.value(row)) {
                Ok(OperationType::Append | OperationType::CorrectTo) => {
                    state.insert(
                        hash,
                        Latest {
                            offset: offsets.value(row),
                            compared,
                            event_time,
                        },
                    );
                }
                Ok(OperationType::Retract | OperationType::CorrectFrom) | Err(_) => {
                    state.remove(&hash);
                }
            }
        }
        Ok(())
    })?;
    Ok(state)
}

/// Offset and operation, then the columns of the shape, all optional: what earlier slices are read as.
fn fields_with_system(history: &History<'_>, shape: &Shape) -> Vec<Field> {
    let mut fields = vec![
        Field::new(&history.vocabulary.offset_column, DataType::Int64, false),
        Field::new(&history.vocabulary.operation_type_column, DataType::Int32, false),
    ];
    fields.extend(
        shape
            .schema()
            .fields()
            .iter()
            .map(|f| f.as_ref().clone().with_nullable(true)),
    );
    fields
}

/// Fetches earlier rows by offset and plans them.
fn recall(
    history: &History<'_>,
    shape: &Shape,
    recalled: &HashMap<i64, OperationType>,
    kept: &mut Vec<RecordBatch>,
    plan: &mut Vec<Planned>,
) -> Result<(), MergeError> {
    if recalled.is_empty() {
        return Ok(());
    }
    let mut found = HashSet::new();
    history.scan(&fields_with_system(history, shape), &mut |columns| {
        let offsets = columns[0].as_primitive::<Int64Type>();
        let mut keep = Vec::with_capacity(offsets.len());
        let mut kept_rows = 0;
        for offset in offsets.values() {
            let operation = recalled.get(offset).filter(|_| found.insert(*offset));
            keep.push(operation.is_some());
            if let Some(operation) = operation {
                plan.push(Planned {
                    batch: kept.len(),
                    row: kept_rows,
                    operation: *operation,
                });
                kept_rows += 1;
            }
        }
        if kept_rows > 0 {
            kept.push(keep_rows(&batch_of(shape.schema(), &columns[2..])?, keep)?);
        }
        Ok(())
    })
}

/// Orders the planned rows by primary key and operation and hands them on.
fn hand_on(key: &Key, kept: &[RecordBatch], plan: Vec<Planned>, sink: &mut dyn Sink) -> Result<(), MergeError> {
    if plan.is_empty() {
        return Ok(());
    }
    // Ascending with nulls first is the default of both SortField and kamu.
    let converter = RowConverter::new(
        key.fields
            .iter()
            .map(|f| SortField::new(f.data_type().clone()))
            .collect(),
    )?;
    let keys = kept
        .iter()
        .map(|batch| converter.convert_columns(&project(batch, &key.positions)))
        .collect::<Result<Vec<_>, _>>()?;
    let mut plan = plan;
    plan.sort_by(|a, b| {
        let by_key = keys[a.batch].row(a.row).cmp(&keys[b.batch].row(b.row));
        by_key.then((a.operation as i32).cmp(&(b.operation as i32)))
    });
    let batches: Vec<&RecordBatch> = kept.iter().collect();
    for chunk in plan.chunks(BATCH_ROWS) {
        let places: Vec<(usize, usize)> = chunk.iter().map(|p| (p.batch, p.row)).collect();
        let operations: Vec<OperationType> = chunk.iter().map(|p| p.operation).collect();
        sink.accept(
            &interleave_record_batch(&batches, &places)?,
            Operations::Each(&operations),
        )?;
    }
    Ok(())
}

/// The values of a row for a message.
fn describe(columns: &[ArrayRef], row: usize) -> Result<String, MergeError> {
    let values = columns
        .iter()
        .map(|c| array_value_to_string(&displayable_column(c), row))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(shorten(&values.join(", ")))
}
