//! A table for people. On a terminal it never gets wider than that: long ids are shortened, and columns that do not fit are
//! named below it. Where a program or a file takes it, every word is whole.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, Width, presets};

use crate::io::Terminal;
use crate::printable::printable;

/// Columns of a terminal that one column takes beside its text: a space at each side, and a line.
const FRAME: usize = 3;
/// Spaces around the text of a cell.
const PADDING: usize = 2;
/// Characters of the longest word that is shown whole when not all of them fit: times are shorter, ids are longer.
const WHOLE: usize = 32;
/// Characters that are left of a longer one, the mark in place of the rest included.
const SHORTENED: usize = 16;
/// How many of them are of its end, where ids of one kind differ most.
const END: usize = 6;

/// Rows whose columns are only known when they are made.
pub(crate) struct Rows {
    names: Vec<String>,
    numeric: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Rows {
    /// No rows yet. Numeric columns are aligned at the right.
    pub(crate) fn new(names: Vec<String>, numeric: Vec<bool>) -> Self {
        Self {
            names: names.iter().map(|name| printable(name).into_owned()).collect(),
            numeric,
            rows: Vec::new(),
        }
    }

    /// Adds a row with one text a column.
    pub(crate) fn push(&mut self, cells: Vec<String>) {
        self.rows
            .push(cells.iter().map(|cell| printable(cell).into_owned()).collect());
    }

    /// The table, lines broken between words to fit into the width of `terminal`. Words are broken nowhere: ids are there
    /// to be copied.
    pub(crate) fn table(mut self, terminal: Terminal) -> String {
        if !terminal.output {
            return self.draw(self.names.len(), terminal.width);
        }
        let width = usize::from(terminal.width);
        if self.fitting(width) < self.names.len() {
            for (text, _) in self
                .rows
                .iter_mut()
                .flat_map(|row| row.iter_mut().zip(&self.numeric))
                .filter(|(_, numeric)| !**numeric)
            {
                *text = shortened(text);
            }
        }
        let shown = self.fitting(width).max(1);
        let mut text = self.draw(shown, terminal.width);
        let left_out: Vec<&str> = self.names.iter().skip(shown).map(String::as_str).collect();
        if !left_out.is_empty() {
            text.push_str(&format!(
                "\nToo wide to show: {} (-o json has all)",
                left_out.join(", ")
            ));
        }
        text
    }

    /// How many of the first columns fit into `width`.
    fn fitting(&self, width: usize) -> usize {
        let longest = |column: usize| {
            let texts = self.rows.iter().filter_map(|row| row.get(column));
            texts
                .chain(self.names.get(column))
                .map(|text| longest_word(text))
                .max()
                .unwrap_or(0)
        };
        let mut taken = 1;
        (0..self.names.len())
            .take_while(|column| {
                taken += longest(*column) + FRAME;
                taken <= width
            })
            .count()
    }

    /// The first `columns` columns.
    fn draw(&self, columns: usize, width: u16) -> String {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_FULL_CONDENSED);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(width);
        table.set_header(self.names.iter().take(columns));
        for row in &self.rows {
            table.add_row(row.iter().zip(&self.numeric).take(columns).map(|(text, numeric)| {
                let align = if *numeric {
                    CellAlignment::Right
                } else {
                    CellAlignment::Left
                };
                comfy_table::Cell::new(text).set_alignment(align)
            }));
        }
        for (index, name) in self.names.iter().take(columns).enumerate() {
            let texts = self.rows.iter().filter_map(|row| row.get(index)).chain([name]);
            let longest = texts.map(|text| longest_word(text)).max().unwrap_or(0);
            if let Some(column) = table.column_mut(index) {
                let width = u16::try_from(longest + PADDING).unwrap_or(u16::MAX);
                column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(width)));
            }
        }
        table.to_string()
    }
}

fn longest_word(text: &str) -> usize {
    text.split_whitespace()
        .map(|word| word.chars().count())
        .max()
        .unwrap_or(0)
}

/// The text with the middle of its long words left out.
fn shortened(text: &str) -> String {
    text.split_inclusive(char::is_whitespace)
        .map(|piece| {
            let word = piece.trim_end();
            let length = word.chars().count();
            if length <= WHOLE {
                return piece.to_owned();
            }
            let begin: String = word.chars().take(SHORTENED - END - 1).collect();
            let end: String = word.chars().skip(length - END).collect();
            format!("{begin}…{end}{}", piece.get(word.len()..).unwrap_or_default())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terminal(width: u16, output: bool) -> Terminal {
        Terminal {
            input: false,
            output,
            messages: false,
            width,
        }
    }

    fn ids() -> Rows {
        let mut rows = Rows::new(
            vec!["Name".to_owned(), "ID".to_owned(), "Size".to_owned()],
            vec![false, false, true],
        );
        let id = format!("k51{}", "q".repeat(59));
        rows.push(vec!["stations".to_owned(), id, "12".to_owned()]);
        rows
    }

    #[test]
    fn long_ids_are_short_on_a_terminal_that_is_too_narrow_for_them_and_whole_elsewhere() {
        let narrow = ids().table(terminal(80, true));
        assert!(narrow.contains("k51qqqqqq…qqqqqq"), "{narrow}");
        assert!(narrow.lines().all(|line| line.chars().count() <= 80), "{narrow}");
        assert!(ids().table(terminal(120, true)).contains(&"q".repeat(59)));
        assert!(ids().table(terminal(80, false)).contains(&"q".repeat(59)));
    }

    #[test]
    fn columns_that_do_not_fit_are_named() {
        let text = ids().table(terminal(33, true));
        assert!(text.ends_with("Too wide to show: Size (-o json has all)"), "{text}");
        assert!(text.contains("k51qqqqqq…qqqqqq"), "{text}");
        // A word of the greatest length that is shown whole, and one that is longer by one; numbers are never shortened.
        assert_eq!(shortened(&"x".repeat(WHOLE)), "x".repeat(WHOLE));
        assert_eq!(
            shortened(&format!("a  {} b", "x".repeat(WHOLE + 1))),
            "a  xxxxxxxxx…xxxxxx b"
        );
        let mut numbers = Rows::new(vec!["n".to_owned()], vec![true]);
        numbers.push(vec!["1".repeat(38)]);
        assert!(numbers.table(terminal(80, true)).contains(&"1".repeat(38)));
    }
}
