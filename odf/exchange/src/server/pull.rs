//! The smart protocol's pull, as the server.
//!
//! Another odfs takes a long chain in pages. kamu knows of none and gets all of it, or as much as a message holds: it is at a
//! block in between then, and its next pull goes on from there.

use std::sync::Arc;

use axum::Extension;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use bytes::Bytes;
use url::Url;

use super::answer::Refusal;
use super::blocks::Blocks;
use super::limits::OBJECT_BYTES;
use super::request::{Params, blocking, dataset_in, few_enough};
use super::sender::{Sender, Way};
use super::socket::{Socket, SocketError, within_limits};
use super::{FIRST_WORDS, MAX_BUNDLES_BYTES, MAX_FIRST_BYTES, PATIENCE, PULL_PATIENCE, Server, access};
use crate::smart::bundle::{BundleError, FITTING_BYTES, Packer, surely_fit};
use crate::smart::messages::{
    BlocksBatch, HeaderRow, InternalError, ObjectFile, Phase, PullAccepted, PullMeans, PullMetadataRequest,
    PullMetadataResponse, PullObjectsRequest, PullObjectsResponse, PullPhase, PullRefused, PullRequest, PullResponse,
    PullStrategy, TransferPlan, TransferUrl, VERSION, VERSION_HEADER,
};
use crate::smart::{MAX_OBJECT_REQUESTS, is_on_page, plan};
use crate::together::OBJECTS_FILE;
use odf_dataset::{BlockPlace, Dataset, DatasetError, StoredBlock};
use odf_metadata::Multihash;
use odf_metadata::codec::EncodedBlock;
use tokio::sync::OwnedSemaphorePermit;

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
        self.below(&plan::object(file))
    }

    /// The address of many objects together.
    pub(super) fn to_many(&self) -> TransferUrl {
        self.below(&OBJECTS_FILE)
    }

    fn below(&self, file: &dyn std::fmt::Display) -> TransferUrl {
        TransferUrl {
            url: format!("{}{file}", self.base),
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
        // After its first words it is silent while it downloads, and gets the rest by the simple protocol if this ends.
        turn.waits_for_client();
        tokio::select! {
            () = serve(socket, &server, dataset, links) => {}
            () = turn.cut() => tracing::debug!("a pull that said nothing made room for another"),
        }
    }))
}

/// The longest message of somebody who pulls: a list of all objects of the dataset.
fn longest_message(dataset: &Dataset) -> usize {
    let totals = &dataset.state().totals;
    let objects = usize::try_from(totals.slices.saturating_add(totals.checkpoints)).unwrap_or(usize::MAX);
    objects.saturating_mul(OBJECT_BYTES).saturating_add(MAX_FIRST_BYTES)
}

async fn serve(socket: WebSocket, server: &Arc<Server>, dataset: Dataset, links: Links) {
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
    /// More was asked for.
    more: bool,
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

async fn flow(socket: &mut Socket, server: &Arc<Server>, dataset: Dataset, links: &Links) -> Result<(), SocketError> {
    let request: PullRequest = socket.receive_within(FIRST_WORDS).await?;
    let (read, shared) = (dataset.clone(), Arc::clone(server));
    let reading = blocking(move || wanted(&shared.blocks, &read, &request)).await;
    let mut wanted = match reading
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
    let mut packed = None;
    if !surely_fit(u64::from(wanted.plan.num_blocks), wanted.plan.bytes_in_raw_blocks) {
        // How many fit shows when they are packed.
        let (taken, bundle) = pack_in_turn(server, dataset.clone(), wanted, pack_some).await?;
        (wanted, packed) = (taken, Some(bundle));
    }
    let accepted = PullAccepted {
        transfer_plan: wanted.plan,
        more: wanted.more,
    };
    socket.send(&PullResponse::Ok(accepted)).await?;
    let PullMetadataRequest {} = socket.receive_within(PULL_PATIENCE).await?;
    let bundle = match packed {
        Some(bundle) => bundle,
        None => pack_in_turn(server, dataset, wanted, pack).await?.1,
    };
    let blocks = bundle.blocks;
    socket.send(&PullMetadataResponse { blocks }).await?;
    drop(bundle.room);
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

/// Packed blocks, and the memory that they take up.
struct Bundle {
    blocks: BlocksBatch,
    room: OwnedSemaphorePermit,
}

/// How blocks are packed: all that are wanted, or as many as fit, and then those are what is wanted.
type Pack = fn(&Dataset, &mut Wanted) -> Result<BlocksBatch, PackError>;

/// Packs blocks when there is room in memory for them: bundles of all pulls together have [`MAX_BUNDLES_BYTES`].
async fn pack_in_turn(
    server: &Server,
    dataset: Dataset,
    mut wanted: Wanted,
    pack: Pack,
) -> Result<(Wanted, Bundle), SocketError> {
    let room = Arc::clone(&server.bundles).acquire_many_owned(memory_for(wanted.plan.bytes_in_raw_blocks));
    let room = tokio::time::timeout(PATIENCE, room).await;
    let Ok(Ok(room)) = room else {
        return Err(SocketError::Busy);
    };
    let packed = blocking(move || pack(&dataset, &mut wanted).map(|blocks| (wanted, blocks))).await;
    match packed {
        Ok(Ok((wanted, blocks))) => Ok((wanted, Bundle { blocks, room })),
        Ok(Err(error)) => Err(SocketError::Malformed(error.to_string())),
        Err(_) => Err(SocketError::Gone),
    }
}

/// How many bytes of memory a byte of metadata takes at most until it is sent: packed, as numbers in JSON, and once more
/// in what the connection buffers.
const BUNDLE_COST: u64 = 8;

/// The memory that the bundle of blocks of so many bytes may take up; all there is, where that is less.
fn memory_for(bytes: u64) -> u32 {
    let bytes = bytes.saturating_mul(BUNDLE_COST).min(MAX_BUNDLES_BYTES as u64);
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn pack(dataset: &Dataset, wanted: &mut Wanted) -> Result<BlocksBatch, PackError> {
    let places: Vec<BlockPlace> = wanted.places.iter().map(|(place, _)| *place).collect();
    let mut packer = Packer::new();
    for (bytes, (_, hash)) in dataset.bytes_of(places)?.zip(&wanted.places) {
        packer.add(hash, &same(bytes?, hash)?)?;
    }
    Ok(packer.finish()?)
}

/// Packs the oldest of the blocks, as many as a message holds.
fn pack_some(dataset: &Dataset, wanted: &mut Wanted) -> Result<BlocksBatch, PackError> {
    pack_within(dataset, wanted, FITTING_BYTES)
}

/// Packs the oldest of the blocks, one at least and then as many as fit into so many bytes; those are all that is wanted then.
fn pack_within(dataset: &Dataset, wanted: &mut Wanted, room: usize) -> Result<BlocksBatch, PackError> {
    let places: Vec<BlockPlace> = wanted.places.iter().map(|(place, _)| *place).collect();
    let (mut packer, mut plan) = (Packer::new(), TransferPlan::default());
    for (bytes, (_, hash)) in dataset.bytes_of(places)?.zip(&wanted.places) {
        let bytes = same(bytes?, hash)?;
        if plan.num_blocks > 0 && !packer.has_room_for(bytes.len(), room) {
            break;
        }
        packer.add(hash, &bytes)?;
        let block = EncodedBlock::decode(bytes);
        let block = block.map_err(|source| DatasetError::Block { sequence: None, source })?;
        plan::add(&mut plan, &block);
    }
    wanted.more |= plan.num_blocks < wanted.plan.num_blocks;
    wanted.places.truncate(plan.num_blocks as usize);
    wanted.plan = plan;
    Ok(packer.finish()?)
}

/// Bytes that are still those of the block that was there when its place was noted.
fn same(bytes: Bytes, hash: &Multihash) -> Result<Bytes, PackError> {
    match Multihash::sha3_256(&bytes) == *hash {
        true => Ok(bytes),
        false => Err(PackError::Rewritten),
    }
}

/// The blocks that a request asks for, or a page of them.
fn wanted(blocks: &Blocks, dataset: &Dataset, request: &PullRequest) -> Result<Asked, DatasetError> {
    let head = request.stop_at.unwrap_or(*dataset.head());
    let mut wanted = Wanted::default();
    if request.begin_after == Some(head) {
        return Ok(Asked::Blocks(wanted));
    }
    let Some(last) = blocks.place(dataset, &head)? else {
        let tail = request.begin_after.unwrap_or(head);
        return Ok(Asked::NotInChain { head, tail });
    };
    let after = match request.begin_after {
        None => None,
        Some(tail) => match blocks.place(dataset, &tail)? {
            Some(place) if place.offset < last.offset => Some(place),
            _ if request.force_update_if_diverged => None,
            _ => return Ok(Asked::NotInChain { head, tail }),
        },
    };
    for stored in dataset.blocks_after(after)? {
        let StoredBlock { block, place } = stored?;
        if place.offset > last.offset {
            break;
        }
        let (count, bytes) = (wanted.places.len(), wanted.plan.bytes_in_raw_blocks);
        if request.pages && !is_on_page(count, bytes, u64::from(place.len)) {
            wanted.more = true;
            break;
        }
        plan::add(&mut wanted.plan, &block);
        wanted.places.push((place, *block.hash()));
    }
    Ok(Asked::Blocks(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smart::{PAGE_BLOCKS, bundle, sample};
    use odf_dataset::RemoteAliases;
    use odf_dataset::receive::Arrival;

    fn dataset(dir: &std::path::Path, blocks: &[EncodedBlock]) -> Dataset {
        let workspace = crate::datasets_in(dir);
        let name = "ds".parse().unwrap();
        let arrival = Arrival::begin(&workspace, sample::id(1), &name, RemoteAliases::default()).unwrap();
        arrival.commit(blocks, false).unwrap().dataset
    }

    fn asked(dataset: &Dataset, begin_after: Option<Multihash>, pages: bool) -> Wanted {
        let request = PullRequest {
            begin_after,
            stop_at: None,
            force_update_if_diverged: false,
            pages,
        };
        match wanted(&Blocks::default(), dataset, &request).unwrap() {
            Asked::Blocks(wanted) => wanted,
            Asked::NotInChain { head, tail } => panic!("{head} {tail}"),
        }
    }

    #[test]
    fn one_block_more_than_a_page_comes_with_the_next_and_kamu_gets_all() {
        let dir = tempfile::tempdir().unwrap();
        let length = PAGE_BLOCKS as u64 + 1;
        let chain = sample::chain(sample::id(1), length, length, "");
        let dataset = dataset(dir.path(), &chain);
        let first = asked(&dataset, None, true);
        assert_eq!((first.places.len(), first.more), (PAGE_BLOCKS, true));
        let last = first.places[PAGE_BLOCKS - 1].1;
        assert_eq!(last, *chain[PAGE_BLOCKS - 1].hash());
        let second = asked(&dataset, Some(last), true);
        assert_eq!((second.places.len(), second.more), (1, false));
        let exactly = asked(&dataset, Some(*chain[0].hash()), true);
        assert_eq!((exactly.places.len(), exactly.more), (PAGE_BLOCKS, false));
        let all = asked(&dataset, None, false);
        assert_eq!((all.places.len(), all.more), (PAGE_BLOCKS + 1, false));
    }

    #[test]
    fn as_many_blocks_are_packed_as_fit_and_the_plan_is_of_those() {
        let dir = tempfile::tempdir().unwrap();
        // Noise, so that what is packed is as long as what was.
        let mut chain = sample::chain(sample::id(1), 1, 1, "");
        for _ in 0..20 {
            let noise: String = (0..64 << 10)
                .map(|_| char::from(rand::random_range(b'0'..=b'z')))
                .collect();
            let description = Some(noise);
            let keywords = None;
            let event = odf_metadata::MetadataEvent::SetInfo(odf_metadata::SetInfo { description, keywords });
            let next = sample::after(chain.last().unwrap(), event);
            chain.push(next);
        }
        let dataset = dataset(dir.path(), &chain);
        let mut some = asked(&dataset, None, false);
        let room = 1 << 20;
        let batch = pack_within(&dataset, &mut some, room).unwrap();
        let packed = bundle::unpack(&batch).unwrap();
        assert!(packed.len() > 1 && packed.len() < chain.len(), "{}", packed.len());
        assert!(batch.payload.len() <= room);
        assert_eq!(packed, chain[..packed.len()]);
        assert_eq!((some.plan, some.more), (plan::of(&packed), true));
        assert_eq!(some.places.len(), packed.len());
        let mut all = asked(&dataset, None, false);
        let batch = pack_within(&dataset, &mut all, FITTING_BYTES).unwrap();
        assert_eq!(bundle::unpack(&batch).unwrap(), chain);
        assert!(!all.more);
        // One block goes in any case.
        let mut first = asked(&dataset, None, false);
        assert_eq!(pack_within(&dataset, &mut first, 0).unwrap().num_blocks, 1);
    }

    #[test]
    fn no_bundle_asks_for_more_memory_than_there_is() {
        assert_eq!(memory_for(1000), 1000 * BUNDLE_COST as u32);
        for bytes in [MAX_BUNDLES_BYTES as u64, u64::MAX] {
            assert_eq!(memory_for(bytes) as usize, MAX_BUNDLES_BYTES);
        }
    }
}
