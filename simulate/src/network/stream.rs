//! One connection: bytes that arrive later than they were sent, in order.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use futures::io::{AsyncRead, AsyncWrite};
use tokio::time::Sleep;

use super::flow::{Half, lock};
use super::{Network, Passage};

/// What may be on its way in one direction.
const WINDOW: usize = 256 << 10;

/// One end of a connection.
pub(super) struct Stream {
    network: Network,
    half: Half,
    /// Until what comes next is here.
    arrival: Option<Pin<Box<Sleep>>>,
}

impl Stream {
    /// This end of a connection over `network`.
    pub(super) fn new(network: Network, half: Half) -> Self {
        Self {
            network,
            half,
            arrival: None,
        }
    }

    fn end_outgoing(&self) {
        let ends = self.network.arrives(self.half.ends[0].0, self.half.ends[1].0);
        let mut flow = lock(&self.half.outgoing);
        flow.ends.get_or_insert(ends);
        flow.reader.take().into_iter().for_each(Waker::wake);
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        loop {
            if let Some(arrival) = &mut this.arrival {
                ready!(arrival.as_mut().poll(cx));
                this.arrival = None;
            }
            let mut flow = lock(&this.half.incoming);
            let due = flow.pieces.front().map(|(at, _)| *at).or(flow.ends);
            let Some(due) = due else {
                flow.reader = Some(cx.waker().clone());
                return Poll::Pending;
            };
            if due > Instant::now() {
                drop(flow);
                this.arrival = Some(Box::pin(tokio::time::sleep_until(due.into())));
                continue;
            }
            let passage = this.network.is_open(this.half.ends, flow.is_closed, cx.waker());
            if passage != Passage::Open {
                return Poll::Pending;
            }
            let count = flow.take(buffer, Instant::now());
            flow.writer.take().into_iter().for_each(Waker::wake);
            return Poll::Ready(Ok(count));
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let arrives = self.network.arrives(self.half.ends[0].0, self.half.ends[1].0);
        let mut flow = lock(&self.half.outgoing);
        if flow.unread || flow.ends.is_some() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = WINDOW.saturating_sub(flow.bytes).min(bytes.len());
        if count == 0 {
            flow.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        // In order: one that was lost holds up those behind it.
        let at = flow.pieces.back().map_or(arrives, |(last, _)| arrives.max(*last));
        flow.pieces.push_back((at, bytes[..count].to_vec()));
        flow.bytes += count;
        flow.reader.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end_outgoing();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.end_outgoing();
        let mut flow = lock(&self.half.incoming);
        flow.unread = true;
        flow.writer.take().into_iter().for_each(Waker::wake);
    }
}
