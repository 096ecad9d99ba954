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
//! # Goals, the first before the second
//!
//! 1. Believe no peer. Every block is hashed before anybody sees it, and compared with the CID that was asked for; every
//!    list, frame and queue has a named bound.
//! 2. Be a good peer of Kubo and Helia: HAVE and DONT_HAVE, cancels, messages well under 4 MiB, parallel streams.
//! 3. Keep a fast link full.
//! 4. Spread the load over all providers by what they deliver, gateways among them ([`crate::retrieval`]).
//!
//! # Not goals
//!
//! - Finding providers: the peer around is asked ([`Event::NeedProviders`]).
//! - Keeping blocks: what came is handed to whoever fetched it, and that one keeps it.
//! - Accounts: the ledger counts nothing, whoever asks is served.
//! - Hash functions other than sha2-256, sha2-512 and identity: what cannot be checked is neither fetched nor kept.
//!
//! # What a sudden stop loses
//!
//! Everything here, because nothing of it is on disk: fetches under way, what peers want of us, rates, refusals and bans.
//! None of it is missed. A fetch that is begun again asks anew; blocks that had come but were not yet kept come again; a
//! peer that waited for us asks somebody else, and us again when it sees us. The same holds for [`FetchError::Closed`].

mod allowance;
mod behaviour;
mod client;
mod frame;
mod handler;
mod message;
mod server;
mod session;
mod stats;
mod verdict;
mod wantlist;

use std::sync::Arc;

pub use behaviour::{Behaviour, Config, Event};
#[cfg(test)]
pub(crate) use session::Answering;
pub use session::{AheadOf, Handle, Session, SessionId};
pub use stats::{SessionStats, Stats};
pub use verdict::{FetchError, Verdict};

use crate::retrieval::Gateways;
use crate::store::Blocks;

/// Whether this is a Bitswap message that a peer may send, frame length not included: the first thing that happens to
/// bytes from outside, open to fuzzing.
pub fn is_message(frame: &bytes::Bytes) -> bool {
    message::Received::decode(frame).is_ok()
}

/// Makes an exchange that serves from `store`.
pub fn new(store: Arc<dyn Blocks>, config: Config) -> (Behaviour, Handle) {
    let shared = session::Shared::new();
    let gateways = Gateways::default();
    (
        Behaviour::new(store, &config, shared.clone()),
        Handle { shared, gateways },
    )
}

#[cfg(test)]
mod tests;
