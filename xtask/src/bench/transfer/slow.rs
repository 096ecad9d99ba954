//! A wire that carries so many bytes in a second: a relay of TCP on loopback before a node.

use crate::Failure;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes that go at once: some milliseconds' worth.
const PIECE: usize = 64 << 10;

/// The relay. Its threads end with their connections, that which listens with the process.
pub(super) struct Slow {
    /// The multiaddress to connect to in place of the node's.
    pub(super) address: String,
}

impl Slow {
    /// Before the node at this multiaddress (IPv4, TCP and its peer id); what comes from it comes at `rate` bytes a second.
    pub(super) fn before(node: &str, rate: u64) -> Result<Self, Failure> {
        let parts: Vec<&str> = node.split('/').collect();
        let ["", "ip4", ip, "tcp", port, "p2p", peer] = parts.as_slice() else {
            return Err(format!("{node} is no address over TCP").into());
        };
        let at: SocketAddr = format!("{ip}:{port}")
            .parse()
            .map_err(|error| format!("{node}: {error}"))?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = format!("/ip4/127.0.0.1/tcp/{}/p2p/{peer}", listener.local_addr()?.port());
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let Ok(node) = TcpStream::connect(at) else { return };
                let (Ok(back_client), Ok(back_node)) = (client.try_clone(), node.try_clone()) else {
                    return;
                };
                thread::spawn(move || carry(client, node, None));
                thread::spawn(move || carry(back_node, back_client, Some(rate)));
            }
        });
        Ok(Self { address })
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, rate: Option<u64>) {
    let mut buffer = vec![0; PIECE];
    let mut free_at = Instant::now();
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let Some(piece) = buffer.get(..read) else { return };
        if to.write_all(piece).is_err() {
            break;
        }
        if let Some(rate) = rate {
            // From when it was free, not from now: a pause that was too long is made up for.
            let now = Instant::now();
            free_at = free_at.max(now - Duration::from_millis(20)) + Duration::from_secs_f64(read as f64 / rate as f64);
            thread::sleep(free_at.saturating_duration_since(now));
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
