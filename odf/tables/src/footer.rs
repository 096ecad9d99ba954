//! Where the column chunks of a Parquet file lie, read from its footer alone.
//!
//! What comes out decides how published files are cut (`docs/formats.md`), so it must be the same in every version, for every
//! file. Hence a reader of its own, which knows five fields of the footer and passes over all others. Spec:
//! <https://parquet.apache.org/docs/file-format/metadata/>, and for the encoding the compact protocol of Thrift:
//! <https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>.

use std::io;
use std::ops::Range;

/// The longest footer that is read.
pub const MAX_FOOTER_BYTES: u64 = 16 << 20;
/// The most column chunks that a file is taken to have.
pub const MAX_CHUNKS: usize = 1 << 18;
/// How deep structures and lists lie in each other at most. In the metadata of a file they are eight deep.
const MAX_DEPTH: usize = 32;

const MAGIC: [u8; 4] = *b"PAR1";
/// Length of the footer, and the magic bytes behind that.
const TRAILER_BYTES: u64 = 8;

/// The column chunks of a file of `len` bytes, in the order of its footer, their dictionary pages included. `None` if it is no
/// such file: there is no footer that can be read, it says that columns are encrypted or in other files, or a chunk is not
/// between the first magic bytes and the footer.
///
/// `read` fills a buffer with the bytes from an offset on.
///
/// # Errors
/// Those of `read`.
pub fn column_chunks(
    len: u64,
    read: &mut dyn FnMut(u64, &mut [u8]) -> io::Result<()>,
) -> io::Result<Option<Vec<Range<u64>>>> {
    let head = MAGIC.len() as u64;
    let Some(trailer_at) = len.checked_sub(TRAILER_BYTES).filter(|at| *at >= head) else {
        return Ok(None);
    };
    let mut trailer = [0; TRAILER_BYTES as usize];
    read(trailer_at, &mut trailer)?;
    let [a, b, c, d, magic @ ..] = trailer;
    let footer_len = u64::from(u32::from_le_bytes([a, b, c, d]));
    let footer_at = trailer_at.checked_sub(footer_len).filter(|at| *at >= head);
    let (Some(footer_at), true) = (footer_at, magic == MAGIC && footer_len <= MAX_FOOTER_BYTES) else {
        return Ok(None);
    };
    let mut footer = vec![0; footer_len as usize];
    read(footer_at, &mut footer)?;
    let mut chunks = Vec::new();
    let whole = Reader { rest: &footer }.file(&mut chunks);
    let are_within = chunks.iter().all(|chunk| chunk.start >= head && chunk.end <= footer_at);
    Ok(whole.filter(|()| are_within).map(|()| chunks))
}

/// Kinds of values in the compact protocol.
mod kind {
    pub(super) const TRUE: u8 = 1;
    pub(super) const FALSE: u8 = 2;
    pub(super) const I8: u8 = 3;
    pub(super) const I16: u8 = 4;
    pub(super) const I32: u8 = 5;
    pub(super) const I64: u8 = 6;
    pub(super) const DOUBLE: u8 = 7;
    pub(super) const BINARY: u8 = 8;
    pub(super) const LIST: u8 = 9;
    pub(super) const SET: u8 = 10;
    pub(super) const MAP: u8 = 11;
    pub(super) const STRUCT: u8 = 12;
}

/// A reader of the compact protocol. `None` is what is malformed, or is not of the kind that the field has.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// `FileMetaData`.
    fn file(&mut self, chunks: &mut Vec<Range<u64>>) -> Option<()> {
        self.each_field(&mut |reader, field, kind| match field {
            4 => reader.each_struct(kind, &mut |reader| reader.row_group(chunks)),
            _ => reader.skip(kind, MAX_DEPTH),
        })
    }

    /// `RowGroup`.
    fn row_group(&mut self, chunks: &mut Vec<Range<u64>>) -> Option<()> {
        self.each_field(&mut |reader, field, kind| match field {
            1 => reader.each_struct(kind, &mut |reader| {
                let chunk = reader.column_chunk()?;
                chunks.push(chunk);
                (chunks.len() <= MAX_CHUNKS).then_some(())
            }),
            _ => reader.skip(kind, MAX_DEPTH),
        })
    }

    /// `ColumnChunk`. One in another file, or whose metadata is encrypted, is none.
    fn column_chunk(&mut self) -> Option<Range<u64>> {
        let mut chunk = None;
        self.each_field(&mut |reader, field, kind| match field {
            1 => None,
            3 => {
                chunk = Some(reader.column_metadata(kind)?);
                Some(())
            }
            _ => reader.skip(kind, MAX_DEPTH),
        })?;
        chunk
    }

    /// `ColumnMetaData`.
    fn column_metadata(&mut self, kind: u8) -> Option<Range<u64>> {
        let (mut len, mut data, mut dictionary) = (None, None, None);
        if kind != kind::STRUCT {
            return None;
        }
        self.each_field(&mut |reader, field, kind| {
            let value = match field {
                7 => &mut len,
                9 => &mut data,
                11 => &mut dictionary,
                _ => return reader.skip(kind, MAX_DEPTH),
            };
            *value = Some(reader.i64(kind)?);
            Some(())
        })?;
        let data = data?;
        // Some writers say 0 where there is no dictionary.
        let start = dictionary.filter(|at| (1..data).contains(at)).unwrap_or(data);
        let (start, len) = (u64::try_from(start).ok()?, u64::try_from(len?).ok()?);
        Some(start..start.checked_add(len)?)
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn pass(&mut self, bytes: u64) -> Option<()> {
        self.rest = self.rest.get(usize::try_from(bytes).ok()?..)?;
        Some(())
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            value |= bits.checked_shl(shift).filter(|shifted| shifted >> shift == bits)?;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn zigzag(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn i64(&mut self, kind: u8) -> Option<i64> {
        match kind {
            kind::I64 => self.zigzag(),
            _ => None,
        }
    }

    /// Calls `take` with the number and kind of each field of a structure; it reads the value.
    fn each_field(&mut self, take: &mut dyn FnMut(&mut Self, i64, u8) -> Option<()>) -> Option<()> {
        let mut field = 0i64;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Some(());
            }
            field = match head >> 4 {
                0 => self.zigzag()?,
                more => field.checked_add(i64::from(more))?,
            };
            take(self, field, head & 0x0f)?;
        }
    }

    /// The head of a list or set: kind and number of its elements.
    fn list(&mut self) -> Option<(u8, u64)> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => self.varint()?,
            few => u64::from(few),
        };
        Some((head & 0x0f, count))
    }

    /// Calls `take` for each structure of a list, which it reads.
    fn each_struct(&mut self, kind: u8, take: &mut dyn FnMut(&mut Self) -> Option<()>) -> Option<()> {
        if kind != kind::LIST {
            return None;
        }
        let (element, count) = self.list()?;
        if element != kind::STRUCT && count > 0 {
            return None;
        }
        // Each takes a byte at least, so the end comes before a count that is not true does.
        (0..count).try_for_each(|_| take(self))
    }

    /// Passes over the value of a field.
    fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        match kind {
            kind::TRUE | kind::FALSE => Some(()),
            _ => self.skip_element(kind, depth),
        }
    }

    /// Passes over an element of a list or map, where a truth value has a byte of its own.
    fn skip_element(&mut self, kind: u8, depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match kind {
            kind::TRUE | kind::FALSE | kind::I8 => self.pass(1),
            kind::I16 | kind::I32 | kind::I64 => self.varint().map(drop),
            kind::DOUBLE => self.pass(8),
            kind::BINARY => {
                let len = self.varint()?;
                self.pass(len)
            }
            kind::LIST | kind::SET => {
                let (element, count) = self.list()?;
                (0..count).try_for_each(|_| self.skip_element(element, depth))
            }
            kind::MAP => {
                let count = self.varint()?;
                if count == 0 {
                    return Some(());
                }
                let kinds = self.byte()?;
                (0..count).try_for_each(|_| {
                    self.skip_element(kinds >> 4, depth)?;
                    self.skip_element(kinds & 0x0f, depth)
                })
            }
            kind::STRUCT => self.each_field(&mut |reader, _, kind| reader.skip(kind, depth)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
