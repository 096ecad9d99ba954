//! Every block read and hashed, every pin followed, and what packs have that the index lost.

use std::{collections::HashMap, os::unix::fs::FileExt as _, path::PathBuf};

use super::{
    error::StoreError,
    place::{Holder, Place},
    reach::Missing,
    record,
    state::Store,
};
use crate::block::{self, Cid, RAW};

/// The most that is named of what is bad, and of what is missing.
pub const MAX_TOLD: usize = 10_000;

/// What [`Store::check`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checked {
    /// Blocks that are here, the bad ones among them.
    pub blocks: u64,
    /// Bytes that were read and hashed.
    pub bytes: u64,
    /// Copies that are not what their CID says. They are not served any more.
    pub bad: Vec<Bad>,
    /// Blocks that pins need and that are not here, with those of which every copy was bad.
    pub missing: Vec<Missing>,
    /// Of those, the ones that a pack has whole and the index does not know of.
    pub unindexed: Vec<Cid>,
}

impl Checked {
    /// Whether nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.bad.is_empty() && self.missing.is_empty()
    }
}

/// A copy of a block that is not what its CID says, or cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bad {
    /// The block; known by its multihash, so its codec is raw.
    pub cid: Cid,
    /// The pack, or the registered file.
    pub path: PathBuf,
    /// Where in it, in bytes.
    pub offset: u64,
    /// Whether it is in a file of a dataset, which the dataset's owner mends, and not in a pack.
    pub in_file: bool,
}

impl Store {
    /// Reads and hashes every copy of every block, and follows every pin. A copy that is bad is not served any more.
    /// `visit` hears how many blocks and bytes were read and answers whether to go on; nothing is given if it does not. May
    /// run beside everything else.
    ///
    /// # Errors
    /// The index cannot be read or written.
    pub fn check(&self, visit: &mut dyn FnMut(u64, u64) -> bool) -> Result<Option<Checked>, StoreError> {
        let mut checked = Checked::default();
        let mut goes_on = true;
        self.each_entry(|_, hash, entry| {
            let is_known = block::digest(hash.code(), b"").is_some();
            if !goes_on || entry.places.is_empty() || !is_known {
                return Ok(());
            }
            let cid = Cid::new_v1(RAW, *hash);
            checked.blocks += 1;
            for place in entry.places.iter().filter(|place| self.is_whole(place)) {
                let path = self.path_of(place.holder)?;
                if self.get_from(&cid, place)?.is_some() {
                    checked.bytes += u64::from(place.len);
                } else if let (true, Some(path)) = (self.is_whole(place) && checked.bad.len() < MAX_TOLD, path) {
                    checked.bad.push(Bad {
                        cid,
                        path,
                        offset: place.offset,
                        in_file: matches!(place.holder, Holder::File(_)),
                    });
                }
            }
            goes_on = visit(checked.blocks, checked.bytes);
            Ok(())
        })?;
        if !goes_on {
            return Ok(None);
        }
        checked.missing = self.missing(MAX_TOLD)?;
        if !checked.missing.is_empty() {
            let missing = checked.missing.iter().map(|missing| missing.cid);
            checked.unindexed = self.find_in_packs(missing)?.into_iter().map(|(cid, _)| cid).collect();
        }
        Ok(Some(checked))
    }

    /// Takes blocks into the index that packs have whole and it does not know of. Gives those that were found.
    ///
    /// # Errors
    /// A pack cannot be read, or the index not be written.
    pub fn take_from_packs(&self, cids: &[Cid]) -> Result<Vec<Cid>, StoreError> {
        let mut taken = Vec::new();
        for (cid, place) in self.find_in_packs(cids.iter().copied())? {
            let new = self.update(&cid.hash().to_bytes(), |entry| entry.add(place))?;
            taken.extend(new.map(|_| cid));
        }
        Ok(taken)
    }

    fn find_in_packs(&self, cids: impl Iterator<Item = Cid>) -> Result<Vec<(Cid, Place)>, StoreError> {
        let mut wanted: HashMap<_, Cid> = cids.map(|cid| (*cid.hash(), cid)).collect();
        let (mut found, mut data) = (Vec::new(), Vec::new());
        for id in self.inner.packs.list() {
            let path = self.inner.packs.path(id);
            let scanned = record::scan(id, &path, 0, |file, hash, place| {
                let Some(cid) = wanted.get(&hash).copied().filter(|_| self.is_whole(&place)) else {
                    return Ok(());
                };
                data.resize(place.len as usize, 0);
                if file.read_exact_at(&mut data, place.offset).is_ok()
                    && block::digest(hash.code(), &data) == Some(hash)
                {
                    wanted.remove(&hash);
                    found.push((cid, place));
                }
                Ok(())
            });
            if let Err(error) = scanned {
                // Perhaps it was compacted meanwhile.
                tracing::debug!(pack = %path.display(), %error, "a pack is not looked into");
            }
        }
        Ok(found)
    }
}
