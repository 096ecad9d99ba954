//! Which columns there are in JSON rows, and of what types.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};

use super::{GEOMETRY, MAX_DEPTH, Naming, Objects, cells, decode_string, items, members, rule, utf8};
use crate::chunks::{Cutter, Ordered};
use crate::infer::{Inferred, InferredColumn, Kinds, Note, kind_of_json_string, kind_of_number};
use crate::source::{
    BATCH_ROWS, Format, MAX_COLUMNS, OnProgress, Phase, Problem, ReadOptions, Source, SourceError, Span, check_names,
    report,
};

/// Types of all columns from all rows, or the first ones; columns in the order in which they first appear.
pub(crate) fn infer(source: &Source, end: u64, progress: &mut OnProgress<'_>) -> Result<Inferred, SourceError> {
    let whole = Span { start: 0, line: 0, end };
    let mut all = Seen::default();
    let mut types = HashMap::new();
    let most = source.options().first_rows;
    if matches!(source.format(), Format::Ndjson | Format::NdGeoJson) {
        let (reader, rule) = (source.clone(), rule(source)?);
        if let Some(most) = most {
            let mut chunks = Cutter::open(source, whole, rule)?;
            while all.rows < most
                && let Some(chunk) = chunks.next()?
            {
                let mut objects = Objects::of(source, rule, chunk);
                all.examine(source, &mut objects, &mut |_, _| Ok(()))?;
            }
        } else {
            let work = move |chunk| {
                let mut seen = Seen::default();
                let mut objects = Objects::of(&reader, rule, chunk);
                seen.examine(&reader, &mut objects, &mut |_, _| Ok(()))?;
                Ok(seen)
            };
            let mut chunks = Ordered::start(source, whole, rule, work)?;
            while let Some((seen, at)) = chunks.next()? {
                all.join(seen).map_err(|problem| source.error(problem))?;
                report(source, progress, Phase::Inferring, at, end, all.rows)?;
            }
        }
        if all.rows == 0 {
            return Err(source.error(Problem::Empty));
        }
    } else {
        let mut on_rows = |at, rows| report(source, progress, Phase::Inferring, at, end, rows);
        let mut objects = Objects::open(source, whole)?;
        all.examine(source, &mut objects, &mut on_rows)?;
        types = objects.types();
    }
    if source.format().has_features()
        && !source.has_step()
        && let Some(at) = all.by_name.get(GEOMETRY).copied()
    {
        // Features may differ in their properties; the geometry stays behind all of them.
        let geometry = all.columns.remove(at);
        all.columns.push(geometry);
    }
    check_names(source, all.columns.iter().map(|(name, _)| name.as_str()))?;
    report(source, progress, Phase::Inferring, end, end, all.rows)?;
    let rows = all.rows;
    let options = source.options();
    let columns = all.columns.into_iter().map(|(name, values)| {
        let (data_type, note) = match types.remove(&name) {
            // Where the file itself says that it is text nothing needs to be said.
            Some(data_type) => (data_type.clone(), values.scalars.note_on_digits(&data_type)),
            None => (values.data_type(options), values.note(options)),
        };
        InferredColumn {
            name,
            data_type,
            nullable: true,
            note,
        }
    });
    Ok(Inferred {
        columns: columns.collect(),
        rows,
    })
}

/// How types are found out.
#[derive(Clone, Copy)]
struct Manner {
    /// Lists and objects have types of their own, and text is never a date or a time: so kamu sees JSON.
    typed: bool,
    /// Members that come up together are put in the order of their names: what is left of their order where kamu parses a
    /// row before it looks for types.
    sorted: bool,
}

impl Manner {
    fn of(source: &Source) -> Manner {
        Manner {
            typed: source.has_step(),
            sorted: source.has_step(),
        }
    }
}

/// The values seen in one place.
#[derive(Default)]
struct Values {
    scalars: Kinds,
    /// All items of all lists.
    items: Option<Box<Values>>,
    /// The members of all objects.
    members: Option<Box<Seen>>,
}

impl Values {
    fn add(&mut self, raw: &str, manner: Manner, depth: usize) -> Result<(), Problem> {
        match raw.as_bytes().first() {
            _ if self.scalars.settled() => {}
            Some(b'[') if manner.typed && depth < MAX_DEPTH => {
                let values = self.items.get_or_insert_default();
                for item in items(raw)? {
                    values.add(item.get(), manner, depth + 1)?;
                }
            }
            Some(b'{') if manner.typed && depth < MAX_DEPTH => {
                let seen = self.members.get_or_insert_default();
                let known = seen.columns.len();
                let added = members(raw, &mut |key, raw| {
                    let at = seen.position(&key).map_err(|problem| (None, problem))?;
                    seen.columns[at]
                        .1
                        .add(raw, manner, depth + 1)
                        .map_err(|problem| (None, problem))
                });
                added.map_err(|(_, problem)| problem)?;
                seen.settle_order(known, manner);
            }
            Some(b'"') if manner.typed => self.scalars.add(Kinds::TEXT),
            _ => {
                if let Some(kind) = kind_of_json(raw)? {
                    self.scalars.add(kind);
                }
            }
        }
        Ok(())
    }

    fn join(&mut self, later: Values) -> Result<(), Problem> {
        self.scalars.add(later.scalars);
        if let Some(items) = later.items {
            self.items.get_or_insert_default().join(*items)?;
        }
        if let Some(members) = later.members {
            self.members.get_or_insert_default().join(*members)?;
        }
        Ok(())
    }

    /// What there is to be said of the type.
    fn note(&self, options: &ReadOptions) -> Option<Note> {
        match (&self.items, &self.members) {
            (None, None) => self.scalars.note(options),
            _ => self.scalars.note(options).filter(|note| *note != Note::NoValues),
        }
    }

    /// The type that has all of them; text if there is no other.
    fn data_type(&self, options: &ReadOptions) -> DataType {
        match (&self.items, &self.members) {
            (None, None) => self.scalars.data_type(options),
            (Some(items), None) if self.scalars == Kinds::default() => {
                DataType::List(Arc::new(Field::new("item", items.data_type(options), true)))
            }
            (None, Some(members)) if self.scalars == Kinds::default() && !members.columns.is_empty() => {
                let fields = members.columns.iter();
                DataType::Struct(
                    fields
                        .map(|(name, values)| Field::new(name, values.data_type(options), true))
                        .collect(),
                )
            }
            _ => DataType::Utf8,
        }
    }
}

/// The columns of some rows, or the members of some objects.
#[derive(Default)]
struct Seen {
    columns: Vec<(String, Values)>,
    by_name: HashMap<String, usize>,
    rows: u64,
}

impl Seen {
    /// `on_rows` is called now and then with the bytes and rows so far.
    fn examine(
        &mut self,
        source: &Source,
        objects: &mut Objects,
        on_rows: &mut dyn FnMut(u64, u64) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        let (manner, naming) = (Manner::of(source), Naming::of(source, None));
        let most = source.options().first_rows.unwrap_or(u64::MAX);
        let mut text = Vec::new();
        while self.rows < most
            && let Some(place) = objects.next(&mut text)?
        {
            let (mut expected, known) = (0, self.columns.len());
            let in_lines = matches!(objects, Objects::Lines(_));
            cells(naming, in_lines, utf8(source, place, &text)?, &mut |key, raw| {
                let at = match self.columns.get(expected).filter(|(name, _)| **name == key) {
                    Some(_) => expected,
                    None => self.position(&key).map_err(|problem| (None, problem))?,
                };
                expected = at + 1;
                let added = self.columns[at].1.add(raw, manner, 0);
                added.map_err(|problem| (Some(key.to_string()), problem))
            })
            .map_err(|(column, problem)| source.error_in(place, column.as_deref(), problem))?;
            self.settle_order(known, manner);
            self.rows += 1;
            if self.rows.is_multiple_of(BATCH_ROWS as u64) {
                on_rows(objects.consumed(), self.rows)?;
            }
        }
        Ok(())
    }

    /// Where this column is, be it new or not.
    fn position(&mut self, name: &str) -> Result<usize, Problem> {
        if let Some(at) = self.by_name.get(name) {
            return Ok(*at);
        }
        if self.columns.len() == MAX_COLUMNS {
            return Err(Problem::TooLarge {
                limit: MAX_COLUMNS,
                unit: "columns",
                hint: "",
            });
        }
        self.by_name.insert(name.to_owned(), self.columns.len());
        self.columns.push((name.to_owned(), Values::default()));
        Ok(self.columns.len() - 1)
    }

    /// Sorts the columns behind the first `known`, if that is the manner.
    fn settle_order(&mut self, known: usize, manner: Manner) {
        if manner.sorted && self.columns.len() > known + 1 {
            self.columns[known..].sort_by(|(a, _), (b, _)| a.cmp(b));
            for (at, (name, _)) in self.columns.iter().enumerate().skip(known) {
                self.by_name.insert(name.clone(), at);
            }
        }
    }

    /// Adds what was seen in the rows behind.
    fn join(&mut self, later: Seen) -> Result<(), Problem> {
        for (name, values) in later.columns {
            let at = self.position(&name)?;
            self.columns[at].1.join(values)?;
        }
        self.rows += later.rows;
        Ok(())
    }
}

fn kind_of_json(raw: &str) -> Result<Option<Kinds>, Problem> {
    Ok(match raw.as_bytes().first() {
        Some(b'n') => None,
        Some(b't' | b'f') => Some(Kinds::BOOL),
        Some(b'"') => Some(kind_of_json_string(&decode_string(raw)?)),
        Some(b'{' | b'[') => Some(Kinds::TEXT),
        _ => Some(kind_of_number(raw)),
    })
}
