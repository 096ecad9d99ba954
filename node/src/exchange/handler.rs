//! One connection: its streams, and the hashing of what comes over them.
//!
//! Streams are one-way, as Kubo uses them. Any number of inbound streams up to [`MAX_INBOUND_STREAMS`] is read at the
//! same time, each for as many messages as it carries. Outbound there are two long-lived streams, opened when first
//! needed: one for wantlists and one for answers, so that a question never waits behind megabytes.
//!
//! A frame counts against [`INBOUND_BYTES`] from its announcement until its blocks have been hashed and handed on.
//! When that much is under way, nothing more is read, and the peer feels it. All connections together have a room, of
//! which each takes no more than it leaves to others.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cid::Cid;
use futures::AsyncWrite as _;
use futures::future::{Ready, ready};
use futures::stream::{FuturesUnordered, StreamExt as _};
use libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound, StreamUpgradeError,
};
use libp2p::swarm::{ConnectionHandler, ConnectionHandlerEvent, Stream, StreamProtocol, SubstreamProtocol};
use tokio::task::JoinHandle;

use super::frame::{FrameReader, FrameWriter};
use super::message::{Message, Presence, Received, Version, WantlistEntry};
use crate::block::Block;
use crate::room::{LOOK_AGAIN, Share};

/// The protocols spoken, preferred first.
const PROTOCOLS: [(StreamProtocol, Version); 4] = [
    (StreamProtocol::new("/ipfs/bitswap/1.2.0"), Version::V1_2),
    (StreamProtocol::new("/ipfs/bitswap/1.1.0"), Version::V1_1),
    (StreamProtocol::new("/ipfs/bitswap/1.0.0"), Version::V1_0),
    (StreamProtocol::new("/ipfs/bitswap"), Version::V1_0),
];
/// The most streams read at the same time on one connection; further ones are reset. Kubo opens one for each message
/// and does not wait for it to be read, so a burst of small blocks comes on hundreds. Well below the number of streams
/// at which the swarm ends a connection, because other protocols need some too.
const MAX_INBOUND_STREAMS: usize = 480;
/// The most bytes of frames under way inwards on one connection.
pub(super) const INBOUND_BYTES: usize = 16 << 20;
/// Messages with fewer bytes of blocks are hashed on the connection's own task.
const HASH_HERE_BELOW: usize = 32 << 10;
/// How many hashing jobs one connection runs beside its own task.
const MAX_HASHING: usize = 8;
/// After this many failures in a row to open or write a stream, its messages are given up.
const MAX_STREAM_FAILURES: u32 = 3;
/// How often a large message on its way in is reported.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// What the behaviour asks of a connection.
#[derive(Debug)]
pub enum FromBehaviour {
    /// Send a message. Answered by [`ToBehaviour::Sent`] or [`ToBehaviour::Lost`].
    #[doc(hidden)]
    Send(Parcel),
    /// Keep the connection, or let it go when it is idle.
    #[doc(hidden)]
    KeepAlive(bool),
}

/// A message and the stream it belongs on.
#[derive(Debug)]
pub struct Parcel {
    pub(super) lane: Lane,
    /// Names the message on its lane.
    pub(super) id: u64,
    pub(super) message: Message,
}

/// Which of the two outbound streams a message takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Wantlists.
    Wants = 0,
    /// Blocks and presences.
    Answers = 1,
}

/// What a connection tells the behaviour.
#[derive(Debug)]
pub enum ToBehaviour {
    /// A message came; its blocks have been hashed.
    #[doc(hidden)]
    Received(Checked),
    /// A large message is on its way in.
    #[doc(hidden)]
    Progress,
    /// A message has been written.
    #[doc(hidden)]
    Sent(Ticket),
    /// A message could not be written.
    #[doc(hidden)]
    Lost(Ticket),
    /// The peer speaks Bitswap, with or without HAVE and DONT_HAVE.
    #[doc(hidden)]
    Speaks {
        /// Whether it knows HAVE and DONT_HAVE.
        presences: bool,
    },
    /// The peer does not speak Bitswap.
    #[doc(hidden)]
    Mute,
}

/// Names a message that was handed to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    pub(super) lane: Lane,
    pub(super) id: u64,
}

/// A message whose blocks are under the CIDs of their bytes.
#[derive(Debug, Default)]
pub struct Checked {
    pub(super) full: bool,
    pub(super) entries: Vec<WantlistEntry>,
    pub(super) presences: Vec<(Cid, Presence)>,
    pub(super) blocks: Vec<Block>,
    /// Blocks under a prefix that nobody here can have asked for.
    pub(super) unusable: usize,
    /// Length of the frame.
    bytes: usize,
}

/// Counts hashing jobs of all connections, so that a flood is hashed at the expense of its own connection.
pub(super) type Hashing = Arc<AtomicUsize>;

/// A hashing job that is counted until it ends, whether or not its connection still waits for it.
struct Counted(Hashing);

impl Counted {
    fn new(jobs: &Hashing) -> Self {
        jobs.fetch_add(1, Ordering::Relaxed);
        Self(jobs.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The upgrade of both directions: agrees on a version, and gives the stream.
#[derive(Debug, Clone, Copy)]
pub struct Bitswap;

impl UpgradeInfo for Bitswap {
    type Info = StreamProtocol;
    type InfoIter = std::array::IntoIter<StreamProtocol, 4>;

    fn protocol_info(&self) -> Self::InfoIter {
        PROTOCOLS.map(|(protocol, _)| protocol).into_iter()
    }
}

fn negotiated(stream: Stream, info: &StreamProtocol) -> Negotiated {
    let version = PROTOCOLS
        .iter()
        .find(|(protocol, _)| protocol == info)
        .map_or(Version::V1_0, |(_, version)| *version);
    Negotiated { stream, version }
}

/// A stream and what is spoken on it.
#[derive(Debug)]
pub struct Negotiated {
    stream: Stream,
    version: Version,
}

impl InboundUpgrade<Stream> for Bitswap {
    type Output = Negotiated;
    type Error = std::convert::Infallible;
    type Future = Ready<Result<Negotiated, Self::Error>>;

    fn upgrade_inbound(self, stream: Stream, info: StreamProtocol) -> Self::Future {
        ready(Ok(negotiated(stream, &info)))
    }
}

impl OutboundUpgrade<Stream> for Bitswap {
    type Output = Negotiated;
    type Error = std::convert::Infallible;
    type Future = Ready<Result<Negotiated, Self::Error>>;

    fn upgrade_outbound(self, stream: Stream, info: StreamProtocol) -> Self::Future {
        ready(Ok(negotiated(stream, &info)))
    }
}

#[derive(Debug)]
struct Inbound {
    stream: Stream,
    reader: FrameReader,
}

#[derive(Debug, Default)]
enum Out {
    #[default]
    Closed,
    Opening,
    Open(Negotiated),
}

/// One outbound stream and what waits for it.
#[derive(Debug, Default)]
struct Outbound {
    out: Out,
    queue: VecDeque<Parcel>,
    /// What is left of the queue's first message.
    writing: Option<FrameWriter>,
    unflushed: bool,
    failures: u32,
}

/// See the module documentation.
#[derive(Debug)]
pub struct Handler {
    inbound: Vec<Inbound>,
    outbound: [Outbound; 2],
    events: VecDeque<ToBehaviour>,
    hashing: FuturesUnordered<JoinHandle<Checked>>,
    hashing_everywhere: Hashing,
    max_hashing_everywhere: usize,
    /// What may be under way inwards; [`INBOUND_BYTES`] at most.
    share: Share,
    /// Set while a frame waits for room that others hold: it wakes nobody when they give it back.
    look_again: Option<Pin<Box<tokio::time::Sleep>>>,
    keep_alive: bool,
    last_progress: Option<Instant>,
    waker: Option<Waker>,
}

impl Handler {
    pub(super) fn new(hashing_everywhere: Hashing, max_hashing_everywhere: usize, share: Share) -> Self {
        Self {
            inbound: Vec::new(),
            outbound: Default::default(),
            events: VecDeque::new(),
            hashing: FuturesUnordered::new(),
            hashing_everywhere,
            max_hashing_everywhere,
            share,
            look_again: None,
            keep_alive: false,
            last_progress: None,
            waker: None,
        }
    }

    /// Takes a frame apart, and has its blocks hashed here or on another thread.
    fn take_frame(&mut self, frame: Bytes) -> Result<(), super::message::MessageError> {
        let bytes = frame.len();
        let received = match Received::decode(&frame) {
            Ok(received) => received,
            Err(error) => {
                self.share.give(bytes);
                return Err(error);
            }
        };
        drop(frame);
        let payload: usize = received.payloads.iter().map(|payload| payload.len()).sum();
        let crowded = self.hashing.len() >= MAX_HASHING
            || self.hashing_everywhere.load(Ordering::Relaxed) >= self.max_hashing_everywhere;
        if payload < HASH_HERE_BELOW || crowded {
            let checked = check(received, bytes);
            self.deliver(checked);
        } else {
            let counted = Counted::new(&self.hashing_everywhere);
            self.hashing.push(tokio::task::spawn_blocking(move || {
                let checked = check(received, bytes);
                drop(counted);
                checked
            }));
        }
        Ok(())
    }

    fn deliver(&mut self, checked: Checked) {
        self.share.give(checked.bytes);
        self.events.push_back(ToBehaviour::Received(checked));
    }

    fn poll_hashing(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(checked)) = self.hashing.poll_next_unpin(cx) {
            match checked {
                Ok(checked) => self.deliver(checked),
                Err(error) => tracing::error!(%error, "hashing a message failed"),
            }
        }
    }

    /// Reads every stream until it has nothing more, or enough has come.
    fn poll_inbound(&mut self, cx: &mut Context<'_>) {
        let mut index = 0;
        while let Some(inbound) = self.inbound.get_mut(index) {
            if self.events.len() >= MAX_HASHING {
                return;
            }
            let before = inbound.reader.is_within_frame();
            let left = self.share.left();
            let mut budget = left;
            let frame = inbound
                .reader
                .poll_frame(Pin::new(&mut inbound.stream), cx, &mut budget);
            self.share.take(left - budget);
            match frame {
                Poll::Ready(Ok(Some(frame))) => {
                    if let Err(error) = self.take_frame(frame) {
                        tracing::debug!(%error, "resetting a stream with a bad message");
                        self.close_inbound(index);
                    }
                }
                Poll::Ready(Ok(None)) => self.close_inbound(index),
                Poll::Ready(Err(error)) => {
                    tracing::debug!(%error, "a stream failed");
                    self.close_inbound(index);
                }
                Poll::Pending => {
                    if before && inbound.reader.reserved() > 0 {
                        self.report_progress();
                    }
                    index += 1;
                }
            }
        }
    }

    /// Whether a frame waits for room and the streams are to be looked at again now. If not, the task is woken for that.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.inbound.iter().any(|inbound| inbound.reader.waits_for_budget()) {
            self.look_again = None;
            return false;
        }
        let again = self
            .look_again
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(LOOK_AGAIN)));
        let now = again.as_mut().poll(cx).is_ready();
        if now {
            self.look_again = None;
        }
        now
    }

    fn close_inbound(&mut self, index: usize) {
        let inbound = self.inbound.swap_remove(index);
        self.share.give(inbound.reader.reserved());
    }

    fn report_progress(&mut self) {
        let now = Instant::now();
        let last = *self.last_progress.get_or_insert(now);
        if now.saturating_duration_since(last) >= PROGRESS_EVERY {
            self.last_progress = Some(now);
            self.events.push_back(ToBehaviour::Progress);
        }
    }

    /// Writes what waits on one lane. Returns whether a stream must be opened for it.
    fn poll_outbound(&mut self, lane: usize, cx: &mut Context<'_>) -> bool {
        let Some(outbound) = self.outbound.get_mut(lane) else {
            return false;
        };
        while let Out::Open(open) = &mut outbound.out {
            let mut stream = Pin::new(&mut open.stream);
            let Some(parcel) = outbound.queue.front() else {
                if outbound.unflushed {
                    match stream.poll_flush(cx) {
                        Poll::Pending => return false,
                        Poll::Ready(Ok(())) => outbound.unflushed = false,
                        Poll::Ready(Err(_)) => outbound.out = Out::Closed,
                    }
                }
                return false;
            };
            let writer = outbound
                .writing
                .get_or_insert_with(|| FrameWriter::new(parcel.message.encode(open.version)));
            match writer.poll_write(stream.as_mut(), cx) {
                Poll::Pending => return false,
                Poll::Ready(Ok(())) => {
                    (outbound.writing, outbound.unflushed, outbound.failures) = (None, true, 0);
                    if let Some(parcel) = outbound.queue.pop_front() {
                        self.events.push_back(ToBehaviour::Sent(parcel.ticket()));
                    }
                }
                Poll::Ready(Err(error)) => {
                    tracing::debug!(%error, "an outbound stream failed");
                    outbound.fail(&mut self.events);
                }
            }
        }
        if matches!(outbound.out, Out::Closed) && !outbound.queue.is_empty() {
            outbound.out = Out::Opening;
            return true;
        }
        false
    }
}

impl Parcel {
    fn ticket(&self) -> Ticket {
        Ticket {
            lane: self.lane,
            id: self.id,
        }
    }
}

impl Outbound {
    /// The stream is gone. The message on it is sent again on the next one, unless that has failed too often.
    fn fail(&mut self, events: &mut VecDeque<ToBehaviour>) {
        (self.out, self.writing, self.unflushed) = (Out::Closed, None, false);
        self.failures += 1;
        if self.failures >= MAX_STREAM_FAILURES {
            self.failures = 0;
            events.extend(self.queue.drain(..).map(|parcel| ToBehaviour::Lost(parcel.ticket())));
        }
    }
}

/// Hashes the blocks of a message.
fn check(received: Received, bytes: usize) -> Checked {
    let Received {
        full,
        entries,
        payloads,
        presences,
        ..
    } = received;
    let count = payloads.len();
    let blocks: Vec<Block> = payloads
        .into_iter()
        .filter_map(|payload| payload.into_block(bytes))
        .collect();
    Checked {
        full,
        entries,
        presences,
        unusable: count - blocks.len(),
        blocks,
        bytes,
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = FromBehaviour;
    type ToBehaviour = ToBehaviour;
    type InboundProtocol = Bitswap;
    type OutboundProtocol = Bitswap;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = usize;

    fn listen_protocol(&self) -> SubstreamProtocol<Bitswap> {
        SubstreamProtocol::new(Bitswap, ())
    }

    fn connection_keep_alive(&self) -> bool {
        self.keep_alive
            || !self.hashing.is_empty()
            || self.outbound.iter().any(|outbound| !outbound.queue.is_empty())
            || self.inbound.iter().any(|inbound| inbound.reader.is_within_frame())
    }

    fn on_behaviour_event(&mut self, event: FromBehaviour) {
        match event {
            FromBehaviour::KeepAlive(keep_alive) => self.keep_alive = keep_alive,
            FromBehaviour::Send(parcel) => {
                if let Some(outbound) = self.outbound.get_mut(parcel.lane as usize) {
                    outbound.queue.push_back(parcel);
                }
            }
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Bitswap, Bitswap, (), usize>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { mut protocol, .. })
                if self.inbound.len() < MAX_INBOUND_STREAMS =>
            {
                protocol.stream.ignore_for_keep_alive();
                self.inbound.push(Inbound {
                    stream: protocol.stream,
                    reader: FrameReader::default(),
                });
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { mut protocol, info }) => {
                protocol.stream.ignore_for_keep_alive();
                self.events.push_back(ToBehaviour::Speaks {
                    presences: protocol.version >= Version::V1_2,
                });
                if let Some(outbound) = self.outbound.get_mut(info) {
                    outbound.out = Out::Open(protocol);
                }
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                tracing::debug!(%error, "an outbound stream could not be opened");
                let mute = matches!(error, StreamUpgradeError::NegotiationFailed);
                if let Some(outbound) = self.outbound.get_mut(info) {
                    if mute {
                        outbound.failures = MAX_STREAM_FAILURES;
                    }
                    outbound.fail(&mut self.events);
                }
                if mute {
                    self.events.push_back(ToBehaviour::Mute);
                }
            }
            _ => {}
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Bitswap, usize, ToBehaviour>> {
        if let Some(event) = self.events.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(event));
        }
        for lane in 0..self.outbound.len() {
            if self.poll_outbound(lane, cx) {
                let protocol = SubstreamProtocol::new(Bitswap, lane);
                return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
            }
        }
        self.poll_hashing(cx);
        self.poll_inbound(cx);
        while self.poll_room(cx) {
            self.poll_inbound(cx);
        }
        if !self.hashing.is_empty() {
            // A job begun just now must have this task woken.
            self.poll_hashing(cx);
        }
        match self.events.pop_front() {
            Some(event) => Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(event)),
            None => {
                self.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
