//! Which source takes a table, whether it takes it, and which blocks that gives.

use std::sync::Arc;

use ::parquet::basic::Compression;
use arrow::array::{ArrayRef, Decimal32Array, TimestampMicrosecondArray};
use odf_metadata::ExtraAttributes;

use super::*;

#[test]
fn the_source_is_the_one_that_is_named_or_the_only_one() {
    let read = || ndjson(&["a BIGINT"]);
    let mut none = Pushed::new(vec![]);
    assert!(matches!(none.push("{}"), Err(IngestError::NoPushSource)));
    let mut polls = Pushed::new(vec![polling(read())]);
    assert!(matches!(polls.push("{}"), Err(IngestError::NotPushed)));
    let mut two = Pushed::new(vec![
        source("one", read(), None, MergeStrategy::Append),
        source("two", read(), None, MergeStrategy::Append),
    ]);
    assert_eq!(two.refused("{}"), "the dataset has several push sources: one, two");
    let named = |name: &str| PushOptions {
        source_name: Some(name.to_owned()),
        ..PushOptions::default()
    };
    let error = two.push_with("{}", &named("three")).unwrap_err();
    assert!(matches!(error, IngestError::OtherPushSource { .. }), "{error}");
    updated(two.push_with("{\"a\":1}", &named("two")));
    let mut one = Pushed::new(vec![source("one", read(), None, MergeStrategy::Append)]);
    assert!(matches!(one.poll("{}", None), Err(IngestError::NoPollingSource)));
}

#[test]
fn another_format_keeps_the_columns_of_the_source() {
    let mut pushed = Pushed::new(vec![source(
        "default",
        ndjson(&["a BIGINT", "b STRING"]),
        None,
        MergeStrategy::Append,
    )]);
    let as_format = |format: Format| PushOptions {
        input_format: Some(format),
        event_time: Some("2020-01-01T00:00:00Z".parse().unwrap()),
        ..PushOptions::default()
    };
    updated(pushed.push("{\"a\":1,\"b\":\"x\"}\n"));
    // With declared columns CSV has no header.
    updated(pushed.push_with("2,y\n", &as_format(Format::Csv)));
    updated(pushed.push_with("[{\"a\":3,\"b\":\"z\"}]", &as_format(Format::Json)));
    let mut rows = pushed.world.rows();
    rows.sort();
    assert_eq!(
        rows,
        [
            "0 0 2026-06-01T01:00:00.500Z 1 x",
            "1 0 2020-01-01T00:00:00Z 2 y",
            "2 0 2020-01-01T00:00:00Z 3 z"
        ]
    );
    assert_eq!(
        pushed.dataset.state().watermark,
        Some("2026-06-01T01:00:00.5Z".parse().unwrap()),
        "the watermark does not go back"
    );
}

#[test]
fn blocks_are_written_when_there_is_something_to_say() {
    let mut pushed = Pushed::new(vec![source(
        "default",
        ndjson(&["a BIGINT"]),
        None,
        MergeStrategy::Append,
    )]);
    // The first result is empty: its columns are known all the same.
    assert_eq!(kinds(&updated(pushed.push(""))), ["SetDataSchema"]);
    up_to_date(pushed.push(""));
    assert_eq!(kinds(&updated(pushed.push("{\"a\":1}"))), ["AddData"]);
    let first = pushed.last_addition();
    assert_eq!((first.prev_offset, first.new_source_state), (None, None));
    updated(pushed.push("{\"a\":2}"));
    assert_eq!(pushed.last_addition().prev_offset, Some(0));

    let mut open = Pushed::new(vec![source("default", ndjson(&[]), None, MergeStrategy::Append)]);
    up_to_date(open.push(""));

    let mut polled = Pushed::new(vec![polling(ndjson(&["a BIGINT"]))]);
    assert_eq!(
        kinds(&updated(polled.poll("{\"a\":1}", Some("1")))),
        ["SetDataSchema", "AddData"]
    );
    // Nothing new but the state: a block of its own, and none if that did not change either.
    assert_eq!(kinds(&updated(polled.poll("", Some("2")))), ["AddData"]);
    let moved = polled.last_addition();
    assert_eq!((moved.new_data, moved.prev_offset), (None, Some(0)));
    assert_eq!(moved.new_watermark, polled.dataset.state().watermark);
    up_to_date(polled.poll("", Some("2")));
    assert_eq!(kinds(&updated(polled.poll("", None))), ["AddData"]);
    up_to_date(polled.poll("", None));

    // No rows yet, but a state to go on from.
    let mut early = Pushed::new(vec![polling(ndjson(&["a BIGINT"]))]);
    assert_eq!(kinds(&updated(early.poll("", Some("0")))), ["SetDataSchema", "AddData"]);

    // The content is not even there.
    std::fs::remove_file(polled.world.dir.path().join("input")).unwrap();
    let gone = polled.world.dir.path().join("input");
    let given = Polled {
        name: "input",
        content: &gone,
        event_time: None,
        state: None,
        seen: None,
        allow_empty: false,
        slice: &SliceOptions::default(),
    };
    let progress = &mut |_| ControlFlow::Continue(());
    up_to_date(super::polled(&mut polled.dataset, given, hour(9), progress));
}

#[test]
fn a_watermark_can_be_set_by_hand_and_never_goes_back() {
    let mut polled = Pushed::new(vec![polling(ndjson(&["a BIGINT"]))]);
    updated(polled.poll("{\"a\":1}", Some("1")));
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let update = updated(set_watermark(&mut polled.dataset, at("2030-01-01T00:00:00Z"), hour(5)));
    assert_eq!(kinds(&update), ["AddData"]);
    let event = polled.last_addition();
    assert_eq!(event.new_watermark, Some(at("2030-01-01T00:00:00Z")));
    assert_eq!((event.new_source_state, event.prev_offset), (None, Some(0)));
    for earlier in ["2030-01-01T00:00:00Z", "2029-01-01T00:00:00Z"] {
        up_to_date(set_watermark(&mut polled.dataset, at(earlier), hour(6)));
    }
    updated(polled.poll("{\"a\":2}", Some("2")));
    assert_eq!(polled.dataset.state().watermark, Some(at("2030-01-01T00:00:00Z")));
}

#[test]
fn links_to_objects_are_followed_and_counted() {
    let link = r#"{"opendatafabric.org/type":{"kind":"ObjectLink","linkType":{"kind":"Multihash"}}}"#;
    let read = csv(&[("name", DataType::String.optional())]);
    let mut pushed = Pushed::new(vec![source("default", read, None, MergeStrategy::Append)]);
    updated(pushed.push("name\n\n"));
    let mut schema = pushed.dataset.state().schema.clone().unwrap();
    schema.schema.as_mut().unwrap().fields[4].extra = Some(ExtraAttributes::from_json(link).unwrap());
    pushed
        .dataset
        .append_events(vec![MetadataEvent::SetDataSchema(schema)], hour(2), None)
        .unwrap();
    pushed.hour = 2;

    let object = b"an image";
    let (hash, size) = odf_tables::digest::physical_hash_of(&object[..]).unwrap();
    let error = pushed.refused(&format!("name\n{hash}\n"));
    assert!(error.contains("no such object") && error.contains("`name`"), "{error}");
    assert!(pushed.refused("name\nx\n").contains("not the hash"));
    std::fs::write(pushed.dataset.data_dir().join(hash.to_string()), object).unwrap();
    updated(pushed.push(&format!("name\n{hash}\n{hash}\n\n")));
    let extra = pushed.last_addition().extra.unwrap();
    assert_eq!(
        extra.to_json(),
        format!(
            r#"{{"opendatafabric.org/linkedObjects":{{"numObjectsNaive":2,"sizeNaive":{}}}}}"#,
            2 * size
        )
    );
}

fn inferring() -> ReadStep {
    ReadStep::Csv(ReadStepCsv {
        header: Some(true),
        infer_schema: Some(true),
        ..ReadStepCsv::default()
    })
}

#[test]
fn a_dataset_has_no_schema_before_its_first_row() {
    for polls in [true, false] {
        let mut pushed = Pushed::new(vec![match polls {
            true => polling(inferring()),
            false => source("default", inferring(), None, MergeStrategy::Append),
        }]);
        let take = |pushed: &mut Pushed, text: &str, state: &str| match polls {
            true => pushed.poll(text, Some(state)),
            false => pushed.push(text),
        };
        // Seen: every column text for ever.
        let first = take(&mut pushed, "id,v\n", "1");
        assert!(pushed.dataset.state().schema.is_none());
        match polls {
            true => assert_eq!(kinds(&updated(first)), ["AddData"], "the state moves on"),
            false => up_to_date(first),
        }
        updated(take(&mut pushed, "id,v\n1,x\n", "2"));
        assert_eq!(pushed.columns(), ["event_time:Timestamp", "id:Int64?", "v:String?"]);
        // With a schema, rows are read with it, whatever they look like alone.
        updated(take(&mut pushed, "id,v\n,7\n", "3"));
        take(&mut pushed, "id,v\n", "4").unwrap();
        let rows: Vec<String> = pushed.world.rows().iter().map(|row| row[29..].to_owned()).collect();
        assert_eq!(rows, ["1 x", "- 7"]);
        let error = take(&mut pushed, "id,v\n2,y\nz,y\n", "5").unwrap_err().to_string();
        assert_eq!(
            error,
            "input, line 3, column `id`: `z` is not an Int64, the type of this column"
        );
    }
    let mut empty = Pushed::new(vec![polling(inferring())]);
    let error = empty.poll("id,v\n1,\n", Some("1")).unwrap_err().to_string();
    assert!(
        error.contains("column `v`: the first rows have no value in it"),
        "{error}"
    );
    updated(empty.poll("id,v\n2,7\n", Some("2")));
    updated(empty.poll("id,v\n3,\n", Some("3")));
}

#[test]
fn a_page_in_place_of_a_table_is_refused() {
    let page = "<!DOCTYPE html>\n<html><body>Please log in, or not</body></html>\n";
    for read in [
        inferring(),
        csv(&[("a", DataType::String.optional())]),
        ndjson(&["a BIGINT"]),
        ndjson(&[]),
    ] {
        let mut pushed = Pushed::new(vec![polling(read.clone())]);
        let error = pushed.poll(page, Some("1")).unwrap_err().to_string();
        assert!(error.starts_with("input: this is an HTML page"), "{error}");
        assert!(pushed.dataset.state().source_state.is_none(), "it is asked again");
        let mut pushed = Pushed::new(vec![source("default", read, None, MergeStrategy::Append)]);
        assert!(pushed.refused(page).starts_with("input: this is an HTML page"));
    }
}

#[test]
fn a_snapshot_without_rows_retracts_all_of_them_only_if_that_is_said() {
    let merge = || MergeStrategy::Snapshot {
        primary_key: vec!["id".to_owned()],
        compare_columns: None,
    };
    let read = || csv(&[("id", DataType::Int64), ("v", DataType::String.optional())]);
    let event = match polling(read()) {
        MetadataEvent::SetPollingSource(source) => MetadataEvent::SetPollingSource(SetPollingSource {
            merge: merge(),
            ..source
        }),
        other => other,
    };
    let mut polled = Pushed::new(vec![event]);
    polled.poll("id,v\n", Some("0")).unwrap();
    updated(polled.poll("id,v\n1,a\n2,b\n", Some("1")));
    let head = *polled.dataset.head();
    for text in ["id,v\n", ""] {
        let error = polled.poll(text, Some("2")).unwrap_err().to_string();
        assert!(
            error.contains("would retract every row") && error.contains("--allow-empty"),
            "{error}"
        );
        assert_eq!(
            *polled.dataset.head(),
            head,
            "the state stays, so that it is asked again"
        );
    }
    polled.allow_empty = true;
    assert_eq!(updated(polled.poll("id,v\n", Some("2"))).rows, 2);
    // There is nothing left to retract.
    polled.allow_empty = false;
    updated(polled.poll("id,v\n", Some("3")));
    updated(polled.poll("id,v\n1,a\n", Some("4")));

    let query = "select id, v from input where v <> 'gone'";
    let mut pushed = Pushed::new(vec![
        source("plain", read(), None, merge()),
        source("query", read(), Some(query), merge()),
    ]);
    let by = |name: &str, allow_empty| PushOptions {
        source_name: Some(name.to_owned()),
        allow_empty,
        ..PushOptions::default()
    };
    updated(pushed.push_with("id,v\n1,a\n", &by("plain", false)));
    // A file with nothing in it is what a command that failed leaves.
    let error = pushed.push_with("", &by("plain", false)).unwrap_err().to_string();
    assert!(error.contains("--allow-empty"), "{error}");
    // One that somebody named and that has a header is the whole state, which is told.
    for (name, text) in [("plain", "id,v\n"), ("query", "id,v\n1,gone\n")] {
        let gone = updated(pushed.push_with(text, &by(name, false)));
        assert_eq!(gone.rows, 1);
        let said = said(&gone);
        assert!(
            said[0].starts_with("op: the file has no rows")
                && said[0].contains(": 1 row(s) that were there are retracted"),
            "{said:?}"
        );
        updated(pushed.push_with("id,v\n1,a\n", &by("plain", false)));
    }
    let gone = updated(pushed.push_with("", &by("plain", true)));
    assert_eq!((gone.rows, said(&gone).len()), (1, 0));
    // Nothing is retracted, so nothing is told.
    up_to_date(pushed.push_with("id,v\n", &by("plain", false)));
}

#[test]
fn values_of_json_have_to_have_the_types_of_the_dataset() {
    let mut pushed = Pushed::new(vec![source("default", ndjson(&[]), None, MergeStrategy::Append)]);
    updated(pushed.push("{\"a\":1.5,\"b\":\"x\"}"));
    let error = pushed.refused("{\"a\":1,\"b\":\"x\"}");
    assert!(
        error.contains("column `a` is Int64, and the dataset has Float64"),
        "{error}"
    );
    // What no row shows is known.
    updated(pushed.push("{\"a\":2.5,\"b\":null}"));
    // 20 digits are a float there, and text where nothing is known.
    let rounded = updated(pushed.push("{\"a\":12345678901234567890.5,\"b\":\"y\"}"));
    assert!(
        said(&rounded)[0].contains("became the nearest one"),
        "{:?}",
        said(&rounded)
    );
    assert_eq!(pushed.world.rows().len(), 3);
}

#[test]
fn an_empty_array_makes_a_schema_without_columns_and_the_first_rows_bring_them() {
    let json = || ReadStep::Json {
        sub_path: None,
        ddl_schema: None,
        date_format: None,
        encoding: None,
        timestamp_format: None,
        schema: None,
    };
    let mut pushed = Pushed::new(vec![source("default", json(), None, MergeStrategy::Append)]);
    let first = updated(pushed.push("[]"));
    assert_eq!(kinds(&first), ["SetDataSchema"]);
    assert!(said(&first)[0].contains("empty array"), "{:?}", said(&first));
    assert_eq!(pushed.columns(), ["event_time:Timestamp"]);
    up_to_date(pushed.push("[]"));
    let rows = updated(pushed.push("[{\"a\":1}]"));
    assert_eq!(kinds(&rows), ["SetDataSchema", "AddData"]);
    assert_eq!(pushed.columns(), ["event_time:Timestamp", "a:Int64?"]);
    up_to_date(pushed.push("[]"));

    // A key can be in no such schema.
    let mut keyed = Pushed::new(vec![source("default", json(), None, ledger("a"))]);
    up_to_date(keyed.push("[]"));
    assert!(keyed.dataset.state().schema.is_none());
}

#[test]
fn what_was_polled_is_what_its_state_is_of() {
    let mut polled = Pushed::new(vec![polling(ndjson(&["a BIGINT"]))]);
    let path = polled.file("{\"a\":1}\n");
    let seen = odf_ingest::source::Fingerprint::of(&path).unwrap();
    let given = Polled {
        name: "input",
        content: &path,
        event_time: None,
        state: None,
        seen: Some(seen),
        allow_empty: false,
        slice: &SliceOptions::default(),
    };
    updated(super::polled(&mut polled.dataset, given, hour(1), &mut |_| {
        ControlFlow::Continue(())
    }));
    polled.file("{\"a\":1}\n{\"a\":2}\n");
    let progress = &mut |_| ControlFlow::Continue(());
    let error = super::polled(&mut polled.dataset, given, hour(2), progress).unwrap_err();
    assert!(matches!(error, IngestError::Unsteady(_)), "{error}");

    // A push has no state; a file that changes under it is read again.
    let mut pushed = Pushed::new(vec![source(
        "default",
        ndjson(&["a BIGINT"]),
        None,
        MergeStrategy::Append,
    )]);
    let path = pushed.file("{\"a\":1}\n");
    let mut changed = false;
    let progress = &mut |_| {
        if !std::mem::replace(&mut changed, true) {
            std::fs::write(&path, "{\"a\":5}\n{\"a\":6}\n").unwrap();
        }
        ControlFlow::Continue(())
    };
    let options = PushOptions::default();
    updated(push(&mut pushed.dataset, "input", &path, &options, hour(1), progress));
    let ends: Vec<String> = pushed.world.rows().iter().map(|row| row[29..].to_owned()).collect();
    assert_eq!(ends, ["5", "6"]);
}

#[test]
fn what_a_file_of_parquet_has_below_the_millisecond_is_cut_and_told() {
    let dataset = || {
        let read = ReadStep::Parquet {
            ddl_schema: None,
            schema: None,
        };
        Pushed::new(vec![source("default", read, None, MergeStrategy::Append)])
    };
    let push = |pushed: &mut Pushed, column: ArrayRef| {
        pushed.hour += 1;
        let path = pushed.world.dir.path().join("t.parquet");
        let bytes = crate::parquet::file(vec![("c", column, false)], Compression::SNAPPY);
        std::fs::write(&path, bytes).unwrap();
        let progress = &mut |_| ControlFlow::Continue(());
        let now = hour(pushed.hour);
        push(&mut pushed.dataset, "t", &path, &PushOptions::default(), now, progress)
    };
    let mut times = dataset();
    let micros = Arc::new(TimestampMicrosecondArray::from(vec![1_001, -1, 2_000]));
    for _ in 0..2 {
        let update = updated(push(&mut times, micros.clone()));
        assert!(
            said(&update)[0].starts_with("c: 2 time(s) have digits below"),
            "{:?}",
            said(&update)
        );
    }
    assert_eq!(times.columns(), ["event_time:Timestamp", "c:Timestamp"]);
    let rows = times.world.rows();
    let last = |row: &String| row.rsplit(' ').next().unwrap().to_owned();
    assert_eq!(
        rows.iter().take(3).map(last).collect::<Vec<_>>(),
        [
            "1970-01-01T00:00:00.001Z",
            "1970-01-01T00:00:00Z",
            "1970-01-01T00:00:00.002Z"
        ]
    );

    // A schema has decimals of 128 bits.
    let mut decimals = dataset();
    let few = Arc::new(
        Decimal32Array::from(vec![12_345])
            .with_precision_and_scale(5, 2)
            .unwrap(),
    );
    updated(push(&mut decimals, few.clone()));
    let error = push(&mut decimals, few).unwrap_err().to_string();
    assert!(
        error.contains("column `c` is Decimal32(5, 2), and the dataset has"),
        "{error}"
    );
}

#[test]
fn a_unit_counts_digits_as_text_only_where_the_source_says_so() {
    let take = |says: bool, is_csv: bool, text: &str| {
        let time = DataType::Timestamp {
            unit: Some(odf_metadata::TimeUnit::Second),
            timezone: None,
        };
        let mut field = odf_metadata::DataField::new("a", time);
        if says {
            let extra = field.extra.get_or_insert_default();
            extra.0.insert("odfs.dev/integerTimes".to_owned(), true.into());
        }
        let schema = Some(DataSchema {
            fields: vec![field],
            extra: None,
        });
        let read = match is_csv {
            true => ReadStep::Csv(ReadStepCsv {
                schema,
                ..ReadStepCsv::default()
            }),
            false => ReadStep::NdJson {
                ddl_schema: None,
                date_format: None,
                encoding: None,
                timestamp_format: None,
                schema,
            },
        };
        let mut pushed = Pushed::new(vec![source("default", read, None, MergeStrategy::Append)]);
        pushed.push(text).map(|_| pushed.world.rows())
    };
    for (says, is_csv, text) in [
        (false, false, "{\"a\":1704067200}"),
        (true, false, "{\"a\":1704067200}"),
        (true, false, "{\"a\":\"1704067200\"}"),
        (true, true, "1704067200\n"),
    ] {
        let rows = take(says, is_csv, text).unwrap();
        assert!(rows[0].ends_with(" 2024-01-01T00:00:00Z"), "{text}: {rows:?}");
    }
    for (is_csv, text) in [(false, "{\"a\":\"1704067200\"}"), (true, "1704067200\n")] {
        let error = take(false, is_csv, text).unwrap_err().to_string();
        assert!(
            error.contains("nothing says in which unit it counts") && error.contains("integerTimes"),
            "{error}"
        );
    }
}
