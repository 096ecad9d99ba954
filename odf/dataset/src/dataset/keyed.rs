//! What rows of one primary key have in common, and why a state cannot be told without.

use std::path::Path;

use arrow::array::ArrayRef;
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use odf_tables::slice::SliceError;

use super::DatasetError;

/// The most bytes of keys that are held: of those rows that were corrected or retracted, each once.
#[cfg(not(test))]
pub(super) const MAX_KEY_BYTES: usize = 512 << 20;
#[cfg(test)]
pub(super) const MAX_KEY_BYTES: usize = 256;

/// Why a state cannot be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The dataset cannot be read.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// There are retractions or corrections, and nothing says of which rows.
    #[error("its rows retract or correct others, and no source of it names the primary key by which these are found")]
    NoKey,
    /// A column of the primary key is in no slice.
    #[error("the column `{0}` of its primary key is not in its rows")]
    NoColumn(String),
    /// More rows were corrected or retracted than can be held at once.
    #[error("more of its rows were corrected or retracted than are held at once ({MAX_KEY_BYTES} bytes of keys)")]
    TooMany,
}

impl From<SliceError> for StateError {
    fn from(error: SliceError) -> Self {
        StateError::Dataset(error.into())
    }
}

/// The key of every row, so that equal ones have equal bytes. `place` is named in errors.
pub(super) fn keys(batch: &RecordBatch, key: &[String], place: &Path) -> Result<Vec<Box<[u8]>>, StateError> {
    let columns = key.iter().map(|name| {
        batch
            .column_by_name(name)
            .cloned()
            .ok_or_else(|| StateError::NoColumn(name.clone()))
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone()));
    let in_rows = |source| SliceError::arrow(place, source);
    let converter = RowConverter::new(fields.collect()).map_err(in_rows)?;
    let rows = converter.convert_columns(&columns).map_err(in_rows)?;
    Ok(rows.iter().map(|row| row.as_ref().into()).collect())
}

/// A column of whole numbers as such of 32 bits.
pub(super) fn whole(batch: &RecordBatch, at: usize) -> Result<ArrayRef, StateError> {
    cast(batch.column(at), &DataType::Int32).map_err(|source| SliceError::arrow(Path::new("operations"), source).into())
}
