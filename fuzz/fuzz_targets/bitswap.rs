//! Bitswap messages of other peers.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = odf_node::exchange::is_message(&data.to_vec().into());
});
