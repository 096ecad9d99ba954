//! What a chain amounts to at its head.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    AddPushSource, DatasetId, DatasetKind, ExecuteTransformInput, Multihash, SetDataSchema, SetInfo, SetLicense,
    SetPollingSource, SetTransform, SetVocab, SourceState, Timestamp,
};

/// What a chain amounts to at its head. Made by [`ChainState::begin`], moved on by [`ChainState::apply`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainState {
    /// Whose chain it is.
    pub dataset_id: DatasetId,
    /// Whether it has sources or inputs.
    pub kind: DatasetKind,
    /// The last block.
    pub head: Multihash,
    /// Its sequence number; the chain has one block more.
    pub sequence_number: u64,
    /// Its system time.
    pub system_time: Timestamp,
    /// The last AddData or ExecuteTransform.
    pub last_data_block: Option<BlockRef>,
    /// The last offset written, as the last AddData or ExecuteTransform has or carries it; `None` before the first row.
    pub last_offset: Option<u64>,
    /// The watermark of the last AddData or ExecuteTransform.
    pub watermark: Option<Timestamp>,
    /// What the last AddData hands on to the next.
    pub last_added: Option<Carried>,
    /// What the last ExecuteTransform hands on to the next.
    pub last_computed: Option<Carried>,
    /// The source state of the last AddData, `None` if that one has none.
    pub source_state: Option<SourceState>,
    /// What the last ExecuteTransform read; empty before the first.
    pub query_inputs: Vec<ExecuteTransformInput>,
    /// Names of the system columns, if they were set; see [`ChainState::vocabulary`].
    pub vocab: Option<SetVocab>,
    /// The schema of the data.
    pub schema: Option<SetDataSchema>,
    /// The source to fetch from.
    pub polling_source: Option<SetPollingSource>,
    /// The sources that push, by name.
    pub push_sources: BTreeMap<String, AddPushSource>,
    /// The block that set the source to fetch from, or the transform: no dataset has both.
    pub source_block: Option<BlockRef>,
    /// How a derivative dataset is computed.
    pub transform: Option<SetTransform>,
    /// What the dataset is about.
    pub info: Option<SetInfo>,
    /// Its licence.
    pub license: Option<SetLicense>,
    /// The last SetAttachments; the files themselves stay in the chain, they may be long.
    pub attachments: Option<BlockRef>,
    /// Sums over the chain.
    pub totals: Totals,
}

/// What an event hands on to the next of its kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// The checkpoint that it wrote, which the next one starts from.
    pub checkpoint: Option<Multihash>,
    /// Its watermark.
    pub watermark: Option<Timestamp>,
}

/// A block by name and by place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockRef {
    /// Its hash.
    pub hash: Multihash,
    /// Its sequence number, which is its position in the chain.
    pub sequence_number: u64,
    /// Its system time.
    pub system_time: Timestamp,
}

/// Sums over a chain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Rows written, retractions and corrections included.
    pub records: u64,
    /// Slices.
    pub slices: u64,
    /// Bytes of all slices.
    pub data_bytes: u64,
    /// Checkpoints.
    pub checkpoints: u64,
    /// Bytes of all checkpoints.
    pub checkpoint_bytes: u64,
    /// Bytes of all metadata blocks.
    pub block_bytes: u64,
}
