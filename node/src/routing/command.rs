//! What the task that owns the swarm can be asked, and what it answers with.
//!
//! Every command carries the channel that its answer goes to. Commands wait in a bounded queue; whoever sends one waits
//! while it is full.

use std::time::Duration;

use libp2p::{Multiaddr, PeerId};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::network::Network;

/// Commands waiting for that task.
pub(crate) const MAX_COMMANDS: usize = 256;
/// Found providers or records waiting to be taken by whoever asked. Over that, further ones are dropped.
pub(crate) const MAX_ANSWERS_WAITING: usize = 64;

/// What the rest of the peer asks of the task that owns the swarm.
pub(crate) enum Command {
    /// Open a connection; `named` by the user, so it is held and its peer trusted to be of our LAN.
    Dial {
        peer: Option<PeerId>,
        addresses: Vec<Multiaddr>,
        named: bool,
        reply: DialReply,
    },
    /// Close all connections to a peer and stop holding it.
    Disconnect { peer: PeerId, reply: oneshot::Sender<bool> },
    /// The peers that are connected.
    Peers { reply: oneshot::Sender<Vec<PeerInfo>> },
    /// The router leads these addresses here from now on, and no others.
    Mapped { addresses: Vec<Multiaddr> },
    /// HTTP is spoken at these addresses from now on, and at no others.
    Serves { addresses: Vec<Multiaddr> },
    /// Whether peers on the internet get through to this one.
    Reachable { reply: oneshot::Sender<Reachability> },
    /// Ask one of the DHTs.
    Walk { network: Network, walk: Walk },
    /// Tell a peer of one of the DHTs that these keys are here; whether it has read that.
    Tell {
        network: Network,
        peer: PeerId,
        addresses: Vec<Multiaddr>,
        keys: Vec<Vec<u8>>,
        reply: oneshot::Sender<bool>,
    },
}

pub(crate) type DialReply = oneshot::Sender<Result<PeerId, DialError>>;

/// Something to ask the network, and where the answer goes.
pub(crate) enum Walk {
    /// Who provides `key`. Ends when `found` is dropped by either side.
    Providers {
        key: Vec<u8>,
        found: mpsc::Sender<Provider>,
    },
    /// Value records of `key`; then, at the end or at `until`, the closest peers that have none.
    Values {
        key: Vec<u8>,
        found: mpsc::Sender<(Option<PeerId>, Vec<u8>)>,
        closest: oneshot::Sender<Vec<PeerId>>,
        until: Instant,
    },
    /// Tell the closest peers that `key` is here; whether anybody heard.
    Announce { key: Vec<u8>, reply: oneshot::Sender<bool> },
    /// The peers closest to `key`, if the walk comes to an end.
    Closest {
        key: Vec<u8>,
        reply: oneshot::Sender<Vec<Provider>>,
    },
    /// Where `peer` can be dialled, if it or somebody close to it tells.
    Peer {
        peer: PeerId,
        reply: oneshot::Sender<Vec<Multiaddr>>,
    },
    /// Give one peer a value record; whether it took it.
    Put {
        peer: PeerId,
        key: Vec<u8>,
        value: Vec<u8>,
        reply: oneshot::Sender<bool>,
    },
}

/// Somebody who says that they have a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// Who.
    pub peer: PeerId,
    /// Where they can be dialled, as far as is known; may be empty for a peer that is connected.
    pub addresses: Vec<Multiaddr>,
}

/// A peer that is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerInfo {
    /// Who.
    pub peer: PeerId,
    /// The other end of each connection.
    pub addresses: Vec<Multiaddr>,
    /// What it calls itself, once it has said so.
    pub agent: Option<String>,
    /// Whether the first connection was opened from here.
    pub dialled_by_us: bool,
    /// Round-trip time of the last ping.
    pub latency: Option<Duration>,
}

/// Whether peers on the internet get through to this one, as far as others showed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reachability {
    /// Somebody from the internet came in, or had an address dialled back.
    pub reached: bool,
    /// Somebody tried to dial an address back, and nobody got through.
    pub failed: bool,
    /// Somebody was connected who could have told.
    pub asked: bool,
    /// The relays that stand in.
    pub relays: Vec<PeerId>,
}

/// Why a connection could not be opened.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The peer to dial is this one.
    #[error("that is this peer itself")]
    Myself,
    /// No address of the peer is known.
    #[error("no address of the peer is known")]
    NoAddresses,
    /// Somebody else answered at that address.
    #[error("another peer answers at {address}: {found}")]
    OtherPeer {
        /// Who answered.
        found: PeerId,
        /// Where.
        address: Multiaddr,
    },
    /// None of the addresses could be reached.
    #[error("cannot be reached: {reason}")]
    Unreachable {
        /// What went wrong at each address.
        reason: String,
    },
    /// A limit on connections stands in the way.
    #[error("refused by this peer itself: {reason}")]
    Denied {
        /// Which limit.
        reason: String,
    },
    /// The peer has been shut down.
    #[error("the peer has been shut down")]
    Stopped,
}

impl DialError {
    pub(crate) fn from_libp2p(error: &libp2p::swarm::DialError) -> Self {
        use libp2p::swarm::DialError as Theirs;
        match error {
            Theirs::LocalPeerId { .. } => Self::Myself,
            Theirs::NoAddresses => Self::NoAddresses,
            Theirs::WrongPeerId { obtained, address } => Self::OtherPeer {
                found: *obtained,
                address: address.clone(),
            },
            Theirs::Denied { cause } => Self::Denied {
                reason: cause.to_string(),
            },
            Theirs::Transport(attempts) => {
                let attempts = attempts
                    .iter()
                    .map(|(address, error)| format!("{address}: {}", innermost(error)));
                Self::Unreachable {
                    reason: attempts.collect::<Vec<_>>().join("; "),
                }
            }
            other => Self::Unreachable {
                reason: other.to_string(),
            },
        }
    }
}

/// The message at the end of a chain of errors, where libp2p hides what happened.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
