//! One outbound stream and what waits for it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::AsyncWrite as _;

use super::events::{Parcel, ToBehaviour};
use super::upgrade::Negotiated;
use crate::exchange::frame::FrameWriter;

/// After this many failures in a row to open or write a stream, its messages are given up.
pub(super) const MAX_STREAM_FAILURES: u32 = 3;

#[derive(Debug, Default)]
pub(super) enum Out {
    #[default]
    Closed,
    Opening,
    Open(Negotiated),
}

/// One outbound stream and what waits for it.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    pub(super) out: Out,
    pub(super) queue: VecDeque<Parcel>,
    /// What is left of the queue's first message.
    writing: Option<FrameWriter>,
    unflushed: bool,
    pub(super) failures: u32,
    /// What was left of the message being written when that was looked at last.
    left: usize,
}

impl Outbound {
    /// The stream is gone. The message on it is sent again on the next one, unless that has failed too often.
    pub(super) fn fail(&mut self, events: &mut VecDeque<ToBehaviour>) {
        (self.out, self.writing, self.unflushed) = (Out::Closed, None, false);
        self.failures += 1;
        if self.failures >= MAX_STREAM_FAILURES {
            self.failures = 0;
            events.extend(self.queue.drain(..).map(|parcel| ToBehaviour::Lost(parcel.ticket())));
        }
    }

    /// Whether a message is being written.
    pub(super) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// Gives everything up if nothing has been written of a message since this was called last.
    pub(super) fn give_up_if_stalled(&mut self, events: &mut VecDeque<ToBehaviour>) {
        let left = self.writing.as_ref().map_or(0, FrameWriter::left);
        if left > 0 && left == self.left {
            tracing::debug!("resetting a stream on which the peer reads nothing");
            (self.left, self.failures) = (0, MAX_STREAM_FAILURES);
            self.fail(events);
        } else {
            self.left = left;
        }
    }

    /// Writes what waits. Returns whether a stream must be opened for it.
    pub(super) fn poll(&mut self, events: &mut VecDeque<ToBehaviour>, cx: &mut Context<'_>) -> bool {
        while let Out::Open(open) = &mut self.out {
            let mut stream = Pin::new(&mut open.stream);
            let Some(parcel) = self.queue.front() else {
                if self.unflushed {
                    match stream.poll_flush(cx) {
                        Poll::Pending => return false,
                        Poll::Ready(Ok(())) => self.unflushed = false,
                        Poll::Ready(Err(_)) => self.out = Out::Closed,
                    }
                }
                return false;
            };
            let writer = self
                .writing
                .get_or_insert_with(|| FrameWriter::new(parcel.message.encode(open.version)));
            match writer.poll_write(stream.as_mut(), cx) {
                Poll::Pending => return false,
                Poll::Ready(Ok(())) => {
                    (self.writing, self.unflushed, self.failures) = (None, true, 0);
                    if let Some(parcel) = self.queue.pop_front() {
                        events.push_back(ToBehaviour::Sent(parcel.ticket()));
                    }
                }
                Poll::Ready(Err(error)) => {
                    tracing::debug!(%error, "an outbound stream failed");
                    self.fail(events);
                }
            }
        }
        if matches!(self.out, Out::Closed) && !self.queue.is_empty() {
            self.out = Out::Opening;
            return true;
        }
        false
    }
}
