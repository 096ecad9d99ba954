//! A peer without manners: bare streams over a real connection, every byte by hand.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::Poll;

use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use libp2p::core::muxing::{StreamMuxerBox, StreamMuxerExt as _, SubstreamBox};
use libp2p::core::transport::{DialOpts, PortUse};
use libp2p::core::upgrade;
use libp2p::identity::Keypair;
use libp2p::{Transport as _, noise, tcp, yamux};
use tokio::sync::oneshot;

use super::super::message::{Message, Received, Version};
use super::*;

const HEADER: &[u8] = b"\x13/multistream/1.0.0\n";
const PROTOCOL: &[u8] = b"\x14/ipfs/bitswap/1.2.0\n";

pub(super) struct RawPeer {
    pub(super) id: PeerId,
    opens: mpsc::Sender<oneshot::Sender<SubstreamBox>>,
    inbound: mpsc::Receiver<SubstreamBox>,
    driver: JoinHandle<()>,
}

impl Drop for RawPeer {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

fn drive(
    mut muxer: StreamMuxerBox,
    mut opens: mpsc::Receiver<oneshot::Sender<SubstreamBox>>,
    inbound: mpsc::Sender<SubstreamBox>,
) -> JoinHandle<()> {
    let mut waiting = VecDeque::new();
    tokio::spawn(poll_fn(move |cx| {
        if let Poll::Ready(Err(_)) = muxer.poll_unpin(cx) {
            return Poll::Ready(());
        }
        while let Poll::Ready(Some(open)) = opens.poll_recv(cx) {
            waiting.push_back(open);
        }
        while !waiting.is_empty() {
            let Poll::Ready(Ok(stream)) = muxer.poll_outbound_unpin(cx) else {
                break;
            };
            let _ = waiting.pop_front().unwrap().send(stream);
        }
        while let Poll::Ready(stream) = muxer.poll_inbound_unpin(cx) {
            match stream {
                Ok(stream) => drop(inbound.try_send(stream)),
                Err(_) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }))
}

impl RawPeer {
    pub(super) async fn dial(other: &Peer) -> Self {
        let key = Keypair::generate_ed25519();
        let mut transport = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
            .upgrade(upgrade::Version::V1)
            .authenticate(noise::Config::new(&key).unwrap())
            .multiplex(yamux::Config::default())
            .boxed();
        let opts = DialOpts {
            role: libp2p::core::Endpoint::Dialer,
            port_use: PortUse::New,
        };
        let (id, muxer) = transport.dial(other.addresses[0].clone(), opts).unwrap().await.unwrap();
        assert_eq!(id, other.id);
        let (opens, requests) = mpsc::channel(64);
        let (streams, inbound) = mpsc::channel(64);
        let raw = Self {
            id: key.public().to_peer_id(),
            opens,
            inbound,
            driver: drive(muxer, requests, streams),
        };
        while other.handle.stats().peers == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        raw
    }

    /// A new stream on which Bitswap has been agreed.
    pub(super) async fn open(&self) -> SubstreamBox {
        let (open, opened) = oneshot::channel();
        self.opens.send(open).await.unwrap();
        let mut stream = opened.await.unwrap();
        stream.write_all(&[HEADER, PROTOCOL].concat()).await.unwrap();
        stream.flush().await.unwrap();
        let mut echo = vec![0; HEADER.len() + PROTOCOL.len()];
        stream.read_exact(&mut echo).await.unwrap();
        assert_eq!(echo, [HEADER, PROTOCOL].concat());
        stream
    }

    /// Sends one frame on a stream of its own without waiting for anything, as Kubo answers.
    pub(super) async fn post(&self, frame: &[u8]) {
        let (open, opened) = oneshot::channel();
        self.opens.send(open).await.unwrap();
        let mut stream = opened.await.unwrap();
        stream.write_all(&[HEADER, PROTOCOL, frame].concat()).await.unwrap();
        stream.close().await.unwrap();
        // Dropping it would reset what the other side has not read yet.
        tokio::spawn(async move { stream.read_to_end(&mut Vec::new()).await });
    }

    /// The next stream that the other side opens for Bitswap.
    pub(super) async fn accept(&mut self) -> SubstreamBox {
        let mut stream = self.inbound.recv().await.unwrap();
        for part in [HEADER, PROTOCOL] {
            let mut line = vec![0; part.len()];
            stream.read_exact(&mut line).await.unwrap();
            assert_eq!(line, part);
            stream.write_all(part).await.unwrap();
            stream.flush().await.unwrap();
        }
        stream
    }
}

pub(super) async fn send(stream: &mut SubstreamBox, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

pub(super) fn frame(message: &Message) -> Vec<u8> {
    message.encode(Version::V1_2).concat()
}

/// The next message on a stream.
pub(super) async fn read(stream: &mut SubstreamBox) -> Received {
    let (mut len, mut shift) = (0usize, 0);
    loop {
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
        len |= usize::from(byte[0] & 0x7f) << shift;
        shift += 7;
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; len];
    stream.read_exact(&mut body).await.unwrap();
    Received::decode(&body.into()).unwrap()
}
