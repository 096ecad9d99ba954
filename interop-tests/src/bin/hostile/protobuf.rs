//! Protobuf as far as the attacks write it, where every byte is theirs to choose, and as the neighbour reads it.

use unsigned_varint::{decode, encode};

/// Appends a number as a varint.
pub(crate) fn varint(number: u64, to: &mut Vec<u8>) {
    to.extend_from_slice(encode::u64(number, &mut encode::u64_buffer()));
}

/// Appends a field of bytes, text or a message.
pub(crate) fn bytes(field: u64, content: &[u8], to: &mut Vec<u8>) {
    varint(field << 3 | 2, to);
    varint(content.len() as u64, to);
    to.extend_from_slice(content);
}

/// Appends a field that is a number.
pub(crate) fn number(field: u64, content: u64, to: &mut Vec<u8>) {
    varint(field << 3, to);
    varint(content, to);
}

/// A message with its length before it, as most protocols frame theirs.
pub(crate) fn frame(message: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(message.len() + 10);
    varint(message.len() as u64, &mut framed);
    framed.extend_from_slice(message);
    framed
}

/// The fields of a message that are bytes, text or messages; nothing after what cannot be read.
pub(crate) fn byte_fields(mut message: &[u8]) -> Vec<(u64, &[u8])> {
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
