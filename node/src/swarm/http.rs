//! Streams on which other peers speak HTTP: taken in and handed on to whoever serves it.
//!
//! Spec: <https://github.com/libp2p/specs/blob/master/http/README.md#using-http-semantics-over-stream-transports>. The protocol is
//! offered while somebody serves it, and to peers that were connected before that, too.

use std::collections::{HashMap, HashSet, hash_map};
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures::io::{AsyncRead, AsyncWrite};
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::{DeniedUpgrade, InboundUpgrade, UpgradeInfo};
use libp2p::swarm::handler::ConnectionEvent;
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour, Stream,
    StreamProtocol, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};
use odf_doors::{Arrival, Network, network};
use tokio::io::ReadBuf;
use tokio::sync::mpsc;

use crate::address::{ip, is_relayed};
use crate::block::sha2_256;
use crate::threads::lock;

/// What is spoken.
const PROTOCOL: StreamProtocol = StreamProtocol::new("/http/1.1");
/// Streams that wait to be taken; one more is reset.
pub(crate) const MAX_HTTP_WAITING: usize = 32;

/// Where streams go. Clones are the same place.
#[derive(Clone, Default)]
pub(crate) struct HttpStreams {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Whether anybody takes them.
    taken: AtomicBool,
    to: Mutex<Option<mpsc::Sender<Arrival<HttpStream>>>>,
    /// How many streams are open to each peer. There are no more than may wait, and whoever serves them has.
    open: Mutex<HashMap<PeerId, usize>>,
}

impl HttpStreams {
    /// Takes all streams that come from now on, until the receiver is dropped; nobody else is given any.
    pub(crate) fn take(&self) -> mpsc::Receiver<Arrival<HttpStream>> {
        let (sender, receiver) = mpsc::channel(MAX_HTTP_WAITING);
        *lock(&self.shared.to) = Some(sender);
        self.shared.taken.store(true, Ordering::Release);
        receiver
    }

    /// The peers that have streams open.
    pub(crate) fn in_use(&self) -> HashSet<PeerId> {
        lock(&self.shared.open).keys().copied().collect()
    }

    fn offered(&self) -> Option<StreamProtocol> {
        self.shared.taken.load(Ordering::Acquire).then_some(PROTOCOL)
    }

    fn came(&self, peer: PeerId, network: Network, stream: Stream) {
        let mut to = lock(&self.shared.to);
        let Some(sender) = to.as_ref() else { return };
        let client = stands_for(&peer);
        let stream = HttpStream {
            stream,
            _open: Open::new(&self.shared, peer),
        };
        match sender.try_send(Arrival {
            stream,
            client,
            network,
        }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => tracing::debug!(%peer, "a stream of HTTP too many"),
            Err(mpsc::error::TrySendError::Closed(_)) => {
                *to = None;
                self.shared.taken.store(false, Ordering::Release);
            }
        }
    }
}

/// An address that stands for a peer: of those that no network has (fd00::/8), one that follows from its id.
fn stands_for(peer: &PeerId) -> IpAddr {
    let digest = sha2_256(&peer.to_bytes());
    let mut octets = [0; 16];
    octets
        .iter_mut()
        .zip(digest.digest())
        .for_each(|(to, from)| *to = *from);
    octets[0] = 0xfd;
    Ipv6Addr::from(octets).into()
}

/// Where a peer comes from, as far as that is known: behind a relay it is the relay's address that is.
fn network_of(peer: &PeerId, address: &Multiaddr) -> Network {
    let direct = ip(address).filter(|_| !is_relayed(address));
    network(direct.unwrap_or_else(|| stands_for(peer)))
}

/// Counts as an open stream while it is there.
struct Open {
    shared: Arc<Shared>,
    peer: PeerId,
}

impl Open {
    fn new(shared: &Arc<Shared>, peer: PeerId) -> Self {
        *lock(&shared.open).entry(peer).or_default() += 1;
        Self {
            shared: Arc::clone(shared),
            peer,
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let hash_map::Entry::Occupied(mut open) = lock(&self.shared.open).entry(self.peer) {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
    }
}

/// A stream on which another peer asks. One that is dropped before it was closed is reset.
pub struct HttpStream {
    stream: Stream,
    _open: Open,
}

impl tokio::io::AsyncRead for HttpStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer.initialize_unfilled());
        read.map_ok(|bytes| buffer.advance(bytes))
    }
}

impl tokio::io::AsyncWrite for HttpStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(context)
    }
}

/// The behaviour: gives each connection a handler, and knows nothing more.
pub(crate) struct Http {
    streams: HttpStreams,
}

impl Http {
    pub(crate) fn new(streams: HttpStreams) -> Self {
        Self { streams }
    }

    /// The peers that are being answered.
    pub(crate) fn in_use(&self) -> HashSet<PeerId> {
        self.streams.in_use()
    }

    fn handler(&self, peer: PeerId, address: &Multiaddr) -> Handler {
        Handler {
            streams: self.streams.clone(),
            peer,
            network: network_of(&peer, address),
        }
    }
}

impl NetworkBehaviour for Http {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer, remote))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer, address))
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

/// One connection. The swarm keeps it open while it has streams.
pub(crate) struct Handler {
    streams: HttpStreams,
    peer: PeerId,
    network: Network,
}

/// Agrees on the protocol if it is spoken, and gives the stream.
pub(crate) struct Offered(Option<StreamProtocol>);

impl UpgradeInfo for Offered {
    type Info = StreamProtocol;
    type InfoIter = std::option::IntoIter<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.clone().into_iter()
    }
}

impl InboundUpgrade<Stream> for Offered {
    type Output = Stream;
    type Error = Infallible;
    type Future = Ready<Result<Stream, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, _: StreamProtocol) -> Self::Future {
        ready(Ok(stream))
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = Offered;
    type OutboundProtocol = DeniedUpgrade;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(Offered(self.streams.offered()), ())
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<DeniedUpgrade, (), Infallible>> {
        Poll::Pending
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Offered, DeniedUpgrade>) {
        if let ConnectionEvent::FullyNegotiatedInbound(negotiated) = event {
            self.streams.came(self.peer, self.network, negotiated.protocol);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_one_client_wherever_it_comes_from() {
        let (peer, other) = (PeerId::random(), PeerId::random());
        assert_eq!(stands_for(&peer), stands_for(&peer));
        assert_ne!(stands_for(&peer), stands_for(&other));
        assert!(!stands_for(&peer).is_loopback());
        assert_eq!(odf_doors::one_client(stands_for(&peer)), stands_for(&peer));
        let of = |peer, text: &str| network_of(peer, &text.parse().unwrap());
        assert_eq!(
            of(&peer, "/ip4/8.8.8.8/tcp/1"),
            of(&other, "/ip4/8.8.1.1/udp/2/quic-v1")
        );
        let relayed = format!("/ip4/8.8.8.8/tcp/1/p2p/{other}/p2p-circuit");
        assert_eq!(of(&peer, &relayed), Network::Alone(stands_for(&peer)));
        assert_eq!(of(&peer, "/memory/1"), Network::Alone(stands_for(&peer)));
    }

    #[test]
    fn a_peer_is_in_use_while_a_stream_is_open() {
        let streams = HttpStreams::default();
        let peer = PeerId::random();
        let [one, other] = [(), ()].map(|()| Open::new(&streams.shared, peer));
        drop(one);
        assert_eq!(streams.in_use(), HashSet::from([peer]));
        drop(other);
        assert!(streams.in_use().is_empty());
    }
}
