//! Many streams over one TCP connection: yamux, with a bound on what lies unread.
//!
//! Each stream of yamux may hold 256 KiB and more that nobody reads, and a connection may have a thousand streams. Libp2p's
//! wrapper leaves it at that. This one counts what has come for each stream and was not yet read ([`books`]); a connection
//! whose share of the common room is used up is read no further, and feels it as a slow network. One that nobody reads from
//! for [`STALL`] meanwhile is ended: all that it sent is for streams that wait for more from it.

mod books;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use futures::io::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use tokio::time::{Instant, Sleep, sleep};
use yamux::{Connection, ConnectionError, Mode};

use self::books::Books;
use super::ended::Ended;
use crate::room::{LOOK_AGAIN, Room};
use crate::threads::lock;

/// Streams that may be open on one connection; one more ends it. The exchange alone takes up to 480 inwards.
const MAX_STREAMS: usize = 1024;
/// Streams of the other side that wait to be taken in; more are reset. Implementations open no more than this unasked.
const MAX_WAITING_STREAMS: usize = 256;
/// Of these, such as are met at once: all that drives a connection is looked at for each time that it wants to go on.
const STREAMS_AT_ONCE: usize = 16;
/// What may lie unread on one connection, and by how much its windows may grow for a long and fast way.
const MAX_UNREAD: usize = 16 << 20;
/// The window that every stream has at least, by the protocol.
const WINDOW: usize = 256 << 10;
/// What is sent as one frame at most: with its head it fills one message of Noise.
const SEND_BYTES: usize = 65_535 - 1_024 - 12;
/// How long a connection may be full without anybody reading from it.
const STALL: Duration = Duration::from_secs(10);
/// How long the end of a connection may take that the other side does not read from.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// Makes a multiplexer of an encrypted connection, whose unread bytes are in `room`.
#[derive(Debug, Clone)]
pub(crate) struct Upgrade {
    room: Room,
}

impl Upgrade {
    pub(crate) fn new(room: Room) -> Self {
        Self { room }
    }

    fn muxer<C: AsyncRead + AsyncWrite + Unpin>(self, io: C, mode: Mode) -> Muxer<C> {
        let mut config = yamux::Config::default();
        config
            .set_max_num_streams(MAX_STREAMS)
            .set_split_send_size(SEND_BYTES)
            .set_max_connection_receive_window(Some(MAX_STREAMS * WINDOW + MAX_UNREAD));
        let books = Arc::new(Mutex::new(Books::new(self.room.share(MAX_UNREAD))));
        let counted = Counted {
            io,
            books: books.clone(),
            paused: None,
        };
        Muxer {
            connection: Connection::new(counted, config, mode),
            books,
            waiting: VecDeque::new(),
            waker: None,
            closing: None,
        }
    }
}

impl UpgradeInfo for Upgrade {
    type Info = &'static str;
    type InfoIter = std::iter::Once<Self::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once("/yamux/1.0.0")
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> InboundConnectionUpgrade<C> for Upgrade {
    type Output = Muxer<C>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Self::Error>>;

    fn upgrade_inbound(self, io: C, _: Self::Info) -> Self::Future {
        ready(Ok(self.muxer(io, Mode::Server)))
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<C> for Upgrade {
    type Output = Muxer<C>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Self::Error>>;

    fn upgrade_outbound(self, io: C, _: Self::Info) -> Self::Future {
        ready(Ok(self.muxer(io, Mode::Client)))
    }
}

/// One connection of many streams.
pub(crate) struct Muxer<C> {
    connection: Connection<Counted<C>>,
    books: Arc<Mutex<Books>>,
    /// Streams that came while nobody asked for one: the connection makes progress only by asking it for the next.
    waiting: VecDeque<Stream>,
    waker: Option<Waker>,
    closing: Option<Pin<Box<Sleep>>>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Muxer<C> {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Stream, ConnectionError>> {
        match ready!(self.connection.poll_next_inbound(cx)) {
            Some(stream) => Poll::Ready(stream.map(|stream| Stream {
                stream,
                books: self.books.clone(),
                ended: Ended::default(),
            })),
            None => Poll::Ready(Err(ConnectionError::Closed)),
        }
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> StreamMuxer for Muxer<C> {
    type Substream = Stream;
    type Error = ConnectionError;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Stream, ConnectionError>> {
        if let Some(stream) = self.waiting.pop_front() {
            return Poll::Ready(Ok(stream));
        }
        let next = self.poll_next(cx);
        if next.is_pending() {
            self.waker = Some(cx.waker().clone());
        }
        next
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Stream, ConnectionError>> {
        let stream = ready!(self.connection.poll_new_outbound(cx))?;
        lock(&self.books).opened(stream.id().val());
        Poll::Ready(Ok(Stream {
            stream,
            books: self.books.clone(),
            ended: Ended::default(),
        }))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        let closing = self.closing.get_or_insert_with(|| Box::pin(sleep(CLOSE_WITHIN)));
        if closing.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        self.connection.poll_close(cx)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, ConnectionError>> {
        for _ in 0..STREAMS_AT_ONCE {
            let stream = ready!(self.poll_next(cx))?;
            if self.waiting.len() < MAX_WAITING_STREAMS {
                self.waiting.push_back(stream);
                // Whoever drives this connection looks for streams anyway after it has let it make progress.
                if let Some(waker) = self.waker.take().filter(|waker| !waker.will_wake(cx.waker())) {
                    waker.wake();
                }
            }
        }
        // Others have their turn before the next ones.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// The connection below the streams: what is read from it is counted, and nothing is read while the share is used up.
struct Counted<C> {
    io: C,
    books: Arc<Mutex<Books>>,
    paused: Option<Paused>,
}

struct Paused {
    look_again: Pin<Box<Sleep>>,
    since: Instant,
    progress: u64,
}

impl<C> Counted<C> {
    /// Ready when something may be read.
    ///
    /// # Errors
    /// Nobody has read from the connection for too long.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut books = lock(&self.books);
        while books.is_full(cx.waker()) {
            let (now, progress) = (Instant::now(), books.progress());
            let paused = self.paused.get_or_insert_with(|| Paused {
                look_again: Box::pin(sleep(LOOK_AGAIN)),
                since: now,
                progress,
            });
            if paused.progress != progress {
                (paused.progress, paused.since) = (progress, now);
            }
            if now.saturating_duration_since(paused.since) >= STALL {
                tracing::debug!("ending a connection that is full of what nobody reads");
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            ready!(paused.look_again.as_mut().poll(cx));
            paused.look_again.as_mut().reset(now + LOOK_AGAIN);
        }
        self.paused = None;
        Poll::Ready(Ok(()))
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Counted<C> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_room(cx))?;
        let read = ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        lock(&self.books).came(buffer.get(..read).unwrap_or_default());
        Poll::Ready(Ok(read))
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Counted<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, buffers)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_close(cx)
    }
}

/// One stream.
pub(crate) struct Stream {
    stream: yamux::Stream,
    books: Arc<Mutex<Books>>,
    ended: Ended,
}

impl Drop for Stream {
    fn drop(&mut self) {
        lock(&self.books).closed(self.stream.id().val());
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let read = ready!(self.ended.told(read, buffer.len()))?;
        lock(&self.books).read(self.stream.id().val(), read);
        Poll::Ready(Ok(read))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, buffers)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}
