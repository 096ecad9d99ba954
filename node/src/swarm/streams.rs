//! Connections over any streams of bytes, however they are made: each is enciphered, shares out its streams, and may be carried
//! by a relay. Those of the public network come from libp2p's builder, which knows QUIC too.

use std::time::Duration;

use futures::io::{AsyncRead, AsyncWrite};
use libp2p::core::Transport as _;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::Version;
use libp2p::pnet::PnetConfig;
use libp2p::{PeerId, noise, relay};

use super::muxer;
use super::private::NetworkKey;
use super::wire::Buffered;

/// Bytes both ways, in order, until one side ends it.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> ByteStream for S {}

/// What dials and listens in place of TCP and QUIC: a libp2p transport of bare streams of bytes.
pub type ByteStreams = Boxed<Box<dyn ByteStream>>;

/// The transports of a peer over `streams` and through relays, in the network of `key` or in the public one. All handshakes of a
/// connection together take `limit` at most.
pub(super) fn transports<S: ByteStream>(
    local: PeerId,
    streams: Boxed<S>,
    key: Option<&NetworkKey>,
    noise: Buffered<noise::Config>,
    muxer: muxer::Upgrade,
    limit: Duration,
) -> (Boxed<(PeerId, StreamMuxerBox)>, relay::client::Behaviour) {
    let (relays, relayed) = relay::client::new(local);
    let bare = relays.or_transport(streams);
    let transports = match key.map(NetworkKey::shared) {
        Some(shared) => bare
            .and_then(move |stream, _| PnetConfig::new(shared).handshake(stream))
            .upgrade(Version::V1Lazy)
            .authenticate(noise)
            .multiplex(muxer)
            .timeout(limit)
            .boxed(),
        None => bare
            .upgrade(Version::V1Lazy)
            .authenticate(noise)
            .multiplex(muxer)
            .timeout(limit)
            .boxed(),
    };
    (transports, relayed)
}
