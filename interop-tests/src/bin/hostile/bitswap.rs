//! Messages of Bitswap.
//!
//! Spec: <https://specs.ipfs.tech/bitswap-protocol/>.

use super::protobuf;

/// The protocol.
pub(crate) const PROTOCOL: &str = "/ipfs/bitswap/1.2.0";

/// An entry of a wantlist that asks for the block of a CID, and to be told if it is not there.
pub(crate) fn want(cid: &[u8]) -> Vec<u8> {
    let mut want = Vec::new();
    protobuf::bytes(1, cid, &mut want);
    protobuf::number(2, 1, &mut want);
    protobuf::number(5, 1, &mut want);
    want
}

/// A message with a wantlist of these entries, with its length before it; `full` if it replaces what was wanted before.
pub(crate) fn wantlist(entries: impl IntoIterator<Item = Vec<u8>>, full: bool) -> Vec<u8> {
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
pub(crate) fn blocks(message: &[u8]) -> Vec<Vec<u8>> {
    let payloads = protobuf::byte_fields(message)
        .into_iter()
        .filter(|(field, _)| *field == 3);
    let data = payloads.flat_map(|(_, payload)| protobuf::byte_fields(payload));
    data.filter(|(field, _)| *field == 2)
        .map(|(_, data)| data.to_vec())
        .collect()
}
