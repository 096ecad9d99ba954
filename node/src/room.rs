//! Bytes that peers make this one hold, shared out so that nobody takes what others need.
//!
//! One [`Room`] has a fixed size. Each connection has a [`Share`] of it, which may grow for as long as it is smaller than
//! what is still free, up to a bound of its own: with one greedy connection, half of the room stays free. Those who come one
//! after the other and give nothing back leave less and less; so each may have a little in any case, and all of them together
//! that much more than the room.
//!
//! What has been taken is never taken away. A share that is full stops its connection from reading; who is stopped for too
//! long is for the user of the share to decide.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How often somebody whose share is full because of others looks again. What it holds itself tells it at once.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A number of bytes for all connections together. Clones are the same room.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    size: usize,
    least: usize,
    taken: AtomicUsize,
}

impl Room {
    /// A room of `size` bytes, and `least` for each share in any case.
    pub(crate) fn new(size: usize, least: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                size,
                least,
                taken: AtomicUsize::new(0),
            }),
        }
    }

    /// A share that may grow to `most` bytes when the room is empty enough.
    pub(crate) fn share(&self, most: usize) -> Share {
        Share {
            room: self.clone(),
            most,
            taken: 0,
        }
    }

    fn free(&self) -> usize {
        self.inner.size.saturating_sub(self.inner.taken.load(Ordering::Relaxed))
    }
}

/// What one connection holds. Everything is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    room: Room,
    most: usize,
    taken: usize,
}

impl Share {
    /// How many bytes more may be taken now.
    pub(crate) fn left(&self) -> usize {
        let free = self.room.free().max(self.room.inner.least);
        self.most.min(free).saturating_sub(self.taken)
    }

    /// Takes `bytes`, whatever is left: what has come has come. Others see less room from now on.
    pub(crate) fn take(&mut self, bytes: usize) {
        self.taken += bytes;
        self.room.inner.taken.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives `bytes` back, at most those that were taken.
    pub(crate) fn give(&mut self, bytes: usize) {
        let bytes = bytes.min(self.taken);
        self.taken -= bytes;
        self.room.inner.taken.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give(self.taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_share_takes_half_and_many_leave_enough_for_one_more() {
        let room = Room::new(1000, 0);
        let mut shares: Vec<Share> = (0..9).map(|_| room.share(usize::MAX)).collect();
        while shares[0].left() > 0 {
            shares[0].take(1);
        }
        assert_eq!(shares[0].taken, 500);
        // Nine that take whatever they get, in turns, leave a tenth.
        while shares.iter().any(|share| share.left() > 0) {
            for share in shares.iter_mut().filter(|share| share.left() > 0) {
                share.take(1);
            }
        }
        let newcomer = room.share(usize::MAX);
        assert!(newcomer.left() >= 50, "{}", newcomer.left());
        drop(shares);
        assert_eq!(room.free(), 1000);
    }

    #[test]
    fn whoever_comes_late_has_a_little_in_any_case() {
        let room = Room::new(1000, 10);
        let greedy: Vec<Share> = (0..100)
            .map(|_| {
                let mut share = room.share(usize::MAX);
                while share.left() > 0 {
                    share.take(1);
                }
                share
            })
            .collect();
        assert_eq!(room.share(usize::MAX).left(), 10);
        let taken: usize = greedy.iter().map(|share| share.taken).sum();
        assert!((1000..=1000 + 100 * 10).contains(&taken), "{taken}");
    }

    #[test]
    fn a_share_has_a_bound_of_its_own_and_gives_back_no_more_than_it_took() {
        let room = Room::new(1000, 0);
        let mut share = room.share(100);
        assert_eq!(share.left(), 100);
        share.take(130);
        assert_eq!((share.left(), room.free()), (0, 870));
        share.give(1_000_000);
        assert_eq!((share.left(), room.free()), (100, 1000));
    }
}
