//! Rows as a source in the chain gives them: read as its read step says, then preprocessed by its queries. What the
//! dataset makes of them is the part of [`super::fit`].

use std::path::PathBuf;

use arrow::datatypes::{Field, SchemaRef};
use arrow::record_batch::RecordBatch;

use super::before::Before;
use super::fit::Fit;
use super::ground::ColumnNote;
use super::ground::{Ground, INPUT, Planned};
use super::infer::{Inferred, Note};
use super::shape::Shape;
use super::source::{Batches, Format, OnProgress, Problem, Source, SourceError, Span, integer_times};
use super::{FitError, IngestError};
use odf_metadata::{MergeStrategy, ReadStep, Timestamp, Transform};
use odf_tables::types::to_arrow;

/// The rows of one content, openable as often as needed.
pub(super) struct Frame {
    source: Source,
    span: Span,
    /// What is read of the content.
    shape: Shape,
    query: Option<Box<dyn Planned>>,
    /// Where queries may put temporary files.
    dir: PathBuf,
    /// What the types that were found out leave to be said.
    notes: Vec<ColumnNote>,
}

impl Frame {
    /// The rows of `source`, which `read` was made for. None if there is nothing from which even their columns could be known: no bytes (or no file
    /// at all), and no columns declared. `now` is the time that queries see.
    ///
    /// # Errors
    /// The read step or the query cannot be used, or, where columns have to be found out, the content cannot be read.
    pub(super) fn of_step(
        source: Source,
        read: &ReadStep,
        preprocess: Option<&Transform>,
        before: &Before,
        ground: Ground<'_>,
        now: Timestamp,
        progress: &mut OnProgress<'_>,
    ) -> Result<Option<Frame>, IngestError> {
        let end = if source.is_there() { source.len()? } else { 0 };
        let columns = match source.declared() {
            Some(declared) => declared.clone(),
            None if end == 0 => return Ok(None),
            None if preprocess.is_some() => source.infer(end, progress)?,
            None => as_known(source.infer(end, progress)?, &source, before)?,
        };
        if columns.columns.is_empty() {
            return Ok(None);
        }
        let notes = columns.columns.iter().filter_map(|column| {
            Some(ColumnNote {
                column: column.name.clone(),
                note: column.note.filter(|note| *note != Note::NoValues)?,
            })
        });
        // Of what is known already it was said.
        let notes = match before.schema {
            None => notes.collect(),
            Some(_) => Vec::new(),
        };
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
                let mut query = ground.engine.plan(transform, inputs, now)?;
                if matches!(before.strategy, MergeStrategy::Append | MergeStrategy::Ledger { .. }) {
                    query.store_by(&before.vocabulary.event_time_column);
                }
                Some(query)
            }
        };
        let span = Span { start: 0, line: 0, end };
        Ok(Some(Frame {
            source,
            span,
            shape,
            query,
            dir: ground.dir.to_owned(),
            notes,
        }))
    }

    /// Whether the columns are somebody's will, not what the rows happen to have.
    pub(super) fn is_declared(&self) -> bool {
        self.source.declared().is_some()
    }

    /// The columns of the rows.
    pub(super) fn schema(&self) -> &SchemaRef {
        match &self.query {
            Some(query) => query.schema(),
            None => self.shape.schema(),
        }
    }

    /// The rows as the dataset takes them, fitted to what is there.
    ///
    /// # Errors
    /// See [`FitError`].
    pub(super) fn fit(&self, before: &Before, declared: bool) -> Result<Fit, FitError> {
        let fit = Fit::new(self.schema(), before, declared, self.query.is_some())?;
        Ok(match &self.query {
            Some(query) => fit.stored(before, query.stored(), query.order()),
            None => fit,
        })
    }

    /// The table the rows are from.
    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// What there is to be said of the columns, and of the last reading of the rows.
    pub(super) fn notes(&self) -> Vec<ColumnNote> {
        let told = self.source.told().into_iter().map(|(column, changed)| ColumnNote {
            column,
            note: Note::Altered(changed),
        });
        self.notes.iter().cloned().chain(told).collect()
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

/// The columns with the types that they have in the dataset, which decides how text is read: a few rows may look like
/// something narrower, or like nothing at all where a column is empty.
fn as_known(mut found: Inferred, source: &Source, before: &Before) -> Result<Inferred, IngestError> {
    let known = before.schema.as_ref().map(to_arrow).transpose()?;
    let is_known = |name: &str| known.as_ref().is_some_and(|known| known.field_with_name(name).is_ok());
    if let Some(open) = found
        .columns
        .iter()
        .find(|column| found.rows > 0 && column.note == Some(Note::NoValues) && !is_known(&column.name))
    {
        return Err(source.column_error(&open.name, Problem::NoValues).into());
    }
    let Some(known) = known else {
        return Ok(found);
    };
    let vocabulary = &before.vocabulary;
    let of_system = [
        &vocabulary.offset_column,
        &vocabulary.operation_type_column,
        &vocabulary.system_time_column,
        &vocabulary.event_time_column,
    ];
    for column in found
        .columns
        .iter_mut()
        .filter(|column| !of_system.contains(&&column.name))
    {
        if let Ok(field) = known.field_with_name(&column.name)
            && !field.data_type().is_nested()
            && !column.data_type.is_nested()
            && source.format() != Format::Parquet
        {
            column.data_type = field.data_type().clone();
        }
    }
    Ok(found)
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
