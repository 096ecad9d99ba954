//! What is read: references, metadata blocks, and what kamu asks about a server.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;

use super::Server;
use super::answer::{self, Refusal};
use super::request::{Params, blocking, dataset_in, hash_in};
use super::sender::Sender;
use odf_metadata::DatasetId;

/// The only reference of a dataset.
const HEAD: &str = "head";
/// The name of the one account that a workspace has.
const ACCOUNT: &str = "odfs";

/// `refs/head`: the hash, without a newline.
pub(super) async fn reference(
    State(server): State<Arc<Server>>,
    Path(params): Params,
    Extension(sender): Extension<Sender>,
) -> Result<Response, Refusal> {
    let name = dataset_in(&params)?;
    let dataset = blocking(move || server.readable(&name, &sender)).await??;
    match params.get("reference").map(String::as_str) {
        Some(HEAD) => Ok(answer::text(dataset.head().to_string())),
        _ => Err(Refusal::not_found("the only reference is `head`")),
    }
}

/// A metadata block, as its stored bytes.
pub(super) async fn block(
    State(server): State<Arc<Server>>,
    Path(params): Params,
    Extension(sender): Extension<Sender>,
) -> Result<Response, Refusal> {
    let (name, hash) = (dataset_in(&params)?, hash_in(&params)?);
    let bytes = blocking(move || {
        let dataset = server.readable(&name, &sender)?;
        let bytes = server.blocks.get(&dataset, &hash)?;
        bytes.ok_or_else(|| Refusal::not_found(format!("{name} has no metadata block {hash}")))
    })
    .await??;
    let length = bytes.len() as u64;
    Ok(answer::bytes(bytes, length))
}

/// Whether there are accounts. There are none.
pub(super) async fn info() -> Response {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Info {
        is_multi_tenant: bool,
    }
    answer::json(&Info { is_multi_tenant: false })
}

/// Who the holder of a token is.
pub(super) async fn account(Extension(sender): Extension<Sender>) -> Result<Response, Refusal> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Account {
        id: DatasetId,
        account_name: &'static str,
    }
    sender.holder()?;
    // An id has the form of a key. There is no key behind this account, whose id nobody uses.
    let id = DatasetId::from_public_key([0; 32]);
    Ok(answer::json(&Account {
        id,
        account_name: ACCOUNT,
    }))
}

/// Which name a dataset has here.
pub(super) async fn dataset(
    State(server): State<Arc<Server>>,
    Path(params): Params,
    Extension(sender): Extension<Sender>,
) -> Result<Response, Refusal> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Found {
        id: DatasetId,
        dataset_name: String,
    }
    let id = params.get("id").map(String::as_str).unwrap_or_default();
    let id: DatasetId = id
        .parse()
        .map_err(|error: odf_metadata::IdError| Refusal::bad_request(error.to_string()))?;
    let dataset_name = blocking(move || {
        let dataset = server.datasets.catalog().by_id(&id)?;
        let dataset = dataset.ok_or_else(|| Refusal::not_found("Not Found"))?;
        let name = dataset.name()?;
        match Server::may_read(&dataset, &name, &sender) {
            true => Ok(name.to_string()),
            false => Err(Refusal::not_found("Not Found")),
        }
    })
    .await??;
    Ok(answer::json(&Found { id, dataset_name }))
}

/// Whether a token is one.
pub(super) async fn token(Extension(sender): Extension<Sender>) -> Result<(), Refusal> {
    sender.holder().map(|_| ())
}
