//! Bytes on their way, and who waits for them.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::time::Instant;

/// Where an end of a connection is, and in which life of its machine.
pub(super) type End = (Ipv4Addr, u64);

/// One end of a connection, without the network that carries it.
pub(super) struct Half {
    /// This end and the other.
    pub(super) ends: [End; 2],
    pub(super) incoming: Arc<Mutex<Flow>>,
    pub(super) outgoing: Arc<Mutex<Flow>>,
}

impl Half {
    /// Both ends of a connection.
    pub(super) fn pair([one, other]: [End; 2]) -> (Self, Self) {
        let (there, back) = <(Arc<Mutex<Flow>>, Arc<Mutex<Flow>>)>::default();
        let near = Self {
            ends: [one, other],
            incoming: back.clone(),
            outgoing: there.clone(),
        };
        let far = Self {
            ends: [other, one],
            incoming: there,
            outgoing: back,
        };
        (near, far)
    }

    /// The connection of which this is the first end.
    pub(super) fn open(&self) -> Open {
        Open {
            ends: self.ends,
            flows: [&self.outgoing, &self.incoming].map(Arc::downgrade),
        }
    }
}

/// A connection, for the systems of its two ends.
pub(super) struct Open {
    ends: [End; 2],
    /// From the first end to the other, and back.
    flows: [Weak<Mutex<Flow>>; 2],
}

impl Open {
    /// Both ends.
    pub(super) fn ends(&self) -> [End; 2] {
        self.ends
    }

    /// Whether anybody holds an end of it.
    pub(super) fn is_held(&self) -> bool {
        self.flows.iter().any(|flow| flow.strong_count() > 0)
    }

    /// The system of one end closes it: the other one reads what was sent and then the end, `when` that arrives, and cannot write.
    pub(super) fn close(self, end: End, when: impl FnOnce(Ipv4Addr) -> Instant) {
        let [mut there, mut back] = self.flows;
        let [one, mut other] = self.ends;
        if one != end {
            (there, back, other) = (back, there, one);
        }
        let ends = when(other.0);
        if let Some(flow) = there.upgrade() {
            let mut flow = lock(&flow);
            flow.ends.get_or_insert(ends);
            flow.is_closed = true;
            flow.reader.take().into_iter().for_each(Waker::wake);
        }
        if let Some(flow) = back.upgrade() {
            let mut flow = lock(&flow);
            flow.unread = true;
            flow.writer.take().into_iter().for_each(Waker::wake);
        }
    }
}

/// Bytes on their way in one direction.
#[derive(Default)]
pub(super) struct Flow {
    pub(super) pieces: VecDeque<(Instant, Vec<u8>)>,
    /// How much of the first piece was read.
    pub(super) read: usize,
    pub(super) bytes: usize,
    /// When the reader learns that there is no more.
    pub(super) ends: Option<Instant>,
    /// The system of the writer has closed it: that there is no more is known even if the writer is no more.
    pub(super) is_closed: bool,
    /// Nobody reads any more.
    pub(super) unread: bool,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
}

impl Flow {
    /// Puts what has arrived, as far as there is room, where the reader wants it. How many bytes that is; none at the end.
    pub(super) fn take(&mut self, mut to: &mut [u8], now: Instant) -> usize {
        let room = to.len();
        while let Some((at, piece)) = self.pieces.front()
            && *at <= now
            && !to.is_empty()
        {
            let rest = piece.get(self.read..).unwrap_or_default();
            let count = rest.len().min(to.len());
            let (part, left) = std::mem::take(&mut to).split_at_mut(count);
            part.copy_from_slice(&rest[..part.len()]);
            self.read += part.len();
            if part.len() == rest.len() {
                self.pieces.pop_front();
                self.read = 0;
            }
            to = left;
        }
        let taken = room - to.len();
        self.bytes -= taken;
        taken
    }
}

pub(super) fn lock(flow: &Mutex<Flow>) -> MutexGuard<'_, Flow> {
    flow.lock().unwrap_or_else(PoisonError::into_inner)
}
