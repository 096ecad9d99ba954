//! Messages of the DHT, and records of names.
//!
//! Specs: <https://github.com/libp2p/specs/blob/master/kad-dht/README.md>, <https://specs.ipfs.tech/ipns/ipns-record/>.

use std::io;

use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use libp2p::identity::Keypair;
use libp2p::{Multiaddr, PeerId};

use super::protobuf;
use super::protobuf::read_varint;
use super::wire::Stream;

/// The protocol, of the DHT of a local network.
pub(crate) const PROTOCOL: &str = "/ipfs/lan/kad/1.0.0";
/// The longest answer that is read.
const MAX_ANSWER: usize = 4 << 20;

const PUT_VALUE: u64 = 0;
const GET_VALUE: u64 = 1;
const ADD_PROVIDER: u64 = 2;
const GET_PROVIDERS: u64 = 3;
const FIND_NODE: u64 = 4;

fn message(kind: u64, key: &[u8], more: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut message = Vec::new();
    protobuf::number(1, kind, &mut message);
    protobuf::bytes(2, key, &mut message);
    more(&mut message);
    protobuf::frame(&message)
}

/// Says that `provider` has `key` and is at these addresses.
pub(crate) fn add_provider(key: &[u8], provider: &PeerId, addresses: &[Multiaddr]) -> Vec<u8> {
    let mut peer = Vec::new();
    protobuf::bytes(1, &provider.to_bytes(), &mut peer);
    for address in addresses {
        protobuf::bytes(2, address.as_ref(), &mut peer);
    }
    message(ADD_PROVIDER, key, |message| protobuf::bytes(9, &peer, message))
}

/// Asks who has `key`.
pub(crate) fn get_providers(key: &[u8]) -> Vec<u8> {
    message(GET_PROVIDERS, key, |_| {})
}

/// Asks who is close to `key`.
pub(crate) fn find_node(key: &[u8]) -> Vec<u8> {
    message(FIND_NODE, key, |_| {})
}

/// Asks for the record of `key`.
pub(crate) fn get_value(key: &[u8]) -> Vec<u8> {
    message(GET_VALUE, key, |_| {})
}

/// Puts a record.
pub(crate) fn put_value(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut record = Vec::new();
    protobuf::bytes(1, key, &mut record);
    protobuf::bytes(2, value, &mut record);
    message(PUT_VALUE, key, |message| protobuf::bytes(3, &record, message))
}

/// The ids of the providers in an answer.
pub(crate) fn providers(answer: &[u8]) -> Vec<Vec<u8>> {
    let peers = protobuf::byte_fields(answer)
        .into_iter()
        .filter(|(field, _)| *field == 9);
    let ids = peers.flat_map(|(_, peer)| protobuf::byte_fields(peer));
    ids.filter(|(field, _)| *field == 1)
        .map(|(_, id)| id.to_vec())
        .collect()
}

/// The value of the record in an answer.
pub(crate) fn value(answer: &[u8]) -> Option<Vec<u8>> {
    let record = protobuf::byte_fields(answer)
        .into_iter()
        .find(|(field, _)| *field == 3)?
        .1;
    let value = protobuf::byte_fields(record)
        .into_iter()
        .find(|(field, _)| *field == 2)?
        .1;
    Some(value.to_vec())
}

/// Sends a message and reads the answer.
pub(crate) async fn ask(stream: &mut Stream, message: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(message).await?;
    stream.flush().await?;
    let length = read_varint(stream).await?;
    if length > MAX_ANSWER {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// The key of a name in the DHT, and a good record of it that is `padding` bytes longer than it must be.
pub(crate) fn name(key: &Keypair, value: &str, until: &str) -> io::Result<(Vec<u8>, Vec<u8>)> {
    const BYTES: u8 = 2 << 5;
    const TEXT: u8 = 3 << 5;
    let at = [b"/ipns/", &key.public().to_peer_id().to_bytes()[..]].concat();
    let mut data = vec![5 << 5 | 5];
    let mut put = |name: &str, content: &[u8]| {
        data.push(TEXT | name.len() as u8);
        data.extend_from_slice(name.as_bytes());
        data.extend_from_slice(content);
    };
    // Heads are as short as they can be, or the data is not canonical.
    let bytes = |content: &[u8]| {
        let head = match content.len() {
            len @ 0..24 => vec![BYTES | len as u8],
            len @ 24..256 => vec![BYTES | 24, len as u8],
            len => [&[BYTES | 25], &(len as u16).to_be_bytes()[..]].concat(),
        };
        [head, content.to_vec()].concat()
    };
    put("TTL", &[0]);
    put("Value", &bytes(value.as_bytes()));
    put("Sequence", &[1]);
    put("Validity", &bytes(until.as_bytes()));
    put("ValidityType", &[0]);
    let signature = key
        .sign(&[b"ipns-signature:", &data[..]].concat())
        .map_err(io::Error::other)?;
    let mut record = Vec::new();
    protobuf::bytes(8, &signature, &mut record);
    protobuf::bytes(9, &data, &mut record);
    Ok((at, record))
}
