//! Hard compaction: many small slices become few large ones, as if the rows had come in large batches from the start.
//!
//! Blocks that add data and follow each other are written again as one, as long as its slice stays under both limits. All
//! blocks behind the Seed are replaced by such of the time of the compaction; the Seed, and with it the identity of the
//! dataset, stays. Bytes are those of kamu: pages packed with zstd, text and bytes as views. Nothing that validation or ingest ask of
//! a chain changes: schema, sources, offsets, watermark, checkpoint and source state are those of before.
//!
//! Rows stream from the old slices into the new one. The old slices stay for the roots published with them, until nothing
//! pinned needs them and garbage is collected. Whoever followed the dataset has a diverged history from now on.

use std::fs;
use std::mem;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde_json::Value;

use crate::dataset::{Dataset, DatasetError};
use crate::rewrite::Datasets;
use crate::rewrite::RewriteError;
use odf_disk::{Access, Disk, PENDING_PREFIX};
use odf_metadata::chain::{ChainError, ChainState};
use odf_metadata::codec::{DecodeError, EncodedBlock};
use odf_metadata::{
    AddData, DataSlice, DatasetId, DatasetKind, ExtraAttributes, MetadataBlock, MetadataEvent, Multihash,
    OffsetInterval, Timestamp,
};
use odf_tables::slice::{Codec, Ordered, SliceError, SliceFile, SliceOptions, SliceReader, SliceWriter, conform};

/// How many bytes the slices that become one have together, at most, when nobody says otherwise.
pub const DEFAULT_MAX_SLICE_BYTES: u64 = 300_000_000;
/// How many rows a slice made of several has, at most, when nobody says otherwise.
pub const DEFAULT_MAX_SLICE_RECORDS: u64 = 10_000;

/// The first block that is written again: that behind the Seed.
const FIRST: u64 = 1;

/// Attribute of AddData that counts objects which its rows link to, and their bytes.
const LINKED_OBJECTS: &str = "opendatafabric.org/linkedObjects";
/// The figures in it, which add up.
const LINKED_SUMS: [&str; 2] = ["numObjectsNaive", "sizeNaive"];

/// How to compact.
#[derive(Clone, Debug)]
pub struct Options {
    /// Slices become one only up to so many bytes together. A larger one stays as it is.
    pub max_slice_bytes: u64,
    /// Slices become one only up to so many rows together. A longer one stays as it is.
    pub max_slice_records: u64,
    /// Drop all data and keep what was declared.
    pub keep_metadata_only: bool,
    /// How slices are written.
    pub slice: SliceOptions,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_slice_bytes: DEFAULT_MAX_SLICE_BYTES,
            max_slice_records: DEFAULT_MAX_SLICE_RECORDS,
            keep_metadata_only: false,
            slice: SliceOptions::default(),
        }
    }
}

/// Why a dataset was not compacted. It is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompactError {
    /// The rows of a derivative dataset are what its transform made of its inputs, block by block.
    #[error("{0} is a derivative dataset; its data can only be dropped and computed again")]
    Derivative(DatasetId),
    /// The system time is before that of the head.
    #[error("the time {now} is before that of the head, {head}")]
    TimeBeforeHead {
        /// The time given.
        now: Timestamp,
        /// System time of the head.
        head: Timestamp,
    },
    /// A slice does not have the rows that its block says.
    #[error("{} has {found} rows, its metadata block says {expected}", .path.display())]
    Rows {
        /// The slice.
        path: PathBuf,
        /// Rows found.
        found: u64,
        /// Rows by the offsets in the block.
        expected: u64,
    },
    /// The dataset could not be read.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// A slice could not be read or written.
    #[error(transparent)]
    Slice(#[from] SliceError),
    /// A new block would break a rule.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A new block could not be written.
    #[error("metadata block {sequence}: {source}")]
    Block {
        /// Its sequence number.
        sequence: u64,
        /// Why not.
        source: DecodeError,
    },
    /// The chain could not be replaced.
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
    /// The user asked to stop.
    #[error("stopped")]
    Stopped,
}

/// What a compaction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No two slices could become one.
    NothingToDo,
    /// The chain was replaced.
    Compacted(Compacted),
}

/// A dataset before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// The head before.
    pub old_head: Multihash,
    /// The head now.
    pub new_head: Multihash,
    /// Blocks before.
    pub old_blocks: u64,
    /// Blocks now.
    pub new_blocks: u64,
    /// Slices before.
    pub old_slices: u64,
    /// Slices now.
    pub new_slices: u64,
    /// How many blocks, from the Seed on, are those of before.
    pub common: u64,
}

/// Tells how many bytes of the slices that are read are done, and how many there are; answers whether to go on.
pub type OnProgress<'a> = dyn FnMut(u64, u64) -> ControlFlow<()> + 'a;

/// Compacts a dataset at the time `now`. When this returns the new chain survives power loss.
///
/// # Errors
/// See [`CompactError`].
pub fn compact(
    datasets: &Datasets,
    dataset: &mut Dataset,
    options: &Options,
    now: Timestamp,
    progress: &mut OnProgress<'_>,
) -> Result<Outcome, CompactError> {
    if dataset.kind() == DatasetKind::Derivative && !options.keep_metadata_only {
        return Err(CompactError::Derivative(dataset.id()));
    }
    let head = dataset.state().system_time;
    if now < head {
        return Err(CompactError::TimeBeforeHead { now, head });
    }
    let Some(plan) = Repacking::make(dataset, options)? else {
        return Ok(Outcome::NothingToDo);
    };
    // The collection of garbage must not take slices that no block names yet.
    let _hold = datasets.mirror().hold();
    let old = dataset.state().clone();
    let approval = dataset.approval().unwrap_or_default();
    let staging = Staging::make(datasets, &dataset.id())?;
    let blocks = plan.write(dataset, &staging, options, now, progress)?;
    staging.install(&dataset.data_dir())?;
    datasets.replace(dataset, FIRST, blocks)?;
    // The source is what it was, in a block of another name.
    dataset.carry_approval(approval)?;
    let new = dataset.state();
    Ok(Outcome::Compacted(Compacted {
        old_head: old.head,
        new_head: new.head,
        old_blocks: old.blocks(),
        new_blocks: new.blocks(),
        old_slices: old.totals.slices,
        new_slices: new.totals.slices,
        common: FIRST,
    }))
}

/// What the new chain has behind its Seed.
struct Repacking {
    /// What the chain amounts to before it.
    before: ChainState,
    steps: Vec<Step>,
    /// Bytes of all slices that become part of others.
    bytes: u64,
}

/// One block of the new chain.
#[allow(clippy::large_enum_variant, reason = "there are few, for a short time")]
enum Step {
    /// An event as it was.
    Same(MetadataEvent),
    /// Several AddData as one.
    Merged(Group),
}

/// AddData events that follow each other and become one.
struct Group {
    /// What the events amount to; its `new_data` is filled in when the slices are one.
    event: AddData,
    /// Those of its events, the newest first.
    slices: Vec<DataSlice>,
    /// How many events.
    events: u64,
}

impl Group {
    fn of(event: AddData) -> Self {
        let slices = event.new_data.iter().cloned().collect();
        Self {
            event,
            slices,
            events: 1,
        }
    }

    /// Takes in the event before if limits allow, else gives it back.
    fn take(&mut self, before: AddData, options: &Options) -> Option<AddData> {
        if let Some(slice) = before.new_data.as_ref().filter(|_| !self.slices.is_empty()) {
            let bytes = self
                .slices
                .iter()
                .fold(slice.size, |sum, slice| sum.saturating_add(slice.size));
            let records = self.slices.iter().fold(records(slice.offset_interval), |sum, slice| {
                sum.saturating_add(records(slice.offset_interval))
            });
            if bytes > options.max_slice_bytes || records > options.max_slice_records {
                return Some(before);
            }
        }
        self.slices.extend(before.new_data);
        // What holds after the last event holds after all of them, and what held before the first one before all of them.
        self.event.prev_checkpoint = before.prev_checkpoint;
        self.event.prev_offset = before.prev_offset;
        self.event.extra = add_up(before.extra, self.event.extra.take());
        self.events += 1;
        None
    }

    fn into_step(mut self) -> Step {
        self.slices.reverse();
        if self.events == 1 {
            Step::Same(MetadataEvent::AddData(self.event))
        } else {
            Step::Merged(self)
        }
    }
}

/// Puts together what may become one of events that follow each other, oldest first. Slices are filled up from the newest on,
/// as the reference implementation does: what is left over is at the beginning.
fn grouped(events: Vec<AddData>, options: &Options) -> Vec<Step> {
    let mut groups: Vec<Group> = Vec::new();
    for event in events.into_iter().rev() {
        let left = match groups.last_mut() {
            Some(group) => group.take(event, options),
            None => Some(event),
        };
        groups.extend(left.map(Group::of));
    }
    groups.into_iter().rev().map(Group::into_step).collect()
}

fn records(offsets: OffsetInterval) -> u64 {
    (offsets.end - offsets.start).saturating_add(1)
}

/// The attributes of two events that become one: the later one's, with sums of what adds up.
fn add_up(earlier: Option<ExtraAttributes>, later: Option<ExtraAttributes>) -> Option<ExtraAttributes> {
    let (Some(earlier), Some(later)) = (&earlier, &later) else {
        return later.or(earlier);
    };
    let mut sum = earlier.clone();
    sum.0.extend(later.0.clone());
    if let (Some(Value::Object(earlier)), Some(Value::Object(sums))) =
        (earlier.0.get(LINKED_OBJECTS), sum.0.get_mut(LINKED_OBJECTS))
    {
        for key in LINKED_SUMS {
            if let (Some(a), Some(b)) = (
                earlier.get(key).and_then(Value::as_u64),
                sums.get(key).and_then(Value::as_u64),
            ) {
                sums.insert(key.to_owned(), Value::from(a.saturating_add(b)));
            }
        }
    }
    Some(sum)
}

impl Repacking {
    /// Reads the chain; none if nothing would change.
    fn make(dataset: &Dataset, options: &Options) -> Result<Option<Self>, CompactError> {
        let mut steps: Vec<Step> = Vec::new();
        let mut run: Vec<AddData> = Vec::new();
        let mut drops = false;
        for stored in dataset.blocks_after(None)? {
            let MetadataBlock {
                sequence_number, event, ..
            } = stored?.block.into_block();
            if sequence_number < FIRST {
                continue;
            }
            match event {
                MetadataEvent::AddData(_) | MetadataEvent::ExecuteTransform(_) if options.keep_metadata_only => {
                    drops = true;
                }
                MetadataEvent::AddData(event) => run.push(event),
                event => {
                    steps.extend(grouped(mem::take(&mut run), options));
                    steps.push(Step::Same(event));
                }
            }
        }
        steps.extend(grouped(run, options));
        if !drops && !steps.iter().any(|step| matches!(step, Step::Merged(_))) {
            return Ok(None);
        }
        // All blocks but the Seed are of the time of the compaction, as the reference implementation has them.
        let Some(before) = dataset.state_before(FIRST)? else {
            return Ok(None);
        };
        let merged = steps.iter().filter_map(|step| match step {
            Step::Merged(group) if group.slices.len() > 1 => Some(&group.slices),
            _ => None,
        });
        let bytes = merged.flatten().map(|slice| slice.size).fold(0, u64::saturating_add);
        Ok(Some(Self { before, steps, bytes }))
    }

    /// Writes the new slices into `staging` and gives the new blocks.
    fn write(
        &self,
        dataset: &Dataset,
        staging: &Staging,
        options: &Options,
        now: Timestamp,
        progress: &mut OnProgress<'_>,
    ) -> Result<Vec<EncodedBlock>, CompactError> {
        let mut state = self.before.clone();
        let mut blocks = Vec::with_capacity(self.steps.len());
        let mut done = 0;
        let mut progress = |bytes: u64| {
            done += bytes;
            match progress(done, self.bytes) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => Err(CompactError::Stopped),
            }
        };
        progress(0)?;
        for step in &self.steps {
            let event = match step {
                Step::Same(event) => event.clone(),
                Step::Merged(group) => {
                    let new_data = match group.slices.as_slice() {
                        [] => None,
                        [only] => Some(only.clone()),
                        several => Some(merge(dataset, several, staging, options, &mut progress)?),
                    };
                    MetadataEvent::AddData(AddData {
                        new_data,
                        ..group.event.clone()
                    })
                }
            };
            let block = state.next_block(event, now);
            let sequence = block.sequence_number;
            let block = EncodedBlock::encode(block).map_err(|source| CompactError::Block { sequence, source })?;
            match state.apply(&block) {
                Ok(()) => blocks.push(block),
                // Events without data that took back what one of them had changed.
                Err(error) if error.is_no_op() && matches!(step, Step::Merged(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(blocks)
    }
}

/// Writes the rows of several slices, which follow each other, into one.
fn merge(
    dataset: &Dataset,
    slices: &[DataSlice],
    staging: &Staging,
    options: &Options,
    progress: &mut dyn FnMut(u64) -> Result<(), CompactError>,
) -> Result<DataSlice, CompactError> {
    let paths: Vec<PathBuf> = slices
        .iter()
        .map(|slice| dataset.slice_path(&slice.physical_hash))
        .collect();
    let schema = common_schema(&paths)?;
    let order = common_order(&paths)?;
    let packed = SliceOptions {
        codec: Codec::Zstd,
        ..options.slice.clone()
    };
    let mut writer = SliceWriter::create_ordered(&staging.disk, &staging.dir, schema.clone(), &packed, &order)?;
    for (slice, path) in slices.iter().zip(&paths) {
        let before = writer.rows();
        for batch in SliceReader::open(path)? {
            let batch = conform(&batch?, &schema).map_err(|source| SliceError::arrow(path, source))?;
            writer.write(batch)?;
        }
        let (found, expected) = (writer.rows() - before, records(slice.offset_interval));
        if found != expected {
            return Err(CompactError::Rows {
                path: path.clone(),
                found,
                expected,
            });
        }
        progress(slice.size)?;
    }
    let written = writer.finish()?;
    let start = slices.first().map_or(0, |slice| slice.offset_interval.start);
    let merged = DataSlice {
        logical_hash: *written.logical_hash(),
        physical_hash: *written.physical_hash(),
        offset_interval: OffsetInterval {
            start,
            end: start + (written.rows() - 1),
        },
        size: written.size(),
    };
    written.install(&staging.dir)?;
    Ok(merged)
}

/// The columns behind the offset by which the rows of each of these slices are in order. Those of all are then too: offsets
/// do not repeat. The reference implementation reads the files in the order of their names, and knows of no order where that
/// is another one than that of the offsets.
fn common_order(paths: &[PathBuf]) -> Result<Vec<Ordered>, SliceError> {
    if !paths.is_sorted_by_key(|path| path.file_name()) {
        return Ok(Vec::new());
    }
    let mut common: Option<Vec<Ordered>> = None;
    for path in paths {
        let order = SliceFile::open(path, false)?.order();
        common = Some(match common {
            None => order,
            Some(mut common) => {
                let same = common.iter().zip(&order).take_while(|(a, b)| a == b).count();
                common.truncate(same);
                common
            }
        });
    }
    Ok(common.unwrap_or_default())
}

/// A schema that the rows of all these slices fit: columns of the newest first, optional where one of them lacks the column or
/// has it optional.
fn common_schema(paths: &[PathBuf]) -> Result<SchemaRef, SliceError> {
    let mut fields: Vec<Field> = Vec::new();
    for (older, path) in paths.iter().rev().enumerate() {
        let reader = SliceReader::open(path)?;
        let schema = reader.schema();
        for field in &mut fields {
            let optional = schema.field_with_name(field.name()).map_or(true, Field::is_nullable);
            field.set_nullable(field.is_nullable() || optional);
        }
        for field in schema.fields() {
            if !fields.iter().any(|known| known.name() == field.name()) {
                let nullable = field.is_nullable() || older > 0;
                fields.push(field.as_ref().clone().with_nullable(nullable));
            }
        }
    }
    let as_view = |field: Field| match field.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 => field.with_data_type(DataType::Utf8View),
        DataType::Binary | DataType::LargeBinary => field.with_data_type(DataType::BinaryView),
        _ => field,
    };
    Ok(Arc::new(Schema::new(
        fields.into_iter().map(as_view).collect::<Vec<_>>(),
    )))
}

/// Where new slices wait for the chain that names them. Removed when dropped, or at the next start.
struct Staging {
    dir: PathBuf,
    disk: Disk,
}

impl Staging {
    fn make(datasets: &Datasets, id: &DatasetId) -> Result<Self, SliceError> {
        let name = format!("{PENDING_PREFIX}compact-{}", id.to_multibase());
        let dir = datasets.catalog().dir().join(name);
        let disk = datasets.catalog().medium().disk.clone();
        disk.remove_tree(&dir)?;
        disk.create_dir(&dir, Access::Readable)?;
        Ok(Self { dir, disk })
    }

    /// Moves the slices into the dataset. They are durable there when this returns.
    fn install(&self, data: &Path) -> Result<(), SliceError> {
        for entry in fs::read_dir(&self.dir).map_err(|error| SliceError::io("read", &self.dir, error))? {
            let entry = entry.map_err(|error| SliceError::io("read", &self.dir, error))?;
            self.disk.rename(&entry.path(), &data.join(entry.file_name()))?;
        }
        Ok(self.disk.sync_dir(data)?)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = self.disk.remove_tree(&self.dir) {
            tracing::debug!(path = %self.dir.display(), %error, "slices of a compaction stay until the next start");
        }
    }
}
