//! Records with their places, from a part of a delimited file.

use std::io::{self, Read};

use bytes::Bytes;
use csv::{ErrorKind, ReaderBuilder, StringRecord};

use crate::chunks::{BYTE_ORDER_MARK, Chunk, line_breaks};
use crate::source::{MAX_ROW_BYTES, Problem, Source, SourceError};

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
pub(super) struct Records {
    source: Source,
    reader: csv::Reader<Bounded<Box<dyn Read + Send>>>,
    /// The current one.
    pub(super) record: StringRecord,
    /// What is read, if it is in memory, and how many bytes stand before it that are not in the file.
    raw: Option<(Bytes, usize)>,
    start: u64,
    line_offset: u64,
    /// The file ends inside of quotes.
    open: bool,
    /// Where the last record begins.
    last: csv::Position,
}

impl Records {
    /// From the beginning of the file.
    pub(super) fn open(source: &Source, end: u64) -> Result<Records, SourceError> {
        let input = Box::new(source.open_at(0)?.take(end));
        Ok(Records::over(source, input, 0, 0, false))
    }

    pub(super) fn of(source: &Source, chunk: Chunk) -> Records {
        let (start, line, open) = (chunk.start, chunk.line, chunk.open);
        let bytes = Bytes::from(chunk.bytes);
        // Only at the start of a file these bytes are none of its text. A blank line before them keeps them.
        let marked = start > 0 && bytes.starts_with(BYTE_ORDER_MARK);
        let input = io::Cursor::new(bytes.clone());
        let records = match marked {
            true => {
                let input = Box::new(io::Cursor::new(b"\n").chain(input));
                Records::over(source, input, start - 1, line.saturating_sub(1), open)
            }
            false => Records::over(source, Box::new(input), start, line, open),
        };
        Records {
            raw: Some((bytes, usize::from(marked))),
            ..records
        }
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
            raw: None,
            start,
            line_offset: line,
            open,
            last: csv::Position::new(),
        }
    }

    /// The table they are from.
    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// Reads the next record into `self.record`; false at the end.
    pub(super) fn advance(&mut self) -> Result<bool, SourceError> {
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

    /// Says for each field of the current record whether quotes stand around it. All false if nothing is known of them.
    /// Gives the number of the first field that goes on behind its closing quote: the parser joins what it finds, without
    /// the quotes.
    pub(super) fn quoted(&self, fields: &mut Vec<bool>) -> Option<usize> {
        fields.clear();
        fields.resize(self.record.len(), false);
        let (raw, before) = self.raw.as_ref()?;
        let at = |position: &csv::Position| {
            usize::try_from(position.byte())
                .unwrap_or(usize::MAX)
                .saturating_sub(*before)
        };
        let text = raw.get(at(&self.last)..at(self.reader.position())).unwrap_or_default();
        let options = self.source.options();
        if !text.contains(&options.quote) {
            return None;
        }
        let mut text = text;
        // Where a line was put before them, they are not the start of the file.
        if self.start == 0 && *before == 0 && at(&self.last) == 0 {
            text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        }
        while let [b'\n' | b'\r', rest @ ..] = text {
            text = rest;
        }
        let separator = options.separator.unwrap_or(b',');
        let (mut field, mut begins, mut inside, mut escaped) = (0, true, false, false);
        let mut goes_on = None;
        for byte in text.iter().copied() {
            if inside {
                match byte {
                    _ if escaped => escaped = false,
                    _ if Some(byte) == options.escape => escaped = true,
                    // A doubled one goes in again with the next byte.
                    _ if byte == options.quote => inside = false,
                    _ => {}
                }
                continue;
            }
            if byte == separator {
                (field, begins) = (field + 1, true);
                continue;
            }
            let is_quoted = fields.get(field).is_some_and(|quoted| *quoted);
            if byte == options.quote && (begins || is_quoted) {
                if let Some(quoted) = fields.get_mut(field) {
                    *quoted = true;
                }
                inside = true;
            } else if is_quoted && !matches!(byte, b'\r' | b'\n') {
                goes_on = goes_on.or(Some(field));
            }
            begins = false;
        }
        goes_on
    }

    /// Line on which the current record begins.
    pub(super) fn line(&self) -> u64 {
        self.record
            .position()
            .map_or(self.line_offset + 1, |position| self.line_of(position))
    }

    /// Line of the record at a position. The parser's position lies before the line feed of the record before and before
    /// blank lines, so those are looked up: this is only for messages.
    fn line_of(&self, position: &csv::Position) -> u64 {
        let mut text = Vec::new();
        if let Ok(input) = self.source.open_at(self.start) {
            let _ = input.take(position.byte()).read_to_end(&mut text);
        }
        if let Ok(input) = self.source.open_at(self.start + position.byte()) {
            let blank = |byte: &io::Result<u8>| matches!(byte, Ok(b'\n' | b'\r'));
            text.extend(io::BufReader::new(input).bytes().take_while(blank).flatten());
        }
        self.line_offset + 1 + line_breaks(&text, None)
    }

    /// Where the record behind the current one begins in the file, and the number of lines before it.
    pub(super) fn behind(&self) -> (u64, u64) {
        let position = self.reader.position();
        let mut text = Vec::new();
        // One more, because a line feed may follow.
        if let Ok(input) = self.source.open_at(self.start) {
            let _ = input.take(position.byte() + 1).read_to_end(&mut text);
        }
        let next = match text.len() as u64 > position.byte() {
            true => text.pop(),
            false => None,
        };
        (
            self.start + position.byte(),
            self.line_offset + line_breaks(&text, next),
        )
    }

    /// Bytes of the file up to the end of the current record.
    pub(super) fn consumed(&self) -> u64 {
        self.start + self.reader.position().byte()
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
                let hint = "; if it is Latin-1 or Windows-1252, save it as UTF-8 (iconv -f WINDOWS-1252 -t UTF-8)";
                self.source.error_at(line, Some(&field), Problem::NotUtf8(hint))
            }
            _ => self.source.error_at(line, None, Problem::Syntax(error.to_string())),
        }
    }

    /// Refuses a record of another width than the header.
    pub(super) fn check_width(&self, names: &[String]) -> Result<(), SourceError> {
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
