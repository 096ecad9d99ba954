//! A derivative dataset verified by doing it again: every run that its chain tells of, over the parts of the inputs that the
//! run read, and what comes of it beside what the chain has.
//!
//! As in kamu (odf-facts §10), a run is reproduced if it gives rows with the same logical hash and the same offsets, and the
//! same watermark; files and checkpoints are the engine's own affair. What a run read is settled by the chain alone:
//! an interval has to begin where the last one ended, and to be in the input's chain with the offsets that are told of it.
//!
//! Watermarks are as far determined as engines agree about them. Ours says the lowest of all inputs; kamu's the lowest that
//! the new blocks of the inputs say, which is less if they say several, and odfs before 2026 the lowest of the inputs that have
//! news. Each of the three passes, nothing else.
//!
//! Nothing is written but what a query spills. The SQL is a stranger's and reaches its inputs only (`crate::sql`).

mod along;
mod rows;

use std::fmt;
use std::ops::ControlFlow;

use odf_dataset::catalog::Catalog;
use odf_dataset::{Dataset, DatasetError};
use odf_ingest::FitError;
use odf_ingest::source::{Problem, Progress, SourceError};
use odf_metadata::chain::{ChainError, ChainState};
use odf_metadata::{
    DatasetKind, ExecuteTransform, MetadataEvent, Multihash, SetTransform, Timestamp, Transform, TransformInput,
};
use odf_tables::digest::LogicalHasher;

pub use self::rows::{MAX_SHOWN_ROWS, RowDifference};

use super::compute::{Run, Watch};
use super::inputs::Part;
use super::{TransformError, lowest, watermark};
use crate::slices::Slices;
use crate::sql::ENGINE;
use along::Along;

/// What was done again.
#[derive(Debug, Default)]
pub struct Replayed {
    /// Runs that gave what the chain has.
    pub blocks: u64,
    /// Rows of these.
    pub rows: u64,
    /// Runs of engines that are not here: hashes are all that is known of them.
    pub by_hash: u64,
    /// Why, of the first of these.
    pub why: Option<TransformError>,
}

/// How far a replay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Sequence number of the block that is replayed.
    pub sequence: u64,
    /// How many blocks the chain has.
    pub blocks: u64,
    /// Rows computed so far.
    pub rows: u64,
}

/// Why a replay ended before the head.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The chain says something else.
    #[error("metadata block {sequence} ({hash}): {what}")]
    Differs {
        /// Sequence number of the first block that is not what came of it.
        sequence: u64,
        /// Its hash.
        hash: Multihash,
        /// What it is instead.
        what: Box<Difference>,
    },
    /// The run of this block cannot be done.
    #[error("metadata block {sequence} ({hash}) cannot be computed again: {source}")]
    Failed {
        /// Sequence number of the block.
        sequence: u64,
        /// Its hash.
        hash: Multihash,
        /// Why not.
        source: TransformError,
    },
    /// No run can be done, or it was asked to stop.
    #[error(transparent)]
    Transform(#[from] TransformError),
    /// A chain cannot be read.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// A chain breaks a rule.
    #[error(transparent)]
    Chain(#[from] ChainError),
}

/// What the chain has, and what came of it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Difference {
    /// What it says that it read of an input is no part of it.
    Interval {
        /// What the transform calls the input.
        input: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The columns are not those of the result.
    Schema(String),
    /// The rows, or where they are.
    Rows(RowDifference),
    /// How far it says that it is complete.
    Watermark {
        /// In the chain.
        recorded: Option<Timestamp>,
        /// By the inputs.
        computed: Option<Timestamp>,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interval { input, reason } => write!(f, "InvalidInputInterval: of its input {input} it {reason}"),
            Self::Schema(detail) => write!(f, "its columns are not those that the transform gives: {detail}"),
            Self::Rows(rows) => rows.fmt(f),
            Self::Watermark { recorded, computed } => {
                let text = |watermark: &Option<Timestamp>| watermark.map_or("none".to_owned(), |at| at.to_string());
                write!(
                    f,
                    "its watermark is {}, and that of its inputs gives {}",
                    text(recorded),
                    text(computed)
                )
            }
        }
    }
}

/// Does every run of a derivative dataset again, up to the first that differs. There is nothing to do for a root dataset.
///
/// # Errors
/// See [`ReplayError`]. [`TransformError::NoInput`] names an input that is not here.
pub fn replay(
    dataset: &Dataset,
    catalog: &Catalog,
    progress: &mut (dyn FnMut(Step) -> ControlFlow<()> + '_),
) -> Result<Replayed, ReplayError> {
    let mut replay = Replay {
        dataset,
        catalog,
        name: dataset.name()?.to_string(),
        inputs: Vec::new(),
        schema_block: None,
        done: Replayed::default(),
    };
    if dataset.kind() != DatasetKind::Derivative {
        return Ok(replay.done);
    }
    let mut state: Option<ChainState> = None;
    for stored in dataset.blocks_after(None)? {
        let block = stored?.block;
        let (hash, content) = (*block.hash(), block.block());
        let sequence = content.sequence_number;
        match (&content.event, &state) {
            (MetadataEvent::SetDataSchema(_), _) => replay.schema_block = Some((sequence, hash)),
            (MetadataEvent::ExecuteTransform(event), Some(state)) => {
                let place = (sequence, hash);
                replay.block(state, event, content.system_time, place, progress)?;
            }
            _ => {}
        }
        ChainState::append(&mut state, &block)?;
    }
    Ok(replay.done)
}

/// A dataset on its way.
struct Replay<'a> {
    dataset: &'a Dataset,
    catalog: &'a Catalog,
    name: String,
    /// The inputs, each as far as it was read; none before the first run.
    inputs: Vec<Along>,
    /// The block that set the schema in force.
    schema_block: Option<Place>,
    done: Replayed,
}

/// Sequence number and hash of a block.
type Place = (u64, Multihash);

fn differs((sequence, hash): Place, what: Difference) -> ReplayError {
    ReplayError::Differs {
        sequence,
        hash,
        what: Box::new(what),
    }
}

impl Replay<'_> {
    /// Does the run of one block again, on top of `state`.
    fn block(
        &mut self,
        state: &ChainState,
        event: &ExecuteTransform,
        system_time: Timestamp,
        place: Place,
        progress: &mut (dyn FnMut(Step) -> ControlFlow<()> + '_),
    ) -> Result<(), ReplayError> {
        // Without a transform the rules refuse the block.
        let Some(SetTransform { inputs, transform }) = &state.transform else {
            return Ok(());
        };
        let Transform::Sql(sql) = transform;
        if !sql.engine.eq_ignore_ascii_case(ENGINE) {
            self.by_hash(TransformError::Engine(sql.engine.clone()));
            return Ok(());
        }
        let done = self.done.rows;
        let mut tell = |at: Progress| {
            progress(Step {
                sequence: place.0,
                blocks: self.dataset.state().blocks(),
                rows: done + at.rows,
            })
        };
        let result = match self.parts(inputs, event, place) {
            Ok(parts) => self.run(state, event, transform, &parts, system_time, place, &mut tell),
            Err(error) => Err(error),
        };
        let failed = match result {
            Ok(rows) => {
                self.done.blocks += 1;
                self.done.rows += rows;
                return Ok(());
            }
            Err(ReplayError::Transform(failed)) => failed,
            Err(error) => return Err(error),
        };
        match failed {
            TransformError::Gathers(_) | TransformError::LegacySchema(_) => {
                self.by_hash(failed);
                Ok(())
            }
            TransformError::Fit(FitError::Incompatible(detail)) => {
                Err(differs(self.schema_block.unwrap_or(place), Difference::Schema(detail)))
            }
            TransformError::NoInput { .. }
            | TransformError::Stopped
            | TransformError::Dataset(_)
            | TransformError::Source(SourceError {
                problem: Problem::Cancelled,
                ..
            }) => Err(failed.into()),
            source => Err(ReplayError::Failed {
                sequence: place.0,
                hash: place.1,
                source,
            }),
        }
    }

    fn by_hash(&mut self, why: TransformError) {
        self.done.by_hash += 1;
        self.done.why.get_or_insert(why);
    }

    /// What the block says that was read, as it is in the chains of the inputs.
    fn parts(
        &mut self,
        inputs: &[TransformInput],
        event: &ExecuteTransform,
        place: Place,
    ) -> Result<Vec<Part>, ReplayError> {
        if self.inputs.is_empty() {
            for input in inputs {
                self.inputs.push(Along::open(input, self.catalog)?);
            }
        }
        let has_gap = self.done.by_hash > 0;
        let mut parts = Vec::with_capacity(inputs.len());
        for ((input, along), record) in inputs.iter().zip(&mut self.inputs).zip(&event.query_inputs) {
            let alias = input.alias.clone().unwrap_or_else(|| input.dataset_ref.clone());
            let fault = |reason: String| {
                differs(
                    place,
                    Difference::Interval {
                        input: alias.clone(),
                        reason,
                    },
                )
            };
            match along.part(&alias, record, has_gap)? {
                Ok(part) => parts.push(part),
                Err(reason) => return Err(fault(reason)),
            }
        }
        Ok(parts)
    }

    /// Does the run, and compares; how many rows there are.
    #[expect(clippy::too_many_arguments, reason = "one step of one function, split for reading")]
    fn run(
        &self,
        state: &ChainState,
        event: &ExecuteTransform,
        transform: &Transform,
        parts: &[Part],
        system_time: Timestamp,
        place: Place,
        tell: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<u64, ReplayError> {
        let run = Run::new(self.name.clone(), transform, parts, state, system_time)?;
        let scratch = self.dataset.data_dir();
        let watch = Watch::new(tell, run.bytes());
        let mut hasher = LogicalHasher::new(run.schema()).map_err(|error| TransformError::Slice(error.into()))?;
        let mut rows = run.rows(&scratch, &watch)?;
        while let Some(batch) = rows.next_batch()? {
            hasher
                .update(&batch)
                .map_err(|error| TransformError::Slice(error.into()))?;
        }
        let count = rows.count();
        drop(rows);
        let recorded = event.new_data.as_ref();
        let is_same = match recorded {
            None => count == 0,
            Some(slice) => {
                let offsets = slice.offset_interval;
                let rows = (offsets.end - offsets.start).saturating_add(1);
                rows == count && offsets.start == state.next_offset() && slice.logical_hash == hasher.finish()
            }
        };
        if !is_same {
            let files = recorded.map(|slice| (self.dataset.slice_path(&slice.physical_hash), slice.clone()));
            let chain = Slices {
                name: self.name.clone(),
                schema: run.schema().clone(),
                files: files.into_iter().collect(),
            };
            let recorded = chain.rows();
            let found = rows::difference(
                run.schema(),
                &|| {
                    let mut rows = watch.over(chain.open());
                    Ok(Box::new(move || Ok(rows.next_batch()?)))
                },
                &|| {
                    let mut rows = run.rows(&scratch, &watch)?;
                    Ok(Box::new(move || rows.next_batch()))
                },
                (recorded, count),
            )?;
            return Err(differs(place, Difference::Rows(found)));
        }
        let before = state.watermark;
        let computed = before.max(watermark(parts));
        let said = || parts.iter().filter(|part| part.said.is_some());
        let among_news = before.max(lowest(said().map(|part| part.watermark)));
        let earliest = before.max(lowest(said().map(|part| part.said)));
        if ![computed, among_news, earliest].contains(&event.new_watermark) {
            let recorded = event.new_watermark;
            return Err(differs(place, Difference::Watermark { recorded, computed }));
        }
        Ok(count)
    }
}
