//! What is here: the block store, the datasets, and their DAGs, which follow every change of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use odf_dataset::catalog::{Catalog, CatalogError, Entry};
use odf_dataset::{Cache, Dataset, DatasetError, Datasets, Mark, Medium, Mirror as _, MirrorError};
use odf_metadata::{DatasetId, Multihash};
use odf_node::add::AddError;
use odf_node::store::{GcReport, GivenUp, MAX_VALUE_BYTES, Store, StoreError, StoreOptions, Table};

use crate::layout::{Layout, LayoutError};

/// In this file is whether nothing is left to be done in the datasets.
const MARK: &str = "settled";
/// What the mark must say. It is raised when all datasets have to be looked at after an update, as when their DAGs get another
/// form.
const MARK_FORM: u32 = 2;

/// Why the datasets and the block store could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The block store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The datasets.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A dataset.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The layouts.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

/// Why garbage was not collected, or not all of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectError {
    /// The datasets cannot be listed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The block store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The datasets of one directory, in both forms. Cheap to clone. Only one process may have them open; seeing to that (a
/// lock) is the caller's part.
#[derive(Clone)]
pub struct Local {
    store: Store,
    layout: Layout,
    datasets: Datasets,
    /// Why the DAG of a dataset could not be brought to its head.
    behind: Arc<Mutex<BTreeMap<DatasetId, Behind>>>,
}

/// That the DAG of a dataset is not that of its head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    /// Why.
    pub reason: String,
    /// The disk had no room for it: the dataset is whole.
    pub is_full: bool,
}

/// Why the DAG of one dataset is not that of its head.
#[derive(Debug, thiserror::Error)]
enum BehindError {
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    #[error("{0} is missing, and a metadata block names it")]
    Lacking(odf_dataset::Object),
}

impl From<BehindError> for Behind {
    fn from(error: BehindError) -> Behind {
        let reason = error.to_string();
        let of_layout = |error: &LayoutError| match error {
            LayoutError::Store(error) | LayoutError::Add(AddError::Store(error)) => error.is_full(),
            LayoutError::Dataset(error) => error.is_disk_full(),
            _ => false,
        };
        let is_full = match error {
            BehindError::Dataset(error) => error.is_disk_full(),
            BehindError::Layout(error) => of_layout(&error),
            BehindError::Mirror(error) => error.take::<LayoutError>().is_ok_and(|error| of_layout(&error)),
            BehindError::Lacking(_) => false,
        };
        Behind { reason, is_full }
    }
}

impl Local {
    /// Opens what is in `root`, making what is not there yet. If the index of the store was lost, it is made again from the
    /// datasets' files, which takes as long as hashing them.
    ///
    /// What a process that was killed left to do is done: datasets that were being deleted are removed, and the DAG of every
    /// dataset follows its head and is pinned. A dataset for which that fails is passed over ([`Self::behind`]); so is a
    /// damaged one. After an end that was in order ([`Self::ends_well`]) no dataset is looked at.
    ///
    /// # Errors
    /// A part cannot be opened. Nothing was changed that a later attempt would miss.
    pub fn open(root: &Path, options: StoreOptions) -> Result<Self, OpenError> {
        let disk = options.disk.clone();
        let store = Store::open(root, options)?;
        let layout = Layout::open(&store)?;
        let dir = root.join("datasets");
        let mark = Mark::open(&disk, &root.join(MARK), &dir, &words(&store));
        if store.was_left_open() || store.rebuilt() {
            // What the last process was about when it was killed need not have been a change of a dataset: the mark stands
            // then, and a slice that was not finished is there all the same.
            mark.distrust();
        }
        let medium = Medium {
            disk,
            cache: Arc::new(StoreCache(store.clone())),
            mark: Some(Arc::new(mark)),
        };
        let catalog = Catalog::open(&dir, medium)?;
        let datasets = Datasets::new(catalog, Arc::new(layout.clone()));
        let local = Self {
            store,
            layout,
            datasets,
            behind: Arc::default(),
        };
        if local.catalog().is_settled() {
            return Ok(local);
        }
        for (id, error) in local.datasets.finish_removals()? {
            local.catalog().keep_unsettled();
            tracing::warn!(dataset = %id, %error, "what is left of a deleted dataset stays for now");
        }
        if let Err(error) = local.datasets.finish_swap() {
            local.catalog().keep_unsettled();
            tracing::warn!(%error, "datasets that were to take the place of others are not all there yet");
        }
        for entry in local.catalog().entries()? {
            local.bring_up(&entry);
        }
        if local.store.rebuilt() {
            local.store.rebuild_finished()?;
        }
        Ok(local)
    }

    /// Says that this process ends well and changes nothing more: see [`Store::ends_well`] and [`Catalog::settle`].
    ///
    /// # Errors
    /// It cannot be written. The next opening then does more than it needs to.
    pub fn ends_well(&self) -> Result<(), StoreError> {
        // First: a disk that is too full for the mark must not make the next opening sync everything. And if this fails,
        // what the mark would speak of may not have reached the medium.
        self.store.ends_well()?;
        let is_followed = |id: &DatasetId, head: &Multihash| self.layout.is_at(id, head).unwrap_or(false);
        if let Err(error) = self.catalog().settle(&is_followed, &words(&self.store)) {
            tracing::debug!(%error, "the next opening looks at every dataset");
        }
        Ok(())
    }

    /// Brings the DAG of a dataset to its head, unless it is there, and remembers if it cannot be.
    fn bring_up(&self, entry: &Entry) {
        // Nearly always there is nothing to do, and there may be a thousand datasets.
        if let Some(head) = &entry.head
            && self.layout.is_at(&entry.id, head).unwrap_or(false)
        {
            return;
        }
        let opened = self.catalog().open_entry(entry).map_err(BehindError::from);
        let Err(error) = opened.and_then(|dataset| self.follow(&dataset)) else {
            return;
        };
        tracing::warn!(dataset = %entry.id, %error, "the DAG of a dataset is not that of its head");
        if self.store.rebuilt() {
            self.store
                .skip(&entry.dir, format!("the dataset is not laid out again: {error}"));
        }
        self.catalog().keep_unsettled();
        self.behind_now().insert(entry.id, error.into());
    }

    fn follow(&self, dataset: &Dataset) -> Result<(), BehindError> {
        if self.layout.latest(&dataset.id())?.is_none() {
            // Of roots that are older than the index nothing is known but their pins. First what is there whatever becomes
            // of the rest: older roots may need it.
            self.layout.adopt_unnamed(dataset)?;
            self.layout.adopt_pinned(dataset)?;
            self.store.flush().map_err(LayoutError::from)?;
        }
        // Nothing is hashed in vain at every start.
        let lacking = dataset.lacking(None)?;
        let moved = match lacking.first() {
            Some(object) => Err(BehindError::Lacking(*object)),
            None => self.layout.moved(dataset).map_err(BehindError::from),
        };
        if moved.is_err() && self.store.rebuilt() {
            self.layout.adopt_what_is_there(dataset)?;
        }
        moved
    }

    /// Why the DAG of a dataset could not be brought to its head when this was opened, if it still is not at `head`.
    pub fn behind(&self, id: &DatasetId, head: &Multihash) -> Option<Behind> {
        let reason = self.behind_now().get(id).cloned()?;
        if self.layout.is_at(id, head).unwrap_or(false) {
            self.behind_now().remove(id);
            return None;
        }
        Some(reason)
    }

    fn behind_now(&self) -> MutexGuard<'_, BTreeMap<DatasetId, Behind>> {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The block store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The datasets as DAGs.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The datasets.
    pub fn datasets(&self) -> &Datasets {
        &self.datasets
    }

    /// The datasets by name and id.
    pub fn catalog(&self) -> &Catalog {
        self.datasets.catalog()
    }

    /// Removes what nothing needs: blocks that no pin reaches, and slices and checkpoints that are named neither by their
    /// dataset's chain nor by a pinned root. A dataset that is being changed is passed over.
    ///
    /// # Errors
    /// As [`Store::gc_with_files`].
    pub fn collect_garbage(&self) -> Result<GcReport, CollectError> {
        self.collect(None)
    }

    /// As [`Self::collect_garbage`]; of blocks only about so many bytes, those used least lately, if a number is given.
    ///
    /// # Errors
    /// As [`Self::collect_garbage`].
    pub(crate) fn collect(&self, bytes: Option<u64>) -> Result<GcReport, CollectError> {
        let entries = self.catalog().entries()?;
        let mut passed_over = Vec::new();
        let mut files = |files: &mut GivenUp<'_>| {
            for entry in &entries {
                let swept = self.catalog().open_entry(entry).and_then(|dataset| {
                    let mut failed = None;
                    dataset.each_unnamed(&mut |path| {
                        let inside = path.strip_prefix(self.store.root()).unwrap_or(path);
                        if failed.is_none() {
                            failed = files.remove_unless_needed(inside).err();
                        }
                    })?;
                    Ok(failed)
                });
                match swept {
                    Ok(Some(error)) => return Err(error),
                    Ok(None) => {}
                    Err(error) => passed_over.push((entry.id, error)),
                }
            }
            Ok(())
        };
        let report = match bytes {
            Some(bytes) => self.store.make_room(bytes, &mut files),
            None => self.store.gc_with_files(&mut files),
        }?;
        for (id, error) in passed_over {
            tracing::warn!(dataset = %id, %error, "the files of a dataset were passed over by the collection of garbage");
        }
        Ok(report)
    }
}

/// What the mark says beside how the datasets look. Pins are written without a sync of their own: the mark counts only with
/// those that were there when it was put.
fn words(store: &Store) -> String {
    format!("odfs settled {MARK_FORM}, pins {:016x}", store.pins_trail())
}

/// A cache in tables of the store.
struct StoreCache(Store);

impl StoreCache {
    /// Does something with the table of an area. What fails is only logged: it costs finding something out again.
    fn on<T>(&self, area: &'static str, work: impl FnOnce(&Table) -> Result<T, StoreError>) -> Option<T> {
        let done = self.0.table(&format!("odf.{area}")).and_then(|table| work(&table));
        done.inspect_err(|error| tracing::debug!(area, %error, "a cached value"))
            .ok()
    }
}

impl Cache for StoreCache {
    fn get(&self, area: &'static str, key: &[u8]) -> Option<Vec<u8>> {
        self.on(area, |table| table.get(key)).flatten()
    }

    fn put(&self, area: &'static str, key: &[u8], value: &[u8]) {
        if value.len() <= MAX_VALUE_BYTES {
            self.on(area, |table| table.insert(key, value));
        }
    }

    fn forget(&self, area: &'static str, prefix: &[u8]) {
        self.on(area, |table| {
            let found = table.scan_prefix(prefix).map(|entry| entry.map(|(key, _)| (key, None)));
            table.apply(&found.collect::<Result<Vec<_>, _>>()?)
        });
    }
}

#[cfg(test)]
mod tests;
