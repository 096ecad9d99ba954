//! NDJSON, JSON documents with an array of objects, and GeoJSON feature collections: all are streams of objects.
//!
//! The text of a document is cut into the elements of its array by a small scanner that holds one element at a time, so
//! a document of any size is read in bounded memory. Values are parsed from the text as written: integers keep all their
//! digits, floats are rounded once. Arrays and objects become JSON text without blanks, keys sorted, numbers as written.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader, Read};

use arrow::record_batch::RecordBatch;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::chunks::{self, BYTE_ORDER_MARK, Chunk, Chunked, Rule};
use super::columns::Table;
use super::delimited::unsupported;
use super::shape::Shape;
use super::shapes::Shapes;
use super::source::{Batches, Format, Input, MAX_ROW_BYTES, Place, Problem, Source, SourceError, Span};

mod look;
mod scan;

pub(super) use look::infer;
use scan::Elements;

/// How deep arrays and objects may nest inside one value.
pub const MAX_DEPTH: usize = 64;

/// The column that holds the geometry of a GeoJSON feature.
pub(super) const GEOMETRY: &str = "geometry";

const BUFFER_BYTES: usize = 256 << 10;

/// What is wrong with a row, and in which column if that is known.
pub(super) type Refused = (Option<String>, Problem);

/// Called with the name and the text of a value.
pub(super) type OnCell<'c> = dyn FnMut(Cow<'_, str>, &str) -> Result<(), Refused> + 'c;

/// The objects of a table, one after the other, as text.
enum Objects {
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
    fn open(source: &Source, span: Span) -> Result<Objects, SourceError> {
        if source.format() == Format::EsriShapefile {
            return Shapes::open(source).map(Objects::Shapes);
        }
        let input = BufReader::with_capacity(BUFFER_BYTES, source.open_at(span.start)?.take(span.end - span.start));
        Ok(match source.format() {
            Format::GeoJson => Objects::Elements(Elements::new(source, input, Some("features"))),
            _ => Objects::Elements(Elements::new(source, input, source.options().sub_path.as_deref())),
        })
    }

    fn of(source: &Source, chunk: Chunk) -> Objects {
        let (line, consumed) = (chunk.line, chunk.start);
        Objects::Lines {
            source: source.clone(),
            input: BufReader::with_capacity(BUFFER_BYTES, chunks::input(chunk)),
            line,
            consumed,
        }
    }

    /// Puts the text of the next object into `text` and says where it begins.
    fn next(&mut self, text: &mut Vec<u8>) -> Result<Option<Place>, SourceError> {
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

    fn consumed(&self) -> u64 {
        match self {
            Objects::Elements(elements) => elements.consumed(),
            Objects::Shapes(shapes) => shapes.consumed(),
            Objects::Lines { consumed, .. } => *consumed,
        }
    }
}

/// Calls `visit` for every member of the JSON object `text`, values as written.
pub(super) fn members(text: &str, visit: &mut OnCell<'_>) -> Result<(), Refused> {
    struct Walk<'v, 'c> {
        visit: &'v mut OnCell<'c>,
        refused: &'v mut Option<Refused>,
    }
    impl<'de> Visitor<'de> for Walk<'_, '_> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            while let Some(key) = map.next_key::<Key<'de>>()? {
                let value: &RawValue = map.next_value()?;
                if self.refused.is_none()
                    && let Err(refused) = (self.visit)(key.0, value.get())
                {
                    *self.refused = Some(refused);
                }
            }
            Ok(())
        }
    }
    let mut refused = None;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let walked = deserializer
        .deserialize_map(Walk {
            visit,
            refused: &mut refused,
        })
        .and_then(|()| deserializer.end());
    match (walked, refused) {
        (Err(error), _) => Err((None, Problem::Syntax(format!("not a JSON object: {error}")))),
        (Ok(()), Some(refused)) => Err(refused),
        (Ok(()), None) => Ok(()),
    }
}

/// A key, borrowed where it has no escapes.
struct Key<'de>(Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// The text of a JSON string.
pub(super) fn decode_string(raw: &str) -> Result<Cow<'_, str>, Problem> {
    let key: Key<'_> =
        serde_json::from_str(raw).map_err(|error| Problem::Syntax(format!("not a JSON string: {error}")))?;
    Ok(key.0)
}

/// The items of a JSON array as written.
pub(super) fn items(raw: &str) -> Result<Vec<&RawValue>, Problem> {
    serde_json::from_str(raw).map_err(|error| Problem::Syntax(format!("not a JSON array: {error}")))
}

/// A JSON value without blanks and with sorted keys; scalars stay as written. The last of two equal keys wins.
pub(super) fn canonical(raw: &str) -> Result<String, Problem> {
    let mut out = String::with_capacity(raw.len());
    let mut keep = |scalar: &str, out: &mut String| {
        out.push_str(scalar);
        Ok(())
    };
    write_canonical(raw, 0, &mut keep, &mut out)?;
    Ok(out)
}

/// A JSON value likewise, but with scalars in the one form that a whole parse and a print give them: how kamu writes
/// geometries.
fn reprinted(raw: &str) -> Result<String, Problem> {
    let mut out = String::with_capacity(raw.len());
    let mut reprint = |scalar: &str, out: &mut String| {
        let value: serde_json::Value = serde_json::from_str(scalar).map_err(not_json)?;
        out.push_str(&value.to_string());
        Ok(())
    };
    write_canonical(raw, 0, &mut reprint, &mut out)?;
    Ok(out)
}

fn not_json(error: serde_json::Error) -> Problem {
    Problem::Syntax(format!("not JSON: {error}"))
}

/// Called with a scalar as written and the text to append it to.
type OnScalar<'s> = dyn FnMut(&str, &mut String) -> Result<(), Problem> + 's;

fn write_canonical(raw: &str, depth: usize, scalar: &mut OnScalar<'_>, out: &mut String) -> Result<(), Problem> {
    if depth > MAX_DEPTH {
        return Err(Problem::TooLarge {
            limit: MAX_DEPTH,
            unit: "levels of nesting",
            hint: "",
        });
    }
    match raw.as_bytes().first() {
        Some(b'{') => {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(raw).map_err(not_json)?;
            out.push('{');
            for (at, (key, value)) in members.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                out.push_str(&serde_json::to_string(key).map_err(not_json)?);
                out.push(':');
                write_canonical(value.get(), depth + 1, scalar, out)?;
            }
            out.push('}');
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(raw).map_err(not_json)?;
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_canonical(item.get(), depth + 1, scalar, out)?;
            }
            out.push(']');
        }
        _ => scalar(raw, out)?,
    }
    Ok(())
}

/// Calls `visit` with every column of a row: the members of an object, or the properties and geometry of a feature.
fn cells(format: Format, text: &str, visit: &mut OnCell<'_>) -> Result<(), Refused> {
    if !format.has_features() {
        return members(text, visit);
    }
    let mut properties = None;
    let mut geometry = None;
    members(text, &mut |key, raw| {
        match key.as_ref() {
            "properties" => properties = Some(raw.to_owned()),
            GEOMETRY => geometry = Some(raw.to_owned()),
            _ => {}
        }
        Ok(())
    })?;
    match properties.as_deref() {
        Some("null") => {}
        // The geometry hides a property of its name.
        Some(raw) => members(raw, &mut |key, raw| {
            if key == GEOMETRY { Ok(()) } else { visit(key, raw) }
        })?,
        None => {
            return Err((
                None,
                Problem::Syntax("not a GeoJSON feature: it has no `properties`".to_owned()),
            ));
        }
    }
    let geometry = match geometry.as_deref() {
        None | Some("null") => "null".to_owned(),
        Some(raw) => {
            let printed = reprinted(raw).map_err(|problem| (Some(GEOMETRY.to_owned()), problem))?;
            serde_json::Value::from(printed).to_string()
        }
    };
    visit(Cow::Borrowed(GEOMETRY), &geometry)
}

fn utf8<'t>(source: &Source, place: Place, text: &'t [u8]) -> Result<&'t str, SourceError> {
    std::str::from_utf8(text).map_err(|_| source.error_in(place, None, Problem::NotUtf8("")))
}

/// Typed rows of a file with one object per line, in batches.
pub(super) fn lines(source: &Source, shape: &Shape, span: Span) -> Result<Chunked, SourceError> {
    Table::new(shape, source.reading()).map_err(|at| unsupported(source, shape, at))?;
    let (reader, shape) = (source.clone(), shape.clone());
    let rows = move |chunk| Rows::new(&reader, &shape, Objects::of(&reader, chunk));
    Chunked::start(source, span, Rule::Lines, rows)
}

/// Batches of typed rows. A member that a row lacks is null; one that the dataset lacks is refused, unless the source
/// declares its columns: then it was left out on purpose.
pub(super) struct Rows {
    source: Source,
    shape: Shape,
    objects: Objects,
    table: Table,
    text: Vec<u8>,
    /// Row in which each column was last given a value, counted from 1.
    given: Vec<u64>,
    row: u64,
}

impl Rows {
    pub(super) fn open(source: &Source, shape: &Shape, span: Span) -> Result<Rows, SourceError> {
        Rows::new(source, shape, Objects::open(source, span)?)
    }

    fn new(source: &Source, shape: &Shape, objects: Objects) -> Result<Rows, SourceError> {
        let table = Table::new(shape, source.reading()).map_err(|at| unsupported(source, shape, at))?;
        Ok(Rows {
            source: source.clone(),
            shape: shape.clone(),
            objects,
            table,
            text: Vec::new(),
            given: vec![0; shape.width()],
            row: 0,
        })
    }

    fn fill(&mut self) -> Result<(), SourceError> {
        while !self.table.full() {
            let Some(place) = self.objects.next(&mut self.text)? else {
                return Ok(());
            };
            self.row += 1;
            let (row, shape, table, given) = (self.row, &self.shape, &mut self.table, &mut self.given);
            let (mut expected, lax) = (0, self.source.declared().is_some());
            cells(
                self.source.format(),
                utf8(&self.source, place, &self.text)?,
                &mut |key, raw| {
                    let at = if expected < shape.width() && shape.name(expected) == key {
                        expected
                    } else {
                        match shape.position(&key) {
                            Some(at) => at,
                            None if lax => return Ok(()),
                            None => return Err((Some(key.to_string()), Problem::NotInDataset(shape.names()))),
                        }
                    };
                    expected = at + 1;
                    if given[at] == row {
                        return Err((Some(key.to_string()), Problem::Duplicate));
                    }
                    given[at] = row;
                    table
                        .column(at)
                        .push_json(raw)
                        .map_err(|problem| (Some(key.to_string()), problem))
                },
            )
            .map_err(|(column, problem)| self.source.error_in(place, column.as_deref(), problem))?;
            for (at, given) in given.iter().enumerate() {
                if *given != row {
                    let missing = |problem| self.source.error_in(place, Some(shape.name(at)), problem);
                    table.column(at).push_null().map_err(missing)?;
                }
            }
            self.table.row_done(self.text.len());
        }
        Ok(())
    }
}

impl Batches for Rows {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        self.fill()?;
        self.table.take().map_err(|problem| self.source.error(problem))
    }

    fn bytes(&self) -> u64 {
        self.objects.consumed()
    }
}
