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
//! a body is made of blocks as the client takes them, never of a whole file; nobody's requests in the way of
//! others': [`MAX_READS`], [`MAX_WAITS`], [`MAX_BLOCKS_AHEAD`] and [`MAX_HELD`] hold for all requests of a gateway together, those for waits and
//! blocks ahead for each client too, and no turn is taken while only a client is waited for.

mod answer;
mod asking;
mod cache;
mod dag;
mod directory;
mod file;
mod held;
mod html;
mod media;
mod peer;
mod question;
mod refusal;
mod source;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use axum::response::Response;

pub use self::asking::{
    Audience, MAX_BLOCKS_AHEAD, MAX_BLOCKS_AHEAD_OF_ONE, MAX_NAME_DEPTH, MAX_READS, MAX_WAITS, MAX_WAITS_OF_ONE,
    Options,
};
pub use self::cache::MAX_CACHED_BYTES;
pub use self::held::MAX_HELD;
pub use self::peer::PeerSource;
pub use self::source::{NameValue, Source, SourceError};

use self::answer::for_browsers;
use self::asking::{Asking, Gateway};
use self::question::Question;
use self::refusal::Refusal;
use crate::block::{DAG_PB, RAW, inherent};

/// The gateway as a router, to be served by itself or nested into another. To tell clients from each other it must be served
/// with [`ConnectInfo`](axum::extract::ConnectInfo) of socket addresses.
pub fn router<S: Source>(source: S, options: Options) -> Router {
    Router::new()
        .fallback(handle::<S>)
        .with_state(Arc::new(Gateway::new(source, options)))
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
    for_browsers(response)
}

/// Answers GET or HEAD. A HEAD gets the same header fields; its body is never read, so no block is fetched for it.
async fn respond<S: Source>(gateway: Arc<Gateway<S>>, request: &Parts) -> Result<Response, Refusal> {
    let question = Question::read(request)?;
    let client = odf_doors::client(&request.extensions, &request.headers, &gateway.options.proxies);
    let asking = Arc::new(Asking::new(&gateway, client.address));
    let (root, path, max_age) = asking.root(&question).await?;
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
    response.map_err(|refusal| refusal.at(&destination.question))
}
