//! What is here: the block store, the datasets, and their DAGs, which follow every change of them.

use std::path::Path;
use std::sync::Arc;

use odf_dataset::catalog::{Catalog, CatalogError, Entry};
use odf_dataset::{Cache, DatasetError, Datasets, Medium};
use odf_node::store::{GcReport, MAX_VALUE_BYTES, Store, StoreError, StoreOptions, Table};

use crate::layout::{Layout, LayoutError};

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
}

impl Local {
    /// Opens what is in `root`, making what is not there yet. If the index of the store was lost, it is made again from the
    /// datasets' files, which takes as long as hashing them.
    ///
    /// # Errors
    /// A part cannot be opened. Nothing was changed that a later attempt would miss.
    pub fn open(root: &Path, options: StoreOptions) -> Result<Self, OpenError> {
        let disk = options.disk.clone();
        let store = Store::open(root, options)?;
        let layout = Layout::open(&store)?;
        let medium = Medium {
            disk,
            cache: Arc::new(StoreCache(store.clone())),
        };
        let catalog = Catalog::open(&root.join("datasets"), medium)?;
        let datasets = Datasets::new(catalog, Arc::new(layout.clone()));
        let local = Self {
            store,
            layout,
            datasets,
        };
        if local.store.rebuilt() {
            local.lay_out_all()?;
        }
        Ok(local)
    }

    /// Makes the layouts of all datasets again, after the index was lost. One that is damaged is passed over: see
    /// [`Store::skipped`].
    fn lay_out_all(&self) -> Result<(), OpenError> {
        for entry in self.catalog().entries()? {
            match self.lay_out_again(&entry) {
                Ok(()) => {}
                Err(OpenError::Store(error) | OpenError::Layout(LayoutError::Store(error))) => return Err(error.into()),
                Err(error) => {
                    self.store
                        .skip(&entry.dir, format!("the dataset is not laid out again: {error}"));
                }
            }
        }
        Ok(self.store.rebuild_finished()?)
    }

    fn lay_out_again(&self, entry: &Entry) -> Result<(), OpenError> {
        let dataset = self.catalog().open_entry(entry)?;
        // First what is there whatever becomes of the rest: older roots may need it.
        self.layout.adopt_unnamed(&dataset)?;
        let laid_out = self.layout.update(&dataset);
        if laid_out.is_err() {
            self.layout.adopt_what_is_there(&dataset)?;
        }
        Ok(laid_out.map(drop)?)
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
        let entries = self.catalog().entries()?;
        let mut passed_over = Vec::new();
        let report = self.store.gc_with_files(&mut |files| {
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
        })?;
        for (id, error) in passed_over {
            tracing::warn!(dataset = %id, %error, "the files of a dataset were passed over by the collection of garbage");
        }
        Ok(report)
    }
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
