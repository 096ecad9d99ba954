//! Which metadata block may follow which: the rules of a metadata chain, without I/O.
//!
//! [`ChainState`] is what a chain amounts to at its head: everything that validation, ingest and listings ask of the
//! history, and nothing else. It is small, serializable, and moves on one block at a time, so an append costs the
//! same at any length. The rules and their names are kamu's, so that what passes here passes there.

mod compare;
mod error;
mod rules;
mod schema;
mod state;

use std::collections::BTreeMap;

pub use self::compare::{Relation, compare, compare_by};
pub use self::error::{ChainError, ChainRule};
pub use self::schema::SchemaChange;
pub use self::state::{BlockRef, Carried, ChainState, Totals};
use crate::codec::EncodedBlock;
use crate::{AddPushSource, DEFAULT_SOURCE, MergeStrategy, MetadataBlock, MetadataEvent, Timestamp, Vocabulary};

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
            source_block: None,
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
            MetadataEvent::SetPollingSource(event) => {
                self.polling_source = Some(event.clone());
                self.source_block = Some(place);
            }
            MetadataEvent::SetTransform(event) => {
                self.transform = Some(event.clone());
                self.source_block = Some(place);
            }
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
