//! A root as a source of metadata blocks, slices and checkpoints.

mod apart;

use std::collections::HashMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::StreamExt as _;
use odf_dataset::receive::{
    Arrival, Listener, MAX_NEW_BLOCK_BYTES, MAX_NEW_BLOCKS, Progress, ReceiveError, Source, SourceError, TOGETHER,
    TOGETHER_BYTES, tell,
};
use odf_dataset::{INCOMING_PREFIX, Object, ObjectKind};
use odf_metadata::Multihash;
use odf_metadata::codec::MAX_BLOCK_BYTES;
use odf_node::block::{Cid, RAW};
use odf_node::exchange::AheadOf;
use odf_node::fetch::{FetchError, Fetcher, MAX_NODES_IN_FLIGHT};
use odf_node::retrieval::MAX_AHEAD_BYTES;
use odf_node::store::{FileId, Store, StoreError, Walk};
use odf_node::unixfs::Entry;
use odf_tables::digest;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::chain::Newest;
use super::{Remote, RemoteError, blocking, small_file};
use crate::Local;
use crate::layout::{Foreseen, Foresight, KnownFiles, Layout};

/// How long is waited for what a chain node leads to, and for the node itself, before the directories are asked.
const HINT_DEADLINE: Duration = Duration::from_secs(10);
/// How many slices and checkpoints are fetched at once.
const MAX_OBJECTS_IN_FLIGHT: usize = 64;

/// A dataset below a root, for threads that may block.
pub(super) struct IpfsSource {
    place: String,
    remote: Remote,
    fetcher: Fetcher,
    store: Store,
    layout: Layout,
    runtime: Handle,
    /// Closed when nobody waits for the pull any more.
    wanted: watch::Receiver<()>,
    newest: Mutex<Newest>,
    listing: Mutex<Listing>,
    /// What the layout will meet, once objects are here.
    foreseen: Mutex<Option<Foreseen>>,
    /// Files are written as bytes, and the store does not hear of them.
    apart: bool,
    /// Nothing of the dataset is here.
    is_new: bool,
}

/// The metadata blocks of the `blocks` directory, as far as they were asked for.
#[derive(Default)]
struct Listing {
    names: HashMap<Multihash, Cid>,
    extent: Extent,
}

/// How much of a directory was listed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Extent {
    #[default]
    Nothing,
    /// What is not below nodes that are marked complete: whoever has those has what they list, as a rule.
    New,
    Whole,
}

/// Where an object is said to be.
#[derive(Debug, Clone, Copy)]
struct Located {
    cid: Cid,
    tsize: u64,
    /// By a chain node; else by a directory.
    hinted: bool,
}

impl Located {
    fn of(object: &Object, located: &HashMap<Multihash, Self>) -> Result<Self, RemoteError> {
        located.get(&object.hash).copied().ok_or(RemoteError::Lacks {
            directory: object.kind.directory(),
            hash: object.hash,
        })
    }
}

/// An object that is complete and checked, under its unfinished name.
struct Fetched {
    object: Object,
    entry: Entry,
    file: FileId,
    /// Where it belongs, relative to the workspace.
    path: PathBuf,
    /// The nodes above its leaves.
    nodes: Vec<Cid>,
}

impl IpfsSource {
    /// What is below `remote`. Everything that it waits for ends when the sender of `wanted` is dropped.
    pub(super) fn new(
        place: String,
        remote: Remote,
        local: &Local,
        fetcher: &Fetcher,
        wanted: watch::Receiver<()>,
    ) -> Self {
        Self {
            place,
            newest: Mutex::new(Newest::of(remote.chain)),
            remote,
            fetcher: fetcher.clone(),
            store: local.store().clone(),
            layout: local.layout().clone(),
            runtime: Handle::current(),
            wanted,
            listing: Mutex::default(),
            foreseen: Mutex::default(),
            apart: false,
            is_new: false,
        }
    }

    /// The same for a dataset of which nothing is here.
    pub(super) fn of_a_new_one(mut self) -> Self {
        self.is_new = true;
        self
    }

    /// The same for a copy that is not served.
    pub(super) fn apart(mut self) -> Self {
        self.apart = true;
        self
    }

    /// The directory of slices.
    pub(super) fn data(&self) -> Option<Cid> {
        self.remote.data
    }

    /// Waits for something async.
    fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T, RemoteError> {
        let mut wanted = self.wanted.clone();
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                // Nothing is ever sent: this ends when the sender is gone.
                _ = wanted.changed() => Err(FetchError::Stopped.into()),
                done = work => Ok(done),
            }
        })
    }

    /// A metadata block by way of the newest chain nodes, if these lead to it. Otherwise they are not asked again.
    fn hinted(&self, hash: &Multihash) -> Result<Option<Bytes>, RemoteError> {
        let mut newest = self.newest();
        while let Some(node) = newest.next().filter(|_| newest.block(hash).is_none()) {
            match self.in_time(self.fetcher.block(&node))? {
                Some(node) => newest.take(&node),
                None => newest.give_up(),
            }
        }
        let Some(cid) = newest.block(hash) else {
            return Ok(None);
        };
        let file = small_file(&self.fetcher, cid, MAX_BLOCK_BYTES);
        let bytes = self.in_time(file)?.flatten().map(Bytes::from);
        let right = bytes.filter(|bytes| Multihash::sha3_256(bytes) == *hash);
        if right.is_none() {
            newest.give_up();
        }
        Ok(right)
    }

    /// Waits for what a chain node leads to; nothing if that does not come, or is not what it should be.
    fn in_time<T, E: Into<RemoteError>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<Option<T>, RemoteError> {
        match self.wait(async { tokio::time::timeout(HINT_DEADLINE, work).await })? {
            Ok(Ok(here)) => Ok(Some(here)),
            Ok(Err(error)) => match error.into() {
                error @ (RemoteError::Store(_) | RemoteError::Fetch(FetchError::Store(_) | FetchError::Stopped)) => {
                    Err(error)
                }
                _ => Ok(None),
            },
            Err(_) => Ok(None),
        }
    }

    fn newest(&self) -> MutexGuard<'_, Newest> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The CID of a metadata block, as the directory has it. All that were listed with it are here then.
    fn listed(&self, hash: &Multihash) -> Result<Cid, RemoteError> {
        let mut listing = self.listing.lock().unwrap_or_else(PoisonError::into_inner);
        for extent in [Extent::New, Extent::Whole] {
            if let Some(cid) = listing.names.get(hash) {
                return Ok(*cid);
            }
            if listing.extent == Extent::Nothing || extent == Extent::Whole && listing.extent == Extent::New {
                listing.names = self.wait(self.list(extent))??;
                listing.extent = extent;
            }
        }
        listing.names.get(hash).copied().ok_or(RemoteError::Lacks {
            directory: "blocks",
            hash: *hash,
        })
    }

    /// Of a dataset that is new here, all of a directory is wanted.
    async fn ahead(&self, directory: &Cid) -> Result<Option<AheadOf>, RemoteError> {
        match self.is_new {
            true => Ok(self.fetcher.ahead(directory).await?),
            false => Ok(None),
        }
    }

    async fn list(&self, extent: Extent) -> Result<HashMap<Multihash, Cid>, RemoteError> {
        let skip_complete = extent == Extent::New;
        let _ahead = self.ahead(&self.remote.blocks).await?;
        let (links, _) = self.fetcher.directory(self.remote.blocks, skip_complete).await?;
        let named = links
            .into_iter()
            .filter_map(|link| Some((link.name.parse().ok()?, link.cid)));
        let names: HashMap<Multihash, Cid> = named.collect();
        let cids = names.values().copied().collect();
        prefetch(
            &self.fetcher,
            &self.remote.root,
            cids,
            MAX_NEW_BLOCKS,
            MAX_NEW_BLOCK_BYTES,
        )
        .await?;
        Ok(names)
    }

    /// The DAGs of objects, if the newest chain nodes lead to all of them.
    fn locate_by_hints(&self, objects: &[Object]) -> Option<HashMap<Multihash, Located>> {
        let newest = self.newest();
        let hint = |object: &Object| {
            // Only a directory says how long the DAG of a file of several blocks is.
            let cid = newest.file(&object.hash).filter(|cid| cid.codec() == RAW)?;
            let (tsize, hinted) = (object.size, true);
            Some((object.hash, Located { cid, tsize, hinted }))
        };
        objects.iter().map(hint).collect()
    }

    /// Finds the DAGs of objects in their directories.
    async fn locate(&self, objects: &[Object]) -> Result<HashMap<Multihash, Located>, RemoteError> {
        let mut located = HashMap::new();
        for kind in ObjectKind::ALL {
            let needed: Vec<Multihash> = objects
                .iter()
                .filter(|object| object.kind == kind)
                .map(|object| object.hash)
                .collect();
            if !needed.is_empty() {
                self.locate_kind(kind, &needed, &mut located).await?;
            }
        }
        Ok(located)
    }

    async fn locate_kind(
        &self,
        kind: ObjectKind,
        needed: &[Multihash],
        located: &mut HashMap<Multihash, Located>,
    ) -> Result<(), RemoteError> {
        let root = match kind {
            ObjectKind::Slice => self.remote.data,
            ObjectKind::Checkpoint => self.remote.checkpoints,
        };
        if let Some(root) = root {
            for skip_complete in [true, false] {
                let (links, _) = self.fetcher.directory(root, skip_complete).await?;
                located.extend(links.into_iter().filter_map(|link| {
                    let hash: Multihash = link.name.parse().ok()?;
                    let (cid, tsize, hinted) = (link.cid, link.tsize, false);
                    Some((hash, Located { cid, tsize, hinted }))
                }));
                if needed.iter().all(|hash| located.contains_key(hash)) {
                    return Ok(());
                }
            }
        }
        match needed.iter().find(|hash| !located.contains_key(hash)) {
            Some(hash) => Err(RemoteError::Lacks {
                directory: kind.directory(),
                hash: *hash,
            }),
            None => Ok(()),
        }
    }

    /// Brings all objects into their place, complete and checked. `walk` began before the first of them was looked for.
    ///
    /// # Errors
    /// The first failure. Objects that were complete are in their place all the same, where the next pull finds them.
    async fn fetch(
        &self,
        objects: &[Object],
        located: &HashMap<Multihash, Located>,
        dir: &Path,
        listener: &Listener<'_>,
        walk: &Walk,
    ) -> Result<KnownFiles, ReceiveError> {
        let mut coming = futures::stream::iter(objects)
            .map(|object| async move {
                let at = Located::of(object, located)?;
                match self.fetch_one(*object, at, dir).await {
                    Err(error) if at.hinted => {
                        self.newest().give_up();
                        let listed = Located::of(object, &self.locate(std::slice::from_ref(object)).await?)?;
                        if listed.cid == at.cid {
                            return Err(error);
                        }
                        self.fetch_one(*object, listed, dir).await
                    }
                    fetched => fetched,
                }
            })
            .buffer_unordered(MAX_OBJECTS_IN_FLIGHT);
        let (mut files, mut waiting, mut bytes) = (KnownFiles::new(), Vec::new(), 0);
        let mut fetched = Ok(());
        while let Some(one) = coming.next().await {
            fetched = one.and_then(|one| {
                let size = one.object.size;
                files.insert(one.object.hash, one.entry);
                waiting.push(one);
                bytes += size;
                if waiting.len() >= TOGETHER || bytes >= TOGETHER_BYTES {
                    let placed = self.put_in_place(walk, &std::mem::take(&mut waiting));
                    placed.map_err(RemoteError::from)?;
                    bytes = 0;
                }
                Ok(tell(listener, Progress::Bytes(size))?)
            });
            if fetched.is_err() {
                break;
            }
        }
        let placed = self.put_in_place(walk, &waiting);
        fetched?;
        placed.map_err(RemoteError::from)?;
        Ok(files)
    }

    /// One object: leaves into a file of an unfinished name, which an interrupted pull goes on with; hash checked.
    async fn fetch_one(&self, object: Object, at: Located, dir: &Path) -> Result<Fetched, ReceiveError> {
        let path = object.path(dir);
        let unfinished = path.with_file_name(format!("{INCOMING_PREFIX}{}", object.hash));
        let file = self.add_file(&unfinished)?;
        let fetched = self.fetcher.file(at.cid, file, object.size).await;
        let (size, nodes) = fetched.map_err(RemoteError::from)?;
        let hashed = unfinished.clone();
        let checked = blocking(move || digest::physical_hash(&hashed)).await;
        let (found, _) = checked.map_err(RemoteError::from)?.map_err(|source| ReceiveError::Io {
            operation: "read",
            path: unfinished,
            source,
        })?;
        if size != object.size || found != object.hash {
            self.store.remove_file(file).map_err(RemoteError::from)?;
            let (expected, found) = match size == object.size {
                true => (object.hash.to_string(), found.to_string()),
                false => (format!("{} bytes", object.size), format!("{size} bytes")),
            };
            return Err(ReceiveError::Object {
                object,
                expected,
                found,
            });
        }
        Ok(Fetched {
            object,
            entry: Entry {
                cid: at.cid,
                tsize: at.tsize,
                size,
            },
            file,
            path: self.inside(&path)?.to_owned(),
            nodes,
        })
    }

    fn add_file(&self, path: &Path) -> Result<FileId, RemoteError> {
        Ok(self.store.add_file(self.inside(path)?)?)
    }

    /// A path of the workspace, relative to it.
    fn inside<'a>(&self, path: &'a Path) -> Result<&'a Path, RemoteError> {
        let inside = path.strip_prefix(self.store.root());
        Ok(inside.map_err(|_| StoreError::OutsideWorkspace(path.to_owned()))?)
    }

    /// Gives complete objects their names; the store syncs their bytes before and the names after.
    fn put_in_place(&self, walk: &Walk, fetched: &[Fetched]) -> Result<(), StoreError> {
        let renames: Vec<(FileId, &Path)> = fetched.iter().map(|one| (one.file, one.path.as_path())).collect();
        self.store.rename_files(&renames)?;
        let nodes: Vec<Cid> = fetched.iter().flat_map(|one| one.nodes.iter().copied()).collect();
        self.store.mark_complete(walk, &nodes)?;
        self.store.flush()
    }
}

/// Brings metadata blocks into the store in parallel, so that walking the chain asks nobody.
async fn prefetch(
    fetcher: &Fetcher,
    root: &Cid,
    cids: Vec<Cid>,
    max_blocks: u64,
    max_bytes: u64,
) -> Result<(), RemoteError> {
    let before = fetcher.fetched();
    let mut coming = futures::stream::iter(cids)
        .map(|cid| async move { fetcher.ensure(&cid).await })
        .buffer_unordered(MAX_NODES_IN_FLIGHT);
    while let Some(here) = coming.next().await {
        here?;
        let now = fetcher.fetched();
        if now.blocks - before.blocks > max_blocks || now.bytes - before.bytes > max_bytes {
            return Err(RemoteError::TooMuch {
                cid: *root,
                blocks: max_blocks,
                bytes: max_bytes,
            });
        }
    }
    Ok(())
}

impl Source for IpfsSource {
    fn place(&self) -> &str {
        &self.place
    }

    fn head(&self) -> Result<Option<Multihash>, SourceError> {
        Ok(Some(self.remote.head))
    }

    fn block(&self, hash: &Multihash) -> Result<Bytes, SourceError> {
        if let Some(bytes) = self.hinted(hash)? {
            return Ok(bytes);
        }
        let cid = self.listed(hash)?;
        let bytes = self.wait(small_file(&self.fetcher, cid, MAX_BLOCK_BYTES))??;
        // What is too long or no file is no block either, which its hash tells.
        Ok(bytes.unwrap_or_default().into())
    }

    fn objects(&self, objects: &[Object], arrival: &Arrival, listener: &Listener<'_>) -> Result<(), ReceiveError> {
        if self.apart {
            return self.take_apart(objects, arrival, listener);
        }
        let walk = self.store.walk();
        let mut files = KnownFiles::new();
        if !objects.is_empty() {
            // Many large ones would lie here until their turn comes, and gain nothing: they take longer than the way to them.
            let bytes: u64 = objects.iter().map(|object| object.size).sum();
            let _ahead = match self.remote.data {
                Some(data) if bytes <= MAX_AHEAD_BYTES as u64 && objects.len() > 1 => {
                    self.wait(self.ahead(&data))??
                }
                _ => None,
            };
            let located = match self.locate_by_hints(objects) {
                Some(located) => located,
                None => self.wait(self.locate(objects))??,
            };
            files = self.wait(self.fetch(objects, &located, arrival.dir(), listener, &walk))??;
        }
        if let Some(format) = self.remote.format {
            let foreseen = self.layout.foresee(arrival.id(), Foresight { format, files });
            *self.foreseen.lock().unwrap_or_else(PoisonError::into_inner) = Some(foreseen);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use odf_node::block::{Block, RAW};
    use odf_node::peer::Node;
    use odf_node::store::Blocks as _;

    use super::*;

    async fn site(dir: &Path) -> (Store, Node) {
        let store = Store::open(dir, Default::default()).unwrap();
        let peer = Node::builder(&store).unwrap();
        let peer = peer.listen(vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()]);
        let node = peer.bootstrap(Vec::new()).mdns(false).start().await.unwrap();
        (store, node)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn no_more_metadata_blocks_are_fetched_than_are_taken_at_once() {
        const BLOCKS: u64 = 20;
        const BYTES: u64 = 100;
        let dir = tempfile::tempdir().unwrap();
        let (theirs, there) = site(&dir.path().join("there")).await;
        let blocks: Vec<Block> = (0..BLOCKS)
            .map(|number| Block::new(RAW, vec![number as u8; BYTES as usize]).unwrap())
            .collect();
        theirs.put(&blocks).unwrap();
        let cids: Vec<Cid> = blocks.iter().map(|block| *block.cid()).collect();
        for (max_blocks, max_bytes, fits) in [
            (BLOCKS, BLOCKS * BYTES, true),
            (BLOCKS - 1, BLOCKS * BYTES, false),
            (BLOCKS, BLOCKS * BYTES - 1, false),
        ] {
            let here = tempfile::tempdir().unwrap();
            let (store, node) = site(here.path()).await;
            node.dial(there.listen_addrs().remove(0)).await.unwrap();
            let fetcher = Fetcher::new(store, Some(node.exchange().session()));
            let root = cids[0];
            let fetched = prefetch(&fetcher, &root, cids.clone(), max_blocks, max_bytes).await;
            match (fits, fetched) {
                (true, Ok(())) => {}
                (false, Err(RemoteError::TooMuch { cid, .. })) => assert_eq!(cid, root),
                (_, other) => panic!("{max_blocks} blocks, {max_bytes} bytes: {other:?}"),
            }
            // What is here already counts for nothing.
            prefetch(&fetcher, &root, cids[..5].to_vec(), 5, 5 * BYTES)
                .await
                .unwrap();
            node.shutdown().await;
        }
    }
}
