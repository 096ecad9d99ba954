//! What a peer may send and receive, by how long transfers take.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use futures::future::join_all;
use libp2p::Multiaddr;

use super::{quiet, until};
use crate::block::{Block, Cid, RAW};
use crate::peer::{Bandwidth, NetworkKey, Node};

const RATE: u64 = 1_000_000;
const BLOCK_BYTES: usize = 125_000;
const BLOCKS: usize = 12;
/// How long all blocks take at the rate.
const TAKES: Duration = Duration::from_millis((BLOCKS * BLOCK_BYTES) as u64 * 1000 / RATE);
/// Runs of which one may not be slower than the limit says: others may want this machine, too.
const RUNS: usize = 3;

fn limited(up: bool, down: bool) -> Bandwidth {
    let rate = NonZeroU64::new(RATE);
    Bandwidth::new(rate.filter(|_| up), rate.filter(|_| down))
}

async fn start(bandwidth: Bandwidth, over: &str, key: Option<NetworkKey>) -> Node {
    let listen: Multiaddr = over.parse().unwrap();
    let builder = quiet().listen(vec![listen]).bandwidth(bandwidth).network_key(key);
    builder.start().await.unwrap()
}

/// Blocks that nobody has yet.
fn put(at: &Node) -> Vec<Cid> {
    let blocks: Vec<Block> = (0..BLOCKS)
        .map(|_| {
            let mut bytes = vec![0; BLOCK_BYTES];
            rand::fill(&mut bytes[..]);
            Block::new(RAW, bytes).unwrap()
        })
        .collect();
    at.blocks().put(&blocks).unwrap();
    blocks.iter().map(|block| *block.cid()).collect()
}

/// How long it takes to fetch what `from` has.
async fn fetch(to: &Node, from: &Node, cids: &[Cid]) -> Duration {
    let begun = Instant::now();
    let session = to.exchange().session();
    session.add_provider(from.peer_id());
    for block in join_all(cids.iter().map(|cid| session.fetch(cid))).await {
        block.unwrap();
    }
    begun.elapsed()
}

/// A transfer takes what the rate says, within a fifth.
async fn takes_its_time(to: &Node, from: &Node, what: &str) {
    let mut all = Vec::new();
    for _ in 0..RUNS {
        // What was not sent for a while is made good at first: that is used up, so that each run begins alike.
        fetch(to, from, &put(from)[..1]).await;
        let took = fetch(to, from, &put(from)).await;
        assert!(took > TAKES.mul_f64(0.8), "{what}: {took:?}");
        all.push(took);
        if took < TAKES.mul_f64(1.2) {
            return;
        }
    }
    panic!("{what}: {all:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_takes_as_long_as_the_limit_of_either_side_says() {
    const TCP: &str = "/ip4/127.0.0.1/tcp/0";
    const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";
    let key = Some(NetworkKey::generate());
    for (what, over, key) in [("TCP", TCP, None), ("QUIC", QUIC, None), ("private", TCP, key)] {
        let [slow, other] = [
            start(limited(true, true), over, key).await,
            start(Bandwidth::default(), over, key).await,
        ];
        other.dial(slow.listen_addrs()[0].clone()).await.unwrap();
        takes_its_time(&other, &slow, &format!("up over {what}")).await;
        takes_its_time(&slow, &other, &format!("down over {what}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_way_does_not_slow_the_other_and_without_a_limit_nothing_is_slow() {
    let (slow, other) = (
        start(limited(true, false), "/ip4/127.0.0.1/tcp/0", None).await,
        start(Bandwidth::default(), "/ip4/127.0.0.1/tcp/0", None).await,
    );
    other.dial(slow.listen_addrs()[0].clone()).await.unwrap();
    let down = fetch(&slow, &other, &put(&other)).await;
    assert!(down < TAKES / 3, "{down:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_fetch_at_the_same_time_have_equal_parts() {
    let slow = start(limited(true, false), "/ip4/127.0.0.1/tcp/0", None).await;
    let mut others = Vec::new();
    for _ in 0..3 {
        let other = start(Bandwidth::default(), "/ip4/127.0.0.1/tcp/0", None).await;
        other.dial(slow.listen_addrs()[0].clone()).await.unwrap();
        others.push(other);
    }
    until("the connections", async || slow.peers().await.len() == 3).await;
    let cids = put(&slow);
    let took = join_all(others.iter().map(|other| fetch(other, &slow, &cids))).await;
    let (first, last) = (took.iter().min().unwrap(), took.iter().max().unwrap());
    assert!(*last > (TAKES * 3).mul_f64(0.8), "{took:?}");
    assert!(*first > last.mul_f64(0.8), "{took:?}");
}
