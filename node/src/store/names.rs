//! Registered files that get other names, or go.

use std::{
    collections::{BTreeSet, HashSet},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};

use super::{
    error::StoreError,
    files::{check_path, cid_of},
    place::{FileId, Holder, Place},
    state::Store,
};

/// Blocks move to packs in batches of this many bytes.
const MOVE_BYTES: usize = 8 << 20;

impl Store {
    /// Renames registered files, on disk and in the index, after syncing what is in them: a file never has its new name
    /// before its content is on the medium. A file at a new path is replaced, as [`remove_file`](Self::remove_file) would
    /// remove it. The names are durable when this returns, and after a crash the index says what happened on disk.
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
        self.keep_needed(&replaced, None)?;
        self.unregister(&replaced)?;
        // sled loses what it has not flushed when the process dies, so the intent is flushed before the deed.
        for (file, to) in renames {
            index.run(|| index.renames.insert(file.0.to_be_bytes(), to.as_os_str().as_bytes()))?;
        }
        self.flush()?;
        let mut done = Vec::new();
        let outcome = renames.iter().try_for_each(|(file, to)| {
            let from = self.registered(*file)?;
            done.push((*file, *to, from.clone()));
            self.rename_on_disk(&from, &self.inner.root.join(to))
        });
        self.names_moved(&done).and(outcome)
    }

    fn rename_on_disk(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        self.make_parents(to)?;
        match self.inner.options.disk.rename(from, to) {
            // Not written yet: it will be made under its new name.
            Err(error) if error.is_not_found() => Ok(()),
            other => Ok(other?),
        }
    }

    /// The files have their new names on disk, unless the old name is still there: makes that durable, and then has the
    /// index say so.
    fn names_moved(&self, done: &[(FileId, &Path, PathBuf)]) -> Result<(), StoreError> {
        let to = done.iter().map(|(_, to, _)| self.inner.root.join(to));
        let dirs = |paths: &mut dyn Iterator<Item = PathBuf>| -> BTreeSet<PathBuf> {
            paths.filter_map(|path| path.parent().map(Path::to_path_buf)).collect()
        };
        let gained = dirs(&mut to.into_iter());
        let lost = dirs(&mut done.iter().map(|(.., from)| from.clone()));
        // First the directories with the new names: a file with two names is better than one with none.
        for dir in gained.iter().chain(lost.difference(&gained)) {
            match self.inner.options.disk.sync_dir(dir) {
                Err(error) if error.is_not_found() => {}
                other => other?,
            }
        }
        for (file, to, from) in done {
            let is_there = |path: &Path| std::fs::symlink_metadata(path).is_ok();
            if is_there(from) && from != &self.inner.root.join(to) {
                let index = &self.inner.index;
                index.run(|| index.renames.remove(file.0.to_be_bytes()))?;
            } else {
                self.renamed(*file, to)?;
            }
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

    /// Removes the files with everything that refers to them. A block that only they hold is gone with them, unless a pin
    /// needs it or work in progress ([`hold`](Self::hold)) counts on it: that one moves to a pack first. Durable.
    ///
    /// # Errors
    /// [`StoreError::Full`] when there is no room for blocks that must move: nothing is gone then. The index cannot be
    /// written, or a file not be removed; what was done until then stays done.
    pub fn remove_files(&self, files: &[FileId]) -> Result<(), StoreError> {
        self.keep_needed(files, None)?;
        self.drop_files(files)
    }

    /// The registered files in a directory, given by its path relative to the workspace, whether they are there or not.
    ///
    /// # Errors
    /// [`StoreError::OutsideWorkspace`], or the index cannot be read.
    pub fn files_below(&self, dir: &Path) -> Result<Vec<FileId>, StoreError> {
        let mut prefix = check_path(dir)?.as_os_str().as_bytes().to_vec();
        prefix.push(b'/');
        self.inner.index.files_named(&prefix).collect()
    }

    /// Before files go with the directory they are in: blocks that only they hold and that pins of others than `owner` need
    /// move to packs. Durable. Nothing else changes, so the files may stay after all; else
    /// [`forget_files`](Self::forget_files) comes next.
    ///
    /// # Errors
    /// [`StoreError::Full`] when there is no room, or the index or a file cannot be read. Nothing is gone.
    pub fn keep_for_others(&self, files: &[FileId], owner: &str) -> Result<(), StoreError> {
        self.keep_needed(files, Some(owner))
    }

    /// Drops what refers to these files, which are gone or about to go. The files themselves are not touched. Durable.
    ///
    /// # Errors
    /// The index cannot be written.
    pub fn forget_files(&self, files: &[FileId]) -> Result<(), StoreError> {
        self.unregister(files)?;
        self.flush()
    }

    /// As [`remove_files`](Self::remove_files), for files that no pin needs.
    pub(super) fn drop_files(&self, files: &[FileId]) -> Result<(), StoreError> {
        let paths = self.unregister(files)?;
        self.flush()?;
        let disk = &self.inner.options.disk;
        for path in &paths {
            disk.remove_file_if_there(path)?;
        }
        let dirs: BTreeSet<&Path> = paths.iter().filter_map(|path| path.parent()).collect();
        for dir in dirs {
            match disk.sync_dir(dir) {
                Err(error) if error.is_not_found() => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Removes one file; see [`remove_files`](Self::remove_files).
    ///
    /// # Errors
    /// As [`remove_files`](Self::remove_files).
    pub fn remove_file(&self, file: FileId) -> Result<(), StoreError> {
        self.remove_files(&[file])
    }

    /// Before files go: blocks that only they hold and that somebody but this owner needs move to packs, durably.
    fn keep_needed(&self, files: &[FileId], but: Option<&str>) -> Result<(), StoreError> {
        let going: HashSet<Holder> = files.iter().map(|file| Holder::File(file.0)).collect();
        let mut only = Vec::new();
        for file in files {
            for leaf in self.leaves_of(*file) {
                let (_, hash) = leaf?;
                if self.is_only_in(&going, &hash)? {
                    only.push(hash);
                }
            }
        }
        if only.is_empty() {
            return Ok(());
        }
        let reach = self.reach_of_pins(but)?;
        let (mut batch, mut bytes, mut moved) = (Vec::new(), 0, false);
        for hash in only {
            let Some(cid) = cid_of(&hash) else { continue };
            let wanted =
                reach.is_in_doubt() || reach.contains(cid.hash()) || self.inner.gate.dropping().is_claimed(&hash);
            if !wanted {
                continue;
            }
            let mut found = None;
            for place in self.places(&hash)? {
                found = found.or(self.read_as(&cid, &place)?);
            }
            let Some(block) = found else {
                self.lose(&hash)?;
                continue;
            };
            bytes += block.data().len();
            batch.push((hash, block));
            moved = true;
            if bytes >= MOVE_BYTES {
                self.move_to_packs(&batch)?;
                (batch, bytes) = (Vec::new(), 0);
            }
        }
        self.move_to_packs(&batch)?;
        if moved { self.flush() } else { Ok(()) }
    }

    fn move_to_packs(&self, blocks: &[(Vec<u8>, crate::block::Block)]) -> Result<(), StoreError> {
        let content: Vec<_> = blocks
            .iter()
            .map(|(hash, block)| (hash.clone(), &block.data()[..]))
            .collect();
        if content.is_empty() {
            Ok(())
        } else {
            self.append(&content)
        }
    }

    /// Whether the block goes when these files go. Looks for it in files that the entry has no room to remember.
    fn is_only_in(&self, going: &HashSet<Holder>, hash: &[u8]) -> Result<bool, StoreError> {
        let places = self.places(hash)?;
        if places.is_empty() || places.iter().any(|place| !going.contains(&place.holder)) {
            return Ok(false);
        }
        let index = &self.inner.index;
        let Some(entry) = index.entry(hash)?.filter(|entry| entry.more) else {
            return Ok(true);
        };
        let len = entry.places.first().map_or(0, |place| place.len);
        let mut others = Vec::new();
        for leaf in index.all_leaves() {
            let (file, (offset, found)) = leaf?;
            let holder = Holder::File(file.0);
            if found == hash && !going.contains(&holder) {
                others.push(Place { holder, offset, len });
            }
        }
        if others.is_empty() {
            return Ok(true);
        }
        self.update(hash, |entry| {
            entry.places.retain(|place| !going.contains(&place.holder));
            entry.more = false;
            for other in &others {
                entry.add(*other);
            }
            true
        })?;
        Ok(false)
    }

    /// Drops the files and what refers to them from the index. Gives their paths.
    fn unregister(&self, files: &[FileId]) -> Result<Vec<PathBuf>, StoreError> {
        let index = &self.inner.index;
        // A pin that was taken away must not come back to parts that are gone.
        self.inner.pins.sync()?;
        let mut paths = Vec::new();
        let mut told = false;
        for file in files {
            let holder = Holder::File(file.0);
            let Some(path) = self.path_of(holder)? else { continue };
            let here = HashSet::from([holder]);
            for leaf in self.leaves_of(*file) {
                let (offset, hash) = leaf?;
                let claims = self.inner.gate.dropping();
                if self.is_only_in(&here, &hash)? {
                    if claims.is_claimed(&hash) {
                        // Claimed since what is needed was kept.
                        self.move_claimed(&hash)?;
                    } else if !std::mem::replace(&mut told, true) {
                        self.forget_completeness()?;
                    }
                }
                self.update(&hash, |entry| {
                    let count = entry.places.len();
                    entry.places.retain(|place| place.holder != holder);
                    entry.places.len() < count
                })?;
                drop(claims);
                index.remove_leaf_of(*file, offset, &hash)?;
            }
            index.forget_path(*file)?;
            for tree in [&index.writing, &index.renames] {
                index.run(|| tree.remove(file.0.to_be_bytes()))?;
            }
            if let Ok(relative) = path.strip_prefix(&self.inner.root) {
                index.take_name(relative.as_os_str().as_bytes())?;
            }
            self.inner.counters.files.fetch_sub(1, Ordering::Relaxed);
            self.inner.handles.forget(holder);
            self.inner.away.forget(holder);
            paths.push(path);
        }
        Ok(paths)
    }

    fn move_claimed(&self, hash: &[u8]) -> Result<(), StoreError> {
        let Some(cid) = cid_of(hash) else { return Ok(()) };
        for place in self.places(hash)? {
            if let Some(block) = self.read_as(&cid, &place)? {
                return self.append(&[(hash.to_vec(), &block.data()[..])]);
            }
        }
        self.lose(hash)
    }

    /// The index says that the file has its new name.
    pub(super) fn renamed(&self, file: FileId, to: &Path) -> Result<(), StoreError> {
        let index = &self.inner.index;
        let to = to.as_os_str().as_bytes();
        let from = index.path_of_file(file)?.filter(|from| from != to);
        if let Some(from) = &from {
            let mut left = self.inner.due.names_left();
            left.insert(from);
            self.inner.packs.note_names_left(true)?;
        }
        index.give_name(to, file)?;
        if let Some(from) = from {
            index.take_name(&from)?;
        }
        // After the paths: as long as this is not done, all of it is done again.
        index.set_path(file, to)?;
        index.run(|| index.renames.remove(file.0.to_be_bytes()))?;
        Ok(())
    }
}
