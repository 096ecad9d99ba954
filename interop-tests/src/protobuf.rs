//! Protobuf as far as peers that mean harm write it, where every byte is theirs to choose, and read it.

use std::io;

use futures::{AsyncRead, AsyncReadExt as _};
use unsigned_varint::{decode, encode};

/// Appends a number as a varint.
pub fn varint(number: u64, to: &mut Vec<u8>) {
    to.extend_from_slice(encode::u64(number, &mut encode::u64_buffer()));
}

/// Appends a field of bytes, text or a message.
pub fn bytes(field: u64, content: &[u8], to: &mut Vec<u8>) {
    varint(field << 3 | 2, to);
    varint(content.len() as u64, to);
    to.extend_from_slice(content);
}

/// Appends a field that is a number.
pub fn number(field: u64, content: u64, to: &mut Vec<u8>) {
    varint(field << 3, to);
    varint(content, to);
}

/// A message with its length before it, as most protocols frame theirs.
pub fn frame(message: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(message.len() + 10);
    varint(message.len() as u64, &mut framed);
    framed.extend_from_slice(message);
    framed
}

/// The fields of a message that are bytes, text or messages; nothing after what cannot be read.
pub fn byte_fields(mut message: &[u8]) -> Vec<(u64, &[u8])> {
    let mut fields = Vec::new();
    while let Ok((tag, rest)) = decode::u64(message) {
        let Ok((number, rest)) = decode::u64(rest) else { break };
        message = rest;
        if tag & 7 == 2 {
            let Some((content, rest)) = usize::try_from(number)
                .ok()
                .and_then(|length| rest.split_at_checked(length))
            else {
                break;
            };
            fields.push((tag >> 3, content));
            message = rest;
        }
    }
    fields
}

/// A varint, as lengths of frames are.
///
/// # Errors
/// The stream ends before it does, or it has no end.
pub async fn read_varint<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<usize> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        number |= usize::from(byte[0] & 0x7f) << shift;
        if byte[0] & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}
