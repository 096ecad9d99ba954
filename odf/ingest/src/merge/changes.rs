//! What new rows change in the latest state of the dataset: snapshot and upsert.
//!
//! A **snapshot** is the whole state: what it lacks is retracted. An **upsert** is a part of it, the last row of a key
//! counts, and only a row that says so retracts. Both become `+A` for a new key, `-R` with the old values for one that
//! goes, `-C` with the old and `+C` with the new values for one that changes, and nothing for one that stays as it is.
//!
//! Of every row, new and earlier, a record of fixed size is kept by the hash of its key: which row it is, a hash of what is
//! compared, and its event time. They are compared part by part, so no more than [`Memory`](super::Memory) is held however
//! large the state is. Rows themselves are read again only if they changed or go. For an upsert only those earlier rows
//! count whose key is among the new ones; slices, row groups and pages that cannot hold one are not read.

mod latest;
mod records;
mod surplus;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, BooleanBufferBuilder};
use arrow::compute::{filter, filter_record_batch};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type};
use arrow::record_batch::RecordBatch;
use arrow::util::display::array_value_to_string;

use super::batch::{batch_of, operation, project};
use super::history::{Bound, Condition, Extents};
use super::keys::{Among, ByHash, Key, RowHasher};
use super::offsets::Offsets;
use super::order::{Order, Sorter};
use super::spill::{PARTITIONS, Partitions, Share, Spool};
use super::{Far, MergeError, Merged, OnBatch, Operations, Repeated, Setting, Sink, Times, given_operations};
use crate::shape::Shape;
use crate::source::{Batches, shorten};
use odf_metadata::OperationType;
use odf_tables::slice::displayable_column;

#[cfg(test)]
pub(super) use latest::{BEHIND, MAX_LATEST_BYTES};
use latest::{Kept, Latest, State};
use records::{New, Old, Values};
use surplus::Surplus;

/// What the new rows are.
#[derive(Clone, Copy)]
pub(super) enum NewRows<'k> {
    /// The whole state, compared in these columns; in all but the key if it does not say.
    Snapshot { compare_columns: Option<&'k [String]> },
    /// Some of it.
    Upsert,
}

/// What is compared to tell a changed row from an unchanged one.
struct Comparison {
    positions: Vec<usize>,
    hasher: RowHasher,
    /// The event time counts too, where the new row has one.
    event_time: Option<usize>,
}

impl Comparison {
    /// `first` says that there are no earlier rows.
    fn new(shape: &Shape, key: &Key, columns: Option<&[String]>, first: bool) -> Result<Comparison, MergeError> {
        let may_lack = first && shape.may_lack_compared();
        let candidates: Vec<usize> = match columns {
            Some(names) => names
                .iter()
                .filter(|name| !may_lack || shape.position(name).is_some())
                .map(|name| {
                    shape
                        .position(name)
                        .ok_or_else(|| MergeError::NoCompareColumn(name.clone()))
                })
                .collect::<Result<_, _>>()?,
            None => (0..shape.width()).collect(),
        };
        let is_time = |at: &usize| shape.event_time() == Some(*at);
        let compared = candidates
            .into_iter()
            .filter(|at| !key.positions.contains(at) && shape.operation() != Some(*at));
        let (times, positions): (Vec<usize>, Vec<usize>) = compared.partition(is_time);
        let fields: Vec<Field> = positions.iter().map(|at| shape.schema().field(*at).clone()).collect();
        Ok(Comparison {
            hasher: RowHasher::new(&fields)?,
            positions,
            event_time: times.first().copied(),
        })
    }

    /// What is compared of every row.
    fn of(&self, columns: &[ArrayRef], rows: usize) -> Result<Vec<Values>, MergeError> {
        let compared: Vec<ArrayRef> = self.positions.iter().map(|at| columns[*at].clone()).collect();
        let hashes = self.hasher.hash(&compared, rows)?;
        let times = self.event_time.map(|at| Times::new(&columns[at])).transpose()?;
        let event_time = |row| times.as_ref().and_then(|times| times.get(row));
        Ok((0..)
            .zip(hashes)
            .map(|(row, compared)| Values {
                compared,
                event_time: event_time(row),
            })
            .collect())
    }
}

/// What came of comparing: which new rows are written as what, and which earlier ones.
struct Verdict {
    appended: BooleanBufferBuilder,
    corrected: BooleanBufferBuilder,
    /// Earlier rows.
    retracted: Offsets,
    replaced: Offsets,
    /// How many rows there were, among those that count: of each key one, but where others are seen to.
    held: u64,
    /// A key had more than one.
    had_surplus: bool,
}

impl Verdict {
    fn set(bits: &mut BooleanBufferBuilder, row: u64) {
        bits.set_bit(usize::try_from(row).unwrap_or(usize::MAX), true);
    }

    /// Retracts rows that stand beside the latest one of their key.
    fn retract_all(&mut self, surplus: &[i64]) {
        surplus.iter().for_each(|offset| self.retracted.insert(*offset));
    }

    /// Compares one new row with the latest one of its key, where there is one. Others of it go; then the row is written
    /// again even if it is equal, because what is written last of a key is what holds of it.
    fn compare(&mut self, new: &New, old: Option<&Old>, surplus: &[i64]) {
        self.retract_all(surplus);
        match old {
            Some(old) if new.retracts => self.retracted.insert(old.offset),
            None if new.retracts => {}
            None => Self::set(&mut self.appended, new.row),
            Some(old) => {
                let time_changed = new.values.event_time.is_some() && new.values.event_time != old.values.event_time;
                if time_changed || new.values.compared != old.values.compared || !surplus.is_empty() {
                    Self::set(&mut self.corrected, new.row);
                    self.replaced.insert(old.offset);
                }
            }
        }
    }

    /// What the earlier row at an offset is written again as, if it is.
    fn recalled(&self, offset: i64) -> Option<OperationType> {
        if self.retracted.contains(offset) {
            Some(OperationType::Retract)
        } else {
            self.replaced.contains(offset).then_some(OperationType::CorrectFrom)
        }
    }

    /// Whether an earlier row between two offsets is written again.
    fn recalls_between(&self, least: &Bound, greatest: &Bound) -> bool {
        let (Bound::Number(least), Bound::Number(greatest)) = (least, greatest) else {
            return true;
        };
        let between = |offsets: &Offsets| offsets.any_between(*least, *greatest);
        between(&self.retracted) || between(&self.replaced)
    }
}

pub(super) fn merge(
    mut key: Key,
    rows: NewRows<'_>,
    batches: &mut dyn Batches,
    setting: &Setting<'_>,
    sink: &mut dyn Sink,
    on_batch: &mut OnBatch<'_>,
) -> Result<Merged, MergeError> {
    let compare_columns = match rows {
        NewRows::Snapshot { compare_columns } => compare_columns,
        NewRows::Upsert => None,
    };
    let Setting {
        shape, scratch, memory, ..
    } = *setting;
    let mut comparison = Comparison::new(shape, &key, compare_columns, setting.history.slices.is_empty())?;
    let latest = match (rows, setting.history.ranges) {
        (NewRows::Snapshot { .. }, Some(ranges)) => {
            let compared = what_is_compared(&key, &comparison, setting);
            Some(Latest::beside(ranges, setting.history.slices, &compared))
        }
        _ => None,
    };
    let kept = latest.as_ref().and_then(Latest::read);
    if let Some(Kept { seeds, .. }) = &kept {
        key.hasher.set_seed(seeds[0]);
        comparison.hasher.set_seed(seeds[1]);
    }
    let key = &key;
    let mut waiting = Spool::new(scratch, memory.rows);
    let mut new = Partitions::<New>::new(scratch, memory.keys);
    let mut extents = Extents::new(&key.fields);
    let mut read = 0u64;
    while let Some(batch) = batches.next_batch()? {
        let complete = match rows {
            NewRows::Snapshot { .. } => {
                key.require(&batch, read)?;
                None
            }
            NewRows::Upsert => key.complete(&batch),
        };
        let operations = given_operations(&batch, shape, read, Some(OperationType::Append))?;
        let values = comparison.of(batch.columns(), batch.num_rows())?;
        for (row, (hash, values)) in key.of(&batch)?.into_iter().zip(values).enumerate() {
            let record = New {
                key: hash,
                row: read + row as u64,
                values,
                retracts: operations
                    .as_ref()
                    .is_some_and(|of| of[row] == OperationType::Retract as i32),
                complete: complete.as_ref().is_none_or(|complete| complete.is_valid(row)),
            };
            new.push(hash, &record)?;
        }
        extents.widen(&project(&batch, &key.positions));
        read += batch.num_rows() as u64;
        on_batch(Far::Read {
            bytes: batches.bytes(),
            rows: read,
        })?;
        waiting.push(batch)?;
    }

    let filter = match rows {
        NewRows::Snapshot { .. } => None,
        NewRows::Upsert => {
            let mut among = Among::new(new.count());
            new.hashes(&mut |hash| among.insert(hash))?;
            Some((among, extents))
        }
    };
    let old = earlier(key, &comparison, setting, filter.as_ref(), kept.as_ref(), &mut |rows| {
        Ok(on_batch(Far::Compared(rows))?)
    })?;
    drop(filter);
    let due = latest.filter(|latest| latest.is_due(kept.as_ref()));
    let mut state = due.as_ref().map(|_| State::new());
    let (verdict, repeated) = compare(rows, read, new, old, state.as_mut(), setting.singles)?;
    if let (NewRows::Snapshot { .. }, Some(rows)) = (rows, repeated.first) {
        return Err(describe(rows, key, waiting)?);
    }
    // One row of each key is kept.
    if let (Some(latest), Some(state), false) = (due, state, verdict.had_surplus) {
        latest.keep(&state, [key.hasher.seed(), comparison.hasher.seed()]);
    }

    let mut sorter = setting.sorter(Order::new(setting, &key.positions, true)?);
    recall(setting, &verdict, &mut sorter)?;
    let (appended, corrected) = (verdict.appended.as_slice(), verdict.corrected.as_slice());
    let is_set = |bits: &[u8], at: usize| bits[at / 8] >> (at % 8) & 1 == 1;
    let mut at = 0;
    for batch in waiting.drain()? {
        let batch = batch?;
        let mut operations = Vec::new();
        let wanted: BooleanArray = (at..at + batch.num_rows())
            .map(|row| {
                let operation = match (is_set(appended, row), is_set(corrected, row)) {
                    (true, _) => Some(OperationType::Append),
                    (_, true) => Some(OperationType::CorrectTo),
                    _ => None,
                };
                operations.extend(operation.map(|operation| operation as i32));
                Some(operation.is_some())
            })
            .collect();
        at += batch.num_rows();
        on_batch(Far::Compared(batch.num_rows() as u64))?;
        if !operations.is_empty() {
            sorter.push(&filter_record_batch(&batch, &wanted)?, Operations::Each(&operations))?;
        }
    }
    sorter.finish(sink)?;
    Ok(Merged::Done {
        read,
        held: match rows {
            NewRows::Snapshot { .. } => verdict.held,
            NewRows::Upsert => 0,
        },
        passed_over: 0,
        repeated,
    })
}

/// All that the hashes of earlier rows depend on beside their seeds, in words.
fn what_is_compared(key: &Key, comparison: &Comparison, setting: &Setting<'_>) -> String {
    let schema = setting.shape.schema();
    let column = |field: &Field| format!("{:?} {}\n", field.name(), field.data_type());
    let compared = comparison.positions.iter().chain(&comparison.event_time);
    let compared = compared.map(|at| column(schema.field(*at)));
    let system = fields_with_system(setting).into_iter().take(SYSTEM);
    let system = system.map(|field| column(&field));
    let event_time = comparison.event_time.is_some();
    let singles = setting.singles;
    let keys = key.fields.iter().map(column);
    format!(
        "{event_time} {singles}\n{}",
        keys.chain(["by\n".to_owned()])
            .chain(compared)
            .chain(system)
            .collect::<String>()
    )
}

/// A record of every earlier row; with a filter only of those that may have one of its keys. Of what is kept of the state up to
/// a position no slice is read.
fn earlier<'s>(
    key: &Key,
    comparison: &Comparison,
    setting: &Setting<'s>,
    filter: Option<&(Among, Extents)>,
    kept: Option<&Kept>,
    on_batch: &mut dyn FnMut(u64) -> Result<(), MergeError>,
) -> Result<Partitions<'s, Old>, MergeError> {
    let mut old = Partitions::<Old>::new(setting.scratch, setting.memory.keys);
    let conditions = filter.map(|(_, extents)| extents.conditions()).unwrap_or_default();
    for row in kept.into_iter().flat_map(Kept::rows) {
        old.push(row.key, &row)?;
    }
    setting.history.scan_from(
        kept.map_or(0, |kept| kept.next),
        &fields_with_system(setting),
        &conditions,
        |mut columns, mut rows| {
            let of_key = |columns: &[ArrayRef]| {
                let keys: Vec<ArrayRef> = key.positions.iter().map(|at| columns[SYSTEM + at].clone()).collect();
                key.hasher.hash(&keys, columns[0].len())
            };
            let mut hashes = of_key(&columns)?;
            if let Some((among, _)) = filter {
                let wanted: BooleanArray = hashes.iter().map(|hash| Some(among.may_have(*hash))).collect();
                hashes.retain(|hash| among.may_have(*hash));
                rows = hashes.len();
                columns = columns
                    .iter()
                    .map(|column| self::filter(column, &wanted))
                    .collect::<Result<_, _>>()?;
            }
            let offsets = columns[0].as_primitive::<Int64Type>().clone();
            let operations = columns[1].as_primitive::<Int32Type>().clone();
            let values = comparison.of(&columns[SYSTEM..], rows)?;
            let records = hashes
                .into_iter()
                .zip(values)
                .enumerate()
                .map(move |(row, (key, values))| Old {
                    key,
                    offset: offsets.value(row),
                    // A row whose operation has no meaning is there, as in kamu.
                    holds: !matches!(
                        operation(i64::from(operations.value(row))),
                        Some(OperationType::Retract | OperationType::CorrectFrom)
                    ),
                    values,
                });
            Ok(records.collect::<Vec<_>>())
        },
        &mut |records: Vec<Old>| {
            on_batch(records.len() as u64)?;
            records.iter().try_for_each(|record| old.push(record.key, record))
        },
    )?;
    Ok(old)
}

/// How many columns stand before those of the shape in [`fields_with_system`].
const SYSTEM: usize = 2;

/// Offset and operation, then the columns of the shape, all optional: what earlier slices are read as.
fn fields_with_system(setting: &Setting<'_>) -> Vec<Field> {
    let vocabulary = setting.history.vocabulary;
    let mut fields = vec![
        Field::new(&vocabulary.offset_column, DataType::Int64, false),
        Field::new(&vocabulary.operation_type_column, DataType::Int32, false),
    ];
    fields.extend(
        setting
            .shape
            .schema()
            .fields()
            .iter()
            .map(|f| f.as_ref().clone().with_nullable(true)),
    );
    fields
}

/// Compares all new rows with the latest earlier ones, which are put into `keep`. Also tells which of the new ones repeat a key.
fn compare(
    rows: NewRows<'_>,
    read: u64,
    mut new: Partitions<'_, New>,
    mut old: Partitions<'_, Old>,
    mut keep: Option<&mut State>,
    singles: bool,
) -> Result<(Verdict, Repeated), MergeError> {
    let none = || {
        let mut bits = BooleanBufferBuilder::new(0);
        bits.append_n(usize::try_from(read).unwrap_or(usize::MAX), false);
        bits
    };
    let mut verdict = Verdict {
        appended: none(),
        corrected: none(),
        retracted: Offsets::default(),
        replaced: Offsets::default(),
        held: 0,
        had_surplus: false,
    };
    let mut repeated = Repeated::default();
    for part in 0..PARTITIONS {
        for share in Share::all(old.bytes_of(part) + new.bytes_of(part)) {
            let (new, old) = (new.take(part, share)?, old.take(part, share)?);
            let surplus = singles.then(Surplus::default);
            compare_share(
                rows,
                new,
                old,
                surplus,
                &mut verdict,
                &mut repeated,
                keep.as_deref_mut(),
            );
        }
    }
    Ok((verdict, repeated))
}

/// Compares the new rows of some keys with all earlier ones of the same keys.
fn compare_share(
    rows: NewRows<'_>,
    new: impl Iterator<Item = New>,
    old: impl Iterator<Item = Old>,
    mut surplus: Option<Surplus>,
    verdict: &mut Verdict,
    repeated: &mut Repeated,
    keep: Option<&mut State>,
) {
    let mut state: ByHash<Old> = ByHash::default();
    for row in old {
        match state.get_mut(&row.key) {
            Some(latest) => {
                let earlier = match latest.offset > row.offset {
                    true => row,
                    false => std::mem::replace(latest, row),
                };
                if let Some(surplus) = &mut surplus {
                    surplus.add(&earlier);
                }
            }
            None => {
                state.insert(row.key, row);
            }
        }
    }
    state.retain(|_, row| row.holds);
    let surplus = surplus.map(|surplus| surplus.beside(&state)).unwrap_or_default();
    let beside = |key: &u128| surplus.get(key).map_or(&[][..], Vec::as_slice);
    verdict.held += state.len() as u64 + surplus.values().map(|rows| rows.len() as u64).sum::<u64>();
    verdict.had_surplus |= !surplus.is_empty();
    if let Some(keep) = keep {
        state.values().for_each(|row| keep.add(row));
    }
    let mut last: ByHash<New> = ByHash::default();
    for row in new {
        let (second, values, retracts) = (row.row, row.values, row.retracts);
        if let Some(before) = last.insert(row.key, row)
            // What an upsert does not take of a key is lost only where the last row says something else.
            && (matches!(rows, NewRows::Snapshot { .. }) || (before.values, before.retracts) != (values, retracts))
        {
            repeated.note(before.row, second);
        }
    }
    for row in last.values() {
        match rows {
            NewRows::Snapshot { .. } => verdict.compare(row, state.remove(&row.key).as_ref(), beside(&row.key)),
            // A key that lacks a value is equal to no other.
            NewRows::Upsert if row.complete => verdict.compare(row, state.get(&row.key), beside(&row.key)),
            NewRows::Upsert => verdict.compare(row, None, &[]),
        }
    }
    if let NewRows::Snapshot { .. } = rows {
        for (key, row) in &state {
            verdict.retract_all(beside(key));
            verdict.retracted.insert(row.offset);
        }
    }
}

/// Reads the earlier rows that are written again.
fn recall(setting: &Setting<'_>, verdict: &Verdict, sorter: &mut Sorter<'_>) -> Result<(), MergeError> {
    if verdict.retracted.is_empty() && verdict.replaced.is_empty() {
        return Ok(());
    }
    let fields = fields_with_system(setting);
    let condition = Condition {
        field: fields[0].clone(),
        can_hold: Box::new(|least, greatest| verdict.recalls_between(least, greatest)),
    };
    setting.history.scan(
        &fields,
        &[condition],
        |columns, _| {
            let offsets = columns[0].as_primitive::<Int64Type>().values();
            let operations: Vec<Option<OperationType>> = offsets.iter().map(|at| verdict.recalled(*at)).collect();
            let wanted: BooleanArray = operations.iter().map(|operation| Some(operation.is_some())).collect();
            let batch = batch_of(setting.shape.schema(), &columns[SYSTEM..])?;
            let operations: Vec<i32> = operations
                .into_iter()
                .flatten()
                .map(|operation| operation as i32)
                .collect();
            Ok((filter_record_batch(&batch, &wanted)?, operations))
        },
        &mut |(batch, operations): (RecordBatch, Vec<i32>)| sorter.push(&batch, Operations::Each(&operations)),
    )
}

/// Finds the values of a repeated key for the message.
fn describe((first, second): (u64, u64), key: &Key, waiting: Spool<'_>) -> Result<MergeError, MergeError> {
    let mut values = String::new();
    let mut at = 0;
    for batch in waiting.drain()? {
        let batch = batch?;
        let rows = batch.num_rows() as u64;
        if (at..at + rows).contains(&first) {
            values = row_text(&batch, key, usize::try_from(first - at).unwrap_or(0))?;
            break;
        }
        at += rows;
    }
    Ok(MergeError::RepeatedKey {
        first: first + 1,
        second: second + 1,
        key: values,
    })
}

/// The values of a key for a message.
fn row_text(batch: &RecordBatch, key: &Key, row: usize) -> Result<String, MergeError> {
    let values = project(batch, &key.positions)
        .iter()
        .map(|c| array_value_to_string(&displayable_column(c), row))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(shorten(&values.join(", ")))
}
