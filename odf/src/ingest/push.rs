//! Rows for a dataset that says itself, in its chain, how they are read: pushed by hand, or fetched by polling.
//!
//! The three ways in share one pipeline (odf-facts §8): read, preprocess, check, merge, write, commit. [`push`] and
//! [`polled`] follow the source in the chain to the letter; [`super::ingest`] (publish) makes such a source on its way.

use std::path::Path;

use super::source::{Format, OnProgress, ReadOptions, Source};
use super::{Changed, IngestError, Options, Outcome, Remember, Target, ingest};
use crate::dataset::Dataset;
use crate::metadata::{AddData, DatasetKind, MetadataEvent, SourceState, Timestamp};
use crate::slice::SliceOptions;

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
/// the head is later.
///
/// # Errors
/// See [`IngestError`]: whatever it is, nothing has changed.
pub fn push(
    dataset: &mut Dataset,
    name: &str,
    content: &Path,
    options: &PushOptions,
    now: Timestamp,
    progress: &mut OnProgress<'_>,
) -> Result<Outcome, IngestError> {
    let _ = name;
    let source = Source::file(content, options.input_format, ReadOptions::default())?;
    let options = Options {
        default_event_time: options.event_time,
        changed: Changed::TakeAll,
        remember: Remember::Nothing,
        slice: options.slice.clone(),
        ..Options::default()
    };
    ingest(Target::Existing(dataset), &source, &options, now, progress)
}

/// Takes what the polling source of the dataset has fetched.
///
/// With nothing new in it a block is still written if the source state moved on, so that the next poll goes on from
/// there.
///
/// # Errors
/// See [`IngestError`]: whatever it is, nothing has changed.
pub fn polled(
    dataset: &mut Dataset,
    polled: Polled<'_>,
    now: Timestamp,
    progress: &mut OnProgress<'_>,
) -> Result<Outcome, IngestError> {
    let source = Source::file(polled.content, None, ReadOptions::default())?;
    let options = Options {
        default_event_time: polled.event_time,
        changed: Changed::TakeAll,
        remember: polled
            .state
            .map_or(Remember::Nothing, |state| Remember::State(state.clone())),
        slice: polled.slice.clone(),
        ..Options::default()
    };
    ingest(Target::Existing(dataset), &source, &options, now, progress)
}

/// Says that all rows up to `watermark` are there. Up to date if that was said already.
///
/// The block carries no source state: as in kamu, the next poll does not know how far the last one came.
///
/// # Errors
/// The dataset is derivative, or cannot be written.
pub fn set_watermark(dataset: &mut Dataset, watermark: Timestamp, now: Timestamp) -> Result<Outcome, IngestError> {
    if dataset.kind() == DatasetKind::Derivative {
        return Err(IngestError::Derivative);
    }
    let state = dataset.state();
    if state.watermark.is_some_and(|said| said >= watermark) {
        return Ok(Outcome::UpToDate);
    }
    let event = MetadataEvent::AddData(AddData {
        prev_checkpoint: state.checkpoint.as_ref().map(|checkpoint| checkpoint.physical_hash),
        prev_offset: state.last_offset,
        new_data: None,
        new_checkpoint: None,
        new_watermark: Some(watermark),
        new_source_state: None,
        extra: None,
    });
    let system_time = now.max(state.system_time);
    let old_head = *dataset.head();
    let blocks = dataset.append_events(vec![event], system_time, None)?;
    Ok(Outcome::updated(Some(old_head), blocks, None, 0, None))
}
