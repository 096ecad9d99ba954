//! Real swarms over loopback sockets.

mod hostile;
mod raw;

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use cid::Cid;
use futures::StreamExt as _;
use futures::future::join_all;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, Swarm, noise, tcp, yamux};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::block::{Block, RAW};
use crate::store::MemoryStore;

/// A peer with nothing but an exchange.
struct Peer {
    id: PeerId,
    store: Arc<MemoryStore>,
    handle: Handle,
    addresses: Vec<Multiaddr>,
    orders: mpsc::Sender<Order>,
    task: JoinHandle<()>,
    /// Who is named when a search is made.
    finds: Arc<Mutex<Option<Vec<PeerId>>>>,
    searches: Arc<Mutex<HashMap<Cid, usize>>>,
}

/// What a test asks of a peer's swarm.
#[derive(Debug)]
enum Order {
    Dial(Multiaddr),
    CloseOldest,
}

#[derive(Clone, Copy, PartialEq)]
enum Net {
    Tcp,
    Quic,
}

fn quick() -> Config {
    Config {
        answer_timeout: Duration::from_millis(700),
        search_after: Duration::from_millis(200),
        search_timeout: Duration::from_millis(500),
        patience: Duration::from_secs(4),
        ..Config::default()
    }
}

fn swarm_of(behaviour: Behaviour) -> Swarm<Behaviour> {
    libp2p::SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(
            tcp::Config::default().nodelay(true),
            noise::Config::new,
            yamux::Config::default,
        )
        .unwrap()
        .with_quic()
        .with_behaviour(|_| behaviour)
        .unwrap()
        .build()
}

impl Peer {
    async fn start(net: Net) -> Self {
        Self::with(net, quick()).await
    }

    async fn with(net: Net, config: Config) -> Self {
        let store = Arc::new(MemoryStore::new());
        Self::over(net, config, store.clone(), store).await
    }

    /// A peer that serves from another kind of store.
    async fn serving(net: Net, store: Arc<dyn Blocks>) -> Self {
        Self::over(net, quick(), store, Arc::new(MemoryStore::new())).await
    }

    async fn over(net: Net, config: Config, served: Arc<dyn Blocks>, store: Arc<MemoryStore>) -> Self {
        let (behaviour, handle) = new(served, config);
        let mut swarm = swarm_of(behaviour);
        let address = if net == Net::Tcp {
            "/ip4/127.0.0.1/tcp/0"
        } else {
            "/ip4/127.0.0.1/udp/0/quic-v1"
        };
        swarm.listen_on(address.parse().unwrap()).unwrap();
        let mut addresses = Vec::new();
        while addresses.is_empty() {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                addresses.push(address);
            }
        }
        let id = *swarm.local_peer_id();
        let (orders, mut given) = mpsc::channel(16);
        let (finds, searches) = (
            Arc::new(Mutex::new(None::<Vec<PeerId>>)),
            Arc::new(Mutex::new(HashMap::new())),
        );
        let (answers, counts, asked) = (finds.clone(), searches.clone(), handle.clone());
        let task = tokio::spawn(async move {
            let mut connections = VecDeque::new();
            loop {
                tokio::select! {
                    event = swarm.select_next_some() => {
                        if let SwarmEvent::ConnectionEstablished { connection_id, .. } = event {
                            connections.push_back(connection_id);
                        } else if let SwarmEvent::Behaviour(Event::NeedProviders { session, cid }) = event {
                            *counts.lock().unwrap().entry(cid).or_insert(0) += 1;
                            if let Some(peers) = answers.lock().unwrap().clone() {
                                asked.provide_peers(session, peers);
                            }
                        }
                    }
                    Some(order) = given.recv() => match order {
                        Order::Dial(address) => swarm.dial(address).unwrap(),
                        Order::CloseOldest => drop(swarm.close_connection(connections.pop_front().unwrap())),
                    },
                }
            }
        });
        Self {
            id,
            store,
            handle,
            addresses,
            orders,
            task,
            finds,
            searches,
        }
    }

    async fn connect(&self, other: &Peer) {
        let address = other.addresses[0].clone().with(Protocol::P2p(other.id));
        let (here, there) = (self.handle.stats().peers, other.handle.stats().peers);
        self.orders.send(Order::Dial(address)).await.unwrap();
        while self.handle.stats().peers == here || other.handle.stats().peers == there {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn put(&self, blocks: &[Block]) {
        self.store.put(blocks).unwrap();
        self.handle
            .blocks_added(&blocks.iter().map(|block| *block.cid()).collect::<Vec<_>>());
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn blocks(count: usize, len: usize) -> Vec<Block> {
    (0..count)
        .map(|at| {
            let mut data = vec![at as u8; len.max(8)];
            data[..8].copy_from_slice(&(at as u64).to_le_bytes());
            Block::new(RAW, data).unwrap()
        })
        .collect()
}

/// Waits until something is so, for as long as a loaded machine may need.
async fn eventually(is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), wait).await;
    assert!(waited.is_ok(), "waited for too long");
}

async fn fetch_all(session: &Session, blocks: &[Block]) {
    let fetched = join_all(blocks.iter().map(|block| session.fetch(block.cid()))).await;
    for (fetched, block) in fetched.into_iter().zip(blocks) {
        assert_eq!(fetched.as_ref().unwrap(), block);
    }
}

async fn fetches_over(net: Net) {
    let (a, b) = (Peer::start(net).await, Peer::start(net).await);
    let small = blocks(3000, 300);
    let large = blocks(20, 1 << 20);
    a.put(&small);
    a.put(&large);
    b.connect(&a).await;
    let session = b.handle.session();
    session.add_provider(a.id);
    fetch_all(&session, &small).await;
    fetch_all(&session, &large).await;
    let stats = session.stats();
    assert_eq!((stats.blocks, stats.providers, stats.duplicates), (3020, 1, 0));
    let stats = b.handle.stats();
    assert_eq!(
        (stats.blocks_received, stats.duplicates, stats.unrequested, stats.wants),
        (3020, 0, 0, 0)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_come_over_tcp() {
    fetches_over(Net::Tcp).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_come_over_quic() {
    fetches_over(Net::Quic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connected_stranger_is_asked_when_no_provider_is_known() {
    let (a, b) = (Peer::start(Net::Tcp).await, Peer::start(Net::Tcp).await);
    let wanted = blocks(50, 5000);
    a.put(&wanted);
    b.connect(&a).await;
    fetch_all(&b.handle.session(), &wanted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_block_fails_with_what_was_tried() {
    let (a, b) = (Peer::start(Net::Tcp).await, Peer::start(Net::Tcp).await);
    *b.finds.lock().unwrap() = Some(vec![]);
    let wanted = blocks(1, 10).remove(0);
    let error = b.handle.session().fetch(wanted.cid()).await.unwrap_err();
    assert!(
        matches!(
            error,
            FetchError::NotFound {
                verdict: Verdict { asked: 0, known: 0, .. },
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(
        error.to_string(),
        format!(
            "block {} was not found: no peer could be asked, no provider is known",
            wanted.cid()
        )
    );

    b.connect(&a).await;
    let session = b.handle.session();
    session.add_provider(a.id);
    let error = session.fetch(wanted.cid()).await.unwrap_err();
    assert!(
        matches!(
            error,
            FetchError::NotFound {
                verdict: Verdict {
                    asked: 1,
                    refused: 1,
                    ..
                },
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(b.searches.lock().unwrap()[wanted.cid()], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_cannot_be_reached_is_named_in_the_error() {
    let b = Peer::start(Net::Tcp).await;
    *b.finds.lock().unwrap() = Some(vec![]);
    let session = b.handle.session();
    session.add_provider(PeerId::random());
    let error = session.fetch(blocks(1, 10)[0].cid()).await.unwrap_err();
    assert!(
        matches!(
            error,
            FetchError::NotFound {
                verdict: Verdict {
                    known: 1,
                    unreachable: 1,
                    ..
                },
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_that_arrives_later_is_pushed() {
    let (a, b) = (Peer::start(Net::Tcp).await, Peer::start(Net::Tcp).await);
    let wanted = blocks(2, 100_000);
    b.connect(&a).await;
    let session = b.handle.session();
    session.add_provider(a.id);
    let fetching = tokio::spawn({
        let (session, cids) = (session.clone(), [*wanted[0].cid(), *wanted[1].cid()]);
        async move { (session.fetch(&cids[0]).await, session.fetch(&cids[1]).await) }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    a.put(&wanted);
    let (first, second) = fetching.await.unwrap();
    assert_eq!(
        (first.unwrap(), second.unwrap()),
        (wanted[0].clone(), wanted[1].clone())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_fetch_is_withdrawn_everywhere() {
    let (a, b) = (
        Peer::start(Net::Tcp).await,
        Peer::with(Net::Tcp, Config::default()).await,
    );
    b.connect(&a).await;
    let session = b.handle.session();
    session.add_provider(a.id);
    let wanted = blocks(50, 10);
    let fetching = join_all(wanted.iter().map(|block| session.fetch(block.cid())));
    let counts = || (b.handle.stats().wants, a.handle.stats().peer_wants);
    tokio::select! {
        _ = fetching => panic!("nobody has these"),
        () = eventually(|| counts() == (50, 50)) => {}
    }
    eventually(|| counts() == (0, 0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_load_is_spread_over_all_providers() {
    let c = Peer::start(Net::Tcp).await;
    let wanted = blocks(120, 200_000);
    let mut providers = Vec::new();
    for _ in 0..3 {
        let provider = Peer::start(Net::Tcp).await;
        provider.put(&wanted);
        c.connect(&provider).await;
        providers.push(provider);
    }
    let session = c.handle.session();
    providers.iter().for_each(|provider| session.add_provider(provider.id));
    fetch_all(&session, &wanted).await;
    assert_eq!(session.stats().providers, 3);
    for provider in &providers {
        assert!(
            provider.handle.stats().blocks_sent >= 5,
            "{:?}",
            provider.handle.stats()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_every_peer_has_needs_no_peer() {
    let b = Peer::start(Net::Tcp).await;
    for cid in [
        "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",
        "bafkqaaa",
        "bafkqabdborsxg5a",
    ] {
        assert!(b.handle.session().fetch(&cid.parse().unwrap()).await.is_ok(), "{cid}");
    }
    let blake: Cid = "bafk2bzacedlxqjw4yxhlqdbdpmbpsoznilvuotbtmeqmlbjivpyzc4a4dhbk4"
        .parse()
        .unwrap();
    let error = b.handle.session().fetch(&blake).await.unwrap_err();
    assert!(
        matches!(error, FetchError::Unverifiable { code: 0xb220, .. }),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_exchange_ends_its_fetches() {
    let b = Peer::start(Net::Tcp).await;
    let session = b.handle.session();
    let cid = *blocks(1, 10)[0].cid();
    let fetching = tokio::spawn({
        let session = session.clone();
        async move { session.fetch(&cid).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    b.task.abort();
    assert_eq!(fetching.await.unwrap(), Err(FetchError::Closed { cid }));
    assert_eq!(session.fetch(&cid).await, Err(FetchError::Closed { cid }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_one_of_two_connections_goes_the_other_takes_over() {
    let (a, b) = (Peer::start(Net::Tcp).await, Peer::start(Net::Tcp).await);
    let wanted = blocks(300, 200_000);
    a.put(&wanted);
    b.connect(&a).await;
    let again = a.addresses[0].clone();
    b.orders.send(Order::Dial(again)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let session = b.handle.session();
    session.add_provider(a.id);
    let fetching = tokio::spawn({
        let (session, wanted) = (session.clone(), wanted.clone());
        async move { fetch_all(&session, &wanted).await }
    });
    eventually(|| session.stats().blocks > 20).await;
    b.orders.send(Order::CloseOldest).await.unwrap();
    fetching.await.unwrap();
    assert_eq!((a.handle.stats().peers, b.handle.stats().peers), (1, 1));
}
