//! Ordered tables of small values, for the state of other modules: names, provider records, schedules.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, PoisonError, RwLock},
};

use super::{error::StoreError, guard::Guard};

/// The longest key a table takes.
pub const MAX_KEY_BYTES: usize = 4 << 10;
/// The longest value a table takes. sled copes badly with large values, and nothing large belongs here.
pub const MAX_VALUE_BYTES: usize = 1 << 20;

/// A key and its new value, or `None` to remove it.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// An ordered map of small values under a name of its own. Cloning gives another handle on the same table.
///
/// Changes are visible at once and durable after [`Store::flush`](super::Store::flush). Tables are lost when a damaged
/// index is rebuilt, so whatever they hold must be either replaceable or derived from files.
#[derive(Clone)]
pub struct Table(Backing);

#[derive(Clone)]
enum Backing {
    Sled(sled::Tree, Guard),
    Memory(Arc<RwLock<BTreeMap<Vec<u8>, Vec<u8>>>>),
}

impl Table {
    /// A table that is not on disk.
    pub fn in_memory() -> Self {
        Self(Backing::Memory(Arc::default()))
    }

    pub(super) fn new(tree: sled::Tree, guard: Guard) -> Self {
        Self(Backing::Sled(tree, guard))
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match &self.0 {
            Backing::Sled(tree, guard) => Ok(guard.run(|| tree.get(key))?.map(|value| value.to_vec())),
            Backing::Memory(map) => Ok(map.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()),
        }
    }

    /// Sets the value of `key`.
    ///
    /// # Errors
    /// An entry over [`MAX_KEY_BYTES`] or [`MAX_VALUE_BYTES`], a full disk, or a failing index; nothing changes then.
    pub fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.apply(&[(key.to_vec(), Some(value.to_vec()))])
    }

    /// Removes `key`, if it is there.
    ///
    /// # Errors
    /// The index cannot be written.
    pub fn remove(&self, key: &[u8]) -> Result<(), StoreError> {
        self.apply(&[(key.to_vec(), None)])
    }

    /// Makes all changes or none, also over a crash.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        for (key, value) in changes {
            check(key.len(), MAX_KEY_BYTES)?;
            check(value.as_ref().map_or(0, Vec::len), MAX_VALUE_BYTES)?;
        }
        match &self.0 {
            Backing::Sled(tree, guard) => {
                if changes.iter().any(|(_, value)| value.is_some()) {
                    guard.room()?;
                }
                guard.run(|| apply_to(tree, changes))?;
            }
            Backing::Memory(map) => {
                let mut map = map.write().unwrap_or_else(PoisonError::into_inner);
                for (key, value) in changes {
                    match value {
                        Some(value) => map.insert(key.clone(), value.clone()),
                        None => map.remove(key),
                    };
                }
            }
        }
        Ok(())
    }

    /// Does something while a table in memory cannot be used, as if its disk were slow.
    #[cfg(test)]
    pub(crate) fn while_stuck<T>(&self, work: impl FnOnce() -> T) -> T {
        match &self.0 {
            Backing::Sled(..) => work(),
            Backing::Memory(map) => {
                let _map = map.write().unwrap_or_else(PoisonError::into_inner);
                work()
            }
        }
    }

    /// The entries whose key begins with `prefix`, in the order of their keys. An empty prefix gives all of them.
    ///
    /// Changes made while iterating may or may not be seen.
    pub fn scan_prefix(&self, prefix: &[u8]) -> impl Iterator<Item = Result<(Vec<u8>, Vec<u8>), StoreError>> + use<> {
        self.scan_from(prefix, prefix)
    }

    /// As [`Self::scan_prefix`], without those before `first`, which begins with `prefix`.
    pub fn scan_from(
        &self,
        first: &[u8],
        prefix: &[u8],
    ) -> impl Iterator<Item = Result<(Vec<u8>, Vec<u8>), StoreError>> + use<> {
        match &self.0 {
            Backing::Sled(tree, guard) => Scan::Sled(Box::new(tree.range(first..)), guard.clone(), prefix.to_vec()),
            Backing::Memory(map) => {
                let map = map.read().unwrap_or_else(PoisonError::into_inner);
                let entries: Vec<_> = map
                    .range::<[u8], _>((Bound::Included(first), Bound::Unbounded))
                    .take_while(|(key, _)| key.starts_with(prefix))
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect();
                Scan::Memory(entries.into_iter())
            }
        }
    }
}

enum Scan {
    Sled(Box<sled::Iter>, Guard, Vec<u8>),
    Memory(std::vec::IntoIter<(Vec<u8>, Vec<u8>)>),
}

impl Iterator for Scan {
    type Item = Result<(Vec<u8>, Vec<u8>), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Sled(iter, guard, prefix) => {
                let entry = guard.run(|| iter.next().transpose()).transpose()?;
                match entry {
                    Ok((key, _)) if !key.starts_with(prefix) => None,
                    entry => Some(entry.map(|(key, value)| (key.to_vec(), value.to_vec()))),
                }
            }
            Self::Memory(iter) => iter.next().map(Ok),
        }
    }
}

/// Makes the changes in one step. One change is a step by itself: a batch of sled's, whatever is in it, closes the buffer that
/// is being filled twice, and each time all threads of sled's are woken to write it.
fn apply_to(tree: &sled::Tree, changes: &[Change]) -> sled::Result<()> {
    match changes {
        [] => {}
        [(key, Some(value))] => drop(tree.insert(key, &value[..])?),
        [(key, None)] => drop(tree.remove(key)?),
        several => {
            let mut batch = sled::Batch::default();
            for (key, value) in several {
                match value {
                    Some(value) => batch.insert(&key[..], &value[..]),
                    None => batch.remove(&key[..]),
                }
            }
            tree.apply_batch(batch)?;
        }
    }
    Ok(())
}

fn check(len: usize, limit: usize) -> Result<(), StoreError> {
    if len > limit {
        Err(StoreError::EntryTooLarge { len, limit })
    } else {
        Ok(())
    }
}
