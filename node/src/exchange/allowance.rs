//! How much a peer may say that turns out to be of use to nobody.
//!
//! Whatever a peer sends costs something here: bytes to decrypt, wants to look up, answers to match with questions. Each
//! message is charged for that when it comes. What is found to be of use, a want that is met or an answer to a question,
//! is given back, so a peer that fetches or provides is never held up, however fast. What is left is bounded to a rate:
//! a connection whose peer is over it is not read until the bucket refills. Nothing is lost by that, the peer's writes
//! wait; and it costs nothing to whoever sends faster.

use std::sync::Mutex;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use super::client::Receipt;
use crate::threads::lock;

/// What a peer may be ahead of its rate, in units of a received byte. More than the frames under way on a connection at
/// full speed, so that what is given back comes before it is missed.
pub(super) const BURST: i64 = 24 << 20;
/// What is forgiven each second, in the same unit: 4 MiB of bytes, or 3,800 wants for blocks that are not here. Kubo
/// sends some hundred of those in a second when it asks everybody, and leaves out of its sessions who never has anything.
pub(super) const PER_SECOND: i64 = 4 << 20;
/// A message, whatever is in it: the way from the connection to the exchange and back.
pub(super) const MESSAGE: usize = 4 << 10;
/// A stream that is opened: the choice of its protocol. Kubo opens one for each of its answers.
pub(super) const STREAM: usize = 4 << 10;
/// A want: a place in the ledger and a look into the store.
pub(super) const WANT: usize = 1 << 10;
/// A want that is withdrawn: a look into the ledger.
pub(super) const CANCEL: usize = 128;
/// A list that replaces the ledger: a look at all of it.
pub(super) const REPLACE: usize = 64 << 10;
/// A block or a presence: a look at what was asked.
pub(super) const ANSWER: usize = 256;
/// What the head of a block or a presence takes in a frame, about, in bytes.
pub(super) const HEAD_BYTES: usize = 64;
/// Tasks that may wait at a time: one for each connection to a peer. One more takes the place of all: they ask again by
/// themselves after a while.
const MAX_WAITING: usize = 8;

/// The bucket of one peer, over all its connections.
#[derive(Debug)]
pub(super) struct Allowance {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Below zero, the peer is in debt.
    left: i64,
    at: Instant,
    waiting: Vec<Waker>,
}

impl State {
    fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.at);
        let refill = i64::try_from(elapsed.as_micros())
            .unwrap_or(i64::MAX)
            .saturating_mul(PER_SECOND)
            / 1_000_000;
        if refill > 0 {
            self.at = now;
            self.left = self.left.saturating_add(refill).min(BURST);
        }
    }
}

fn signed(cost: usize) -> i64 {
    i64::try_from(cost).unwrap_or(i64::MAX)
}

impl Allowance {
    /// A full bucket.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            state: Mutex::new(State {
                left: BURST,
                at: now,
                waiting: Vec::new(),
            }),
        }
    }

    /// Takes what something costs, if need be on credit.
    pub(super) fn charge(&self, cost: usize, now: Instant) {
        let mut state = lock(&self.state);
        state.refill(now);
        state.left = state.left.saturating_sub(signed(cost));
    }

    /// Returns what was taken for something that was of use.
    pub(super) fn give_back(&self, cost: usize) {
        let mut state = lock(&self.state);
        state.left = state.left.saturating_add(signed(cost)).min(BURST);
        if state.left > 0 {
            for waker in std::mem::take(&mut state.waiting) {
                waker.wake();
            }
        }
    }

    /// Nothing when more may be read now; otherwise the time from which it may. The task of `cx` is woken earlier when
    /// something is given back, not when that time has come.
    pub(super) fn held_until(&self, now: Instant, cx: &Context<'_>) -> Option<Instant> {
        let mut state = lock(&self.state);
        state.refill(now);
        if state.left > 0 {
            return None;
        }
        if !state.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            if state.waiting.len() >= MAX_WAITING {
                state.waiting.clear();
            }
            state.waiting.push(cx.waker().clone());
        }
        let micros = (1 - state.left).saturating_mul(1_000_000) / PER_SECOND + 1;
        Some(now + Duration::from_micros(micros.unsigned_abs()))
    }
}

/// What a message with this in it has cost.
pub(super) fn worth(receipt: &Receipt) -> usize {
    let blocks = receipt.blocks.saturating_add(receipt.duplicates);
    let bytes = receipt.bytes.saturating_add(receipt.duplicate_bytes);
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    let answers = usize::try_from(blocks.saturating_add(receipt.answers)).unwrap_or(usize::MAX);
    if answers == 0 {
        return 0;
    }
    let heads = answers.saturating_mul(ANSWER + HEAD_BYTES);
    bytes.saturating_add(heads).saturating_add(MESSAGE + STREAM)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(allowance: &Allowance, now: Instant) -> Option<Duration> {
        let cx = Context::from_waker(Waker::noop());
        allowance.held_until(now, &cx).map(|until| until - now)
    }

    #[test]
    fn who_is_over_the_burst_waits_for_what_is_over() {
        let now = Instant::now();
        let allowance = Allowance::new(now);
        let burst = BURST as usize;
        allowance.charge(burst - 1, now);
        assert_eq!(held(&allowance, now), None);
        allowance.charge(1 + PER_SECOND as usize, now);
        let wait = held(&allowance, now).unwrap();
        assert!(
            (Duration::from_secs(1)..Duration::from_millis(1001)).contains(&wait),
            "{wait:?}"
        );
        assert!(held(&allowance, now + wait / 2).is_some());
        // Each look rounds down by less than a microsecond.
        assert_eq!(held(&allowance, now + wait + Duration::from_micros(2)), None);
        // A long rest gives no more than the burst.
        let later = now + Duration::from_secs(10_000);
        allowance.charge(burst, later);
        assert!(held(&allowance, later).is_some());
    }

    #[test]
    fn what_was_of_use_is_given_back_at_once() {
        let now = Instant::now();
        let allowance = Allowance::new(now);
        for _ in 0..1000 {
            allowance.charge(BURST as usize, now);
            assert!(held(&allowance, now).is_some());
            allowance.give_back(BURST as usize);
            assert_eq!(held(&allowance, now), None);
        }
        allowance.give_back(usize::MAX);
        allowance.charge(BURST as usize, now);
        assert!(held(&allowance, now).is_some());
    }
}
