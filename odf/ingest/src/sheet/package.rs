//! The archive that a workbook is, and the XML in its parts, event by event. No part is unpacked to memory or disk, and no
//! more of it is held than one event.

use std::fmt::Display;
use std::io::{self, BufReader, Read};
use std::path::Path;

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use crate::archive::{self, Entry};
use crate::source::{Format, MAX_ROW_BYTES, Problem, ReadOptions, Source, SourceError};

/// The most bytes that a part may unpack to. They are not held, so it is a bound on time.
pub(super) const MAX_PART_BYTES: u64 = 4 << 30;

/// The most bytes that one tag, or a text between two, may have. It is held in memory.
pub(super) const MAX_EVENT_BYTES: u64 = 16 << 20;

/// How deep elements may lie within each other.
pub(super) const MAX_DEPTH: usize = 256;

/// How workbooks of other kinds begin: those of before 2007, and `.xlsx` with a password.
const COMPOUND: &[u8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1";

/// How every zip archive begins.
const ZIP: &[u8] = b"PK";

/// A workbook as an archive.
pub(super) struct Package {
    source: Source,
    entries: Vec<Entry>,
}

impl Package {
    /// The workbook in the file `path`, which messages call `name`.
    ///
    /// # Errors
    /// It is not there, empty, or no zip archive that can be read.
    pub(super) fn open(name: &str, path: &Path) -> Result<Self, SourceError> {
        // Which format is said plays no part: it is read as an archive only.
        let source = Source::spooled(name, path, Format::Csv, ReadOptions::default());
        let mut start = Vec::new();
        let read = source.open_at(0)?.take(8).read_to_end(&mut start);
        read.map_err(|error| match error.kind() {
            io::ErrorKind::IsADirectory => source.error(Problem::Directory),
            _ => source.error(Problem::Io(error)),
        })?;
        match start.as_slice() {
            [] => return Err(source.error(Problem::Empty)),
            COMPOUND => {
                return Err(source.error(Problem::Foreign(
                    "an old Excel file (.xls), or a workbook with a password; save it as .xlsx without one",
                )));
            }
            start if !start.starts_with(ZIP) => {
                let what =
                    "not a workbook: neither .xlsx nor .ods begins like this; what is in it may be CSV (--format csv)";
                return Err(source.error(Problem::Syntax(what.to_owned())));
            }
            _ => {}
        }
        let entries = archive::entries(&source)?;
        Ok(Self { source, entries })
    }

    /// An error of the workbook as a whole.
    pub(super) fn error(&self, problem: Problem) -> SourceError {
        self.source.error(problem)
    }

    /// The error that it is damaged, and how.
    pub(super) fn damaged(&self, what: impl Display) -> SourceError {
        self.error(Problem::Syntax(format!("not a readable workbook: {what}")))
    }

    pub(super) fn has(&self, part: &str) -> bool {
        self.entry(part).is_some()
    }

    /// That a row, or a text in it, is longer than a row may be: it is held in memory.
    pub(super) fn row_too_long(&self) -> SourceError {
        self.error(Problem::TooLarge {
            limit: MAX_ROW_BYTES,
            unit: "bytes for one row",
            hint: "",
        })
    }

    /// Names differ by more than their case.
    fn entry(&self, part: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name.eq_ignore_ascii_case(part))
    }

    /// The part at its beginning.
    ///
    /// # Errors
    /// It is not there.
    pub(super) fn part(&self, name: &str) -> Result<Part<'_>, SourceError> {
        self.part_within(name, MAX_PART_BYTES)
    }

    /// The same, with at most so many bytes.
    pub(super) fn part_within(&self, name: &str, limit: u64) -> Result<Part<'_>, SourceError> {
        let entry = self
            .entry(name)
            .ok_or_else(|| self.damaged(format_args!("there is no {name} in it")))?;
        let bytes = Metered {
            bytes: archive::open(&self.source, entry)?,
            limit,
            left_of_part: limit,
            left_of_event: MAX_EVENT_BYTES,
        };
        let mut reader = Reader::from_reader(BufReader::new(bytes));
        reader.config_mut().expand_empty_elements = true;
        Ok(Part {
            package: self,
            reader,
            buffer: Vec::new(),
            depth: 0,
        })
    }
}

/// A part of a workbook, as events of XML.
pub(super) struct Part<'p> {
    package: &'p Package,
    reader: Reader<BufReader<Metered>>,
    buffer: Vec<u8>,
    /// How many elements are open.
    depth: usize,
}

/// What an event of XML is to those who read a sheet.
pub(super) enum Xml<'e> {
    /// An element begins. One without content ends with the next event.
    Start(BytesStart<'e>),
    /// An element ends; so many are open then.
    End(usize),
    /// Characters between tags.
    Text(String),
    /// The part ends.
    Eof,
}

impl Part<'_> {
    /// The next event.
    ///
    /// # Errors
    /// The part is damaged or larger than the limits.
    pub(super) fn next(&mut self) -> Result<Xml<'_>, SourceError> {
        let package = self.package;
        self.buffer.clear();
        self.reader.get_mut().get_mut().left_of_event = MAX_EVENT_BYTES;
        let event = match self.reader.read_event_into(&mut self.buffer) {
            Ok(event) => event,
            Err(quick_xml::Error::Io(error)) => return Err(broken(package, &error)),
            Err(error) => return Err(package.damaged(error)),
        };
        Ok(match event {
            Event::Start(element) | Event::Empty(element) => {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return Err(package.error(Problem::TooLarge {
                        limit: MAX_DEPTH,
                        unit: "elements within each other",
                        hint: "",
                    }));
                }
                Xml::Start(element)
            }
            Event::End(_) => {
                self.depth = self.depth.saturating_sub(1);
                Xml::End(self.depth)
            }
            Event::Text(text) => Xml::Text(text.xml10_content().into_owned()),
            Event::CData(text) => Xml::Text(text.xml10_content().into_owned()),
            Event::GeneralRef(name) => {
                let known = quick_xml::escape::resolve_xml_entity(&name).map(str::to_owned);
                let one = name.resolve_char_ref().map_err(|error| package.damaged(error))?;
                let text = known.or(one.map(String::from));
                Xml::Text(text.ok_or_else(|| package.damaged(format_args!("&{};", &*name)))?)
            }
            Event::Eof if self.depth > 0 => return Err(package.damaged("it ends within an element")),
            Event::Eof => Xml::Eof,
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => Xml::Text(String::new()),
        })
    }

    /// How many elements are open, the one that began last among them.
    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// Passes over what is left of the element that began last.
    ///
    /// # Errors
    /// As [`Part::next`].
    pub(super) fn skip(&mut self) -> Result<(), SourceError> {
        let within = self.depth;
        while self.depth >= within {
            if let Xml::Eof = self.next()? {
                break;
            }
        }
        Ok(())
    }

    /// Reads on to the end, where it shows whether the bytes are those that were packed.
    ///
    /// # Errors
    /// As [`Part::next`].
    pub(super) fn finish(mut self) -> Result<(), SourceError> {
        while !matches!(self.next()?, Xml::Eof) {}
        Ok(())
    }
}

/// The attribute of this name, whatever its namespace.
pub(super) fn attribute(
    element: &BytesStart<'_>,
    name: &str,
    package: &Package,
) -> Result<Option<String>, SourceError> {
    for attribute in element.attributes() {
        let attribute = attribute.map_err(|error| package.damaged(error))?;
        if attribute.key.local_name().as_ref() == name {
            let value = attribute.normalized_value(XmlVersion::Implicit1_0);
            return Ok(Some(value.map_err(|error| package.damaged(error))?.into_owned()));
        }
    }
    Ok(None)
}

fn broken(package: &Package, error: &io::Error) -> SourceError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Beyond>()) {
        Some(Beyond { limit, unit }) => package.error(Problem::TooLarge {
            limit: *limit,
            unit,
            hint: "; save the sheet as CSV",
        }),
        None => package.damaged(error),
    }
}

/// A part as it unpacks, up to the limits.
struct Metered {
    bytes: Box<dyn Read + Send>,
    limit: u64,
    left_of_part: u64,
    left_of_event: u64,
}

/// A limit was passed.
#[derive(Debug, thiserror::Error)]
#[error("larger than the limit of {limit} {unit}")]
struct Beyond {
    limit: usize,
    unit: &'static str,
}

impl Read for Metered {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let beyond = |limit: u64, unit| {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            Err(io::Error::other(Beyond { limit, unit }))
        };
        if self.left_of_event == 0 {
            return beyond(MAX_EVENT_BYTES, "bytes in one tag or text of a workbook");
        }
        let most = usize::try_from(self.left_of_event).map_or(buf.len(), |left| left.min(buf.len()));
        let read = self.bytes.read(buf.get_mut(..most).unwrap_or_default())?;
        self.left_of_event -= read as u64;
        match self.left_of_part.checked_sub(read as u64) {
            Some(left) => self.left_of_part = left,
            None => return beyond(self.limit, "bytes in an unpacked part of a workbook"),
        }
        Ok(read)
    }
}
