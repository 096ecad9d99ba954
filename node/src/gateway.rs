//! An HTTP gateway: `/ipfs/{cid}/…` and `/ipns/{name}/…` over whatever [`Source`] has the blocks.
//!
//! Specs: <https://specs.ipfs.tech/http-gateways/path-gateway/>; where that leaves room, what Kubo 0.43 does.
//!
//! What is served: UnixFS files as streams with single ranges, directories (their `index.html`, else a listing), raw
//! blocks, dag-cbor values, and paths that lead through dag-cbor links into any of these. What is not: CAR and tar
//! archives, signed IPNS records, and hosts that stand for a CID or a domain (subdomain and DNSLink gateways).
//!
//! Goals, in order: serve only checked content; say why something cannot be served (404 with the reason where content
//! does not exist or nobody has it, 504 only where time ran out, so that clients know when to retry); bounded memory:
//! a body is made of blocks as the client takes them, never of a whole file. [`MAX_REQUESTS`] and
//! [`MAX_BLOCKS_AHEAD`] hold for all requests of a gateway together.

mod answer;
mod asking;
mod dag;
mod directory;
mod file;
mod html;
mod media;
mod peer;
mod question;
mod refusal;
mod source;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use axum::response::Response;
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;

pub use self::asking::{MAX_BLOCKS_AHEAD, MAX_NAME_DEPTH, MAX_REQUESTS, Options};
pub use self::peer::PeerSource;
pub use self::source::{NameValue, Source, SourceError};

use self::answer::with_cors;
use self::asking::{Asking, Gateway};
use self::question::Question;
use self::refusal::Refusal;
use crate::block::{DAG_PB, RAW, inherent};

/// The gateway as a router, to be served by itself or nested into another.
pub fn router<S: Source>(source: S, options: Options) -> Router {
    Router::new()
        .fallback(handle::<S>)
        .with_state(Arc::new(Gateway::new(source, options)))
}

/// Serves `router` on `listener` until `stop` is done, then lets running requests end. Requests have the address that they
/// come from as [`ConnectInfo`](axum::extract::ConnectInfo).
///
/// # Errors
/// The listener fails.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    // An answer whose body follows its head would wait for the client to confirm the head, which takes it up to 40 ms.
    let listener = listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(%error, "a connection that collects what it sends");
        }
    });
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(stop).await
}

async fn handle<S: Source>(State(gateway): State<Arc<Gateway<S>>>, request: Request) -> Response {
    let (request, _) = request.into_parts();
    let head = request.method == Method::HEAD;
    let answered = match request.method {
        Method::GET | Method::HEAD => respond(gateway, &request).await,
        Method::OPTIONS => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            Ok(response)
        }
        _ => Err(
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "this gateway answers GET and HEAD")
                .with(header::ALLOW, "GET, HEAD, OPTIONS"),
        ),
    };
    let mut response = answered.unwrap_or_else(|refusal| {
        tracing::debug!(uri = %request.uri, status = refusal.status().as_u16(), reason = refusal.reason(), "refused");
        refusal.into_response()
    });
    if head {
        // The header fields stay: they are what HEAD asks for.
        *response.body_mut() = Body::empty();
    }
    with_cors(response)
}

/// Answers GET or HEAD. A HEAD gets the same header fields; its body is never read, so no block is fetched for it.
async fn respond<S: Source>(gateway: Arc<Gateway<S>>, request: &Parts) -> Result<Response, Refusal> {
    let permit = Arc::clone(&gateway.requests).try_acquire_owned().map_err(|_| {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "too many requests").with(header::RETRY_AFTER, "1")
    })?;
    let question = Question::read(request)?;
    let asking = Arc::new(Asking::new(&gateway));
    let (root, path, max_age) = gateway.root(&question).await?;
    if question.only_if_cached && !(inherent(&root).is_some() || gateway.source.has(&root).await) {
        return Err(Refusal::new(StatusCode::PRECONDITION_FAILED, format!("{root} is not here")).at(&question));
    }
    let resolved = asking
        .resolve(root, &path)
        .await
        .map_err(|refusal| refusal.at(&question))?;
    let destination = answer::Destination {
        question,
        resolved,
        max_age,
    };

    let codec = destination.resolved.cid.codec();
    let response = match destination.question.format {
        Some(format) if format.is_unserved() => Err(Refusal::new(
            StatusCode::NOT_ACCEPTABLE,
            format!("this gateway does not serve {}", format.media_type()),
        )),
        Some(question::Format::Raw) => dag::raw(&asking, &destination).await,
        // UnixFS under a plain media type is the file itself, which may well be JSON.
        Some(format) if !(format.is_plain() && matches!(codec, DAG_PB | RAW)) => {
            dag::node(&asking, &destination, Some(format)).await
        }
        _ if matches!(codec, DAG_PB | RAW) => directory::entry(&asking, &destination).await,
        _ => dag::node(&asking, &destination, None).await,
    };
    let response = response.map_err(|refusal| refusal.at(&destination.question))?;
    // The request counts until its body has been sent or dropped.
    Ok(response.map(|body| answer::holding(body, permit)))
}
