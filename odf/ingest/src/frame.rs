//! Rows as a source in the chain gives them: read as its read step says, then preprocessed by its queries. What the
//! dataset makes of them is the part of [`super::fit`].

use std::path::PathBuf;

use arrow::datatypes::{DataType, Field, SchemaRef};
use arrow::record_batch::RecordBatch;

use super::before::Before;
use super::fit::Fit;
use super::ground::ColumnNote;
use super::ground::{Ground, INPUT, Planned};
use super::infer::{Inferred, Note};
use super::shape::Shape;
use super::source::{Alteration, Batches, Format, OnProgress, Problem, Source, SourceError, Span, integer_times};
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
    /// There is no column, and no row.
    is_void: bool,
}

impl Frame {
    /// The rows of `source`, which `read` was made for. None if there is nothing from which even their columns could be known: no bytes (or no file
    /// at all), and no columns declared. `now` is the time that queries see.
    ///
    /// # Errors
    /// The read step or the query cannot be used, or, where columns have to be found out, the content cannot be read or has
    /// rows without a column.
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
        // Of an empty array kamu makes a schema without a column.
        let is_void = columns.columns.is_empty();
        if is_void && columns.rows > 0 {
            return Err(source.error(Problem::NoMembers(columns.rows)).into());
        }
        let is_known = before.schema.is_some() || before.is_void;
        if is_void && (source.format() != Format::Json || is_known || !before.strategy.primary_key().is_empty()) {
            return Ok(None);
        }
        if is_void {
            source.tell(&before.vocabulary.event_time_column, Alteration::NoColumns, 0);
        }
        let notes = columns.columns.iter().filter_map(|column| {
            Some(ColumnNote {
                column: column.name.clone(),
                note: column.note.clone().filter(|note| *note != Note::NoValues)?,
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
        let shape = Shape::new(fields, None)
            .with_integer_times(&integer_times(read))
            .with_made_anew(&before.vocabulary.event_time_column);
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
            is_void,
        }))
    }

    /// Whether the columns are known although there is no row: they are somebody's will, not what rows happen to have, or
    /// there are none.
    pub(super) fn is_settled(&self) -> bool {
        self.source.declared().is_some() || self.is_void
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
            Some(query) => fit.stored(before, query.schema(), query.stored(), query.order()),
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
            None => self.read(None),
            Some(query) => query.run(self.source.name(), &self.dir, Box::new(|_, columns| self.read(columns))),
        }
    }

    /// Columns that a query does not look at are not read, as in kamu: whatever stands in them is no fault then.
    fn read(&self, columns: Option<&[usize]>) -> Result<Box<dyn Batches + '_>, SourceError> {
        if self.span.end == 0 || self.is_void {
            return Ok(Box::new(Nothing));
        }
        match columns {
            Some(columns) => self.source.rows(&self.shape.clone().reading_only(columns), self.span),
            None => self.source.rows(&self.shape, self.span),
        }
    }
}

/// The columns as the rows show them. Values of JSON and Parquet have types of their own, and as in kamu these have to be the
/// dataset's, but for what no row shows: a column without a value has the type that is known, and numbers whose digits a float
/// would change are read as floats where the dataset has floats, which is told. In CSV all is text, and the type that is known
/// decides how it is read: a few rows may look like something narrower. Where earlier files of Parquet had times that became
/// text, they still do.
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
    let of_system = before.vocabulary.of_system();
    for column in found
        .columns
        .iter_mut()
        .filter(|column| !of_system.contains(&&column.name))
    {
        let Ok(field) = known.field_with_name(&column.name) else {
            continue;
        };
        let known = field.data_type();
        let is_open = match source.format() {
            Format::Parquet => *known == DataType::Utf8 && matches!(column.data_type, DataType::Timestamp(..)),
            _ if known.is_nested() || column.data_type.is_nested() => false,
            Format::Csv => true,
            _ => match column.note {
                Some(Note::NoValues) => true,
                Some(Note::Digits) => *known == DataType::Float64,
                _ => false,
            },
        };
        if is_open {
            column.data_type = known.clone();
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
