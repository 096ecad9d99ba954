//! The space of dead records in packs, given back.

use std::{fs, path::PathBuf};

use multihash::Multihash;
use odf_disk::DiskFile;

use super::{
    error::StoreError,
    place::{Holder, Place},
    record,
    state::Store,
};
use crate::block::{Cid, RAW};

/// Dead stretches below this stay: a hole needs whole pages, and many small ones cost more than they give.
pub(super) const PUNCH_MIN_BYTES: u64 = 64 << 10;
/// Holes begin and end at multiples of this, the page of all common file systems.
const PUNCH_ALIGN: u64 = 4096;
/// Blocks are copied out of a pack in batches of this many bytes.
const COPY_BYTES: usize = 8 << 20;

impl Store {
    /// Length of a pack in bytes; 0 if it is not there.
    pub(super) fn pack_len(&self, id: u32) -> Result<u64, StoreError> {
        let path = self.inner.packs.path(id);
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(StoreError::io("read the size of", &path, error)),
            Ok(found) => Ok(found.len()),
        }
    }

    /// Removes a pack. Gives its length.
    pub(super) fn drop_pack(&self, id: u32) -> Result<u64, StoreError> {
        let len = self.pack_len(id)?;
        self.inner.handles.forget(Holder::Pack(id));
        self.inner.packs.remove(id)?;
        Ok(len)
    }

    /// Copies what the index still finds in a pack to the newest one, then removes the pack. Gives the bytes freed, or
    /// nothing if somebody is still writing to it, or if something in it cannot be read.
    pub(super) fn compact(&self, id: u32) -> Result<Option<u64>, StoreError> {
        let packs = &self.inner.packs;
        if packs.active() == Some(id) {
            packs.roll();
        }
        if packs.is_being_written(id) {
            return Ok(None);
        }
        let (mut copied, mut unread, mut moved) = (0, 0, Vec::new());
        let mut batch: Vec<(Multihash<64>, Place)> = Vec::new();
        let mut batch_bytes = 0;
        let path = packs.path(id);
        record::scan(id, &path, 0, |_, hash, place| {
            let places = self.places(&hash.to_bytes())?;
            // One that an earlier attempt copied is safe elsewhere.
            let packed = places.iter().filter(|place| place.position().is_some()).count();
            if packed == 1 && places.contains(&place) {
                batch.push((hash, place));
                batch_bytes += place.len as usize;
            }
            if batch_bytes >= COPY_BYTES {
                copied += self.copy(&batch, &mut moved, &mut unread)?;
                batch.clear();
                batch_bytes = 0;
            }
            Ok(())
        })?;
        copied += self.copy(&batch, &mut moved, &mut unread)?;
        // The old places stay in the index until the new ones are on the medium. After that the old ones do not count,
        // since the pack is gone.
        self.flush()?;
        if unread > 0 {
            return Ok(None);
        }
        let len = self.drop_pack(id)?;
        for hash in moved {
            // Leaves out what does not count any more.
            self.update(&hash, |_| true)?;
        }
        Ok(Some(len.saturating_sub(copied)))
    }

    /// Copies blocks to the newest pack. Gives the bytes written, and counts those that could not be read.
    fn copy(
        &self,
        blocks: &[(Multihash<64>, Place)],
        moved: &mut Vec<Vec<u8>>,
        unread: &mut u64,
    ) -> Result<u64, StoreError> {
        let mut read = Vec::with_capacity(blocks.len());
        for (hash, place) in blocks {
            match self.get_from(&Cid::new_v1(RAW, *hash), place)? {
                Some(block) => read.push((hash.to_bytes(), block)),
                None => *unread += 1,
            }
        }
        if read.is_empty() {
            return Ok(0);
        }
        let content: Vec<_> = read
            .iter()
            .map(|(hash, block)| (hash.clone(), &block.data()[..]))
            .collect();
        self.append(&content)?;
        let bytes = |(hash, data): &(Vec<u8>, &[u8])| record::record_bytes(hash.len(), data.len());
        moved.extend(content.iter().map(|(hash, _)| hash.clone()));
        Ok(content.iter().map(bytes).sum())
    }

    /// Gives back the space between the records of a pack that must stay, of one that is not written any more: those that
    /// the index finds there and `stays` says yes to. Gives the bytes freed.
    pub(super) fn punch(&self, id: u32, stays: &dyn Fn(&Multihash<64>, &Place) -> bool) -> Result<u64, StoreError> {
        let path: PathBuf = self.inner.packs.path(id);
        let mut stretches = Vec::new();
        let mut dead_from = None;
        let len = record::scan(id, &path, 0, |_, hash, place| {
            let key = hash.to_bytes();
            let start = record::record_start(key.len(), &place);
            let entry = self.inner.index.entry(&key)?;
            if entry.is_some_and(|entry| entry.places.contains(&place)) && stays(&hash, &place) {
                stretches.extend(dead_from.take().map(|from| (from, start)));
            } else {
                dead_from.get_or_insert(start);
            }
            Ok(())
        })?;
        stretches.extend(dead_from.map(|from| (from, len)));

        let allocated = |file: &DiskFile| {
            let metadata = file.as_file().metadata();
            let metadata = metadata.map_err(|error| StoreError::io("read the size of", &path, error))?;
            Ok::<_, StoreError>(std::os::unix::fs::MetadataExt::blocks(&metadata) * 512)
        };
        let file = self.disk().open(&path)?;
        let before = allocated(&file)?;
        for (from, to) in stretches {
            let (from, to) = (from.next_multiple_of(PUNCH_ALIGN), to / PUNCH_ALIGN * PUNCH_ALIGN);
            if to > from && to - from >= PUNCH_MIN_BYTES {
                match file.punch(from, to - from) {
                    // Not every file system can; the space comes back when the pack is compacted.
                    Err(error) if error.source.kind() == std::io::ErrorKind::Unsupported => return Ok(0),
                    other => other?,
                }
            }
        }
        Ok(before.saturating_sub(allocated(&file)?))
    }
}
