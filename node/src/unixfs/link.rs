//! One entry of a directory, whichever form the directory has, and what is wrong with directories.

use bytes::Bytes;
use cid::Cid;

use super::node::NodeError;
use crate::block::BlockError;
use crate::dag::Malformed;

/// The most entries that [`list`](super::directory::list) gathers in memory; a [`Listing`](super::directory::Listing) has no limit of its own.
pub const MAX_LISTED: usize = 1 << 22;

/// A named entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The name. As a stranger wrote it: see [`is_plain_name`](super::directory::is_plain_name).
    pub name: String,
    /// Root of the entry's DAG.
    pub cid: Cid,
    /// Length of all blocks of that DAG, as claimed.
    pub tsize: u64,
}

impl Link {
    pub(super) fn from_pb(name: Bytes, cid: Cid, tsize: u64) -> Result<Self, Malformed> {
        let name = String::from_utf8(name.into()).map_err(|_| Malformed::NotUtf8)?;
        Ok(Self { name, cid, tsize })
    }
}

/// Why a directory cannot be read or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// A block is not the node that it should be.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A node does not fit into a block.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// The block is UnixFS, but no directory.
    #[error("{cid} is not a directory")]
    NotADirectory {
        /// The block.
        cid: Cid,
    },
    /// A name that no directory entry may have.
    #[error("{name:?} cannot be the name of a directory entry")]
    BadName {
        /// The name.
        name: String,
    },
    /// Two entries of one name.
    #[error("the name {name:?} is given twice")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// Names whose 64-bit hashes are equal, which the format cannot hold.
    #[error("the hash of {name:?} equals that of another name")]
    HashCollision {
        /// One of the names.
        name: String,
    },
    /// A HAMT of another fanout than its parent's, or than the profile's, under which it cannot be changed in place.
    #[error("{cid} has another fanout than its profile or its parent")]
    ForeignFanout {
        /// The node.
        cid: Cid,
    },
    /// A HAMT that uses more bits than its hash has.
    #[error("the HAMT is too deep at {cid}")]
    TooDeep {
        /// The node.
        cid: Cid,
    },
    /// A HAMT that links to a node twice; it would be listed twice, or without end in effect.
    #[error("the HAMT links to {cid} more than once")]
    RepeatedNode {
        /// The node.
        cid: Cid,
    },
    /// More than [`MAX_LISTED`].
    #[error("the directory has more than {MAX_LISTED} entries")]
    TooManyEntries,
}
