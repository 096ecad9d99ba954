//! The blocks of a DAG depth first, each once and before those that it links to, these from left to right: the order of
//! `ipfs dag export`, and of CARs with `order=dfs`.

use std::collections::HashSet;

use cid::Cid;

use super::{DagError, links};
use crate::block::{Block, inherent};

/// The most links that wait for their turn: some 100 MB of them. Directories and files as they are made have a few hundred for
/// each of their levels.
pub const MAX_WAITING: usize = 1 << 20;

/// Which block is next, for a caller that has them. What it keeps is a CID for each block that was met, and at most
/// [`MAX_WAITING`] links.
#[derive(Debug)]
pub struct DepthFirst {
    /// The next one last.
    waiting: Vec<Cid>,
    met: HashSet<Cid>,
}

impl DepthFirst {
    /// Of all that is below a root.
    pub fn new(root: Cid) -> Self {
        Self {
            waiting: vec![root],
            met: HashSet::new(),
        }
    }

    /// The next block, which is to be given to [`Self::enter`]; nothing at the end. Blocks that are within their CIDs are none.
    pub fn next_block(&mut self) -> Option<Cid> {
        loop {
            let cid = self.waiting.pop()?;
            if inherent(&cid).is_none() && self.met.insert(cid) {
                return Some(cid);
            }
        }
    }

    /// What comes next, as far as it is known; some of it may have been met.
    pub fn upcoming(&self) -> impl Iterator<Item = Cid> + '_ {
        self.waiting.iter().rev().copied()
    }

    /// Goes on below a block. One that is left out is a leaf.
    ///
    /// # Errors
    /// Its links cannot be read, or too many are waiting.
    pub fn enter(&mut self, block: &Block) -> Result<(), DagError> {
        let mut links = links(block)?;
        links.retain(|link| !self.met.contains(link));
        if self.waiting.len() + links.len() > MAX_WAITING {
            return Err(DagError::TooWide { cid: *block.cid() });
        }
        self.waiting.extend(links.into_iter().rev());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{DAG_CBOR, RAW};

    fn node(links: &[Cid]) -> Block {
        Block::new(DAG_CBOR, serde_ipld_dagcbor::to_vec(&links).unwrap()).unwrap()
    }

    #[test]
    fn each_block_comes_once_and_before_those_below_it() {
        let [a, b, c] = [1, 2, 3].map(|byte| Block::new(RAW, vec![byte]).unwrap());
        let left = node(&[*b.cid(), *a.cid()]);
        let root = node(&[*a.cid(), *left.cid(), *left.cid(), *c.cid(), *b.cid()]);
        let blocks = [&a, &b, &c, &left, &root];
        let mut order = DepthFirst::new(*root.cid());
        let mut seen = Vec::new();
        while let Some(cid) = order.next_block() {
            seen.push(cid);
            order
                .enter(blocks.iter().find(|block| *block.cid() == cid).unwrap())
                .unwrap();
        }
        assert_eq!(seen, [&root, &a, &left, &b, &c].map(|block| *block.cid()));
    }

    #[test]
    fn one_link_over_the_limit_ends_it() {
        let leaf = *Block::new(RAW, vec![0]).unwrap().cid();
        let wide = node(&vec![leaf; 1 << 14]);
        let mut order = DepthFirst::new(*wide.cid());
        order.waiting.clear();
        for _ in 0..MAX_WAITING >> 14 {
            order.enter(&wide).unwrap();
        }
        let one = node(&[leaf]);
        assert!(matches!(order.enter(&one), Err(DagError::TooWide { cid }) if cid == *one.cid()));
    }
}
