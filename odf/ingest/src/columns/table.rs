//! The columns of one batch under construction.

use arrow::datatypes::FieldRef;
use arrow::record_batch::RecordBatch;

use super::Column;
use crate::shape::Shape;
use crate::source::{Problem, Reading};

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
        let column = |(at, field): (usize, &FieldRef)| Column::new(field, shape.integer_time(at), reading).ok_or(at);
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

    /// Every column has one value more now; the row took `bytes` in the file.
    pub(crate) fn row_done(&mut self, bytes: usize) {
        self.rows += 1;
        self.bytes += bytes + self.row_bytes;
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
