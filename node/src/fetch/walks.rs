//! What there is to walk over: a directory, the content of a file, everything below a root.

use bytes::Bytes;

use super::error::{FetchError, MAX_DAG_NODES};
use super::gather::{Item, Walk};
use super::nodes::Nodes;
use crate::block::{Block, Cid, DAG_CBOR, DAG_PB};
use crate::dag;
use crate::store::{Blocks as _, FileId, Leaf, Store, StoreError, Visited};
use crate::unixfs::directory::{DirectoryError, Link, Listing, MAX_LISTED};
use crate::unixfs::export::{self, ExportError, Part};

/// The nodes of a directory.
pub(super) struct Tree {
    listing: Listing,
    skip_complete: bool,
    /// Those that were looked into.
    pub(super) visited: Vec<Cid>,
    /// The entries.
    pub(super) links: Vec<Link>,
}

impl Tree {
    pub(super) fn new(root: Cid, skip_complete: bool) -> Self {
        Self {
            listing: Listing::new(root),
            skip_complete,
            visited: Vec::new(),
            links: Vec::new(),
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct TreeNode {
    cid: Cid,
    skip_complete: bool,
}

impl Item for TreeNode {
    /// Nothing of one whose entries are all here, when those are left out.
    type Here = Option<Block>;

    fn cid(&self) -> Cid {
        self.cid
    }

    fn look(&self, store: &Store) -> Result<Option<Self::Here>, FetchError> {
        if self.skip_complete && store.is_complete(&self.cid)? {
            return Ok(Some(None));
        }
        Ok(store.get(&self.cid)?.map(Some))
    }

    fn keep(store: &Store, came: &[(Self, Block)]) -> Result<Vec<Self::Here>, FetchError> {
        put(store, came)?;
        Ok(came.iter().map(|(_, block)| Some(block.clone())).collect())
    }
}

impl Walk for Tree {
    type Item = TreeNode;

    fn next(&mut self) -> Option<TreeNode> {
        let cid = self.listing.ask()?;
        let skip_complete = self.skip_complete;
        Some(TreeNode { cid, skip_complete })
    }

    fn take(&mut self, _: TreeNode, block: Option<Block>) -> Result<(), FetchError> {
        let Some(block) = block else { return Ok(()) };
        self.links.extend(self.listing.feed(&block)?);
        self.visited.push(*block.cid());
        if self.links.len() > MAX_LISTED {
            return Err(DirectoryError::TooManyEntries.into());
        }
        Ok(())
    }
}

/// The content of a file, written to its place.
pub(super) struct Content {
    open: Vec<Part>,
    file: FileId,
    limit: u64,
    /// Length of the file in bytes, once its root is here.
    pub(super) size: Option<u64>,
    /// The nodes above the leaves.
    pub(super) nodes: Vec<Cid>,
}

impl Content {
    /// Of at most `limit` bytes.
    pub(super) fn new(root: Cid, file: FileId, limit: u64) -> Self {
        Self {
            open: vec![Part::root(root)],
            file,
            limit,
            size: None,
            nodes: Vec::new(),
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Piece {
    part: Part,
    file: FileId,
    limit: u64,
}

impl Piece {
    fn open(&self, block: &Block) -> Result<export::Opened, FetchError> {
        let opened = export::open(&self.part, block)?;
        if self.part.offset.saturating_add(opened.size) > self.limit {
            return Err(ExportError::SizeMismatch { cid: self.part.cid }.into());
        }
        Ok(opened)
    }

    /// Writes a block to its place. One that is no leaf is put beside the file already.
    fn write(&self, store: &Store, block: &Block, opened: &export::Opened) -> Result<(), StoreError> {
        if self.part.is_raw() {
            store.write_leaf(self.file, self.part.offset, block)
        } else if opened.data.is_empty() {
            Ok(())
        } else {
            // Content inside a dag-pb node is no block of its own, so nothing can refer to its place.
            store.write_at(self.file, self.part.offset, &opened.data)
        }
    }
}

impl Item for Piece {
    type Here = export::Opened;

    fn cid(&self) -> Cid {
        self.part.cid
    }

    fn look(&self, store: &Store) -> Result<Option<export::Opened>, FetchError> {
        if let (true, Some(size)) = (self.part.is_raw(), self.part.size)
            && is_in_place(store, &self.part, self.file, size)?
        {
            return Ok(Some(export::Opened {
                size,
                data: Bytes::new(),
                children: Vec::new(),
            }));
        }
        let Some(block) = store.get(&self.part.cid)? else {
            return Ok(None);
        };
        let opened = self.open(&block)?;
        self.write(store, &block, &opened)?;
        Ok(Some(opened))
    }

    fn keep(store: &Store, came: &[(Self, Block)]) -> Result<Vec<export::Opened>, FetchError> {
        let nodes = came.iter().filter(|(piece, _)| !piece.part.is_raw());
        let nodes: Vec<Block> = nodes.map(|(_, block)| block.clone()).collect();
        store.put(&nodes)?;
        let write = |(piece, block): &(Self, Block)| {
            let opened = piece.open(block)?;
            piece.write(store, block, &opened)?;
            Ok(opened)
        };
        came.iter().map(write).collect()
    }
}

impl Walk for Content {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let (file, limit) = (self.file, self.limit);
        self.open.pop().map(|part| Piece { part, file, limit })
    }

    fn take(&mut self, piece: Piece, opened: export::Opened) -> Result<(), FetchError> {
        self.size.get_or_insert(opened.size);
        if !piece.part.is_raw() {
            self.nodes.push(piece.part.cid);
        }
        self.open.extend(opened.children.into_iter().rev());
        Ok(())
    }
}

/// Everything below a root, except what is marked complete.
pub(super) struct Everything {
    root: Cid,
    open: Vec<Cid>,
    seen: Visited,
    /// The nodes that were looked into.
    pub(super) nodes: Nodes,
}

impl Everything {
    pub(super) fn below(root: Cid) -> Self {
        let mut seen = Visited::new();
        seen.insert(&root);
        Self {
            root,
            open: vec![root],
            seen,
            nodes: Nodes::default(),
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Any(Cid);

impl Any {
    fn has_links(&self) -> bool {
        matches!(self.0.codec(), DAG_PB | DAG_CBOR)
    }

    fn links(&self, block: &Block) -> Result<Option<Vec<Cid>>, FetchError> {
        let links = || dag::links(block).map_err(FetchError::from);
        self.has_links().then(links).transpose()
    }
}

impl Item for Any {
    /// The links of a node; nothing of what has none, or is complete.
    type Here = Option<Vec<Cid>>;

    fn cid(&self) -> Cid {
        self.0
    }

    fn look(&self, store: &Store) -> Result<Option<Self::Here>, FetchError> {
        if !self.has_links() {
            return Ok(store.has(&self.0)?.then_some(None));
        }
        if store.is_complete(&self.0)? {
            return Ok(Some(None));
        }
        let block = store.get(&self.0)?;
        block.map(|block| self.links(&block)).transpose()
    }

    fn keep(store: &Store, came: &[(Self, Block)]) -> Result<Vec<Self::Here>, FetchError> {
        put(store, came)?;
        came.iter().map(|(item, block)| item.links(block)).collect()
    }
}

impl Walk for Everything {
    type Item = Any;

    fn next(&mut self) -> Option<Any> {
        self.open.pop().map(Any)
    }

    fn take(&mut self, Any(cid): Any, links: Option<Vec<Cid>>) -> Result<(), FetchError> {
        let Some(links) = links else { return Ok(()) };
        self.nodes.push(cid);
        let new: Vec<Cid> = links.into_iter().filter(|link| self.seen.insert(link)).collect();
        // The first of them is the next one: the order in which a gateway gives a DAG.
        self.open.extend(new.into_iter().rev());
        if self.seen.len() > MAX_DAG_NODES {
            return Err(FetchError::TooManyNodes { root: self.root });
        }
        Ok(())
    }
}

fn put<I>(store: &Store, came: &[(I, Block)]) -> Result<(), StoreError> {
    let blocks: Vec<Block> = came.iter().map(|(_, block)| block.clone()).collect();
    store.put(&blocks)
}

/// Whether a leaf is at its place in the file already, as after an interruption. If the store has it elsewhere only, or
/// not at all, the file is not read.
fn is_in_place(store: &Store, part: &Part, file: FileId, size: u64) -> Result<bool, StoreError> {
    let Ok(len) = u32::try_from(size) else { return Ok(false) };
    if !store.has(&part.cid)? {
        return Ok(false);
    }
    let there = store.adopt_references(
        file,
        &[Leaf {
            cid: part.cid,
            offset: part.offset,
            len,
        }],
    )?;
    Ok(there == [true])
}
