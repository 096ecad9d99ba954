//! How much metadata is taken from elsewhere at once.

/// Most metadata blocks that are taken at once.
pub const MAX_NEW_BLOCKS: u64 = 1 << 20;
/// Most bytes of metadata blocks that are taken at once.
pub const MAX_NEW_BLOCK_BYTES: u64 = 1 << 30;
