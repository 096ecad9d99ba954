//! Which blocks an ingest adds to the chain (odf-facts §8).

use arrow::datatypes::Schema;

use super::IngestError;
use super::before::Before;
use super::effect::Effect;
use super::ground::Prepared;
use super::stage::Staged;
use odf_metadata::{AddData, DataSlice, MetadataEvent, SetDataSchema, SourceState, Timestamp};
use odf_tables::slice::WrittenSlice;
use odf_tables::types::from_arrow;

/// What to commit.
pub(super) struct Additions {
    /// The events, in order.
    pub(super) events: Vec<MetadataEvent>,
    /// The file that the last of them names.
    pub(super) slice: Option<WrittenSlice>,
    /// What it says about the file.
    pub(super) data: Option<DataSlice>,
    /// Rows in it.
    pub(super) rows: u64,
    /// How many of them had no event time.
    pub(super) without_event_time: u64,
}

/// How far the source was read, and what that is worth.
pub(super) enum Reached {
    /// Said with the rows, and not without any.
    WithRows(Option<SourceState>),
    /// Said in any case: a state that moved on gets a block of its own.
    Always(Option<SourceState>),
}

impl Additions {
    /// The schema of the rows if the dataset has none yet and `schema` is given; rows, if there are any; the state of the
    /// source. Nothing at all if the dataset is up to date.
    pub(super) fn new(
        before: &Before,
        schema: Option<&Schema>,
        staged: Option<Staged>,
        reached: Reached,
    ) -> Result<Additions, IngestError> {
        let mut events = Vec::new();
        // One without columns is not said again.
        let is_news = |schema: &Schema| !before.is_void || schema.fields().len() > before.vocabulary.of_system().len();
        if let (None, Some(schema)) = (&before.schema, schema.filter(|schema| is_news(schema))) {
            events.push(MetadataEvent::SetDataSchema(SetDataSchema {
                raw_arrow_schema: None,
                schema: Some(from_arrow(schema)?),
            }));
        }
        let data = staged.as_ref().map(|staged| before.describe(&staged.slice));
        let (state, counts) = match reached {
            Reached::WithRows(state) => (state, false),
            // An event without anything in it says nothing, and the rules of the chain refuse it.
            Reached::Always(state) => {
                let counts = state != before.source_state && (state.is_some() || before.watermark.is_some());
                (state, counts)
            }
        };
        let latest = staged.as_ref().and_then(|staged| staged.latest);
        let without_event_time = staged.as_ref().map_or(0, |staged| staged.without_event_time);
        let (slice, extra) = match staged {
            Some(staged) => (Some(staged.slice), staged.extra),
            None => (None, None),
        };
        if data.is_some() || counts {
            events.push(MetadataEvent::AddData(AddData {
                prev_checkpoint: before.prev_checkpoint,
                prev_offset: before.prev_offset,
                new_data: data.clone(),
                new_checkpoint: None,
                new_watermark: before.watermark.max(latest),
                new_source_state: state,
                extra,
            }));
        }
        Ok(Additions {
            events,
            rows: slice.as_ref().map_or(0, WrittenSlice::rows),
            without_event_time,
            slice,
            data,
        })
    }

    /// What to commit at this time; nothing if there are no events.
    pub(super) fn at(self, system_time: Timestamp) -> Option<Prepared> {
        let Additions {
            events,
            slice,
            data,
            rows,
            without_event_time,
        } = self;
        (!events.is_empty()).then_some(Prepared {
            events,
            system_time,
            slice,
            data,
            rows,
            without_event_time,
            notes: Vec::new(),
            effect: Effect::default(),
        })
    }
}
