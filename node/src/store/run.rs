//! A sorted file of index entries that is written once.
//!
//! A run is:
//!
//! | bytes | what |
//! |---|---|
//! | n × 4096 | entries in the order of their keys, in blocks |
//! | m | fences: for each block what its first key begins with, enough of it to come behind the last key of the block before; of the first block the whole first key; then the last key of the run. Each is its length (u16) and its bytes. There are none without blocks |
//! | k × 32 | the [filter](filter) of its keys: eight words (u32) for each of its blocks; k is as large as the writer chose |
//! | 76 | `index run v4\r\n\0\xf0`, then little endian: identity, first and last number, generation, entries, tombstones (u64 each), n, crc32 of the fences and the filter, crc32 of these bytes up to here (u32 each) |
//!
//! A block is the crc32 of what follows (u32), the number of its entries (u16), then the entries; zeros up to its end. An entry
//! never lies in two blocks. Its first entry is the lengths of key and value, key and value. Each other one is five lengths and
//! bytes: how much of its beginning the key has of the key before, how much is its own; how much of its beginning the value has
//! of the value before, how much is its own, how much of its end it has of the end of the value before; then what is their own.
//! A length below 128 is one byte, any other two: the low seven bits with the eighth set, then the rest. A value without bytes
//! is a tombstone: it hides the entries of older runs.
//!
//! Earlier versions wrote `v3`, without a filter, before that `v2`, where each entry is the lengths of key and value (u16 each),
//! key and value, and before that `v1`, with for fences the first 8 bytes of the first key of each block, with zeros if it is shorter. Such runs are read,
//! until they are merged.
//!
//! What a run says of itself, and that it is whole but for its blocks, is checked when it is opened, each block when it is
//! read.

use std::{fs::File, io::ErrorKind, os::unix::fs::FileExt as _, path::Path, sync::Arc};

mod block;
mod fences;
mod filter;
mod form;
mod writer;

pub(super) use self::{
    form::{Label, MAX_BLOCKS, MAX_ENTRY_BYTES, Pair, folds_of, name_of},
    writer::Writer,
};

use self::{
    block::Entries,
    fences::Fences,
    filter::Filter,
    form::{BLOCK_BYTES, BLOCKS_AT_ONCE, FOOTER_BYTES, Footer, Form},
};
use super::{error::StoreError, guard::Guard, handles};

/// A run that is open.
pub(super) struct Run {
    guard: Guard,
    file: File,
    form: Form,
    pub(super) label: Label,
    pub(super) entries: u64,
    pub(super) tombstones: u64,
    pub(super) blocks: u32,
    bytes: u64,
    fences: Fences,
    filter: Filter,
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
        let read = |buffer: &mut [u8], at: u64| {
            let read = file.read_exact_at(buffer, at);
            read.map_err(|error| read_failed(guard, &path, error))
        };
        let metadata = file.metadata();
        let found = metadata.map_err(|error| StoreError::io("read the size of", &path, error))?;
        let body = found.len().checked_sub(FOOTER_BYTES as u64);
        let Some(body) = body.filter(|_| found.is_file()) else {
            return Err(damaged("it has no length that a run can have"));
        };
        let mut footer = [0; FOOTER_BYTES];
        read(&mut footer, body)?;
        let Some(footer) = Footer::decode(&footer) else {
            return Err(damaged("its end is damaged"));
        };
        let Some(len) = footer.resident_bytes(body) else {
            return Err(damaged("it is not as long as it says"));
        };
        let mut resident = vec![0; len];
        read(&mut resident, body - len as u64)?;
        let decode = || {
            let (fences, behind) = Fences::decode(footer.form, footer.blocks, &resident)?;
            Some((fences, Filter::decode(identity, behind)?))
        };
        let is_whole = crc32fast::hash(&resident) == footer.resident;
        let Some((fences, filter)) = is_whole.then(decode).flatten() else {
            return Err(damaged("its fences are damaged"));
        };
        let label = footer.label;
        if (label.identity, label.first, label.last) != (identity, first, last) {
            return Err(damaged("it is of another index"));
        }
        Ok(Self {
            guard: guard.clone(),
            fences,
            filter,
            file,
            form: footer.form,
            label,
            entries: footer.entries,
            tombstones: footer.tombstones,
            blocks: footer.blocks,
            bytes: found.len(),
        })
    }

    /// Length of the file in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The value of a key, or a tombstone.
    ///
    /// # Errors
    /// [`StoreError::IndexDamaged`] if the block is damaged, or it cannot be read.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let block = self.filter.may_have(key).then(|| self.fences.block_for(key)).flatten();
        let Some(mut at) = block else {
            return Ok(None);
        };
        let mut block = [0; BLOCK_BYTES];
        // One block, but for runs of earlier versions.
        while self.fences.begins_by(at, key) {
            self.read(&mut block, at as u64)?;
            let mut entries = self.entries_of(&block)?;
            while let Some(entry) = entries.advance() {
                let (known, value) = entry.ok_or_else(|| self.damaged())?;
                match known.cmp(key) {
                    std::cmp::Ordering::Equal => return Ok(Some(value.to_vec())),
                    std::cmp::Ordering::Greater => return Ok(None),
                    std::cmp::Ordering::Less => {}
                }
            }
            at += 1;
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
        Entries::of(self.form, block).ok_or_else(|| self.damaged())
    }

    fn damaged(&self) -> StoreError {
        self.guard.damaged(&format!("{}: a block is damaged", self.name()))
    }

    /// All entries in order, beginning with the first.
    pub(super) fn cursor(self: &Arc<Self>) -> Cursor {
        Cursor {
            run: self.clone(),
            next: 0,
            at_once: BLOCKS_AT_ONCE,
            from: Vec::new(),
            to: None,
            pairs: Vec::new().into_iter(),
        }
    }

    /// The entries from the key `from` on, in order, and if `to` is given those before it. Reads little at first and more
    /// and more at once.
    pub(super) fn cursor_between(self: &Arc<Self>, from: &[u8], to: Option<&[u8]>) -> Cursor {
        Cursor {
            next: self.fences.block_for(from).map_or(self.blocks, |block| block as u32),
            at_once: 1,
            from: from.to_vec(),
            to: to.map(<[u8]>::to_vec),
            ..self.cursor()
        }
    }
}

fn read_failed(guard: &Guard, path: &Path, error: std::io::Error) -> StoreError {
    match error.kind() {
        ErrorKind::UnexpectedEof => guard.damaged(&format!("{}: it is cut off", path.display())),
        _ => StoreError::io("read", path, error),
    }
}

/// A walk over a run.
pub(super) struct Cursor {
    run: Arc<Run>,
    next: u32,
    /// How many blocks are read next.
    at_once: usize,
    from: Vec<u8>,
    to: Option<Vec<u8>>,
    pairs: std::vec::IntoIter<Pair>,
}

impl Cursor {
    fn fill(&mut self) -> Result<(), StoreError> {
        let count = (self.run.blocks - self.next).min(self.at_once as u32);
        self.at_once = (self.at_once * 2).min(BLOCKS_AT_ONCE);
        let mut buffer = vec![0; count as usize * BLOCK_BYTES];
        self.run.read(&mut buffer, u64::from(self.next))?;
        self.next += count;
        let mut pairs = Vec::new();
        for block in buffer.chunks(BLOCK_BYTES) {
            let mut entries = self.run.entries_of(block)?;
            while let Some(entry) = entries.advance() {
                let (key, value) = entry.ok_or_else(|| self.run.damaged())?;
                if self.to.as_ref().is_some_and(|to| key >= &to[..]) {
                    self.next = self.run.blocks;
                    break;
                }
                if key >= &self.from[..] {
                    pairs.push((key.to_vec(), value.to_vec()));
                }
            }
        }
        self.pairs = pairs.into_iter();
        Ok(())
    }

    /// Whether there is a block to be read that is not behind the end.
    fn goes_on(&self) -> bool {
        let is_before_end = |to: &Vec<u8>| self.run.fences.begins_by(self.next as usize, to);
        self.next < self.run.blocks && self.to.as_ref().is_none_or(is_before_end)
    }
}

impl Iterator for Cursor {
    type Item = Result<Pair, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(pair) = self.pairs.next() {
                return Some(Ok(pair));
            }
            if !self.goes_on() {
                return None;
            }
            if let Err(error) = self.fill() {
                self.next = self.run.blocks;
                return Some(Err(error));
            }
        }
    }
}

#[cfg(test)]
mod tests;
