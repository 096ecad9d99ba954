//! Messages of Bitswap.
//!
//! Spec: <https://specs.ipfs.tech/bitswap-protocol/>.

use crate::protobuf;

/// The protocol.
pub const PROTOCOL: &str = "/ipfs/bitswap/1.2.0";

/// An entry of a wantlist that asks for the block of a CID, and to be told if it is not there.
pub fn want(cid: &[u8]) -> Vec<u8> {
    let mut want = Vec::new();
    protobuf::bytes(1, cid, &mut want);
    protobuf::number(2, 1, &mut want);
    protobuf::number(5, 1, &mut want);
    want
}

/// An entry of a wantlist that withdraws a want.
pub fn cancel(cid: &[u8]) -> Vec<u8> {
    let mut cancel = Vec::new();
    protobuf::bytes(1, cid, &mut cancel);
    protobuf::number(3, 1, &mut cancel);
    cancel
}

/// A message with these blocks (version 1, raw, sha2-256), with its length before it.
pub fn payloads<'a>(blocks: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut message = Vec::new();
    for data in blocks {
        let mut payload = Vec::new();
        protobuf::bytes(1, &[1, 0x55, 0x12, 32], &mut payload);
        protobuf::bytes(2, data, &mut payload);
        protobuf::bytes(3, &payload, &mut message);
    }
    protobuf::frame(&message)
}

/// A message that says of each CID that the sender has it, with its length before it.
pub fn haves(cids: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut message = Vec::new();
    for cid in cids {
        let mut presence = Vec::new();
        protobuf::bytes(1, &cid, &mut presence);
        protobuf::bytes(4, &presence, &mut message);
    }
    protobuf::frame(&message)
}

/// A message with a wantlist of these entries, with its length before it; `full` if it replaces what was wanted before.
pub fn wantlist(entries: impl IntoIterator<Item = Vec<u8>>, full: bool) -> Vec<u8> {
    let mut list = Vec::new();
    for entry in entries {
        protobuf::bytes(1, &entry, &mut list);
    }
    protobuf::number(2, u64::from(full), &mut list);
    let mut message = Vec::new();
    protobuf::bytes(1, &list, &mut message);
    protobuf::frame(&message)
}

/// The blocks in a message.
pub fn blocks(message: &[u8]) -> Vec<Vec<u8>> {
    let payloads = protobuf::byte_fields(message)
        .into_iter()
        .filter(|(field, _)| *field == 3);
    let data = payloads.flat_map(|(_, payload)| protobuf::byte_fields(payload));
    data.filter(|(field, _)| *field == 2)
        .map(|(_, data)| data.to_vec())
        .collect()
}

/// The CID (version 1, raw, sha2-256) of a block that nobody has; another one for each two numbers.
pub fn nobodys(round: u64, entry: u64) -> Vec<u8> {
    let mut cid = vec![1, 0x55, 0x12, 32];
    cid.extend_from_slice(&[round.to_be_bytes(), entry.to_be_bytes()].concat());
    cid.resize(36, 0);
    cid
}
