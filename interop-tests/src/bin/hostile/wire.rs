//! A connection with every byte in the hands of the attacker: TCP from an address of its choice, Noise, Yamux, and streams
//! that may or may not agree on a protocol.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use libp2p::core::muxing::{StreamMuxerBox, StreamMuxerExt as _, SubstreamBox};
use libp2p::core::upgrade::OutboundConnectionUpgrade as _;
use libp2p::identity::{Keypair, PublicKey};
use libp2p::{PeerId, noise, yamux};
use tokio::io::ReadBuf;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::protobuf::read_varint;
use super::{Orders, identify};

const MULTISTREAM: &str = "/multistream/1.0.0";
/// The longest line that a polite peer sends when protocols are agreed on.
const MAX_LINE: usize = 1024;
/// The longest frame that a node sends.
const MAX_FRAME: usize = 8 << 20;

/// A stream.
pub(crate) type Stream = SubstreamBox;

/// A connection. It ends when this is dropped.
pub(crate) struct Wire {
    opens: mpsc::Sender<oneshot::Sender<Stream>>,
    driver: JoinHandle<()>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// How an attacker answers streams that the node opens.
#[derive(Clone)]
pub(crate) struct Manners {
    /// What it claims to speak. A stream for one of these is taken, and read without an answer.
    pub(crate) protocols: &'static [&'static str],
    /// Whether it says who it is and answers pings, as anybody does.
    pub(crate) polite: bool,
    /// Where the frames go that come on streams it takes, if anybody wants them.
    pub(crate) frames: Option<mpsc::Sender<Vec<u8>>>,
}

impl Manners {
    /// Those of a polite peer that speaks Bitswap and wants no frames.
    pub(crate) fn bitswap() -> Self {
        Self {
            protocols: &[super::bitswap::PROTOCOL],
            polite: true,
            frames: None,
        }
    }
}

impl Wire {
    /// Connects as `orders` say.
    pub(crate) async fn connect(orders: &Orders, key: &Keypair, manners: Manners) -> io::Result<Self> {
        Self::connect_as(orders, key, key.public(), manners).await
    }

    /// The same, but says of itself that it has another key.
    pub(crate) async fn connect_as(
        orders: &Orders,
        key: &Keypair,
        claimed: PublicKey,
        manners: Manners,
    ) -> io::Result<Self> {
        let tcp = dial(orders.at, orders.from).await?;
        let mut secured = secure(tcp, key, orders.peer).await?;
        negotiate(&mut secured, "/yamux/1.0.0").await?;
        let muxer = yamux::Config::default()
            .upgrade_outbound(secured, "/yamux/1.0.0")
            .await
            .map_err(io::Error::other)?;
        let (opens, requests) = mpsc::channel(1024);
        let driver = tokio::spawn(drive(
            StreamMuxerBox::new(muxer),
            requests,
            Arc::new((claimed, manners)),
        ));
        Ok(Self { opens, driver })
    }

    /// A new stream on which nothing is agreed.
    pub(crate) async fn bare(&self) -> io::Result<Stream> {
        let (open, opened) = oneshot::channel();
        let ended = |_| io::Error::from(io::ErrorKind::ConnectionReset);
        self.opens
            .send(open)
            .await
            .map_err(|_| io::ErrorKind::ConnectionReset)?;
        opened.await.map_err(ended)
    }

    /// A new stream on which a protocol was agreed.
    pub(crate) async fn open(&self, protocol: &str) -> io::Result<Stream> {
        let mut stream = self.bare().await?;
        negotiate(&mut stream, protocol).await?;
        Ok(stream)
    }

    /// Waits until the connection has ended.
    pub(crate) async fn ended(&mut self) {
        let _ = (&mut self.driver).await;
    }
}

/// A TCP connection from an address of this machine's choice.
pub(crate) async fn dial(at: SocketAddr, from: Ipv4Addr) -> io::Result<Tcp> {
    let socket = TcpSocket::new_v4()?;
    // Thousands of connections that wait for their end would leave tests beside this one without ports.
    socket.set_zero_linger()?;
    socket.bind(SocketAddr::new(from.into(), 0))?;
    let stream = socket.connect(at).await?;
    stream.set_nodelay(true)?;
    Ok(Tcp(stream))
}

/// The handshake of Noise with `peer`.
pub(crate) async fn secure(mut tcp: Tcp, key: &Keypair, peer: PeerId) -> io::Result<noise::Output<Tcp>> {
    negotiate(&mut tcp, "/noise").await?;
    let noise = noise::Config::new(key).map_err(io::Error::other)?;
    let (found, secured) = noise.upgrade_outbound(tcp, "/noise").await.map_err(io::Error::other)?;
    if found == peer {
        Ok(secured)
    } else {
        Err(io::Error::other(format!("{found} answers for {peer}")))
    }
}

/// Agrees on a protocol as the one who asks for it.
pub(crate) async fn negotiate<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, protocol: &str) -> io::Result<()> {
    let asked = [line(MULTISTREAM), line(protocol)].concat();
    stream.write_all(&asked).await?;
    stream.flush().await?;
    for expected in [MULTISTREAM, protocol] {
        let said = read_line(stream).await?;
        if said != expected {
            return Err(io::Error::other(format!("{said} in place of {expected}")));
        }
    }
    Ok(())
}

/// A line of multistream-select: its length, itself and a newline.
pub(crate) fn line(text: &str) -> Vec<u8> {
    let mut line = Vec::new();
    super::protobuf::varint(text.len() as u64 + 1, &mut line);
    line.extend_from_slice(text.as_bytes());
    line.push(b'\n');
    line
}

async fn read_line<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<String> {
    let length = read_varint(stream).await?;
    if !(1..=MAX_LINE).contains(&length) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut line = vec![0; length];
    stream.read_exact(&mut line).await?;
    line.pop();
    String::from_utf8(line).map_err(|_| io::ErrorKind::InvalidData.into())
}

async fn drive(
    mut muxer: StreamMuxerBox,
    mut opens: mpsc::Receiver<oneshot::Sender<Stream>>,
    manners: Arc<(PublicKey, Manners)>,
) {
    let mut waiting = VecDeque::new();
    poll_fn(|cx| {
        if let Poll::Ready(Err(_)) = muxer.poll_unpin(cx) {
            return Poll::Ready(());
        }
        while let Poll::Ready(Some(open)) = opens.poll_recv(cx) {
            waiting.push_back(open);
        }
        while !waiting.is_empty() {
            match muxer.poll_outbound_unpin(cx) {
                Poll::Ready(Ok(stream)) => {
                    let open: Option<oneshot::Sender<Stream>> = waiting.pop_front();
                    drop(open.map(|open| open.send(stream)));
                }
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        while let Poll::Ready(stream) = muxer.poll_inbound_unpin(cx) {
            match stream {
                Ok(stream) => drop(tokio::spawn(answer(stream, Arc::clone(&manners)))),
                Err(_) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    })
    .await;
}

/// Answers a stream that the node opened.
async fn answer(mut stream: Stream, manners: Arc<(PublicKey, Manners)>) -> io::Result<()> {
    let (key, manners) = &*manners;
    if !manners.polite {
        // Held open without a word.
        return std::future::pending().await;
    }
    if read_line(&mut stream).await? != MULTISTREAM {
        return Err(io::ErrorKind::InvalidData.into());
    }
    stream.write_all(&line(MULTISTREAM)).await?;
    stream.flush().await?;
    loop {
        let asked = read_line(&mut stream).await?;
        let known = asked == identify::PROTOCOL || asked == "/ipfs/ping/1.0.0" || manners.protocols.contains(&&*asked);
        stream.write_all(&line(if known { &asked } else { "na" })).await?;
        stream.flush().await?;
        if asked == identify::PROTOCOL {
            stream.write_all(&identify::message(key, manners.protocols)).await?;
            return stream.close().await;
        }
        if asked == "/ipfs/ping/1.0.0" {
            let mut ball = [0; 32];
            loop {
                stream.read_exact(&mut ball).await?;
                stream.write_all(&ball).await?;
                stream.flush().await?;
            }
        }
        if known && let Some(frames) = &manners.frames {
            loop {
                let length = read_varint(&mut stream).await?;
                if length > MAX_FRAME {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                let mut frame = vec![0; length];
                stream.read_exact(&mut frame).await?;
                frames.send(frame).await.map_err(io::Error::other)?;
            }
        }
        if known {
            let mut sink = vec![0; 64 << 10];
            while stream.read(&mut sink).await? > 0 {}
            return Ok(());
        }
    }
}

/// A TCP connection of tokio's for the traits that libp2p is written to.
pub(crate) struct Tcp(pub(crate) TcpStream);

impl AsyncRead for Tcp {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(into);
        let read = tokio::io::AsyncRead::poll_read(Pin::new(&mut self.0), cx, &mut buffer);
        read.map_ok(|()| buffer.filled().len())
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        tokio::io::AsyncWrite::poll_write(Pin::new(&mut self.0), cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        tokio::io::AsyncWrite::poll_flush(Pin::new(&mut self.0), cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        tokio::io::AsyncWrite::poll_shutdown(Pin::new(&mut self.0), cx)
    }
}
