//! The objects of a table, one after the other, as text.

use std::io::{BufRead as _, BufReader, Read as _};

use super::scan::Elements;
use crate::chunks::{self, BYTE_ORDER_MARK, Chunk};
use crate::shapes::Shapes;
use crate::source::{Format, Input, MAX_ROW_BYTES, Place, Problem, Source, SourceError, Span};

const BUFFER_BYTES: usize = 256 << 10;

/// The objects of a table, one after the other, as text.
pub(super) enum Objects {
    Lines {
        source: Source,
        input: BufReader<Box<dyn Input>>,
        line: u64,
        consumed: u64,
    },
    Elements(Elements),
    Shapes(Shapes),
}

impl Objects {
    /// Those of a document, which is one whole.
    pub(super) fn open(source: &Source, span: Span) -> Result<Objects, SourceError> {
        if source.format() == Format::EsriShapefile {
            return Shapes::open(source).map(Objects::Shapes);
        }
        let input = BufReader::with_capacity(BUFFER_BYTES, source.open_at(span.start)?.take(span.end - span.start));
        Ok(match source.format() {
            Format::GeoJson => Objects::Elements(Elements::new(source, input, Some("features"))),
            _ => Objects::Elements(Elements::new(source, input, source.options().sub_path.as_deref())),
        })
    }

    pub(super) fn of(source: &Source, chunk: Chunk) -> Objects {
        let (line, consumed) = (chunk.line, chunk.start);
        Objects::Lines {
            source: source.clone(),
            input: BufReader::with_capacity(BUFFER_BYTES, chunks::input(chunk)),
            line,
            consumed,
        }
    }

    /// Puts the text of the next object into `text` and says where it begins.
    pub(super) fn next(&mut self, text: &mut Vec<u8>) -> Result<Option<Place>, SourceError> {
        match self {
            Objects::Elements(elements) => Ok(elements.next(text)?.map(Place::Line)),
            Objects::Shapes(shapes) => Ok(shapes.next(text)?.map(Place::Row)),
            Objects::Lines {
                source,
                input,
                line,
                consumed,
            } => loop {
                text.clear();
                let mut bounded = input.by_ref().take(MAX_ROW_BYTES as u64 + 1);
                let read = bounded
                    .read_until(b'\n', text)
                    .map_err(|e| source.error(Problem::Io(e)))?;
                if read == 0 {
                    return Ok(None);
                }
                *line += 1;
                *consumed += read as u64;
                if text.len() > MAX_ROW_BYTES {
                    let problem = Problem::TooLarge {
                        limit: MAX_ROW_BYTES,
                        unit: "bytes for one row",
                        hint: "",
                    };
                    return Err(source.error_at(*line, None, problem));
                }
                if *line == 1 && text.starts_with(BYTE_ORDER_MARK) {
                    text.drain(..3);
                }
                if !text.trim_ascii().is_empty() {
                    return Ok(Some(Place::Line(*line)));
                }
            },
        }
    }

    pub(super) fn consumed(&self) -> u64 {
        match self {
            Objects::Elements(elements) => elements.consumed(),
            Objects::Shapes(shapes) => shapes.consumed(),
            Objects::Lines { consumed, .. } => *consumed,
        }
    }
}

pub(super) fn utf8<'t>(source: &Source, place: Place, text: &'t [u8]) -> Result<&'t str, SourceError> {
    std::str::from_utf8(text).map_err(|_| source.error_in(place, None, Problem::NotUtf8("")))
}
