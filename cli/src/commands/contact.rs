//! Who can be asked for what is here, and where: what tickets say of this machine; and those whom a ticket names.

use odf::dataset::DatasetName;
use odf::pull::{self, Address};
use odf::ticket::{Contact, Ticket};
use odf::workspace::PEER_KEY;
use odf_node::PeerId;
use odf_node::address;
use odf_node::peer::{DialError, Node};

use crate::failure::Failure;
use crate::io::Io;
use crate::session::Session;

/// The ticket for what `node` serves; none if it cannot be reached at all.
pub(super) fn ticket(address: &Address, label: Option<&DatasetName>, node: &Node) -> Option<Ticket> {
    let contact = here(node);
    match contact.addresses.is_empty() {
        true => None,
        false => Ticket::new(address, label, vec![contact]).ok(),
    }
}

/// Where the node of this workspace can be reached now.
pub(super) fn here(node: &Node) -> Contact {
    Contact {
        peer: node.peer_id(),
        addresses: node.reachable_at(),
    }
}

/// Where it will be, as far as the settings tell.
///
/// # Errors
/// Its key cannot be read or made.
pub(super) fn later(session: &Session) -> Result<Contact, Failure> {
    let key = session.keys()?.get_or_generate(PEER_KEY)?;
    let listen = session.settings().listen.iter().flatten();
    let listen: Vec<_> = listen.filter_map(|address| address.parse().ok()).collect();
    Ok(Contact {
        peer: key.public().to_peer_id(),
        addresses: address::fixed(&listen),
    })
}

/// Connects to those whom a ticket names, all at once; gives whoever answers first, and nobody if none does in time, of which
/// the user is told.
///
/// # Errors
/// The peer does not start, or the user wants to stop.
pub(super) fn meet(ticket: &Ticket, session: &Session, io: &mut Io) -> Result<Option<PeerId>, Failure> {
    let node = session.node()?;
    let met = session.wait(io, async { Ok::<_, Failure>(pull::meet(node, ticket).await) })?;
    Ok(match met {
        Ok(peer) => Some(peer),
        Err(Some(DialError::Myself)) => None,
        Err(reason) => {
            io.say("Nobody answers at the addresses in the ticket; others are asked");
            tracing::info!(
                reason = reason.map(|error| error.to_string()),
                "nobody of the ticket answers"
            );
            None
        }
    })
}
