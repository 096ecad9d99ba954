//! Lines as programs write them: one object without anything nested, escaped or unknown in it, and values that their
//! columns take as they stand. They go from the bytes of the file into the columns without a copy.
//!
//! A row is taken as a whole or not at all. Whatever is not plain, wrong or only unusual, is left to the general rules, so
//! that there is one place which says what a row means and what is wrong with it.

use super::lines::Lines;
use crate::columns::{Cell, Plain, Table};
use crate::eight::{below, equal, first};
use crate::shape::Shape;
use crate::source::{MAX_ROW_BYTES, Problem};

/// How many members of the row before may be missing before a name is looked up.
const SKIPPED_MEMBERS: usize = 4;

/// The most digits of which any number fits 64 bits.
const SHORT_DIGITS: usize = 18;

/// The plain rows among lines.
pub(super) struct Flat {
    shape: Shape,
    /// The name of each column with its quotes and the colon.
    names: Vec<String>,
    /// At 0 the column that an object began with when it was last looked up, and behind that for each column the one that
    /// came after it.
    order: Vec<usize>,
}

impl Flat {
    /// None if there can be no plain rows of these columns.
    pub(super) fn of(shape: &Shape, table: &Table) -> Option<Flat> {
        let names = (0..shape.width()).map(|at| shape.name(at));
        let is_plain = |name: &str| text_end(format!("{name}\"").as_bytes(), 0) == Some(name.len());
        (table.has_cells() && names.clone().all(is_plain)).then(|| Flat {
            names: names.map(|name| format!("\"{name}\":")).collect(),
            order: (0..shape.width()).chain([0]).collect(),
            shape: shape.clone(),
        })
    }

    /// Takes the plain rows that `lines` go on with, until the table is full.
    pub(super) fn take(&mut self, lines: &mut Lines, table: &mut Table) -> Result<(), Problem> {
        let Some(text) = lines.rest() else {
            return Ok(());
        };
        let mut cells = vec![Cell::Absent; self.names.len()];
        let (mut rows, mut bytes) = (0, 0);
        while !table.full()
            && let Some(rest) = text.get(bytes..)
            && let Some(length) = self.row(rest, table, &mut cells)
        {
            table.push_row(&cells, length)?;
            rows += 1;
            bytes += length;
        }
        lines.pass(rows, bytes);
        Ok(())
    }

    /// Puts the values of the first line of `text` into `cells`, and gives the length of the line with its end. None if it is
    /// not plain.
    fn row<'t>(&mut self, text: &'t str, table: &Table, cells: &mut [Cell<'t>]) -> Option<usize> {
        let bytes = text.as_bytes();
        let mut at = after(bytes, 0, b'{')?;
        let mut before = 0;
        cells.fill(Cell::Absent);
        loop {
            let (column, value) = self.column(text, at, before)?;
            let value = blank(bytes, value);
            let cell = cells.get_mut(column)?;
            if !matches!(cell, Cell::Absent) {
                return None;
            }
            let (plain, end) = scalar(text, value)?;
            table.cell(column, plain, cell)?;
            before = column + 1;
            match bytes.get(end)? {
                b',' => at = blank(bytes, end + 1),
                b'}' => {
                    at = end + 1;
                    break;
                }
                _ => return None,
            }
        }
        let length = match bytes.get(at..)? {
            [b'\n', ..] => at + 1,
            [b'\r', b'\n', ..] => at + 2,
            [] => at,
            _ => return None,
        };
        table.complete(cells)?;
        (length <= MAX_ROW_BYTES).then_some(length)
    }

    /// Which column the member at `at` is for, and where its value begins. `before` is the place in `self.order` of what may
    /// have been before it.
    fn column(&mut self, text: &str, at: usize, before: usize) -> Option<(usize, usize)> {
        let rest = text.as_bytes().get(at..)?;
        let mut guess = before;
        for _ in 0..=SKIPPED_MEMBERS {
            let Some(column) = self.order.get(guess).copied() else {
                break;
            };
            match self.names.get(column) {
                Some(name) if rest.starts_with(name.as_bytes()) => return Some((column, at + name.len())),
                _ => guess = column + 1,
            }
        }
        let begins = after(text.as_bytes(), at, b'"')?;
        let ends = text_end(text.as_bytes(), begins)?;
        let column = self.shape.position(text.get(begins..ends)?)?;
        *self.order.get_mut(before)? = column;
        Some((column, after(text.as_bytes(), ends + 1, b':')?))
    }
}

/// Behind `byte`, if it is the one at `at`.
fn after(bytes: &[u8], at: usize, byte: u8) -> Option<usize> {
    (bytes.get(at) == Some(&byte)).then_some(at + 1)
}

/// Behind the blank at `at`, if there is one.
fn blank(bytes: &[u8], at: usize) -> usize {
    after(bytes, at, b' ').unwrap_or(at)
}

/// The value at `at`, and where it ends.
fn scalar(text: &str, at: usize) -> Option<(Plain<'_>, usize)> {
    let bytes = text.as_bytes();
    let word = |word: &str, value| {
        let rest = bytes.get(at..)?;
        rest.starts_with(word.as_bytes()).then_some((value, at + word.len()))
    };
    match bytes.get(at)? {
        b'"' => {
            let end = text_end(bytes, at + 1)?;
            Some((Plain::Text(text.get(at + 1..end)?), end + 1))
        }
        b'-' | b'0'..=b'9' => number(text, at),
        b't' => word("true", Plain::Bool(true)),
        b'f' => word("false", Plain::Bool(false)),
        b'n' => word("null", Plain::Null),
        _ => None,
    }
}

/// The number at `at`, and where it ends; none if JSON has no such number.
fn number(text: &str, at: usize) -> Option<(Plain<'_>, usize)> {
    let bytes = text.as_bytes();
    let is_negative = bytes.get(at) == Some(&b'-');
    let first = at + usize::from(is_negative);
    let mut end = first;
    let mut value = 0i64;
    while let Some(digit @ b'0'..=b'9') = bytes.get(end) {
        value = value.wrapping_mul(10).wrapping_add(i64::from(digit - b'0'));
        end += 1;
    }
    let length = end - first;
    if length == 0 || length > 1 && bytes.get(first) == Some(&b'0') {
        return None;
    }
    let is_whole = !matches!(bytes.get(end), Some(b'.' | b'e' | b'E'));
    if is_whole && length <= SHORT_DIGITS {
        let value = if is_negative { -value } else { value };
        return Some((Plain::Integer(value, text.get(at..end)?), end));
    }
    if bytes.get(end) == Some(&b'.') {
        end = digits(bytes, end + 1)?;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        end += 1 + usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        end = digits(bytes, end)?;
    }
    Some((Plain::Number(text.get(at..end)?), end))
}

/// Behind the digits at `at`; none if there are none.
fn digits(bytes: &[u8], at: usize) -> Option<usize> {
    let count = bytes.get(at..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (count > 0).then_some(at + count)
}

/// Where the quote is that ends the text which begins at `at`; none if something is escaped before it, or has to be.
fn text_end(bytes: &[u8], at: usize) -> Option<usize> {
    let marks = |eight| equal(eight, b'"') | equal(eight, b'\\') | below(eight, b' ');
    let end = first(bytes, at, marks);
    (bytes.get(end) == Some(&b'"')).then_some(end)
}
