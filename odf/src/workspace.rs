//! A workspace opened by the process that owns it: store, datasets, their layouts and keys in one place.

use std::path::Path;

use odf_node::ipns::{Name, kept};
use odf_node::keystore::{Keypair, Keystore, KeystoreError};
use odf_node::store::{Store, StoreError, StoreOptions};

use crate::catalog::{Catalog, CatalogError, Entry};
use crate::dataset::{Dataset, DatasetError, DatasetName};
use crate::ingest::source::{OnProgress, Source};
use crate::ingest::{self, IngestError, Target};
use crate::layout::{KnownFiles, Layout, LayoutError};
use crate::metadata::{DatasetId, Timestamp};

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

/// Why the rows of a table were not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TakeError {
    /// The table, or its rows.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// The dataset could not be found or made.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The dataset could not be read.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The key.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The names published before cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A table without rows does not make a dataset.
    #[error("the table has no rows, so there is nothing to make a dataset of")]
    NothingTaken,
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
        let workspace = Self {
            store,
            catalog,
            layout,
            keys,
        };
        if workspace.store.rebuilt() {
            workspace.lay_out_all()?;
        }
        Ok(workspace)
    }

    /// Makes the layouts of all datasets again, after the index was lost. One that is damaged is passed over: see
    /// [`Store::skipped`].
    fn lay_out_all(&self) -> Result<(), WorkspaceError> {
        for entry in self.catalog.entries()? {
            match self.lay_out_again(&entry) {
                Ok(()) => {}
                Err(WorkspaceError::Store(error) | WorkspaceError::Layout(LayoutError::Store(error))) => {
                    return Err(error.into());
                }
                Err(error) => {
                    self.store
                        .skip(&entry.dir, format!("the dataset is not laid out again: {error}"));
                }
            }
        }
        Ok(self.store.rebuild_finished()?)
    }

    fn lay_out_again(&self, entry: &Entry) -> Result<(), WorkspaceError> {
        let dataset = self.catalog.open_entry(entry)?;
        // First what is there whatever becomes of the rest: older roots may need it.
        self.layout.adopt_unnamed(&dataset)?;
        let laid_out = self.layout.update(&dataset, &KnownFiles::new());
        if laid_out.is_err() {
            self.layout.adopt_what_is_there(&dataset)?;
        }
        Ok(laid_out.map(drop)?)
    }

    /// Takes the rows of `source` that are new into the dataset called `name`. The first time that makes the dataset,
    /// and an ed25519 key of the same name whose public half is the dataset's id.
    ///
    /// # Errors
    /// See [`TakeError`]; the dataset is as it was, and a new one is not there.
    pub fn take(
        &self,
        name: &DatasetName,
        source: &Source,
        options: &ingest::Options,
        now: Timestamp,
        progress: &mut OnProgress<'_>,
    ) -> Result<(Dataset, ingest::Outcome), TakeError> {
        match self.catalog.find_entry(name.as_str()) {
            Ok(entry) => {
                let mut dataset = self.catalog.open_entry(&entry)?;
                let outcome = ingest::ingest(Target::Existing(&mut dataset), source, options, now, progress)?;
                Ok((dataset, outcome))
            }
            Err(CatalogError::Unknown { .. }) => {
                let (id, made) = self.new_id(name)?;
                let target = Target::New {
                    staged: self.catalog.stage(id, name)?,
                    states: self.catalog.states(),
                };
                let outcome = ingest::ingest(target, source, options, now, progress);
                if let (Err(_), Some(key)) = (&outcome, made) {
                    self.keys.remove(&key)?;
                }
                let outcome = outcome?;
                let dataset = self.catalog.by_id(&id)?.ok_or(TakeError::NothingTaken)?;
                Ok((dataset, outcome))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// An id for a new dataset: the public half of the key called `name`, or `name-2` and so on if a dataset has, or once
    /// had, that key: whoever follows its name must not meet another history under it. Says which key was made, if one
    /// was.
    pub(crate) fn new_id(&self, name: &DatasetName) -> Result<(DatasetId, Option<String>), TakeError> {
        let published: Vec<Name> = kept(&self.store)?.into_iter().map(|status| status.name).collect();
        let numbered = (2..).map(|number: u32| format!("{name}-{number}"));
        for key_name in std::iter::once(name.to_string()).chain(numbered) {
            let existing = self.keys.get(&key_name)?;
            let made = existing.is_none().then(|| key_name.clone());
            let key = match existing {
                Some(key) => key,
                None => self.keys.generate(&key_name)?,
            };
            // A key of another kind is somebody's, for another purpose.
            let Ok(public) = key.public().try_into_ed25519() else {
                continue;
            };
            let id = DatasetId::from_public_key(public.to_bytes());
            let was_published = published.contains(&Name::from_public_key(&key.public()));
            if !was_published && self.catalog.by_id(&id)?.is_none() {
                return Ok((id, made));
            }
        }
        Err(TakeError::NothingTaken)
    }

    /// The private key whose public half is the dataset's id, if it is here: only then can the dataset be published
    /// under its own name.
    pub fn key_of(&self, id: &DatasetId) -> Option<Keypair> {
        self.keys.find(|key| {
            let public = key.public().try_into_ed25519();
            public.is_ok_and(|public| public.to_bytes() == *id.public_key())
        })
    }

    /// Removes a dataset with its files, layout and pins. Its key stays.
    ///
    /// # Errors
    /// A part cannot be removed; the dataset may be there or not, never half.
    pub fn delete(&self, dataset: &Dataset) -> Result<(), WorkspaceError> {
        let id = dataset.id();
        self.layout.forget(&id)?;
        let owner = id.to_string();
        for pin in self.store.pins(Some(&owner))? {
            self.store.unpin(&owner, &pin.cid)?;
        }
        self.store.remove_files(&self.layout.files_of(dataset)?)?;
        Ok(self.catalog.delete(&id)?)
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
