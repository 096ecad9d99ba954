//! Which protocol a stream speaks.

use std::future::{Ready, ready};

use libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p::swarm::{Stream, StreamProtocol};

use crate::exchange::message::Version;

/// The protocols spoken, preferred first.
const PROTOCOLS: [(StreamProtocol, Version); 4] = [
    (StreamProtocol::new("/ipfs/bitswap/1.2.0"), Version::V1_2),
    (StreamProtocol::new("/ipfs/bitswap/1.1.0"), Version::V1_1),
    (StreamProtocol::new("/ipfs/bitswap/1.0.0"), Version::V1_0),
    (StreamProtocol::new("/ipfs/bitswap"), Version::V1_0),
];
/// The upgrade of both directions: agrees on a version, and gives the stream.
#[derive(Debug, Clone, Copy)]
pub struct Bitswap;

impl UpgradeInfo for Bitswap {
    type Info = StreamProtocol;
    type InfoIter = std::array::IntoIter<StreamProtocol, 4>;

    fn protocol_info(&self) -> Self::InfoIter {
        PROTOCOLS.map(|(protocol, _)| protocol).into_iter()
    }
}

fn negotiated(stream: Stream, info: &StreamProtocol) -> Negotiated {
    let version = PROTOCOLS
        .iter()
        .find(|(protocol, _)| protocol == info)
        .map_or(Version::V1_0, |(_, version)| *version);
    Negotiated { stream, version }
}

/// A stream and what is spoken on it.
#[derive(Debug)]
pub struct Negotiated {
    pub(super) stream: Stream,
    pub(super) version: Version,
}

impl InboundUpgrade<Stream> for Bitswap {
    type Output = Negotiated;
    type Error = std::convert::Infallible;
    type Future = Ready<Result<Negotiated, Self::Error>>;

    fn upgrade_inbound(self, stream: Stream, info: StreamProtocol) -> Self::Future {
        ready(Ok(negotiated(stream, &info)))
    }
}

impl OutboundUpgrade<Stream> for Bitswap {
    type Output = Negotiated;
    type Error = std::convert::Infallible;
    type Future = Ready<Result<Negotiated, Self::Error>>;

    fn upgrade_outbound(self, stream: Stream, info: StreamProtocol) -> Self::Future {
        ready(Ok(negotiated(stream, &info)))
    }
}
