//! Open Data Fabric metadata: blocks, events, schemas and identities as plain types, and nothing that reads or writes.
//!
//! The types are those of the ODF schema (version 0.39), field for field. Each is declared once in its
//! FlatBuffers order; [`codec`] gives them their bytes, serde their text (YAML, JSON, dag-cbor), [`yaml`] the manifests.
//! Reading them proves that they are well formed, not that they make a chain: that is [`chain`].
//!
//! No clock, no randomness, no file: everything of the kind is an argument.

pub mod chain;
pub mod codec;
mod declare;
mod event;
mod extra;
mod id;
#[cfg(test)]
pub(crate) mod sample;
mod schema;
mod source;
pub(crate) mod text;
mod time;
mod vocab;
pub mod yaml;

pub use event::{
    AddData, AddPushSource, AttachmentEmbedded, Attachments, Checkpoint, DataSlice, DatasetKind, DisablePollingSource,
    DisablePushSource, ExecuteTransform, ExecuteTransformInput, MetadataBlock, MetadataEvent, OffsetInterval, Seed,
    SetAttachments, SetDataSchema, SetInfo, SetLicense, SetPollingSource, SetTransform, SetVocab, SourceState,
    TransformInput,
};
pub use extra::{ArrowSchemaBytes, ExtraAttributes};
pub use id::{ARROW0_SHA3_256, DatasetId, IdError, MAX_DIGEST_BYTES, Multihash, SHA3_256};
pub use schema::{DataField, DataSchema, DataType, TimeUnit};
pub use source::{
    CompressionFormat, DEFAULT_SOURCE, EnvVar, EventTimeSource, FetchStep, MergeStrategy, MqttQos,
    MqttTopicSubscription, PrepStep, ReadStep, ReadStepCsv, RequestHeader, SourceCaching, SourceOrdering, SqlQueryStep,
    TemporalTable, Transform, TransformSql,
};
pub use time::{Timestamp, TimestampError};
pub use vocab::{OperationType, Vocabulary};
