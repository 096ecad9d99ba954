//! The events that a metadata block can hold.

use super::declare::{scalar_enum, table, union};
use super::{
    ArrowSchemaBytes, DataSchema, DatasetId, ExtraAttributes, FetchStep, MergeStrategy, Multihash, PrepStep, ReadStep,
    Timestamp, Transform,
};

table! {
    /// One link of a metadata chain. Its name is the sha3-256 multihash of its bytes; see [`crate::codec`].
    pub struct MetadataBlock {
        /// When it was made.
        pub system_time: Timestamp,
        /// The block before it; only a Seed has none.
        pub prev_block_hash: Option<Multihash>,
        /// Position in the chain; a Seed is 0.
        pub sequence_number: u64,
        /// What happened.
        pub event: MetadataEvent,
    }
}

union! {
    /// What happened to a dataset.
    #[allow(clippy::large_enum_variant, reason = "events live one at a time, a box would buy nothing")]
    pub enum MetadataEvent {
        /// Rows were ingested.
        AddData(AddData) = 1,
        /// Rows were computed from other datasets.
        ExecuteTransform(ExecuteTransform) = 2,
        /// The dataset began.
        Seed(Seed) = 3,
        /// A source to fetch from was defined.
        SetPollingSource(SetPollingSource) = 4,
        /// The computation of a derivative dataset was defined.
        SetTransform(SetTransform) = 5,
        /// System columns were named.
        SetVocab(SetVocab) = 6,
        /// Files were attached.
        SetAttachments(SetAttachments) = 7,
        /// The dataset was described.
        SetInfo(SetInfo) = 8,
        /// A licence was given.
        SetLicense(SetLicense) = 9,
        /// The schema of the data was set.
        SetDataSchema(SetDataSchema) = 10,
        /// A source that pushes was defined.
        AddPushSource(AddPushSource) = 11,
        /// A source that pushes was disabled.
        DisablePushSource(DisablePushSource) = 12,
        /// The polling source was disabled.
        DisablePollingSource(DisablePollingSource) = 13,
    }
}

table! {
    /// The first event of every chain.
    pub struct Seed {
        /// Who the dataset is.
        pub dataset_id: DatasetId,
        /// Whether it has sources or inputs.
        pub dataset_kind: DatasetKind,
    }
}

scalar_enum! {
    /// Whether data comes from outside or is computed.
    pub enum DatasetKind: i32 {
        /// From outside.
        Root = 0,
        /// Computed from other datasets.
        Derivative = 1,
    }
}

table! {
    /// Data was added to a root dataset. All fields may be absent, but not all at once.
    #[derive(Default)]
    pub struct AddData {
        /// The checkpoint that the ingest started from.
        pub prev_checkpoint: Option<Multihash>,
        /// The last offset before this event.
        pub prev_offset: Option<u64>,
        /// The slice written, if any rows were.
        pub new_data: Option<DataSlice>,
        /// The checkpoint written.
        pub new_checkpoint: Option<Checkpoint>,
        /// No later row is expected to have an earlier event time.
        pub new_watermark: Option<Timestamp>,
        /// How far the source was read.
        pub new_source_state: Option<SourceState>,
        /// Anything else.
        pub extra: Option<ExtraAttributes>,
    }
}

table! {
    /// Data was computed for a derivative dataset.
    pub struct ExecuteTransform {
        /// What was read from each input.
        pub query_inputs: Vec<ExecuteTransformInput>,
        /// The checkpoint that the engine started from.
        pub prev_checkpoint: Option<Multihash>,
        /// The last offset before this event.
        pub prev_offset: Option<u64>,
        /// The slice written, if any rows were.
        pub new_data: Option<DataSlice>,
        /// The checkpoint written.
        pub new_checkpoint: Option<Checkpoint>,
        /// No later row is expected to have an earlier event time.
        pub new_watermark: Option<Timestamp>,
    }
}

table! {
    /// The part of an input that a transform read: blocks after `prev_block_hash` up to `new_block_hash`.
    pub struct ExecuteTransformInput {
        /// The input dataset.
        pub dataset_id: DatasetId,
        /// The last block read before.
        pub prev_block_hash: Option<Multihash>,
        /// The last block read now; absent if none was.
        pub new_block_hash: Option<Multihash>,
        /// The last offset read before.
        pub prev_offset: Option<u64>,
        /// The last offset read now; absent if no row was.
        pub new_offset: Option<u64>,
    }
}

table! {
    /// One Parquet file of rows.
    pub struct DataSlice {
        /// Hash of the rows, whatever the file looks like.
        pub logical_hash: Multihash,
        /// Hash of the file.
        pub physical_hash: Multihash,
        /// The offsets of its rows.
        pub offset_interval: OffsetInterval,
        /// Length of the file in bytes.
        pub size: u64,
    }
}

table! {
    /// A range of offsets, both ends included.
    #[derive(Copy)]
    pub struct OffsetInterval {
        /// First offset.
        pub start: u64,
        /// Last offset.
        pub end: u64,
    }
}

table! {
    /// One opaque file in which an engine keeps its state.
    pub struct Checkpoint {
        /// Hash of the file.
        pub physical_hash: Multihash,
        /// Length of the file in bytes.
        pub size: u64,
    }
}

table! {
    /// How far a source was read.
    pub struct SourceState {
        /// The source; `default` for the polling one.
        pub source_name: String,
        /// What the value means: `odf/etag`, `odf/last-modified`, …
        pub kind: String,
        /// The value.
        pub value: String,
    }
}

table! {
    /// The dataset is filled from a source that is asked for data.
    pub struct SetPollingSource {
        /// How to fetch.
        pub fetch: FetchStep,
        /// What to do to the bytes.
        pub prepare: Option<Vec<PrepStep>>,
        /// How bytes become rows.
        pub read: ReadStep,
        /// What to do to the rows.
        pub preprocess: Option<Transform>,
        /// What new rows mean for old ones.
        pub merge: MergeStrategy,
    }
}

table! {
    /// The dataset is filled by somebody who sends data.
    pub struct AddPushSource {
        /// Name of the source.
        pub source_name: String,
        /// How bytes become rows.
        pub read: ReadStep,
        /// What to do to the rows.
        pub preprocess: Option<Transform>,
        /// What new rows mean for old ones.
        pub merge: MergeStrategy,
    }
}

table! {
    /// A push source is no longer used. kamu cannot validate a chain that holds this event: never written here.
    pub struct DisablePushSource {
        /// Name of the source.
        pub source_name: String,
    }
}

table! {
    /// The polling source is no longer used. kamu cannot validate a chain that holds this event: never written here.
    #[derive(Default)]
    pub struct DisablePollingSource {}
}

table! {
    /// What a derivative dataset is computed from, and how.
    pub struct SetTransform {
        /// The datasets read.
        pub inputs: Vec<TransformInput>,
        /// The computation.
        pub transform: Transform,
    }
}

table! {
    /// A dataset that a transform reads.
    pub struct TransformInput {
        /// The dataset: its id as text once resolved, before that any reference.
        pub dataset_ref: String,
        /// Name under which the transform sees it.
        pub alias: Option<String>,
    }
}

table! {
    /// Names of the system columns; an absent one has its default.
    #[derive(Default)]
    pub struct SetVocab {
        /// Default `offset`.
        pub offset_column: Option<String>,
        /// Default `op`.
        pub operation_type_column: Option<String>,
        /// Default `system_time`.
        pub system_time_column: Option<String>,
        /// Default `event_time`.
        pub event_time_column: Option<String>,
    }
}

table! {
    /// Files for people, kept in the chain.
    pub struct SetAttachments {
        /// The files.
        pub attachments: Attachments,
    }
}

union! {
    /// Where attachments are.
    pub enum Attachments {
        /// In the event itself.
        Embedded {
            /// The files.
            items: Vec<AttachmentEmbedded>,
        } = 1,
    }
}

table! {
    /// A text file in an event.
    pub struct AttachmentEmbedded {
        /// Its name, as `README.md`.
        pub path: String,
        /// Its content.
        pub content: String,
    }
}

table! {
    /// What the dataset is about.
    #[derive(Default)]
    pub struct SetInfo {
        /// One sentence.
        pub description: Option<String>,
        /// Words to find it by.
        pub keywords: Option<Vec<String>>,
    }
}

table! {
    /// Under which licence the data is.
    pub struct SetLicense {
        /// Abbreviation.
        pub short_name: String,
        /// Full name.
        pub name: String,
        /// SPDX identifier.
        pub spdx_id: Option<String>,
        /// Where to read it.
        pub website_url: String,
    }
}

table! {
    /// The schema of the data from here on.
    #[derive(Default)]
    pub struct SetDataSchema {
        /// Legacy form, not written any more.
        pub raw_arrow_schema: Option<ArrowSchemaBytes>,
        /// The schema.
        pub schema: Option<DataSchema>,
    }
}

impl MetadataEvent {
    /// The slice that the event adds, if it is one that can.
    pub fn new_data(&self) -> Option<&DataSlice> {
        match self {
            Self::AddData(event) => event.new_data.as_ref(),
            Self::ExecuteTransform(event) => event.new_data.as_ref(),
            _ => None,
        }
    }

    /// The checkpoint that the event adds, if it is one that can.
    pub fn new_checkpoint(&self) -> Option<&Checkpoint> {
        match self {
            Self::AddData(event) => event.new_checkpoint.as_ref(),
            Self::ExecuteTransform(event) => event.new_checkpoint.as_ref(),
            _ => None,
        }
    }
}
