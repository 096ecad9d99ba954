//! UnixFS files and directories as DAGs, byte-exact with the named profiles.
//!
//! Spec: <https://specs.ipfs.tech/unixfs/>, profiles: IPIP-499. All of it is pure: blocks go in and out as values,
//! and where a block is missing the caller is told which one. [`import`] makes files, [`directory`] and [`update`]
//! make directories, [`mod@write`] changes files, [`export`] reads them, [`resolve`] follows paths.

pub mod directory;
pub mod export;
mod hamt;
pub mod import;
mod link;
pub mod node;
pub mod resolve;
pub mod update;
pub mod write;

use cid::{Cid, Version};

use crate::block::{Block, BlockError};

/// Everything that decides which CID content gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The name people know it by.
    pub name: &'static str,
    /// Version of the CIDs of nodes. Raw leaves are always version 1.
    pub version: Version,
    /// Whether a leaf is the bare bytes, or a dag-pb node around them.
    pub raw_leaves: bool,
    /// Length of every chunk of a file but the last, in bytes.
    pub chunk_bytes: usize,
    /// The most links of one node of a file.
    pub max_links: usize,
    /// A directory whose size by [`Profile::estimate`] exceeds this many bytes is sharded.
    pub shard_above: u64,
    /// How the size of a directory is reckoned.
    pub estimate: Estimate,
    /// Buckets of each node of a sharded directory.
    pub fanout: Fanout,
}

/// How many buckets a node of a sharded directory has: a power of two from 8 to [`MAX_FANOUT`]. Every node of one
/// directory has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fanout {
    /// Bits of a name's hash that choose a bucket.
    bits: u32,
}

/// The most buckets of a node of a sharded directory.
pub const MAX_FANOUT: u64 = 1024;

impl Fanout {
    /// The least there is: the shortest nodes, and the most on the way to an entry.
    pub const EIGHT: Self = Self { bits: 3 };
    /// What every named profile has.
    pub const PLAIN: Self = Self { bits: 8 };

    /// A fanout of so many buckets, or nothing where the format has none.
    pub fn new(buckets: u64) -> Option<Self> {
        // Bitfields are whole bytes, so there are eight at least.
        let is_one = buckets.is_power_of_two() && buckets.is_multiple_of(8) && buckets <= MAX_FANOUT;
        is_one.then(|| Self {
            bits: buckets.trailing_zeros(),
        })
    }

    /// How many buckets.
    pub fn buckets(self) -> u64 {
        1 << self.bits
    }

    /// Bits of a name's hash that choose a bucket.
    fn bits(self) -> u32 {
        self.bits
    }

    /// Hex digits that number a bucket.
    fn digits(self) -> usize {
        self.bits.div_ceil(4) as usize
    }
}

/// How the size of a directory is reckoned when deciding whether to shard it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Estimate {
    /// Length of the names and binary CIDs.
    LinksBytes,
    /// Length of the block that the directory would be.
    BlockBytes,
}

/// IPIP-499 `unixfs-v1-2025`: what published datasets use.
pub const UNIXFS_V1_2025: Profile = Profile {
    name: "unixfs-v1-2025",
    version: Version::V1,
    raw_leaves: true,
    chunk_bytes: 1 << 20,
    max_links: 1024,
    shard_above: 256 << 10,
    estimate: Estimate::BlockBytes,
    fanout: Fanout::PLAIN,
};

/// IPIP-499 `unixfs-v0-2015`: what `ipfs add` gives when nothing is set.
pub const UNIXFS_V0_2015: Profile = Profile {
    name: "unixfs-v0-2015",
    version: Version::V0,
    raw_leaves: false,
    chunk_bytes: 256 << 10,
    max_links: 174,
    shard_above: 256 << 10,
    estimate: Estimate::LinksBytes,
    fanout: Fanout::PLAIN,
};

/// `ipfs add --cid-version 1 --raw-leaves` in a repository with default settings: what kamu publishes. No named
/// profile: the chunks and widths of 2015 under CIDs of version 1.
pub const KUBO_CIDV1: Profile = Profile {
    name: "kubo-cidv1",
    version: Version::V1,
    raw_leaves: true,
    ..UNIXFS_V0_2015
};

impl Profile {
    /// Names the encoded dag-pb node `data` as this profile does.
    pub(crate) fn node(&self, data: Vec<u8>) -> Result<Block, BlockError> {
        match self.version {
            Version::V0 => Block::new_v0(data),
            Version::V1 => Block::new(crate::block::DAG_PB, data),
        }
    }
}

/// A finished file, directory or symlink: what a directory needs to know to link to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The root of its DAG.
    pub cid: Cid,
    /// Length of all blocks of the DAG in bytes, repeated ones as often as they are linked to.
    pub tsize: u64,
    /// Content in bytes: of a file its length, of a symlink that of its target, of a directory 0.
    pub size: u64,
}

#[cfg(test)]
mod tests;
