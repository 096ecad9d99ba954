//! Whether peers on the internet get through to this one, and the relays that stand in while they do not.
//!
//! Three things tell: a peer on the internet connected to us (best), AutoNAT had an address dialled back, or it had and
//! nobody came. Only a peer that is reached serves the public DHT, since others wait for those who do not answer. One that
//! is not reached takes a place at some relays among its neighbours, whose addresses are then its own.
//!
//! Here it is only decided; `reaching` does it.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher as _;
use std::time::Duration;

use libp2p::core::transport::ListenerId;
use libp2p::{Multiaddr, PeerId};
use tokio::time::Instant;

use crate::address::ip_group;
use crate::routing::Reachability;

/// Relays that a peer has a place at. One may go away at any time.
const MAX_RELAYS: usize = 2;
/// Neighbours that offer to relay, of whom it is remembered.
const MAX_OFFERS: usize = 32;
/// How long others have to get through by themselves before relays are looked for.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long after the last peer from the internet came in this one counts as reached. A server of the DHT has one each minute.
const REACHED_FOR: Duration = Duration::from_secs(3600);
/// How long a relay that had no place is left alone.
const REFUSED_FOR: Duration = Duration::from_secs(300);
/// Addresses that AutoNAT is asked about in the life of a peer: it forgets none. Each network's word counts for four.
const MAX_SUGGESTED: usize = 256;

/// See the module's words.
#[derive(Default)]
pub(super) struct Reachable {
    /// Since when somebody is connected who could have said how we are seen.
    outside_since: Option<Instant>,
    /// Addresses that were dialled back.
    pub(super) confirmed: HashSet<Multiaddr>,
    /// When the last peer from the internet came in.
    came_in: Option<Instant>,
    /// AutoNAT had an address dialled, and nobody got through.
    pub(super) failed: bool,
    offers: HashMap<PeerId, Multiaddr>,
    pub(super) relays: HashMap<ListenerId, PeerId>,
    /// Those of them that have given the place.
    given: HashSet<PeerId>,
    refused: HashMap<PeerId, Instant>,
    suggested: HashSet<Multiaddr>,
    /// Which of two relays comes first is for chance to say: ids can be made to come before others.
    order: RandomState,
}

impl Reachable {
    /// Somebody from the internet is connected, whoever dialled.
    pub(super) fn outside(&mut self, now: Instant) {
        self.outside_since.get_or_insert(now);
    }

    /// A peer from the internet got through to a public address of ours.
    pub(super) fn came_in(&mut self, now: Instant) {
        self.outside(now);
        self.came_in = Some(now);
    }

    /// A connected peer offers to relay; it is reached at `address`, which has no peer id at its end.
    pub(super) fn offered(&mut self, peer: PeerId, address: Multiaddr) {
        if self.offers.len() < MAX_OFFERS {
            self.offers.insert(peer, address);
        }
    }

    /// The last connection to `peer` has ended.
    pub(super) fn gone(&mut self, peer: &PeerId) {
        self.offers.remove(peer);
    }

    /// Whether peers on the internet get through.
    pub(super) fn is_reached(&self, now: Instant) -> bool {
        let came_in = |at: Instant| now.saturating_duration_since(at) < REACHED_FOR;
        !self.confirmed.is_empty() || self.came_in.is_some_and(came_in)
    }

    /// What is known of it, for those who ask.
    pub(super) fn standing(&self, now: Instant) -> Reachability {
        Reachability {
            reached: self.is_reached(now),
            failed: self.failed,
            asked: self.outside_since.is_some(),
            relays: self.relays.values().copied().collect(),
        }
    }

    /// A relay has given the place that it was asked for.
    pub(super) fn given(&mut self, relay: PeerId) {
        self.given.insert(relay);
    }

    /// The places at relays that can be given up. One that was only asked for has to be answered first: libp2p panics at a place
    /// that is given when nobody listens there any more.
    pub(super) fn to_give_up(&self) -> Vec<ListenerId> {
        let given = self.relays.iter().filter(|(_, relay)| self.given.contains(relay));
        given.map(|(listener, _)| *listener).collect()
    }

    /// The next relay to take a place at.
    pub(super) fn wanted(&self, now: Instant) -> Option<(PeerId, Multiaddr)> {
        let waited = |since: Instant| now.saturating_duration_since(since) >= PATIENCE;
        let known = self.failed || self.outside_since.is_some_and(waited);
        if !known || self.is_reached(now) || self.relays.len() >= MAX_RELAYS {
            return None;
        }
        let left_alone = |peer: &PeerId| {
            let refused = self.refused.get(peer);
            refused.is_some_and(|at| now.saturating_duration_since(*at) < REFUSED_FOR)
        };
        let taken: HashSet<_> = self.relays.values().filter_map(|peer| self.offers.get(peer)).collect();
        let groups: HashSet<_> = taken.iter().filter_map(|address| ip_group(address)).collect();
        self.offers
            .iter()
            .filter(|(peer, _)| !left_alone(peer) && !self.relays.values().any(|other| other == *peer))
            // A relay of another operator's, if there is one.
            .min_by_key(|(peer, address)| {
                (
                    ip_group(address).is_some_and(|group| groups.contains(&group)),
                    self.order.hash_one(peer),
                )
            })
            .map(|(peer, address)| (*peer, address.clone()))
    }

    /// Whether AutoNAT is to be asked about `address`: each once, and not without end.
    pub(super) fn suggest(&mut self, address: &Multiaddr) -> bool {
        self.suggested.len() < MAX_SUGGESTED && self.suggested.insert(address.clone())
    }

    /// A listener has ended. Returns the relay that it was a place at.
    pub(super) fn closed(&mut self, listener: ListenerId, now: Instant) -> Option<PeerId> {
        let peer = self.relays.remove(&listener)?;
        self.given.remove(&peer);
        self.refused
            .retain(|_, at| now.saturating_duration_since(*at) < REFUSED_FOR);
        // As many as there are offers in that time.
        if self.refused.len() < MAX_OFFERS {
            self.refused.insert(peer, now);
        }
        Some(peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: usize) -> Multiaddr {
        format!("/ip4/{}.1.1.1/tcp/4001", 20 + number).parse().unwrap()
    }

    #[test]
    fn relays_are_wanted_by_those_who_are_not_reached_and_only_then() {
        let now = Instant::now();
        let mut reachable = Reachable::default();
        let relays: Vec<PeerId> = (0..3).map(|_| PeerId::random()).collect();
        for (number, relay) in relays.iter().enumerate() {
            reachable.offered(*relay, address(number));
        }
        assert_eq!(reachable.wanted(now), None, "nobody could have come in yet");
        reachable.outside(now);
        assert_eq!(reachable.wanted(now + PATIENCE / 2), None);
        let later = now + PATIENCE;
        let mut taken = HashSet::new();
        for _ in 0..MAX_RELAYS {
            let (peer, _) = reachable.wanted(later).unwrap();
            assert!(taken.insert(peer));
            reachable.relays.insert(ListenerId::next(), peer);
        }
        assert_eq!(reachable.wanted(later), None, "one over the limit");
        let (listener, lost) = reachable.relays.iter().next().map(|(id, peer)| (*id, *peer)).unwrap();
        assert_eq!(reachable.closed(listener, later), Some(lost));
        let (next, _) = reachable.wanted(later).unwrap();
        assert!(!taken.contains(&next), "the one that ended is left alone");
        let (listener, left) = reachable.relays.iter().next().map(|(id, peer)| (*id, *peer)).unwrap();
        assert!(reachable.to_give_up().is_empty(), "it has not answered yet");
        reachable.given(lost);
        assert!(reachable.to_give_up().is_empty(), "that is another one");
        reachable.given(left);
        assert_eq!(reachable.to_give_up(), [listener]);
        reachable.came_in(later);
        assert!(reachable.is_reached(later) && reachable.wanted(later).is_none());
        let much_later = later + REACHED_FOR;
        assert!(!reachable.is_reached(much_later) && reachable.wanted(much_later).is_some());
    }

    #[test]
    fn a_failed_test_ends_the_patience_and_another_operator_comes_first() {
        let now = Instant::now();
        let mut reachable = Reachable {
            failed: true,
            ..Reachable::default()
        };
        let (first, twin, other) = (PeerId::random(), PeerId::random(), PeerId::random());
        reachable.offered(first, address(1));
        reachable.relays.insert(ListenerId::next(), first);
        reachable.offered(twin, "/ip4/21.1.9.9/tcp/1".parse().unwrap());
        reachable.offered(other, address(2));
        assert_eq!(reachable.wanted(now).map(|(peer, _)| peer), Some(other));
        reachable.gone(&other);
        assert_eq!(reachable.wanted(now).map(|(peer, _)| peer), Some(twin));
    }

    #[test]
    fn one_over_the_limit_is_neither_remembered_nor_asked_about() {
        let mut reachable = Reachable::default();
        (0..MAX_OFFERS + 1).for_each(|number| reachable.offered(PeerId::random(), address(number)));
        assert_eq!(reachable.offers.len(), MAX_OFFERS);
        let at = |port: usize| -> Multiaddr { format!("/ip4/93.184.216.34/tcp/{port}").parse().unwrap() };
        assert!((0..MAX_SUGGESTED).all(|port| reachable.suggest(&at(port)) && !reachable.suggest(&at(port))));
        assert!(!reachable.suggest(&at(MAX_SUGGESTED)));
    }
}
