//! Rows that changed, as a table for people or rows for programs.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use odf::dataset::{Change, Changed, Changes};

use crate::failure::Failure;
use crate::io::Io;
use crate::output::{self, Format, records};

/// How many rows changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::commands) struct Counts {
    pub(in crate::commands) added: u64,
    pub(in crate::commands) corrected: u64,
    pub(in crate::commands) retracted: u64,
}

impl Counts {
    fn add(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Added => self.added += 1,
                Change::Retracted => self.retracted += 1,
                Change::CorrectedFrom => {}
                Change::CorrectedTo => self.corrected += 1,
            }
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts {
            added,
            corrected,
            retracted,
        } = *self;
        let [added, corrected, retracted] = [added, corrected, retracted].map(output::count);
        write!(f, "{added} row(s) added, {corrected} corrected, {retracted} retracted")
    }
}

/// Counts them.
pub(in crate::commands) fn count(changes: Changes, io: &mut Io) -> Result<Counts, Failure> {
    let mut counts = Counts::default();
    for changed in changes {
        io.check()?;
        counts.add(&changed?.changes);
    }
    Ok(counts)
}

/// Writes them, without the columns that say how rows came, and counts them.
pub(super) fn write(changes: Changes, format: Format, io: &mut Io) -> Result<Counts, Failure> {
    let vocabulary = changes.vocabulary();
    let system = [
        &vocabulary.offset_column,
        &vocabulary.operation_type_column,
        &vocabulary.system_time_column,
    ];
    let fields = changes.schema().fields().iter().enumerate();
    let kept: Vec<usize> = fields
        .filter(|(_, field)| !system.contains(&field.name()))
        .map(|(at, _)| at)
        .collect();
    let rows = Arc::new(changes.schema().project(&kept)?);
    let for_people = format == Format::Table;
    let schema = match for_people {
        true => for_table(&rows),
        false => for_programs(&rows),
    };
    let counts = Cell::new(Counts::default());
    let batches = changes.map(|changed| -> Result<RecordBatch, Failure> {
        let mut changed = changed?;
        let mut so_far = counts.get();
        so_far.add(&changed.changes);
        counts.set(so_far);
        changed.rows = changed.rows.project(&kept)?;
        Ok(match for_people {
            true => table(&changed, &schema)?,
            false => with_words(&changed, &schema)?,
        })
    });
    records::write(&schema, batches, format, io)?;
    Ok(counts.get())
}

/// A first column that says in words what became of each row.
fn for_programs(rows: &SchemaRef) -> SchemaRef {
    let mut name = "change".to_owned();
    while rows.field_with_name(&name).is_ok() {
        name.insert(0, '_');
    }
    let first = Arc::new(Field::new(name, DataType::Utf8, false));
    Arc::new(Schema::new(
        std::iter::once(first)
            .chain(rows.fields().iter().cloned())
            .collect::<Vec<_>>(),
    ))
}

/// A first column with a sign, and all others as text, which may be that of two values.
pub(in crate::commands) fn for_table(rows: &SchemaRef) -> SchemaRef {
    let text = |name: &str| Arc::new(Field::new(name, DataType::Utf8, true));
    let others = rows.fields().iter().map(|field| text(field.name()));
    Arc::new(Schema::new(std::iter::once(text("")).chain(others).collect::<Vec<_>>()))
}

fn with_words(changed: &Changed, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let words = changed.changes.iter().map(|change| {
        Some(match change {
            Change::Added => "added",
            Change::Retracted => "retracted",
            Change::CorrectedFrom => "corrected-from",
            Change::CorrectedTo => "corrected-to",
        })
    });
    let words: ArrayRef = Arc::new(words.collect::<StringArray>());
    let columns = std::iter::once(words).chain(changed.rows.columns().iter().cloned());
    RecordBatch::try_new(schema.clone(), columns.collect())
}

/// One line a change: of a corrected row the values that are another one now, old and new.
pub(in crate::commands) fn table(changed: &Changed, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let rows = records::readable(&changed.rows)?;
    let options = FormatOptions::default().with_null("-").with_display_error(false);
    let formatters = rows
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
        .collect::<Result<Vec<_>, _>>()?;
    let mut lines: Vec<(&str, usize, Option<usize>)> = Vec::new();
    let mut rest = changed.changes.iter().enumerate().peekable();
    while let Some((row, change)) = rest.next() {
        let next = rest.peek().filter(|(_, next)| **next == Change::CorrectedTo);
        match (change, next) {
            (Change::CorrectedFrom, Some((to, _))) => {
                lines.push(("~", row, Some(*to)));
                rest.next();
            }
            (Change::Added | Change::CorrectedTo, _) => lines.push(("+", row, None)),
            (Change::Retracted | Change::CorrectedFrom, _) => lines.push(("-", row, None)),
        }
    }
    let signs: ArrayRef = Arc::new(lines.iter().map(|(sign, ..)| Some(*sign)).collect::<StringArray>());
    let mut columns = vec![signs];
    for formatter in &formatters {
        let cell = |(_, row, to): &(&str, usize, Option<usize>)| -> Result<String, ArrowError> {
            let text = |row: usize| formatter.value(row).try_to_string();
            let old = text(*row)?;
            Ok(match to.map(text).transpose()? {
                Some(new) if new != old => format!("{old} → {new}"),
                _ => old,
            })
        };
        let cells = lines.iter().map(cell).collect::<Result<Vec<_>, _>>()?;
        columns.push(Arc::new(StringArray::from(cells)));
    }
    RecordBatch::try_new(schema.clone(), columns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int64Array;

    #[test]
    fn a_corrected_row_is_one_line_with_old_and_new_values() {
        let rows: SchemaRef = Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, true),
            Field::new("city", DataType::Utf8, true),
        ]));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![1, 2, 2, 3])),
            Arc::new(StringArray::from(vec![Some("Oslo"), Some("Rome"), Some("Roma"), None])),
        ];
        use Change::{Added, CorrectedFrom, CorrectedTo, Retracted};
        let changed = Changed {
            rows: RecordBatch::try_new(rows.clone(), columns).unwrap(),
            changes: vec![Added, CorrectedFrom, CorrectedTo, Retracted],
        };
        let shown = table(&changed, &for_table(&rows)).unwrap();
        let column = |at: usize| {
            let cells = shown.column(at).as_any().downcast_ref::<StringArray>().unwrap();
            cells.iter().flatten().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(column(0), ["+", "~", "-"]);
        assert_eq!(column(1), ["1", "2", "3"]);
        assert_eq!(column(2), ["Oslo", "Rome → Roma", "-"]);
        let mut counts = Counts::default();
        counts.add(&changed.changes);
        assert_eq!(counts.to_string(), "1 row(s) added, 1 corrected, 1 retracted");
    }

    #[test]
    fn a_column_of_that_name_keeps_it() {
        let rows: SchemaRef = Arc::new(Schema::new(vec![Field::new("change", DataType::Utf8, true)]));
        assert_eq!(for_programs(&rows).field(0).name(), "_change");
    }
}
