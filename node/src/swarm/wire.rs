//! What lies between a socket and its encryption: reads of many frames at once.
//!
//! Noise of libp2p reads 8 KiB at a time from what it is given, a system call each. Through a buffer it takes from memory
//! what the kernel had for it in one go. Only connections on which much arrives have a buffer, and while it does: most carry a
//! question now and then, and a peer has hundreds.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::io::{AsyncRead, AsyncWrite};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};

/// What is read from a socket at once with a buffer, at least and at most. What fills it once has it grow.
const FIRST_READ_BYTES: usize = 16 << 10;
const LARGEST_READ_BYTES: usize = 256 << 10;
/// By how much it grows.
const GROWTH: usize = 4;
/// After so many reads in a row that would have done without it, the buffer is let go.
const SMALL_READS: u32 = 32;

/// An upgrade to an encrypted connection, which reads from its socket through a buffer.
#[derive(Debug, Clone)]
pub(super) struct Buffered<U>(pub(super) U);

/// A socket, and what was read from it at once.
pub(super) struct Reader<S> {
    socket: S,
    /// Empty while little arrives.
    buffer: Vec<u8>,
    /// The part of it that was not taken yet.
    from: usize,
    to: usize,
    /// Reads in a row of no more than was asked for.
    small: u32,
}

impl<S> Reader<S> {
    fn new(socket: S) -> Self {
        Self {
            socket,
            buffer: Vec::new(),
            from: 0,
            to: 0,
            small: 0,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Reader<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.from == this.to {
            if this.small >= SMALL_READS {
                this.buffer = Vec::new();
            }
            if this.buffer.is_empty() {
                let count = ready!(Pin::new(&mut this.socket).poll_read(cx, into))?;
                if count == into.len() && count > 0 {
                    // There is more, most likely.
                    (this.buffer, this.small) = (vec![0; FIRST_READ_BYTES], 0);
                }
                return Poll::Ready(Ok(count));
            }
            if this.to == this.buffer.len() && this.buffer.len() < LARGEST_READ_BYTES {
                this.buffer = vec![0; GROWTH * this.buffer.len()];
            }
            (this.from, this.to) = (0, 0);
            this.to = ready!(Pin::new(&mut this.socket).poll_read(cx, &mut this.buffer))?;
            this.small = if this.to < into.len() { this.small + 1 } else { 0 };
        }
        let waiting = this.buffer.get(this.from..this.to).unwrap_or_default();
        let count = waiting.len().min(into.len());
        let (Some(into), Some(waiting)) = (into.get_mut(..count), waiting.get(..count)) else {
            return Poll::Ready(Ok(0));
        };
        into.copy_from_slice(waiting);
        this.from += count;
        Poll::Ready(Ok(count))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Reader<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, pieces)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx)
    }
}

impl<U: UpgradeInfo> UpgradeInfo for Buffered<U> {
    type Info = U::Info;
    type InfoIter = U::InfoIter;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.protocol_info()
    }
}

impl<C, U: InboundConnectionUpgrade<Reader<C>>> InboundConnectionUpgrade<C> for Buffered<U> {
    type Output = U::Output;
    type Error = U::Error;
    type Future = U::Future;

    fn upgrade_inbound(self, socket: C, info: Self::Info) -> Self::Future {
        self.0.upgrade_inbound(Reader::new(socket), info)
    }
}

impl<C, U: OutboundConnectionUpgrade<Reader<C>>> OutboundConnectionUpgrade<C> for Buffered<U> {
    type Output = U::Output;
    type Error = U::Error;
    type Future = U::Future;

    fn upgrade_outbound(self, socket: C, info: Self::Info) -> Self::Future {
        self.0.upgrade_outbound(Reader::new(socket), info)
    }
}

#[cfg(test)]
mod tests {
    use futures::io::{AsyncReadExt as _, Cursor};

    use super::*;

    /// What arrives in pieces, each by a read of its own.
    struct Pieces(Vec<Vec<u8>>);

    impl AsyncRead for Pieces {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
            let Some(piece) = self.0.pop() else {
                return Poll::Ready(Ok(0));
            };
            into[..piece.len()].copy_from_slice(&piece);
            Poll::Ready(Ok(piece.len()))
        }
    }

    #[tokio::test]
    async fn a_buffer_grows_with_what_arrives_and_gives_it_as_it_was() {
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
        let mut reader = Reader::new(Cursor::new(bytes.clone()));
        let mut first = [0; 3];
        reader.read_exact(&mut first).await.unwrap();
        assert_eq!(reader.buffer.len(), FIRST_READ_BYTES);
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).await.unwrap();
        assert!([&first[..], &rest].concat() == bytes);
        assert_eq!(reader.buffer.len(), LARGEST_READ_BYTES, "and no more");
    }

    #[tokio::test]
    async fn a_connection_on_which_little_arrives_has_no_buffer() {
        let mut into = [0; 64];
        let mut pieces = vec![vec![7; 63]; 2 * SMALL_READS as usize];
        let mut quiet = Reader::new(Pieces(pieces.clone()));
        while quiet.read(&mut into).await.unwrap() > 0 {
            assert!(quiet.buffer.is_empty());
        }
        // Nor one on which no more than that has come for a while.
        pieces.push(vec![7; 64]);
        let mut reader = Reader::new(Pieces(pieces));
        assert_eq!(reader.read(&mut into).await.unwrap(), into.len());
        assert_eq!(reader.buffer.len(), FIRST_READ_BYTES);
        let mut after = 0;
        while !reader.buffer.is_empty() {
            after += reader.read(&mut into).await.unwrap().min(1);
        }
        assert_eq!(after, 1 + SMALL_READS as usize);
    }
}
