//! Metadata blocks by hash, as their stored bytes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use odf_dataset::{BlockPlace, Dataset, DatasetError};
use odf_metadata::{DatasetId, Multihash};

/// The most metadata blocks whose places are remembered, of all datasets together: about 100 MiB. A dataset that has more
/// is remembered alone.
const MAX_KEPT: usize = 1 << 20;

/// Where metadata blocks lie, remembered per dataset for as long as its head stays.
pub(super) struct Blocks {
    kept: Mutex<HashMap<DatasetId, Arc<Places>>>,
    /// How many places may be kept.
    most: usize,
}

impl Default for Blocks {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            most: MAX_KEPT,
        }
    }
}

/// The places of one chain at one head.
struct Places {
    head: Multihash,
    by_hash: HashMap<Multihash, BlockPlace>,
}

impl Blocks {
    /// The exact bytes of a metadata block of the dataset's chain.
    ///
    /// # Errors
    /// The chain file cannot be read, or does not hold what it held.
    pub(super) fn get(&self, dataset: &Dataset, hash: &Multihash) -> Result<Option<Bytes>, DatasetError> {
        let places = self.places(dataset)?;
        let Some(place) = places.by_hash.get(hash) else {
            return Ok(None);
        };
        let bytes = dataset.bytes_at(*place)?;
        if Multihash::sha3_256(&bytes) != *hash {
            return Err(DatasetError::Damaged {
                path: dataset.chain_path(),
                reason: format!("it does not hold the metadata block {hash}"),
            });
        }
        Ok(Some(bytes))
    }

    fn places(&self, dataset: &Dataset) -> Result<Arc<Places>, DatasetError> {
        let id = dataset.id();
        let known = self.lock().get(&id).cloned();
        if let Some(known) = known.filter(|places| places.head == *dataset.head()) {
            return Ok(known);
        }
        let mut by_hash = HashMap::new();
        for stored in dataset.blocks_after(None)? {
            let stored = stored?;
            by_hash.insert(*stored.block.hash(), stored.place);
        }
        let places = Arc::new(Places {
            head: *dataset.head(),
            by_hash,
        });
        let mut kept = self.lock();
        kept.remove(&id);
        let total: usize = kept.values().map(|places| places.by_hash.len()).sum();
        if total + places.by_hash.len() > self.most {
            // Whoever is asked for next is indexed again, which takes as long as reading its chain.
            kept.clear();
        }
        kept.insert(id, Arc::clone(&places));
        Ok(places)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<DatasetId, Arc<Places>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smart::sample;
    use odf_dataset::RemoteAliases;
    use odf_dataset::receive::Arrival;

    #[test]
    fn one_place_too_many_makes_room() {
        let dir = tempfile::tempdir().unwrap();
        let workspace = crate::datasets_in(dir.path());
        let dataset = |number: u8, name: &str, length: u64| {
            let id = sample::id(number);
            let arrival = Arrival::begin(&workspace, id, &name.parse().unwrap(), RemoteAliases::default()).unwrap();
            let arrived = arrival.commit(sample::chain(id, length, length, ""), false).unwrap();
            arrived.dataset
        };
        let (first, second) = (dataset(1, "first", 4), dataset(2, "second", 3));
        let (third, long) = (dataset(3, "third", 1), dataset(4, "long", 8));
        assert_eq!(Blocks::default().most, MAX_KEPT);
        let blocks = Blocks {
            most: 7,
            ..Blocks::default()
        };
        let kept_after = |dataset: &Dataset| {
            assert!(blocks.get(dataset, dataset.head()).unwrap().is_some());
            let kept = blocks.lock();
            let mut lengths: Vec<usize> = kept.values().map(|places| places.by_hash.len()).collect();
            lengths.sort_unstable();
            lengths
        };
        assert_eq!(kept_after(&first), [4]);
        assert_eq!(kept_after(&second), [3, 4]);
        assert_eq!(kept_after(&first), [3, 4]);
        assert_eq!(kept_after(&third), [1]);
        assert_eq!(kept_after(&long), [8]);
        assert_eq!(kept_after(&third), [1]);
    }
}
