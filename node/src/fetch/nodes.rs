//! The nodes of a walk that are to be named at its end, in little memory: a stranger's DAG may have millions.

use multihash::Multihash;

use crate::block::{Cid, DAG_CBOR, DAG_PB, SHA2_256};

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
