//! Protobuf as far as Bitswap needs it: numbers, and fields that are numbers or bytes.

use bytes::{BufMut, BytesMut};
use cid::Cid;

use super::MessageError;

/// A field's content.
pub(super) enum Value<'a> {
    Int(u64),
    Fixed64,
    Bytes(&'a [u8]),
    Fixed32,
}

impl Value<'_> {
    pub(super) fn wire_type(&self) -> u8 {
        match self {
            Value::Int(_) => 0,
            Value::Fixed64 => 1,
            Value::Bytes(_) => 2,
            Value::Fixed32 => 5,
        }
    }
}

/// Takes one field off the front, with its number; nothing at the end.
pub(super) fn next_field<'a>(bytes: &mut &'a [u8]) -> Result<Option<(u64, Value<'a>)>, MessageError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let key = varint(bytes)?;
    let (field, wire_type) = (key >> 3, (key & 7) as u8);
    let value = match wire_type {
        0 => Value::Int(varint(bytes)?),
        1 => take(bytes, 8).map(|_| Value::Fixed64)?,
        2 => {
            let len = usize::try_from(varint(bytes)?).map_err(|_| MessageError::Truncated)?;
            Value::Bytes(take(bytes, len)?)
        }
        5 => take(bytes, 4).map(|_| Value::Fixed32)?,
        _ => return Err(MessageError::WireType { field, wire_type }),
    };
    Ok(Some((field, value)))
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Result<&'a [u8], MessageError> {
    let (head, tail) = bytes.split_at_checked(len).ok_or(MessageError::Truncated)?;
    *bytes = tail;
    Ok(head)
}

/// Takes one number off the front. Longer forms than needed are read, as protobuf does.
pub(super) fn varint(bytes: &mut &[u8]) -> Result<u64, MessageError> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or(MessageError::Truncated)?;
        *bytes = rest;
        if shift == 63 && *byte > 1 {
            return Err(MessageError::Varint);
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(MessageError::Varint)
}

/// Bytes that a number takes.
pub(super) fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Bytes that an `int32` takes: ten when it is negative.
pub(super) fn int_len(value: i32) -> usize {
    varint_len(i64::from(value) as u64)
}

/// Length of a field with a one-byte key and `len` bytes of content.
pub(super) fn field_len(len: usize) -> usize {
    1 + varint_len(len as u64) + len
}

/// Writes a number in its shortest form.
pub(super) fn put_varint(out: &mut BytesMut, value: u64) {
    let mut buffer = unsigned_varint::encode::u64_buffer();
    out.put_slice(unsigned_varint::encode::u64(value, &mut buffer));
}

/// Writes the key and length of a field with `len` bytes of content.
pub(super) fn put_key(out: &mut BytesMut, field: u8, len: usize) {
    out.put_u8(field << 3 | 2);
    put_varint(out, len as u64);
}

/// Writes a CID in its binary form.
pub(super) fn put_cid(out: &mut BytesMut, cid: &Cid) {
    // Writing into memory cannot fail.
    let _ = cid.write_bytes(out.writer());
}
