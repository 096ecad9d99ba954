//! Where rows go that compare equal: where the reference implementation has them, so that both give the same offsets.
//!
//! It sorts in memory, in blocks of the rows that its readers give at once. Rows of one block, or of several that take less
//! than [`TOGETHER_BYTES`], are sorted as one, by a sort that is not stable but always the same. Of more rows each block is
//! sorted by itself, and the blocks are merged by a tournament. There equal rows come in the order of their blocks, but for
//! the last match: its two sides, each with about half of the blocks, take turns ([`Turns`]).
//!
//! Here the blocks go to the [`Sorter`], which puts equal rows in the order of their blocks and holds no more than it may;
//! what it gives is then put right where rows of both sides are equal.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::compute::{SortColumn, SortOptions, concat_batches, lexsort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type};
use arrow::record_batch::RecordBatch;
use arrow::row::OwnedRow;

use super::order::{Chosen, Give, Order, Sorter, hand_on};
use super::spill::{Spool, bytes_of};
use super::turns::{Turns, is_left};
use super::{MergeError, Operations, Setting, Sink};
use crate::source::BATCH_ROWS;

/// Rows of several blocks that take less than so many bytes are sorted together.
pub(super) const TOGETHER_BYTES: usize = 1 << 20;

/// Bytes of the system time, which stands beside the other columns of a row when the reference implementation sorts.
const SYSTEM_TIME_BYTES: usize = size_of::<i64>();

impl Setting<'_> {
    /// Takes rows to be sorted, of which those that compare equal go where the reference implementation has them.
    pub(super) fn arranger(&self, order: Order) -> Arranger<'_> {
        Arranger {
            order: Rc::new(order),
            dir: self.scratch,
            limit: self.memory.rows,
            joined: false,
            begun: Vec::new(),
            rows: 0,
            together: Vec::new(),
            bytes: 0,
            many: None,
            blocks: 0,
        }
    }

    /// The same for rows that the reference implementation joined with earlier ones, which puts the last block first and
    /// makes one of all. More of them than fit into memory stay as they came where they compare equal.
    pub(super) fn joined_arranger(&self, order: Order) -> Arranger<'_> {
        Arranger {
            joined: true,
            ..self.arranger(order)
        }
    }
}

/// About how many bytes the reference implementation counts for rows, with their operations, when it decides whether blocks
/// are sorted together: the memory that their columns have, which for text is a power of two, and once more what they need.
fn bytes_of_block(batch: &RecordBatch) -> usize {
    let columns = batch.columns().iter().map(bytes_of_column);
    columns.sum::<usize>() + 2 * batch.num_rows() * SYSTEM_TIME_BYTES
}

fn bytes_of_column(column: &ArrayRef) -> usize {
    let rows = column.len();
    let nulls = if column.null_count() > 0 { rows.div_ceil(8) } else { 0 };
    let bytes = |offsets: &[i32]| match (offsets.first(), offsets.last()) {
        (Some(first), Some(last)) => usize::try_from(last - first).unwrap_or(0),
        _ => 0,
    };
    let with_values = |values: usize| 2 * (rows + 1) * size_of::<i32>() + values + values.next_power_of_two();
    let values = match column.data_type() {
        DataType::Utf8 => with_values(bytes(column.as_string::<i32>().value_offsets())),
        DataType::Binary => with_values(bytes(column.as_binary::<i32>().value_offsets())),
        DataType::Boolean => 2 * rows.div_ceil(8),
        other => {
            2 * other.primitive_width().map_or_else(
                || odf_tables::slice::bytes_of_rows(&single(column), 0..rows),
                |width| width * rows,
            )
        }
    };
    values + 2 * nulls
}

/// A column as a batch of its own.
fn single(column: &ArrayRef) -> RecordBatch {
    let field = Field::new("column", column.data_type().clone(), true);
    RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![column.clone()])
        .unwrap_or_else(|_| RecordBatch::new_empty(Arc::new(Schema::empty())))
}

/// Finds out of rows that are in order whether they stay so: where the last match of blocks has equal rows on both sides,
/// they do not.
#[derive(Default)]
pub(super) struct Seams {
    /// Rows in the block that is not complete, and complete ones.
    rows: usize,
    blocks: usize,
    bytes: usize,
    /// The blocks whose first row is equal to the last one before it.
    tied: Vec<usize>,
}

impl Seams {
    /// The next row, which is equal to the one before it or not.
    pub(super) fn row(&mut self, is_tied: bool) {
        if self.rows == BATCH_ROWS {
            self.end_block();
        }
        if self.rows == 0 && self.blocks > 0 && is_tied {
            self.tied.push(self.blocks);
        }
        self.rows += 1;
    }

    /// The rows of a batch, about which nothing is asked further.
    pub(super) fn batch(&mut self, batch: &RecordBatch) {
        self.bytes += bytes_of_block(batch) + 2 * batch.num_rows() * size_of::<i32>();
    }

    /// What comes next is in another block.
    pub(super) fn end_block(&mut self) {
        self.blocks += usize::from(self.rows > 0);
        self.rows = 0;
    }

    /// Whether all rows stay as they are.
    pub(super) fn stay(mut self) -> bool {
        self.end_block();
        let side = |block: usize| is_left(self.blocks, block);
        self.bytes < TOGETHER_BYTES || self.tied.iter().all(|block| side(block - 1) == side(*block))
    }
}

/// Takes rows in any order and hands them on sorted.
pub(super) struct Arranger<'a> {
    order: Rc<Order>,
    dir: &'a Path,
    limit: usize,
    /// Whether all blocks are sorted as one, the last one first.
    joined: bool,
    /// Rows of the block that is not complete.
    begun: Vec<RecordBatch>,
    rows: usize,
    /// Complete blocks that may be sorted as one.
    together: Vec<RecordBatch>,
    bytes: usize,
    /// Where blocks go once they are too many for that.
    many: Option<Sorter<'a>>,
    blocks: u32,
}

impl Arranger<'_> {
    /// Adds rows with the columns of the shape.
    pub(super) fn push(&mut self, batch: &RecordBatch, operations: Operations<'_>) -> Result<(), MergeError> {
        let batch = self.order.with_operations(batch, operations)?;
        let mut from = 0;
        while from < batch.num_rows() {
            let rows = (BATCH_ROWS - self.rows).min(batch.num_rows() - from);
            self.begun.push(batch.slice(from, rows));
            self.rows += rows;
            from += rows;
            if self.rows == BATCH_ROWS {
                self.end_block()?;
            }
        }
        Ok(())
    }

    /// What comes next is in another block.
    pub(super) fn end_block(&mut self) -> Result<(), MergeError> {
        let Some(block) = joined(&std::mem::take(&mut self.begun))? else {
            return Ok(());
        };
        self.rows = 0;
        if self.many.is_some() {
            return self.add_block(block);
        }
        self.bytes += match self.joined {
            true => bytes_of(&block),
            false => bytes_of_block(&block),
        };
        self.together.push(block);
        let most = if self.joined { self.limit } else { TOGETHER_BYTES };
        if self.together.len() > 1 && self.bytes >= most {
            self.many = Some(Sorter::new(self.order.clone(), self.dir, self.limit));
            for block in std::mem::take(&mut self.together) {
                self.add_block(block)?;
            }
        }
        Ok(())
    }

    fn add_block(&mut self, block: RecordBatch) -> Result<(), MergeError> {
        let block = match self.joined {
            true => block,
            false => with_block(&sorted(&self.order, &block)?, self.blocks)?,
        };
        self.blocks += 1;
        match &mut self.many {
            Some(many) => many.add(block),
            None => Ok(()),
        }
    }

    /// Hands all rows on.
    pub(super) fn finish(mut self, sink: &mut dyn Sink) -> Result<(), MergeError> {
        self.end_block()?;
        if self.joined {
            self.together.reverse();
        }
        match self.many {
            None => match joined(&self.together)? {
                None => Ok(()),
                Some(all) => {
                    let all = sorted(&self.order, &all)?;
                    let starts = (0..all.num_rows()).step_by(BATCH_ROWS);
                    starts
                        .map(|start| all.slice(start, BATCH_ROWS.min(all.num_rows() - start)))
                        .try_for_each(|part| hand_on(&part, sink))
                }
            },
            Some(many) if self.joined => many.finish(sink),
            Some(many) => {
                let mut sides = Sides {
                    order: self.order,
                    dir: self.dir,
                    limit: self.limit / 4,
                    turns: Turns::new(self.blocks as usize),
                    open: None,
                };
                let give: &mut Give<'_> = &mut |batch| hand_on(&batch, sink);
                many.drain(&mut |batch| sides.push(&batch, give))?;
                sides.close(give)
            }
        }
    }
}

/// Rows of several batches in one; none if there are no batches.
fn joined(batches: &[RecordBatch]) -> Result<Option<RecordBatch>, MergeError> {
    match batches {
        [] => Ok(None),
        [only] => Ok(Some(only.clone())),
        [first, ..] => Ok(Some(concat_batches(&first.schema(), batches)?)),
    }
}

/// The rows in order, equal ones where the sort happens to put them, which is the same everywhere.
fn sorted(order: &Order, batch: &RecordBatch) -> Result<RecordBatch, MergeError> {
    if order.is_none() {
        return Ok(batch.clone());
    }
    let options = SortOptions {
        descending: false,
        nulls_first: true,
    };
    let column = |values| SortColumn {
        values,
        options: Some(options),
    };
    let columns: Vec<SortColumn> = order.columns(batch)?.into_iter().map(column).collect();
    let indices = lexsort_to_indices(&columns, None)?;
    let is_in_order = indices.values().iter().zip(0..).all(|(index, row)| *index == row);
    Ok(match is_in_order {
        true => batch.clone(),
        false => take_record_batch(batch, &indices)?,
    })
}

/// The rows with the number of their block behind them.
fn with_block(batch: &RecordBatch, block: u32) -> Result<RecordBatch, MergeError> {
    let mut fields = batch.schema().fields().to_vec();
    fields.push(Arc::new(Field::new("block", DataType::UInt32, false)));
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    let mut columns = batch.columns().to_vec();
    columns.push(Arc::new(UInt32Array::from_value(block, batch.num_rows())));
    Ok(RecordBatch::try_new(schema, columns)?)
}

/// The blocks of the rows of a batch.
fn blocks(batch: &RecordBatch) -> &[u32] {
    let column = batch.columns().last();
    column.map_or(&[], |column| column.as_primitive::<UInt32Type>().values())
}

fn without_block(batch: &RecordBatch) -> Result<RecordBatch, MergeError> {
    let width = batch.num_columns().saturating_sub(1);
    Ok(batch.project(&(0..width).collect::<Vec<_>>())?)
}

/// Takes rows sorted, equal ones in the order of their blocks, and gives them as the two sides take turns.
struct Sides<'a> {
    order: Rc<Order>,
    dir: &'a Path,
    limit: usize,
    turns: Turns,
    /// Rows that may be followed by others that are equal to them.
    open: Option<Open<'a>>,
}

/// Equal rows of either side.
struct Open<'a> {
    key: OwnedRow,
    left: Spool<'a>,
    right: Spool<'a>,
    /// Whether there are some of either.
    sides: [bool; 2],
    /// The block of the last.
    last: usize,
}

/// Where the rows of one side are taken from.
struct Cursor<I> {
    rest: I,
    rows: RecordBatch,
    row: usize,
    /// Where the batch is among those that chosen rows refer to.
    batch: usize,
}

impl<I: Iterator<Item = Result<RecordBatch, MergeError>>> Cursor<I> {
    fn new(mut rest: I, chosen: &mut Chosen) -> Result<Option<Self>, MergeError> {
        let first = rest.next().transpose()?;
        Ok(first.map(|rows| Cursor {
            batch: chosen.add(rows.clone()),
            rows,
            row: 0,
            rest,
        }))
    }

    fn block(&self) -> usize {
        blocks(&self.rows).get(self.row).map_or(0, |block| *block as usize)
    }

    /// Takes the row it stands at; none if that was the last.
    fn step(cursor: &mut Option<Self>, chosen: &mut Chosen) -> Result<(), MergeError> {
        let Some(this) = cursor else { return Ok(()) };
        chosen.choose(this.batch, this.row);
        this.row += 1;
        if this.row < this.rows.num_rows() {
            return Ok(());
        }
        chosen.exhausted(this.batch);
        match this.rest.next().transpose()? {
            None => *cursor = None,
            Some(rows) => {
                this.batch = chosen.add(rows.clone());
                this.rows = rows;
                this.row = 0;
            }
        }
        Ok(())
    }
}

impl Sides<'_> {
    fn push(&mut self, batch: &RecordBatch, give: &mut Give<'_>) -> Result<(), MergeError> {
        let keys = self.order.keys(batch)?;
        let rows = batch.num_rows();
        let Some(last) = rows.checked_sub(1) else {
            return Ok(());
        };
        let mut from = 0;
        if let Some(open) = &self.open {
            while from < rows && keys.row(from) == open.key.row() {
                from += 1;
            }
            self.hold(&batch.slice(0, from))?;
            if from == rows {
                return Ok(());
            }
            self.close(give)?;
        }
        let mut end = last;
        while end > from && keys.row(end - 1) == keys.row(last) {
            end -= 1;
        }
        let blocks = blocks(batch);
        let mut order: Vec<u32> = Vec::with_capacity(end - from);
        let mut start = from;
        while start < end {
            let mut next = start + 1;
            while next < end && keys.row(next) == keys.row(start) {
                next += 1;
            }
            self.turns.arrange(start, &blocks[start..next], &mut order);
            start = next;
        }
        if end > from {
            give(without_block(&take_record_batch(batch, &UInt32Array::from(order))?)?)?;
        }
        self.open = Some(Open {
            key: keys.row(last).owned(),
            left: Spool::new(self.dir, self.limit),
            right: Spool::new(self.dir, self.limit),
            sides: [false; 2],
            last: 0,
        });
        self.hold(&batch.slice(end, rows - end))
    }

    /// Adds to the rows that are open.
    fn hold(&mut self, batch: &RecordBatch) -> Result<(), MergeError> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let blocks = blocks(batch);
        let count = self.turns.blocks();
        let is_left = |block: u32| is_left(count, block as usize);
        let mut start = 0;
        while start < blocks.len() {
            let left = is_left(blocks[start]);
            let mut next = start + 1;
            while next < blocks.len() && is_left(blocks[next]) == left {
                next += 1;
            }
            let part = batch.slice(start, next - start);
            open.sides[usize::from(left)] = true;
            open.last = blocks[next - 1] as usize;
            match left {
                true => open.left.push(part)?,
                false => open.right.push(part)?,
            }
            start = next;
        }
        Ok(())
    }

    /// Gives the rows that are open: none is equal to them any more.
    fn close(&mut self, give: &mut Give<'_>) -> Result<(), MergeError> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        if open.sides != [true; 2] {
            self.turns.took(open.last);
            let mut rows = open.left.drain()?.chain(open.right.drain()?);
            return rows.try_for_each(|batch| give(without_block(&batch?)?));
        }
        let mut chosen = Chosen::default();
        let mut left = Cursor::new(open.left.drain()?, &mut chosen)?;
        let mut right = Cursor::new(open.right.drain()?, &mut chosen)?;
        self.turns.begin();
        loop {
            let is_left = match (&left, &right) {
                (Some(a), Some(b)) => self.turns.next(a.block(), b.block()),
                (Some(rest), None) => {
                    self.turns.took(rest.block());
                    true
                }
                (None, Some(rest)) => {
                    self.turns.took(rest.block());
                    false
                }
                (None, None) => break,
            };
            match is_left {
                true => Cursor::step(&mut left, &mut chosen)?,
                false => Cursor::step(&mut right, &mut chosen)?,
            }
            let places = left.iter_mut().map(|cursor| &mut cursor.batch);
            let places = places.chain(right.iter_mut().map(|cursor| &mut cursor.batch));
            chosen.give_enough(places, &mut |batch| give(without_block(&batch)?))?;
        }
        chosen.give(&mut |batch| give(without_block(&batch)?))
    }
}

#[cfg(test)]
mod tests;
