//! What an append must know about a chain of any length, by places in the chain file.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::DatasetError;
use super::journal::{BlockPlace, Journal};
use crate::codec::EncodedBlock;
use crate::ingest::taken::SOURCE_NAME;
use crate::metadata::{
    AddData, Checkpoint, DataSlice, DatasetId, DatasetKind, ExecuteTransform, MetadataEvent, Multihash, Timestamp,
};

/// Version of the serialized form; another one is computed again.
const VERSION: u8 = 1;

/// A summary of the chain up to one head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    version: u8,
    id: DatasetId,
    kind: DatasetKind,
    head: Multihash,
    sequence_number: u64,
    system_time: Timestamp,
    created: Timestamp,
    /// Place of the head block; the chain ends behind it.
    head_place: BlockPlace,
    schema: Option<BlockPlace>,
    vocabulary: Option<BlockPlace>,
    polling_source: Option<BlockPlace>,
    push_sources: BTreeMap<String, BlockPlace>,
    transform: Option<BlockPlace>,
    info: Option<BlockPlace>,
    license: Option<BlockPlace>,
    attachments: Option<BlockPlace>,
    /// The newest AddData or ExecuteTransform.
    data: Option<BlockPlace>,
    last_offset: Option<u64>,
    watermark: Option<Timestamp>,
    checkpoint: Option<Multihash>,
    slices: u64,
    slice_bytes: u64,
    checkpoint_bytes: u64,
}

impl State {
    /// Identity of the dataset.
    pub fn id(&self) -> DatasetId {
        self.id
    }

    /// Whether data comes from outside or is computed.
    pub fn kind(&self) -> DatasetKind {
        self.kind
    }

    /// Hash of the newest block.
    pub fn head(&self) -> &Multihash {
        &self.head
    }

    /// Sequence number of the newest block: one less than the number of blocks.
    pub fn sequence_number(&self) -> u64 {
        self.sequence_number
    }

    /// System time of the newest block.
    pub fn system_time(&self) -> Timestamp {
        self.system_time
    }

    /// System time of the Seed.
    pub fn created(&self) -> Timestamp {
        self.created
    }

    /// Place of the newest block.
    pub fn head_place(&self) -> BlockPlace {
        self.head_place
    }

    /// Length of the part of the chain file that counts.
    pub fn chain_len(&self) -> u64 {
        self.head_place.end()
    }

    /// Place of the newest SetDataSchema.
    pub fn schema(&self) -> Option<BlockPlace> {
        self.schema
    }

    /// Place of the newest SetVocab.
    pub fn vocabulary(&self) -> Option<BlockPlace> {
        self.vocabulary
    }

    /// Place of the newest SetTransform.
    pub fn transform(&self) -> Option<BlockPlace> {
        self.transform
    }

    /// Place of the newest SetInfo.
    pub fn info(&self) -> Option<BlockPlace> {
        self.info
    }

    /// Place of the newest SetLicense.
    pub fn license(&self) -> Option<BlockPlace> {
        self.license
    }

    /// Place of the newest SetAttachments.
    pub fn attachments(&self) -> Option<BlockPlace> {
        self.attachments
    }

    /// Place of the newest AddData or ExecuteTransform.
    pub fn data(&self) -> Option<BlockPlace> {
        self.data
    }

    /// Place of the source in force: the polling source, else the push source `default`, else the only push source.
    pub fn source(&self) -> Option<BlockPlace> {
        let only = || self.push_sources.values().next().filter(|_| self.push_sources.len() == 1);
        self.polling_source.or_else(|| self.push_sources.get(SOURCE_NAME).or_else(only).copied())
    }

    /// Whether the dataset is fed by polling.
    pub fn has_polling_source(&self) -> bool {
        self.polling_source.is_some()
    }

    /// Places of the push sources by name.
    pub fn push_sources(&self) -> &BTreeMap<String, BlockPlace> {
        &self.push_sources
    }

    /// The last offset ever written; none without rows.
    pub fn last_offset(&self) -> Option<u64> {
        self.last_offset
    }

    /// Rows ever written, retractions and corrections included.
    pub fn rows(&self) -> u64 {
        self.last_offset.map_or(0, |last| last + 1)
    }

    /// No later row is expected to have an earlier event time.
    pub fn watermark(&self) -> Option<Timestamp> {
        self.watermark
    }

    /// The newest checkpoint.
    pub fn checkpoint(&self) -> Option<Multihash> {
        self.checkpoint
    }

    /// Number of slices.
    pub fn slices(&self) -> u64 {
        self.slices
    }

    /// Bytes of all slices.
    pub fn slice_bytes(&self) -> u64 {
        self.slice_bytes
    }

    /// Bytes of all checkpoints.
    pub fn checkpoint_bytes(&self) -> u64 {
        self.checkpoint_bytes
    }

    /// The form kept in a table.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads the form kept in a table; none if it is of another version or damaged.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<State> {
        serde_json::from_slice(bytes).ok().filter(|state: &State| state.version == VERSION)
    }

    /// The state after one more block at `place`. Whether the block may follow has been checked by the caller.
    pub(super) fn advance(earlier: Option<State>, block: &EncodedBlock, place: BlockPlace) -> Option<State> {
        let content = block.block();
        let mut state = match (earlier, &content.event) {
            (Some(state), _) => state,
            (None, MetadataEvent::Seed(seed)) => State {
                version: VERSION,
                id: seed.dataset_id,
                kind: seed.dataset_kind,
                head: *block.hash(),
                sequence_number: 0,
                system_time: content.system_time,
                created: content.system_time,
                head_place: place,
                schema: None,
                vocabulary: None,
                polling_source: None,
                push_sources: BTreeMap::new(),
                transform: None,
                info: None,
                license: None,
                attachments: None,
                data: None,
                last_offset: None,
                watermark: None,
                checkpoint: None,
                slices: 0,
                slice_bytes: 0,
                checkpoint_bytes: 0,
            },
            (None, _) => return None,
        };
        state.head = *block.hash();
        state.head_place = place;
        state.sequence_number = content.sequence_number;
        state.system_time = content.system_time;
        match &content.event {
            MetadataEvent::Seed(_) => {}
            MetadataEvent::AddData(AddData { new_data, new_checkpoint, new_watermark, .. })
            | MetadataEvent::ExecuteTransform(ExecuteTransform { new_data, new_checkpoint, new_watermark, .. }) => {
                state.note_data(place, new_data.as_ref(), new_checkpoint.as_ref(), *new_watermark);
            }
            MetadataEvent::SetPollingSource(_) => state.polling_source = Some(place),
            MetadataEvent::DisablePollingSource(_) => state.polling_source = None,
            MetadataEvent::AddPushSource(source) => {
                state.push_sources.insert(source.source_name.clone(), place);
            }
            MetadataEvent::DisablePushSource(source) => {
                state.push_sources.remove(&source.source_name);
            }
            MetadataEvent::SetTransform(_) => state.transform = Some(place),
            MetadataEvent::SetVocab(_) => state.vocabulary = Some(place),
            MetadataEvent::SetAttachments(_) => state.attachments = Some(place),
            MetadataEvent::SetInfo(_) => state.info = Some(place),
            MetadataEvent::SetLicense(_) => state.license = Some(place),
            MetadataEvent::SetDataSchema(_) => state.schema = Some(place),
        }
        Some(state)
    }

    fn note_data(
        &mut self,
        place: BlockPlace,
        slice: Option<&DataSlice>,
        checkpoint: Option<&Checkpoint>,
        watermark: Option<Timestamp>,
    ) {
        self.data = Some(place);
        self.watermark = watermark;
        self.checkpoint = checkpoint.map(|checkpoint| checkpoint.physical_hash);
        if let Some(slice) = slice {
            self.last_offset = Some(slice.offset_interval.end);
            self.slices += 1;
            self.slice_bytes = self.slice_bytes.saturating_add(slice.size);
        }
        if let Some(checkpoint) = checkpoint {
            self.checkpoint_bytes = self.checkpoint_bytes.saturating_add(checkpoint.size);
        }
    }

    /// Reads the chain file up to the block `head`.
    pub(super) fn recompute(journal: &Journal, head: &Multihash) -> Result<State, DatasetError> {
        let damaged = |reason: String| DatasetError::Damaged { path: journal.path().to_owned(), reason };
        let mut state: Option<State> = None;
        journal.scan(&mut |place, bytes| {
            let sequence = state.as_ref().map_or(0, |state| state.sequence_number + 1);
            let block = EncodedBlock::decode(bytes)
                .map_err(|source| DatasetError::Block { sequence: Some(sequence), source })?;
            let previous = state.as_ref().map(|state| state.head);
            if block.block().prev_block_hash != previous || block.block().sequence_number != sequence {
                return Err(damaged(format!("block {sequence} does not follow the one before it")));
            }
            let earlier = state.take();
            state = State::advance(earlier, &block, place);
            if state.is_none() {
                return Err(damaged("the first block is not a Seed".to_owned()));
            }
            Ok(if block.hash() == head { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        state
            .filter(|state| state.head == *head)
            .ok_or_else(|| damaged(format!("it does not hold the head {head}")))
    }
}
