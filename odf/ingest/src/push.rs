//! Rows for a dataset that says itself, in its chain, how they are read: pushed by hand, or fetched by polling.
//!
//! The three ways in share one pipeline (odf-facts §8): read, preprocess, check, merge, write, commit. [`push()`] and
//! [`polled()`] follow the source in the chain to the letter; [`super::ingest`] (publish) makes such a source on its way.

use std::path::Path;
use std::sync::Arc;

use super::IngestError;
use super::before::Before;
use super::commit::{Additions, Reached};
use super::declare;
use super::effect::{Effect, Retracting};
use super::frame::Frame;
use super::ground::{Ground, Ingested, Prepared};
use super::source::{
    Content, Fingerprint, Format, MAX_READINGS, OnProgress, Rows, Source, step_for_format, step_for_sheet,
};
use super::stage::{Empty, Staging, Unstaged};
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
    /// The content is the text of a sheet, and which rows of it its lines are: then it is read as that, with the columns that
    /// the source declares.
    pub sheet: Option<Arc<Rows>>,
    /// Event time of rows that have none; absent: the system time.
    pub event_time: Option<Timestamp>,
    /// That a snapshot without a row retracts all that are there is meant: an empty file is not refused, and of one without
    /// rows is not told.
    pub allow_empty: bool,
    /// Columns that the source does not declare become optional columns of source and dataset.
    pub add_columns: bool,
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
    /// The content as the state is of it; absent: a copy that nobody changes.
    pub seen: Option<Fingerprint>,
    /// A snapshot without a row retracts all that are there.
    pub allow_empty: bool,
    /// How slices are written.
    pub slice: &'a SliceOptions,
}

/// Takes a file by a push source of the dataset. `name` is what messages call it. `now` becomes the system time, unless
/// the head is later. Nothing is to be committed if the dataset is up to date.
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
) -> Result<Ingested, IngestError> {
    let state = ground.history.state().ok_or(IngestError::NoPushSource)?;
    let source = push_source(state, options.source_name.as_deref())?.clone();
    let read = match options.input_format {
        _ if options.sheet.is_some() => step_for_sheet(&source.read),
        Some(format) => step_for_format(&source.read, format),
        None => source.read.clone(),
    };
    let given = Given {
        name,
        content,
        rows: options.sheet.as_ref(),
        read: &read,
        source: Some(&source).filter(|_| options.add_columns),
        preprocess: source.preprocess.as_ref(),
        merge: &source.merge,
        event_time: options.event_time,
        reached: &|| Reached::WithRows(None),
        empty: Empty::told_unless(options.allow_empty),
        compared: u64::MAX,
        slice: &options.slice,
    };
    steadily(name, content, None, || take(ground, state, &given, now, progress))
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
        rows: None,
        read: &source.read,
        source: None,
        preprocess: source.preprocess.as_ref(),
        merge: &source.merge,
        event_time: polled.event_time,
        reached: &|| Reached::Always(polled.state.cloned()),
        empty: Empty::unless(polled.allow_empty),
        // The same rows come with each poll, and to compare them each time would cost as much as reading them.
        compared: 0,
        slice: polled.slice,
    };
    let ingested = steadily(polled.name, polled.content, polled.seen, || {
        take(ground, state, &given, now, progress)
    });
    Ok(ingested?.news())
}

/// What came of taking a file that is one and the same from before to after: else it is taken again, a few times at most.
/// `seen` is how it was when its state was asked for; when that is not how it is now, taking it again helps nothing.
fn steadily<T>(
    name: &str,
    content: &Path,
    seen: Option<Fingerprint>,
    mut take: impl FnMut() -> Result<T, IngestError>,
) -> Result<T, IngestError> {
    // No file means no rows.
    let look = || Fingerprint::of(content).ok();
    for _ in 0..MAX_READINGS {
        let before = look();
        if seen.is_some() && seen != before {
            break;
        }
        let taken = take();
        if before == look() {
            return taken;
        }
    }
    Err(IngestError::Unsteady(name.to_owned()))
}

/// Content, and what a source in the chain says about it.
struct Given<'a> {
    name: &'a str,
    content: &'a Path,
    /// Which rows of a sheet its lines are, if it was made of one.
    rows: Option<&'a Arc<Rows>>,
    read: &'a ReadStep,
    /// The source that is to get the columns that it does not declare.
    source: Option<&'a AddPushSource>,
    preprocess: Option<&'a Transform>,
    merge: &'a MergeStrategy,
    event_time: Option<Timestamp>,
    reached: &'a dyn Fn() -> Reached,
    empty: Empty,
    /// How many rows, the last ones, are compared with what a ledger has of their keys.
    compared: u64,
    slice: &'a SliceOptions,
}

fn take(
    ground: Ground<'_>,
    state: &ChainState,
    given: &Given<'_>,
    now: Timestamp,
    progress: &mut OnProgress<'_>,
) -> Result<Ingested, IngestError> {
    let mut before = Before::of(ground.history, state, given.merge.clone())?;
    let system_time = ground.system_time(now);
    let added = match given.source {
        Some(source) => declare::added_columns(given.name, given.content, source, given.read, &before, progress)?,
        None => None,
    };
    if let Some(schema) = added.as_ref().and_then(|added| added.schema.clone()) {
        before.schema = Some(schema);
    }
    let read = added.as_ref().map_or(given.read, |added| &added.read);
    let source = Source::for_step(given.name, Content::File(given.content.to_owned()), read)?;
    let source = match given.rows {
        Some(rows) => source.with_rows(rows.clone()),
        None => source,
    };
    let frame = Frame::of_step(source, read, given.preprocess, &before, ground, system_time, progress)?;
    let reached = (given.reached)();
    let (mut effect, mut notes) = (Effect::default(), Vec::new());
    let mut additions = match &frame {
        None => Additions::new(&before, None, None, reached)?,
        Some(frame) => {
            let declared = read.schemas().1.is_some();
            let fit = frame.fit(&before, declared)?;
            let open = || Ok(fit.rows(frame.source(), frame.open()?));
            let rows = Unstaged {
                source: frame.source(),
                open: &open,
                end: frame.len(),
                empty: given.empty,
            };
            let staging = Staging {
                before: &before,
                plan: fit.plan(),
                disk: ground.disk,
                data_dir: ground.dir,
                slice: given.slice,
                retracting: Retracting::Any,
                compared: given.compared,
                singles: false,
                system_time,
                event_time: given.event_time.unwrap_or(system_time),
            };
            let (staged, done, repeats) = staging.run(&rows, progress)?;
            (effect, notes) = (done, frame.notes());
            notes.extend(staging.told(repeats, &rows));
            // Types that were found out in no row at all would be those of the dataset for ever.
            let known = frame.is_settled() || staged.is_some();
            let schema = known.then(|| fit.plan().schema().as_ref());
            Additions::new(&before, schema, staged, reached)?
        }
    };
    if let Some(added) = added {
        additions.events.splice(0..0, added.events);
    }
    Ok(match additions.at(system_time) {
        Some(prepared) => Ingested::News(Prepared {
            notes,
            effect,
            ..prepared
        }),
        None => Ingested::Nothing(effect),
    })
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
        without_event_time: 0,
        effect: Effect::default(),
        notes: Vec::new(),
    }))
}
