//! Blocks of other peers: links, values, UnixFS files and directories.
#![no_main]

use cid::Cid;
use libfuzzer_sys::fuzz_target;
use odf_node::block::{Block, DAG_CBOR, DAG_PB, RAW};
use odf_node::dag;
use odf_node::unixfs::{directory, export, node};

fuzz_target!(|data: &[u8]| {
    let Some((codec, content)) = data.split_first() else {
        return;
    };
    let codec = [DAG_PB, DAG_CBOR, RAW][usize::from(*codec) % 3];
    let Ok(block) = Block::new(codec, content.to_vec()) else {
        return;
    };
    let _ = dag::links(&block);
    let _ = dag::value(&block);
    let _ = node::stat(&block);
    let _ = export::open(&export::Part::root(*block.cid()), &block);
    let mut load = |cid: &Cid| if cid == block.cid() { Ok(block.clone()) } else { Err(()) };
    let _ = directory::list(block.cid(), &mut load);
    let _ = directory::lookup(block.cid(), "name", &mut load);
});
