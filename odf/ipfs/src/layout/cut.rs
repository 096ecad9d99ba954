//! Where files are cut into leaves (`docs/formats.md`).

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use odf_tables::footer::column_chunks;

/// A file of no more bytes is one leaf, however files are cut.
pub(super) const WHOLE_BYTES: u64 = 64 << 10;
/// A cut at the edge of a column chunk leaves so many bytes before it at least.
pub(super) const LEAST_BYTES: u64 = 8 << 10;
/// No leaf of a file that is cut at edges is longer.
pub(super) const MOST_BYTES: u64 = 256 << 10;

/// How files are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// As [`PROFILE`](super::PROFILE) has it: every leaf but the last is of one length.
    Fixed,
    /// Parquet files at the edges of their column chunks; all others as by [`Self::Fixed`].
    Chunks,
}

impl Cut {
    /// All there are.
    pub(super) const ALL: [Self; 2] = [Self::Fixed, Self::Chunks];

    /// Lengths of the leaves of a file, in order, unless they are those of [`PROFILE`](super::PROFILE).
    pub(super) fn of_file(self, file: &File, len: u64) -> io::Result<Option<Vec<usize>>> {
        self.lengths(len, &mut |offset, buffer| file.read_exact_at(buffer, offset))
    }

    /// As [`Self::of_file`], of a file that is in memory.
    pub(super) fn of_bytes(self, content: &[u8]) -> io::Result<Option<Vec<usize>>> {
        self.lengths(content.len() as u64, &mut |offset, buffer| {
            let part = content.get(offset as usize..offset as usize + buffer.len());
            buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn lengths(
        self,
        len: u64,
        read: &mut dyn FnMut(u64, &mut [u8]) -> io::Result<()>,
    ) -> io::Result<Option<Vec<usize>>> {
        if self == Self::Fixed || len <= WHOLE_BYTES {
            return Ok(None);
        }
        let chunks = column_chunks(len, read)?.filter(|chunks| !chunks.is_empty());
        Ok(chunks.map(|chunks| at_chunks(len, &chunks)))
    }
}

/// Cuts at the edges of chunks, but not where the piece would be short; and always behind the last chunk, so that the footer,
/// and the page indexes before it, are had alone. Pieces that are too long are cut in parts of equal length.
fn at_chunks(len: u64, chunks: &[Range<u64>]) -> Vec<usize> {
    let mut edges: Vec<u64> = chunks.iter().flat_map(|chunk| [chunk.start, chunk.end]).collect();
    edges.sort_unstable();
    edges.dedup();
    let last = edges.last().copied().unwrap_or(0);
    let (mut lengths, mut begin) = (Vec::new(), 0);
    for edge in edges {
        if edge - begin >= LEAST_BYTES || edge == last {
            parts(edge - begin, &mut lengths);
            begin = edge;
        }
    }
    parts(len.saturating_sub(begin), &mut lengths);
    lengths
}

/// A piece in as few parts as may be. They differ by one byte at most.
fn parts(piece: u64, lengths: &mut Vec<usize>) {
    let count = piece.div_ceil(MOST_BYTES);
    let (part, longer) = (piece / count.max(1), piece % count.max(1));
    // The longer ones first.
    lengths.extend((0..count).map(|number| part as usize + usize::from(number < longer)));
}

#[cfg(test)]
mod tests;
