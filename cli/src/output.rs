//! Listings: one table of typed cells, written as people or programs want it.

use clap::{Args, ValueEnum};
use comfy_table::{CellAlignment, ColumnConstraint, Table, Width, presets};
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::failure::Failure;
use crate::io::Io;
use crate::printable::printable;

/// Spaces around the text of a cell.
const PADDING: usize = 2;

pub(crate) mod records;
mod words;

pub(crate) use words::{bytes, count, duration, time};

/// The form of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people
    Table,
    /// One JSON array of objects
    Json,
    /// One JSON object a line
    Ndjson,
    /// Comma-separated values with a header
    Csv,
}

/// The option that every listing has.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct OutputArgs {
    /// Form of the listing [default: table on a terminal, json otherwise]
    #[arg(short, long, value_name = "FORMAT", alias = "output-format")]
    output: Option<Format>,
}

impl OutputArgs {
    /// The form to use on this terminal.
    pub(crate) fn format(self, io: &Io) -> Format {
        self.output.unwrap_or(if io.terminal().output {
            Format::Table
        } else {
            Format::Json
        })
    }
}

/// One cell: what programs read, and what people read when that differs.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    value: Value,
    shown: Option<String>,
}

impl Cell {
    /// A cell that people read differently from programs.
    pub(crate) fn shown(value: impl Into<Value>, shown: impl std::fmt::Display) -> Self {
        Self {
            value: value.into(),
            shown: Some(shown.to_string()),
        }
    }

    /// A number of bytes.
    pub(crate) fn bytes(value: u64) -> Self {
        Self::shown(value, bytes(value))
    }

    /// A large number.
    pub(crate) fn count(value: u64) -> Self {
        Self::shown(value, count(value))
    }

    fn for_people(&self) -> String {
        match (&self.shown, &self.value) {
            (Some(shown), _) => shown.clone(),
            (None, Value::Null) => "-".to_owned(),
            (None, Value::String(text)) => text.clone(),
            (None, value) => value.to_string(),
        }
    }

    fn for_csv(&self) -> String {
        match &self.value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            value => value.to_string(),
        }
    }
}

impl<T: Into<Value>> From<T> for Cell {
    fn from(value: T) -> Self {
        Self {
            value: value.into(),
            shown: None,
        }
    }
}

/// Rows under named columns.
#[derive(Debug)]
pub(crate) struct Listing {
    columns: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
    empty: &'static str,
}

impl Listing {
    /// No rows yet.
    pub(crate) fn new(columns: &[&'static str]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
            empty: "",
        }
    }

    /// What a person is told instead of an empty table.
    #[must_use]
    pub(crate) fn when_empty(mut self, text: &'static str) -> Self {
        self.empty = text;
        self
    }

    /// Adds a row with one cell a column.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Writes the listing.
    ///
    /// # Errors
    /// The reader went away.
    pub(crate) fn write(&self, format: Format, io: &mut Io) -> Result<(), Failure> {
        match format {
            Format::Table if self.rows.is_empty() && !self.empty.is_empty() => io.say(self.empty),
            Format::Table => {
                let text = self.table(io.terminal().width);
                io.line(text)?;
            }
            Format::Json => {
                let rows: Vec<Row<'_>> = self.objects().collect();
                io.line(serde_json::to_string_pretty(&rows).map_err(std::io::Error::from)?)?;
            }
            Format::Ndjson => {
                for row in self.objects() {
                    io.line(serde_json::to_string(&row).map_err(std::io::Error::from)?)?;
                }
            }
            Format::Csv => {
                io.line(
                    self.columns
                        .iter()
                        .map(|name| csv_field(name))
                        .collect::<Vec<_>>()
                        .join(","),
                )?;
                for row in &self.rows {
                    io.line(
                        row.iter()
                            .map(|cell| csv_field(&cell.for_csv()))
                            .collect::<Vec<_>>()
                            .join(","),
                    )?;
                }
            }
        }
        Ok(())
    }

    /// The rows as a JSON array of objects.
    ///
    /// # Errors
    /// None that is known; whatever `serde_json` says.
    pub(crate) fn to_json(&self) -> Result<Value, Failure> {
        let rows: Vec<Row<'_>> = self.objects().collect();
        Ok(serde_json::to_value(rows).map_err(std::io::Error::from)?)
    }

    fn objects(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|cells| Row {
            columns: &self.columns,
            cells,
        })
    }

    fn table(&self, width: u16) -> String {
        let numeric = |column: usize| {
            self.rows
                .iter()
                .any(|row| row.get(column).is_some_and(|c| c.value.is_number()))
        };
        let names = self.columns.iter().map(|name| (*name).to_owned()).collect();
        let mut rows = Rows::new(names, (0..self.columns.len()).map(numeric).collect());
        for row in &self.rows {
            rows.push(row.iter().map(Cell::for_people).collect());
        }
        rows.table(width)
    }
}

/// A table for people whose columns are only known when it is made.
pub(crate) struct Rows {
    table: Table,
    numeric: Vec<bool>,
    /// The longest word of each column, which is never broken: ids are there to be copied.
    longest: Vec<usize>,
}

impl Rows {
    /// No rows yet. Numeric columns are aligned at the right.
    pub(crate) fn new(names: Vec<String>, numeric: Vec<bool>) -> Self {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_FULL_CONDENSED);
        table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
        table.set_header(names.iter().map(|name| printable(name)));
        let longest = names.iter().map(|name| longest_word(name)).collect();
        Self {
            table,
            numeric,
            longest,
        }
    }

    /// Adds a row with one text a column.
    pub(crate) fn push(&mut self, cells: Vec<String>) {
        for (longest, text) in self.longest.iter_mut().zip(&cells) {
            *longest = (*longest).max(longest_word(text));
        }
        self.table
            .add_row(cells.iter().zip(&self.numeric).map(|(text, numeric)| {
                let align = if *numeric {
                    CellAlignment::Right
                } else {
                    CellAlignment::Left
                };
                comfy_table::Cell::new(printable(text)).set_alignment(align)
            }));
    }

    /// The table, lines broken between words to fit into `width` columns as far as the words allow.
    pub(crate) fn table(mut self, width: u16) -> String {
        self.table.set_width(width);
        for (column, longest) in self.longest.iter().enumerate() {
            if let Some(column) = self.table.column_mut(column) {
                let width = u16::try_from(longest + PADDING).unwrap_or(u16::MAX);
                column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(width)));
            }
        }
        self.table.to_string()
    }
}

fn longest_word(text: &str) -> usize {
    text.split_whitespace()
        .map(|word| word.chars().count())
        .max()
        .unwrap_or(0)
}

/// A row as a JSON object, its keys in the order of the columns.
struct Row<'a> {
    columns: &'a [&'static str],
    cells: &'a [Cell],
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.columns.iter().zip(self.cells.iter().map(|cell| &cell.value)))
    }
}

/// One field of a CSV line, quoted when it must be (RFC 4180).
pub(crate) fn csv_field(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_quotes_only_what_it_must() {
        assert_eq!(csv_field("a b"), "a b");
        assert_eq!(csv_field("a,b"), "\"a,b\"");
        assert_eq!(csv_field("say \"x\"\n"), "\"say \"\"x\"\"\n\"");
    }

    #[test]
    fn programs_get_numbers_and_people_get_words() {
        let mut listing = Listing::new(&["Size", "Name"]);
        listing.row([Cell::bytes(2048), "a".into()]);
        let object = listing.objects().next().unwrap();
        assert_eq!(serde_json::to_string(&object).unwrap(), r#"{"Size":2048,"Name":"a"}"#);
        assert!(listing.table(80).contains("2.0 KiB"));
    }
}
