//! Which datasets a file was published into, and which keys were made here and never used: what `publish` goes by when it is
//! not told the dataset.
//!
//! The files are in the index of the store and go with it; without it they are matched by their names. Which keys are fresh
//! lies in files beside the keys, because a power cut may take the index back and leaves a key: one without a dataset counts as
//! one that may be in use elsewhere.

use std::path::Path;

use odf_dataset::DatasetName;
use odf_disk::{Access, Disk, DiskError};
use odf_metadata::DatasetId;
use odf_node::store::{Store, StoreError};
use serde::{Deserialize, Serialize};

/// Table of the files.
const FILES: &str = "odf.origins";
/// Directory of the keys that are fresh, in the workspace: an empty file for each.
const FRESH: &str = "fresh-keys";
/// Datasets that are remembered of one file; the one it was published into longest ago makes room.
pub const MAX_DATASETS: usize = 16;
/// The longest path or URL that is remembered, in bytes.
pub const MAX_ORIGIN_BYTES: usize = 4 << 10;

/// A dataset that a file was published into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Its id.
    pub id: DatasetId,
    /// Its name here then.
    pub name: DatasetName,
}

/// As it is stored.
#[derive(Serialize, Deserialize)]
struct Entry {
    id: String,
    name: String,
}

/// The datasets that the file at `origin`, a canonical path or a URL, was published into, the last one first.
///
/// # Errors
/// The index cannot be read.
pub fn datasets_of(store: &Store, origin: &[u8]) -> Result<Vec<Origin>, StoreError> {
    if origin.len() > MAX_ORIGIN_BYTES {
        return Ok(Vec::new());
    }
    let Some(bytes) = store.table(FILES)?.get(origin)? else {
        return Ok(Vec::new());
    };
    // A form of another version counts as nothing.
    let entries: Vec<Entry> = serde_json::from_slice(&bytes).unwrap_or_default();
    let read = |entry: Entry| {
        Some(Origin {
            id: entry.id.parse().ok()?,
            name: entry.name.parse().ok()?,
        })
    };
    Ok(entries.into_iter().filter_map(read).collect())
}

/// The files that were published into a dataset, by their canonical paths or URLs, in no order. Every file that is remembered
/// is looked at.
///
/// # Errors
/// The index cannot be read.
pub fn files_of(store: &Store, id: &DatasetId) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut files = Vec::new();
    for entry in store.table(FILES)?.scan_prefix(&[]) {
        let (origin, bytes) = entry?;
        let entries: Vec<Entry> = serde_json::from_slice(&bytes).unwrap_or_default();
        if entries.iter().any(|entry| entry.id.parse().ok() == Some(*id)) {
            files.push(origin);
        }
    }
    Ok(files)
}

/// Remembers that the file at `origin` was published into a dataset of this name. One whose path is too long is not.
///
/// # Errors
/// The index cannot be written.
pub fn remember(store: &Store, origin: &[u8], id: &DatasetId, name: &DatasetName) -> Result<(), StoreError> {
    if origin.len() > MAX_ORIGIN_BYTES {
        return Ok(());
    }
    let known = datasets_of(store, origin)?;
    if known
        .first()
        .is_some_and(|last| last.id == *id && last.name.as_str() == name.as_str())
    {
        return Ok(());
    }
    let now = Origin {
        id: *id,
        name: name.clone(),
    };
    let others = known.into_iter().filter(|other| other.id != *id);
    let entries: Vec<Entry> = std::iter::once(now)
        .chain(others)
        .take(MAX_DATASETS)
        .map(|origin| Entry {
            id: origin.id.to_string(),
            name: origin.name.to_string(),
        })
        .collect();
    // Encoding plain texts has no way to fail.
    let bytes = serde_json::to_vec(&entries).unwrap_or_default();
    store.table(FILES)?.insert(origin, &bytes)
}

/// Notes that the key of `id` is about to be made here, so that nothing can stand under its name elsewhere. Durable when this
/// returns: a publication that is killed leaves the key.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn note_fresh(workspace: &Path, disk: &Disk, id: &DatasetId) -> Result<(), DiskError> {
    let dir = workspace.join(FRESH);
    disk.create_dirs(&dir, Access::Owner)?;
    disk.replace(&dir.join(id.to_string()), &[], Access::Owner)
}

/// Forgets it: what has the key as its id is deleted.
///
/// # Errors
/// The file cannot be removed.
pub(crate) fn forget_fresh(workspace: &Path, disk: &Disk, id: &DatasetId) -> Result<(), DiskError> {
    disk.remove_file_if_there(&workspace.join(FRESH).join(id.to_string()))
}

/// Whether the key of `id` was made here for a dataset that was not deleted since.
pub(crate) fn is_fresh(workspace: &Path, id: &DatasetId) -> bool {
    workspace.join(FRESH).join(id.to_string()).is_file()
}

#[cfg(test)]
mod tests {
    use super::*;
    use odf_node::store::StoreOptions;

    #[test]
    fn the_last_dataset_comes_first_and_the_oldest_makes_room() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
        let id = |n: usize| DatasetId::from_public_key([u8::try_from(n).unwrap(); 32]);
        let name = |n: usize| -> DatasetName { format!("d{n}").parse().unwrap() };
        let known = || -> Vec<DatasetName> {
            let known = datasets_of(&store, b"/t.csv").unwrap();
            known.into_iter().map(|origin| origin.name).collect()
        };
        assert!(known().is_empty());
        // One over what is remembered.
        for n in 0..=MAX_DATASETS {
            remember(&store, b"/t.csv", &id(n), &name(n)).unwrap();
        }
        let expected: Vec<DatasetName> = (1..=MAX_DATASETS).rev().map(name).collect();
        assert_eq!(known(), expected);
        // Again, and under another name.
        remember(&store, b"/t.csv", &id(3), &name(99)).unwrap();
        assert_eq!(known()[0], name(99));
        assert_eq!(known().len(), MAX_DATASETS);
        assert!(datasets_of(&store, b"/u.csv").unwrap().is_empty());
        remember(&store, b"/u.csv", &id(3), &name(3)).unwrap();
        assert_eq!(
            files_of(&store, &id(3)).unwrap(),
            [b"/t.csv".to_vec(), b"/u.csv".to_vec()]
        );
        // It made room.
        assert!(files_of(&store, &id(0)).unwrap().is_empty());

        let longest = vec![b'a'; MAX_ORIGIN_BYTES];
        remember(&store, &longest, &id(1), &name(1)).unwrap();
        assert_eq!(datasets_of(&store, &longest).unwrap().len(), 1);
        let longer = vec![b'a'; MAX_ORIGIN_BYTES + 1];
        remember(&store, &longer, &id(1), &name(1)).unwrap();
        assert!(datasets_of(&store, &longer).unwrap().is_empty());
    }
}
