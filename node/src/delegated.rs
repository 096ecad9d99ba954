//! Delegated Routing V1 as a server: who has a block, where a peer is, and what a name stands for, asked over HTTP. For programs
//! that have no DHT, such as pages in browsers and a Kubo that is told to ask this node.
//!
//! Spec: <https://specs.ipfs.tech/routing/http-routing-v1/>.
//!
//! Each question may cost a walk through the DHTs, so those under way are few ([`MAX_SEARCHES`], [`MAX_SEARCHES_OF_ONE`]), and one
//! ends after [`SEARCHES_FOR`]. Answers come as they are found where the client takes a stream.

mod filter;
mod peer;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use cid::Cid;
use futures::stream::{self, StreamExt as _};
use libp2p::PeerId;
use tokio::time::{Instant, timeout, timeout_at};

use self::filter::Filter;
use self::peer::Peer;
use crate::block::{RAW, sha2_256};
use crate::gateway::Audience;
use crate::ipns::record::{MAX_RECORD_BYTES, Name, Record};
use crate::ipns::{Freshness, ResolveError};
use crate::peer::Node;
use crate::routing::Provider;
use crate::threads::{blocking, lock};

/// Questions under way, of all clients together.
pub const MAX_SEARCHES: usize = 64;
/// Questions under way of one client.
pub const MAX_SEARCHES_OF_ONE: usize = 8;
/// How long one goes on.
pub const SEARCHES_FOR: Duration = Duration::from_secs(30);
/// How long one goes on whose answer comes in one piece.
const SEARCHES_AT_ONCE_FOR: Duration = Duration::from_secs(10);
/// The most providers in one answer.
const MAX_PROVIDERS: usize = 100;
/// How long others may keep an answer with something in it, and one without.
const KEPT: (u32, u32) = (300, 15);
/// How many peers are waited for that a record is given to.
const ENOUGH_HOLDERS: usize = 4;

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";
const RECORD: &str = "application/vnd.ipfs.ipns-record";

/// For whom this is done.
#[derive(Debug, Clone)]
pub struct Options {
    /// Who may ask.
    pub audience: Audience,
    /// Proxies whose word is taken for where a request comes from.
    pub proxies: Vec<IpAddr>,
}

struct Server {
    node: Node,
    options: Options,
    /// Questions under way, by who asked.
    searches: Mutex<HashMap<Option<IpAddr>, usize>>,
}

/// A question under way.
struct Turn {
    server: Arc<Server>,
    client: Option<IpAddr>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut searches = lock(&self.server.searches);
        if let Some(count) = searches.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                searches.remove(&self.client);
            }
        }
    }
}

impl Server {
    fn begin(self: &Arc<Self>, client: Option<IpAddr>) -> Option<Turn> {
        let mut searches = lock(&self.searches);
        if searches.values().sum::<usize>() >= MAX_SEARCHES {
            return None;
        }
        let count = searches.entry(client).or_default();
        if *count >= MAX_SEARCHES_OF_ONE {
            return None;
        }
        *count += 1;
        Some(Turn {
            server: Arc::clone(self),
            client,
        })
    }
}

/// The answers, below `/routing/v1`. To tell clients from each other it must be served with
/// [`ConnectInfo`](axum::extract::ConnectInfo) of socket addresses.
pub fn router(node: Node, options: Options) -> Router {
    let server = Arc::new(Server {
        node,
        options,
        searches: Mutex::default(),
    });
    Router::new()
        .route("/routing/v1/providers/{cid}", get(providers))
        .route("/routing/v1/peers/{peer}", get(peers))
        .route("/routing/v1/ipns/{name}", get(record).put(put_record))
        .layer(middleware::from_fn_with_state(Arc::clone(&server), admit))
        .with_state(server)
}

/// Lets in whom this is for, in their turn.
async fn admit(State(server): State<Arc<Server>>, mut request: Request, next: Next) -> Response {
    let client = odf_doors::client(request.extensions(), request.headers(), &server.options.proxies).address;
    if !client.is_some_and(|client| server.options.audience.has(client)) {
        return refused(
            StatusCode::FORBIDDEN,
            "this node answers such questions for others than you",
        );
    }
    let Some(turn) = server.begin(client) else {
        let mut response = refused(
            StatusCode::TOO_MANY_REQUESTS,
            "too many questions are under way; ask again",
        );
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        return response;
    };
    let turn = Arc::new(turn);
    request.extensions_mut().insert(Arc::clone(&turn));
    let mut response = next.run(request).await;
    drop(turn);
    let headers = response.headers_mut();
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        header::HeaderValue::from_static("*"),
    );
    headers.insert(header::VARY, header::HeaderValue::from_static("Accept"));
    response
}

fn refused(status: StatusCode, reason: &str) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")], format!("{reason}\n")).into_response()
}

async fn providers(State(server): State<Arc<Server>>, Path(cid): Path<String>, request: Request) -> Response {
    let Ok(cid) = cid.parse::<Cid>() else {
        return refused(StatusCode::UNPROCESSABLE_ENTITY, "this is no CID");
    };
    let filter = Filter::read(request.uri().query().unwrap_or_default());
    let here = own(&server.node, &cid).await;
    let search = server.node.routing().providers_in_dhts(&cid);
    let until = |limit: Duration| Instant::now() + limit;
    let found = move |until: Instant| {
        let searched = stream::unfold(search, move |mut search| async move {
            let provider = timeout_at(until, search.recv()).await.ok()??;
            Some((provider, search))
        });
        stream::iter(here)
            .chain(searched)
            .filter_map(move |provider| std::future::ready(filter.apply(Peer::of(provider))))
            .take(MAX_PROVIDERS)
    };
    if !takes_stream(request.headers()) {
        let providers: Vec<Peer> = found(until(SEARCHES_AT_ONCE_FOR)).collect().await;
        return listed("Providers", &providers);
    }
    let turn = request.extensions().get::<Arc<Turn>>().cloned();
    let lines = found(until(SEARCHES_FOR)).map(move |peer| {
        let _until_the_end = &turn;
        // Text alone always has a form.
        let line = serde_json::to_string(&peer).unwrap_or_default() + "\n";
        Ok::<_, std::convert::Infallible>(Bytes::from(line))
    });
    let mut response = Response::new(Body::from_stream(lines));
    describe(response.headers_mut(), NDJSON, true);
    response
}

/// This peer, where it has the block.
async fn own(node: &Node, cid: &Cid) -> Option<Provider> {
    let (blocks, at) = (Arc::clone(node.blocks()), *cid);
    let is_here = blocking(move || blocks.has(&at).unwrap_or(false)).await;
    is_here.then(|| {
        let mut addresses = node.reachable_at();
        addresses.extend(node.listen_addrs());
        addresses.extend(node.http_addrs());
        addresses.sort();
        addresses.dedup();
        Provider {
            peer: node.peer_id(),
            addresses,
        }
    })
}

async fn peers(State(server): State<Arc<Server>>, Path(peer): Path<String>, request: Request) -> Response {
    let Some(peer) = peer_id(&peer) else {
        return refused(StatusCode::UNPROCESSABLE_ENTITY, "this is no id of a peer");
    };
    let filter = Filter::read(request.uri().query().unwrap_or_default());
    let found = server
        .node
        .routing()
        .find_peer_in_dhts(peer, SEARCHES_AT_ONCE_FOR)
        .await;
    let addresses = found.unwrap_or_default();
    let found = (!addresses.is_empty()).then_some(Provider { peer, addresses });
    let peers: Vec<Peer> = found
        .into_iter()
        .filter_map(|found| filter.apply(Peer::of(found)))
        .collect();
    if !takes_stream(request.headers()) {
        return listed("Peers", &peers);
    }
    let lines: Vec<String> = peers
        .iter()
        .map(|peer| serde_json::to_string(peer).unwrap_or_default() + "\n")
        .collect();
    let mut response = Response::new(Body::from(lines.concat()));
    describe(response.headers_mut(), NDJSON, !peers.is_empty());
    response
}

/// As a CID of a key, or as its multihash in base58.
fn peer_id(text: &str) -> Option<PeerId> {
    let name: Option<Name> = text.parse().ok();
    text.parse().ok().or_else(|| name.map(|name| name.peer_id()))
}

async fn record(State(server): State<Arc<Server>>, Path(name): Path<String>) -> Response {
    let Ok(name) = name.parse::<Name>() else {
        return refused(StatusCode::UNPROCESSABLE_ENTITY, "this is no name of a key");
    };
    let names = server.node.names();
    let resolved = match names.at_hand(&name).await {
        Some(resolved) => Ok(resolved),
        None => match timeout(SEARCHES_FOR, names.resolve(&name, Freshness::Network)).await {
            Ok(resolved) => resolved,
            Err(_) => return refused(StatusCode::GATEWAY_TIMEOUT, "nobody answered in time"),
        },
    };
    let record = match resolved {
        Ok(resolved) if !resolved.expired => resolved.record,
        Ok(_) => return refused(StatusCode::NOT_FOUND, "the newest record that is known has expired"),
        Err(error @ (ResolveError::Store(_) | ResolveError::Routing(_))) => {
            return refused(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string());
        }
        Err(error) => return refused(StatusCode::NOT_FOUND, &error.to_string()),
    };
    let left = record
        .valid_until()
        .duration_since(SystemTime::now())
        .unwrap_or_default();
    let kept = format!("public, max-age={}", record.ttl().min(left).as_secs());
    let etag = format!("\"{}\"", Cid::new_v1(RAW, sha2_256(record.bytes())));
    let headers = [
        (header::CONTENT_TYPE, RECORD.to_owned()),
        (header::CACHE_CONTROL, kept),
        (header::ETAG, etag),
    ];
    (headers, record.bytes().clone()).into_response()
}

async fn put_record(State(server): State<Arc<Server>>, Path(name): Path<String>, request: Request) -> Response {
    let Ok(name) = name.parse::<Name>() else {
        return refused(StatusCode::UNPROCESSABLE_ENTITY, "this is no name of a key");
    };
    let Ok(bytes) = to_bytes(request.into_body(), MAX_RECORD_BYTES).await else {
        return refused(StatusCode::PAYLOAD_TOO_LARGE, "this is longer than any record");
    };
    let record = match Record::verify(name, bytes, SystemTime::now()) {
        Ok(record) => record,
        Err(error) => return refused(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    match server.node.names().relay(record, ENOUGH_HOLDERS).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => refused(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// Whether the client takes lines as they come.
fn takes_stream(headers: &HeaderMap) -> bool {
    let accepted = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    accepted
        .flat_map(|value| value.split(','))
        .any(|kind| kind.trim().starts_with(NDJSON))
}

fn listed(name: &str, peers: &[Peer]) -> Response {
    let mut response = serde_json::json!({ name: peers }).to_string().into_response();
    describe(response.headers_mut(), JSON, !peers.is_empty());
    response
}

fn describe(headers: &mut HeaderMap, kind: &'static str, is_something: bool) {
    let kept = if is_something { KEPT.0 } else { KEPT.1 };
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    if let Ok(kept) = format!("public, max-age={kept}, stale-while-revalidate=172800").parse() {
        headers.insert(header::CACHE_CONTROL, kept);
    }
}
