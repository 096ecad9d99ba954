//! Chains for tests.

use odf_dataset::{Object, ObjectKind};
use odf_metadata::codec::EncodedBlock;
use odf_metadata::{
    AddData, Checkpoint, DataSchema, DataSlice, DatasetId, DatasetKind, MetadataBlock, MetadataEvent, Multihash,
    OffsetInterval, Seed, SetDataSchema, SetInfo, Timestamp,
};

/// Rows of each slice, as its metadata block says.
pub(crate) const ROWS: u64 = 10;

/// A chain without data: a Seed, then as many SetInfo as make `length` blocks. Chains of another `branch` are the same
/// up to `common` blocks.
pub(crate) fn chain(id: DatasetId, length: u64, common: u64, branch: &str) -> Vec<EncodedBlock> {
    let mut blocks: Vec<EncodedBlock> = Vec::new();
    for sequence_number in 0..length {
        let event = match sequence_number {
            0 => seed(id),
            _ => {
                let branch = if sequence_number < common { "" } else { branch };
                MetadataEvent::SetInfo(SetInfo {
                    description: Some(format!("{sequence_number} {branch}")),
                    keywords: None,
                })
            }
        };
        push(&mut blocks, event);
    }
    blocks
}

/// A file that a metadata block names, and its bytes.
pub(crate) type File = (Object, Vec<u8>);

/// A Seed, a schema, and so many AddData, each with a slice and a checkpoint. The files are no Parquet: nothing on the
/// way of a transfer looks into them.
pub(crate) fn with_files(id: DatasetId, count: u64) -> (Vec<EncodedBlock>, Vec<File>) {
    let (mut blocks, mut files): (Vec<EncodedBlock>, Vec<File>) = Default::default();
    push(&mut blocks, seed(id));
    let schema = DataSchema {
        fields: Vec::new(),
        extra: None,
    };
    push(
        &mut blocks,
        MetadataEvent::SetDataSchema(SetDataSchema {
            raw_arrow_schema: None,
            schema: Some(schema),
        }),
    );
    let mut prev_checkpoint = None;
    for number in 0..count {
        let slice = file(
            ObjectKind::Slice,
            format!("slice {number} of {id} ").repeat(1000).into_bytes(),
        );
        let checkpoint = file(
            ObjectKind::Checkpoint,
            format!("checkpoint {number} of {id}").into_bytes(),
        );
        let start = number * ROWS;
        let event = AddData {
            prev_checkpoint,
            prev_offset: start.checked_sub(1),
            new_data: Some(DataSlice {
                logical_hash: Multihash::from_arrow0_sha3_256([0; 32]),
                physical_hash: slice.0.hash,
                offset_interval: OffsetInterval {
                    start,
                    end: start + ROWS - 1,
                },
                size: slice.0.size,
            }),
            new_checkpoint: Some(Checkpoint {
                physical_hash: checkpoint.0.hash,
                size: checkpoint.0.size,
            }),
            ..AddData::default()
        };
        push(&mut blocks, MetadataEvent::AddData(event));
        prev_checkpoint = Some(checkpoint.0.hash);
        files.extend([slice, checkpoint]);
    }
    (blocks, files)
}

/// The chain with its last block as an older kamu would have written it.
pub(crate) fn ending_in_version_2(mut blocks: Vec<EncodedBlock>) -> Vec<EncodedBlock> {
    let last = blocks.pop().unwrap();
    let mut bytes = last.bytes().to_vec();
    let version = bytes
        .windows(8)
        .position(|window| window == [3, 0, 0, 0, 0, 0, 0x40, 0]);
    bytes[version.unwrap()] = 2;
    let old = EncodedBlock::decode(bytes).unwrap();
    assert_eq!(old.version(), 2);
    blocks.push(old);
    blocks
}

fn seed(id: DatasetId) -> MetadataEvent {
    MetadataEvent::Seed(Seed {
        dataset_id: id,
        dataset_kind: DatasetKind::Root,
    })
}

fn file(kind: ObjectKind, bytes: Vec<u8>) -> File {
    let object = Object {
        kind,
        hash: Multihash::sha3_256(&bytes),
        size: bytes.len() as u64,
    };
    (object, bytes)
}

fn push(blocks: &mut Vec<EncodedBlock>, event: MetadataEvent) {
    let next = match blocks.last() {
        Some(last) => after(last, event),
        None => encode(None, 0, event),
    };
    blocks.push(next);
}

/// A block on top of another.
pub(crate) fn after(last: &EncodedBlock, event: MetadataEvent) -> EncodedBlock {
    encode(Some(*last.hash()), last.block().sequence_number + 1, event)
}

fn encode(prev_block_hash: Option<Multihash>, sequence_number: u64, event: MetadataEvent) -> EncodedBlock {
    let block = MetadataBlock {
        system_time: time(),
        prev_block_hash,
        sequence_number,
        event,
    };
    EncodedBlock::encode(block).unwrap()
}

pub(crate) fn time() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

pub(crate) fn id(number: u8) -> DatasetId {
    DatasetId::from_public_key([number; 32])
}

/// A hash that nothing has.
pub(crate) fn no_hash() -> Multihash {
    Multihash::sha3_256(b"nothing has this hash")
}
