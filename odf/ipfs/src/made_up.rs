//! Nodes and leaves for tests that are about links alone.

use std::collections::BTreeMap;

use ipld_core::ipld::Ipld;
use odf_node::block::{Block, Cid, DAG_CBOR, RAW};
use odf_node::store::{Blocks as _, Store, StoreOptions};

pub(crate) fn open(dir: &tempfile::TempDir) -> Store {
    Store::open(dir.path(), StoreOptions::default()).unwrap()
}

/// Keeps a node with these links.
pub(crate) fn node(store: &Store, links: &[(String, Cid)]) -> Cid {
    let links = links.iter().map(|(name, cid)| (name.clone(), Ipld::Link(*cid)));
    let node = Ipld::Map(links.collect::<BTreeMap<_, _>>());
    let block = Block::new(DAG_CBOR, serde_ipld_dagcbor::to_vec(&node).unwrap()).unwrap();
    store.put(std::slice::from_ref(&block)).unwrap();
    *block.cid()
}

/// A leaf that is not here, and need not be.
pub(crate) fn leaf(number: usize) -> Cid {
    *Block::new(RAW, number.to_be_bytes().to_vec()).unwrap().cid()
}
