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
        Audience::ThisMachine if session.settings().gateway_url.is_some() => Audience::Nobody,
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
