//! The space in which Kademlia orders keys and peers, and regions of it: the parts for which the same few peers are closest.
//!
//! A region is a prefix of the space that holds at least [`REGION_PEERS`] peers, or all of it where there are fewer. Whatever
//! lies in it has its closest peers in it, so who knows all peers of a region knows them for each of its keys. [`Exploration`]
//! finds them with a walk to each part that the walks before did not cover: it says where to walk and is told who was found.
//! Without I/O.

use std::collections::BTreeMap;

use crate::block::sha2_256;

/// Peers that keep a record: those that are closest to its key.
pub(crate) const REGION_PEERS: usize = 20;
/// Walks for one region at most. Peers that lie about who is close could have it go on for ever; who is known by then is
/// close enough.
const MAX_WALKS: usize = 12;
/// Bits of a prefix at most: where a walk ends is found by trying, 2 to the power of this at most. With as many regions the
/// network would have twenty million peers.
const MAX_PREFIX_BITS: usize = 20;

/// A place in the space: the SHA-256 hash of a key or of a peer's id.
pub(crate) type Place = [u8; 32];

/// The place of these bytes.
pub(crate) fn place_of(bytes: &[u8]) -> Place {
    let hash = sha2_256(bytes);
    let mut place = [0; 32];
    for (to, from) in place.iter_mut().zip(hash.digest()) {
        *to = *from;
    }
    place
}

/// How many bits two places begin with in common.
pub(crate) fn common_bits(a: &Place, b: &Place) -> usize {
    let differing = a.iter().zip(b).position(|(a, b)| a != b);
    let Some(at) = differing else { return 256 };
    let bits = a.get(at).zip(b.get(at)).map_or(0, |(a, b)| (a ^ b).leading_zeros());
    8 * at + bits as usize
}

/// How far apart two places are; a smaller one is closer.
pub(crate) fn distance(a: &Place, b: &Place) -> Place {
    let mut distance = *a;
    for (to, other) in distance.iter_mut().zip(b) {
        *to ^= other;
    }
    distance
}

/// All places that begin with the first bits of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prefix {
    /// The place in it whose other bits are 0.
    first: Place,
    bits: usize,
}

impl Prefix {
    /// Those that begin with the first `bits` bits of `place`.
    pub(crate) fn of(place: &Place, bits: usize) -> Self {
        let mut first = *place;
        for (at, byte) in first.iter_mut().enumerate() {
            let kept = bits.saturating_sub(8 * at).min(8) as u32;
            *byte &= 0xff_u8.checked_shl(8 - kept).unwrap_or(0);
        }
        Self { first, bits }
    }

    /// The first place in it.
    pub(crate) fn first(&self) -> &Place {
        &self.first
    }

    /// Whether a place is in it.
    pub(crate) fn holds(&self, place: &Place) -> bool {
        common_bits(&self.first, place) >= self.bits
    }

    /// The other half of the prefix that is a bit shorter.
    fn sibling(&self) -> Self {
        let mut first = self.first;
        if let Some(last) = self.bits.checked_sub(1)
            && let Some(byte) = first.get_mut(last / 8)
        {
            *byte ^= 0x80 >> (last % 8);
        }
        Self { first, ..*self }
    }

    /// A key whose place is in it, if one is found: the multihash of a number.
    fn key_within(&self) -> Option<Vec<u8>> {
        let tries = 0..32_u64 << self.bits.min(MAX_PREFIX_BITS);
        tries
            .map(|number| sha2_256(&number.to_be_bytes()).to_bytes())
            .find(|key| self.holds(&place_of(key)))
    }
}

/// The search for all peers of the region around a key.
#[derive(Debug)]
pub(crate) struct Exploration<P> {
    around: Place,
    /// Who was found, by place.
    found: BTreeMap<Place, P>,
    /// The region, as soon as the first walk has told how large it is.
    region: Option<Prefix>,
    /// Where the next walks go, and the part of the region that each is to cover.
    open: Vec<(Vec<u8>, Prefix)>,
    walks: usize,
}

/// A region with all its peers.
#[derive(Debug)]
pub(crate) struct Region<P> {
    pub(crate) prefix: Prefix,
    /// Its peers, and some more, by their places.
    pub(crate) peers: Vec<(Place, P)>,
}

impl<P> Exploration<P> {
    /// The search around a key, which is where the first walk goes.
    pub(crate) fn around(key: &[u8]) -> Self {
        let around = place_of(key);
        Self {
            around,
            found: BTreeMap::new(),
            region: None,
            open: vec![(key.to_vec(), Prefix::of(&around, 0))],
            walks: 0,
        }
    }

    /// The key that the next walk goes to. None: all that can be found is.
    pub(crate) fn next_walk(&self) -> Option<&[u8]> {
        let (key, _) = self.open.last().filter(|_| self.walks < MAX_WALKS)?;
        Some(key)
    }

    /// Takes what [`Self::next_walk`] came to: the [`REGION_PEERS`] peers that are closest to its key, or all there are.
    pub(crate) fn walked(&mut self, peers: impl IntoIterator<Item = (Place, P)>) {
        let Some((key, part)) = self.open.pop() else { return };
        self.walks += 1;
        let at = place_of(&key);
        let peers: Vec<(Place, P)> = peers.into_iter().collect();
        // Of those with more bits in common than the last of these, none is missing.
        let covered = match peers.len() < REGION_PEERS {
            true => 0,
            false => {
                let least = peers.iter().map(|(place, _)| common_bits(&at, place)).min();
                least.unwrap_or(0) + 1
            }
        };
        self.found.extend(peers);
        let part = match self.region {
            Some(_) => part,
            // The last of them is outside of the part that is covered, and inside of the one twice as large.
            None => {
                let region = Prefix::of(&self.around, covered.saturating_sub(1).min(MAX_PREFIX_BITS));
                *self.region.insert(region)
            }
        };
        for bits in part.bits + 1..=covered.min(MAX_PREFIX_BITS) {
            let rest = Prefix::of(&at, bits).sibling();
            self.open.extend(rest.key_within().map(|key| (key, rest)));
        }
    }

    /// What was found.
    pub(crate) fn end(self) -> Region<P> {
        Region {
            prefix: self.region.unwrap_or_else(|| Prefix::of(&self.around, 256)),
            peers: self.found.into_iter().collect(),
        }
    }
}

impl<P> Region<P> {
    /// The peers, as numbers in [`Self::peers`], that are to keep what lies at `place`: the closest ones.
    pub(crate) fn closest(&self, place: &Place) -> Vec<usize> {
        let mut numbers: Vec<usize> = (0..self.peers.len()).collect();
        let of = |number: &usize| self.peers.get(*number).map(|(peer, _)| distance(peer, place));
        if numbers.len() > REGION_PEERS {
            numbers.select_nth_unstable_by_key(REGION_PEERS, of);
            numbers.truncate(REGION_PEERS);
        }
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(count: u64) -> Vec<(Place, u64)> {
        let mut peers: Vec<_> = (0..count)
            .map(|n| (place_of(format!("peer {n}").as_bytes()), n))
            .collect();
        peers.sort_unstable();
        peers
    }

    fn closest(peers: &[(Place, u64)], place: &Place) -> Vec<(Place, u64)> {
        let mut peers = peers.to_vec();
        peers.sort_unstable_by_key(|(peer, _)| distance(peer, place));
        peers.truncate(REGION_PEERS);
        peers
    }

    fn explore(peers: &[(Place, u64)], key: &[u8]) -> (Region<u64>, usize) {
        let mut exploration = Exploration::around(key);
        let mut walks = 0;
        while let Some(key) = exploration.next_walk() {
            let found = closest(peers, &place_of(key));
            exploration.walked(found);
            walks += 1;
        }
        (exploration.end(), walks)
    }

    #[test]
    fn bits_in_common_and_prefixes() {
        let (mut a, b) = ([0; 32], [0; 32]);
        assert_eq!(common_bits(&a, &b), 256);
        a[1] = 0x10;
        assert_eq!(common_bits(&a, &b), 11);
        assert!(Prefix::of(&a, 11).holds(&b) && !Prefix::of(&a, 12).holds(&b));
        assert_eq!(Prefix::of(&a, 12).sibling(), Prefix::of(&b, 12));
        assert!(Prefix::of(&a, 0).holds(&[0xff; 32]));
        let all = [0xff; 32];
        assert_eq!(Prefix::of(&all, 12).first()[..3], [0xff, 0xf0, 0]);
        let key = Prefix::of(&all, 12).key_within().unwrap();
        assert_eq!(place_of(&key)[0], 0xff);
    }

    #[test]
    fn all_is_one_region_where_there_are_few_peers() {
        for count in [0, 1, 19, 20] {
            let peers = peers(count);
            let (region, walks) = explore(&peers, b"key");
            assert!(
                region.prefix.holds(&[0; 32]) && region.prefix.holds(&[0xff; 32]),
                "{count}"
            );
            assert_eq!(region.peers, peers);
            assert!(walks <= 3, "{walks} walks for {count}");
        }
    }

    #[test]
    fn of_each_key_in_a_region_the_closest_peers_are_known() {
        for count in [21, 40, 100, 1000, 5000] {
            let peers = peers(count);
            let mut walks = 0;
            for around in 0..20_u64 {
                let (region, more) = explore(&peers, &around.to_be_bytes());
                walks += more;
                assert!(region.prefix.holds(&place_of(&around.to_be_bytes())));
                let keys = (0..100_000_u64).map(|n| place_of(&n.to_le_bytes()));
                for place in keys.filter(|place| region.prefix.holds(place)).take(200) {
                    let numbers = region.closest(&place).into_iter();
                    let mut found: Vec<_> = numbers.map(|n| region.peers[n]).collect();
                    let mut expected = closest(&peers, &place);
                    found.sort_unstable();
                    expected.sort_unstable();
                    assert_eq!(found, expected, "{count} peers");
                }
            }
            assert!(walks <= 20 * 4, "{walks} walks for 20 regions of {count} peers");
        }
    }

    #[test]
    fn peers_that_lie_end_the_search_all_the_same() {
        let mut exploration = Exploration::around(b"key");
        let mut walks = 0;
        while let Some(key) = exploration.next_walk() {
            let place = place_of(key);
            // Twenty that have just appeared beside whatever is looked for.
            let near = (0..20).map(|n| {
                let mut peer = place;
                peer[31] ^= n + walks as u8;
                (peer, n)
            });
            exploration.walked(near.collect::<Vec<_>>());
            walks += 1;
        }
        assert!(walks <= MAX_WALKS);
        assert!(exploration.end().prefix.holds(&place_of(b"key")));
    }
}
