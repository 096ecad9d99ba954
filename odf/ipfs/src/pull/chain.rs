//! The newest chain nodes of a root, for whoever lacks little of a dataset.
//!
//! A chain node links to its metadata block and to the files that this names (`docs/formats.md`). For one new block that is
//! fewer steps than the way to it through the directories, whose depth grows with the chain. Nothing is believed: metadata
//! blocks and files are hashed as always, and where a node leads to something else, or nobody has it, the directories decide.

use std::collections::HashMap;

use ipld_core::ipld::Ipld;
use odf_metadata::Multihash;
use odf_node::block::{Block, Cid};
use odf_node::dag;

/// So many chain nodes are read, one after the other. More than a few new blocks come sooner through the directories, many
/// at once.
const MAX_NODES: usize = 3;

/// What was read of a chain, from its newest block on.
pub(super) struct Newest {
    /// The chain node to read next.
    next: Option<Cid>,
    read: usize,
    /// Metadata blocks, by hash.
    blocks: HashMap<Multihash, Cid>,
    /// Slices and checkpoints, by physical hash.
    files: HashMap<Multihash, Cid>,
}

impl Newest {
    /// Nothing yet of the chain with this newest node.
    pub(super) fn of(node: Option<Cid>) -> Self {
        Self {
            next: node,
            read: 0,
            blocks: HashMap::new(),
            files: HashMap::new(),
        }
    }

    /// Where a metadata block is said to be.
    pub(super) fn block(&self, hash: &Multihash) -> Option<Cid> {
        self.blocks.get(hash).copied()
    }

    /// Where a slice or a checkpoint is said to be.
    pub(super) fn file(&self, hash: &Multihash) -> Option<Cid> {
        self.files.get(hash).copied()
    }

    /// The node to read next, unless enough were read.
    pub(super) fn next(&self) -> Option<Cid> {
        self.next.filter(|_| self.read < MAX_NODES)
    }

    /// Takes note of the node that was to be read next. One that is malformed ends it.
    pub(super) fn take(&mut self, node: &Block) {
        self.read += 1;
        self.next = self.note(node).flatten();
    }

    /// Forgets everything, and that there is more to read: it was wrong, or cannot be had.
    pub(super) fn give_up(&mut self) {
        *self = Self::of(None);
    }

    /// The node before; none at the beginning of the chain, and nothing of what is no chain node.
    fn note(&mut self, node: &Block) -> Option<Option<Cid>> {
        let Ok(Ipld::Map(map)) = dag::value(node) else {
            return None;
        };
        let link = |name: &str| match map.get(name) {
            Some(Ipld::Link(cid)) => Some(*cid),
            _ => None,
        };
        let Some(Ipld::Bytes(hash)) = map.get("hash") else {
            return None;
        };
        self.blocks.insert(Multihash::from_bytes(hash).ok()?, link("raw")?);
        for (named, at) in [("newData", link("data")), ("newCheckpoint", link("checkpoint"))] {
            if let (Some(hash), Some(at)) = (physical_hash(map.get("event")?, named), at) {
                self.files.insert(hash, at);
            }
        }
        Some(link("prev"))
    }
}

/// The physical hash in a part of an event.
fn physical_hash(event: &Ipld, part: &str) -> Option<Multihash> {
    let Ipld::Map(event) = event else { return None };
    let Some(Ipld::Map(part)) = event.get(part) else {
        return None;
    };
    match part.get("physicalHash") {
        Some(Ipld::String(hash)) => hash.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use odf_node::block::{DAG_CBOR, RAW};

    use super::*;

    fn raw(text: &str) -> Cid {
        *Block::new(RAW, text.as_bytes().to_vec()).unwrap().cid()
    }

    fn hash(text: &str) -> Multihash {
        Multihash::sha3_256(text.as_bytes())
    }

    fn block(map: BTreeMap<String, Ipld>) -> Block {
        Block::new(DAG_CBOR, serde_ipld_dagcbor::to_vec(&Ipld::Map(map)).unwrap()).unwrap()
    }

    /// The chain node of the block `name`, with a slice, behind another node.
    fn node(name: &str, prev: Option<Cid>) -> BTreeMap<String, Ipld> {
        let slice = hash(&format!("slice of {name}")).to_string();
        let data = BTreeMap::from([("physicalHash".to_owned(), Ipld::String(slice))]);
        let event = BTreeMap::from([("newData".to_owned(), Ipld::Map(data))]);
        BTreeMap::from([
            ("hash".to_owned(), Ipld::Bytes(hash(name).to_bytes())),
            ("raw".to_owned(), Ipld::Link(raw(name))),
            ("data".to_owned(), Ipld::Link(raw(&format!("slice of {name}")))),
            ("event".to_owned(), Ipld::Map(event)),
            ("prev".to_owned(), prev.map_or(Ipld::Null, Ipld::Link)),
        ])
    }

    #[test]
    fn so_many_nodes_are_read_and_no_more() {
        let before = raw("before");
        let mut newest = Newest::of(Some(before));
        for number in 0..MAX_NODES {
            assert_eq!(newest.next(), Some(before), "{number}");
            newest.take(&block(node(&number.to_string(), Some(before))));
        }
        assert_eq!(newest.next(), None);
        for number in (0..MAX_NODES).map(|number| number.to_string()) {
            let slice = format!("slice of {number}");
            assert_eq!(newest.block(&hash(&number)), Some(raw(&number)));
            assert_eq!(newest.file(&hash(&slice)), Some(raw(&slice)));
        }
        assert_eq!((newest.block(&hash("x")), newest.file(&hash("x"))), (None, None));
    }

    #[test]
    fn what_is_no_chain_node_ends_it() {
        for part in ["hash", "raw", "event"] {
            let mut newest = Newest::of(Some(raw("a")));
            let mut map = node("a", Some(raw("before")));
            map.remove(part);
            newest.take(&block(map));
            assert_eq!(newest.next(), None, "{part}");
        }
        let mut newest = Newest::of(Some(raw("a")));
        newest.take(&Block::new(RAW, b"rows".to_vec()).unwrap());
        assert_eq!(newest.next(), None);
        let mut newest = Newest::of(Some(raw("a")));
        newest.take(&block(node("a", Some(raw("before")))));
        newest.give_up();
        assert_eq!((newest.next(), newest.block(&hash("a"))), (None, None));
        // The Seed is the last.
        let mut newest = Newest::of(Some(raw("a")));
        newest.take(&block(node("a", None)));
        assert_eq!((newest.next(), newest.block(&hash("a"))), (None, Some(raw("a"))));
    }
}
