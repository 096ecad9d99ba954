//! What of an input is to be read.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

use super::TransformError;
use odf_dataset::catalog::Catalog;
use odf_dataset::Dataset;
use odf_ingest::source::{Batches, Problem, SourceError};
use odf_tables::types::to_arrow;
use odf_metadata::{
    DataSlice, DatasetId, ExecuteTransformInput, MetadataEvent, Multihash, SetDataSchema, Timestamp, TransformInput,
};
use odf_tables::slice::SliceReader;

/// The blocks of one input that were not read yet.
#[derive(Debug)]
pub(super) struct Part {
    /// What the queries call the input.
    pub(super) alias: String,
    /// Its columns.
    pub(super) schema: SchemaRef,
    /// What the chain says about this part.
    pub(super) record: ExecuteTransformInput,
    /// The latest watermark in it.
    pub(super) watermark: Option<Timestamp>,
    slices: Vec<(PathBuf, DataSlice)>,
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
            alias,
            schema,
            record: ExecuteTransformInput {
                dataset_id: id,
                prev_block_hash: read_block,
                new_block_hash: Some(head).filter(|head| read_block != Some(*head)),
                prev_offset: read_offset,
                new_offset: state.last_offset.filter(|last| read_offset != Some(*last)),
            },
            watermark: None,
            slices: Vec::new(),
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
                .extend(data.map(|slice| (dataset.slice_path(&slice.physical_hash), slice)));
            self.watermark = self.watermark.max(watermark);
        }
        self.slices.reverse();
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
        self.slices.is_empty() && self.watermark.is_none()
    }

    pub(super) fn rows(&self) -> u64 {
        let rows = |(_, slice): &(PathBuf, DataSlice)| {
            let offsets = slice.offset_interval;
            (offsets.end - offsets.start).saturating_add(1)
        };
        self.slices.iter().map(rows).sum()
    }

    /// Bytes of its slices.
    pub(super) fn bytes(&self) -> u64 {
        self.slices.iter().map(|(_, slice)| slice.size).sum()
    }

    /// The rows, from the first.
    pub(super) fn open(&self) -> Box<dyn Batches + '_> {
        Box::new(Rows {
            part: self,
            next: 0,
            reader: None,
            bytes: 0,
        })
    }
}

/// An input that the queries cannot have asked for.
pub(super) fn unknown(at: usize) -> SourceError {
    failed(format!("input {at}"), io::Error::other("there is no such input"))
}

fn failed(name: String, error: io::Error) -> SourceError {
    SourceError {
        name,
        place: None,
        column: None,
        problem: Problem::Io(error),
    }
}

/// The rows of a part, slice by slice, whoever wrote them.
struct Rows<'a> {
    part: &'a Part,
    /// The slice to be opened next.
    next: usize,
    reader: Option<SliceReader>,
    bytes: u64,
}

impl Rows<'_> {
    fn fail(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> SourceError {
        failed(self.part.alias.clone(), io::Error::other(error))
    }

    /// The columns in the form that the chain declares: writers of slices choose among encodings, and a column may be
    /// younger than a slice.
    fn convert(&self, batch: &RecordBatch) -> Result<RecordBatch, SourceError> {
        let options = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.part.schema.fields().len());
        for field in self.part.schema.fields() {
            columns.push(match batch.column_by_name(field.name()) {
                Some(column) if column.data_type() == field.data_type() => column.clone(),
                Some(column) => {
                    cast_with_options(column, field.data_type(), &options).map_err(|error| self.fail(error))?
                }
                None => new_null_array(field.data_type(), batch.num_rows()),
            });
        }
        RecordBatch::try_new(self.part.schema.clone(), columns).map_err(|error| self.fail(error))
    }
}

impl Batches for Rows<'_> {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        loop {
            if let Some(reader) = &mut self.reader {
                match reader.next() {
                    Some(Ok(batch)) if batch.num_rows() == 0 => continue,
                    Some(Ok(batch)) => return self.convert(&batch).map(Some),
                    Some(Err(error)) => return Err(self.fail(error)),
                    None => {
                        self.reader = None;
                        let size = self.part.slices.get(self.next - 1).map_or(0, |(_, slice)| slice.size);
                        self.bytes += size;
                    }
                }
            }
            let Some((path, _)) = self.part.slices.get(self.next) else {
                return Ok(None);
            };
            self.reader = Some(SliceReader::open(path).map_err(|error| self.fail(error))?);
            self.next += 1;
        }
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }
}
