//! Workbooks in the OpenDocument format (`.ods`, ISO/IEC 26300).

use std::collections::HashSet;

use quick_xml::events::BytesStart;

use super::cell::{self, Cells, Room, Value};
use super::layout::{MAX_SHEET_COLUMNS, MAX_SHEET_ROWS, OnRow, SheetName, too_many_rows};
use super::package::{Package, Part, Xml, attribute};
use crate::source::{MAX_ROW_BYTES, Problem, SourceError};

/// The part with the sheets.
pub(super) const CONTENT: &str = "content.xml";

/// The part that says how the others are packed.
const MANIFEST: &str = "META-INF/manifest.xml";

/// The most blanks that are written as their number.
pub(super) const MAX_BLANKS: usize = 1 << 20;

/// A workbook whose list of sheets was read.
pub(super) struct Ods {
    sheets: Vec<SheetName>,
}

impl Ods {
    pub(super) fn open(package: &Package) -> Result<Self, SourceError> {
        if package.has(MANIFEST) {
            refuse_encrypted(package)?;
        }
        let (mut sheets, mut hides) = (Vec::new(), HashSet::new());
        let mut style = None;
        let mut part = package.part(CONTENT)?;
        loop {
            let element = match part.next()? {
                Xml::Start(element) => element,
                Xml::Eof => return Ok(Self { sheets }),
                _ => continue,
            };
            match element.local_name().as_ref() {
                "style" => style = attribute(&element, "name", package)?,
                "table-properties" => {
                    let display = attribute(&element, "display", package)?;
                    hides.extend(style.take().filter(|_| display.as_deref() == Some("false")));
                }
                "table" => {
                    let name = attribute(&element, "name", package)?;
                    let name = name.unwrap_or_else(|| format!("Sheet{}", sheets.len() + 1));
                    let style = attribute(&element, "style-name", package)?;
                    let is_hidden = style.is_some_and(|style| hides.contains(&style));
                    sheets.push(SheetName { name, is_hidden });
                    // Tables within a table, as charts have them, are none of the workbook.
                    part.skip()?;
                }
                // Earlier states of the workbook.
                "tracked-changes" => part.skip()?,
                _ => {}
            }
        }
    }

    pub(super) fn sheets(&self) -> &[SheetName] {
        &self.sheets
    }

    /// Gives the rows of a sheet that have something in them to `on_row`, until that says false.
    pub(super) fn rows(package: &Package, at: usize, on_row: &mut OnRow<'_>) -> Result<(), SourceError> {
        let mut part = package.part(CONTENT)?;
        let mut before = at;
        loop {
            let element = match part.next()? {
                Xml::Start(element) => element,
                Xml::Eof => return Err(package.damaged("the sheet is not in it")),
                _ => continue,
            };
            match element.local_name().as_ref() {
                "table" if before == 0 => break,
                "table" => {
                    before -= 1;
                    part.skip()?;
                }
                "tracked-changes" => part.skip()?,
                _ => {}
            }
        }
        let within = part.depth();
        let mut number = 0_u64;
        loop {
            let element = match part.next()? {
                Xml::Start(element) => element,
                Xml::Text(_) => continue,
                Xml::End(depth) if depth < within => break,
                Xml::End(_) => continue,
                Xml::Eof => return Err(package.damaged("it ends within a sheet")),
            };
            match element.local_name().as_ref() {
                "table-row" => {
                    let times = repeated(&element, "number-rows-repeated", package)?;
                    let cells = cells(package, &mut part)?;
                    // A thousand rows of nothing are one tag.
                    let written = if cells.is_empty() { 0 } else { times };
                    for again in 1..=written {
                        let number = number.saturating_add(again);
                        if number > MAX_SHEET_ROWS {
                            return Err(package.error(too_many_rows()));
                        }
                        if !on_row(number, cells.clone())? {
                            return Ok(());
                        }
                    }
                    number = number.saturating_add(times);
                }
                // Rows lie in groups, too.
                "table-row-group" | "table-header-rows" | "table-rows" => {}
                _ => part.skip()?,
            }
        }
        part.finish()
    }
}

fn refuse_encrypted(package: &Package) -> Result<(), SourceError> {
    let mut part = package.part(MANIFEST)?;
    loop {
        match part.next()? {
            Xml::Start(element) if element.local_name().as_ref() == "encryption-data" => {
                return Err(package.error(Problem::Foreign("a workbook with a password; save it without one")));
            }
            Xml::Eof => return Ok(()),
            _ => {}
        }
    }
}

/// How often a row or a cell stands there.
fn repeated(element: &BytesStart<'_>, name: &str, package: &Package) -> Result<u64, SourceError> {
    match attribute(element, name, package)? {
        Some(said) => said
            .trim()
            .parse()
            .map_err(|error| package.damaged(format_args!("{name} is `{said}`: {error}"))),
        None => Ok(1),
    }
}

/// The cells of the row that began last.
fn cells(package: &Package, part: &mut Part<'_>) -> Result<Cells, SourceError> {
    let within = part.depth();
    let mut cells = Cells::new();
    let (mut column, mut room) = (0_u64, Room::new());
    loop {
        let element = match part.next()? {
            Xml::Start(element) => element,
            Xml::Text(_) => continue,
            Xml::End(depth) if depth < within => return Ok(cells),
            Xml::End(_) => continue,
            Xml::Eof => return Err(package.damaged("it ends within a row")),
        };
        // What other cells lie over has its values all the same.
        if !matches!(element.local_name().as_ref(), "table-cell" | "covered-table-cell") {
            part.skip()?;
            continue;
        }
        let times = repeated(&element, "number-columns-repeated", package)?;
        let said = Said::of(&element, package)?;
        let text = text(part, package)?;
        let end = column.saturating_add(times);
        if let Some(value) = said.value(text) {
            if end > u64::from(MAX_SHEET_COLUMNS) {
                return Err(package.error(Problem::TooLarge {
                    limit: usize::try_from(MAX_SHEET_COLUMNS).unwrap_or(usize::MAX),
                    unit: "columns of a sheet",
                    hint: "",
                }));
            }
            if !room.take(&value, times) {
                return Err(package.row_too_long());
            }
            let columns = (column..end).filter_map(|column| u32::try_from(column).ok());
            cells.extend(columns.map(|column| (column, value.clone())));
        }
        column = end;
    }
}

/// What the tag of a cell says.
struct Said {
    kind: Option<String>,
    value: Option<String>,
    formula: bool,
    error: bool,
}

impl Said {
    fn of(element: &BytesStart<'_>, package: &Package) -> Result<Self, SourceError> {
        let mut said = Self {
            kind: None,
            value: None,
            formula: false,
            error: false,
        };
        for attribute in element.attributes() {
            let attribute = attribute.map_err(|error| package.damaged(error))?;
            let value = attribute.normalized_value(quick_xml::XmlVersion::Implicit1_0);
            let value = value.map_err(|error| package.damaged(error))?;
            let key = attribute.key;
            match (key.prefix().as_ref().map(AsRef::as_ref), key.local_name().as_ref()) {
                // LibreOffice says there that a text is the name of an error.
                (Some("calcext"), "value-type") => said.error = value == "error",
                (_, "value-type") => said.kind = Some(value.into_owned()),
                (_, "value" | "date-value" | "time-value" | "boolean-value" | "string-value") => {
                    said.value = Some(value.into_owned());
                }
                (_, "formula") => said.formula = true,
                _ => {}
            }
        }
        Ok(said)
    }

    /// What the cell holds, which shows `text`.
    fn value(self, text: String) -> Option<Value> {
        if self.error || (self.formula && is_error(&text)) {
            return Some(Err(cell::error(&text)));
        }
        let Some(kind) = self.kind else {
            return match (self.formula, text.is_empty()) {
                (true, _) => Some(Err(cell::unreckoned())),
                (false, true) => None,
                (false, false) => Some(Ok(text)),
            };
        };
        let value = match kind.as_str() {
            "string" => self.value.unwrap_or(text),
            "void" => return None,
            _ => match self.value {
                Some(value) => value,
                None => return Some(Err(format!("the cell is of the type {kind} and has no value"))),
            },
        };
        Some(match kind.as_str() {
            "string" if value.is_empty() => return None,
            "string" => Ok(value),
            "float" | "percentage" | "currency" => cell::number(&value),
            "date" => Ok(cell::iso_moment(&value)),
            "time" => cell::iso_duration(&value),
            "boolean" => match value.trim() {
                "true" | "TRUE" => Ok("true".to_owned()),
                "false" | "FALSE" => Ok("false".to_owned()),
                other => Err(format!("`{other}` is neither true nor false")),
            },
            other => Err(format!("the cell is of a type `{other}` that is not known")),
        })
    }
}

/// Whether a formula that shows this has failed.
fn is_error(text: &str) -> bool {
    const ERRORS: [&str; 7] = ["#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!"];
    ERRORS.contains(&text)
        || text
            .strip_prefix("Err:")
            .is_some_and(|code| code.parse::<u16>().is_ok())
}

/// The text that the cell shows which began last, its paragraphs on lines of their own.
fn text(part: &mut Part<'_>, package: &Package) -> Result<String, SourceError> {
    let within = part.depth();
    let mut text = String::new();
    // How deep a paragraph lies that is open, and whether there was one before.
    let (mut paragraph, mut has_one) = (None, false);
    // Whether blanks here are none: at the beginning of a paragraph, and behind one.
    let mut collapses = true;
    loop {
        if text.len() > MAX_ROW_BYTES {
            return Err(package.row_too_long());
        }
        let depth = part.depth();
        let blanks = match part.next()? {
            Xml::Start(element) => match element.local_name().as_ref() {
                "p" | "h" if depth == within => {
                    if has_one {
                        text.push('\n');
                    }
                    (paragraph, has_one, collapses) = (Some(depth + 1), true, true);
                    continue;
                }
                "span" | "a" if paragraph.is_some() => continue,
                "s" if paragraph.is_some() => {
                    let count = repeated(&element, "c", package)?;
                    let count = usize::try_from(count).ok().filter(|count| *count <= MAX_BLANKS);
                    " ".repeat(count.ok_or_else(|| package.damaged("a cell has too many blanks"))?)
                }
                "tab" if paragraph.is_some() => "\t".to_owned(),
                "line-break" if paragraph.is_some() => "\n".to_owned(),
                // Comments, pictures, and whatever else hangs on a cell.
                _ => {
                    part.skip()?;
                    continue;
                }
            },
            Xml::End(depth) if depth < within => return Ok(text),
            Xml::End(depth) => {
                paragraph = paragraph.filter(|at| *at <= depth);
                continue;
            }
            Xml::Text(found) => {
                if paragraph.is_some() {
                    for char in found.chars() {
                        match char {
                            ' ' | '\t' | '\n' | '\r' if collapses => {}
                            ' ' | '\t' | '\n' | '\r' => {
                                text.push(' ');
                                collapses = true;
                            }
                            char => {
                                text.push(char);
                                collapses = false;
                            }
                        }
                    }
                }
                continue;
            }
            Xml::Eof => return Err(package.damaged("it ends within a cell")),
        };
        text.push_str(&blanks);
        collapses = false;
    }
}
