//! Blocks that are being sent. A client that takes its time holds a piece of one, not all of it: the block itself lies where it
//! can be taken away when there are too many, and is read again if its client goes on.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use axum::body::{Body, Bytes};

/// The most blocks that answers under way hold, all together.
pub const MAX_HELD: usize = 64;
/// Bytes that an answer gives to its connection at once.
pub(super) const PIECE_BYTES: usize = 64 << 10;

/// Blocks that are being sent, oldest first.
#[derive(Default)]
pub(super) struct Held(Mutex<VecDeque<Weak<Slot>>>);

type Slot = Mutex<Option<Bytes>>;

/// What an answer has yet to send of a block.
pub(super) struct Lent(Arc<Slot>);

/// What comes next of a block.
pub(super) enum Piece {
    Bytes(Bytes),
    /// All of it was sent.
    End,
    /// It was taken away.
    Gone,
}

impl Held {
    /// Holds bytes; the oldest of others are taken away if they are too many.
    pub(super) fn lend(&self, bytes: Bytes) -> Lent {
        let slot = Arc::new(Mutex::new(Some(bytes)));
        let mut all = lock(&self.0);
        all.retain(|other| other.strong_count() > 0);
        while all.len() >= MAX_HELD {
            if let Some(oldest) = all.pop_front().and_then(|oldest| oldest.upgrade()) {
                *lock(&oldest) = None;
            }
        }
        all.push_back(Arc::downgrade(&slot));
        Lent(slot)
    }
}

impl Lent {
    /// The next bytes, in memory of their own.
    pub(super) fn piece(&self) -> Piece {
        let mut slot = lock(&self.0);
        let Some(bytes) = slot.as_mut() else {
            return Piece::Gone;
        };
        if bytes.is_empty() {
            return Piece::End;
        }
        let piece = bytes.split_to(bytes.len().min(PIECE_BYTES));
        Piece::Bytes(Bytes::copy_from_slice(&piece))
    }
}

/// A body of bytes that are here. It breaks off if they are taken away.
pub(super) fn body(held: &Held, bytes: Bytes) -> Body {
    if bytes.len() <= PIECE_BYTES {
        // What it may be a part of is not held.
        return Body::from(Bytes::copy_from_slice(&bytes));
    }
    let lent = held.lend(bytes);
    let pieces = std::iter::from_fn(move || match lent.piece() {
        Piece::Bytes(bytes) => Some(Ok(bytes)),
        Piece::End => None,
        Piece::Gone => Some(Err(std::io::Error::other("the client took too long for it"))),
    });
    Body::from_stream(futures::stream::iter(pieces))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_block_too_many_takes_the_place_of_the_oldest_that_is_still_being_sent() {
        let held = Held::default();
        let bytes = Bytes::from(vec![7; PIECE_BYTES + 1]);
        let mut lent: Vec<Lent> = (0..MAX_HELD).map(|_| held.lend(bytes.clone())).collect();
        let length = |lent: &Lent| match lent.piece() {
            Piece::Bytes(bytes) => Some(bytes.len()),
            Piece::End => Some(0),
            Piece::Gone => None,
        };
        assert_eq!(
            [0, 1, 2].map(|_| length(&lent[0])),
            [Some(PIECE_BYTES), Some(1), Some(0)]
        );
        // One that has been sent makes room.
        drop(lent.remove(0));
        lent.push(held.lend(bytes.clone()));
        assert_eq!(length(&lent[0]), Some(PIECE_BYTES));
        lent.push(held.lend(bytes));
        assert_eq!(length(&lent[0]), None);
        assert!(lent[1..].iter().all(|lent| length(lent) == Some(PIECE_BYTES)));
    }
}
