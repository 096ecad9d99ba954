//! A workspace as an ODF repository over HTTP: the simple protocol for reading, the smart one for both directions.
//!
//! | request | answer |
//! |---|---|
//! | `GET /{dataset}/refs/head` | hash of the newest metadata block |
//! | `GET /{dataset}/blocks/{hash}` | a metadata block, as its stored bytes whatever version they are of |
//! | `GET /{dataset}/data/{hash}`, `…/checkpoints/{hash}` | a slice, a checkpoint |
//! | `PUT` of the same two | takes an object that a push under way waits for |
//! | `GET /{dataset}/pull`, `…/push` | the smart protocol, over a WebSocket |
//! | `GET /info`, `/accounts/me`, `/datasets/{id}`, `/platform/token/validate` | what kamu asks before it pushes |
//!
//! All of it below `/{account}/{dataset}/` too, where the account does not matter: a workspace has one owner. Requests for
//! anything else go to the IPFS gateway.
//!
//! Reading is open to everybody; whoever writes needs one of the [`Tokens`]. What is pushed is not seen by anybody before
//! the push is complete: objects are checked while they come, the chain is checked before that, and the head moves last.
//! Bodies stream, every transfer has limits ([`MAX_REQUESTS`], [`MAX_TRANSFERS`], [`PATIENCE`]), and paths are made of
//! parsed names and hashes only, never of text from a request.

mod access;
mod answer;
mod blocks;
mod objects;
mod pull;
mod push;
mod reading;
mod socket;
#[cfg(test)]
mod tests;
mod tokens;
mod uploads;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use url::Url;

use self::answer::Refusal;
use self::blocks::Blocks;
use self::uploads::Uploads;
use odf_dataset::Datasets;
use odf_dataset::receive::Arrived;
use odf_dataset::{Dataset, DatasetName, ObjectKind};

pub use axum::Router;

pub use self::tokens::{Entry as TokenEntry, MAX_LABEL_CHARS, MAX_TOKENS, TokenError, Tokens};

/// The most plain requests that are answered at once; one more is told to come back.
pub const MAX_REQUESTS: usize = 128;
/// The most transfers by the smart protocol that go on at once; one more is told to come back.
pub const MAX_TRANSFERS: usize = 32;
/// How long a peer may be silent while something is expected of it.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// The most names of datasets whose place is remembered.
const MAX_KEPT_NAMES: usize = 10_000;
/// Datasets cannot be made under these names: requests below them go elsewhere.
const RESERVED_NAMES: [&str; 8] = [
    "accounts", "api", "datasets", "info", "ipfs", "ipns", "platform", "system",
];

/// Told of each dataset that a push changed, when it is in place.
pub type OnArrived = dyn Fn(&Arrived) + Send + Sync;

/// How to serve a workspace.
#[derive(Clone, Default)]
pub struct Options {
    /// The address under which others reach this server, if a proxy is in between. Without it they are told the address
    /// that they used themselves.
    pub public_url: Option<Url>,
    /// Hears of everything that was pushed here, after it is safe.
    pub on_arrived: Option<Arc<OnArrived>>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("public_url", &self.public_url)
            .finish_non_exhaustive()
    }
}

/// What all requests share.
struct Server {
    datasets: Datasets,
    tokens: Tokens,
    options: Options,
    blocks: Blocks,
    uploads: Uploads,
    requests: Arc<Semaphore>,
    transfers: Arc<Semaphore>,
    /// Names in lowercase to the datasets that had them when last looked.
    names: Mutex<HashMap<String, odf_metadata::DatasetId>>,
}

/// The parameters of a path.
type Params = Path<HashMap<String, String>>;

/// The repository as a router; what it does not answer goes to `gateway`.
pub fn router(datasets: Datasets, tokens: Tokens, options: Options, gateway: Router) -> Router {
    let server = Arc::new(Server {
        datasets,
        tokens,
        options,
        blocks: Blocks::default(),
        uploads: Uploads::default(),
        requests: Arc::new(Semaphore::new(MAX_REQUESTS)),
        transfers: Arc::new(Semaphore::new(MAX_TRANSFERS)),
        names: Mutex::default(),
    });
    let mut plain = Router::new()
        .route("/info", get(reading::info))
        .route("/accounts/me", get(reading::account))
        .route("/datasets/{id}", get(reading::dataset))
        .route("/platform/token/validate", get(reading::token));
    let mut transfers = Router::new();
    for base in ["/{dataset}", "/{account}/{dataset}"] {
        plain = plain
            .route(&format!("{base}/refs/{{reference}}"), get(reading::reference))
            .route(&format!("{base}/blocks/{{hash}}"), get(reading::block));
        for kind in ObjectKind::ALL {
            let path = format!("{base}/{}/{{hash}}", kind.directory());
            let methods = get(move |server, params| objects::download(kind, server, params))
                .put(move |server, params, request| objects::upload(kind, server, params, request));
            plain = plain.route(&path, methods);
        }
        transfers = transfers
            .route(&format!("{base}/pull"), get(pull::begin))
            .route(&format!("{base}/push"), get(push::begin));
    }
    let plain = plain.layer(middleware::from_fn_with_state(Arc::clone(&server), limited));
    let gateway = gateway.into_service();
    plain
        .merge(transfers)
        .layer(middleware::from_fn_with_state(Arc::clone(&server), access::checked))
        .with_state(server)
        // Before the routes above, which have room for any first segment.
        .route_service("/ipfs/{*path}", gateway.clone())
        .route_service("/ipns/{*path}", gateway.clone())
        .fallback_service(gateway)
}

/// Counts a plain request until its body has been sent or dropped.
async fn limited(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let Ok(permit) = Arc::clone(&server.requests).try_acquire_owned() else {
        return Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "too many requests").into_response();
    };
    let response = next.run(request).await;
    response.map(|body| objects::holding(body, permit))
}

impl Server {
    /// The dataset of this name.
    fn find(&self, name: &DatasetName) -> Result<Option<Dataset>, Refusal> {
        let key = name.as_str().to_ascii_lowercase();
        let kept = self.names().get(&key).copied();
        let catalog = self.datasets.catalog();
        if let Some(id) = kept
            && let Some(dataset) = catalog.by_id(&id)?
            && dataset.name()? == *name
        {
            return Ok(Some(dataset));
        }
        let entries = catalog.entries()?;
        let Some(entry) = entries.iter().find(|entry| entry.name.as_ref() == Some(name)) else {
            return Ok(None);
        };
        let mut names = self.names();
        if names.len() >= MAX_KEPT_NAMES {
            names.clear();
        }
        names.insert(key, entry.id);
        drop(names);
        Ok(Some(catalog.open_entry(entry)?))
    }

    /// As [`Self::find`]; 404 without one.
    fn existing(&self, name: &DatasetName) -> Result<Dataset, Refusal> {
        self.find(name)?
            .ok_or_else(|| Refusal::not_found(format!("there is no dataset {name}")))
    }

    fn names(&self) -> std::sync::MutexGuard<'_, HashMap<String, odf_metadata::DatasetId>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A turn at a transfer by the smart protocol.
    fn transfer_permit(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        Arc::clone(&self.transfers)
            .try_acquire_owned()
            .map_err(|_| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "too many transfers"))
    }

    /// The address of the dataset, as the sender of a request for something directly below it reaches it; ends in `/`.
    fn dataset_url(&self, uri: &Uri, headers: &HeaderMap) -> Result<Url, Refusal> {
        let base = match &self.options.public_url {
            Some(url) => url.clone(),
            None => {
                let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
                let host = host.or_else(|| uri.authority().map(|authority| authority.as_str()));
                host.and_then(own_address)
                    .ok_or_else(|| Refusal::bad_request("the Host header is missing or is no address"))?
            }
        };
        let (dataset, _) = uri.path().rsplit_once('/').unwrap_or_default();
        let relative = format!("{}/", dataset.trim_start_matches('/'));
        base.join(&relative)
            .map_err(|_| Refusal::bad_request("the path is no address"))
    }
}

/// `http://host:port/`, if that is all that is in `host`.
fn own_address(host: &str) -> Option<Url> {
    let url = Url::parse(&format!("http://{host}/")).ok()?;
    let only = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    (only && url.password().is_none() && url.has_host()).then_some(url)
}

/// The dataset that a path names.
fn dataset_in(params: &HashMap<String, String>) -> Result<DatasetName, Refusal> {
    if let Some(account) = params.get("account") {
        // The same grammar; a workspace has no accounts to look it up in.
        account
            .parse::<DatasetName>()
            .map_err(|_| Refusal::bad_request(format!("{account:?} is no account name")))?;
    }
    let name = params.get("dataset").map(String::as_str).unwrap_or_default();
    name.parse()
        .map_err(|error: odf_dataset::NameError| Refusal::bad_request(error.to_string()))
}

/// The hash that a path names.
fn hash_in(params: &HashMap<String, String>) -> Result<odf_metadata::Multihash, Refusal> {
    let hash = params.get("hash").map(String::as_str).unwrap_or_default();
    hash.parse()
        .map_err(|error: odf_metadata::IdError| Refusal::bad_request(error.to_string()))
}

/// Runs work that reads or writes the disk beside the async tasks.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Refusal::internal(&error))
}
