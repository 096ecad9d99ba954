//! Rows for a dataset that says itself, in its chain, how they are read: pushed by hand, or fetched by polling.
//!
//! The three ways in share one pipeline (odf-facts §8): read, preprocess, check, merge, write, commit. [`push()`] and
//! [`polled()`] follow the source in the chain to the letter; [`super::ingest`] (publish) makes such a source on its way.

use std::path::Path;

use super::IngestError;
use super::before::Before;
use super::commit::{Additions, Reached};
use super::fit::Fit;
use super::frame::Frame;
use super::ground::{Ground, Prepared};
use super::source::{Format, OnProgress, step_for_format};
use super::stage::{Staging, Unstaged};
use odf_metadata::chain::ChainState;
use odf_metadata::{
    AddData, AddPushSource, DatasetKind, MergeStrategy, MetadataEvent, ReadStep, SourceState, Timestamp, Transform,
};
use odf_tables::slice::SliceOptions;

/// How pushed rows are taken.
#[derive(Clone, Debug, Default)]
pub struct PushOptions {
    /// Which push source; needed if the dataset has several.
    pub source_name: Option<String>,
    /// What the content is, if not what the source says: it is read with the best fitting options of that format and
    /// with the columns that the source declares.
    pub input_format: Option<Format>,
    /// Event time of rows that have none; absent: the system time.
    pub event_time: Option<Timestamp>,
    /// How slices are written.
    pub slice: SliceOptions,
}

/// What polling has fetched and prepared.
#[derive(Clone, Copy, Debug)]
pub struct Polled<'a> {
    /// Name of the content in messages, such as its URL.
    pub name: &'a str,
    /// The file that holds it. No file, or an empty one, means no rows.
    pub content: &'a Path,
    /// Event time of rows that have none; absent: the system time.
    pub event_time: Option<Timestamp>,
    /// How far the source was read with this content.
    pub state: Option<&'a SourceState>,
    /// How slices are written.
    pub slice: &'a SliceOptions,
}

/// Takes a file by a push source of the dataset. `name` is what messages call it. `now` becomes the system time, unless
/// the head is later. Nothing if the dataset is up to date.
///
/// # Errors
/// See [`IngestError`].
pub fn push(
    ground: Ground<'_>,
    name: &str,
    content: &Path,
    options: &PushOptions,
    now: Timestamp,
    progress: &mut OnProgress<'_>,
) -> Result<Option<Prepared>, IngestError> {
    let state = ground.history.state().ok_or(IngestError::NoPushSource)?;
    let source = push_source(state, options.source_name.as_deref())?.clone();
    let read = match options.input_format {
        Some(format) => step_for_format(&source.read, format),
        None => source.read,
    };
    let given = Given {
        name,
        content,
        read: &read,
        preprocess: source.preprocess.as_ref(),
        merge: source.merge,
        event_time: options.event_time,
        reached: Reached::WithRows(None),
        slice: &options.slice,
    };
    take(ground, state, given, now, progress)
}

/// The push source of this name, or the only one.
fn push_source<'d>(state: &'d ChainState, wanted: Option<&str>) -> Result<&'d AddPushSource, IngestError> {
    if state.kind == DatasetKind::Derivative {
        return Err(IngestError::Derivative);
    }
    let sources = &state.push_sources;
    let names = || sources.keys().cloned().collect();
    match (wanted, sources.len()) {
        (_, 0) if state.polling_source.is_some() => Err(IngestError::NotPushed),
        (_, 0) => Err(IngestError::NoPushSource),
        (Some(wanted), _) => sources.get(wanted).ok_or_else(|| IngestError::OtherPushSource {
            wanted: wanted.to_owned(),
            names: names(),
        }),
        (None, 1) => sources.values().next().ok_or(IngestError::NoPushSource),
        (None, _) => Err(IngestError::WhichPushSource { names: names() }),
    }
}

/// Takes what the polling source of the dataset has fetched.
///
/// With nothing new in it a block is still written if the source state moved on, so that the next poll goes on from
/// there.
///
/// # Errors
/// See [`IngestError`].
pub fn polled(
    ground: Ground<'_>,
    polled: Polled<'_>,
    now: Timestamp,
    progress: &mut OnProgress<'_>,
) -> Result<Option<Prepared>, IngestError> {
    let state = ground.history.state().ok_or(IngestError::NoPollingSource)?;
    let source = state.polling_source.clone().ok_or(IngestError::NoPollingSource)?;
    let given = Given {
        name: polled.name,
        content: polled.content,
        read: &source.read,
        preprocess: source.preprocess.as_ref(),
        merge: source.merge,
        event_time: polled.event_time,
        reached: Reached::Always(polled.state.cloned()),
        slice: polled.slice,
    };
    take(ground, state, given, now, progress)
}

/// Content, and what a source in the chain says about it.
struct Given<'a> {
    name: &'a str,
    content: &'a Path,
    read: &'a ReadStep,
    preprocess: Option<&'a Transform>,
    merge: MergeStrategy,
    event_time: Option<Timestamp>,
    reached: Reached,
    slice: &'a SliceOptions,
}

fn take(
    ground: Ground<'_>,
    state: &ChainState,
    given: Given<'_>,
    now: Timestamp,
    progress: &mut OnProgress<'_>,
) -> Result<Option<Prepared>, IngestError> {
    let before = Before::of(ground.history, state, given.merge)?;
    let system_time = ground.system_time(now);
    let frame = Frame::of_step(
        given.name,
        given.content,
        given.read,
        given.preprocess,
        ground,
        system_time,
        progress,
    )?;
    let additions = match &frame {
        None => Additions::new(&before, None, None, given.reached)?,
        Some(frame) => {
            let declared = given.read.schemas().1.is_some();
            let fit = Fit::new(frame.schema(), &before, declared, given.preprocess.is_some())?;
            let open = || Ok(fit.rows(given.name, frame.open()?));
            let rows = Unstaged {
                source: frame.source(),
                open: &open,
                end: frame.len(),
                may_be_empty: true,
            };
            let staging = Staging {
                before: &before,
                plan: fit.plan(),
                disk: ground.disk,
                data_dir: ground.dir,
                slice: given.slice,
                system_time,
                event_time: given.event_time.unwrap_or(system_time),
            };
            let staged = staging.run(&rows, progress)?;
            Additions::new(&before, Some(fit.plan().schema()), staged, given.reached)?
        }
    };
    Ok(additions.at(system_time))
}

/// Says that all rows up to `watermark` are there. Up to date if that was said already.
///
/// The block carries no source state: as in kamu, the next poll does not know how far the last one came.
///
/// # Errors
/// The dataset is derivative, or cannot be written.
pub fn set_watermark(
    state: &ChainState,
    watermark: Timestamp,
    now: Timestamp,
) -> Result<Option<Prepared>, IngestError> {
    if state.kind == DatasetKind::Derivative {
        return Err(IngestError::Derivative);
    }
    if state.watermark.is_some_and(|said| said >= watermark) {
        return Ok(None);
    }
    let event = MetadataEvent::AddData(AddData {
        prev_checkpoint: state.last_added.and_then(|last| last.checkpoint),
        prev_offset: state.last_offset,
        new_data: None,
        new_checkpoint: None,
        new_watermark: Some(watermark),
        new_source_state: None,
        extra: None,
    });
    Ok(Some(Prepared {
        events: vec![event],
        system_time: now.max(state.system_time),
        slice: None,
        data: None,
        rows: 0,
        notes: Vec::new(),
    }))
}
