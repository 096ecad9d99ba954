//! Metadata blocks by hash, as their stored bytes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use odf_dataset::{BlockPlace, Dataset, DatasetError};
use odf_metadata::{DatasetId, Multihash};

/// The most metadata blocks whose places are remembered, of all datasets together: about 100 MiB.
const MAX_KEPT: usize = 1 << 20;

/// Where metadata blocks lie, remembered per dataset for as long as its head stays.
#[derive(Default)]
pub(super) struct Blocks {
    kept: Mutex<HashMap<DatasetId, Arc<Places>>>,
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
        if total + places.by_hash.len() > MAX_KEPT {
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
