//! Telling one peer of many keys that they are here: ADD_PROVIDER messages of the DHT protocol, one after another on one stream.
//!
//! libp2p's Kademlia tells of one key in a walk of its own, which costs more than the telling. Nothing is answered to these
//! messages; but who has read them all closes the stream, and who cannot use them resets it (go-libp2p-kad-dht), so that it is
//! known how it went.
//!
//! Spec: <https://github.com/libp2p/specs/tree/master/kad-dht>, "RPC messages".

use std::io;
use std::time::Duration;

use futures::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use libp2p::request_response::{self, Config, ProtocolSupport};
use libp2p::{Multiaddr, PeerId, StreamProtocol};

use super::network::Network;
use crate::protobuf;

/// Keys that are told on one stream.
pub(crate) const KEYS_AT_ONCE: usize = 250;
/// How long it may take to open a stream, to write them and to have them read.
const DEADLINE: Duration = Duration::from_secs(15);
/// Streams on one connection.
const MAX_AT_ONCE: usize = 4;
/// What is read of answers, which nobody has a use for.
const MAX_ANSWER_BYTES: u64 = 64 << 10;

/// Number of the message in the protocol.
const ADD_PROVIDER: u64 = 2;

/// The behaviour of one DHT.
pub(crate) type Tell = request_response::Behaviour<Codec>;

/// The behaviour, which only tells. Who listens is Kademlia's own.
pub(crate) fn behaviour(network: Network) -> Tell {
    let config = Config::default()
        .with_request_timeout(DEADLINE)
        .with_max_concurrent_streams(MAX_AT_ONCE);
    Tell::with_codec(Codec, [(network.protocol(), ProtocolSupport::Outbound)], config)
}

/// Keys, and who has what they stand for.
#[derive(Debug, Clone)]
pub(crate) struct Provided {
    /// Multihashes.
    pub(crate) keys: Vec<Vec<u8>>,
    pub(crate) provider: PeerId,
    pub(crate) addresses: Vec<Multiaddr>,
}

impl Provided {
    /// The messages, each with its length before it.
    fn encode(&self) -> Vec<u8> {
        let mut peer = Vec::new();
        protobuf::put_bytes(&mut peer, 1, &self.provider.to_bytes());
        for address in &self.addresses {
            protobuf::put_bytes(&mut peer, 2, address.as_ref());
        }
        let (mut out, mut message) = (Vec::new(), Vec::new());
        for key in &self.keys {
            message.clear();
            protobuf::put_number(&mut message, 1, ADD_PROVIDER);
            protobuf::put_bytes(&mut message, 2, key);
            protobuf::put_bytes(&mut message, 9, &peer);
            protobuf::put_varint(&mut out, message.len() as u64);
            out.extend_from_slice(&message);
        }
        out
    }
}

/// The messages one way, and the end of the stream the other.
#[derive(Debug, Clone)]
pub(crate) struct Codec;

impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = Provided;
    type Response = ();

    async fn read_request<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        _: &mut T,
    ) -> io::Result<Provided> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        stream: &mut T,
    ) -> io::Result<()> {
        let mut answers = stream.take(MAX_ANSWER_BYTES);
        futures::io::copy(&mut answers, &mut futures::io::sink()).await?;
        Ok(())
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        stream: &mut T,
        provided: Provided,
    ) -> io::Result<()> {
        stream.write_all(&provided.encode()).await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        _: &mut T,
        _: (),
    ) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use futures::io::Cursor;
    use libp2p::request_response::Codec as _;

    use super::*;

    #[tokio::test]
    async fn each_key_is_a_message_of_its_own() {
        let provider: PeerId = "12D3KooWKnDdG3iXw9eTFijk3EWSunZcFi54Zka4wmtqtt6rPxc8".parse().unwrap();
        let address: Multiaddr = "/ip4/192.0.2.1/tcp/4001".parse().unwrap();
        let provided = Provided {
            keys: vec![b"a".to_vec(), b"bc".to_vec()],
            provider,
            addresses: vec![address.clone()],
        };
        let mut stream = Cursor::new(Vec::new());
        let protocol = Network::Lan.protocol();
        Codec.write_request(&protocol, &mut stream, provided).await.unwrap();
        let mut peer = vec![0x0a, 38];
        peer.extend(provider.to_bytes());
        peer.extend([0x12, 8]);
        peer.extend(address.to_vec());
        let mut expected = Vec::new();
        for key in [&b"a"[..], b"bc"] {
            let mut message = vec![0x08, 2, 0x12, key.len() as u8];
            message.extend(key);
            message.extend([0x4a, peer.len() as u8]);
            message.extend(&peer);
            expected.push(message.len() as u8);
            expected.extend(message);
        }
        assert_eq!(stream.into_inner(), expected);
    }

    #[tokio::test]
    async fn whatever_is_answered_is_read_to_a_limit() {
        let bytes = MAX_ANSWER_BYTES as usize + 1;
        let mut stream = Cursor::new(vec![0; bytes]);
        Codec
            .read_response(&Network::Wan.protocol(), &mut stream)
            .await
            .unwrap();
        assert_eq!(stream.position(), MAX_ANSWER_BYTES);
    }
}
