//! CSV and its kin: one record per row, quoting as the options say (values may contain line breaks).
//!
//! A byte order mark is skipped; UTF-16 is refused by name. Blank lines are skipped. A header field without a name is
//! called `column_N` after its place, because data frames write their index like that; so is every column of a file that
//! has no header and whose source declares none.

use std::io::{self, Read};
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use csv::{ErrorKind, ReaderBuilder, StringRecord};

use super::chunks::{self, BYTE_ORDER_MARK, Chunk, Chunked, Ordered, Rule};
use super::columns::Table;
use super::infer::{Inferred, InferredColumn, Kinds, kind_of_text};
use super::shape::Shape;
use super::source::{
    Batches, MAX_ROW_BYTES, OnProgress, Phase, Problem, Source, SourceError, Span, check_names, report, unsupported,
};

const BUFFER_BYTES: usize = 256 << 10;

/// A reader that refuses to go on when one row takes more than [`MAX_ROW_BYTES`].
struct Bounded<R> {
    inner: R,
    left: usize,
}

#[derive(Debug, thiserror::Error)]
#[error("row too long")]
struct RowTooLong;

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, RowTooLong));
        }
        let most = buf.len().min(self.left);
        let read = self.inner.read(&mut buf[..most])?;
        self.left -= read;
        Ok(read)
    }
}

/// Records with places, from a part of a file.
struct Records {
    source: Source,
    reader: csv::Reader<Bounded<Box<dyn Read + Send>>>,
    record: StringRecord,
    start: u64,
    line_offset: u64,
    /// The file ends inside of quotes.
    open: bool,
    /// Where the last record begins.
    last: csv::Position,
}

impl Records {
    /// From the beginning of the file.
    fn open(source: &Source, end: u64) -> Result<Records, SourceError> {
        let input = Box::new(source.open_at(0)?.take(end));
        Ok(Records::over(source, input, 0, 0, false))
    }

    fn of(source: &Source, chunk: Chunk) -> Records {
        let (start, line, open) = (chunk.start, chunk.line, chunk.open);
        if start > 0 && chunk.bytes.starts_with(BYTE_ORDER_MARK) {
            // Only at the start of a file these bytes are none of its text. A blank line before them keeps them.
            let input = Box::new(io::Cursor::new(b"\n").chain(chunks::input(chunk)));
            return Records::over(source, input, start - 1, line.saturating_sub(1), open);
        }
        Records::over(source, Box::new(chunks::input(chunk)), start, line, open)
    }

    fn over(source: &Source, input: Box<dyn Read + Send>, start: u64, line: u64, open: bool) -> Records {
        let input = Bounded {
            inner: input,
            left: MAX_ROW_BYTES,
        };
        let options = source.options();
        let reader = ReaderBuilder::new()
            .delimiter(options.separator.unwrap_or(b','))
            .quote(options.quote)
            .escape(options.escape)
            .has_headers(false)
            .flexible(true)
            .buffer_capacity(BUFFER_BYTES)
            .from_reader(input);
        Records {
            source: source.clone(),
            reader,
            record: StringRecord::new(),
            start,
            line_offset: line,
            open,
            last: csv::Position::new(),
        }
    }

    /// Reads the next record into `self.record`; false at the end.
    fn advance(&mut self) -> Result<bool, SourceError> {
        let more = match self.reader.read_record(&mut self.record) {
            Ok(more) => more,
            Err(error) => return Err(self.refusal(&error)),
        };
        if more {
            self.reader.get_mut().left = MAX_ROW_BYTES;
            if let Some(position) = self.record.position() {
                self.last.clone_from(position);
            }
        } else if self.open {
            let problem = Problem::Syntax("a quoted value is not closed before the end of the file".to_owned());
            return Err(self.source.error_at(self.line_of(&self.last), None, problem));
        }
        Ok(more)
    }

    /// Line on which the current record begins.
    fn line(&self) -> u64 {
        self.record
            .position()
            .map_or(self.line_offset + 1, |position| self.line_of(position))
    }

    /// Line of the record at a position. The parser's position lies before the line feed of the record before and before
    /// blank lines, so those are looked up: this is only for messages.
    fn line_of(&self, position: &csv::Position) -> u64 {
        let mut line = self.line_offset + position.line();
        if let Ok(input) = self.source.open_at(self.start + position.byte()) {
            for byte in io::BufReader::new(input).bytes() {
                match byte {
                    Ok(b'\n') => line += 1,
                    Ok(b'\r') => {}
                    _ => break,
                }
            }
        }
        line
    }

    /// Where the record behind the current one begins in the file, and the number of lines before it.
    fn behind(&self) -> (u64, u64) {
        let position = self.reader.position();
        (
            self.start + position.byte(),
            self.line_offset + position.line().saturating_sub(1),
        )
    }

    fn refusal(&self, error: &csv::Error) -> SourceError {
        let line = self.line_of(error.position().unwrap_or_else(|| self.reader.position()));
        match error.kind() {
            ErrorKind::Io(io) if io.get_ref().is_some_and(|e| e.is::<RowTooLong>()) => {
                let hint = "; is a quote not closed?";
                self.source.error_at(
                    line,
                    None,
                    Problem::TooLarge {
                        limit: MAX_ROW_BYTES,
                        unit: "bytes for one row",
                        hint,
                    },
                )
            }
            ErrorKind::Io(io) => self
                .source
                .error(Problem::Io(io::Error::new(io.kind(), io.to_string()))),
            ErrorKind::Utf8 { err, .. } => {
                let field = format!("field {}", err.field() + 1);
                self.source.error_at(line, Some(&field), Problem::NotUtf8(""))
            }
            _ => self.source.error_at(line, None, Problem::Syntax(error.to_string())),
        }
    }

    fn check_width(&self, names: &[String]) -> Result<(), SourceError> {
        if self.record.len() == names.len() {
            return Ok(());
        }
        let column = names.get(self.record.len()).or(names.last()).map(String::as_str);
        let problem = Problem::Ragged {
            found: self.record.len() as u64,
            expected: names.len() as u64,
        };
        Err(self.source.error_at(self.line(), column, problem))
    }
}

/// The names of the columns in the order of the file, from its first record and what the source declares.
fn header(records: &mut Records) -> Result<Vec<String>, SourceError> {
    let source = records.source.clone();
    refuse_utf16(&source)?;
    if !records.advance()? {
        return Err(source.error(Problem::Empty));
    }
    let name = |(at, name): (usize, &str)| match name.trim() {
        _ if !source.options().header => format!("column_{}", at + 1),
        "" => format!("column_{}", at + 1),
        name => name.to_owned(),
    };
    let names: Vec<String> = records.record.iter().enumerate().map(name).collect();
    let Some(declared) = source.declared() else {
        check_names(&source, names.iter().map(String::as_str))?;
        return Ok(names);
    };
    let declared = || declared.columns.iter().map(|column| &column.name);
    if source.options().header && declared().all(|name| names.contains(name)) {
        check_names(&source, names.iter().map(String::as_str))?;
        return Ok(names);
    }
    if declared().count() != names.len() {
        let list: Vec<&str> = declared().map(String::as_str).collect();
        let problem = Problem::Width {
            found: names.len() as u64,
            expected: declared().count() as u64,
            declared: list.join(", "),
        };
        return Err(source.error_at(records.line(), None, problem));
    }
    Ok(declared().cloned().collect())
}

/// The names of the columns, and the part of `span` that has rows.
fn names_and_rows(source: &Source, span: Span) -> Result<(Vec<String>, Span), SourceError> {
    let mut records = Records::open(source, span.end)?;
    let names = header(&mut records)?;
    if span.start > 0 || !source.options().header {
        return Ok((names, span));
    }
    let (start, line) = records.behind();
    Ok((names, Span { start, line, ..span }))
}

/// The names of the columns.
pub(super) fn names(source: &Source) -> Result<Vec<String>, SourceError> {
    header(&mut Records::open(source, source.len()?)?)
}

fn rule(source: &Source) -> Rule {
    let options = source.options();
    Rule::Quoted {
        separator: options.separator.unwrap_or(b','),
        quote: options.quote,
        escape: options.escape,
    }
}

fn refuse_utf16(source: &Source) -> Result<(), SourceError> {
    let mut start = [0u8; 2];
    let mut input = source.open_at(0)?;
    if input.read_exact(&mut start).is_ok() && matches!(start, [0xff, 0xfe] | [0xfe, 0xff]) {
        return Err(source.error(Problem::NotUtf8(": it looks like UTF-16; save it as UTF-8")));
    }
    Ok(())
}

/// Types of all columns from all rows; text for all of them, and only one row looked at, if types are not to be found out.
pub(super) fn infer(source: &Source, end: u64, progress: &mut OnProgress<'_>) -> Result<Inferred, SourceError> {
    let whole = Span { start: 0, line: 0, end };
    let (names, span) = names_and_rows(source, whole)?;
    let mut kinds = vec![Kinds::default(); names.len()];
    let mut rows = 0u64;
    if source.options().infer_types {
        let (reader, columns) = (source.clone(), names.clone());
        let work = move |chunk| examine(Records::of(&reader, chunk), &columns);
        let mut chunks = Ordered::start(source, span, rule(source), work)?;
        while let Some(((seen, some), at)) = chunks.next()? {
            kinds.iter_mut().zip(seen).for_each(|(kind, seen)| kind.add(seen));
            rows += some;
            report(source, progress, Phase::Inferring, at, end, rows)?;
        }
    } else {
        kinds.fill(Kinds::TEXT);
        let mut records = Records::open(source, end)?;
        let skipped = !source.options().header || records.advance()?;
        rows = u64::from(skipped && records.advance()?);
    }
    report(source, progress, Phase::Inferring, end, end, rows)?;
    let columns = names
        .into_iter()
        .zip(kinds)
        .map(|(name, kinds)| InferredColumn {
            name,
            data_type: kinds.data_type(source.options()),
            nullable: true,
            note: kinds.note(source.options()),
        })
        .collect();
    Ok(Inferred { columns, rows })
}

/// The kinds of values in each column, and the number of rows.
fn examine(mut records: Records, names: &[String]) -> Result<(Vec<Kinds>, u64), SourceError> {
    let mut kinds = vec![Kinds::default(); names.len()];
    let mut rows = 0u64;
    while records.advance()? {
        records.check_width(names)?;
        for (field, kind) in records.record.iter().zip(&mut kinds) {
            if !field.is_empty() && !kind.settled() {
                kind.add(kind_of_text(field));
            }
        }
        rows += 1;
    }
    Ok((kinds, rows))
}

/// Typed rows of the part `span` of a file, in batches.
pub(super) fn rows(source: &Source, shape: &Shape, span: Span) -> Result<Chunked, SourceError> {
    let (names, span) = names_and_rows(source, span)?;
    let mut targets = Vec::with_capacity(names.len());
    for name in &names {
        let target = shape.position(name);
        if target.is_none() && source.declared().is_none() {
            return Err(source.error_at(1, Some(name), Problem::NotInDataset(shape.names())));
        }
        targets.push(target);
    }
    let absent = (0..shape.width()).filter(|at| !targets.contains(&Some(*at)));
    let (absent, missing): (Vec<usize>, Vec<usize>) = absent.partition(|at| shape.is_optional(*at));
    if let Some(missing) = missing.first() {
        return Err(source.error_at(1, Some(shape.name(*missing)), Problem::NotInFile));
    }
    let layout = Arc::new(Layout { names, targets, absent });
    Table::new(shape, source.reading()).map_err(|at| unsupported(source, shape, at))?;
    let (reader, shape) = (source.clone(), shape.clone());
    Chunked::start(source, span, rule(source), move |chunk| {
        Ok(Rows {
            records: Records::of(&reader, chunk),
            layout: layout.clone(),
            table: Table::new(&shape, reader.reading()).map_err(|at| unsupported(&reader, &shape, at))?,
        })
    })
}

/// Which column of the file goes where.
struct Layout {
    names: Vec<String>,
    /// For each field of a record the column it goes to; none if nobody asked for it.
    targets: Vec<Option<usize>>,
    /// Columns that the file may be, and is, without.
    absent: Vec<usize>,
}

/// Batches of typed rows.
struct Rows {
    records: Records,
    layout: Arc<Layout>,
    table: Table,
}

impl Rows {
    fn fill(&mut self) -> Result<(), SourceError> {
        let layout = &*self.layout;
        while !self.table.full() && self.records.advance()? {
            self.records.check_width(&layout.names)?;
            for (at, field) in self.records.record.iter().enumerate() {
                if let Some(target) = layout.targets[at]
                    && let Err(problem) = self.table.column(target).push_text(field)
                {
                    let line = self.records.line();
                    return Err(self.records.source.error_at(line, Some(&layout.names[at]), problem));
                }
            }
            for at in &layout.absent {
                let pushed = self.table.column(*at).push_null();
                pushed.map_err(|problem| self.records.source.error_at(self.records.line(), None, problem))?;
            }
            self.table.row_done(self.records.record.as_slice().len());
        }
        Ok(())
    }
}

impl Batches for Rows {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        self.fill()?;
        self.table.take().map_err(|problem| self.records.source.error(problem))
    }

    fn bytes(&self) -> u64 {
        self.records.behind().0
    }
}
