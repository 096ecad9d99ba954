//! What one history of a dataset did put behind what another one did.

use std::collections::HashMap;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::util::display::array_value_to_string;
use odf_metadata::{MetadataEvent, Timestamp, Vocabulary};
use odf_tables::slice::{SliceError, SliceOptions};

use super::amend::AmendError;
use super::changes::{Change, Changed};
use super::keyed::{self, StateError};
use super::{Dataset, DatasetError};

/// The most bytes of rows that are held: all that one history changed of a dataset with a primary key.
#[cfg(not(test))]
const MAX_HELD_BYTES: usize = 512 << 20;
#[cfg(test)]
const MAX_HELD_BYTES: usize = 64 << 10;

/// Why a history was not put behind another one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RebaseError {
    /// Both histories changed rows of the same primary key, and not alike.
    #[error("{rows} row(s) were changed on both sides, and not alike; the first has {first}")]
    Rows {
        /// How many.
        rows: u64,
        /// The primary key of one of them, in words.
        first: String,
    },
    /// Both histories say something about the dataset, and not the same.
    #[error("both sides have a {kind} since, and they differ")]
    Event {
        /// What it is.
        kind: &'static str,
    },
    /// Rows were computed, and are computed anew behind the other history.
    #[error("its rows are computed from those of other datasets")]
    Computed,
    /// More rows were changed than can be held at once.
    #[error("more of its rows were changed than are held at once ({MAX_HELD_BYTES} bytes)")]
    TooMany,
    /// The rows could not be written.
    #[error(transparent)]
    Amend(#[from] AmendError),
}

impl From<StateError> for RebaseError {
    fn from(error: StateError) -> Self {
        Self::Amend(error.into())
    }
}

impl From<DatasetError> for RebaseError {
    fn from(error: DatasetError) -> Self {
        Self::Amend(error.into())
    }
}

/// What was put behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rebased {
    /// Rows written, corrections as two.
    pub rows: u64,
    /// How many blocks with rows they are from.
    pub commits: u64,
    /// Changes that the other history had made too.
    pub already: u64,
    /// Blocks that say something about the dataset.
    pub events: u64,
}

/// One changed row: where it was, and where it is after.
type Pair = (Option<(usize, usize)>, Option<(usize, usize)>);

impl Dataset {
    /// Appends what `ours`, another history of this dataset, did behind the first `common` blocks, which both have: what it
    /// says about the dataset, then its rows, by primary key as what they were against what they are. Where this history
    /// changed the same since, and otherwise, nothing may be kept of it: it is to be thrown away after an error.
    ///
    /// # Errors
    /// See [`RebaseError`].
    pub fn rebase(
        &mut self,
        ours: &Dataset,
        common: u64,
        options: &SliceOptions,
        now: Timestamp,
    ) -> Result<Rebased, RebaseError> {
        let point = common.saturating_sub(1);
        let theirs = self.clone();
        let mut done = Rebased::default();
        let events = events_behind(ours, common, &mut done)?;
        let known = events_behind(&theirs, common, &mut Rebased::default())?;
        let mut news = Vec::new();
        for event in events {
            if known.contains(&event) {
                continue;
            }
            if let Some(other) = known.iter().find(|other| is_about_the_same(other, &event)) {
                return Err(RebaseError::Event { kind: other.kind() });
            }
            news.push(event);
        }
        done.events = news.len() as u64;
        if !news.is_empty() {
            let time = now.max(self.state.system_time);
            self.append_events(news, time, None)?;
        }
        let Some(changes) = ours.changes_since(point, false)? else {
            return Ok(done);
        };
        // Whoever goes on here has the file that was read here, whose rows are in.
        let source_state = ours.state.source_state.clone();
        if changes.key().is_empty() {
            done.rows = self.amend(changes, options, source_state, now)?;
            return Ok(done);
        }
        let (key, vocabulary) = (changes.key().to_vec(), changes.vocabulary().clone());
        let (mut held, mut bytes) = (Vec::new(), 0);
        for changed in changes {
            let changed = changed?;
            bytes += changed.rows.get_array_memory_size();
            if bytes > MAX_HELD_BYTES {
                return Err(RebaseError::TooMany);
            }
            held.push(changed);
        }
        let mut mine = Side::of(held, &key, self)?;
        if let Some(changes) = theirs.changes_since(point, false)? {
            let (mut conflicts, mut first) = (0, None);
            for changed in changes {
                let other = Side::of(vec![changed?], &key, self)?;
                for (row_key, (_, theirs_to)) in &other.pairs {
                    let Some((_, to)) = mine.pairs.get(row_key) else {
                        continue;
                    };
                    let is_same = match (to, theirs_to) {
                        (None, None) => true,
                        (Some(to), Some(theirs_to)) => match (mine.row(*to), other.row(*theirs_to)) {
                            (Some(mine), Some(other)) => is_alike(mine, other, &vocabulary),
                            _ => false,
                        },
                        _ => false,
                    };
                    if is_same {
                        mine.pairs.remove(row_key);
                        done.already += 1;
                    } else {
                        conflicts += 1;
                        first.get_or_insert_with(|| other.in_words(row_key, &key));
                    }
                }
            }
            if let Some(first) = first {
                return Err(RebaseError::Rows { rows: conflicts, first });
            }
        }
        let rest = mine.into_changes(&key, self)?;
        done.rows = self.amend(rest.into_iter().map(Ok::<_, AmendError>), options, source_state, now)?;
        Ok(done)
    }
}

/// What the blocks from this number on say about the dataset; those with rows are counted.
fn events_behind(dataset: &Dataset, from: u64, done: &mut Rebased) -> Result<Vec<MetadataEvent>, RebaseError> {
    let mut events = Vec::new();
    for sequence in from..dataset.state.blocks() {
        let stored = dataset.block_by_sequence(sequence)?;
        match stored.map(|stored| stored.block.into_block().event) {
            Some(MetadataEvent::ExecuteTransform(_)) => return Err(RebaseError::Computed),
            Some(event @ MetadataEvent::AddData(_)) => done.commits += u64::from(event.new_data().is_some()),
            Some(event) => events.push(event),
            None => {}
        }
    }
    Ok(events)
}

/// Whether the one would undo what the other says.
fn is_about_the_same(left: &MetadataEvent, right: &MetadataEvent) -> bool {
    match (left, right) {
        (MetadataEvent::AddPushSource(left), MetadataEvent::AddPushSource(right)) => {
            left.source_name == right.source_name
        }
        _ => left.kind() == right.kind(),
    }
}

/// Whether two rows have the same values, whenever they came.
fn is_alike((left, at): (&RecordBatch, usize), (right, with): (&RecordBatch, usize), vocabulary: &Vocabulary) -> bool {
    let system = vocabulary.of_system();
    let is_value = |name: &String| !system.contains(&name);
    let (ours, theirs) = (left.schema(), right.schema());
    let names = ours.fields().iter().chain(theirs.fields()).map(|field| field.name());
    names
        .filter(|name| is_value(name))
        .all(|name| match (left.column_by_name(name), right.column_by_name(name)) {
            (Some(left), Some(right)) => left.slice(at, 1).as_ref() == right.slice(with, 1).as_ref(),
            (Some(only), None) => only.is_null(at),
            (None, Some(only)) => only.is_null(with),
            (None, None) => true,
        })
}

/// What one history changed, by key.
struct Side {
    held: Vec<Changed>,
    pairs: HashMap<Box<[u8]>, Pair>,
}

impl Side {
    fn of(held: Vec<Changed>, key: &[String], dataset: &Dataset) -> Result<Self, RebaseError> {
        let mut pairs: HashMap<Box<[u8]>, Pair> = HashMap::new();
        for (at, changed) in held.iter().enumerate() {
            let keys = keyed::keys(&changed.rows, key, &dataset.data_dir())?;
            for (row, (row_key, change)) in keys.into_iter().zip(&changed.changes).enumerate() {
                let pair = pairs.entry(row_key).or_default();
                match change {
                    Change::Added | Change::CorrectedTo => pair.1 = Some((at, row)),
                    Change::Retracted | Change::CorrectedFrom => pair.0 = Some((at, row)),
                }
            }
        }
        Ok(Self { held, pairs })
    }

    fn row(&self, (at, row): (usize, usize)) -> Option<(&RecordBatch, usize)> {
        Some((&self.held.get(at)?.rows, row))
    }

    /// The values of a key.
    fn in_words(&self, row_key: &[u8], key: &[String]) -> String {
        let pair = self.pairs.get(row_key).copied().unwrap_or_default();
        let Some((batch, row)) = pair.1.or(pair.0).and_then(|place| self.row(place)) else {
            return String::new();
        };
        let value = |name: &String| {
            let column = batch.column_by_name(name)?;
            Some(format!("{name} {}", array_value_to_string(column, row).ok()?))
        };
        key.iter().filter_map(value).collect::<Vec<_>>().join(", ")
    }

    /// The rows of the keys that are left, in their order.
    fn into_changes(self, key: &[String], dataset: &Dataset) -> Result<Vec<Changed>, RebaseError> {
        let mut rest = Vec::new();
        for changed in self.held {
            let keys = keyed::keys(&changed.rows, key, &dataset.data_dir())?;
            let kept: Vec<bool> = keys.iter().map(|key| self.pairs.contains_key(key)).collect();
            let pick = BooleanArray::from(kept.clone());
            let rows = filter_record_batch(&changed.rows, &pick)
                .map_err(|source| DatasetError::from(SliceError::arrow(&dataset.data_dir(), source)))?;
            let changes = changed.changes.iter().zip(&kept).filter(|(_, kept)| **kept);
            rest.push(Changed {
                rows,
                changes: changes.map(|(change, _)| *change).collect(),
            });
        }
        Ok(rest)
    }
}
