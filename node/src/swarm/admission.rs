//! Who gets a connection: limits for each IP group, room made for newcomers, deadlines for those who only sit there.
//!
//! Libp2p's own limits refuse whoever comes last, so that idle strangers shut out everybody; and its idle timeout begins anew
//! with each stream that either side tries to open, even with our own ping that is never answered. Which connection goes
//! is decided in [`seats`]; what counts as use is told by the owner of the swarm, which sees all behaviours.

mod seats;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};

use self::seats::{Limits, Seats};
use crate::address::{IpGroup, ip_group};

/// Connections from outside whose handshakes are under way.
const MAX_PENDING_INBOUND: usize = 256;
/// Of these, from one IP group. A group has fewer when half of what is left is less.
const MAX_PENDING_PER_GROUP: usize = 32;
/// Dials under way, those of peers that the user named not counted.
const MAX_PENDING_OUTBOUND: usize = 64;
/// How often deadlines are looked at.
const TICK: Duration = Duration::from_secs(1);

/// Why a connection is not made, besides that all seats are taken.
#[derive(Debug, thiserror::Error)]
enum NotNow {
    #[error("this peer does not deal with that one")]
    Refused,
    #[error("too many connections are being made from that network")]
    Inbound,
    #[error("{MAX_PENDING_OUTBOUND} peers are being dialled already")]
    Outbound,
}

/// Whom a peer never connects to, and lets in from nowhere.
pub(crate) type Refuses = Arc<dyn Fn(&PeerId) -> bool + Send + Sync>;

/// The behaviour. It must be the first one that the swarm asks.
pub(crate) struct Admission {
    seats: Seats,
    refuses: Option<Refuses>,
    arriving: HashMap<ConnectionId, Option<IpGroup>>,
    dialling: HashSet<ConnectionId>,
    ending: VecDeque<(PeerId, ConnectionId)>,
    tick: Pin<Box<tokio::time::Sleep>>,
    /// Wakes the swarm when there is a first connection to watch.
    waker: Option<Waker>,
}

impl Admission {
    /// At most `max_connections`, three quarters of them from outside. Must be called within a runtime.
    pub(crate) fn new(max_connections: u32, idle: Duration, refuses: Option<Refuses>) -> Self {
        let total = max_connections as usize;
        Self {
            seats: Seats::new(Limits {
                total,
                inbound: total.saturating_mul(3).div_ceil(4),
                idle,
            }),
            refuses,
            arriving: HashMap::new(),
            dialling: HashSet::new(),
            ending: VecDeque::new(),
            tick: Box::pin(tokio::time::sleep(TICK)),
            waker: None,
        }
    }

    /// The user named this peer: it is neither counted nor ever sent away.
    pub(crate) fn name(&mut self, peer: PeerId) {
        self.seats.name(peer);
    }

    /// The peer is a stranger from now on.
    pub(crate) fn forget(&mut self, peer: &PeerId) {
        self.seats.forget(peer);
    }

    /// A connected peer of the local network is to be kept while idle. Returns whether it may be: one address cannot have
    /// all of these places.
    pub(crate) fn welcome(&mut self, peer: PeerId) -> bool {
        self.seats.welcome(peer)
    }

    /// The peer at the other end said what it speaks.
    pub(crate) fn identified(&mut self, connection: &ConnectionId) {
        self.seats.identified(connection);
    }

    /// What was used since this was last told: connections, and peers.
    pub(crate) fn used(&mut self, connections: impl IntoIterator<Item = ConnectionId>, peers: &HashSet<PeerId>) {
        let now = Instant::now();
        connections.into_iter().for_each(|id| self.seats.used(&id, now));
        self.seats.used_by(peers, now);
    }

    /// The peers of the routing tables.
    pub(crate) fn set_table(&mut self, peers: HashSet<PeerId>) {
        self.seats.set_table(peers);
    }

    fn check(&self, peer: &PeerId) -> Result<(), ConnectionDenied> {
        match self.refuses.as_ref().is_some_and(|refuses| refuses(peer)) {
            true => Err(ConnectionDenied::new(NotNow::Refused)),
            false => Ok(()),
        }
    }

    fn end(&mut self, (peer, connection): (PeerId, ConnectionId)) {
        self.seats.send_away(connection);
        self.ending.push_back((peer, connection));
    }

    fn may_arrive(&self, group: Option<IpGroup>) -> bool {
        let of_group = self.arriving.values().filter(|other| **other == group).count();
        let left = MAX_PENDING_INBOUND.saturating_sub(self.arriving.len());
        // Half of what is left, so that a dozen greedy networks together leave something, too.
        left > 0 && of_group < MAX_PENDING_PER_GROUP.min(left.div_ceil(2))
    }

    fn established(&mut self, connection: ConnectionId, peer: PeerId, remote: &Multiaddr, inbound: bool) {
        let (now, group) = (Instant::now(), ip_group(remote));
        if let Ok(Some(other)) = self.seats.ask(&peer, group, inbound, now) {
            tracing::debug!(peer = %other.0, "a connection ends to make room for another one");
            self.end(other);
        }
        self.seats.sit(connection, peer, group, inbound, now);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl NetworkBehaviour for Admission {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let group = ip_group(remote);
        if !self.may_arrive(group) {
            return Err(ConnectionDenied::new(NotNow::Inbound));
        }
        // A handshake takes a millisecond of a processor: a crowd that would be sent away after it is not let begin. The price
        // is that a peer whom the user named waits to be dialled while a crowd comes from its network.
        if let Err(full) = self.seats.ask_as_stranger(group, true, Instant::now()) {
            return Err(ConnectionDenied::new(full));
        }
        self.arriving.insert(connection, group);
        Ok(())
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.arriving.remove(&connection);
        self.check(&peer)?;
        // Room is made when all behaviours have agreed, see `established`.
        match self.seats.ask(&peer, ip_group(remote), true, Instant::now()) {
            Ok(_) => Ok(dummy::ConnectionHandler),
            Err(full) => Err(ConnectionDenied::new(full)),
        }
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        peer.map_or(Ok(()), |peer| self.check(&peer))?;
        if !peer.is_some_and(|peer| self.seats.is_named(&peer)) {
            if self.dialling.len() >= MAX_PENDING_OUTBOUND {
                return Err(ConnectionDenied::new(NotNow::Outbound));
            }
            self.dialling.insert(connection);
        }
        Ok(Vec::new())
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.dialling.remove(&connection);
        self.check(&peer)?;
        match self.seats.ask(&peer, ip_group(address), false, Instant::now()) {
            Ok(_) => Ok(dummy::ConnectionHandler),
            Err(full) => Err(ConnectionDenied::new(full)),
        }
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(event) => self.established(
                event.connection_id,
                event.peer_id,
                event.endpoint.get_remote_address(),
                event.endpoint.is_listener(),
            ),
            FromSwarm::ConnectionClosed(event) => self.seats.leave(&event.connection_id),
            FromSwarm::DialFailure(event) => {
                self.dialling.remove(&event.connection_id);
            }
            FromSwarm::ListenFailure(event) => {
                self.arriving.remove(&event.connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        loop {
            if let Some((peer_id, connection)) = self.ending.pop_front() {
                return Poll::Ready(ToSwarm::CloseConnection {
                    peer_id,
                    connection: CloseConnection::One(connection),
                });
            }
            if self.seats.is_empty() {
                self.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            if self.tick.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.tick.as_mut().reset(tokio::time::Instant::now() + TICK);
            for overdue in self.seats.overdue(Instant::now()) {
                tracing::debug!(peer = %overdue.0, "a connection ends because nothing is done on it");
                self.end(overdue);
            }
        }
    }
}
