//! Files of others whose parts are blocks: registered, referred to, written in place, renamed, removed.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::ErrorKind,
    os::unix::{ffi::OsStrExt as _, fs::FileExt as _},
    path::{Component, Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use super::{
    FileId, Leaf, Store, StoreError,
    index::{Holder, Place, sync_dir},
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
        let id = self.next_file_id()?;
        let key = id.to_be_bytes();
        index.run(|| index.files.insert(key, path.as_os_str().as_bytes()))?;
        let raced = index.run(|| {
            index
                .paths
                .compare_and_swap(path.as_os_str().as_bytes(), None::<&[u8]>, Some(&key[..]))
        })?;
        if raced.is_err() {
            index.run(|| index.files.remove(key))?;
            return self.file_at(path)?.ok_or(StoreError::UnknownFile(FileId(id)));
        }
        self.inner.counters.files.fetch_add(1, Ordering::Relaxed);
        Ok(FileId(id))
    }

    /// The registered file at a path relative to the workspace.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn file_at(&self, path: &Path) -> Result<Option<FileId>, StoreError> {
        let index = &self.inner.index;
        let id = index.run(|| index.paths.get(path.as_os_str().as_bytes()))?;
        Ok(id.and_then(|id| Some(FileId(u32::from_be_bytes(id.as_ref().try_into().ok()?)))))
    }

    /// Says that parts of the file are these blocks. Nothing is read or checked now: every read checks. The next
    /// flush syncs the file.
    ///
    /// # Errors
    /// [`StoreError::UnknownFile`], or the index cannot be written.
    pub fn put_references(&self, file: FileId, leaves: &[Leaf]) -> Result<(), StoreError> {
        let path = self.registered(file)?;
        self.inner.index.guard.room()?;
        for leaf in leaves {
            self.refer(file, leaf)?;
        }
        self.mark_dirty(file.0, path.parent().map(Path::to_path_buf));
        Ok(())
    }

    /// As [`put_references`](Self::put_references), for leaves that somebody only believes to be in the file: each is
    /// read, and referred to if it is there. Gives how many are, in order; `true` for each that is there.
    ///
    /// # Errors
    /// [`StoreError::UnknownFile`], or the file or index cannot be used.
    pub fn adopt_references(&self, file: FileId, leaves: &[Leaf]) -> Result<Vec<bool>, StoreError> {
        let mut there = Vec::with_capacity(leaves.len());
        for leaf in leaves {
            let place = Place {
                holder: Holder::File(file.0),
                offset: leaf.offset,
                len: leaf.len,
            };
            let block = self.read(&place)?.and_then(|data| Block::verify(leaf.cid, data).ok());
            there.push(block.is_some());
        }
        let found: Vec<Leaf> = leaves
            .iter()
            .zip(&there)
            .filter(|(_, there)| **there)
            .map(|(leaf, _)| leaf.clone())
            .collect();
        self.put_references(file, &found)?;
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
    /// [`StoreError::Full`], or the file is unknown or cannot be written.
    pub fn write_at(&self, file: FileId, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.inner.index.guard.room()?;
        let handle = self.writable(file)?;
        if let Err(error) = handle.write_all_at(bytes, offset) {
            return Err(StoreError::io("write", &self.registered(file)?, error));
        }
        self.mark_dirty(file.0, None);
        Ok(())
    }

    /// Renames registered files, on disk and in the index. A file at a new path is replaced, as
    /// [`remove_file`](Self::remove_file) would remove it. After a crash the index says what happened on disk.
    ///
    /// # Errors
    /// A file is unknown, a new path is outside the workspace or is that of another file to be renamed (nothing
    /// changed), or the system refused (files before it are renamed).
    pub fn rename_files(&self, renames: &[(FileId, &Path)]) -> Result<(), StoreError> {
        let index = &self.inner.index;
        let mut replaced = Vec::new();
        for (file, to) in renames {
            self.registered(*file)?;
            let other = self.file_at(check_path(to)?)?.filter(|other| other != file);
            if other.is_some_and(|other| renames.iter().any(|(file, _)| *file == other)) {
                return Err(StoreError::PathTaken(to.to_path_buf()));
            }
            replaced.extend(other);
        }
        self.unregister(&replaced)?;
        for (file, to) in renames {
            index.run(|| index.renames.insert(file.0.to_be_bytes(), to.as_os_str().as_bytes()))?;
        }
        // sled loses what it has not flushed when the process dies, so the intent is flushed before the deed. Blocks that
        // moved out of a replaced file are synced with it.
        if replaced.is_empty() {
            index.flush()?
        } else {
            self.flush()?
        }
        for (file, to) in renames {
            let (from, target) = (self.registered(*file)?, self.inner.root.join(to));
            let mut dirs = self.make_parents(&target)?;
            match fs::rename(&from, &target) {
                // Not written yet: it will be made under its new name.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                other => other.map_err(|error| StoreError::io("rename", &from, error))?,
            }
            dirs.extend(from.parent().map(Path::to_path_buf));
            self.mark_dirty(file.0, dirs);
            self.renamed(*file, to)?;
        }
        Ok(())
    }

    /// Renames one file; see [`rename_files`](Self::rename_files).
    ///
    /// # Errors
    /// As [`rename_files`](Self::rename_files).
    pub fn rename_file(&self, file: FileId, to: &Path) -> Result<(), StoreError> {
        self.rename_files(&[(file, to)])
    }

    /// Drops what refers to the files, then removes the files. A block that nothing else holds is gone with its file,
    /// unless somebody put it for its own sake: that one moves to a pack. Durable.
    ///
    /// # Errors
    /// The index cannot be written, or a file not be removed; what was done until then stays done.
    pub fn remove_files(&self, files: &[FileId]) -> Result<(), StoreError> {
        let paths = self.unregister(files)?;
        self.flush()?;
        for path in paths {
            match fs::remove_file(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                other => other.map_err(|error| StoreError::io("remove", &path, error))?,
            }
        }
        Ok(())
    }

    /// Drops the files and what refers to them from the index. Gives their paths.
    pub(super) fn unregister(&self, files: &[FileId]) -> Result<Vec<PathBuf>, StoreError> {
        let index = &self.inner.index;
        let mut paths = Vec::new();
        let mut lost = false;
        for file in files {
            let Some(path) = self.file_path(file.0)? else { continue };
            let mut leaves = index.leaves.scan_prefix(file.0.to_be_bytes());
            while let Some((leaf, hash)) = index.run(|| leaves.next().transpose())? {
                lost |= self.unrefer(*file, &hash)?;
                index.run(|| index.leaves.remove(&leaf))?;
            }
            index.run(|| index.files.remove(file.0.to_be_bytes()))?;
            if let Ok(relative) = path.strip_prefix(&self.inner.root) {
                index.run(|| index.paths.remove(relative.as_os_str().as_bytes()))?;
            }
            self.inner.counters.files.fetch_sub(1, Ordering::Relaxed);
            self.inner.handles.forget(Holder::File(file.0));
            paths.push(path);
        }
        if lost {
            self.forget_completeness()?;
        }
        Ok(paths)
    }

    /// Removes one file; see [`remove_files`](Self::remove_files).
    ///
    /// # Errors
    /// As [`remove_files`](Self::remove_files).
    pub fn remove_file(&self, file: FileId) -> Result<(), StoreError> {
        self.remove_files(&[file])
    }

    fn refer(&self, file: FileId, leaf: &Leaf) -> Result<(), StoreError> {
        if inherent(&leaf.cid).is_some() {
            return Ok(());
        }
        let index = &self.inner.index;
        let hash = leaf.cid.hash().to_bytes();
        let mut key = [0; 12];
        key[..4].copy_from_slice(&file.0.to_be_bytes());
        key[4..].copy_from_slice(&leaf.offset.to_be_bytes());
        let before = index.run(|| index.leaves.insert(key, &hash[..]))?;
        let place = Place {
            holder: Holder::File(file.0),
            offset: leaf.offset,
            len: leaf.len,
        };
        if let Some(before) = before.filter(|before| **before != hash[..]) {
            // Another block was written over this one.
            let dropped = self.update(&before, |entry| {
                let count = entry.places.len();
                entry
                    .places
                    .retain(|known| known.holder != place.holder || known.offset != place.offset);
                entry.places.len() < count
            })?;
            if dropped.is_some_and(|(_, after)| after.places.is_empty()) {
                self.forget_completeness()?;
            }
        }
        self.update(&hash, |entry| entry.add(place))?;
        Ok(())
    }

    /// Drops the places of one block in a file; true if the block is lost by that.
    fn unrefer(&self, file: FileId, hash: &[u8]) -> Result<bool, StoreError> {
        let holder = Holder::File(file.0);
        if let Some(entry) = self.inner.index.entry(hash)?
            && entry.keep
            && let [only] = &entry.places[..]
            && only.holder == holder
            && let Some(data) = self.read(only)?
            && let Ok(cid) = multihash::Multihash::from_bytes(hash).map(|hash| Cid::new_v1(crate::block::RAW, hash))
            && let Ok(block) = Block::verify(cid, data)
        {
            self.append(&[(hash.to_vec(), &block.data()[..])])?;
        }
        let dropped = self.update(hash, |entry| {
            let count = entry.places.len();
            entry.places.retain(|place| place.holder != holder);
            entry.places.len() < count
        })?;
        Ok(dropped.is_some_and(|(_, after)| after.places.is_empty()))
    }

    /// Full path of a file, if it is registered.
    pub(super) fn file_path(&self, id: u32) -> Result<Option<PathBuf>, StoreError> {
        let index = &self.inner.index;
        let path = index.run(|| index.files.get(id.to_be_bytes()))?;
        Ok(path.map(|path| self.inner.root.join(OsStr::from_bytes(&path))))
    }

    /// Full path of a registered file.
    ///
    /// # Errors
    /// [`StoreError::UnknownFile`].
    pub fn registered(&self, file: FileId) -> Result<PathBuf, StoreError> {
        self.file_path(file.0)?.ok_or(StoreError::UnknownFile(file))
    }

    fn writable(&self, file: FileId) -> Result<Arc<File>, StoreError> {
        self.inner.handles.get(Holder::File(file.0), true, || {
            let path = self.registered(file)?;
            let open = || {
                File::options()
                    .read(true)
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .open(&path)
            };
            let existed = path.exists();
            let mut new_dirs = Vec::new();
            let opened = match open() {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    new_dirs = self.make_parents(&path)?;
                    open()
                }
                other => other,
            };
            if !existed {
                new_dirs.extend(path.parent().map(Path::to_path_buf));
                self.mark_dirty(file.0, new_dirs);
            }
            opened.map_err(|error| StoreError::io("open", &path, error))
        })
    }

    /// Makes the directories that lead to `path`. Gives those whose entries changed.
    fn make_parents(&self, path: &Path) -> Result<Vec<PathBuf>, StoreError> {
        let Some(parent) = path.parent() else {
            return Ok(Vec::new());
        };
        let missing = parent.ancestors().take_while(|dir| !dir.exists());
        let changed = missing
            .filter_map(|dir| dir.parent().map(Path::to_path_buf))
            .chain([parent.to_path_buf()])
            .collect();
        fs::create_dir_all(parent).map_err(|error| StoreError::io("create", parent, error))?;
        Ok(changed)
    }

    fn renamed(&self, file: FileId, to: &Path) -> Result<(), StoreError> {
        let index = &self.inner.index;
        let (key, to) = (file.0.to_be_bytes(), to.as_os_str().as_bytes());
        let from = index.run(|| index.files.insert(key, to))?;
        if let Some(from) = from.filter(|from| **from != *to) {
            index.run(|| index.paths.remove(from))?;
        }
        index.run(|| index.paths.insert(to, &key[..]))?;
        index.run(|| index.renames.remove(key))?;
        Ok(())
    }

    /// At opening: brings the index in line with renames that a crash interrupted.
    pub(super) fn finish_renames(&self) -> Result<(), StoreError> {
        let index = &self.inner.index;
        let mut renames = index.renames.iter();
        while let Some((key, to)) = index.run(|| renames.next().transpose())? {
            let Some(file) = <[u8; 4]>::try_from(&*key).ok().map(|id| FileId(u32::from_be_bytes(id))) else {
                continue;
            };
            let to = Path::new(OsStr::from_bytes(&to));
            let target = self.inner.root.join(to);
            match self.file_path(file.0)? {
                Some(from) if target.exists() && !from.exists() => {
                    self.renamed(file, to)?;
                    for path in [&from, &target] {
                        path.parent().filter(|dir| dir.exists()).map_or(Ok(()), sync_dir)?;
                    }
                }
                _ => {
                    index.run(|| index.renames.remove(&key))?;
                }
            }
        }
        Ok(())
    }
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
