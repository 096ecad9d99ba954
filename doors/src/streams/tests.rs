//! Streams in memory, and who gets an answer on them.

use std::net::Ipv6Addr;

use axum::routing::get;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;
use crate::network::network;
use crate::serve::{HEAD_LIMIT, STALL_LIMIT};

/// What a stream holds on its way.
const WINDOW: usize = 1 << 10;
const SOON: Duration = Duration::from_secs(5);

fn door() -> mpsc::Sender<Arrival<DuplexStream>> {
    let router = Router::new()
        .route(
            "/",
            get(async |ConnectInfo(from): ConnectInfo<SocketAddr>| from.ip().to_string()),
        )
        .route("/big", get(async || vec![0_u8; 64 * WINDOW]))
        .route("/never", get(std::future::pending::<()>));
    let (arrive, arrivals) = mpsc::channel(1);
    tokio::spawn(serve_streams(arrivals, router, std::future::pending()));
    arrive
}

fn peer(n: u16) -> IpAddr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n).into()
}

/// A stream of a peer, on which something was sent already.
async fn come(door: &mpsc::Sender<Arrival<DuplexStream>>, peer: IpAddr, network: Network, text: &str) -> DuplexStream {
    let (mut here, stream) = duplex(WINDOW);
    let client = peer;
    door.send(Arrival {
        stream,
        client,
        network,
    })
    .await
    .unwrap();
    // Nobody may be there to read it.
    let _ = here.write_all(text.as_bytes()).await;
    here
}

/// What comes until the stream ends.
async fn rest(stream: &mut DuplexStream) -> String {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(2 * STALL_LIMIT, stream.read_to_end(&mut answer));
    let _ = read.await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn ask(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: whatever.example\r\n\r\n")
}

#[tokio::test]
async fn a_stream_has_one_answer_also_where_the_client_closed_its_half() {
    let door = door();
    let mut stream = come(&door, peer(7), network(peer(7)), &ask("/").repeat(2)).await;
    stream.shutdown().await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\nfd00::7"),
        "{answer}"
    );
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    // No tunnel is made here.
    let mut stream = come(
        &door,
        peer(7),
        network(peer(7)),
        "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
    )
    .await;
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 404"));
    let mut stream = come(&door, peer(7), network(peer(7)), "\x13/multistream/1.0.0\n\r\n\r\n").await;
    assert!(!rest(&mut stream).await.contains("200 OK"));
}

#[tokio::test]
async fn one_stream_too_many_of_a_peer_or_its_network_is_dropped() {
    let door = door();
    let mut busy = Vec::new();
    for n in 0..2 * MAX_ARRIVALS_OF_ONE {
        let peer = peer(u16::from(n < MAX_ARRIVALS_OF_ONE));
        busy.push(come(&door, peer, Network::V4([5, 5]), &ask("/never")).await);
        if n + 1 == MAX_ARRIVALS_OF_ONE {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let mut one_more = come(&door, peer, Network::V4([5, 5]), &ask("/")).await;
            assert_eq!(rest(&mut one_more).await, "");
        }
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut third = come(&door, peer(3), Network::V4([5, 5]), &ask("/")).await;
    assert_eq!(rest(&mut third).await, "", "the network has all that it may have");
    let mut other = come(&door, peer(3), Network::V4([6, 6]), &ask("/")).await;
    assert!(rest(&mut other).await.ends_with("fd00::3"));
    drop(busy);
}

#[tokio::test]
async fn where_all_is_taken_who_has_most_makes_room() {
    let door = door();
    let mut busy = Vec::new();
    for n in 0..MAX_ARRIVALS + 4 {
        let n = u8::try_from(n / MAX_ARRIVALS_OF_ONE).unwrap();
        busy.push(come(&door, peer(n.into()), Network::V4([n, 0]), &ask("/never")).await);
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut other = come(&door, peer(99), Network::V4([99, 0]), &ask("/")).await;
    assert!(rest(&mut other).await.ends_with("fd00::63"));
}

#[tokio::test]
async fn a_head_that_does_not_go_on_has_its_time_and_one_that_is_too_long_is_refused() {
    let door = door();
    let begun = Instant::now();
    let mut half = come(&door, peer(1), network(peer(1)), "GET / HTT").await;
    let mut long = come(&door, peer(2), network(peer(2)), "GET / HTTP/1.1\r\nX: ").await;
    // It is not read to its end.
    while long.write_all(&[b'x'; WINDOW]).await.is_ok() {
        assert!(begun.elapsed() < SOON);
    }
    assert!(!rest(&mut long).await.contains("200 OK"));
    assert_eq!(rest(&mut half).await, "");
    assert!(
        begun.elapsed() >= HEAD_LIMIT && begun.elapsed() < HEAD_LIMIT + SOON,
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn what_runs_may_end_when_the_server_stops() {
    let (arrive, arrivals) = mpsc::channel(1);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let router = Router::new().route("/big", get(async || vec![0_u8; 64 * WINDOW]));
    let served = tokio::spawn(serve_streams(arrivals, router, async move { drop(stopped.await) }));
    let mut stream = come(&arrive, peer(1), network(peer(1)), &ask("/big")).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    stop.send(()).unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(arrive.is_closed() && !served.is_finished());
    assert!(rest(&mut stream).await.len() > 64 * WINDOW);
    tokio::time::timeout(SOON, served).await.unwrap().unwrap();
}
