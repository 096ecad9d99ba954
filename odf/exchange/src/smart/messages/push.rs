//! A push: the client says what it has, sends the metadata blocks, asks where the objects are to go, and says when they are
//! there.

use serde::{Deserialize, Serialize};

use odf_metadata::{DatasetId, Multihash};

use super::parts::{BlocksBatch, Empty, InternalError, ObjectFile, TransferPlan, TransferUrl};

/// Push, 1: the client says what it has and from which head of the server's it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PushRequest {
    /// The server's head, as the client knows it; none if the dataset is not there.
    pub(crate) current_head: Option<Multihash>,
    /// Sums over what will come.
    pub(crate) transfer_plan: TransferPlan,
    /// Replace the server's chain if it has blocks that the client's lacks.
    #[serde(default)]
    pub(crate) force_update_if_diverged: bool,
    /// Who may see a dataset that this push makes.
    #[serde(default)]
    pub(crate) visibility_for_created_dataset: Visibility,
}

/// Who may see a dataset that a push makes. Servers without accounts show everything to everybody.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Visibility {
    /// Its owner and whom that allows.
    #[default]
    #[serde(alias = "private")]
    Private,
    /// Everybody.
    #[serde(alias = "public")]
    Public,
}

/// Push, 1: go on, or not.
pub(crate) type PushResponse = Result<Empty, PushRefused>;

/// Push, 1: why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PushRefused {
    /// Something in the server, or what it does not say more closely.
    Internal(InternalError),
    /// The server's head is another one.
    InvalidHead {
        /// The head that the client named. (The names of the two are kamu's.)
        actual_head: Option<Multihash>,
        /// The server's head.
        expected_head: Option<Multihash>,
    },
}

/// Push, 2: the metadata blocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PushMetadataRequest {
    /// The blocks.
    pub(crate) new_blocks: BlocksBatch,
}

/// Push, 2: go on, or not.
pub(crate) type PushMetadataResponse = Result<Empty, PushMetadataRefused>;

/// Push, 2: why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PushMetadataRefused {
    /// The server's dataset of that name is another one.
    SeedBlockOverwriteRestricted(Empty),
}

/// Push, 3: the client asks where objects are to go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PushObjectsRequest {
    /// Which objects.
    pub(crate) object_files: Vec<ObjectFile>,
    /// Whether others will be asked for when these are done.
    #[serde(default)]
    pub(crate) is_truncated: bool,
    /// The client can send many in one request. Between two odfs; kamu neither writes nor reads it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) together: bool,
}

/// Push, 3: where they are to go, or why nowhere.
pub(crate) type PushObjectsResponse = Result<PushObjectsAccepted, PushObjectsRefused>;

/// Push, 3: where they are to go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PushObjectsAccepted {
    /// One for each, in any order.
    pub(crate) object_transfer_strategies: Vec<PushStrategy>,
    /// Where many of them may go in one request. Between two odfs; kamu neither writes nor reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) together: Option<TransferUrl>,
}

/// Push, 3: why nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PushObjectsRefused {
    /// Something in the server, or what it does not say more closely.
    Internal(InternalError),
    /// The server has this dataset under another name.
    RefCollision {
        /// Its id.
        dataset_id: DatasetId,
    },
    /// The server has another dataset of that name.
    NameCollision {
        /// The name, with an account before it if there are accounts.
        dataset_alias: String,
    },
}

/// How to bring one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PushStrategy {
    /// The object.
    pub(crate) object_file: ObjectFile,
    /// By which means.
    pub(crate) push_strategy: PushMeans,
    /// To where, if it is to be sent.
    pub(crate) upload_to: Option<TransferUrl>,
}

/// Means to bring an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PushMeans {
    /// It is there already.
    SkipUpload,
    /// PUT.
    HttpUpload,
}

/// Push, 3: the server asks how far the uploads are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProgressRequest {}

/// Push, 3: the client answers, or says by itself that they are done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProgressResponse {
    /// How far they are.
    pub(crate) details: UploadProgress,
}

/// How far uploads are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum UploadProgress {
    /// So many are done.
    Running {
        /// How many.
        uploaded_objects_count: i32,
    },
    /// All are done.
    Complete,
}

/// Push, 4: the client has sent everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PushComplete {}
