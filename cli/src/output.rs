//! Listings: one table of typed cells, written as people or programs want it.

use clap::{Args, ValueEnum};
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::failure::Failure;
use crate::io::{Io, Terminal};

pub(crate) mod flow;
pub(crate) mod records;
mod table;
mod words;

pub(crate) use table::Rows;
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
    /// One JSON array of arrays: the values of each row
    JsonAoa,
    /// One JSON object of arrays: the values of each column
    JsonSoa,
    /// Comma-separated values with a header
    Csv,
}

impl Format {
    /// The listing of nothing, where not even the columns are known; of some forms it is no text at all.
    pub(crate) fn nothing(self) -> Option<&'static str> {
        match self {
            Self::Json | Self::JsonAoa => Some("[]"),
            Self::JsonSoa => Some("{}"),
            Self::Table | Self::Ndjson | Self::Csv => None,
        }
    }
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
    /// The value is a term of the field, which `-v` shows.
    is_term: bool,
}

impl Cell {
    /// A cell that people read differently from programs.
    pub(crate) fn shown(value: impl Into<Value>, shown: impl std::fmt::Display) -> Self {
        Self {
            value: value.into(),
            shown: Some(shown.to_string()),
            is_term: false,
        }
    }

    /// A term of the field, which people read in plain words.
    pub(crate) fn term(term: &str, words: &str) -> Self {
        Self {
            is_term: true,
            ..Self::shown(term, words)
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

    fn for_people(&self, in_terms: bool) -> String {
        match (&self.shown, &self.value) {
            (Some(_), Value::String(term)) if in_terms && self.is_term => term.clone(),
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
            is_term: false,
        }
    }
}

/// Rows under named columns.
#[derive(Debug)]
pub(crate) struct Listing {
    columns: Vec<&'static str>,
    /// What people read in place of some of those; nothing: the column is left out.
    words: Vec<(&'static str, Option<&'static str>)>,
    rows: Vec<Vec<Cell>>,
    empty: &'static str,
}

impl Listing {
    /// No rows yet.
    pub(crate) fn new(columns: &[&'static str]) -> Self {
        Self {
            columns: columns.to_vec(),
            words: Vec::new(),
            rows: Vec::new(),
            empty: "",
        }
    }

    /// What the headings of some columns are in plain words, for tables; `None` leaves the column out. With `-v` they are
    /// those that programs read.
    #[must_use]
    pub(crate) fn in_words(mut self, words: &[(&'static str, Option<&'static str>)]) -> Self {
        self.words = words.to_vec();
        self
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
                let text = self.table(io.terminal(), io.in_terms());
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
            Format::JsonAoa => io.line(serde_json::to_string(&self.arrays()).map_err(std::io::Error::from)?)?,
            Format::JsonSoa => io.line(serde_json::to_string(&ByColumn(self)).map_err(std::io::Error::from)?)?,
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

    /// The values of each row.
    fn arrays(&self) -> Vec<Vec<&Value>> {
        let rows = self.rows.iter().map(|row| row.iter().map(|cell| &cell.value));
        rows.map(Iterator::collect).collect()
    }

    fn table(&self, terminal: Terminal, in_terms: bool) -> String {
        let words = |name: &'static str| match self.words.iter().find(|(column, _)| *column == name) {
            Some((_, words)) if !in_terms => *words,
            _ => Some(name),
        };
        let shown: Vec<(usize, &str)> = self
            .columns
            .iter()
            .enumerate()
            .filter_map(|(index, name)| Some((index, words(name)?)))
            .collect();
        let numeric = |column: usize| {
            self.rows
                .iter()
                .any(|row| row.get(column).is_some_and(|c| c.value.is_number()))
        };
        let names = shown.iter().map(|(_, name)| (*name).to_owned()).collect();
        let mut rows = Rows::new(names, shown.iter().map(|(index, _)| numeric(*index)).collect());
        for row in &self.rows {
            let cells = shown.iter().filter_map(|(index, _)| row.get(*index));
            rows.push(cells.map(|cell| cell.for_people(in_terms)).collect());
        }
        rows.table(terminal)
    }
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

/// The rows as a JSON object with an array for each column.
struct ByColumn<'a>(&'a Listing);

impl Serialize for ByColumn<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let cells = |at: usize| self.0.rows.iter().filter_map(move |row| Some(&row.get(at)?.value));
        let columns = self.0.columns.iter().enumerate();
        serializer.collect_map(columns.map(|(at, name)| (name, cells(at).collect::<Vec<_>>())))
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
        let terminal = Terminal {
            input: false,
            output: true,
            messages: false,
            width: 80,
        };
        assert!(listing.table(terminal, false).contains("2.0 KiB"));
    }

    #[test]
    fn rows_and_columns_as_arrays_leave_the_names_out_or_say_them_once() {
        let mut listing = Listing::new(&["Size", "Name"]);
        listing.row([Cell::bytes(2048), "a".into()]);
        listing.row([Cell::bytes(1), Value::Null.into()]);
        let rows = serde_json::to_string(&listing.arrays()).unwrap();
        assert_eq!(rows, r#"[[2048,"a"],[1,null]]"#);
        let columns = serde_json::to_string(&ByColumn(&listing)).unwrap();
        assert_eq!(columns, r#"{"Size":[2048,1],"Name":["a",null]}"#);
    }

    #[test]
    fn people_read_plain_words_and_terms_when_they_ask_for_them() {
        let terminal = Terminal {
            input: false,
            output: true,
            messages: false,
            width: 80,
        };
        let mut listing =
            Listing::new(&["Kind", "Sequence", "Pulled"]).in_words(&[("Sequence", None), ("Pulled", Some("Updated"))]);
        listing.row([Cell::term("Remote(Root)", "pulled"), 7.into(), "today".into()]);
        let plain = listing.table(terminal, false);
        assert!(plain.contains("Updated") && plain.contains("│ pulled"), "{plain}");
        assert!(
            !plain.contains("Sequence") && !plain.contains('7') && !plain.contains("Remote"),
            "{plain}"
        );
        let terms = listing.table(terminal, true);
        assert!(terms.contains("Sequence") && terms.contains("Remote(Root)"), "{terms}");
        let object = listing.objects().next().unwrap();
        assert_eq!(
            serde_json::to_string(&object).unwrap(),
            r#"{"Kind":"Remote(Root)","Sequence":7,"Pulled":"today"}"#
        );
    }
}
