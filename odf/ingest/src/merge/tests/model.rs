//! The strategies as odf-facts §8.1 has them, over rows in a list.

use std::collections::BTreeMap;

use arrow::datatypes::DataType;

use crate::merge::times::DAY_MILLIS;
use odf_metadata::MergeStrategy;

/// Values sort as kamu sorts them: ascending, missing ones first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value {
    Null,
    Number(i64),
    Text(String),
}

impl Value {
    pub(super) fn number(&self) -> Option<i64> {
        match self {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

type Cells = [Value; 4];

/// A new row.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) operation: Option<i64>,
    pub(super) time: Option<i64>,
    /// The columns k, n, v, w.
    pub(super) cells: Cells,
}

impl Given {
    pub(super) fn cell(&self, at: usize) -> &Value {
        &self.cells[at]
    }
}

/// A row of the dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) offset: i64,
    pub(super) operation: i32,
    pub(super) system_time: i64,
    pub(super) event_time: i64,
    pub(super) cells: Cells,
}

/// Rows are counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    NullKey(u64),
    Repeated(u64, u64),
    NoOperation(u64),
    NotAnOperation(u64, i64),
}

/// A time as an event time column of this type holds it.
pub(super) fn as_event_time(event_type: &DataType, millis: i64) -> i64 {
    match event_type {
        DataType::Date32 => millis - millis.rem_euclid(DAY_MILLIS),
        _ => millis,
    }
}

fn column(cells: &Cells, time: Option<i64>, name: &str) -> Value {
    match name {
        "event_time" => time.map_or(Value::Null, Value::Number),
        name => cells[["k", "n", "v", "w"].iter().position(|column| *column == name).unwrap()].clone(),
    }
}

pub(super) fn key_of(cells: &Cells, time: Option<i64>, names: &[String]) -> Vec<Value> {
    names.iter().map(|name| column(cells, time, name)).collect()
}

/// The latest row of every key for which it says that it holds.
fn latest<'k>(rows: &'k [Kept], primary_key: &[String]) -> BTreeMap<Vec<Value>, &'k Kept> {
    let mut state = BTreeMap::new();
    for row in rows {
        state.insert(key_of(&row.cells, Some(row.event_time), primary_key), row);
    }
    state.retain(|_, row| ![1, 2].contains(&row.operation));
    state
}

/// Whether any of the columns is distinct; an event time that the new row lacks is no change.
fn differs(old: &Kept, new: &Given, columns: &[String]) -> bool {
    columns.iter().any(|name| {
        let distinct = column(&old.cells, Some(old.event_time), name) != column(&new.cells, new.time, name);
        distinct && (name != "event_time" || new.time.is_some())
    })
}

/// How many new rows of a ledger have a key that is there, and other values than each earlier row.
pub(super) fn passed_over(rows: &[Kept], new: &[Given], primary_key: &[String], event_type: &DataType) -> u64 {
    let passed = new.iter().filter(|given| {
        let time = given.time.map(|time| as_event_time(event_type, time));
        let key = key_of(&given.cells, time, primary_key);
        let is_known = rows
            .iter()
            .any(|row| key_of(&row.cells, Some(row.event_time), primary_key) == key);
        let is_same = |row: &&Kept| row.cells == given.cells && time.is_none_or(|time| time == row.event_time);
        let mut holding = rows.iter().filter(|row| ![1, 2].contains(&row.operation));
        is_known && !key.contains(&Value::Null) && !holding.any(|row| is_same(&row))
    });
    passed.count() as u64
}

/// A row on its way: operation, event time, cells.
type Row = (i32, Option<i64>, Cells);

pub(super) fn merge(
    strategy: &MergeStrategy,
    rows: &[Kept],
    given: &[Given],
    system_time: i64,
    event_time: i64,
    has_operations: bool,
) -> Result<Vec<Kept>, Refused> {
    let all = ["event_time", "k", "n", "v", "w"];
    let other_than = |primary_key: &[String]| -> Vec<String> {
        let names = all.iter().map(|name| (*name).to_owned());
        names.filter(|name| !primary_key.contains(name)).collect()
    };
    let operations = |default: Option<i32>| -> Result<Vec<i32>, Refused> {
        (1..)
            .zip(given)
            .map(|(at, row)| match (row.operation, default) {
                _ if !has_operations => Ok(0),
                (Some(number), _) => i32::try_from(number).map_err(|_| Refused::NotAnOperation(at, number)),
                (None, Some(default)) => Ok(default),
                (None, None) => Err(Refused::NoOperation(at)),
            })
            .collect()
    };
    let as_given = |operation: i32, row: &Given| -> Row { (operation, row.time, row.cells.clone()) };
    let as_kept = |operation: i32, row: &Kept| -> Row { (operation, Some(row.event_time), row.cells.clone()) };
    let mut out: Vec<Row> = Vec::new();
    match strategy {
        MergeStrategy::Append => out.extend(given.iter().map(|row| as_given(0, row))),
        MergeStrategy::Ledger { primary_key } => {
            let known: Vec<_> = rows
                .iter()
                .map(|row| key_of(&row.cells, Some(row.event_time), primary_key))
                .collect();
            for row in given {
                let key = key_of(&row.cells, row.time, primary_key);
                if key.contains(&Value::Null) || !known.contains(&key) {
                    out.push(as_given(0, row));
                }
            }
        }
        MergeStrategy::Snapshot {
            primary_key,
            compare_columns,
        } => {
            let keys: Vec<_> = given
                .iter()
                .map(|row| key_of(&row.cells, row.time, primary_key))
                .collect();
            if let Some(at) = keys.iter().position(|key| key.contains(&Value::Null)) {
                return Err(Refused::NullKey(at as u64 + 1));
            }
            for (second, key) in keys.iter().enumerate() {
                if let Some(first) = keys[..second].iter().rposition(|other| other == key) {
                    return Err(Refused::Repeated(first as u64 + 1, second as u64 + 1));
                }
            }
            let mut columns = compare_columns.clone().unwrap_or_else(|| other_than(primary_key));
            columns.retain(|name| !primary_key.contains(name));
            let mut state = latest(rows, primary_key);
            for (row, key) in given.iter().zip(&keys) {
                match state.remove(key) {
                    None => out.push(as_given(0, row)),
                    Some(old) if differs(old, row, &columns) => out.extend([as_kept(2, old), as_given(3, row)]),
                    Some(_) => {}
                }
            }
            out.extend(state.values().map(|old| as_kept(1, old)));
        }
        MergeStrategy::ChangelogStream { .. } => {
            out.extend(
                given
                    .iter()
                    .zip(operations(None)?)
                    .map(|(row, operation)| as_given(operation, row)),
            );
        }
        MergeStrategy::UpsertStream { primary_key } => {
            let operations = operations(Some(0))?;
            let state = latest(rows, primary_key);
            let columns = other_than(primary_key);
            let mut last = BTreeMap::new();
            for (at, (row, operation)) in given.iter().zip(operations).enumerate() {
                last.insert(key_of(&row.cells, row.time, primary_key), (at, row, operation));
            }
            // Where an event time is filled in two keys may become one: their rows stay as they came.
            let mut last: Vec<_> = last.into_iter().collect();
            last.sort_by_key(|(_, (at, _, _))| *at);
            for (key, (_, row, operation)) in last {
                let old = state.get(&key).filter(|_| !key.contains(&Value::Null));
                match old {
                    Some(old) if operation == 1 => out.push(as_kept(1, old)),
                    None if operation == 1 => {}
                    None => out.push(as_given(0, row)),
                    Some(old) if differs(old, row, &columns) => out.extend([as_kept(2, old), as_given(3, row)]),
                    Some(_) => {}
                }
            }
        }
    }
    let mut out: Vec<(i32, i64, Cells)> = out
        .into_iter()
        .map(|(operation, time, cells)| (operation, time.unwrap_or(event_time), cells))
        .collect();
    match strategy {
        MergeStrategy::Append | MergeStrategy::Ledger { .. } => out.sort_by_key(|(_, time, _)| *time),
        MergeStrategy::Snapshot { primary_key, .. }
        | MergeStrategy::ChangelogStream { primary_key }
        | MergeStrategy::UpsertStream { primary_key } => {
            out.sort_by_key(|(operation, time, cells)| (key_of(cells, Some(*time), primary_key), *operation));
        }
    }
    Ok((rows.len() as i64..)
        .zip(out)
        .map(|(offset, (operation, event_time, cells))| Kept {
            offset,
            operation,
            system_time,
            event_time,
            cells,
        })
        .collect())
}
