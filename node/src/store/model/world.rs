//! The blocks, files and roots that histories are about.

use std::{collections::BTreeSet, path::PathBuf, sync::OnceLock};

use ipld_core::ipld::Ipld;

use crate::block::{Block, Cid, DAG_CBOR, RAW};

/// Always the same.
pub(super) struct World {
    pub(super) blocks: Vec<Block>,
    /// For each file, its parts: offset and block.
    pub(super) files: Vec<Vec<(u64, usize)>>,
    /// What can be pinned.
    pub(super) roots: Vec<Cid>,
}

fn bytes_of(seed: u32, len: usize) -> Vec<u8> {
    let mut state = u64::from(seed) * 2 + 1;
    let next = |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..len).map(next).collect()
}

fn node(links: &[Cid]) -> Block {
    let links = links.iter().map(|cid| Ipld::Link(*cid)).collect();
    Block::new(DAG_CBOR, serde_ipld_dagcbor::to_vec(&Ipld::List(links)).unwrap()).unwrap()
}

impl World {
    pub(super) fn get() -> &'static World {
        static WORLD: OnceLock<World> = OnceLock::new();
        WORLD.get_or_init(Self::make)
    }

    fn make() -> World {
        let lengths = [1, 7, 100, 3000, 4096, 9000, 20_000, 12_000, 500, 2000, 6000, 70_000];
        let raw = lengths.iter().enumerate();
        let mut blocks: Vec<Block> = raw
            .map(|(seed, len)| Block::new(RAW, bytes_of(seed as u32, *len)).unwrap())
            .collect();
        let cid = |blocks: &[Block], n: usize| *blocks[n].cid();
        let as_raw = |cid: Cid| Cid::new_v1(RAW, *cid.hash());
        // 12 to 17; each may link to those before it.
        let plans: [&[usize]; 6] = [&[0, 1], &[2, 3, 12], &[4, 5, 6], &[13, 14], &[7, 9], &[16, 10]];
        for plan in plans {
            let mut links: Vec<Cid> = plan.iter().map(|n| cid(&blocks, *n)).collect();
            if plan == [7, 9] {
                // The bytes of a node, as something without links.
                links.insert(0, as_raw(cid(&blocks, 12)));
            }
            blocks.push(node(&links));
        }
        let files = vec![
            vec![(0, 3), (3000, 9), (5000, 7)],
            vec![(0, 7), (12_000, 10)],
            // A node as a part of a file, and the same block twice.
            vec![(0, 12), (4096, 9), (8192, 9)],
        ];
        let roots = vec![
            cid(&blocks, 15),
            cid(&blocks, 13),
            cid(&blocks, 16),
            cid(&blocks, 17),
            as_raw(cid(&blocks, 15)),
            as_raw(cid(&blocks, 13)),
            cid(&blocks, 9),
        ];
        World { blocks, files, roots }
    }

    /// The blocks below a root, going only through those that are `here`.
    pub(super) fn reach(&self, root: &Cid, here: &BTreeSet<usize>) -> BTreeSet<usize> {
        let mut reached = BTreeSet::new();
        let mut followed = BTreeSet::new();
        let mut due = vec![*root];
        while let Some(cid) = due.pop() {
            let Some(n) = self.blocks.iter().position(|block| block.cid().hash() == cid.hash()) else {
                continue;
            };
            reached.insert(n);
            if cid.codec() != RAW && here.contains(&n) && followed.insert(n) {
                due.extend(crate::dag::links(&self.blocks[n]).unwrap());
            }
        }
        reached
    }
}

/// Where files may lie; the last is one that they take from each other.
pub(super) fn path_of(file: usize, name: usize) -> PathBuf {
    match name % 3 {
        0 => PathBuf::from(format!("a/file{file}")),
        1 => PathBuf::from(format!("b/file{file}")),
        _ => PathBuf::from("b/shared"),
    }
}

pub(super) fn all_paths() -> Vec<PathBuf> {
    let own = (0..World::get().files.len()).flat_map(|file| [path_of(file, 0), path_of(file, 1)]);
    own.chain([path_of(0, 2)]).collect()
}
