//! Blocks whose hashes are known from kamu.

use super::*;

fn sha3(text: &str) -> Multihash {
    Multihash::sha3_256(text.as_bytes())
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn noon() -> Timestamp {
    time("2020-01-01T12:00:00Z")
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn extra(json: &str) -> Option<ExtraAttributes> {
    Some(ExtraAttributes::from_json(json).unwrap())
}

/// The envelope of kamu's test vectors.
fn block(event: MetadataEvent) -> EncodedBlock {
    let prev_block_hash = Some(sha3("prev"));
    EncodedBlock::encode(MetadataBlock {
        system_time: noon(),
        prev_block_hash,
        sequence_number: 117,
        event,
    })
    .unwrap()
}

fn assert_hash(number: u32, event: MetadataEvent, expected: &str) {
    let block = block(event);
    assert_eq!(hex(block.hash().digest()), expected, "vector {number}");
    assert_eq!(
        EncodedBlock::decode(block.bytes().clone()),
        Ok(block),
        "vector {number}"
    );
}

fn slice() -> DataSlice {
    DataSlice {
        logical_hash: sha3("logical"),
        physical_hash: sha3("physical"),
        offset_interval: OffsetInterval { start: 10, end: 99 },
        size: 100,
    }
}

const INPUT1: &str = "did:odf:fed01816ef0a9abe93aba816ef0a9abe93aba90e6065747170300c0d3d30c2cd8d7a4";
const INPUT2: &str = "did:odf:fed01826ef0a9abea3a3a826ef0a9abea3a3a90e6065747270300c1d3b30a2cd9d724";
const FOO: &str = "did:odf:fed01666f6fb3b7370000666f6fb3b737000060f6f60600000000895cddbcb7f7b8cc";

#[test]
fn add_data() {
    let nothing = AddData::default();
    assert_hash(
        1,
        MetadataEvent::AddData(nothing),
        "a93874702479f83ddff1e7a660ca78085def333c86501b0d895fa3aec79c7189",
    );
    let mut event = AddData {
        prev_checkpoint: Some(sha3("prev")),
        prev_offset: Some(9),
        ..AddData::default()
    };
    let expected = "86aeb7dee0502b4886761de5e45b5111c0bc9e0fbfee02e3685487109305ef56";
    assert_hash(2, MetadataEvent::AddData(event.clone()), expected);
    event.new_watermark = Some(noon());
    let expected = "d1b412dab2a6af53f3e1b183834557bbf1c4689e2fc9b92fc0d04741ef607ecc";
    assert_hash(3, MetadataEvent::AddData(event.clone()), expected);
    event.new_data = Some(slice());
    let expected = "1fcf10cb843746c4c44e6c288e216995701aa073426fc4bebe14f1680f8ec6d1";
    assert_hash(4, MetadataEvent::AddData(event), expected);
    let mut event = AddData {
        prev_checkpoint: Some(sha3("checkpoint")),
        prev_offset: Some(9),
        new_data: Some(slice()),
        new_source_state: Some(SourceState {
            source_name: "push-source-1".to_owned(),
            kind: "kamu/kafka-offset".to_owned(),
            value: "SOME_OFFSET".to_owned(),
        }),
        ..AddData::default()
    };
    let expected = "9326dc5daab04877a9f006ff6b1636a8fa9dcec9615b54f741a1a90091eaf694";
    assert_hash(7, MetadataEvent::AddData(event.clone()), expected);
    event.extra = extra(r#"{"opendatafabric.org/linkedObjects":{"numObjectsNaive":10,"sizeNaive":100}}"#);
    let expected = "54f64c642cca6f67416ebe2b29e5d9414ece91f819efe97cd437fbe542c61bbb";
    assert_hash(8, MetadataEvent::AddData(event), expected);
}

fn sql(query: &str, version: Option<&str>) -> Transform {
    Transform::Sql(TransformSql {
        engine: "spark".to_owned(),
        version: version.map(str::to_owned),
        query: Some(query.to_owned()),
        queries: None,
        temporal_tables: None,
    })
}

#[test]
fn set_polling_source() {
    let mut event = SetPollingSource {
        fetch: FetchStep::FilesGlob {
            path: "./*.csv".to_owned(),
            event_time: Some(EventTimeSource::FromMetadata),
            cache: Some(SourceCaching::Forever),
            order: Some(SourceOrdering::ByName),
        },
        prepare: Some(vec![PrepStep::Decompress {
            format: CompressionFormat::Gzip,
            sub_path: None,
        }]),
        read: ReadStep::GeoJson {
            ddl_schema: Some(words(&["a: INT", "b: INT"])),
            schema: None,
        },
        preprocess: Some(sql("SELECT * FROM input", Some("1.0.0"))),
        merge: MergeStrategy::Ledger {
            primary_key: words(&["a"]),
        },
    };
    let expected = "eb61498b7362d334131a8486a5ce4cc2638d7c1aa3e4da82a19cf834a77df718";
    assert_hash(5, MetadataEvent::SetPollingSource(event.clone()), expected);
    let fields = vec![
        DataField::new("a", DataType::Int32),
        DataField::new("b", DataType::Int32),
    ];
    event.read = ReadStep::GeoJson {
        ddl_schema: None,
        schema: Some(DataSchema { fields, extra: None }),
    };
    let expected = "f96c90e9e9700819ba05d87f66b200a18a08404706ac62cde6d68bc350e73861";
    assert_hash(6, MetadataEvent::SetPollingSource(event), expected);
}

#[test]
fn set_transform() {
    let input = |dataset_ref: &str, alias: &str| TransformInput {
        dataset_ref: dataset_ref.to_owned(),
        alias: Some(alias.to_owned()),
    };
    let event = SetTransform {
        inputs: vec![input(INPUT1, "input1"), input("input2", "input2")],
        transform: sql("SELECT * FROM input1 UNION ALL SELECT * FROM input2", None),
    };
    let expected = "bb6aa1f9689b794c75affa709ae2477b209411d9ad092c2318ecd9ea94121bcc";
    assert_hash(9, MetadataEvent::SetTransform(event), expected);
}

#[test]
fn execute_transform() {
    let input = |id: &str, prev_offset, new_offset| ExecuteTransformInput {
        dataset_id: id.parse().unwrap(),
        prev_block_hash: Some(sha3("a")),
        new_block_hash: Some(sha3("b")),
        prev_offset,
        new_offset,
    };
    let event = ExecuteTransform {
        query_inputs: vec![input(INPUT1, Some(9), Some(20)), input(INPUT2, None, None)],
        prev_checkpoint: Some(sha3("checkpoint")),
        prev_offset: Some(9),
        new_data: Some(DataSlice {
            logical_hash: sha3("foo"),
            physical_hash: sha3("bar"),
            offset_interval: OffsetInterval { start: 10, end: 19 },
            size: 10,
        }),
        new_checkpoint: None,
        new_watermark: Some(noon()),
    };
    let expected = "21cab7396525e614beeafe21c05a38bf597a39a191cc14147b9c5ec32210cf82";
    assert_hash(10, MetadataEvent::ExecuteTransform(event), expected);
}

#[test]
fn set_data_schema() {
    let with = |field: DataField, json: &str| DataField {
        extra: extra(json),
        ..field
    };
    let city = DataField::new("city", DataType::String);
    let census = DataField::new("census", DataType::String.optional());
    let links = DataType::List {
        item_type: Box::new(DataType::String),
        fixed_length: None,
    };
    let schema = DataSchema {
        fields: vec![
            with(
                city,
                r#"{"arrow.apache.org/bufferEncoding":{"kind":"View","offsetBitWidth":32}}"#,
            ),
            DataField::new("population", DataType::UInt64),
            with(
                census,
                r#"{"opendatafabric.org/type":{"kind":"ObjectLink","linkType":{"kind":"Multihash"}}}"#,
            ),
            DataField::new("links", links),
        ],
        extra: extra(r#"{"kamu.dev/archetype":"Collection"}"#),
    };
    let event = SetDataSchema {
        raw_arrow_schema: None,
        schema: Some(schema),
    };
    let expected = "80865248519d55fa04598e24ba42884728efe70956e640dca4df5ec8043c69ca";
    assert_hash(11, MetadataEvent::SetDataSchema(event), expected);
}

#[test]
fn set_data_schema_in_the_legacy_form() {
    let raw_arrow_schema = Some(legacy::tests::int64_and_bool());
    let event = SetDataSchema {
        raw_arrow_schema,
        schema: None,
    };
    let expected = "a7e79d088ca7bac689f12d71ae64b93e7bab62a7db2fec83ea89e9bf90dd89ed";
    assert_hash(12, MetadataEvent::SetDataSchema(event), expected);
}

fn seed(id: &str, dataset_kind: DatasetKind) -> MetadataEvent {
    MetadataEvent::Seed(Seed {
        dataset_id: id.parse().unwrap(),
        dataset_kind,
    })
}

#[test]
fn blocks_known_byte_for_byte() {
    const NOTHING_ADDED: &str = "140000000000000000000a0018000c00080004000a0000001400000003000000000040000000000000000000700000001400000000000e002c001c0018000c000b0004000e0000002c000000000000017500000000000000000000001c000000e407000001000000c0a800000000000004000400040000002200000016209eb949bd8ff0bb1d827f11809aebc6bd0d5955c7f368469a913c70d1966202720000";
    assert_eq!(
        hex(block(MetadataEvent::AddData(AddData::default())).bytes()),
        NOTHING_ADDED
    );

    const DESCRIBED: &str = "140000000000000000000a0018000c00080004000a0000001400000003000000000040000000000000000000480000001400000000000e001e000c00000000000b0004000e00000020000000000000080208000001000000c0a80000000000000000060008000400060000000400000003000000666f6f00";
    let first = |time_text: &str, event| MetadataBlock {
        system_time: time(time_text),
        prev_block_hash: None,
        sequence_number: 0,
        event,
    };
    let info = SetInfo {
        description: Some("foo".to_owned()),
        keywords: None,
    };
    let described = first("2050-01-01T12:00:00Z", MetadataEvent::SetInfo(info));
    let described = EncodedBlock::encode(described).unwrap();
    assert_eq!(hex(described.bytes()), DESCRIBED);
    let expected = "e4773ca5765b41781e721cb891182e43a2df35665cd82b378e54b9ea25f4f50f";
    assert_eq!(hex(described.hash().digest()), expected);

    const SEED: &str = "140000000000000000000a0018000c00080004000a0000001400000003000000000040000000000000000000680000001400000000000e001e000c00000000000b0004000e0000002000000000000003e80700003c000000010000000065cd1d0000060008000400060000000400000022000000ed01666f6fb3b7370000666f6fb3b737000060f6f60600000000895cddbcb7f7b8cc0000";
    let kinds = [
        (
            DatasetKind::Root,
            "247e3a3935c62a7a8e82c173af5aa25bff55fb8933a46068865b7fbe671d6ef6",
        ),
        (
            DatasetKind::Derivative,
            "8ba80bb1974e8af5057d4b56c55bb8bc2f663b1f2644451823c05e32710d5b7a",
        ),
    ];
    for (kind, expected) in kinds {
        let block = EncodedBlock::encode(first("2024-02-29T00:00:01.5Z", seed(FOO, kind))).unwrap();
        assert_eq!(hex(block.hash().digest()), expected);
        if kind == DatasetKind::Root {
            assert_eq!(hex(block.bytes()), SEED);
            assert_eq!(EncodedBlock::decode(unhex(SEED)), Ok(block));
        }
    }
}

/// The chain of kamu's full-stack test; its last hash is a constant there and commits to all before.
#[test]
fn full_stack_chain() {
    let noon = time("2050-01-01T12:00:00Z");
    let utc = || DataType::Timestamp {
        unit: Some(TimeUnit::Millisecond),
        timezone: Some("UTC".to_owned()),
    };
    let fields = [
        ("offset", DataType::Int64),
        ("op", DataType::Int32),
        ("system_time", utc()),
        ("event_time", utc()),
        ("city", DataType::String),
        ("population", DataType::UInt64),
    ];
    let fields = fields
        .into_iter()
        .map(|(name, data_type)| DataField::new(name, data_type))
        .collect();
    let readme = AttachmentEmbedded {
        path: "README.md".to_owned(),
        content: "Blah".to_owned(),
    };
    let new_data = DataSlice {
        logical_hash: "f9680c00120440446fcdeef120c68757288af2391e174a83831812756c56b7298be251608d5"
            .parse()
            .unwrap(),
        physical_hash: "f1620a0bf8dbbc4830e0d9a43f26bbebff095a5a84ebc375cb67d2d330531b9254fbe"
            .parse()
            .unwrap(),
        offset_interval: OffsetInterval { start: 0, end: 1 },
        size: 1921,
    };
    let id = "did:odf:fed01df230b49615d175307d580c33d6fda61fc7b9aec91df0f5c1a5ebe3b8cbfee02";
    let events = [
        (
            seed(id, DatasetKind::Root),
            "f162074228c8ada2c22acd334db35a9327a5f14374f73799753093b3f6bbc31595268",
        ),
        (
            MetadataEvent::SetAttachments(SetAttachments {
                attachments: Attachments::Embedded { items: vec![readme] },
            }),
            "f16203546e97b0bf624a60d6638aaa3b01bb1bddccb82b8f47d47c79efdfc0f9ba975",
        ),
        (
            MetadataEvent::SetInfo(SetInfo {
                description: Some("Test dataset".to_owned()),
                keywords: Some(words(&["foo", "bar"])),
            }),
            "f1620e1267219adbbe5fac61f771d2bab6be1cf54e7d6667a43d752dcae38bb2d37d5",
        ),
        (
            MetadataEvent::SetLicense(SetLicense {
                short_name: "apache-2.0".to_owned(),
                name: "apache-2.0".to_owned(),
                spdx_id: None,
                website_url: "https://www.apache.org/licenses/LICENSE-2.0".to_owned(),
            }),
            "f1620e060b7811b536afc9510b94ff7d89005591534a3cda7282d12df77b802028a62",
        ),
        (
            MetadataEvent::SetDataSchema(SetDataSchema {
                raw_arrow_schema: None,
                schema: Some(DataSchema { fields, extra: None }),
            }),
            "f162036322a221f6724beb634dd527abe136df7ba3743b3b1b42cc056da24b18dd7b1",
        ),
        (
            MetadataEvent::AddData(AddData {
                new_data: Some(new_data),
                new_watermark: Some(noon),
                ..AddData::default()
            }),
            "f1620efdd11877825ad5f30fce4fb64a130e3d6273ea8fc81d72507c59081cc1d430e",
        ),
    ];
    let mut prev_block_hash = None;
    for (sequence_number, (event, expected)) in (0..).zip(events) {
        let block = MetadataBlock {
            system_time: noon,
            prev_block_hash,
            sequence_number,
            event,
        };
        let block = EncodedBlock::encode(block).unwrap();
        assert_eq!(block.hash().to_string(), expected, "block {sequence_number}");
        prev_block_hash = Some(*block.hash());
    }
}
