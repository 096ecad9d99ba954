//! How many bytes a second all connections together carry, either way.
//!
//! What is counted is what streams carry: on every transport that is the same place, and a connection through a relay is counted
//! once, as part of the connection to the relay. Handshakes and the frames around streams come on top, some percent of a
//! transfer.
//!
//! A way ([`Meter`]) is a clock that runs ahead: each byte moves the time from which on the next one may follow. Nobody waits
//! for bytes that are not there: who has read or written something moves the clock, and waits for it before the next
//! portion. So of many connections with much to say each has a [portion](Meter::portion) in turn, however many streams it has, and
//! whoever says little never waits for more than one. The streams of a connection share its portion ([`Lane`]).

#[cfg(test)]
mod tests;

use std::io;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::io::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerEvent};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::threads::lock;

/// What may be carried at once after a time in which less was said than could have been. Timers are late by a millisecond or
/// two, which this makes good.
const CREDIT: Duration = Duration::from_millis(100);
/// What a connection carries at once: what takes this part of a second, within bounds. With ninety connections that all have
/// much to say each has its turn every one and a half seconds, and none is taken for dead.
const PORTIONS_A_SECOND: u64 = 64;
const LEAST_PORTION: u64 = 1 << 10;
const MOST_PORTION: u64 = 64 << 10;
const NANOS_A_SECOND: u64 = 1_000_000_000;
/// What a stream carries at once at least, of however many in its connection.
const LEAST_OF_STREAM: usize = 64;

/// How much a peer may send and receive. Clones share one allowance, so that several peers of a process keep to it together.
#[derive(Debug, Clone, Default)]
pub struct Bandwidth {
    up: Option<Meter>,
    down: Option<Meter>,
}

impl Bandwidth {
    /// The least that can be asked for, in bytes a second: with less, peers take a busy connection for a dead one.
    pub const LEAST: NonZeroU64 = match NonZeroU64::new(16_000) {
        Some(least) => least,
        None => NonZeroU64::MIN,
    };

    /// Bytes a second sent, and received; `None` is without a limit. Less than [`Self::LEAST`] counts as that.
    pub fn new(up: Option<NonZeroU64>, down: Option<NonZeroU64>) -> Self {
        let meter = |rate: Option<NonZeroU64>| rate.map(|rate| Meter::new(rate.max(Self::LEAST).get()));
        Self {
            up: meter(up),
            down: meter(down),
        }
    }

    /// The same connection within this bandwidth; untouched where there is no limit.
    pub(super) fn limit(&self, connection: StreamMuxerBox) -> StreamMuxerBox {
        if self.up.is_none() && self.down.is_none() {
            return connection;
        }
        let lane = |meter: &Option<Meter>| meter.clone().map(|meter| Arc::new(Mutex::new(Lane::new(meter))));
        StreamMuxerBox::new(Limited {
            connection,
            up: lane(&self.up),
            down: lane(&self.down),
        })
    }
}

/// One way, for all connections.
#[derive(Debug, Clone)]
struct Meter {
    /// Bytes a second.
    rate: u64,
    /// From when on more may follow.
    free_at: Arc<Mutex<Instant>>,
}

impl Meter {
    fn new(rate: u64) -> Self {
        Self {
            rate,
            free_at: Arc::new(Mutex::new(Instant::now())),
        }
    }

    /// Bytes of one turn.
    fn portion(&self) -> usize {
        let portion = (self.rate / PORTIONS_A_SECOND).clamp(LEAST_PORTION, MOST_PORTION);
        usize::try_from(portion).unwrap_or(usize::MAX)
    }

    /// From when on a connection that comes now may say something.
    fn free_at(&self) -> Instant {
        *lock(&self.free_at)
    }

    /// Says that `bytes` were carried. Gives the time from which on more may follow.
    fn carried(&self, bytes: usize, now: Instant) -> Instant {
        let nanos = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(NANOS_A_SECOND);
        let takes = Duration::from_nanos(nanos / self.rate);
        let mut free_at = lock(&self.free_at);
        let credit = now.checked_sub(CREDIT).unwrap_or(now);
        *free_at = (*free_at).max(credit) + takes;
        *free_at
    }
}

/// One way of one connection.
struct Lane {
    meter: Meter,
    /// When its next turn begins.
    next: Instant,
    /// Which turn this is, and what is left of its portion.
    turn: u64,
    left: usize,
    /// Streams that wait for a turn.
    waiting: usize,
}

impl Lane {
    fn new(meter: Meter) -> Self {
        Self {
            // After all that others have said already: a new connection is not a way around the limit.
            next: meter.free_at(),
            meter,
            turn: 0,
            left: 0,
            waiting: 0,
        }
    }

    /// How much a stream may carry that has carried `taken` bytes in the turn that it knows: an even share of the portion, among
    /// those that wait and itself.
    fn share(&mut self, taken: &mut Taken, now: Instant) -> usize {
        if self.next <= now {
            self.turn = self.turn.wrapping_add(1);
            self.left = self.meter.portion();
            self.next = now;
        }
        if taken.turn != self.turn {
            *taken = Taken {
                turn: self.turn,
                bytes: 0,
            };
        }
        let even = (self.meter.portion() / (self.waiting + 1)).max(LEAST_OF_STREAM);
        even.saturating_sub(taken.bytes).min(self.left)
    }
}

/// What a stream has carried in a turn.
#[derive(Default)]
struct Taken {
    turn: u64,
    bytes: usize,
}

/// One way of one stream.
struct Pace {
    lane: Arc<Mutex<Lane>>,
    taken: Taken,
    /// The timer, while the stream waits.
    waits: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    fn new(lane: &Arc<Mutex<Lane>>) -> Self {
        Self {
            lane: lane.clone(),
            taken: Taken::default(),
            waits: None,
        }
    }

    /// How many bytes may be carried now: some.
    fn poll_share(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        loop {
            let mut lane = lock(&self.lane);
            // Whoever waits is one of those who share, and counts itself.
            lane.waiting -= usize::from(self.waits.is_some());
            let share = lane.share(&mut self.taken, Instant::now());
            if share > 0 {
                self.waits = None;
                return Poll::Ready(share);
            }
            lane.waiting += 1;
            let next = lane.next;
            drop(lane);
            let timer = self.waits.get_or_insert_with(|| Box::pin(sleep_until(next)));
            if timer.deadline() != next {
                timer.as_mut().reset(next);
            }
            ready!(timer.as_mut().poll(cx));
        }
    }

    fn carried(&mut self, bytes: usize) {
        let mut lane = lock(&self.lane);
        self.taken.bytes += bytes;
        lane.left = lane.left.saturating_sub(bytes);
        lane.next = lane.meter.carried(bytes, Instant::now());
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        lock(&self.lane).waiting -= usize::from(self.waits.is_some());
    }
}

/// A connection within a bandwidth.
struct Limited {
    connection: StreamMuxerBox,
    up: Option<Arc<Mutex<Lane>>>,
    down: Option<Arc<Mutex<Lane>>>,
}

type Inner = <StreamMuxerBox as StreamMuxer>::Substream;

impl Limited {
    fn stream(&self, stream: Inner) -> Stream {
        Stream {
            stream,
            up: self.up.as_ref().map(Pace::new),
            down: self.down.as_ref().map(Pace::new),
        }
    }
}

impl StreamMuxer for Limited {
    type Substream = Stream;
    type Error = io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        let stream = ready!(Pin::new(&mut self.connection).poll_inbound(cx))?;
        Poll::Ready(Ok(self.stream(stream)))
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        let stream = ready!(Pin::new(&mut self.connection).poll_outbound(cx))?;
        Poll::Ready(Ok(self.stream(stream)))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_close(cx)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        Pin::new(&mut self.connection).poll(cx)
    }
}

/// One stream of such a connection.
struct Stream {
    stream: Inner,
    up: Option<Pace>,
    down: Option<Pace>,
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let Some(pace) = &mut this.down else {
            return Pin::new(&mut this.stream).poll_read(cx, buffer);
        };
        let share = ready!(pace.poll_share(cx)).min(buffer.len());
        let read = ready!(Pin::new(&mut this.stream).poll_read(cx, buffer.get_mut(..share).unwrap_or_default()))?;
        pace.carried(read);
        Poll::Ready(Ok(read))
    }
}

impl AsyncWrite for Stream {
    // Several buffers are written one by one, as by default: a portion is seldom more than one.
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let Some(pace) = &mut this.up else {
            return Pin::new(&mut this.stream).poll_write(cx, buffer);
        };
        let share = ready!(pace.poll_share(cx)).min(buffer.len());
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, buffer.get(..share).unwrap_or_default()))?;
        pace.carried(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}
