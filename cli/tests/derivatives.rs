//! Datasets that are computed from others.

use serde_json::Value;

use crate::sandbox::{Outcome, Sandbox};

/// A sandbox with a dataset `t` of two rows.
pub(crate) fn with_root() -> Sandbox {
    let sandbox = Sandbox::new();
    publish(&sandbox, "t", &[(1, "Oslo"), (2, "Rome")]);
    sandbox
}

/// Publishes a table whose rows are keyed by their number.
pub(crate) fn publish(sandbox: &Sandbox, name: &str, rows: &[(u32, &str)]) {
    let mut text = String::from("id,at,city\n");
    for (id, city) in rows {
        text.push_str(&format!("{id},2024-01-{id:02}T00:00:00Z,{city}\n"));
    }
    let file = format!("{name}.csv");
    sandbox.file(&file, text);
    sandbox
        .run(&["publish", &file, "--exit", "--primary-key", "id", "--event-time", "at"])
        .ok();
}

pub(crate) fn derive(sandbox: &Sandbox, name: &str, inputs: &str, transform: &str) {
    declare(sandbox, name, inputs, transform).ok();
}

fn declare(sandbox: &Sandbox, name: &str, inputs: &str, transform: &str) -> Outcome {
    sandbox.file(
        "derivative.yaml",
        format!(
            "kind: DatasetSnapshot\nversion: 1\ncontent:\n  name: {name}\n  kind: Derivative\n  metadata:\n    - kind: \
             SetTransform\n      inputs: {inputs}\n      transform: {transform}\n    - {{kind: SetVocab, eventTimeColumn: at}}\n"
        ),
    );
    sandbox.run(&["add", "derivative.yaml"])
}

pub(crate) fn sql(query: &str) -> String {
    format!("{{kind: Sql, engine: datafusion, query: \"{query}\"}}")
}

fn rows(sandbox: &Sandbox, name: &str) -> Vec<Value> {
    serde_json::from_str(&sandbox.run(&["tail", name, "-n", "1000"]).ok()).unwrap()
}

/// Values of a column, in the order of offsets.
fn column(sandbox: &Sandbox, name: &str, column: &str) -> Vec<Value> {
    let rows = rows(sandbox, name);
    for (offset, row) in rows.iter().enumerate() {
        assert_eq!(row["offset"], offset, "{row}");
    }
    rows.into_iter().map(|mut row| row[column].take()).collect()
}

pub(crate) fn newest(sandbox: &Sandbox, name: &str) -> Value {
    let mut log: Vec<Value> = serde_json::from_str(&sandbox.run(&["log", name]).ok()).unwrap();
    log.swap_remove(0)
}

#[test]
fn new_rows_of_an_input_become_new_rows() {
    let sandbox = with_root();
    derive(
        &sandbox,
        "d",
        "[{datasetRef: t}]",
        &sql("select at, id * 10 as ten, upper(city) as city from t"),
    );
    let first = sandbox.run(&["pull", "d"]);
    assert!(first.err.contains("1 dataset(s) updated"), "{}", first.err);
    let out = first.ok();
    assert!(
        out.starts_with("d: updated to f1620") && out.ends_with("(2 block(s), 2 row(s))\n"),
        "{out}"
    );
    assert_eq!(column(&sandbox, "d", "city"), ["OSLO", "ROME"]);
    let keys: Vec<String> = rows(&sandbox, "d")[0].as_object().unwrap().keys().cloned().collect();
    for key in ["offset", "op", "system_time", "at", "ten", "city"] {
        assert!(keys.iter().any(|found| found == key), "{keys:?}");
    }
    assert_eq!(newest(&sandbox, "d")["Content"]["newWatermark"], "2024-01-02T00:00:00Z");

    assert_eq!(sandbox.run(&["pull", "d"]).ok(), "d is up to date\n");
    let read = newest(&sandbox, "t")["Hash"].clone();
    publish(&sandbox, "t", &[(1, "Oslo"), (2, "Rome"), (3, "Lima")]);
    assert!(sandbox.run(&["pull", "--all"]).ok().contains("(1 block(s), 1 row(s))"));
    assert_eq!(column(&sandbox, "d", "ten"), [10, 20, 30]);
    let content = newest(&sandbox, "d")["Content"].clone();
    assert_eq!(content["kind"], "ExecuteTransform");
    let input = &content["queryInputs"][0];
    assert_eq!(input["prevBlockHash"], read);
    assert_eq!(input["newBlockHash"], newest(&sandbox, "t")["Hash"]);
    assert_eq!((&input["prevOffset"], &input["newOffset"]), (&1.into(), &2.into()));
    assert_eq!(content["prevOffset"], 1);
    sandbox.run(&["verify", "d"]).ok();
}

#[test]
fn steps_and_several_inputs_are_seen_by_their_names() {
    let sandbox = with_root();
    publish(&sandbox, "u", &[(2, "Siena"), (3, "Lima")]);
    derive(
        &sandbox,
        "both",
        "[{datasetRef: t, alias: cities}, {datasetRef: u, alias: \"more.cities\"}]",
        "{kind: Sql, engine: datafusion, queries: [{alias: large, query: \"select at, upper(city) as city from cities\"}, \
         {query: \"select at, city from large union all select at, city from \\\"more.cities\\\"\"}]}",
    );
    sandbox.run(&["pull", "both"]).ok();
    assert_eq!(column(&sandbox, "both", "city"), ["OSLO", "ROME", "Siena", "Lima"]);
    let watermark = || newest(&sandbox, "both")["Content"]["newWatermark"].clone();
    // The input that is behind says how far the result is complete.
    assert_eq!(watermark(), "2024-01-02T00:00:00Z");
    // Only the other one moves on: this one is as far behind as before, although it says nothing new.
    publish(&sandbox, "u", &[(2, "Siena"), (3, "Lima"), (9, "Cusco")]);
    sandbox.run(&["pull", "both"]).ok();
    assert_eq!(
        column(&sandbox, "both", "city"),
        ["OSLO", "ROME", "Siena", "Lima", "Cusco"]
    );
    assert_eq!(watermark(), "2024-01-02T00:00:00Z");
    let content = newest(&sandbox, "both")["Content"].clone();
    assert_eq!(content["queryInputs"][0].get("newBlockHash"), None, "{content}");
    assert!(content["queryInputs"][1]["newBlockHash"].is_string(), "{content}");
    // The one behind comes further, up to the other.
    publish(&sandbox, "t", &[(1, "Oslo"), (2, "Rome"), (5, "Kyiv")]);
    sandbox.run(&["pull", "both"]).ok();
    assert_eq!(watermark(), "2024-01-05T00:00:00Z");
    sandbox.run(&["verify", "both"]).ok();
}

#[test]
fn what_would_need_all_rows_is_refused_also_before_the_first_row() {
    let sandbox = with_root();
    publish(&sandbox, "u", &[(2, "Italy"), (3, "Peru")]);
    derive(
        &sandbox,
        "joined",
        "[{datasetRef: t, alias: a}, {datasetRef: u, alias: b}]",
        "{kind: Sql, engine: datafusion, queries: [{alias: both, query: \"select a.at, a.city, b.city as country from a join \
         b on a.id = b.id\"}, {query: \"select at, city || country as place from both\"}]}",
    );
    derive(
        &sandbox,
        "counted",
        "[{datasetRef: t}]",
        &sql("select at, count(*) as n from t group by at"),
    );
    for (name, words) in [
        ("joined", "the query `both` has a JOIN (line 1, column 47)"),
        ("counted", "the query has GROUP BY (line 1, column 33)"),
    ] {
        let err = sandbox.run(&["pull", name]).failed(7);
        assert!(err.contains(words), "{err}");
        assert!(err.contains("Next: change the transform"), "{err}");
        assert_eq!(newest(&sandbox, name)["Event"], "SetVocab", "{name}");
    }
    // What no engine can read is not added at all.
    for (name, query) in [
        ("syntax", "select at from t where"),
        ("change", "create table x as select * from t"),
    ] {
        let err = declare(&sandbox, name, "[{datasetRef: t}]", &sql(query)).failed(5);
        assert!(
            err.contains(&format!("derivative.yaml, {name}: the query")) && err.contains("Next: "),
            "{err}"
        );
        sandbox.run(&["log", name]).failed(3);
    }
}

#[test]
fn operations_of_an_input_go_on_if_the_query_takes_them_along() {
    let sandbox = Sandbox::new();
    let publish = |text: &str| {
        sandbox.file("s.csv", text);
        let snapshot = ["--merge", "snapshot", "--primary-key", "id"];
        sandbox
            .run(&[&["publish", "s.csv", "--exit"][..], &snapshot].concat())
            .ok();
    };
    publish("id,city\n1,Oslo\n2,Rome\n");
    derive(
        &sandbox,
        "d",
        "[{datasetRef: s}]",
        &sql("select op, event_time as at, city from s"),
    );
    sandbox.run(&["pull", "d"]).ok();
    publish("id,city\n2,Roma\n");
    sandbox.run(&["pull", "d"]).ok();
    let expected = [(0, "Oslo"), (0, "Rome"), (1, "Oslo"), (2, "Rome"), (3, "Roma")];
    let found: Vec<(Value, Value)> = rows(&sandbox, "d")
        .iter()
        .map(|row| (row["op"].clone(), row["city"].clone()))
        .collect();
    assert_eq!(found, expected.map(|(op, city)| (op.into(), city.into())));
}

#[test]
fn inputs_come_before_what_is_computed_from_them() {
    let sandbox = Sandbox::new();
    sandbox.file("in/1.csv", "id,at\n1,2024-01-01T00:00:00Z\n");
    sandbox.file(
        "root.yaml",
        "kind: DatasetSnapshot\nversion: 1\ncontent:\n  name: z.root\n  kind: Root\n  metadata:\n    - kind: SetPollingSource\n      \
         fetch: {kind: FilesGlob, path: \"in/*.csv\"}\n      read: {kind: Csv, header: true, ddlSchema: [id BIGINT, at \
         TIMESTAMP]}\n      merge: {kind: Append}\n    - {kind: SetVocab, eventTimeColumn: at}\n",
    );
    sandbox.run(&["add", "root.yaml"]).ok();
    derive(
        &sandbox,
        "b",
        "[{datasetRef: z.root, alias: r}]",
        &sql("select at, id + 1 as id from r"),
    );
    derive(
        &sandbox,
        "a",
        "[{datasetRef: b, alias: b}]",
        &sql("select at, id + 1 as id from b"),
    );
    // Nothing has ever come in, which is no failure.
    let early = sandbox.run(&["pull", "a"]);
    assert!(early.err.contains("its input b has no rows yet"), "{}", early.err);
    early.ok();

    let all = sandbox.run(&["pull", "a", "--recursive"]);
    assert!(all.err.contains("3 dataset(s) updated"), "{}", all.err);
    let order: Vec<String> = all.ok().lines().map(|line| line[..1].to_owned()).collect();
    assert_eq!(order, ["z", "b", "a"]);
    assert_eq!(column(&sandbox, "a", "id"), [3]);
    // Also without being told to, among those that are named.
    sandbox.file("in/2.csv", "id,at\n5,2024-01-02T00:00:00Z\n");
    sandbox.run(&["pull", "a", "b", "z.root"]).ok();
    assert_eq!(column(&sandbox, "a", "id"), [3, 7]);
}

#[test]
fn a_rewritten_input_is_noticed() {
    let sandbox = with_root();
    derive(&sandbox, "d", "[{datasetRef: t}]", &sql("select at, city from t"));
    sandbox.run(&["pull", "d"]).ok();
    let old = newest(&sandbox, "t")["Hash"].clone();
    publish(&sandbox, "t", &[(1, "Oslo"), (2, "Rome"), (3, "Lima")]);
    sandbox.run(&["pull", "d"]).ok();
    sandbox.run(&["reset", "t", old.as_str().unwrap(), "--yes"]).ok();
    let err = sandbox.run(&["pull", "d"]).failed(7);
    assert!(
        err.contains("InvalidInputInterval") && err.contains("--reset-derivatives"),
        "{err}"
    );
    assert_eq!(rows(&sandbox, "d").len(), 3);
    sandbox
        .run(&["pull", "d", "--reset-derivatives-on-diverged-input"])
        .ok();
    assert_eq!(column(&sandbox, "d", "city"), ["Oslo", "Rome"]);
    sandbox.run(&["verify", "d"]).ok();
    assert_eq!(sandbox.run(&["pull", "d"]).ok(), "d is up to date\n");
}

#[test]
fn transforms_that_cannot_be_run_are_told_and_change_nothing() {
    let sandbox = with_root();
    let cases = [
        (
            "engine",
            "{kind: Sql, engine: flink, query: \"select * from t\"}",
            7,
            "`flink`",
        ),
        ("unknown", &sql("select at, nothing from t"), 6, "nothing"),
        ("table", &sql("select at from u"), 6, "u"),
        ("time", &sql("select id from t"), 6, "event time"),
        ("text", &sql("select city as at from t"), 6, "at"),
        ("reserved", &sql("select at, \\\"offset\\\" from t"), 6, "offset"),
        ("division", &sql("select at, 1 / (id - 1) as x from t"), 5, "zero"),
    ];
    for (name, transform, code, words) in cases {
        derive(&sandbox, name, "[{datasetRef: t}]", transform);
        let outcome = sandbox.run(&["pull", name]);
        assert!(outcome.err.contains(words), "{name}: {}", outcome.err);
        assert!(outcome.err.contains("Next: "), "{name}: {}", outcome.err);
        assert_eq!(outcome.code, Some(code), "{name}: {}", outcome.err);
        assert_eq!(newest(&sandbox, name)["Event"], "SetVocab", "{name}");
    }
}
