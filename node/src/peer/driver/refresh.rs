//! When the routing tables are refreshed: soon after the start and less and less often from then on.

use std::time::Duration;

use tokio::time::Instant;

/// How often the buckets of both tables are refreshed; Kubo's figure.
const INTERVAL: Duration = Duration::from_secs(600);
/// How long after the start the first time. Whoever joins early knows nobody but whom it dialled: those who came later make
/// themselves known to others, and are met by asking for them.
const FIRST: Duration = Duration::from_secs(10);

/// See the module's words.
pub(super) struct Refresh {
    at: Instant,
    wait: Duration,
}

impl Refresh {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            at: now + FIRST,
            wait: FIRST,
        }
    }

    /// Whether it is time; each time is told once.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        if now < self.at {
            return false;
        }
        self.wait = INTERVAL.min(2 * self.wait);
        self.at = now + self.wait;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_young_peer_looks_around_often_and_an_old_one_seldom() {
        let start = Instant::now();
        let mut refresh = Refresh::new(start);
        let due: Vec<u64> = (0..2 * 3600)
            .filter(|second| refresh.is_due(start + Duration::from_secs(*second)))
            .collect();
        assert_eq!(due[..7], [10, 30, 70, 150, 310, 630, 1230]);
        assert!(due[6..].windows(2).all(|two| two[1] - two[0] == INTERVAL.as_secs()));
    }
}
