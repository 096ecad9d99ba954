//! A dataset as an IPLD DAG (`docs/formats.md`).
//!
//! The DAG is a function of the chain and its files alone, so whoever has a dataset derives the same root, and a
//! puller serves what the publisher serves. Nothing is copied into the DAG: metadata blocks are parts of the chain
//! file, leaves are parts of slices and checkpoints, and only the nodes above them are kept in the block store.
//!
//! [`Layout::update`] goes on from the head it saw last, so an append costs its new rows, one chain node and the
//! directory nodes on the way to the new names. It writes [`Format::CURRENT`]; only what was pulled under a root of an older
//! format is laid out in that one, so that whoever follows a name serves what it stands for.

mod arrived;
mod chain_node;
mod cut;
mod error;
mod format;
mod leaves;
mod mirror;
mod moved;
mod whole;

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use ipld_core::ipld::Ipld;
use odf_node::add::{AddOptions, add_in_place, add_in_place_cut};
use odf_node::block::{Block, Cid, RAW};
use odf_node::store::{Blocks as _, FileId, Leaf, Store, Table, Walk};
use odf_node::unixfs::import::FileBuilder;
use odf_node::unixfs::{Entry, Profile, directory, import, update};
use serde::{Deserialize, Serialize};

use self::arrived::ArrivedLeaves;
use self::chain_node::{Links, chain_node, encode};
pub use self::cut::Cut;
use self::cut::WHOLE_BYTES;
pub use self::error::LayoutError;
pub use self::format::{Format, PROFILE};
pub use self::leaves::FileLeaf;
use crate::standing;
use odf_dataset::{BlockPlace, Dataset, StoredBlock};
use odf_metadata::{DatasetId, Multihash};

/// How many new blocks are put into the store at once.
const BATCH: usize = 1024;
/// A file of no more bytes is hashed without workers: to start them takes longer than they save.
const ALONE_BYTES: u64 = 4 << 20;
/// How many nodes of a long chain are marked complete at once: each time what was put is synced.
const MARKED_AT_ONCE: usize = 16 * BATCH;
/// Table that holds where the layout of each dataset stands.
const TABLE: &str = "odf.layout";

/// A dataset laid out at one head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// The DAG's root: what a name points to.
    pub cid: Cid,
    /// The form it is in.
    #[serde(default = "Format::first")]
    pub format: Format,
    /// The metadata block it was made at.
    pub head: Multihash,
    /// Where that block lies in the chain file.
    place: BlockPlace,
    /// Chain node of the head.
    pub chain_node: Cid,
    /// UnixFS directory in the layout of the Simple Transfer Protocol.
    pub files: Cid,
    blocks: Saved,
    data: Saved,
    checkpoints: Saved,
}

/// A directory as it is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Saved {
    cid: Cid,
    tsize: u64,
}

impl From<Entry> for Saved {
    fn from(entry: Entry) -> Self {
        Self {
            cid: entry.cid,
            tsize: entry.tsize,
        }
    }
}

impl From<Saved> for Entry {
    fn from(saved: Saved) -> Self {
        Self {
            cid: saved.cid,
            tsize: saved.tsize,
            size: 0,
        }
    }
}

/// Slices and checkpoints whose DAG is known because it was just fetched and checked leaf by leaf, by physical hash.
pub(crate) type KnownFiles = HashMap<Multihash, Entry>;

/// What an update of a layout can go by beside the dataset.
#[derive(Clone)]
pub(crate) struct Foresight {
    /// The format of the root that is to come out.
    pub(crate) format: Format,
    /// Files that are in the store already, leaf by leaf, and need not be read again.
    pub(crate) files: KnownFiles,
}

impl Default for Foresight {
    fn default() -> Self {
        Self {
            format: Format::CURRENT,
            files: KnownFiles::new(),
        }
    }
}

type Foresights = Arc<Mutex<HashMap<DatasetId, Foresight>>>;

/// Lays out datasets of one workspace. Cheap to clone.
#[derive(Clone)]
pub struct Layout {
    store: Store,
    table: Table,
    foreseen: Foresights,
    arrived: ArrivedLeaves,
}

/// While it lives, updates of a layout go by what was foreseen. See [`Layout::foresee`].
pub(crate) struct Foreseen {
    id: DatasetId,
    all: Foresights,
}

impl Drop for Foreseen {
    fn drop(&mut self) {
        lock(&self.all).remove(&self.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Layout {
    /// The layouts kept in `store`.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn open(store: &Store) -> Result<Self, LayoutError> {
        Ok(Self {
            store: store.clone(),
            table: store.table(TABLE)?,
            foreseen: Arc::default(),
            arrived: ArrivedLeaves::default(),
        })
    }

    /// Tells what the next updates of a dataset's layout will meet. There is one such foresight for a dataset at a time.
    pub(crate) fn foresee(&self, id: DatasetId, foresight: Foresight) -> Foreseen {
        lock(&self.foreseen).insert(id, foresight);
        Foreseen {
            id,
            all: Arc::clone(&self.foreseen),
        }
    }

    /// The layout as it was made last, whatever the head is now.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn latest(&self, id: &DatasetId) -> Result<Option<Root>, LayoutError> {
        let saved = self.table.get(&id.to_bytes())?;
        // A form of an older version counts as none: the layout is made again.
        Ok(saved.and_then(|bytes| serde_ipld_dagcbor::from_slice(&bytes).ok()))
    }

    /// The layout as it was made last, if the chain still holds the block that it was made at, and its nodes are here.
    ///
    /// # Errors
    /// The index or the chain cannot be read.
    pub fn latest_of(&self, dataset: &Dataset) -> Result<Option<Root>, LayoutError> {
        Ok(match self.latest(&dataset.id())? {
            Some(root) if self.is_whole(dataset, &root)? => Some(root),
            _ => None,
        })
    }

    /// Forgets a dataset, and what is remembered of its roots.
    ///
    /// # Errors
    /// The index cannot be written.
    pub fn forget(&self, id: &DatasetId) -> Result<(), LayoutError> {
        self.table.remove(&id.to_bytes())?;
        standing::forget(&self.store, id);
        Ok(())
    }

    /// Lays out everything up to the dataset's head and returns the root.
    ///
    /// A layout of another format than is written now is made again in whole, once: its chain is read, and of its slices and
    /// checkpoints those that the two formats may cut in different ways. Afterwards all blocks of the DAG are in the store,
    /// durable, and marked complete.
    ///
    /// # Errors
    /// See [`LayoutError`].
    pub fn update(&self, dataset: &Dataset) -> Result<Root, LayoutError> {
        let foresight = lock(&self.foreseen).get(&dataset.id()).cloned().unwrap_or_default();
        let before = self.latest_of(dataset)?;
        let is_at_head = |root: &&Root| root.head == *dataset.head() && root.format == foresight.format;
        if let Some(root) = before.as_ref().filter(is_at_head) {
            return Ok(root.clone());
        }
        let root = match before {
            // Another history, or nodes that the index believed to be here and are not.
            None if self.latest(&dataset.id())?.is_some() => self.anew(dataset, &foresight)?,
            None => Work::new(self, dataset, foresight).run(None)?,
            Some(before) => match self.go_on(dataset, before, &foresight) {
                Err(LayoutError::Directory(reason)) => {
                    tracing::warn!(dataset = %dataset.id(), reason, "a dataset is laid out anew");
                    self.anew(dataset, &foresight)?
                }
                other => other?,
            },
        };
        self.table.insert(
            &dataset.id().to_bytes(),
            &serde_ipld_dagcbor::to_vec(&root).map_err(|error| LayoutError::Encode(error.to_string()))?,
        )?;
        self.store.flush()?;
        Ok(root)
    }

    /// Goes on from a layout that is whole, of whichever format.
    fn go_on(&self, dataset: &Dataset, before: Root, foresight: &Foresight) -> Result<Root, LayoutError> {
        let mut foresight = foresight.clone();
        if before.format == foresight.format {
            return Work::new(self, dataset, foresight).run(Some(before));
        }
        tracing::info!(dataset = %dataset.id(), from = before.format.number(), to = foresight.format.number(), "a dataset goes over to another layout format");
        let are_cut_alike = before.format.cut() == foresight.format.cut();
        for directory in [before.data.cid, before.checkpoints.cid] {
            for link in directory::list(&directory, &mut |cid| self.node(cid))? {
                if !are_cut_alike && (link.cid.codec() != RAW || link.tsize > WHOLE_BYTES) {
                    continue;
                }
                let entry = Entry {
                    cid: link.cid,
                    tsize: link.tsize,
                    // No directory says, and none needs it.
                    size: 0,
                };
                if let Ok(hash) = link.name.parse() {
                    foresight.files.entry(hash).or_insert(entry);
                }
            }
        }
        Work::new(self, dataset, foresight).run(None)
    }
}

/// One update.
struct Work<'a> {
    store: &'a Store,
    dataset: &'a Dataset,
    foresight: Foresight,
    arrived: &'a ArrivedLeaves,
    /// UnixFS profile of the directories.
    directories: Profile,
    /// Begun before anything was taken to be here.
    walk: Walk,
    /// New blocks that are not in the store yet.
    pending: Vec<Block>,
    /// New nodes with links, to be marked complete.
    nodes: Vec<Cid>,
    /// Whether what the index says is here is read before it is believed.
    in_doubt: bool,
    /// New entries of the three directories, by the hash that is the name.
    blocks: Vec<(Multihash, Saved)>,
    data: Vec<(Multihash, Saved)>,
    checkpoints: Vec<(Multihash, Saved)>,
}

impl<'a> Work<'a> {
    fn new(layout: &'a Layout, dataset: &'a Dataset, foresight: Foresight) -> Self {
        Self {
            store: &layout.store,
            dataset,
            directories: foresight.format.directories(),
            foresight,
            arrived: &layout.arrived,
            walk: layout.store.walk(),
            pending: Vec::new(),
            nodes: Vec::new(),
            in_doubt: false,
            blocks: Vec::new(),
            data: Vec::new(),
            checkpoints: Vec::new(),
        }
    }

    fn run(mut self, before: Option<Root>) -> Result<Root, LayoutError> {
        let mut last = before.as_ref().map(|root| (root.chain_node, root.head, root.place));
        let chain_file = self.register(&self.dataset.chain_path())?;
        let mut parts = Vec::new();
        for stored in self.dataset.blocks_after(last.map(|(_, _, place)| place))? {
            let stored = stored?;
            let bytes = stored.block.bytes();
            let raw = import::hash_leaf(&PROFILE, bytes)?;
            parts.push(Leaf {
                cid: raw.cid,
                offset: stored.place.offset,
                len: stored.place.len,
            });
            let entry = Saved {
                cid: raw.cid,
                tsize: raw.tsize,
            };
            self.blocks.push((*stored.block.hash(), entry));
            let node = self.chain_node(&stored, raw.cid, last.map(|(cid, ..)| cid))?;
            last = Some((node, *stored.block.hash(), stored.place));
            if parts.len() == BATCH {
                self.store.put_references(chain_file, &parts)?;
                parts.clear();
                if self.nodes.len() >= MARKED_AT_ONCE {
                    self.mark_complete()?;
                }
            }
        }
        self.store.put_references(chain_file, &parts)?;
        let last = last.ok_or_else(|| LayoutError::Directory("the chain has no block".to_owned()))?;
        self.root(before, last)
    }

    /// Derives the chain node of a metadata block and lays out the files it names.
    fn chain_node(&mut self, stored: &StoredBlock, raw: Cid, prev: Option<Cid>) -> Result<Cid, LayoutError> {
        let event = &stored.block.block().event;
        let mut links = Links {
            prev,
            ..Links::default()
        };
        if let Some(slice) = event.new_data() {
            let entry = self.file(
                &slice.physical_hash,
                &self.dataset.slice_path(&slice.physical_hash),
                slice.size,
            )?;
            links.data = Some(entry.cid);
            self.data.push((slice.physical_hash, entry.into()));
        }
        if let Some(file) = event.new_checkpoint() {
            let path = self.dataset.checkpoint_path(&file.physical_hash);
            let entry = self.file(&file.physical_hash, &path, file.size)?;
            links.checkpoint = Some(entry.cid);
            self.checkpoints.push((file.physical_hash, entry.into()));
        }
        let node = chain_node(&stored.block, raw, links)?;
        let cid = *node.cid();
        self.add(node)?;
        Ok(cid)
    }

    fn register(&self, path: &Path) -> Result<FileId, LayoutError> {
        let inside = path
            .strip_prefix(self.store.root())
            .map_err(|_| LayoutError::Outside(path.to_owned()))?;
        Ok(self.store.add_file(inside)?)
    }

    /// Registers a file's leaves as parts of it and makes the nodes above them.
    fn file(&mut self, hash: &Multihash, path: &Path, expected: u64) -> Result<Entry, LayoutError> {
        if let Some(entry) = self.foresight.files.get(hash) {
            return Ok(*entry);
        }
        let found = len_of(path)?;
        if found != expected {
            return Err(LayoutError::Length {
                path: path.to_owned(),
                found,
                expected,
            });
        }
        match self.arrived.take(&self.dataset.id(), hash, found) {
            Some(leaves) => {
                let file = self.register(path)?;
                self.refer(file, leaves.each().map(|(_, leaf)| Ok(leaf)))
            }
            None => self.content(path, found, self.foresight.format.cut()),
        }
    }

    /// Refers to the leaves of a file, and makes the nodes above them.
    fn refer(
        &mut self,
        file: FileId,
        leaves: impl Iterator<Item = Result<import::Leaf, LayoutError>>,
    ) -> Result<Entry, LayoutError> {
        let (mut builder, mut nodes) = (FileBuilder::new(&PROFILE), Vec::new());
        let (mut parts, mut offset) = (Vec::new(), 0);
        for leaf in leaves {
            let leaf = leaf?;
            builder.push(leaf, &mut nodes)?;
            parts.push(Leaf {
                cid: leaf.cid,
                offset,
                len: leaf.size as u32,
            });
            offset += leaf.size;
        }
        let entry = builder.finish(&mut nodes)?;
        self.store.put_references(file, &parts)?;
        nodes.into_iter().try_for_each(|node| self.add(node))?;
        Ok(entry)
    }

    /// As [`Self::file`], for a file of this length that is not looked for elsewhere.
    fn content(&mut self, path: &Path, len: u64, cut: Cut) -> Result<Entry, LayoutError> {
        let file = self.register(path)?;
        let unreadable = |source| LayoutError::Read {
            path: path.to_owned(),
            source,
        };
        if len <= ALONE_BYTES {
            let content = std::fs::read(path).map_err(unreadable)?;
            let lengths = cut.of_bytes(&content).map_err(unreadable)?.unwrap_or_else(|| {
                let chunks = import::chunks(&PROFILE, content.len() as u64);
                chunks.map(|(_, len)| len).collect()
            });
            let mut rest = &content[..];
            let leaves = lengths.into_iter().map(|len| {
                let (leaf, behind) = rest.split_at(len.min(rest.len()));
                rest = behind;
                Ok(import::hash_leaf(&PROFILE, leaf)?)
            });
            return self.refer(file, leaves);
        }
        let lengths = File::open(path).and_then(|opened| cut.of_file(&opened, len));
        let options = AddOptions::new(PROFILE);
        let added = match lengths.map_err(unreadable)? {
            Some(lengths) => add_in_place_cut(self.store, file, &options, &lengths)?,
            None => add_in_place(self.store, file, &options)?,
        };
        self.nodes.push(added.entry.cid);
        Ok(added.entry)
    }

    /// The directories with their new entries, and the root above them.
    fn root(mut self, before: Option<Root>, last: (Cid, Multihash, BlockPlace)) -> Result<Root, LayoutError> {
        let (chain_node, head, place) = last;
        // Everything that directory updates may read has to be in the store.
        self.mark_complete()?;
        let (blocks, data, checkpoints) = match &before {
            Some(root) => (Some(root.blocks.cid), Some(root.data.cid), Some(root.checkpoints.cid)),
            None => (None, None, None),
        };
        let [names, slices, states] = [&mut self.blocks, &mut self.data, &mut self.checkpoints].map(std::mem::take);
        let blocks = self.directory(blocks, names)?;
        let data = self.directory(data, slices)?;
        let checkpoints = self.directory(checkpoints, states)?;
        let (leaf, block) = import::leaf(&PROFILE, Bytes::from(head.to_string()))?;
        self.add(block)?;
        let refs = self.build(vec![(
            "head".to_owned(),
            Entry {
                cid: leaf.cid,
                tsize: leaf.tsize,
                size: leaf.size,
            },
        )])?;
        let named = [
            ("blocks", blocks),
            ("checkpoints", checkpoints),
            ("data", data),
            ("refs", refs),
        ];
        let files = self.build(named.iter().map(|(name, entry)| ((*name).to_owned(), *entry)))?;

        let mut map: std::collections::BTreeMap<String, Ipld> = named
            .iter()
            .map(|(name, entry)| ((*name).to_owned(), Ipld::Link(entry.cid)))
            .collect();
        map.insert("odf".to_owned(), Ipld::Integer(self.foresight.format.number().into()));
        map.insert("id".to_owned(), Ipld::String(self.dataset.id().to_string()));
        map.insert("head".to_owned(), Ipld::Link(chain_node));
        map.insert("files".to_owned(), Ipld::Link(files.cid));
        let root = encode(&Ipld::Map(map))?;
        let cid = *root.cid();
        self.add(root)?;
        self.mark_complete()?;
        let (blocks, data, checkpoints) = (blocks.into(), data.into(), checkpoints.into());
        Ok(Root {
            cid,
            format: self.foresight.format,
            head,
            place,
            chain_node,
            files: files.cid,
            blocks,
            data,
            checkpoints,
        })
    }

    fn directory(&mut self, root: Option<Cid>, mut added: Vec<(Multihash, Saved)>) -> Result<Entry, LayoutError> {
        // Two metadata blocks may name one file.
        added.sort_unstable_by_key(|(hash, _)| *hash);
        added.dedup_by_key(|(hash, _)| *hash);
        let entries = added
            .into_iter()
            .map(|(hash, saved)| (hash.to_string(), Entry::from(saved)));
        let Some(root) = root else {
            return self.build(entries);
        };
        let store = self.store.clone();
        let mut load = |cid: &Cid| -> Result<Block, LayoutError> {
            store
                .get(cid)?
                .ok_or_else(|| LayoutError::Directory(format!("{cid} is missing")))
        };
        let changes = entries.map(|(name, entry)| (name, Some(entry)));
        let updated = update::update(&self.directories, &root, changes, &mut load)?;
        for block in updated.blocks {
            self.add(block)?;
        }
        Ok(updated.entry)
    }

    fn build(&mut self, entries: impl IntoIterator<Item = (String, Entry)>) -> Result<Entry, LayoutError> {
        let (profile, mut added) = (self.directories, Ok(()));
        let entry = directory::build_into(&profile, entries, &mut |block| {
            if added.is_ok() {
                added = self.add(block);
            }
        })?;
        added.map(|()| entry)
    }

    /// Puts what is pending, and marks the nodes made so far. What is below them has to be put.
    fn mark_complete(&mut self) -> Result<(), LayoutError> {
        self.doubt_pending()?;
        self.store.put_complete(&self.walk, &self.pending, &self.nodes)?;
        self.pending.clear();
        self.nodes.clear();
        Ok(())
    }

    fn add(&mut self, block: Block) -> Result<(), LayoutError> {
        if block.cid().codec() != RAW {
            self.nodes.push(*block.cid());
        }
        self.pending.push(block);
        if self.pending.len() >= BATCH {
            self.flush_pending()
        } else {
            Ok(())
        }
    }

    fn flush_pending(&mut self) -> Result<(), LayoutError> {
        self.doubt_pending()?;
        self.store.put(&self.pending)?;
        self.pending.clear();
        Ok(())
    }

    /// Where the index is not believed: reading drops the places of blocks that are not there, so that they are written again.
    fn doubt_pending(&self) -> Result<(), LayoutError> {
        if self.in_doubt {
            for block in &self.pending {
                self.store.get(block.cid())?;
            }
        }
        Ok(())
    }
}

/// Length of a file in bytes.
fn len_of(path: &Path) -> Result<u64, LayoutError> {
    let found = std::fs::metadata(path).map_err(|source| LayoutError::Read {
        path: path.to_owned(),
        source,
    })?;
    Ok(found.len())
}
