//! What exchange, gateway and DAG code need of a store.

use super::error::StoreError;
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
    /// tried, and when none is left the block counts as missing, so that it is fetched again. A place that cannot be
    /// read at all does not count for as long as that stays so.
    ///
    /// # Errors
    /// The index cannot be read or written.
    fn get(&self, cid: &Cid) -> Result<Option<Block>, StoreError>;

    /// Keeps the blocks. Those already here are skipped. They are readable at once, and durable after a flush.
    ///
    /// # Errors
    /// [`StoreError::Full`] when the disk has no room: some of the blocks may have been kept, nothing else changed.
    fn put(&self, blocks: &[Block]) -> Result<(), StoreError>;
}
