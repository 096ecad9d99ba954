//! Where rows come from: a table file in one of seven formats, opened as often as needed and read in bounded batches.
//!
//! A [`Source`] is looked at in up to two passes. The first ([`Source::infer`]) examines **every** row and settles the
//! type of each column; it is skipped when the dataset already has a schema. The second ([`Source::rows`]) reads typed
//! batches of [`BATCH_ROWS`] rows. Neither keeps more than one batch (for CSV, NDJSON, JSON and GeoJSON: plus one row) in
//! memory, whatever the size of the file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use bytes::Bytes;

use super::columnar;
use super::columns::Reading;
use super::delimited;
use super::infer::Inferred;
use super::json;
use super::shape::Shape;

mod ahead;
mod format;
mod problem;
mod step;

use ahead::Ahead;

pub use format::{Format, UnknownFormat};
pub use problem::{Place, Problem, SourceError};
pub use step::{Content, declared_columns, step_for_format};

/// Rows per batch. A multiple of 1024, which the byte-exact page boundaries of a slice depend on (odf-facts §6).
pub const BATCH_ROWS: usize = 8192;

/// A batch is closed early when its text reaches this many bytes, so that wide rows do not multiply [`BATCH_ROWS`].
pub const BATCH_BYTES: usize = 64 << 20;

/// The longest row (line, record, JSON element) in bytes. A forgotten closing quote ends here and not in memory.
pub const MAX_ROW_BYTES: usize = 16 << 20;

/// The most columns a table may have.
pub const MAX_COLUMNS: usize = 4096;

/// The longest column name in bytes.
pub const MAX_COLUMN_NAME_BYTES: usize = 1024;

/// How far a reading has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// Bytes of the file seen in this phase.
    pub bytes: u64,
    /// Length of the file.
    pub total_bytes: u64,
    /// Rows seen in this phase.
    pub rows: u64,
}

/// The phases of an ingest, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Hashing the part that was taken earlier.
    #[default]
    Checking,
    /// Settling the types of columns.
    Inferring,
    /// Reading rows.
    Reading,
    /// Writing the slice.
    Writing,
}

/// Called now and then with the progress; `Break` stops the work, nothing is changed then.
pub type OnProgress<'a> = dyn FnMut(Progress) -> ControlFlow<()> + 'a;

/// How a text table is written. The default is what people write, see [`ReadOptions::default`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// Field separator of CSV; absent: a tab for `.tsv`, else a comma.
    pub separator: Option<u8>,
    /// What stands around CSV values that hold separators, line breaks or quotes. A doubled one inside stands for itself.
    pub quote: u8,
    /// What makes a quote inside a quoted CSV value stand for itself, besides doubling it.
    pub escape: Option<u8>,
    /// Whether the first record of CSV holds the names of the columns; otherwise they are `column_1`, `column_2`, …
    pub header: bool,
    /// Whether the types of CSV columns are found out; otherwise every column is text.
    pub infer_types: bool,
    /// For JSON the dotted path to the array that holds the rows; absent: the document itself or its only array of objects.
    /// For shapefiles the `.shp` in the archive, perhaps with wildcards; absent: the only one.
    pub sub_path: Option<String>,
}

impl Default for ReadOptions {
    /// CSV as RFC 4180 has it, with a header and types found out, and the only array of objects in JSON.
    fn default() -> Self {
        ReadOptions {
            separator: None,
            quote: b'"',
            escape: None,
            header: true,
            infer_types: true,
            sub_path: None,
        }
    }
}

/// One table, readable several times from the start.
#[derive(Clone, Debug)]
pub struct Source {
    name: String,
    content: Content,
    format: Format,
    options: ReadOptions,
    /// It is read as a source in the chain says.
    has_step: bool,
    declared: Option<Arc<Inferred>>,
}

/// What [`Source`] reads from.
pub(super) trait Input: Read + Seek + Send {}
impl<T: Read + Seek + Send> Input for T {}

impl Source {
    /// A file on disk. Without `format` the extension decides.
    pub fn file(path: &Path, format: Option<Format>, options: ReadOptions) -> Result<Source, SourceError> {
        let name = path.display().to_string();
        let fail = |problem| SourceError {
            name: name.clone(),
            place: None,
            column: None,
            problem,
        };
        let meta = std::fs::metadata(path).map_err(|error| {
            fail(if error.kind() == io::ErrorKind::NotFound {
                Problem::NotFound
            } else {
                Problem::Io(error)
            })
        })?;
        if meta.is_dir() {
            return Err(fail(Problem::Directory));
        }
        let format = format
            .or_else(|| Format::from_path(path))
            .ok_or_else(|| fail(Problem::FormatUnknown))?;
        let mut options = options;
        if options.separator.is_none() && path.extension().is_some_and(|e| e.eq_ignore_ascii_case("tsv")) {
            options.separator = Some(b'\t');
        }
        Ok(Source {
            name,
            content: Content::File(path.to_owned()),
            format,
            options,
            has_step: false,
            declared: None,
        })
    }

    /// A table that is already in memory. `name` is used in messages.
    pub fn bytes(name: &str, bytes: Bytes, format: Format, options: ReadOptions) -> Source {
        Source {
            name: name.to_owned(),
            content: Content::Bytes(bytes),
            format,
            options,
            has_step: false,
            declared: None,
        }
    }

    /// A stream (standard input, a download), written to the file `spool` first because types are settled in a pass of
    /// their own. `spool` is the caller's to remove. `limit` bounds the bytes taken.
    pub fn spool(
        name: &str,
        reader: &mut dyn Read,
        spool: &Path,
        limit: u64,
        format: Format,
        options: ReadOptions,
    ) -> Result<Source, SourceError> {
        self::spool(name, reader, spool, limit)?;
        Ok(Source {
            name: name.to_owned(),
            content: Content::File(spool.to_owned()),
            format,
            options,
            has_step: false,
            declared: None,
        })
    }

    /// The name messages use.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The format of the table.
    pub fn format(&self) -> Format {
        self.format
    }

    /// How it is written.
    pub fn options(&self) -> &ReadOptions {
        &self.options
    }

    /// An error about this table as a whole.
    pub(super) fn error(&self, problem: Problem) -> SourceError {
        SourceError {
            name: self.name.clone(),
            place: None,
            column: None,
            problem,
        }
    }

    /// An error about a column of this table.
    pub(super) fn column_error(&self, column: &str, problem: Problem) -> SourceError {
        SourceError {
            name: self.name.clone(),
            place: None,
            column: Some(column.to_owned()),
            problem,
        }
    }

    /// An error at a place of this table.
    pub(super) fn error_in(&self, place: Place, column: Option<&str>, problem: Problem) -> SourceError {
        SourceError {
            name: self.name.clone(),
            place: Some(place),
            column: column.map(str::to_owned),
            problem,
        }
    }

    /// An error on a line of this table.
    pub(super) fn error_at(&self, line: u64, column: Option<&str>, problem: Problem) -> SourceError {
        self.error_in(Place::Line(line), column, problem)
    }

    /// An error in a row of this table, for formats without lines.
    pub(super) fn error_in_row(&self, row: u64, column: Option<&str>, problem: Problem) -> SourceError {
        self.error_in(Place::Row(row), column, problem)
    }

    /// Whether a source in the chain says how it is read.
    pub(super) fn has_step(&self) -> bool {
        self.has_step
    }

    /// How its values are to be understood.
    pub(super) fn reading(&self) -> Reading {
        Reading {
            lax: self.declared.is_some(),
            nested: self.format != Format::Csv,
        }
    }

    /// Length in bytes now.
    pub fn len(&self) -> Result<u64, SourceError> {
        match &self.content {
            Content::File(path) => Ok(std::fs::metadata(path).map_err(|e| self.error(Problem::Io(e)))?.len()),
            Content::Bytes(bytes) => Ok(bytes.len() as u64),
        }
    }

    /// Whether there are no bytes at all.
    pub fn is_empty(&self) -> Result<bool, SourceError> {
        Ok(self.len()? == 0)
    }

    /// Opens the bytes at `from`.
    pub(super) fn open_at(&self, from: u64) -> Result<Box<dyn Input>, SourceError> {
        let mut input: Box<dyn Input> = match &self.content {
            Content::File(path) => Box::new(File::open(path).map_err(|e| self.error(Problem::Io(e)))?),
            Content::Bytes(bytes) => Box::new(io::Cursor::new(bytes.clone())),
        };
        if from > 0 {
            input
                .seek(SeekFrom::Start(from))
                .map_err(|e| self.error(Problem::Io(e)))?;
        }
        Ok(input)
    }

    /// The file or the bytes, for readers that need random access.
    pub(super) fn random_access(&self) -> Result<RandomAccess, SourceError> {
        Ok(match &self.content {
            Content::File(path) => RandomAccess::File(File::open(path).map_err(|e| self.error(Problem::Io(e)))?),
            Content::Bytes(bytes) => RandomAccess::Bytes(bytes.clone()),
        })
    }

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

/// Writes a stream to the file `spool`, so that it can be read more than once. `name` stands for the stream in messages.
///
/// # Errors
/// The stream breaks off, is longer than `limit` bytes, or the file cannot be written. What was written stays; it is the
/// caller's to remove.
pub fn spool(name: &str, reader: &mut dyn Read, spool: &Path, limit: u64) -> Result<(), SourceError> {
    let fail = |problem| SourceError {
        name: name.to_owned(),
        place: None,
        column: None,
        problem,
    };
    let mut file = File::create(spool).map_err(|e| fail(Problem::Io(e)))?;
    let copied = io::copy(&mut reader.take(limit), &mut file).map_err(|e| fail(Problem::Io(e)))?;
    let mut one = [0u8; 1];
    if copied == limit && reader.read(&mut one).map_err(|e| fail(Problem::Io(e)))? > 0 {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        return Err(fail(Problem::TooLarge {
            limit,
            unit: "bytes",
            hint: "",
        }));
    }
    file.flush().map_err(|e| fail(Problem::Io(e)))
}

pub(super) enum RandomAccess {
    File(File),
    Bytes(Bytes),
}

/// A part of a file in bytes: from `start` up to, not including, `end`. `start` is the beginning of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u64,
    /// Number of lines before `start`, for messages.
    pub line: u64,
    /// One past the last byte.
    pub end: u64,
}

/// Batches of a table, one after the other.
pub trait Batches {
    /// The next batch, or none at the end. A batch has at least one row.
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, SourceError>;

    /// Bytes of the file consumed so far.
    fn bytes(&self) -> u64;
}

/// Shortens a value for a message.
pub(super) fn shorten(value: &str) -> String {
    const LONGEST: usize = 60;
    if value.chars().count() <= LONGEST {
        value.to_owned()
    } else {
        let head: String = value.chars().take(LONGEST).collect();
        format!("{head}…")
    }
}

/// Tells the progress callback, and turns its `Break` into an error.
pub(super) fn report(
    source: &Source,
    progress: &mut OnProgress<'_>,
    phase: Phase,
    bytes: u64,
    total_bytes: u64,
    rows: u64,
) -> Result<(), SourceError> {
    match progress(Progress {
        phase,
        bytes,
        total_bytes,
        rows,
    }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(source.error(Problem::Cancelled)),
    }
}

/// Checks names that come from a file: not twice, not too many, not too long.
pub(super) fn check_names<'n>(source: &Source, names: impl Iterator<Item = &'n str>) -> Result<(), SourceError> {
    let mut seen = std::collections::HashSet::new();
    for (at, name) in names.enumerate() {
        if at >= MAX_COLUMNS {
            return Err(source.error(Problem::TooLarge {
                limit: MAX_COLUMNS,
                unit: "columns",
                hint: "",
            }));
        }
        if name.len() > MAX_COLUMN_NAME_BYTES {
            let problem = Problem::TooLarge {
                limit: MAX_COLUMN_NAME_BYTES,
                unit: "bytes for a column name",
                hint: "",
            };
            return Err(source.column_error(&shorten(name), problem));
        }
        if !seen.insert(name) {
            return Err(source.column_error(name, Problem::Duplicate));
        }
    }
    Ok(())
}
