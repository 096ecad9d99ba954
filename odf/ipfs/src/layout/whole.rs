//! Whether the DAG of a dataset is here, block by block, and making it again when it is not.

use std::collections::HashSet;

use odf_dataset::{Dataset, Served};
use odf_metadata::{DatasetId, Multihash};
use odf_node::block::{Cid, RAW};
use odf_node::dag;
use odf_node::store::Blocks as _;

use super::{Foresight, Layout, LayoutError, Root, Work};

/// How often a layout is made again while nodes that the index believed to be here turn out to be missing. Every time at
/// least one level of the DAG of a file, which has three at most, is written again.
const MAX_ATTEMPTS: usize = 8;

impl Layout {
    /// Whether the chain still holds the block that the layout was made at, and the layout's nodes are still here.
    ///
    /// The few at the top are read. All others are, too, if any block at all was lost since the layout was known to be
    /// complete; then it is marked so again.
    pub(super) fn is_whole(&self, dataset: &Dataset, root: &Root) -> Result<bool, LayoutError> {
        if root.place.end() > dataset.chain_len() {
            return Ok(false);
        }
        if Multihash::sha3_256(&dataset.bytes_at(root.place)?) != root.head {
            return Ok(false);
        }
        let top = [
            root.cid,
            root.files,
            root.chain_node,
            root.blocks.cid,
            root.data.cid,
            root.checkpoints.cid,
        ];
        for cid in &top {
            if self.store.get(cid)?.is_none() {
                return Ok(false);
            }
        }
        if self.store.is_complete(&root.cid)? {
            return Ok(true);
        }
        let walk = self.store.walk();
        let looked = self.look(root.cid, false, &|_| {})?;
        if looked.lacking > 0 {
            return Ok(false);
        }
        self.store.mark_complete(&walk, &looked.nodes)?;
        Ok(true)
    }

    /// Whether the current layout of a dataset is that of its head, and pinned. Reads nothing but the index.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn is_current(&self, dataset: &Dataset) -> Result<bool, LayoutError> {
        self.is_at(&dataset.id(), dataset.head())
    }

    /// As [`Self::is_current`], for a dataset that is not open.
    pub(crate) fn is_at(&self, id: &DatasetId, head: &Multihash) -> Result<bool, LayoutError> {
        let root = self.latest(id)?.filter(|root| root.head == *head);
        Ok(root.is_some_and(|root| self.store.is_pinned(&id.to_string(), &root.cid)))
    }

    /// Makes a layout from nothing, and again until all of its nodes are here: nodes are not written that the index believes
    /// to be here, until they were read and found missing.
    pub(super) fn anew(&self, dataset: &Dataset, foresight: &Foresight) -> Result<Root, LayoutError> {
        let mut first = None;
        for _ in 0..MAX_ATTEMPTS {
            let mut work = Work::new(self, dataset, foresight.clone());
            work.in_doubt = true;
            let root = work.run(None)?;
            let walk = self.store.walk();
            let looked = self.look(root.cid, false, &|_| {})?;
            if looked.lacking == 0 {
                self.store.mark_complete(&walk, &looked.nodes)?;
                return Ok(root);
            }
            first = looked.first_lacking;
        }
        let first = first.map(|cid| cid.to_string()).unwrap_or_default();
        Err(LayoutError::Directory(format!("{first} is written and cannot be read")))
    }

    /// Reads every block below the root of the head, as whoever is served it would.
    pub(super) fn served(&self, dataset: &Dataset, on_bytes: &dyn Fn(u64)) -> Result<Served, LayoutError> {
        let Some(root) = self.latest(&dataset.id())? else {
            return Ok(Served::default());
        };
        let walk = self.look(root.cid, true, on_bytes)?;
        Ok(Served {
            is_at_head: self.is_current(dataset)?,
            blocks: walk.blocks,
            lacking: walk.lacking,
            first_lacking: walk.first_lacking.map(|cid| cid.to_string()),
        })
    }

    /// Reads and hashes the nodes below `root`, and the leaves too if wanted; else it is only asked whether those are here.
    fn look(&self, root: Cid, leaves: bool, on_bytes: &dyn Fn(u64)) -> Result<Looked, LayoutError> {
        let mut walk = Looked::default();
        let mut seen = HashSet::from([root]);
        let mut open = vec![root];
        while let Some(cid) = open.pop() {
            if cid.codec() == RAW && !leaves {
                match self.store.has(&cid)? {
                    true => walk.blocks += 1,
                    false => walk.lacks(cid),
                }
                continue;
            }
            let Some(block) = self.store.get(&cid)? else {
                walk.lacks(cid);
                continue;
            };
            walk.blocks += 1;
            on_bytes(block.data().len() as u64);
            if cid.codec() != RAW {
                walk.nodes.push(cid);
                let links = dag::links(&block).map_err(|error| LayoutError::Directory(error.to_string()))?;
                open.extend(links.into_iter().filter(|link| seen.insert(*link)));
            }
        }
        Ok(walk)
    }
}

/// What a walk of a DAG found.
#[derive(Default)]
struct Looked {
    blocks: u64,
    nodes: Vec<Cid>,
    lacking: u64,
    first_lacking: Option<Cid>,
}

impl Looked {
    fn lacks(&mut self, cid: Cid) {
        self.lacking += 1;
        self.first_lacking.get_or_insert(cid);
    }
}
