//! A pull: the client asks for what is behind its head, then for the metadata blocks, then where the objects are.

use serde::{Deserialize, Serialize};

use odf_metadata::Multihash;

use super::parts::{BlocksBatch, Empty, InternalError, ObjectFile, TransferPlan, TransferUrl};

/// Pull, 1: the client asks for everything after its head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PullRequest {
    /// The client's head; none if it has nothing.
    pub(crate) begin_after: Option<Multihash>,
    /// The last block wanted; none for the server's head.
    pub(crate) stop_at: Option<Multihash>,
    /// If `begin_after` is not in the server's chain, send all of it.
    #[serde(default)]
    pub(crate) force_update_if_diverged: bool,
    /// The client goes on where a page ends. Between two odfs; kamu neither writes nor reads it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) pages: bool,
}

/// Pull, 1: what will come, or why nothing.
pub(crate) type PullResponse = Result<PullAccepted, PullRefused>;

/// Pull, 1: what will come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PullAccepted {
    /// Sums over it.
    pub(crate) transfer_plan: TransferPlan,
    /// This is not all that was asked for: whoever asks again, from the last of these blocks on, gets more. Between two odfs;
    /// kamu neither writes nor reads it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) more: bool,
}

/// Pull, 1: why nothing comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PullRefused {
    /// The client's dataset is another one.
    SeedBlockOverwriteRestricted(Empty),
    /// Something in the server, or what it does not say more closely.
    Internal(InternalError),
    /// The client's head is not in the server's chain.
    InvalidInterval {
        /// The last block that was wanted.
        head: Multihash,
        /// The block after which to begin.
        tail: Multihash,
    },
}

/// Pull, 2: the client asks for the metadata blocks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PullMetadataRequest {}

/// Pull, 2: the metadata blocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PullMetadataResponse {
    /// The blocks.
    pub(crate) blocks: BlocksBatch,
}

/// Pull, 3: the client asks where objects are. May be asked again for others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PullObjectsRequest {
    /// Which objects.
    pub(crate) object_files: Vec<ObjectFile>,
}

/// Pull, 3: where they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PullObjectsResponse {
    /// One for each, in any order.
    pub(crate) object_transfer_strategies: Vec<PullStrategy>,
}

/// How to get one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PullStrategy {
    /// The object.
    pub(crate) object_file: ObjectFile,
    /// By which means.
    pub(crate) pull_strategy: PullMeans,
    /// From where.
    pub(crate) download_from: TransferUrl,
}

/// Means to get an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PullMeans {
    /// GET.
    HttpDownload,
}
