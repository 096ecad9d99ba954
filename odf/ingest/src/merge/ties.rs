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

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{SortColumn, SortOptions, concat_batches, lexsort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;

use super::order::{Give, Order, Sorter, hand_on};
use super::sides::{Sides, with_block};
use super::spill::bytes_of;
use super::turns::is_left;
use super::{MergeError, Operations, Setting, Sink};
use crate::source::BATCH_ROWS;

/// Rows of several blocks that take less than so many bytes are sorted together.
pub(super) const TOGETHER_BYTES: usize = 1 << 20;

/// So many blocks that begin with a row equal to the one before say something about those that follow.
const MANY_TIED: usize = 3;

/// Bytes of the system time, which stands beside the other columns of a row when the reference implementation sorts.
const SYSTEM_TIME_BYTES: usize = size_of::<i64>();

/// Bytes of an operation likewise.
const OPERATION_BYTES: usize = size_of::<i32>();

impl Setting<'_> {
    /// Takes rows to be sorted, of which those that compare equal go where the reference implementation has them.
    pub(super) fn arranger(&self, order: Order) -> Arranger<'_> {
        Arranger {
            order: Rc::new(order),
            dir: self.scratch,
            limit: self.memory.rows,
            joined: None,
            begun: Vec::new(),
            rows: 0,
            together: Vec::new(),
            bytes: 0,
            is_told: false,
            many: None,
            blocks: 0,
        }
    }

    /// The same for rows that the reference implementation joined with earlier ones, which makes one block of all and, if
    /// they are `reversed`, puts the last first. More of them than fit into memory stay as they came where they compare equal.
    pub(super) fn joined_arranger(&self, order: Order, reversed: bool) -> Arranger<'_> {
        Arranger {
            joined: Some(Joined { reversed }),
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

/// The same where it is known how many bytes its reader holds for the rows, which come without operations.
fn bytes_of_held(batch: &RecordBatch, held: usize) -> usize {
    let rows = batch.num_rows();
    let width = |column: &ArrayRef| match column.data_type() {
        DataType::Utf8View | DataType::BinaryView => size_of::<u128>(),
        other => other.primitive_width().unwrap_or(0),
    };
    let nulls = |column: &ArrayRef| {
        if column.null_count() > 0 {
            2 * rows.div_ceil(8)
        } else {
            0
        }
    };
    let columns = batch.columns().iter();
    let values: usize = columns.map(|column| width(column) * rows + nulls(column)).sum();
    held + values + 2 * rows * (SYSTEM_TIME_BYTES + OPERATION_BYTES)
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
    /// The event times of the next rows, and that of the one before them. They are looked at where blocks meet.
    pub(super) fn rows(&mut self, mut last: i64, times: &[i64]) {
        let mut rest = times;
        while let Some(first) = rest.first() {
            if self.rows == BATCH_ROWS {
                self.end_block();
            }
            if self.rows == 0 && self.blocks > 0 && *first == last {
                self.tied.push(self.blocks);
            }
            let (now, later) = rest.split_at((BATCH_ROWS - self.rows).min(rest.len()));
            self.rows += now.len();
            last = now.last().copied().unwrap_or(last);
            rest = later;
        }
    }

    /// The rows of a batch, about which nothing is asked further, and what is [`held`](crate::source::Batches::held) for them.
    pub(super) fn batch(&mut self, batch: &RecordBatch, held: Option<usize>) {
        if self.bytes >= TOGETHER_BYTES {
            return;
        }
        self.bytes += match held {
            Some(held) => bytes_of_held(batch, held),
            None => bytes_of_block(batch) + 2 * batch.num_rows() * OPERATION_BYTES,
        };
    }

    /// What comes next is in another block.
    pub(super) fn end_block(&mut self) {
        self.blocks += usize::from(self.rows > 0);
        self.rows = 0;
    }

    /// Whether it is likely that not all rows stay as they are, because most blocks meet in equal rows. To put those right that
    /// stay after all takes time and changes nothing.
    pub(super) fn will_move(&self) -> bool {
        self.bytes >= TOGETHER_BYTES && self.tied.len() >= MANY_TIED && self.tied.len() * 2 > self.blocks
    }

    /// How many blocks there are.
    pub(super) fn count(mut self) -> usize {
        self.end_block();
        self.blocks
    }

    /// How many blocks there are if not all rows stay as they are.
    pub(super) fn moved(mut self) -> Option<usize> {
        self.end_block();
        let side = |block: usize| is_left(self.blocks, block);
        let stay = self.bytes < TOGETHER_BYTES || self.tied.iter().all(|block| side(block - 1) == side(*block));
        (!stay).then_some(self.blocks)
    }
}

/// Takes rows that are in order, and so many blocks of them as were counted, and puts right what does not stay.
pub(super) struct Righting<'a> {
    order: Rc<Order>,
    sides: Sides<'a>,
    rows: usize,
    block: u32,
}

impl<'a> Righting<'a> {
    pub(super) fn new(setting: &Setting<'a>, order: Order, blocks: usize) -> Righting<'a> {
        let order = Rc::new(order);
        Righting {
            sides: Sides::new(order.clone(), setting.scratch, setting.memory.rows / 2, blocks),
            order,
            rows: 0,
            block: 0,
        }
    }

    /// Adds rows with the columns of the shape.
    pub(super) fn push(
        &mut self,
        batch: &RecordBatch,
        operations: Operations<'_>,
        sink: &mut dyn Sink,
    ) -> Result<(), MergeError> {
        let batch = self.order.with_operations(batch, operations)?;
        let mut from = 0;
        while from < batch.num_rows() {
            if self.rows == BATCH_ROWS {
                self.end_block();
            }
            let rows = (BATCH_ROWS - self.rows).min(batch.num_rows() - from);
            let part = with_block(&batch.slice(from, rows), self.block)?;
            self.sides.push(&part, &mut |batch| hand_on(&batch, sink))?;
            self.rows += rows;
            from += rows;
        }
        Ok(())
    }

    /// What comes next is in another block.
    pub(super) fn end_block(&mut self) {
        self.block += u32::from(self.rows > 0);
        self.rows = 0;
    }

    pub(super) fn finish(mut self, sink: &mut dyn Sink) -> Result<(), MergeError> {
        self.sides.close(&mut |batch| hand_on(&batch, sink))
    }
}

/// How the blocks were joined.
#[derive(Clone, Copy)]
struct Joined {
    /// The last one first.
    reversed: bool,
}

/// Takes rows in any order and hands them on sorted.
pub(super) struct Arranger<'a> {
    order: Rc<Order>,
    dir: &'a Path,
    limit: usize,
    /// All blocks are sorted as one.
    joined: Option<Joined>,
    /// Rows of the block that is not complete.
    begun: Vec<RecordBatch>,
    rows: usize,
    /// Complete blocks that may be sorted as one.
    together: Vec<RecordBatch>,
    bytes: usize,
    /// The bytes are counted as rows come, by what is held for them.
    is_told: bool,
    /// Where blocks go once they are too many for that.
    many: Option<Sorter<'a>>,
    blocks: u32,
}

impl Arranger<'_> {
    /// What is [`held`](crate::source::Batches::held) for the rows that are pushed next.
    pub(super) fn holds(&mut self, batch: &RecordBatch, held: Option<usize>) {
        if let Some(held) = held {
            self.is_told = true;
            self.bytes = self.bytes.saturating_add(bytes_of_held(batch, held));
        }
    }

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
            Some(_) => bytes_of(&block),
            None if self.is_told => 0,
            None => bytes_of_block(&block),
        };
        self.together.push(block);
        let most = if self.joined.is_some() {
            self.limit
        } else {
            TOGETHER_BYTES
        };
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
            Some(_) => block,
            None => with_block(&sorted(&self.order, &block)?, self.blocks)?,
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
        if self.joined.is_some_and(|joined| joined.reversed) {
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
            Some(many) if self.joined.is_some() => many.finish(sink),
            Some(many) => {
                let mut sides = Sides::new(self.order, self.dir, self.limit / 2, self.blocks as usize);
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

#[cfg(test)]
mod tests;
