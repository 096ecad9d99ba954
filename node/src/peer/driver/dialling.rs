//! Dialling for those who wait, and for nobody.

use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{self, ConnectionId};
use libp2p::{Multiaddr, PeerId};
use tokio::time::Instant;

use super::dial::{Dialling, is_port_taken};
use super::{Driver, MAX_DIAL_WAITERS};
use crate::address::prefer_tcp_nearby;
use crate::routing::command::DialReply;
use crate::routing::{DialError, Network};

impl Driver {
    pub(super) fn dial(&mut self, peer: Option<PeerId>, addresses: Vec<Multiaddr>, named: bool, reply: DialReply) {
        if let Some(peer) = peer {
            if peer == *self.swarm.local_peer_id() {
                return drop(reply.send(Err(DialError::Myself)));
            }
            if named {
                self.state.named.insert(peer);
                self.swarm.behaviour_mut().hold.hold(peer, true);
                self.swarm.behaviour_mut().admission.name(peer);
            }
            if let Some(connected) = self.state.peers.get_mut(&peer) {
                connected.answer(named, vec![reply]);
                return;
            }
            let under_way = self
                .state
                .dials
                .values_mut()
                .find(|dial| dial.peer == Some(peer) && dial.addresses == addresses);
            if let Some(dial) = under_way {
                if dial.waiting.len() < MAX_DIAL_WAITERS {
                    dial.waiting.push(reply);
                } else {
                    let reason = format!("{MAX_DIAL_WAITERS} others wait for this peer already");
                    let _ = reply.send(Err(DialError::Denied { reason }));
                }
                return;
            }
        }
        self.dial_for(Dialling {
            peer,
            addresses,
            new_port: false,
            unasked: false,
            waiting: vec![reply],
        });
    }

    pub(super) fn dial_for(&mut self, dialling: Dialling) {
        let (new_port, addresses) = (dialling.new_port, dialling.addresses.clone());
        let options = match (dialling.peer, addresses.first().cloned()) {
            (Some(peer), None) => {
                let options = DialOpts::peer_id(peer).condition(PeerCondition::Disconnected);
                if new_port { options.allocate_new_port() } else { options }.build()
            }
            (Some(peer), Some(_)) => {
                let options = DialOpts::peer_id(peer).condition(PeerCondition::Disconnected);
                let options = options.addresses(prefer_tcp_nearby(addresses));
                if new_port { options.allocate_new_port() } else { options }.build()
            }
            (None, Some(address)) => {
                let options = DialOpts::unknown_peer_id().address(address);
                if new_port { options.allocate_new_port() } else { options }.build()
            }
            (None, None) => {
                let replies = dialling.waiting.into_iter();
                return replies.for_each(|reply| drop(reply.send(Err(DialError::NoAddresses))));
            }
        };
        let id = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => {
                self.state.dials.insert(id, dialling);
            }
            Err(error) => {
                for reply in dialling.waiting {
                    let _ = reply.send(Err(DialError::from_libp2p(&error)));
                }
            }
        }
    }

    /// Dials a peer that mDNS found. It finds us in the same instant and dials too: from the ports both listen on that
    /// would be one TCP connection opened from both ends, on which each side waits for the other to answer.
    pub(super) fn dial_neighbour(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) {
        let options = DialOpts::peer_id(peer)
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .addresses(prefer_tcp_nearby(addresses))
            .allocate_new_port();
        self.start_dial(peer, options.build());
    }

    pub(super) fn start_dial(&mut self, peer: PeerId, options: DialOpts) {
        if let Err(error) = self.swarm.dial(options) {
            tracing::trace!(%peer, %error, "not dialled");
        }
    }

    pub(super) fn on_dial_failed(&mut self, connection: ConnectionId, peer: Option<PeerId>, error: &swarm::DialError) {
        if let Some(dial) = self.state.dials.remove(&connection) {
            if !dial.new_port && is_port_taken(error) {
                // What another program has, or a connection that ended a moment ago, is no fault of the peer's.
                return self.dial_for(Dialling { new_port: true, ..dial });
            }
            for reply in dial.waiting {
                let _ = reply.send(Err(DialError::from_libp2p(error)));
            }
            self.show_signs();
        }
        use swarm::DialError::{LocalPeerId, NoAddresses, Transport, WrongPeerId};
        if let (Some(peer), Transport(_) | WrongPeerId { .. } | NoAddresses | LocalPeerId { .. }) = (peer, error)
            && !self.swarm.is_connected(&peer)
        {
            // libp2p keeps the unreachable in its tables. Here the size of a table decides which network is used, so
            // only those who answer may count.
            self.forget(peer, Network::Lan);
            self.forget(peer, Network::Wan);
            self.remembered.failed(peer, Instant::now());
        }
    }
}
