//! What of an input is to be read.

use std::sync::Arc;

use super::TransformError;
use crate::slices::Slices;
use odf_dataset::Dataset;
use odf_dataset::catalog::Catalog;
use odf_metadata::{
    DatasetId, ExecuteTransformInput, MetadataEvent, Multihash, SetDataSchema, Timestamp, TransformInput,
};
use odf_tables::types::to_arrow;

/// The blocks of one input that were not read yet.
#[derive(Debug)]
pub(super) struct Part {
    /// What the chain says about this part.
    pub(super) record: ExecuteTransformInput,
    /// The watermark of the input at the end of the part, be it said in the part or before.
    pub(super) watermark: Option<Timestamp>,
    /// Whether a block of the part says a watermark.
    speaks_of_time: bool,
    /// The rows.
    pub(super) slices: Slices,
}

impl Part {
    /// What follows the part that was read `before`. The inner error is the name of an input that has no schema yet.
    pub(super) fn find(
        input: &TransformInput,
        before: Option<&ExecuteTransformInput>,
        catalog: &Catalog,
    ) -> Result<Result<Part, String>, TransformError> {
        let id: DatasetId = input
            .dataset_ref
            .parse()
            .map_err(|_| TransformError::Unresolved(input.dataset_ref.clone()))?;
        let alias = input.alias.clone().unwrap_or_else(|| input.dataset_ref.clone());
        let Some(dataset) = catalog.by_id(&id)? else {
            return Err(TransformError::NoInput { alias, id });
        };
        let state = dataset.state();
        let schema = match &state.schema {
            None => return Ok(Err(dataset.name()?.to_string())),
            Some(SetDataSchema {
                schema: Some(schema), ..
            }) => Arc::new(to_arrow(schema)?),
            Some(SetDataSchema { schema: None, .. }) => {
                return Err(TransformError::LegacySchema(dataset.name()?.to_string()));
            }
        };
        let read_block = before.and_then(|before| before.new_block_hash.or(before.prev_block_hash));
        let read_offset = before.and_then(|before| before.new_offset.or(before.prev_offset));
        let head = state.head;
        let mut part = Part {
            record: ExecuteTransformInput {
                dataset_id: id,
                prev_block_hash: read_block,
                new_block_hash: Some(head).filter(|head| read_block != Some(*head)),
                prev_offset: read_offset,
                new_offset: state.last_offset.filter(|last| read_offset != Some(*last)),
            },
            watermark: state.watermark,
            speaks_of_time: false,
            slices: Slices {
                name: alias,
                schema,
                files: Vec::new(),
            },
        };
        if part.record.new_block_hash.is_some() {
            part.collect(&dataset, read_block)?;
        }
        Ok(Ok(part))
    }

    /// Takes the slices and watermarks of the blocks behind `read`.
    fn collect(&mut self, dataset: &Dataset, read: Option<Multihash>) -> Result<(), TransformError> {
        let mut found = read.is_none();
        for stored in dataset.blocks()?.rev() {
            let block = stored?.block;
            if Some(*block.hash()) == read {
                found = true;
                break;
            }
            let (data, watermark) = match block.into_block().event {
                MetadataEvent::AddData(event) => (event.new_data, event.new_watermark),
                MetadataEvent::ExecuteTransform(event) => (event.new_data, event.new_watermark),
                _ => continue,
            };
            self.slices
                .files
                .extend(data.map(|slice| (dataset.slice_path(&slice.physical_hash), slice)));
            self.speaks_of_time |= watermark.is_some();
        }
        self.slices.files.reverse();
        match (found, read) {
            (false, Some(read)) => Err(TransformError::Diverged {
                input: dataset.name()?.to_string(),
                read,
                head: *dataset.head(),
            }),
            _ => Ok(()),
        }
    }

    /// Whether it says nothing new: the input may have moved on all the same, with new information about itself.
    pub(super) fn is_empty(&self) -> bool {
        self.slices.files.is_empty() && !self.speaks_of_time
    }
}
