//! The smart protocol's pull, as the server.

use std::sync::Arc;

use axum::Extension;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use url::Url;

use super::answer::Refusal;
use super::limits::OBJECT_BYTES;
use super::request::{Params, blocking, dataset_in, few_enough};
use super::sender::{Sender, Way};
use super::socket::{Socket, SocketError, within_limits};
use super::{FIRST_WORDS, MAX_BUNDLES_BYTES, MAX_FIRST_BYTES, PATIENCE, PULL_PATIENCE, Server, access};
use crate::smart::bundle::{BundleError, Packer};
use crate::smart::messages::{
    BlocksBatch, HeaderRow, InternalError, ObjectFile, Phase, PullAccepted, PullMeans, PullMetadataRequest,
    PullMetadataResponse, PullObjectsRequest, PullObjectsResponse, PullPhase, PullRefused, PullRequest, PullResponse,
    PullStrategy, TransferPlan, TransferUrl, VERSION, VERSION_HEADER,
};
use crate::smart::{MAX_OBJECT_REQUESTS, plan};
use odf_dataset::{BlockPlace, Dataset, DatasetError, StoredBlock};
use odf_metadata::Multihash;

/// Where one side reaches the objects of a dataset.
#[derive(Clone)]
pub(super) struct Links {
    base: Url,
    headers: Vec<HeaderRow>,
}

impl Links {
    /// Below `base`, with the token that the request came with. A token that came encrypted is not sent on its way in the
    /// clear: whoever follows such links shows it by itself, or is told that it is missing.
    pub(super) fn new(base: Url, headers: &HeaderMap, way: &Way) -> Result<Self, Refusal> {
        let mut rows = vec![HeaderRow {
            name: VERSION_HEADER.to_owned(),
            value: VERSION.to_string(),
        }];
        let clear = base.scheme() != "https";
        if let Some(token) = access::bearer(headers)?.filter(|_| !(clear && came_encrypted(headers, way))) {
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

/// Whether a request was encrypted somewhere on its way, whoever says so.
fn came_encrypted(headers: &HeaderMap, way: &Way) -> bool {
    let said = headers.get("x-forwarded-proto").and_then(|scheme| scheme.to_str().ok());
    way.secure || said.is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https"))
}

/// Accepts a pull of a dataset that is here.
pub(super) async fn begin(
    State(server): State<Arc<Server>>,
    Path(params): Params,
    uri: Uri,
    Extension(sender): Extension<Sender>,
    Extension(way): Extension<Way>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Refusal> {
    // Before anything is looked up.
    let turn = server.transfers.take(&sender, &way)?;
    let name = dataset_in(&params)?;
    let shared = Arc::clone(&server);
    let dataset = blocking(move || shared.readable(&name, &sender)).await??;
    access::same_version(&headers)?;
    let links = Links::new(server.dataset_url(&uri, &headers, &way)?, &headers, &way)?;
    let longest = longest_message(&dataset);
    Ok(within_limits(upgrade, longest).on_upgrade(async move |socket| {
        serve(socket, &server, dataset, links).await;
        drop(turn);
    }))
}

/// The longest message of somebody who pulls: a list of all objects of the dataset.
fn longest_message(dataset: &Dataset) -> usize {
    let totals = &dataset.state().totals;
    let objects = usize::try_from(totals.slices.saturating_add(totals.checkpoints)).unwrap_or(usize::MAX);
    objects.saturating_mul(OBJECT_BYTES).saturating_add(MAX_FIRST_BYTES)
}

async fn serve(socket: WebSocket, server: &Server, dataset: Dataset, links: Links) {
    let mut socket = Socket::new(socket);
    match flow(&mut socket, server, dataset, &links).await {
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
    Blocks(Wanted),
    NotInChain { head: Multihash, tail: Multihash },
}

/// Blocks that were asked for, oldest first, by their places: a chain may be longer than memory wants to hold.
#[derive(Default)]
struct Wanted {
    places: Vec<(BlockPlace, Multihash)>,
    plan: TransferPlan,
}

/// Why blocks could not be packed.
#[derive(Debug, thiserror::Error)]
enum PackError {
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error("the history of the dataset was rewritten meanwhile")]
    Rewritten,
}

async fn flow(socket: &mut Socket, server: &Server, dataset: Dataset, links: &Links) -> Result<(), SocketError> {
    let request: PullRequest = socket.receive_within(FIRST_WORDS).await?;
    let read = dataset.clone();
    let reading = blocking(move || wanted(&read, &request)).await;
    let wanted = match reading
        .map_err(|refusal| refusal.message)
        .and_then(|read| read.map_err(|error| error.to_string()))
    {
        Ok(Asked::Blocks(wanted)) => wanted,
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
    let transfer_plan = wanted.plan;
    socket.send(&PullResponse::Ok(PullAccepted { transfer_plan })).await?;
    let PullMetadataRequest {} = socket.receive_within(PULL_PATIENCE).await?;
    send_blocks(socket, server, dataset, wanted).await?;
    let mut answered = 0;
    loop {
        let request: PullObjectsRequest = match socket.receive_within(PULL_PATIENCE).await {
            Ok(request) => request,
            // Closing is how a client says that it has everything. One that is silent downloads, or is gone; the rest it
            // gets by the simple protocol.
            Err(SocketError::Gone | SocketError::Silent(_)) => return Ok(()),
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

/// Sends the bundle, when there is room in memory for it: bundles of all pulls together have [`MAX_BUNDLES_BYTES`].
async fn send_blocks(
    socket: &mut Socket,
    server: &Server,
    dataset: Dataset,
    wanted: Wanted,
) -> Result<(), SocketError> {
    let room = Arc::clone(&server.bundles).acquire_many_owned(memory_for(wanted.plan.bytes_in_raw_blocks));
    let room = tokio::time::timeout(PATIENCE, room).await;
    let Ok(Ok(_room)) = room else {
        return Err(SocketError::Busy);
    };
    let packed = blocking(move || pack(&dataset, &wanted)).await;
    let blocks = match packed {
        Ok(Ok(batch)) => batch,
        Ok(Err(error)) => return Err(SocketError::Malformed(error.to_string())),
        Err(_) => return Err(SocketError::Gone),
    };
    socket.send(&PullMetadataResponse { blocks }).await
}

/// How many bytes of memory a byte of metadata takes at most until it is sent: packed, as numbers in JSON, and once more
/// in what the connection buffers.
const BUNDLE_COST: u64 = 8;

/// The memory that the bundle of blocks of so many bytes may take up; all there is, where that is less.
fn memory_for(bytes: u64) -> u32 {
    let bytes = bytes.saturating_mul(BUNDLE_COST).min(MAX_BUNDLES_BYTES as u64);
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn pack(dataset: &Dataset, wanted: &Wanted) -> Result<BlocksBatch, PackError> {
    let places: Vec<BlockPlace> = wanted.places.iter().map(|(place, _)| *place).collect();
    let mut packer = Packer::new();
    for (bytes, (_, hash)) in dataset.bytes_of(places)?.zip(&wanted.places) {
        let bytes = bytes?;
        if Multihash::sha3_256(&bytes) != *hash {
            return Err(PackError::Rewritten);
        }
        packer.add(hash, &bytes)?;
    }
    Ok(packer.finish()?)
}

/// The blocks that a request asks for.
fn wanted(dataset: &Dataset, request: &PullRequest) -> Result<Asked, DatasetError> {
    let head = request.stop_at.unwrap_or(*dataset.head());
    let mut wanted = Wanted::default();
    let (mut tail_found, mut head_found) = (request.begin_after.is_none(), false);
    if request.begin_after == Some(head) {
        return Ok(Asked::Blocks(wanted));
    }
    for stored in dataset.blocks()?.rev() {
        let StoredBlock { block, place } = stored?;
        head_found |= *block.hash() == head;
        if !head_found {
            continue;
        }
        if request.begin_after == Some(*block.hash()) {
            tail_found = true;
            break;
        }
        plan::add(&mut wanted.plan, &block);
        wanted.places.push((place, *block.hash()));
    }
    match request.begin_after {
        Some(tail) if !head_found || !(tail_found || request.force_update_if_diverged) => {
            Ok(Asked::NotInChain { head, tail })
        }
        None if !head_found => Ok(Asked::NotInChain { head, tail: head }),
        _ => {
            wanted.places.reverse();
            Ok(Asked::Blocks(wanted))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bundle_asks_for_more_memory_than_there_is() {
        assert_eq!(memory_for(1000), 1000 * BUNDLE_COST as u32);
        for bytes in [MAX_BUNDLES_BYTES as u64, u64::MAX] {
            assert_eq!(memory_for(bytes) as usize, MAX_BUNDLES_BYTES);
        }
    }
}
