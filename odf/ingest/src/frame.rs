//! Rows as a source in the chain gives them: read as its read step says, then preprocessed by its queries. What the
//! dataset makes of them is the part of [`super::fit`].

use std::path::{Path, PathBuf};

use arrow::datatypes::{Field, SchemaRef};
use arrow::record_batch::RecordBatch;

use super::IngestError;
use super::ground::{Ground, INPUT, Planned};
use super::shape::Shape;
use super::source::{Batches, Content, OnProgress, Source, SourceError, Span, integer_times};
use odf_metadata::{ReadStep, Timestamp, Transform};

/// The rows of one content, openable as often as needed.
pub(super) struct Frame {
    source: Source,
    span: Span,
    /// What is read of the content.
    shape: Shape,
    query: Option<Box<dyn Planned>>,
    /// Where queries may put temporary files.
    dir: PathBuf,
}

impl Frame {
    /// The rows of `content`. None if there is nothing from which even their columns could be known: no bytes (or no file
    /// at all), and no columns declared. `now` is the time that queries see.
    ///
    /// # Errors
    /// The read step or the query cannot be used, or, where columns have to be found out, the content cannot be read.
    pub(super) fn of_step(
        name: &str,
        content: &Path,
        read: &ReadStep,
        preprocess: Option<&Transform>,
        ground: Ground<'_>,
        now: Timestamp,
        progress: &mut OnProgress<'_>,
    ) -> Result<Option<Frame>, IngestError> {
        let source = Source::for_step(name, Content::File(content.to_owned()), read)?;
        let end = if content.exists() { source.len()? } else { 0 };
        let columns = match source.declared() {
            Some(declared) => declared.clone(),
            None if end == 0 => return Ok(None),
            None => source.infer(end, progress)?,
        };
        if columns.columns.is_empty() {
            return Ok(None);
        }
        let fields = columns
            .columns
            .into_iter()
            .map(|column| Field::new(column.name, column.data_type, column.nullable))
            .collect();
        let shape = Shape::new(fields, None).with_integer_times(&integer_times(read));
        let query = match preprocess {
            None => None,
            Some(transform) => {
                let inputs = vec![(INPUT.to_owned(), shape.schema().clone())];
                Some(ground.engine.plan(transform, inputs, now)?)
            }
        };
        let span = Span { start: 0, line: 0, end };
        Ok(Some(Frame {
            source,
            span,
            shape,
            query,
            dir: ground.dir.to_owned(),
        }))
    }

    /// The columns of the rows.
    pub(super) fn schema(&self) -> &SchemaRef {
        match &self.query {
            Some(query) => query.schema(),
            None => self.shape.schema(),
        }
    }

    /// The table the rows are from.
    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// Bytes of the content.
    pub(super) fn len(&self) -> u64 {
        self.span.end
    }

    /// The rows, from the first.
    pub(super) fn open(&self) -> Result<Box<dyn Batches + '_>, SourceError> {
        match &self.query {
            None => self.read(),
            Some(query) => query.run(self.source.name(), &self.dir, Box::new(|_| self.read())),
        }
    }

    fn read(&self) -> Result<Box<dyn Batches + '_>, SourceError> {
        if self.span.end == 0 {
            return Ok(Box::new(Nothing));
        }
        self.source.rows(&self.shape, self.span)
    }
}

/// No rows.
struct Nothing;

impl Batches for Nothing {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        Ok(None)
    }

    fn bytes(&self) -> u64 {
        0
    }
}
