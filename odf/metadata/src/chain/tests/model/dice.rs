//! Blocks that might come next, more often right than wrong.

use super::*;

/// Xorshift: random enough to go everywhere, and the same everywhere.
pub(super) struct Dice(pub(super) u64);

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
pub(super) fn candidate(history: &History, dice: &mut Dice) -> MetadataBlock {
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
