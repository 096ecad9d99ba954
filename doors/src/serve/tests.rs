//! The doors over real sockets.

mod encrypted;

use std::net::Ipv4Addr;

use axum::routing::get;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use super::*;
use crate::descriptors::raise_descriptors;

/// More than any socket buffers.
const BIG: usize = 64 << 20;
/// How long anything may take that goes at once.
const SOON: Duration = Duration::from_secs(5);

async fn server() -> SocketAddr {
    raise_descriptors();
    let big = || async { vec![0_u8; BIG] };
    let router = Router::new()
        .route("/", get(async || "hello"))
        .route("/big", get(big))
        .route("/never", get(std::future::pending::<()>));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let doors = Doors {
        other_host: "there is a way".to_owned(),
        ..Doors::default()
    };
    tokio::spawn(serve(
        vec![Entrance::plain(listener)],
        router,
        doors,
        std::future::pending(),
    ));
    address
}

/// A connection from an address of this machine.
async fn connect(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::from(from), 0))).unwrap();
    socket.connect(to).await.unwrap()
}

fn request(path: &str, host: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
}

/// What is answered to a whole request; empty where the connection just ends.
async fn ask(from: [u8; 4], to: SocketAddr, text: &str) -> String {
    let mut stream = connect(from, to).await;
    let asked = async {
        stream.write_all(text.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    tokio::time::timeout(SOON, asked).await.unwrap().unwrap_or_default()
}

/// Whether the other side has hung up.
async fn has_ended(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_millis(200), stream.read_to_end(&mut rest))
        .await
        .is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_sent_requests_refuse_nobody() {
    let server = server().await;
    let mut half = Vec::new();
    for n in 0..2 * MAX_CONNECTIONS {
        let n = u8::try_from(n % 8).unwrap();
        let mut stream = connect([127, 0, 1, 2 + n], server).await;
        // Those that make room for the next have their connection ended.
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: ").await;
        half.push(stream);
        if half.len() % 64 == 0 {
            for from in [[127, 0, 0, 1], [127, 0, 1, 2], [127, 0, 2, 2]] {
                let answer = ask(from, server, &request("/", "localhost")).await;
                assert!(answer.ends_with("hello"), "{}: {answer}", half.len());
            }
        }
    }
    assert!(has_ended(&mut half[0]).await);
    assert!(!has_ended(half.last_mut().unwrap()).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_take_nothing_refuse_nobody() {
    let server = server().await;
    let mut deaf = Vec::new();
    for n in 0..2 * MAX_CONNECTIONS_OF_ONE {
        let from = [127, 0, 1, 2 + u8::try_from(n % 2).unwrap()];
        let mut stream = connect(from, server).await;
        stream.write_all(request("/big", "localhost").as_bytes()).await.unwrap();
        deaf.push(stream);
    }
    // One of another address is let in at once, one of the same when somebody has stalled for long enough.
    let text = request("/", "localhost");
    assert!(ask([127, 0, 0, 1], server, &text).await.ends_with("hello"));
    assert!(ask([127, 0, 2, 2], server, &text).await.ends_with("hello"));
    let since = Instant::now();
    while !ask([127, 0, 1, 2], server, &text).await.ends_with("hello") {
        assert!(since.elapsed() < 2 * SOON);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_too_many_of_one_client_is_told_to_come_back() {
    let server = server().await;
    let mut busy = Vec::new();
    for _ in 0..MAX_CONNECTIONS_OF_ONE {
        let mut stream = connect([127, 0, 1, 2], server).await;
        stream
            .write_all(request("/never", "localhost").as_bytes())
            .await
            .unwrap();
        busy.push(stream);
    }
    // The server has to have read what came.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut refused = connect([127, 0, 1, 2], server).await;
    let mut answer = String::new();
    refused.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("Retry-After: 1"),
        "{answer}"
    );
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{answer}");
    let text = request("/", "localhost");
    assert!(ask([127, 0, 1, 3], server, &text).await.ends_with("hello"));
    drop(busy.pop());
    let since = Instant::now();
    while !ask([127, 0, 1, 2], server, &text).await.ends_with("hello") {
        assert!(since.elapsed() < SOON);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn names_that_are_not_the_servers_are_refused_with_a_way_on() {
    let server = server().await;
    let from = [127, 0, 0, 1];
    for host in ["evil.example", "evil.example:80", ""] {
        let answer = ask(from, server, &request("/", host)).await;
        assert!(answer.starts_with("HTTP/1.1 421"), "{host}: {answer}");
        assert!(answer.contains("there is a way"), "{answer}");
    }
    for text in [
        "GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
    ] {
        let answer = ask(from, server, text).await;
        assert!(
            answer.starts_with("HTTP/1.1 421") || answer.starts_with("HTTP/1.1 400"),
            "{answer}"
        );
    }
    assert!(ask(from, server, "GET / HTTP/1.0\r\n\r\n").await.ends_with("hello"));
    assert_eq!(cut(&"\u{fc}".repeat(100)).len(), 100);
}

#[tokio::test]
async fn a_tunnel_leads_to_this_server_and_to_no_other() {
    let server = server().await;
    let connect_to = |host: &str| format!("CONNECT {host}:80 HTTP/1.1\r\nHost: {host}:80\r\n\r\n");
    let through = connect_to("localhost") + &request("/", "localhost");
    let answers = ask([127, 0, 0, 1], server, &through).await;
    assert!(
        answers.starts_with("HTTP/1.1 200 OK\r\n") && answers.ends_with("hello"),
        "{answers}"
    );
    let within = connect_to("localhost") + &connect_to("localhost");
    let answers = ask([127, 0, 0, 1], server, &(within + &request("/", "localhost"))).await;
    // That of the tunnel, and that of the request: what came between is a request like others, of a method that nobody answers.
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
    assert_eq!(answers.matches("HTTP/1.1 404").count(), 1, "{answers}");
    let through = connect_to("localhost") + &request("/", "evil.example");
    assert!(ask([127, 0, 0, 1], server, &through).await.contains("HTTP/1.1 421"));
    let mut stream = connect([127, 0, 0, 1], server).await;
    stream.write_all(connect_to("evil.example").as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    tokio::time::timeout(SOON, stream.read_exact(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&answer, b"HTTP/1.1 421");
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let server = server().await;
    let head = |bytes: usize| {
        let field = "x".repeat(bytes);
        format!("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX: {field}\r\n\r\n")
    };
    let answer = ask([127, 0, 0, 1], server, &head(MAX_HEAD_BYTES / 2)).await;
    assert!(answer.ends_with("hello"), "{answer}");
    // A little more is read where it comes at once.
    let answer = ask([127, 0, 0, 1], server, &head(4 * MAX_HEAD_BYTES)).await;
    assert!(!answer.contains("hello"), "{answer}");
}

#[test]
fn each_thing_that_a_client_leaves_undone_has_its_time() {
    let now = Instant::now();
    let ago = |time: Duration| now.checked_sub(time).unwrap();
    let more = Duration::from_millis(1);
    for (phase, limit) in [(Phase::Head, HEAD_LIMIT), (Phase::Idle, IDLE_LIMIT)] {
        for (time, over) in [(limit, false), (limit + more, true)] {
            let since = ago(time);
            let activity = Activity::new(phase, since);
            assert_eq!(is_over(&activity, now), over, "{activity:?}");
        }
    }
    for phase in [Phase::Head, Phase::Idle, Phase::Work] {
        for (time, over) in [(STALL_LIMIT, false), (STALL_LIMIT + more, true)] {
            let stalled = Some(ago(time));
            let mut activity = Activity::new(phase, now);
            activity.stalled = stalled;
            assert_eq!(is_over(&activity, now), over, "{activity:?}");
        }
    }
    let working = Activity::new(Phase::Work, ago(IDLE_LIMIT * 2));
    assert!(!is_over(&working, now));
}

#[test]
fn connections_leave_descriptors_for_the_rest() {
    let few = room(1024);
    assert_eq!((few.all, few.many), (256, 128));
    assert!(few.one < few.network && few.network < few.all);
    let many = room(1 << 20);
    assert_eq!((many.all, many.one), (MAX_CONNECTIONS, MAX_CONNECTIONS_OF_ONE));
    assert!(room(0).one > 0);
}
