//! Files that leave with the directory they are in: what others need of them is kept first, then the directory goes, then
//! what refers to them. So whoever owns the files decides in one step of his own whether they are there.

use std::{collections::HashSet, os::unix::ffi::OsStrExt as _, path::Path};

use multihash::Multihash;

use super::{Blocks as _, FileId, Store, StoreError, files::check_path, index::Holder};
use crate::block::{Block, Cid, RAW, inherent};
use crate::dag;

/// Blocks are copied in batches of this many bytes.
const COPY_BYTES: usize = 8 << 20;

impl Store {
    /// The registered files in a directory, given by its path relative to the workspace, whether they are there or not.
    ///
    /// # Errors
    /// [`StoreError::OutsideWorkspace`], or the index cannot be read.
    pub fn files_below(&self, dir: &Path) -> Result<Vec<FileId>, StoreError> {
        let mut prefix = check_path(dir)?.as_os_str().as_bytes().to_vec();
        prefix.push(b'/');
        let index = &self.inner.index;
        let mut found = index.paths.scan_prefix(prefix);
        let mut files = Vec::new();
        while let Some((_, id)) = index.run(|| found.next().transpose())? {
            files.extend(<[u8; 4]>::try_from(&*id).map(|id| FileId(u32::from_be_bytes(id))));
        }
        Ok(files)
    }

    /// Copies to the packs the blocks that only these files hold and that pins of others than `owner` reach, or that were
    /// put for their own sake. Durable.
    ///
    /// # Errors
    /// [`StoreError::Full`] when there is no room, or the index or a file cannot be read. Nothing is gone.
    pub fn keep_for_others(&self, files: &[FileId], owner: &str) -> Result<(), StoreError> {
        let leaving: HashSet<Holder> = files.iter().map(|file| Holder::File(file.0)).collect();
        let (mut only, mut wanted) = (HashSet::new(), Vec::new());
        let index = &self.inner.index;
        for file in files {
            let mut leaves = index.leaves.scan_prefix(file.0.to_be_bytes());
            while let Some((_, hash)) = index.run(|| leaves.next().transpose())? {
                let Some(entry) = index.entry(&hash)? else { continue };
                if entry.places.iter().all(|place| leaving.contains(&place.holder))
                    && let Ok(hash) = Multihash::<64>::from_bytes(&hash)
                    && only.insert(hash)
                    && entry.keep
                {
                    wanted.push(Cid::new_v1(RAW, hash));
                }
            }
        }
        if only.is_empty() {
            return Ok(());
        }
        self.reached_by_others(owner, &mut |cid| {
            if only.contains(cid.hash()) {
                wanted.push(*cid);
            }
        })?;
        let (mut batch, mut bytes): (Vec<Block>, usize) = (Vec::new(), 0);
        for cid in wanted {
            // One that is damaged or missing is so with or without these files.
            let Some(block) = self.get(&cid)? else { continue };
            bytes += block.data().len();
            batch.push(block);
            if bytes >= COPY_BYTES {
                self.put_beside_files(&batch)?;
                (batch, bytes) = (Vec::new(), 0);
            }
        }
        self.put_beside_files(&batch)
    }

    /// Names every block that pins of others reach, as far as the nodes above it are here.
    fn reached_by_others(&self, owner: &str, visit: &mut dyn FnMut(&Cid)) -> Result<(), StoreError> {
        let mut seen: HashSet<(u64, Multihash<64>)> = HashSet::new();
        let mut due = Vec::new();
        for pin in self.pins(None)?.into_iter().filter(|pin| pin.owner != owner) {
            due.push(pin.cid);
            while let Some(cid) = due.pop() {
                if inherent(&cid).is_some() || !seen.insert((cid.codec(), *cid.hash())) {
                    continue;
                }
                visit(&cid);
                if cid.codec() != RAW
                    && let Some(block) = self.get(&cid)?
                {
                    due.extend(dag::links(&block).unwrap_or_default());
                }
            }
        }
        Ok(())
    }

    /// Drops what refers to these files, which are gone or about to go. The files themselves are not touched. Durable.
    ///
    /// # Errors
    /// The index cannot be written.
    pub fn forget_files(&self, files: &[FileId]) -> Result<(), StoreError> {
        self.unregister(files)?;
        self.flush()
    }
}
