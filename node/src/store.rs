//! Where blocks live: an index in sled, bytes in packs and in the files they belong to.
//!
//! [`Blocks`] is what the exchange, the gateway and DAG code need of a store. [`Store`] is the durable one, and
//! [`MemoryStore`] the one for tests and throw-away peers; one contract test runs on both.
//!
//! Blocks are keyed by the multihash of their CID, so the same bytes under two codecs are one entry.

mod durable;
mod files;
mod flush;
mod gate;
mod gc;
mod handles;
mod index;
mod leave;
mod memory;
mod pack;
mod pins;
mod recover;
mod reserve;
mod stats;
mod table;

use std::{
    io,
    path::{Path, PathBuf},
};

pub use durable::{Store, StoreOptions};
pub use files::MAX_PATH_BYTES;
pub use gate::Hold;
pub use gc::{GcReport, GivenUp, LinksError};
pub use memory::MemoryStore;
pub use pins::{MAX_OWNER_BYTES, Pin};
pub use stats::StoreStats;
pub use table::{Change, MAX_KEY_BYTES, MAX_VALUE_BYTES, Table};

use crate::block::{Block, Cid};

/// What exchange, gateway and DAG code need of a store.
///
/// Every method is synchronous and may read or write the disk: async callers wrap it in `spawn_blocking`. All of them
/// may be called from many threads at once. Identity CIDs and the empty block are always there
/// ([`inherent`](crate::block::inherent)) and are never written.
pub trait Blocks: Send + Sync + 'static {
    /// Whether the bytes of `cid` are here. Does not read them, so a damaged block counts until it is read.
    ///
    /// # Errors
    /// The index cannot be read.
    fn has(&self, cid: &Cid) -> Result<bool, StoreError>;

    /// Length of the block in bytes, without reading it; `None` if it is not here.
    ///
    /// # Errors
    /// The index cannot be read.
    fn size(&self, cid: &Cid) -> Result<Option<usize>, StoreError>;

    /// The block, read and hashed; `None` if it is not here.
    ///
    /// Bytes that no longer hash to the CID are quarantined: their place is dropped and logged, other places are
    /// tried, and when none is left the block counts as missing, so that it is fetched again.
    ///
    /// # Errors
    /// The index or a pack cannot be read for another reason than damaged or missing bytes.
    fn get(&self, cid: &Cid) -> Result<Option<Block>, StoreError>;

    /// Keeps the blocks. Those already here are skipped. They are readable at once, and durable after a flush.
    ///
    /// # Errors
    /// [`StoreError::Full`] when the disk has no room: some of the blocks may have been kept, nothing else changed.
    fn put(&self, blocks: &[Block]) -> Result<(), StoreError>;
}

/// A part of a registered file that is a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Name of the part's content.
    pub cid: Cid,
    /// Where the part begins in the file, in bytes.
    pub offset: u64,
    /// Length of the part in bytes.
    pub len: u32,
}

/// A file registered with [`Store`], for as long as it is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub(crate) u32);

impl std::fmt::Display for FileId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "file #{}", self.0)
    }
}

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk, or the quota on it, has no room. What was there before is unchanged and readable.
    #[error("no space left for {}", .path.display())]
    Full {
        /// What was being written.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {operation} {}", .path.display())]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// sled reports an error. Reopening the store repairs or rebuilds the index.
    #[error("the block index failed")]
    Index(#[source] sled::Error),
    /// sled stopped on damaged data. Reopening the store rebuilds the index from the packs and files.
    #[error("the block index is damaged; it is rebuilt when the workspace is opened again")]
    IndexDamaged,
    /// Another process, or another opening in this one, has the store.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// A key or value is longer than a table takes.
    #[error("a table entry of {len} bytes exceeds the limit of {limit}")]
    EntryTooLarge {
        /// Length found, in bytes.
        len: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The file is not, or no longer, registered.
    #[error("{0} is not registered with the store")]
    UnknownFile(FileId),
    /// Paths given to the store are relative to the workspace and stay inside it.
    #[error("{} is not a path inside the workspace", .0.display())]
    OutsideWorkspace(PathBuf),
    /// A path is wanted for two files at once.
    #[error("{} belongs to another file of the store", .0.display())]
    PathTaken(PathBuf),
    /// The name of an owner of pins is empty, too long or has control characters.
    #[error("{0:?} cannot own pins")]
    BadOwner(String),
    /// Work in progress, or another collection, keeps GC out.
    #[error("garbage collection has to wait: a publish, a pull or another collection is under way")]
    Busy,
    /// GC is not sure what is needed, so it removed nothing.
    #[error("garbage collection removed nothing: {reason}")]
    GcRefused {
        /// What it is in doubt about.
        reason: String,
    },
}

impl StoreError {
    /// Names the operation and path of an I/O error, and tells a full disk from the rest.
    pub(crate) fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        let path = path.to_path_buf();
        match source.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => Self::Full { path },
            _ => Self::Io {
                operation,
                path,
                source,
            },
        }
    }
}

#[cfg(test)]
mod tests;
