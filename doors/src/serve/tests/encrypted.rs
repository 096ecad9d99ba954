//! TLS, HTTP/2 in it, and clients that misuse either.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Bytes;
use axum::extract::Request as AxumRequest;
use h2::client::SendRequest;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::connection::MAX_PIECE_BYTES;
use crate::tls::Authorities;

/// Requests that are being answered with nothing: now, and at most at once.
#[derive(Default)]
struct Waiting {
    now: AtomicUsize,
    most: AtomicUsize,
}

struct Waits(Arc<Waiting>);

impl Waits {
    fn begin(waiting: &Arc<Waiting>) -> Self {
        let now = waiting.now.fetch_add(1, Ordering::SeqCst) + 1;
        waiting.most.fetch_max(now, Ordering::SeqCst);
        Self(Arc::clone(waiting))
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Server {
    address: SocketAddr,
    connector: TlsConnector,
    waiting: Arc<Waiting>,
}

async fn server() -> Server {
    raise_descriptors();
    let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (pem, key) = (signed.cert.pem(), signed.signing_key.serialize_pem());
    let certificates = Certificates::default();
    certificates.show(pem.as_bytes(), key.as_bytes()).unwrap();
    let how = async |request: AxumRequest| {
        let client = crate::client(request.extensions(), request.headers(), &[]);
        format!("{:?} {}", request.version(), client.secure)
    };
    let waiting = Arc::new(Waiting::default());
    let of_never = Arc::clone(&waiting);
    let never = move || {
        let waits = Waits::begin(&of_never);
        async move {
            let _waits = waits;
            std::future::pending::<()>().await;
        }
    };
    let router = Router::new()
        .route("/", get(how))
        .route("/big", get(|| async { vec![0_u8; BIG] }))
        .route("/never", get(never));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let entrance = Entrance::tls(listener, &certificates).unwrap();
    tokio::spawn(serve(vec![entrance], router, Doors::default(), std::future::pending()));
    let config = Authorities::default().and(pem.as_bytes()).unwrap().client().unwrap();
    Server {
        address,
        connector: TlsConnector::from(Arc::new(config)),
        waiting,
    }
}

impl Server {
    async fn connect(&self, from: [u8; 4]) -> io::Result<TlsStream<TcpStream>> {
        let stream = connect(from, self.address).await;
        let name = ServerName::try_from("localhost").unwrap();
        self.connector.connect(name, stream).await
    }

    async fn client(&self, from: [u8; 4], window: Option<u32>) -> Option<SendRequest<Bytes>> {
        let mut builder = h2::client::Builder::new();
        if let Some(window) = window {
            builder.initial_window_size(window);
        }
        let (client, connection) = builder.handshake(self.connect(from).await.ok()?).await.ok()?;
        tokio::spawn(connection);
        Some(client)
    }

    /// What is answered on a new connection; nothing where it ends.
    async fn ask(&self, from: [u8; 4]) -> Option<String> {
        let asked = async {
            let client = self.client(from, None).await?;
            let (answer, _) = client.ready().await.ok()?.send_request(request("/"), true).ok()?;
            let mut body = answer.await.ok()?.into_body();
            let mut bytes = Vec::new();
            while let Some(chunk) = body.data().await {
                bytes.extend_from_slice(&chunk.ok()?);
            }
            String::from_utf8(bytes).ok()
        };
        tokio::time::timeout(SOON, asked).await.ok()?
    }
}

fn request(path: &str) -> Request<()> {
    Request::get(format!("https://localhost{path}")).body(()).unwrap()
}

/// What is said on a connection of HTTP/2 without a client that keeps to the rules.
mod raw {
    pub(super) const BEGIN: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

    pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        [&head, payload].concat()
    }

    /// A whole request for `/never`.
    pub(super) fn never(stream: u32) -> Vec<u8> {
        // GET, https, and the two fields that no table has.
        let head = [&[0x82, 0x87, 0x44, 6][..], b"/never", &[0x41, 9], b"localhost"].concat();
        frame(1, 5, stream, &head)
    }

    /// Takes it back.
    pub(super) fn reset(stream: u32) -> Vec<u8> {
        frame(3, 0, stream, &8_u32.to_be_bytes())
    }
}

/// Sends many requests one after the other, and says whether the server had enough of them.
async fn flood(server: &Server, from: [u8; 4], count: u32, of_one: impl Fn(u32) -> Vec<u8>) -> bool {
    let stream = server.connect(from).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let reading = tokio::spawn(async move {
        let mut all = Vec::new();
        let _ = reader.read_to_end(&mut all).await;
    });
    let sent = async {
        writer.write_all(raw::BEGIN).await?;
        for number in 0..count {
            writer.write_all(&of_one(2 * number + 1)).await?;
        }
        writer.flush().await
    };
    let sent = tokio::time::timeout(SOON, sent).await.unwrap();
    sent.is_err() || tokio::time::timeout(SOON, reading).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_share_a_connection_up_to_a_limit() {
    let server = server().await;
    assert_eq!(server.ask([127, 0, 0, 1]).await.as_deref(), Some("HTTP/2.0 true"));

    let mut client = server.client([127, 0, 1, 2], None).await.unwrap();
    // With the first answer it has been told.
    client = client.ready().await.unwrap();
    client.send_request(request("/"), true).unwrap().0.await.unwrap();
    let mut waiting = Vec::new();
    for _ in 0..=MAX_STREAMS {
        client = client.ready().await.unwrap();
        waiting.push(client.send_request(request("/never"), true).unwrap());
    }
    // A client that keeps to the rules waits with the last of them.
    let since = Instant::now();
    while server.waiting.now.load(Ordering::SeqCst) < MAX_STREAMS as usize {
        assert!(since.elapsed() < SOON);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(server.waiting.most.load(Ordering::SeqCst), MAX_STREAMS as usize);
    drop(waiting);

    // One that does not is told so, and none but these is answered at once; it does not get through so often without end.
    let has_ended = flood(&server, [127, 0, 1, 3], 10_000, raw::never).await;
    assert!(has_ended, "after {MAX_FAULTS} faults");
    assert!(server.waiting.most.load(Ordering::SeqCst) <= 2 * MAX_STREAMS as usize);
    assert!(server.ask([127, 0, 1, 3]).await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_taken_back_again_and_again_end_the_connection() {
    let server = server().await;
    let back = |stream| [raw::never(stream), raw::reset(stream)].concat();
    let few = u32::try_from(MAX_TAKEN_BACK).unwrap() / 2;
    let since = Instant::now();
    assert!(flood(&server, [127, 0, 1, 2], 10_000, back).await);
    assert!(since.elapsed() < 2 * SOON);
    assert!(server.ask([127, 0, 1, 2]).await.is_some());
    // Now and then somebody changes their mind.
    assert!(!flood(&server, [127, 0, 1, 2], few, back).await);
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused_in_both_versions() {
    let server = server().await;
    let mut statuses = Vec::new();
    for bytes in [MAX_HEAD_BYTES / 2, 2 * MAX_HEAD_BYTES] {
        let client = server.client([127, 0, 0, 1], None).await.unwrap();
        let mut long = request("/");
        // In several fields: the longest is what one frame holds.
        for number in 0..bytes / 4096 {
            let name = header::HeaderName::try_from(format!("x-{number}")).unwrap();
            long.headers_mut().insert(name, "x".repeat(4000).parse().unwrap());
        }
        let mut client = client.ready().await.unwrap();
        let answer = match client.send_request(long, true) {
            Ok((answer, _)) => tokio::time::timeout(SOON, answer).await.unwrap().ok(),
            Err(_) => None,
        };
        statuses.push(answer.map(|answer| answer.status()));
    }
    assert_eq!(statuses[0], Some(StatusCode::OK));
    assert_ne!(statuses[1], Some(StatusCode::OK));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_give_no_room_for_answers_refuse_nobody() {
    let server = server().await;
    let mut deaf = Vec::new();
    for number in 0..MAX_CONNECTIONS_OF_ONE {
        // Some take a little: as much as is on its way without being taken.
        let window = u32::try_from(if number % 2 == 0 {
            0
        } else {
            MAX_PIECE_BYTES.min(MAX_UNSENT_BYTES)
        })
        .unwrap();
        let client = server.client([127, 0, 1, 2], Some(window)).await.unwrap();
        let mut client = client.ready().await.unwrap();
        let (answer, _) = client.send_request(request("/big"), true).unwrap();
        deaf.push((client, answer.await.unwrap()));
    }
    assert!(server.ask([127, 0, 2, 2]).await.is_some());
    let since = Instant::now();
    while server.ask([127, 0, 1, 2]).await.is_none() {
        assert!(since.elapsed() < 2 * SOON);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_handshakes_refuse_nobody() {
    let server = server().await;
    let mut half = Vec::new();
    for n in 0..MAX_CONNECTIONS {
        let n = u8::try_from(n % 8).unwrap();
        let mut stream = connect([127, 0, 1, 2 + n], server.address).await;
        // The beginning of what a client says first.
        let _ = stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc").await;
        half.push(stream);
    }
    for from in [[127, 0, 0, 1], [127, 0, 1, 2], [127, 0, 2, 2]] {
        assert!(server.ask(from).await.is_some(), "{from:?}");
    }
    // What is no TLS at all ends at once.
    let answer = ask([127, 0, 2, 2], server.address, &super::request("/", "localhost")).await;
    assert!(!answer.contains("HTTP/"), "{answer}");
    let since = Instant::now();
    while !has_ended(half.last_mut().unwrap()).await {
        assert!(since.elapsed() < HEAD_LIMIT + SOON);
    }
}
