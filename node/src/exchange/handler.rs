//! One connection: its streams, and the hashing of what comes over them.
//!
//! Streams are one-way, as Kubo uses them. Any number of inbound streams up to [`MAX_INBOUND_STREAMS`] is read at the
//! same time, each for as many messages as it carries. Outbound there are two long-lived streams, opened when first
//! needed: one for wantlists and one for answers, so that a question never waits behind megabytes.
//!
//! What comes is charged to the peer's allowance, and nothing is read while that is used up: see `allowance.rs`.
//!
//! A frame counts against [`INBOUND_BYTES`] from its announcement until its blocks have been hashed and handed on.
//! When that much is under way, nothing more is read, and the peer feels it. All connections together have a room, of
//! which each takes no more than it leaves to others.

mod events;
mod outbound;
mod upgrade;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt as _};
use libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound, StreamUpgradeError,
};
use libp2p::swarm::{ConnectionHandler, ConnectionHandlerEvent, Stream, SubstreamProtocol};
use tokio::task::JoinHandle;
use tokio::time::Sleep;

use super::allowance::{ANSWER, Allowance, CANCEL, MESSAGE, REPLACE, STREAM, WANT};
use super::frame::FrameReader;
use super::message::{Received, Version};
use super::wantlist::Wantlist;
use crate::block::Block;
use crate::room::{LOOK_AGAIN, Share};
pub(super) use events::{Checked, FromBehaviour, Lane, Parcel, ToBehaviour};
use outbound::{MAX_STREAM_FAILURES, Out, Outbound};
use upgrade::Bitswap;

/// The most streams read at the same time on one connection; further ones are reset. Kubo opens one for each message
/// and does not wait for it to be read, so a burst of small blocks comes on hundreds. Well below the number of streams
/// at which the swarm ends a connection, because other protocols need some too.
const MAX_INBOUND_STREAMS: usize = 480;
/// The most bytes of frames under way inwards on one connection.
pub(super) const INBOUND_BYTES: usize = 16 << 20;
/// Messages with fewer bytes of blocks are hashed on the connection's own task.
const HASH_HERE_BELOW: usize = 32 << 10;
/// The same for the number of blocks.
const HASH_HERE_COUNT: usize = 64;
/// How many hashing jobs one connection runs beside its own task.
const MAX_HASHING: usize = 8;
/// How often frames under way are looked at. One of which less than [`MOVED_BYTES`] has come since, or nothing could be
/// written, is given up.
const STALLED: Duration = Duration::from_secs(30);
/// See [`STALLED`]: a hundredth of what a bad telephone line carries.
const MOVED_BYTES: usize = 4 << 10;
/// How often a large message on its way in is reported…
const PROGRESS_EVERY: Duration = Duration::from_millis(500);
/// …if at least this much has come since, so that nobody passes for alive by a byte now and then.
const PROGRESS_BYTES: usize = 2 << 10;

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

#[derive(Debug)]
struct Inbound {
    stream: Stream,
    reader: FrameReader,
    /// Whether the bytes of the frame under way have been charged.
    charged: bool,
    /// What had come of the frame when that was looked at last; nothing of one that began later.
    filled: Option<usize>,
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
    look_again: Option<Pin<Box<Sleep>>>,
    allowance: Arc<Allowance>,
    /// Set while nothing is read because the peer has used up its allowance.
    held: Option<Pin<Box<Sleep>>>,
    /// Set while frames are under way, in either direction.
    watch: Option<Pin<Box<Sleep>>>,
    keep_alive: bool,
    last_progress: Option<Instant>,
    /// Bytes of large messages that have come since.
    progress: usize,
    waker: Option<Waker>,
}

impl Handler {
    pub(super) fn new(
        hashing_everywhere: Hashing,
        max_hashing_everywhere: usize,
        share: Share,
        allowance: Arc<Allowance>,
    ) -> Self {
        Self {
            inbound: Vec::new(),
            outbound: Default::default(),
            events: VecDeque::new(),
            hashing: FuturesUnordered::new(),
            hashing_everywhere,
            max_hashing_everywhere,
            share,
            look_again: None,
            allowance,
            held: None,
            watch: None,
            keep_alive: false,
            last_progress: None,
            progress: 0,
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
        self.allowance.charge(cost(&received), Instant::now());
        let payload: usize = received.payloads.iter().map(|payload| payload.len()).sum();
        let crowded = self.hashing.len() >= MAX_HASHING
            || self.hashing_everywhere.load(Ordering::Relaxed) >= self.max_hashing_everywhere;
        let small = payload < HASH_HERE_BELOW && received.payloads.len() < HASH_HERE_COUNT;
        if small || crowded {
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
        if !checked.is_empty() {
            self.events.push_back(ToBehaviour::Received(checked));
        }
    }

    fn poll_hashing(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(checked)) = self.hashing.poll_next_unpin(cx) {
            match checked {
                Ok(checked) => self.deliver(checked),
                Err(error) => tracing::error!(%error, "hashing a message failed"),
            }
        }
    }

    /// Whether more may be read now. If not, the task is woken when it may.
    fn may_read(&mut self, cx: &mut Context<'_>) -> bool {
        loop {
            let Some(until) = self.allowance.held_until(Instant::now(), cx) else {
                self.held = None;
                return true;
            };
            let held = self
                .held
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until.into())));
            held.as_mut().reset(until.into());
            if held.as_mut().poll(cx).is_pending() {
                return false;
            }
        }
    }

    /// Reads every stream until it has nothing more, or enough has come.
    fn poll_inbound(&mut self, cx: &mut Context<'_>) {
        let mut index = 0;
        while index < self.inbound.len() {
            if self.events.len() >= MAX_HASHING || !self.may_read(cx) {
                return;
            }
            let Some(inbound) = self.inbound.get_mut(index) else {
                return;
            };
            let before = inbound.reader.filled();
            let left = self.share.left();
            let mut budget = left;
            let read = inbound
                .reader
                .poll_frame(Pin::new(&mut inbound.stream), cx, &mut budget);
            self.share.take(left - budget);
            // A frame is charged when its memory is set aside, so that one that never ends has its price, too.
            let len = match &read {
                Poll::Ready(Ok(Some(frame))) => frame.len(),
                _ => inbound.reader.reserved(),
            };
            if len > 0 && !inbound.charged {
                inbound.charged = true;
                self.allowance.charge(len, Instant::now());
            }
            match read {
                Poll::Ready(Ok(Some(frame))) => {
                    (inbound.charged, inbound.filled) = (false, None);
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
                    let came = inbound.reader.filled().saturating_sub(before);
                    if before > 0 && inbound.reader.reserved() > 0 {
                        self.report_progress(came);
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

    fn report_progress(&mut self, bytes: usize) {
        let now = Instant::now();
        let last = *self.last_progress.get_or_insert(now);
        self.progress = self.progress.saturating_add(bytes);
        if self.progress >= PROGRESS_BYTES && now.saturating_duration_since(last) >= PROGRESS_EVERY {
            (self.last_progress, self.progress) = (Some(now), 0);
            self.events.push_back(ToBehaviour::Progress);
        }
    }

    /// Gives up frames that have not moved for a while, so that nobody keeps a connection, its memory or what others
    /// could be sent by a frame without an end.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) {
        let under_way = self.inbound.iter().any(|inbound| inbound.reader.is_within_frame())
            || self.outbound.iter().any(Outbound::is_writing);
        if !under_way {
            self.watch = None;
            return;
        }
        let watch = self.watch.get_or_insert_with(|| Box::pin(tokio::time::sleep(STALLED)));
        if watch.as_mut().poll(cx).is_pending() {
            return;
        }
        // While the peer is held back it is not its fault that nothing comes.
        let held = self.held.is_some();
        for index in (0..self.inbound.len()).rev() {
            let Some(inbound) = self.inbound.get_mut(index) else {
                continue;
            };
            let filled = inbound.reader.filled();
            let waits_for_us = held || inbound.reader.waits_for_budget();
            let stalled = inbound.filled.is_some_and(|before| filled < before + MOVED_BYTES);
            if stalled && !waits_for_us {
                tracing::debug!("resetting a stream with a message that does not end");
                self.close_inbound(index);
            } else {
                inbound.filled = inbound.reader.is_within_frame().then_some(filled);
            }
        }
        for outbound in &mut self.outbound {
            outbound.give_up_if_stalled(&mut self.events);
        }
        watch_again(&mut self.watch, cx);
    }
}

/// Has the task woken when frames are to be looked at again.
fn watch_again(watch: &mut Option<Pin<Box<Sleep>>>, cx: &mut Context<'_>) {
    let mut next = Box::pin(tokio::time::sleep(STALLED));
    // It has only just begun; polled, it knows the task.
    if next.as_mut().poll(cx).is_ready() {
        cx.waker().wake_by_ref();
    }
    *watch = Some(next);
}

/// What a message costs beside its bytes.
fn cost(message: &Received) -> usize {
    let cancels = message.entries.iter().filter(|entry| entry.cancel).count();
    let wants = message.entries.len() - cancels;
    let answers = message.presences.len() + message.payloads.len();
    let list = wants * WANT + cancels * CANCEL + if message.full { REPLACE } else { 0 };
    MESSAGE + list + answers * ANSWER
}

/// Cuts the wantlist of a message and hashes its blocks.
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
        wantlist: Wantlist::new(full, entries),
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
                self.allowance.charge(STREAM, Instant::now());
                self.inbound.push(Inbound {
                    stream: protocol.stream,
                    reader: FrameReader::default(),
                    charged: false,
                    filled: None,
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
        for (lane, outbound) in self.outbound.iter_mut().enumerate() {
            if outbound.poll(&mut self.events, cx) {
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
        self.poll_stalled(cx);
        match self.events.pop_front() {
            Some(event) => Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(event)),
            None => {
                self.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
