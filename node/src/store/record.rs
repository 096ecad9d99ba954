//! What a pack looks like.
//!
//! A pack is `HEADER`, then records at multiples of [`ALIGN`] bytes:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | [`MAGIC`] |
//! | 4 | length of the block, little endian |
//! | 1 | length n of the multihash |
//! | n | the multihash |
//! | 4 | the first bytes of the sha2-256 of the length, n and the multihash |
//! | | the block, then zeros up to the next multiple of [`ALIGN`] |
//!
//! So the packs alone tell what they hold, and the index can be made again from them. Several threads write at once,
//! each into a span it reserved: after a crash a pack may have holes anywhere behind the last sync, and [`scan`] finds
//! the next record behind a hole by its magic.

use std::{
    fs::File,
    io::{self, ErrorKind},
    os::unix::fs::FileExt as _,
    path::Path,
};

use multihash::Multihash;

use super::{
    error::StoreError,
    handles,
    place::{Holder, Place},
};
use crate::block::{MAX_BLOCK_BYTES, sha2_256};

/// First bytes of a pack.
pub(super) const HEADER: &[u8; 16] = b"block pack v1\r\n\0";
/// First bytes of a record.
const MAGIC: &[u8; 8] = b"\xf0block\r\n";
/// Records begin at multiples of this.
pub(super) const ALIGN: u64 = 8;
const CHECK_BYTES: usize = 4;
/// Magic, length, multihash length, the longest multihash (two varints and 64 bytes), check.
const MAX_RECORD_HEADER_BYTES: usize = 8 + 4 + 1 + (20 + 64) + CHECK_BYTES;
/// How much a scan reads at once.
const SCAN_BYTES: usize = 256 << 10;

/// A block to append: its multihash in byte form, and its bytes.
pub(super) type Record<'a> = (&'a [u8], &'a [u8]);

/// Finds the records of a pack from offset `from` on, in order, and shows each to `visit` with the place of its bytes.
/// The bytes themselves are not read and not checked. Gives the length of the file.
pub(super) fn scan(
    id: u32,
    path: &Path,
    from: u64,
    mut visit: impl FnMut(&File, Multihash<64>, Place) -> Result<(), StoreError>,
) -> Result<u64, StoreError> {
    let file = handles::open_to_read(path)?;
    let metadata = file.metadata();
    let len = metadata
        .map_err(|error| StoreError::io("read the size of", path, error))?
        .len();
    let mut at = from.max(HEADER.len() as u64).next_multiple_of(ALIGN);
    let mut window = vec![0; SCAN_BYTES];
    let (mut window_start, mut window_len) = (0, 0);
    while at < len {
        let in_window = at >= window_start && at + MAX_RECORD_HEADER_BYTES as u64 <= window_start + window_len;
        if !in_window && (window_len == 0 || at < window_start || window_start + window_len < len) {
            window_start = at;
            window_len =
                read_up_to(&file, &mut window, at).map_err(|error| StoreError::io("read", path, error))? as u64;
        }
        let begin = (at - window_start).min(window_len) as usize;
        match parse_record_header(&window[begin..window_len as usize]) {
            Some((hash, header_len, data_len)) if at + (header_len + data_len) as u64 <= len => {
                let offset = at + header_len as u64;
                visit(
                    &file,
                    hash,
                    Place {
                        holder: Holder::Pack(id),
                        offset,
                        len: data_len as u32,
                    },
                )?;
                at = (offset + data_len as u64).next_multiple_of(ALIGN);
            }
            _ => at += ALIGN,
        }
    }
    Ok(len)
}

/// Where a record begins whose bytes are at `place`.
pub(super) fn record_start(hash_len: usize, place: &Place) -> u64 {
    place.offset - header_bytes(hash_len)
}

/// Where the record after the one whose bytes are at `place` begins.
pub(super) fn record_end(place: &Place) -> u64 {
    (place.offset + u64::from(place.len)).next_multiple_of(ALIGN)
}

fn header_bytes(hash_len: usize) -> u64 {
    (MAGIC.len() + 4 + 1 + hash_len + CHECK_BYTES) as u64
}

pub(super) fn record_bytes(hash_len: usize, data_len: usize) -> u64 {
    (header_bytes(hash_len) + data_len as u64).next_multiple_of(ALIGN)
}

pub(super) fn put_record_header(into: &mut Vec<u8>, hash: &[u8], data_len: usize) {
    into.extend_from_slice(MAGIC);
    let checked_from = into.len();
    into.extend_from_slice(&(data_len as u32).to_le_bytes());
    into.push(hash.len() as u8);
    into.extend_from_slice(hash);
    let check = sha2_256(&into[checked_from..]);
    into.extend_from_slice(&check.digest()[..CHECK_BYTES]);
}

/// The multihash, the length of the header and that of the block, if a record begins here.
fn parse_record_header(bytes: &[u8]) -> Option<(Multihash<64>, usize, usize)> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let data_len = u32::from_le_bytes(rest.get(..4)?.try_into().ok()?) as usize;
    let hash_len = usize::from(*rest.get(4)?);
    let hash = rest.get(5..5 + hash_len)?;
    let check = rest.get(5 + hash_len..5 + hash_len + CHECK_BYTES)?;
    if data_len > MAX_BLOCK_BYTES || &sha2_256(&rest[..5 + hash_len]).digest()[..CHECK_BYTES] != check {
        return None;
    }
    Some((
        Multihash::from_bytes(hash).ok()?,
        header_bytes(hash_len) as usize,
        data_len,
    ))
}

fn read_up_to(file: &File, buffer: &mut [u8], mut at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at) {
            Ok(0) => break,
            Ok(read) => {
                filled += read;
                at += read as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
