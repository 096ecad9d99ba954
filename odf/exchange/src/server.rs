//! A workspace as an ODF repository over HTTP: the simple protocol for reading, the smart one for both directions.
//!
//! | request | answer |
//! |---|---|
//! | `GET /{dataset}/refs/head` | hash of the newest metadata block |
//! | `GET /{dataset}/blocks/{hash}` | a metadata block, as its stored bytes whatever version they are of |
//! | `GET /{dataset}/data/{hash}`, `…/checkpoints/{hash}` | a slice, a checkpoint |
//! | `GET /{dataset}/chain` | all metadata blocks, oldest first, each behind its length; from a byte on with `Range` |
//! | `PUT` of the same two | takes an object that a push under way waits for |
//! | `POST /{dataset}/objects` | the objects that it names, one a line, in one body; `PUT` takes such a body of a push |
//! | `GET /{dataset}/pull`, `…/push` | the smart protocol, over a WebSocket |
//! | `GET /info`, `/accounts/me`, `/datasets/{id}`, `/platform/token/validate` | what kamu asks before it pushes |
//!
//! All of it below `/{account}/{dataset}/` too, where the account does not matter: a workspace has one owner. Requests for
//! anything else go to the IPFS gateway.
//!
//! Everybody reads what is shared ([`Sharing`](odf_dataset::Sharing)); for the rest, and for writing, one of the [`Tokens`]
//! is needed that says so. Nobody without one is told whether a dataset is there that is not shared. The [`PushLog`] says
//! who pushed what. What is pushed is not seen by anybody before
//! the push is complete: objects are checked while they come, the chain is checked before that, and the head moves last.
//! Bodies stream, every transfer has limits ([`MAX_REQUESTS`], [`MAX_TRANSFERS`], [`PATIENCE`]), and paths are made of
//! parsed names and hashes only, never of text from a request.

mod access;
mod answer;
mod blocks;
mod body;
mod limits;
mod objects;
mod pull;
mod push;
mod pushes;
mod range;
mod reading;
mod request;
mod s3;
mod sender;
mod socket;
mod state;
#[cfg(test)]
mod tests;
mod together;
mod tokens;
mod turns;
mod uploads;

use std::sync::{Arc, Mutex};

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use tokio::sync::Semaphore;

use self::answer::Refusal;
use self::blocks::Blocks;
use self::body::Rest;
use self::sender::{Sender, Way};
use self::state::Server;
use self::turns::{REQUESTS, TRANSFERS, Turns};
use self::uploads::Uploads;
use crate::http::CHAIN_FILE;
use crate::together::OBJECTS_FILE;
use odf_dataset::{Datasets, ObjectKind};

pub use axum::Router;

pub use self::limits::{
    FIRST_WORDS, MAX_BUNDLES_BYTES, MAX_FIRST_BYTES, MAX_REQUESTS, MAX_REQUESTS_OF_ONE, MAX_TRANSFERS,
    MAX_TRANSFERS_OF_ONE, PATIENCE, PULL_PATIENCE,
};
pub use self::pushes::{LoggedPush, MAX_LOG_BYTES, PushLog};
pub use self::state::{OnArrived, Options};
pub use self::tokens::{
    Entry as TokenEntry, MAX_LABEL_CHARS, MAX_PATTERNS, MAX_TOKENS, Rights, TokenError, Tokens, Verb,
};

/// A workspace that is served. What comes in by one router or another has turns of the same shares.
#[derive(Clone)]
pub struct Repository(Arc<Server>);

impl Repository {
    /// Serves the datasets to whom they are for, and lets holders of tokens push.
    pub fn new(datasets: Datasets, tokens: Tokens, pushes: PushLog, options: Options) -> Self {
        Self(Arc::new(Server {
            datasets,
            tokens,
            pushes,
            options,
            blocks: Blocks::default(),
            uploads: Uploads::default(),
            requests: Turns::new("requests", REQUESTS),
            transfers: Turns::new("transfers", TRANSFERS),
            bundles: Arc::new(Semaphore::new(MAX_BUNDLES_BYTES)),
            names: Mutex::default(),
            opened: Mutex::default(),
        }))
    }

    /// The repository as a router; what it does not answer goes to `gateway`. To tell clients from each other it must be
    /// served with [`ConnectInfo`](axum::extract::ConnectInfo) of socket addresses.
    pub fn router(&self, gateway: Router) -> Router {
        router(Arc::clone(&self.0), gateway)
    }

    /// What is shared as buckets, in the words of S3, to be read. To be served as [`Self::router`], at an address of its own.
    pub fn s3(&self) -> Router {
        s3::router(Arc::clone(&self.0))
    }
}

fn router(server: Arc<Server>, gateway: Router) -> Router {
    let mut plain = Router::new()
        .route("/info", get(reading::info))
        .route("/accounts/me", get(reading::account))
        .route("/datasets/{id}", get(reading::dataset))
        .route("/platform/token/validate", get(reading::token));
    let mut transfers = Router::new();
    for base in ["/{dataset}", "/{account}/{dataset}"] {
        plain = plain
            .route(&format!("{base}/refs/{{reference}}"), get(reading::reference))
            .route(&format!("{base}/blocks/{{hash}}"), get(reading::block))
            .route(&format!("{base}/{CHAIN_FILE}"), get(objects::chain))
            .route(
                &format!("{base}/{OBJECTS_FILE}"),
                post(together::download).put(together::upload),
            );
        for kind in ObjectKind::ALL {
            let path = format!("{base}/{}/{{hash}}", kind.directory());
            let methods =
                get(move |server, params, sender, headers| objects::download(kind, server, params, sender, headers))
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
async fn limited(
    State(server): State<Arc<Server>>,
    Extension(sender): Extension<Sender>,
    Extension(way): Extension<Way>,
    request: Request,
    next: Next,
) -> Response {
    let turn = match server.requests.take(&sender, &way) {
        Ok(turn) => turn,
        Err(refusal) => return refusal.into_response(),
    };
    // A stranger is not listened to for longer than they are answered.
    let (request, rest) = match sender {
        Sender::Holder(_) => body::keep_rest(request),
        Sender::Anybody => (request, Rest::none()),
    };
    let response = tokio::select! {
        biased;
        response = next.run(request) => response,
        () = turn.cut() => {
            let words = "too many requests from your address; try again in a moment";
            return Refusal::new(StatusCode::SERVICE_UNAVAILABLE, words).into_response();
        }
    };
    if !response.status().is_success() {
        turn.waits_for_client();
        tokio::select! {
            () = rest.drain() => {}
            () = turn.cut() => {}
        }
    }
    response.map(|body| body::holding(body, turn))
}
