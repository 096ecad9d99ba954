use proptest::prelude::*;

use super::header::MAX_SHOWN;
use super::*;
use crate::sample::{Sample, Tape};
use crate::{DataType, EventTimeSource, FetchStep, MergeStrategy, SourceCaching, TimeUnit};

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
    refused(
        "{kind: AddData, prevOffset: -1}",
        "prevOffset: invalid type: integer `-1`, expected u64",
    );
    let push = "kind: AddPushSource, sourceName: s, merge: {kind: Append}";
    refused(
        &format!("{{{push}, read: {{kind: Csv, headr: true}}}}"),
        "content.read: unknown field `headr`",
    );
    refused(
        &format!("{{{push}, read: {{kind: Parquet, x: 1}}}}"),
        "content.read: unknown field `x`",
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

/// Every mistake is in line 9 of the file, in the second document.
#[test]
fn mistakes_are_found_in_their_line() {
    let first = "# A file.\n---\nkind: DatasetSnapshot\nversion: 1\ncontent: {name: a, kind: Root, metadata: []}\n";
    let said = |rest: &str| {
        let error = read_snapshots(&format!("{first}---\n{rest}")).unwrap_err().to_string();
        assert!(error.starts_with("document 2"), "{rest}: {error}");
        assert!(error.contains("at line 9"), "{rest}: {error}");
        error
    };
    assert!(said("version: 1\n\nkind: DatasetSnapshott\ncontent: {}").contains("is a DatasetSnapshott"));
    assert!(said("kind: DatasetSnapshot\n\nversion: 2\ncontent: {}").contains("version 2 of DatasetSnapshot"));
    assert!(said("kind: DatasetSnapshot\nversion: 1\ncontents: {}").contains("unknown field `contents`"));
    said("kind: DatasetSnapshot\n\nversion: one\ncontent: {}");
    let content = |content: &str| said(&format!("kind: DatasetSnapshot\nversion: 1\n{content}"));
    assert!(content("content: {name: b, kind: Roott, metadata: []}").contains("content.kind: unknown variant `Roott`"));
    content("content: {name: b, kind: ]}");
    content("content: {name: b, kind: Root, metadata: [{kind: SetInfo, description: *nowhere}]}");
    let event = |event: &str| {
        said(&format!(
            "content: {{name: b, metadata: [{event}], kind: Root}}\nkind: DatasetSnapshot\nversion: 1"
        ))
    };
    // The event begins in line 7; the mistake is two lines below.
    assert!(event("{kind: SetInfo,\n\n  describtion: d}").contains("metadata[0]: unknown field `describtion`"));
    assert!(
        event("{kind: SetPollingSource, fetch: {kind: Url, url: x,\n\n  headers: [{naem: a}]}}").contains("`naem`")
    );
    assert!(event("{kind:\n\n  SetMagic}").contains("unknown variant `SetMagic`"));
    assert!(event("{kind: Seed, datasetKind:\n\n  Rot}").contains("datasetKind: unknown variant `Rot`"));
    assert!(event("{kind: AddData, newWatermark:\n\n  noon}").contains("newWatermark: `noon` is not"));
    assert!(event("{kind: SetDataSchema, schema: {fields: [{name: a,\n\n  type: Int65}]}}").contains("`Int65`"));
    assert!(event("{kind: SetVocab,\n\n  kind: SetInfo}").contains("duplicate field `kind`"));
    assert!(event("\n\n  {kind: SetVocab, offsetColumn: a, offsetColumn: b}").contains("duplicate field"));
    assert!(
        event("{kind: AddPushSource, sourceName: a, merge:\n\n  {kind: Ledger}}")
            .contains("missing field `primaryKey`")
    );
    // Where the kind comes last, the line is that of the map.
    assert!(event("\n\n  {describtion: d, kind: SetInfo}").contains("SetInfo: unknown field `describtion`"));
    assert!(event("\n\n  {description: d}").contains("missing field `kind`"));
    assert!(event("\n\n  {description: d, kind: SetInfo, kind: SetInfo}").contains("duplicate field `kind`"));
    assert!(event("{kind: SetInfo, description:\n\n  [d]}").contains("invalid type"));
}

#[test]
fn aliases_are_read_and_bounded() {
    let list = |words: usize, lists: usize| {
        let words = vec!["xxxxxxxx"; words].join(",");
        let event = |words: &str| format!("{{kind: SetInfo, keywords: {words}}}");
        let aliases = vec![event("*w"); lists].join(",\n");
        let events = [event(&format!("&w [{words}]")), aliases].join(",\n");
        format!("kind: DatasetSnapshot\nversion: 1\ncontent: {{name: a, kind: Root, metadata: [{events}]}}\n")
    };
    let [snapshot] = &read_snapshots(&list(3, 2)).unwrap()[..] else {
        panic!()
    };
    assert_eq!(snapshot.metadata.len(), 3);
    assert_eq!(snapshot.metadata[0], snapshot.metadata[2]);
    // Each list weighs 12 a word; so many fill the limit, and a few more exceed it.
    let words = 1 << 15;
    let fits = MAX_EXPANDED / (words * 12) - 2;
    assert!(read_snapshots(&list(words, fits)).is_ok());
    assert!(matches!(
        read_snapshots(&list(words, fits + 2)),
        Err(YamlError::Expanded { document: 1, .. })
    ));
    // Nine levels of nine: a small file that stands for 400 million words.
    let mut laughs = String::from("kind: MetadataEvent\nversion: 1\nl0: &l0 lol\n");
    for level in 1..=9 {
        let below = vec![format!("*l{}", level - 1); 9].join(",");
        laughs.push_str(&format!("l{level}: &l{level} [{below}]\n"));
    }
    assert!(read_events(&laughs).is_err());
}

#[test]
fn nesting_is_bounded_before_it_takes_time() {
    // What the sum of open brackets over the file may be, and one more.
    let depth = 1 << 12;
    let nested = |len: usize| format!("{}{}", "[".repeat(depth), " ".repeat(len));
    let openers: u64 = (1..=depth as u64).sum();
    let len = usize::try_from((MAX_NESTED_BYTES - openers) / depth as u64).unwrap();
    assert!(!header::nests_too_much(&nested(len)));
    assert!(header::nests_too_much(&nested(len + 1)));
    let head = "kind: MetadataEvent\nversion: 1\ncontent: ";
    let room = MAX_MANIFEST_BYTES - head.len();
    for deep in [
        "[".repeat(room),
        "{".repeat(room),
        "[a,".repeat(room / 3),
        "- ".repeat(room / 2),
        "? ".repeat(room / 2),
        "!a ".repeat(room / 3),
        "&a ".repeat(room / 3),
        "\n".repeat(room),
        "'".repeat(room),
        "a: ".repeat(room / 3),
        (0..4_000)
            .map(|depth| format!("\n{}-", " ".repeat(depth)))
            .collect::<String>(),
        (0..4_000)
            .map(|depth| format!("\n{}a:", " ".repeat(depth)))
            .collect::<String>(),
        format!("{}{}", "[".repeat(100), "a,".repeat(1 << 18)),
    ] {
        let one = std::time::Instant::now();
        assert!(read_events(&format!("{head}{deep}")).is_err());
        assert!(one.elapsed().as_secs() < 60, "{:?}: {:?}", &deep[..8], one.elapsed());
    }
}

proptest! {
    /// Events of every kind, whether a snapshot may hold them or not, and names that are hard to write.
    #[test]
    fn every_snapshot_reads_back(tape in prop::collection::vec(any::<u8>(), 0..2_000), events in 0..6_usize) {
        let mut tape = Tape::new(&tape);
        let snapshot = DatasetSnapshot {
            name: Sample::sample(&mut tape),
            kind: Sample::sample(&mut tape),
            metadata: (0..events).map(|_| Sample::sample(&mut tape)).collect(),
        };
        let text = write_snapshot(&snapshot).unwrap();
        prop_assert_eq!(&read_snapshots(&text).unwrap()[..], std::slice::from_ref(&snapshot), "{}", text);
        for event in &snapshot.metadata {
            let text = write_event(event).unwrap();
            prop_assert_eq!(&read_events(&text).unwrap()[..], std::slice::from_ref(event), "{}", text);
        }
    }

    /// Where `kind` stands does not matter, nor does the spelling of it.
    #[test]
    fn the_order_of_keys_means_nothing(tape in prop::collection::vec(any::<u8>(), 0..600)) {
        fn turned(value: serde_norway::Value) -> serde_norway::Value {
            use serde_norway::Value as V;
            match value {
                V::Mapping(map) => {
                    let mut pairs: Vec<_> = map.into_iter().collect();
                    pairs.reverse();
                    let free = pairs.iter().any(|(key, _)| key.as_str() == Some("kind"));
                    let turn = |(key, value): (V, V)| match (free, key.as_str(), &value) {
                        (true, Some("kind"), V::String(kind)) => (key, kind.to_lowercase().into()),
                        // Not of the schema: its text and its attributes mean what they say.
                        (_, Some("extra" | "value"), _) => (key, value),
                        _ => (key, turned(value)),
                    };
                    V::Mapping(pairs.into_iter().map(turn).collect())
                }
                V::Sequence(items) => V::Sequence(items.into_iter().map(turned).collect()),
                other => other,
            }
        }
        let event = MetadataEvent::sample(&mut Tape::new(&tape));
        let text = serde_norway::to_string(&turned(serde_norway::to_value(&event).unwrap())).unwrap();
        // The one field called `kind` that is no union.
        prop_assume!(!matches!(&event, MetadataEvent::AddData(add) if add.new_source_state.is_some()));
        prop_assert_eq!(serde_norway::from_str::<MetadataEvent>(&text).unwrap(), event, "{}", text);
    }

    #[test]
    fn noise_is_an_error_and_no_panic(text in "(kind|version|content|[a-z]{1,3}|[-:?&*!|>'\"%@{}\\[\\], \n#])*") {
        let _ = read_snapshots(&text);
        let _ = read_snapshots(&format!("kind: DatasetSnapshot\nversion: 1\ncontent: {text}"));
    }
}

#[test]
fn no_more_of_a_foreign_kind_is_told_than_the_limit_says() {
    for length in [MAX_SHOWN, MAX_SHOWN + 1] {
        let kind = "\u{fc}".repeat(length);
        match read_snapshots(&format!("kind: {kind}\nversion: 1\ncontent: {{}}\n")) {
            Err(YamlError::OtherKind { found, .. }) => assert_eq!(found, "\u{fc}".repeat(MAX_SHOWN)),
            other => panic!("{other:?}"),
        }
    }
}
