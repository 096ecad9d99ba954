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
mod known;
mod linked;
mod moment;
mod number;
mod options;
mod push;
mod shapes;
mod stage;
mod widen;

use odf_metadata::{MergeStrategy, MetadataEvent, SetVocab, Timestamp};

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
pub use options::{Changed, Options};
pub use push::{Polled, PushOptions, polled, push, set_watermark};
pub use widen::add_columns;

use commit::{Additions, Reached};
use known::{Known, Part, Settled};
use plan::Plan;
use source::{MAX_READINGS, OnProgress, Problem, Source, Span};
use stage::{Empty, Staging, Unstaged};
use taken::{Comparison, Growth, Memory, Taken};

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
