//! Histories of the block store, with power cuts and a disk that fails, held to its model.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| odf_node::store::model::run(data));
