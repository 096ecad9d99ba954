//! What is known of a dataset before its new rows.

use std::path::PathBuf;
use std::sync::Arc;

use super::ground::{History, NoHistory, Slices};
use super::{IngestError, merge};
use odf_metadata::chain::ChainState;
use odf_metadata::{
    DataSchema, DataSlice, DataType, DatasetKind, MergeStrategy, Multihash, OffsetInterval, SetVocab, SourceState,
    Timestamp, Vocabulary,
};
use odf_tables::slice::WrittenSlice;

/// The state that new rows meet.
pub(super) struct Before {
    /// How they meet it.
    pub(super) strategy: MergeStrategy,
    pub(super) vocabulary: Vocabulary,
    pub(super) schema: Option<DataSchema>,
    /// There is a schema with no columns but those of the system, and no row: whatever comes first brings its columns.
    pub(super) is_void: bool,
    pub(super) source_state: Option<SourceState>,
    /// The earlier slices; none if the strategy does not look at them.
    pub(super) slices: Arc<dyn Slices>,
    /// Where what is known of them may be kept.
    pub(super) ranges: Option<PathBuf>,
    /// Earlier rows.
    pub(super) rows: u64,
    pub(super) prev_offset: Option<u64>,
    pub(super) prev_checkpoint: Option<Multihash>,
    pub(super) watermark: Option<Timestamp>,
}

impl Before {
    /// A dataset that is still to be made.
    pub(super) fn nothing(strategy: MergeStrategy, event_time: Option<&str>) -> Before {
        Before {
            strategy,
            vocabulary: Vocabulary::from(&SetVocab {
                event_time_column: event_time.map(str::to_owned),
                ..SetVocab::default()
            }),
            schema: None,
            is_void: false,
            source_state: None,
            slices: NoHistory.slices(),
            ranges: None,
            rows: 0,
            prev_offset: None,
            prev_checkpoint: None,
            watermark: None,
        }
    }

    /// A root dataset that is there.
    pub(super) fn of(
        history: &dyn History,
        state: &ChainState,
        strategy: MergeStrategy,
    ) -> Result<Before, IngestError> {
        if state.kind == DatasetKind::Derivative {
            return Err(IngestError::Derivative);
        }
        let slices = if merge::needs_history(&strategy) {
            history.slices()
        } else {
            NoHistory.slices()
        };
        let schema = match &state.schema {
            Some(event) if event.is_legacy() => event.declared()?.map(loosened),
            Some(event) => event.declared()?,
            None => None,
        };
        let vocabulary = state.vocabulary();
        let is_void = state.totals.records == 0
            && schema.as_ref().is_some_and(|schema| {
                let mut fields = schema.fields.iter();
                fields.all(|field| vocabulary.of_system().contains(&&field.name))
            });
        Ok(Before {
            strategy,
            vocabulary,
            schema: schema.filter(|_| !is_void),
            is_void,
            source_state: state.source_state.clone(),
            slices,
            ranges: history.ranges(),
            rows: state.totals.records,
            prev_offset: state.last_offset,
            prev_checkpoint: state.last_added.and_then(|last| last.checkpoint),
            watermark: state.watermark,
        })
    }

    /// The offset of the first new row.
    pub(super) fn next_offset(&self) -> Result<i64, IngestError> {
        let next = self.prev_offset.map_or(Some(0), |last| last.checked_add(1));
        next.and_then(|next| i64::try_from(next).ok()).ok_or(IngestError::Full)
    }

    /// What the chain says about a slice that follows.
    pub(super) fn describe(&self, slice: &WrittenSlice) -> DataSlice {
        let start = self.prev_offset.map_or(0, |last| last + 1);
        DataSlice {
            logical_hash: *slice.logical_hash(),
            physical_hash: *slice.physical_hash(),
            offset_interval: OffsetInterval {
                start,
                end: start + slice.rows() - 1,
            },
            size: slice.size(),
        }
    }
}

/// A schema of the legacy form with every column optional: what that form says about it is not to be relied on.
fn loosened(mut schema: DataSchema) -> DataSchema {
    for field in &mut schema.fields {
        if !matches!(field.data_type, DataType::Option { .. }) {
            let required = std::mem::replace(&mut field.data_type, DataType::Null);
            field.data_type = required.optional();
        }
    }
    schema
}
