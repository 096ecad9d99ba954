use odf_metadata::{DatasetId, Multihash};
use serde::Serialize;
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
