//! What libp2p alone moves, without Bitswap, hashes or a store: one stream over TCP, Noise and Yamux on loopback, as it comes.
//!
//! `bare give BYTES` prints the address to take them from; `bare take ADDRESS` reads them to the end and prints the seconds.

use std::future::poll_fn;
use std::io;
use std::process::ExitCode;
use std::task::Poll;
use std::time::Instant;

use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use interop_tests::Failure;
use libp2p::core::muxing::{StreamMuxerBox, StreamMuxerExt as _, SubstreamBox};
use libp2p::core::transport::{Boxed, DialOpts, ListenerId, PortUse, TransportEvent};
use libp2p::core::{Endpoint, upgrade};
use libp2p::identity::Keypair;
use libp2p::{Multiaddr, PeerId, Transport as _, noise, tcp, yamux};

/// Bytes that are written at a time; a block of the usual length.
const PIECE: usize = 256 << 10;
/// Bytes that are read at a time.
const READ: usize = 64 << 10;

fn transport() -> Result<Boxed<(PeerId, StreamMuxerBox)>, Failure> {
    let key = Keypair::generate_ed25519();
    Ok(tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .upgrade(upgrade::Version::V1)
        .authenticate(noise::Config::new(&key).map_err(text)?)
        .multiplex(yamux::Config::default())
        .boxed())
}

fn text(error: impl std::fmt::Display) -> Failure {
    Failure::new(error.to_string())
}

/// Keeps a connection going until it ends; `stream` of it is used meanwhile.
fn drive(mut muxer: StreamMuxerBox) {
    tokio::spawn(poll_fn(move |cx| match muxer.poll_unpin(cx) {
        Poll::Ready(Ok(_)) => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
        Poll::Ready(Err(_)) => Poll::Ready(()),
        Poll::Pending => Poll::Pending,
    }));
}

/// The next address or connection of a transport that listens.
async fn next(
    transport: &mut Boxed<(PeerId, StreamMuxerBox)>,
) -> TransportEvent<<Boxed<(PeerId, StreamMuxerBox)> as libp2p::Transport>::ListenerUpgrade, io::Error> {
    poll_fn(|cx| std::pin::Pin::new(&mut *transport).poll(cx)).await
}

#[allow(clippy::print_stdout)] // what the program is asked for
async fn give(bytes: usize) -> Result<(), Failure> {
    let mut transport = transport()?;
    let address = "/ip4/127.0.0.1/tcp/0".parse().map_err(text)?;
    transport.listen_on(ListenerId::next(), address).map_err(text)?;
    loop {
        match next(&mut transport).await {
            TransportEvent::NewAddress { listen_addr, .. } => println!("{listen_addr}"),
            TransportEvent::Incoming { upgrade, .. } => {
                // The transport itself needs no more polling: the listener's work is done.
                let (_, mut muxer) = upgrade.await.map_err(text)?;
                let mut stream: SubstreamBox = poll_fn(|cx| {
                    loop {
                        if let Poll::Ready(stream) = muxer.poll_inbound_unpin(cx) {
                            return Poll::Ready(stream);
                        }
                        if muxer.poll_unpin(cx)?.is_pending() {
                            return Poll::Pending;
                        }
                    }
                })
                .await
                .map_err(text)?;
                drive(muxer);
                let piece = interop_tests::content::bytes(PIECE, 3);
                let mut left = bytes;
                while left > 0 {
                    let length = left.min(PIECE);
                    stream
                        .write_all(piece.get(..length).unwrap_or(&piece))
                        .await
                        .map_err(text)?;
                    left -= length;
                }
                stream.close().await.map_err(text)?;
                // What is under way goes out; the taker ends the connection.
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest).await;
                return Ok(());
            }
            _ => {}
        }
    }
}

#[allow(clippy::print_stdout)] // what the program is asked for
async fn take(address: Multiaddr) -> Result<(), Failure> {
    let mut transport = transport()?;
    let options = DialOpts {
        role: Endpoint::Dialer,
        port_use: PortUse::New,
    };
    let (_, mut muxer) = transport.dial(address, options).map_err(text)?.await.map_err(text)?;
    let began = Instant::now();
    let mut stream = poll_fn(|cx| {
        if let Poll::Ready(stream) = muxer.poll_outbound_unpin(cx) {
            return Poll::Ready(stream);
        }
        muxer
            .poll_unpin(cx)
            .map(|ended| Err(ended.err().unwrap_or_else(|| io::ErrorKind::Other.into())))
    })
    .await
    .map_err(text)?;
    drive(muxer);
    // The other side hears of a stream with its first bytes.
    stream.write_all(b"?").await.map_err(text)?;
    stream.flush().await.map_err(text)?;
    let mut buffer = vec![0; READ];
    let mut taken = 0;
    loop {
        match stream.read(&mut buffer).await.map_err(text)? {
            0 => break,
            read => taken += read,
        }
    }
    println!("{} s for {taken} bytes", began.elapsed().as_secs_f64());
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["give", bytes] => match bytes.parse() {
            Ok(bytes) => give(bytes).await,
            Err(error) => Err(text(error)),
        },
        ["take", address] => match address.parse() {
            Ok(address) => take(address).await,
            Err(error) => Err(text(error)),
        },
        _ => Err("give BYTES, or take ADDRESS".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            #[allow(clippy::print_stderr)] // where a program says why it failed
            {
                eprintln!("bare: {failure}");
            }
            ExitCode::FAILURE
        }
    }
}
