//! What new rows mean for those that are there (odf-facts §8.1): which rows are written, with which operation, in which
//! order.
//!
//! | strategy | rows written | order |
//! |---|---|---|
//! | append | all | event time, once those without one have the time of the ingest; ties as kamu has them (`ties`) |
//! | ledger | those whose primary key is in no earlier row; repeats within the file are all kept | the same |
//! | snapshot | the difference between the file and the latest state: `+A` new, `-R` gone, `-C` `+C` changed | primary key, then operation |
//! | changelog stream | all, each with the operation that it says | the same |
//! | upsert stream | the difference that the last row of each key makes to the latest state; `-R` for a row that says so | the same |
//!
//! # Memory
//! However many rows there are, new or earlier, and however long they are, no more than [`Memory`] is held, and two bits of
//! each row. The rows that a strategy has to compare are reduced to a hash of their key (and of what is compared); what does
//! not fit goes to temporary files by parts of the range of hashes, and each part is compared by itself, in shares if it is
//! large. Rows that wait, or are to be sorted, go to temporary files too; there are never more of them than can be read at
//! once. Whatever is handed from step to step is bounded in bytes.
//! Append, and ledger without earlier rows, pass straight through to the slice as long as event times do not go backwards;
//! the first that does makes the merge start over, sorting. It starts over too where there are equal ones that kamu does not
//! leave in the order of the file, but then only those are put aside. Where blocks meet in equal ones time after time that is
//! certain enough: then rows are not written any more before it starts over.
//!
//! A ledger tells (`merge/passed.rs`) how many rows it passes over that have other values than it has of their keys. It and an
//! upsert tell which rows have the key of an earlier row of the table.
//!
//! # Keys without a value
//! In a ledger and an upsert such a key is equal to no other, as in SQL and as kamu has it: the row is new every time. A
//! snapshot refuses it, and a key that it holds twice: the difference to such a state is not defined, and what kamu writes
//! for it retracts rows that are there.
//!
//! # Where kamu loses rows
//! kamu finds new and missing keys by comparing columns, so it does not see a key come or go whose compared columns are
//! all empty. Here it is a row like any other.

mod batch;
mod changes;
mod history;
mod keys;
mod ledger;
#[cfg(test)]
mod made_up;
mod offsets;
mod option;
mod order;
mod passed;
mod repeated;
mod setting;
mod sides;
mod spill;
mod strategy;
mod ties;
mod times;
mod turns;

pub use super::error::MergeError;
use super::source::Batches;
use odf_metadata::{MergeStrategy, OperationType};

pub use history::History;
pub(super) use history::Ranges;
pub use spill::Memory;

use batch::given_operations;
use changes::NewRows;
use keys::Key;
pub use option::merge_option;
use order::Order;
use repeated::Repeats;
pub(super) use repeated::key_text;
pub(super) use setting::{Far, Merged, OnBatch, Operations, Reading, Repeated, Setting, Sink};
pub(super) use strategy::{OperationColumn, needs_history, ranged};
use ties::{Righting, Seams};
pub(super) use times::Times;

/// Merges the rows of `batches` into `sink`.
///
/// `reading` says how the rows of append and ledger are taken, which the first time is [`Reading::AsTheyCome`], and after that
/// what the answer was.
pub(super) fn merge(
    strategy: &MergeStrategy,
    batches: &mut dyn Batches,
    setting: &Setting<'_>,
    reading: Reading,
    sink: &mut dyn Sink,
    on_batch: &mut OnBatch<'_>,
) -> Result<Merged, MergeError> {
    match strategy {
        MergeStrategy::Append => pass(None, batches, setting, reading, sink, on_batch),
        MergeStrategy::Ledger { primary_key } => {
            let key = Key::new(setting.shape, primary_key)?;
            match setting.history.slices.is_empty() {
                true => pass(Some(&key), batches, setting, reading, sink, on_batch),
                false => ledger::merge(&key, batches, setting, sink, on_batch),
            }
        }
        MergeStrategy::Snapshot {
            primary_key,
            compare_columns,
        } => {
            let compare_columns = compare_columns.as_deref();
            let rows = NewRows::Snapshot { compare_columns };
            changes::merge(
                Key::new(setting.shape, primary_key)?,
                rows,
                batches,
                setting,
                sink,
                on_batch,
            )
        }
        MergeStrategy::ChangelogStream { primary_key } => {
            changelog(&Key::new(setting.shape, primary_key)?, batches, setting, sink, on_batch)
        }
        MergeStrategy::UpsertStream { primary_key } => {
            let key = Key::new(setting.shape, primary_key)?;
            changes::merge(key, NewRows::Upsert, batches, setting, sink, on_batch)
        }
    }
}

/// All rows are new.
const APPEND: Operations<'static> = Operations::All(OperationType::Append);

/// Append, or ledger without earlier rows, which has a key.
fn pass(
    key: Option<&Key>,
    batches: &mut dyn Batches,
    setting: &Setting<'_>,
    reading: Reading,
    sink: &mut dyn Sink,
    on_batch: &mut OnBatch<'_>,
) -> Result<Merged, MergeError> {
    let order = Order::by_event_time(setting)?;
    let (mut sorter, mut righting) = match reading {
        Reading::AsTheyCome => (None, None),
        Reading::TakingTurns { blocks } => (None, Some(Righting::new(setting, order, blocks))),
        Reading::Sorted => (Some(setting.arranger(order)), None),
    };
    let mut repeats = key.map(|key| Repeats::new(key, setting));
    let mut seams = Seams::default();
    // Where no row has an event time, nothing is sorted.
    let mut has_times = false;
    // They will have to be read again: only their blocks are counted.
    let mut is_counting = false;
    let mut last = i64::MIN;
    let mut read = 0u64;
    while let Some(batch) = batches.next_batch()? {
        if let Some(repeats) = &mut repeats {
            repeats.push(&batch, read)?;
        }
        read += batch.num_rows() as u64;
        on_batch(Far::Read {
            bytes: batches.bytes(),
            rows: read,
        })?;
        if let Some(sorter) = &mut sorter {
            sorter.holds(&batch, batches.held());
            sorter.push(&batch, APPEND)?;
            if batches.ends_block() {
                sorter.end_block()?;
            }
            continue;
        }
        if let Some(at) = setting.shape.event_time() {
            let times = Times::new(batch.column(at))?;
            let times = times.all(times.precisely(setting.event_time));
            if times.first().is_some_and(|first| *first < last) || !times.is_sorted() {
                return Ok(Merged::Again(Reading::Sorted));
            }
            seams.rows(last, &times);
            last = times.last().copied().unwrap_or(last);
            has_times |= batch.column(at).null_count() < batch.num_rows();
            seams.batch(&batch, batches.held());
            if batches.ends_block() {
                seams.end_block();
            }
            is_counting |= righting.is_none() && has_times && !batches.is_arranged() && seams.will_move();
        }
        match &mut righting {
            None if is_counting => {}
            None => sink.accept(&batch, APPEND)?,
            Some(righting) => {
                righting.push(&batch, APPEND, sink)?;
                if batches.ends_block() {
                    righting.end_block();
                }
            }
        }
    }
    if let Some(sorter) = sorter {
        sorter.finish(sink)?;
    } else if let Some(righting) = righting {
        righting.finish(sink)?;
    } else if is_counting {
        let blocks = seams.count();
        return Ok(Merged::Again(Reading::TakingTurns { blocks }));
    } else if has_times
        && !batches.is_arranged()
        && let Some(blocks) = seams.moved()
    {
        return Ok(Merged::Again(Reading::TakingTurns { blocks }));
    }
    Ok(Merged::Done {
        read,
        held: 0,
        passed_over: 0,
        repeated: repeats.map(Repeats::count).transpose()?.unwrap_or_default(),
    })
}

/// A stream of changes, as it is: in the order of keys, and of each key the old row of a correction before the new one.
/// Operations that are text are a column like others, by which rows are in order too.
fn changelog(
    key: &Key,
    batches: &mut dyn Batches,
    setting: &Setting<'_>,
    sink: &mut dyn Sink,
    on_batch: &mut OnBatch<'_>,
) -> Result<Merged, MergeError> {
    let text = match setting.shape.operation() {
        Some(_) => None,
        None => setting
            .shape
            .position(&setting.history.vocabulary.operation_type_column),
    };
    let by: Vec<usize> = key.positions.iter().copied().chain(text).collect();
    let mut sorter = setting.arranger(Order::new(setting, &by, text.is_none())?);
    let mut read = 0u64;
    while let Some(batch) = batches.next_batch()? {
        let operations = given_operations(&batch, setting.shape, read, None)?;
        read += batch.num_rows() as u64;
        on_batch(Far::Read {
            bytes: batches.bytes(),
            rows: read,
        })?;
        let operations = operations.as_deref();
        sorter.holds(&batch, batches.held());
        sorter.push(&batch, operations.map_or(APPEND, Operations::Each))?;
        if batches.ends_block() {
            sorter.end_block()?;
        }
    }
    sorter.finish(sink)?;
    Ok(Merged::of(read))
}

#[cfg(test)]
mod tests;
