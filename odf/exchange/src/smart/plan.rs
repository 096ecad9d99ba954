//! What metadata blocks bring with them, in the words of the protocol.

use super::messages::{ObjectFile, ObjectType, TransferPlan};
use odf_dataset::{Object, ObjectKind};
use odf_metadata::codec::EncodedBlock;

/// Sums over blocks. Objects that several blocks name count as often as kamu counts them: each time.
pub(crate) fn of<'a>(blocks: impl IntoIterator<Item = &'a EncodedBlock>) -> TransferPlan {
    let mut plan = TransferPlan::default();
    blocks.into_iter().for_each(|block| add(&mut plan, block));
    plan
}

/// Counts one more block; their order does not matter.
pub(crate) fn add(plan: &mut TransferPlan, block: &EncodedBlock) {
    plan.num_blocks = plan.num_blocks.saturating_add(1);
    plan.bytes_in_raw_blocks = plan.bytes_in_raw_blocks.saturating_add(block.bytes().len() as u64);
    for object in Object::of(block) {
        plan.num_objects = plan.num_objects.saturating_add(1);
        plan.bytes_in_raw_objects = plan.bytes_in_raw_objects.saturating_add(object.size);
    }
    if let Some(slice) = block.block().event.new_data() {
        let offsets = slice.offset_interval;
        let records = offsets.end.saturating_sub(offsets.start).saturating_add(1);
        plan.num_records = plan.num_records.saturating_add(records);
    }
}

/// An object as the protocol names it.
pub(crate) fn file(object: &Object) -> ObjectFile {
    ObjectFile {
        object_type: match object.kind {
            ObjectKind::Slice => ObjectType::DataSlice,
            ObjectKind::Checkpoint => ObjectType::Checkpoint,
        },
        physical_hash: object.hash,
        size: object.size,
    }
}

/// The object that the protocol names.
pub(crate) fn object(file: &ObjectFile) -> Object {
    Object {
        kind: match file.object_type {
            ObjectType::DataSlice => ObjectKind::Slice,
            ObjectType::Checkpoint => ObjectKind::Checkpoint,
        },
        hash: file.physical_hash,
        size: file.size,
    }
}
