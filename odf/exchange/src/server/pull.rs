//! The smart protocol's pull, as the server.

use std::sync::Arc;

use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use url::Url;

use super::answer::Refusal;
use super::request::{Params, blocking, dataset_in, few_enough};
use super::socket::{Socket, SocketError, within_limits};
use super::{Server, access};
use crate::smart::messages::{
    HeaderRow, InternalError, ObjectFile, Phase, PullAccepted, PullMeans, PullMetadataRequest, PullMetadataResponse,
    PullObjectsRequest, PullObjectsResponse, PullPhase, PullRefused, PullRequest, PullResponse, PullStrategy,
    TransferUrl, VERSION, VERSION_HEADER,
};
use crate::smart::{MAX_OBJECT_REQUESTS, bundle, plan};
use odf_dataset::{Dataset, DatasetError};
use odf_metadata::Multihash;
use odf_metadata::codec::EncodedBlock;

/// Where one side reaches the objects of a dataset.
#[derive(Clone)]
pub(super) struct Links {
    base: Url,
    headers: Vec<HeaderRow>,
}

impl Links {
    /// Below `base`, with the token that the request came with.
    pub(super) fn new(base: Url, headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut rows = vec![HeaderRow {
            name: VERSION_HEADER.to_owned(),
            value: VERSION.to_string(),
        }];
        if let Some(token) = access::bearer(headers)? {
            rows.push(HeaderRow {
                name: "authorization".to_owned(),
                value: format!("Bearer {token}"),
            });
        }
        Ok(Self { base, headers: rows })
    }

    /// The address of an object.
    pub(super) fn to(&self, file: &ObjectFile) -> TransferUrl {
        let object = plan::object(file);
        TransferUrl {
            url: format!("{}{object}", self.base),
            headers: self.headers.clone(),
            expires_at: None,
        }
    }
}

/// Accepts a pull of a dataset that is here.
pub(super) async fn begin(
    State(server): State<Arc<Server>>,
    Path(params): Params,
    uri: Uri,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Refusal> {
    let name = dataset_in(&params)?;
    let shared = Arc::clone(&server);
    let dataset = blocking(move || shared.existing(&name)).await??;
    access::same_version(&headers)?;
    let links = Links::new(server.dataset_url(&uri, &headers)?, &headers)?;
    let permit = server.transfer_permit()?;
    Ok(within_limits(upgrade).on_upgrade(async move |socket| {
        serve(socket, dataset, links).await;
        drop(permit);
    }))
}

async fn serve(socket: WebSocket, dataset: Dataset, links: Links) {
    let mut socket = Socket::new(socket);
    match flow(&mut socket, dataset, &links).await {
        Ok(()) => socket.farewell().await,
        Err(SocketError::Gone) => {}
        Err(error) => {
            tracing::debug!(%error, "a pull ended early");
            socket.refuse(&error.to_string()).await;
        }
    }
}

/// What a request for blocks comes to.
enum Asked {
    Blocks(Vec<EncodedBlock>),
    NotInChain { head: Multihash, tail: Multihash },
}

async fn flow(socket: &mut Socket, dataset: Dataset, links: &Links) -> Result<(), SocketError> {
    let request: PullRequest = socket.receive().await?;
    let reading = blocking(move || blocks(&dataset, &request)).await;
    let blocks = match reading
        .map_err(|refusal| refusal.message)
        .and_then(|read| read.map_err(|error| error.to_string()))
    {
        Ok(Asked::Blocks(blocks)) => blocks,
        Ok(Asked::NotInChain { head, tail }) => {
            return socket
                .send(&PullResponse::Err(PullRefused::InvalidInterval { head, tail }))
                .await;
        }
        Err(error) => {
            tracing::error!(error, "a dataset could not be read for a pull");
            let error = InternalError {
                phase: Phase::Pull(PullPhase::InitialRequest),
                error_message: "internal error".to_owned(),
            };
            return socket.send(&PullResponse::Err(PullRefused::Internal(error))).await;
        }
    };
    let accepted = PullAccepted {
        transfer_plan: plan::of(&blocks),
    };
    socket.send(&PullResponse::Ok(accepted)).await?;
    let PullMetadataRequest {} = socket.receive().await?;
    let packed = blocking(move || bundle::pack(&blocks)).await;
    let blocks = match packed {
        Ok(Ok(batch)) => batch,
        Ok(Err(error)) => return Err(SocketError::Malformed(error.to_string())),
        Err(_) => return Err(SocketError::Gone),
    };
    socket.send(&PullMetadataResponse { blocks }).await?;
    let mut answered = 0;
    loop {
        let request: PullObjectsRequest = match socket.receive().await {
            Ok(request) => request,
            // Closing is how a client says that it has everything, and downloads may take their time.
            Err(SocketError::Gone | SocketError::Silent) => return Ok(()),
            Err(error) => return Err(error),
        };
        // Only now: after the last that is answered a client has yet to say that it has everything.
        if answered == MAX_OBJECT_REQUESTS {
            return Err(SocketError::Malformed(format!(
                "more than {MAX_OBJECT_REQUESTS} requests for objects"
            )));
        }
        answered += 1;
        few_enough(&request.object_files).map_err(SocketError::Malformed)?;
        let strategies = request.object_files.into_iter().map(|object_file| PullStrategy {
            object_file,
            pull_strategy: PullMeans::HttpDownload,
            download_from: links.to(&object_file),
        });
        let object_transfer_strategies = strategies.collect();
        socket
            .send(&PullObjectsResponse {
                object_transfer_strategies,
            })
            .await?;
    }
}

/// The blocks that a request asks for, oldest first.
fn blocks(dataset: &Dataset, request: &PullRequest) -> Result<Asked, DatasetError> {
    let head = request.stop_at.unwrap_or(*dataset.head());
    let mut blocks = Vec::new();
    let (mut tail_found, mut head_found) = (request.begin_after.is_none(), false);
    if request.begin_after == Some(head) {
        return Ok(Asked::Blocks(blocks));
    }
    for stored in dataset.blocks()?.rev() {
        let block = stored?.block;
        head_found |= *block.hash() == head;
        if !head_found {
            continue;
        }
        if request.begin_after == Some(*block.hash()) {
            tail_found = true;
            break;
        }
        blocks.push(block);
    }
    match request.begin_after {
        Some(tail) if !head_found || !(tail_found || request.force_update_if_diverged) => {
            Ok(Asked::NotInChain { head, tail })
        }
        None if !head_found => Ok(Asked::NotInChain { head, tail: head }),
        _ => {
            blocks.reverse();
            Ok(Asked::Blocks(blocks))
        }
    }
}
