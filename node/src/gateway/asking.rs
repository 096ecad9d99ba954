//! One request at the source: names followed to a root, a path followed to an entry, blocks within their time.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use cid::Cid;
use tokio::sync::Semaphore;

use super::question::{Question, Root, split};
use super::refusal::Refusal;
use super::source::{Source, SourceError};
use crate::block::{Block, inherent};
use crate::unixfs::resolve::{Resolved, Resolver, Step};

/// The most requests that are answered at once; one more is told to come back.
pub const MAX_REQUESTS: usize = 128;
/// The most blocks that are fetched before their turn, for all requests together: at most 128 MiB.
pub const MAX_BLOCKS_AHEAD: usize = 64;
/// The most names that one path may lead through.
pub const MAX_NAME_DEPTH: usize = 32;

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
pub(super) struct Gateway<S> {
    pub(super) source: S,
    pub(super) options: Options,
    pub(super) requests: Arc<Semaphore>,
    pub(super) ahead: Arc<Semaphore>,
}

/// One request at the source.
pub(super) struct Asking<S: Source> {
    pub(super) gateway: Arc<Gateway<S>>,
    session: S::Session,
}

impl<S: Source> Gateway<S> {
    pub(super) fn new(source: S, options: Options) -> Self {
        Self {
            source,
            options,
            requests: Arc::new(Semaphore::new(MAX_REQUESTS)),
            ahead: Arc::new(Semaphore::new(MAX_BLOCKS_AHEAD)),
        }
    }

    /// Follows names to a CID; the path within it, and how long a name's answer holds.
    pub(super) async fn root(&self, question: &Question) -> Result<(Cid, String, Option<Duration>), Refusal> {
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
            let (next, inner) = split(&value.path).map_err(|refusal| {
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
    /// Begins a request.
    pub(super) fn new(gateway: &Arc<Gateway<S>>) -> Self {
        Self {
            session: gateway.source.session(),
            gateway: Arc::clone(gateway),
        }
    }

    /// The block, from nowhere if its CID says it all, else from the source within the limit.
    pub(super) async fn block(&self, cid: &Cid) -> Result<Block, SourceError> {
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
    pub(super) async fn resolve(&self, root: Cid, path: &str) -> Result<Resolved, Refusal> {
        let mut resolver = Resolver::new(root, path)?;
        loop {
            match resolver.step() {
                Step::Need(cid) => resolver.feed(&self.block(&cid).await?)?,
                Step::Done(resolved) => return Ok(resolved),
            }
        }
    }
}
