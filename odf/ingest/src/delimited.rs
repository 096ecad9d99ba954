//! CSV and its kin: one record per row, quoting as the options say (values may contain line breaks).
//!
//! A byte order mark is skipped. Lines end with LF, CR LF or CR; blank ones are skipped. A header field without a name is
//! called `column_N` after its place, because data frames write their index like that; so is every column of a file that
//! has no header and whose source declares none. A field without anything in it is null. Quotes around nothing are an empty
//! text where the column is text, unless a source in the chain has the file read as kamu does, for which they are null too.
//! `docs/reading.md` says what comes of each form.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;

use super::chunks::{Chunked, Cutter, Ordered, Ready, Rule};
use super::columns::Table;
use super::infer::{Inferred, InferredColumn, Kinds, kind_of_text};
use super::moment::lacks_seconds;
use super::shape::Shape;
use super::source::{
    Alteration, Batches, Difference, OnProgress, Phase, Problem, Source, SourceError, Span, check_names, report,
    shorten, unsupported,
};

mod header;
mod layout;
mod plain;
mod records;
mod separator;

use layout::Layout;
use records::Records;
pub(super) use separator::sniff;

/// The names of the columns in the order of the file, from its first record and what the source declares.
fn header(records: &mut Records) -> Result<Vec<String>, SourceError> {
    let source = records.source().clone();
    if !records.advance()? {
        return Err(source.error(Problem::Empty));
    }
    let has_header = source.options().header;
    // A header that a source in the chain speaks of is taken to the letter, as kamu takes it.
    let is_literal = source.has_step() && source.declared().is_none();
    let name = |(at, name): (usize, &str)| match name.trim() {
        _ if !has_header => format!("column_{}", at + 1),
        _ if is_literal => name.to_owned(),
        "" => format!("column_{}", at + 1),
        name => name.to_owned(),
    };
    let mut names: Vec<String> = records.record.iter().enumerate().map(name).collect();
    if let Some(declared) = source.declared() {
        let declared: Vec<&str> = declared.columns.iter().map(|column| column.name.as_str()).collect();
        if has_header {
            if header::is_strange(&names, &declared) {
                source.tell(
                    &shorten(&records.record.iter().collect::<Vec<_>>().join(",")),
                    Alteration::Renamed,
                    0,
                );
            }
            let found = header::names_of(names, &declared);
            names = found.map_err(|problem| source.error_at(records.line(), None, problem))?;
            if names != declared {
                source.tell("header", Alteration::ByName, 0);
            }
        } else if declared.len() == names.len() {
            names = declared.into_iter().map(str::to_owned).collect();
        } else {
            let problem = Problem::Width {
                found: names.len() as u64,
                expected: declared.len() as u64,
                declared: declared.join(", "),
            };
            return Err(source.error_at(records.line(), None, problem));
        }
    }
    check_names(&source, names.iter().map(String::as_str))?;
    Ok(names)
}

/// The names of the columns, and the part of `span` that has rows.
fn names_and_rows(source: &Source, span: Span) -> Result<(Vec<String>, Span), SourceError> {
    let mut records = Records::open(source, span.end)?;
    let names = header(&mut records)?;
    if span.start > 0 || !source.options().header {
        return Ok((names, span));
    }
    let (start, line) = records.behind();
    Ok((names, Span { start, line, ..span }))
}

/// The names of the columns.
pub(super) fn names(source: &Source) -> Result<Vec<String>, SourceError> {
    header(&mut Records::open(source, source.len()?)?)
}

/// Where the rows of the file end.
pub(super) fn rule(source: &Source) -> Rule {
    let options = source.options();
    Rule::Quoted {
        separator: options.separator.unwrap_or(b','),
        quote: options.quote,
        escape: options.escape,
    }
}

/// Types of all columns from all rows; text for all of them, and only one row looked at, if types are not to be found out.
pub(super) fn infer(source: &Source, end: u64, progress: &mut OnProgress<'_>) -> Result<Inferred, SourceError> {
    let whole = Span { start: 0, line: 0, end };
    let (names, span) = names_and_rows(source, whole)?;
    let mut kinds = vec![Kinds::default(); names.len()];
    let mut rows = 0u64;
    if source.options().infer_types {
        let (reader, columns) = (source.clone(), names.clone());
        if let Some(most) = source.options().first_rows {
            let mut chunks = Cutter::open(source, span, rule(source))?;
            while rows < most
                && let Some(chunk) = chunks.next()?
            {
                rows += examine(&mut Records::of(source, chunk), &columns, most - rows, &mut kinds)?;
            }
        } else {
            let work = move |chunk| {
                let mut kinds = vec![Kinds::default(); columns.len()];
                let rows = examine(&mut Records::of(&reader, chunk), &columns, u64::MAX, &mut kinds)?;
                Ok((kinds, rows))
            };
            let mut chunks = Ordered::start(source, span, rule(source), work)?;
            while let Some(((seen, some), at)) = chunks.next()? {
                kinds.iter_mut().zip(seen).for_each(|(kind, seen)| kind.add(seen));
                rows += some;
                report(source, progress, Phase::Inferring, at, end, rows)?;
            }
        }
    } else {
        kinds.fill(Kinds::TEXT);
        let mut records = Records::open(source, end)?;
        let skipped = !source.options().header || records.advance()?;
        rows = u64::from(skipped && records.advance()?);
    }
    report(source, progress, Phase::Inferring, end, end, rows)?;
    let columns = names
        .into_iter()
        .zip(kinds)
        .map(|(name, kinds)| InferredColumn {
            name,
            data_type: kinds.data_type(source.options()),
            nullable: true,
            note: kinds.note(source.options()),
        })
        .collect();
    Ok(Inferred { columns, rows })
}

/// Adds the kinds of values in each column of at most so many rows, and gives the number of rows.
fn examine(records: &mut Records, names: &[String], most: u64, kinds: &mut [Kinds]) -> Result<u64, SourceError> {
    let mut rows = 0u64;
    while rows < most && records.advance()? {
        records.check_width(names)?;
        for (field, kind) in records.record.iter().zip(kinds.iter_mut()) {
            if !field.is_empty() && !kind.settled() {
                // Where few rows are looked at, kamu's reading decides: for it a time has seconds.
                let is_text = most != u64::MAX && lacks_seconds(field);
                kind.add(if is_text { Kinds::TEXT } else { kind_of_text(field) });
            }
        }
        rows += 1;
    }
    Ok(rows)
}

/// Typed rows of the part `span` of a file, in batches.
pub(super) fn rows(source: &Source, shape: &Shape, span: Span) -> Result<Chunked, SourceError> {
    let (names, span) = names_and_rows(source, span)?;
    let targets: Vec<Option<usize>> = names.iter().map(|name| shape.position(name)).collect();
    let absent = (0..shape.width()).filter(|at| !targets.contains(&Some(*at)));
    let (absent, missing): (Vec<usize>, Vec<usize>) = absent.partition(|at| shape.is_optional(*at));
    // Of declared columns the header was compared with those already.
    let extra = source.declared().is_none() && targets.contains(&None);
    if extra || !missing.is_empty() {
        return Err(misfit(source, shape, &names, &absent));
    }
    let layout = Arc::new(Layout { names, targets, absent });
    Table::new(shape, source.reading()).map_err(|at| unsupported(source, shape, at))?;
    let (reader, shape) = (source.clone(), shape.clone());
    Chunked::start(source, span, rule(source), move |chunk| {
        let table = || Table::new(&shape, reader.reading()).map_err(|at| unsupported(&reader, &shape, at));
        Ok(match plain::batches(&reader, &chunk, &layout, table()?) {
            Some(batches) => Box::new(Ready(batches.into_iter())),
            None => Box::new(Rows {
                records: Records::of(&reader, chunk),
                layout: layout.clone(),
                quoted: Vec::new(),
                table: table()?,
            }),
        })
    })
}

/// The refusal of a file with other columns than the dataset, which may do without those in `absent`.
fn misfit(source: &Source, shape: &Shape, names: &[String], absent: &[usize]) -> SourceError {
    let wanted = (0..shape.width())
        .filter(|at| !absent.contains(at))
        .map(|at| shape.name(at));
    let difference = Difference::between(names, &wanted.collect::<Vec<_>>());
    let (column, problem) = match (&*difference.missing, &*difference.extra, &*difference.case) {
        ([], [extra], []) => (extra.clone(), Problem::NotInDataset(shape.names())),
        ([missing], [], []) => (missing.clone(), Problem::NotInFile),
        _ => return source.error_at(1, None, Problem::Columns(difference)),
    };
    source.error_at(1, Some(&column), problem)
}

/// Batches of typed rows.
struct Rows {
    records: Records,
    layout: Arc<Layout>,
    table: Table,
    /// For each field of the record whether it stands in quotes; empty if that does not matter.
    quoted: Vec<bool>,
}

impl Rows {
    fn fill(&mut self) -> Result<(), SourceError> {
        let layout = &*self.layout;
        let quotes_matter = !self.records.source().has_step();
        while !self.table.full() && self.records.advance()? {
            self.records.check_width(&layout.names)?;
            self.quoted.clear();
            if quotes_matter && let Some(at) = self.records.quoted(&mut self.quoted) {
                let problem = Problem::Syntax("a quoted value goes on behind its closing quote".to_owned());
                let line = self.records.line();
                return Err(self.records.source().error_at(line, Some(&layout.names[at]), problem));
            }
            for (at, field) in self.records.record.iter().enumerate() {
                let Some(target) = layout.targets[at] else { continue };
                let column = self.table.column(target);
                let pushed = match field.is_empty() && self.quoted.get(at).is_some_and(|quoted| *quoted) {
                    true => column.push_quoted_nothing(),
                    false => column.push_text(field),
                };
                if let Err(problem) = pushed {
                    let line = self.records.line();
                    return Err(self.records.source().error_at(line, Some(&layout.names[at]), problem));
                }
            }
            for at in &layout.absent {
                let pushed = self.table.column(*at).push_null();
                pushed.map_err(|problem| self.records.source().error_at(self.records.line(), None, problem))?;
            }
            self.table.row_done(self.records.record.as_slice().len());
        }
        Ok(())
    }
}

impl Batches for Rows {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        self.fill()?;
        let taken = self.table.take();
        self.table.tell(self.records.source());
        taken.map_err(|problem| self.records.source().error(problem))
    }

    fn bytes(&self) -> u64 {
        self.records.consumed()
    }
}

#[cfg(test)]
mod tests;
