//! Workbooks of spreadsheet programs (`.xlsx`, `.ods`): one sheet is written as the CSV that people would save it as, with
//! values as they are and not as they are shown. That is read like any other CSV, so that types, merging and what was taken
//! earlier follow the same rules.
//!
//! Each row is written from its own cells alone, so a sheet to which rows were added below makes a text that grew.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use crate::source::{Format, MAX_COLUMNS, Problem, ReadOptions, Rows, Source, SourceError};

mod cell;
mod layout;
mod ods;
mod package;
mod xlsx;

use cell::Cells;
use layout::{OnRow, SheetName};
use ods::Ods;
use package::Package;
use xlsx::Xlsx;

pub use layout::{MAX_SHEET_COLUMNS, MAX_SHEET_ROWS, MAX_SHEET_TEXT_BYTES};

/// The separator of the text.
pub(crate) const SEPARATOR: u8 = b',';

/// After how many rows it is asked whether to go on.
const TOLD_ROWS: u64 = 1 << 10;

/// How many sheets a message names.
const NAMED_SHEETS: usize = 20;

/// Whether the name of the file says that it is a workbook that is read here.
pub fn is_workbook(path: &Path) -> bool {
    has_extension(path, &["xlsx", "xlsm", "ods"])
}

/// Whether it says that it is one of a kind that is not.
pub fn is_foreign(path: &Path) -> bool {
    has_extension(path, &["xls", "xlsb", "fods", "numbers"])
}

fn has_extension(path: &Path, known: &[&str]) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| known.iter().any(|known| extension.eq_ignore_ascii_case(known)))
}

/// A sheet that was written as a table.
#[derive(Debug)]
pub struct Sheet {
    /// The table.
    pub source: Source,
    /// Name of the sheet.
    pub name: String,
    /// The workbook has no other.
    pub is_only: bool,
    /// Which rows of the sheet the lines of the table are.
    pub rows: Arc<Rows>,
}

/// The sheet `sheet` of the workbook at `path`, written to the file `spool`, which is the caller's to remove. Without a name
/// it is the only one that is shown, or of several the only one with anything in it. `name` stands for the workbook in
/// messages, and `options` say how values are to be understood. `goes_on` is told now and then how many rows were read, and
/// says whether to go on.
///
/// # Errors
/// The file is not there, is no workbook, is damaged or larger than the limits; the sheet is not there, or several could be
/// meant; a cell has no value that could be taken.
pub fn open(
    name: &str,
    path: &Path,
    sheet: Option<&str>,
    spool: &Path,
    options: ReadOptions,
    goes_on: &mut dyn FnMut(u64) -> bool,
) -> Result<Sheet, SourceError> {
    let package = Package::open(name, path)?;
    let book = Book::open(&package)?;
    let at = chosen(&book, &package, sheet)?;
    let sheets = book.sheets();
    let sheet = sheets.get(at).map(|sheet| sheet.name.clone()).unwrap_or_default();
    let options = ReadOptions {
        separator: Some(SEPARATOR),
        ..options
    };
    let text = Source::spooled(&format!("{name}, sheet {sheet}"), spool, Format::Csv, options);
    let out = File::create(spool).map_err(|error| text.error(Problem::Io(error)))?;
    let mut lines = Lines::new(&text, BufWriter::new(out), MAX_SHEET_TEXT_BYTES);
    book.rows(&package, at, &mut |number, cells| {
        if number % TOLD_ROWS == 0 && !goes_on(number) {
            return Err(text.error(Problem::Cancelled));
        }
        lines.take(number, cells)
    })?;
    let rows = Arc::new(lines.finish()?);
    Ok(Sheet {
        source: text.with_rows(rows.clone()),
        is_only: sheets.len() == 1,
        name: sheet,
        rows,
    })
}

/// A workbook of one of the two kinds.
enum Book {
    Xlsx(Xlsx),
    Ods(Ods),
}

impl Book {
    fn open(package: &Package) -> Result<Self, SourceError> {
        match package.has(ods::CONTENT) && !package.has("[Content_Types].xml") {
            true => Ods::open(package).map(Self::Ods),
            false => Xlsx::open(package).map(Self::Xlsx),
        }
    }

    fn sheets(&self) -> &[SheetName] {
        match self {
            Self::Xlsx(book) => book.sheets(),
            Self::Ods(book) => book.sheets(),
        }
    }

    fn rows(&self, package: &Package, at: usize, on_row: &mut OnRow<'_>) -> Result<(), SourceError> {
        match self {
            Self::Xlsx(book) => book.rows(package, at, on_row),
            Self::Ods(_) => Ods::rows(package, at, on_row),
        }
    }
}

/// The place of the sheet that is meant.
fn chosen(book: &Book, package: &Package, wanted: Option<&str>) -> Result<usize, SourceError> {
    let sheets = book.sheets();
    if let Some(wanted) = wanted {
        let found = sheets.iter().position(|sheet| sheet.name == wanted);
        return found.ok_or_else(|| which(sheets, Some(wanted), package));
    }
    let shown: Vec<usize> = (0..)
        .zip(sheets)
        .filter(|(_, sheet)| !sheet.is_hidden)
        .map(|(at, _)| at)
        .collect();
    if let [only] = shown.as_slice() {
        return Ok(*only);
    }
    let mut filled = None;
    for at in shown {
        let mut is_empty = true;
        book.rows(package, at, &mut |_, _| {
            is_empty = false;
            Ok(false)
        })?;
        if !is_empty && filled.replace(at).is_some() {
            return Err(which(sheets, None, package));
        }
    }
    match (filled, sheets) {
        (Some(at), _) => Ok(at),
        (None, []) => Err(package.error(Problem::NoRows)),
        (None, [..]) => Err(which(sheets, None, package)),
    }
}

/// The question which sheet is meant.
fn which(sheets: &[SheetName], wanted: Option<&str>, package: &Package) -> SourceError {
    let mut names: Vec<String> = sheets
        .iter()
        .take(NAMED_SHEETS)
        .map(|sheet| match sheet.is_hidden {
            true => format!("`{}` (hidden)", sheet.name),
            false => format!("`{}`", sheet.name),
        })
        .collect();
    if sheets.len() > NAMED_SHEETS {
        names.push(format!("{} more", sheets.len() - NAMED_SHEETS));
    }
    package.error(Problem::Sheet {
        wanted: wanted.map(str::to_owned),
        sheets: names.join(", "),
    })
}

/// The columns of a table: where the first one is in the sheet, and their names; none where the header has a gap.
struct Header {
    first: u32,
    names: Vec<Option<String>>,
}

impl Header {
    /// What the first row with values says.
    fn of(cells: Cells, named: &Source, number: u64) -> Result<Self, SourceError> {
        let first = cells.first().map_or(0, |(column, _)| *column);
        let last = cells.last().map_or(0, |(column, _)| *column);
        let width = usize::try_from(last - first).map_or(usize::MAX, |width| width.saturating_add(1));
        if width > MAX_COLUMNS {
            return Err(named.error(Problem::TooLarge {
                limit: MAX_COLUMNS,
                unit: "columns",
                hint: "",
            }));
        }
        let mut names = vec![None; width];
        for (column, value) in cells {
            let fail = |what| named.error_in_row(number, Some(&cell::place(number, column)), Problem::Syntax(what));
            let name = value.map_err(fail)?;
            let at = usize::try_from(column - first).unwrap_or(usize::MAX);
            if let Some(place) = names.get_mut(at) {
                *place = Some(name.trim().to_owned()).filter(|name| !name.is_empty());
            }
        }
        Ok(Self { first, names })
    }

    /// Name of the column at this place of the sheet.
    fn name(&self, column: u32) -> Option<&str> {
        let at = usize::try_from(column.checked_sub(self.first)?).ok()?;
        self.names.get(at)?.as_deref()
    }
}

/// The text that is made of a sheet.
struct Lines<'a, W> {
    named: &'a Source,
    out: W,
    /// How many bytes it may still have.
    left: u64,
    header: Option<Header>,
    /// The row that was taken last.
    last: u64,
    /// The line that the next row begins on.
    line: u64,
    rows: Rows,
}

impl<'a, W: Write> Lines<'a, W> {
    fn new(named: &'a Source, out: W, limit: u64) -> Self {
        Self {
            named,
            out,
            left: limit,
            header: None,
            last: 0,
            line: 1,
            rows: Rows::default(),
        }
    }

    /// Takes the next row. The first one is the header.
    fn take(&mut self, number: u64, cells: Cells) -> Result<bool, SourceError> {
        if number > MAX_SHEET_ROWS {
            return Err(self.named.error(layout::too_many_rows()));
        }
        if number <= self.last {
            let what = "the row comes behind others that it should stand before".to_owned();
            return Err(self.named.error_in_row(number, None, Problem::Syntax(what)));
        }
        self.last = number;
        let text = match &self.header {
            None => {
                let header = Header::of(cells, self.named, number)?;
                // In quotes nothing of it is taken for the beginning of a file of another kind, nor for a blank line.
                let names = header
                    .names
                    .iter()
                    .map(|name| quoted(name.as_deref().unwrap_or_default()));
                let text = names.collect::<Vec<_>>().join(",");
                self.header = Some(header);
                text
            }
            Some(header) => self.record(header, number, cells)?,
        };
        self.rows.note(self.line, number);
        self.line += 1 + breaks(&text);
        self.write(&text)?;
        self.write("\n")?;
        Ok(true)
    }

    /// The line of a row.
    fn record(&self, header: &Header, number: u64, cells: Cells) -> Result<String, SourceError> {
        let mut text = String::new();
        let mut cells = cells.into_iter().peekable();
        for (column, at) in (header.first..).zip(0..header.names.len()) {
            if at > 0 {
                text.push(char::from(SEPARATOR));
            }
            let Some((_, value)) = cells.next_if(|(place, _)| *place == column) else {
                continue;
            };
            let value = value.map_err(|what| {
                let place = cell::place(number, column);
                let name = header.name(column).unwrap_or(&place);
                self.named.error_in_row(number, Some(name), Problem::Syntax(what))
            })?;
            match value.contains(['"', ',', '\n', '\r']) {
                true => text.push_str(&quoted(&value)),
                false => text.push_str(&value),
            }
        }
        match cells.next() {
            Some((column, _)) => {
                let place = cell::place(number, column);
                let what = format!(
                    "the cell {place} has a value, and the header, which is the first row with any, has no column there"
                );
                Err(self.named.error_in_row(number, None, Problem::Syntax(what)))
            }
            None => Ok(text),
        }
    }

    fn write(&mut self, text: &str) -> Result<(), SourceError> {
        let Some(left) = self.left.checked_sub(text.len() as u64) else {
            return Err(self.named.error(Problem::TooLarge {
                limit: usize::try_from(MAX_SHEET_TEXT_BYTES).unwrap_or(usize::MAX),
                unit: "bytes of text in a sheet",
                hint: "",
            }));
        };
        self.left = left;
        let written = self.out.write_all(text.as_bytes());
        written.map_err(|error| self.named.error(Problem::Io(error)))
    }

    fn finish(mut self) -> Result<Rows, SourceError> {
        if self.header.is_none() {
            return Err(self.named.error(Problem::NoRows));
        }
        self.out.flush().map_err(|error| self.named.error(Problem::Io(error)))?;
        Ok(self.rows)
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// How many lines more than one a text has, as the reader of CSV counts them.
fn breaks(text: &str) -> u64 {
    let bytes = text.as_bytes();
    let ends = bytes.iter().zip(bytes.iter().skip(1).map(Some).chain([None]));
    let ends = ends.filter(|(byte, next)| **byte == b'\n' || (**byte == b'\r' && *next != Some(&b'\n')));
    ends.count() as u64
}

#[cfg(test)]
mod tests;
