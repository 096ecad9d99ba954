//! Rows in the order in which they get their offsets.
//!
//! As long as they fit into memory they are sorted there; beyond that sorted runs go to temporary files, which are merged
//! at the end, as many at once as fit into memory. Rows that compare equal stay in the order in which they came, however many
//! runs there were.

use std::cmp::Ordering;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Date32Array, Int32Array, Scalar, TimestampMillisecondArray};
use arrow::compute::kernels::zip::zip;
use arrow::compute::{cast, interleave_record_batch, is_not_null};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow::row::{Row, RowConverter, Rows, SortField};

use super::spill::{BatchReader, BatchWriter, Written, bytes_of};
use super::times::DAY_MILLIS;
use super::{MergeError, Operations, Setting, Sink};
use crate::infer::UTC;
use crate::source::{BATCH_BYTES, BATCH_ROWS};
use odf_tables::slice::bytes_of_rows;

/// The most runs that wait to be merged: each is an open file.
pub(super) const MAX_RUNS: usize = 256;

/// A batch with more bytes than this may have rows that are much longer than others.
const UNEVEN_BYTES: usize = 1 << 20;

/// Bytes of memory that a row takes while it is sorted, beside its values and its key.
const KEYED_BYTES: usize = size_of::<Keyed>();

/// A row by the beginning of its key and its place.
#[derive(Clone, Copy)]
struct Keyed {
    /// The first bytes of the key in Arrow's row format, which compare as the values do.
    prefix: u128,
    batch: u32,
    row: u32,
}

fn prefix(key: Row<'_>) -> u128 {
    let mut bytes = [0; 16];
    let data = key.data();
    let most = data.len().min(16);
    bytes[..most].copy_from_slice(&data[..most]);
    u128::from_be_bytes(bytes)
}

/// What rows are sorted by, always ascending and rows without a value first.
pub(super) struct Order {
    positions: Vec<usize>,
    /// The event time column, and the row whose value stands for a missing one.
    event_time: Option<(usize, ArrayRef)>,
    /// The schema of sorted batches: the shape, and the operations in a column behind it.
    schema: SchemaRef,
    converter: RowConverter,
}

impl Order {
    /// The columns at `positions` of the shape; at equal values, if `by_operation`, the operation. Rows without an event
    /// time are where those are that have the one they will get.
    pub(super) fn new(setting: &Setting<'_>, positions: &[usize], by_operation: bool) -> Result<Order, MergeError> {
        let shape = setting.shape;
        let mut fields = shape.schema().fields().to_vec();
        let mut positions = positions.to_vec();
        if by_operation {
            positions.push(fields.len());
        }
        fields.push(Arc::new(Field::new("operation", DataType::Int32, false)));
        let by = positions
            .iter()
            .map(|at| SortField::new(fields[*at].data_type().clone()));
        let event_time = shape.event_time().filter(|at| positions.contains(at));
        let event_time =
            event_time.map(|at| Ok::<_, MergeError>((at, event_time_of(setting, fields[at].data_type())?)));
        Ok(Order {
            converter: RowConverter::new(by.collect())?,
            positions,
            event_time: event_time.transpose()?,
            schema: Arc::new(Schema::new(fields)),
        })
    }

    /// The event time, where the shape has one.
    pub(super) fn by_event_time(setting: &Setting<'_>) -> Result<Order, MergeError> {
        Order::new(setting, setting.shape.event_time().as_slice(), false)
    }

    /// Whether there is nothing to sort by.
    pub(super) fn is_none(&self) -> bool {
        self.positions.is_empty()
    }

    /// What the rows are sorted by, rows without an event time with the one they will get.
    pub(super) fn columns(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>, MergeError> {
        let column = |at: &usize| {
            let column = batch.column(*at);
            match &self.event_time {
                Some((event_time, given)) if at == event_time && column.null_count() > 0 => {
                    zip(&is_not_null(column)?, column, &Scalar::new(given.clone()))
                }
                _ => Ok(column.clone()),
            }
        };
        Ok(self.positions.iter().map(column).collect::<Result<_, _>>()?)
    }

    pub(super) fn keys(&self, batch: &RecordBatch) -> Result<Rows, MergeError> {
        Ok(self.converter.convert_columns(&self.columns(batch)?)?)
    }

    /// A batch with the columns of the shape, and the operations of its rows behind them.
    pub(super) fn with_operations(
        &self,
        batch: &RecordBatch,
        operations: Operations<'_>,
    ) -> Result<RecordBatch, MergeError> {
        let operations: Int32Array = match operations {
            Operations::All(operation) => Int32Array::from_value(operation as i32, batch.num_rows()),
            Operations::Each(each) => Int32Array::from(each.to_vec()),
        };
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new(operations));
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }
}

/// The event time of rows that have none, as a column of one row.
fn event_time_of(setting: &Setting<'_>, data_type: &DataType) -> Result<ArrayRef, MergeError> {
    let day = i32::try_from(setting.event_time.div_euclid(DAY_MILLIS)).unwrap_or(i32::MAX);
    match data_type {
        DataType::Date32 => Ok(Arc::new(Date32Array::from(vec![day]))),
        _ => {
            let millis = TimestampMillisecondArray::from(vec![setting.event_time]).with_timezone(UTC);
            Ok(cast(&millis, data_type)?)
        }
    }
}

impl Setting<'_> {
    /// Takes rows to be sorted, of which those that compare equal stay as they came.
    pub(super) fn sorter(&self, order: Order) -> Sorter<'_> {
        Sorter::new(Rc::new(order), self.scratch, self.memory.rows)
    }
}

/// Takes rows in any order and hands them on sorted.
pub(super) struct Sorter<'a> {
    order: Rc<Order>,
    dir: &'a Path,
    limit: usize,
    held: Vec<RecordBatch>,
    bytes: usize,
    runs: Vec<Written>,
}

impl<'a> Sorter<'a> {
    /// Holds about `limit` bytes in memory and the rest in files in `dir`.
    pub(super) fn new(order: Rc<Order>, dir: &'a Path, limit: usize) -> Sorter<'a> {
        Sorter {
            order,
            dir,
            limit,
            held: Vec::new(),
            bytes: 0,
            runs: Vec::new(),
        }
    }

    /// Adds rows with the columns of the shape.
    pub(super) fn push(&mut self, batch: &RecordBatch, operations: Operations<'_>) -> Result<(), MergeError> {
        let batch = self.order.with_operations(batch, operations)?;
        self.add(batch)
    }

    /// Adds rows that have their operations with them.
    pub(super) fn add(&mut self, batch: RecordBatch) -> Result<(), MergeError> {
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(());
        }
        let keys = bytes_of_rows(&batch.project(&self.order.positions)?, 0..rows);
        self.bytes += bytes_of(&batch) + keys + rows * KEYED_BYTES;
        self.held.push(batch);
        if self.bytes > self.limit {
            self.spill()?;
        }
        Ok(())
    }

    /// Writes the rows that are held as one sorted run.
    fn spill(&mut self) -> Result<(), MergeError> {
        let held = std::mem::take(&mut self.held);
        self.bytes = 0;
        let run = written(self.dir, &mut |give| sorted(&self.order, &held, give))?;
        self.runs.extend(run);
        if self.runs.len() == MAX_RUNS {
            self.shorten()?;
        }
        Ok(())
    }

    /// Makes longer runs of neighbouring ones, as many of them of one as fit into memory.
    fn shorten(&mut self) -> Result<(), MergeError> {
        let mut left = std::mem::take(&mut self.runs).into_iter().peekable();
        while let Some(first) = left.next() {
            let mut bytes = first.bytes_to_read();
            let mut together = vec![first];
            while let Some(next) =
                left.next_if(|next| together.len() < 2 || bytes + next.bytes_to_read() <= self.merged())
            {
                bytes += next.bytes_to_read();
                together.push(next);
            }
            if together.len() == 1 {
                self.runs.append(&mut together);
            } else {
                let run = written(self.dir, &mut |give| merge_runs(&self.order, together.drain(..), give))?;
                self.runs.extend(run);
            }
        }
        Ok(())
    }

    /// Bytes of batches of runs that are merged. When they are, no others are held.
    fn merged(&self) -> usize {
        self.limit / 2
    }

    /// Hands all rows on.
    pub(super) fn finish(self, sink: &mut dyn Sink) -> Result<(), MergeError> {
        self.drain(&mut |batch| hand_on(&batch, sink))
    }

    /// Gives all rows, with their operations.
    pub(super) fn drain(mut self, give: &mut Give<'_>) -> Result<(), MergeError> {
        if self.runs.is_empty() {
            return sorted(&self.order, &self.held, give);
        }
        if !self.held.is_empty() {
            self.spill()?;
        }
        while self.runs.len() > 2 && self.runs.iter().map(Written::bytes_to_read).sum::<usize>() > self.merged() {
            self.shorten()?;
        }
        let runs = std::mem::take(&mut self.runs);
        merge_runs(&self.order, runs.into_iter(), give)
    }
}

/// Takes sorted rows.
pub(super) type Give<'g> = dyn FnMut(RecordBatch) -> Result<(), MergeError> + 'g;

/// A run of the rows that `rows` gives; none if there are none.
fn written(
    dir: &Path,
    rows: &mut dyn FnMut(&mut Give<'_>) -> Result<(), MergeError>,
) -> Result<Option<Written>, MergeError> {
    let mut run: Option<BatchWriter> = None;
    rows(&mut |batch| match &mut run {
        Some(run) => run.write(&batch),
        none => {
            *none = Some(BatchWriter::create(dir, &batch)?);
            Ok(())
        }
    })?;
    run.map(BatchWriter::finish).transpose()
}

/// Gives the rows of `batches` in order, in batches of at most [`BATCH_ROWS`] and about [`BATCH_BYTES`], or as they came if
/// they were in order.
fn sorted(order: &Order, batches: &[RecordBatch], give: &mut Give<'_>) -> Result<(), MergeError> {
    let keys = batches
        .iter()
        .map(|batch| order.keys(batch))
        .collect::<Result<Vec<_>, _>>()?;
    let mut entries = Vec::with_capacity(batches.iter().map(RecordBatch::num_rows).sum());
    for (batch, keys) in (0..).zip(&keys) {
        entries.extend((0..).zip(keys).map(|(row, key)| Keyed {
            prefix: prefix(key),
            batch,
            row,
        }));
    }
    let key = |entry: &Keyed| keys[entry.batch as usize].row(entry.row as usize);
    let compare = |a: &Keyed, b: &Keyed| a.prefix.cmp(&b.prefix).then_with(|| key(a).cmp(&key(b)));
    if entries.is_sorted_by(|a, b| compare(a, b) != Ordering::Greater) {
        return batches.iter().try_for_each(|batch| give(batch.clone()));
    }
    // The place breaks ties, so an unstable sort is a stable one.
    entries.sort_unstable_by(|a, b| compare(a, b).then((a.batch, a.row).cmp(&(b.batch, b.row))));
    drop(keys);
    let widths: Vec<Width> = batches.iter().map(Width::of).collect();
    let batches: Vec<&RecordBatch> = batches.iter().collect();
    let mut places: Vec<(usize, usize)> = Vec::new();
    let mut bytes = 0;
    for entry in &entries {
        let (batch, row) = (entry.batch as usize, entry.row as usize);
        places.push((batch, row));
        bytes += widths[batch].of_row(batches[batch], row);
        if places.len() == BATCH_ROWS || bytes >= BATCH_BYTES {
            give(interleave_record_batch(&batches, &places)?)?;
            places.clear();
            bytes = 0;
        }
    }
    if !places.is_empty() {
        give(interleave_record_batch(&batches, &places)?)?;
    }
    Ok(())
}

/// How long the rows of a batch are.
enum Width {
    Even(usize),
    /// Each has to be looked at.
    Uneven,
}

impl Width {
    fn of(batch: &RecordBatch) -> Width {
        let (rows, bytes) = (batch.num_rows(), bytes_of_rows(batch, 0..batch.num_rows()));
        match bytes > UNEVEN_BYTES {
            true => Width::Uneven,
            false => Width::Even(bytes / rows.max(1)),
        }
    }

    fn of_row(&self, batch: &RecordBatch, row: usize) -> usize {
        match self {
            Width::Even(bytes) => *bytes,
            Width::Uneven => bytes_of_rows(batch, row..row + 1),
        }
    }
}

/// Takes the operations off a sorted batch and hands the rest on.
pub(super) fn hand_on(batch: &RecordBatch, sink: &mut dyn Sink) -> Result<(), MergeError> {
    let Some(last) = batch.num_columns().checked_sub(1) else {
        return Ok(());
    };
    let operations = batch.column(last).as_primitive::<Int32Type>().values();
    let shape: Vec<usize> = (0..last).collect();
    sink.accept(&batch.project(&shape)?, Operations::Each(operations))
}

/// One run while it is merged: its present batch, and the next row of it.
struct Cursor {
    run: BatchReader,
    keys: Rows,
    prefix: u128,
    row: usize,
    /// Where the batch is among those that waiting rows refer to.
    batch: usize,
}

/// Rows chosen and not yet given, with the batches they are in.
#[derive(Default)]
pub(super) struct Chosen {
    batches: Vec<RecordBatch>,
    places: Vec<(usize, usize)>,
    /// Of those batches of which every row was chosen.
    bytes: usize,
}

impl Chosen {
    pub(super) fn give(&mut self, give: &mut Give<'_>) -> Result<(), MergeError> {
        if !self.places.is_empty() {
            let batches: Vec<&RecordBatch> = self.batches.iter().collect();
            give(interleave_record_batch(&batches, &self.places)?)?;
            self.places.clear();
        }
        self.bytes = 0;
        Ok(())
    }

    /// Chooses a row of a batch.
    pub(super) fn choose(&mut self, batch: usize, row: usize) {
        self.places.push((batch, row));
    }

    /// Gives what was chosen if it is enough for a batch. Only the batches that cursors stand in are needed further.
    pub(super) fn give_enough<'c>(
        &mut self,
        cursors: impl Iterator<Item = &'c mut usize>,
        give: &mut Give<'_>,
    ) -> Result<(), MergeError> {
        if self.places.len() < BATCH_ROWS && self.bytes < BATCH_BYTES {
            return Ok(());
        }
        self.give(give)?;
        let mut kept = Vec::new();
        for cursor in cursors {
            kept.push(self.batches[*cursor].clone());
            *cursor = kept.len() - 1;
        }
        self.batches = kept;
        Ok(())
    }

    /// Another batch to choose from; where it is.
    pub(super) fn add(&mut self, batch: RecordBatch) -> usize {
        self.batches.push(batch);
        self.batches.len() - 1
    }

    /// Every row of a batch was chosen.
    pub(super) fn exhausted(&mut self, batch: usize) {
        let batch = &self.batches[batch];
        self.bytes += bytes_of_rows(batch, 0..batch.num_rows());
    }
}

fn merge_runs(order: &Order, runs: impl Iterator<Item = Written>, give: &mut Give<'_>) -> Result<(), MergeError> {
    let mut chosen = Chosen::default();
    let mut cursors = Vec::new();
    for run in runs {
        let mut run = run.read()?;
        if let Some(batch) = run.next().transpose()? {
            let keys = order.keys(&batch)?;
            cursors.push(Cursor {
                run,
                prefix: prefix(keys.row(0)),
                keys,
                row: 0,
                batch: chosen.add(batch),
            });
        }
    }
    loop {
        let compare = |a: &Cursor, b: &Cursor| {
            a.prefix
                .cmp(&b.prefix)
                .then_with(|| a.keys.row(a.row).cmp(&b.keys.row(b.row)))
        };
        // Of equal ones the first, which is that of the earliest run.
        let Some(least) = (0..cursors.len()).min_by(|a, b| compare(&cursors[*a], &cursors[*b])) else {
            return chosen.give(give);
        };
        let cursor = &mut cursors[least];
        chosen.choose(cursor.batch, cursor.row);
        cursor.row += 1;
        if cursor.row < cursor.keys.num_rows() {
            cursor.prefix = prefix(cursor.keys.row(cursor.row));
        } else {
            chosen.exhausted(cursor.batch);
            if let Some(batch) = cursor.run.next().transpose()? {
                cursor.keys = order.keys(&batch)?;
                cursor.prefix = prefix(cursor.keys.row(0));
                cursor.row = 0;
                cursor.batch = chosen.add(batch);
            } else {
                cursors.remove(least);
            }
        }
        chosen.give_enough(cursors.iter_mut().map(|cursor| &mut cursor.batch), give)?;
    }
}

#[cfg(test)]
mod tests;
