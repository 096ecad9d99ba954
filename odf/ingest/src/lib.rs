//! Ingest: a table becomes rows with offsets, operations and times, in one new slice of a dataset.
//!
//! Three ways in, one pipeline: rows are read, fitted to the dataset, merged with what is there, written as a slice and
//! committed. [`push()`] and [`polled()`] follow a source in the chain: its read step, preprocess query and merge strategy.
//! [`ingest()`] publishes a file that nothing in the chain describes yet: it compares the file with what was taken of it,
//! finds out the types, and makes such a source. Everything random or dependent on the clock is an argument.
//!
//! | step | module |
//! |---|---|
//! | which bytes of a file are new | [`taken`] |
//! | bytes to rows | [`source`], [`infer`], of a workbook by [`sheet`] |
//! | rows to other rows by SQL | an [`Engine`] |
//! | columns of the source to columns of the dataset | `fit` (sources in the chain), [`plan`] (published files) |
//! | new rows against earlier ones | [`merge`] |
//! | system columns, the slice | `stage`, `assemble` |
//! | metadata blocks | `commit` |
//!
//! # Event time
//! `--event-time COL` is written into the chain as `SetVocab{eventTimeColumn: COL}`: the column keeps its name and its
//! values, nothing is copied, and kamu reads such datasets as it reads its own. Without it a column called `event_time` is
//! taken; without that the dataset gets a column `event_time` that holds the time of the ingest. Rows without an event time
//! get the time of the ingest too. An event time may be an RFC 3339 time, a date, or an integer whose unit is declared
//! ([`Options::types`]); the push source writes that unit down, so that later rows of the same form are read alike.
//!
//! # Sources in the chain
//! A dataset made here has a push source `default` with the columns and the merge strategy, so that later publishes, and
//! kamu, go on in the same way.

pub mod infer;
pub mod merge;
pub mod plan;
pub mod poll;
pub mod shape;
pub mod sheet;
pub mod source;
pub mod taken;

mod archive;
mod assemble;
mod before;
mod chunks;
mod columnar;
mod columns;
mod commit;
mod declare;
mod delimited;
mod effect;
mod eight;
mod error;
mod exact;
mod fit;
mod frame;
mod ground;
mod json;
mod linked;
mod moment;
mod number;
mod push;
mod shapes;
mod stage;
mod widen;

use arrow::datatypes::{DataType, TimeUnit};
use odf_metadata::chain::ChainState;
use odf_metadata::{MergeStrategy, MetadataEvent, SetDataSchema, SetVocab, SourceState, Timestamp};
use odf_tables::slice::SliceOptions;

pub use odf_tables::ddl::{ColumnType, DdlError, parse_types};

pub use effect::{Effect, MAX_UNASKED_PERCENT, Retracting};
pub use error::{FitError, IngestError, MergeOptionError};
pub use fit::compatible;
pub use ground::{
    ColumnNote, Engine, Ground, History, HistoryError, INPUT, Ingested, NoHistory, Open, Planned, Prepared, QueryError,
    Slices,
};
pub use json::MAX_DEPTH as MAX_JSON_DEPTH;
pub use merge::merge_option;
pub use push::{Polled, PushOptions, polled, push, set_watermark};
pub use widen::add_columns;

use before::Before;
use commit::{Additions, Reached};
use infer::Inferred;
use merge::OperationColumn;
use plan::Plan;
use shape::type_name;
use source::{MAX_READINGS, OnProgress, Problem, Source, Span};
use stage::{Empty, Staging, Unstaged};
use taken::{Check, Comparison, Growth, Memory, Taken};

/// What to do with a file of an append dataset that is not the one taken before, or not with more behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Changed {
    /// Refuse, and say the ways out.
    #[default]
    Refuse,
    /// Append all of its rows.
    TakeAll,
}

/// How a table is taken into a dataset.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The merge strategy; absent: what the dataset has, for a new one append.
    pub merge: Option<MergeStrategy>,
    /// The primary key, where `merge` is absent: of the strategy that the dataset has; for a new dataset, and one that has
    /// append, of ledger. Empty: what the strategy has.
    pub primary_key: Vec<String>,
    /// The event time column; absent: what the dataset has, for a new one `event_time`.
    pub event_time: Option<String>,
    /// Types that columns get whatever their values suggest, where the dataset has no schema yet; where it has one they
    /// must agree with it. The unit of integers in a time column holds for this reading, and for those after the first.
    pub types: Vec<ColumnType>,
    /// Event time of rows that have none; absent: the system time.
    pub default_event_time: Option<Timestamp>,
    /// What to do with a file that changed otherwise than by growing.
    pub changed: Changed,
    /// The file is finished: its last line is taken though nothing ends it.
    pub finished: bool,
    /// Columns that the dataset does not have become optional columns of it.
    pub add_columns: bool,
    /// How many rows a snapshot may retract.
    pub retracting: Retracting,
    /// How the part of the file is looked at that was taken earlier.
    pub check: Check,
    /// How far a file had been taken when the rows were changed otherwise. What is just as far is an old state, and is
    /// [refused](IngestError::Superseded) if it would change rows.
    pub superseded: Option<SourceState>,
    /// For a new dataset: events written behind the source, such as SetInfo, SetLicense, SetAttachments.
    pub events: Vec<MetadataEvent>,
    /// How slices are written.
    pub slice: SliceOptions,
}

impl Options {
    /// The merge strategy that is asked for, for a dataset that has this one; none if none is.
    fn strategy(&self, recorded: Option<&MergeStrategy>) -> Option<MergeStrategy> {
        if self.merge.is_some() || self.primary_key.is_empty() {
            return self.merge.clone();
        }
        let primary_key = self.primary_key.clone();
        Some(match recorded {
            Some(MergeStrategy::Snapshot { compare_columns, .. }) => MergeStrategy::Snapshot {
                primary_key,
                compare_columns: compare_columns.clone(),
            },
            Some(MergeStrategy::ChangelogStream { .. }) => MergeStrategy::ChangelogStream { primary_key },
            Some(MergeStrategy::UpsertStream { .. }) => MergeStrategy::UpsertStream { primary_key },
            Some(MergeStrategy::Append | MergeStrategy::Ledger { .. }) | None => MergeStrategy::Ledger { primary_key },
        })
    }
}

/// Takes the rows of `source` that are new. Nothing is to be committed if the dataset is up to date.
///
/// `now` is the time of the new blocks; should it lie before the head's, the head's is used, because a chain never goes
/// back in time. `progress` is called from this thread, about once per batch. For a dataset that comes into being the
/// events are those behind its Seed. A file that changes while it is read is read again, a few times at most.
///
/// # Errors
/// See [`IngestError`].
pub fn ingest(
    ground: Ground<'_>,
    source: &Source,
    options: &Options,
    now: Timestamp,
    progress: &mut OnProgress<'_>,
) -> Result<Ingested, IngestError> {
    let recorded = declare::as_recorded(source, ground.history.state());
    let source = &recorded.settled()?;
    let mut growth = match options.finished {
        true => Growth::Finished,
        false => Growth::Open,
    };
    for reading in 1..=MAX_READINGS {
        let seen = source.fingerprint()?;
        let taking = take(ground, source, options, growth, now, progress);
        if seen == source.fingerprint()? {
            let Taking { news, effect, memory } = taking?;
            memory.keep(ground.disk, ground.marks);
            return Ok(match news {
                Some((prepared, _)) => Ingested::News(prepared),
                None => Ingested::Nothing(effect),
            });
        }
        // It changed, and what was read may be half of the one and half of the other, also where that was an error. So is
        // what would be remembered of it.
        let (prepared, taken, memory) = match taking {
            Ok(Taking {
                news: Some((prepared, taken)),
                memory,
                ..
            }) => (prepared, taken, memory),
            Ok(Taking { effect, .. }) if reading == MAX_READINGS => return Ok(Ingested::Nothing(effect)),
            Err(error) if reading == MAX_READINGS => return Err(error),
            _ => continue,
        };
        let is_kept = match taken::compare(source, Some(&taken), growth, &mut memory.again(), progress)? {
            Comparison::Same => true,
            // It grew behind what was taken; that may end within a line, which then is taken the next time.
            Comparison::Grew { .. } | Comparison::Waits => {
                let whole_lines = source.ends_a_line(taken.length)? || growth == Growth::Finished;
                if !whole_lines {
                    growth = Growth::Going;
                }
                whole_lines
            }
            Comparison::WentOn { .. } => {
                growth = Growth::Going;
                false
            }
            Comparison::Fresh { .. } | Comparison::Changed { .. } => false,
        };
        if is_kept {
            memory.keep(ground.disk, ground.marks);
            return Ok(Ingested::News(prepared));
        }
    }
    Err(IngestError::Unsteady(source.name().to_owned()))
}

/// What one reading of a file comes to.
struct Taking {
    /// What to commit, and which part of the file it is from; nothing if nothing is new.
    news: Option<(Prepared, Taken)>,
    /// What its rows do to those that are there.
    effect: Effect,
    /// What to keep of it for the next look, if the file was the same all the time.
    memory: Memory,
}

/// Takes the rows of `source` that are new, as it is now.
fn take(
    ground: Ground<'_>,
    source: &Source,
    options: &Options,
    growth: Growth,
    now: Timestamp,
    progress: &mut OnProgress<'_>,
) -> Result<Taking, IngestError> {
    let system_time = ground.system_time(now);
    let known = match ground.history.state() {
        Some(state) => Known::of(ground.history, state, options)?,
        None => Known::nothing(options),
    };
    let is_new = ground.history.state().is_none();
    let mut memory = Memory::recall(ground.marks, known.check(options.check));
    let part = known.part(source, options.changed, growth, &mut memory, progress)?;
    let Some(Part { span, taken, new }) = part else {
        let effect = Effect::default();
        return Ok(Taking {
            news: None,
            effect,
            memory,
        });
    };
    let Settled {
        plan,
        columns,
        added,
        notes,
    } = known.settle(source, span, options, progress)?;
    let before = &known.before;
    let open = || source.rows(plan.shape(), span);
    let rows = Unstaged {
        source,
        open: &open,
        end: span.end,
        empty: Empty::Refused,
    };
    let compared = match (&before.strategy, new) {
        // What was taken of a file that grew is not compared again.
        (MergeStrategy::Ledger { .. }, Some(new)) => rows_in(source, &plan, new)?,
        _ => u64::MAX,
    };
    let staging = Staging {
        before,
        plan: &plan,
        disk: ground.disk,
        data_dir: ground.dir,
        slice: &options.slice,
        retracting: options.retracting,
        compared,
        singles: true,
        system_time,
        event_time: options.default_event_time.unwrap_or(system_time),
    };
    let (staged, effect, repeated) = staging.run(&rows, progress)?;
    let notes = notes.into_iter().chain(staging.told(repeated, &rows)).collect();
    if staged.is_some() && options.superseded.as_ref() == Some(&taken.to_state()) {
        let name = source.name().to_owned();
        return Err(IngestError::Superseded { name, effect });
    }
    if is_new && staged.is_none() {
        // A dataset without rows would have a schema that nobody has seen a value of.
        return Err(source.error(Problem::NoRows).into());
    }

    let mut events = Vec::new();
    if known.new_source || added.is_some() {
        let merge = before.strategy.clone();
        events.push(declare::push_source(source, &plan, columns.as_ref(), merge)?);
    }
    events.extend(added.map(MetadataEvent::SetDataSchema));
    if is_new {
        if let Some(column) = options.event_time.clone().filter(|column| column != plan::EVENT_TIME) {
            events.push(MetadataEvent::SetVocab(SetVocab {
                event_time_column: Some(column),
                ..SetVocab::default()
            }));
        }
        events.extend(options.events.iter().cloned());
    }
    let schema = staged.is_some().then(|| plan.schema().as_ref());
    let state = Reached::WithRows(Some(taken.to_state()));
    let mut additions = Additions::new(before, schema, staged, state)?;
    additions.events.splice(0..0, events);
    let prepared = additions.at(system_time);
    Ok(Taking {
        news: prepared.map(|prepared| {
            (
                Prepared {
                    notes,
                    effect,
                    ..prepared
                },
                taken,
            )
        }),
        effect,
        memory,
    })
}

/// How many rows there are in a part of a table.
fn rows_in(source: &Source, plan: &Plan, part: Span) -> Result<u64, IngestError> {
    let mut batches = source.rows(plan.shape(), part)?;
    let mut rows = 0;
    while let Some(batch) = batches.next_batch()? {
        rows += batch.num_rows() as u64;
    }
    Ok(rows)
}

/// What a published table meets.
struct Known {
    before: Before,
    /// The strategy in the chain is another one, or there is none and one was asked for.
    new_source: bool,
    /// The columns that the source in the chain declares, where there is no schema yet.
    declared: Option<Inferred>,
    /// In which unit integers count in its time columns, as that source says.
    integer_times: Vec<(String, TimeUnit)>,
    taken: Option<Taken>,
}

/// The part of a table to be read.
struct Part {
    span: Span,
    /// The state after it.
    taken: Taken,
    /// The new part of a file that grew.
    new: Option<Span>,
}

/// Which column of the table becomes which of the dataset.
struct Settled {
    plan: Plan,
    /// The columns of the table, where they were looked at.
    columns: Option<Inferred>,
    /// The schema that the dataset gets, where the table adds columns to it.
    added: Option<SetDataSchema>,
    /// Why new columns are text.
    notes: Vec<ColumnNote>,
}

impl Known {
    fn nothing(options: &Options) -> Known {
        let strategy = options.strategy(None).unwrap_or(MergeStrategy::Append);
        Known {
            before: Before::nothing(strategy, options.event_time.as_deref()),
            new_source: true,
            declared: None,
            integer_times: Vec::new(),
            taken: None,
        }
    }

    /// How the file may be looked at if that is wanted. Where all of its rows are looked at, all of it is read anyway, and
    /// then the hash must be of just those bytes: growth is not believed.
    fn check(&self, wanted: Check) -> Check {
        let all_rows = self.new_source || merge::needs_history(&self.before.strategy);
        match wanted {
            Check::Quick if all_rows => Check::Touched,
            wanted => wanted,
        }
    }

    fn of(history: &dyn History, state: &ChainState, options: &Options) -> Result<Known, IngestError> {
        let recorded = state.merge_strategy();
        let wanted = options.strategy(recorded);
        let new_source = wanted.is_some() && wanted.as_ref() != recorded;
        if new_source && state.polling_source.is_some() {
            return Err(IngestError::Polling);
        }
        if state.push_source().is_some_and(|source| source.preprocess.is_some()) {
            return Err(IngestError::Preprocessed);
        }
        let strategy = wanted.as_ref().or(recorded);
        let before = Before::of(history, state, strategy.cloned().unwrap_or(MergeStrategy::Append))?;
        if let Some(wanted) = &options.event_time
            && *wanted != before.vocabulary.event_time_column
        {
            return Err(IngestError::EventTimeFixed {
                actual: before.vocabulary.event_time_column,
                wanted: wanted.clone(),
            });
        }
        let declared = if before.schema.is_none() {
            declare::declared_columns(state)?
        } else {
            None
        };
        Ok(Known {
            new_source,
            declared,
            integer_times: declare::declared_integer_times(state),
            taken: before.source_state.as_ref().and_then(Taken::from_state),
            before,
        })
    }

    /// Which part of the file to read; none if there is nothing new.
    fn part(
        &self,
        source: &Source,
        changed: Changed,
        growth: Growth,
        memory: &mut Memory,
        progress: &mut OnProgress<'_>,
    ) -> Result<Option<Part>, IngestError> {
        let comparison = taken::compare(source, self.taken.as_ref(), growth, memory, progress)?;
        let whole = |taken: Taken| Part {
            span: Span {
                start: 0,
                line: 0,
                end: taken.length,
            },
            taken,
            new: None,
        };
        // A strategy that does not look at earlier rows would write every row again.
        let append = !merge::needs_history(&self.before.strategy);
        let is_snapshot = matches!(self.before.strategy, MergeStrategy::Snapshot { .. });
        Ok(match comparison {
            // The same file under another strategy may still change what is there.
            Comparison::Same if self.new_source => self.taken.clone().map(whole),
            Comparison::Same | Comparison::Waits => None,
            // A snapshot is the whole state, so half a row goes when the whole one comes. Elsewhere it would stay.
            Comparison::WentOn { taken } if is_snapshot || changed == Changed::TakeAll => Some(whole(taken)),
            Comparison::WentOn { .. } => return Err(IngestError::WentOn(source.name().to_owned())),
            Comparison::Fresh { taken, .. } | Comparison::Changed { taken, .. } if !append => Some(whole(taken)),
            Comparison::Grew { taken, .. } if !append && self.new_source => Some(whole(taken)),
            Comparison::Grew { span, taken } if !append => Some(Part {
                new: Some(span),
                ..whole(taken)
            }),
            Comparison::Grew { span, taken } => Some(Part { span, taken, new: None }),
            Comparison::Fresh { taken, .. } if self.before.rows == 0 || changed == Changed::TakeAll => {
                Some(whole(taken))
            }
            Comparison::Fresh { .. } => {
                return Err(IngestError::Unknown {
                    name: source.name().to_owned(),
                    rows: self.before.rows,
                });
            }
            Comparison::Changed { taken, .. } if changed == Changed::TakeAll => Some(whole(taken)),
            Comparison::Changed { change, .. } => {
                return Err(IngestError::Changed {
                    name: source.name().to_owned(),
                    length: self.taken.as_ref().map_or(0, |taken| taken.length),
                    change,
                });
            }
        })
    }

    /// Settles which column of the table becomes which of the dataset.
    fn settle(
        &self,
        source: &Source,
        span: Span,
        options: &Options,
        progress: &mut OnProgress<'_>,
    ) -> Result<Settled, IngestError> {
        let Before {
            strategy,
            vocabulary,
            schema,
            ..
        } = &self.before;
        let wanted = options.types.iter();
        let said = wanted.filter_map(|column| Some((column.field.name().clone(), column.integer_time?)));
        // What is said now goes before what was said once.
        let mut integer_times: Vec<(String, TimeUnit)> = said.collect();
        for known in &self.integer_times {
            if !integer_times.iter().any(|(name, _)| *name == known.0) {
                integer_times.push(known.clone());
            }
        }
        if let Some(schema) = schema {
            let mut settled = Settled {
                plan: Plan::fit(source, schema, vocabulary, strategy)?,
                columns: None,
                added: None,
                notes: Vec::new(),
            };
            if options.add_columns {
                let mut found = source.infer(span.end, progress)?;
                let operation = OperationColumn::of(strategy);
                if let Some(column) = found
                    .columns
                    .iter()
                    .find(|column| operation.reserves(&column.name, vocabulary))
                {
                    return Err(source.column_error(&column.name, Problem::Reserved).into());
                }
                for ColumnType { field, .. } in &options.types {
                    for column in found.columns.iter_mut().filter(|column| column.name == *field.name()) {
                        column.data_type = field.data_type().clone();
                        column.note = None;
                    }
                }
                if let Some(wider) = declare::widened(schema, &found, &self.before, source)? {
                    found
                        .columns
                        .retain(|column| schema.fields.iter().all(|field| field.name != column.name));
                    settled.notes = notes(&found);
                    settled.plan = Plan::fit(source, &wider, vocabulary, strategy)?;
                    settled.added = Some(SetDataSchema {
                        raw_arrow_schema: None,
                        schema: Some(wider),
                    });
                }
            }
            let plan = &settled.plan;
            for ColumnType { field, .. } in &options.types {
                let actual = plan.schema().field_with_name(field.name());
                let actual = actual
                    .map_err(|_| source.column_error(field.name(), Problem::NotInDataset(plan.shape().names())))?;
                if actual.data_type() != field.data_type() {
                    return Err(IngestError::TypeFixed {
                        column: field.name().clone(),
                        actual: type_name(actual.data_type()),
                        wanted: type_name(field.data_type()),
                    });
                }
            }
            settled.plan = settled.plan.with_integer_times(&integer_times);
            return Ok(settled);
        }
        let (mut inferred, declared) = match &self.declared {
            Some(declared) => (declared.clone(), true),
            None => (source.infer(span.end, progress)?, false),
        };
        for column in &mut inferred.columns {
            // Whatever the unit in which a source reads its times, the dataset has milliseconds.
            if matches!(column.data_type, DataType::Timestamp(..)) {
                column.data_type = infer::timestamp();
            }
        }
        for ColumnType { field, .. } in &options.types {
            let Some(column) = inferred.columns.iter().position(|column| column.name == *field.name()) else {
                return Err(source
                    .column_error(field.name(), Problem::NoColumn(inferred.names()))
                    .into());
            };
            let column = &mut inferred.columns[column];
            column.data_type = field.data_type().clone();
            column.nullable = field.is_nullable();
            column.note = None;
        }
        if !declared && inferred.rows == 0 {
            return Err(source.error(Problem::NoRows).into());
        }
        // What a source declares is taken as it stands.
        let required = if declared { &[][..] } else { strategy.primary_key() };
        let wanted = options.event_time.is_some() || vocabulary.event_time_column != plan::EVENT_TIME;
        let plan = Plan::infer(source, &inferred, vocabulary, wanted, required, strategy)?;
        Ok(Settled {
            plan: plan.with_integer_times(&integer_times),
            notes: notes(&inferred),
            columns: Some(inferred),
            added: None,
        })
    }
}

/// Why columns are text although they look like something else.
fn notes(inferred: &Inferred) -> Vec<ColumnNote> {
    let note = |column: &infer::InferredColumn| {
        Some(ColumnNote {
            column: column.name.clone(),
            note: column.note.clone()?,
        })
    };
    inferred.columns.iter().filter_map(note).collect()
}
