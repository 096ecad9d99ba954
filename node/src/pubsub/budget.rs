//! How much one peer may send over PubSub.
//!
//! Each peer has a bucket of tokens for each [`Kind`] of thing. A bucket outlives the connection, or a peer would have
//! a full one for every handshake; there are at most [`MAX_PEERS`] of those.

use std::collections::HashMap;

use libp2p::PeerId;
use tokio::time::Instant;

/// Peers whose budgets are remembered, at most, besides those that have anything left to pay. Full ones make room.
const MAX_PEERS: usize = 4096;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A message with a record. gossipsub remembers the id of each for a minute.
    Message,
    /// A topic that is joined or left. There may be one for each name that the peer has, all at once.
    Subscription,
    /// What gossipsub says of messages and of its mesh.
    Control,
    /// A record that is asked for.
    Question,
    /// What an honest peer does not send: something over another budget, on a topic that nobody is in, or forged. Who has
    /// none of this left is sent away.
    Fault,
}

struct Rate {
    per_second: f64,
    burst: f64,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::Message,
        Self::Subscription,
        Self::Control,
        Self::Question,
        Self::Fault,
    ];

    fn rate(self) -> Rate {
        let (per_second, burst) = match self {
            Self::Message => (16.0, 512.0),
            Self::Subscription => (64.0, 16_384.0),
            Self::Control => (128.0, 4096.0),
            Self::Question => (64.0, 2048.0),
            Self::Fault => (1.0, 2048.0),
        };
        Rate { per_second, burst }
    }
}

/// What a record that is none, or is forged, counts for.
pub(super) const FORGERY: usize = 32;

struct Budget {
    tokens: [f64; Kind::ALL.len()],
    filled: Instant,
}

impl Budget {
    fn full(now: Instant) -> Self {
        Self {
            tokens: Kind::ALL.map(|kind| kind.rate().burst),
            filled: now,
        }
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        for (tokens, kind) in self.tokens.iter_mut().zip(Kind::ALL) {
            let rate = kind.rate();
            *tokens = (*tokens + passed * rate.per_second).min(rate.burst);
        }
        self.filled = now;
    }

    fn is_full(&self) -> bool {
        self.tokens
            .iter()
            .zip(Kind::ALL)
            .all(|(tokens, kind)| *tokens >= kind.rate().burst)
    }
}

/// See the module's words.
#[derive(Default)]
pub(super) struct Budgets(HashMap<PeerId, Budget>);

impl Budgets {
    /// Pays for `count` things of `peer`, and returns how many of them it could pay for.
    pub(super) fn spend(&mut self, peer: &PeerId, kind: Kind, count: usize, now: Instant) -> usize {
        if count == 0 {
            return 0;
        }
        if self.0.len() >= MAX_PEERS && !self.0.contains_key(peer) {
            self.0.retain(|_, budget| {
                budget.fill(now);
                !budget.is_full()
            });
            if self.0.len() >= MAX_PEERS {
                self.0.clear();
            }
        }
        let budget = self.0.entry(*peer).or_insert_with(|| Budget::full(now));
        budget.fill(now);
        let Some(tokens) = budget.tokens.get_mut(kind as usize) else {
            return 0;
        };
        let mut paid = 0;
        while paid < count && *tokens >= 1.0 {
            *tokens -= 1.0;
            paid += 1;
        }
        paid
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn one_over_the_budget_is_not_paid_for_and_others_have_their_own() {
        let (mut budgets, start) = (Budgets::default(), Instant::now());
        let (one, other) = (PeerId::random(), PeerId::random());
        for kind in Kind::ALL {
            let burst = kind.rate().burst as usize;
            assert_eq!(budgets.spend(&one, kind, burst + 1, start), burst, "{kind:?}");
            assert_eq!(budgets.spend(&one, kind, 1, start), 0);
            assert_eq!(budgets.spend(&other, kind, 1, start), 1);
            let later = start + Duration::from_secs(2);
            assert_eq!(
                budgets.spend(&one, kind, burst, later),
                2 * kind.rate().per_second as usize
            );
            budgets = Budgets::default();
        }
    }

    #[test]
    fn one_peer_over_the_limit_costs_the_memory_of_those_who_owe_nothing() {
        let (mut budgets, start) = (Budgets::default(), Instant::now());
        for _ in 0..=MAX_PEERS {
            budgets.spend(&PeerId::random(), Kind::Message, 1, start);
        }
        assert!(budgets.0.len() <= MAX_PEERS);
    }
}
