//! The rows of a dataset, or of a part of it, slice by slice, for queries.

use std::io;
use std::path::PathBuf;

use arrow::array::{ArrayRef, new_null_array};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use odf_ingest::source::{Batches, Problem, SourceError};
use odf_metadata::DataSlice;
use odf_tables::slice::SliceReader;
use odf_tables::types::convert;

/// Slices that a query reads as one table.
#[derive(Debug)]
pub(crate) struct Slices {
    /// What the query calls them.
    pub(crate) name: String,
    /// The columns that the chain declares.
    pub(crate) schema: SchemaRef,
    /// The files, oldest first, and what the chain says about them.
    pub(crate) files: Vec<(PathBuf, DataSlice)>,
}

impl Slices {
    /// The rows, from the first.
    pub(crate) fn open(&self) -> Box<dyn Batches + '_> {
        Box::new(Rows {
            slices: self,
            next: 0,
            reader: None,
            bytes: 0,
        })
    }

    /// How many rows they have.
    pub(crate) fn rows(&self) -> u64 {
        let rows = |(_, slice): &(PathBuf, DataSlice)| {
            let offsets = slice.offset_interval;
            (offsets.end - offsets.start).saturating_add(1)
        };
        self.files.iter().map(rows).sum()
    }

    /// How many bytes they have.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, slice)| slice.size).sum()
    }
}

/// An input that a query cannot have asked for.
pub(crate) fn unknown(at: usize) -> SourceError {
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

/// Reads slices one after the other, whoever wrote them.
struct Rows<'a> {
    slices: &'a Slices,
    /// The slice to be opened next.
    next: usize,
    reader: Option<SliceReader>,
    bytes: u64,
}

impl Rows<'_> {
    fn fail(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> SourceError {
        failed(self.slices.name.clone(), io::Error::other(error))
    }

    /// The columns in the form that the chain declares: writers of slices choose among encodings, and a column may be
    /// younger than a slice.
    fn convert(&self, batch: &RecordBatch) -> Result<RecordBatch, SourceError> {
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.slices.schema.fields().len());
        for field in self.slices.schema.fields() {
            columns.push(match batch.column_by_name(field.name()) {
                Some(column) => convert(column, field.data_type()).map_err(|error| self.fail(error))?,
                None => new_null_array(field.data_type(), batch.num_rows()),
            });
        }
        RecordBatch::try_new(self.slices.schema.clone(), columns).map_err(|error| self.fail(error))
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
                        let size = self.slices.files.get(self.next - 1).map_or(0, |(_, slice)| slice.size);
                        self.bytes += size;
                    }
                }
            }
            let Some((path, _)) = self.slices.files.get(self.next) else {
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
