//! Turns: how often the peers of one network may have something done, and who waits until it is their turn.
//!
//! Each network (see [`IpGroup`]) has a bucket of tokens that fills at a steady rate. What finds no token waits, in the order in
//! which it came, so that an honest peer in a hurry is slowed down and not turned away, and one network's queue is no other's.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::address::IpGroup;

/// Networks that buckets are remembered of, at most, besides those with something waiting. Over that, full ones go.
const MAX_NETWORKS: usize = 4096;

/// How often something may be done for one network.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    pub(super) per_second: u32,
    /// How often at once, after a pause.
    pub(super) burst: u32,
    /// What may wait of one network.
    pub(super) waiting: usize,
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn<T> {
    /// It is to be done now.
    Now(T),
    /// It waits.
    Later,
    /// Too many wait already.
    Never(T),
}

struct Bucket<T> {
    tokens: f64,
    filled: Instant,
    waiting: VecDeque<T>,
}

/// See the module's words.
pub(super) struct Turns<T> {
    rate: Rate,
    networks: HashMap<IpGroup, Bucket<T>>,
    waiting: usize,
}

impl<T> Turns<T> {
    pub(super) fn new(rate: Rate) -> Self {
        Self {
            rate,
            networks: HashMap::new(),
            waiting: 0,
        }
    }

    /// Asks for a turn.
    pub(super) fn ask(&mut self, network: IpGroup, request: T, now: Instant) -> Turn<T> {
        if self.networks.len() >= MAX_NETWORKS && !self.networks.contains_key(&network) {
            self.tidy(now);
        }
        let bucket = self.networks.entry(network).or_insert_with(|| Bucket {
            tokens: f64::from(self.rate.burst),
            filled: now,
            waiting: VecDeque::new(),
        });
        bucket.fill(self.rate, now);
        if bucket.waiting.is_empty() && bucket.take() {
            Turn::Now(request)
        } else if bucket.waiting.len() < self.rate.waiting {
            bucket.waiting.push_back(request);
            self.waiting += 1;
            Turn::Later
        } else {
            Turn::Never(request)
        }
    }

    /// The requests whose turn has come, to be done now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<T> {
        let mut due = Vec::new();
        if self.waiting > 0 {
            for bucket in self.networks.values_mut().filter(|bucket| !bucket.waiting.is_empty()) {
                bucket.fill(self.rate, now);
                while !bucket.waiting.is_empty() && bucket.take() {
                    due.extend(bucket.waiting.pop_front());
                }
            }
            self.waiting = self.waiting.saturating_sub(due.len());
        }
        due
    }

    /// When the next request that waits has its turn.
    pub(super) fn next(&self) -> Option<Instant> {
        if self.waiting == 0 {
            return None;
        }
        let waiting = self.networks.values().filter(|bucket| !bucket.waiting.is_empty());
        waiting.map(|bucket| bucket.next(self.rate)).min()
    }

    /// Forgets the requests that are not `wanted` any more.
    pub(super) fn retain(&mut self, wanted: impl Fn(&T) -> bool) {
        if self.waiting > 0 {
            for bucket in self.networks.values_mut() {
                bucket.waiting.retain(&wanted);
            }
            self.waiting = self.networks.values().map(|bucket| bucket.waiting.len()).sum();
        }
    }

    /// Forgets networks about which there is nothing to remember; if that is none, all without something waiting.
    fn tidy(&mut self, now: Instant) {
        let rate = self.rate;
        self.networks.retain(|_, bucket| {
            bucket.fill(rate, now);
            !bucket.waiting.is_empty() || bucket.tokens < f64::from(rate.burst)
        });
        if self.networks.len() >= MAX_NETWORKS {
            self.networks.retain(|_, bucket| !bucket.waiting.is_empty());
        }
    }
}

impl<T> Bucket<T> {
    fn fill(&mut self, rate: Rate, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + passed * f64::from(rate.per_second)).min(f64::from(rate.burst));
        self.filled = now;
    }

    fn take(&mut self) -> bool {
        let has_one = self.tokens >= 1.0;
        if has_one {
            self.tokens -= 1.0;
        }
        has_one
    }

    fn next(&self, rate: Rate) -> Instant {
        let missing = (1.0 - self.tokens).max(0.0);
        self.filled + Duration::from_secs_f64(missing / f64::from(rate.per_second.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        per_second: 10,
        burst: 3,
        waiting: 2,
    };

    fn network(number: usize) -> IpGroup {
        [4, (number >> 8) as u8, number as u8, 0, 0]
    }

    #[test]
    fn who_is_in_a_hurry_waits_and_nobody_else_does() {
        let (mut turns, start) = (Turns::new(RATE), Instant::now());
        for number in 0..3 {
            assert_eq!(turns.ask(network(1), number, start), Turn::Now(number));
        }
        assert_eq!(turns.ask(network(1), 3, start), Turn::Later);
        assert_eq!(turns.ask(network(1), 4, start), Turn::Later);
        assert_eq!(turns.ask(network(1), 5, start), Turn::Never(5), "one over the limit");
        assert_eq!(turns.ask(network(2), 6, start), Turn::Now(6));
        assert!(turns.due(start).is_empty());
        let next = turns.next().unwrap();
        assert!(next > start && next <= start + Duration::from_millis(101));
        assert_eq!(turns.due(start + Duration::from_millis(101)), [3]);
        assert_eq!(turns.due(start + Duration::from_secs(60)), [4]);
        assert_eq!(turns.next(), None);
        // After a pause there is a burst again, and no more than that.
        let later = start + Duration::from_secs(120);
        let done = (0..9).filter(|number| matches!(turns.ask(network(1), *number, later), Turn::Now(_)));
        assert_eq!(done.count(), 3);
        turns.retain(|number| *number != 3);
        assert_eq!(turns.due(later + Duration::from_secs(60)), [4]);
    }

    #[test]
    fn one_network_over_the_limit_costs_the_memory_of_those_that_are_quiet() {
        let (mut turns, start) = (Turns::new(RATE), Instant::now());
        for number in 0..4 {
            let _ = turns.ask(network(0), number, start);
        }
        for number in 1..=MAX_NETWORKS {
            assert_eq!(turns.ask(network(number), 0, start), Turn::Now(0));
        }
        assert!(turns.networks.len() <= MAX_NETWORKS);
        assert_eq!(
            turns.due(start + Duration::from_secs(1)),
            [3],
            "what waits is not forgotten"
        );
    }
}
