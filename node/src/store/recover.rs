//! What the last process left behind, put right when the store is opened.
//!
//! Whatever was not synced is read and hashed before it counts, and then written once more: after a sync that failed, or
//! a crash in the middle of one, the kernel may show bytes that the medium does not have.

use std::{
    ffi::OsStr,
    os::unix::{ffi::OsStrExt as _, fs::FileExt as _, fs::MetadataExt as _},
    path::Path,
};

use super::{
    away::Gone,
    content::is_packed,
    due::Dirty,
    error::StoreError,
    files::cid_of,
    handles::open_to_read,
    place::{FileId, Holder, Place, Position},
    record::{self, HEADER},
    state::Store,
};
use crate::block::{self, Block};

/// Blocks behind the last sync are carried over in batches of this many bytes.
const CARRY_BYTES: usize = 8 << 20;

/// What is known of packs when a store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packed {
    /// Everything before `synced` was synced; the index has what is before `indexed`, which is never behind it.
    Until { synced: Position, indexed: Position },
    /// Nothing is known: there was no store here, or no word of it is left.
    Unknown,
}

impl Store {
    /// Takes packs into the index: what it does not have of what was synced, and what is behind the last sync.
    pub(super) fn recover_packs(&self, known: Packed) -> Result<(), StoreError> {
        let ids = self.inner.packs.list();
        let Packed::Until { synced, indexed } = known else {
            for id in &ids {
                self.index_pack(*id, 0, u64::MAX);
            }
            // Nobody knows whether they were synced, so they are now.
            self.inner.packs.still_dirty(&ids, true);
            return Ok(());
        };
        for id in ids.iter().filter(|id| (indexed.0..=synced.0).contains(*id)) {
            let from = if *id == indexed.0 { indexed.1 } else { 0 };
            let until = if *id == synced.0 { synced.1 } else { u64::MAX };
            if from < until {
                self.index_pack(*id, from, until);
            }
        }
        let tails = ids.into_iter().filter(|id| *id >= synced.0);
        let mut tails: Vec<(u32, u64)> = tails
            .map(|id| (id, if id == synced.0 { synced.1 } else { 0 }))
            .collect();
        let mut lengths = Vec::new();
        for (id, from) in &tails {
            lengths.push(self.pack_len(*id)?);
            self.inner.packs.limit(*id, *from);
        }
        let mut lengths = lengths.into_iter();
        tails.retain(|(_, from)| lengths.next().is_some_and(|len| len > *from));
        if tails.is_empty() {
            return Ok(());
        }
        self.carry_over(&tails)?;
        // The old tails go before anything says that everything up to here is synced.
        for (id, from) in &tails {
            let cut = if *from <= HEADER.len() as u64 {
                self.inner.packs.remove(*id)
            } else {
                self.inner.packs.cut(*id, *from)
            };
            if let Err(error) = cut {
                self.inner.options.disk.check()?;
                self.skip(
                    &self.inner.packs.path(*id),
                    format!("its end cannot be cut off: {error}"),
                );
            }
        }
        self.sync_bytes()
    }

    /// Takes the whole blocks of a pack into the index, from an offset up to another. Each is read and hashed.
    fn index_pack(&self, id: u32, from: u64, until: u64) {
        let path = self.inner.packs.path(id);
        let (mut taken, mut torn) = (0, 0);
        let mut data = Vec::new();
        let scanned = record::scan(id, &path, from, |file, hash, place| {
            if place.end() > until {
                return Ok(());
            }
            data.resize(place.len as usize, 0);
            let read = file.read_exact_at(&mut data, place.offset);
            if read.is_ok() && block::digest(hash.code(), &data) == Some(hash) {
                let key = hash.to_bytes();
                let new = self.update(&key, |entry| !is_packed(&entry.places) && entry.add(place))?;
                taken += u64::from(new.is_some());
            } else {
                torn += 1;
            }
            Ok(())
        });
        if let Err(error) = scanned {
            let error = match &error {
                StoreError::Io { source, .. } => format!("{error}: {source}"),
                error => error.to_string(),
            };
            self.skip(
                &path,
                format!("what is left of the pack was not taken into the index: {error}"),
            );
        }
        tracing::info!(pack = %path.display(), taken, torn, "blocks taken from a pack into the index");
    }

    /// Copies the whole blocks behind the last sync to a new pack, durably. Without room for them they are given up: no
    /// flush ever spoke of them.
    fn carry_over(&self, tails: &[(u32, u64)]) -> Result<(), StoreError> {
        for (id, from) in tails {
            let path = self.inner.packs.path(*id);
            let (mut carried, mut torn) = (0_u64, 0_u64);
            let mut batch: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
            let mut bytes = 0;
            let mut carry = |batch: &mut Vec<(Vec<u8>, Vec<u8>)>| {
                let content: Vec<_> = batch.iter().map(|(hash, data)| (hash.clone(), &data[..])).collect();
                carried += content.len() as u64;
                let done = if content.is_empty() {
                    Ok(())
                } else {
                    self.append(&content)
                };
                batch.clear();
                done
            };
            let scanned = record::scan(*id, &path, *from, |file, hash, place| {
                let key = hash.to_bytes();
                if is_packed(&self.places(&key)?) {
                    return Ok(());
                }
                let mut data = vec![0; place.len as usize];
                let read = file.read_exact_at(&mut data, place.offset);
                if read.is_err() || block::digest(hash.code(), &data) != Some(hash) {
                    torn += 1;
                    return Ok(());
                }
                bytes += data.len();
                batch.push((key, data));
                if bytes >= CARRY_BYTES {
                    bytes = 0;
                    carry(&mut batch)?;
                }
                Ok(())
            });
            match scanned.and_then(|_| carry(&mut batch)) {
                Ok(()) => {}
                Err(error) => {
                    self.inner.options.disk.check()?;
                    self.skip(&path, format!("blocks that no flush spoke of are given up: {error}"));
                    // Marks may count on them: those are made after a sync, the word of a flush comes later.
                    self.forget_completeness()?;
                }
            }
            tracing::info!(pack = %path.display(), from, carried, torn, "blocks behind the last sync carried over");
        }
        let (packs, dir) = self.inner.packs.take_dirty();
        let synced = self.sync_each(&packs, dir, &Dirty::default());
        self.inner.packs.still_dirty(&packs, dir);
        synced
    }

    /// Reads the parts of files that were being written: those that are not what they should be are dropped.
    pub(super) fn recover_files(&self) -> Result<(), StoreError> {
        let index = &self.inner.index;
        let mut writing = index.writing.iter().keys();
        while let Some(key) = index.run(|| writing.next().transpose())? {
            let Ok(id) = <[u8; 4]>::try_from(&key[..]) else {
                continue;
            };
            let file = FileId(u32::from_be_bytes(id));
            let holder = Holder::File(file.0);
            let Some(path) = self.path_of(holder)? else {
                index.run(|| index.writing.remove(&key))?;
                continue;
            };
            if let Err(error) = open_to_read(&path) {
                // Perhaps its name never reached the medium, perhaps its disk is not there.
                tracing::info!(%error, "a file that was being written cannot be read");
                self.inner.away.note(Gone::Holder(holder));
                self.forget_completeness()?;
                continue;
            }
            let (mut whole, mut torn) = (0_u64, Vec::new());
            for leaf in self.leaves_of(file) {
                let (offset, hash) = leaf?;
                if self.is_as_it_was(file, &path, offset, &hash)? {
                    whole += 1;
                } else {
                    torn.push((offset, hash));
                }
            }
            // Last, because the same block may lie whole at another place of the file, which counts by now.
            for (offset, hash) in &torn {
                self.drop_leaf(file, *offset, hash)?;
                index.remove_leaf_of(file, *offset, hash)?;
            }
            tracing::info!(path = %path.display(), whole, torn = torn.len(), "parts of a file that was being written");
            self.mark_dirty(file, self.dirs_above(&path))?;
        }
        Ok(())
    }

    fn is_as_it_was(&self, file: FileId, path: &Path, offset: u64, hash: &[u8]) -> Result<bool, StoreError> {
        let holder = Holder::File(file.0);
        let entry = self.inner.index.entry(hash)?.unwrap_or_default();
        // The same block twice in one file has one place, and one length.
        let known = entry.places.iter().find(|place| place.holder == holder);
        let (Some(cid), Some(known)) = (cid_of(hash), known) else {
            return Ok(false);
        };
        let place = Place { offset, ..*known };
        let block: Option<Block> = self.read_as(&cid, &place)?;
        let Some(block) = block else { return Ok(false) };
        if let Err(error) = self.write_again(path, &place, block.data()) {
            tracing::debug!(%error, "not written once more");
        }
        self.update(hash, |entry| entry.add(place))?;
        Ok(true)
    }

    /// Brings the index in line with renames that a crash interrupted.
    pub(super) fn finish_renames(&self) -> Result<(), StoreError> {
        let (index, disk) = (&self.inner.index, &self.inner.options.disk);
        let mut renames = index.renames.iter();
        while let Some((key, to)) = index.run(|| renames.next().transpose())? {
            let file = <[u8; 4]>::try_from(&*key).ok().map(|id| FileId(u32::from_be_bytes(id)));
            let to = Path::new(OsStr::from_bytes(&to));
            let target = self.inner.root.join(to);
            let from = match file {
                Some(file) => self.path_of(Holder::File(file.0))?,
                None => None,
            };
            let inode = |path: &Path| {
                let found = std::fs::symlink_metadata(path).ok()?;
                Some((found.dev(), found.ino()))
            };
            let (Some(file), Some(from)) = (file, from) else {
                index.run(|| index.renames.remove(&key))?;
                continue;
            };
            match (inode(&from), inode(&target)) {
                (was, is @ Some(_)) if was.is_none() || was == is => {
                    if was.is_some() && from != target {
                        // Only one of its two names was taken away in time.
                        disk.remove_file(&from)?;
                    }
                    for path in [&target, &from] {
                        match path.parent().map(|dir| disk.sync_dir(dir)) {
                            Some(Err(error)) if !error.is_not_found() => return Err(error.into()),
                            _ => {}
                        }
                    }
                    self.renamed(file, to)?;
                }
                _ => {
                    index.run(|| index.renames.remove(&key))?;
                }
            }
        }
        Ok(())
    }
}
