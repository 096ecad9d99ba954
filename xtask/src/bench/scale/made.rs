//! Long chains and many datasets, made by the library: the files that as many commands would have left, in a small part of
//! their time. Nothing of it is in the block store; the next command that publishes the dataset lays out what is new.

use crate::Failure;
use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use interop_tests::Workspace;
use odf_dataset::catalog::Catalog;
use odf_dataset::{Dataset, Medium, NewDataset};
use odf_disk::Disk;
use odf_metadata::codec::EncodedBlock;
use odf_metadata::{AddData, DataSlice, DatasetId, DatasetKind, MetadataBlock, MetadataEvent, OffsetInterval};
use odf_tables::slice::{SliceOptions, SliceReader, SliceWriter, WrittenSlice};
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

/// The column that is the primary key.
pub(super) const KEY: &str = "id";
/// How many blocks are appended at once.
const STEP: u64 = 1024;

/// Appends copies of the newest block of a dataset, each with a slice of its own, until the chain has `blocks` of them.
/// Offsets go on, and so do keys where the newest slice has one row, which is then a new one: its key is its offset. No
/// odfs may run on the workspace.
pub(super) fn grow_to(workspace: &Workspace, name: &str, blocks: u64) -> Result<(), Failure> {
    let mut dataset = catalog(workspace)?.find(name).map_err(told)?;
    let template = Template::of(&dataset)?;
    loop {
        let missing = blocks.saturating_sub(dataset.state().blocks()).min(STEP);
        if missing == 0 {
            return Ok(());
        }
        let (mut previous, mut offset) = (*dataset.head(), dataset.state().next_offset());
        let mut new = Vec::new();
        for number in 1..=missing {
            let data = template.write(&dataset, offset)?;
            let event = AddData {
                prev_offset: offset.checked_sub(1),
                new_data: Some(data.clone()),
                ..template.event.clone()
            };
            let block = EncodedBlock::encode(MetadataBlock {
                system_time: dataset.state().system_time,
                prev_block_hash: Some(previous),
                sequence_number: dataset.state().sequence_number + number,
                event: MetadataEvent::AddData(event),
            });
            let block = block.map_err(told)?;
            (previous, offset) = (*block.hash(), data.offset_interval.end + 1);
            new.push(block);
        }
        dataset.append(new, None).map_err(told)?;
    }
}

/// Makes `count` datasets beside another one, each of its events and of its newest rows. No odfs may run on the workspace.
pub(super) fn copies(workspace: &Workspace, name: &str, count: u32) -> Result<(), Failure> {
    let catalog = catalog(workspace)?;
    let dataset = catalog.find(name).map_err(told)?;
    let template = Template::of(&dataset)?;
    let blocks = dataset.blocks().map_err(told)?.collect::<Result<Vec<_>, _>>();
    let events = blocks
        .map_err(told)?
        .into_iter()
        .map(|stored| stored.block.into_block().event);
    // The others make no rows, so those of the copy begin at 0.
    let is_copied = |event: &MetadataEvent| !matches!(event, MetadataEvent::Seed(_) | MetadataEvent::AddData(_));
    let events: Vec<MetadataEvent> = events.filter(is_copied).collect();
    let medium = Medium::new(Disk::new());
    for number in 0..count {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&number.to_le_bytes());
        let name = format!("{name}-{number}").parse().map_err(told)?;
        let id = DatasetId::from_public_key(key);
        let new = NewDataset::stage(dataset.datasets_dir(), id, &name, &medium).map_err(told)?;
        let slice = template.slice(&medium.disk, &new.data_dir(), 0)?;
        let data = describe(&slice, 0);
        let event = AddData {
            prev_offset: None,
            new_data: Some(data),
            ..template.event.clone()
        };
        let events = events.iter().cloned().chain([MetadataEvent::AddData(event)]).collect();
        new.install_events(DatasetKind::Root, events, dataset.state().system_time, Some(slice))
            .map_err(told)?;
    }
    Ok(())
}

fn catalog(workspace: &Workspace) -> Result<Catalog, Failure> {
    let datasets = workspace.store().join("datasets");
    Catalog::open(&datasets, Medium::new(Disk::new())).map_err(told)
}

fn told(error: impl Display) -> Failure {
    error.to_string().into()
}

/// The newest event of a dataset that added rows, and the rows.
struct Template {
    event: AddData,
    rows: RecordBatch,
}

impl Template {
    fn of(dataset: &Dataset) -> Result<Self, Failure> {
        for stored in dataset.blocks().map_err(told)?.rev() {
            let MetadataEvent::AddData(event) = stored.map_err(told)?.block.into_block().event else {
                continue;
            };
            let Some(data) = &event.new_data else { continue };
            let path = dataset.slice_path(&data.physical_hash);
            let rows = SliceReader::open(&path).map_err(told)?.next();
            let rows = rows.ok_or("a slice without rows")?.map_err(told)?;
            return Ok(Self { event, rows });
        }
        Err("a dataset without rows".into())
    }

    /// The rows from this offset on, in a file in `dir`.
    fn slice(&self, disk: &Disk, dir: &Path, offset: u64) -> Result<WrittenSlice, Failure> {
        let schema = self.rows.schema();
        let first = i64::try_from(offset).map_err(told)?;
        let count = self.rows.num_rows();
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values((first..).take(count)));
        let mut columns = self.rows.columns().to_vec();
        // The offset is the first column of every slice.
        columns[0] = Arc::clone(&numbers);
        if count == 1
            && let Ok(at) = schema.index_of(KEY)
            && columns[at].as_primitive_opt::<Int64Type>().is_some()
        {
            columns[at] = numbers;
        }
        let rows = RecordBatch::try_new(schema.clone(), columns).map_err(told)?;
        let mut writer = SliceWriter::create(disk, dir, schema, &SliceOptions::default()).map_err(told)?;
        writer.write(rows).map_err(told)?;
        writer.finish().map_err(told)
    }

    /// Puts the rows from this offset on in place.
    fn write(&self, dataset: &Dataset, offset: u64) -> Result<DataSlice, Failure> {
        let dir = dataset.data_dir();
        let slice = self.slice(dataset.disk(), &dir, offset)?;
        let data = describe(&slice, offset);
        slice.install(&dir).map_err(told)?;
        Ok(data)
    }
}

fn describe(slice: &WrittenSlice, offset: u64) -> DataSlice {
    DataSlice {
        logical_hash: *slice.logical_hash(),
        physical_hash: *slice.physical_hash(),
        offset_interval: OffsetInterval {
            start: offset,
            end: offset + slice.rows() - 1,
        },
        size: slice.size(),
    }
}
