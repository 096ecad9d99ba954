//! What the messages of both directions are made of.

use serde::{Deserialize, Serialize};

use odf_metadata::Multihash;

/// Metadata blocks, packed into a bundle.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlocksBatch {
    /// How many.
    pub(crate) num_blocks: u32,
    /// How they are packed.
    pub(crate) media_type: String,
    /// How the packed bytes are written.
    pub(crate) encoding: String,
    /// The packed bytes: a JSON array of numbers.
    pub(crate) payload: Vec<u8>,
}

impl std::fmt::Debug for BlocksBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlocksBatch")
            .field("num_blocks", &self.num_blocks)
            .field("payload_bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}

/// Sums over what a transfer moves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TransferPlan {
    /// Metadata blocks.
    pub(crate) num_blocks: u32,
    /// Slices and checkpoints.
    pub(crate) num_objects: u32,
    /// Rows in the slices.
    pub(crate) num_records: u64,
    /// Bytes of the metadata blocks.
    pub(crate) bytes_in_raw_blocks: u64,
    /// Bytes of the slices and checkpoints.
    pub(crate) bytes_in_raw_objects: u64,
}

/// A slice or checkpoint that a metadata block names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct ObjectFile {
    /// Which of the two.
    pub(crate) object_type: ObjectType,
    /// Its name.
    pub(crate) physical_hash: Multihash,
    /// Its bytes.
    pub(crate) size: u64,
}

/// Kind of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum ObjectType {
    /// A slice.
    DataSlice,
    /// A checkpoint.
    Checkpoint,
}

/// Where one object goes or comes from.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TransferUrl {
    /// The address; relative ones are of the dataset's address.
    pub(crate) url: String,
    /// Header fields to send, credentials among them.
    #[serde(default)]
    pub(crate) headers: Vec<HeaderRow>,
    /// Until when, in RFC 3339; not looked at, a server refuses what came too late by itself.
    #[serde(default)]
    pub(crate) expires_at: Option<String>,
}

impl std::fmt::Debug for TransferUrl {
    /// Without the header fields and the query, which may hold credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bare = self.url.split('?').next().unwrap_or_default();
        f.debug_struct("TransferUrl")
            .field("url", &bare)
            .finish_non_exhaustive()
    }
}

/// A header field.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeaderRow {
    /// Its name.
    pub(crate) name: String,
    /// Its value.
    pub(crate) value: String,
}

/// An object without fields, `{}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Empty {}

/// What a side does not say more closely.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InternalError {
    /// When it happened.
    pub(crate) phase: Phase,
    /// What.
    pub(crate) error_message: String,
}

/// The steps of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// Of a pull.
    Pull(PullPhase),
    /// Of a push.
    Push(PushPhase),
}

/// The steps of a pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::enum_variant_names, reason = "the names are the protocol's")]
pub(crate) enum PullPhase {
    /// Step 1.
    InitialRequest,
    /// Step 2.
    MetadataRequest,
    /// Step 3.
    ObjectsRequest,
}

/// The steps of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PushPhase {
    /// Step 1.
    InitialRequest,
    /// Step 2.
    MetadataRequest,
    /// Step 3.
    ObjectsRequest,
    /// Between steps 2 and 3, in the server.
    EnsuringTargetExists,
    /// Step 3, the uploads.
    ObjectsUploadProgress,
    /// Step 4.
    CompleteRequest,
}
