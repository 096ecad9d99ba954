//! Derivative datasets: their rows are computed from what is new in other datasets.
//!
//! [`plan`] finds out which blocks of each input were not read yet; [`run`] gives their rows to the queries of the
//! dataset's SetTransform and prepares what is to be committed. Queries of the engine `datafusion` run in this process, over
//! the new rows only, as kamu's engine of that name runs them: each run maps new rows to new rows and keeps no state between
//! runs. A query that needs all rows of its inputs (joins, groups, and the like) would give wrong rows that way and is refused.
//! Operations and event times are what the queries make them; rows are appended where no query says otherwise.
//!
//! The chain says of every run which part of each input it read (odf-facts §10), so anyone can run it again.

mod compute;
mod error;
mod inputs;
mod output;
pub mod replay;
#[cfg(test)]
mod tests;

use crate::sql::ENGINE;
use odf_dataset::Dataset;
use odf_dataset::catalog::Catalog;
use odf_ingest::source::OnProgress;
use odf_ingest::{Effect, Prepared};
use odf_metadata::chain::ChainState;
use odf_metadata::{
    DataSlice, DatasetKind, ExecuteTransform, MetadataEvent, Multihash, OffsetInterval, SetDataSchema, SetTransform,
    Timestamp, Transform,
};
use odf_tables::slice::{SliceOptions, SliceWriter, WrittenSlice};
use odf_tables::types::from_arrow;

pub use error::TransformError;

use compute::{Run, Watch};
use inputs::Part;
#[cfg(test)]
use output::Output;

/// What there is to compute.
#[derive(Debug)]
pub enum Planned {
    /// Nothing: no input has new rows or a new watermark.
    UpToDate,
    /// Nothing yet: this input has never had a row, so not even its columns are known.
    NoSchema {
        /// Name of the input.
        input: String,
    },
    /// This.
    Ready(Plan),
}

/// One run that is to be done.
#[derive(Debug)]
pub struct Plan {
    /// The head of the dataset when this was planned.
    head: Multihash,
    transform: Transform,
    parts: Vec<Part>,
}

/// Finds out what of the inputs of a derivative dataset was not read yet.
///
/// # Errors
/// [`TransformError::Diverged`] if the history that was read is not part of an input any more; others if an input is not
/// here or cannot be read.
pub fn plan(dataset: &Dataset, catalog: &Catalog) -> Result<Planned, TransformError> {
    let state = dataset.state();
    let SetTransform { inputs, transform } = match &state.transform {
        Some(transform) if state.kind == DatasetKind::Derivative => transform,
        _ => return Err(TransformError::NoTransform),
    };
    let Transform::Sql(sql) = transform;
    if !sql.engine.eq_ignore_ascii_case(ENGINE) {
        return Err(TransformError::Engine(sql.engine.clone()));
    }
    let mut parts = Vec::with_capacity(inputs.len());
    for (at, input) in inputs.iter().enumerate() {
        match Part::find(input, state.query_inputs.get(at), catalog)? {
            Ok(part) => parts.push(part),
            Err(input) => return Ok(Planned::NoSchema { input }),
        }
    }
    // The first run is done in any case: it settles the columns.
    if state.schema.is_some() && parts.iter().all(Part::is_empty) {
        return Ok(Planned::UpToDate);
    }
    Ok(Planned::Ready(Plan {
        head: state.head,
        transform: transform.clone(),
        parts,
    }))
}

/// Runs the queries over what was planned. Gives what to commit, at the time `now` unless the head is later; nothing if the
/// dataset is up to date.
///
/// # Errors
/// See [`TransformError`].
pub fn run(
    dataset: &Dataset,
    plan: &Plan,
    slice: &SliceOptions,
    now: Timestamp,
    progress: &mut OnProgress<'_>,
) -> Result<Option<Prepared>, TransformError> {
    let state = dataset.state();
    if state.head != plan.head {
        return Err(TransformError::Moved);
    }
    let system_time = now.max(state.system_time);
    let name = dataset.name()?.to_string();
    let run = Run::new(name, &plan.transform, &plan.parts, state, system_time)?;
    let written = write(&run, dataset, slice, progress)?;

    let mut events = Vec::new();
    if state.schema.is_none() {
        events.push(MetadataEvent::SetDataSchema(SetDataSchema {
            raw_arrow_schema: None,
            schema: Some(from_arrow(run.schema())?),
        }));
    }
    let data = written.as_ref().map(|slice| describe(state, slice));
    // Runs of earlier versions may have come further than an input that had no news then.
    let watermark = state.watermark.max(watermark(&plan.parts));
    if data.is_some() || watermark.is_some() {
        events.push(MetadataEvent::ExecuteTransform(ExecuteTransform {
            query_inputs: plan.parts.iter().map(|part| part.record.clone()).collect(),
            prev_checkpoint: state.last_computed.and_then(|last| last.checkpoint),
            prev_offset: state.last_offset,
            new_data: data.clone(),
            new_checkpoint: None,
            new_watermark: watermark,
        }));
    }
    if events.is_empty() {
        return Ok(None);
    }
    Ok(Some(Prepared {
        events,
        system_time,
        rows: written.as_ref().map_or(0, WrittenSlice::rows),
        without_event_time: 0,
        effect: Effect::all_new(written.as_ref().map_or(0, WrittenSlice::rows)),
        slice: written,
        data,
        notes: Vec::new(),
    }))
}

impl Plan {
    /// Rows that the run will read.
    pub fn rows(&self) -> u64 {
        self.parts.iter().map(|part| part.slices.rows()).sum()
    }
}

/// How far the result is complete: as far as the input that is behind, whether it has news or not. Nothing can be said
/// while one of them says nothing.
fn watermark(parts: &[Part]) -> Option<Timestamp> {
    lowest(parts.iter().map(|part| part.watermark))
}

/// The lowest of watermarks; none if there is an input without one.
fn lowest(watermarks: impl Iterator<Item = Option<Timestamp>>) -> Option<Timestamp> {
    // `None` is less than any watermark.
    watermarks.min().flatten()
}

/// Computes, completes and writes the rows; none if there is none.
fn write(
    run: &Run<'_>,
    dataset: &Dataset,
    slice: &SliceOptions,
    progress: &mut OnProgress<'_>,
) -> Result<Option<WrittenSlice>, TransformError> {
    let data_dir = dataset.data_dir();
    let mut writer = SliceWriter::create(dataset.disk(), &data_dir, run.schema().clone(), slice)?;
    let watch = Watch::new(progress, run.bytes());
    let mut rows = run.rows(&data_dir, &watch)?;
    while let Some(batch) = rows.next_batch()? {
        writer.write(batch)?;
    }
    Ok(match rows.count() {
        0 => None,
        _ => Some(writer.finish()?),
    })
}

fn describe(state: &ChainState, slice: &WrittenSlice) -> DataSlice {
    let start = state.next_offset();
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
