//! Workbooks in Office Open XML (`.xlsx`, ISO/IEC 29500, transitional and strict).

use std::collections::HashMap;
use std::path::Path;

use quick_xml::events::BytesStart;

use super::cell::{self, Cells, Kind, Room, Value};
use super::layout::{OnRow, SheetName};
use super::package::{Package, Part, Xml, attribute};
use crate::source::{MAX_ROW_BYTES, Problem, SourceError};

/// The most bytes that parts other than sheets and shared texts may have: lists of sheets, of formats and of parts.
pub(super) const MAX_LIST_BYTES: u64 = 32 << 20;

/// The most bytes of text that cells may share. They are held in memory.
pub(super) const MAX_TEXT_BYTES: usize = 512 << 20;

/// The most texts that cells may share.
pub(super) const MAX_TEXTS: usize = 1 << 24;

/// A workbook whose lists were read.
pub(super) struct Xlsx {
    sheets: Vec<SheetName>,
    /// The parts that the sheets are in, in the same order.
    parts: Vec<String>,
    texts: Texts,
    /// What the formats that cells name by their numbers show.
    formats: Vec<Kind>,
    is_1904: bool,
}

impl Xlsx {
    pub(super) fn open(package: &Package) -> Result<Self, SourceError> {
        let root = relations(package, "")?;
        let workbook = root.values().find(|relation| relation.kind == "officeDocument");
        let workbook = workbook.map_or("xl/workbook.xml", |relation| relation.target.as_str());
        if workbook.ends_with(".bin") {
            return Err(package.error(Problem::Foreign("a binary Excel workbook (.xlsb); save it as .xlsx")));
        }
        let relations = relations(package, workbook)?;
        let mut book = Xlsx {
            sheets: Vec::new(),
            parts: Vec::new(),
            texts: Texts::default(),
            formats: Vec::new(),
            is_1904: false,
        };
        book.read_workbook(package, workbook, &relations)?;
        let of = |kind: &str| relations.values().find(|relation| relation.kind == kind);
        if let Some(styles) = of("styles") {
            book.formats = formats(package, &styles.target)?;
        }
        if let Some(texts) = of("sharedStrings") {
            book.texts = Texts::read(package, &texts.target, MAX_TEXT_BYTES, MAX_TEXTS)?;
        }
        Ok(book)
    }

    pub(super) fn sheets(&self) -> &[SheetName] {
        &self.sheets
    }

    fn read_workbook(
        &mut self,
        package: &Package,
        name: &str,
        relations: &HashMap<String, Relation>,
    ) -> Result<(), SourceError> {
        let mut part = package.part_within(name, MAX_LIST_BYTES)?;
        loop {
            let element = match part.next()? {
                Xml::Start(element) => element,
                Xml::Eof => return Ok(()),
                _ => continue,
            };
            match element.local_name().as_ref() {
                "workbookPr" => {
                    let said = attribute(&element, "date1904", package)?;
                    self.is_1904 = matches!(said.as_deref(), Some("1" | "true" | "on"));
                }
                "sheet" => {
                    let said = |name| attribute(&element, name, package);
                    let (Some(name), Some(id)) = (said("name")?, said("id")?) else {
                        return Err(package.damaged("it lists a sheet without a name"));
                    };
                    let relation = relations
                        .get(&id)
                        .ok_or_else(|| package.damaged(format_args!("it does not say where the sheet {name} is")))?;
                    // Charts have sheets of their own, and are no tables.
                    if relation.kind == "worksheet" {
                        let is_hidden = said("state")?.is_some_and(|state| state != "visible");
                        self.sheets.push(SheetName { name, is_hidden });
                        self.parts.push(relation.target.clone());
                    }
                }
                _ => {}
            }
        }
    }

    /// Gives the rows of a sheet that have something in them to `on_row`, until that says false.
    pub(super) fn rows(&self, package: &Package, at: usize, on_row: &mut OnRow<'_>) -> Result<(), SourceError> {
        let name = self.parts.get(at).map(String::as_str).unwrap_or_default();
        let mut part = package.part(name)?;
        loop {
            match part.next()? {
                Xml::Start(element) if element.local_name().as_ref() == "sheetData" => break,
                Xml::Eof => return Err(package.damaged(format_args!("{name} holds no sheet"))),
                _ => {}
            }
        }
        let within = part.depth();
        let mut number = 0;
        loop {
            let element = match part.next()? {
                Xml::Start(element) => element,
                Xml::Text(_) => continue,
                Xml::End(depth) if depth < within => break,
                Xml::End(_) => continue,
                Xml::Eof => return Err(package.damaged("it ends within a sheet")),
            };
            if element.local_name().as_ref() != "row" {
                part.skip()?;
                continue;
            }
            number = match attribute(&element, "r", package)? {
                Some(said) => said
                    .trim()
                    .parse()
                    .ok()
                    .filter(|said| *said > 0)
                    .ok_or_else(|| package.damaged(format_args!("a row has the number {said}")))?,
                None => number + 1,
            };
            let cells = self.cells(package, &mut part, number)?;
            if !cells.is_empty() && !on_row(number, cells)? {
                return Ok(());
            }
        }
        part.finish()
    }

    /// The cells of the row that began last.
    fn cells(&self, package: &Package, part: &mut Part<'_>, row: u64) -> Result<Cells, SourceError> {
        let within = part.depth();
        let mut cells = Cells::new();
        let (mut next, mut room) = (0_u32, Room::new());
        loop {
            let element = match part.next()? {
                Xml::Start(element) => element,
                Xml::Text(_) => continue,
                Xml::End(depth) if depth < within => return Ok(cells),
                Xml::End(_) => continue,
                Xml::Eof => return Err(package.damaged("it ends within a row")),
            };
            if element.local_name().as_ref() != "c" {
                part.skip()?;
                continue;
            }
            let cell = Cell::of(&element, package)?;
            let column = match &cell.place {
                Some(place) => column_in(place, row)
                    .ok_or_else(|| package.damaged(format_args!("row {row} has a cell {place}")))?,
                None => next,
            };
            if !cells.is_empty() && column < next {
                let place = cell::place(row, column);
                return Err(package.damaged(format_args!(
                    "the cell {place} comes behind others that it should stand before"
                )));
            }
            next = column + 1;
            let content = Content::read(part, package)?;
            if let Some(value) = self.value(&cell, content) {
                if !room.take(&value, 1) {
                    return Err(package.row_too_long());
                }
                cells.push((column, value));
            }
        }
    }

    /// What a cell holds; none if that is nothing, or a text without a character, which formulas give in place of nothing.
    fn value(&self, cell: &Cell, content: Content) -> Option<Value> {
        let Content { text, stored, formula } = content;
        let kind = cell.kind.as_deref().unwrap_or("n");
        if formula && (!stored || (text.is_empty() && kind != "str")) {
            return Some(Err(cell::unreckoned()));
        }
        if text.is_empty() {
            return None;
        }
        let texts = |text: &str| Some(Ok(text.to_owned())).filter(|_| !text.is_empty());
        match kind {
            "s" => match text.trim().parse().ok().and_then(|at| self.texts.get(at)) {
                Some(text) => texts(text),
                None => Some(Err(format!("the workbook has no shared text {text}"))),
            },
            "str" | "inlineStr" => texts(&cell::unescaped(&text)),
            "b" => Some(match text.trim() {
                "1" | "true" => Ok("true".to_owned()),
                "0" | "false" => Ok("false".to_owned()),
                other => Err(format!("`{other}` is neither true nor false")),
            }),
            "e" => Some(Err(cell::error(text.trim()))),
            "d" => texts(&cell::iso_moment(&text)),
            "n" => Some(match cell.style.and_then(|style| self.formats.get(style)) {
                None | Some(Kind::Number) => cell::number(&text),
                Some(kind) => cell::moment(&text, *kind, self.is_1904),
            }),
            other => Some(Err(format!("the cell is of a type `{other}` that is not known"))),
        }
    }
}

/// What the tag of a cell says.
struct Cell {
    place: Option<String>,
    kind: Option<String>,
    style: Option<usize>,
}

impl Cell {
    fn of(element: &BytesStart<'_>, package: &Package) -> Result<Self, SourceError> {
        let style = attribute(element, "s", package)?;
        let style = style.map(|style| style.trim().parse());
        Ok(Self {
            place: attribute(element, "r", package)?,
            kind: attribute(element, "t", package)?,
            style: style.transpose().map_err(|error| package.damaged(error))?,
        })
    }
}

/// What stands within a cell.
#[derive(Default)]
struct Content {
    text: String,
    /// A value stands there, if only an empty one.
    stored: bool,
    formula: bool,
}

impl Content {
    /// Of the cell that began last.
    fn read(part: &mut Part<'_>, package: &Package) -> Result<Self, SourceError> {
        let within = part.depth();
        let mut content = Content::default();
        // How deep the element lies whose text counts.
        let mut counts = None;
        loop {
            let depth = part.depth();
            match part.next()? {
                Xml::Start(element) => match element.local_name().as_ref() {
                    "v" | "t" => {
                        content.stored = true;
                        counts = Some(depth + 1);
                    }
                    "f" => {
                        content.formula = true;
                        part.skip()?;
                    }
                    "is" | "r" => {}
                    // How a text is pronounced, and whatever else there is.
                    _ => part.skip()?,
                },
                Xml::End(depth) if depth < within => return Ok(content),
                Xml::End(depth) => counts = counts.filter(|at| *at <= depth),
                Xml::Text(text) if counts.is_some() => {
                    content.text.push_str(&text);
                    if content.text.len() > MAX_ROW_BYTES {
                        return Err(package.row_too_long());
                    }
                }
                Xml::Text(_) => {}
                Xml::Eof => return Err(package.damaged("it ends within a cell")),
            }
        }
    }
}

/// The column of the cell with this name, counted from 0; none if it is not a name of a cell in this row.
fn column_in(place: &str, row: u64) -> Option<u32> {
    let digits = place.find(|char: char| char.is_ascii_digit())?;
    let (letters, number) = place.split_at(digits);
    if letters.is_empty() || letters.len() > 3 || number.parse::<u64>().ok()? != row {
        return None;
    }
    let mut column = 0_u32;
    for letter in letters.bytes() {
        let letter = letter.to_ascii_uppercase();
        if !letter.is_ascii_uppercase() {
            return None;
        }
        column = column * 26 + u32::from(letter - b'A') + 1;
    }
    column.checked_sub(1)
}

/// Texts that cells share.
#[derive(Default)]
struct Texts {
    all: String,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Texts {
    fn read(package: &Package, name: &str, most_bytes: usize, most: usize) -> Result<Self, SourceError> {
        let mut part = package.part(name)?;
        let mut texts = Self::default();
        loop {
            match part.next()? {
                Xml::Start(element) if element.local_name().as_ref() == "si" => {}
                Xml::Eof => return Ok(texts),
                _ => continue,
            }
            let content = Content::read(&mut part, package)?;
            texts.all.push_str(&cell::unescaped(&content.text));
            texts.ends.push(texts.all.len());
            let (limit, unit) = match () {
                () if texts.all.len() > most_bytes => (most_bytes, "bytes of text that cells share"),
                () if texts.ends.len() > most => (most, "texts that cells share"),
                () => continue,
            };
            let hint = "; save the sheet as CSV";
            return Err(package.error(Problem::TooLarge { limit, unit, hint }));
        }
    }

    fn get(&self, at: usize) -> Option<&str> {
        let end = *self.ends.get(at)?;
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied();
        self.all.get(start.unwrap_or_default()..end)
    }
}

/// What the formats show that cells name by their numbers.
fn formats(package: &Package, name: &str) -> Result<Vec<Kind>, SourceError> {
    let mut part = package.part_within(name, MAX_LIST_BYTES)?;
    let (mut own, mut formats) = (HashMap::new(), Vec::new());
    // How deep the list lies that is of cells, not of styles that they are derived from.
    let mut of_cells = None;
    loop {
        let depth = part.depth();
        let element = match part.next()? {
            Xml::Start(element) => element,
            Xml::End(depth) => {
                of_cells = of_cells.filter(|at| *at <= depth);
                continue;
            }
            Xml::Text(_) => continue,
            Xml::Eof => return Ok(formats),
        };
        let number = |name| {
            let said = attribute(&element, name, package)?.unwrap_or_default();
            said.trim().parse::<u32>().map_err(|error| package.damaged(error))
        };
        match element.local_name().as_ref() {
            "numFmt" if of_cells.is_none() => {
                let format = attribute(&element, "formatCode", package)?.unwrap_or_default();
                own.entry(number("numFmtId")?).or_insert_with(|| cell::kind(&format));
            }
            "cellXfs" => of_cells = Some(depth + 1),
            "xf" if of_cells == Some(depth) => {
                let id = match attribute(&element, "numFmtId", package)? {
                    Some(_) => number("numFmtId")?,
                    None => 0,
                };
                formats.push(own.get(&id).copied().unwrap_or_else(|| cell::built_in(id)));
            }
            _ => {}
        }
    }
}

/// That a part of the workbook belongs to another.
struct Relation {
    /// What it is there, the last segment of its type.
    kind: String,
    /// The part.
    target: String,
}

/// What belongs to a part (the workbook as a whole has no name), by the ids that it uses.
fn relations(package: &Package, of: &str) -> Result<HashMap<String, Relation>, SourceError> {
    let (folder, file) = of.rsplit_once('/').unwrap_or(("", of));
    let list = resolved(folder, &format!("_rels/{file}.rels"));
    let mut relations = HashMap::new();
    if !package.has(&list) {
        return Ok(relations);
    }
    let mut part = package.part_within(&list, MAX_LIST_BYTES)?;
    loop {
        let element = match part.next()? {
            Xml::Start(element) => element,
            Xml::Eof => return Ok(relations),
            _ => continue,
        };
        if element.local_name().as_ref() != "Relationship" {
            continue;
        }
        let said = |name| attribute(&element, name, package);
        if let (Some(id), Some(kind), Some(target)) = (said("Id")?, said("Type")?, said("Target")?) {
            let kind = Path::new(&kind).file_name().and_then(|kind| kind.to_str());
            let kind = kind.unwrap_or_default().to_owned();
            let target = resolved(folder, &target);
            relations.insert(id, Relation { kind, target });
        }
    }
}

/// The name of a part that is named from within a folder.
fn resolved(folder: &str, target: &str) -> String {
    let mut segments: Vec<&str> = match target.starts_with('/') {
        true => Vec::new(),
        false => folder.split('/').collect(),
    };
    for segment in target.split('/') {
        match segment {
            ".." => {
                segments.pop();
            }
            "." => {}
            segment => segments.push(segment),
        }
    }
    segments.retain(|segment| !segment.is_empty());
    segments.join("/")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{package, workbook};
    use super::*;

    #[test]
    fn parts_are_found_from_where_they_are_named() {
        for (folder, target, part) in [
            ("xl", "worksheets/sheet1.xml", "xl/worksheets/sheet1.xml"),
            ("xl", "/xl/worksheets/sheet1.xml", "xl/worksheets/sheet1.xml"),
            ("xl/a", "../styles.xml", "xl/styles.xml"),
            ("", "./../../x", "x"),
        ] {
            assert_eq!(resolved(folder, target), part);
        }
    }

    #[test]
    fn names_of_cells_are_columns_of_their_row() {
        for (place, column) in [("A7", 0), ("z7", 25), ("AA7", 26), ("XFD7", 16_383)] {
            assert_eq!(column_in(place, 7), Some(column), "{place}");
        }
        for place in ["A8", "A", "7", "", "AAAA7", "$A7", "é7", "A-7", "A99999999999999999999"] {
            assert_eq!(column_in(place, 7), None, "{place}");
        }
    }

    #[test]
    fn shared_texts_end_at_their_limits() {
        let texts = "<sst><si><t>abc</t></si><si/><si><r><t>d</t></r><r><t xml:space=\"preserve\"> e</t></r><rPh><t>x</t></rPh></si></sst>";
        let package = package(workbook(&[("S", "")], &[("xl/sharedStrings.xml", texts)]));
        let read = |bytes, most| Texts::read(&package, "xl/sharedStrings.xml", bytes, most);
        read(MAX_TEXT_BYTES, MAX_TEXTS).unwrap();
        let texts = read(6, 3).unwrap();
        let all: Vec<_> = (0..4).map(|at| texts.get(at)).collect();
        assert_eq!(all, [Some("abc"), Some(""), Some("d e"), None]);
        for (bytes, most, what) in [
            (5, 3, "5 bytes of text that cells share"),
            (6, 2, "2 texts that cells share"),
        ] {
            let error = read(bytes, most).err().unwrap().to_string();
            assert!(error.contains(what), "{error}");
        }
    }
}
