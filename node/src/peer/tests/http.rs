//! HTTP over streams of libp2p, asked by a peer that speaks nothing else.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::Poll;

use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use libp2p::core::muxing::{StreamMuxerBox, StreamMuxerExt as _, SubstreamBox};
use libp2p::core::transport::{DialOpts, PortUse};
use libp2p::core::upgrade;
use libp2p::identity::Keypair;
use libp2p::{Transport as _, noise, tcp, yamux};
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::denylist::Denylist;
use crate::gateway::{LocalSource, for_peers};
use crate::ipns::{Freshness, PublishOptions};
use crate::swarm::MAX_HTTP_WAITING;
use odf_doors::MAX_ARRIVALS_OF_ONE;

const HELLO: &[u8] = b"\x13/multistream/1.0.0\n";
const HTTP: &[u8] = b"\x0a/http/1.1\n";
const NO: &[u8] = b"\x03na\n";

/// A connection on which streams are opened by hand.
struct Raw {
    opens: mpsc::Sender<oneshot::Sender<SubstreamBox>>,
}

impl Raw {
    async fn dial(address: Multiaddr) -> Self {
        let key = Keypair::generate_ed25519();
        let mut transport = tcp::tokio::Transport::new(tcp::Config::default())
            .upgrade(upgrade::Version::V1)
            .authenticate(noise::Config::new(&key).unwrap())
            .multiplex(yamux::Config::default())
            .boxed();
        let opts = DialOpts {
            role: libp2p::core::Endpoint::Dialer,
            port_use: PortUse::New,
        };
        let (address, _) = crate::address::split_peer(address);
        let (_, muxer) = transport.dial(address, opts).unwrap().await.unwrap();
        let (opens, requests) = mpsc::channel(64);
        tokio::spawn(drive(muxer, requests));
        Self { opens }
    }

    /// A stream, and whether HTTP is spoken on it.
    async fn open(&self) -> (SubstreamBox, bool) {
        tokio::time::timeout(SOON, self.opened()).await.unwrap()
    }

    async fn opened(&self) -> (SubstreamBox, bool) {
        let (open, opened) = oneshot::channel();
        self.opens.send(open).await.unwrap();
        let mut stream = opened.await.unwrap();
        stream.write_all(&[HELLO, HTTP].concat()).await.unwrap();
        stream.flush().await.unwrap();
        let mut said = vec![0; HELLO.len() + NO.len()];
        stream.read_exact(&mut said).await.unwrap();
        if said.ends_with(NO) {
            return (stream, false);
        }
        let mut rest = vec![0; HTTP.len() - NO.len()];
        stream.read_exact(&mut rest).await.unwrap();
        assert_eq!([said, rest].concat(), [HELLO, HTTP].concat());
        (stream, true)
    }

    /// What is answered; nothing on a stream that is reset.
    async fn get(&self, path: &str) -> Vec<u8> {
        let (mut stream, spoken) = self.open().await;
        assert!(spoken);
        let request = format!("GET {path} HTTP/1.1\r\nHost: peer\r\n\r\n");
        let mut answer = Vec::new();
        let asked = async {
            stream.write_all(request.as_bytes()).await?;
            stream.close().await?;
            stream.read_to_end(&mut answer).await
        };
        let _ = tokio::time::timeout(SOON, asked).await.unwrap();
        answer
    }

    async fn status(&self, path: &str) -> String {
        let answer = self.get(path).await;
        String::from_utf8_lossy(answer.get(9..12).unwrap_or_default()).into_owned()
    }
}

async fn drive(mut muxer: StreamMuxerBox, mut opens: mpsc::Receiver<oneshot::Sender<SubstreamBox>>) {
    let mut waiting = VecDeque::new();
    poll_fn(move |cx| {
        if let Poll::Ready(Err(_)) = muxer.poll_unpin(cx) {
            return Poll::Ready(());
        }
        while let Poll::Ready(Some(open)) = opens.poll_recv(cx) {
            waiting.push_back(open);
        }
        while !waiting.is_empty()
            && let Poll::Ready(Ok(stream)) = muxer.poll_outbound_unpin(cx)
        {
            let _ = waiting.pop_front().map(|open| open.send(stream));
        }
        // The last, since it is what has new streams heard.
        while let Poll::Ready(came) = muxer.poll_inbound_unpin(cx) {
            if came.is_err() {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    })
    .await;
}

/// A peer on a store, that answers HTTP until the sender is dropped.
async fn serving(dir: &std::path::Path) -> (Node, Store, oneshot::Sender<()>) {
    let store = Store::open(dir, StoreOptions::default()).unwrap();
    let node = private(Node::builder(&store).unwrap()).start().await.unwrap();
    let stop = serve(&node, &store);
    (node, store, stop)
}

fn serve(node: &Node, store: &Store) -> oneshot::Sender<()> {
    let router = for_peers(LocalSource::new(store.clone(), node), Denylist::default());
    let (stop, stopped) = oneshot::channel::<()>();
    let streams = node.http_streams();
    tokio::spawn(async move { odf_doors::serve_streams(streams, router, async move { drop(stopped.await) }).await });
    stop
}

#[tokio::test]
async fn what_is_here_is_given_and_nothing_is_fetched() {
    let dir = tempfile::tempdir().unwrap();
    let (node, store, _stop) = serving(dir.path()).await;
    let block = Block::new(RAW, b"a block".to_vec()).unwrap();
    store.put(std::slice::from_ref(&block)).unwrap();
    let peer = Raw::dial(address(&node)).await;
    let answer = peer.get(&format!("/ipfs/{}?format=raw", block.cid())).await;
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n") && answer.ends_with(b"\r\n\r\na block"));
    assert_eq!(peer.status(&format!("/ipfs/{}", block.cid())).await, "406");
    // Somebody else has it, whom this peer is connected to.
    let other = start().await;
    let elsewhere = Block::new(RAW, b"elsewhere".to_vec()).unwrap();
    other.blocks().put(std::slice::from_ref(&elsewhere)).unwrap();
    introduce(&node, &other).await;
    let begun = Instant::now();
    assert_eq!(
        peer.status(&format!("/ipfs/{}?format=raw", elsewhere.cid())).await,
        "404"
    );
    assert!(begun.elapsed() < NO_TIMER);

    // An own name is given, one that somebody here looked up is not.
    let [own, foreign] = [(); 2].map(|()| Keypair::generate_ed25519());
    let value = format!("/ipfs/{}", block.cid());
    let own = node
        .names()
        .publish(&own, &value, PublishOptions::default())
        .await
        .unwrap();
    let foreign = other
        .names()
        .publish(&foreign, &value, PublishOptions::default())
        .await
        .unwrap();
    let (own, foreign) = (own.name, foreign.name);
    node.names().resolve(&foreign, Freshness::Network).await.unwrap();
    assert!(node.names().at_hand(&foreign).await.is_some());
    let answer = peer.get(&format!("/ipns/{own}?format=ipns-record")).await;
    let record = node.names().at_hand(&own).await.unwrap().record;
    assert!(answer.ends_with(record.bytes()));
    assert_eq!(peer.status(&format!("/ipns/{foreign}?format=ipns-record")).await, "404");
    assert_eq!(peer.status(&format!("/ipns/{own}?format=raw")).await, "406");
}

#[tokio::test]
async fn it_is_spoken_while_somebody_serves_it() {
    let dir = tempfile::tempdir().unwrap();
    let (node, store, stop) = serving(dir.path()).await;
    let peer = Raw::dial(address(&node)).await;
    assert_eq!(peer.status("/ipfs/bafkqaaa?format=raw").await, "200");
    drop(stop);
    until("the end of HTTP", async || !peer.open().await.1).await;
    // On a connection that is there already.
    let _stop = serve(&node, &store);
    assert_eq!(peer.status("/ipfs/bafkqaaa?format=raw").await, "200");
}

#[tokio::test]
async fn one_peer_with_all_its_streams_refuses_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _store, _stop) = serving(dir.path()).await;
    let (greedy, other) = (Raw::dial(address(&node)).await, Raw::dial(address(&node)).await);
    let mut half = Vec::new();
    for _ in 0..4 * MAX_ARRIVALS_OF_ONE {
        let (mut stream, _) = greedy.open().await;
        // Those that make room for the next are reset.
        let _ = stream.write_all(b"GET /ipfs/bafkqaaa").await;
        let _ = stream.flush().await;
        half.push(stream);
    }
    assert_eq!(other.status("/ipfs/bafkqaaa?format=raw").await, "200");
    assert_eq!(greedy.status("/ipfs/bafkqaaa?format=raw").await, "200");
    until("the end of the first", async || {
        let mut byte = [0];
        let read = half[0].read(&mut byte);
        !matches!(
            tokio::time::timeout(Duration::from_millis(50), read).await,
            Err(_) | Ok(Ok(1))
        )
    })
    .await;
}

#[tokio::test]
async fn one_stream_more_than_may_wait_is_reset() {
    let node = start().await;
    let mut streams = node.http_streams();
    let peer = Raw::dial(address(&node)).await;
    let mut waiting = Vec::new();
    for _ in 0..MAX_HTTP_WAITING {
        waiting.push(peer.open().await);
    }
    let (mut one_more, _) = peer.open().await;
    let mut byte = [0];
    let read = one_more.read(&mut byte);
    assert!(!matches!(tokio::time::timeout(SOON, read).await.unwrap(), Ok(1)));
    let first = streams.recv().await.unwrap();
    assert_eq!(first.network, odf_doors::network("127.0.0.1".parse().unwrap()));
    assert!((1..MAX_HTTP_WAITING).all(|_| streams.try_recv().is_ok()));
    assert!(streams.try_recv().is_err());
}
