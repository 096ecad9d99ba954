//! Taking the packs into the index: their ends after a crash, all of them after damage.

use std::os::unix::fs::FileExt as _;

use super::{Store, StoreError, pack, pack::Position};
use crate::block;

impl Store {
    /// Takes every whole block from `from` on into the index. Each is read and hashed, so torn ones are left out.
    pub(super) fn index_packs(&self, from: Position) -> Result<(), StoreError> {
        let packs = &self.inner.packs;
        for id in packs.list()?.into_iter().filter(|id| *id >= from.0) {
            let start = if id == from.0 { from.1 } else { 0 };
            let (mut taken, mut torn) = (0, 0);
            let path = packs.path(id);
            let mut data = Vec::new();
            pack::scan(id, &path, start, |file, hash, place| {
                data.resize(place.len as usize, 0);
                file.read_exact_at(&mut data, place.offset)
                    .map_err(|error| StoreError::io("read", &path, error))?;
                if block::digest(hash.code(), &data) == Some(hash) {
                    let key = hash.to_bytes();
                    taken += u64::from(
                        self.update(&key, |entry| entry.pack().is_none() && entry.add(place))?
                            .is_some(),
                    );
                } else {
                    torn += 1;
                }
                Ok(())
            })?;
            if taken + torn > 0 {
                tracing::info!(pack = %path.display(), start, taken, torn, "blocks taken from a pack into the index");
            }
        }
        Ok(())
    }
}
