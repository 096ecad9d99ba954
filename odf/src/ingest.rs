//! Ingest: a table becomes rows with offsets, operations and times, in one new slice of a dataset.
//!
//! [`ingest`] is the whole way: compare the file with what was taken of it, settle types, read, merge with what is there,
//! write the slice, commit. Everything random or dependent on the clock is an argument.
//!
//! # Event time
//! `--event-time COL` is written into the chain as `SetVocab{eventTimeColumn: COL}`: the column keeps its name and its
//! values, nothing is copied, and kamu reads such datasets as it reads its own. Without it a column called `event_time` is
//! taken; without that the dataset gets a column `event_time` that holds the time of the ingest. Rows without an event time
//! get the time of the ingest too. An event time may be an RFC 3339 time, a date, or an integer: Unix milliseconds from
//! 100,000,000,000 up (1973), Unix seconds below.
//!
//! # Sources in the chain
//! A dataset made here has a push source `default` with the columns and the merge strategy, so that later publishes, and
//! kamu, go on in the same way.

pub mod infer;
pub mod merge;
pub mod plan;
pub mod shape;
pub mod source;
pub mod sql;
pub mod taken;
pub mod types;

mod assemble;
mod columnar;
mod columns;
mod ddl;
mod declare;
mod delimited;
mod error;
mod json;
mod push;

use std::path::{Path, PathBuf};

use odf_node::store::Table;

use crate::dataset::{Dataset, NewDataset, StoredBlock};
use crate::metadata::{
    AddData, DataSlice, DatasetKind, MergeStrategy, MetadataEvent, Multihash, OffsetInterval, SetDataSchema, SetVocab,
    SourceState, Timestamp, Vocabulary,
};
use crate::slice::{SliceOptions, SliceWriter, WrittenSlice};

pub use error::{IngestError, MergeOptionError};
pub use push::{Polled, PushOptions, polled, push, set_watermark};

use assemble::Assembly;
use infer::Inferred;
use merge::{History, Memory, Merged};
use plan::Plan;
use source::{OnProgress, Phase, Problem, Source, Span, report};
use taken::{Comparison, Taken};
use types::from_arrow;

/// What to do with a file of an append dataset that is not the one taken before, or not with more behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Changed {
    /// Refuse, and say the ways out.
    #[default]
    Refuse,
    /// Append all of its rows.
    TakeAll,
}

/// What to write into the chain about how far the source was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Remember {
    /// Length and hash of the file, see [`taken`].
    #[default]
    Prefix,
    /// Nothing.
    Nothing,
    /// A state of another kind, such as that of a polling source.
    State(SourceState),
}

/// How a table is taken into a dataset.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The merge strategy; absent: what the dataset has, for a new one append.
    pub merge: Option<MergeStrategy>,
    /// The event time column; absent: what the dataset has, for a new one `event_time`.
    pub event_time: Option<String>,
    /// Event time of rows that have none; absent: the system time.
    pub default_event_time: Option<Timestamp>,
    /// What to do with a file that changed otherwise than by growing.
    pub changed: Changed,
    /// What to note about the source.
    pub remember: Remember,
    /// For a new dataset: events written behind the source, such as SetInfo, SetLicense, SetAttachments.
    pub events: Vec<MetadataEvent>,
    /// How slices are written.
    pub slice: SliceOptions,
}

/// Where the rows go.
pub enum Target<'a> {
    /// A dataset that is there.
    Existing(&'a mut Dataset),
    /// One that comes into being with its first rows, and not at all if they are refused.
    New {
        /// Where it is made.
        staged: NewDataset,
        /// The table in which states of datasets are kept.
        states: &'a Table,
    },
}

/// What an ingest did.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one at a time, and looked at right away")]
pub enum Outcome {
    /// There was nothing new; nothing was written.
    UpToDate,
    /// Rows were added.
    Updated(Update),
}

/// What was added.
#[derive(Debug)]
pub struct Update {
    /// The head before; none for a new dataset.
    pub old_head: Option<Multihash>,
    /// The head now.
    pub new_head: Multihash,
    /// The blocks between them, with their places in the chain file.
    pub blocks: Vec<StoredBlock>,
    /// The new slice; none if only the source changed.
    pub slice: Option<DataSlice>,
    /// Rows written, retractions and corrections included.
    pub rows: u64,
    /// The dataset, if it is new.
    pub created: Option<Dataset>,
}

impl Outcome {
    /// What blocks that were written amount to.
    fn updated(
        old_head: Option<Multihash>,
        blocks: Vec<StoredBlock>,
        slice: Option<DataSlice>,
        rows: u64,
        created: Option<Dataset>,
    ) -> Outcome {
        match blocks.last().map(|stored| *stored.block.hash()) {
            None => Outcome::UpToDate,
            Some(new_head) => Outcome::Updated(Update {
                old_head,
                new_head,
                blocks,
                slice,
                rows,
                created,
            }),
        }
    }
}

/// The merge strategy that `--merge` and `--primary-key` stand for: none if neither is given, ledger if only the key is.
pub fn merge_option(merge: Option<&str>, primary_key: Vec<String>) -> Result<Option<MergeStrategy>, MergeOptionError> {
    let keyed = !primary_key.is_empty();
    match merge.map(str::to_ascii_lowercase).as_deref() {
        None if !keyed => Ok(None),
        None | Some("ledger") if keyed => Ok(Some(MergeStrategy::Ledger { primary_key })),
        Some("snapshot") if keyed => Ok(Some(MergeStrategy::Snapshot {
            primary_key,
            compare_columns: None,
        })),
        Some("append") if keyed => Err(MergeOptionError::KeyUnused),
        Some("append") => Ok(Some(MergeStrategy::Append)),
        Some("ledger") | None => Err(MergeOptionError::KeyMissing("ledger")),
        Some("snapshot") => Err(MergeOptionError::KeyMissing("snapshot")),
        Some(other) => Err(MergeOptionError::Unknown(other.to_owned())),
    }
}

/// What is known of the dataset before its new rows.
struct Before {
    strategy: MergeStrategy,
    /// The strategy in the chain is another one, or there is none and one was asked for.
    new_source: bool,
    vocabulary: Vocabulary,
    /// The schema, or else the columns that the source declares.
    schema: Option<crate::metadata::DataSchema>,
    declared: Option<Inferred>,
    source_state: Option<SourceState>,
    taken: Option<Taken>,
    slices: Vec<PathBuf>,
    rows: u64,
    prev_offset: Option<u64>,
    prev_checkpoint: Option<Multihash>,
    watermark: Option<Timestamp>,
}

impl Before {
    fn nothing(options: &Options) -> Before {
        Before {
            strategy: options.merge.clone().unwrap_or(MergeStrategy::Append),
            new_source: true,
            vocabulary: Vocabulary::from(&SetVocab {
                event_time_column: options.event_time.clone(),
                ..SetVocab::default()
            }),
            schema: None,
            declared: None,
            source_state: None,
            taken: None,
            slices: Vec::new(),
            rows: 0,
            prev_offset: None,
            prev_checkpoint: None,
            watermark: None,
        }
    }

    fn of(dataset: &Dataset, options: &Options) -> Result<Before, IngestError> {
        if dataset.kind() == DatasetKind::Derivative {
            return Err(IngestError::Derivative);
        }
        let state = dataset.state();
        let recorded = dataset.merge_strategy();
        let new_source = options.merge.is_some() && options.merge.as_ref() != recorded;
        if new_source && state.polling_source.is_some() {
            return Err(IngestError::Polling);
        }
        let strategy = options
            .merge
            .as_ref()
            .or(recorded)
            .cloned()
            .unwrap_or(MergeStrategy::Append);
        let vocabulary = state.vocabulary();
        if let Some(wanted) = &options.event_time
            && *wanted != vocabulary.event_time_column
        {
            let actual = vocabulary.event_time_column;
            return Err(IngestError::EventTimeFixed {
                actual,
                wanted: wanted.clone(),
            });
        }
        let needs_history = merge::needs_history(&strategy);
        let slices = if needs_history { dataset.slices()? } else { Vec::new() };
        let schema = match &state.schema {
            None => None,
            Some(SetDataSchema {
                schema: Some(schema), ..
            }) => Some(schema.clone()),
            Some(SetDataSchema { schema: None, .. }) => return Err(IngestError::LegacySchema),
        };
        let declared = if schema.is_none() {
            declare::declared_columns(dataset)?
        } else {
            None
        };
        Ok(Before {
            strategy,
            new_source,
            vocabulary,
            schema,
            declared,
            source_state: state.source_state.clone(),
            taken: state.source_state.as_ref().and_then(Taken::from_state),
            slices: slices
                .iter()
                .map(|slice| dataset.slice_path(&slice.physical_hash))
                .collect(),
            rows: state.totals.records,
            prev_offset: state.last_offset,
            prev_checkpoint: state.checkpoint.as_ref().map(|checkpoint| checkpoint.physical_hash),
            watermark: state.watermark,
        })
    }

    /// What the chain says about a slice that follows.
    fn describe(&self, slice: &WrittenSlice) -> DataSlice {
        let start = self.prev_offset.map_or(0, |last| last + 1);
        DataSlice {
            logical_hash: *slice.logical_hash(),
            physical_hash: *slice.physical_hash(),
            offset_interval: OffsetInterval {
                start,
                end: start + slice.rows() - 1,
            },
            size: slice.size(),
        }
    }

    /// Which part of the file to read, and the state after it; none if there is nothing new.
    fn part(
        &self,
        source: &Source,
        changed: Changed,
        progress: &mut OnProgress<'_>,
    ) -> Result<Option<(Span, Taken)>, IngestError> {
        let comparison = taken::compare(source, self.taken.as_ref(), progress)?;
        let whole = |taken: Taken| {
            (
                Span {
                    start: 0,
                    line: 0,
                    end: taken.length,
                },
                taken,
            )
        };
        let append = self.strategy == MergeStrategy::Append;
        Ok(match comparison {
            // The same file under another strategy may still change what is there.
            Comparison::Same if self.new_source => self.taken.clone().map(whole),
            Comparison::Same => None,
            Comparison::Fresh { taken, .. } | Comparison::Changed { taken } if !append => Some(whole(taken)),
            Comparison::Grew { taken, .. } if !append => Some(whole(taken)),
            Comparison::Grew { span, taken } => Some((span, taken)),
            Comparison::Fresh { taken, .. } if self.rows == 0 || changed == Changed::TakeAll => Some(whole(taken)),
            Comparison::Fresh { .. } => {
                return Err(IngestError::Unknown {
                    name: source.name().to_owned(),
                    rows: self.rows,
                });
            }
            Comparison::Changed { taken } if changed == Changed::TakeAll => Some(whole(taken)),
            Comparison::Changed { .. } => {
                let length = self.taken.as_ref().map_or(0, |taken| taken.length);
                return Err(IngestError::Changed {
                    name: source.name().to_owned(),
                    length,
                });
            }
        })
    }
}

/// Takes the rows of `source` that are new into the dataset and commits them.
///
/// `system_time` is the time of the new blocks; should it lie before the head's, the head's is used, because a chain never
/// goes back in time. `progress` is called from this thread, about once per batch.
///
/// # Errors
/// See [`IngestError`]: whatever it is, nothing has changed.
pub fn ingest(
    target: Target<'_>,
    source: &Source,
    options: &Options,
    system_time: Timestamp,
    progress: &mut OnProgress<'_>,
) -> Result<Outcome, IngestError> {
    let (before, system_time, data_dir) = match &target {
        Target::Existing(dataset) => {
            let system_time = system_time.max(dataset.state().system_time);
            (Before::of(dataset, options)?, system_time, dataset.data_dir())
        }
        Target::New { staged, .. } => (Before::nothing(options), system_time, staged.data_dir()),
    };
    let Some((span, taken)) = before.part(source, options.changed, progress)? else {
        return Ok(Outcome::UpToDate);
    };
    let is_new = matches!(target, Target::New { .. });
    let (plan, columns) = settle(&before, source, span, options, progress)?;
    let default_event_time = options.default_event_time.unwrap_or(system_time);
    let times = (system_time.millis(), default_event_time.millis());
    let written = write_slice(&before, &plan, source, span, &data_dir, options, times, progress)?;
    if is_new && written.is_none() {
        // A dataset without rows would have a schema that nobody has seen a value of.
        return Err(source.error(Problem::NoRows).into());
    }
    let (slice, latest) = match written {
        Some((slice, latest)) => (Some(slice), latest),
        None => (None, None),
    };

    let data = slice.as_ref().map(|slice| before.describe(slice));
    let mut events = Vec::new();
    if before.new_source {
        let merge = before.strategy.clone();
        events.push(declare::push_source(source, &plan, columns.as_ref(), merge)?);
    }
    if is_new {
        if let Some(column) = options.event_time.clone().filter(|column| column != plan::EVENT_TIME) {
            events.push(MetadataEvent::SetVocab(SetVocab {
                event_time_column: Some(column),
                ..SetVocab::default()
            }));
        }
        events.extend(options.events.iter().cloned());
    }
    if before.schema.is_none() && data.is_some() {
        let schema = Some(from_arrow(plan.schema())?);
        events.push(MetadataEvent::SetDataSchema(SetDataSchema {
            raw_arrow_schema: None,
            schema,
        }));
    }
    let new_source_state = match &options.remember {
        Remember::Prefix => data.is_some().then(|| taken.to_state()),
        Remember::Nothing => None,
        Remember::State(state) => Some(state.clone()),
    };
    // A state that moved on is worth a block of its own where somebody else keeps it; ours can be found out again.
    let state_moved = matches!(options.remember, Remember::State(_)) && new_source_state != before.source_state;
    if data.is_some() || state_moved {
        events.push(MetadataEvent::AddData(AddData {
            prev_checkpoint: before.prev_checkpoint,
            prev_offset: before.prev_offset,
            new_data: data.clone(),
            new_checkpoint: None,
            new_watermark: before.watermark.max(latest.and_then(Timestamp::from_millis)),
            new_source_state,
            extra: None,
        }));
    }
    if events.is_empty() {
        return Ok(Outcome::UpToDate);
    }
    let rows = slice.as_ref().map_or(0, WrittenSlice::rows);
    let (old_head, blocks, created) = match target {
        Target::Existing(dataset) => {
            let old_head = *dataset.head();
            (Some(old_head), dataset.append_events(events, system_time, slice)?, None)
        }
        Target::New { staged, states } => {
            let (dataset, blocks) = staged.install_events(DatasetKind::Root, events, system_time, slice, states)?;
            (None, blocks, Some(dataset))
        }
    };
    Ok(Outcome::updated(old_head, blocks, data, rows, created))
}

/// Settles which column of the table becomes which of the dataset; also the columns of the table where they were looked at.
fn settle(
    before: &Before,
    source: &Source,
    span: Span,
    options: &Options,
    progress: &mut OnProgress<'_>,
) -> Result<(Plan, Option<Inferred>), IngestError> {
    if let Some(schema) = &before.schema {
        return Ok((Plan::fit(source, schema, &before.vocabulary, &before.strategy)?, None));
    }
    let (inferred, declared) = match &before.declared {
        Some(declared) => (declared.clone(), true),
        None => (source.infer(span.end, progress)?, false),
    };
    if !declared && inferred.rows == 0 {
        return Err(source.error(Problem::NoRows).into());
    }
    // What a source declares is taken as it stands.
    let required = if declared {
        &[][..]
    } else {
        merge::primary_key(&before.strategy)
    };
    let wanted = options.event_time.is_some() || before.vocabulary.event_time_column != plan::EVENT_TIME;
    let plan = Plan::infer(
        source,
        &inferred,
        &before.vocabulary,
        wanted,
        required,
        &before.strategy,
    )?;
    Ok((plan, Some(inferred)))
}

/// Reads, merges and writes; none if no row is left to write. Also gives the latest event time in milliseconds.
#[expect(clippy::too_many_arguments, reason = "one step of one function, split for reading")]
fn write_slice(
    before: &Before,
    plan: &Plan,
    source: &Source,
    span: Span,
    data_dir: &Path,
    options: &Options,
    (system_time, event_time): (i64, i64),
    progress: &mut OnProgress<'_>,
) -> Result<Option<(WrittenSlice, Option<i64>)>, IngestError> {
    let next_offset = before.prev_offset.map_or(Some(0), |last| last.checked_add(1));
    let next_offset = next_offset
        .and_then(|next| i64::try_from(next).ok())
        .ok_or(IngestError::Full)?;
    let history = History {
        slices: &before.slices,
        vocabulary: &before.vocabulary,
        scratch: data_dir,
        memory: Memory::default(),
    };
    for sort in [false, true] {
        let writer = SliceWriter::create(data_dir, plan.schema().clone(), &options.slice)?;
        let mut assembly = Assembly {
            plan,
            writer,
            next_offset,
            system_time,
            event_time,
            latest: None,
        };
        let mut batches = source.rows(plan.shape(), span)?;
        let mut on_batch = |bytes, rows| report(source, progress, Phase::Reading, bytes, span.end, rows);
        let merged = merge::merge(
            &before.strategy,
            &mut *batches,
            plan.shape(),
            &history,
            sort,
            &mut assembly,
            &mut on_batch,
        )?;
        match merged {
            Merged::OutOfOrder => continue,
            // An empty snapshot would take every row away; a file that was cut short must not.
            Merged::Done { read: 0 } if matches!(before.strategy, MergeStrategy::Snapshot { .. }) => {
                return Err(source.error(Problem::NoRows).into());
            }
            Merged::Done { .. } => {}
        }
        if assembly.writer.rows() == 0 {
            return Ok(None);
        }
        report(
            source,
            progress,
            Phase::Writing,
            span.end,
            span.end,
            assembly.writer.rows(),
        )?;
        return Ok(Some((assembly.writer.finish()?, assembly.latest)));
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
