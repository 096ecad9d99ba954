//! A workspace opened by the process that owns it: store, datasets, their layouts and keys in one place.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use odf_dataset::catalog::{Catalog, CatalogError};
use odf_dataset::rewrite::RewriteError;
use odf_dataset::snapshot::{Identities, IdentityError};
use odf_dataset::{Dataset, DatasetError, DatasetName, Datasets, Object, StoredBlock};
use odf_ingest::source::{OnProgress, Source};
use odf_ingest::taken::MARKS_FILE;
use odf_ingest::{
    ColumnNote, Effect, Ground, History, HistoryError, IngestError, Ingested, NoHistory, Polled, Prepared, PushOptions,
    Slices,
};
use odf_ipfs::layout::Layout;
use odf_ipfs::pull::name_of;
use odf_ipfs::{CollectError, Local, OpenError};
use odf_metadata::chain::ChainState;
use odf_metadata::{DataSlice, DatasetId, DatasetKind, Multihash, Timestamp};
use odf_node::ipns;
use odf_node::keystore::{Keypair, Keystore, KeystoreError};
use odf_node::store::{GcReport, Store, StoreError, StoreOptions};
use odf_query::sql::DataFusion;
use odf_query::transform::{self, TransformError};
use odf_tables::slice::SliceOptions;

use crate::copies::Copies;
use crate::origins;

/// Name of the key that says who the peer is. It is never that of a dataset.
pub const PEER_KEY: &str = "self";

/// Why a workspace could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkspaceError {
    /// The datasets or the block store.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The keys.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
}

/// Why rows were not taken into a dataset. It is as it was, and a new one is not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TakeError {
    /// The table, or its rows.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// The dataset could not be found or made.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The dataset could not be read or changed.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The key.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The names published before cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The queries of a derivative dataset.
    #[error(transparent)]
    Transform(#[from] TransformError),
    /// A file that the newest metadata blocks name is not there: rows that are appended would stand on nothing.
    #[error("{0} is missing, and a metadata block of the dataset names it")]
    Lacking(Object),
    /// A table without rows does not make a dataset.
    #[error("the table has no rows, so there is nothing to make a dataset of")]
    NothingTaken,
}

/// What taking rows into a dataset did.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one at a time, and looked at right away")]
pub enum Growth {
    /// There was nothing new; nothing was written. Rows may have been [passed over](Effect::passed_over).
    UpToDate(Effect),
    /// Blocks were added.
    Grown(Grown),
}

/// What was added to a dataset.
#[derive(Debug)]
pub struct Grown {
    /// The head before; none for a new dataset.
    pub old_head: Option<Multihash>,
    /// The head now.
    pub new_head: Multihash,
    /// The blocks between them, with their places in the chain file.
    pub blocks: Vec<StoredBlock>,
    /// The new slice; none if only the source or the watermark changed.
    pub slice: Option<DataSlice>,
    /// Rows written, retractions and corrections included.
    pub rows: u64,
    /// How many of them had no event time, and were given one.
    pub without_event_time: u64,
    /// What they did to those that were there.
    pub effect: Effect,
    /// What the types that were found out leave to be said.
    pub notes: Vec<ColumnNote>,
}

/// What one odfs instance owns. Cheap to clone. Only one process may have a workspace open; seeing to that (a lock) is
/// the caller's part.
#[derive(Clone)]
pub struct Workspace {
    local: Local,
    keys: Keystore,
}

impl Workspace {
    /// Opens the workspace in `root`, making what is not there yet; everything in it goes through the disk of `options`. If
    /// the index of the store was lost, it is made again from the datasets' files, which takes as long as hashing them.
    ///
    /// # Errors
    /// A part cannot be opened. Nothing was changed that a later attempt would miss.
    pub fn open(root: &Path, options: StoreOptions) -> Result<Self, WorkspaceError> {
        let keys = Keystore::open_on(options.disk.clone(), &root.join("keys"))?;
        Ok(Self {
            local: Local::open(root, options)?,
            keys,
        })
    }

    /// Takes the rows of `source` that are new into the dataset called `name`. The first time that makes the dataset,
    /// and an ed25519 key of the same name whose public half is the dataset's id.
    ///
    /// # Errors
    /// See [`TakeError`].
    pub fn take(
        &self,
        name: &DatasetName,
        source: &Source,
        options: &odf_ingest::Options,
        now: Timestamp,
        progress: &mut OnProgress<'_>,
    ) -> Result<(Dataset, Growth), TakeError> {
        match self.catalog().named(name)? {
            Some(entry) => {
                let mut dataset = self.catalog().open_entry(&entry)?;
                check_ground(&dataset)?;
                let ingested = on_ground(&dataset, |ground| {
                    odf_ingest::ingest(ground, source, options, now, progress)
                })?;
                let growth = commit(&mut dataset, ingested)?;
                Ok((dataset, growth))
            }
            None => {
                let (id, made) = self.new_id(name)?;
                let taken = self.make(id, name, source, options, now, progress);
                if let (Err(_), Some(key)) = (&taken, made) {
                    self.keys.remove(&key)?;
                }
                taken
            }
        }
    }

    /// As [`Self::take`] for a dataset that is not here: it is made with this id, the public half of a key that is.
    ///
    /// # Errors
    /// See [`TakeError`].
    pub fn take_new(
        &self,
        id: DatasetId,
        name: &DatasetName,
        source: &Source,
        options: &odf_ingest::Options,
        now: Timestamp,
        progress: &mut OnProgress<'_>,
    ) -> Result<(Dataset, Growth), TakeError> {
        self.make(id, name, source, options, now, progress)
    }

    /// As [`Self::take`] for a dataset that is not here, with a key of its own that nobody has used yet, whatever keys are here.
    ///
    /// # Errors
    /// See [`TakeError`].
    pub fn take_apart(
        &self,
        name: &DatasetName,
        source: &Source,
        options: &odf_ingest::Options,
        now: Timestamp,
        progress: &mut OnProgress<'_>,
    ) -> Result<(Dataset, Growth), TakeError> {
        for key_name in key_names(name) {
            if self.keys.get(&key_name)?.is_none() {
                let id = self.fresh_id(&key_name)?;
                let taken = self.make(id, name, source, options, now, progress);
                if taken.is_err() {
                    self.keys.remove(&key_name)?;
                }
                return taken;
            }
        }
        Err(TakeError::NothingTaken)
    }

    /// Makes a dataset of a table.
    fn make(
        &self,
        id: DatasetId,
        name: &DatasetName,
        source: &Source,
        options: &odf_ingest::Options,
        now: Timestamp,
        progress: &mut OnProgress<'_>,
    ) -> Result<(Dataset, Growth), TakeError> {
        let new = self.catalog().stage(id, name)?;
        let ground = Ground {
            history: &NoHistory,
            engine: &DataFusion,
            disk: &self.catalog().medium().disk,
            dir: &new.data_dir(),
            marks: &new.dir().join(MARKS_FILE),
        };
        let ingested = odf_ingest::ingest(ground, source, options, now, progress)?;
        let prepared = ingested.news().ok_or(TakeError::NothingTaken)?;
        let Prepared {
            events,
            system_time,
            slice,
            data,
            rows,
            without_event_time,
            effect,
            notes,
        } = prepared;
        let (dataset, blocks) = new.install_events(DatasetKind::Root, events, system_time, slice)?;
        let grown = Grown {
            old_head: None,
            new_head: *dataset.head(),
            blocks,
            slice: data,
            rows,
            without_event_time,
            effect,
            notes,
        };
        Ok((dataset, Growth::Grown(grown)))
    }

    /// Takes a file by a push source of the dataset. `name` is what messages call the file.
    ///
    /// # Errors
    /// See [`TakeError`].
    pub fn push(
        &self,
        dataset: &mut Dataset,
        name: &str,
        content: &Path,
        options: &PushOptions,
        now: Timestamp,
        progress: &mut OnProgress<'_>,
    ) -> Result<Growth, TakeError> {
        check_ground(dataset)?;
        let ingested = on_ground(dataset, |ground| {
            odf_ingest::push(ground, name, content, options, now, progress)
        })?;
        Ok(commit(dataset, ingested)?)
    }

    /// Takes what the polling source of the dataset has fetched.
    ///
    /// # Errors
    /// See [`TakeError`].
    pub fn polled(
        &self,
        dataset: &mut Dataset,
        polled: Polled<'_>,
        now: Timestamp,
        progress: &mut OnProgress<'_>,
    ) -> Result<Growth, TakeError> {
        check_ground(dataset)?;
        let prepared = on_ground(dataset, |ground| odf_ingest::polled(ground, polled, now, progress))?;
        Ok(commit(dataset, prepared)?)
    }

    /// Says that all rows of the dataset up to `watermark` are there. Up to date if that was said already.
    ///
    /// # Errors
    /// The dataset is derivative, or cannot be written.
    pub fn set_watermark(
        &self,
        dataset: &mut Dataset,
        watermark: Timestamp,
        now: Timestamp,
    ) -> Result<Growth, TakeError> {
        let prepared = odf_ingest::set_watermark(dataset.state(), watermark, now)?;
        Ok(commit(dataset, prepared)?)
    }

    /// Computes what is new in a derivative dataset; `plan` is what [`transform::plan`] found there is to do.
    ///
    /// # Errors
    /// See [`TransformError`].
    pub fn transform(
        &self,
        dataset: &mut Dataset,
        plan: &transform::Plan,
        slice: &SliceOptions,
        now: Timestamp,
        progress: &mut OnProgress<'_>,
    ) -> Result<Growth, TakeError> {
        check_ground(dataset)?;
        let prepared = transform::run(dataset, plan, slice, now, progress)?;
        Ok(commit(dataset, prepared)?)
    }

    /// An id for a new dataset: the public half of the key called `name`, or `name-2` and so on if a dataset has, or once
    /// had, that key: whoever follows its name must not meet another history under it. Nor is the key of the peer taken.
    /// Says which key was made, if one was.
    pub fn new_id(&self, name: &DatasetName) -> Result<(DatasetId, Option<String>), TakeError> {
        for key_name in key_names(name) {
            let Some(key) = self.keys.get(&key_name)? else {
                return Ok((self.fresh_id(&key_name)?, Some(key_name)));
            };
            // A key of another kind is somebody's, for another purpose.
            let Some(id) = id_of(&key) else {
                continue;
            };
            if !self.was_published(&id)? && self.catalog().by_id(&id)?.is_none() {
                return Ok((id, None));
            }
        }
        Err(TakeError::NothingTaken)
    }

    /// Makes a key, and notes that nothing stands under its name.
    fn fresh_id(&self, key_name: &str) -> Result<DatasetId, TakeError> {
        let key = Keypair::generate_ed25519();
        let id = id_of(&key).ok_or(TakeError::NothingTaken)?;
        let disk = &self.catalog().medium().disk;
        origins::note_fresh(self.store().root(), disk, &id).map_err(CatalogError::from)?;
        self.keys.insert(key_name, &key)?;
        Ok(id)
    }

    /// The id of the dataset whose key is called `name`, whether it is here or not; none if there is no such key, or it is
    /// the peer's or of another kind.
    ///
    /// # Errors
    /// The key cannot be read.
    pub fn id_of_key(&self, name: &str) -> Result<Option<DatasetId>, KeystoreError> {
        if name == PEER_KEY {
            return Ok(None);
        }
        Ok(self.keys.get(name)?.and_then(|key| id_of(&key)))
    }

    /// The name of the key whose public half is the dataset's id, if it is here.
    ///
    /// # Errors
    /// The keys cannot be read.
    pub fn key_name_of(&self, id: &DatasetId) -> Result<Option<String>, KeystoreError> {
        let names = self.keys.names()?.into_iter().filter(|name| name != PEER_KEY);
        for name in names {
            if self.keys.get(&name)?.is_some_and(|key| id_of(&key) == Some(*id)) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Whether the name of a key that is here may stand for a history that is not: unless the key was made here for a dataset
    /// and nothing was ever published under it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn may_stand_elsewhere(&self, id: &DatasetId) -> Result<bool, StoreError> {
        Ok(self.was_published(id)? || !origins::is_fresh(self.store().root(), id))
    }

    /// Whether a name that is the dataset's id was published from here, or followed: others may follow it.
    fn was_published(&self, id: &DatasetId) -> Result<bool, StoreError> {
        let Some(name) = name_of(id) else {
            return Ok(false);
        };
        let known = ipns::status(self.store(), &name)?;
        Ok(known.is_some_and(|known| known.own || known.followed || known.withdrawn))
    }

    /// Whether a name that is the dataset's id was ever published from here: others may follow it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn is_published(&self, id: &DatasetId) -> Result<bool, StoreError> {
        let Some(name) = name_of(id) else {
            return Ok(false);
        };
        Ok(ipns::status(self.store(), &name)?.is_some_and(|known| known.own))
    }

    /// The private key whose public half is the dataset's id, if it is here: only then can the dataset be published
    /// under its own name.
    pub fn key_of(&self, id: &DatasetId) -> Option<Keypair> {
        let peer = name_of(id)?.peer_id();
        // As `new_id` names it.
        let name = self.catalog().name(id);
        let likely = name.map(|name| [name.to_string(), format!("{name}-2")]);
        self.keys
            .find(&peer, likely.as_ref().map(|names| &names[..]).unwrap_or_default())
    }

    /// Removes a dataset with its files, layout and pins, also a damaged one. Its key stays.
    ///
    /// # Errors
    /// The dataset is as it was, but for [`RewriteError::Left`]: then it is gone.
    pub fn delete(&self, id: &DatasetId) -> Result<(), RewriteError> {
        let disk = &self.catalog().medium().disk;
        origins::forget_fresh(self.store().root(), disk, id).map_err(CatalogError::from)?;
        self.datasets().delete(id)
    }

    /// Removes what nothing needs: see [`Local::collect_garbage`].
    ///
    /// # Errors
    /// As [`Local::collect_garbage`].
    pub fn collect_garbage(&self) -> Result<GcReport, CollectError> {
        self.local.collect_garbage()
    }

    /// Says that this process ends well and changes nothing more, so that the next opening need not look for what is left to
    /// be done.
    ///
    /// # Errors
    /// As [`Local::ends_well`].
    pub fn ends_well(&self) -> Result<(), StoreError> {
        self.local.ends_well()
    }

    /// The datasets in both forms.
    pub fn local(&self) -> &Local {
        &self.local
    }

    /// The block store.
    pub fn store(&self) -> &Store {
        self.local.store()
    }

    /// The datasets, with what hears of their changes.
    pub fn datasets(&self) -> &Datasets {
        self.local.datasets()
    }

    /// The datasets by name and id.
    pub fn catalog(&self) -> &Catalog {
        self.local.catalog()
    }

    /// The datasets as DAGs.
    pub fn layout(&self) -> &Layout {
        self.local.layout()
    }

    /// Copies of datasets beside those.
    pub fn copies(&self) -> Copies {
        Copies::new(&self.store().root().join("copies"), &self.catalog().medium().disk)
    }

    /// The private keys.
    pub fn keys(&self) -> &Keystore {
        &self.keys
    }
}

impl Identities for Workspace {
    fn new_id(&self, name: &DatasetName) -> Result<(DatasetId, Option<String>), IdentityError> {
        Ok(Workspace::new_id(self, name)?)
    }

    fn discard(&self, key: &str) -> Result<(), IdentityError> {
        self.keys.remove(key)?;
        Ok(())
    }
}

/// What the key of a dataset of this name may be called, the first before the others.
fn key_names(name: &DatasetName) -> impl Iterator<Item = String> + use<> {
    let numbered = {
        let name = name.clone();
        (2..).map(move |number: u32| format!("{name}-{number}"))
    };
    let names = std::iter::once(name.to_string()).chain(numbered);
    names.filter(|name| name != PEER_KEY)
}

/// The id of the dataset that a key signs for; none if it is of another kind than datasets have.
fn id_of(key: &Keypair) -> Option<DatasetId> {
    let public = key.public().try_into_ed25519().ok()?;
    Some(DatasetId::from_public_key(public.to_bytes()))
}

/// The history of a dataset that is here.
struct Here<'a>(&'a Dataset);

impl History for Here<'_> {
    fn state(&self) -> Option<&ChainState> {
        Some(self.0.state())
    }

    fn slices(&self) -> Arc<dyn Slices> {
        Arc::new(SlicesOf(self.0.clone()))
    }

    fn ranges(&self) -> Option<PathBuf> {
        Some(self.0.dir().join("ranges.index"))
    }
}

/// The slices of a dataset, each at the sequence number of its block.
struct SlicesOf(Dataset);

impl Slices for SlicesOf {
    fn positions(&self) -> usize {
        usize::try_from(self.0.state().blocks()).unwrap_or(usize::MAX)
    }

    fn is_empty(&self) -> bool {
        self.0.state().totals.slices == 0
    }

    fn files(&self, positions: Range<usize>) -> Result<Vec<Option<PathBuf>>, HistoryError> {
        let slices = self.0.slices_of(positions.start as u64..positions.end as u64)?;
        let file = |slice: Option<DataSlice>| Some(self.0.slice_path(&slice?.physical_hash));
        Ok(slices.into_iter().map(file).collect())
    }

    /// The hash of a block says what all before it are.
    fn mark(&self, position: usize) -> Result<Vec<u8>, HistoryError> {
        let named = self.0.names_from(position as u64)?.next();
        let (hash, _) = named.ok_or(DatasetError::NoBlock {
            sequence: position as u64,
        })??;
        Ok(hash.to_bytes())
    }
}

/// How many of the newest metadata blocks are looked at before rows are appended. All of them would make the cost of an
/// append that of the whole history; what a merge strategy reads of the rest it misses by itself.
const BLOCKS_STOOD_ON: usize = 64;

/// Whether rows can be appended: the files that came last are the ones that a cut or a full disk takes.
///
/// # Errors
/// [`TakeError::Lacking`]: appending on top would make a history that peers can be given only with a hole.
fn check_ground(dataset: &Dataset) -> Result<(), TakeError> {
    match dataset.lacking(Some(BLOCKS_STOOD_ON))?.first() {
        Some(object) => Err(TakeError::Lacking(*object)),
        None => Ok(()),
    }
}

/// Does something on the ground of a dataset that is here.
fn on_ground<T>(dataset: &Dataset, work: impl FnOnce(Ground<'_>) -> T) -> T {
    work(Ground {
        history: &Here(dataset),
        engine: &DataFusion,
        disk: dataset.disk(),
        dir: &dataset.data_dir(),
        marks: &dataset.dir().join(MARKS_FILE),
    })
}

/// Commits what was prepared for a dataset that is here.
fn commit(dataset: &mut Dataset, ingested: impl Into<Ingested>) -> Result<Growth, DatasetError> {
    let prepared = match ingested.into() {
        Ingested::Nothing(effect) => return Ok(Growth::UpToDate(effect)),
        Ingested::News(prepared) => prepared,
    };
    let old_head = *dataset.head();
    let blocks = dataset.append_events(prepared.events, prepared.system_time, prepared.slice)?;
    Ok(Growth::Grown(Grown {
        old_head: Some(old_head),
        new_head: *dataset.head(),
        blocks,
        slice: prepared.data,
        rows: prepared.rows,
        without_event_time: prepared.without_event_time,
        effect: prepared.effect,
        notes: prepared.notes,
    }))
}
