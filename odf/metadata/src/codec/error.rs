//! Why bytes are not a metadata block.

use super::limits::{
    MAX_BLOCK_BYTES, MAX_DECODED_BYTES, MAX_DECODED_VALUES, MAX_DEPTH, METADATA_BLOCK_KIND, MIN_VERSION, VERSION,
};
use crate::Multihash;

/// Why bytes are not a metadata block, or a value cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Longer than [`MAX_BLOCK_BYTES`].
    #[error("a metadata block of {len} bytes exceeds the limit of {MAX_BLOCK_BYTES}")]
    TooLarge {
        /// Length found.
        len: usize,
    },
    /// The manifest is of another kind.
    #[error("manifest of kind 0x{kind:x} is not a metadata block (0x{METADATA_BLOCK_KIND:x})")]
    NotMetadataBlock {
        /// Kind found.
        kind: i64,
    },
    /// Written before sequence numbers existed.
    #[error("metadata block version {version} is obsolete, the oldest supported is {MIN_VERSION}")]
    ObsoleteVersion {
        /// Version found.
        version: i32,
    },
    /// Written by something newer.
    #[error("metadata block version {version} is not supported, the newest supported is {VERSION}; update odfs")]
    UnsupportedVersion {
        /// Version found.
        version: i32,
    },
    /// An offset leads out of the buffer.
    #[error("broken block: an offset leads to byte {at} of {len}")]
    OutOfBounds {
        /// Where it leads.
        at: usize,
        /// Length of the buffer.
        len: usize,
    },
    /// Tables nest deeper than [`MAX_DEPTH`].
    #[error("tables nest deeper than {MAX_DEPTH}")]
    TooDeep,
    /// More than [`MAX_DECODED_VALUES`].
    #[error("more than {MAX_DECODED_VALUES} values in one block")]
    TooManyValues,
    /// More than [`MAX_DECODED_BYTES`].
    #[error("more than {MAX_DECODED_BYTES} bytes of text in one block")]
    TooManyBytes,
    /// A required field is absent.
    #[error("{table} has no {field}")]
    Missing {
        /// The table.
        table: &'static str,
        /// The field.
        field: &'static str,
    },
    /// A union holds a member that the schema does not know.
    #[error("unknown {union} {id}; update odfs")]
    UnknownMember {
        /// The union.
        union: &'static str,
        /// Id of the member.
        id: u8,
    },
    /// An enumeration holds a number that the schema does not know.
    #[error("unknown {name} {value}; update odfs")]
    UnknownValue {
        /// The enumeration.
        name: &'static str,
        /// The number.
        value: i32,
    },
    /// A string is not UTF-8.
    #[error("a string of {table} is not UTF-8")]
    NotUtf8 {
        /// The table.
        table: &'static str,
    },
    /// A hash, id, time or JSON object is not one.
    #[error("{table}: {reason}")]
    BadValue {
        /// The table.
        table: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The bytes are not those of the block that was asked for.
    #[error("the bytes hash to {actual}, not to {expected}")]
    HashMismatch {
        /// The name it was asked for by.
        expected: Multihash,
        /// The hash of the bytes.
        actual: Multihash,
    },
}
