//! What went wrong with a dial.

use std::io;

use libp2p::swarm::DialError;
use rustix::io::Errno;

use crate::routing::command::innermost;

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
