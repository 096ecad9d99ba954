//! A sorted file of index entries that is written once.
//!
//! A run is:
//!
//! | bytes | what |
//! |---|---|
//! | n × [`BLOCK_BYTES`] | entries in the order of their keys, in blocks |
//! | n × 8 | for each block the first 8 bytes of its first key (with zeros if it is shorter), big endian |
//! | [`FOOTER_BYTES`] | [`MAGIC`], then little endian: identity, first and last number, generation, entries, tombstones (u64 each), n, crc32 of the first keys, crc32 of the footer up to here (u32 each) |
//!
//! A block is the crc32 of what follows (u32), the number of its entries (u16), then for each entry the lengths of key and
//! value (u16 each), key and value; zeros up to its end. An entry never lies in two blocks. A value without bytes is a
//! tombstone: it hides the entries of older runs.
//!
//! What a run says of itself, and that it is whole but for its blocks, is checked when it is opened, at one read; each block
//! when it is read.

use std::{fs::File, io::ErrorKind, os::unix::fs::FileExt as _, path::Path, sync::Arc};

use odf_disk::{Access, Disk, DiskFile, PENDING_PREFIX};

use super::{error::StoreError, guard::Guard, handles};

const MAGIC: &[u8; 16] = b"index run v1\r\n\0\xf0";
/// Length of a block.
const BLOCK_BYTES: usize = 4096;
/// Checksum and number of entries.
const BLOCK_HEADER_BYTES: usize = 4 + 2;
const ENTRY_HEADER_BYTES: usize = 2 + 2;
/// The most bytes of a key with its value.
pub(super) const MAX_ENTRY_BYTES: usize = BLOCK_BYTES - BLOCK_HEADER_BYTES - ENTRY_HEADER_BYTES;
const FENCE_BYTES: usize = 8;
const FOOTER_BYTES: usize = 16 + 6 * 8 + 3 * 4;
/// The most blocks of a run, which bounds the memory for the first keys.
pub(super) const MAX_BLOCKS: u32 = 1 << 24;
/// How many blocks are written, and read by a cursor, at once.
const BLOCKS_AT_ONCE: usize = 64;

/// A key and its value; without bytes it is a tombstone.
pub(super) type Pair = (Vec<u8>, Vec<u8>);

/// What a run says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label {
    /// Of the index that it belongs to.
    pub(super) identity: u64,
    /// The numbers of the folds that it covers.
    pub(super) first: u64,
    pub(super) last: u64,
    /// A flush of sled that kept everything that is in the run.
    pub(super) generation: u64,
}

/// A run that is open.
pub(super) struct Run {
    guard: Guard,
    file: File,
    pub(super) label: Label,
    pub(super) entries: u64,
    pub(super) tombstones: u64,
    pub(super) blocks: u32,
    /// The first bytes of the first key of each block.
    fences: Vec<u64>,
}

/// The name of the run of these folds.
pub(super) fn name_of(first: u64, last: u64) -> String {
    format!("{first:016x}-{last:016x}.run")
}

/// The folds of the run of this name, if it is the name of one.
pub(super) fn folds_of(name: &str) -> Option<(u64, u64)> {
    let (first, last) = name.strip_suffix(".run")?.split_once('-')?;
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    let folds = (number(first)?, number(last)?);
    (name_of(folds.0, folds.1) == name).then_some(folds)
}

/// How many blocks a file of this length has, if it can be a run.
fn blocks_of(len: u64) -> Option<u32> {
    let body = len.checked_sub(FOOTER_BYTES as u64)?;
    let one = (BLOCK_BYTES + FENCE_BYTES) as u64;
    let blocks = u32::try_from(body / one).ok()?;
    (body.is_multiple_of(one) && blocks <= MAX_BLOCKS).then_some(blocks)
}

fn fence_of(key: &[u8]) -> u64 {
    let mut bytes = [0; FENCE_BYTES];
    for (to, from) in bytes.iter_mut().zip(key) {
        *to = *from;
    }
    u64::from_be_bytes(bytes)
}

impl Run {
    /// Opens the run of these folds in `dir`.
    ///
    /// # Errors
    /// [`StoreError::IndexDamaged`] if it is not there or not what its name says, as far as that can be told without reading
    /// its blocks.
    pub(super) fn open(guard: &Guard, dir: &Path, identity: u64, first: u64, last: u64) -> Result<Self, StoreError> {
        let path = dir.join(name_of(first, last));
        let damaged = |what: &str| guard.damaged(&format!("{}: {what}", path.display()));
        let file = match handles::open_to_read(&path) {
            Err(error) if error.is_not_found() => return Err(damaged("it is not there")),
            other => other?,
        };
        let metadata = file.metadata();
        let found = metadata.map_err(|error| StoreError::io("read the size of", &path, error))?;
        let Some(blocks) = blocks_of(found.len()).filter(|_| found.is_file()) else {
            return Err(damaged("it has no length that a run can have"));
        };
        let mut tail = vec![0; blocks as usize * FENCE_BYTES + FOOTER_BYTES];
        let read = file.read_exact_at(&mut tail, u64::from(blocks) * BLOCK_BYTES as u64);
        read.map_err(|error| read_failed(guard, &path, error))?;
        let (fences, footer) = tail.split_at(blocks as usize * FENCE_BYTES);
        let Some((label, counts)) = decode_footer(footer, fences) else {
            return Err(damaged("its end is damaged"));
        };
        let (entries, tombstones, said) = counts;
        if said != blocks || tombstones > entries {
            return Err(damaged("its end contradicts itself"));
        }
        if (label.identity, label.first, label.last) != (identity, first, last) {
            return Err(damaged("it is of another index"));
        }
        let fences = fences.as_chunks().0.iter().map(|fence| u64::from_be_bytes(*fence));
        Ok(Self {
            guard: guard.clone(),
            fences: fences.collect(),
            file,
            label,
            entries,
            tombstones,
            blocks,
        })
    }

    /// Length of the file in bytes.
    pub(super) fn bytes(&self) -> u64 {
        u64::from(self.blocks) * (BLOCK_BYTES + FENCE_BYTES) as u64 + FOOTER_BYTES as u64
    }

    /// The value of a key, or a tombstone.
    ///
    /// # Errors
    /// [`StoreError::IndexDamaged`] if the block is damaged, or it cannot be read.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let fence = fence_of(key);
        let mut at = self.fences.partition_point(|first| *first <= fence);
        let mut block = [0; BLOCK_BYTES];
        // The last block that may begin before the key; if it begins behind it, and only then, the one before.
        while let Some(before) = at.checked_sub(1) {
            at = before;
            self.read(&mut block, before as u64)?;
            let mut is_first = true;
            for entry in self.entries_of(&block)? {
                let (known, value) = entry.ok_or_else(|| self.damaged())?;
                match known.cmp(key) {
                    std::cmp::Ordering::Equal => return Ok(Some(value.to_vec())),
                    std::cmp::Ordering::Greater if is_first => break,
                    std::cmp::Ordering::Greater => return Ok(None),
                    std::cmp::Ordering::Less => is_first = false,
                }
            }
            if !is_first || self.fences.get(at).is_none_or(|first| *first < fence) {
                return Ok(None);
            }
        }
        Ok(None)
    }

    fn read(&self, buffer: &mut [u8], block: u64) -> Result<(), StoreError> {
        let read = self.file.read_exact_at(buffer, block * BLOCK_BYTES as u64);
        read.map_err(|error| read_failed(&self.guard, Path::new(&self.name()), error))
    }

    fn name(&self) -> String {
        name_of(self.label.first, self.label.last)
    }

    /// The entries of a block that was read.
    fn entries_of<'a>(&self, block: &'a [u8]) -> Result<Entries<'a>, StoreError> {
        Entries::of(block).ok_or_else(|| self.damaged())
    }

    fn damaged(&self) -> StoreError {
        self.guard.damaged(&format!("{}: a block is damaged", self.name()))
    }

    /// All entries in order, beginning with the first.
    pub(super) fn cursor(self: &Arc<Self>) -> Cursor {
        Cursor {
            run: self.clone(),
            next: 0,
            pairs: Vec::new().into_iter(),
        }
    }
}

fn read_failed(guard: &Guard, path: &Path, error: std::io::Error) -> StoreError {
    match error.kind() {
        ErrorKind::UnexpectedEof => guard.damaged(&format!("{}: it is cut off", path.display())),
        _ => StoreError::io("read", path, error),
    }
}

/// The entries of one block.
struct Entries<'a> {
    rest: &'a [u8],
    left: u16,
}

impl<'a> Entries<'a> {
    /// Nothing if the checksum is wrong.
    fn of(block: &'a [u8]) -> Option<Self> {
        let (check, rest) = block.split_first_chunk()?;
        if crc32fast::hash(rest) != u32::from_le_bytes(*check) {
            return None;
        }
        let (count, rest) = rest.split_first_chunk()?;
        let left = u16::from_le_bytes(*count);
        Some(Self { rest, left })
    }

    fn take(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let (key_len, rest) = self.rest.split_first_chunk()?;
        let (value_len, rest) = rest.split_first_chunk()?;
        let (key, rest) = rest.split_at_checked(u16::from_le_bytes(*key_len).into())?;
        let (value, rest) = rest.split_at_checked(u16::from_le_bytes(*value_len).into())?;
        self.rest = rest;
        Some((key, value))
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Option<(&'a [u8], &'a [u8])>;

    /// Nothing in place of an entry that the block promises and does not have, which its checksum makes as good as
    /// impossible.
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        Some(self.take())
    }
}

/// A walk over a run.
pub(super) struct Cursor {
    run: Arc<Run>,
    next: u32,
    pairs: std::vec::IntoIter<Pair>,
}

impl Cursor {
    fn fill(&mut self) -> Result<(), StoreError> {
        let count = (self.run.blocks - self.next).min(BLOCKS_AT_ONCE as u32);
        let mut buffer = vec![0; count as usize * BLOCK_BYTES];
        self.run.read(&mut buffer, u64::from(self.next))?;
        self.next += count;
        let mut pairs = Vec::new();
        for block in buffer.chunks(BLOCK_BYTES) {
            for entry in self.run.entries_of(block)? {
                let (key, value) = entry.ok_or_else(|| self.run.damaged())?;
                pairs.push((key.to_vec(), value.to_vec()));
            }
        }
        self.pairs = pairs.into_iter();
        Ok(())
    }
}

impl Iterator for Cursor {
    type Item = Result<Pair, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(pair) = self.pairs.next() {
                return Some(Ok(pair));
            }
            if self.next >= self.run.blocks {
                return None;
            }
            if let Err(error) = self.fill() {
                self.next = self.run.blocks;
                return Some(Err(error));
            }
        }
    }
}

/// A run that is being written, under a name that does not count.
pub(super) struct Writer<'a> {
    disk: &'a Disk,
    dir: &'a Path,
    label: Label,
    file: DiskFile,
    /// Whole blocks that are not written yet, and where they belong.
    full: Vec<u8>,
    at: u64,
    block: Vec<u8>,
    in_block: u16,
    fences: Vec<u8>,
    entries: u64,
    tombstones: u64,
}

impl<'a> Writer<'a> {
    /// # Errors
    /// The file cannot be made.
    pub(super) fn begin(disk: &'a Disk, dir: &'a Path, label: Label) -> Result<Self, StoreError> {
        let pending = pending_path(dir, label);
        // One that a cut left may have other permissions, so it is not written into.
        disk.remove_file_if_there(&pending)?;
        Ok(Self {
            file: disk.create_new(&pending, Access::Owner)?,
            disk,
            dir,
            label,
            full: Vec::new(),
            at: 0,
            block: vec![0; BLOCK_HEADER_BYTES],
            in_block: 0,
            fences: Vec::new(),
            entries: 0,
            tombstones: 0,
        })
    }

    /// Adds an entry; each key comes behind the one before, and with its value has at most [`MAX_ENTRY_BYTES`].
    ///
    /// # Errors
    /// It cannot be written, or is too long.
    pub(super) fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let len = key.len() + value.len();
        if len > MAX_ENTRY_BYTES {
            let limit = MAX_ENTRY_BYTES;
            return Err(StoreError::EntryTooLarge { len, limit });
        }
        if self.block.len() + ENTRY_HEADER_BYTES + len > BLOCK_BYTES {
            self.close_block()?;
        }
        if self.in_block == 0 {
            self.fences.extend_from_slice(&fence_of(key).to_be_bytes());
        }
        self.block.extend_from_slice(&(key.len() as u16).to_le_bytes());
        self.block.extend_from_slice(&(value.len() as u16).to_le_bytes());
        self.block.extend_from_slice(key);
        self.block.extend_from_slice(value);
        self.in_block += 1;
        self.entries += 1;
        self.tombstones += u64::from(value.is_empty());
        Ok(())
    }

    fn close_block(&mut self) -> Result<(), StoreError> {
        if self.in_block == 0 {
            return Ok(());
        }
        self.block.resize(BLOCK_BYTES, 0);
        let (_, checked) = self.block.split_at_mut(4);
        let (count, _) = checked.split_at_mut(2);
        count.copy_from_slice(&self.in_block.to_le_bytes());
        let check = crc32fast::hash(checked);
        self.full.extend_from_slice(&check.to_le_bytes());
        self.full.extend_from_slice(checked);
        self.block.truncate(BLOCK_HEADER_BYTES);
        self.in_block = 0;
        if self.full.len() >= BLOCKS_AT_ONCE * BLOCK_BYTES {
            self.write_out()?;
        }
        Ok(())
    }

    fn write_out(&mut self) -> Result<(), StoreError> {
        self.file.write_at(&self.full, self.at)?;
        self.at += self.full.len() as u64;
        self.full.clear();
        Ok(())
    }

    /// Ends the file, syncs it, gives it its name and syncs that: the run counts from then on.
    ///
    /// # Errors
    /// It cannot be written or synced. It may count all the same if only its name could not be synced.
    pub(super) fn publish(mut self) -> Result<(), StoreError> {
        self.close_block()?;
        let fences = std::mem::take(&mut self.fences);
        let footer = encode_footer(self.label, (self.entries, self.tombstones), &fences);
        self.full.extend_from_slice(&fences);
        self.full.extend_from_slice(&footer);
        self.write_out()?;
        self.file.sync()?;
        let path = self.dir.join(name_of(self.label.first, self.label.last));
        self.disk.rename(&pending_path(self.dir, self.label), &path)?;
        self.disk.sync_dir(self.dir)?;
        Ok(())
    }

    /// Takes the unfinished file of a run away: a disk that is full wants the room now.
    pub(super) fn discard(disk: &Disk, dir: &Path, label: Label) {
        let _ = disk.remove_file_if_there(&pending_path(dir, label));
    }
}

fn pending_path(dir: &Path, label: Label) -> std::path::PathBuf {
    dir.join(format!("{PENDING_PREFIX}{}", name_of(label.first, label.last)))
}

fn encode_footer(label: Label, counts: (u64, u64), fences: &[u8]) -> Vec<u8> {
    let mut footer = MAGIC.to_vec();
    let numbers = [
        label.identity,
        label.first,
        label.last,
        label.generation,
        counts.0,
        counts.1,
    ];
    for number in numbers {
        footer.extend_from_slice(&number.to_le_bytes());
    }
    footer.extend_from_slice(&((fences.len() / FENCE_BYTES) as u32).to_le_bytes());
    footer.extend_from_slice(&crc32fast::hash(fences).to_le_bytes());
    let check = crc32fast::hash(&footer);
    footer.extend_from_slice(&check.to_le_bytes());
    footer
}

/// The label, and the counts of entries, tombstones and blocks.
fn decode_footer(footer: &[u8], fences: &[u8]) -> Option<(Label, (u64, u64, u32))> {
    let (checked, check) = footer.split_last_chunk()?;
    if crc32fast::hash(checked) != u32::from_le_bytes(*check) {
        return None;
    }
    let mut rest = checked.strip_prefix(MAGIC)?;
    let mut next = || {
        let (number, behind) = rest.split_first_chunk()?;
        rest = behind;
        Some(u64::from_le_bytes(*number))
    };
    let label = Label {
        identity: next()?,
        first: next()?,
        last: next()?,
        generation: next()?,
    };
    let (entries, tombstones) = (next()?, next()?);
    let (blocks, rest) = rest.split_first_chunk()?;
    let fences_check = rest.first_chunk()?;
    if crc32fast::hash(fences) != u32::from_le_bytes(*fences_check) {
        return None;
    }
    Some((label, (entries, tombstones, u32::from_le_bytes(*blocks))))
}

#[cfg(test)]
mod tests;
