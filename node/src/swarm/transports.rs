//! The ways to other peers: TCP and QUIC, with names looked up, and through relays; all within one bandwidth.
//!
//! Of a private network there is TCP alone, enciphered under the network's key before anything is agreed upon. What a relay
//! carries is enciphered like any connection, once more inside those to the relay.

use std::io;
use std::time::Duration;

use futures::io::{AsyncRead, AsyncWrite};
use libp2p::core::Transport;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::transport::timeout::TransportTimeout;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::pnet::PnetConfig;
use libp2p::{PeerId, dns, noise, quic, relay, tcp};

use super::bandwidth::Bandwidth;
use super::ended::Ending;
use super::muxer;
use super::private::NetworkKey;
use super::wire::Buffered;
use crate::room::Room;

/// Time from the first packet to the end of the handshakes. Who has a peer dialled back (AutoNAT) is answered within ten
/// seconds, or asks again and again.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);
/// What may lie unread on all connections over TCP together, their open streams counted in, besides [`LEAST_UNREAD`].
const MAX_UNREAD: usize = 64 << 20;
/// What may lie unread on one connection in any case: two windows, or some dozens of streams.
const LEAST_UNREAD: usize = 512 << 10;
/// What may lie unread on one connection over QUIC, which has no room in common: enough for 40 MB/s at 50 ms. Libp2p has
/// 15 MB, a gigabyte for as many connections as there may be.
const MAX_UNREAD_QUIC: u32 = 2 << 20;

/// Connections with their peers, and many streams on each.
type Connections = Boxed<(PeerId, StreamMuxerBox)>;

/// Bytes both ways, in order, until one side ends it.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> ByteStream for S {}

/// What dials and listens in place of TCP and QUIC: a libp2p transport of bare streams of bytes.
pub type ByteStreams = Boxed<Box<dyn ByteStream>>;

/// All transports of a peer, over `streams` if there are any in place of sockets, and the behaviour by which it is led to through relays.
///
/// # Errors
/// The key makes no certificate, or the system has a resolver that cannot be used.
pub(super) fn transports(
    keypair: &Keypair,
    key: Option<&NetworkKey>,
    bandwidth: &Bandwidth,
    streams: Option<ByteStreams>,
) -> io::Result<(Connections, relay::client::Behaviour)> {
    let noise = Buffered(noise::Config::new(keypair).map_err(io::Error::other)?);
    let muxer = muxer::Upgrade::new(Room::new(MAX_UNREAD, LEAST_UNREAD));
    let direct = match streams {
        Some(streams) => secured(streams, key, noise.clone(), muxer.clone()),
        None => over_sockets(keypair, key, noise.clone(), muxer.clone())?,
    };
    // What relays carry is among what the connections to them carry.
    let bandwidth = bandwidth.clone();
    let direct = direct
        .map(move |(peer, connection), _| (peer, bandwidth.limit(connection)))
        .boxed();
    let (relays, relayed) = relay::client::new(keypair.public().to_peer_id());
    let all = either(secured(relays, key, noise, muxer), direct);
    Ok((TransportTimeout::new(all, CONNECT_TIMEOUT).boxed(), relayed))
}

/// TCP, and QUIC in the public network, with names looked up.
fn over_sockets(
    keypair: &Keypair,
    key: Option<&NetworkKey>,
    noise: Buffered<noise::Config>,
    muxer: muxer::Upgrade,
) -> io::Result<Connections> {
    let sockets = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true));
    let mut direct = secured(sockets, key, noise, muxer);
    if key.is_none() {
        let mut config = quic::Config::new(keypair);
        (config.max_connection_data, config.max_stream_data) = (MAX_UNREAD_QUIC, MAX_UNREAD_QUIC);
        let quic = quic::tokio::Transport::new(config)
            .map(|(peer, connection), _| (peer, StreamMuxerBox::new(Ending(connection))))
            .boxed();
        direct = either(direct, quic);
    }
    if system_resolver_is_usable() {
        return Ok(dns::tokio::Transport::system(direct)?.boxed());
    }
    tracing::warn!("names in addresses cannot be looked up: the system's resolver configuration is unreadable");
    Ok(direct)
}

/// The first of two that knows the form of an address.
fn either(first: Connections, second: Connections) -> Connections {
    first.or_transport(second).map(|either, _| either.into_inner()).boxed()
}

/// Connections over bare sockets: enciphered under the key of a private network, and over that, peers know each other as ever.
fn secured<T>(
    sockets: T,
    key: Option<&NetworkKey>,
    noise: Buffered<noise::Config>,
    muxer: muxer::Upgrade,
) -> Connections
where
    T: Transport + Send + Unpin + 'static,
    T::Output: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T::Error: Send + Sync + 'static,
    T::Dial: Send + 'static,
    T::ListenerUpgrade: Send + 'static,
{
    match key.map(NetworkKey::shared) {
        Some(shared) => {
            let enciphered = sockets.and_then(move |socket, _| PnetConfig::new(shared).handshake(socket));
            enciphered
                .upgrade(Version::V1Lazy)
                .authenticate(noise)
                .multiplex(muxer)
                .boxed()
        }
        None => sockets
            .upgrade(Version::V1Lazy)
            .authenticate(noise)
            .multiplex(muxer)
            .boxed(),
    }
}

/// Whether names can be looked up: without a resolver configuration there is no transport that does.
fn system_resolver_is_usable() -> bool {
    dns::tokio::Transport::system(tcp::tokio::Transport::new(tcp::Config::default())).is_ok()
}
