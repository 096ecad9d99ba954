//! Batches taken apart and put together: their columns, and the operations that their rows say.

use arrow::array::{ArrayRef, AsArray as _};
use arrow::datatypes::{Int64Type, SchemaRef};
use arrow::record_batch::RecordBatch;
use odf_metadata::OperationType;

use crate::error::MergeError;
use crate::shape::Shape;

/// The operation with a number.
pub(super) fn operation(number: i64) -> Option<OperationType> {
    OperationType::try_from(i32::try_from(number).ok()?).ok()
}

/// The operations that the rows of a batch say, by number; none where the shape has no column for them. `before` rows of the
/// table came earlier, for messages.
pub(super) fn given_operations(
    batch: &RecordBatch,
    shape: &Shape,
    before: u64,
    default: Option<OperationType>,
) -> Result<Option<Vec<i32>>, MergeError> {
    let Some(at) = shape.operation() else {
        return Ok(None);
    };
    let column = || shape.name(at).to_owned();
    let given = |(row, number): (u64, Option<i64>)| match (number, default) {
        (Some(value), _) => i32::try_from(value)
            .ok()
            .filter(|_| shape.takes_any_operation() || operation(value).is_some())
            .ok_or_else(|| MergeError::NotAnOperation {
                row: before + row,
                column: column(),
                value,
            }),
        (None, Some(default)) => Ok(default as i32),
        (None, None) => Err(MergeError::NoOperation {
            row: before + row,
            column: column(),
        }),
    };
    let numbers = batch.column(at).as_primitive::<Int64Type>();
    (1..).zip(numbers).map(given).collect::<Result<Vec<_>, _>>().map(Some)
}

/// The columns of a batch that are listed, by position.
pub(super) fn project(batch: &RecordBatch, positions: &[usize]) -> Vec<ArrayRef> {
    positions.iter().map(|at| batch.column(*at).clone()).collect()
}

/// Puts columns together under the schema of the shape.
pub(super) fn batch_of(schema: &SchemaRef, columns: &[ArrayRef]) -> Result<RecordBatch, MergeError> {
    Ok(RecordBatch::try_new(schema.clone(), columns.to_vec())?)
}
