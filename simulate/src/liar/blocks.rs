//! Bitswap as a liar has it: it has whatever is asked for, and what it sends is something else, cut off, or nothing.

use std::io;

use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use interop_tests::{bitswap, protobuf};
use libp2p::StreamProtocol;
use libp2p::request_response::{Behaviour, Codec, Config, ProtocolSupport};

use super::lies::{Lie, Lies};

/// The longest message that is read.
const MAX_MESSAGE: usize = 4 << 20;
/// Fields of a message: its wantlist, the entries of that, and what an entry asks for.
const LIST: u64 = 1;
const ENTRY: u64 = 1;
const CID: u64 = 1;

/// A message that comes is a request without an answer, and so is one that goes.
#[derive(Clone, Default)]
pub(super) struct Messages;

/// The exchange of such messages.
pub(super) fn behaviour() -> Behaviour<Messages> {
    let protocol = StreamProtocol::new(bitswap::PROTOCOL);
    Behaviour::new([(protocol, ProtocolSupport::Full)], Config::default())
}

/// What is said to whoever sent `message`: nothing if it asks for nothing.
pub(super) fn answer(message: &[u8], lies: &Lies) -> Option<Vec<u8>> {
    let inside = |bytes: &[u8], field: u64| -> Vec<Vec<u8>> {
        let fields = protobuf::byte_fields(bytes).into_iter();
        fields
            .filter(|(number, _)| *number == field)
            .map(|(_, content)| content.to_vec())
            .collect()
    };
    let entries = inside(message, LIST).into_iter().flat_map(|list| inside(&list, ENTRY));
    let wanted: Vec<Vec<u8>> = entries.flat_map(|entry| inside(&entry, CID)).collect();
    if wanted.is_empty() {
        return None;
    }
    let false_blocks = || bitswap::payloads(wanted.iter().map(Vec::as_slice));
    let mut said = bitswap::haves(wanted.iter().cloned());
    match lies.next() {
        Lie::Old => {}
        Lie::Other | Lie::Forged => said.extend(false_blocks()),
        Lie::Cut => {
            let blocks = false_blocks();
            said.extend_from_slice(blocks.get(..blocks.len() / 2).unwrap_or_default());
        }
    }
    Some(said)
}

impl Codec for Messages {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = ();

    async fn read_request<T>(&mut self, _: &Self::Protocol, from: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        let length = protobuf::read_varint(from).await?;
        if length > MAX_MESSAGE {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut message = vec![0; length];
        from.read_exact(&mut message).await?;
        Ok(message)
    }

    async fn read_response<T>(&mut self, _: &Self::Protocol, _: &mut T) -> io::Result<()>
    where
        T: AsyncRead + Unpin + Send,
    {
        Ok(())
    }

    async fn write_request<T>(&mut self, _: &Self::Protocol, to: &mut T, message: Vec<u8>) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        to.write_all(&message).await?;
        to.close().await
    }

    async fn write_response<T>(&mut self, _: &Self::Protocol, _: &mut T, (): ()) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        Ok(())
    }
}
