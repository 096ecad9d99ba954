//! What of an input is to be read.

use std::path::PathBuf;
use std::sync::Arc;

use super::TransformError;
use crate::slices::Slices;
use odf_dataset::Dataset;
use odf_dataset::catalog::Catalog;
use odf_metadata::chain::ChainState;
use odf_metadata::{
    DataSlice, DatasetId, ExecuteTransformInput, MetadataEvent, Multihash, SetDataSchema, Timestamp, TransformInput,
};
use odf_tables::types::to_arrow;

/// The blocks of one input that were not read yet.
#[derive(Debug)]
pub(super) struct Part {
    /// What the chain says about this part.
    pub(super) record: ExecuteTransformInput,
    /// The watermark of the input at the end of the part, be it said in the part or before.
    pub(super) watermark: Option<Timestamp>,
    /// The earliest watermark that a block of the part says.
    pub(super) said: Option<Timestamp>,
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
        let read_block = before.and_then(|before| before.new_block_hash.or(before.prev_block_hash));
        let read_offset = before.and_then(|before| before.new_offset.or(before.prev_offset));
        let state = dataset.state();
        let record = ExecuteTransformInput {
            dataset_id: id,
            prev_block_hash: read_block,
            new_block_hash: Some(state.head).filter(|head| read_block != Some(*head)),
            prev_offset: read_offset,
            new_offset: state.last_offset.filter(|last| read_offset != Some(*last)),
        };
        let news = match record.new_block_hash {
            Some(_) => News::behind(&dataset, read_block)?,
            None => News::default(),
        };
        match Part::new(alias, record, &dataset, state, news)? {
            Some(part) => Ok(Ok(part)),
            None => Ok(Err(dataset.name()?.to_string())),
        }
    }

    /// A part with these news that ends where the chain of the input is in this state. None if the input has no schema there.
    ///
    /// # Errors
    /// The schema says less than is needed.
    pub(super) fn new(
        alias: String,
        record: ExecuteTransformInput,
        dataset: &Dataset,
        end: &ChainState,
        news: News,
    ) -> Result<Option<Part>, TransformError> {
        let schema = match &end.schema {
            None => return Ok(None),
            Some(SetDataSchema {
                schema: Some(schema), ..
            }) => Arc::new(to_arrow(schema)?),
            Some(SetDataSchema { schema: None, .. }) => {
                return Err(TransformError::LegacySchema(dataset.name()?.to_string()));
            }
        };
        Ok(Some(Part {
            record,
            watermark: end.watermark,
            said: news.said,
            slices: Slices {
                name: alias,
                schema,
                files: news.files,
            },
        }))
    }

    /// Whether it says nothing new: the input may have moved on all the same, with new information about itself.
    pub(super) fn is_empty(&self) -> bool {
        self.slices.files.is_empty() && self.said.is_none()
    }
}

/// What blocks of an input say.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Their slices, in the order in which they were taken.
    files: Vec<(PathBuf, DataSlice)>,
    /// The earliest watermark.
    said: Option<Timestamp>,
}

impl News {
    /// That of the blocks behind `read`, up to the head.
    fn behind(dataset: &Dataset, read: Option<Multihash>) -> Result<News, TransformError> {
        let (mut news, mut found) = (News::default(), read.is_none());
        for stored in dataset.blocks()?.rev() {
            let block = stored?.block;
            if Some(*block.hash()) == read {
                found = true;
                break;
            }
            news.take(dataset, &block.block().event);
        }
        news.files.reverse();
        match (found, read) {
            (false, Some(read)) => Err(TransformError::Diverged {
                input: dataset.name()?.to_string(),
                read,
                head: *dataset.head(),
            }),
            _ => Ok(news),
        }
    }

    /// Takes what one block says.
    pub(super) fn take(&mut self, dataset: &Dataset, event: &MetadataEvent) {
        let (data, watermark) = match event {
            MetadataEvent::AddData(event) => (&event.new_data, event.new_watermark),
            MetadataEvent::ExecuteTransform(event) => (&event.new_data, event.new_watermark),
            _ => return,
        };
        let file = |slice: &DataSlice| (dataset.slice_path(&slice.physical_hash), slice.clone());
        self.files.extend(data.as_ref().map(file));
        self.said = match (self.said, watermark) {
            (Some(said), Some(watermark)) => Some(said.min(watermark)),
            (said, watermark) => said.or(watermark),
        };
    }
}
