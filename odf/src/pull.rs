//! From a root to a verified local dataset, resumable.
//!
//! The `blocks` directory lists every metadata block, so they come in parallel and the chain is never walked over
//! the network. Order of events: list, fetch metadata blocks, check them against their hashes and the rules of the
//! chain, fetch slices and checkpoints into their place, check their hashes, make everything durable, and only then
//! move the head. Whatever arrived before an interruption is found again in the store.
//!
//! Two forms of roots are taken: format 1 of odfs ([`crate::layout`]), and a plain UnixFS directory with
//! `refs blocks data checkpoints`, as kamu publishes through Kubo.

mod address;
mod update;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use futures::stream::{StreamExt as _, TryStreamExt as _};
use odf_node::block::{Block, Cid, DAG_CBOR};
use odf_node::dag;
use odf_node::fetch::{FetchError, Fetched, Fetcher, MAX_NODES_IN_FLIGHT};
use odf_node::ipns::ResolveError;
use odf_node::routing::RoutingError;
use odf_node::store::StoreError;
use odf_node::unixfs::Entry;

use crate::catalog::CatalogError;
use crate::chain::ChainState;
use crate::codec::{self, DecodeError, EncodedBlock};
use crate::dataset::{Dataset, DatasetError, DatasetName, INCOMING_PREFIX};
use crate::digest;
use crate::layout::{FORMAT, KnownFiles, LayoutError, Root};
use crate::metadata::{DatasetId, MetadataEvent, Multihash};
use crate::workspace::Workspace;

pub use address::{Address, AddressError, name_of};
pub use update::{PullOptions, Pulled, pull_from};

const DATA: &str = "data";
const CHECKPOINTS: &str = "checkpoints";

/// How many slices and checkpoints are fetched at once.
const MAX_OBJECTS_IN_FLIGHT: usize = 64;
/// Longest `refs/head` that is read: a multihash in text is 69 bytes.
const MAX_HEAD_BYTES: usize = 128;

/// Why a pull did not end well. The dataset is at its old head; what arrived is kept for the next attempt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// What a name stands for could not be found out.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The DHTs.
    #[error(transparent)]
    Routing(#[from] RoutingError),
    /// Nothing in the address can be the name of a dataset.
    #[error("`{0}` gives no name for the dataset")]
    NoName(String),
    /// Blocks could not be had.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// What the root points to is no dataset.
    #[error("{cid} is not a dataset: {reason}")]
    NotADataset {
        /// The root.
        cid: Cid,
        /// What is missing or wrong.
        reason: String,
    },
    /// A name stands for something that leads to no content.
    #[error("`{0}` is not a path of the form /ipfs/CID")]
    NotAPath(String),
    /// Written by a newer odfs.
    #[error("{cid} has layout format {format}, this odfs reads {FORMAT}; update odfs")]
    NewerFormat {
        /// The root.
        cid: Cid,
        /// Format found.
        format: i128,
    },
    /// A metadata block is damaged or forged.
    #[error("metadata block {hash}: {source}")]
    Block {
        /// The block.
        hash: Multihash,
        /// What is wrong.
        source: DecodeError,
    },
    /// The directories lack something that the chain names.
    #[error("the publisher's {directory} directory lacks {hash}")]
    Lacks {
        /// `blocks`, `data` or `checkpoints`.
        directory: &'static str,
        /// What is missing.
        hash: Multihash,
    },
    /// A slice or checkpoint is not what its metadata block says.
    #[error("{} is not what its metadata block says: {found} instead of {expected}", .path.display())]
    Object {
        /// The file as it would be named.
        path: PathBuf,
        /// Hash or length in the metadata block.
        expected: String,
        /// Hash or length found.
        found: String,
    },
    /// Local and remote chains went apart.
    #[error("the local chain (head {local}) and the remote one (head {remote}) diverged after {common} common block(s)")]
    Diverged {
        /// Local head.
        local: Multihash,
        /// Remote head.
        remote: Multihash,
        /// Length of the common part.
        common: u64,
    },
    /// The dataset found is not the one that was expected.
    #[error("this is dataset {found}, but {expected} was expected")]
    OtherDataset {
        /// Id in the remote Seed.
        found: DatasetId,
        /// Id wanted.
        expected: DatasetId,
    },
    /// The local dataset.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The local dataset could not be found or made.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The DAG of the pulled dataset.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The block store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file.
    #[error("cannot {operation} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// How a pull ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The local dataset is at the remote head.
    UpToDate {
        /// The dataset.
        dataset: Dataset,
    },
    /// The local dataset has everything of the remote one, and more.
    Ahead {
        /// The dataset.
        dataset: Dataset,
        /// Head of the remote one.
        remote: Multihash,
    },
    /// New metadata blocks came.
    Updated {
        /// The dataset.
        dataset: Dataset,
        /// Head before; none for a new dataset.
        old_head: Option<Multihash>,
        /// Metadata blocks that came.
        blocks: u64,
        /// Slices and checkpoints that came.
        objects: u64,
        /// What the network gave and what was here.
        fetched: Fetched,
        /// The dataset's own root; equals the one pulled if that was in format 1.
        root: Root,
    },
}

impl Outcome {
    /// The dataset.
    pub fn dataset(&self) -> &Dataset {
        match self {
            Self::UpToDate { dataset } | Self::Ahead { dataset, .. } | Self::Updated { dataset, .. } => dataset,
        }
    }
}

/// What a pull is about to do or has done; for progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// The root was read; its head is known.
    Found {
        /// The remote head.
        head: Multihash,
    },
    /// It is known what has to come.
    Planned {
        /// Metadata blocks that came.
        blocks: u64,
        /// Slices and checkpoints to come.
        objects: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// A slice or checkpoint is complete and checked.
    Object {
        /// Its bytes.
        bytes: u64,
    },
}

/// What to pull into.
#[derive(Debug, Clone)]
pub struct Destination {
    /// The local dataset to update. Without one the dataset with the remote id is updated, or a new one made.
    pub dataset: Option<Dataset>,
    /// Name of a new dataset.
    pub name: DatasetName,
    /// Id that the remote dataset must have.
    pub expected_id: Option<DatasetId>,
    /// Where a new dataset is pulled from, as it will remember it.
    pub alias: Option<String>,
}

/// A dataset found under a root.
#[derive(Debug, Clone)]
pub struct Remote {
    /// The root that was read.
    pub root: Cid,
    /// The remote head.
    pub head: Multihash,
    /// Whether the root is in format 1, so that the local root must come out equal.
    canonical: bool,
    blocks: Cid,
    data: Option<Cid>,
    checkpoints: Option<Cid>,
}

/// Reads the root below `cid` and the remote head: three or four small blocks.
///
/// # Errors
/// They cannot be had, or are not a dataset.
pub async fn open(fetcher: &Fetcher, cid: Cid) -> Result<Remote, PullError> {
    let not = |reason: &str| PullError::NotADataset { cid, reason: reason.to_owned() };
    let root = fetcher.block(&cid).await?;
    let (files, canonical) =
        if cid.codec() == DAG_CBOR { (files_of(&root)?, true) } else { (cid, false) };
    let (links, _) = fetcher.directory(files, false).await?;
    let entry = |name: &str| links.iter().find(|link| link.name == name).map(|link| link.cid);
    let refs = entry("refs").ok_or_else(|| not("it has no directory refs"))?;
    let blocks = entry("blocks").ok_or_else(|| not("it has no directory blocks"))?;
    let (refs, _) = fetcher.directory(refs, false).await?;
    let head = refs.iter().find(|link| link.name == "head").ok_or_else(|| not("it has no refs/head"))?;
    let head = small_file(fetcher, head.cid, MAX_HEAD_BYTES).await?;
    let head = head
        .as_deref()
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
        .and_then(|text| text.trim_end().parse().ok())
        .ok_or_else(|| not("its refs/head is not a hash"))?;
    Ok(Remote { root: cid, head, canonical, blocks, data: entry("data"), checkpoints: entry("checkpoints") })
}

/// The CID that the value of a name leads to: `/ipfs/CID` or `/ipfs/CID/path`.
///
/// # Errors
/// Not such a path, or a block on it cannot be had.
pub async fn root_of(fetcher: &Fetcher, value: &str) -> Result<Cid, PullError> {
    let malformed = || PullError::NotAPath(value.to_owned());
    let (cid, path) = match value.strip_prefix("/ipfs/").ok_or_else(malformed)?.split_once('/') {
        Some((cid, path)) => (cid, path),
        None => (value.trim_start_matches("/ipfs/"), ""),
    };
    let cid: Cid = cid.parse().map_err(|_| malformed())?;
    let resolved = fetcher.resolve(cid, path).await?;
    if resolved.remainder.is_empty() { Ok(resolved.cid) } else { Err(malformed()) }
}

/// The link `files` of a root in format 1.
fn files_of(root: &Block) -> Result<Cid, PullError> {
    use ipld_core::ipld::Ipld;
    let cid = *root.cid();
    let not = |reason: &str| PullError::NotADataset { cid, reason: reason.to_owned() };
    let Ok(Ipld::Map(map)) = dag::value(root) else { return Err(not("it is not a map")) };
    match map.get("odf") {
        Some(Ipld::Integer(FORMAT)) => {}
        Some(Ipld::Integer(format)) => return Err(PullError::NewerFormat { cid, format: *format }),
        _ => return Err(not("it has no number `odf`")),
    }
    match map.get("files") {
        Some(Ipld::Link(files)) => Ok(*files),
        _ => Err(not("it has no link `files`")),
    }
}

/// A file of at most `limit` bytes; `None` if it is longer or malformed.
async fn small_file(fetcher: &Fetcher, root: Cid, limit: usize) -> Result<Option<Vec<u8>>, PullError> {
    use odf_node::unixfs::export::{FileCursor, Step};
    let mut cursor = FileCursor::new(root);
    let mut content = Vec::new();
    loop {
        match cursor.step() {
            Step::Done => return Ok(Some(content)),
            Step::Data { bytes, .. } => content.extend_from_slice(&bytes),
            Step::Need(cid) => {
                if cursor.feed(&fetcher.block(&cid).await?).is_err() {
                    return Ok(None);
                }
            }
        }
        if content.len() > limit || cursor.size().is_some_and(|size| size > limit as u64) {
            return Ok(None);
        }
    }
}

/// Brings a remote dataset here. See the module for the order of events.
///
/// # Errors
/// See [`PullError`].
pub async fn pull(
    workspace: &Workspace,
    fetcher: &Fetcher,
    remote: &Remote,
    destination: Destination,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Outcome, PullError> {
    progress(Progress::Found { head: remote.head });
    if let Some(dataset) = &destination.dataset
        && *dataset.head() == remote.head
    {
        return Ok(Outcome::UpToDate { dataset: dataset.clone() });
    }
    Transfer { workspace, fetcher, remote, progress }.run(destination).await
}

/// A slice or checkpoint that a metadata block names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Object {
    directory: &'static str,
    hash: Multihash,
    size: u64,
}

/// How the remote chain lies to the local one.
enum Gap {
    /// These blocks follow the local head, oldest first.
    New(Vec<EncodedBlock>),
    /// The local chain holds the remote head.
    Ahead,
}

struct Transfer<'a> {
    workspace: &'a Workspace,
    fetcher: &'a Fetcher,
    remote: &'a Remote,
    progress: &'a (dyn Fn(Progress) + Send + Sync),
}

impl Transfer<'_> {
    async fn run(&self, destination: Destination) -> Result<Outcome, PullError> {
        let catalog = self.workspace.catalog();
        let mut local = destination.dataset;
        let mut gap = self.gap(local.as_ref()).await?;
        if local.is_none() {
            // The same dataset under another local name is updated rather than doubled.
            let Gap::New(chain) = &gap else { return Err(self.not_a_dataset("its chain is empty")) };
            let id = match chain.first().map(|block| &block.block().event) {
                Some(MetadataEvent::Seed(seed)) => seed.dataset_id,
                _ => return Err(self.not_a_dataset("its chain does not begin with a Seed")),
            };
            if let Some(expected) = destination.expected_id.filter(|expected| *expected != id) {
                return Err(PullError::OtherDataset { found: id, expected });
            }
            if let Some(dataset) = catalog.by_id(&id)? {
                gap = self.gap(Some(&dataset)).await?;
                local = Some(dataset);
            }
        }
        let new = match (gap, &local) {
            (_, Some(dataset)) if *dataset.head() == self.remote.head => {
                return Ok(Outcome::UpToDate { dataset: dataset.clone() });
            }
            (Gap::Ahead, Some(dataset)) => {
                return Ok(Outcome::Ahead { dataset: dataset.clone(), remote: self.remote.head });
            }
            (Gap::New(new), _) => new,
            (Gap::Ahead, None) => return Err(self.not_a_dataset("its chain is empty")),
        };
        let blocks = new.len() as u64;
        let old_head = local.as_ref().map(|dataset| *dataset.head());
        let (dataset, objects, known) = match local {
            Some(mut dataset) => {
                check_rules(Some(dataset.state().clone()), &new)?;
                let (objects, known) = self.objects(dataset.dir(), &new).await?;
                dataset.append(new, None)?;
                (dataset, objects, known)
            }
            None => {
                let id = seed_id(&new).ok_or_else(|| self.not_a_dataset("its chain does not begin with a Seed"))?;
                let incoming = catalog.receive(id, &destination.name)?;
                if let Some(alias) = destination.alias {
                    incoming.set_remote_aliases(&crate::dataset::RemoteAliases { pull_aliases: vec![alias], ..Default::default() })?;
                }
                check_rules(None, &new)?;
                let (objects, known) = self.objects(incoming.dir(), &new).await?;
                (incoming.install(new, catalog.states())?, objects, known)
            }
        };
        let root = self.workspace.layout().update(&dataset, &known)?;
        if self.remote.canonical && root.cid != self.remote.root {
            tracing::warn!(remote = %self.remote.root, local = %root.cid, "the publisher laid the dataset out otherwise");
        }
        let fetched = self.fetcher.fetched();
        Ok(Outcome::Updated { dataset, old_head, blocks, objects, fetched, root })
    }

    fn not_a_dataset(&self, reason: &str) -> PullError {
        PullError::NotADataset { cid: self.remote.root, reason: reason.to_owned() }
    }

    /// The metadata blocks that follow the local head.
    async fn gap(&self, local: Option<&Dataset>) -> Result<Gap, PullError> {
        match self.gap_in(local, true).await {
            // Subtrees were skipped as complete, but what is below them belongs to a dataset that is gone.
            Err(PullError::Lacks { .. }) => self.gap_in(local, false).await,
            done => done,
        }
    }

    async fn gap_in(&self, local: Option<&Dataset>, skip_complete: bool) -> Result<Gap, PullError> {
        let (links, _) = self.fetcher.directory(self.remote.blocks, skip_complete).await?;
        let names: HashMap<String, Cid> = links.into_iter().map(|link| (link.name, link.cid)).collect();
        self.prefetch(names.values().copied().collect()).await?;
        let mut new: Vec<EncodedBlock> = Vec::new();
        let mut at = Some(self.remote.head);
        while let Some(hash) = at {
            if local.is_some_and(|dataset| *dataset.head() == hash) {
                break;
            }
            let Some(cid) = names.get(&hash.to_string()) else {
                let lacks = PullError::Lacks { directory: "blocks", hash };
                return local.map_or(Err(lacks), |dataset| self.meeting_point(dataset, &new, Some(hash)));
            };
            let bytes = small_file(self.fetcher, *cid, codec::MAX_BLOCK_BYTES).await?.unwrap_or_default();
            let block =
                EncodedBlock::decode_checked(&hash, bytes).map_err(|source| PullError::Block { hash, source })?;
            at = block.block().prev_block_hash;
            new.push(block);
        }
        if let (None, Some(dataset)) = (at, local) {
            return self.meeting_point(dataset, &new, None);
        }
        new.reverse();
        Ok(Gap::New(new))
    }

    /// The remote chain, walked from its head down to a block that was not listed, or to its beginning, did not meet
    /// the local head: finds out where it meets the local chain.
    fn meeting_point(
        &self,
        dataset: &Dataset,
        walked: &[EncodedBlock],
        unlisted: Option<Multihash>,
    ) -> Result<Gap, PullError> {
        let mut local = HashMap::new();
        for stored in dataset.blocks()? {
            let block = stored?.block;
            local.insert(*block.hash(), block.block().sequence_number);
        }
        let mut hashes = walked.iter().map(|block| *block.hash()).chain(unlisted);
        match hashes.find_map(|hash| Some((hash, *local.get(&hash)?))) {
            Some((hash, _)) if hash == self.remote.head => Ok(Gap::Ahead),
            Some((_, sequence)) => Err(PullError::Diverged {
                local: *dataset.head(),
                remote: self.remote.head,
                common: sequence + 1,
            }),
            None => match (unlisted, seed_id(walked)) {
                (Some(hash), _) => Err(PullError::Lacks { directory: "blocks", hash }),
                (None, Some(found)) if found != dataset.id() => {
                    Err(PullError::OtherDataset { found, expected: dataset.id() })
                }
                _ => Err(PullError::Diverged { local: *dataset.head(), remote: self.remote.head, common: 0 }),
            },
        }
    }

    /// Brings metadata blocks into the store in parallel, so that walking the chain asks nobody.
    async fn prefetch(&self, cids: Vec<Cid>) -> Result<(), PullError> {
        futures::stream::iter(cids)
            .map(|cid| async move { self.fetcher.ensure(&cid).await })
            .buffer_unordered(MAX_NODES_IN_FLIGHT)
            .try_for_each(|()| async { Ok(()) })
            .await?;
        Ok(())
    }

    /// Slices and checkpoints of the new blocks into `dir`, checked and durable. Also gives the DAGs of those whose
    /// form is the published one.
    async fn objects(&self, dir: &Path, new: &[EncodedBlock]) -> Result<(u64, KnownFiles), PullError> {
        let wanted: Vec<Object> = new.iter().flat_map(Object::of).filter(|object| !object.path(dir).exists()).collect();
        (self.progress)(Progress::Planned {
            blocks: new.len() as u64,
            objects: wanted.len() as u64,
            bytes: wanted.iter().map(|object| object.size).sum(),
        });
        let mut entries = HashMap::new();
        for (directory, root) in [(DATA, self.remote.data), (CHECKPOINTS, self.remote.checkpoints)] {
            let needed: Vec<&Object> = wanted.iter().filter(|object| object.directory == directory).collect();
            if !needed.is_empty() {
                self.locate(directory, root, &needed, &mut entries).await?;
            }
        }
        let count = wanted.len() as u64;
        let fetched: Vec<(Multihash, Entry, Vec<Cid>)> = futures::stream::iter(wanted)
            .map(|object| {
                let link = entries.get(&object.hash).copied();
                async move {
                    let link = link.ok_or(PullError::Lacks { directory: object.directory, hash: object.hash })?;
                    let size = object.size;
                    let nodes = self.object(dir, &object, link.cid).await?;
                    (self.progress)(Progress::Object { bytes: size });
                    Ok::<_, PullError>((object.hash, Entry { cid: link.cid, tsize: link.tsize, size }, nodes))
                }
            })
            .buffer_unordered(MAX_OBJECTS_IN_FLIGHT)
            .try_collect()
            .await?;
        let (mut known, mut nodes) = (KnownFiles::new(), Vec::new());
        for (hash, entry, below) in fetched {
            known.insert(hash, entry);
            nodes.extend(below);
        }
        if !self.remote.canonical {
            known.clear();
        }
        let store = self.workspace.store().clone();
        blocking(move || store.mark_complete(&nodes).and_then(|()| store.flush())).await??;
        Ok((count, known))
    }

    /// Finds the DAGs of objects in a directory.
    async fn locate(
        &self,
        directory: &'static str,
        root: Option<Cid>,
        needed: &[&Object],
        entries: &mut HashMap<Multihash, Located>,
    ) -> Result<(), PullError> {
        let root = root.ok_or(PullError::Lacks { directory, hash: needed[0].hash })?;
        for skip_complete in [true, false] {
            let (links, _) = self.fetcher.directory(root, skip_complete).await?;
            entries.extend(links.into_iter().filter_map(|link| {
                let hash: Multihash = link.name.parse().ok()?;
                Some((hash, Located { cid: link.cid, tsize: link.tsize }))
            }));
            if needed.iter().all(|object| entries.contains_key(&object.hash)) {
                return Ok(());
            }
        }
        let missing = needed.iter().find(|object| !entries.contains_key(&object.hash));
        missing.map_or(Ok(()), |object| Err(PullError::Lacks { directory, hash: object.hash }))
    }

    /// One slice or checkpoint: leaves into a file of an unfinished name, hash checked, then renamed.
    async fn object(&self, dir: &Path, object: &Object, root: Cid) -> Result<Vec<Cid>, PullError> {
        let store = self.workspace.store();
        let path = object.path(dir);
        let unfinished = path.with_file_name(format!("{INCOMING_PREFIX}{}", object.hash));
        let inside = |path: &Path| path.strip_prefix(store.root()).map(Path::to_path_buf).unwrap_or_default();
        let file = store.add_file(&inside(&unfinished))?;
        let (size, nodes) = self.fetcher.file(root, file, object.size).await?;
        let checked = {
            let unfinished = unfinished.clone();
            blocking(move || digest::physical_hash(&unfinished)).await?
        };
        let (found, _) =
            checked.map_err(|source| PullError::Io { operation: "read", path: unfinished.clone(), source })?;
        if size != object.size || found != object.hash {
            store.remove_file(file)?;
            let (expected, found) = match size == object.size {
                true => (object.hash.to_string(), found.to_string()),
                false => (format!("{} bytes", object.size), format!("{size} bytes")),
            };
            return Err(PullError::Object { path, expected, found });
        }
        store.rename_file(file, &inside(&path))?;
        Ok(nodes)
    }
}

impl Object {
    fn of(block: &EncodedBlock) -> impl Iterator<Item = Self> + use<> {
        let event = &block.block().event;
        let data = event.new_data().map(|slice| (DATA, slice.physical_hash, slice.size));
        let checkpoint = event.new_checkpoint().map(|file| (CHECKPOINTS, file.physical_hash, file.size));
        data.into_iter().chain(checkpoint).map(|(directory, hash, size)| Self { directory, hash, size })
    }

    fn path(&self, dir: &Path) -> PathBuf {
        dir.join(self.directory).join(self.hash.to_string())
    }
}

/// Where a directory says that an object is.
#[derive(Debug, Clone, Copy)]
struct Located {
    cid: Cid,
    tsize: u64,
}

/// Checks the rules of the chain before anything large is fetched; the commit checks them again.
fn check_rules(mut state: Option<ChainState>, new: &[EncodedBlock]) -> Result<(), PullError> {
    new.iter().try_for_each(|block| ChainState::append(&mut state, block)).map_err(|error| DatasetError::Chain(error).into())
}

fn seed_id(blocks: &[EncodedBlock]) -> Option<DatasetId> {
    blocks.iter().find_map(|block| match &block.block().event {
        MetadataEvent::Seed(seed) => Some(seed.dataset_id),
        _ => None,
    })
}

/// Runs work that reads or writes the disk beside the async tasks.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, PullError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| PullError::Fetch(FetchError::Stopped))
}
