//! Many datasets looked at one after the other, and what a listing tells of each.
//!
//! The files are the truth here, too: name, head, note of damage and aliases are read of each dataset, because another program
//! may have written them. What the chain amounts to is kept beside it, in few bytes, and counts for the head that it names
//! only; a dataset without it is opened.

use std::num::NonZero;
use std::thread;

use odf_metadata::DatasetId;

use super::{Catalog, CatalogError, Entry};
use crate::dataset::{Dataset, DatasetError, RemoteAliases, Summary};

/// How many datasets a thread looks at at least: starting it takes as long as looking at a few.
const MIN_SHARE: usize = 64;

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
        let look = |id: DatasetId| {
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
        let mut listed = look_at_each(&self.ids()?, &look);
        listed.sort_by_cached_key(|listed| listed.entry.place());
        Ok(listed)
    }
}

/// Looks at datasets on all cores; what is found of them is in their order.
pub(super) fn look_at_each<T: Send>(ids: &[DatasetId], look: &(dyn Fn(DatasetId) -> Option<T> + Sync)) -> Vec<T> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let share = ids.len().div_ceil(cores).max(MIN_SHARE);
    let look_at = |ids: &[DatasetId]| ids.iter().filter_map(|id| look(*id)).collect::<Vec<T>>();
    thread::scope(|scope| {
        let mut shares = ids.chunks(share);
        let first = shares.next().unwrap_or_default();
        let others: Vec<_> = shares
            .map(|ids| {
                let thread = thread::Builder::new().spawn_scoped(scope, move || look_at(ids));
                (ids, thread)
            })
            .collect();
        let mut found = look_at(first);
        for (ids, thread) in others {
            // Without threads left it only takes longer.
            found.extend(match thread {
                Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                Err(_) => look_at(ids),
            });
        }
        found
    })
}
