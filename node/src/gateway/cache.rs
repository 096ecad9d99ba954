//! Blocks in memory, and bounded: those that came from peers because a gateway was asked for them, so that whoever asks for much has
//! it pass through and leaves nothing on the disk, and those that were read of late, so that what many ask for is hashed once.

use std::collections::{BTreeMap, HashMap};

use cid::Cid;

use crate::block::Block;

/// The most bytes of blocks from peers that are kept. What was asked for least lately goes first.
pub const MAX_CACHED_BYTES: usize = 64 << 20;
/// The most bytes of blocks that are kept although they are here: nodes that lead to others, and what several clients are being
/// sent.
pub const MAX_READ_BYTES: usize = 16 << 20;
/// What a block takes up beside its bytes, about: its names and its places in two tables.
const ENTRY_BYTES: usize = 512;

/// Blocks by their names, and by when each was last asked for.
pub(super) struct Cache {
    most: usize,
    blocks: HashMap<Cid, (u64, Block)>,
    uses: BTreeMap<u64, Cid>,
    used: u64,
    bytes: usize,
}

impl Cache {
    /// One that keeps so many bytes at most.
    pub(super) fn of(most: usize) -> Self {
        Self {
            most,
            blocks: HashMap::new(),
            uses: BTreeMap::new(),
            used: 0,
            bytes: 0,
        }
    }

    pub(super) fn has(&self, cid: &Cid) -> bool {
        self.blocks.contains_key(cid)
    }

    pub(super) fn get(&mut self, cid: &Cid) -> Option<Block> {
        let (use_before, block) = self.blocks.get_mut(cid)?;
        self.uses.remove(use_before);
        self.used += 1;
        *use_before = self.used;
        self.uses.insert(self.used, *cid);
        Some(block.clone())
    }

    pub(super) fn keep(&mut self, block: Block) {
        let (cid, size) = (*block.cid(), cost(&block));
        if size > self.most || self.get(&cid).is_some() {
            return;
        }
        self.used += 1;
        self.bytes += size;
        self.blocks.insert(cid, (self.used, block));
        self.uses.insert(self.used, cid);
        while self.bytes > self.most {
            let Some((_, oldest)) = self.uses.pop_first() else {
                return;
            };
            if let Some((_, block)) = self.blocks.remove(&oldest) {
                self.bytes -= cost(&block);
            }
        }
    }
}

fn cost(block: &Block) -> usize {
    block.data().len() + ENTRY_BYTES
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::block::RAW;

    const SIZE: usize = 1 << 20;

    fn block(n: usize) -> Block {
        let mut data = vec![0; SIZE];
        data[..8].copy_from_slice(&n.to_be_bytes());
        Block::new(RAW, data).unwrap()
    }

    #[test]
    fn one_block_too_many_takes_the_place_of_the_one_that_was_asked_for_least_lately() {
        for most in [MAX_CACHED_BYTES, MAX_READ_BYTES] {
            holds(most);
        }
    }

    fn holds(bytes: usize) {
        let mut cache = Cache::of(bytes);
        // As many of that size as are kept.
        let most = bytes / (SIZE + ENTRY_BYTES);
        let cids: Vec<Cid> = (0..=most).map(|n| *block(n).cid()).collect();
        for n in 0..most {
            cache.keep(block(n));
            cache.keep(block(n));
        }
        assert!(cids[..most].iter().all(|cid| cache.has(cid)));
        assert_eq!(cache.get(&cids[0]).unwrap(), block(0));
        cache.keep(block(most));
        let gone: Vec<usize> = (0..=most).filter(|n| !cache.has(&cids[*n])).collect();
        assert_eq!(gone, [1]);
        assert!(cache.bytes <= bytes && cache.uses.len() == cache.blocks.len());
        assert!(cache.get(&cids[1]).is_none());
    }

    #[test]
    fn a_block_is_kept_without_the_message_that_it_came_in() {
        let message = Bytes::from(vec![7; 3000]);
        let part = Block::new(RAW, message.slice(1000..2000)).unwrap();
        let kept = part.clone().alone();
        assert_eq!(kept, part);
        assert_ne!(kept.data().as_ptr(), part.data().as_ptr());
    }
}
