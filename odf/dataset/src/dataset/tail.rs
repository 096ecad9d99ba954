//! The newest rows of a dataset.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::compute::concat_batches;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

use super::{Dataset, DatasetError};
use odf_metadata::{AddData, DataSlice, ExecuteTransform, MetadataEvent};
use odf_tables::slice::{SliceError, SliceFile, SliceReader, conform};

impl Dataset {
    /// The last `rows` rows in the order of their offsets, all columns, in one piece; none if the dataset has no rows. For few
    /// rows: all of them are in memory then. [`Self::newest`] gives them one batch after another.
    pub fn tail(&self, rows: u64) -> Result<Option<RecordBatch>, DatasetError> {
        let Some(newest) = self.newest(rows, 0)?.filter(|_| rows > 0) else {
            return Ok(None);
        };
        let schema = newest.schema().clone();
        let batches = newest.collect::<Result<Vec<_>, _>>()?;
        let whole = concat_batches(&schema, &batches).map_err(|source| SliceError::Arrow {
            path: self.data_dir(),
            source,
        })?;
        Ok(Some(whole))
    }

    /// The last `rows` rows before the `skipped` newest, in the order of their offsets, all columns; none if the dataset has no
    /// rows at all. Which slices hold them is told by the chain; no other is read but for the columns of the newest.
    ///
    /// Columns are those of the newest slice; where an older one lacks a column its rows have nulls there.
    pub fn newest(&self, rows: u64, skipped: u64) -> Result<Option<Newest>, DatasetError> {
        let Some(last) = self.state.last_offset else {
            return Ok(None);
        };
        // Offsets begin at 0 and have no gaps.
        let end = last.saturating_add(1).saturating_sub(skipped);
        let first = end.saturating_sub(rows);
        let mut schema: Option<SchemaRef> = None;
        let mut slices = Vec::new();
        for block in self.blocks()?.rev() {
            let (MetadataEvent::AddData(AddData { new_data, .. })
            | MetadataEvent::ExecuteTransform(ExecuteTransform { new_data, .. })) = block?.block.into_block().event
            else {
                continue;
            };
            let Some(slice) = new_data else { continue };
            if schema.is_none() {
                schema = Some(self.columns_of(&slice)?);
            }
            let offsets = slice.offset_interval;
            if first < end && offsets.start < end {
                slices.push(slice);
            }
            if offsets.start <= first {
                break;
            }
        }
        Ok(schema.map(|schema| Newest {
            dataset: self.clone(),
            schema,
            first,
            end,
            slices,
            reader: None,
        }))
    }

    /// The columns of a slice; all may be null.
    pub(super) fn columns_of(&self, slice: &DataSlice) -> Result<SchemaRef, DatasetError> {
        let file = SliceFile::open(&self.slice_path(&slice.physical_hash), false)?;
        let fields = file.metadata().schema().fields().iter();
        let optional = fields.map(|field| field.as_ref().clone().with_nullable(true));
        Ok(Arc::new(Schema::new(optional.collect::<Vec<_>>())))
    }
}

/// The newest rows of a dataset, batch by batch. One batch is in memory at a time, however many there are.
pub struct Newest {
    dataset: Dataset,
    schema: SchemaRef,
    /// The offset of the first row.
    first: u64,
    /// That behind the last.
    end: u64,
    /// The slices that were not begun yet, newest first.
    slices: Vec<DataSlice>,
    /// The one that is being read, and where it is.
    reader: Option<(PathBuf, SliceReader)>,
}

impl Newest {
    /// The columns of all batches.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The dataset.
    pub(super) fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// The slices that were not begun yet, oldest first.
    pub(super) fn slices(&self) -> Vec<DataSlice> {
        self.slices.iter().rev().cloned().collect()
    }

    /// How many rows there are in all.
    pub fn rows(&self) -> u64 {
        self.end - self.first
    }

    /// Opens that part of a slice which is wanted.
    fn open(&self, slice: &DataSlice) -> Result<(PathBuf, SliceReader), SliceError> {
        let path = self.dataset.slice_path(&slice.physical_hash);
        let start = slice.offset_interval.start;
        let rows = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let skipped = self.first.saturating_sub(start);
        let wanted = (self.end - start).saturating_sub(skipped);
        let reader = SliceFile::open(&path, false)?.rows(None, |reader| {
            reader.with_offset(rows(skipped)).with_limit(rows(wanted))
        })?;
        Ok((path, reader))
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>, DatasetError> {
        loop {
            if let Some((path, reader)) = &mut self.reader
                && let Some(batch) = reader.next()
            {
                let whole = conform(&batch?, &self.schema).map_err(|source| SliceError::arrow(path, source))?;
                return Ok(Some(whole));
            }
            let Some(slice) = self.slices.pop() else {
                return Ok(None);
            };
            self.reader = Some(self.open(&slice)?);
        }
    }
}

impl Iterator for Newest {
    type Item = Result<RecordBatch, DatasetError>;

    /// After an error there is nothing more.
    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_batch();
        if next.is_err() {
            self.slices.clear();
            self.reader = None;
        }
        next.transpose()
    }
}
