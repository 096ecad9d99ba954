//! Why a block cannot follow a chain: the rules, by kamu's names.

use crate::{Multihash, Timestamp};

/// A block that cannot follow the chain before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("block {block} (sequence number {sequence_number}) cannot be appended: {rule}")]
pub struct ChainError {
    /// The block.
    pub block: Multihash,
    /// Its sequence number, as it says itself.
    pub sequence_number: u64,
    /// The rule it breaks.
    pub rule: Box<ChainRule>,
}

impl ChainError {
    /// Whether the block is in order but says nothing new: for a writer that means "up to date".
    pub fn is_no_op(&self) -> bool {
        matches!(*self.rule, ChainRule::NoOpEvent { .. })
    }
}

/// A broken rule, named as kamu names it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainRule {
    /// A chain begins with something else.
    #[error("FirstBlockMustBeSeed: a chain begins with Seed, not with {kind}")]
    FirstBlockMustBeSeed {
        /// Kind of the event.
        kind: &'static str,
    },
    /// A second Seed.
    #[error("AppendingSeedBlockToNonEmptyChain: Seed comes first and only once")]
    AppendingSeedBlockToNonEmptyChain,
    /// The block before is not the head of this chain.
    #[error("PrevBlockNotFound: it follows {}, but the chain ends with {}", or_nothing(.found), or_nothing(.expected))]
    PrevBlockNotFound {
        /// Head of the chain; `None` for an empty one.
        expected: Option<Multihash>,
        /// What the block follows.
        found: Option<Multihash>,
    },
    /// Not one more than the block before.
    #[error("SequenceIntegrity: sequence number {found}, expected {expected}")]
    SequenceIntegrity {
        /// The number it must have.
        expected: u64,
        /// The number it has.
        found: u64,
    },
    /// Older than the block before.
    #[error("SystemTimeIsNotMonotonic: system time {found} is before {previous}")]
    SystemTimeIsNotMonotonic {
        /// Time of the block before.
        previous: Timestamp,
        /// Time of the block.
        found: Timestamp,
    },
    /// The watermark went back or was dropped.
    #[error("WatermarkIsNotMonotonic: watermark {} after {previous}", or_nothing(.found))]
    WatermarkIsNotMonotonic {
        /// The watermark before.
        previous: Timestamp,
        /// The watermark of the block.
        found: Option<Timestamp>,
    },
    /// The new rows do not begin where the old ones end.
    #[error("OffsetsAreNotSequential: data starts at offset {found}, expected {expected}")]
    OffsetsAreNotSequential {
        /// The offset after the last one.
        expected: u64,
        /// The first offset of the new rows.
        found: u64,
    },
    /// The event contradicts itself or what came before.
    #[error("InvalidEvent: {kind}: {reason}")]
    InvalidEvent {
        /// Kind of the event.
        kind: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The event changes nothing.
    #[error("NoOpEvent: {kind}: {reason}")]
    NoOpEvent {
        /// Kind of the event.
        kind: &'static str,
        /// Why it changes nothing.
        reason: String,
    },
}

pub(super) fn or_nothing<T: std::fmt::Display>(value: &Option<T>) -> String {
    value.as_ref().map_or_else(|| "nothing".to_owned(), T::to_string)
}
