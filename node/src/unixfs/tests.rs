//! Tests across the parts of UnixFS; each part's own are beside it.

mod directories;
mod files;
mod paths;
mod profiles;
mod writes;

use std::collections::HashMap;

use bytes::Bytes;
use cid::Cid;

use super::*;

/// Blocks in memory.
#[derive(Clone, Default)]
struct Shelf(HashMap<Cid, Block>);

impl Shelf {
    fn add(&mut self, blocks: impl IntoIterator<Item = Block>) {
        self.0.extend(blocks.into_iter().map(|block| (*block.cid(), block)));
    }

    fn get(&self, cid: &Cid) -> Result<Block, String> {
        self.0.get(cid).cloned().ok_or_else(|| format!("{cid} is not here"))
    }

    fn load(&self) -> impl FnMut(&Cid) -> Result<Block, String> {
        |cid| self.get(cid)
    }

    /// All blocks below `root` that are here, `root` included.
    fn reach(&self, root: &Cid) -> std::collections::BTreeSet<Cid> {
        let mut seen = std::collections::BTreeSet::new();
        let mut open = vec![*root];
        while let Some(cid) = open.pop() {
            if let Some(block) = self.0.get(&cid)
                && seen.insert(cid)
            {
                open.extend(crate::dag::links(block).unwrap());
            }
        }
        seen
    }
}

fn cid(text: &str) -> Cid {
    Cid::try_from(text).unwrap()
}

/// An entry whose content is never looked at.
fn fake_entry(seed: u64) -> Entry {
    let block = Block::new(crate::block::RAW, Bytes::copy_from_slice(&seed.to_be_bytes())).unwrap();
    Entry {
        cid: *block.cid(),
        tsize: seed,
        size: seed,
    }
}
