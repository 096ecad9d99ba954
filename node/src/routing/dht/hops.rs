//! How deep walks go: how many answers, one after another, led to the one who answered closest to the key.
//!
//! libp2p says of a walk how many it asked, not who named whom. That grows with the number of peers in a way that tells
//! whether routing tables are good, so it is noted here from what passes between libp2p and its connections.

use std::collections::HashMap;

use libp2p::PeerId;
use libp2p::kad::QueryId;

use crate::routing::keyspace::{Place, distance, place_of};

/// Peers of whom it is noted, for one walk, how deep they are. One walk asks some dozens and is told of some hundreds.
const MAX_NOTED: usize = 4096;

/// Of the walks under way.
#[derive(Default)]
pub(super) struct Hops(HashMap<QueryId, Walk>);

struct Walk {
    to: Place,
    /// After how many answers each peer can be asked; 1 for those of the own table.
    depths: HashMap<PeerId, u32>,
    /// How far from the key the closest of those is who answered, and how deep.
    closest: Option<(Place, u32)>,
}

impl Hops {
    /// A walk asks a peer for `key`.
    pub(super) fn asks(&mut self, walk: QueryId, peer: PeerId, key: &[u8]) {
        let walk = self.0.entry(walk).or_insert_with(|| Walk {
            to: place_of(key),
            depths: HashMap::new(),
            closest: None,
        });
        walk.note(peer, 1);
    }

    /// A peer that it asked has named these.
    pub(super) fn answers(&mut self, walk: QueryId, peer: &PeerId, named: impl Iterator<Item = PeerId>) {
        let Some(walk) = self.0.get_mut(&walk) else { return };
        let depth = walk.depths.get(peer).copied().unwrap_or(1);
        let distance = distance(&walk.to, &place_of(&peer.to_bytes()));
        if walk.closest.is_none_or(|(closest, _)| distance < closest) {
            walk.closest = Some((distance, depth));
        }
        named.for_each(|peer| walk.note(peer, depth + 1));
    }

    /// A walk is over. How deep it went: 0 if nobody answered.
    pub(super) fn ends(&mut self, walk: QueryId) -> u32 {
        let walk = self.0.remove(&walk);
        walk.and_then(|walk| walk.closest).map_or(0, |(_, depth)| depth)
    }
}

impl Walk {
    fn note(&mut self, peer: PeerId, depth: u32) {
        if self.depths.len() < MAX_NOTED {
            self.depths.entry(peer).or_insert(depth);
        }
    }
}

#[cfg(test)]
mod tests {
    use libp2p::kad::store::MemoryStore;

    use super::*;

    /// An id of a walk: only Kademlia makes them.
    fn walk() -> QueryId {
        let local = PeerId::random();
        let mut kad = libp2p::kad::Behaviour::new(local, MemoryStore::new(local));
        kad.get_closest_peers(local)
    }

    /// Some peers, from the one farthest from `key` to the closest.
    fn peers(key: &[u8], count: usize) -> Vec<PeerId> {
        let mut peers: Vec<PeerId> = (0..count).map(|_| PeerId::random()).collect();
        peers.sort_by_key(|peer| std::cmp::Reverse(distance(&place_of(key), &place_of(&peer.to_bytes()))));
        peers
    }

    #[test]
    fn a_walk_is_as_deep_as_who_answered_closest_to_the_key() {
        let (walk, mut hops, peers) = (walk(), Hops::default(), peers(b"key", 4));
        hops.asks(walk, peers[0], b"key");
        hops.asks(walk, peers[1], b"key");
        hops.answers(walk, &peers[0], [peers[2], peers[1]].into_iter());
        hops.asks(walk, peers[2], b"key");
        hops.answers(walk, &peers[2], [peers[3], peers[0]].into_iter());
        hops.asks(walk, peers[3], b"key");
        hops.answers(walk, &peers[3], std::iter::empty());
        // Who is farther off says nothing of how deep it was, however late the answer is.
        hops.answers(walk, &peers[1], std::iter::empty());
        assert_eq!(hops.ends(walk), 3);
        assert_eq!(hops.ends(walk), 0, "it is forgotten");
    }

    #[test]
    fn a_walk_that_nobody_answers_has_no_depth() {
        let (walk, mut hops) = (walk(), Hops::default());
        hops.asks(walk, PeerId::random(), b"key");
        assert_eq!(hops.ends(walk), 0);
    }

    #[test]
    fn one_peer_over_the_limit_is_not_noted() {
        let (walk, mut hops, named) = (walk(), Hops::default(), peers(b"key", MAX_NOTED + 1));
        hops.asks(walk, named[0], b"key");
        hops.answers(walk, &named[0], named.iter().copied());
        assert_eq!(hops.0[&walk].depths.len(), MAX_NOTED);
    }
}
