//! The columns of one batch under construction.

use arrow::datatypes::FieldRef;
use arrow::record_batch::RecordBatch;

use super::{Cell, Column, Plain};
use crate::shape::Shape;
use crate::source::{Problem, Reading, Source};

/// The columns of one batch under construction.
pub(crate) struct Table {
    shape: Shape,
    columns: Vec<Column>,
    rows: usize,
    bytes: usize,
    /// Bytes of a row in memory beside its text: a row with few values in many columns is longer there than in the file.
    row_bytes: usize,
}

/// Bytes of a value whose length is its own: where it begins.
const OFFSET_BYTES: usize = 4;

impl Table {
    /// Fails with the position of the column that the format cannot hold.
    pub(crate) fn new(shape: &Shape, reading: Reading) -> Result<Table, usize> {
        let column = |(at, field): (usize, &FieldRef)| match shape.is_unread(at) {
            true => Ok(Column::unread(field, reading)),
            false => Column::new(field, shape.integer_time(at), reading).ok_or(at),
        };
        let fields = shape.schema().fields().iter().enumerate();
        Ok(Table {
            columns: fields.map(column).collect::<Result<Vec<_>, _>>()?,
            row_bytes: fields_bytes(shape),
            shape: shape.clone(),
            rows: 0,
            bytes: 0,
        })
    }

    pub(crate) fn column(&mut self, at: usize) -> &mut Column {
        &mut self.columns[at]
    }

    /// Whether every column takes values as [`Cell`]s.
    pub(crate) fn has_cells(&self) -> bool {
        self.columns.iter().all(Column::has_cells)
    }

    /// Puts into `cell` what a value comes to in the column at `at`; none if that is for the general rules to say.
    pub(crate) fn cell<'t>(&self, at: usize, value: Plain<'t>, cell: &mut Cell<'t>) -> Option<()> {
        self.columns.get(at)?.cell(value, cell)
    }

    /// Puts nulls where `cells`, one for each column, are absent; none if one of them must not be.
    pub(crate) fn complete(&self, cells: &mut [Cell<'_>]) -> Option<()> {
        for (cell, column) in cells.iter_mut().zip(&self.columns) {
            if matches!(cell, Cell::Absent) {
                *cell = column.no_cell()?;
            }
        }
        Some(())
    }

    /// Takes a row of cells, one for each column, that this table gave; it took `bytes` in the file.
    pub(crate) fn push_row(&mut self, cells: &[Cell<'_>], bytes: usize) -> Result<(), Problem> {
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            column.push_cell(*cell)?;
        }
        self.row_done(bytes);
        Ok(())
    }

    /// Every column has one value more now; the row took `bytes` in the file.
    pub(crate) fn row_done(&mut self, bytes: usize) {
        self.rows += 1;
        self.bytes += bytes + self.row_bytes;
    }

    /// Has `source` tell what was cut of values that were given until now. Only of rows that are taken.
    pub(crate) fn tell(&mut self, source: &Source) {
        for (column, field) in self.columns.iter_mut().zip(self.shape.schema().fields()) {
            let mut changes = Vec::new();
            column.changes(&mut changes);
            for (change, values) in changes {
                if values > 0 {
                    source.tell(field.name(), change, values);
                }
            }
        }
    }

    pub(crate) fn full(&self) -> bool {
        self.rows >= crate::source::BATCH_ROWS || self.bytes >= crate::source::BATCH_BYTES
    }

    /// The rows so far as a batch, leaving the table empty; none if there are none.
    pub(crate) fn take(&mut self) -> Result<Option<RecordBatch>, Problem> {
        if self.rows == 0 {
            return Ok(None);
        }
        self.rows = 0;
        self.bytes = 0;
        let arrays = self
            .columns
            .iter_mut()
            .map(Column::finish)
            .collect::<Result<Vec<_>, _>>();
        arrays
            .and_then(|arrays| RecordBatch::try_new(self.shape.schema().clone(), arrays))
            .map(Some)
            .map_err(|error| Problem::Syntax(error.to_string()))
    }
}

fn fields_bytes(shape: &Shape) -> usize {
    let fields = shape.schema().fields().iter();
    let width = |field: &FieldRef| field.data_type().primitive_width().unwrap_or(OFFSET_BYTES);
    fields.map(width).sum()
}
