//! Many small objects in one request: read by whoever may read, brought by whoever pushes.

use std::sync::Arc;

use axum::Extension;
use axum::body::to_bytes;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

use super::answer::Refusal;
use super::request::{Params, blocking, dataset_in};
use super::sender::Sender;
use super::{FIRST_WORDS, Server, body, objects};
use crate::together::{self, MAX_LIST_BYTES, MAX_TOGETHER, MEDIA_TYPE, TakeError};

impl From<TakeError> for Refusal {
    fn from(error: TakeError) -> Self {
        match error {
            TakeError::Receive(error) => error.into(),
            error => Self::bad_request(error.to_string()),
        }
    }
}

/// POST: the objects that the body names. Those that are not here are not in the answer.
pub(super) async fn download(
    State(server): State<Arc<Server>>,
    Path(params): Params,
    Extension(sender): Extension<Sender>,
    request: Request,
) -> Result<Response, Refusal> {
    let name = dataset_in(&params)?;
    let dataset = blocking(move || server.readable(&name, &sender)).await??;
    let list = to_bytes(request.into_body(), MAX_LIST_BYTES);
    let list = tokio::time::timeout(FIRST_WORDS, list).await.map_err(|_| {
        Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("no list of objects came within {} s", FIRST_WORDS.as_secs()),
        )
    })?;
    let names = list.ok().and_then(|list| together::listed(&list)).ok_or_else(|| {
        Refusal::bad_request(format!(
            "the names of at most {MAX_TOGETHER} objects are wanted, one a line: data/HASH or checkpoints/HASH"
        ))
    })?;
    let objects = together::Body::new(dataset.dir(), names);
    let mut response = Response::new(body::in_pieces(objects, together::Body::piece));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    Ok(response)
}

/// PUT: objects that a push waits for. Answered when all are checked; they are durable when the push is.
pub(super) async fn upload(
    State(server): State<Arc<Server>>,
    Path(params): Params,
    mut request: Request,
) -> Result<(), Refusal> {
    let (name, upload) = objects::pushed(&server, &params, &mut request).await?;
    let upload =
        upload.ok_or_else(|| Refusal::new(StatusCode::CONFLICT, format!("no push to {name} waits for objects")))?;
    body::written("a body of objects", request.into_body(), move |body| {
        let wanted = |(kind, hash): &together::Name| upload.wanted(*kind, hash);
        Ok(together::take(
            body,
            upload.arrival(),
            &wanted,
            &mut |_| {},
            &objects::go_on,
        )?)
    })
    .await
}
