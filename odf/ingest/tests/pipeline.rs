//! Sources in the chain: what their read steps, queries and merge strategies make of rows.

mod commits;

use std::path::PathBuf;

use super::*;
use odf_metadata::{
    AddData, AddPushSource, DataSchema, DataType, FetchStep, ReadStep, ReadStepCsv, SetDataSchema, SetPollingSource,
    SourceState, SqlQueryStep, Transform, TransformSql,
};
use odf_tables::slice::SliceOptions;

/// A dataset made of these events, and a directory for inputs.
struct Pushed {
    world: World,
    dataset: Dataset,
    hour: u32,
    /// What polls say.
    allow_empty: bool,
}

fn ndjson(ddl: &[&str]) -> ReadStep {
    ReadStep::NdJson {
        ddl_schema: Some(ddl.iter().map(|column| (*column).to_owned()).collect()).filter(|_| !ddl.is_empty()),
        date_format: None,
        encoding: None,
        timestamp_format: None,
        schema: None,
    }
}

fn csv(schema: &[(&str, DataType)]) -> ReadStep {
    let fields = schema
        .iter()
        .map(|(name, data_type)| odf_metadata::DataField::new(*name, data_type.clone()))
        .collect();
    ReadStep::Csv(ReadStepCsv {
        header: Some(true),
        schema: Some(DataSchema { fields, extra: None }),
        ..ReadStepCsv::default()
    })
}

fn sql(engine: &str, query: &str) -> Transform {
    Transform::Sql(TransformSql {
        engine: engine.to_owned(),
        version: None,
        query: None,
        queries: Some(vec![SqlQueryStep {
            alias: None,
            query: query.to_owned(),
        }]),
        temporal_tables: None,
    })
}

fn source(name: &str, read: ReadStep, query: Option<&str>, merge: MergeStrategy) -> MetadataEvent {
    MetadataEvent::AddPushSource(AddPushSource {
        source_name: name.to_owned(),
        read,
        preprocess: query.map(|query| sql("datafusion", query)),
        merge,
    })
}

fn polling(read: ReadStep) -> MetadataEvent {
    MetadataEvent::SetPollingSource(SetPollingSource {
        fetch: FetchStep::Url {
            url: "http://127.0.0.1/t".to_owned(),
            event_time: None,
            cache: None,
            headers: None,
        },
        prepare: None,
        read,
        preprocess: None,
        merge: MergeStrategy::Append,
    })
}

fn ledger(key: &str) -> MergeStrategy {
    MergeStrategy::Ledger {
        primary_key: vec![key.to_owned()],
    }
}

impl Pushed {
    fn new(events: Vec<MetadataEvent>) -> Pushed {
        let world = World::new();
        let id = DatasetId::from_public_key([7; 32]);
        let staged = world.catalog.stage(id, &"t".parse().unwrap()).unwrap();
        let (dataset, _) = staged.install_events(DatasetKind::Root, events, hour(0), None).unwrap();
        Pushed {
            world,
            dataset,
            hour: 0,
            allow_empty: false,
        }
    }

    fn file(&self, text: &str) -> PathBuf {
        let path = self.world.dir.path().join("input");
        std::fs::write(&path, text).unwrap();
        path
    }

    fn push_with(&mut self, text: &str, options: &PushOptions) -> Result<Outcome, IngestError> {
        self.hour += 1;
        let path = self.file(text);
        let progress = &mut |_| ControlFlow::Continue(());
        push(&mut self.dataset, "input", &path, options, hour(self.hour), progress)
    }

    fn push(&mut self, text: &str) -> Result<Outcome, IngestError> {
        self.push_with(text, &PushOptions::default())
    }

    fn poll(&mut self, text: &str, state: Option<&str>) -> Result<Outcome, IngestError> {
        self.hour += 1;
        let state = state.map(|value| SourceState {
            source_name: "default".to_owned(),
            kind: "odf/etag".to_owned(),
            value: value.to_owned(),
        });
        let path = self.file(text);
        let polled_content = Polled {
            name: "input",
            content: &path,
            event_time: None,
            state: state.as_ref(),
            seen: None,
            allow_empty: self.allow_empty,
            slice: &SliceOptions::default(),
        };
        let progress = &mut |_| ControlFlow::Continue(());
        polled(&mut self.dataset, polled_content, hour(self.hour), progress)
    }

    /// A push that is refused, in words; nothing has changed then.
    fn refused(&mut self, text: &str) -> String {
        let head = *self.dataset.head();
        let error = self.push(text).unwrap_err().to_string();
        let reopened = self.world.dataset();
        assert_eq!((*self.dataset.head(), *reopened.head()), (head, head), "{error}");
        let left = std::fs::read_dir(self.dataset.data_dir()).unwrap().count() as u64;
        assert_eq!(left, self.dataset.state().totals.slices, "{error}: files are left");
        error
    }

    fn columns(&self) -> Vec<String> {
        let schema = self
            .dataset
            .state()
            .schema
            .as_ref()
            .and_then(|event| event.schema.as_ref());
        let schema = types::to_arrow(schema.unwrap()).unwrap();
        let field = |f: &arrow::datatypes::FieldRef| {
            let optional = if f.is_nullable() { "?" } else { "" };
            format!("{}:{}{optional}", f.name(), shape::type_name(f.data_type()))
        };
        schema.fields().iter().skip(3).map(field).collect()
    }

    fn last_addition(&self) -> AddData {
        let last = self.dataset.blocks().unwrap().next_back().unwrap().unwrap();
        match last.block.into_block().event {
            MetadataEvent::AddData(event) => event,
            other => panic!("{other:?}"),
        }
    }
}

/// What is told of it, as people read it.
fn said(update: &Update) -> Vec<String> {
    let notes = update.notes.iter();
    notes.map(|note| format!("{}: {}", note.column, note.note)).collect()
}

fn kinds(update: &Update) -> Vec<&'static str> {
    let kind = |stored: &StoredBlock| stored.block.block().event.kind();
    update.blocks.iter().map(kind).collect()
}

#[test]
fn digits_of_an_event_time_that_is_text_are_cut_toward_1970_and_told() {
    let mut open = Pushed::new(vec![source(
        "default",
        ndjson(&["event_time STRING"]),
        None,
        MergeStrategy::Append,
    )]);
    let row = |time: &str| format!("{{\"event_time\":\"{time}\"}}\n");
    let plain = row("2024-01-02T00:00:00.5Z");
    let update =
        updated(open.push(&(row("2024-01-01T02:00:00.123456+02:00") + &row("1900-01-01T00:00:00.0005Z") + &plain)));
    assert_eq!(
        open.world.rows(),
        [
            "0 0 1900-01-01T00:00:00.001Z",
            "1 0 2024-01-01T00:00:00.123Z",
            "2 0 2024-01-02T00:00:00.500Z"
        ]
    );
    let said = said(&update);
    assert!(
        said.len() == 1 && said[0].starts_with("event_time: 2 time(s) have digits below"),
        "{said:?}"
    );
    // What is refused is named as it stands in the file.
    let error = open.refused(&(row("2024-01-01T00:00:00.0001Z") + &row("yesterday")));
    assert!(error.contains("row 2, column `event_time`: `yesterday`"), "{error}");
}

#[test]
fn a_time_without_seconds_is_text_where_nobody_declared_it() {
    let read = ReadStep::Csv(ReadStepCsv {
        header: Some(true),
        infer_schema: Some(true),
        ..ReadStepCsv::default()
    });
    let mut open = Pushed::new(vec![source("default", read, None, MergeStrategy::Append)]);
    updated(open.push("a,b\n2024-01-01 10:20,2024-01-01 10:20:00\n"));
    assert_eq!(open.columns(), ["event_time:Timestamp", "a:String?", "b:Timestamp?"]);
}

#[test]
fn columns_that_nobody_named_give_way_to_the_system() {
    // Neither a query nor an ODF schema: `_` in front, and the event time may be text or seconds.
    let mut open = Pushed::new(vec![source(
        "default",
        ndjson(&["offset BIGINT", "op STRING", "system_time STRING", "event_time STRING"]),
        None,
        MergeStrategy::Append,
    )]);
    let row = r#"{"offset":5,"op":"x","system_time":"s","event_time":"2024-01-01T02:00:00+02:00"}"#;
    updated(open.push(row));
    assert_eq!(
        open.columns(),
        [
            "event_time:Timestamp",
            "_offset:Int64?",
            "_op:String?",
            "_system_time:String?"
        ]
    );
    assert_eq!(open.world.rows(), ["0 0 2024-01-01T00:00:00Z 5 x s"]);
    let error = open.refused(r#"{"event_time":"yesterday"}"#);
    assert!(
        error.contains("row 1, column `event_time`") && error.contains("yesterday"),
        "{error}"
    );

    let mut seconds = Pushed::new(vec![source(
        "default",
        ndjson(&["event_time BIGINT"]),
        None,
        MergeStrategy::Append,
    )]);
    updated(seconds.push("{\"event_time\":1704067200}\n{}\n"));
    assert_eq!(
        seconds.world.rows(),
        ["0 0 2024-01-01T00:00:00Z", "1 0 2026-06-01T01:00:00.500Z"],
        "rows without an event time get that of the push, and are put in order by it"
    );

    let mut both = Pushed::new(vec![source(
        "default",
        ndjson(&["_op BIGINT", "op BIGINT"]),
        None,
        MergeStrategy::Append,
    )]);
    assert!(both.refused("{\"op\":1}").contains("`op`"), "neither name is free");

    // Columns that somebody chose are refused.
    let chosen = csv(&[("offset", DataType::Int64)]);
    let mut schema = Pushed::new(vec![source("default", chosen, None, MergeStrategy::Append)]);
    assert!(schema.refused("offset\n1\n").contains("`offset`"));
    let mut query = Pushed::new(vec![source(
        "default",
        ndjson(&["a BIGINT"]),
        Some("select a as op from input"),
        MergeStrategy::Append,
    )]);
    assert!(query.refused("{\"a\":1}").contains("`op`"));
    let mut number = Pushed::new(vec![source(
        "default",
        ndjson(&["a BIGINT"]),
        Some("select a as event_time from input"),
        MergeStrategy::Append,
    )]);
    let error = number.refused("{\"a\":1}");
    assert!(error.contains("`event_time` must hold dates or timestamps"), "{error}");
}

#[test]
fn a_query_makes_the_rows_and_their_schema() {
    let mut pushed = Pushed::new(vec![source(
        "default",
        ndjson(&["ts BIGINT", "City STRING NOT NULL", "n BIGINT"]),
        Some("select to_timestamp_millis(ts) as event_time, City, cast(n as string) as text from input where n > 0"),
        ledger("City"),
    )]);
    let update = updated(pushed.push(
        "{\"ts\":2000,\"City\":\"b\",\"n\":2}\n{\"ts\":1000,\"City\":\"a\",\"n\":1}\n{\"City\":\"c\",\"n\":0}\n",
    ));
    assert_eq!(kinds(&update), ["SetDataSchema", "AddData"]);
    assert_eq!(
        pushed.columns(),
        ["event_time:Timestamp", "City:String", "text:String?"]
    );
    assert_eq!(
        pushed.world.rows(),
        ["0 0 1970-01-01T00:00:01Z a 1", "1 0 1970-01-01T00:00:02Z b 2"]
    );
    assert_eq!(
        pushed.dataset.state().watermark,
        Some("1970-01-01T00:00:02Z".parse().unwrap())
    );
    up_to_date(pushed.push("{\"ts\":9000,\"City\":\"a\",\"n\":7}\n"));
    // A failure in the middle of the rows.
    let mut cast = Pushed::new(vec![source(
        "default",
        ndjson(&["a STRING"]),
        Some("select cast(a as bigint) as a from input"),
        MergeStrategy::Append,
    )]);
    let rows: String = (0..20_000).map(|n| format!("{{\"a\":\"{n}\"}}\n")).collect();
    let error = cast.refused(&format!("{rows}{{\"a\":\"x\"}}\n"));
    assert!(error.contains("query failed") && error.contains('x'), "{error}");
}

#[test]
fn queries_that_cannot_be_run_are_refused_before_a_row_is_read() {
    let with = |transform: Transform| {
        Pushed::new(vec![MetadataEvent::AddPushSource(AddPushSource {
            source_name: "default".to_owned(),
            read: ndjson(&["a BIGINT"]),
            preprocess: Some(transform),
            merge: MergeStrategy::Append,
        })])
    };
    let error = with(sql("flink", "select * from input")).refused("{\"a\":1}");
    assert!(error.contains("`flink`"), "{error}");
    let error = with(sql("datafusion", "select a,\n b from input")).refused("{\"a\":1}");
    assert!(error.contains("line 2, column 2") && error.contains('b'), "{error}");
    let error = with(sql("datafusion", "select from where")).refused("{\"a\":1}");
    assert!(error.contains("the query"), "{error}");
}

#[test]
fn rows_must_fit_the_schema_that_is_there() {
    let dataset = |query: &str| {
        let read = ndjson(&["a BIGINT", "b STRING"]);
        Pushed::new(vec![
            source("default", read.clone(), None, MergeStrategy::Append),
            source("other", read, Some(query), MergeStrategy::Append),
        ])
    };
    let by = |name: &str| PushOptions {
        source_name: Some(name.to_owned()),
        ..PushOptions::default()
    };
    let row = "{\"a\":1,\"b\":\"x\"}";
    for (query, wanted) in [
        ("select b, a from input", "the order must be the same"),
        ("select a from input", "the dataset's column `b` is missing"),
        ("select a, b, 1 as c from input", "does not have the column `c`"),
        (
            "select a, c from (select a, b as c from input)",
            "column 6 is `c`, which the dataset does not have",
        ),
        (
            "select cast(a as double) as a, b from input",
            "column `a` is Float64, and the dataset has Int64",
        ),
    ] {
        let mut pushed = dataset(query);
        updated(pushed.push_with(row, &by("default")));
        let error = pushed.push_with(row, &by("other")).unwrap_err();
        assert!(matches!(error, IngestError::Fit(FitError::Incompatible(_))), "{error}");
        assert!(error.to_string().contains(wanted), "{query}: {error}");
    }
    // Another encoding of text, and a column that is never null.
    let mut pushed = dataset("select a, cast(b as string) as b from input");
    updated(pushed.push_with(row, &by("default")));
    updated(pushed.push_with(row, &by("other")));
    let mut pushed = dataset("select 1 as a, 'y' as b");
    updated(pushed.push_with(row, &by("default")));
    updated(pushed.push_with(row, &by("other")));
    let mut rows: Vec<String> = pushed.world.rows();
    rows.sort();
    assert_eq!(
        rows,
        ["0 0 2026-06-01T01:00:00.500Z 1 x", "1 0 2026-06-01T02:00:00.500Z 1 y"]
    );
}

#[test]
fn a_value_that_must_not_be_missing_is_named_by_row_and_column() {
    let schema = SetDataSchema {
        raw_arrow_schema: None,
        schema: Some(DataSchema {
            fields: [
                ("offset", DataType::Int64),
                ("op", DataType::Int32),
                ("system_time", types::field_from_arrow(&time_field()).unwrap().data_type),
                ("event_time", types::field_from_arrow(&time_field()).unwrap().data_type),
                ("a", DataType::Int64),
            ]
            .map(|(name, data_type)| odf_metadata::DataField::new(name, data_type))
            .to_vec(),
            extra: None,
        }),
    };
    let mut pushed = Pushed::new(vec![
        source("default", ndjson(&["a BIGINT"]), None, MergeStrategy::Append),
        MetadataEvent::SetDataSchema(schema),
    ]);
    updated(pushed.push("{\"a\":1}\n"));
    let error = pushed.refused("{\"a\":1}\n{\"a\":2}\n{\"a\":null}\n");
    assert_eq!(
        error,
        "input, row 3, column `a`: no value, but this column must have one"
    );
}

fn time_field() -> arrow::datatypes::Field {
    arrow::datatypes::Field::new("t", infer::timestamp(), false)
}

#[test]
fn pushed_columns_are_added_when_that_is_said() {
    let wider = PushOptions {
        add_columns: true,
        ..PushOptions::default()
    };
    let mut pushed = Pushed::new(vec![source(
        "default",
        ndjson(&["a BIGINT"]),
        None,
        MergeStrategy::Append,
    )]);
    updated(pushed.push("{\"a\":1}\n"));
    let update = updated(pushed.push_with("{\"a\":2,\"b\":true}\n", &wider));
    assert_eq!(kinds(&update), ["AddPushSource", "SetDataSchema", "AddData"]);
    assert_eq!(pushed.columns(), ["event_time:Timestamp", "a:Int64?", "b:Bool?"]);
    assert_eq!(
        kinds(&updated(pushed.push_with("{\"a\":3,\"b\":null}\n", &wider))),
        ["AddData"]
    );
    updated(pushed.push("{\"a\":4,\"b\":false}\n"));
    let ends: Vec<String> = pushed.world.rows().iter().map(|row| row[29..].to_owned()).collect();
    assert_eq!(ends, ["1 -", "2 true", "3 -", "4 false"]);

    // Without a schema yet.
    let declared = csv(&[("a", DataType::Int64)]);
    let mut pushed = Pushed::new(vec![source("default", declared, None, MergeStrategy::Append)]);
    assert!(pushed.refused("a,b\n1,x\n").contains("`b`"));
    let update = updated(pushed.push_with("b,a\nx,1\n", &wider));
    assert_eq!(kinds(&update), ["AddPushSource", "SetDataSchema", "AddData"]);
    assert_eq!(pushed.columns(), ["event_time:Timestamp", "a:Int64", "b:String?"]);

    let mut query = Pushed::new(vec![source(
        "default",
        ndjson(&["a BIGINT"]),
        Some("select a from input"),
        MergeStrategy::Append,
    )]);
    let error = query.push_with("{\"a\":1,\"b\":2}", &wider).unwrap_err();
    assert!(matches!(error, IngestError::ColumnsOfQuery), "{error}");
    let mut open = Pushed::new(vec![source("default", ndjson(&[]), None, MergeStrategy::Append)]);
    let error = open.push_with("{\"a\":1}", &wider).unwrap_err();
    assert!(matches!(error, IngestError::ColumnsOpen), "{error}");
}

#[test]
fn operations_without_a_meaning_are_stored_or_taken_for_appends_and_told() {
    let fields = [("op", DataType::Int32), ("id", DataType::Int64)];
    let key = || vec!["id".to_owned()];
    let mut changelog = Pushed::new(vec![source(
        "default",
        csv(&fields),
        None,
        MergeStrategy::ChangelogStream { primary_key: key() },
    )]);
    let update = updated(changelog.push("op,id\n7,1\n-1,2\n0,3\n"));
    assert!(
        said(&update)[0].starts_with("op: 2 row(s) have an operation other than"),
        "{:?}",
        said(&update)
    );
    let rows = changelog.world.rows();
    let of = |row: &String| row.split(' ').take(2).map(str::to_owned).collect::<Vec<_>>().join(" ");
    assert_eq!(rows.iter().map(of).collect::<Vec<_>>(), ["0 7", "1 -1", "2 0"]);
    let error = changelog.refused("op,id\n,1\n");
    assert!(error.contains("column `op`"), "{error}");

    let mut upsert = Pushed::new(vec![source(
        "default",
        csv(&fields),
        None,
        MergeStrategy::UpsertStream { primary_key: key() },
    )]);
    let update = updated(upsert.push("op,id\n7,1\n0,2\n"));
    assert!(said(&update)[0].starts_with("op: 1 row(s)"), "{:?}", said(&update));
    assert_eq!(upsert.world.rows().iter().map(of).collect::<Vec<_>>(), ["0 0", "1 0"]);
}

#[test]
fn operations_may_be_text() {
    let fields = [("op", DataType::String.optional()), ("id", DataType::Int64)];
    let key = || vec!["id".to_owned()];
    // A stream of changes keeps it, and its rows are in order by key and by it.
    let mut changelog = Pushed::new(vec![source(
        "default",
        csv(&fields),
        None,
        MergeStrategy::ChangelogStream { primary_key: key() },
    )]);
    updated(changelog.push("op,id\n-R,1\n+A,2\n+A,1\n"));
    let rows = changelog.world.rows();
    let of = |row: &String| {
        let words: Vec<&str> = row.split(' ').collect();
        format!("{} {}", words[1], words[words.len() - 1])
    };
    assert_eq!(rows.iter().map(of).collect::<Vec<_>>(), ["+A 1", "-R 1", "+A 2"]);
    // An upsert casts it.
    let mut upsert = Pushed::new(vec![source(
        "default",
        csv(&fields),
        None,
        MergeStrategy::UpsertStream { primary_key: key() },
    )]);
    updated(upsert.push("op,id\n0,1\n0,2\n"));
    assert_eq!(updated(upsert.push("op,id\n1,1\n")).rows, 1);
    assert_eq!(
        upsert.world.rows().iter().map(of).collect::<Vec<_>>(),
        ["0 1", "0 2", "1 1"]
    );
    assert!(upsert.refused("op,id\n+A,3\n").contains("`op`"));
}

#[test]
fn a_column_to_be_compared_may_be_missing_where_there_is_nothing_to_compare_with() {
    let merge = MergeStrategy::Snapshot {
        primary_key: vec!["id".to_owned()],
        compare_columns: Some(vec!["nope".to_owned()]),
    };
    let mut pushed = Pushed::new(vec![source("default", csv(&[("id", DataType::Int64)]), None, merge)]);
    let first = updated(pushed.push("id\n1\n"));
    assert!(
        said(&first)[0].starts_with("nope: the merge strategy compares"),
        "{:?}",
        said(&first)
    );
    assert_eq!(
        pushed.refused("id\n2\n"),
        "the column `nope`, which the merge strategy compares, is not in the data"
    );
}
