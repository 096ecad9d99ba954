//! Where rows come from: a table file in one of seven formats, opened as often as needed and read in bounded batches.
//!
//! A [`Source`] is looked at in up to two passes. The first ([`Source::infer`]) examines **every** row and settles the
//! type of each column; it is skipped when the dataset already has a schema. The second ([`Source::rows`]) reads typed
//! batches of [`BATCH_ROWS`] rows. Neither keeps more than one batch (for CSV, NDJSON, JSON and GeoJSON: plus one row) in
//! memory, whatever the size of the file.

use super::columnar;
use super::delimited;
use super::infer::Inferred;
use super::json;
use super::shape::Shape;

mod ahead;
mod batches;
mod format;
mod limits;
mod names;
mod options;
mod problem;
mod progress;
mod step;
mod table;

use ahead::Ahead;

pub use batches::{Batches, Span};
pub use format::{Format, UnknownFormat};
pub use limits::{BATCH_BYTES, BATCH_ROWS, MAX_COLUMN_NAME_BYTES, MAX_COLUMNS, MAX_ROW_BYTES};
pub(super) use names::{check_names, unsupported};
pub use options::ReadOptions;
pub(super) use options::Reading;
pub(super) use problem::shorten;
pub use problem::{Place, Problem, SourceError};
pub(super) use progress::report;
pub use progress::{OnProgress, Phase, Progress};
pub(super) use step::{INTEGER_TIMES, integer_times};
pub use step::{declared_columns, step_for_format};
pub use table::{Content, Source, spool};
pub(super) use table::{Input, RandomAccess};

impl Source {
    /// Looks at every row and says which columns there are and what fits into them.
    ///
    /// `end` bounds the bytes read: a file that grows meanwhile is read up to there, so that both passes see the same.
    pub fn infer(&self, end: u64, progress: &mut OnProgress<'_>) -> Result<Inferred, SourceError> {
        if end == 0 {
            return Err(self.error(Problem::Empty));
        }
        match self.format {
            Format::Csv => delimited::infer(self, end, progress),
            Format::Parquet => columnar::infer(self),
            _ => json::infer(self, end, progress),
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
        let reader: Box<dyn Batches + Send> = match self.format {
            Format::Csv => return Ok(Box::new(delimited::rows(self, shape, span)?)),
            Format::Ndjson | Format::NdGeoJson => return Ok(Box::new(json::lines(self, shape, span)?)),
            Format::Parquet => Box::new(columnar::Rows::open(self, shape)?),
            _ => Box::new(json::Rows::open(self, shape, span)?),
        };
        let ahead = Ahead::start(reader).map_err(|error| self.error(Problem::Io(error)))?;
        Ok(Box::new(ahead))
    }
}
