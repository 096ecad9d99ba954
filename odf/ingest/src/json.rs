//! NDJSON, JSON documents with an array of objects, and GeoJSON feature collections: all are streams of objects.
//!
//! The text of a document is cut into the elements of its array by a small scanner that holds one element at a time, so
//! a document of any size is read in bounded memory. Values are parsed from the text as written: integers keep all their
//! digits, floats are rounded once. Arrays and objects become JSON text without blanks, keys sorted, numbers as written.

use arrow::record_batch::RecordBatch;

use super::chunks::Chunked;
use super::columns::Table;
use super::shape::Shape;
use super::source::{Alteration, Batches, Problem, Source, SourceError, Span, unsupported};

mod feature;
mod flat;
mod lenient;
mod lines;
mod look;
mod objects;
mod scan;
mod text;

pub(super) use feature::{GEOMETRY, PROPERTY_GEOMETRY};
use feature::{Naming, cells};
use flat::Flat;
pub(super) use look::infer;
pub(super) use objects::rule;
use objects::{Objects, utf8};
pub use text::MAX_DEPTH;
pub(super) use text::{Refused, canonical, decode_string, items, members};

/// Typed rows of a file with one object after the other, in batches.
pub(super) fn lines(source: &Source, shape: &Shape, span: Span) -> Result<Chunked, SourceError> {
    Table::new(shape, source.reading()).map_err(|at| unsupported(source, shape, at))?;
    let (reader, shape) = (source.clone(), shape.clone());
    let rule = rule(source)?;
    Chunked::start(source, span, rule, move |chunk| {
        let mut rows = Rows::new(&reader, &shape, Objects::of(&reader, rule, chunk))?;
        rows.flat = Flat::of(&shape, &rows.table).filter(|_| matches!(rows.naming, Naming::Members));
        Ok(Box::new(rows))
    })
}

/// Batches of typed rows. A member that a row lacks is null; one that the dataset lacks is refused, unless a source in the
/// chain has the rows read: then it was left out on purpose, or is none of the columns of the first rows, which is told. A row of nothing but such members is refused, and so is one
/// whose name differs from that of a column without a value in case only.
pub(super) struct Rows {
    source: Source,
    shape: Shape,
    objects: Objects,
    naming: Naming,
    table: Table,
    /// Takes rows that are plain before the general rules do; none where those do all of it.
    flat: Option<Flat>,
    text: Vec<u8>,
    /// Row in which each column was last given a value, counted from 1.
    given: Vec<u64>,
    row: u64,
    /// Members of the row that were passed over and have the name of a column but for case, and those columns.
    near: Vec<(usize, String)>,
}

impl Rows {
    pub(super) fn open(source: &Source, shape: &Shape, span: Span) -> Result<Rows, SourceError> {
        Rows::new(source, shape, Objects::open(source, span)?)
    }

    fn new(source: &Source, shape: &Shape, objects: Objects) -> Result<Rows, SourceError> {
        let table = Table::new(shape, source.reading()).map_err(|at| unsupported(source, shape, at))?;
        Ok(Rows {
            source: source.clone(),
            shape: shape.clone(),
            objects,
            naming: Naming::of(source, Some(shape)),
            table,
            flat: None,
            text: Vec::new(),
            given: vec![0; shape.width()],
            row: 0,
            near: Vec::new(),
        })
    }

    fn fill(&mut self) -> Result<(), SourceError> {
        while !self.table.full() {
            if let (Some(flat), Objects::Lines(lines)) = (&mut self.flat, &mut self.objects) {
                let taken = flat.take(lines, &mut self.table);
                taken.map_err(|problem| self.source.error(problem))?;
                if self.table.full() {
                    return Ok(());
                }
            }
            let Some(place) = self.objects.next(&mut self.text)? else {
                return Ok(());
            };
            self.row += 1;
            let (row, shape, table, given) = (self.row, &self.shape, &mut self.table, &mut self.given);
            let source = &self.source;
            let (mut expected, lax) = (0, self.source.has_step());
            let is_open = lax && self.source.declared().is_none();
            let (mut taken, mut passed_over) = (0, 0);
            let has_features = self.source.format().has_features();
            let near = &mut self.near;
            near.clear();
            let in_lines = matches!(self.objects, Objects::Lines(_));
            cells(
                self.naming,
                in_lines,
                utf8(&self.source, place, &self.text)?,
                &mut |key, raw| {
                    let at = if expected < shape.width() && shape.name(expected) == key {
                        expected
                    } else {
                        match shape.position(&key) {
                            Some(at) => at,
                            None if lax => {
                                passed_over += usize::from(!(has_features && key == GEOMETRY));
                                near.extend(shape.position_but_for_case(&key).map(|at| (at, key.to_string())));
                                if is_open {
                                    source.tell(&key, Alteration::PassedOver, 1);
                                }
                                return Ok(());
                            }
                            None => return Err((Some(key.to_string()), Problem::NotInDataset(shape.names()))),
                        }
                    };
                    expected = at + 1;
                    if given[at] == row {
                        return Err((Some(key.to_string()), Problem::Duplicate));
                    }
                    given[at] = row;
                    taken += 1;
                    table
                        .column(at)
                        .push_json(raw)
                        .map_err(|problem| (Some(key.to_string()), problem))
                },
            )
            .map_err(|(column, problem)| self.source.error_in(place, column.as_deref(), problem))?;
            if let Some((at, name)) = near.iter().find(|(at, _)| given[*at] != row) {
                let problem = Problem::Case(shape.name(*at).to_owned());
                return Err(self.source.error_in(place, Some(name), problem));
            }
            if taken == 0 && passed_over > 0 {
                return Err(self
                    .source
                    .error_in(place, None, Problem::NothingDeclared(shape.names())));
            }
            for (at, given) in given.iter().enumerate() {
                if *given != row {
                    let missing = |problem| self.source.error_in(place, Some(shape.name(at)), problem);
                    table.column(at).push_null().map_err(missing)?;
                }
            }
            self.table.row_done(self.text.len());
        }
        Ok(())
    }
}

impl Batches for Rows {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        self.fill()?;
        self.table.tell(&self.source);
        self.table.take().map_err(|problem| self.source.error(problem))
    }

    fn bytes(&self) -> u64 {
        self.objects.consumed()
    }
}

#[cfg(test)]
mod tests;
