//! Reading FlatBuffers that nobody vouches for.
//!
//! Own code instead of the crate's verifier, because a verifier insists on alignment and blocks of version 2 hold
//! misaligned timestamps. Every load is unaligned and bounds-checked; what one block may cost is bounded by the
//! limits of [`super`], because offsets may alias and so make a small block describe a huge value.

use std::cell::Cell;

use super::{DecodeError, MAX_DECODED_BYTES, MAX_DECODED_VALUES, MAX_DEPTH};

/// The bytes of one buffer and what may still be taken out of it.
pub(crate) struct Source<'a> {
    bytes: &'a [u8],
    values_left: Cell<usize>,
    bytes_left: Cell<usize>,
}

/// One table: where it and its vtable lie.
#[derive(Clone, Copy)]
pub(crate) struct Table<'a> {
    source: &'a Source<'a>,
    start: usize,
    vtable: usize,
    vtable_len: usize,
    depth: usize,
    /// Name of the type being read, for messages.
    pub(crate) name: &'static str,
}

impl<'a> Source<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            values_left: Cell::new(MAX_DECODED_VALUES),
            bytes_left: Cell::new(MAX_DECODED_BYTES),
        }
    }

    /// The root table of the buffer.
    pub(crate) fn root(&'a self, name: &'static str) -> Result<Table<'a>, DecodeError> {
        Table::at(self, self.follow(0)?, 0, name)
    }

    fn load<const N: usize>(&self, at: usize) -> Result<[u8; N], DecodeError> {
        at.checked_add(N)
            .and_then(|end| self.bytes.get(at..end))
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(DecodeError::OutOfBounds {
                at,
                len: self.bytes.len(),
            })
    }

    /// The place that the unsigned offset stored at `at` points to.
    fn follow(&self, at: usize) -> Result<usize, DecodeError> {
        let offset = u32::from_le_bytes(self.load(at)?);
        at.checked_add(offset as usize).ok_or(DecodeError::OutOfBounds {
            at,
            len: self.bytes.len(),
        })
    }

    fn spend(&self, values: usize, bytes: usize) -> Result<(), DecodeError> {
        let values_left = self.values_left.get().checked_sub(values);
        let bytes_left = self.bytes_left.get().checked_sub(bytes);
        match (values_left, bytes_left) {
            (Some(values), Some(bytes)) => {
                self.values_left.set(values);
                self.bytes_left.set(bytes);
                Ok(())
            }
            (None, _) => Err(DecodeError::TooManyValues),
            (_, None) => Err(DecodeError::TooManyBytes),
        }
    }
}

impl<'a> Table<'a> {
    fn at(source: &'a Source<'a>, start: usize, depth: usize, name: &'static str) -> Result<Self, DecodeError> {
        if depth > MAX_DEPTH {
            return Err(DecodeError::TooDeep);
        }
        source.spend(1, 0)?;
        let out = DecodeError::OutOfBounds {
            at: start,
            len: source.bytes.len(),
        };
        let back = i64::from(i32::from_le_bytes(source.load(start)?));
        let vtable = i64::try_from(start).ok().and_then(|start| start.checked_sub(back));
        let Some(vtable) = vtable.and_then(|at| usize::try_from(at).ok()) else {
            return Err(out);
        };
        let vtable_len = usize::from(u16::from_le_bytes(source.load(vtable)?));
        if vtable_len < 4
            || vtable
                .checked_add(vtable_len)
                .is_none_or(|end| end > source.bytes.len())
        {
            return Err(out);
        }
        Ok(Self {
            source,
            start,
            vtable,
            vtable_len,
            depth,
            name,
        })
    }

    /// Where the value of the field lies, or `None` if the field is absent.
    pub(crate) fn slot(&self, slot: u16) -> Result<Option<usize>, DecodeError> {
        let at = 4 + 2 * usize::from(slot);
        if at + 2 > self.vtable_len {
            return Ok(None);
        }
        match u16::from_le_bytes(self.source.load(self.vtable + at)?) {
            0 => Ok(None),
            offset => Ok(Some(self.start + usize::from(offset))),
        }
    }

    /// `N` bytes stored inline at `at`.
    pub(crate) fn inline<const N: usize>(&self, at: usize) -> Result<[u8; N], DecodeError> {
        self.source.load(at)
    }

    /// The table that the offset at `at` points to.
    pub(crate) fn table(&self, at: usize, name: &'static str) -> Result<Table<'a>, DecodeError> {
        Table::at(self.source, self.source.follow(at)?, self.depth + 1, name)
    }

    /// The byte vector (or the bytes of the string) that the offset at `at` points to.
    pub(crate) fn bytes(&self, at: usize) -> Result<&'a [u8], DecodeError> {
        let (start, len) = self.vector_bounds(at, 1)?;
        self.source.spend(1, len)?;
        Ok(&self.source.bytes[start..start + len])
    }

    /// The vector of offsets that the offset at `at` points to: place of the first element, and count.
    pub(crate) fn vector(&self, at: usize) -> Result<(usize, usize), DecodeError> {
        let (start, count) = self.vector_bounds(at, 4)?;
        self.source.spend(count, 0)?;
        Ok((start, count))
    }

    fn vector_bounds(&self, at: usize, element: usize) -> Result<(usize, usize), DecodeError> {
        let len_at = self.source.follow(at)?;
        let count = u32::from_le_bytes(self.source.load(len_at)?) as usize;
        let start = len_at + 4;
        match count.checked_mul(element) {
            Some(len) if len <= self.source.bytes.len() - start => Ok((start, count)),
            _ => Err(DecodeError::OutOfBounds {
                at: start,
                len: self.source.bytes.len(),
            }),
        }
    }
}
