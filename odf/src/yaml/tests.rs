use super::*;
use crate::golden;
use crate::metadata::{DataType, EventTimeSource, FetchStep, MergeStrategy, SourceCaching, TimeUnit};

#[test]
fn log_is_what_kamu_prints() {
    for dataset in golden::datasets() {
        let blocks = dataset.blocks();
        let log: String = blocks.iter().rev().map(|block| log_entry(block).unwrap()).collect();
        assert_eq!(log, dataset.text("log.yaml"), "{}", dataset.name);
        let mut read = read_blocks(&log).unwrap();
        read.reverse();
        assert!(
            read.iter().eq(blocks.iter().map(EncodedBlock::block)),
            "{} reads back",
            dataset.name
        );
        for block in blocks {
            let json = event_to_json(&block.block().event).unwrap();
            let back: MetadataEvent = serde_json::from_value(json).unwrap();
            assert_eq!(back, block.block().event, "{} through JSON", dataset.name);
        }
    }
}

#[test]
fn golden_manifests_read() {
    for dataset in golden::datasets() {
        let [snapshot] = &read_snapshots(&dataset.text("manifest.yaml")).unwrap()[..] else {
            panic!("one document")
        };
        assert_eq!(snapshot.name, dataset.name);
        let again = read_snapshots(&write_snapshot(snapshot).unwrap()).unwrap();
        assert_eq!(again, std::slice::from_ref(snapshot));
    }
}

/// The manifest of odf-facts, in flow style.
const SNAPSHOT: &str = r#"
# A comment before the first document.
---
kind: DatasetSnapshot
version: 1
content:
  name: my.dataset
  kind: Root
  metadata:
    - kind: SetPollingSource
      fetch: {kind: Url, url: "https://example.org", eventTime: FromMetadata, cache: Forever, headers: [{name: A, value: B}]}
      prepare: [{kind: Decompress, format: Zip, subPath: x.csv}, {kind: Pipe, command: [jq, -c, .]}]
      read: {kind: Csv, header: true, schema: {fields: [{name: id, type: Int64}, {name: t, type: {kind: Option, inner: {kind: Timestamp, unit: Millisecond, timezone: UTC}}}]}}
      preprocess: {kind: Sql, engine: datafusion, query: "select * from input"}
      merge: {kind: Snapshot, primaryKey: [id], compareColumns: [x]}
    - {kind: addPushSource, sourceName: default, read: {kind: ndjson, ddlSchema: ["a BIGINT NOT NULL"]}, merge: {kind: ledger, primaryKey: [a]}}
    - {kind: SetTransform, inputs: [{datasetRef: foo, alias: f}], transform: {kind: Sql, engine: flink, queries: [{alias: a, query: x}, {query: y}], temporalTables: [{name: n, primaryKey: [k]}]}}
    - {kind: setvocab, eventTimeColumn: t}
    - {kind: SetInfo, description: d, keywords: [a, b]}
    - {kind: SetLicense, shortName: s, name: n, spdxId: i, websiteUrl: w}
    - {kind: SetAttachments, attachments: {kind: Embedded, items: [{path: README.md, content: c}]}}
    - {kind: SetDataSchema, schema: {fields: [], extra: {kamu.dev/archetype: Collection}}}
---
kind: DatasetSnapshot
version: 1
content: {name: other, kind: derivative, metadata: []}
---
"#;

#[test]
fn snapshots_read_in_every_accepted_spelling() {
    let snapshots = read_snapshots(SNAPSHOT).unwrap();
    assert_eq!(snapshots.len(), 2);
    assert_eq!(snapshots[1].kind, DatasetKind::Derivative);
    let kinds: Vec<_> = snapshots[0].metadata.iter().map(MetadataEvent::kind).collect();
    let expected = [
        "SetPollingSource",
        "AddPushSource",
        "SetTransform",
        "SetVocab",
        "SetInfo",
        "SetLicense",
    ];
    assert_eq!(kinds[..6], expected);
    let MetadataEvent::SetPollingSource(source) = &snapshots[0].metadata[0] else {
        panic!()
    };
    let FetchStep::Url { event_time, cache, .. } = &source.fetch else {
        panic!()
    };
    assert_eq!(
        (event_time, cache),
        (&Some(EventTimeSource::FromMetadata), &Some(SourceCaching::Forever))
    );
    let (_, Some(schema)) = source.read.schemas() else {
        panic!()
    };
    assert_eq!(schema.fields[0].data_type, DataType::Int64);
    let time = DataType::Timestamp {
        unit: Some(TimeUnit::Millisecond),
        timezone: Some("UTC".to_owned()),
    };
    assert_eq!(schema.fields[1].data_type, time.optional());
    let MetadataEvent::AddPushSource(source) = &snapshots[0].metadata[1] else {
        panic!()
    };
    assert_eq!(
        source.merge,
        MergeStrategy::Ledger {
            primary_key: vec!["a".to_owned()]
        }
    );
}

fn refused(content: &str, said: &str) {
    let text = format!("kind: MetadataEvent\nversion: 1\ncontent: {content}\n");
    let error = read_events(&text).unwrap_err().to_string();
    assert!(error.contains(said), "{content}: {error}");
}

#[test]
fn what_the_schema_does_not_know_is_refused_by_name() {
    refused(
        "{kind: SetInfo, describtion: d}",
        "unknown field `describtion`, expected `description` or `keywords`",
    );
    refused("{kind: SetInfo, describtion: d}", "line 3");
    refused(
        "{kind: SetMagic}",
        "unknown variant `SetMagic`, expected one of `AddData`",
    );
    refused("{description: d}", "missing field `kind`");
    refused("SetInfo", "expected a MetadataEvent");
    refused(
        "{kind: SetInfo, description: a, description: b}",
        "duplicate field `description`",
    );
    refused("{kind: SetInfo, kind: SetInfo}", "duplicate field `kind`");
    refused("{kind: SetDataSchema, schema: {fields: [], fields: []}}", "duplicate");
    refused(
        "{kind: SetLicense, shortName: s, name: n}",
        "missing field `websiteUrl`",
    );
    refused("{kind: SETINFO}", "unknown variant");
    refused("{kind: SetInfo, description: {a: 1}}", "expected a string");
    refused(
        "{kind: Seed, datasetId: foo, datasetKind: Root}",
        "`foo` is not a dataset id",
    );
    refused(
        "{kind: AddData, newWatermark: yesterday}",
        "`yesterday` is not an RFC 3339 time",
    );
    refused("{kind: AddData, prevOffset: -1}", "invalid value");
    let push = "kind: AddPushSource, sourceName: s, merge: {kind: Append}";
    refused(
        &format!("{{{push}, read: {{kind: Csv, headr: true}}}}"),
        "Csv: unknown field `headr`",
    );
    refused(
        &format!("{{{push}, read: {{kind: Parquet, x: 1}}}}"),
        "Parquet: unknown field `x`",
    );
    refused(
        &format!("{{{push}, read: Parquet}}"),
        "expected a ReadStep (a map with `kind`)",
    );
    refused(
        "{kind: SetDataSchema, schema: {fields: [{name: a, type: Int65}]}}",
        "unknown variant `Int65`",
    );
    refused(
        "{kind: SetDataSchema, schema: {fields: [{name: a, type: List}]}}",
        "missing field `itemType`",
    );
}

#[test]
fn envelopes_are_checked_first() {
    let snapshot = "kind: DatasetSnapshot\nversion: 1\ncontent: {}\n";
    assert!(matches!(
        read_events(snapshot),
        Err(YamlError::OtherKind { document: 1, .. })
    ));
    let newer = "kind: MetadataBlock\nversion: 4\ncontent: {}\n";
    assert!(matches!(
        read_blocks(newer),
        Err(YamlError::OtherVersion { found: 4, .. })
    ));
    for empty in ["", "# nothing\n", "---\n---\n"] {
        assert!(matches!(read_events(empty), Err(YamlError::Empty { .. })), "{empty:?}");
    }
    assert!(matches!(
        read_events("a: [b\n"),
        Err(YamlError::Malformed { document: 1, .. })
    ));
    let extra = "kind: MetadataEvent\nversion: 1\nmore: 1\ncontent: {kind: SetInfo}\n";
    assert!(
        read_events(extra)
            .unwrap_err()
            .to_string()
            .contains("unknown field `more`")
    );
}

#[test]
fn size_is_limited() {
    let long = format!("#{}", "x".repeat(MAX_MANIFEST_BYTES));
    assert!(matches!(read_events(&long), Err(YamlError::TooLarge { .. })));
    assert!(matches!(
        read_events(&long[..MAX_MANIFEST_BYTES]),
        Err(YamlError::Empty { .. })
    ));
    let many = "---\n".repeat(MAX_DOCUMENTS + 1);
    assert!(matches!(read_events(&many), Err(YamlError::TooManyDocuments)));
    let deep = format!("kind: MetadataEvent\nversion: 1\ncontent: {}", "[".repeat(1_000));
    assert!(matches!(read_events(&deep), Err(YamlError::Malformed { .. })));
}

#[test]
fn bytes_are_base64() {
    let text = "kind: MetadataEvent\nversion: 1\ncontent:\n  kind: SetDataSchema\n  rawArrowSchema: AAEC/w==\n";
    let [event] = &read_events(text).unwrap()[..] else {
        panic!()
    };
    let MetadataEvent::SetDataSchema(set) = event else {
        panic!()
    };
    assert_eq!(set.raw_arrow_schema.as_ref().unwrap().0, [0, 1, 2, 255]);
    assert_eq!(write_event(event).unwrap(), text);
}
