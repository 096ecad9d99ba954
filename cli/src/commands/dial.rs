//! The peers that a command is told to ask.

use odf_node::PeerId;

use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::session::Session;

/// Connects to the peers that were named. One of several that cannot be reached is only told.
pub(super) fn dial(addresses: &[String], session: &Session, io: &mut Io) -> Result<Vec<PeerId>, Failure> {
    let node = session.node()?;
    let mut peers = Vec::new();
    let mut last = None;
    for text in addresses {
        let address = text.parse().map_err(|error| {
            Failure::usage(format!("--peer {text:?} is no multiaddr: {error}"))
                .next("`odfs status` on the other machine shows its addresses")
        })?;
        match session.wait(io, node.dial(address)) {
            Ok(peer) => peers.push(peer),
            Err(failure) if failure.kind() == Kind::Interrupted => return Err(failure),
            Err(failure) => last = Some(failure.about(text)),
        }
    }
    match last {
        Some(failure) if peers.is_empty() => Err(failure),
        Some(failure) => {
            io.say(failure.message());
            Ok(peers)
        }
        None => Ok(peers),
    }
}
