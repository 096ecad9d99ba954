//! The rules, one function a group: a block against the state of the chain before it.

use std::collections::BTreeSet;

use super::{Carried, ChainRule, ChainState, error::or_nothing, schema};
use crate::{
    AddData, AddPushSource, Checkpoint, DataSlice, DatasetId, ExecuteTransform, FetchStep, MetadataBlock,
    MetadataEvent, Multihash, ReadStep, Seed, SetDataSchema, SetPollingSource, SetTransform, Timestamp, Transform,
};

/// What AddData and ExecuteTransform have in common.
pub(super) struct DataEvent<'a> {
    pub(super) prev_checkpoint: Option<&'a Multihash>,
    pub(super) prev_offset: Option<u64>,
    pub(super) new_data: Option<&'a DataSlice>,
    pub(super) new_checkpoint: Option<&'a Checkpoint>,
    pub(super) new_watermark: Option<Timestamp>,
}

impl<'a> DataEvent<'a> {
    pub(super) fn of(event: &'a MetadataEvent) -> Option<Self> {
        match event {
            MetadataEvent::AddData(event) => Some(Self::from(event)),
            MetadataEvent::ExecuteTransform(event) => Some(Self::from(event)),
            _ => None,
        }
    }
}

impl<'a> From<&'a AddData> for DataEvent<'a> {
    fn from(event: &'a AddData) -> Self {
        Self {
            prev_checkpoint: event.prev_checkpoint.as_ref(),
            prev_offset: event.prev_offset,
            new_data: event.new_data.as_ref(),
            new_checkpoint: event.new_checkpoint.as_ref(),
            new_watermark: event.new_watermark,
        }
    }
}

impl<'a> From<&'a ExecuteTransform> for DataEvent<'a> {
    fn from(event: &'a ExecuteTransform) -> Self {
        Self {
            prev_checkpoint: event.prev_checkpoint.as_ref(),
            prev_offset: event.prev_offset,
            new_data: event.new_data.as_ref(),
            new_checkpoint: event.new_checkpoint.as_ref(),
            new_watermark: event.new_watermark,
        }
    }
}

/// The first block: a Seed, number 0, after nothing.
pub(super) fn check_first(block: &MetadataBlock) -> Result<&Seed, ChainRule> {
    let MetadataEvent::Seed(seed) = &block.event else {
        return Err(ChainRule::FirstBlockMustBeSeed {
            kind: block.event.kind(),
        });
    };
    if block.prev_block_hash.is_some() {
        return Err(ChainRule::PrevBlockNotFound {
            expected: None,
            found: block.prev_block_hash,
        });
    }
    if block.sequence_number != 0 {
        return Err(ChainRule::SequenceIntegrity {
            expected: 0,
            found: block.sequence_number,
        });
    }
    Ok(seed)
}

fn invalid(event: &'static str, reason: impl Into<String>) -> ChainRule {
    ChainRule::InvalidEvent {
        kind: event,
        reason: reason.into(),
    }
}

fn no_op(event: &'static str, reason: impl Into<String>) -> ChainRule {
    ChainRule::NoOpEvent {
        kind: event,
        reason: reason.into(),
    }
}

impl ChainState {
    /// Checks a block against every rule, without moving on to it.
    ///
    /// # Errors
    /// The first rule that the block breaks.
    pub fn check(&self, block: &MetadataBlock) -> Result<(), ChainRule> {
        self.check_link(block)?;
        match &block.event {
            MetadataEvent::AddData(event) => self.check_add_data(event),
            MetadataEvent::ExecuteTransform(event) => self.check_execute_transform(event),
            MetadataEvent::Seed(_) => Err(ChainRule::AppendingSeedBlockToNonEmptyChain),
            MetadataEvent::SetPollingSource(event) => self.check_polling_source(event),
            MetadataEvent::AddPushSource(event) => self.check_push_source(event),
            MetadataEvent::SetTransform(event) => check_transform(event),
            MetadataEvent::SetDataSchema(event) => self.check_schema(event),
            MetadataEvent::SetVocab(_)
            | MetadataEvent::SetAttachments(_)
            | MetadataEvent::SetInfo(_)
            | MetadataEvent::SetLicense(_) => Ok(()),
            MetadataEvent::DisablePushSource(_) | MetadataEvent::DisablePollingSource(_) => Err(invalid(
                block.event.kind(),
                "kamu cannot validate a chain with this event, so none may have it",
            )),
        }
    }

    /// How the block is tied to the one before.
    fn check_link(&self, block: &MetadataBlock) -> Result<(), ChainRule> {
        if matches!(block.event, MetadataEvent::Seed(_)) {
            return Err(ChainRule::AppendingSeedBlockToNonEmptyChain);
        }
        if block.prev_block_hash != Some(self.head) {
            return Err(ChainRule::PrevBlockNotFound {
                expected: Some(self.head),
                found: block.prev_block_hash,
            });
        }
        if self.sequence_number.checked_add(1) != Some(block.sequence_number) {
            let expected = self.sequence_number.saturating_add(1);
            return Err(ChainRule::SequenceIntegrity {
                expected,
                found: block.sequence_number,
            });
        }
        if block.system_time < self.system_time {
            let (previous, found) = (self.system_time, block.system_time);
            return Err(ChainRule::SystemTimeIsNotMonotonic { previous, found });
        }
        Ok(())
    }

    /// Offsets, watermark and checkpoint of an event that may carry data. `before` is what the last one of its kind hands on.
    fn check_data(&self, kind: &'static str, data: &DataEvent<'_>, before: &Carried) -> Result<(), ChainRule> {
        if let Some(slice) = data.new_data {
            let offsets = slice.offset_interval;
            if self.schema.is_none() {
                return Err(invalid(kind, "there is data, but no SetDataSchema before"));
            }
            if offsets.end < offsets.start {
                return Err(invalid(
                    kind,
                    format!("offsets {} to {} run backwards", offsets.start, offsets.end),
                ));
            }
            let expected = match data.prev_offset {
                Some(last) => last
                    .checked_add(1)
                    .ok_or_else(|| invalid(kind, "prevOffset leaves no offset to use"))?,
                None => 0,
            };
            if offsets.start != expected {
                return Err(ChainRule::OffsetsAreNotSequential {
                    expected,
                    found: offsets.start,
                });
            }
        }
        if self.last_data_block.is_some() && data.prev_offset != self.last_offset {
            let found = or_nothing(&data.prev_offset);
            let expected = or_nothing(&self.last_offset);
            return Err(invalid(
                kind,
                format!("prevOffset is {found}, the last offset before is {expected}"),
            ));
        }
        if let Some(previous) = self.watermark
            && data.new_watermark.is_none_or(|found| found < previous)
        {
            return Err(ChainRule::WatermarkIsNotMonotonic {
                previous,
                found: data.new_watermark,
            });
        }
        let expected = before.checkpoint.as_ref();
        if data.prev_checkpoint != expected {
            let found = or_nothing(&data.prev_checkpoint);
            let expected = or_nothing(&expected);
            return Err(invalid(
                kind,
                format!("prevCheckpoint is {found}, the checkpoint before is {expected}"),
            ));
        }
        Ok(())
    }

    /// Whether data, checkpoint or watermark of an event that passed [`Self::check_data`] moved on.
    fn advances(data: &DataEvent<'_>, before: &Carried) -> bool {
        data.new_data.is_some()
            || data.new_checkpoint.map(|checkpoint| &checkpoint.physical_hash) != data.prev_checkpoint
            || data.new_watermark != before.watermark
    }

    fn check_add_data(&self, event: &AddData) -> Result<(), ChainRule> {
        const KIND: &str = "AddData";
        let empty = event.new_data.is_none()
            && event.new_checkpoint.is_none()
            && event.new_watermark.is_none()
            && event.new_source_state.is_none();
        if empty {
            return Err(no_op(KIND, "it holds nothing"));
        }
        let data = DataEvent::from(event);
        let before = self.last_added.unwrap_or_default();
        self.check_data(KIND, &data, &before)?;
        if !Self::advances(&data, &before) && event.new_source_state == self.source_state {
            return Err(no_op(
                KIND,
                "neither data nor checkpoint, watermark or source state moved on",
            ));
        }
        Ok(())
    }

    fn check_execute_transform(&self, event: &ExecuteTransform) -> Result<(), ChainRule> {
        const KIND: &str = "ExecuteTransform";
        if event.new_data.is_none() && event.new_checkpoint.is_none() && event.new_watermark.is_none() {
            return Err(no_op(KIND, "it holds nothing"));
        }
        let data = DataEvent::from(event);
        let carried = self.last_computed.unwrap_or_default();
        self.check_data(KIND, &data, &carried)?;
        let Some(transform) = &self.transform else {
            return Err(invalid(KIND, "there is no SetTransform before"));
        };
        let declared = transform
            .inputs
            .iter()
            .map(|input| input.dataset_ref.parse::<DatasetId>().ok());
        if declared.ne(event.query_inputs.iter().map(|input| Some(input.dataset_id))) {
            return Err(invalid(KIND, "its inputs are not those of SetTransform in their order"));
        }
        let before = self.query_inputs.iter().map(|input| input.dataset_id);
        if !self.query_inputs.is_empty() && before.ne(event.query_inputs.iter().map(|input| input.dataset_id)) {
            return Err(invalid(
                KIND,
                "its inputs are not those of the ExecuteTransform before in their order",
            ));
        }
        for (index, input) in event.query_inputs.iter().enumerate() {
            let bad = |reason: &str| Err(invalid(KIND, format!("input {}: {reason}", input.dataset_id)));
            if let Some(before) = self.query_inputs.get(index) {
                if input.prev_block_hash != before.new_block_hash.or(before.prev_block_hash) {
                    return bad("prevBlockHash is not the last block read before");
                }
                if input.prev_offset != before.new_offset.or(before.prev_offset) {
                    return bad("prevOffset is not the last offset read before");
                }
            }
            if input.new_block_hash.is_some() && input.new_block_hash == input.prev_block_hash {
                return bad("newBlockHash equals prevBlockHash");
            }
            if input.new_offset.is_some() && input.new_offset == input.prev_offset {
                return bad("newOffset equals prevOffset");
            }
            if input.new_offset.is_some() && input.new_block_hash.is_none() {
                return bad("newOffset without newBlockHash");
            }
        }
        let read = event.query_inputs.iter().any(|input| input.new_block_hash.is_some());
        if !Self::advances(&data, &carried) && !read {
            return Err(no_op(KIND, "neither data nor checkpoint, watermark or input moved on"));
        }
        Ok(())
    }

    fn check_polling_source(&self, event: &SetPollingSource) -> Result<(), ChainRule> {
        const KIND: &str = "SetPollingSource";
        if !self.push_sources.is_empty() {
            return Err(invalid(KIND, "the dataset has push sources"));
        }
        if let FetchStep::EthereumLogs {
            chain_id: None,
            node_url: None,
            ..
        } = event.fetch
        {
            return Err(invalid(KIND, "EthereumLogs needs chainId or nodeUrl"));
        }
        check_read(KIND, &event.read)?;
        check_normalized(KIND, event.preprocess.as_ref())
    }

    fn check_push_source(&self, event: &AddPushSource) -> Result<(), ChainRule> {
        const KIND: &str = "AddPushSource";
        if self.polling_source.is_some() {
            return Err(invalid(KIND, "the dataset has a polling source"));
        }
        check_read(KIND, &event.read)?;
        check_normalized(KIND, event.preprocess.as_ref())?;
        if self.push_sources.get(&event.source_name) == Some(event) {
            return Err(no_op(
                KIND,
                format!("source `{}` is defined just so", event.source_name),
            ));
        }
        Ok(())
    }

    fn check_schema(&self, event: &SetDataSchema) -> Result<(), ChainRule> {
        const KIND: &str = "SetDataSchema";
        let Some(new) = &event.schema else {
            // Kamu wrote the legacy form without comparing it to anything, so chains that have it are not held to more.
            return match event.raw_arrow_schema {
                Some(_) => Ok(()),
                None => Err(invalid(KIND, "there is no schema")),
            };
        };
        let Some(current) = &self.schema else { return Ok(()) };
        let old = current.declared().map_err(|error| invalid(KIND, error.to_string()))?;
        let Some(old) = old else { return Ok(()) };
        if schema::same(&old, new) {
            return Err(no_op(KIND, "the schema is the current one"));
        }
        schema::check_evolution(&old, new, current.is_legacy()).map_err(|change| invalid(KIND, change.to_string()))
    }
}

fn check_read(kind: &'static str, read: &ReadStep) -> Result<(), ChainRule> {
    match read.schemas() {
        (Some(_), Some(_)) => Err(invalid(kind, "the read step has both schema and ddlSchema")),
        _ => Ok(()),
    }
}

/// A stored transform has its queries in one form only: the last one unnamed, all before it named.
fn check_normalized(kind: &'static str, transform: Option<&Transform>) -> Result<(), ChainRule> {
    let Some(Transform::Sql(sql)) = transform else {
        return Ok(());
    };
    if sql.query.is_some() {
        return Err(invalid(kind, "SQL is not normalized: `query` instead of `queries`"));
    }
    let Some((last, others)) = sql.queries.as_deref().and_then(|queries| queries.split_last()) else {
        return Err(invalid(kind, "SQL has no queries"));
    };
    if last.alias.is_some() {
        return Err(invalid(kind, "SQL is not normalized: the last query has a name"));
    }
    if others.iter().any(|query| query.alias.is_none()) {
        return Err(invalid(
            kind,
            "SQL is not normalized: a query before the last has no name",
        ));
    }
    Ok(())
}

fn check_transform(event: &SetTransform) -> Result<(), ChainRule> {
    const KIND: &str = "SetTransform";
    if event.inputs.is_empty() {
        return Err(invalid(KIND, "there are no inputs"));
    }
    let mut seen = BTreeSet::new();
    for input in &event.inputs {
        let Ok(id) = input.dataset_ref.parse::<DatasetId>() else {
            return Err(invalid(
                KIND,
                format!("input `{}` is not resolved to a dataset id", input.dataset_ref),
            ));
        };
        if input.alias.is_none() {
            return Err(invalid(KIND, format!("input {id} has no alias")));
        }
        if !seen.insert(id) {
            return Err(invalid(KIND, format!("input {id} appears twice")));
        }
    }
    check_normalized(KIND, Some(&event.transform))
}
