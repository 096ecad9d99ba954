//! The lines of a part of a file, or the texts of a sequence, one after the other.

use std::io::{BufRead as _, Read as _};

use serde::de::IgnoredAny;

use super::lenient;
use super::text::RECORD_SEPARATOR;
use crate::chunks::{BYTE_ORDER_MARK, Chunk, Rule};
use crate::source::{MAX_ROW_BYTES, Problem, Source, SourceError};

/// The lines of a part of a file, or the texts of a sequence.
pub(super) struct Lines {
    source: Source,
    content: Content,
    rule: Rule,
    /// Where the part begins in the file.
    start: u64,
    /// How much of it was read.
    read: usize,
    /// Lines of the file before what is read next.
    line: u64,
    /// Rows are read as kamu reads them: objects follow one another, wherever lines end.
    is_lenient: bool,
}

/// A part of a file, looked at as a whole.
enum Content {
    Text(String),
    /// It is not UTF-8, or was not looked at.
    Bytes(Vec<u8>),
}

impl Content {
    fn bytes(&self) -> &[u8] {
        match self {
            Content::Text(text) => text.as_bytes(),
            Content::Bytes(bytes) => bytes,
        }
    }
}

impl Lines {
    /// Those of a part of a file that is cut by `rule`.
    pub(super) fn of(source: &Source, rule: Rule, chunk: Chunk) -> Lines {
        let content = match rule {
            Rule::Lines => match String::from_utf8(chunk.bytes) {
                Ok(text) => Content::Text(text),
                Err(error) => Content::Bytes(error.into_bytes()),
            },
            _ => Content::Bytes(chunk.bytes),
        };
        Lines {
            source: source.clone(),
            content,
            rule,
            start: chunk.start,
            read: 0,
            line: chunk.line,
            is_lenient: matches!(rule, Rule::Lines) && source.has_step(),
        }
    }

    /// Puts the next that is not blank into `text` and says on which line it begins.
    pub(super) fn next(&mut self, text: &mut Vec<u8>) -> Result<Option<u64>, SourceError> {
        let in_sequence = matches!(self.rule, Rule::Records { .. });
        let end = if in_sequence { RECORD_SEPARATOR } else { b'\n' };
        loop {
            text.clear();
            let rest = self.content.bytes().get(self.read..).unwrap_or_default();
            let read = rest.take(MAX_ROW_BYTES as u64 + 1).read_until(end, text);
            let read = read.map_err(|error| self.source.error(Problem::Io(error)))?;
            if read == 0 {
                return Ok(None);
            }
            let (is_first, begins) = (self.consumed() == 0, self.line + 1);
            self.line += text.iter().filter(|byte| **byte == b'\n').count() as u64;
            self.read += read;
            if text.len() > MAX_ROW_BYTES {
                let problem = Problem::TooLarge {
                    limit: MAX_ROW_BYTES,
                    unit: "bytes for one row",
                    hint: "",
                };
                return Err(self.source.error_at(begins, None, problem));
            }
            if in_sequence && text.last() == Some(&RECORD_SEPARATOR) {
                text.pop();
            }
            if is_first && text.starts_with(BYTE_ORDER_MARK) {
                text.drain(..BYTE_ORDER_MARK.len());
            }
            if text.trim_ascii().is_empty() {
                continue;
            }
            if self.is_lenient && serde_json::from_slice::<IgnoredAny>(text).is_err() {
                let skipped = read - text.len();
                self.object_at(self.read - read + skipped, begins, text);
            }
            return Ok(Some(begins));
        }
    }

    /// Puts the object that begins at `at`, on line `begins`, into `text` if there is one in kamu's reading, and goes on
    /// behind it. Else everything stays as it is, and what is wrong is for who parses it to say.
    fn object_at(&mut self, at: usize, begins: u64, text: &mut Vec<u8>) {
        let Content::Text(content) = &self.content else {
            return;
        };
        let Some((object, length)) = content.get(at..).and_then(lenient::object) else {
            return;
        };
        if length > MAX_ROW_BYTES {
            return;
        }
        let (bytes, end) = (content.as_bytes(), at + length);
        // Up to the end of the line there may be nothing.
        let blanks = bytes.get(end..).unwrap_or_default().iter();
        let blanks = blanks.take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r')).count();
        let end = match bytes.get(end + blanks) {
            Some(b'\n') => end + blanks + 1,
            None => end + blanks,
            Some(_) => end,
        };
        let lines = bytes
            .get(at..end)
            .unwrap_or_default()
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        self.line = begins - 1 + lines as u64;
        self.read = end;
        *text = object.into_bytes();
    }

    /// All that comes, if it is known to be text in lines.
    pub(super) fn rest(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => text.get(self.read..),
            Content::Bytes(_) => None,
        }
    }

    /// Leaves out the next `lines`, which take so many `bytes`.
    pub(super) fn pass(&mut self, lines: u64, bytes: usize) {
        self.read += bytes;
        self.line += lines;
    }

    /// Bytes of the file up to what is read next.
    pub(super) fn consumed(&self) -> u64 {
        self.start + self.read as u64
    }
}
