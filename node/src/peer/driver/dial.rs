//! A dial, and what went wrong with it.

use std::io;

use libp2p::swarm::DialError;
use libp2p::{Multiaddr, PeerId};
use rustix::io::Errno;

use crate::routing::command::{DialReply, innermost};

/// A dial under way, and who waits for it.
pub(super) struct Dialling {
    pub(super) peer: Option<PeerId>,
    pub(super) addresses: Vec<Multiaddr>,
    /// From a port of its own, not the one that is listened on.
    pub(super) new_port: bool,
    /// Nobody has named this peer: it is dialled to join a network.
    pub(super) unasked: bool,
    pub(super) waiting: Vec<DialReply>,
}

/// Whether a dial failed because it was to come from the port that is listened on, and the system has that in use. Libp2p dials
/// from there so that routers let answers through.
pub(super) fn is_port_taken(error: &DialError) -> bool {
    let DialError::Transport(errors) = error else {
        return false;
    };
    // Transports wrap the errors of those below them in types that only give the text on.
    let in_use = io::Error::from(Errno::ADDRINUSE).to_string();
    errors.iter().any(|(_, error)| innermost(error) == in_use)
}
