//! Chains for tests.

use crate::codec::EncodedBlock;
use crate::metadata::{DatasetId, DatasetKind, MetadataBlock, MetadataEvent, Multihash, Seed, SetInfo, Timestamp};

/// A chain without data: a Seed, then as many SetInfo as make `length` blocks. Chains of another `branch` are the same
/// up to `common` blocks.
pub(crate) fn chain(id: DatasetId, length: u64, common: u64, branch: &str) -> Vec<EncodedBlock> {
    let mut blocks: Vec<EncodedBlock> = Vec::new();
    for sequence_number in 0..length {
        let event = match sequence_number {
            0 => MetadataEvent::Seed(Seed {
                dataset_id: id,
                dataset_kind: DatasetKind::Root,
            }),
            _ => {
                let branch = if sequence_number < common { "" } else { branch };
                MetadataEvent::SetInfo(SetInfo {
                    description: Some(format!("{sequence_number} {branch}")),
                    keywords: None,
                })
            }
        };
        let block = MetadataBlock {
            system_time: time(),
            prev_block_hash: blocks.last().map(|block| *block.hash()),
            sequence_number,
            event,
        };
        blocks.push(EncodedBlock::encode(block).unwrap());
    }
    blocks
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
