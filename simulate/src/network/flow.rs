//! Bytes on their way, and who waits for them.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    /// Nobody reads any more.
    pub(super) unread: bool,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
}

pub(super) fn lock(flow: &Mutex<Flow>) -> MutexGuard<'_, Flow> {
    flow.lock().unwrap_or_else(PoisonError::into_inner)
}
