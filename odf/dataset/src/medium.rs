//! What datasets are kept on: a disk, and a cache of what can be found out again from it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use odf_disk::{Disk, DiskError};
use odf_metadata::DatasetId;

use crate::settled::Mark;

/// Remembers small values under keys, in areas that do not meet. It is a cache: what it forgets is found out again, so
/// it has no errors to tell.
pub trait Cache: Send + Sync {
    /// The value under a key, if it is remembered.
    fn get(&self, area: &'static str, key: &[u8]) -> Option<Vec<u8>>;

    /// Remembers a value.
    fn put(&self, area: &'static str, key: &[u8], value: &[u8]);

    /// Forgets every value whose key begins so.
    fn forget(&self, area: &'static str, prefix: &[u8]);
}

/// The most values that a [`MemoryCache`] remembers; with one more it forgets all of them first.
pub const MAX_REMEMBERED: usize = 1 << 16;

/// Remembers for as long as the process runs.
#[derive(Debug, Default)]
pub struct MemoryCache(Mutex<Values>);

/// Values by area and key.
type Values = BTreeMap<(&'static str, Vec<u8>), Vec<u8>>;

impl MemoryCache {
    fn values(&self) -> MutexGuard<'_, Values> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cache for MemoryCache {
    fn get(&self, area: &'static str, key: &[u8]) -> Option<Vec<u8>> {
        self.values().get(&(area, key.to_vec())).cloned()
    }

    fn put(&self, area: &'static str, key: &[u8], value: &[u8]) {
        let mut values = self.values();
        if values.len() >= MAX_REMEMBERED {
            values.clear();
        }
        values.insert((area, key.to_vec()), value.to_vec());
    }

    fn forget(&self, area: &'static str, prefix: &[u8]) {
        self.values()
            .retain(|(other, key), _| *other != area || !key.starts_with(prefix));
    }
}

/// What datasets are kept on. Cheap to clone.
#[derive(Clone)]
pub struct Medium {
    /// Through what files are changed.
    pub disk: Disk,
    /// What remembers the states of chains, and metadata blocks that are on their way.
    pub cache: Arc<dyn Cache>,
    /// What says that nothing is left to be done in the datasets; without it they are always looked at.
    pub mark: Option<Arc<Mark>>,
}

impl Medium {
    /// A disk, a cache in memory, and no mark.
    pub fn new(disk: Disk) -> Self {
        Self {
            disk,
            cache: Arc::new(MemoryCache::default()),
            mark: None,
        }
    }

    /// Says that a dataset, or which are here, is about to be changed.
    ///
    /// # Errors
    /// The mark could not be taken away: nothing may be changed.
    pub(crate) fn changing(&self, id: Option<DatasetId>) -> Result<(), DiskError> {
        self.mark.as_ref().map_or(Ok(()), |mark| mark.changing(id))
    }

    /// Says that what was announced by [`Self::changing`] was done, or failed: whoever remembers something of the dataset looks at
    /// it again.
    pub(crate) fn changed(&self, id: Option<DatasetId>) {
        if let (Some(mark), Some(id)) = (&self.mark, id) {
            mark.changed(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_that_is_full_begins_anew() {
        let cache = MemoryCache::default();
        for n in 0..MAX_REMEMBERED as u32 {
            cache.put("a", &n.to_le_bytes(), b"x");
        }
        assert!(cache.get("a", &0_u32.to_le_bytes()).is_some());
        assert!(cache.get("b", &0_u32.to_le_bytes()).is_none());
        cache.put("b", b"one more", b"y");
        assert!(cache.get("a", &0_u32.to_le_bytes()).is_none());
        assert_eq!(cache.get("b", b"one more").as_deref(), Some(&b"y"[..]));
        cache.forget("b", b"one");
        assert!(cache.get("b", b"one more").is_none());
    }
}
