//! What tests of several files are made with.

use odf_metadata::codec::EncodedBlock;
use odf_metadata::{DatasetId, DatasetKind, MetadataBlock, MetadataEvent, Seed, SetInfo, Timestamp};

/// A chain, Seed first, whose blocks have descriptions of so many bytes.
pub(crate) fn chain(count: u64, bytes: usize) -> Vec<EncodedBlock> {
    let mut blocks: Vec<EncodedBlock> = Vec::new();
    for sequence_number in 0..count {
        let event = match sequence_number {
            0 => MetadataEvent::Seed(Seed {
                dataset_id: DatasetId::from_public_key([1; 32]),
                dataset_kind: DatasetKind::Root,
            }),
            _ => MetadataEvent::SetInfo(SetInfo {
                description: Some("x".repeat(bytes)),
                keywords: None,
            }),
        };
        let block = MetadataBlock {
            system_time: Timestamp::from_millis(0).unwrap(),
            prev_block_hash: blocks.last().map(|block| *block.hash()),
            sequence_number,
            event,
        };
        blocks.push(EncodedBlock::encode(block).unwrap());
    }
    blocks
}
