use super::*;
use crate::*;

mod evolution;
mod model;
mod sources;
mod table;
mod transform;

fn time(second: u32) -> Timestamp {
    Timestamp::from_parts(2026, 1, second, 0).unwrap()
}

fn hash(name: &str) -> Multihash {
    Multihash::sha3_256(name.as_bytes())
}

fn id(byte: u8) -> DatasetId {
    DatasetId::from_public_key([byte; 32])
}

fn encoded(block: MetadataBlock) -> EncodedBlock {
    EncodedBlock::encode(block).unwrap()
}

fn seed_block(dataset_kind: DatasetKind) -> MetadataBlock {
    MetadataBlock {
        system_time: time(0),
        prev_block_hash: None,
        sequence_number: 0,
        event: MetadataEvent::Seed(Seed {
            dataset_id: id(1),
            dataset_kind,
        }),
    }
}

/// A chain for tests: a state and a clock.
#[derive(Clone)]
struct Chain(ChainState);

impl Chain {
    fn new() -> Self {
        Self(ChainState::begin(&encoded(seed_block(DatasetKind::Root))).unwrap())
    }

    fn with(mut self, event: impl Into<MetadataEvent>) -> Self {
        self.try_add(event).unwrap();
        self
    }

    fn try_add(&mut self, event: impl Into<MetadataEvent>) -> Result<(), ChainRule> {
        let block = self.0.next_block(event.into(), time(1));
        let before = self.0.clone();
        let result = self.0.apply(&encoded(block)).map_err(|error| *error.rule);
        if result.is_err() {
            assert_eq!(self.0, before, "a refused block changes nothing");
        }
        result
    }

    fn refuses(&self, event: impl Into<MetadataEvent>, rule: ChainRule) {
        assert_eq!(self.clone().try_add(event), Err(rule));
    }

    fn calls_invalid(&self, event: impl Into<MetadataEvent>, said: &str) {
        match self.clone().try_add(event) {
            Err(ChainRule::InvalidEvent { reason, .. }) => assert!(reason.contains(said), "{reason}"),
            other => panic!("expected InvalidEvent ({said}), got {other:?}"),
        }
    }

    fn calls_no_op(&self, event: impl Into<MetadataEvent>) {
        let result = self.clone().try_add(event);
        assert!(matches!(result, Err(ChainRule::NoOpEvent { .. })), "{result:?}");
    }
}

macro_rules! events {
    ($($event:ident),+) => {$(
        impl From<$event> for MetadataEvent {
            fn from(event: $event) -> Self {
                Self::$event(event)
            }
        }
    )+};
}

events!(
    AddData,
    ExecuteTransform,
    SetPollingSource,
    SetTransform,
    SetVocab,
    SetInfo,
    SetDataSchema,
    AddPushSource
);

fn schema() -> SetDataSchema {
    let fields = vec![DataField::new("a", DataType::Int64)];
    SetDataSchema {
        schema: Some(DataSchema { fields, extra: None }),
        raw_arrow_schema: None,
    }
}

fn slice(start: u64, end: u64) -> Option<DataSlice> {
    let offset_interval = OffsetInterval { start, end };
    Some(DataSlice {
        logical_hash: hash("rows"),
        physical_hash: hash("file"),
        offset_interval,
        size: 100,
    })
}

fn checkpoint(name: &str) -> Option<Checkpoint> {
    Some(Checkpoint {
        physical_hash: hash(name),
        size: 7,
    })
}

fn state(value: &str) -> Option<SourceState> {
    let (source_name, kind) = ("default".to_owned(), "odf/etag".to_owned());
    Some(SourceState {
        source_name,
        kind,
        value: value.to_owned(),
    })
}

fn rows(prev_offset: Option<u64>, start: u64, end: u64) -> AddData {
    AddData {
        prev_offset,
        new_data: slice(start, end),
        ..AddData::default()
    }
}

fn sql(query: Option<&str>, queries: Option<&[Option<&str>]>) -> Transform {
    let step = |alias: &Option<&str>| SqlQueryStep {
        alias: alias.map(str::to_owned),
        query: "select 1".to_owned(),
    };
    Transform::Sql(TransformSql {
        engine: "datafusion".to_owned(),
        version: None,
        query: query.map(str::to_owned),
        queries: queries.map(|queries| queries.iter().map(step).collect()),
        temporal_tables: None,
    })
}

/// Rows 0 to 9 are there.
fn filled() -> Chain {
    Chain::new().with(schema()).with(rows(None, 0, 9))
}

#[test]
fn the_first_block_is_a_seed() {
    let begin = |block| ChainState::begin(&encoded(block)).map_err(|error| *error.rule);
    let seed = seed_block(DatasetKind::Root);
    assert!(begin(seed.clone()).is_ok());
    let event = MetadataEvent::SetInfo(SetInfo::default());
    let other = MetadataBlock { event, ..seed.clone() };
    assert_eq!(
        begin(other).unwrap_err(),
        ChainRule::FirstBlockMustBeSeed { kind: "SetInfo" }
    );
    let late = MetadataBlock {
        sequence_number: 1,
        ..seed.clone()
    };
    assert_eq!(
        begin(late).unwrap_err(),
        ChainRule::SequenceIntegrity { expected: 0, found: 1 }
    );
    let found = Some(hash("before"));
    let after = MetadataBlock {
        prev_block_hash: found,
        ..seed
    };
    assert_eq!(
        begin(after).unwrap_err(),
        ChainRule::PrevBlockNotFound { expected: None, found }
    );
}

#[test]
fn a_seed_comes_only_first() {
    let mut chain = Chain::new();
    let seed = encoded(seed_block(DatasetKind::Root));
    let error = chain.0.apply(&seed).unwrap_err();
    assert_eq!(*error.rule, ChainRule::AppendingSeedBlockToNonEmptyChain);
    assert_eq!(error.block, *seed.hash());
}

#[test]
fn blocks_follow_the_head_in_number_and_time() {
    let chain = Chain::new().with(SetInfo::default());
    let good = chain.0.next_block(SetInfo::default().into(), time(1));
    assert_eq!(chain.0.check(&good), Ok(()), "an equal time is fine");

    for found in [None, Some(hash("elsewhere"))] {
        let block = MetadataBlock {
            prev_block_hash: found,
            ..good.clone()
        };
        assert_eq!(
            chain.0.check(&block),
            Err(ChainRule::PrevBlockNotFound {
                expected: Some(chain.0.head),
                found
            })
        );
    }
    for found in [0, 1, 3, u64::MAX] {
        let block = MetadataBlock {
            sequence_number: found,
            ..good.clone()
        };
        assert_eq!(
            chain.0.check(&block),
            Err(ChainRule::SequenceIntegrity { expected: 2, found })
        );
    }
    let block = MetadataBlock {
        system_time: time(0),
        ..good
    };
    let rule = ChainRule::SystemTimeIsNotMonotonic {
        previous: time(1),
        found: time(0),
    };
    assert_eq!(chain.0.check(&block), Err(rule));
}

#[test]
fn a_chain_that_cannot_grow_says_so() {
    let mut chain = Chain::new();
    chain.0.sequence_number = u64::MAX;
    let block = chain.0.next_block(SetInfo::default().into(), time(1));
    assert!(matches!(
        chain.0.check(&block),
        Err(ChainRule::SequenceIntegrity { .. })
    ));
}

#[test]
fn offsets_are_sequential() {
    filled().with(rows(Some(9), 10, 10)).with(rows(Some(10), 11, 20));
    let wrong = |expected, found| ChainRule::OffsetsAreNotSequential { expected, found };
    filled().refuses(rows(Some(9), 11, 12), wrong(10, 11));
    filled().refuses(rows(Some(9), 9, 12), wrong(10, 9));
    filled().refuses(rows(None, 10, 12), wrong(0, 10));
    Chain::new().with(schema()).refuses(rows(None, 1, 2), wrong(0, 1));
    filled().calls_invalid(rows(Some(9), 10, 9), "run backwards");
    filled().calls_invalid(rows(Some(8), 9, 12), "prevOffset is 8, the last offset before is 9");
    filled().calls_invalid(
        AddData {
            new_source_state: state("x"),
            ..AddData::default()
        },
        "prevOffset is nothing",
    );
    Chain::new()
        .with(schema())
        .calls_invalid(rows(Some(u64::MAX), 0, 1), "no offset to use");
}

#[test]
fn offsets_are_carried_over_events_without_data() {
    let idle = AddData {
        prev_offset: Some(9),
        new_source_state: state("x"),
        ..AddData::default()
    };
    let chain = filled().with(idle);
    assert_eq!(chain.0.next_offset(), 10);
    chain.with(rows(Some(9), 10, 11));
}

#[test]
fn data_needs_a_schema() {
    Chain::new().calls_invalid(rows(None, 0, 9), "no SetDataSchema before");
    Chain::new().with(AddData {
        new_watermark: Some(time(5)),
        ..AddData::default()
    });
}

#[test]
fn watermarks_never_go_back() {
    let marked = |prev_offset, watermark| AddData {
        prev_offset,
        new_watermark: watermark,
        new_source_state: state("x"),
        ..AddData::default()
    };
    let chain = filled().with(marked(Some(9), Some(time(5))));
    for found in [None, Some(time(4))] {
        chain.refuses(
            marked(Some(9), found),
            ChainRule::WatermarkIsNotMonotonic {
                previous: time(5),
                found,
            },
        );
    }
    let same = AddData {
        new_source_state: state("y"),
        ..marked(Some(9), Some(time(5)))
    };
    assert_eq!(chain.clone().with(same).0.watermark, Some(time(5)));
    assert_eq!(chain.with(marked(Some(9), Some(time(6)))).0.watermark, Some(time(6)));
}

#[test]
fn checkpoints_are_chained() {
    let with = |prev: Option<&str>, new: &str| AddData {
        prev_checkpoint: prev.map(hash),
        new_checkpoint: checkpoint(new),
        ..AddData::default()
    };
    Chain::new().calls_invalid(with(Some("a"), "b"), "prevCheckpoint");
    let chain = Chain::new().with(with(None, "a"));
    chain.calls_invalid(with(None, "b"), "prevCheckpoint is nothing");
    chain.calls_invalid(with(Some("x"), "b"), "the checkpoint before is f1620");
    let chain = chain.with(with(Some("a"), "b"));
    assert_eq!((chain.0.totals.checkpoints, chain.0.totals.checkpoint_bytes), (2, 14));
    chain.calls_no_op(with(Some("b"), "b"));
}

/// As kamu has it: each kind goes on with its own checkpoint, both with the same offsets and watermark.
#[test]
fn rows_added_and_rows_computed_have_checkpoints_of_their_own() {
    let added = AddData {
        new_checkpoint: checkpoint("a"),
        ..rows(None, 0, 9)
    };
    let input = TransformInput {
        dataset_ref: id(2).to_string(),
        alias: Some("two".to_owned()),
    };
    let declared = SetTransform {
        inputs: vec![input],
        transform: sql(None, Some(&[None])),
    };
    let run = |prev_checkpoint, start| ExecuteTransform {
        query_inputs: vec![ExecuteTransformInput {
            dataset_id: id(2),
            prev_block_hash: None,
            new_block_hash: None,
            prev_offset: None,
            new_offset: None,
        }],
        prev_checkpoint,
        prev_offset: Some(start - 1),
        new_data: slice(start, start),
        new_checkpoint: checkpoint("e"),
        new_watermark: None,
    };
    let chain = Chain::new().with(schema()).with(declared).with(added);
    chain.calls_invalid(run(Some(hash("a")), 10), "prevCheckpoint");
    let chain = chain.with(run(None, 10));
    let next = |prev_checkpoint| AddData {
        prev_checkpoint,
        ..rows(Some(10), 11, 12)
    };
    chain.calls_invalid(next(Some(hash("e"))), "prevCheckpoint");
    chain.with(next(Some(hash("a"))));
}

/// Also before the first row: a block without rows says that there are none.
#[test]
fn offsets_are_carried_from_the_first_event_on() {
    let idle = |prev_offset, second| AddData {
        prev_offset,
        new_watermark: Some(time(second)),
        ..AddData::default()
    };
    let chain = Chain::new().with(schema()).with(idle(None, 1));
    chain.calls_invalid(idle(Some(3), 2), "prevOffset is 3, the last offset before is nothing");
    let chain = Chain::new().with(schema()).with(idle(Some(3), 1));
    chain.calls_invalid(idle(None, 2), "prevOffset is nothing, the last offset before is 3");
    assert_eq!(chain.0.next_offset(), 4);
}

#[test]
fn an_add_data_that_says_nothing_new_is_a_no_op() {
    Chain::new().calls_no_op(AddData::default());
    filled().calls_no_op(AddData {
        prev_offset: Some(9),
        ..AddData::default()
    });
    let idle = AddData {
        prev_offset: Some(9),
        new_watermark: Some(time(5)),
        new_source_state: state("x"),
        ..AddData::default()
    };
    let chain = filled().with(idle.clone());
    chain.calls_no_op(idle.clone());
    let moved = AddData {
        new_source_state: state("y"),
        ..idle.clone()
    };
    assert_eq!(chain.clone().with(moved).0.source_state, state("y"));
    let dropped = AddData {
        new_source_state: None,
        ..idle
    };
    assert_eq!(
        chain.with(dropped).0.source_state,
        None,
        "the state is that of the last AddData, even if absent"
    );
}

#[test]
fn events_that_kamu_cannot_validate_are_refused() {
    let source_name = "a".to_owned();
    let push = MetadataEvent::DisablePushSource(DisablePushSource { source_name });
    Chain::new().calls_invalid(push, "kamu cannot validate");
    Chain::new().calls_invalid(
        MetadataEvent::DisablePollingSource(DisablePollingSource {}),
        "kamu cannot validate",
    );
}

#[test]
fn the_state_knows_what_was_set_last() {
    let info = |text: &str| SetInfo {
        description: Some(text.to_owned()),
        keywords: None,
    };
    let vocab = SetVocab {
        event_time_column: Some("t".to_owned()),
        ..SetVocab::default()
    };
    let license = SetLicense {
        short_name: "CC0".to_owned(),
        name: "CC0".to_owned(),
        spdx_id: None,
        website_url: "https://example.org".to_owned(),
    };
    let attachments = SetAttachments {
        attachments: Attachments::Embedded { items: Vec::new() },
    };
    let chain = filled()
        .with(info("one"))
        .with(info("two"))
        .with(vocab)
        .with(MetadataEvent::SetLicense(license.clone()))
        .with(MetadataEvent::SetAttachments(attachments))
        .0;
    assert_eq!(chain.info, Some(info("two")));
    assert_eq!(chain.license, Some(license));
    assert_eq!(chain.vocabulary().event_time_column, "t");
    assert_eq!(chain.vocabulary().offset_column, "offset");
    assert_eq!(chain.attachments.map(|block| block.sequence_number), Some(7));
    assert_eq!(chain.last_data_block.map(|block| block.sequence_number), Some(2));
    assert_eq!(
        (chain.totals.records, chain.totals.slices, chain.totals.data_bytes),
        (10, 1, 100)
    );
    assert_eq!(chain.blocks(), 8);
}

#[test]
fn errors_name_the_block() {
    let chain = Chain::new();
    let block = encoded(chain.0.next_block(AddData::default().into(), time(1)));
    let error = chain.0.clone().apply(&block).unwrap_err();
    assert!(error.is_no_op());
    assert_eq!(
        error.to_string(),
        format!(
            "block {} (sequence number 1) cannot be appended: NoOpEvent: AddData: it holds nothing",
            block.hash()
        )
    );
}
