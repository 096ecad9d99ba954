//! What watches a node asks of it over HTTP: whether it works (`/healthz`), and its figures (`/metrics`).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use odf_node::gateway::Audience;
use odf_node::peer::Node;
use odf_node::store::Store;
use serde_json::json;

use super::metrics;
use crate::failure::{Failure, chain};
use crate::session::Session;

/// How long the task that owns the peer's connections may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

struct Watched {
    node: Node,
    store: Store,
    audience: Audience,
    proxies: Vec<IpAddr>,
}

/// The two paths, over a peer that runs.
///
/// # Errors
/// The workspace cannot be opened.
pub(super) fn router(session: &Session, node: &Node) -> Result<Router, Failure> {
    let settings = session.settings();
    let watched = Watched {
        node: node.clone(),
        store: session.workspace()?.store().clone(),
        audience: told_apart(settings.gateway_metrics, session),
        proxies: settings.gateway_proxies.clone(),
    };
    let router = Router::new()
        .route("/healthz", get(health))
        .route("/metrics", get(figures));
    Ok(router.with_state(Arc::new(watched)))
}

/// Whom something is done for by the settings, as far as that can be told.
pub(super) fn told_apart(audience: Audience, session: &Session) -> Audience {
    match audience {
        // Not every proxy says for whom it asks, and it may well run on this machine.
        Audience::ThisMachine if session.settings().is_behind_proxy() => Audience::Nobody,
        audience => audience,
    }
}

/// 200 while the node can do its work, 503 with the reasons while it cannot. Says nothing else, so that anybody may ask.
async fn health(State(watched): State<Arc<Watched>>) -> Response {
    let mut reasons = Vec::new();
    if !watched.node.is_running() {
        reasons.push("the peer has stopped; start the node again".to_owned());
    } else if tokio::time::timeout(ANSWER_LIMIT, watched.node.peers()).await.is_err() {
        reasons.push(format!("the peer did not answer within {} s", ANSWER_LIMIT.as_secs()));
    }
    if let Err(error) = watched.store.check_writable() {
        reasons.push(chain(&error));
    }
    let (status, word) = match reasons.is_empty() {
        true => (StatusCode::OK, "ok"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "failing"),
    };
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    let body = json!({ "status": word, "reasons": reasons });
    (status, headers, body.to_string() + "\n").into_response()
}

async fn figures(State(watched): State<Arc<Watched>>, request: Request) -> Response {
    let client = odf_doors::client(request.extensions(), request.headers(), &watched.proxies);
    if !client.address.is_some_and(|address| watched.audience.has(address)) {
        let reason = "the figures of this node are not for you; its owner changes that with `odfs config set \
                      gateway.metrics true`\n";
        return (StatusCode::FORBIDDEN, reason).into_response();
    }
    match metrics::text(&watched.node, &watched.store).await {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::MEDIA_TYPE)], text).into_response(),
        Err(reason) => (StatusCode::INTERNAL_SERVER_ERROR, reason + "\n").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::{Ipv4Addr, SocketAddr};

    use axum::body::{Body, to_bytes};
    use axum::extract::ConnectInfo;
    use odf::disk::Disk;
    use odf::disk::crash::{Recorder, Refusal};
    use odf_node::block::{Block, RAW};
    use odf_node::store::{Blocks as _, StoreOptions};
    use serde_json::Value;

    use super::*;

    async fn peer(store: &Store) -> Node {
        let builder = Node::builder(store).unwrap().listen(Vec::new()).bootstrap(Vec::new());
        builder.mdns(false).start().await.unwrap()
    }

    fn watched(node: &Node, store: &Store, audience: Audience) -> Arc<Watched> {
        Arc::new(Watched {
            node: node.clone(),
            store: store.clone(),
            audience,
            proxies: vec![Ipv4Addr::LOCALHOST.into()],
        })
    }

    #[tokio::test]
    async fn a_node_that_cannot_work_says_so_and_why() {
        let dir = tempfile::tempdir().unwrap();
        let recorder = Recorder::new(dir.path());
        let options = StoreOptions {
            disk: Disk::with(recorder.clone()),
            ..StoreOptions::default()
        };
        let store = Store::open(dir.path(), options).unwrap();
        let node = peer(&store).await;
        let watched = watched(&node, &store, Audience::Nobody);
        let asked = async || {
            let answer = health(State(watched.clone())).await;
            let status = answer.status();
            let body = to_bytes(answer.into_body(), 1 << 16).await.unwrap();
            let said: Value = serde_json::from_slice(&body).unwrap();
            (status, said)
        };
        let well = json!({ "status": "ok", "reasons": [] });
        assert_eq!(asked().await, (StatusCode::OK, well));

        // A sync fails: nobody knows what the disk has.
        store
            .put(&[Block::new(RAW, b"something to sync".to_vec()).unwrap()])
            .unwrap();
        recorder.set_refusal(Refusal::From(0), io::ErrorKind::Other);
        store.flush().unwrap_err();
        let (status, said) = asked().await;
        assert_eq!(
            (status, &said["status"]),
            (StatusCode::SERVICE_UNAVAILABLE, &json!("failing"))
        );
        let reasons = said["reasons"].as_array().unwrap();
        assert!(reasons.len() == 1 && reasons[0].as_str().unwrap().len() > 20, "{said}");

        node.shutdown().await;
        let (status, said) = asked().await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(
            said["reasons"][0].as_str().unwrap().contains("start the node again"),
            "{said}"
        );
        assert_eq!(said["reasons"].as_array().unwrap().len(), 2);
    }

    #[tokio::test]
    async fn the_figures_are_for_whom_the_settings_say() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
        let node = peer(&store).await;
        let status = async |audience: Audience, from: &str, told: Option<&str>| {
            let mut request = Request::new(Body::empty());
            let from = SocketAddr::new(from.parse().unwrap(), 1);
            request.extensions_mut().insert(ConnectInfo(from));
            if let Some(told) = told {
                request.headers_mut().insert("x-forwarded-for", told.parse().unwrap());
            }
            figures(State(watched(&node, &store, audience)), request)
                .await
                .status()
                .as_u16()
        };
        let stranger = Some("203.0.113.9");
        for (audience, expected) in [
            (Audience::ThisMachine, [200, 403, 403]),
            (Audience::Anybody, [200, 200, 200]),
            (Audience::Nobody, [403, 403, 403]),
        ] {
            let answers = [
                status(audience, "127.0.0.1", None).await,
                status(audience, "203.0.113.9", None).await,
                // Through a proxy on this machine.
                status(audience, "127.0.0.1", stranger).await,
            ];
            assert_eq!(answers, expected, "{audience:?}");
        }
        // Who cannot be told apart is nobody.
        let unknown = figures(
            State(watched(&node, &store, Audience::ThisMachine)),
            Request::new(Body::empty()),
        );
        assert_eq!(unknown.await.status(), StatusCode::FORBIDDEN);
    }
}
