//! Queries over tables in memory.

use std::cell::Cell;

use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Int64Type};

use odf_ingest::INPUT;

use super::*;

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

/// What of a query over the inputs `input` and `other` needs all rows.
fn gathering(steps: &[(Option<&str>, &str)]) -> Option<Gathering> {
    let inputs = vec![(INPUT.to_owned(), numbers()), ("other".to_owned(), numbers())];
    let query = Query::plan(&transform(ENGINE, steps), inputs, now()).unwrap();
    query.gathering().cloned()
}

#[test]
fn queries_over_single_rows_are_known() {
    for query in [
        "select * from input",
        "select n * 2 as n, upper(Name) as Name, now() as t from input where n > 3 and Name like 'name%'",
        "select n, case when n in (1, 2) then 'few' else 'many' end as c from input as i",
        "select n from input union all select n + 1 from other where n < 10",
        "with few as (select n from input where n < 9) select n from few union all select n from few",
        "select x.n from (select n from input) as x",
        "select unnest(make_array(n, n + 1)) as n from input",
        // The same rows, whatever came when.
        "select n from input order by n desc",
        "select n from input where false",
    ] {
        assert_eq!(gathering(&[(None, query)]), None, "{query}");
    }
    let steps = [
        (Some("even"), "select n from input where n % 2 = 0"),
        (None, "select n from even"),
    ];
    assert_eq!(gathering(&steps), None);
}

#[test]
fn what_needs_all_rows_is_named_with_its_place() {
    // The query, what is found in it, and the word (the last of its kind) that stands where it is said to be.
    let cases = [
        ("select a.n from input a\njoin other b on a.n = b.n", "a JOIN", "join"),
        (
            "select a.n from input a left join other b on a.n = b.n",
            "a JOIN",
            "join",
        ),
        ("select input.n from input, other", "several tables in FROM", "from"),
        (
            "select n from input intersect select n from other",
            "INTERSECT",
            "intersect",
        ),
        ("select n from input except all select n from other", "EXCEPT", "except"),
        ("select Name, sum(n) as s from input group by Name", "GROUP BY", "group"),
        (
            "select Name from input group by Name having count(*) > 1",
            "GROUP BY",
            "group",
        ),
        ("select max(n) as n from input", "`max`", "max"),
        ("select count(distinct n) as n from input", "`count`", "count"),
        ("select distinct n from input", "DISTINCT", "distinct"),
        (
            "select distinct on (Name) n from input order by Name, n",
            "DISTINCT",
            "distinct",
        ),
        (
            "select n from input union select n from other",
            "UNION without ALL",
            "union",
        ),
        (
            "select n, row_number() over (order by n) as r from input",
            "a window function",
            "over",
        ),
        (
            "select lag(n) over (order by n) as n from input",
            "a window function",
            "over",
        ),
        ("select n from input order by n\n  limit 3", "LIMIT", "limit"),
        ("select n from input offset 3", "OFFSET", "offset"),
        (
            "select n from input where n in (select n from other)",
            "a subquery",
            "select",
        ),
        (
            "select n from input where exists (select 1 from other where other.n = input.n)",
            "a subquery",
            "select",
        ),
        (
            "select n, (select max(n) from other) as m from input",
            "a subquery",
            "select",
        ),
        (
            "select n from (select n from input) x where n > (select min(n) from other)",
            "a subquery",
            "select",
        ),
        (
            "with recursive r as (select n from input union all select n + 1 from r where n < 9) select n from r",
            "WITH RECURSIVE",
            "recursive",
        ),
        (
            "select n from input union all values (1)",
            "rows that come from no input",
            "values",
        ),
        (
            "select n from input union all select 7",
            "rows that come from no input",
            "",
        ),
        (
            "select value as n from generate_series(1, 3)",
            "rows that come from no input",
            "",
        ),
        // Neither a text nor a name is the word.
        (
            "select n as \"limit\", ' limit ' as j from input limit 1",
            "LIMIT",
            "limit",
        ),
        // Below what is harmless.
        (
            "select x.n + 1 as n from (select n from input where n > 1 limit 2) x",
            "LIMIT",
            "limit",
        ),
    ];
    for (query, construct, word) in cases {
        let found = gathering(&[(None, query)]).unwrap_or_else(|| panic!("{query}"));
        assert!(found.construct.contains(construct), "{query}: {found}");
        let place = query.rfind(word).filter(|_| !word.is_empty()).map(|at| {
            let before = &query[..at];
            let line = before.rfind('\n').map_or(0, |end| end + 1);
            (before.matches('\n').count() as u64 + 1, (at - line) as u64 + 1)
        });
        assert_eq!(found.place, place, "{query}: {found}");
        assert_eq!(found.step, "the query", "{query}");
    }
}

#[test]
fn the_first_step_that_needs_all_rows_is_named() {
    let steps = [
        (Some("few"), "select n from input where n < 9"),
        (Some("sums"), "select sum(n) as n from few"),
        (None, "select n from sums limit 1"),
    ];
    let found = gathering(&steps).unwrap();
    assert_eq!(
        found.to_string(),
        "the query `sums` has the aggregate function `sum` (line 1, column 8)"
    );
}

/// The columns of a query as `name:type`, with `?` where they may be missing: as the schema says, and as a slice has them.
fn columns(query: &str) -> (Vec<String>, Vec<String>) {
    let query = plan_of(&[(None, query)]).unwrap();
    let text = |schema: &SchemaRef| {
        let optional = |field: &Field| if field.is_nullable() { "?" } else { "" };
        let fields = schema.fields().iter();
        fields
            .map(|field| format!("{}:{}{}", field.name(), field.data_type(), optional(field)))
            .collect()
    };
    (text(query.schema()), text(&query.stored.schema))
}

#[test]
fn functions_for_json_are_there() {
    let json = r#"'{"a": -7, "b": {"c": "x"}, "l": [1, 2]}'"#;
    let whole = |expression: &str| run(1, &[(None, &format!("select {expression} as v from input"))]).unwrap();
    assert_eq!(whole(&format!("json_get_int({json}, 'a')")), [-7]);
    assert_eq!(whole(&format!("json_length({json}, 'l')::bigint")), [2]);
    assert_eq!(whole(&format!("({json}->>'a')::bigint")), [-7]);
    assert_eq!(whole(&format!("json_get({json}, 'l', 1)::bigint")), [2]);
    assert_eq!(
        whole(&format!("case when json_contains({json}, 'b', 'c') then 1 else 0 end")),
        [1]
    );
    let (columns, _) = columns(
        "select json_get_int(Name,'a') i, json_get_str(Name,'a') s, json_get_float(Name,'a') f, json_get_bool(Name,'a') b, \
         json_get_json(Name,'a') j, json_object_keys(Name) k, json_length(Name) n, \
         json_as_text(Name,'a') t, Name->'a'->>'b' o from input",
    );
    assert_eq!(
        columns,
        [
            "i:Int64?",
            "s:Utf8?",
            "f:Float64?",
            "b:Boolean?",
            "j:Utf8?",
            "k:List(Utf8)?",
            "n:UInt64?",
            "t:Utf8?",
            "o:Utf8?"
        ]
    );
}

#[test]
fn results_have_the_types_that_the_reference_implementation_gives_them() {
    let (columns, _) = columns(
        "select left(Name,1) a, right(Name,1) b, substr(Name,2) c, substring(Name from 2 for 1) d, substr(Name,1)||'x' e, \
         round(n) f, round(1.25,1) g, regexp_count(Name,'a') h, column1 i from input, (values (1)) v",
    );
    assert_eq!(
        columns,
        [
            "a:Utf8View?",
            "b:Utf8View?",
            "c:Utf8View?",
            "d:Utf8View?",
            "e:Utf8View?",
            "f:Float64",
            "g:Float64",
            "h:Int64?",
            "i:Int64?"
        ]
    );
    assert_eq!(
        run(1, &[(None, "select regexp_count(null, 'a') as v from input")]).unwrap(),
        [0]
    );
    let version = "select cast(version() like 'Apache DataFusion 54.1.0, % on %' as bigint) as v from input";
    assert_eq!(run(1, &[(None, version)]).unwrap(), [1]);
    let counted = "select regexp_count(case when n > 0 then 'a-a' end, 'a') as v from input";
    assert_eq!(run(2, &[(None, counted)]).unwrap(), [0, 2]);
    assert_eq!(
        run(1, &[(None, "select cast(substr('a12',2) as bigint) as v from input")]).unwrap(),
        [12]
    );
    assert_eq!(
        run(1, &[(None, "select cast(round(7) as bigint) as v from input")]).unwrap(),
        [7]
    );
}

#[test]
fn functions_that_came_later_are_not_there() {
    for call in [
        "array_sum([n])",
        "list_sum([n])",
        "array_add([n], [n])",
        "any_value(n)",
        "input_file_name()",
    ] {
        let error = plan_of(&[(None, &format!("select {call} as v from input"))])
            .err()
            .unwrap();
        assert!(error.to_string().contains("Invalid function"), "{error}");
    }
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

#[test]
fn what_cannot_be_missing_is_required_in_the_slice_only() {
    let (columns, stored) = columns("select power(2, 3) p, nullif(n, 1) q, to_hex(255) h, n from input");
    assert_eq!(columns, ["p:Float64?", "q:Int64?", "h:Utf8?", "n:Int64"]);
    assert_eq!(stored, ["p:Float64", "q:Int64?", "h:Utf8", "n:Int64"]);
}

#[test]
fn types_are_those_that_come_out() {
    let (schema, stored) = columns("select cast(n as int) as x from input union all select n + 1 from input");
    assert_eq!(schema[0].split('?').next(), Some("x:Int64"));
    assert_eq!(stored[0].split('?').next(), Some("x:Int64"));
    let (schema, _) = columns("select json_get(Name, 'a')::text as x from input");
    assert_eq!(schema, ["x:Utf8?"]);
}

#[test]
fn the_order_that_a_query_asks_for_is_known() {
    let order = |query: &str| {
        let query = plan_of(&[(None, query)]).unwrap();
        let columns = query.stored.order.iter();
        columns
            .map(|by| {
                format!(
                    "{}{}{}",
                    by.column,
                    if by.descending { " desc" } else { "" },
                    if by.nulls_first { " nulls first" } else { "" }
                )
            })
            .collect::<Vec<_>>()
            .join(", ")
    };
    assert_eq!(order("select n, Name from input"), "");
    assert_eq!(
        order("select n, Name from input order by Name desc, n"),
        "Name desc nulls first, n"
    );
    assert_eq!(
        order("select Name, n as x from input order by n desc limit 2"),
        "x desc nulls first"
    );
    assert_eq!(order("select n from input order by Name"), "");
    assert_eq!(order("select n, row_number() over (order by n) as r from input"), "r");
}
