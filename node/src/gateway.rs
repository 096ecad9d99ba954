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
mod dag;
mod directory;
mod file;
mod html;
mod media;
mod peer;
mod question;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use axum::response::Response;
use cid::Cid;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

pub use self::peer::PeerSource;

use self::answer::{Refusal, with_cors};
use self::question::{Question, Root};
use crate::block::{Block, DAG_PB, RAW, inherent};
use crate::unixfs::resolve::{Resolved, Resolver, Step};

/// The most requests that are answered at once; one more is told to come back.
pub const MAX_REQUESTS: usize = 128;
/// The most blocks that are fetched before their turn, for all requests together: at most 128 MiB.
pub const MAX_BLOCKS_AHEAD: usize = 64;
/// The most names that one path may lead through.
pub const MAX_NAME_DEPTH: usize = 32;

/// Where a gateway gets blocks and names from.
///
/// Futures may be dropped at any time; that is how a request is cancelled.
pub trait Source: Send + Sync + 'static {
    /// What one request keeps between its blocks, which are likely to be found in the same place.
    type Session: Send + Sync + 'static;

    /// Begins a request.
    fn session(&self) -> Self::Session;

    /// The block, from the local store or from peers.
    ///
    /// # Errors
    /// Nobody has it, or time ran out.
    fn block(&self, session: &Self::Session, cid: &Cid) -> impl Future<Output = Result<Block, SourceError>> + Send;

    /// Whether the block is here, without asking anybody.
    fn has(&self, cid: &Cid) -> impl Future<Output = bool> + Send;

    /// What a name stands for now, one step. `name` is the segment after `/ipns/`, whatever it is.
    ///
    /// # Errors
    /// It is no name, nobody knows it, or time ran out.
    fn resolve_name(&self, name: &str) -> impl Future<Output = Result<NameValue, SourceError>> + Send;
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameValue {
    /// A path: `/ipfs/{cid}…` or `/ipns/{name}…`.
    pub path: String,
    /// How long the answer may be kept: the record's TTL, or what is left of its validity if that is less.
    pub max_age: Duration,
}

/// Why a [`Source`] has nothing. The text is shown to whoever asked, as a whole sentence without a full stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// It does not exist, or nobody who can be reached has it. Answered with 404.
    #[error("{0}")]
    NotFound(String),
    /// Time ran out before that was known; the same request may succeed later. Answered with 504.
    #[error("{0}")]
    TimedOut(String),
    /// The name is none. Answered with 400.
    #[error("{0}")]
    BadName(String),
    /// Something here is broken. Answered with 500.
    #[error("{0}")]
    Failed(String),
}

/// How a gateway behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// How long one block may take. A [`Source`] with a better reason to give up gives it earlier.
    pub block_limit: Duration,
    /// How long one name may take.
    pub name_limit: Duration,
    /// Whether dag-cbor and dag-pb are shown as JSON to whoever asks for `dag-json` or `json`, and values within a
    /// dag-cbor block too. Without it such requests get 406 and 501, as IPIP-524 has it for public gateways.
    pub convert: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            block_limit: Duration::from_secs(60),
            name_limit: Duration::from_secs(60),
            convert: true,
        }
    }
}

/// A gateway over a source, shared by all requests.
struct Gateway<S> {
    source: S,
    options: Options,
    requests: Arc<Semaphore>,
    ahead: Arc<Semaphore>,
}

/// One request at the source.
struct Asking<S: Source> {
    gateway: Arc<Gateway<S>>,
    session: S::Session,
}

/// The gateway as a router, to be served by itself or nested into another.
pub fn router<S: Source>(source: S, options: Options) -> Router {
    let gateway = Gateway {
        source,
        options,
        requests: Arc::new(Semaphore::new(MAX_REQUESTS)),
        ahead: Arc::new(Semaphore::new(MAX_BLOCKS_AHEAD)),
    };
    Router::new().fallback(handle::<S>).with_state(Arc::new(gateway))
}

/// Serves `router` on `listener` until `stop` is done, then lets running requests end.
///
/// # Errors
/// The listener fails.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(stop).await
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
    let asking = Arc::new(Asking {
        session: gateway.source.session(),
        gateway: Arc::clone(&gateway),
    });
    let (root, path, max_age) = gateway.root(&question).await?;
    if question.only_if_cached && !(inherent(&root).is_some() || gateway.source.has(&root).await) {
        return Err(Refusal::new(StatusCode::PRECONDITION_FAILED, format!("{root} is not here")).at(&question));
    }
    let resolved = asking
        .resolve(root, &path)
        .await
        .map_err(|refusal| refusal.at(&question))?;
    let place = answer::Place {
        question,
        resolved,
        max_age,
    };

    let codec = place.resolved.cid.codec();
    let response = match place.question.format {
        Some(format) if format.is_unserved() => Err(Refusal::new(
            StatusCode::NOT_ACCEPTABLE,
            format!("this gateway does not serve {}", format.media_type()),
        )),
        Some(question::Format::Raw) => dag::raw(&asking, &place).await,
        // UnixFS under a plain media type is the file itself, which may well be JSON.
        Some(format) if !(format.is_plain() && matches!(codec, DAG_PB | RAW)) => {
            dag::node(&asking, &place, Some(format)).await
        }
        _ if matches!(codec, DAG_PB | RAW) => directory::entry(&asking, &place).await,
        _ => dag::node(&asking, &place, None).await,
    };
    let response = response.map_err(|refusal| refusal.at(&place.question))?;
    // The request counts until its body has been sent or dropped.
    Ok(response.map(|body| answer::holding(body, permit)))
}

impl<S: Source> Gateway<S> {
    /// Follows names to a CID; the path within it, and how long a name's answer holds.
    async fn root(&self, question: &Question) -> Result<(Cid, String, Option<Duration>), Refusal> {
        let mut root = question.root.clone();
        let mut path = question.inner_path.clone();
        let mut max_age: Option<Duration> = None;
        for _ in 0..=MAX_NAME_DEPTH {
            let name = match root {
                Root::Cid(cid) => return Ok((cid, path, max_age)),
                Root::Name(name) => name,
            };
            let found = tokio::time::timeout(self.options.name_limit, self.source.resolve_name(&name)).await;
            let timed_out = || SourceError::TimedOut(format!("{name} could not be resolved in time"));
            let value = found
                .map_err(|_| timed_out())
                .and_then(|found| found)
                .map_err(|error| Refusal::from(error).at(question))?;
            max_age = Some(max_age.map_or(value.max_age, |least| least.min(value.max_age)));
            let (next, inner) = question::split(&value.path).map_err(|refusal| {
                let reason = format!("{name} stands for {:?}: {}", value.path, refusal.reason());
                Refusal::new(StatusCode::BAD_GATEWAY, reason).at(question)
            })?;
            path = if inner.is_empty() {
                path
            } else {
                format!("{inner}/{path}")
            };
            root = next;
        }
        let reason = format!("the name leads through more than {MAX_NAME_DEPTH} others");
        Err(Refusal::new(StatusCode::BAD_GATEWAY, reason).at(question))
    }
}

impl<S: Source> Asking<S> {
    /// The block, from nowhere if its CID says it all, else from the source within the limit.
    async fn block(&self, cid: &Cid) -> Result<Block, SourceError> {
        if let Some(block) = inherent(cid) {
            return Ok(block);
        }
        let limit = self.gateway.options.block_limit;
        match tokio::time::timeout(limit, self.gateway.source.block(&self.session, cid)).await {
            Ok(result) => result,
            Err(_) => Err(SourceError::TimedOut(format!(
                "{cid} did not arrive within {} s",
                limit.as_secs()
            ))),
        }
    }

    /// Follows a path from a root.
    async fn resolve(&self, root: Cid, path: &str) -> Result<Resolved, Refusal> {
        let mut resolver = Resolver::new(root, path)?;
        loop {
            match resolver.step() {
                Step::Need(cid) => resolver.feed(&self.block(&cid).await?)?,
                Step::Done(resolved) => return Ok(resolved),
            }
        }
    }
}
