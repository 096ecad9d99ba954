//! An HTTP gateway: `/ipfs/{cid}/…` and `/ipns/{name}/…` over whatever [`Source`] has the blocks.
//!
//! Specs: <https://specs.ipfs.tech/http-gateways/path-gateway/>; where that leaves room, what Kubo 0.43 does.
//!
//! A question (`question`, with the host that it was sent to: `host`) is led to its destination (`asking`) and answered in the
//! form that it wants (`format`): a file, a directory, a block or a value (`dag`), blocks that prove themselves (`car`), a tar
//! archive, a signed name (`record`). Other peers ask what is here alone (`local`). Where it leads nowhere, a site may say what is to be done (`redirects`).
//!
//! Goals, in order: serve only checked content; say why something cannot be served (404 with the reason where content
//! does not exist or nobody has it, 504 only where time ran out, so that clients know when to retry); bounded memory:
//! a body is made of blocks as the client takes them, never of a whole file; nobody's requests in the way of
//! others': [`MAX_READS`], [`MAX_WAITS`], [`MAX_BLOCKS_AHEAD`] and [`MAX_HELD`] hold for all requests of a gateway together, those for waits and
//! blocks ahead for each client too, and no turn is taken while only a client is waited for.

mod ahead;
mod answer;
mod asking;
mod body;
mod cache;
mod car;
mod dag;
mod directory;
mod dnslink;
mod file;
mod format;
mod held;
mod host;
mod html;
mod local;
mod media;
mod options;
mod parts;
mod peer;
mod question;
mod range;
mod record;
mod redirects;
mod refusal;
mod root;
mod scope;
mod source;
mod tar;
#[cfg(test)]
mod tests;
mod walk;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;

pub use self::asking::{
    MAX_ARCHIVES, MAX_ARCHIVES_OF_ONE, MAX_BLOCKS_AHEAD, MAX_BLOCKS_AHEAD_OF_ONE, MAX_NAME_DEPTH, MAX_READS, MAX_WAITS,
    MAX_WAITS_OF_ONE,
};
pub use self::cache::{MAX_CACHED_BYTES, MAX_READ_BYTES};
pub use self::dnslink::DnsLinks;
pub use self::held::MAX_HELD;
pub use self::local::{LocalSource, for_peers};
pub use self::options::{Audience, Options};
pub use self::peer::PeerSource;
pub use self::source::{NameValue, Source, SourceError};

use self::answer::{Destination, for_browsers};
use self::asking::{Asking, Gateway, Rooted, Way};
use self::format::Format;
use self::host::Mount;
use self::question::Question;
use self::redirects::Instead;
use self::refusal::Refusal;
use crate::block::{DAG_PB, RAW, inherent};

/// What is said where a trustless gateway is asked for more; Kubo's words.
const TRUSTLESS_ONLY: &str =
    "only trustless requests are accepted on this gateway: https://specs.ipfs.tech/http-gateways/trustless-gateway/";

/// The gateway as a router, to be served by itself or nested into another. To tell clients from each other it must be served
/// with [`ConnectInfo`](axum::extract::ConnectInfo) of socket addresses.
pub fn router<S: Source>(source: S, options: Options) -> Router {
    Router::new()
        .fallback(handle::<S>)
        .with_state(Arc::new(Gateway::new(source, options)))
}

/// The gateway and other services on one address. Hosts of content (see [`Options::is_content`]) answer content alone, so that no
/// page of it shares an origin with anything else; `rest` gets the gateway for all other hosts, to put it where it belongs.
pub fn beside<S: Source>(source: S, options: Options, rest: impl FnOnce(Router) -> Router) -> Router {
    let gateway = Arc::new(Gateway::new(source, options));
    let paths = Router::new().fallback(handle::<S>).with_state(Arc::clone(&gateway));
    rest(paths).layer(middleware::from_fn_with_state(gateway, by_host::<S>))
}

async fn by_host<S: Source>(State(gateway): State<Arc<Gateway<S>>>, request: Request, next: Next) -> Response {
    let (request, body) = request.into_parts();
    let host = odf_doors::asked(&request, &gateway.options.proxies).name;
    let is_content = gateway.options.is_content(&host);
    let request = Request::from_parts(request, body);
    match is_content {
        true => handle(State(gateway), request).await,
        false => next.run(request).await,
    }
}

async fn handle<S: Source>(State(gateway): State<Arc<Gateway<S>>>, request: Request) -> Response {
    let (request, _) = request.into_parts();
    let head = request.method == Method::HEAD;
    let mut mount = Mount::Path;
    let answered = match request.method {
        Method::GET | Method::HEAD => match Question::read(&request, &gateway.options) {
            Ok(question) => {
                mount = question.mount.clone();
                match gateway.options.trustless && !question.is_trustless() {
                    true => Err(Refusal::new(StatusCode::NOT_ACCEPTABLE, TRUSTLESS_ONLY).at(&question)),
                    false => respond(gateway, &request, question).await,
                }
            }
            Err(refusal) => Err(refusal),
        },
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
    for_browsers(response, &mount)
}

/// Answers GET or HEAD. A HEAD gets the same header fields; its body is never read, so no block is fetched for it.
async fn respond<S: Source>(
    gateway: Arc<Gateway<S>>,
    request: &Parts,
    question: Question,
) -> Result<Response, Refusal> {
    let client = odf_doors::client(&request.extensions, &request.headers, &gateway.options.proxies);
    let through = asking::through(&request.headers);
    let asking = Arc::new(Asking::new(&gateway, client.address, &through));
    if question.wanted.format == Some(Format::IpnsRecord) {
        let answered = record::record(&asking, &question).await;
        return answered.map_err(|refusal| refusal.at(&question));
    }
    let rooted = asking.root(&question).await?;
    if question.only_if_cached && !(inherent(&rooted.cid).is_some() || gateway.source.has(&rooted.cid).await) {
        let reason = format!("{} is not here", rooted.cid);
        return Err(Refusal::new(StatusCode::PRECONDITION_FAILED, reason).at(&question));
    }
    match content(&asking, &rooted, question.clone()).await {
        Err(refusal) if refusal.is_no_such_path() && question.mount != Mount::Path => {
            match redirects::instead(&asking, &rooted, &question).await {
                Ok(Some(Instead::Elsewhere(status, to))) => Err(Refusal::elsewhere(status, &to)),
                Ok(Some(Instead::Content(status, to))) => {
                    let mut response = content(&asking, &rooted, question.clone().instead(&to, status)).await?;
                    if status != StatusCode::OK {
                        *response.status_mut() = status;
                    }
                    Ok(response)
                }
                Ok(None) => Err(refusal),
                Err(error) => Err(error),
            }
        }
        answered => answered,
    }
    .map_err(|refusal| refusal.at(&question))
}

/// Answers with what the path of a question leads to.
async fn content<S: Source>(asking: &Arc<Asking<S>>, rooted: &Rooted, question: Question) -> Result<Response, Refusal> {
    let path = format!("{}{}", rooted.base, question.inner_path);
    let Way { resolved, trail } = asking.resolve(rooted.cid, &path).await?;
    let destination = Destination {
        question,
        resolved,
        max_age: rooted.max_age,
    };
    let codec = destination.resolved.cid.codec();
    match destination.question.wanted.format {
        Some(Format::Raw) => dag::raw(asking, &destination).await,
        Some(Format::Car) => car::car(asking, &destination, trail).await,
        Some(Format::Tar) => tar::tar(asking, &destination).await,
        // UnixFS under a plain media type is the file itself, which may well be JSON.
        Some(format) if !(format.is_plain() && matches!(codec, DAG_PB | RAW)) => {
            dag::node(asking, &destination, Some(format)).await
        }
        _ if matches!(codec, DAG_PB | RAW) => directory::entry(asking, &destination).await,
        _ => dag::node(asking, &destination, None).await,
    }
}
