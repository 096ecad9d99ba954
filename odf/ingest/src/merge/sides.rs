//! Rows in the order of the last match of a merge, made of rows in the order of the others.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use arrow::array::{AsArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type};
use arrow::record_batch::RecordBatch;
use arrow::row::OwnedRow;

use super::MergeError;
use super::order::{Chosen, Give, Order};
use super::spill::Spool;
use super::turns::{Turns, is_left};

/// The rows with the number of their block behind them.
pub(super) fn with_block(batch: &RecordBatch, block: u32) -> Result<RecordBatch, MergeError> {
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
pub(super) struct Sides<'a> {
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

impl<'a> Sides<'a> {
    /// Of so many blocks. Holds about `limit` bytes of equal rows in memory and the rest in files in `dir`.
    pub(super) fn new(order: Rc<Order>, dir: &'a Path, limit: usize, blocks: usize) -> Sides<'a> {
        Sides {
            order,
            dir,
            limit: limit / 2,
            turns: Turns::new(blocks),
            open: None,
        }
    }

    /// Takes rows with their operations and blocks, and gives those that nothing equal to them may follow.
    pub(super) fn push(&mut self, batch: &RecordBatch, give: &mut Give<'_>) -> Result<(), MergeError> {
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
        let is_one = end > from && blocks[from..end].iter().all(|block| *block == blocks[from]);
        if is_one {
            // All on one side.
            self.turns.took(blocks[from] as usize);
            give(without_block(&batch.slice(from, end - from))?)?;
        }
        let mut order: Vec<u32> = Vec::with_capacity(end - from);
        let mut start = if is_one { end } else { from };
        while start < end {
            let mut next = start + 1;
            while next < end && keys.row(next) == keys.row(start) {
                next += 1;
            }
            self.turns.arrange(start, &blocks[start..next], &mut order);
            start = next;
        }
        if !order.is_empty() {
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
    pub(super) fn close(&mut self, give: &mut Give<'_>) -> Result<(), MergeError> {
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
