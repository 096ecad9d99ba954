//! Many small objects in one request: read by whoever may read, brought by whoever pushes.

use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::{Extension, RequestExt as _};
use futures::stream;

use super::answer::Refusal;
use super::objects;
use super::request::{Params, blocking, dataset_in};
use super::sender::Sender;
use super::{FIRST_WORDS, Server};
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
    let mut response = Response::new(in_pieces(together::Body::new(dataset.dir(), names)));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    Ok(response)
}

/// Reads a piece at a time, when the one before is on its way: nobody who is slow keeps a thread.
fn in_pieces(body: together::Body) -> Body {
    Body::from_stream(stream::try_unfold(body, |mut body| async move {
        let next = tokio::task::spawn_blocking(move || body.piece().map(|piece| (piece, body)));
        let (piece, body) = next.await.map_err(std::io::Error::other)??;
        Ok::<_, std::io::Error>((!piece.is_empty()).then(|| (Bytes::from(piece), body)))
    }))
}

/// PUT: objects that a push waits for. Answered when all are checked; they are durable when the push is.
pub(super) async fn upload(
    State(server): State<Arc<Server>>,
    Path(params): Params,
    mut request: Request,
) -> Result<(), Refusal> {
    let Extension(sender): Extension<Sender> = request
        .extract_parts()
        .await
        .map_err(|error| Refusal::internal(&error))?;
    // As with a single object.
    let label = &sender.holder()?.label;
    let name = dataset_in(&params)?;
    let upload = server
        .uploads
        .of(&name, label)
        .ok_or_else(|| Refusal::new(StatusCode::CONFLICT, format!("no push to {name} waits for objects")))?;
    objects::written("a body of objects", request.into_body(), move |body| {
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
