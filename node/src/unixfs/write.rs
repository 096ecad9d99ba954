//! Bytes written into a file that exists: over what it has, and behind its end.
//!
//! The outcome has the CID that Kubo's `ipfs files write` gives. What is overwritten keeps the shape of the file. What comes
//! behind the end follows the trickle layout: a node has [`Profile::max_links`] leaves first, then subtrees, four of
//! each depth. Each write continues where the file ends, and a leaf that is not full is not filled up.

use bytes::Bytes;
use cid::{Cid, Version};

use super::export::MAX_FILE_DEPTH;
use super::node::{Data, Kind, Mtime, NodeError, decode};
use super::{Entry, Profile};
use crate::block::{Block, BlockError, RAW};
use crate::dag::{PbLink, PbNode};

/// Subtrees of one depth that a node gets before it gets deeper ones.
const REPEATS: usize = 4;
/// Length of the leaves between the end of a file and a write behind it.
const HOLE_CHUNK: u64 = 4096;
/// How many bytes Kubo writes at once, except for the last of a stream: it reads 32 KiB at a time until it has more than 2 MiB.
/// Each such write ends with a leaf, so longer ones would give other CIDs.
pub const BATCH_BYTES: usize = (2 << 20) + (32 << 10);
/// How far behind the end of a file a write may begin.
pub const MAX_HOLE_BYTES: u64 = 1 << 30;

/// Why nothing could be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError<E> {
    /// The caller could not load a block.
    #[error("a block of the file cannot be loaded")]
    Load(#[source] E),
    /// A block of the file is not what it should be.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A node does not fit into a block.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// A directory, a symlink, or a part of either.
    #[error("{cid} is not a file")]
    NotAFile {
        /// The block.
        cid: Cid,
    },
    /// Nodes are nested deeper than [`MAX_FILE_DEPTH`], or their lengths do not go together.
    #[error("{cid} is no node of a file that can be written to: {reason}")]
    Damaged {
        /// The block.
        cid: Cid,
        /// What is wrong.
        reason: &'static str,
    },
    /// More than [`MAX_HOLE_BYTES`] behind the end.
    #[error(
        "a write may begin at most {MAX_HOLE_BYTES} bytes behind the end of a file of {size} bytes, not at {offset}"
    )]
    FarBehind {
        /// Length of the file.
        size: u64,
        /// Where it should have begun.
        offset: u64,
    },
}

/// A file that is being written to.
///
/// Memory is that of the blocks that were made and not [taken](Self::take).
pub struct FileWriter<'a, E> {
    profile: Profile,
    load: super::directory::Load<'a, E>,
    root: Block,
    made: Vec<Block>,
}

impl<'a, E> FileWriter<'a, E> {
    /// Begins with the file that `root` is. New leaves have the profile's form and length, new nodes its version.
    ///
    /// # Errors
    /// It is no file.
    pub fn open(profile: &Profile, root: Block, load: super::directory::Load<'a, E>) -> Result<Self, WriteError<E>> {
        if root.cid().codec() != RAW {
            Node::open(&root)?;
        }
        Ok(Self {
            profile: *profile,
            load,
            root,
            made: Vec::new(),
        })
    }

    /// An empty file, as the beginning of a new one.
    ///
    /// # Errors
    /// None in practice: the block has a few bytes.
    pub fn empty(profile: &Profile) -> Result<Block, BlockError> {
        Node::new(profile.version).seal().map(|(block, _)| block)
    }

    /// Length of the file in bytes.
    ///
    /// # Errors
    /// It is no file.
    pub fn size(&self) -> Result<u64, WriteError<E>> {
        match self.root.cid().codec() {
            RAW => Ok(self.root.data().len() as u64),
            _ => Ok(Node::open(&self.root)?.data.content_len()),
        }
    }

    /// Takes away what the file has.
    ///
    /// # Errors
    /// A block cannot be loaded, or is not what it should be.
    pub fn truncate(&mut self) -> Result<(), WriteError<E>> {
        if self.size()? == 0 {
            return Ok(());
        }
        let (root, _) = self.truncated(self.root.clone(), 0)?;
        self.root = root;
        Ok(())
    }

    /// Writes bytes at an offset: over what is there, the rest behind the end. Between the end and an offset behind it come
    /// zeros.
    ///
    /// # Errors
    /// A block cannot be loaded, or is not what it should be; [`WriteError::FarBehind`]. The file is as it was then.
    pub fn write_at(&mut self, offset: u64, bytes: &Bytes) -> Result<(), WriteError<E>> {
        let size = self.size()?;
        let hole = offset.saturating_sub(size);
        if hole > MAX_HOLE_BYTES {
            return Err(WriteError::FarBehind { size, offset });
        }
        if hole > 0 {
            self.append(Supply::Zeros(hole))?;
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let mut rest = bytes.clone();
        let (root, _) = self.overwritten(self.root.clone(), offset, &mut rest, 0)?;
        self.root = root;
        if !rest.is_empty() {
            let chunk = self.profile.chunk_bytes.max(1);
            self.append(Supply::Bytes { rest, chunk })?;
        }
        Ok(())
    }

    /// The blocks that were made since this was called last, each below what links to it. The root is the last after
    /// [`finish`](Self::finish) only.
    pub fn take(&mut self) -> Vec<Block> {
        std::mem::take(&mut self.made)
    }

    /// The file as it is now, with the blocks that were not taken; the root is the last. One that carries a time has `now`.
    ///
    /// # Errors
    /// A block cannot be loaded.
    pub fn finish(mut self, now: Mtime) -> Result<(Entry, Vec<Block>), WriteError<E>> {
        if self.root.cid().codec() != RAW {
            let mut node = Node::open(&self.root)?;
            if let Some(only) = node.only_leaf().filter(|_| self.profile.raw_leaves) {
                // As it would be had it been added.
                self.root = self.block(&only)?;
            } else if let Some(mtime) = node.data.mtime.as_mut() {
                *mtime = now;
                self.root = node.seal()?.0;
            }
        }
        let (size, links) = match self.root.cid().codec() {
            RAW => (self.root.data().len() as u64, 0),
            _ => {
                let node = Node::open(&self.root)?;
                (node.data.content_len(), node.node.links_tsize())
            }
        };
        let entry = Entry {
            cid: *self.root.cid(),
            tsize: links.saturating_add(self.root.data().len() as u64),
            size,
        };
        self.made.push(self.root);
        Ok((entry, self.made))
    }

    fn block(&mut self, cid: &Cid) -> Result<Block, WriteError<E>> {
        match self.made.iter().rev().find(|block| block.cid() == cid) {
            Some(block) => Ok(block.clone()),
            None => (self.load)(cid).map_err(WriteError::Load),
        }
    }

    fn made(&mut self, block: Block) {
        if self.made.last().is_none_or(|last| last.cid() != block.cid()) {
            self.made.push(block);
        }
    }

    /// What is left of a node without its content: its first leaf, empty, and the nodes above that. Gives the length of the
    /// blocks below it, too.
    fn truncated(&mut self, block: Block, level: u32) -> Result<(Block, u64), WriteError<E>> {
        check_level(&block, level)?;
        if block.cid().codec() == RAW {
            return Ok((Block::new(RAW, Bytes::new())?, 0));
        }
        let mut node = Node::open(&block)?;
        node.data.filesize = Some(0);
        if node.data.data.is_some() {
            node.data.data = Some(Bytes::new());
        }
        // What was cut off is not said to be of the version of the rest.
        if node.node.links.is_empty() {
            node.version = Version::V0;
        }
        let mut parts = node.node.links.iter().zip(&node.data.blocksizes).enumerate();
        let first = parts.find(|(_, (_, size))| **size > 0);
        if let Some((first, cid)) = first.map(|(first, (link, _))| (first, link.cid)) {
            let child = self.block(&cid)?;
            let (child, below) = self.truncated(child, level + 1)?;
            node.node.links.truncate(first);
            node.data.blocksizes.truncate(first);
            node.push(Part {
                cid: *child.cid(),
                tsize: below.saturating_add(child.data().len() as u64),
                size: 0,
            });
            self.made(child);
        }
        let below = node.node.links_tsize();
        Ok((node.seal()?.0, below))
    }

    /// A node with what `rest` begins with in the place of what it has from `offset` on. What does not fit is left in `rest`.
    fn overwritten(
        &mut self,
        block: Block,
        offset: u64,
        rest: &mut Bytes,
        level: u32,
    ) -> Result<(Block, u64), WriteError<E>> {
        check_level(&block, level)?;
        if block.cid().codec() == RAW {
            let size = block.data().len() as u64;
            return Ok((Block::new(RAW, over(block.data(), offset, rest))?, size));
        }
        let mut node = Node::open(&block)?;
        let own = node.data.data.clone().unwrap_or_default();
        if let Some(bytes) = node.data.data.as_mut().filter(|own| offset < own.len() as u64) {
            *bytes = over(&own, offset, rest);
        }
        let mut begin = own.len() as u64;
        for (link, size) in node.node.links.iter_mut().zip(&node.data.blocksizes) {
            let end = begin.saturating_add(*size);
            if rest.is_empty() {
                break;
            }
            if offset < end {
                let cid = link.cid;
                let child = self.block(&cid)?;
                let (child, there) = self.overwritten(child, offset.saturating_sub(begin), rest, level + 1)?;
                if there != *size {
                    return Err(WriteError::Damaged {
                        cid,
                        reason: "it has another length than the node above it says",
                    });
                }
                link.cid = *child.cid();
                self.made(child);
            }
            begin = end;
        }
        let size = node.data.content_len();
        Ok((node.seal()?.0, size))
    }

    /// Continues the file behind its end.
    fn append(&mut self, mut supply: Supply) -> Result<(), WriteError<E>> {
        let mut node = match self.root.cid().codec() {
            RAW => {
                let size = self.root.data().len() as u64;
                let mut node = Node::new(self.profile.version);
                let cid = *self.root.cid();
                node.push(Part { cid, tsize: size, size });
                let leaf = self.root.clone();
                self.made(leaf);
                self.profile.raw_leaves = true;
                node
            }
            _ => Node::open(&self.root)?,
        };
        let (mut depth, repeat) = self.reached(&node);
        if depth == 0 {
            self.fill_leaves(&mut node, &mut supply)?;
            depth = 1;
        }
        self.fill_last(&mut node, depth - 1, repeat, &mut supply, 0)?;
        depth += 1;
        while !supply.is_empty() {
            self.fill_repeats(&mut node, 0, depth, &mut supply)?;
            depth += 1;
        }
        self.root = node.seal()?.0;
        Ok(())
    }

    /// Which depth the subtrees have that a node gets next, and how many it has of that depth; 0 if it gets leaves. The depths
    /// that are continued from are Kubo's, one more than a file laid out in one go has at some points.
    fn reached(&self, node: &Node) -> (i64, usize) {
        match node.node.links.len().checked_sub(self.width()) {
            None => (0, 0),
            Some(subtrees) => ((subtrees / REPEATS + 1) as i64, subtrees % REPEATS),
        }
    }

    fn width(&self) -> usize {
        self.profile.max_links.max(1)
    }

    fn fill_leaves(&mut self, node: &mut Node, supply: &mut Supply) -> Result<(), WriteError<E>> {
        while node.node.links.len() < self.width()
            && let Some(bytes) = supply.next()
        {
            let size = bytes.len() as u64;
            let leaf = match self.profile.raw_leaves {
                true => Block::new(RAW, bytes)?,
                false => {
                    let data = Data {
                        data: Some(bytes),
                        filesize: Some(size),
                        ..Data::new(Kind::Raw)
                    };
                    let leaf = PbNode {
                        links: Vec::new(),
                        data: Some(data.encode().into()),
                    };
                    self.profile.node(leaf.encode())?
                }
            };
            node.push(Part {
                cid: *leaf.cid(),
                tsize: leaf.data().len() as u64,
                size,
            });
            self.made(leaf);
        }
        Ok(())
    }

    /// Adds subtrees of one depth, as long as there is something to put into them and they are not as many as they may be.
    fn fill_repeats(
        &mut self,
        node: &mut Node,
        from: usize,
        depth: i64,
        supply: &mut Supply,
    ) -> Result<(), WriteError<E>> {
        for _ in from..REPEATS {
            if supply.is_empty() {
                break;
            }
            let part = self.filled(depth, supply)?;
            node.push(part);
        }
        Ok(())
    }

    /// A new subtree: leaves, and subtrees of less depth.
    fn filled(&mut self, depth: i64, supply: &mut Supply) -> Result<Part, WriteError<E>> {
        let mut node = Node::new(self.profile.version);
        self.fill_leaves(&mut node, supply)?;
        for depth in 1..depth {
            if supply.is_empty() {
                break;
            }
            self.fill_repeats(&mut node, 0, depth, supply)?;
        }
        self.sealed(node)
    }

    /// Continues the last subtree, and adds those that its depth lacks.
    fn fill_last(
        &mut self,
        node: &mut Node,
        depth: i64,
        repeat: usize,
        supply: &mut Supply,
        level: u32,
    ) -> Result<(), WriteError<E>> {
        if node.node.links.len() <= self.width() {
            return Ok(());
        }
        let Some(last) = node.pop() else { return Ok(()) };
        let block = self.block(&last)?;
        let mut child = Node::open(&block)?;
        check_level(&block, level)?;
        self.continued(&mut child, depth - 1, supply, level + 1)?;
        let part = self.sealed(child)?;
        node.push(part);
        if repeat != 0 {
            self.fill_repeats(node, repeat, depth, supply)?;
        }
        Ok(())
    }

    fn continued(&mut self, node: &mut Node, most: i64, supply: &mut Supply, level: u32) -> Result<(), WriteError<E>> {
        if most == 0 || supply.is_empty() {
            return Ok(());
        }
        let (mut depth, repeat) = self.reached(node);
        if depth == 0 {
            self.fill_leaves(node, supply)?;
            depth = 1;
        }
        if depth == most {
            return Ok(());
        }
        self.fill_last(node, depth, repeat, supply, level)?;
        if !supply.is_empty() {
            depth += 1;
        }
        while depth < most && !supply.is_empty() {
            self.fill_repeats(node, 0, depth, supply)?;
            depth += 1;
        }
        Ok(())
    }

    fn sealed(&mut self, node: Node) -> Result<Part, WriteError<E>> {
        let (block, part) = node.seal()?;
        self.made(block);
        Ok(part)
    }
}

/// Recursion follows what strangers made.
fn check_level<E>(block: &Block, level: u32) -> Result<(), WriteError<E>> {
    match level > MAX_FILE_DEPTH {
        true => Err(WriteError::Damaged {
            cid: *block.cid(),
            reason: "it is nested too deep",
        }),
        false => Ok(()),
    }
}

/// Bytes with what `rest` begins with in the place of those from `offset` on; no more than there are.
fn over(bytes: &Bytes, offset: u64, rest: &mut Bytes) -> Bytes {
    let from = usize::try_from(offset).map_or(bytes.len(), |from| from.min(bytes.len()));
    let new = rest.split_to(rest.len().min(bytes.len() - from));
    let after = bytes.slice(from + new.len()..);
    [&bytes[..from], &new, &after].concat().into()
}

/// What is still to be put into leaves.
enum Supply {
    /// Bytes, and how many of them go into each.
    Bytes { rest: Bytes, chunk: usize },
    /// That many zeros.
    Zeros(u64),
}

impl Supply {
    fn is_empty(&self) -> bool {
        match self {
            Self::Bytes { rest, .. } => rest.is_empty(),
            Self::Zeros(left) => *left == 0,
        }
    }

    fn next(&mut self) -> Option<Bytes> {
        static ZEROS: [u8; HOLE_CHUNK as usize] = [0; HOLE_CHUNK as usize];
        if self.is_empty() {
            return None;
        }
        Some(match self {
            Self::Bytes { rest, chunk } => rest.split_to(rest.len().min(*chunk)),
            Self::Zeros(left) => {
                let len = HOLE_CHUNK.min(*left);
                *left -= len;
                Bytes::from_static(&ZEROS).slice(..len as usize)
            }
        })
    }
}

/// A finished part of a file.
struct Part {
    cid: Cid,
    tsize: u64,
    size: u64,
}

/// A node of a file that can be changed.
struct Node {
    version: Version,
    node: PbNode,
    data: Data,
}

impl Node {
    fn new(version: Version) -> Self {
        Self {
            version,
            node: PbNode::default(),
            data: Data {
                filesize: Some(0),
                ..Data::new(Kind::File)
            },
        }
    }

    fn open<E>(block: &Block) -> Result<Self, WriteError<E>> {
        let (node, data) = decode(block)?;
        let cid = *block.cid();
        if !matches!(data.kind, Kind::File | Kind::Raw) {
            return Err(WriteError::NotAFile { cid });
        }
        if node.links.len() != data.blocksizes.len() {
            return Err(WriteError::Damaged {
                cid,
                reason: "it has more parts than lengths of parts, or fewer",
            });
        }
        Ok(Self {
            version: cid.version(),
            node,
            data,
        })
    }

    /// The one raw leaf that is all there is.
    fn only_leaf(&self) -> Option<Cid> {
        let bare = self.data.mode.is_none()
            && self.data.mtime.is_none()
            && self.data.data.as_ref().is_none_or(Bytes::is_empty);
        match self.node.links.as_slice() {
            [only] if bare && only.cid.codec() == RAW => Some(only.cid),
            _ => None,
        }
    }

    fn push(&mut self, part: Part) {
        self.node.links.push(PbLink {
            cid: part.cid,
            name: Bytes::new(),
            tsize: part.tsize,
        });
        self.data.blocksizes.push(part.size);
        self.data.filesize = Some(self.data.filesize.unwrap_or(0).saturating_add(part.size));
    }

    fn pop(&mut self) -> Option<Cid> {
        let link = self.node.links.pop()?;
        let size = self.data.blocksizes.pop().unwrap_or(0);
        self.data.filesize = Some(self.data.filesize.unwrap_or(0).saturating_sub(size));
        Some(link.cid)
    }

    fn seal(mut self) -> Result<(Block, Part), BlockError> {
        self.node.data = Some(self.data.encode().into());
        let encoded = self.node.encode();
        let block = match self.version {
            Version::V0 => Block::new_v0(encoded)?,
            Version::V1 => Block::new(crate::block::DAG_PB, encoded)?,
        };
        let part = Part {
            cid: *block.cid(),
            tsize: self.node.links_tsize().saturating_add(block.data().len() as u64),
            size: self.data.content_len(),
        };
        Ok((block, part))
    }
}
