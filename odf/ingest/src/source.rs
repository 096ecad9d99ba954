//! Where rows come from: a table file in one of seven formats, opened as often as needed and read in bounded batches.
//!
//! A [`Source`] is looked at in up to two passes. The first ([`Source::infer`]) examines **every** row and settles the
//! type of each column (a source in the chain that declares none has the first [`FIRST_ROWS`] decide, as kamu does); it is
//! skipped when the dataset already has a schema. The second ([`Source::rows`]) reads typed
//! batches of [`BATCH_ROWS`] rows. Neither keeps more than one batch (for CSV, NDJSON, JSON and GeoJSON: plus one row) in
//! memory, whatever the size of the file.

use super::columnar;
use super::delimited;
use super::infer::Inferred;
use super::json;
use super::shape::Shape;

mod ahead;
mod batches;
mod difference;
mod excerpt;
mod fingerprint;
mod format;
mod limits;
mod names;
mod opening;
mod options;
mod problem;
mod progress;
mod rows;
mod step;
mod table;
mod tick;
mod told;

use ahead::Ahead;

pub use batches::{Batches, Span};
pub use difference::Difference;
pub(super) use excerpt::shorten;
pub use fingerprint::Fingerprint;
pub use format::{Format, UnknownFormat};
pub use limits::{BATCH_BYTES, BATCH_ROWS, MAX_COLUMN_NAME_BYTES, MAX_COLUMNS, MAX_READINGS, MAX_ROW_BYTES};
pub(super) use names::{check_names, unsupported};
pub use options::ReadOptions;
pub(super) use options::Reading;
pub use problem::{Place, Problem, SourceError};
pub(super) use progress::report;
pub use progress::{OnProgress, Phase, Progress};
pub use rows::Rows;
pub use step::{FIRST_ROWS, check_step, declared_columns, step_for_format};
pub(super) use step::{INTEGER_TIMES, NULL_GEOMETRIES, integer_times, step_for_sheet, undeclared, with_schema};
pub use table::{Content, Source, spool};
pub(super) use table::{Input, RandomAccess};
pub use told::{Alteration, Altered};

impl Source {
    /// The table with its beginning looked at: refused if it is of another kind, and with what separates its columns.
    pub(super) fn settled(&self) -> Result<Source, SourceError> {
        opening::check(self)?;
        let mut settled = self.clone();
        if self.format == Format::Csv && self.options.separator.is_none() {
            settled.options.separator = Some(delimited::sniff(self)?);
        }
        Ok(settled)
    }

    /// What separates the columns of CSV: what was said, else what the beginning of the file shows. None for formats that
    /// need no such thing.
    ///
    /// # Errors
    /// The table cannot be read, is of another kind, or does not show it.
    pub fn separator(&self) -> Result<Option<u8>, SourceError> {
        Ok(match self.format {
            Format::Csv => self.settled()?.options.separator,
            _ => None,
        })
    }

    /// Looks at every row and says which columns there are and what fits into them.
    ///
    /// `end` bounds the bytes read: a file that grows meanwhile is read up to there, so that both passes see the same.
    pub fn infer(&self, end: u64, progress: &mut OnProgress<'_>) -> Result<Inferred, SourceError> {
        if end == 0 {
            return Err(self.error(Problem::Empty));
        }
        let source = &self.settled()?;
        match self.format {
            Format::Csv => delimited::infer(source, end, progress),
            Format::Parquet if self.has_step => columnar::infer(source, columnar::Types::Read),
            Format::Parquet => columnar::infer(source, columnar::Types::Settled),
            _ => json::infer(source, end, progress),
        }
    }

    /// Reads the rows between the byte positions `span` into batches of the given shape, a little ahead of the caller on
    /// threads of their own: one for each processor where rows stand in lines, else one.
    ///
    /// For CSV the header is read from the start of the file even if `span` begins later. Formats that do not grow take
    /// the whole file.
    pub fn rows(&self, shape: &Shape, span: Span) -> Result<Box<dyn Batches>, SourceError> {
        if span.end == 0 {
            return Err(self.error(Problem::Empty));
        }
        self.told.clear();
        let source = &self.settled()?;
        let reader: Box<dyn Batches + Send> = match self.format {
            Format::Csv => return Ok(Box::new(delimited::rows(source, shape, span)?)),
            Format::Ndjson | Format::NdGeoJson => return Ok(Box::new(json::lines(source, shape, span)?)),
            Format::Parquet => Box::new(columnar::Rows::open(source, shape, span.end)?),
            _ => Box::new(json::Rows::open(source, shape, span)?),
        };
        let ahead = Ahead::start(reader).map_err(|error| self.error(Problem::Io(error)))?;
        Ok(Box::new(ahead))
    }
}
