//! The smart protocol's push, as the server.
//!
//! The chain comes first and is checked at once, before any object is asked for; objects are checked while they come
//! (see [`super::objects`]); then everything is committed in one step. When the client has said that it is complete, the
//! commit goes on even if the client goes away.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;

use super::answer::{Refusal, blame};
use super::pull::Links;
use super::pushes::LoggedPush;
use super::request::{Params, RESERVED_NAMES, blocking, dataset_in, few_enough};
use super::sender::{Sender, Way};
use super::socket::{Socket, SocketError, within_limits};
use super::tokens::{Entry, Verb};
use super::uploads::{Open, Upload};
use super::{FIRST_WORDS, PATIENCE, Server, access, sender};
use crate::smart::messages::{
    BlocksBatch, Empty, InternalError, Phase, ProgressRequest, ProgressResponse, PushComplete, PushMeans,
    PushMetadataRefused, PushMetadataRequest, PushMetadataResponse, PushObjectsAccepted, PushObjectsRefused,
    PushObjectsRequest, PushObjectsResponse, PushPhase, PushRefused, PushRequest, PushResponse, PushStrategy,
    UploadProgress,
};
use crate::smart::{MAX_MESSAGE_BYTES, MAX_OBJECT_REQUESTS, bundle, plan};
use odf_dataset::catalog::CatalogError;
use odf_dataset::receive::{Arrival, ReceiveError};
use odf_dataset::{Dataset, DatasetName, Object, RemoteAliases};
use odf_disk::SPARE_BYTES;
use odf_metadata::codec::EncodedBlock;
use odf_metadata::{MetadataEvent, Multihash, Seed};

/// How often the client is asked how far its uploads are.
const ASK_EVERY: Duration = Duration::from_secs(10);
/// How often it may be asked without an answer.
pub(super) const MAX_UNANSWERED: u64 = PATIENCE.as_secs() / ASK_EVERY.as_secs();

/// Accepts a push by the holder of a token that says so.
pub(super) async fn begin(
    State(server): State<Arc<Server>>,
    Path(params): Params,
    uri: Uri,
    Extension(sender): Extension<Sender>,
    Extension(way): Extension<Way>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Refusal> {
    sender.holder()?;
    access::same_version(&headers)?;
    let name = dataset_in(&params)?;
    let reserved = RESERVED_NAMES
        .iter()
        .any(|reserved| name.as_str().eq_ignore_ascii_case(reserved));
    let (shared, wanted) = (Arc::clone(&server), name.clone());
    let dataset = blocking(move || shared.find(&wanted)).await??;
    let verb = if dataset.is_some() { Verb::Push } else { Verb::Create };
    let holder = Arc::clone(sender.may(verb, &name)?);
    if reserved && dataset.is_none() {
        return Err(Refusal::bad_request(format!(
            "no dataset can be called {name} here, that is the address of something else"
        )));
    }
    let links = Links::new(server.dataset_url(&uri, &headers, &way)?, &headers, &way)?;
    let turn = server.transfers.take(&sender, &way)?;
    let push = Push {
        server,
        name,
        holder,
        from: way.from,
        dataset,
        links,
    };
    Ok(
        within_limits(upgrade, MAX_MESSAGE_BYTES).on_upgrade(async move |socket| {
            push.serve(socket).await;
            drop(turn);
        }),
    )
}

/// A push under way.
struct Push {
    server: Arc<Server>,
    name: DatasetName,
    holder: Arc<Entry>,
    from: Option<IpAddr>,
    dataset: Option<Dataset>,
    links: Links,
}

/// How a push that did not succeed ends.
#[derive(Debug)]
pub(super) enum End {
    /// The client knows already.
    Told,
    /// The socket.
    Socket(SocketError),
    /// With a reason that the client is to know.
    Refused(String),
    /// With trouble of this server's own, which the log tells.
    Internal(String),
}

impl From<SocketError> for End {
    fn from(error: SocketError) -> Self {
        Self::Socket(error)
    }
}

impl From<ReceiveError> for End {
    fn from(error: ReceiveError) -> Self {
        match blame(&error) {
            Some(reason) => Self::Refused(reason),
            None => Self::Internal(error.to_string()),
        }
    }
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self::Internal(refusal.message)
    }
}

/// What came of the metadata blocks.
enum Begun {
    Open(Open),
    /// There is nothing new.
    Nothing,
    Collision(PushObjectsRefused),
}

impl Push {
    async fn serve(self, socket: WebSocket) {
        let mut socket = Socket::new(socket);
        let name = self.name.clone();
        match self.flow(&mut socket).await {
            Ok(()) | Err(End::Told) => socket.farewell().await,
            Err(End::Socket(SocketError::Gone)) => {
                tracing::debug!(%name, "the client of a push went away");
            }
            Err(End::Socket(error)) => socket.refuse(&error.to_string()).await,
            Err(End::Refused(reason)) => {
                tracing::info!(%name, reason, "a push was refused");
                socket.refuse(&reason).await;
            }
            Err(End::Internal(error)) => {
                tracing::error!(%name, error, "a push failed");
                socket.refuse("internal error").await;
            }
        }
    }

    async fn flow(self, socket: &mut Socket) -> Result<(), End> {
        let request: PushRequest = socket.receive_within(FIRST_WORDS).await?;
        let head = self.dataset.as_ref().map(|dataset| *dataset.head());
        if request.current_head != head {
            let refused = PushRefused::InvalidHead {
                actual_head: request.current_head,
                expected_head: head,
            };
            socket.send(&PushResponse::Err(refused)).await?;
            return Err(End::Told);
        }
        let force = request.force_update_if_diverged;
        // What is new has no history that could be replaced.
        let may_rewrite = !force || self.dataset.is_none() || self.holder.rights.allow(Verb::Rewrite, &self.name);
        let refused = match may_rewrite {
            true => self.room_for(request.transfer_plan.bytes_in_raw_objects),
            false => Err(sender::forbidden(&self.holder, Verb::Rewrite, &self.name)),
        };
        if let Err(reason) = refused {
            let error = InternalError {
                phase: Phase::Push(PushPhase::InitialRequest),
                error_message: reason,
            };
            socket.send(&PushResponse::Err(PushRefused::Internal(error))).await?;
            return Err(End::Told);
        }
        socket.send(&PushResponse::Ok(Empty {})).await?;

        let PushMetadataRequest { new_blocks } = socket.receive().await?;
        if new_blocks.num_blocks != request.transfer_plan.num_blocks {
            return Err(End::Refused(format!(
                "{} metadata blocks came, {} were announced",
                new_blocks.num_blocks, request.transfer_plan.num_blocks
            )));
        }
        let blocks = unpack(new_blocks).await?;
        if self.is_another(&blocks) {
            let refused = PushMetadataRefused::SeedBlockOverwriteRestricted(Empty {});
            socket.send(&PushMetadataResponse::Err(refused)).await?;
            return Err(End::Told);
        }
        let (blocks, begun) = self.open(blocks, force).await?;
        socket.send(&PushMetadataResponse::Ok(Empty {})).await?;
        let open = match begun {
            Begun::Open(open) => Some(open),
            Begun::Nothing => None,
            Begun::Collision(refused) => {
                let _: PushObjectsRequest = socket.receive().await?;
                socket.send(&PushObjectsResponse::Err(refused)).await?;
                return Err(End::Told);
            }
        };
        if let Err(end) = until_complete(socket, open.as_ref(), &self.links).await {
            // What came is synced and kept for the next attempt, which takes a while.
            blocking(move || drop(open)).await?;
            return Err(end);
        }
        if let Some(open) = open {
            self.commit(open, blocks, force).await?;
        }
        socket.send(&Empty {}).await?;
        Ok(())
    }

    /// Whether so many bytes find room on the disk.
    fn room_for(&self, bytes: u64) -> Result<(), String> {
        let catalog = self.server.datasets.catalog();
        // A file system that does not tell is tried.
        match catalog.medium().disk.free_bytes(catalog.dir()) {
            Some(free) if bytes.saturating_add(SPARE_BYTES) > free => {
                Err(format!("the server has no room for {bytes} bytes"))
            }
            _ => Ok(()),
        }
    }

    /// Whether the blocks begin with the Seed of another dataset than the one of that name here.
    fn is_another(&self, blocks: &[EncodedBlock]) -> bool {
        match (&self.dataset, seed(blocks)) {
            (Some(dataset), Some(seed)) => seed.dataset_id != dataset.id() || seed.dataset_kind != dataset.kind(),
            _ => false,
        }
    }

    /// Checks the blocks and prepares for their objects.
    async fn open(&self, blocks: Vec<EncodedBlock>, force: bool) -> Result<(Vec<EncodedBlock>, Begun), End> {
        if blocks.is_empty() {
            return Ok((blocks, Begun::Nothing));
        }
        let (server, name, label, dataset) = (
            Arc::clone(&self.server),
            self.name.clone(),
            self.holder.label.clone(),
            self.dataset.clone(),
        );
        blocking(move || {
            let datasets = &server.datasets;
            let arrival = match dataset {
                Some(dataset) => Arrival::into(datasets, dataset)?,
                None => {
                    let Some(id) = seed(&blocks).map(|seed| seed.dataset_id) else {
                        return Err(End::Refused("the first metadata block is not a Seed".to_owned()));
                    };
                    if let Some(other) = datasets.catalog().by_id(&id).map_err(ReceiveError::Dataset)? {
                        tracing::info!(name = %name, id = %other.id(), "a push of a dataset that has another name here");
                        return Ok((blocks, Begun::Collision(PushObjectsRefused::RefCollision { dataset_id: id })));
                    }
                    match Arrival::begin(datasets, id, &name, RemoteAliases::default()) {
                        Err(ReceiveError::Catalog(CatalogError::NameTaken { .. })) => {
                            let dataset_alias = name.to_string();
                            return Ok((blocks, Begun::Collision(PushObjectsRefused::NameCollision { dataset_alias })));
                        }
                        arrival => arrival?,
                    }
                }
            };
            arrival.check(&blocks, force)?;
            let upload = Upload::new(arrival, label, Object::of_all(&blocks));
            match server.uploads.open(&name, upload) {
                Some(open) => Ok((blocks, Begun::Open(open))),
                None => Err(End::Refused(format!("another push to {name} is under way"))),
            }
        })
        .await?
    }

    /// Makes everything part of the dataset, if the token still counts, and writes down who did it.
    async fn commit(self, open: Open, blocks: Vec<EncodedBlock>, force: bool) -> Result<(), End> {
        let (name, label) = (self.name.clone(), self.holder.label.clone());
        let head: Multihash = blocking(move || self.commit_noted(&open, blocks, force)).await??;
        tracing::info!(%name, token = label, %head, "a push was taken");
        Ok(())
    }

    fn commit_noted(&self, open: &Open, blocks: Vec<EncodedBlock>, force: bool) -> Result<Multihash, End> {
        let Self {
            server,
            name,
            holder,
            from,
            dataset,
            ..
        } = self;
        let internal = |error: &dyn std::error::Error| End::Internal(error.to_string());
        let now = access::now()?;
        if !server
            .tokens
            .still_counts(holder, now)
            .map_err(|error| internal(&error))?
        {
            let reason = format!("the token {:?} was deleted or has expired meanwhile", holder.label);
            return Err(End::Refused(reason));
        }
        let Some(last) = blocks.last() else {
            return Err(End::Internal("a push without metadata blocks".to_owned()));
        };
        let mut pushed = LoggedPush {
            time: now,
            token: holder.label.clone(),
            from: *from,
            dataset: name.to_string(),
            id: open.upload().arrival().id(),
            verb: match (dataset, force) {
                (None, _) => Verb::Create,
                (Some(_), true) => Verb::Rewrite,
                (Some(_), false) => Verb::Push,
            },
            old_head: dataset.as_ref().map(|dataset| *dataset.head()),
            head: *last.hash(),
            blocks: blocks.len() as u64,
            failed: None,
        };
        // Before it counts: what nobody could find out later must not happen.
        server.pushes.write(&pushed).map_err(|error| internal(&error))?;
        match open.upload().arrival().commit(blocks, force) {
            Ok(arrived) => {
                if let Some(tell) = &server.options.on_arrived {
                    tell(&arrived);
                }
                Ok(*arrived.dataset.head())
            }
            Err(error) => {
                pushed.failed = Some(error.to_string());
                server.pushes.write(&pushed).map_err(|error| internal(&error))?;
                Err(error.into())
            }
        }
    }
}

/// Unpacks blocks beside the async tasks.
async fn unpack(batch: BlocksBatch) -> Result<Vec<EncodedBlock>, End> {
    let unpacked = blocking(move || bundle::unpack(&batch)).await?;
    unpacked.map_err(|error| End::Refused(error.to_string()))
}

/// The Seed that blocks begin with.
fn seed(blocks: &[EncodedBlock]) -> Option<&Seed> {
    match blocks.first().map(|block| &block.block().event) {
        Some(MetadataEvent::Seed(seed)) => Some(seed),
        _ => None,
    }
}

/// Takes the objects of a push, until the client says that it has sent everything.
async fn until_complete(socket: &mut Socket, open: Option<&Open>, links: &Links) -> Result<(), End> {
    if let Some(open) = open {
        take_objects(socket, open.upload(), links).await?;
    }
    let PushComplete {} = socket.receive().await?;
    Ok(())
}

/// Tells the client where objects are wanted, and waits until it has sent them, until there are no more.
async fn take_objects(socket: &mut Socket, upload: &Arc<Upload>, links: &Links) -> Result<(), End> {
    for _ in 0..MAX_OBJECT_REQUESTS {
        let request: PushObjectsRequest = socket.receive().await?;
        few_enough(&request.object_files).map_err(End::Refused)?;
        let truncated = request.is_truncated;
        let (shared, links) = (Arc::clone(upload), links.clone());
        let strategies = blocking(move || strategies(&shared, &request, &links)).await?;
        let accepted = match strategies {
            Ok(accepted) => accepted,
            Err(error_message) => {
                let error = InternalError {
                    phase: Phase::Push(PushPhase::ObjectsRequest),
                    error_message,
                };
                let refused = PushObjectsRefused::Internal(error);
                socket.send(&PushObjectsResponse::Err(refused)).await?;
                return Err(End::Told);
            }
        };
        socket.send(&PushObjectsResponse::Ok(accepted)).await?;
        wait_for_uploads(socket, ASK_EVERY).await?;
        if !truncated {
            return Ok(());
        }
    }
    Err(End::Refused(format!(
        "more than {MAX_OBJECT_REQUESTS} requests for objects"
    )))
}

/// Where each object is wanted; an error names one that the metadata blocks do not.
fn strategies(upload: &Upload, request: &PushObjectsRequest, links: &Links) -> Result<PushObjectsAccepted, String> {
    let strategies = request.object_files.iter().map(|file| {
        let object = plan::object(file);
        if upload.wanted(object.kind, &object.hash) != Some(object) {
            return Err(format!(
                "no pushed metadata block names {object} with {} bytes",
                object.size
            ));
        }
        let here = upload.arrival().has(&object);
        Ok(PushStrategy {
            object_file: *file,
            push_strategy: if here {
                PushMeans::SkipUpload
            } else {
                PushMeans::HttpUpload
            },
            upload_to: (!here).then(|| links.to(file)),
        })
    });
    Ok(PushObjectsAccepted {
        object_transfer_strategies: strategies.collect::<Result<_, _>>()?,
        together: request.together.then(|| links.to_many()),
    })
}

/// Asks the client how far it is, from time to time, until it is done.
pub(super) async fn wait_for_uploads(socket: &mut Socket, every: Duration) -> Result<(), End> {
    let mut ask = tokio::time::interval(every);
    ask.reset();
    let mut unanswered = 0;
    loop {
        let progress: ProgressResponse = tokio::select! {
            progress = socket.receive() => progress?,
            _ = ask.tick() => {
                if unanswered == MAX_UNANSWERED {
                    return Err(End::Socket(SocketError::Silent(PATIENCE)));
                }
                unanswered += 1;
                socket.send(&ProgressRequest {}).await?;
                continue;
            }
        };
        unanswered = 0;
        match progress.details {
            UploadProgress::Complete => return Ok(()),
            UploadProgress::Running { uploaded_objects_count } => {
                tracing::debug!(uploaded_objects_count, "uploads of a push");
            }
        }
    }
}
