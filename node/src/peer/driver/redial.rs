//! Peers that the user named and that were lost: who is dialled again, and when.

use std::collections::HashMap;
use std::time::Duration;

use libp2p::{Multiaddr, PeerId};
use tokio::time::Instant;

/// Peers waiting to be dialled again, at most.
const MAX_LOST: usize = 256;
/// The first wait: a peer that is started anew is there again after some seconds.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Doubles up to this, for as long as this peer runs.
const MAX_WAIT: Duration = Duration::from_secs(300);

struct Lost {
    addresses: Vec<Multiaddr>,
    wait: Duration,
    at: Instant,
}

/// The named peers that are not connected.
#[derive(Default)]
pub(super) struct Redial {
    lost: HashMap<PeerId, Lost>,
}

impl Redial {
    /// The last connection to `peer` has ended; it was reached at `addresses`.
    pub(super) fn lost(&mut self, peer: PeerId, addresses: Vec<Multiaddr>, now: Instant) {
        if self.lost.len() < MAX_LOST {
            self.lost.insert(
                peer,
                Lost {
                    addresses,
                    wait: FIRST_WAIT,
                    at: now + FIRST_WAIT,
                },
            );
        }
    }

    /// It is connected again, or no longer named.
    pub(super) fn forget(&mut self, peer: &PeerId) {
        self.lost.remove(peer);
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.lost.is_empty()
    }

    /// Those to be dialled now, with what is known of where they are. Each comes again after twice the time, until it is
    /// forgotten.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let due = self.lost.iter_mut().filter(|(_, lost)| lost.at <= now);
        due.map(|(peer, lost)| {
            lost.wait = (lost.wait * 2).min(MAX_WAIT);
            lost.at = now + lost.wait;
            (*peer, lost.addresses.clone())
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_lost_is_dialled_ever_more_rarely_until_it_is_there() {
        let (mut redial, peer, start) = (Redial::default(), PeerId::random(), Instant::now());
        let address: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
        redial.lost(peer, vec![address.clone()], start);
        assert!(redial.due(start).is_empty());
        let mut dialled = Vec::new();
        for second in 0..2000 {
            for (who, addresses) in redial.due(start + Duration::from_secs(second)) {
                assert_eq!((who, &addresses[..]), (peer, std::slice::from_ref(&address)));
                dialled.push(second);
            }
        }
        assert_eq!(dialled[..9], [1, 3, 7, 15, 31, 63, 127, 255, 511]);
        assert_eq!(dialled[10] - dialled[9], MAX_WAIT.as_secs());
        redial.forget(&peer);
        assert!(redial.is_empty() && redial.due(start + Duration::from_secs(9999)).is_empty());
    }

    #[test]
    fn one_over_the_limit_is_not_remembered() {
        let mut redial = Redial::default();
        (0..MAX_LOST + 1).for_each(|_| redial.lost(PeerId::random(), Vec::new(), Instant::now()));
        assert_eq!(redial.lost.len(), MAX_LOST);
    }
}
