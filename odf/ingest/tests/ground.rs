//! What stands between the pipeline and datasets on disk, as a program has it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use odf_dataset::{Dataset, DatasetError, NewDataset, StoredBlock};
use odf_ingest::source::{OnProgress, Source};
use odf_ingest::taken::MARKS_FILE;
use odf_ingest::{ColumnNote, Ground, History, IngestError, NoHistory, Options, Polled, Prepared, PushOptions, Slices};
use odf_metadata::chain::ChainState;
use odf_metadata::{DataSlice, DatasetKind, Multihash, Timestamp};
use odf_query::sql::DataFusion;

pub(crate) enum Target<'a> {
    Existing(&'a mut Dataset),
    New { staged: NewDataset },
}

/// How an ingest ended.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "one at a time")]
pub(crate) enum Outcome {
    UpToDate,
    Updated(Update),
}

#[derive(Debug)]
pub(crate) struct Update {
    pub(crate) old_head: Option<Multihash>,
    pub(crate) new_head: Multihash,
    pub(crate) blocks: Vec<StoredBlock>,
    pub(crate) slice: Option<DataSlice>,
    pub(crate) rows: u64,
    pub(crate) notes: Vec<ColumnNote>,
    pub(crate) created: Option<Dataset>,
}

struct Here<'a>(&'a Dataset);

impl History for Here<'_> {
    fn state(&self) -> Option<&ChainState> {
        Some(self.0.state())
    }

    fn slices(&self) -> Arc<dyn Slices> {
        let slices = self.0.slices().unwrap();
        let paths = slices.iter().map(|slice| self.0.slice_path(&slice.physical_hash));
        Arc::new(paths.collect::<Vec<PathBuf>>())
    }
}

fn prepare<T>(dataset: &Dataset, work: impl FnOnce(Ground<'_>) -> T) -> T {
    work(Ground {
        history: &Here(dataset),
        engine: &DataFusion,
        disk: dataset.disk(),
        dir: &dataset.data_dir(),
        marks: &dataset.dir().join(MARKS_FILE),
    })
}

fn commit(dataset: &mut Dataset, prepared: Option<Prepared>) -> Result<Outcome, IngestError> {
    let Some(prepared) = prepared else {
        return Ok(Outcome::UpToDate);
    };
    let old_head = *dataset.head();
    let boxed = |error: DatasetError| IngestError::History(error.into());
    let blocks = dataset
        .append_events(prepared.events, prepared.system_time, prepared.slice)
        .map_err(boxed)?;
    Ok(Outcome::Updated(Update {
        old_head: Some(old_head),
        new_head: *dataset.head(),
        blocks,
        slice: prepared.data,
        rows: prepared.rows,
        notes: prepared.notes,
        created: None,
    }))
}

pub(crate) fn ingest(
    target: Target<'_>,
    source: &Source,
    options: &Options,
    now: Timestamp,
    progress: &mut OnProgress<'_>,
) -> Result<Outcome, IngestError> {
    match target {
        Target::Existing(dataset) => {
            let prepared = prepare(dataset, |ground| {
                odf_ingest::ingest(ground, source, options, now, progress)
            })?;
            commit(dataset, prepared.news())
        }
        Target::New { staged } => {
            let ground = Ground {
                history: &NoHistory,
                engine: &DataFusion,
                disk: &odf_disk::Disk::new(),
                dir: &staged.data_dir(),
                marks: &staged.dir().join(MARKS_FILE),
            };
            let Some(prepared) = odf_ingest::ingest(ground, source, options, now, progress)?.news() else {
                return Ok(Outcome::UpToDate);
            };
            let (dataset, blocks) = staged
                .install_events(DatasetKind::Root, prepared.events, prepared.system_time, prepared.slice)
                .map_err(|error| IngestError::History(error.into()))?;
            Ok(Outcome::Updated(Update {
                old_head: None,
                new_head: *dataset.head(),
                blocks,
                slice: prepared.data,
                rows: prepared.rows,
                notes: prepared.notes,
                created: Some(dataset),
            }))
        }
    }
}

pub(crate) fn push(
    dataset: &mut Dataset,
    name: &str,
    content: &Path,
    options: &PushOptions,
    now: Timestamp,
    progress: &mut OnProgress<'_>,
) -> Result<Outcome, IngestError> {
    let prepared = prepare(dataset, |ground| {
        odf_ingest::push(ground, name, content, options, now, progress)
    })?;
    commit(dataset, prepared.news())
}

pub(crate) fn polled(
    dataset: &mut Dataset,
    given: Polled<'_>,
    now: Timestamp,
    progress: &mut OnProgress<'_>,
) -> Result<Outcome, IngestError> {
    let prepared = prepare(dataset, |ground| odf_ingest::polled(ground, given, now, progress))?;
    commit(dataset, prepared)
}

pub(crate) fn set_watermark(
    dataset: &mut Dataset,
    watermark: Timestamp,
    now: Timestamp,
) -> Result<Outcome, IngestError> {
    let prepared = odf_ingest::set_watermark(dataset.state(), watermark, now)?;
    commit(dataset, prepared)
}
