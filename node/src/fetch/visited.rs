//! The nodes that one walk has met, in little memory: a stranger's DAG may have millions.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};

use multihash::Multihash;

use crate::block::{Cid, DAG_CBOR, DAG_PB, SHA2_256};

/// A set of CIDs, 16 bytes each. Two CIDs are taken for one if 128 bits of their hashes agree; the keys of the hashes are
/// random, so nobody can make such a pair.
pub(super) struct Visited {
    keys: [RandomState; 2],
    seen: HashSet<u128>,
}

impl Visited {
    pub(super) fn new() -> Self {
        Self {
            keys: [RandomState::new(), RandomState::new()],
            seen: HashSet::new(),
        }
    }

    /// Adds a CID. Whether it was not there.
    pub(super) fn insert(&mut self, cid: &Cid) -> bool {
        let [high, low] = [&self.keys[0], &self.keys[1]].map(|key| u128::from(key.hash_one(cid)));
        self.seen.insert(high << 64 | low)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.seen.len()
    }
}

/// Nodes that are to be named later, 33 bytes each if they are of the usual kind.
#[derive(Default)]
pub(super) struct Nodes {
    usual: Vec<(bool, [u8; 32])>,
    others: Vec<Cid>,
}

impl Nodes {
    pub(super) fn push(&mut self, cid: Cid) {
        let digest = (cid.hash().code() == SHA2_256).then(|| cid.hash().digest().try_into().ok());
        match (digest.flatten(), cid.version(), cid.codec()) {
            (Some(digest), cid::Version::V1, DAG_PB) => self.usual.push((false, digest)),
            (Some(digest), cid::Version::V1, DAG_CBOR) => self.usual.push((true, digest)),
            _ => self.others.push(cid),
        }
    }

    /// All of them, so many at a time.
    pub(super) fn chunks(&self, length: usize) -> impl Iterator<Item = Vec<Cid>> + '_ {
        let named = |(is_cbor, digest): &(bool, [u8; 32])| {
            let codec = if *is_cbor { DAG_CBOR } else { DAG_PB };
            Multihash::wrap(SHA2_256, digest)
                .map(|hash| Cid::new_v1(codec, hash))
                .ok()
        };
        let usual = self
            .usual
            .chunks(length)
            .map(move |chunk| chunk.iter().filter_map(named).collect());
        usual.chain(self.others.chunks(length).map(<[Cid]>::to_vec))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{Block, RAW};

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
    fn nodes_come_back_as_they_were() {
        let blocks = (0_u8..10).map(|number| vec![number; 3]);
        let mut cids: Vec<Cid> = blocks
            .flat_map(|bytes| [DAG_PB, DAG_CBOR, RAW].map(|codec| *Block::new(codec, bytes.clone()).unwrap().cid()))
            .collect();
        cids.push(*Block::new_v0(&b"old"[..]).unwrap().cid());
        let mut nodes = Nodes::default();
        cids.iter().for_each(|cid| nodes.push(*cid));
        let mut back: Vec<Cid> = nodes
            .chunks(4)
            .inspect(|chunk| assert!(chunk.len() <= 4))
            .flatten()
            .collect();
        back.sort_unstable();
        cids.sort_unstable();
        assert_eq!(back, cids);
    }
}
