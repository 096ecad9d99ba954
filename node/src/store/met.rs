//! The blocks that one walk has met, in little memory: there may be ten million.
//!
//! Both sets keep hashes whose keys are random, so nobody can make two blocks that are taken for one. They are in parts, so that
//! what grows at a time is small: a set that doubles has its old form beside the new one.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState};

use cid::Cid;
use multihash::Multihash;

/// How many parts a set has. A part that is empty takes no memory beside its 32 bytes.
const PARTS: usize = 64;

/// A set of CIDs, 16 bytes each. Two CIDs are taken for one if 128 bits of their hashes agree, which is as good as
/// impossible.
pub(crate) struct Visited {
    keys: [RandomState; 2],
    parts: Vec<HashSet<u128, BuildHasherDefault<Random>>>,
}

impl Visited {
    pub(crate) fn new() -> Self {
        Self {
            keys: [RandomState::new(), RandomState::new()],
            parts: vec![HashSet::default(); PARTS],
        }
    }

    /// Adds a CID. Whether it was not there.
    pub(crate) fn insert(&mut self, cid: &Cid) -> bool {
        let [high, low] = [&self.keys[0], &self.keys[1]].map(|key| key.hash_one(cid));
        let part = self.parts.get_mut(part_of(high));
        part.is_some_and(|part| part.insert(u128::from(high) << 64 | u128::from(low)))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.parts.iter().map(HashSet::len).sum()
    }
}

/// A set of multihashes, 8 bytes each, for whom it is no harm to take one for another that is there: of ten million that
/// happens to any in one of 400,000 sets.
pub(super) struct Met {
    key: RandomState,
    parts: Vec<HashSet<u64, BuildHasherDefault<Random>>>,
}

impl Default for Met {
    fn default() -> Self {
        Self {
            key: RandomState::new(),
            parts: vec![HashSet::default(); PARTS],
        }
    }
}

impl Met {
    /// Adds a multihash. Whether it was not there.
    pub(super) fn insert(&mut self, hash: &Multihash<64>) -> bool {
        let number = self.key.hash_one(hash);
        let part = self.parts.get_mut(part_of(number));
        part.is_some_and(|part| part.insert(number))
    }

    /// Whether it was added.
    pub(super) fn contains(&self, hash: &Multihash<64>) -> bool {
        let number = self.key.hash_one(hash);
        self.parts
            .get(part_of(number))
            .is_some_and(|part| part.contains(&number))
    }
}

/// By bits that a hash table goes by last: it takes the lowest and the highest ones.
fn part_of(number: u64) -> usize {
    (number >> 32) as usize % PARTS
}

/// The hash of a number that is a hash already.
#[derive(Default, Clone, Copy)]
struct Random(u64);

impl Hasher for Random {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn write_u128(&mut self, number: u128) {
        self.0 = number as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{Block, DAG_CBOR, DAG_PB, RAW};

    #[test]
    fn each_cid_is_met_once() {
        let mut visited = Visited::new();
        let cids = [DAG_PB, DAG_CBOR, RAW].map(|codec| *Block::new(codec, &b"same bytes"[..]).unwrap().cid());
        for cid in &cids {
            assert!(visited.insert(cid));
            assert!(!visited.insert(cid));
        }
        assert_eq!(visited.len(), cids.len());
    }

    #[test]
    fn bytes_are_met_whatever_their_codec_and_fill_every_part() {
        let mut met = Met::default();
        let hash = |number: u32| *Block::new(RAW, number.to_le_bytes().to_vec()).unwrap().cid().hash();
        for number in 0..10_000 {
            assert!(!met.contains(&hash(number)) && met.insert(&hash(number)));
        }
        assert!((0..10_000).all(|number| met.contains(&hash(number)) && !met.insert(&hash(number))));
        assert!(!met.contains(&hash(10_000)));
        assert!(met.parts.iter().all(|part| (50..400).contains(&part.len())));
    }
}
