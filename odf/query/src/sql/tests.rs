//! Queries over tables in memory.

use std::cell::Cell;

use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Int64Type};

use odf_ingest::INPUT;

use super::*;

mod gathering;
mod types;

/// Hands out rows `0..rows` in batches of 1000: `n`, and `Name` with a capital.
struct Numbers<'a> {
    next: i64,
    rows: i64,
    read: &'a Cell<i64>,
}

fn numbers() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("n", DataType::Int64, false),
        Field::new("Name", DataType::Utf8, true),
    ]))
}

impl Batches for Numbers<'_> {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        let range = self.next..(self.next + 1000).min(self.rows);
        if range.is_empty() {
            return Ok(None);
        }
        self.next = range.end;
        self.read.set(self.read.get().max(range.end));
        let names: StringArray = range.clone().map(|n| Some(format!("name {n}"))).collect();
        let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values(range)), Arc::new(names)];
        Ok(Some(RecordBatch::try_new(numbers(), columns).unwrap()))
    }

    fn bytes(&self) -> u64 {
        self.next.unsigned_abs()
    }
}

fn transform(engine: &str, steps: &[(Option<&str>, &str)]) -> Transform {
    let step = |(alias, query): &(Option<&str>, &str)| SqlQueryStep {
        alias: alias.map(str::to_owned),
        query: (*query).to_owned(),
    };
    Transform::Sql(TransformSql {
        engine: engine.to_owned(),
        version: None,
        query: None,
        queries: Some(steps.iter().map(step).collect()),
        temporal_tables: None,
    })
}

fn now() -> Timestamp {
    "2024-01-02T03:04:05Z".parse().unwrap()
}

fn plan_of(steps: &[(Option<&str>, &str)]) -> Result<Query, QueryError> {
    let inputs = vec![(INPUT.to_owned(), numbers())];
    Query::plan(&transform("DataFusion", steps), inputs, now())
}

/// The first column of the result of a query over so many rows.
fn run(rows: i64, steps: &[(Option<&str>, &str)]) -> Result<Vec<i64>, SourceError> {
    run_query(rows, &plan_of(steps).unwrap())
}

fn run_query(rows: i64, query: &Query) -> Result<Vec<i64>, SourceError> {
    let dir = tempfile::tempdir().unwrap();
    let read = Cell::new(0);
    let open = |at, _: Option<&[usize]>| {
        assert_eq!(at, 0);
        let reader: Box<dyn Batches + '_> = Box::new(Numbers {
            next: 0,
            rows,
            read: &read,
        });
        Ok(reader)
    };
    let mut answer = query.run("numbers", dir.path(), Box::new(open)).unwrap();
    let mut values = Vec::new();
    while let Some(batch) = answer.next_batch()? {
        assert_eq!(batch.schema(), *query.schema());
        values.extend(batch.column(0).as_primitive::<Int64Type>().values().iter().copied());
    }
    drop(answer);
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        0,
        "temporary files are gone"
    );
    Ok(values)
}

#[test]
fn steps_build_on_each_other_and_names_keep_their_case() {
    let steps = [
        (Some("Even"), "select n, Name from input where n % 2 = 0"),
        (Some("last"), "select max(n) as n from Even"),
        (None, "select n * 10 as n, (select count(*) from Even) as c from last"),
    ];
    assert_eq!(run(5, &steps).unwrap(), [40]);
    let query = plan_of(&[(None, "select Name, cast(n as string) as s, n as \"N\" from input")]).unwrap();
    let fields: Vec<String> = query
        .schema()
        .fields()
        .iter()
        .map(|f| format!("{}:{}:{}", f.name(), f.data_type(), f.is_nullable()))
        .collect();
    assert_eq!(fields, ["Name:Utf8:true", "s:Utf8View:false", "N:Int64:false"]);
    let QueryError::Invalid { message, place, .. } = plan_of(&[(None, "select n,\n  name from input")]).err().unwrap()
    else {
        panic!("names differ in case")
    };
    assert!(message.contains("name"), "{message}");
    assert_eq!(place, Some((2, 3)));
}

#[test]
fn an_order_that_a_query_asks_for_has_no_effect_beside_that_of_event_times() {
    let stored = |sql: &str| {
        let mut query = plan_of(&[(None, sql)]).unwrap();
        query.store_by("event_time");
        run_query(4, &query).unwrap()
    };
    assert_eq!(stored("select n from input order by n desc"), [0, 1, 2, 3]);
    assert_eq!(stored("select n from input order by n desc limit 3"), [3, 2, 1]);
    assert_eq!(
        stored("select n, n % 2 as m from input order by m desc, n"),
        [0, 1, 2, 3]
    );
    let time = "to_timestamp_seconds(n % 2) as event_time";
    let by = |order: &str| stored(&format!("select n, {time}, Name from input order by {order}"));
    assert_eq!(by("n desc"), [0, 1, 2, 3]);
    assert_eq!(by("event_time desc, n desc"), [3, 1, 2, 0]);
    // The parts of a union take turns.
    assert_eq!(
        stored("select n from input where n < 3 union all select n + 10 from input where n < 3"),
        [0, 10, 1, 11, 2, 12]
    );
    let part = |by: i64| format!("select n + {by} as n, to_timestamp_seconds(n) as event_time from input");
    assert_eq!(
        stored(&format!("{} union all {}", part(0), part(10))),
        [0, 10, 1, 11, 2, 12, 3, 13]
    );
    // Values are those of the query, whatever it is sorted by.
    let mut query = plan_of(&[(None, "select to_timestamp_seconds(n) as event_time, n from input")]).unwrap();
    query.store_by("event_time");
    assert_eq!(
        query.schema().field(0).data_type().to_string(),
        "Timestamp(s)",
        "{:?}",
        query.schema()
    );
    // What nobody stores is as it was asked for.
    assert_eq!(
        run(3, &[(None, "select n from input order by n desc")]).unwrap(),
        [2, 1, 0]
    );
}

#[test]
fn functions_for_lists_and_times_are_there() {
    let query = "select array_element(make_array(n, 9), 2) as v from input";
    assert_eq!(run(1, &[(None, query)]).unwrap(), [9]);
    let query = "select cast(date_part('year', to_timestamp('2024-02-03T00:00:00Z')) as bigint) as v from input";
    assert_eq!(run(1, &[(None, query)]).unwrap(), [2024]);
    let query = "select cast(to_char(now(), '%Y%m%d') as bigint) as v from input";
    assert_eq!(run(1, &[(None, query)]).unwrap(), [20_240_102], "the clock is given");
    let query = "select cast(regexp_replace(md5(Name), '.*', '10') as bigint) as v from input";
    assert_eq!(run(1, &[(None, query)]).unwrap(), [10]);
}

#[test]
fn an_input_may_be_read_several_times_at_once() {
    let query = "select a.n from input a join input b on a.n = b.n + 1 order by a.n desc";
    assert_eq!(run(4000, &[(None, query)]).unwrap().len(), 3999);
    let union = "select n from input union all select n from input where n < 10";
    assert_eq!(run(4000, &[(None, union)]).unwrap().len(), 4010);
    assert_eq!(run(0, &[(None, "select n from input")]).unwrap(), Vec::<i64>::new());
}

#[test]
fn rows_are_read_when_they_are_wanted() {
    let query = plan_of(&[(None, "select n from input")]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let read = Cell::new(0);
    let open = |_, _: Option<&[usize]>| {
        let reader: Box<dyn Batches + '_> = Box::new(Numbers {
            next: 0,
            rows: 10_000_000,
            read: &read,
        });
        Ok(reader)
    };
    let mut answer = query.run("numbers", dir.path(), Box::new(open)).unwrap();
    assert!(answer.next_batch().unwrap().is_some());
    assert!(
        read.get() <= 20_000,
        "{} rows were read for the first batch",
        read.get()
    );
    assert!(answer.bytes() > 0);
}

#[test]
fn what_is_no_query_is_refused() {
    for sql in [
        "create external table t stored as csv location '/etc/passwd'",
        "create table t as select 1",
        "create view v as select * from input",
        "copy (select * from input) to '/tmp/stolen.csv'",
        "insert into input values (1, 'a')",
        "drop table input",
        "set datafusion.execution.batch_size = 1",
        "explain select * from input",
        "show tables",
        "describe input",
    ] {
        let error = plan_of(&[(None, sql)]).err();
        assert!(
            matches!(error, Some(QueryError::NotAQuery { .. } | QueryError::Invalid { .. })),
            "{sql}: {error:?}"
        );
    }
    for sql in [
        "select * from '/etc/passwd'",
        "select * from \"/etc/passwd\"",
        "select * from read_csv('/etc/passwd')",
        "select * from information_schema.tables",
        "select 1; select 2",
        "select n from input where",
        "",
    ] {
        let error = plan_of(&[(None, sql)]).err();
        assert!(matches!(error, Some(QueryError::Invalid { .. })), "{sql}: {error:?}");
    }
}

#[test]
fn transforms_that_cannot_be_run_say_why() {
    let spark = Query::plan(&transform("spark", &[(None, "select 1")]), vec![], now())
        .err()
        .unwrap();
    assert!(
        spark.to_string().contains("`spark`") && spark.to_string().contains("datafusion"),
        "{spark}"
    );
    assert_eq!(plan_of(&[]).err(), Some(QueryError::NoQuery));
    assert_eq!(plan_of(&[(Some("a"), "select 1")]).err(), Some(QueryError::NoQuery));
    let twice = plan_of(&[(Some("input"), "select 1"), (None, "select 2")])
        .err()
        .unwrap();
    assert!(twice.to_string().contains("another table has this name"), "{twice}");
    let long = format!("select {}", " ".repeat(MAX_QUERY_BYTES));
    assert!(matches!(
        plan_of(&[(None, &long)]).err(),
        Some(QueryError::TooLarge { .. })
    ));
    let many = vec![(None, "select 1"); MAX_STEPS + 1];
    assert!(matches!(plan_of(&many).err(), Some(QueryError::TooLarge { .. })));
    let twice = plan_of(&[(None, "select a.n, b.n from input a, input b")]).err();
    assert_eq!(twice, Some(QueryError::Ambiguous("n".to_owned())));
    let columns = |count: usize| {
        let columns: Vec<String> = (0..count).map(|n| format!("n as n{n}")).collect();
        plan_of(&[(None, &format!("select {} from input", columns.join(", ")))])
    };
    assert_eq!(columns(MAX_COLUMNS).unwrap().schema().fields().len(), MAX_COLUMNS);
    assert!(matches!(
        columns(MAX_COLUMNS + 1).err(),
        Some(QueryError::TooLarge { .. })
    ));
    let deep = format!("select {}1{}", "(".repeat(10_000), ")".repeat(10_000));
    assert!(matches!(
        plan_of(&[(None, &deep)]).err(),
        Some(QueryError::Invalid { .. })
    ));
}

#[test]
fn a_value_that_cannot_be_computed_ends_the_rows() {
    let error = run(10, &[(None, "select cast(Name as bigint) from input")]).unwrap_err();
    assert!(error.to_string().contains("name 0"), "{error}");
}
#[test]
fn a_query_may_select_no_column() {
    let query = plan_of(&[(None, "select from input")]).unwrap();
    assert!(query.schema().fields().is_empty());
    let (read, dir) = (Cell::new(0), tempfile::tempdir().unwrap());
    let open = |_, _: Option<&[usize]>| {
        let reader: Box<dyn Batches + '_> = Box::new(Numbers {
            next: 0,
            rows: 3,
            read: &read,
        });
        Ok(reader)
    };
    let mut answer = query.run("numbers", dir.path(), Box::new(open)).unwrap();
    assert_eq!(answer.next_batch().unwrap().unwrap().num_rows(), 3);
    assert!(answer.next_batch().unwrap().is_none());
}
