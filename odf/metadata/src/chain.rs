//! Which metadata block may follow which: the rules of a metadata chain, without I/O.
//!
//! [`ChainState`] is what a chain amounts to at its head: everything that validation, ingest and listings ask of the
//! history, and nothing else. It is small, serializable, and moves on one block at a time, so an append costs the
//! same at any length. The rules and their names are kamu's, so that what passes here passes there.

mod compare;
mod rules;
mod schema;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::compare::{Relation, compare, compare_by};
pub use self::schema::SchemaChange;
use crate::codec::EncodedBlock;
use crate::{
    AddPushSource, DEFAULT_SOURCE, DatasetId, DatasetKind, ExecuteTransformInput, MergeStrategy, MetadataBlock,
    MetadataEvent, Multihash, SetDataSchema, SetInfo, SetLicense, SetPollingSource, SetTransform, SetVocab,
    SourceState, Timestamp, Vocabulary,
};

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

fn or_nothing<T: std::fmt::Display>(value: &Option<T>) -> String {
    value.as_ref().map_or_else(|| "nothing".to_owned(), T::to_string)
}

/// What a chain amounts to at its head. Made by [`ChainState::begin`], moved on by [`ChainState::apply`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainState {
    /// Whose chain it is.
    pub dataset_id: DatasetId,
    /// Whether it has sources or inputs.
    pub kind: DatasetKind,
    /// The last block.
    pub head: Multihash,
    /// Its sequence number; the chain has one block more.
    pub sequence_number: u64,
    /// Its system time.
    pub system_time: Timestamp,
    /// The last AddData or ExecuteTransform.
    pub last_data_block: Option<BlockRef>,
    /// The last offset written, as the last AddData or ExecuteTransform has or carries it; `None` before the first row.
    pub last_offset: Option<u64>,
    /// The watermark of the last AddData or ExecuteTransform.
    pub watermark: Option<Timestamp>,
    /// What the last AddData hands on to the next.
    pub last_added: Option<Carried>,
    /// What the last ExecuteTransform hands on to the next.
    pub last_computed: Option<Carried>,
    /// The source state of the last AddData, `None` if that one has none.
    pub source_state: Option<SourceState>,
    /// What the last ExecuteTransform read; empty before the first.
    pub query_inputs: Vec<ExecuteTransformInput>,
    /// Names of the system columns, if they were set; see [`ChainState::vocabulary`].
    pub vocab: Option<SetVocab>,
    /// The schema of the data.
    pub schema: Option<SetDataSchema>,
    /// The source to fetch from.
    pub polling_source: Option<SetPollingSource>,
    /// The sources that push, by name.
    pub push_sources: BTreeMap<String, AddPushSource>,
    /// How a derivative dataset is computed.
    pub transform: Option<SetTransform>,
    /// What the dataset is about.
    pub info: Option<SetInfo>,
    /// Its licence.
    pub license: Option<SetLicense>,
    /// The last SetAttachments; the files themselves stay in the chain, they may be long.
    pub attachments: Option<BlockRef>,
    /// Sums over the chain.
    pub totals: Totals,
}

/// What an event hands on to the next of its kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// The checkpoint that it wrote, which the next one starts from.
    pub checkpoint: Option<Multihash>,
    /// Its watermark.
    pub watermark: Option<Timestamp>,
}

/// A block by name and by place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockRef {
    /// Its hash.
    pub hash: Multihash,
    /// Its sequence number, which is its position in the chain.
    pub sequence_number: u64,
    /// Its system time.
    pub system_time: Timestamp,
}

/// Sums over a chain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Rows written, retractions and corrections included.
    pub records: u64,
    /// Slices.
    pub slices: u64,
    /// Bytes of all slices.
    pub data_bytes: u64,
    /// Checkpoints.
    pub checkpoints: u64,
    /// Bytes of all checkpoints.
    pub checkpoint_bytes: u64,
    /// Bytes of all metadata blocks.
    pub block_bytes: u64,
}

impl ChainState {
    /// The chain that consists of this block.
    ///
    /// # Errors
    /// [`ChainRule::FirstBlockMustBeSeed`], [`ChainRule::PrevBlockNotFound`], [`ChainRule::SequenceIntegrity`].
    pub fn begin(first: &EncodedBlock) -> Result<Self, ChainError> {
        let block = first.block();
        let seed = rules::check_first(block).map_err(|rule| error(first, rule))?;
        Ok(Self {
            dataset_id: seed.dataset_id,
            kind: seed.dataset_kind,
            head: *first.hash(),
            sequence_number: block.sequence_number,
            system_time: block.system_time,
            last_data_block: None,
            last_offset: None,
            watermark: None,
            last_added: None,
            last_computed: None,
            source_state: None,
            query_inputs: Vec::new(),
            vocab: None,
            schema: None,
            polling_source: None,
            push_sources: BTreeMap::new(),
            transform: None,
            info: None,
            license: None,
            attachments: None,
            totals: Totals {
                block_bytes: first.bytes().len() as u64,
                ..Totals::default()
            },
        })
    }

    /// Checks a block against every rule and moves on to it.
    ///
    /// # Errors
    /// The first rule that the block breaks; the state is unchanged then.
    pub fn apply(&mut self, next: &EncodedBlock) -> Result<(), ChainError> {
        self.check(next.block()).map_err(|rule| error(next, rule))?;
        self.advance(next);
        Ok(())
    }

    /// [`Self::begin`] or [`Self::apply`], for a chain that may still be empty.
    ///
    /// # Errors
    /// The first rule that the block breaks; the state is unchanged then.
    pub fn append(state: &mut Option<Self>, next: &EncodedBlock) -> Result<(), ChainError> {
        match state {
            Some(state) => state.apply(next),
            None => {
                *state = Some(Self::begin(next)?);
                Ok(())
            }
        }
    }

    /// The state after all these blocks, Seed first; `None` if there are none.
    ///
    /// # Errors
    /// The first rule that a block breaks.
    pub fn replay<'a>(blocks: impl IntoIterator<Item = &'a EncodedBlock>) -> Result<Option<Self>, ChainError> {
        let mut state = None;
        for block in blocks {
            Self::append(&mut state, block)?;
        }
        Ok(state)
    }

    /// The block that would put `event` on top of this chain. Nothing is checked yet.
    pub fn next_block(&self, event: MetadataEvent, system_time: Timestamp) -> MetadataBlock {
        MetadataBlock {
            system_time,
            prev_block_hash: Some(self.head),
            sequence_number: self.sequence_number.saturating_add(1),
            event,
        }
    }

    /// How many blocks the chain has.
    pub fn blocks(&self) -> u64 {
        self.sequence_number.saturating_add(1)
    }

    /// The offset that the next row gets.
    pub fn next_offset(&self) -> u64 {
        self.last_offset.map_or(0, |last| last.saturating_add(1))
    }

    /// The names of the system columns in force.
    pub fn vocabulary(&self) -> Vocabulary {
        self.vocab.as_ref().map_or_else(Vocabulary::default, Vocabulary::from)
    }

    /// The merge strategy of the source in force: the polling source, else the push source called
    /// [`DEFAULT_SOURCE`], else the only push source. None if there is no source, or several of which none is called that.
    pub fn merge_strategy(&self) -> Option<&MergeStrategy> {
        match &self.polling_source {
            Some(source) => Some(&source.merge),
            None => self.push_source().map(|source| &source.merge),
        }
    }

    /// The push source called [`DEFAULT_SOURCE`], else the only one.
    pub fn push_source(&self) -> Option<&AddPushSource> {
        let only = || {
            self.push_sources
                .values()
                .next()
                .filter(|_| self.push_sources.len() == 1)
        };
        self.push_sources.get(DEFAULT_SOURCE).or_else(only)
    }

    /// Takes over what a block that broke no rule says.
    fn advance(&mut self, next: &EncodedBlock) {
        let block = next.block();
        let place = BlockRef {
            hash: *next.hash(),
            sequence_number: block.sequence_number,
            system_time: block.system_time,
        };
        self.head = place.hash;
        self.sequence_number = place.sequence_number;
        self.system_time = place.system_time;
        self.totals.block_bytes = self.totals.block_bytes.saturating_add(next.bytes().len() as u64);
        if let Some(data) = rules::DataEvent::of(&block.event) {
            self.last_data_block = Some(place);
            self.watermark = data.new_watermark;
            let carried = Some(Carried {
                checkpoint: data.new_checkpoint.map(|checkpoint| checkpoint.physical_hash),
                watermark: data.new_watermark,
            });
            match block.event {
                MetadataEvent::AddData(_) => self.last_added = carried,
                _ => self.last_computed = carried,
            }
            self.last_offset = data
                .new_data
                .map(|slice| slice.offset_interval.end)
                .or(data.prev_offset);
            if let Some(slice) = data.new_data {
                let offsets = slice.offset_interval;
                let records = (offsets.end - offsets.start).saturating_add(1);
                self.totals.records = self.totals.records.saturating_add(records);
                self.totals.slices += 1;
                self.totals.data_bytes = self.totals.data_bytes.saturating_add(slice.size);
            }
            if let Some(checkpoint) = data.new_checkpoint {
                self.totals.checkpoints += 1;
                self.totals.checkpoint_bytes = self.totals.checkpoint_bytes.saturating_add(checkpoint.size);
            }
        }
        match &block.event {
            MetadataEvent::AddData(event) => self.source_state = event.new_source_state.clone(),
            MetadataEvent::ExecuteTransform(event) => self.query_inputs = event.query_inputs.clone(),
            MetadataEvent::SetPollingSource(event) => self.polling_source = Some(event.clone()),
            MetadataEvent::SetTransform(event) => self.transform = Some(event.clone()),
            MetadataEvent::SetVocab(event) => self.vocab = Some(event.clone()),
            MetadataEvent::SetAttachments(_) => self.attachments = Some(place),
            MetadataEvent::SetInfo(event) => self.info = Some(event.clone()),
            MetadataEvent::SetLicense(event) => self.license = Some(event.clone()),
            MetadataEvent::SetDataSchema(event) => self.schema = Some(event.clone()),
            MetadataEvent::AddPushSource(event) => {
                self.push_sources.insert(event.source_name.clone(), event.clone());
            }
            // Refused by the rules.
            MetadataEvent::Seed(_) | MetadataEvent::DisablePushSource(_) | MetadataEvent::DisablePollingSource(_) => {}
        }
    }
}

fn error(block: &EncodedBlock, rule: ChainRule) -> ChainError {
    ChainError {
        block: *block.hash(),
        sequence_number: block.block().sequence_number,
        rule: Box::new(rule),
    }
}

#[cfg(test)]
mod tests;
