//! What a listing tells of each dataset.
//!
//! The files are the truth here, too: name, head, note of damage and aliases are read of each dataset whose files were touched
//! since they were read last, because another program may have written them. What the chain amounts to is kept beside it, in few
//! bytes, and counts for the head that it names only; a dataset without it is opened.

use odf_metadata::DatasetId;

use super::many::look_at_each;
use super::{Catalog, CatalogError, Entry};
use crate::dataset::{Dataset, DatasetError, RemoteAliases, Summary};

/// A dataset, and what a listing tells of it.
#[derive(Debug)]
pub struct Listed {
    /// What it is called and where it is.
    pub entry: Entry,
    /// What its chain amounts to.
    pub summary: Result<Summary, DatasetError>,
    /// Where it is pulled from and pushed to.
    pub aliases: Result<RemoteAliases, DatasetError>,
}

impl Catalog {
    /// All datasets by name, as [`Self::entries`], with what a listing tells of them.
    ///
    /// # Errors
    /// As [`Self::entries`].
    pub fn listing(&self) -> Result<Vec<Listed>, CatalogError> {
        let read = |id: DatasetId| {
            let entry = self.entry(id)?;
            Some(Listed {
                summary: match &entry.head {
                    Some(head) => Dataset::summary_in(&entry.dir, &entry.id, head, &self.medium),
                    None => Dataset::open(&entry.dir, &self.medium).map(|dataset| dataset.summary()),
                },
                aliases: RemoteAliases::in_directory(&entry.dir),
                entry,
            })
        };
        let seen = self.seen();
        let looked_at = look_at_each(&self.ids()?, &|id| self.seen_listed(id, &seen, &read));
        let (mut listed, mut kept, mut records) = (Vec::with_capacity(looked_at.len()), Vec::new(), Vec::new());
        for (found, record) in looked_at {
            match record {
                Some(record) => records.push((found.entry.id, record)),
                None => kept.push(found.entry.id),
            }
            listed.push(found);
        }
        self.remember_seen(&seen, &kept, &records);
        listed.sort_by_cached_key(|listed| listed.entry.place());
        Ok(listed)
    }
}
