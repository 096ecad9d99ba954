//! Files of others whose parts are blocks: registered, referred to, written in place.

use std::{
    os::unix::ffi::OsStrExt as _,
    path::{Component, Path, PathBuf},
    sync::{Arc, MutexGuard, PoisonError, atomic::Ordering},
};

use odf_disk::Access;

use super::{
    content::is_packed,
    error::StoreError,
    handles::Handle,
    place::{FileId, Holder, Leaf, Place},
    registered::KnownLeaf,
    state::Store,
};
use crate::block::{Block, Cid, inherent};

/// The longest path of a registered file, in bytes.
pub const MAX_PATH_BYTES: usize = 1024;

impl Store {
    /// Registers a file of the workspace, whose parts can then be blocks. `path` is relative to the workspace. The
    /// file need not be there yet: [`write_leaf`](Self::write_leaf) makes it. Registering it again gives the same id.
    ///
    /// From now on only the store renames or removes the file. Its owner may write to it in place; a part that no
    /// longer is the block it was counts as lost.
    ///
    /// # Errors
    /// [`StoreError::OutsideWorkspace`], or the index cannot be written.
    pub fn add_file(&self, path: &Path) -> Result<FileId, StoreError> {
        let path = check_path(path)?;
        if let Some(file) = self.file_at(path)? {
            return Ok(file);
        }
        let index = &self.inner.index;
        index.guard.room()?;
        if self.inner.due.names_left().contains(path.as_os_str().as_bytes()) {
            // An index from before the rename would take the new file for the one that had this name.
            self.flush()?;
        }
        let id = self.next_file_id()?;
        let (file, name) = (FileId(id), path.as_os_str().as_bytes());
        index.set_path(file, name)?;
        if !index.give_free_name(name, file)? {
            index.forget_path(file)?;
            return self.file_at(path)?.ok_or(StoreError::UnknownFile(file));
        }
        self.inner.counters.files.fetch_add(1, Ordering::Relaxed);
        Ok(file)
    }

    /// The registered file at a path relative to the workspace.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn file_at(&self, path: &Path) -> Result<Option<FileId>, StoreError> {
        self.inner.index.file_named(path.as_os_str().as_bytes())
    }

    /// Says that parts of the file, which is on the medium as its name is, are these blocks. Nothing is read, checked or
    /// synced: every read checks.
    ///
    /// # Errors
    /// [`StoreError::UnknownFile`], or the index cannot be written.
    pub fn put_references(&self, file: FileId, leaves: &[Leaf]) -> Result<(), StoreError> {
        self.referring(file)?;
        leaves.iter().try_for_each(|leaf| self.refer_too(file, leaf))
    }

    /// Before more is said of a file: what could not be checked when the store was opened is forgotten. Gives its path.
    fn referring(&self, file: FileId) -> Result<PathBuf, StoreError> {
        let path = self.registered(file)?;
        self.inner.index.guard.room()?;
        let _preparing = self.preparing();
        if self.is_unchecked(file)? {
            self.drop_leaves(file)?;
        }
        Ok(path)
    }

    /// As [`put_references`](Self::put_references), for leaves that somebody only believes to be in the file: each is
    /// read, and referred to if it is there. The next flush syncs the file. Gives `true` for each that is there, in order.
    ///
    /// # Errors
    /// [`StoreError::UnknownFile`], or the file or index cannot be used.
    pub fn adopt_references(&self, file: FileId, leaves: &[Leaf]) -> Result<Vec<bool>, StoreError> {
        let mut there = Vec::with_capacity(leaves.len());
        for leaf in leaves {
            there.push(self.read_as(&leaf.cid, &place_of(file, leaf))?.is_some());
        }
        let path = self.referring(file)?;
        self.mark_dirty(file, path.parent().map(Path::to_path_buf))?;
        let found = leaves.iter().zip(&there).filter(|(_, there)| **there);
        for (leaf, _) in found {
            self.refer_too(file, leaf)?;
        }
        Ok(there)
    }

    /// Writes a block into the file at `offset` and refers to it there. Makes the file, and the directories that lead
    /// to it, if need be. Blocks may come in any order and from many threads.
    ///
    /// # Errors
    /// [`StoreError::Full`]: the file may have grown, but nothing refers to what is missing. Or the file is unknown,
    /// or cannot be written.
    pub fn write_leaf(&self, file: FileId, offset: u64, block: &Block) -> Result<(), StoreError> {
        self.write_at(file, offset, block.data())?;
        let len = block.data().len() as u32;
        self.refer(
            file,
            &Leaf {
                cid: *block.cid(),
                offset,
                len,
            },
        )
    }

    /// Writes bytes that are no block of their own into the file, as content inside a dag-pb node is. Makes the file as
    /// [`write_leaf`](Self::write_leaf) does.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::OverLimit`], or the file is unknown or cannot be written.
    pub fn write_at(&self, file: FileId, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.inner.index.guard.room()?;
        self.check_room_for(bytes.len() as u64)?;
        let handle = self.writable(file)?;
        if let Handle::Write(handle) = &*handle {
            handle.write_at(bytes, offset)?;
        }
        self.inner.away.forget(Holder::File(file.0));
        self.mark_dirty(file, None)
    }

    /// Writes blocks to the packs although a registered file holds them, because that file will not for much longer.
    /// Durable when this returns. Those in a pack already are passed over.
    ///
    /// # Errors
    /// [`StoreError::Full`] when the disk has no room, or the index cannot be read or written: nothing that was here is gone.
    pub fn put_beside_files(&self, blocks: &[Block]) -> Result<(), StoreError> {
        let mut wanting = Vec::new();
        for block in blocks.iter().filter(|block| inherent(block.cid()).is_none()) {
            let key = block.cid().hash().to_bytes();
            if !is_packed(&self.places(&key)?) {
                wanting.push((key, &block.data()[..]));
            }
        }
        if wanting.is_empty() {
            return Ok(());
        }
        self.append(&wanting)?;
        self.flush()
    }

    fn refer(&self, file: FileId, leaf: &Leaf) -> Result<(), StoreError> {
        if inherent(&leaf.cid).is_some() {
            return Ok(());
        }
        let hash = leaf.cid.hash().to_bytes();
        let before = self.inner.index.set_leaf(file, leaf.offset, &hash)?;
        if let Some(before) = before.filter(|before| *before != hash) {
            // Another block was written over this one.
            match self.elsewhere_in(file, leaf.offset, &before)? {
                Some(place) => drop(self.update(&before, |entry| entry.add(place))?),
                None => self.drop_leaf(file, leaf.offset, &before)?,
            }
        }
        self.update(&hash, |entry| entry.add(place_of(file, leaf)))?;
        Ok(())
    }

    /// As [`Self::refer`], for a leaf that nobody wrote: one of another length that begins where it does stays known if it is
    /// there. A file may be cut in several ways.
    fn refer_too(&self, file: FileId, leaf: &Leaf) -> Result<(), StoreError> {
        let hash = leaf.cid.hash().to_bytes();
        let before = match inherent(&leaf.cid) {
            Some(_) => None,
            None => self.inner.index.leaf_at(file, leaf.offset)?,
        };
        let Some(before) = before.filter(|before| *before != hash) else {
            return self.refer(file, leaf);
        };
        let entry = self.inner.index.entry(&before)?.unwrap_or_default();
        let here = |place: &&Place| place.holder == Holder::File(file.0) && place.offset == leaf.offset;
        let known = entry.places.iter().find(here).filter(|place| place.len != leaf.len);
        let is_there = match (known, cid_of(&before)) {
            (Some(place), Some(cid)) => self.read_as(&cid, place)?.is_some(),
            _ => false,
        };
        if !is_there {
            return self.refer(file, leaf);
        }
        self.inner.index.set_other_leaf(file, leaf.offset, leaf.len, &hash)?;
        self.update(&hash, |entry| entry.add(place_of(file, leaf)))?;
        Ok(())
    }

    /// Where else a file has the block that it had at `offset`; the index remembers one place for each file. What is found
    /// is read, because a write at another offset may have reached into it.
    pub(super) fn elsewhere_in(&self, file: FileId, offset: u64, hash: &[u8]) -> Result<Option<Place>, StoreError> {
        let entry = self.inner.index.entry(hash)?.unwrap_or_default();
        let here = |place: &Place| place.holder == Holder::File(file.0) && self.is_whole(place) && !self.is_away(place);
        let Some(place) = entry.places.into_iter().find(here) else {
            return Ok(None);
        };
        if place.offset != offset {
            return Ok(Some(place));
        }
        let Some(cid) = cid_of(hash).filter(|_| entry.repeated) else {
            return Ok(None);
        };
        // From there on first: a file that is written anew, from its beginning, has the next one near.
        let index = &self.inner.index;
        let from_there = index.leaves_between(file, offset, None);
        for leaf in from_there.chain(index.leaves_between(file, 0, Some(offset))) {
            let (other, known) = leaf?;
            let place = Place { offset: other, ..place };
            if other != offset && *known == *hash && self.read_as(&cid, &place)?.is_some() {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// A file is not said any more to have that block at `offset`.
    pub(super) fn forget_leaf(&self, file: FileId, offset: u64, hash: &[u8]) -> Result<(), StoreError> {
        // Somebody may have written another block there since.
        self.inner.index.remove_leaf_of(file, offset, hash)
    }

    /// What is at `offset` of a file is not that block: drops the place.
    pub(super) fn drop_leaf(&self, file: FileId, offset: u64, hash: &[u8]) -> Result<(), StoreError> {
        let holder = Holder::File(file.0);
        let is_it = |place: &Place| place.holder == holder && place.offset == offset;
        let places = self.places(hash)?;
        if !places.is_empty() && places.iter().all(is_it) {
            self.lose(hash)?;
        }
        self.update(hash, |entry| {
            let count = entry.places.len();
            entry.places.retain(|place| !is_it(place));
            entry.places.len() < count
        })?;
        Ok(())
    }

    fn writable(&self, file: FileId) -> Result<Arc<Handle>, StoreError> {
        let holder = Holder::File(file.0);
        self.inner.handles.get(holder, true, || {
            let _preparing = self.preparing();
            let disk = &self.inner.options.disk;
            let path = self.registered(file)?;
            let opened = match disk.open_or_create(&path, Access::Readable) {
                Err(error) if error.is_not_found() => {
                    self.make_parents(&path)?;
                    disk.open_or_create(&path, Access::Readable)
                }
                other => other,
            };
            let (opened, is_new) = opened?;
            if is_new {
                self.mark_dirty(file, path.parent().map(Path::to_path_buf))?;
            }
            // What the index knows of a file that was here before, or that could not be checked when the store was opened,
            // is not known to be in this one.
            if is_new || self.is_unchecked(file)? {
                self.drop_leaves(file)?;
            }
            Ok(Handle::Write(opened))
        })
    }

    /// A turn at making a file fit to be written. Without it, what one thread has just written and referred to could go
    /// with the old parts of the file that another one is dropping.
    fn preparing(&self) -> MutexGuard<'_, ()> {
        self.inner.preparing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drop_leaves(&self, file: FileId) -> Result<(), StoreError> {
        for leaf in self.leaves_of(file) {
            let (offset, hash) = leaf?;
            self.drop_leaf(file, offset, &hash)?;
            self.inner.index.remove_leaf_of(file, offset, &hash)?;
        }
        self.inner.away.forget(Holder::File(file.0));
        Ok(())
    }

    /// Makes the directories that lead to `path`, durably.
    pub(super) fn make_parents(&self, path: &Path) -> Result<(), StoreError> {
        let Some(parent) = path.parent() else { return Ok(()) };
        Ok(self.inner.options.disk.create_dirs(parent, Access::Readable)?)
    }

    /// The leaves that the index knows of a file: offset, and multihash in byte form.
    pub(super) fn leaves_of(&self, file: FileId) -> impl Iterator<Item = Result<KnownLeaf, StoreError>> + '_ {
        self.inner.index.leaves_between(file, 0, None)
    }

    /// The directories from that of `path` up to the workspace.
    pub(super) fn dirs_above(&self, path: &Path) -> Vec<PathBuf> {
        let inside = path
            .ancestors()
            .skip(1)
            .take_while(|dir| dir.starts_with(&self.inner.root));
        inside.map(Path::to_path_buf).collect()
    }
}

/// Where a leaf of a file is.
fn place_of(file: FileId, leaf: &Leaf) -> Place {
    Place {
        holder: Holder::File(file.0),
        offset: leaf.offset,
        len: leaf.len,
    }
}

/// The CID under which a leaf of this multihash is read.
pub(super) fn cid_of(hash: &[u8]) -> Option<Cid> {
    let hash = multihash::Multihash::from_bytes(hash).ok()?;
    Some(Cid::new_v1(crate::block::RAW, hash))
}

pub(super) fn check_path(path: &Path) -> Result<&Path, StoreError> {
    let inside =
        path.components().all(|part| matches!(part, Component::Normal(_))) && path.components().next().is_some();
    if inside && path.as_os_str().len() <= MAX_PATH_BYTES {
        Ok(path)
    } else {
        Err(StoreError::OutsideWorkspace(path.to_path_buf()))
    }
}
