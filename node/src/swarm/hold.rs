//! Keeps connections to chosen peers open while nothing is said on them, and remembers where peers were reached.
//!
//! Strangers met on a walk through the DHT are let go after the idle timeout. Peers on the local network, and those the
//! user named, are held: asking them directly is the fastest way to any block.
//!
//! The DHTs know the addresses of peers in their tables, but most who provide blocks are in no table. Should a
//! connection to one of those break, the address that worked last is all there is.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::task::{Context, Poll};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::DeniedUpgrade;
use libp2p::swarm::handler::ConnectionEvent;
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    NotifyHandler, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};

/// Neighbours held, at most.
pub(crate) const MAX_HELD: usize = 64;
/// Peers whose last good address is remembered, at most; the one reached longest ago makes room.
pub(crate) const MAX_REMEMBERED: usize = 512;

/// The behaviour: a set of peers, told to the handlers, and an address book.
#[derive(Default)]
pub(crate) struct HeldPeers {
    held: HashSet<PeerId>,
    connections: HashSet<(PeerId, ConnectionId)>,
    news: VecDeque<(PeerId, ConnectionId, bool)>,
    reached: HashMap<PeerId, (u64, Multiaddr)>,
    reached_order: BTreeMap<u64, PeerId>,
    counter: u64,
}

impl HeldPeers {
    /// Keeps present and future connections to `peer`. Returns whether there was room; for one that the user named there
    /// is always.
    pub(crate) fn hold(&mut self, peer: PeerId, named: bool) -> bool {
        if !self.held.contains(&peer) {
            if self.held.len() >= MAX_HELD && !named {
                return false;
            }
            self.held.insert(peer);
            self.tell(peer, true);
        }
        true
    }

    /// Lets connections to `peer` end when they are idle.
    pub(crate) fn release(&mut self, peer: &PeerId) {
        if self.held.remove(peer) {
            self.tell(*peer, false);
        }
    }

    fn remember(&mut self, peer: PeerId, address: Multiaddr) {
        self.counter += 1;
        if let Some((before, _)) = self.reached.insert(peer, (self.counter, address)) {
            self.reached_order.remove(&before);
        }
        self.reached_order.insert(self.counter, peer);
        if self.reached.len() > MAX_REMEMBERED
            && let Some((_, oldest)) = self.reached_order.pop_first()
        {
            self.reached.remove(&oldest);
        }
    }

    fn tell(&mut self, peer: PeerId, keep: bool) {
        let of_peer = self.connections.iter().filter(|(of, _)| *of == peer);
        self.news
            .extend(of_peer.map(|(peer, connection)| (*peer, *connection, keep)));
    }

    fn handler(&mut self, peer: PeerId, connection: ConnectionId) -> Handler {
        self.connections.insert((peer, connection));
        Handler {
            keep: self.held.contains(&peer),
        }
    }
}

impl NetworkBehaviour for HeldPeers {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer, connection))
    }

    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        let known = peer.and_then(|peer| self.reached.get(&peer));
        Ok(known.map(|(_, address)| address.clone()).into_iter().collect())
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.remember(peer, address.clone());
        Ok(self.handler(peer, connection))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        let gone = match event {
            FromSwarm::ConnectionClosed(closed) => Some((closed.peer_id, closed.connection_id)),
            // Another behaviour refused the connection after this one had made its handler.
            FromSwarm::DialFailure(failure) => failure.peer_id.map(|peer| (peer, failure.connection_id)),
            FromSwarm::ListenFailure(failure) => failure.peer_id.map(|peer| (peer, failure.connection_id)),
            _ => None,
        };
        if let Some(gone) = gone {
            self.connections.remove(&gone);
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        // Changes are made between polls of the swarm, which polls every behaviour each time: no waker is needed.
        match self.news.pop_front() {
            Some((peer_id, connection, event)) => Poll::Ready(ToSwarm::NotifyHandler {
                peer_id,
                handler: NotifyHandler::One(connection),
                event,
            }),
            None => Poll::Pending,
        }
    }
}

/// One connection: kept or not.
pub(crate) struct Handler {
    keep: bool,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = bool;
    type ToBehaviour = Infallible;
    type InboundProtocol = DeniedUpgrade;
    type OutboundProtocol = DeniedUpgrade;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(DeniedUpgrade, ())
    }

    fn connection_keep_alive(&self) -> bool {
        self.keep
    }

    fn on_behaviour_event(&mut self, keep: bool) {
        self.keep = keep;
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<DeniedUpgrade, (), Infallible>> {
        Poll::Pending
    }

    fn on_connection_event(
        &mut self,
        _: ConnectionEvent<
            Self::InboundProtocol,
            Self::OutboundProtocol,
            Self::InboundOpenInfo,
            Self::OutboundOpenInfo,
        >,
    ) {
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_over_the_limit_forgets_the_oldest_address() {
        let mut hold = HeldPeers::default();
        let peers: Vec<PeerId> = (0..=MAX_REMEMBERED).map(|_| PeerId::random()).collect();
        let address: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
        hold.remember(peers[0], address.clone());
        for peer in &peers {
            hold.remember(*peer, address.clone());
        }
        assert_eq!(hold.reached.len(), MAX_REMEMBERED);
        assert_eq!(hold.reached_order.len(), MAX_REMEMBERED);
        assert!(!hold.reached.contains_key(&peers[0]) && hold.reached.contains_key(&peers[1]));
    }

    #[test]
    fn one_over_the_limit_is_not_held() {
        let mut hold = HeldPeers::default();
        assert!((0..MAX_HELD).all(|_| hold.hold(PeerId::random(), false)));
        let one_more = PeerId::random();
        assert!(!hold.hold(one_more, false));
        let held = *hold.held.iter().next().unwrap();
        hold.release(&held);
        assert!(hold.hold(one_more, false));
        assert!(hold.hold(PeerId::random(), true));
    }
}
