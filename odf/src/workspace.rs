//! A workspace opened by the process that owns it: store, datasets, their layouts and keys in one place.

use std::path::Path;

use odf_node::keystore::{Keystore, KeystoreError};
use odf_node::store::{Store, StoreError, StoreOptions};

use crate::catalog::{Catalog, CatalogError};
use crate::dataset::DatasetError;
use crate::layout::{KnownFiles, Layout, LayoutError};

/// Table that holds what is known of each chain.
const STATES: &str = "odf.states";

/// Why a workspace could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkspaceError {
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
    /// The keys.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
}

/// What one odfs instance owns. Cheap to clone. Only one process may have a workspace open; seeing to that (a lock) is
/// the caller's part.
#[derive(Clone)]
pub struct Workspace {
    store: Store,
    catalog: Catalog,
    layout: Layout,
    keys: Keystore,
}

impl Workspace {
    /// Opens the workspace in `root`, making what is not there yet. If the index of the store was lost, it is made again
    /// from the datasets' files, which takes as long as hashing them.
    ///
    /// # Errors
    /// A part cannot be opened. Nothing was changed that a later attempt would miss.
    pub fn open(root: &Path, options: StoreOptions) -> Result<Self, WorkspaceError> {
        let store = Store::open(root, options)?;
        let catalog = Catalog::open(&root.join("datasets"), store.table(STATES)?)?;
        let layout = Layout::open(&store)?;
        let keys = Keystore::open(&root.join("keys"))?;
        let workspace = Self { store, catalog, layout, keys };
        if workspace.store.rebuilt() {
            workspace.lay_out_all()?;
        }
        Ok(workspace)
    }

    /// Makes the layouts of all datasets again, after the index was lost.
    fn lay_out_all(&self) -> Result<(), WorkspaceError> {
        for entry in self.catalog.entries()? {
            let dataset = self.catalog.open_entry(&entry)?;
            self.layout.update(&dataset, &KnownFiles::new())?;
        }
        Ok(self.store.rebuild_finished()?)
    }

    /// The block store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The datasets.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The datasets as DAGs.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The private keys.
    pub fn keys(&self) -> &Keystore {
        &self.keys
    }
}
