use super::*;

const PREV_OFFSET_ONLY: &str = "140000000000000000000a0018000c00080004000a0000001400000003000000000040000000000000000000480000001400000000000e001e000c00000000000b0004000e00000020000000000000080208000001000000c0a80000000000000000060008000400060000000400000003000000666f6f00";

#[test]
fn smallest_golden_block_reads() {
    let bytes: Vec<u8> = (0..PREV_OFFSET_ONLY.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&PREV_OFFSET_ONLY[i..i + 2], 16).unwrap())
        .collect();
    let read = EncodedBlock::decode(bytes.clone()).unwrap();
    assert_eq!(encode(read.block()), bytes);
}
