//! What becomes of the text of tables, and what is said about it.

use serde_json::Value;

use crate::sandbox::{Outcome, Sandbox};

fn publish(sandbox: &Sandbox, options: &[&str]) -> Outcome {
    sandbox.run(&[&["publish", "t.csv", "--exit"], options].concat())
}

fn rows(sandbox: &Sandbox) -> Vec<Value> {
    serde_json::from_str(&sandbox.run(&["tail", "t", "-o", "json"]).ok()).unwrap()
}

#[test]
fn what_is_found_out_about_a_table_is_said_and_remembered() {
    let sandbox = Sandbox::new();
    sandbox.file("t.csv", "id;name\n1;x\n");
    let first = publish(&sandbox, &[]);
    assert!(first.err.contains("are separated by `;`"), "{}", first.err);
    first.ok();
    // A last line that nothing ends waits.
    sandbox.file("t.csv", "id;name\n1;x\n2;y");
    let second = publish(&sandbox, &[]);
    assert!(second.err.contains("waits for its line break (3 B"), "{}", second.err);
    second.ok();
    assert_eq!(rows(&sandbox).len(), 1);
    publish(&sandbox, &["--final"]).ok();
    assert_eq!(rows(&sandbox)[1]["name"], "y");
    // And one that was taken must not go on.
    sandbox.file("t.csv", "id;name\n1;x\n2;yes\n");
    let err = publish(&sandbox, &[]).failed(7);
    assert!(err.contains("half a row") && err.contains("--append-all"), "{err}");
}

#[test]
fn a_ledger_that_knows_all_rows_of_a_file_does_not_wait_for_more() {
    let sandbox = Sandbox::new();
    sandbox.file("t.csv", "id,name\n1,x\n");
    publish(&sandbox, &["--primary-key", "id"]).ok();
    for (more, waits) in [("1,x\n", None), ("1,x\n1,y", Some("(3 B")), ("1,x\n1,y\n", None)] {
        sandbox.file("t.csv", format!("id,name\n1,x\n{more}"));
        let outcome = publish(&sandbox, &[]);
        let said = outcome.err.contains("waits for its line break");
        assert_eq!(said, waits.is_some(), "{more:?}: {}", outcome.err);
        assert!(outcome.err.contains(waits.unwrap_or_default()), "{}", outcome.err);
        outcome.ok();
    }
    assert_eq!(rows(&sandbox).len(), 1);
}

#[test]
fn another_primary_key_leaves_the_strategy_as_it_is() {
    let sandbox = Sandbox::new();
    sandbox.file("t.csv", "id,name\n1,x\n2,y\n");
    publish(&sandbox, &["--merge", "snapshot", "--primary-key", "id"]).ok();
    // As the refusal of a key that is there twice advises.
    sandbox.file("t.csv", "id,name\n1,x\n1,z\n");
    let err = publish(&sandbox, &[]).failed(5);
    assert!(err.contains("--primary-key"), "{err}");
    publish(&sandbox, &["--primary-key", "name"]).ok();
    let rows = rows(&sandbox);
    let changes: Vec<_> = rows[2..].iter().map(|row| (&row["op"], &row["name"])).collect();
    assert_eq!(
        changes,
        [(&1.into(), &"y".into()), (&0.into(), &"z".into())],
        "{rows:?}"
    );
    // A dataset that appends becomes a ledger, as `--help` and the refusal of a changed file say.
    sandbox.file("u.csv", "id,name\n1,x\n");
    sandbox.run(&["publish", "u.csv", "--exit"]).ok();
    sandbox.file("u.csv", "id,name\n2,y\n1,x\n");
    sandbox.run(&["publish", "u.csv", "--exit", "--primary-key", "id"]).ok();
    let log = sandbox.run(&["log", "u", "-o", "json"]).ok();
    assert!(log.contains("ledger") || log.contains("Ledger"), "{log}");
}

#[test]
fn how_many_event_times_were_filled_in_is_said() {
    let sandbox = Sandbox::new();
    let time = ["--system-time", "2026-06-01T00:00:00Z"];
    let run = |args: &[&str]| sandbox.run(&[&time[..], args].concat());
    let filled = |outcome: Outcome| {
        let report: Value = serde_json::from_str(&outcome.ok()).unwrap();
        report["rowsWithoutEventTime"].as_u64().unwrap()
    };
    const SAID: &str = "have no event time and get the time of this command, 2026-06-01T00:00:00Z";
    sandbox.file("t.csv", "at,n\n2024-01-01T00:00:00Z,1\n,2\n,3\n");
    let first = run(&["publish", "t.csv", "--exit", "--event-time", "at"]);
    assert_eq!(
        first.err.matches(&format!("2 row(s) {SAID}\n")).count(),
        1,
        "{}",
        first.err
    );
    first.ok();
    // Whoever did not say which column has it hears how.
    sandbox.file("unnamed.csv", "at,n\n2024-01-01T00:00:00Z,1\n");
    let unnamed = run(&["publish", "unnamed.csv", "--exit"]);
    assert!(
        unnamed.err.contains(&format!("1 row(s) {SAID}; --event-time")),
        "{}",
        unnamed.err
    );
    // Only of what is new, and nothing where there is nothing to say.
    sandbox.file("t.csv", "at,n\n2024-01-01T00:00:00Z,1\n,2\n,3\n,4\n");
    let second = run(&["publish", "t.csv", "--exit", "-o", "json"]);
    assert!(second.err.contains(&format!("1 row(s) {SAID}\n")), "{}", second.err);
    assert_eq!(filled(second), 1);
    let same = run(&["publish", "t.csv", "--exit", "-o", "json"]);
    assert!(!same.err.contains("event time"), "{}", same.err);
    assert_eq!(filled(same), 0);
    sandbox.file("more.csv", "at,n\n2024-01-05T00:00:00Z,5\n");
    let whole = run(&["ingest", "t", "more.csv", "-o", "json"]);
    assert!(!whole.err.contains("event time"), "{}", whole.err);
    assert_eq!(filled(whole), 0);
    sandbox.file("more.csv", "at,n\n,6\n2024-01-05T00:00:00Z,7\n");
    let pushed = run(&["ingest", "t", "more.csv", "-o", "json"]);
    assert!(pushed.err.contains(&format!("1 row(s) {SAID}")), "{}", pushed.err);
    assert_eq!(filled(pushed), 1);
    // Whoever gives the time knows it.
    sandbox.file("more.csv", "at,n\n,8\n");
    let given = run(&[
        "ingest",
        "t",
        "more.csv",
        "-o",
        "json",
        "--event-time",
        "2024-01-06T00:00:00Z",
    ]);
    assert!(!given.err.contains("event time"), "{}", given.err);
    assert_eq!(filled(given), 1);
    let rows = rows(&sandbox);
    let times = rows.iter().filter(|row| row["at"] == "2026-06-01T00:00:00Z").count();
    assert_eq!((rows.len(), times), (8, 4));
}

#[test]
fn columns_are_told_and_taken_by_name() {
    let sandbox = Sandbox::new();
    sandbox.file("t.csv", "id,name\n1,x\n");
    publish(&sandbox, &[]).ok();
    sandbox.file("more.csv", "name,nr\ny,2\n");
    let err = sandbox.run(&["ingest", "t", "more.csv"]).failed(6);
    assert!(err.contains("lacks `id`") && err.contains("`nr`"), "{err}");
    sandbox.file("more.csv", "name,id,nr\ny,2,3\n");
    let err = sandbox.run(&["ingest", "t", "more.csv"]).failed(6);
    assert!(err.contains("`nr`") && err.contains("--add-columns"), "{err}");
    sandbox.run(&["ingest", "t", "more.csv", "--add-columns"]).ok();
    let rows = rows(&sandbox);
    assert_eq!(
        (&rows[0]["nr"], &rows[1]["nr"], &rows[1]["id"]),
        (&Value::Null, &3.into(), &2.into())
    );
}

#[test]
fn an_empty_snapshot_is_taken_when_that_is_said() {
    let sandbox = Sandbox::new();
    sandbox.file("t.csv", "id,name\n1,x\n");
    publish(&sandbox, &["--merge", "snapshot", "--primary-key", "id"]).ok();
    sandbox.file("none.csv", "id,name\n");
    sandbox.file("nothing.csv", "");
    let err = sandbox.run(&["ingest", "t", "nothing.csv"]).failed(7);
    assert!(
        err.contains("would retract every row") && err.contains("--allow-empty"),
        "{err}"
    );
    // A file with a header is named by hand, and what it does is said, for programs too.
    let report = sandbox.run(&["ingest", "t", "none.csv", "-o", "json"]).ok();
    let report: Value = serde_json::from_str(&report).unwrap();
    let note = &report["notes"][0];
    assert_eq!(
        (&note["file"], &note["column"], &note["kind"], &note["values"]),
        (&"none.csv".into(), &"op".into(), &"emptied".into(), &1.into())
    );
    assert_eq!(rows(&sandbox)[1]["op"], 1);
    sandbox.run(&["ingest", "t", "t.csv"]).ok();
    sandbox.run(&["config", "set", "source.allowEmpty", "true"]).ok();
    sandbox.run(&["ingest", "t", "nothing.csv"]).ok();
    assert_eq!(rows(&sandbox)[3]["op"], 1);
}

#[test]
fn what_a_file_holds_does_not_reach_the_terminal() {
    let sandbox = Sandbox::new();
    sandbox.file("t.csv", "id\n1\n");
    publish(&sandbox, &[]).ok();
    sandbox.file("t.csv", "id\n1\n\u{1b}[2J\u{0}\n");
    let err = publish(&sandbox, &[]).failed(6);
    assert!(err.contains("`\\u001b[2J\\u0000` is not an Int64"), "{err}");
    assert!(!err.contains('\u{1b}') && !err.contains('\0'), "{err:?}");
}
