//! Nodes and leaves for tests that are about links alone.

use std::collections::BTreeMap;

use ipld_core::ipld::Ipld;
use odf_node::block::{Block, Cid, DAG_CBOR, RAW};
use odf_node::store::{Blocks as _, Store, StoreOptions};

pub(crate) fn open(dir: &tempfile::TempDir) -> Store {
    Store::open(dir.path(), StoreOptions::default()).unwrap()
}

/// A file that has column chunks of these lengths as its footer says, one behind the other, and no two equal parts. Nothing
/// else about it is Parquet.
pub(crate) fn parquet(seed: u64, chunks: &[usize]) -> Vec<u8> {
    let mut file = b"PAR1".to_vec();
    // Field 4 of the file, a list of one row group, whose field 1 is a list of chunks.
    let mut footer = vec![0x49, 0x1c, 0x19, (chunks.len() as u8) << 4 | 0x0c];
    assert!(chunks.len() < 15);
    for len in chunks {
        // Field 3 is the metadata, which has the length in field 7 and the offset in field 9.
        footer.extend([0x3c, 0x76]);
        footer.extend(zigzag(*len));
        footer.push(0x26);
        footer.extend(zigzag(file.len()));
        footer.extend([0, 0]);
        let end = file.len() + len;
        while file.len() < end {
            file.extend_from_slice(&(seed << 32 | file.len() as u64).to_be_bytes());
        }
        file.truncate(end);
    }
    footer.extend([0, 0]);
    file.extend_from_slice(&footer);
    file.extend_from_slice(&(footer.len() as u32).to_le_bytes());
    file.extend_from_slice(b"PAR1");
    file
}

fn zigzag(value: usize) -> Vec<u8> {
    let mut rest = value << 1;
    let mut bytes = Vec::new();
    while rest > 0x7f {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
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
