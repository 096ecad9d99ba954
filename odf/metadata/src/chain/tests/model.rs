//! Random chains against a second statement of the rules, which keeps the whole history and looks everything up in it.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

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

/// Xorshift: random enough to go everywhere, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.below(sides) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize].clone()
    }

    /// What is right, and now and then something else.
    fn mostly<T: Clone>(&mut self, right: T, others: &[T]) -> T {
        if self.one_in(16) { self.pick(others) } else { right }
    }
}

/// A block that might come next, more often right than wrong.
fn candidate(history: &History, dice: &mut Dice) -> MetadataBlock {
    let (hash, time_before) = match history.last() {
        Some(last) => (Some(*last.hash()), last.block().system_time),
        None => (None, time(10)),
    };
    let sequence = history.0.len() as u64;
    let event = if history.0.is_empty() && !dice.one_in(8) {
        seed_block(DatasetKind::Root).event
    } else {
        event(history, dice)
    };
    MetadataBlock {
        system_time: match dice.below(24) {
            0 => time(9),
            1..8 => Timestamp::from_millis(time_before.millis() + 1000).unwrap(),
            _ => time_before,
        },
        prev_block_hash: dice.mostly(hash, &[None, hash, Some(super::hash("x")), hash]),
        sequence_number: dice.mostly(sequence, &[sequence, sequence + 1, sequence.saturating_sub(1)]),
        event,
    }
}

fn event(history: &History, dice: &mut Dice) -> MetadataEvent {
    match dice.below(40) {
        0..12 => MetadataEvent::AddData(add_data(history, dice)),
        12..20 => MetadataEvent::ExecuteTransform(run(history, dice)),
        20..26 => MetadataEvent::SetDataSchema(schema_after(history.schema(), dice)),
        26..28 => MetadataEvent::SetPollingSource(SetPollingSource {
            fetch: dice.pick(&[
                FetchStep::Url {
                    url: "http://localhost".to_owned(),
                    event_time: None,
                    cache: None,
                    headers: None,
                },
                logs(None, None),
                logs(Some(1), None),
                logs(None, Some("ws://localhost")),
            ]),
            prepare: None,
            read: read(dice),
            preprocess: dice.one_in(3).then(|| queries(dice)),
            merge: MergeStrategy::Append,
        }),
        28..31 => MetadataEvent::AddPushSource(AddPushSource {
            source_name: dice.pick(&["a", "b"]).to_owned(),
            read: read(dice),
            preprocess: dice.one_in(3).then(|| queries(dice)),
            merge: MergeStrategy::Append,
        }),
        31..34 => MetadataEvent::SetTransform(SetTransform {
            inputs: dice.mostly(
                vec![input(2, true), input(3, true)],
                &[
                    vec![],
                    vec![input(2, true), input(2, true)],
                    vec![input(2, false)],
                    vec![input(3, true), input(2, true)],
                    vec![TransformInput {
                        dataset_ref: "by.name".to_owned(),
                        alias: Some("n".to_owned()),
                    }],
                ],
            ),
            transform: queries(dice),
        }),
        34 => MetadataEvent::SetVocab(SetVocab::default()),
        35 => MetadataEvent::SetInfo(SetInfo {
            description: None,
            keywords: None,
        }),
        36 => MetadataEvent::SetLicense(SetLicense {
            short_name: "l".to_owned(),
            name: "l".to_owned(),
            spdx_id: None,
            website_url: "http://localhost".to_owned(),
        }),
        37 => MetadataEvent::SetAttachments(SetAttachments {
            attachments: Attachments::Embedded { items: vec![] },
        }),
        38 => seed_block(DatasetKind::Root).event,
        _ => dice.pick(&[
            MetadataEvent::DisablePollingSource(DisablePollingSource {}),
            MetadataEvent::DisablePushSource(DisablePushSource {
                source_name: "a".to_owned(),
            }),
        ]),
    }
}

/// Rows, checkpoint and watermark of a candidate, with what it says of those before.
fn body(history: &History, before: Option<Checkpoint>, dice: &mut Dice) -> AddData {
    let (watermark, offset) = history.data().unwrap_or_default();
    let prev_offset = dice.mostly(offset, &[None, Some(0), Some(3), offset]);
    let start = prev_offset.map_or(0, |last| last + 1);
    let start = dice.mostly(start, &[start, start + 1, 0]);
    let end = dice.mostly(start + dice.0 % 3, &[start.saturating_sub(1), start]);
    let prev_checkpoint = before.as_ref().map(|file| file.physical_hash);
    let later = Timestamp::from_millis(watermark.map_or(1_000_000, |at| at.millis() + (dice.0 % 2) as i64)).unwrap();
    let right = (watermark.is_some() || dice.one_in(4)).then_some(later);
    AddData {
        prev_checkpoint: dice.mostly(prev_checkpoint, &[None, Some(hash("x"))]),
        prev_offset,
        new_data: (!dice.one_in(3)).then(|| slice(start, end)).flatten(),
        new_checkpoint: dice.pick(&[before, None, None, checkpoint("c"), checkpoint("d")]),
        new_watermark: dice.mostly(right, &[None, Some(Timestamp::from_millis(1000).unwrap())]),
        new_source_state: None,
        extra: None,
    }
}

fn add_data(history: &History, dice: &mut Dice) -> AddData {
    let before = history.add_data().cloned().unwrap_or_default();
    AddData {
        new_source_state: dice.pick(&[before.new_source_state.clone(), None, state("s"), state("t")]),
        ..body(history, before.new_checkpoint, dice)
    }
}

fn run(history: &History, dice: &mut Dice) -> ExecuteTransform {
    let before = history.run();
    let body = body(history, before.and_then(|run| run.new_checkpoint.clone()), dice);
    let declared = history
        .transform()
        .map(|event| event.inputs.clone())
        .unwrap_or_default();
    let ids = declared.iter().filter_map(|input| input.dataset_ref.parse().ok());
    let mut query_inputs: Vec<ExecuteTransformInput> = ids
        .enumerate()
        .map(|(at, dataset_id)| {
            let last = before.and_then(|run| run.query_inputs.get(at));
            let (block, offset) = last.map_or((None, None), |last| {
                (
                    last.new_block_hash.or(last.prev_block_hash),
                    last.new_offset.or(last.prev_offset),
                )
            });
            let prev_block_hash = dice.mostly(block, &[None, Some(hash("x"))]);
            let prev_offset = dice.mostly(offset, &[None, Some(77)]);
            let moved = hash(&dice.below(1000).to_string());
            let new_block_hash = dice.pick(&[None, Some(moved), Some(moved)]);
            let rows = (new_block_hash.is_some() && dice.one_in(2)).then(|| prev_offset.map_or(5, |last| last + 5));
            ExecuteTransformInput {
                dataset_id,
                prev_block_hash,
                new_block_hash: dice.mostly(new_block_hash, &[prev_block_hash, None]),
                prev_offset,
                new_offset: dice.mostly(rows, &[prev_offset, Some(1000)]),
            }
        })
        .collect();
    if dice.one_in(16) {
        query_inputs.reverse();
    }
    if dice.one_in(16) {
        query_inputs.pop();
    }
    ExecuteTransform {
        query_inputs,
        prev_checkpoint: body.prev_checkpoint,
        prev_offset: body.prev_offset,
        new_data: body.new_data,
        new_checkpoint: body.new_checkpoint,
        new_watermark: body.new_watermark,
    }
}

fn logs(chain_id: Option<u64>, node_url: Option<&str>) -> FetchStep {
    FetchStep::EthereumLogs {
        chain_id,
        node_url: node_url.map(str::to_owned),
        filter: None,
        signature: None,
    }
}

fn read(dice: &mut Dice) -> ReadStep {
    let schema = DataSchema {
        fields: vec![DataField::new("a", DataType::Int64)],
        extra: None,
    };
    ReadStep::Parquet {
        ddl_schema: dice.one_in(3).then(|| vec!["a BIGINT".to_owned()]),
        schema: dice.one_in(3).then_some(schema),
    }
}

fn queries(dice: &mut Dice) -> Transform {
    let forms = [
        sql(Some("select 1"), None),
        sql(None, None),
        sql(None, Some(&[])),
        sql(None, Some(&[Some("named")])),
        sql(None, Some(&[None, None])),
        sql(Some("select 1"), Some(&[None])),
    ];
    let right = dice.pick(&[sql(None, Some(&[None])), sql(None, Some(&[Some("step"), None]))]);
    dice.mostly(right, &forms)
}

fn input(byte: u8, named: bool) -> TransformInput {
    TransformInput {
        dataset_ref: id(byte).to_string(),
        alias: named.then(|| "i".to_owned()),
    }
}

/// The current schema with some change, or a first one.
fn schema_after(current: Option<&SetDataSchema>, dice: &mut Dice) -> SetDataSchema {
    let structure = |fields: Vec<DataField>| DataType::Struct { fields };
    let list = |item: DataType| DataType::List {
        item_type: Box::new(item),
        fixed_length: None,
    };
    let timestamp = |unit, timezone: Option<&str>| DataType::Timestamp {
        unit,
        timezone: timezone.map(str::to_owned),
    };
    let mut schema = match current.and_then(|event| event.schema.clone()) {
        Some(schema) => schema,
        None => DataSchema {
            fields: vec![
                DataField::new("a", DataType::Int64),
                DataField::new("b", DataType::String.optional()),
                DataField::new("t", timestamp(None, None)),
                DataField::new("s", structure(vec![DataField::new("x", DataType::Bool)]).optional()),
                DataField::new("l", list(structure(vec![DataField::new("y", DataType::Bool)]))),
            ],
            extra: None,
        },
    };
    let fields = &mut schema.fields;
    let name = format!("n{}", dice.below(100_000));
    let at = dice.below(fields.len() as u64) as usize;
    let attributes = ExtraAttributes::from_json(&format!("{{\"k\":\"{name}\"}}")).ok();
    let new = |data_type: DataType, optional: bool| match optional {
        true => DataField::new(name.clone(), data_type.optional()),
        false => DataField::new(name.clone(), data_type),
    };
    let (optional, nested) = (!dice.one_in(4), structure(vec![DataField::new("deep", DataType::Int8)]));
    match dice.below(12) {
        0 => {}
        1 => fields.reverse(),
        2 => drop(fields.remove(at)),
        3 => fields[at].extra = attributes,
        4 => schema.extra = attributes,
        5 => {
            let t = fields.iter_mut().find(|field| field.name == "t");
            if let Some(t) = t {
                t.data_type = dice.pick(&[
                    timestamp(Some(TimeUnit::Millisecond), Some("UTC")),
                    timestamp(Some(TimeUnit::Millisecond), None),
                    timestamp(Some(TimeUnit::Second), None),
                ]);
            }
        }
        6 => fields[at].data_type = dice.pick(&[DataType::Int32, DataType::String.optional(), list(DataType::Int8)]),
        7 => {
            let required = fields[at].data_type.clone();
            fields[at].data_type = match required {
                DataType::Option { inner } => *inner,
                required => required.optional(),
            };
        }
        8 => fields.insert(at, new(nested, optional)),
        9 => fields.push(new(DataType::Float64, optional)),
        // Inside a struct, and inside a struct inside a list.
        _ => {
            for field in fields.iter_mut() {
                let mut inner = match &mut field.data_type {
                    DataType::Option { inner } => &mut **inner,
                    other => other,
                };
                if let DataType::List { item_type, .. } = inner {
                    inner = item_type;
                }
                if let DataType::Struct { fields } = inner
                    && dice.one_in(2)
                {
                    fields.push(new(DataType::Int16, optional));
                }
            }
        }
    }
    SetDataSchema {
        raw_arrow_schema: None,
        schema: Some(schema),
    }
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
