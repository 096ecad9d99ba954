//! From rows to a slice under construction: merged with what is there, completed with the system columns, written.

use std::path::Path;

use odf_disk::Disk;

use super::IngestError;
use super::assemble::Assembly;
use super::before::Before;
use super::effect::{Effect, Gone, Retracting};
use super::ground::ColumnNote;
use super::infer::Note;
use super::linked::Linked;
use super::merge::{self, Far, History, Memory, MergeError, Merged, Ranges, Reading, Repeated, Setting};
use super::plan::Plan;
use super::source::{Alteration, Batches, OnProgress, Phase, Place, Problem, Source, SourceError, report};
use odf_metadata::{ExtraAttributes, MergeStrategy, Timestamp};
use odf_tables::slice::{SliceOptions, SliceWriter, WrittenSlice};

/// Rows to be staged.
pub(super) struct Unstaged<'a> {
    /// Where they are from.
    pub(super) source: &'a Source,
    /// Opens them from the first, in the shape of the plan.
    pub(super) open: &'a dyn Fn() -> Result<Box<dyn Batches + 'a>, SourceError>,
    /// Bytes of the source up to which is read.
    pub(super) end: u64,
    /// What a snapshot without a row stands for.
    pub(super) empty: Empty,
}

/// What a snapshot without a row stands for: a state without rows, or a file that was cut short and an answer that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Empty {
    /// It is not taken.
    Refused,
    /// It is not taken if that would retract rows.
    KeepsRows,
    /// It retracts all rows that are there, of which is told, if there is a file with something in it; else it is not taken.
    Told,
    /// It is a state without rows: all that are there are retracted.
    Retracts,
}

impl Empty {
    /// Of rows that a source in the chain gives.
    pub(super) fn unless(allowed: bool) -> Empty {
        if allowed { Empty::Retracts } else { Empty::KeepsRows }
    }

    /// Of a file that somebody named.
    pub(super) fn told_unless(allowed: bool) -> Empty {
        if allowed { Empty::Retracts } else { Empty::Told }
    }
}

/// How they are staged.
pub(super) struct Staging<'a> {
    pub(super) before: &'a Before,
    pub(super) plan: &'a Plan,
    /// Through what, and where, slices are written.
    pub(super) disk: &'a Disk,
    pub(super) data_dir: &'a Path,
    pub(super) slice: &'a SliceOptions,
    /// How many rows a snapshot may retract.
    pub(super) retracting: Retracting,
    /// How many rows, the last ones of the table, are compared with what a ledger has of their keys.
    pub(super) compared: u64,
    /// A snapshot and an upsert leave one row of each key that they meet.
    pub(super) singles: bool,
    pub(super) system_time: Timestamp,
    /// Event time of rows that have none.
    pub(super) event_time: Timestamp,
}

/// A slice that has no name yet.
pub(super) struct Staged {
    pub(super) slice: WrittenSlice,
    /// Rows in it that had no event time.
    pub(super) without_event_time: u64,
    /// The latest event time in it.
    pub(super) latest: Option<Timestamp>,
    /// What the chain says about objects that the rows refer to.
    pub(super) extra: Option<ExtraAttributes>,
}

impl Staging<'_> {
    /// Reads, merges and writes; none if no row is left to write. Says in any case what the rows did, and which of them repeat a
    /// key ([`Self::told`]).
    pub(super) fn run(
        &self,
        rows: &Unstaged<'_>,
        progress: &mut OnProgress<'_>,
    ) -> Result<(Option<Staged>, Effect, Repeated), IngestError> {
        let (shape, vocabulary) = (self.plan.shape(), &self.before.vocabulary);
        let ranges = self.before.ranges.as_ref().map(|path| {
            let fields = merge::ranged(&self.before.strategy, shape, vocabulary);
            Ranges::new(path, self.disk, &fields)
        });
        let setting = Setting {
            shape,
            history: History {
                slices: &*self.before.slices,
                vocabulary,
                ranges: ranges.as_ref(),
            },
            event_time: self.event_time.millis(),
            scratch: self.data_dir,
            memory: Memory::default(),
            compared: self.compared,
            singles: self.singles,
        };
        let next_offset = self.before.next_offset()?;
        let mut reading = Reading::AsTheyCome;
        loop {
            let mut assembly = Assembly {
                plan: self.plan,
                writer: SliceWriter::create_ordered(
                    self.disk,
                    self.data_dir,
                    self.plan.written.clone(),
                    self.slice,
                    &self.plan.order,
                )?,
                next_offset,
                system_time: self.system_time.millis(),
                event_time: self.event_time.millis(),
                without_event_time: 0,
                effect: Effect::default(),
                gone: Gone::of(&self.before.strategy, self.plan.shape()),
                latest: None,
                linked: Linked::of(self.before.schema.as_ref(), self.plan.schema(), self.data_dir)?,
            };
            let mut batches = (rows.open)()?;
            let (end, mut compared) = (rows.end, 0);
            let mut on_batch = |far| match far {
                Far::Read { bytes, rows: read } => report(rows.source, progress, Phase::Reading, bytes, end, read),
                Far::Compared(more) => {
                    compared += more;
                    report(rows.source, progress, Phase::Comparing, end, end, compared)
                }
            };
            let merged = merge::merge(
                &self.before.strategy,
                &mut *batches,
                &setting,
                reading,
                &mut assembly,
                &mut on_batch,
            );
            drop(batches);
            let mut repeats = Repeated::default();
            if let Ok(Merged::Done {
                held,
                passed_over,
                repeated,
                ..
            }) = merged
            {
                assembly.effect.held = held;
                assembly.effect.passed_over = passed_over;
                repeats = repeated;
            }
            match merged {
                Ok(Merged::Again(again)) => {
                    reading = again;
                    continue;
                }
                Ok(Merged::Done { read: 0, .. }) if matches!(self.before.strategy, MergeStrategy::Snapshot { .. }) => {
                    match rows.empty {
                        Empty::Refused => return Err(rows.source.error(Problem::NoRows).into()),
                        Empty::Told if rows.end > 0 => {
                            let (operations, gone) = (&vocabulary.operation_type_column, assembly.writer.rows());
                            if gone > 0 {
                                rows.source.tell(operations, Alteration::Emptied, gone);
                            }
                        }
                        Empty::KeepsRows | Empty::Told if assembly.writer.rows() > 0 => {
                            return Err(rows.source.error(Problem::Emptied).into());
                        }
                        Empty::KeepsRows | Empty::Told | Empty::Retracts => {}
                    }
                }
                Ok(Merged::Done { .. }) => {}
                Err(MergeError::Refused(error)) => return Err(self.placed(*error, rows)),
                Err(error) => return Err(error.into()),
            }
            let (written, effect) = (assembly.writer.rows(), assembly.effect);
            if self.retracting.forbids(&effect) {
                return Err(IngestError::Drastic {
                    name: rows.source.name().to_owned(),
                    effect,
                    gone: assembly.gone.into_told(),
                });
            }
            if written == 0 {
                return Ok((None, effect, repeats));
            }
            report(rows.source, progress, Phase::Writing, rows.end, rows.end, written)?;
            let (linked, latest) = (assembly.linked, assembly.latest);
            let staged = Staged {
                without_event_time: assembly.without_event_time,
                slice: assembly.writer.finish()?,
                latest: latest.and_then(Timestamp::from_millis),
                extra: linked.map(Linked::into_extra),
            };
            return Ok((Some(staged), effect, repeats));
        }
    }

    /// What is to be said of rows that repeat a key, if any do. The first of them is read once again, to name its key; with that
    /// what the source has to tell of its reading is void.
    pub(super) fn told(&self, repeated: Repeated, rows: &Unstaged<'_>) -> Option<ColumnNote> {
        let (before, row) = repeated.first?;
        let strategy = &self.before.strategy;
        let key = (rows.open)().and_then(|mut batches| {
            let mut read = 0;
            while let Some(batch) = batches.next_batch()? {
                let count = batch.num_rows() as u64;
                if let Some(at) = row.checked_sub(read).filter(|at| *at < count) {
                    let at = usize::try_from(at).unwrap_or(usize::MAX);
                    return Ok(merge::key_text(&batch, at, strategy, self.plan.shape()));
                }
                read += count;
            }
            Ok(None)
        });
        // What cannot be read again has its numbers all the same.
        let key = key.ok().flatten().map_or_else(String::new, |key| format!(" ({key})"));
        Some(ColumnNote {
            column: strategy.primary_key().join(", "),
            note: Note::Repeated {
                rows: repeated.rows,
                first: format!("Row {} has the key{key} of row {}", row + 1, before + 1),
                taken: matches!(strategy, MergeStrategy::Ledger { .. }),
            },
        })
    }

    /// Says in which row a value is missing. The row was refused after the merge, where rows have no numbers any more, so
    /// they are read once again up to the first without a value.
    fn placed(&self, error: IngestError, rows: &Unstaged<'_>) -> IngestError {
        let IngestError::Source(SourceError {
            problem: Problem::Missing,
            column: Some(column),
            ..
        }) = &error
        else {
            return error;
        };
        let Some(at) = self.plan.shape().position(column) else {
            return error;
        };
        let first = (rows.open)().and_then(|mut batches| {
            let mut read = 0;
            while let Some(batch) = batches.next_batch()? {
                let values = batch.column(at);
                if let Some(row) = (0..values.len()).find(|row| values.is_null(*row)) {
                    return Ok(Some(read + row as u64 + 1));
                }
                read += batch.num_rows() as u64;
            }
            Ok(None)
        });
        match first {
            Ok(row) => IngestError::Source(SourceError {
                place: row.map(Place::Row),
                ..rows.source.column_error(column, Problem::Missing)
            }),
            Err(_) => error,
        }
    }
}
