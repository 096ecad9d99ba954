//! The few parts of protobuf that dag-pb and UnixFS use, read without copying.

use std::ops::Range;

use bytes::Bytes;

use super::Malformed;

/// Wire type of a varint.
pub(crate) const VARINT: u8 = 0;
/// Wire type of eight fixed bytes.
pub(crate) const FIXED64: u8 = 1;
/// Wire type of a length and that many bytes.
pub(crate) const CHUNK: u8 = 2;
/// Wire type of four fixed bytes.
pub(crate) const FIXED32: u8 = 5;

/// Appends `value` in its shortest form.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Length of the shortest form of `value`, in bytes.
pub(crate) fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Appends a varint field.
pub(crate) fn put_number(out: &mut Vec<u8>, field: u8, value: u64) {
    out.push(field << 3 | VARINT);
    put_varint(out, value);
}

/// Appends a length-delimited field.
pub(crate) fn put_chunk(out: &mut Vec<u8>, field: u8, value: &[u8]) {
    out.push(field << 3 | CHUNK);
    put_varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// A cursor over one protobuf message. It never reads past the end of that message.
pub(crate) struct Reader<'a> {
    bytes: &'a Bytes,
    at: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    /// Reads all of `bytes` as one message.
    pub(crate) fn new(bytes: &'a Bytes) -> Self {
        Self {
            bytes,
            at: 0,
            end: bytes.len(),
        }
    }

    /// Reads the message within `bytes` that [`Reader::chunk`] found.
    pub(crate) fn within(bytes: &'a Bytes, part: Range<usize>) -> Self {
        let end = part.end.min(bytes.len());
        Self {
            bytes,
            at: part.start.min(end),
            end,
        }
    }

    /// Whether the message has ended.
    pub(crate) fn is_empty(&self) -> bool {
        self.at >= self.end
    }

    /// The next field's number and wire type, or nothing at the end.
    pub(crate) fn key(&mut self) -> Result<Option<(u64, u8)>, Malformed> {
        if self.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        Ok(Some((key >> 3, (key & 7) as u8)))
    }

    /// A varint of up to 64 bits. Longer forms than needed are read, as every protobuf library does.
    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self
                .bytes
                .get(self.at)
                .filter(|_| self.at < self.end)
                .ok_or(Malformed::Truncated)?;
            self.at += 1;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Malformed::BadVarint);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed::BadVarint)
    }

    /// Four fixed bytes.
    pub(crate) fn fixed32(&mut self) -> Result<u32, Malformed> {
        let part = self.take(4)?;
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.bytes[part]);
        Ok(u32::from_le_bytes(bytes))
    }

    /// Where the bytes of a length-delimited field are; the cursor moves behind them.
    pub(crate) fn chunk(&mut self) -> Result<Range<usize>, Malformed> {
        let len = self.varint()?;
        self.take(usize::try_from(len).map_err(|_| Malformed::Truncated)?)
    }

    /// The bytes of a length-delimited field, sharing memory with the message.
    pub(crate) fn shared(&mut self) -> Result<Bytes, Malformed> {
        let part = self.chunk()?;
        Ok(self.bytes.slice(part))
    }

    /// Steps over a field that means nothing here.
    pub(crate) fn skip(&mut self, wire: u8) -> Result<(), Malformed> {
        match wire {
            VARINT => self.varint().map(drop),
            FIXED64 => self.take(8).map(drop),
            CHUNK => self.chunk().map(drop),
            FIXED32 => self.take(4).map(drop),
            _ => Err(Malformed::WrongWireType),
        }
    }

    fn take(&mut self, len: usize) -> Result<Range<usize>, Malformed> {
        if len > self.end - self.at {
            return Err(Malformed::Truncated);
        }
        let start = self.at;
        self.at += len;
        Ok(start..self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varint_lengths_are_those_written() {
        for value in [
            0,
            1,
            127,
            128,
            16_383,
            16_384,
            2_097_151,
            2_097_152,
            u64::from(u32::MAX),
            u64::MAX,
        ] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out.len(), varint_len(value), "{value}");
            let out = Bytes::from(out);
            assert_eq!(Reader::new(&out).varint().unwrap(), value);
        }
    }

    #[test]
    fn varints_over_64_bits_are_refused() {
        let most = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
        assert_eq!(Reader::new(&most).varint().unwrap(), u64::MAX);
        let over = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]);
        assert!(matches!(Reader::new(&over).varint(), Err(Malformed::BadVarint)));
        let endless = Bytes::from_static(&[0x80; 11]);
        assert!(matches!(Reader::new(&endless).varint(), Err(Malformed::BadVarint)));
    }

    #[test]
    fn a_nested_message_ends_where_it_said() {
        let bytes = Bytes::from_static(&[0x0a, 0x01, 0x80, 0x01]);
        let mut outer = Reader::new(&bytes);
        outer.key().unwrap();
        let inner = outer.chunk().unwrap();
        assert!(matches!(
            Reader::within(&bytes, inner).varint(),
            Err(Malformed::Truncated)
        ));
    }
}
