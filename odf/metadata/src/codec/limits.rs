//! What is read at all: how long a block may be, how deep and how much in it, and of which versions.

/// Longest block file that is read or written: 2 MiB, so that it fits one IPLD block.
pub const MAX_BLOCK_BYTES: usize = 2 << 20;
/// How deep tables may nest. Only data types nest freely; kamu's own schemas stay under ten.
pub const MAX_DEPTH: usize = 64;
/// How many tables, strings and vector elements one block may hold. Offsets may point to one table many times, so
/// the length of a block does not bound this.
pub const MAX_DECODED_VALUES: usize = 1 << 17;
/// How many bytes of strings and byte vectors one block may yield.
pub const MAX_DECODED_BYTES: usize = 2 * MAX_BLOCK_BYTES;

/// Multicodec odf-metadata-block, the `kind` of a block's manifest.
pub const METADATA_BLOCK_KIND: i64 = 0x400000;
/// The oldest version that is read.
pub const MIN_VERSION: i32 = 2;
/// The version that is written, and the newest that is read.
pub const VERSION: i32 = 3;
