//! The objects of a table, one after the other, as text.

use std::collections::HashMap;
use std::io::{BufReader, Read as _};

use arrow::datatypes::DataType;

use super::lines::Lines;
use super::scan::Elements;
use super::text::RECORD_SEPARATOR;
use crate::chunks::{BYTE_ORDER_MARK, Chunk, Rule};
use crate::shapes::Shapes;
use crate::source::{Format, Place, Problem, Source, SourceError, Span};

/// The `type` of a document with features, as JSON.
const COLLECTION: &str = "\"FeatureCollection\"";

const BUFFER_BYTES: usize = 256 << 10;
/// How far into a file is looked for what tells a sequence from lines.
const SNIFFED_BYTES: u64 = 4096;

/// The objects of a table, one after the other, as text.
pub(super) enum Objects {
    /// Each in a line, or each behind a record separator.
    Lines(Lines),
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
            Format::GeoJson => {
                let elements = Elements::new(source, input, Some("features"));
                let is_lax = !source.has_step() || source.takes_nulls();
                Objects::Elements(if is_lax { elements } else { elements.of_type(COLLECTION) })
            }
            _ => Objects::Elements(Elements::new(source, input, source.options().sub_path.as_deref())),
        })
    }

    /// Those of a part of a file that is cut by this rule.
    pub(super) fn of(source: &Source, rule: Rule, chunk: Chunk) -> Objects {
        Objects::Lines(Lines::of(source, rule, chunk))
    }

    /// Puts the text of the next object into `text` and says where it begins.
    pub(super) fn next(&mut self, text: &mut Vec<u8>) -> Result<Option<Place>, SourceError> {
        match self {
            Objects::Elements(elements) => Ok(elements.next(text)?.map(Place::Line)),
            Objects::Shapes(shapes) => Ok(shapes.next(text)?.map(Place::Row)),
            Objects::Lines(lines) => Ok(lines.next(text)?.map(Place::Line)),
        }
    }

    /// The types of columns that hold all that was read, where the format says more than the values do.
    pub(super) fn types(&self) -> HashMap<String, DataType> {
        match self {
            Objects::Shapes(shapes) => shapes.types().map(|(name, t)| (name.to_owned(), t)).collect(),
            Objects::Lines(_) | Objects::Elements(_) => HashMap::new(),
        }
    }

    pub(super) fn consumed(&self) -> u64 {
        match self {
            Objects::Elements(elements) => elements.consumed(),
            Objects::Shapes(shapes) => shapes.consumed(),
            Objects::Lines(lines) => lines.consumed(),
        }
    }
}

/// Where the objects of a file end that has one after the other: with their lines, or, if the first stands behind a record
/// separator, before the next one. Then they may have line breaks in them.
pub(crate) fn rule(source: &Source) -> Result<Rule, SourceError> {
    let mut start = Vec::new();
    let read = source.open_at(0)?.take(SNIFFED_BYTES).read_to_end(&mut start);
    read.map_err(|error| source.error(Problem::Io(error)))?;
    let text = start.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&start);
    Ok(match text.trim_ascii_start().first() {
        Some(&RECORD_SEPARATOR) => Rule::Records {
            separator: RECORD_SEPARATOR,
        },
        _ => Rule::Lines,
    })
}

pub(super) fn utf8<'t>(source: &Source, place: Place, text: &'t [u8]) -> Result<&'t str, SourceError> {
    std::str::from_utf8(text).map_err(|_| source.error_in(place, None, Problem::NotUtf8("")))
}
