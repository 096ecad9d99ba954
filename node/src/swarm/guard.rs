//! What libp2p's behaviours for peers behind routers are told, and how often they may dial.
//!
//! Anybody who is connected may say that it sees this peer at any address. AutoNAT has each of them dialled by somebody
//! else and keeps them for good, and a hole punched through two routers begins with dialling what the other side says. So
//! both are told only what the owner of the swarm thinks worth trying, dial a bounded number of times, and no address that is
//! not on the internet: a stranger has nobody knock at the doors of the network that this peer is in.

use std::collections::HashSet;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::behaviour::{DialFailure, NewExternalAddrCandidate};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, DialError, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};

use crate::address::{Reach, ip, reach};

/// Dials that others may have one behaviour make within [`DIALS_WITHIN`]; Kubo's figure for AutoNAT.
const MAX_DIALS: u32 = 60;
const DIALS_WITHIN: Duration = Duration::from_secs(60);

/// Somebody else's dial leads into a network that only this peer is in.
#[derive(Debug, thiserror::Error)]
#[error("a stranger has only addresses on the internet dialled")]
struct NotPublic;

/// A behaviour that is told nothing by strangers of where this peer is, and that does not dial without end for them.
pub(crate) struct Guarded<B> {
    inner: B,
    dials: Dials,
    /// Those that are about to begin.
    begun: HashSet<ConnectionId>,
}

/// How many dials there were, since when.
struct Dials(u32, Instant);

impl Dials {
    fn may(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.1) >= DIALS_WITHIN {
            *self = Self(0, now);
        }
        self.0 += 1;
        self.0 <= MAX_DIALS
    }
}

impl<B: NetworkBehaviour> Guarded<B> {
    pub(crate) fn new(inner: B) -> Self {
        let dials = Dials(0, Instant::now());
        Self {
            inner,
            dials,
            begun: HashSet::new(),
        }
    }

    /// This peer may be reached at `address`.
    pub(crate) fn suggest(&mut self, address: &Multiaddr) {
        self.inner
            .on_swarm_event(FromSwarm::NewExternalAddrCandidate(NewExternalAddrCandidate {
                addr: address,
            }));
    }
}

impl<B: NetworkBehaviour> NetworkBehaviour for Guarded<B> {
    type ConnectionHandler = B::ConnectionHandler;
    type ToSwarm = B::ToSwarm;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.inner.handle_pending_inbound_connection(connection, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner
            .handle_established_inbound_connection(connection, peer, local, remote)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        if self.begun.remove(&connection) && !are_public(addresses) {
            return Err(ConnectionDenied::new(NotPublic));
        }
        self.inner
            .handle_pending_outbound_connection(connection, peer, addresses, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner
            .handle_established_outbound_connection(connection, peer, address, role, port_use)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::NewExternalAddrCandidate(_) => return,
            // Somebody else may have refused it before this was asked.
            FromSwarm::DialFailure(failure) => {
                self.begun.remove(&failure.connection_id);
            }
            _ => {}
        }
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        self.inner.on_connection_handler_event(peer, connection, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        loop {
            match ready!(self.inner.poll(cx)) {
                ToSwarm::Dial { opts } if !self.dials.may(Instant::now()) => {
                    tracing::debug!("a dial that others asked for is not made: there were {MAX_DIALS} within a minute");
                    self.inner.on_swarm_event(FromSwarm::DialFailure(DialFailure {
                        peer_id: opts.get_peer_id(),
                        error: &DialError::Aborted,
                        connection_id: opts.connection_id(),
                    }));
                }
                ToSwarm::Dial { opts } => {
                    self.begun.insert(opts.connection_id());
                    return Poll::Ready(ToSwarm::Dial { opts });
                }
                other => return Poll::Ready(other),
            }
        }
    }
}

/// Whether each of these is on the internet, by its number: what a name stands for is for others to say.
fn are_public(addresses: &[Multiaddr]) -> bool {
    let is_public = |address| reach(address) == Reach::Public && ip(address).is_some();
    addresses.iter().all(is_public)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_have_nobody_dialled_in_the_network_of_this_peer() {
        let public: Multiaddr = "/ip4/93.184.216.34/tcp/1".parse().unwrap();
        assert!(are_public(std::slice::from_ref(&public)));
        for inside in [
            "/ip4/127.0.0.1/tcp/22",
            "/ip4/192.168.1.1/tcp/80",
            "/ip4/169.254.169.254/tcp/80",
            "/ip6/::1/tcp/22",
            "/ip6/::ffff:10.0.0.1/tcp/1",
            "/ip6/fd00::1/udp/1/quic-v1",
            "/dns4/localhost/tcp/22",
        ] {
            assert!(!are_public(&[public.clone(), inside.parse().unwrap()]), "{inside}");
        }
    }

    #[test]
    fn one_dial_over_the_limit_waits_for_the_next_minute() {
        let start = Instant::now();
        let mut dials = Dials(0, start);
        assert!((0..MAX_DIALS).all(|_| dials.may(start)));
        assert!(!dials.may(start + DIALS_WITHIN / 2));
        assert!(dials.may(start + DIALS_WITHIN));
    }
}
