//! What tests of several files are made with.

use std::path::Path;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use odf_metadata::{OperationType, Vocabulary};

use super::history::History;
use super::setting::{Operations, Setting, Sink};
use super::spill::Memory;
use crate::error::MergeError;
use crate::shape::Shape;

/// The operation of all rows.
pub(super) const APPEND: Operations<'static> = Operations::All(OperationType::Append);

/// Keeps what it is given.
#[derive(Default)]
pub(super) struct Kept(pub(super) Vec<RecordBatch>);

impl Sink for Kept {
    fn accept(&mut self, batch: &RecordBatch, _: Operations<'_>) -> Result<(), MergeError> {
        self.0.push(batch.clone());
        Ok(())
    }
}

impl Kept {
    /// The values of a column of integers, in the order in which they came.
    pub(super) fn numbers(&self, column: usize) -> Vec<i64> {
        let batches = self.0.iter();
        batches
            .flat_map(|batch| {
                batch
                    .column(column)
                    .as_primitive::<Int64Type>()
                    .values()
                    .iter()
                    .copied()
            })
            .collect()
    }
}

/// Gives `use_it` the setting of a merge with nothing before it, in which so many bytes of rows may be held.
pub(super) fn with_setting<T>(
    shape: &Shape,
    limit: usize,
    scratch: &Path,
    use_it: impl FnOnce(&Setting<'_>) -> T,
) -> T {
    use_it(&Setting {
        shape,
        history: History {
            slices: &Vec::new(),
            vocabulary: &Vocabulary::default(),
            ranges: None,
        },
        event_time: 0,
        scratch,
        memory: Memory { rows: limit, keys: 0 },
        compared: 0,
        singles: false,
    })
}
