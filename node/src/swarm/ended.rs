//! Streams that are at their end, and those who read them all the same.
//!
//! libp2p's AutoNAT client (0.16) reads the word of whoever dials back again and again when that fails, without a pause, for five
//! seconds: whoever opens such a stream and closes it has this peer do nothing else. So a reader is told a few times that there is
//! nothing more, and then waits until it gives up. Nobody else goes on reading.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::io::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};

/// How often a reader is told that a stream has ended.
const MAX_READS_AT_END: u32 = 16;

/// How often the reader of a stream was told that there is nothing more.
#[derive(Debug, Default)]
pub(super) struct Ended(u32);

impl Ended {
    /// What a reader is to be told where this came of its reading into room for `wanted` bytes.
    pub(super) fn told(&mut self, read: Poll<io::Result<usize>>, wanted: usize) -> Poll<io::Result<usize>> {
        match &read {
            Poll::Ready(Ok(0) | Err(_)) if wanted > 0 => self.0 += 1,
            Poll::Ready(_) => self.0 = 0,
            Poll::Pending => {}
        }
        if self.0 > MAX_READS_AT_END { Poll::Pending } else { read }
    }
}

/// A connection whose streams are read by nobody for long when they are at their end.
pub(super) struct Ending<M>(pub(super) M);

impl<M: StreamMuxer<Substream: Unpin> + Unpin> StreamMuxer for Ending<M> {
    type Substream = Stream<M::Substream>;
    type Error = M::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Substream, M::Error>> {
        let stream = ready!(Pin::new(&mut self.0).poll_inbound(cx))?;
        Poll::Ready(Ok(Stream(stream, Ended::default())))
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Substream, M::Error>> {
        let stream = ready!(Pin::new(&mut self.0).poll_outbound(cx))?;
        Poll::Ready(Ok(Stream(stream, Ended::default())))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), M::Error>> {
        Pin::new(&mut self.0).poll_close(cx)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, M::Error>> {
        Pin::new(&mut self.0).poll(cx)
    }
}

/// One stream of such a connection.
pub(super) struct Stream<S>(S, Ended);

impl<S: AsyncRead + Unpin> AsyncRead for Stream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = Pin::new(&mut self.0).poll_read(cx, buffer);
        self.1.told(read, buffer.len())
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, buffers)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use futures::io::Cursor;

    use super::*;

    #[test]
    fn who_reads_on_at_the_end_waits_after_one_time_over_the_limit() {
        let mut cx = Context::from_waker(Waker::noop());
        let mut stream = Stream(Cursor::new(b"said"), Ended::default());
        let mut read = || Pin::new(&mut stream).poll_read(&mut cx, &mut [0; 8]);
        assert!(matches!(read(), Poll::Ready(Ok(4))));
        for _ in 0..MAX_READS_AT_END {
            assert!(matches!(read(), Poll::Ready(Ok(0))));
        }
        assert!(read().is_pending() && read().is_pending());
    }

    #[test]
    fn room_for_nothing_is_no_end() {
        let mut ended = Ended::default();
        for _ in 0..=MAX_READS_AT_END {
            assert!(ended.told(Poll::Ready(Ok(0)), 0).is_ready());
        }
        for _ in 0..MAX_READS_AT_END {
            assert!(
                ended
                    .told(Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())), 1)
                    .is_ready()
            );
        }
        assert!(ended.told(Poll::Ready(Ok(1)), 1).is_ready());
        assert!(ended.told(Poll::Ready(Ok(0)), 1).is_ready());
    }
}
