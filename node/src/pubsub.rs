//! IPNS over PubSub on the wire: records of names, told to whoever listens the moment they are new.
//!
//! Each name is a topic of its own, and a message on it is a signed record as it is. libp2p's gossipsub passes messages on;
//! what it lacks is here: a guard before it, and the protocol by which who joins a topic fetches the record that
//! it has missed. All of it is what Kubo does with `Ipns.UsePubsub`. Nothing here knows what a good record is: what was
//! heard goes to [`ipns`](crate::ipns) as an [`Event`](link::Event), and the verdict
//! comes back as a [`Command`](link::Command).
//!
//! # Bounds
//! - What one peer may send, in messages, subscriptions and control messages, is a [budget](budget) of its own; what is over
//!   it is dropped before gossipsub remembers anything of it, and who goes on is hung up on.
//! - Messages are taken on topics only that this peer is in, and no longer than a record may be.
//! - Of one peer those topics are remembered that this peer is in too, and [`MAX_OTHER_TOPICS`](topic::MAX_OTHER_TOPICS)
//!   others, in case it joins one.
//! - A request to fetch is [`fetch::MAX_WANTED_BYTES`] long, an answer a little more than a record.
//!
//! libp2p's own scores are off: they judge by how much a peer delivers, and here nobody has anything to deliver for hours.

mod budget;
pub(crate) mod fetch;
pub(crate) mod gossip;
pub(crate) mod link;
mod topic;

use libp2p::identity::Keypair;
use libp2p::swarm::NetworkBehaviour;

/// Both protocols.
#[derive(NetworkBehaviour)]
pub(crate) struct PubSub {
    pub(crate) gossip: gossip::Gossip,
    pub(crate) fetch: fetch::Fetch,
}

impl PubSub {
    /// A peer that is in no topic yet and signs its messages with `keypair`. Nothing if libp2p refuses the settings, which
    /// are constants.
    pub(crate) fn new(keypair: Keypair) -> Option<Self> {
        Some(Self {
            gossip: gossip::Gossip::new(keypair)?,
            fetch: fetch::behaviour(),
        })
    }
}
