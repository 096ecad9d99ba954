//! How much of a table is taken at once, and at all.

/// Rows per batch. A multiple of 1024, which the byte-exact page boundaries of a slice depend on (odf-facts §6).
pub const BATCH_ROWS: usize = 8192;

/// A batch is closed early when its rows reach this many bytes, so that wide rows do not multiply [`BATCH_ROWS`].
pub const BATCH_BYTES: usize = 8 << 20;

/// The longest row (line, record, JSON element) in bytes. A forgotten closing quote ends here and not in memory.
pub const MAX_ROW_BYTES: usize = 16 << 20;

/// The most columns a table may have.
pub const MAX_COLUMNS: usize = 4096;

/// The longest column name in bytes.
pub const MAX_COLUMN_NAME_BYTES: usize = 1024;

/// How often a file is read that changes while it is read.
pub const MAX_READINGS: usize = 3;
