//! Where a gateway gets blocks and names from.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use cid::Cid;

use crate::block::Block;

/// Where a gateway gets blocks and names from.
///
/// Futures may be dropped at any time; that is how a request is cancelled.
pub trait Source: Send + Sync + 'static {
    /// What one request keeps between its blocks, which are likely to be found in the same destination.
    type Session: Send + Sync + 'static;

    /// Begins a request that has come through these other gateways.
    fn session(&self, through: &[String]) -> Self::Session;

    /// What this gateway is called where requests say through whom they came; empty where it asks no other.
    fn id(&self) -> &str {
        ""
    }

    /// The block, if it can be had without asking anybody. Nothing is unless the source says so.
    ///
    /// # Errors
    /// Something here is broken, or the block is not to be shown.
    fn here(&self, cid: &Cid) -> impl Future<Output = Result<Option<Block>, SourceError>> + Send {
        let _ = cid;
        async { Ok(None) }
    }

    /// The first of these blocks that can be had without asking anybody, up to the first that cannot, or is beyond so many bytes in
    /// all; the very first whatever its length. One look at the disk may give them all.
    ///
    /// # Errors
    /// As for [`here`](Self::here), of the very first.
    fn here_together(&self, cids: &[Cid], most: usize) -> impl Future<Output = Result<Vec<Block>, SourceError>> + Send {
        let _ = most;
        async move {
            match cids.first() {
                Some(cid) => Ok(self.here(cid).await?.into_iter().collect()),
                None => Ok(Vec::new()),
            }
        }
    }

    /// The block, from peers. Asked for what is not [`here`](Self::here).
    ///
    /// # Errors
    /// Nobody has it, or time ran out.
    fn block(&self, session: &Self::Session, cid: &Cid) -> impl Future<Output = Result<Block, SourceError>> + Send;

    /// Whether the block is here, without asking anybody.
    fn has(&self, cid: &Cid) -> impl Future<Output = bool> + Send;

    /// What a name stands for now, one step, if that is known without asking anybody. Nothing is unless the source says so.
    ///
    /// # Errors
    /// It is no name.
    fn known_name(&self, name: &str) -> impl Future<Output = Result<Option<NameValue>, SourceError>> + Send {
        let _ = name;
        async { Ok(None) }
    }

    /// What a name stands for now, one step, by asking peers. `name` is the segment after `/ipns/`, whatever it is.
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
    /// How long the answer may be kept: the TTL, or what is left of the record's validity if that is less.
    pub max_age: Duration,
    /// The signed record that says so, as it goes over the network; nothing where something else does.
    pub record: Option<Bytes>,
}

/// Why a [`Source`] has nothing. The text is shown to whoever asked, as a whole sentence without a full stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// It does not exist, or nobody who can be reached has it. Answered with 404.
    #[error("{0}")]
    NotFound(String),
    /// It is denied here. Answered with 410.
    #[error("{0} is blocked and cannot be provided")]
    Denied(String),
    /// Time ran out before that was known; the same request may succeed later. Answered with 504.
    #[error("{0}")]
    TimedOut(String),
    /// There is no room for the question now; the same request may succeed in a moment. Answered with 503.
    #[error("{0}")]
    Busy(String),
    /// The name is none. Answered with 400.
    #[error("{0}")]
    BadName(String),
    /// Something here is broken. Answered with 500.
    #[error("{0}")]
    Failed(String),
}
