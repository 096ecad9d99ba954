//! Real peers over loopback sockets. Nothing here dials anything else.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

mod bandwidth;
mod connections;
mod http;
pub(crate) mod keys;
mod networks;
mod records;
mod sweep;

use libp2p::Multiaddr;
use libp2p::identity::Keypair;

use super::{Builder, DialError, Node, StartError};
use crate::block::{Block, Cid, RAW};
use crate::store::{Blocks, MemoryStore, Store, StoreOptions};

/// Far longer than anything here takes; a test that needs it fails.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Shorter than any timer that the work measured could be waiting for, and long enough for a machine that is busy.
pub(crate) const NO_TIMER: Duration = Duration::from_secs(4);

/// A peer that keeps to itself: loopback, no bootstrap, no mDNS.
pub(crate) fn quiet() -> Builder {
    private(Node::throwaway(Arc::new(MemoryStore::default())))
}

pub(crate) fn private(builder: Builder) -> Builder {
    builder
        .listen(vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()])
        .bootstrap(Vec::new())
        .mdns(false)
}

pub(crate) async fn start() -> Node {
    quiet().start().await.unwrap()
}

pub(crate) fn address(node: &Node) -> Multiaddr {
    node.listen_addrs()[0].clone()
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < SOON, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Connects two peers and waits until each has the other in its LAN table.
pub(crate) async fn introduce(a: &Node, b: &Node) {
    let sizes = (a.routing().table_sizes().lan, b.routing().table_sizes().lan);
    a.dial(address(b)).await.unwrap();
    until("the introduction", async || {
        a.routing().table_sizes().lan > sizes.0 && b.routing().table_sizes().lan > sizes.1
    })
    .await;
}

fn cid(content: &str) -> Cid {
    *Block::new(RAW, content.as_bytes().to_vec()).unwrap().cid()
}

#[tokio::test]
async fn peers_connect_by_address_and_know_each_other() {
    let (a, b) = (start().await, start().await);
    assert_eq!(a.dial(address(&b)).await.unwrap(), b.peer_id());
    assert_eq!(
        a.dial(address(&b)).await.unwrap(),
        b.peer_id(),
        "a second dial finds the connection"
    );
    until("identify", async || {
        a.peers().await.iter().any(|peer| peer.agent.is_some())
    })
    .await;
    let peers = a.peers().await;
    assert_eq!(peers.len(), 1);
    assert!(peers[0].dialled_by_us && peers[0].agent.as_deref().unwrap().starts_with("odfs/"));

    assert!(a.disconnect(b.peer_id()).await);
    until("the end of the connection", async || {
        a.peers().await.is_empty() && b.peers().await.is_empty()
    })
    .await;
}

#[tokio::test]
async fn without_an_id_whoever_answers_is_taken_and_with_one_only_that_peer() {
    let (a, b, c) = (start().await, start().await, start().await);
    let (plain, _) = crate::address::split_peer(address(&b));
    assert_eq!(a.dial(plain.clone()).await.unwrap(), b.peer_id());
    let wrong = plain.with(libp2p::multiaddr::Protocol::P2p(c.peer_id()));
    assert!(matches!(a.dial(wrong).await, Err(DialError::OtherPeer { found, .. }) if found == b.peer_id()));
    assert!(matches!(a.dial(address(&a)).await, Err(DialError::Myself)));
    let gone = address(&c);
    c.shutdown().await;
    assert!(matches!(a.dial(gone).await, Err(DialError::Unreachable { reason }) if reason.contains("refused")));
}

#[tokio::test]
async fn an_id_alone_is_enough_where_somebody_knows_the_address() {
    let (a, hub, b) = (start().await, start().await, start().await);
    introduce(&a, &hub).await;
    introduce(&b, &hub).await;
    a.disconnect(b.peer_id()).await;
    let id_alone = format!("/p2p/{}", b.peer_id()).parse().unwrap();
    assert_eq!(a.dial(id_alone).await.unwrap(), b.peer_id());
    let nobody = format!("/p2p/{}", libp2p::PeerId::random()).parse().unwrap();
    assert!(matches!(a.dial(nobody).await, Err(DialError::NoAddresses)));
}

#[tokio::test]
async fn quic_works_too() {
    let listen = vec!["/ip4/127.0.0.1/udp/0/quic-v1".parse().unwrap()];
    let b = quiet().listen(listen.clone()).start().await.unwrap();
    let a = quiet().listen(listen).start().await.unwrap();
    assert_eq!(a.dial(address(&b)).await.unwrap(), b.peer_id());
}

#[tokio::test]
async fn a_port_in_use_is_an_error_or_replaced() {
    for (taken, kind) in [
        (TcpListener::bind("127.0.0.1:0").unwrap(), "foreign"),
        (TcpListener::bind("127.0.0.1:0").unwrap(), "own"),
    ] {
        let port = taken.local_addr().unwrap().port();
        let listen: Vec<Multiaddr> = vec![format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()];
        // libp2p would happily share the port with another libp2p peer, so that case is tried too.
        let _holder = match kind {
            "own" => {
                drop(taken);
                Ok(quiet().listen(listen.clone()).start().await.unwrap())
            }
            _ => Err(taken),
        };
        let error = quiet().listen(listen.clone()).start().await.unwrap_err();
        assert!(
            matches!(&error, StartError::AddressInUse { address } if *address == listen[0]),
            "{kind}: {error}"
        );
        let elsewhere = quiet()
            .listen(listen.clone())
            .port_fallback(true)
            .start()
            .await
            .unwrap();
        assert!(!address(&elsewhere).to_string().contains(&format!("/tcp/{port}/")));
    }
}

#[tokio::test]
async fn starting_needs_no_network_and_stopping_frees_the_port() {
    // The bootstrap peer is a port where nobody listens.
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody = format!("/ip4/127.0.0.1/tcp/{dead}/p2p/{}", libp2p::PeerId::random());
    let started = Instant::now();
    let node = quiet().bootstrap(vec![nobody.parse().unwrap()]).start().await.unwrap();
    assert!(started.elapsed() < NO_TIMER);
    let (listen, _) = crate::address::split_peer(address(&node));
    let clone = node.clone();
    node.shutdown().await;
    node.shutdown().await;
    assert!(clone.peers().await.is_empty());
    assert!(matches!(clone.dial(listen.clone()).await, Err(DialError::Stopped)));
    let again = quiet().listen(vec![listen]).start().await.unwrap();
    drop(again);
}

#[tokio::test]
async fn dropping_the_last_handle_stops_the_peer() {
    let (a, b) = (start().await, start().await);
    introduce(&a, &b).await;
    drop(b);
    until("the other to notice", async || a.peers().await.is_empty()).await;
}

#[tokio::test]
async fn a_provider_is_found_through_a_third_peer_with_its_address() {
    let (a, b, c) = (start().await, start().await, start().await);
    introduce(&a, &b).await;
    introduce(&c, &b).await;
    let wanted = cid("wanted");
    let announced = a.provide(vec![wanted]).await.unwrap();
    assert_eq!((announced.reached, announced.pending), (1, 0));

    let started = Instant::now();
    let mut found = c.find_providers(&wanted).await.unwrap();
    assert!(started.elapsed() < NO_TIMER, "took {:?}", started.elapsed());
    assert_eq!(found.len(), 1);
    let provider = found.remove(0);
    assert_eq!(provider.peer, a.peer_id());
    let (plain, _) = crate::address::split_peer(address(&a));
    assert!(
        provider
            .addresses
            .iter()
            .any(|one| crate::address::split_peer(one.clone()).0 == plain),
        "{provider:?}"
    );

    assert!(c.find_providers(&cid("unknown")).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_announced_to_nobody_is_told_to_the_first_who_comes() {
    let (a, b, c) = (start().await, start().await, start().await);
    let wanted = cid("wanted");
    let announced = a.provide(vec![wanted]).await.unwrap();
    assert_eq!((announced.reached, announced.pending), (0, 1));
    introduce(&a, &b).await;
    introduce(&b, &c).await;
    until("the announcement", async || a.routing().due() == 0).await;
    // Asked without a: b must have been told.
    a.shutdown().await;
    assert_eq!(c.find_providers(&wanted).await.unwrap()[0].peer, a.peer_id());
}

#[tokio::test]
async fn several_peers_of_one_process_do_not_mix() {
    let mut nodes = Vec::new();
    for _ in 0..5 {
        nodes.push(start().await);
    }
    for pair in nodes.windows(2) {
        introduce(&pair[0], &pair[1]).await;
    }
    nodes[0].provide(vec![cid("x")]).await.unwrap();
    let found = nodes[4].find_providers(&cid("x")).await.unwrap();
    assert_eq!(
        found.iter().map(|provider| provider.peer).collect::<Vec<_>>(),
        [nodes[0].peer_id()]
    );
    for node in &nodes {
        node.shutdown().await;
    }
}

#[tokio::test]
async fn a_key_gives_the_same_peer_again() {
    let key = Keypair::generate_ed25519();
    let first = quiet().keypair(key.clone()).start().await.unwrap();
    assert_eq!(first.peer_id(), key.public().to_peer_id());
    first.shutdown().await;
    assert_eq!(quiet().keypair(key).start().await.unwrap().peer_id(), first.peer_id());
}

#[tokio::test]
async fn neighbours_stay_connected_past_the_idle_timeout() {
    let idle = Duration::from_millis(100);
    let (a, b) = (
        quiet().idle_timeout(idle).start().await.unwrap(),
        quiet().idle_timeout(idle).start().await.unwrap(),
    );
    introduce(&a, &b).await;
    tokio::time::sleep(idle * 10).await;
    assert_eq!((a.peers().await.len(), b.peers().await.len()), (1, 1));
}

#[tokio::test]
async fn one_connection_over_the_limit_is_refused() {
    let full = quiet().max_connections(4).start().await.unwrap();
    let mut others = Vec::new();
    for _ in 0..3 {
        let other = start().await;
        other.dial(address(&full)).await.unwrap();
        others.push(other);
    }
    let one_more = start().await;
    let error = one_more.dial(address(&full)).await.unwrap_err();
    assert!(matches!(error, DialError::Unreachable { .. }), "{error}");
    assert_eq!(full.peers().await.len(), 3);
    // What is full for strangers is not for those whom the user names.
    let mut inside = Vec::new();
    for _ in 0..3 {
        let other = start().await;
        full.dial(address(&other)).await.unwrap();
        inside.push(other);
    }
}

#[tokio::test]
async fn announcements_go_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let open = async || {
        let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
        private(Node::builder(&store).unwrap()).start().await.unwrap()
    };
    let alone = open().await;
    alone.provide(vec![cid("kept"), cid("dropped")]).await.unwrap();
    alone.routing().unprovide(vec![cid("dropped")]).await.unwrap();
    alone.shutdown().await;
    drop(alone);

    let (again, hub, reader) = (open().await, start().await, start().await);
    assert_eq!(again.routing().provided().await.unwrap().keys, 1);
    introduce(&again, &hub).await;
    introduce(&reader, &hub).await;
    until("the announcement", async || again.routing().due() == 0).await;
    again.shutdown().await;
    assert_eq!(
        reader.find_providers(&cid("kept")).await.unwrap()[0].peer,
        again.peer_id()
    );
    assert!(reader.find_providers(&cid("dropped")).await.unwrap().is_empty());
}

#[tokio::test]
async fn who_ran_before_dials_those_it_remembers_if_anybody_is_to_be_dialled() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
    let friend = start().await;
    let first = private(Node::builder(&store).unwrap()).start().await.unwrap();
    introduce(&first, &friend).await;
    first.shutdown().await;
    let memory = super::memory(&store, None).unwrap();
    assert!(memory.peers == 1 && memory.reached.is_some(), "{memory:?}");

    let silent = private(Node::builder(&store).unwrap()).start().await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(silent.peers().await.is_empty());
    silent.shutdown().await;

    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody = format!("/ip4/127.0.0.1/tcp/{dead}/p2p/{}", libp2p::PeerId::random());
    let builder = private(Node::builder(&store).unwrap()).bootstrap(vec![nobody.parse().unwrap()]);
    let again = builder.start().await.unwrap();
    until("the second meeting", async || again.routing().table_sizes().lan == 1).await;
    // All who can be asked have been: nobody waits for more.
    let started = Instant::now();
    let mut arrivals = again.routing().arrivals();
    while arrivals.next().await {}
    assert!(started.elapsed() < NO_TIMER);
}

#[tokio::test]
async fn bootstrap_peers_may_have_several_addresses_and_a_last_list_is_asked_too() {
    let (one, other) = (start().await, start().await);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let dead = format!("/ip4/127.0.0.1/tcp/{port}/p2p/{}", one.peer_id());
    let builder = quiet().bootstrap(vec![dead.parse().unwrap(), address(&one)]);
    let node = builder.bootstrap_last(vec![address(&other)]).start().await.unwrap();
    until("both to be found", async || node.routing().table_sizes().lan == 2).await;
}

/// Runs one ignored test of this file in a network namespace of its own, which has one segment with these addresses: no
/// packet of it ever reaches a real network.
fn in_namespace(test: &str, addresses: &[&str]) {
    let addresses: Vec<String> = addresses
        .iter()
        .map(|one| format!("ip addr add {one}/24 dev v0"))
        .collect();
    let script = format!(
        "ip link set lo up && ip link add v0 type veth peer name v1 && {} && ip link set v0 up && ip link set v1 up \
         && exec \"$0\" --ignored --exact peer::tests::{test}",
        addresses.join(" && ")
    );
    let test_binary = std::env::current_exe().unwrap();
    let mut unshare = std::process::Command::new("unshare");
    match unshare
        .args(["--user", "--map-root-user", "--net", "sh", "-c", &script])
        .arg(test_binary)
        .output()
    {
        Ok(output) if output.status.success() => {
            assert!(
                String::from_utf8_lossy(&output.stdout).contains("1 passed"),
                "{output:?}"
            );
        }
        Ok(output) if String::from_utf8_lossy(&output.stderr).contains("not permitted") => {
            eprintln!("skipped: namespaces are not allowed here");
        }
        Ok(output) => panic!("{output:?}"),
        Err(error) => eprintln!("skipped: {error}"),
    }
}

#[test]
fn peers_on_one_segment_find_each_other_by_mdns() {
    in_namespace("mdns_inside", &["10.9.9.1"]);
}

#[tokio::test]
#[ignore = "runs inside a namespace"]
async fn mdns_inside() {
    let listen: Vec<Multiaddr> = vec!["/ip4/0.0.0.0/tcp/0".parse().unwrap()];
    let a = quiet().listen(listen.clone()).mdns(true).start().await.unwrap();
    let b = quiet().listen(listen).mdns(true).start().await.unwrap();
    until("the discovery", async || {
        a.routing().table_sizes().lan == 1 && b.routing().table_sizes().lan == 1
    })
    .await;
    a.provide(vec![cid("x")]).await.unwrap();
    let found = b.find_providers(&cid("x")).await.unwrap();
    assert!(
        found[0]
            .addresses
            .iter()
            .any(|address| address.to_string().starts_with("/ip4/10.9.9.1/tcp/")),
        "{found:?}"
    );
}

#[test]
fn the_public_dht_is_used_where_addresses_are_public() {
    in_namespace("wan_inside", &["11.0.0.1", "12.0.0.1", "13.0.0.1"]);
}

#[tokio::test]
#[ignore = "runs inside a namespace"]
async fn wan_inside() {
    let at = |ip: &str| quiet().listen(vec![format!("/ip4/{ip}/tcp/0").parse().unwrap()]);
    let server = at("11.0.0.1").start().await.unwrap();
    // Both of the others are led there by their bootstrap list, and by nothing else.
    let a = at("12.0.0.1").bootstrap(vec![address(&server)]).start().await.unwrap();
    let b = at("13.0.0.1").bootstrap(vec![address(&server)]).start().await.unwrap();
    until("the bootstrap", async || {
        a.routing().table_sizes().wan == 1 && b.routing().table_sizes().wan == 1
    })
    .await;
    assert_eq!(a.routing().table_sizes().lan, 0, "nobody is near");
    assert_eq!(
        server.routing().table_sizes(),
        super::super::routing::TableSizes::default(),
        "clients are in no table"
    );

    a.provide(vec![cid("x")]).await.unwrap();
    let found = b.find_providers(&cid("x")).await.unwrap();
    assert_eq!(found.len(), 1);
    assert!(
        found[0]
            .addresses
            .iter()
            .all(|address| address.to_string().starts_with("/ip4/12.0.0.1/tcp/")),
        "{found:?}"
    );
    assert!(!found[0].addresses.is_empty());
}

#[tokio::test]
async fn a_block_is_fetched_from_a_provider_that_only_the_dht_knows() {
    let (there, here) = (MemoryStore::default(), MemoryStore::default());
    let a = private(Node::throwaway(Arc::new(there.clone()))).start().await.unwrap();
    let (hub, c) = (
        start().await,
        private(Node::throwaway(Arc::new(here))).start().await.unwrap(),
    );
    introduce(&a, &hub).await;
    introduce(&c, &hub).await;
    let block = Block::new(RAW, &b"far away"[..]).unwrap();
    there.put(std::slice::from_ref(&block)).unwrap();
    a.provide(vec![*block.cid()]).await.unwrap();
    a.disconnect(c.peer_id()).await;

    let fetched = tokio::time::timeout(SOON, c.exchange().session().fetch(block.cid()))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(fetched, block);
}

#[tokio::test]
async fn a_fetch_that_nobody_can_serve_says_so() {
    let (a, b) = (start().await, start().await);
    introduce(&a, &b).await;
    let started = Instant::now();
    let error = a.exchange().session().fetch(&cid("nowhere")).await.unwrap_err();
    assert!(matches!(error, crate::exchange::FetchError::NotFound { .. }), "{error}");
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "took {:?}",
        started.elapsed()
    );
}
