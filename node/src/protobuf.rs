//! Protobuf as far as the formats here need it: fields that are numbers, fixed bytes or byte strings, taken off the
//! front of a slice without copying, and written in their shortest form.
//!
//! Spec: <https://protobuf.dev/programming-guides/encoding/>. Groups are not read: no format here has any.

use bytes::BufMut;

/// The content of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// Wire type 0.
    Number(u64),
    /// Wire type 1, little-endian.
    Fixed64(u64),
    /// Wire type 2: bytes, text, a message, or packed numbers.
    Bytes(&'a [u8]),
    /// Wire type 5, little-endian.
    Fixed32(u32),
}

/// Why bytes are not protobuf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    /// The bytes end within a field.
    #[error("the bytes end within a field")]
    Truncated,
    /// A number of more than 64 bits.
    #[error("a number has more than 64 bits")]
    Number,
    /// A field of a form that is not read.
    #[error("field {field} has wire type {wire_type}")]
    WireType {
        /// The field's number.
        field: u64,
        /// Its form.
        wire_type: u8,
    },
}

impl Value<'_> {
    /// The number of the form on the wire.
    pub(crate) fn wire_type(&self) -> u8 {
        match self {
            Self::Number(_) => 0,
            Self::Fixed64(_) => 1,
            Self::Bytes(_) => 2,
            Self::Fixed32(_) => 5,
        }
    }
}

/// Takes one field off the front, with its number; nothing at the end.
///
/// # Errors
/// What follows is no field. Where `bytes` then begins is not defined.
pub(crate) fn next_field<'a>(bytes: &mut &'a [u8]) -> Result<Option<(u64, Value<'a>)>, Broken> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let key = varint(bytes)?;
    let (field, wire_type) = (key >> 3, (key & 7) as u8);
    let value = match wire_type {
        0 => Value::Number(varint(bytes)?),
        1 => Value::Fixed64(u64::from_le_bytes(fixed(bytes)?)),
        2 => {
            let len = usize::try_from(varint(bytes)?).map_err(|_| Broken::Truncated)?;
            let (content, rest) = bytes.split_at_checked(len).ok_or(Broken::Truncated)?;
            *bytes = rest;
            Value::Bytes(content)
        }
        5 => Value::Fixed32(u32::from_le_bytes(fixed(bytes)?)),
        _ => return Err(Broken::WireType { field, wire_type }),
    };
    Ok(Some((field, value)))
}

fn fixed<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], Broken> {
    let (content, rest) = bytes.split_first_chunk::<N>().ok_or(Broken::Truncated)?;
    *bytes = rest;
    Ok(*content)
}

/// Takes one number off the front. Longer forms than needed are read, as every protobuf library does.
///
/// # Errors
/// The bytes end within it, or it has more than 64 bits.
pub(crate) fn varint(bytes: &mut &[u8]) -> Result<u64, Broken> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or(Broken::Truncated)?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return Err(Broken::Number);
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Broken::Number)
}

/// Bytes that a number takes.
pub(crate) fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Bytes that an `int32` takes: ten when it is negative.
pub(crate) fn int32_len(value: i32) -> usize {
    varint_len(i64::from(value) as u64)
}

/// Length of a field with a one-byte key and `len` bytes of content.
pub(crate) fn bytes_field_len(len: usize) -> usize {
    1 + varint_len(len as u64) + len
}

/// Appends a number in its shortest form.
pub(crate) fn put_varint(out: &mut impl BufMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Appends a field that is a number. `field` is below 16, as everywhere here.
pub(crate) fn put_number(out: &mut impl BufMut, field: u8, value: u64) {
    out.put_u8(field << 3);
    put_varint(out, value);
}

/// Appends what stands before `len` bytes of content.
pub(crate) fn put_bytes_head(out: &mut impl BufMut, field: u8, len: usize) {
    out.put_u8(field << 3 | 2);
    put_varint(out, len as u64);
}

/// Appends a field that is bytes.
pub(crate) fn put_bytes(out: &mut impl BufMut, field: u8, content: &[u8]) {
    put_bytes_head(out, field, content.len());
    out.put_slice(content);
}

/// Appends a field of four fixed bytes.
pub(crate) fn put_fixed32(out: &mut impl BufMut, field: u8, value: u32) {
    out.put_u8(field << 3 | 5);
    out.put_u32_le(value);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn varint_lengths_are_those_written() {
        let powers = (0..64).map(|bit| 1u64 << bit);
        for value in powers.flat_map(|value| [value - 1, value]).chain([u64::MAX]) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out.len(), varint_len(value), "{value}");
            assert_eq!(varint(&mut &out[..]), Ok(value));
        }
        assert_eq!((int32_len(1), int32_len(-1)), (1, 10));
        assert_eq!(bytes_field_len(128), 1 + 2 + 128);
    }

    #[test]
    fn numbers_over_64_bits_are_refused() {
        let mut most = [0xff; 10];
        most[9] = 1;
        assert_eq!(varint(&mut &most[..]), Ok(u64::MAX));
        most[9] = 2;
        assert_eq!(varint(&mut &most[..]), Err(Broken::Number));
        assert_eq!(varint(&mut &[0x80; 11][..]), Err(Broken::Number));
        assert_eq!(varint(&mut &[0x80; 9][..]), Err(Broken::Truncated));
    }

    #[test]
    fn every_form_is_read_and_groups_are_refused() {
        let mut bytes = Vec::new();
        put_number(&mut bytes, 1, 300);
        put_bytes(&mut bytes, 2, b"ab");
        put_fixed32(&mut bytes, 3, 7);
        bytes.push(4 << 3 | 1);
        bytes.extend(9u64.to_le_bytes());
        let mut rest = &bytes[..];
        let fields: Vec<_> = std::iter::from_fn(|| next_field(&mut rest).unwrap()).collect();
        let expected = [
            (1, Value::Number(300)),
            (2, Value::Bytes(b"ab")),
            (3, Value::Fixed32(7)),
            (4, Value::Fixed64(9)),
        ];
        assert_eq!(fields, expected);
        let wire_types: Vec<u8> = fields.iter().map(|(_, value)| value.wire_type()).collect();
        assert_eq!(wire_types, [0, 2, 5, 1]);
        let group = Broken::WireType { field: 1, wire_type: 3 };
        assert_eq!(next_field(&mut &[1 << 3 | 3][..]), Err(group));
    }

    #[test]
    fn a_field_ends_within_its_message() {
        for cut in [&[0x0a, 2, 1][..], &[0x0d, 1, 2, 3], &[0x09, 1], &[0x08], &[0x0a, 0x80]] {
            assert_eq!(next_field(&mut &cut[..]), Err(Broken::Truncated), "{cut:?}");
        }
        let endless = [0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(next_field(&mut &endless[..]), Err(Broken::Truncated));
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut rest = &bytes[..];
            while let Ok(Some(_)) = next_field(&mut rest) {}
        }
    }
}
