//! Metadata blocks: whatever can be read can be written again and means the same; chains never panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use odf_metadata::chain::ChainState;
use odf_metadata::codec::EncodedBlock;
use odf_metadata::yaml;

fuzz_target!(|data: &[u8]| {
    let Ok(block) = EncodedBlock::decode(data.to_vec()) else {
        return;
    };
    assert_eq!(&block.bytes()[..], data, "the stored bytes are the ones that came");
    if let Ok(again) = EncodedBlock::encode(block.block().clone()) {
        assert_eq!(again.block(), block.block());
        let read = EncodedBlock::decode(again.bytes().clone()).expect("what was written can be read");
        assert_eq!(read.block(), block.block());
    }
    if let Ok(text) = yaml::write_block(block.block()) {
        let read = yaml::read_blocks(&text).expect("what was written as YAML can be read");
        assert_eq!(read.first(), Some(block.block()));
    }
    if let Ok(mut state) = ChainState::begin(&block) {
        let _ = state.apply(&block);
    }
});
