//! Which dataset has a name, remembered so that a look-up reads one dataset instead of all.
//!
//! What is remembered may be older than the files, newer, or lost in part. So a hit counts only if the dataset says itself
//! that this is its name, and a miss is no answer: all datasets are read then. What the dataset itself cannot say is whether
//! another one has the same name, as after a copy by hand; a look-up of such a name tells of all of them. So nothing
//! remembered counts once a dataset came or went, and a name that several have is not remembered.

use std::collections::BTreeMap;

use odf_metadata::DatasetId;

use super::{Catalog, Entry};
use crate::dataset::DatasetName;
use crate::settled::Stamp;

/// Area of the cache that holds them.
const AREA: &str = "names";
/// Under this key is how the directory looked when all names in it were read. No key of a name is that short.
const STAMP: &[u8] = b"d";

/// The key of a name, whatever its case.
fn key(name: &DatasetName) -> Vec<u8> {
    format!("n{}", name.as_str().to_ascii_lowercase()).into_bytes()
}

impl Catalog {
    /// The dataset that is remembered under a name, if it has it still and no other came or went.
    pub(super) fn remembered(&self, text: &str) -> Option<Entry> {
        let name: DatasetName = text.parse().ok()?;
        let cache = &self.medium.cache;
        let id = DatasetId::from_bytes(&cache.get(AREA, &key(&name))?).ok()?;
        let stamp = Stamp::of(&self.dir).ok()?;
        if cache.get(AREA, STAMP)? != stamp.text().as_bytes() || !self.holds(&id) {
            return None;
        }
        self.entry(id).filter(|entry| entry.name.as_ref() == Some(&name))
    }

    /// Remembers the names of all datasets that are here. `stamp` is how the directory looked before they were read.
    pub(super) fn remember(&self, stamp: Option<Stamp>, entries: &[Entry]) {
        let cache = &self.medium.cache;
        let mut owners: BTreeMap<Vec<u8>, Option<DatasetId>> = BTreeMap::new();
        for entry in entries {
            if let Some(name) = &entry.name {
                let owner = owners.entry(key(name));
                owner.and_modify(|owner| *owner = None).or_insert(Some(entry.id));
            }
        }
        for (key, owner) in owners {
            // What is no id is remembered of a name that several have.
            let value = owner.map_or_else(Vec::new, |id| id.to_bytes().to_vec());
            if cache.get(AREA, &key).as_ref() != Some(&value) {
                cache.put(AREA, &key, &value);
            }
        }
        // Last, since it makes the rest count.
        match stamp {
            Some(stamp) if Stamp::of(&self.dir).is_ok_and(|now| now == stamp) => {
                cache.put(AREA, STAMP, stamp.text().as_bytes());
            }
            _ => {}
        }
    }
}
