//! Queries over datasets: what they see, what they read for it, and what they cannot do.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use arrow::util::pretty::pretty_format_batches;
use bytes::Bytes;
use odf::Workspace;
use odf::dataset::Dataset;
use odf::ingest::Options;
use odf::ingest::source::{Format, Source};
use odf::metadata::{MergeStrategy, Timestamp};
use odf::pull::{Address, OnDemand};
use odf::select::{LEAST_MEMORY, Query, SelectError, Session, Settings};
use odf::tables::{NotHere, WorkspaceTables};
use odf_node::ipns::Freshness;

use crate::world::Site;

fn open(dir: &Path) -> Workspace {
    Workspace::open(dir, Default::default()).unwrap()
}

fn day(day: u32) -> Timestamp {
    format!("2026-06-{day:02}T00:00:00Z").parse().unwrap()
}

/// Takes CSV into a dataset.
fn take(workspace: &Workspace, name: &str, csv: &str, options: &Options, now: Timestamp) -> Dataset {
    let source = Source::bytes("rows.csv", Bytes::from(csv.to_owned()), Format::Csv, Default::default());
    let go_on = &mut |_| ControlFlow::Continue(());
    workspace
        .take(&name.parse().unwrap(), &source, options, now, go_on)
        .unwrap()
        .0
}

/// A dataset of `slices` slices with ten rows each: `n` counts from 0.
fn counted(workspace: &Workspace, name: &str, slices: u32) -> Dataset {
    let mut dataset = None;
    for slice in 1..=slices {
        let rows: String = (0..slice * 10).map(|n| format!("{n},word {}\n", n % 7)).collect();
        dataset = Some(take(
            workspace,
            name,
            &format!("n,word\n{rows}"),
            &Options::default(),
            day(slice),
        ));
    }
    dataset.unwrap()
}

fn session(workspace: &Workspace, memory: u64, elsewhere: HashMap<String, OnDemand>) -> Session {
    let settings = Settings {
        memory,
        spill: 1 << 30,
        scratch: workspace.store().root().join("query"),
        now: day(20),
        threads: 2,
    };
    let tables = WorkspaceTables {
        workspace: workspace.clone(),
        elsewhere,
        by_blocks: false,
    };
    Session::open(Arc::new(tables), settings).unwrap()
}

fn over(workspace: &Workspace) -> Session {
    session(workspace, 64 << 20, HashMap::new())
}

/// The rows of a query as text.
fn rows(session: &Session, sql: &str) -> Result<String, SelectError> {
    let mut batches = Vec::new();
    for query in Query::all(sql)? {
        let mut answer = session.select(&query)?;
        while let Some(batch) = answer.next(&|_| true)? {
            batches.push(batch);
        }
    }
    let table = pretty_format_batches(&batches).unwrap().to_string();
    let lines = table.lines().filter(|line| line.starts_with('|')).skip(1);
    let cells = |line: &str| {
        let cells = line.trim_matches('|').split('|').map(str::trim);
        cells.collect::<Vec<_>>().join(",")
    };
    Ok(lines.map(cells).collect::<Vec<_>>().join(";"))
}

#[test]
fn a_query_sees_datasets_as_tables_by_every_form_of_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let workspace = open(dir.path());
    let dataset = counted(&workspace, "org.example.Counted-1", 3);
    counted(&workspace, "a.b.c", 1);
    let session = over(&workspace);
    for from in [
        "\"org.example.Counted-1\"".to_owned(),
        format!("\"{}\"", dataset.id()),
        format!("'{}'", dataset.id()),
        "to_table('org.example.Counted-1')".to_owned(),
        format!("\"org.example.Counted-1@{}\"", dataset.head()),
        format!("as_of('org.example.Counted-1', '{}')", dataset.head()),
    ] {
        let found = rows(&session, &format!("select count(*), min(n), max(n) from {from}"));
        assert_eq!(found.unwrap(), "30,0,29", "{from}");
    }
    assert_eq!(rows(&session, "select count(*) from a.b.c").unwrap(), "10");
    let joined = "with few as (select n from a.b.c where n < 3) select few.n, word from few join \"org.example.Counted-1\" b on few.n = b.n order by 1";
    assert_eq!(rows(&session, joined).unwrap(), "0,word 0;1,word 1;2,word 2");
    // Rows are there as they came, with the columns that say how.
    assert_eq!(
        rows(&session, "select \"offset\", op, n from a.b.c where n = 4").unwrap(),
        "4,0,4"
    );
    for (sql, table) in [
        ("select * from missing", "missing"),
        ("select * from to_table('a.b')", "a.b"),
    ] {
        match rows(&session, sql) {
            Err(SelectError::NoTable(name)) => assert_eq!(name, table, "{sql}"),
            other => panic!("{sql}: {other:?}"),
        }
    }
}

#[test]
fn an_earlier_point_is_a_table_too() {
    let dir = tempfile::tempdir().unwrap();
    let workspace = open(dir.path());
    counted(&workspace, "t", 3);
    let session = over(&workspace);
    for (point, count) in [("2026-06-01T12:00:00Z", 10), ("2026-06-02T00:00:00Z", 20), ("head", 30)] {
        for from in [
            format!("\"t@{point}\""),
            format!("as_of('t', '{point}')"),
            format!("to_table('t', '{point}')"),
        ] {
            let found = rows(&session, &format!("select count(*) from {from}")).unwrap();
            assert_eq!(found, count.to_string(), "{from}");
        }
    }
    let grown = "select (select count(*) from t) - (select count(*) from as_of('t', '2026-06-02')) as new";
    assert_eq!(rows(&session, grown).unwrap(), "10");
    assert!(matches!(
        rows(&session, "select * from \"t@99\""),
        Err(SelectError::Table(_))
    ));
}

#[test]
fn what_the_chain_says_is_not_read_from_files() {
    let dir = tempfile::tempdir().unwrap();
    let workspace = open(dir.path());
    let dataset = counted(&workspace, "t", 4);
    let bytes = dataset.state().totals.data_bytes;
    let read = |sql: &str| {
        let session = over(&workspace);
        (
            rows(&session, sql).unwrap(),
            session.read().bytes(),
            session.read().wanted(),
        )
    };
    // Nothing of four slices, of one of four, and of the columns of all.
    assert_eq!(
        read("select count(*), min(\"offset\"), max(\"offset\") from t"),
        ("40,0,39".to_owned(), 0, bytes)
    );
    let (found, one, wanted) = read("select n from t where \"offset\" between 12 and 13");
    assert_eq!(found, "12;13");
    assert!(one > 0 && wanted < bytes / 2, "{one} and {wanted} of {bytes}");
    let (found, all, _) = read("select sum(n) from t");
    assert_eq!(found, "780");
    assert!(all > one, "{all}");
    assert_eq!(read("select n from t where \"offset\" > 1000").1, 0);
}

#[test]
fn what_is_least_of_several_expressions_is_found_in_every_slice() {
    let dir = tempfile::tempdir().unwrap();
    let workspace = open(dir.path());
    counted(&workspace, "t", 5);
    let session = over(&workspace);
    // Found by queries made at random: the least word is in the first slice, and the least difference in the last.
    let least = rows(&session, "select min(1 - n), min(word), max(n + 1), max(word) from t");
    assert_eq!(least.unwrap(), "-48,word 0,50,word 6");
}

#[test]
fn the_current_state_is_that_of_exports() {
    let dir = tempfile::tempdir().unwrap();
    let workspace = open(dir.path());
    let snapshot = Options {
        merge: Some(MergeStrategy::Snapshot {
            primary_key: vec!["city".to_owned()],
            compare_columns: None,
        }),
        ..Options::default()
    };
    take(&workspace, "s", "city,size\nA,1\nB,2\nC,3\nD,4\n", &snapshot, day(1));
    take(&workspace, "s", "city,size\nA,1\nB,5\nD,6\n", &snapshot, day(2));
    let dataset = take(&workspace, "s", "city,size\nA,1\nB,5\nC,7\nD,6\n", &snapshot, day(3));
    let session = over(&workspace);
    let current = rows(&session, "select city, size from to_table('s') order by size").unwrap();
    assert_eq!(current, "A,1;B,5;D,6;C,7");
    let exported = dataset
        .current()
        .unwrap()
        .unwrap()
        .map(|batch| batch.unwrap().num_rows());
    assert_eq!(exported.sum::<usize>(), 4);
    assert_eq!(
        rows(&session, "select city from to_table('s', '2026-06-02') order by size").unwrap(),
        "A;B;D"
    );
    let all = rows(&session, "select count(*) from s")
        .unwrap()
        .parse::<u64>()
        .unwrap();
    assert_eq!(all, dataset.state().next_offset());
}

#[test]
fn queries_only_read() {
    let dir = tempfile::tempdir().unwrap();
    let workspace = open(dir.path());
    counted(&workspace, "t", 1);
    let file = dir.path().join("secret.csv");
    std::fs::write(&file, "a\n1\n").unwrap();
    let session = over(&workspace);
    for sql in [
        "create table x as select 1",
        "create view x as select 1",
        "insert into t values (1)",
        "delete from t",
        "drop table t",
        "copy t to 'x.csv'",
        "copy (select 1) to 'x.parquet' stored as parquet",
        "set datafusion.execution.target_partitions = 1",
        "explain analyze delete from t",
        "begin",
    ] {
        assert!(
            matches!(rows(&session, sql), Err(SelectError::NotAQuery)),
            "{sql}: {:?}",
            rows(&session, sql)
        );
    }
    let file = file.display();
    let external = format!("create external table x stored as csv location '{file}'");
    assert!(matches!(rows(&session, &external), Err(SelectError::NotAQuery)));
    assert!(rows(&session, "select 1 as a into x").is_err());
    for sql in [
        format!("select * from '{file}'"),
        format!("select * from 'file://{file}'"),
        format!("select * from read_csv('{file}')"),
    ] {
        assert!(rows(&session, &sql).is_err(), "{sql}");
    }
    assert!(!dir.path().join("x.csv").exists());
    assert_eq!(rows(&session, "select count(*) from t").unwrap(), "10");
    assert_eq!(rows(&session, "show tables").unwrap().matches(",t,").count(), 1);
    assert!(rows(&session, "describe t").unwrap().contains("word"));
    assert!(
        rows(&session, "explain select n from t")
            .unwrap()
            .contains("DataSourceExec")
    );
    assert_eq!(
        rows(&session, "select json_get_int('{\"a\": 3}', 'a'), '{\"a\": 4}' ->> 'a'").unwrap(),
        "3,4"
    );
}

#[test]
fn a_query_that_does_not_fit_says_so_and_one_that_spills_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let workspace = open(dir.path());
    counted(&workspace, "t", 1);
    let session = session(&workspace, LEAST_MEMORY, HashMap::new());
    let many = "select max(v) from (select v from (select row_number() over (order by a.value * 7919 % 1000003, b.value) v \
                from generate_series(1, 3000) a cross join generate_series(1, 1000) b) order by v desc)";
    match rows(&session, many) {
        Ok(found) => assert_eq!(found, "3000000"),
        Err(error) => panic!("{error}"),
    }
    let dense = "select array_length(array_agg(a.value)) from generate_series(1, 4000000) a";
    match rows(&session, dense) {
        Err(SelectError::Memory { limit, .. }) => assert_eq!(limit, LEAST_MEMORY),
        other => panic!("{other:?}"),
    }
    assert_eq!(rows(&session, "select count(*) from t").unwrap(), "10");
    drop(session);
    let scratch = dir.path().join("query");
    assert!(!scratch.exists(), "nothing of what was spilled stays");
}

#[test]
fn a_query_stops_when_it_is_not_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let workspace = open(dir.path());
    let session = over(&workspace);
    let endless = "select count(*) from generate_series(1, 10000000) a cross join generate_series(1, 10000000) b";
    let query = Query::all(endless).unwrap().remove(0);
    let began = std::time::Instant::now();
    let stopped = session
        .select(&query)
        .unwrap()
        .next(&|_| began.elapsed().as_millis() < 300);
    assert!(matches!(stopped, Err(SelectError::Stopped)));
    assert!(began.elapsed().as_secs() < 3, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataset_that_is_elsewhere_is_a_table_of_which_only_what_is_needed_comes() {
    let dir = tempfile::tempdir().unwrap();
    let mut there = Site::new(&dir.path().join("there")).await;
    for rows in [10, 20, 30, 40] {
        there.take("t", rows);
    }
    let dataset = there.take("t", 50);
    let published = there.publish(&dataset).await;
    let here = Site::new(&dir.path().join("here")).await;
    here.node.dial(there.node.listen_addrs().remove(0)).await.unwrap();
    let address: Address = published.name.to_string().parse().unwrap();
    let fetcher = here.fetcher();
    let far = OnDemand::at(
        here.workspace.local(),
        &here.node,
        &fetcher,
        &address,
        Freshness::Network,
    );
    let far = far.await.unwrap();
    assert_eq!(far.chain().state.head, *dataset.head());
    let workspace = here.workspace.clone();
    let name = address.to_string();
    let found = tokio::task::spawn_blocking(move || {
        let bytes = |far: &OnDemand| far.fetched().bytes;
        let elsewhere = HashMap::from([(name.clone(), far.clone())]);
        let session = session(&workspace, 64 << 20, elsewhere);
        let before = bytes(&far);
        assert_eq!(rows(&session, &format!("select count(*) from '{name}'")).unwrap(), "50");
        assert_eq!(bytes(&far), before, "how many rows there are is in the chain");
        let one = format!("select word from '{name}' where \"offset\" = 25");
        assert_eq!(rows(&session, &one).unwrap(), "row 25");
        let for_one = bytes(&far) - before;
        assert!(for_one > 0);
        let all = format!("select sum(n), count(distinct word) from '{name}'");
        assert_eq!(rows(&session, &all).unwrap(), "1225,50");
        let for_all = bytes(&far) - before;
        assert!(for_one * 2 < for_all, "{for_one} of {for_all}");
        // What came once is here.
        assert_eq!(rows(&session, &all).unwrap(), "1225,50");
        assert_eq!(bytes(&far) - before, for_all);
        let earlier = rows(&session, &format!("select * from as_of('{name}', 'head')"));
        match earlier {
            Err(SelectError::Table(error)) => assert!(error.get::<NotHere>().is_some()),
            other => panic!("{other:?}"),
        }
    });
    found.await.unwrap();
    assert!(
        here.workspace.catalog().entries().unwrap().is_empty(),
        "nothing was pulled"
    );
}
