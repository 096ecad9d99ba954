//! Random chains against a second statement of the rules, which keeps the whole history and looks everything up in it.

mod dice;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use dice::{Dice, candidate};

const FIRST: &str = "FirstBlockMustBeSeed";
const SEED: &str = "AppendingSeedBlockToNonEmptyChain";
const PREV: &str = "PrevBlockNotFound";
const SEQUENCE: &str = "SequenceIntegrity";
const TIME: &str = "SystemTimeIsNotMonotonic";
const WATERMARK: &str = "WatermarkIsNotMonotonic";
const OFFSETS: &str = "OffsetsAreNotSequential";
const INVALID: &str = "InvalidEvent";
const NO_OP: &str = "NoOpEvent";

/// How many blocks a random chain is offered.
const STEPS: usize = 40;

/// Every block so far.
#[derive(Default)]
struct History(Vec<EncodedBlock>);

impl History {
    fn last(&self) -> Option<&EncodedBlock> {
        self.0.last()
    }

    /// The newest event that `pick` finds something in.
    fn newest<'a, T>(&'a self, pick: impl Fn(&'a MetadataEvent) -> Option<T>) -> Option<T> {
        self.0.iter().rev().find_map(|block| pick(&block.block().event))
    }

    fn any(&self, is: impl Fn(&MetadataEvent) -> bool) -> bool {
        self.0.iter().any(|block| is(&block.block().event))
    }

    fn add_data(&self) -> Option<&AddData> {
        self.newest(|event| match event {
            MetadataEvent::AddData(event) => Some(event),
            _ => None,
        })
    }

    fn run(&self) -> Option<&ExecuteTransform> {
        self.newest(|event| match event {
            MetadataEvent::ExecuteTransform(event) => Some(event),
            _ => None,
        })
    }

    fn transform(&self) -> Option<&SetTransform> {
        self.newest(|event| match event {
            MetadataEvent::SetTransform(event) => Some(event),
            _ => None,
        })
    }

    fn schema(&self) -> Option<&SetDataSchema> {
        self.newest(|event| match event {
            MetadataEvent::SetDataSchema(event) => Some(event),
            _ => None,
        })
    }

    /// Watermark and last offset of the newest event that may have data.
    fn data(&self) -> Option<(Option<Timestamp>, Option<u64>)> {
        self.newest(|event| match event {
            MetadataEvent::AddData(e) => Some((e.new_watermark, end_of(&e.new_data, e.prev_offset))),
            MetadataEvent::ExecuteTransform(e) => Some((e.new_watermark, end_of(&e.new_data, e.prev_offset))),
            _ => None,
        })
    }
}

fn end_of(slice: &Option<DataSlice>, carried: Option<u64>) -> Option<u64> {
    slice.as_ref().map(|slice| slice.offset_interval.end).or(carried)
}

/// Names of all rules that a block would break.
fn broken(history: &History, block: &MetadataBlock) -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    let mut rule = |name, holds: bool| {
        if !holds {
            found.insert(name);
        }
    };
    let is_seed = matches!(block.event, MetadataEvent::Seed(_));
    let Some(last) = history.last() else {
        rule(FIRST, is_seed);
        rule(PREV, block.prev_block_hash.is_none());
        rule(SEQUENCE, block.sequence_number == 0);
        return found;
    };
    rule(SEED, !is_seed);
    rule(PREV, block.prev_block_hash == Some(*last.hash()));
    rule(SEQUENCE, block.sequence_number == history.0.len() as u64);
    rule(TIME, block.system_time >= last.block().system_time);
    match &block.event {
        MetadataEvent::AddData(event) => {
            let before = history.add_data();
            let checkpoint = before.and_then(|before| before.new_checkpoint.clone());
            let has = (&event.new_data, &event.new_checkpoint, event.new_watermark);
            data(history, has, event.prev_offset, &mut rule);
            rule(
                INVALID,
                event.prev_checkpoint == checkpoint.map(|file| file.physical_hash),
            );
            let nothing = event.new_data.is_none()
                && event.new_checkpoint.as_ref().map(|file| file.physical_hash) == event.prev_checkpoint
                && event.new_watermark == before.and_then(|before| before.new_watermark)
                && event.new_source_state == before.and_then(|before| before.new_source_state.clone());
            rule(NO_OP, !nothing);
            let empty = has == (&None, &None, None) && event.new_source_state.is_none();
            rule(NO_OP, !empty);
        }
        MetadataEvent::ExecuteTransform(event) => {
            let before = history.run();
            let checkpoint = before.and_then(|before| before.new_checkpoint.clone());
            let has = (&event.new_data, &event.new_checkpoint, event.new_watermark);
            data(history, has, event.prev_offset, &mut rule);
            rule(
                INVALID,
                event.prev_checkpoint == checkpoint.map(|file| file.physical_hash),
            );
            inputs(history, &event.query_inputs, &mut rule);
            let nothing = event.new_data.is_none()
                && event.new_checkpoint.as_ref().map(|file| file.physical_hash) == event.prev_checkpoint
                && event.new_watermark == before.and_then(|before| before.new_watermark)
                && event.query_inputs.iter().all(|input| input.new_block_hash.is_none());
            rule(NO_OP, !nothing && has != (&None, &None, None));
        }
        MetadataEvent::SetPollingSource(event) => {
            rule(
                INVALID,
                !history.any(|event| matches!(event, MetadataEvent::AddPushSource(_))),
            );
            if let FetchStep::EthereumLogs { chain_id, node_url, .. } = &event.fetch {
                rule(INVALID, chain_id.is_some() || node_url.is_some());
            }
            rule(INVALID, one_schema(&event.read));
            rule(INVALID, event.preprocess.as_ref().is_none_or(normalized));
        }
        MetadataEvent::AddPushSource(event) => {
            rule(
                INVALID,
                !history.any(|event| matches!(event, MetadataEvent::SetPollingSource(_))),
            );
            rule(INVALID, one_schema(&event.read));
            rule(INVALID, event.preprocess.as_ref().is_none_or(normalized));
            let same_name = history.newest(|before| match before {
                MetadataEvent::AddPushSource(before) if before.source_name == event.source_name => Some(before),
                _ => None,
            });
            rule(NO_OP, same_name != Some(event));
        }
        MetadataEvent::SetTransform(event) => {
            let refs: BTreeSet<&str> = event.inputs.iter().map(|input| input.dataset_ref.as_str()).collect();
            rule(INVALID, !event.inputs.is_empty() && refs.len() == event.inputs.len());
            rule(INVALID, refs.iter().all(|text| text.starts_with("did:odf:fed01")));
            rule(INVALID, event.inputs.iter().all(|input| input.alias.is_some()));
            rule(INVALID, normalized(&event.transform));
        }
        MetadataEvent::SetDataSchema(event) => {
            let new = event.schema.as_ref().unwrap();
            if let Some(old) = history.schema().map(|event| event.schema.as_ref().unwrap()) {
                rule(NO_OP, flat(old) != flat(new) || old.extra != new.extra);
                rule(INVALID, may_become(old, new));
            }
        }
        MetadataEvent::DisablePushSource(_) | MetadataEvent::DisablePollingSource(_) => rule(INVALID, false),
        _ => {}
    }
    found
}

type Has<'a> = (&'a Option<DataSlice>, &'a Option<Checkpoint>, Option<Timestamp>);

/// What holds for rows wherever they come from.
fn data(history: &History, has: Has<'_>, prev_offset: Option<u64>, rule: &mut impl FnMut(&'static str, bool)) {
    let (slice, _, watermark) = has;
    if let Some(slice) = slice {
        let OffsetInterval { start, end } = slice.offset_interval;
        rule(INVALID, history.schema().is_some());
        rule(INVALID, start <= end);
        rule(OFFSETS, start == prev_offset.map_or(0, |last| last + 1));
    }
    if let Some((before, offset)) = history.data() {
        rule(INVALID, prev_offset == offset);
        rule(WATERMARK, before.is_none() || watermark >= before);
    }
}

fn inputs(history: &History, inputs: &[ExecuteTransformInput], rule: &mut impl FnMut(&'static str, bool)) {
    let ids: Vec<String> = inputs.iter().map(|input| input.dataset_id.to_string()).collect();
    let declared = history
        .transform()
        .map(|event| event.inputs.iter().map(|input| input.dataset_ref.clone()));
    rule(
        INVALID,
        declared.is_some_and(|declared| declared.collect::<Vec<_>>() == ids),
    );
    let before = history.run().map(|run| &run.query_inputs);
    if let Some(before) = before {
        rule(
            INVALID,
            before
                .iter()
                .map(|input| input.dataset_id)
                .eq(inputs.iter().map(|input| input.dataset_id)),
        );
    }
    for (at, input) in inputs.iter().enumerate() {
        if let Some(before) = before.and_then(|before| before.get(at)) {
            rule(
                INVALID,
                input.prev_block_hash == before.new_block_hash.or(before.prev_block_hash),
            );
            rule(INVALID, input.prev_offset == before.new_offset.or(before.prev_offset));
        }
        rule(
            INVALID,
            input.new_block_hash.is_none() || input.new_block_hash != input.prev_block_hash,
        );
        rule(
            INVALID,
            input.new_offset.is_none() || input.new_offset != input.prev_offset,
        );
        rule(INVALID, input.new_offset.is_none() || input.new_block_hash.is_some());
    }
}

fn one_schema(read: &ReadStep) -> bool {
    let ReadStep::Parquet { ddl_schema, schema } = read else {
        unreachable!("no other is made here")
    };
    ddl_schema.is_none() || schema.is_none()
}

fn normalized(transform: &Transform) -> bool {
    let Transform::Sql(sql) = transform;
    let names: Vec<bool> = sql
        .queries
        .iter()
        .flatten()
        .map(|query| query.alias.is_some())
        .collect();
    sql.query.is_none() && names.iter().rev().enumerate().all(|(at, named)| *named == (at > 0)) && !names.is_empty()
}

/// Every field with those inside it by path, in order: what it is, whether it is optional, its attributes.
fn flat(schema: &DataSchema) -> Vec<(String, (String, bool), Option<ExtraAttributes>)> {
    fn add(
        path: &str,
        data_type: &DataType,
        extra: &Option<ExtraAttributes>,
        all: &mut Vec<(String, (String, bool), Option<ExtraAttributes>)>,
    ) {
        let (inner, optional) = match data_type {
            DataType::Option { inner } => (&**inner, true),
            other => (other, false),
        };
        let name = match inner {
            DataType::Struct { .. } => "struct".to_owned(),
            DataType::List { fixed_length, .. } => format!("list {fixed_length:?}"),
            DataType::Timestamp { unit, timezone } => {
                let zone = timezone.as_deref().unwrap_or("UTC");
                format!("timestamp {:?} {zone}", unit.unwrap_or(TimeUnit::Millisecond))
            }
            other => format!("{other:?}"),
        };
        all.push((path.to_owned(), (name, optional), extra.clone()));
        match inner {
            DataType::Struct { fields } => {
                for field in fields {
                    add(&format!("{path}.{}", field.name), &field.data_type, &field.extra, all);
                }
            }
            DataType::List { item_type, .. } => add(&format!("{path}[]"), item_type, &None, all),
            _ => {}
        }
    }
    let mut all = Vec::new();
    for field in &schema.fields {
        add(&field.name, &field.data_type, &field.extra, &mut all);
    }
    all
}

/// Whether every old field is still there as it was, and every new one is optional unless it is part of a new one.
fn may_become(old: &DataSchema, new: &DataSchema) -> bool {
    let map = |schema| {
        flat(schema)
            .into_iter()
            .map(|(path, what, _)| (path, what))
            .collect::<BTreeMap<_, _>>()
    };
    let (old, new) = (map(old), map(new));
    let parent = |path: &str| path.rfind(['.', '[']).map(|at| path[..at].to_owned());
    old.iter().all(|(path, what)| new.get(path) == Some(what))
        && new.iter().all(|(path, (_, optional))| {
            let part_of_new = parent(path).is_some_and(|parent| !old.contains_key(&parent));
            old.contains_key(path) || part_of_new || *optional
        })
}

/// Offers blocks to chain and model; tells `hear` of each what came of it.
fn play(seed: u64, hear: &mut dyn FnMut(&MetadataEvent, Option<&str>)) {
    let mut dice = Dice(seed | 1);
    let (mut history, mut state) = (History::default(), None);
    for _ in 0..STEPS {
        let block = encoded(candidate(&history, &mut dice));
        let expected = broken(&history, block.block());
        let before = state.clone();
        match ChainState::append(&mut state, &block) {
            Ok(()) => {
                assert!(expected.is_empty(), "accepted, but {expected:?}: {block:?}");
                hear(&block.block().event, None);
                history.0.push(block);
                let state = state.as_ref().unwrap();
                let (watermark, offset) = history.data().unwrap_or_default();
                assert_eq!((state.watermark, state.last_offset), (watermark, offset));
                assert_eq!(state.schema.as_ref(), history.schema());
                assert_eq!(state.blocks(), history.0.len() as u64);
            }
            Err(error) => {
                let text = error.rule.to_string();
                let name = text.split(':').next().unwrap();
                assert!(
                    expected.contains(name),
                    "refused with {text}, expected {expected:?}: {block:?}"
                );
                assert_eq!(state, before);
                hear(&block.block().event, Some(name));
            }
        }
    }
    assert_eq!(ChainState::replay(&history.0).unwrap(), state);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn chain_and_model_agree(seed in any::<u64>()) {
        play(seed, &mut |_, _| {});
    }
}

/// The random chains go everywhere: every rule is broken, and every event that may be appended is.
#[test]
fn random_chains_reach_every_rule_and_event() {
    let (mut rules, mut events) = (BTreeMap::new(), BTreeMap::new());
    for seed in 0..400_u64 {
        play(
            seed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            &mut |event, refused| match refused {
                Some(rule) => *rules.entry((event.kind(), rule.to_owned())).or_insert(0) += 1,
                None => *events.entry(event.kind()).or_insert(0) += 1,
            },
        );
    }
    assert_eq!(events.len(), 11, "{events:?}");
    assert!(events.values().all(|count| *count > 20), "{events:?}");
    let names: BTreeSet<&str> = rules.keys().map(|(_, rule)| rule.as_str()).collect();
    let all = BTreeSet::from([FIRST, SEED, PREV, SEQUENCE, TIME, WATERMARK, OFFSETS, INVALID, NO_OP]);
    assert_eq!(names, all);
    for (kind, rule) in [
        ("AddData", NO_OP),
        ("AddData", INVALID),
        ("AddData", WATERMARK),
        ("AddData", OFFSETS),
        ("ExecuteTransform", NO_OP),
        ("ExecuteTransform", INVALID),
        ("ExecuteTransform", WATERMARK),
        ("ExecuteTransform", OFFSETS),
        ("SetPollingSource", INVALID),
        ("AddPushSource", INVALID),
        ("AddPushSource", NO_OP),
        ("SetTransform", INVALID),
        ("SetDataSchema", INVALID),
        ("SetDataSchema", NO_OP),
    ] {
        let count = rules.get(&(kind, rule.to_owned())).copied().unwrap_or(0);
        assert!(count > 5, "{kind} broke {rule} {count} times");
    }
}
