//! Files out of blocks: whole, in ranges, or as a plan of which leaf belongs where.
//!
//! [`open`] reads one node and says what is at which offset, so a puller can fetch leaves in any order and write
//! each to its place. [`FileCursor`] does the same in order of the content. Sizes are claims of whoever wrote the
//! node: every block is checked against what its parent said, and bytes come out only at offsets that add up.

use std::ops::Range;

use bytes::Bytes;
use cid::Cid;

use super::node::{Kind, NodeError, decode};
use crate::block::{Block, RAW};

/// The most nodes between the root of a file and a leaf. Balanced trees of 174 links need 9 for 2^64 leaves.
pub const MAX_FILE_DEPTH: u32 = 64;

/// A part of a file: a block and the place of what is below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The block.
    pub cid: Cid,
    /// Where its content begins in the file, in bytes.
    pub offset: u64,
    /// Bytes of content below it, as its parent says; unknown for a root.
    pub size: Option<u64>,
    depth: u32,
}

impl Part {
    /// The whole file with this root.
    pub fn root(cid: Cid) -> Self {
        Self {
            cid,
            offset: 0,
            size: None,
            depth: 0,
        }
    }

    /// Whether the block is nothing but content, so that its place in the file is known before it is here.
    pub fn is_raw(&self) -> bool {
        self.cid.codec() == RAW
    }
}

/// A part whose block is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Bytes of content in and below the block.
    pub size: u64,
    /// Content of the block itself, from the offset of the part on.
    pub data: Bytes,
    /// The parts below, in order, without gaps after `data`. Empty ones are left out.
    pub children: Vec<Part>,
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// A block is not the node that it should be.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The block is UnixFS, but neither a file nor a part of one.
    #[error("{cid} is not a file")]
    NotAFile {
        /// The block.
        cid: Cid,
    },
    /// Sizes that do not add up.
    #[error("the sizes in {cid} contradict each other or its parent")]
    SizeMismatch {
        /// The block.
        cid: Cid,
    },
    /// More than [`MAX_FILE_DEPTH`] nodes deep.
    #[error("the file is too deep at {cid}")]
    TooDeep {
        /// The block.
        cid: Cid,
    },
    /// A block was given when none was needed.
    #[error("{cid} was given when no block was needed")]
    NotNeeded {
        /// The block.
        cid: Cid,
    },
}

/// Reads the block of a part.
///
/// # Errors
/// The wrong block, no file, malformed, or with sizes that contradict each other or [`Part::size`].
pub fn open(part: &Part, block: &Block) -> Result<Opened, ExportError> {
    let cid = *block.cid();
    if cid != part.cid {
        return Err(NodeError::WrongBlock {
            wanted: part.cid,
            got: cid,
        }
        .into());
    }
    let mismatch = || ExportError::SizeMismatch { cid };
    let (data, children) = if cid.codec() == RAW {
        (block.data().clone(), Vec::new())
    } else {
        let (node, message) = decode(block)?;
        if !matches!(message.kind, Kind::File | Kind::Raw) {
            return Err(ExportError::NotAFile { cid });
        }
        if node.links.len() != message.blocksizes.len() {
            return Err(mismatch());
        }
        if !node.links.is_empty() && part.depth == MAX_FILE_DEPTH {
            return Err(ExportError::TooDeep { cid });
        }
        let data = message.data.unwrap_or_default();
        let mut offset = part.offset.checked_add(data.len() as u64).ok_or_else(mismatch)?;
        let mut children = Vec::with_capacity(node.links.len());
        for (link, size) in node.links.iter().zip(message.blocksizes) {
            // Parts without content are not visited, so the work is in proportion to the bytes that come out.
            if size > 0 {
                children.push(Part {
                    cid: link.cid,
                    offset,
                    size: Some(size),
                    depth: part.depth + 1,
                });
            }
            offset = offset.checked_add(size).ok_or_else(mismatch)?;
        }
        if message
            .filesize
            .is_some_and(|filesize| filesize != offset - part.offset)
        {
            return Err(mismatch());
        }
        (data, children)
    };
    let below = children
        .iter()
        .filter_map(|child| child.size)
        .fold(0, u64::saturating_add);
    let size = below.saturating_add(data.len() as u64);
    if part.size.is_some_and(|claimed| claimed != size) {
        return Err(mismatch());
    }
    Ok(Opened { size, data, children })
}

/// What a [`FileCursor`] does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It needs this block.
    Need(Cid),
    /// Content.
    Data {
        /// Where it begins in the file, in bytes.
        offset: u64,
        /// The bytes, never none.
        bytes: Bytes,
    },
    /// All of the range has come out.
    Done,
}

/// Reads a file, or a range of it, in order. Memory is that of the links of one node per level.
///
/// To resume, start a new cursor at [`FileCursor::position`].
#[derive(Clone, Debug)]
pub struct FileCursor {
    /// Parts still to be read, the next one last.
    open: Vec<Part>,
    /// Content that was not taken yet.
    ready: Option<(u64, Bytes)>,
    range: Range<u64>,
    size: Option<u64>,
    position: u64,
}

impl FileCursor {
    /// Reads all of the file.
    pub fn new(root: Cid) -> Self {
        Self::with_range(root, 0..u64::MAX)
    }

    /// Reads the bytes of the range that exist: a range behind the end gives none.
    pub fn with_range(root: Cid, range: Range<u64>) -> Self {
        let position = range.start;
        Self {
            open: vec![Part::root(root)],
            ready: None,
            range,
            size: None,
            position,
        }
    }

    /// Length of the file in bytes, known once the root was fed.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// Where the next bytes begin: everything of the range before it has come out of [`FileCursor::step`].
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next blocks that will be needed as far as they are known, in order of need. To be fetched in parallel.
    pub fn upcoming(&self) -> impl Iterator<Item = Cid> {
        self.open.iter().rev().map(|part| part.cid)
    }

    /// What to do next.
    pub fn step(&mut self) -> Step {
        if let Some((offset, bytes)) = self.ready.take() {
            self.position = offset + bytes.len() as u64;
            return Step::Data { offset, bytes };
        }
        self.open.last().map_or(Step::Done, |part| Step::Need(part.cid))
    }

    /// Takes the block that [`FileCursor::step`] needed.
    ///
    /// # Errors
    /// Those of [`open`]; the cursor has not moved then. A block when none was needed.
    pub fn feed(&mut self, block: &Block) -> Result<(), ExportError> {
        let not_needed = ExportError::NotNeeded { cid: *block.cid() };
        if self.ready.is_some() {
            return Err(not_needed);
        }
        let part = *self.open.last().ok_or(not_needed)?;
        let opened = open(&part, block)?;
        self.open.pop();
        self.size.get_or_insert(opened.size);

        let len = opened.data.len() as u64;
        let clip = |at: u64| at.clamp(part.offset, part.offset + len) - part.offset;
        let (start, end) = (clip(self.range.start), clip(self.range.end));
        if start < end {
            self.ready = Some((part.offset + start, opened.data.slice(start as usize..end as usize)));
        }
        let in_range = |child: &Part| {
            let end = child.offset.saturating_add(child.size.unwrap_or(0));
            child.offset < self.range.end && end > self.range.start
        };
        self.open.extend(opened.children.into_iter().rev().filter(in_range));
        Ok(())
    }
}
