//! What an attacker says of itself, so that it looks like anybody else.
//!
//! Spec: <https://github.com/libp2p/specs/blob/master/identify/README.md>.

use libp2p::identity::PublicKey;

use super::protobuf;

/// The protocol.
pub(crate) const PROTOCOL: &str = "/ipfs/id/1.0.0";

/// The message of a peer that speaks `protocols`, with its length before it.
pub(crate) fn message(key: &PublicKey, protocols: &[&str]) -> Vec<u8> {
    let mut message = Vec::new();
    protobuf::bytes(5, b"ipfs/0.1.0", &mut message);
    protobuf::bytes(6, b"kubo/0.43.0/", &mut message);
    protobuf::bytes(1, &key.encode_protobuf(), &mut message);
    for protocol in protocols {
        protobuf::bytes(3, protocol.as_bytes(), &mut message);
    }
    protobuf::frame(&message)
}
