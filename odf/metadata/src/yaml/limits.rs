//! How much text is read as manifests, and how much it may cost.

/// Longest manifest file that is read.
pub const MAX_MANIFEST_BYTES: usize = 8 << 20;
/// Most documents read from one file.
pub const MAX_DOCUMENTS: usize = 10_000;
/// How much a document may weigh when aliases have been followed: 4 for every value and the bytes of its text.
pub const MAX_EXPANDED: usize = 3 * MAX_MANIFEST_BYTES;
/// How much brackets may nest: the open ones, summed over every byte of a file. Reading takes time by that.
pub const MAX_NESTED_BYTES: u64 = 1 << 30;
