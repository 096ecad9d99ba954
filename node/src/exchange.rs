//! Bitswap 1.2: sessions that fetch, a server that answers, pure state machines inside.
//!
//! [`new`] gives a [`Behaviour`] for the swarm and a [`Handle`] for everybody else. The handle works from any task
//! and needs no access to the swarm; the behaviour must be polled with the swarm for anything to happen, on a Tokio
//! runtime.
//!
//! ```text
//!  Handle, Session ──inbox──► Behaviour ── client: who is asked for what
//!                                │     └── server: what peers want, in which order it is sent
//!                                ▼
//!                   one handler per connection: streams, frames, hashing of what came
//! ```
//!
//! Goals, in order: never believe a peer (every block is hashed before anybody sees it, every list, frame and queue
//! has a named bound), be a good peer of Kubo and Helia (HAVE and DONT_HAVE, cancels, messages well under 4 MiB,
//! parallel streams), keep a fast link full, spread the load over all providers by what they deliver.
//!
//! # Limitations
//! Bitswap only: no retrieval over HTTP. Hash functions other than sha2-256, sha2-512 and identity cannot be checked,
//! so blocks under them cannot be fetched; they are served. The ledger counts nothing: whoever asks is served.

mod behaviour;
mod client;
mod frame;
mod handler;
mod message;
mod server;
mod session;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cid::Cid;

pub use behaviour::Behaviour;
pub use session::{Handle, Session, SessionId};

use crate::store::Blocks;

/// Whether this is a Bitswap message that a peer may send, frame length not included: the first thing that happens to
/// bytes from outside, open to fuzzing.
pub fn is_message(frame: &bytes::Bytes) -> bool {
    message::Received::decode(frame).is_ok()
}

/// Settings of an exchange. The defaults suit a desktop machine and a server alike.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// How long a peer has to answer before others are asked as well. Less is waited once its latency is known.
    pub answer_timeout: Duration,
    /// Providers are searched when a session with wants has received nothing for this long. When nobody is left to
    /// be asked, they are searched at once.
    pub search_after: Duration,
    /// A search is repeated after this long without progress.
    pub search_every: Duration,
    /// A search that is not answered through [`Handle::provide_peers`] counts as fruitless after this.
    pub search_timeout: Duration,
    /// A fetch fails with [`FetchError::Stalled`] when nothing has come for its session for this long.
    pub patience: Duration,
    /// Bytes of blocks that may wait at the connection of one peer.
    pub peer_outstanding: usize,
    /// Bytes of blocks that may wait at all connections together.
    pub total_outstanding: usize,
    /// How many messages are read from the store at the same time.
    pub store_reads: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            answer_timeout: Duration::from_secs(5),
            search_after: Duration::from_secs(1),
            search_every: Duration::from_secs(60),
            search_timeout: Duration::from_secs(60),
            patience: Duration::from_secs(60),
            peer_outstanding: 4 << 20,
            total_outstanding: 64 << 20,
            store_reads: 8,
        }
    }
}

/// What the exchange asks of the peer around it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Nobody that the session knows has given this block. Find providers, hand them over as they are found with
    /// [`Handle::provider_found`], and end with [`Handle::provide_peers`], with an empty list if there are no more.
    /// One search at a time is asked for each session.
    NeedProviders {
        /// Who asks.
        session: SessionId,
        /// One of the blocks that are missing.
        cid: Cid,
    },
}

/// What was tried for a block that did not come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verdict {
    /// Peers that the session knew.
    pub known: u32,
    /// Of these, how many could not be connected to.
    pub unreachable: u32,
    /// Peers that were asked for the block, within the session and outside.
    pub asked: u32,
    /// Of these, how many said that they do not have it.
    pub refused: u32,
    /// Of these, how many did not answer in time.
    pub silent: u32,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peers = |count| if count == 1 { "peer" } else { "peers" };
        match self.asked {
            0 => write!(f, "no peer could be asked")?,
            asked => write!(f, "asked {asked} {}", peers(asked))?,
        }
        if self.refused > 0 {
            write!(f, ", {} not having it", self.refused)?;
        }
        if self.silent > 0 {
            write!(f, ", {} not answering", self.silent)?;
        }
        match (self.known, self.unreachable) {
            (0, _) if self.asked == 0 => write!(f, ", no provider is known"),
            (_, 0) => Ok(()),
            (_, lost) => write!(f, ", {lost} {} not reachable", peers(lost)),
        }
    }
}

/// Why a block could not be fetched. Nothing has changed, and the fetch may be tried again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// Everybody that is known said no or cannot be reached, and a search found nobody else.
    #[error("block {cid} was not found: {verdict}")]
    NotFound {
        /// The block.
        cid: Cid,
        /// What was tried.
        verdict: Verdict,
    },
    /// Somebody may have it, but nothing came for as long as [`Config::patience`] allows.
    #[error("block {cid} did not come within {seconds} seconds: {verdict}")]
    Stalled {
        /// The block.
        cid: Cid,
        /// How long was waited, in seconds.
        seconds: u32,
        /// What was tried.
        verdict: Verdict,
    },
    /// The CID uses a hash function that cannot be checked here, so no answer could be believed.
    #[error("block {cid} uses hash function 0x{code:x}, which cannot be checked here")]
    Unverifiable {
        /// The block.
        cid: Cid,
        /// Multihash code.
        code: u64,
    },
    /// The exchange has been shut down.
    #[error("block {cid} was not fetched: the exchange is closed")]
    Closed {
        /// The block.
        cid: Cid,
    },
}

/// What an exchange has moved since it began, and what is under way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Blocks received that were wanted.
    pub blocks_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// Blocks received once more than needed.
    pub duplicates: u64,
    /// Their bytes.
    pub duplicate_bytes: u64,
    /// Blocks received that nobody had asked for, or whose bytes were not those asked for.
    pub unrequested: u64,
    /// Blocks handed to connections.
    pub blocks_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// Connected peers, whether or not they speak Bitswap.
    pub peers: usize,
    /// Open sessions.
    pub sessions: usize,
    /// Blocks wanted here.
    pub wants: usize,
    /// Blocks wanted by peers.
    pub peer_wants: usize,
}

/// What one session has fetched.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct SessionStats {
    /// Blocks received.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blocks that came once more than needed.
    pub duplicates: u64,
    /// Peers that gave at least one block.
    pub providers: usize,
    /// Bytes per second, averaged over the last moments in which blocks came.
    pub rate: f64,
    /// What was tried for the last block that did not come.
    pub last_verdict: Option<Verdict>,
}

/// Makes an exchange that serves from `store`.
pub fn new(store: Arc<dyn Blocks>, config: Config) -> (Behaviour, Handle) {
    let shared = session::Shared::new();
    (Behaviour::new(store, &config, shared.clone()), Handle { shared })
}

#[cfg(test)]
mod tests;
