//! Files into blocks: chunks, leaves, and the balanced tree above them.
//!
//! Hashing leaves is the work, and it needs no order: [`chunks`], [`hash_leaf`] and [`leaf`] may run on as many
//! threads as there are. [`FileBuilder`] then takes the leaves in order and gives the nodes above them; it holds one
//! unfinished node per level and never the content.

use bytes::Bytes;
use cid::Cid;

use super::node::{Data, Kind};
use super::{Entry, Profile};
use crate::block::{Block, BlockError, RAW, Sha2, of_sha2_256, sha2_256};
use crate::dag::{PbLink, PbNode};

/// A leaf of a file, without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Name of the block.
    pub cid: Cid,
    /// Bytes of the file in it.
    pub size: u64,
    /// Length of the block; more than `size` when the leaf is a dag-pb node.
    pub tsize: u64,
}

/// The chunks of a file of `len` bytes as offset and length. An empty file has none.
pub fn chunks(profile: &Profile, len: u64) -> impl Iterator<Item = (u64, usize)> + use<> {
    chunks_of(profile.chunk_bytes, len)
}

fn chunks_of(chunk: usize, len: u64) -> impl Iterator<Item = (u64, usize)> + use<> {
    let chunk = chunk.max(1);
    (0..len.div_ceil(chunk as u64)).map(move |number| {
        let offset = number * chunk as u64;
        (offset, chunk.min(usize::try_from(len - offset).unwrap_or(chunk)))
    })
}

/// Names a chunk without keeping it. Raw leaves are hashed in place, so nothing is copied.
///
/// # Errors
/// [`BlockError::TooLarge`] when the chunk does not fit into a block.
pub fn hash_leaf(profile: &Profile, chunk: &[u8]) -> Result<Leaf, BlockError> {
    if !profile.raw_leaves {
        return leaf(profile, Bytes::copy_from_slice(chunk)).map(|(leaf, _)| leaf);
    }
    if chunk.len() > crate::block::MAX_BLOCK_BYTES {
        return Err(BlockError::TooLarge { len: chunk.len() });
    }
    let size = chunk.len() as u64;
    Ok(Leaf {
        cid: Cid::new_v1(RAW, sha2_256(chunk)),
        size,
        tsize: size,
    })
}

/// The raw leaves of one file, 32 bytes of memory for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaves {
    /// Length of all but the last.
    chunk_bytes: usize,
    len: u64,
    hashes: Vec<[u8; 32]>,
}

impl Leaves {
    /// How many there are: none of an empty file.
    pub fn count(&self) -> usize {
        self.hashes.len()
    }

    /// How many bytes the file has.
    pub fn file_len(&self) -> u64 {
        self.len
    }

    /// Each with its offset in the file, in order.
    pub fn each(&self) -> impl Iterator<Item = (u64, Leaf)> + '_ {
        let chunks = chunks_of(self.chunk_bytes, self.len);
        self.hashes.iter().zip(chunks).map(|(hash, (offset, len))| {
            let leaf = Leaf {
                cid: Cid::new_v1(RAW, of_sha2_256(hash)),
                size: len as u64,
                tsize: len as u64,
            };
            (offset, leaf)
        })
    }
}

/// Names the leaves of a file whose bytes come in pieces, in order, without keeping them.
#[derive(Clone)]
pub struct LeafHasher {
    leaves: Leaves,
    hash: Sha2,
    /// How many bytes of the leaf that is not complete came.
    begun: usize,
}

impl LeafHasher {
    /// Begins a file. Nothing if the profile has leaves that are not raw: they are more than the bytes in them.
    pub fn new(profile: &Profile) -> Option<Self> {
        let leaves = Leaves {
            chunk_bytes: profile.chunk_bytes.max(1),
            len: 0,
            hashes: Vec::new(),
        };
        profile.raw_leaves.then(|| Self {
            leaves,
            hash: Sha2::default(),
            begun: 0,
        })
    }

    /// Takes the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        let chunk = self.leaves.chunk_bytes;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(chunk - self.begun));
            self.hash.update(now);
            self.leaves.len += now.len() as u64;
            self.begun += now.len();
            if self.begun == chunk {
                self.complete();
            }
            bytes = later;
        }
    }

    /// All bytes came: their leaves.
    pub fn finish(mut self) -> Leaves {
        if self.begun > 0 {
            self.complete();
        }
        // There may be very many files of one leaf.
        self.leaves.hashes.shrink_to_fit();
        self.leaves
    }

    fn complete(&mut self) {
        self.leaves.hashes.push(self.hash.take());
        self.begun = 0;
    }
}

/// Makes a chunk into the block of a leaf.
///
/// # Errors
/// [`BlockError::TooLarge`] when the chunk does not fit into a block.
pub fn leaf(profile: &Profile, chunk: Bytes) -> Result<(Leaf, Block), BlockError> {
    let size = chunk.len() as u64;
    let block = if profile.raw_leaves {
        Block::new(RAW, chunk)?
    } else {
        let data = Some(chunk).filter(|chunk| !chunk.is_empty());
        let data = Data {
            data,
            filesize: Some(size),
            ..Data::new(Kind::File)
        };
        profile.node(
            PbNode {
                links: Vec::new(),
                data: Some(data.encode().into()),
            }
            .encode(),
        )?
    };
    Ok((
        Leaf {
            cid: *block.cid(),
            size,
            tsize: block.data().len() as u64,
        },
        block,
    ))
}

/// A whole file that is in memory: its entry and all its blocks, leaves first, the root last. A raw single chunk
/// shares memory with `content`.
///
/// # Errors
/// [`BlockError::TooLarge`] when the profile's chunks or nodes do not fit into blocks.
pub fn file(profile: &Profile, content: &Bytes) -> Result<(Entry, Vec<Block>), BlockError> {
    let mut builder = FileBuilder::new(profile);
    let mut blocks = Vec::new();
    for (offset, len) in chunks(profile, content.len() as u64) {
        let (leaf, block) = leaf(profile, content.slice(offset as usize..offset as usize + len))?;
        blocks.push(block);
        builder.push(leaf, &mut blocks)?;
    }
    let entry = builder.finish(&mut blocks)?;
    Ok((entry, blocks))
}

/// Builds the tree above the leaves of one file, in the balanced layout: every leaf is equally deep, every node but
/// the last of its level is full.
///
/// Memory is that of the links of one unfinished node per level.
#[derive(Clone, Debug)]
pub struct FileBuilder {
    profile: Profile,
    /// Unfinished nodes, that of the leaves first.
    levels: Vec<Vec<Leaf>>,
}

impl FileBuilder {
    /// Starts a file.
    pub fn new(profile: &Profile) -> Self {
        Self {
            profile: *profile,
            levels: Vec::new(),
        }
    }

    /// Takes the next leaf of the file. Nodes that are complete now are appended to `out`, children before parents.
    ///
    /// # Errors
    /// [`BlockError::TooLarge`] when a node of the profile's width does not fit into a block; the file cannot be
    /// finished then.
    pub fn push(&mut self, leaf: Leaf, out: &mut Vec<Block>) -> Result<(), BlockError> {
        self.place(0, leaf, out)
    }

    /// Ends the file; the nodes that were unfinished are appended to `out`, the root last. A file of one leaf is that
    /// leaf. One of no leaves is the empty leaf, whose block is appended too.
    ///
    /// # Errors
    /// As [`FileBuilder::push`].
    pub fn finish(mut self, out: &mut Vec<Block>) -> Result<Entry, BlockError> {
        let mut level = 0;
        while let Some(links) = self.levels.get_mut(level) {
            let links = std::mem::take(links);
            if level + 1 == self.levels.len() {
                let root = match links.as_slice() {
                    [only] => *only,
                    _ => seal(&self.profile, &links, out)?,
                };
                return Ok(Entry {
                    cid: root.cid,
                    tsize: root.tsize,
                    size: root.size,
                });
            }
            let node = seal(&self.profile, &links, out)?;
            self.place(level + 1, node, out)?;
            level += 1;
        }
        let (root, block) = leaf(&self.profile, Bytes::new())?;
        out.push(block);
        Ok(Entry {
            cid: root.cid,
            tsize: root.tsize,
            size: 0,
        })
    }

    /// Appends a link to a level. A full node is sealed only when one more link comes, so a level above the leaves
    /// exists only if it has, or is about to have, two links.
    fn place(&mut self, mut level: usize, mut link: Leaf, out: &mut Vec<Block>) -> Result<(), BlockError> {
        // A tree of nodes with one link each would never end.
        let width = self.profile.max_links.max(2);
        loop {
            if level == self.levels.len() {
                self.levels.push(Vec::new());
            }
            let links = &mut self.levels[level];
            if links.len() < width {
                links.push(link);
                return Ok(());
            }
            let full = std::mem::replace(links, vec![link]);
            link = seal(&self.profile, &full, out)?;
            level += 1;
        }
    }
}

/// Makes a node of a file out of its links.
fn seal(profile: &Profile, links: &[Leaf], out: &mut Vec<Block>) -> Result<Leaf, BlockError> {
    let size = links.iter().fold(0u64, |sum, link| sum.saturating_add(link.size));
    let data = Data {
        filesize: Some(size),
        blocksizes: links.iter().map(|link| link.size).collect(),
        ..Data::new(Kind::File)
    };
    let links = links
        .iter()
        .map(|link| PbLink {
            cid: link.cid,
            name: Bytes::new(),
            tsize: link.tsize,
        })
        .collect();
    let node = PbNode {
        links,
        data: Some(data.encode().into()),
    };
    let block = profile.node(node.encode())?;
    let tsize = node.links_tsize().saturating_add(block.data().len() as u64);
    let node = Leaf {
        cid: *block.cid(),
        size,
        tsize,
    };
    out.push(block);
    Ok(node)
}
