//! Clients of the HTTP gateway and repository that leave things undone: `--count` connections to `--gateway IP:PORT`, each again
//! as soon as it has ended. What is left undone is `--how`:
//!
//! - `half`: the head of a request; `trickle`: the same, a byte at a time.
//! - `deaf`: an answer is not taken, that to `--path`.
//! - `nobody`: blocks are asked for that nobody has.
//! - `slow`: the body of an upload to `--path` comes a byte at a time.
//! - `socket`: nothing is said on a WebSocket at `--path`.
//! - `head`: a head that has no end, as quickly as it is taken.
//! - `ranges`: as many parts of `--path` as fit into a head, again and again on one connection.
//! - `asks`: `--path` at the host `--host`, again and again on one connection.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use interop_tests::Failure;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use super::{Orders, ready, text};

/// How long one waits after its connection has ended.
const AGAIN: Duration = Duration::from_millis(100);
/// All have tried once by then.
const UNDER_WAY: Duration = Duration::from_secs(1);
/// How long a byte is waited for by whom they come one at a time.
const DRIP: Duration = Duration::from_secs(1);
/// What a client that takes nothing lets the system take for it.
const BUFFER: u32 = 4 << 10;
/// Parts of which a request asks.
const PARTS: usize = 2_000;
/// Requests on one connection.
const ASKED_AT_ONCE: usize = 50;

pub(crate) async fn run(orders: &Orders) -> Result<(), Failure> {
    let gateway: SocketAddr = orders.text("gateway")?.parse().map_err(text)?;
    let how = orders.text("how")?;
    const HOWS: [&str; 9] = [
        "half", "trickle", "deaf", "nobody", "slow", "socket", "head", "ranges", "asks",
    ];
    if !HOWS.contains(&how) {
        return Err(Failure::new(format!("--how {how}")));
    }
    let path = orders.text("path").unwrap_or("/");
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).map_err(text)?;
    let one = |number: usize| async move {
        for round in 0u64.. {
            let _ = once(orders, gateway, how, path, (number as u64) << 32 | round).await;
            tokio::time::sleep(AGAIN).await;
        }
    };
    let told = async {
        tokio::time::sleep(UNDER_WAY).await;
        ready();
    };
    let count = orders.number("count", 100)?;
    let _: (Vec<()>, ()) = tokio::join!(join_all((0..count).map(one)), told);
    Ok(())
}

async fn once(orders: &Orders, gateway: SocketAddr, how: &str, path: &str, number: u64) -> io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    // Thousands of connections that wait for their end would leave tests beside this one without ports.
    socket.set_zero_linger()?;
    if how == "deaf" {
        socket.set_recv_buffer_size(BUFFER)?;
    }
    socket.bind(SocketAddr::new(orders.from.into(), 0))?;
    let mut stream = socket.connect(gateway).await?;
    let host = format!(
        "Host: {}\r\n",
        orders.text("host").map_or(gateway.to_string(), str::to_owned)
    );
    let head = match how {
        "half" | "trickle" | "head" => format!("GET {path} HTTP/1.1\r\n{host}X: "),
        "nobody" => format!("GET /ipfs/{} HTTP/1.1\r\n{host}\r\n", nobodys(orders, number)),
        "slow" => format!("PUT {path} HTTP/1.1\r\n{host}Content-Length: 1000000\r\n\r\n"),
        "socket" => format!(
            "GET {path} HTTP/1.1\r\n{host}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nx-odf-smtp-version: 1\r\n\r\n"
        ),
        "ranges" => format!(
            "GET {path} HTTP/1.1\r\n{host}Range: bytes=0-1{}\r\n\r\n",
            ",0-".repeat(PARTS)
        ),
        _ => format!("GET {path} HTTP/1.1\r\n{host}\r\n"),
    };
    stream.write_all(head.as_bytes()).await?;
    match how {
        // Whoever takes nothing does not notice the end either; whatever it is, this does, once everything is taken back.
        "deaf" => loop {
            tokio::time::sleep(DRIP).await;
            stream.write_all(b" ").await?;
        },
        "trickle" | "slow" => loop {
            tokio::time::sleep(DRIP).await;
            stream.write_all(b"x").await?;
        },
        "head" => loop {
            stream.write_all(&[b'x'; 1 << 12]).await?;
        },
        "ranges" | "asks" => {
            let (mut answers, mut questions) = stream.split();
            let ask = async {
                for _ in 0..ASKED_AT_ONCE {
                    questions.write_all(head.as_bytes()).await?;
                }
                Ok(())
            };
            tokio::try_join!(ask, ended(&mut answers)).map(|_| ())
        }
        _ => ended(&mut stream).await,
    }
}

/// Takes what comes until nothing does.
async fn ended(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut taken = [0; 1 << 12];
    while stream.read(&mut taken).await? > 0 {}
    Ok(())
}

/// The CID (version 1, raw, sha2-256) of a block that nobody has, as text in base 16.
fn nobodys(orders: &Orders, number: u64) -> String {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&number.to_be_bytes());
    hash[8..12].copy_from_slice(&orders.from.octets());
    let digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("f01551220{digits}")
}
