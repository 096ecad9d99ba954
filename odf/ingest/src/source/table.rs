//! One table, readable several times from the start.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::fingerprint::Fingerprint;
use super::format::Format;
use super::options::{ReadOptions, Reading};
use super::problem::{Place, Problem, SourceError};
use super::rows::Rows;
use super::told::{Alteration, Altered, Told};
use crate::infer::Inferred;

/// One table, readable several times from the start.
#[derive(Clone, Debug)]
pub struct Source {
    pub(super) name: String,
    pub(super) content: Content,
    pub(super) format: Format,
    pub(super) options: ReadOptions,
    /// It is read as a source in the chain says.
    pub(super) has_step: bool,
    pub(super) declared: Option<Arc<Inferred>>,
    /// The file is somebody's, and the same the next time; one that a stream was written to is not.
    pub(super) lasting: bool,
    /// What there is to be said of the last reading; shared by its copies.
    pub(super) told: Arc<Told>,
    /// The source in the chain says that features may lack a geometry.
    pub(super) takes_nulls: bool,
    /// It was made of a sheet, and which rows of that its lines are.
    pub(super) rows: Option<Arc<Rows>>,
}

/// The bytes of a table.
#[derive(Clone, Debug)]
pub enum Content {
    /// In a file.
    File(PathBuf),
    /// In memory.
    Bytes(Bytes),
}

/// What [`Source`] reads from.
pub(crate) trait Input: Read + Seek + Send {}

impl<T: Read + Seek + Send> Input for T {}

/// A table opened at its first byte.
pub(crate) struct Opened {
    pub(crate) input: Box<dyn Input>,
    /// Its length in bytes then.
    pub(crate) length: u64,
    /// That of the very file that was opened; none where the next time there is another.
    pub(crate) fingerprint: Option<Fingerprint>,
}

impl Source {
    /// That of the file; none for a table in memory, which does not change, and for a file that is not there.
    pub(crate) fn fingerprint(&self) -> Result<Option<Fingerprint>, SourceError> {
        match &self.content {
            Content::Bytes(_) => Ok(None),
            Content::File(path) => match Fingerprint::of(path) {
                Ok(fingerprint) => Ok(Some(fingerprint)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(self.error(Problem::Io(error))),
            },
        }
    }

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
            lasting: true,
            told: Arc::default(),
            takes_nulls: false,
            rows: None,
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
            lasting: false,
            told: Arc::default(),
            takes_nulls: false,
            rows: None,
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
        Ok(Self::spooled(name, spool, format, options))
    }

    /// A table that is, or will be, in the file `spool` for this once.
    pub(crate) fn spooled(name: &str, spool: &Path, format: Format, options: ReadOptions) -> Source {
        Source {
            name: name.to_owned(),
            content: Content::File(spool.to_owned()),
            format,
            options,
            has_step: false,
            declared: None,
            lasting: false,
            told: Arc::default(),
            takes_nulls: false,
            rows: None,
        }
    }

    /// The same table, made of a sheet, whose rows messages are to name.
    pub(crate) fn with_rows(mut self, rows: Arc<Rows>) -> Source {
        self.rows = Some(rows);
        self
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

    /// With this separator, unless one is said.
    pub(crate) fn or_separated_by(&self, separator: Option<u8>) -> Source {
        let mut source = self.clone();
        source.options.separator = source.options.separator.or(separator);
        source
    }

    /// With its first record a row.
    pub(crate) fn without_header(mut self) -> Source {
        self.options.header = false;
        self
    }

    /// With rows in this member of it, unless one is said.
    pub(crate) fn or_below(&self, sub_path: Option<&str>) -> Source {
        let mut source = self.clone();
        source.options.sub_path = source.options.sub_path.or_else(|| sub_path.map(str::to_owned));
        source
    }

    /// An error about this table as a whole.
    pub(crate) fn error(&self, problem: Problem) -> SourceError {
        SourceError {
            name: self.name.clone(),
            place: None,
            column: None,
            problem,
        }
    }

    /// An error about a column of this table.
    pub(crate) fn column_error(&self, column: &str, problem: Problem) -> SourceError {
        SourceError {
            name: self.name.clone(),
            place: None,
            column: Some(column.to_owned()),
            problem,
        }
    }

    /// An error at a place of this table.
    pub(crate) fn error_in(&self, place: Place, column: Option<&str>, problem: Problem) -> SourceError {
        let place = match (place, &self.rows) {
            (Place::Line(line), Some(rows)) => Place::Row(rows.of(line)),
            (place, _) => place,
        };
        SourceError {
            name: self.name.clone(),
            place: Some(place),
            column: column.map(str::to_owned),
            problem,
        }
    }

    /// An error on a line of this table.
    pub(crate) fn error_at(&self, line: u64, column: Option<&str>, problem: Problem) -> SourceError {
        self.error_in(Place::Line(line), column, problem)
    }

    /// An error in a row of this table, for formats without lines.
    pub(crate) fn error_in_row(&self, row: u64, column: Option<&str>, problem: Problem) -> SourceError {
        self.error_in(Place::Row(row), column, problem)
    }

    /// Whether a source in the chain says how it is read.
    pub(crate) fn has_step(&self) -> bool {
        self.has_step
    }

    /// How its values are to be understood.
    pub(crate) fn reading(&self) -> Reading {
        Reading {
            lax: self.declared.is_some(),
            cut_times: self.options.cut_times,
            nested: self.format != Format::Csv,
            tells: self.has_step && self.format != Format::Parquet,
        }
    }

    /// Whether of digits of times below the millisecond, which are not stored, is told instead of refusing them. Parquet with
    /// declared columns refuses them.
    pub(crate) fn tells_of_times(&self) -> bool {
        self.has_step && (self.format != Format::Parquet || self.declared.is_none())
    }

    /// Whether features without a geometry or without properties are taken, though kamu refuses them: where nothing in the
    /// chain says how they are read, or a source that was made of such a table.
    pub(crate) fn takes_nulls(&self) -> bool {
        !self.has_step || self.takes_nulls
    }

    /// With all rows looked at where columns are found out.
    pub(crate) fn looked_at_whole(mut self) -> Source {
        self.options.first_rows = None;
        self
    }

    /// So many values of a column are to be told of, if the reading goes well.
    pub(crate) fn tell(&self, column: &str, change: Alteration, values: u64) {
        self.told.add(column, change, values);
    }

    /// The same, if there are any.
    pub(crate) fn tell_of(&self, column: &str, change: Alteration, values: u64) {
        if values > 0 {
            self.tell(column, change, values);
        }
    }

    /// What there is to be said of the last reading of [`Source::rows`], by column.
    pub fn told(&self) -> Vec<(String, Altered)> {
        self.told.all()
    }

    /// Whether there is anything; a file may not be there.
    pub(crate) fn is_there(&self) -> bool {
        match &self.content {
            Content::File(path) => path.exists(),
            Content::Bytes(_) => true,
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

    /// Whether a line ends with the first `length` bytes, or right behind them.
    pub(crate) fn ends_a_line(&self, length: u64) -> Result<bool, SourceError> {
        let mut around = Vec::new();
        let read = self.open_at(length.saturating_sub(1))?.take(2).read_to_end(&mut around);
        read.map_err(|error| self.error(Problem::Io(error)))?;
        Ok(length == 0 || around.iter().any(|byte| matches!(byte, b'\n' | b'\r')))
    }

    /// Opens the table to read it from the start.
    pub(crate) fn open(&self) -> Result<Opened, SourceError> {
        let failed = |error| self.error(Problem::Io(error));
        match &self.content {
            Content::File(path) => {
                let file = File::open(path).map_err(failed)?;
                let metadata = file.metadata().map_err(failed)?;
                Ok(Opened {
                    input: Box::new(file),
                    length: metadata.len(),
                    fingerprint: self.lasting.then(|| Fingerprint::of_metadata(&metadata)),
                })
            }
            Content::Bytes(bytes) => Ok(Opened {
                input: Box::new(io::Cursor::new(bytes.clone())),
                length: bytes.len() as u64,
                fingerprint: None,
            }),
        }
    }

    /// Opens the bytes at `from`.
    pub(crate) fn open_at(&self, from: u64) -> Result<Box<dyn Input>, SourceError> {
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
    pub(crate) fn random_access(&self) -> Result<RandomAccess, SourceError> {
        Ok(match &self.content {
            Content::File(path) => RandomAccess::File(File::open(path).map_err(|e| self.error(Problem::Io(e)))?),
            Content::Bytes(bytes) => RandomAccess::Bytes(bytes.clone()),
        })
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

pub(crate) enum RandomAccess {
    File(File),
    Bytes(Bytes),
}
