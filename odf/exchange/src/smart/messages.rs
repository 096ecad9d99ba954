//! The messages of the Smart Transfer Protocol, version 1, as kamu writes them: one JSON text frame each.
//!
//! The protocol's written specification (asyncapi) is of another form; what is here is what goes over the wire. Results
//! are `{"Ok": …}` or `{"Err": …}`, absent values are `null`, fields are in snake_case and variants in PascalCase.
//! Readers ignore what they do not know and take an absent field for `null`.

use serde::{Deserialize, Serialize};

use odf_metadata::{DatasetId, Multihash};

/// The version of the protocol, the value of [`VERSION_HEADER`] in every request.
pub(crate) const VERSION: i32 = 1;
/// The longest message that is sent or taken, in bytes: kamu's own limit. It holds the bundle of some 50,000 blocks.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;
/// The header field that tells the version.
pub(crate) const VERSION_HEADER: &str = "x-odf-smtp-version";

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

/// Metadata blocks, packed; see [`super::bundle`].
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

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;

    use super::*;

    const HASH: &str = "f162008c3792b2a4deed1bd7ea2328fb5de5531eccf0fbfa04a7d800cdc267137c635";

    fn hash() -> Multihash {
        HASH.parse().unwrap()
    }

    /// What is written is this very text, and the text reads as what was written.
    #[track_caller]
    fn exact<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: T, text: &str) {
        let text = text.replace("HASH", HASH);
        assert_eq!(serde_json::to_string(&value).unwrap(), text);
        assert_eq!(serde_json::from_str::<T>(&text).unwrap(), value);
    }

    const PLAN: TransferPlan = TransferPlan {
        num_blocks: 4,
        num_objects: 3,
        num_records: 20,
        bytes_in_raw_blocks: 1000,
        bytes_in_raw_objects: 5000,
    };
    const PLAN_TEXT: &str =
        r#"{"num_blocks":4,"num_objects":3,"num_records":20,"bytes_in_raw_blocks":1000,"bytes_in_raw_objects":5000}"#;

    fn object() -> ObjectFile {
        ObjectFile {
            object_type: ObjectType::DataSlice,
            physical_hash: hash(),
            size: 7,
        }
    }

    #[test]
    fn the_messages_of_a_pull_are_kamus() {
        exact(
            PullRequest {
                begin_after: None,
                stop_at: None,
                force_update_if_diverged: false,
                pages: false,
            },
            r#"{"begin_after":null,"stop_at":null,"force_update_if_diverged":false}"#,
        );
        exact(
            PullResponse::Ok(PullAccepted {
                transfer_plan: PLAN,
                more: false,
            }),
            &format!(r#"{{"Ok":{{"transfer_plan":{PLAN_TEXT}}}}}"#),
        );
        exact(
            PullResponse::Err(PullRefused::InvalidInterval {
                head: hash(),
                tail: hash(),
            }),
            r#"{"Err":{"InvalidInterval":{"head":"HASH","tail":"HASH"}}}"#,
        );
        exact(
            PullResponse::Err(PullRefused::Internal(InternalError {
                phase: Phase::Pull(PullPhase::ObjectsRequest),
                error_message: "Internal error".to_owned(),
            })),
            r#"{"Err":{"Internal":{"phase":{"Pull":"ObjectsRequest"},"error_message":"Internal error"}}}"#,
        );
        exact(
            PullResponse::Err(PullRefused::SeedBlockOverwriteRestricted(Empty {})),
            r#"{"Err":{"SeedBlockOverwriteRestricted":{}}}"#,
        );
        exact(PullMetadataRequest {}, "{}");
        exact(
            PullMetadataResponse {
                blocks: BlocksBatch {
                    num_blocks: 1,
                    media_type: "application/tar+gzip".to_owned(),
                    encoding: "raw".to_owned(),
                    payload: vec![31, 139, 0],
                },
            },
            r#"{"blocks":{"num_blocks":1,"media_type":"application/tar+gzip","encoding":"raw","payload":[31,139,0]}}"#,
        );
        exact(
            PullObjectsRequest {
                object_files: vec![object()],
            },
            r#"{"object_files":[{"object_type":"DataSlice","physical_hash":"HASH","size":7}]}"#,
        );
        exact(
            PullObjectsResponse {
                object_transfer_strategies: vec![PullStrategy {
                    object_file: object(),
                    pull_strategy: PullMeans::HttpDownload,
                    download_from: TransferUrl {
                        url: "http://localhost/x/data/y".to_owned(),
                        headers: vec![HeaderRow {
                            name: "a".to_owned(),
                            value: "b".to_owned(),
                        }],
                        expires_at: None,
                    },
                }],
            },
            concat!(
                r#"{"object_transfer_strategies":[{"object_file":{"object_type":"DataSlice","physical_hash":"HASH","size":7},"#,
                r#""pull_strategy":"HttpDownload","download_from":{"url":"http://localhost/x/data/y","#,
                r#""headers":[{"name":"a","value":"b"}],"expires_at":null}}]}"#
            ),
        );
    }

    #[test]
    fn what_kamu_does_not_know_is_written_only_between_two_odfs() {
        exact(
            PullRequest {
                begin_after: Some(hash()),
                stop_at: None,
                force_update_if_diverged: false,
                pages: true,
            },
            r#"{"begin_after":"HASH","stop_at":null,"force_update_if_diverged":false,"pages":true}"#,
        );
        exact(
            PullResponse::Ok(PullAccepted {
                transfer_plan: PLAN,
                more: true,
            }),
            &format!(r#"{{"Ok":{{"transfer_plan":{PLAN_TEXT},"more":true}}}}"#),
        );
        exact(
            PushObjectsRequest {
                object_files: vec![],
                is_truncated: true,
                together: true,
            },
            r#"{"object_files":[],"is_truncated":true,"together":true}"#,
        );
        let to = TransferUrl {
            url: "objects".to_owned(),
            headers: vec![],
            expires_at: None,
        };
        exact(
            PushObjectsResponse::Ok(PushObjectsAccepted {
                object_transfer_strategies: vec![],
                together: Some(to),
            }),
            r#"{"Ok":{"object_transfer_strategies":[],"together":{"url":"objects","headers":[],"expires_at":null}}}"#,
        );
    }

    #[test]
    fn the_messages_of_a_push_are_kamus() {
        exact(
            PushRequest {
                current_head: Some(hash()),
                transfer_plan: PLAN,
                force_update_if_diverged: true,
                visibility_for_created_dataset: Visibility::Public,
            },
            &format!(
                r#"{{"current_head":"HASH","transfer_plan":{PLAN_TEXT},"force_update_if_diverged":true,"visibility_for_created_dataset":"Public"}}"#
            ),
        );
        exact(PushResponse::Ok(Empty {}), r#"{"Ok":{}}"#);
        exact(
            PushResponse::Err(PushRefused::InvalidHead {
                actual_head: None,
                expected_head: Some(hash()),
            }),
            r#"{"Err":{"InvalidHead":{"actual_head":null,"expected_head":"HASH"}}}"#,
        );
        exact(
            PushMetadataResponse::Err(PushMetadataRefused::SeedBlockOverwriteRestricted(Empty {})),
            r#"{"Err":{"SeedBlockOverwriteRestricted":{}}}"#,
        );
        exact(
            PushObjectsRequest {
                object_files: vec![],
                is_truncated: false,
                together: false,
            },
            r#"{"object_files":[],"is_truncated":false}"#,
        );
        exact(
            PushObjectsResponse::Ok(PushObjectsAccepted {
                object_transfer_strategies: vec![PushStrategy {
                    object_file: object(),
                    push_strategy: PushMeans::SkipUpload,
                    upload_to: None,
                }],
                together: None,
            }),
            concat!(
                r#"{"Ok":{"object_transfer_strategies":[{"object_file":{"object_type":"DataSlice","physical_hash":"HASH","#,
                r#""size":7},"push_strategy":"SkipUpload","upload_to":null}]}}"#
            ),
        );
        let id = DatasetId::from_public_key([7; 32]);
        exact(
            PushObjectsResponse::Err(PushObjectsRefused::RefCollision { dataset_id: id }),
            &format!(r#"{{"Err":{{"RefCollision":{{"dataset_id":"{id}"}}}}}}"#),
        );
        exact(
            PushObjectsResponse::Err(PushObjectsRefused::NameCollision {
                dataset_alias: "a/b".to_owned(),
            }),
            r#"{"Err":{"NameCollision":{"dataset_alias":"a/b"}}}"#,
        );
        exact(ProgressRequest {}, "{}");
        exact(
            ProgressResponse {
                details: UploadProgress::Running {
                    uploaded_objects_count: 3,
                },
            },
            r#"{"details":{"Running":{"uploaded_objects_count":3}}}"#,
        );
        exact(
            ProgressResponse {
                details: UploadProgress::Complete,
            },
            r#"{"details":"Complete"}"#,
        );
        exact(PushComplete {}, "{}");
    }

    #[test]
    fn readers_take_less_and_more_than_kamu_writes() {
        let request: PullRequest = serde_json::from_str(r#"{"new_field":1}"#).unwrap();
        assert_eq!(request.begin_after, None);
        assert!(!request.force_update_if_diverged && !request.pages);
        let url: TransferUrl = serde_json::from_str(r#"{"url":"data/x"}"#).unwrap();
        assert!(url.headers.is_empty());
        let push = format!(r#"{{"transfer_plan":{PLAN_TEXT},"visibility_for_created_dataset":"public"}}"#);
        let push: PushRequest = serde_json::from_str(&push).unwrap();
        assert_eq!(push.visibility_for_created_dataset, Visibility::Public);
    }

    #[test]
    fn credentials_stay_out_of_logs() {
        let url = TransferUrl {
            url: "https://s3/x?signature=secret".to_owned(),
            headers: vec![HeaderRow {
                name: "authorization".to_owned(),
                value: "Bearer secret".to_owned(),
            }],
            expires_at: None,
        };
        assert!(!format!("{url:?}").contains("secret"));
    }
}
