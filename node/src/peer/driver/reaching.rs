//! What is done to be reached: relays, punched holes, and whom others are told that they can ask. What is wanted,
//! [`Reachable`](super::reachable::Reachable) says.

use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::StreamProtocol;
use libp2p::{Multiaddr, PeerId, autonat, dcutr, relay};
use tokio::time::Instant;

use super::Driver;
use crate::address::{Reach, is_relayed, reach};

/// What a relay says that it speaks: the hop protocol of circuit relay v2.
const HOP: StreamProtocol = StreamProtocol::new("/libp2p/circuit/relay/0.2.0/hop");

impl Driver {
    /// A connection is there: `by_us` dialled, from or to a public address, or through a relay.
    pub(super) fn on_reached(&mut self, local: Option<&Multiaddr>, remote: &Multiaddr) {
        let now = Instant::now();
        if reach(remote) != Reach::Public || is_relayed(remote) {
            return;
        }
        self.state.reachable.outside(now);
        if local.is_some_and(|local| reach(local) == Reach::Public && !is_relayed(local)) {
            // That is what a DHT server needs.
            self.state.reachable.came_in(now);
            self.look_whether_reached();
        }
    }

    /// Remembers a neighbour that relays for others: one on the internet, or that the user named.
    pub(super) fn on_offer(&mut self, peer: PeerId, protocols: &[StreamProtocol], said: &[Multiaddr]) {
        let named = self.state.named.contains(&peer);
        let Some(connected) = self.state.peers.get(&peer).filter(|_| protocols.contains(&HOP)) else {
            return;
        };
        let useful = |address: &&Multiaddr| {
            !is_relayed(address) && (reach(address) == Reach::Public || (named && reach(address) > Reach::Nowhere))
        };
        // Where it was dialled is where it is; what it says of itself comes second.
        let address = connected.dialled.iter().chain(said).find(useful).cloned();
        if let Some(address) = address {
            if named {
                self.state.reachable.outside(Instant::now());
            }
            self.state.reachable.offered(peer, address);
        }
    }

    /// Somebody who may know says that we are at `address`, as others do that are `likely`, the likeliest first.
    pub(super) fn on_likely(&mut self, likely: Vec<Multiaddr>) {
        for address in likely.into_iter().rev() {
            self.swarm.behaviour_mut().holes.suggest(&address);
            self.have_dialled_back(&address);
        }
    }

    /// Has somebody find out whether this peer is reached at `address`.
    pub(super) fn have_dialled_back(&mut self, address: &Multiaddr) {
        if reach(address) == Reach::Public && !is_relayed(address) && self.state.reachable.suggest(address) {
            self.swarm.behaviour_mut().autonat.suggest(address);
        }
    }

    /// The router leads these addresses here from now on, and no others.
    pub(super) fn on_mapped(&mut self, addresses: Vec<Multiaddr>) {
        let before = std::mem::replace(&mut self.state.mapped, addresses.clone());
        for gone in before.iter().filter(|address| !addresses.contains(address)) {
            self.swarm.remove_external_address(gone);
        }
        for address in addresses {
            if !before.contains(&address) {
                tracing::debug!(%address, "the router leads here");
                // Whoever answers as a router may name somebody else's address: it is told to others once it led here.
                self.have_dialled_back(&address);
            }
        }
        self.note_external();
    }

    pub(super) fn on_dialled_back(&mut self, event: autonat::v2::client::Event) {
        let autonat::v2::client::Event {
            tested_addr: address,
            server,
            result,
            ..
        } = event;
        match result {
            Ok(()) => {
                tracing::debug!(%address, %server, "reached from outside");
                self.state.reachable.confirmed.insert(address);
            }
            Err(error) => {
                tracing::debug!(%address, %server, %error, "not reached from outside");
                self.state.reachable.failed = true;
            }
        }
        self.look_whether_reached();
    }

    /// An address at which this peer was reached is none of its own any more.
    pub(super) fn on_address_gone(&mut self, address: &Multiaddr) {
        self.state.reachable.confirmed.remove(address);
        self.look_whether_reached();
    }

    pub(super) fn on_relayed(&mut self, event: relay::client::Event) {
        if let relay::client::Event::ReservationReqAccepted {
            relay_peer_id: relay,
            renewal: false,
            ..
        } = event
        {
            tracing::debug!(%relay, "reached through a relay");
            self.state.reachable.given(relay);
            // It may be of no use any more.
            self.look_whether_reached();
        }
    }

    /// A hole was punched, or not. Through it goes everything from now on.
    pub(super) fn on_hole(&mut self, event: dcutr::Event) {
        let peer = event.remote_peer_id;
        match event.result {
            Ok(_) => {
                let relayed = self.state.peers.get(&peer).into_iter().flat_map(|peer| &peer.relayed);
                for connection in relayed.copied().collect::<Vec<_>>() {
                    self.swarm.close_connection(connection);
                }
                tracing::debug!(%peer, "connected directly, no longer through a relay");
            }
            Err(error) => tracing::debug!(%peer, %error, "no direct connection through both routers"),
        }
    }

    /// Remembers for whom this peer relays: their connections are in use although nothing is said on them.
    pub(super) fn on_relay(&mut self, event: relay::Event) {
        let clients = &mut self.state.relayed_for;
        match event {
            relay::Event::ReservationReqAccepted { src_peer_id, .. } => {
                clients.insert(src_peer_id);
            }
            relay::Event::ReservationClosed { src_peer_id } | relay::Event::ReservationTimedOut { src_peer_id } => {
                clients.remove(&src_peer_id);
            }
            _ => {}
        }
    }

    /// A listener has ended. Returns whether it was a place at a relay.
    pub(super) fn on_listener_closed(&mut self, listener: ListenerId) -> bool {
        let Some(relay) = self.state.reachable.closed(listener, Instant::now()) else {
            return false;
        };
        tracing::debug!(%relay, "no longer reached through this relay");
        if !self.state.named.contains(&relay) {
            self.swarm.behaviour_mut().hold.release(&relay);
            self.swarm.behaviour_mut().admission.forget(&relay);
        }
        true
    }

    /// Serves the public DHT or not, and takes places at relays or gives them up.
    pub(super) fn look_whether_reached(&mut self) {
        let now = Instant::now();
        let reached = self.state.reachable.is_reached(now);
        self.swarm.behaviour_mut().wan.serve(reached && self.serves_dht);
        if reached {
            for listener in self.state.reachable.to_give_up() {
                self.swarm.remove_listener(listener);
            }
            return;
        }
        // One that listens nowhere does not want to be reached.
        if self.listening.borrow().is_empty() {
            return;
        }
        while let Some((peer, address)) = self.state.reachable.wanted(now) {
            let circuit = address.with(Protocol::P2p(peer)).with(Protocol::P2pCircuit);
            match self.swarm.listen_on(circuit) {
                Ok(listener) => {
                    tracing::debug!(relay = %peer, "asking a relay for a place");
                    let behaviour = self.swarm.behaviour_mut();
                    behaviour.hold.hold(peer, true);
                    behaviour.admission.name(peer);
                    self.state.reachable.relays.insert(listener, peer);
                }
                Err(error) => {
                    tracing::debug!(relay = %peer, %error, "no place at a relay");
                    self.state.reachable.gone(&peer);
                }
            }
        }
    }
}
