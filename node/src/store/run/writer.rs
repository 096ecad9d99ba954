//! Writing a run.

use std::path::{Path, PathBuf};

use odf_disk::{Access, Disk, DiskFile, PENDING_PREFIX};

use super::{
    block::Filling,
    fences::Growing,
    filter::Filter,
    form::{BLOCK_BYTES, BLOCKS_AT_ONCE, Footer, Form, Label, MAX_BLOCKS, MAX_ENTRY_BYTES, name_of},
};
use crate::store::error::StoreError;

/// A run that is being written, under a name that does not count.
pub(in crate::store) struct Writer<'a> {
    disk: &'a Disk,
    dir: &'a Path,
    label: Label,
    file: DiskFile,
    /// Whole blocks that are not written yet, and where they belong.
    full: Vec<u8>,
    at: u64,
    block: Filling,
    /// Those that have begun.
    blocks: u32,
    fences: Growing,
    filter: Filter,
    entries: u64,
    tombstones: u64,
}

impl<'a> Writer<'a> {
    /// A run of so many entries at most.
    ///
    /// # Errors
    /// The file cannot be made.
    pub(in crate::store) fn begin(
        disk: &'a Disk,
        dir: &'a Path,
        label: Label,
        entries: u64,
    ) -> Result<Self, StoreError> {
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
            block: Filling::new(),
            blocks: 0,
            fences: Growing::default(),
            filter: Filter::for_keys(label.identity, entries),
            entries: 0,
            tombstones: 0,
        })
    }

    /// Adds an entry; each key comes behind the one before, and with its value has at most [`MAX_ENTRY_BYTES`].
    ///
    /// # Errors
    /// It cannot be written, is too long, or is one too many for a run.
    pub(in crate::store) fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let len = key.len() + value.len();
        if len > MAX_ENTRY_BYTES {
            let limit = MAX_ENTRY_BYTES;
            return Err(StoreError::EntryTooLarge { len, limit });
        }
        if self.block.is_empty() || !self.block.push(key, value) {
            self.close_block()?;
            let before = (self.blocks > 0).then_some(self.block.last_key());
            if self.blocks >= MAX_BLOCKS || !self.fences.begin(before, key) || !self.block.push(key, value) {
                return Err(self.too_long());
            }
            self.blocks += 1;
        }
        self.filter.add(key);
        self.entries += 1;
        self.tombstones += u64::from(value.is_empty());
        Ok(())
    }

    fn too_long(&self) -> StoreError {
        let error = std::io::Error::other("it has as much as one can have");
        StoreError::io("add to", &pending_path(self.dir, self.label), error)
    }

    fn close_block(&mut self) -> Result<(), StoreError> {
        if self.block.is_empty() {
            return Ok(());
        }
        self.block.close(&mut self.full);
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
    pub(in crate::store) fn publish(mut self) -> Result<(), StoreError> {
        self.close_block()?;
        if self.blocks > 0 && !self.fences.end(self.block.last_key()) {
            return Err(self.too_long());
        }
        let mut resident = std::mem::take(&mut self.fences).into_encoded();
        self.filter.encode(&mut resident);
        let footer = Footer {
            form: Form::Filtered,
            label: self.label,
            entries: self.entries,
            tombstones: self.tombstones,
            blocks: self.blocks,
            resident: crc32fast::hash(&resident),
        };
        self.full.extend_from_slice(&resident);
        self.full.extend_from_slice(&footer.encode());
        self.write_out()?;
        self.file.sync()?;
        let path = self.dir.join(name_of(self.label.first, self.label.last));
        self.disk.rename(&pending_path(self.dir, self.label), &path)?;
        self.disk.sync_dir(self.dir)?;
        Ok(())
    }

    /// Takes the unfinished file of a run away: a disk that is full wants the room now.
    pub(in crate::store) fn discard(disk: &Disk, dir: &Path, label: Label) {
        let _ = disk.remove_file_if_there(&pending_path(dir, label));
    }
}

fn pending_path(dir: &Path, label: Label) -> PathBuf {
    dir.join(format!("{PENDING_PREFIX}{}", name_of(label.first, label.last)))
}
