//! The newest rows of a dataset.

use std::sync::Arc;

use arrow::compute::concat_batches;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

use super::{Dataset, DatasetError};
use odf_metadata::{DataSlice, MetadataEvent};
use odf_tables::slice::{SliceError, SliceReader, conform};

/// The most rows [`Dataset::tail`] gives.
pub const MAX_TAIL_ROWS: u64 = 1_000_000;

impl Dataset {
    /// The last `rows` rows in the order of their offsets, all columns; none if the dataset has no rows. Reads only the
    /// slices that hold them.
    ///
    /// Columns are those of the newest slice; where an older one lacks a column its rows have nulls there.
    pub fn tail(&self, rows: u64) -> Result<Option<RecordBatch>, DatasetError> {
        let mut wanted = rows.min(MAX_TAIL_ROWS);
        let mut parts: Vec<RecordBatch> = Vec::new();
        let mut schema: Option<SchemaRef> = None;
        if wanted == 0 || self.state.last_offset.is_none() {
            return Ok(None);
        }
        for block in self.blocks()?.rev() {
            let event = block?.block.into_block().event;
            let (MetadataEvent::AddData(odf_metadata::AddData { new_data, .. })
            | MetadataEvent::ExecuteTransform(odf_metadata::ExecuteTransform { new_data, .. })) = event
            else {
                continue;
            };
            let Some(slice) = new_data else { continue };
            let mut part = self.end_of(&slice, wanted, &mut schema)?;
            wanted -= part
                .iter()
                .map(|batch| batch.num_rows() as u64)
                .sum::<u64>()
                .min(wanted);
            part.reverse();
            parts.extend(part);
            if wanted == 0 {
                break;
            }
        }
        parts.reverse();
        let Some(schema) = schema else { return Ok(None) };
        let whole = concat_batches(&schema, &parts).map_err(|source| SliceError::Arrow {
            path: self.data_dir(),
            source,
        })?;
        Ok(Some(whole))
    }

    /// The last rows of one slice under the schema of the newest slice.
    fn end_of(
        &self,
        slice: &DataSlice,
        wanted: u64,
        schema: &mut Option<SchemaRef>,
    ) -> Result<Vec<RecordBatch>, DatasetError> {
        let path = self.slice_path(&slice.physical_hash);
        let rows = SliceReader::open(&path)?.rows();
        let reader = SliceReader::open_part(&path, None, rows.saturating_sub(wanted))?;
        let schema = schema.get_or_insert_with(|| {
            let optional = reader
                .schema()
                .fields()
                .iter()
                .map(|f| f.as_ref().clone().with_nullable(true));
            Arc::new(Schema::new(optional.collect::<Vec<_>>()))
        });
        let mut batches = Vec::new();
        for batch in reader {
            let whole = conform(&batch?, schema).map_err(|source| SliceError::arrow(&path, source))?;
            batches.push(whole);
        }
        Ok(batches)
    }
}
