//! Rows pushed into datasets that were made by a manifest.

use serde_json::Value;

use crate::sandbox::Sandbox;

const MANIFEST: &str = "\
kind: DatasetSnapshot
version: 1
content:
  name: sensors
  kind: Root
  metadata:
    - kind: AddPushSource
      sourceName: default
      read:
        kind: NdJson
        ddlSchema: [\"at BIGINT\", \"id STRING\", \"value DOUBLE\"]
      preprocess:
        kind: Sql
        engine: datafusion
        query: select to_timestamp_millis(at) as event_time, id, value from input
      merge:
        kind: Ledger
        primaryKey: [id]
";

fn with_sensors() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.file("sensors.yaml", MANIFEST);
    sandbox.run(&["add", "sensors.yaml"]).ok();
    sandbox
}

fn tail(sandbox: &Sandbox) -> Vec<Value> {
    serde_json::from_str(&sandbox.run(&["tail", "sensors", "-o", "json"]).ok()).unwrap()
}

#[test]
fn rows_come_from_files_and_streams() {
    let sandbox = with_sensors();
    sandbox.file("1.json", "{\"at\":1000,\"id\":\"a\",\"value\":1}\n");
    sandbox.file(
        "2.json",
        "{\"at\":2000,\"id\":\"b\",\"value\":2}\n{\"at\":1000,\"id\":\"a\",\"value\":9}\n",
    );
    let two = sandbox.run(&["ingest", "sensors", "1.json", "2.json"]);
    assert!(
        two.err
            .contains("1.json: 1 row(s): 1 added\n2.json: 1 row(s): 1 added\n"),
        "{}",
        two.err
    );
    assert!(two.ok().ends_with("(3 block(s), 2 row(s)): 2 added\n"));
    let again = sandbox.run(&["ingest", "sensors", "2.json"]).ok();
    assert_eq!(again, "sensors is up to date\n");
    let row = b"{\"at\":3000,\"id\":\"c\",\"value\":3}\n";
    sandbox.run_with_input(&["ingest", "sensors", "--stdin"], row).ok();
    let csv = sandbox.run_with_input(
        &["ingest", "sensors", "-", "--input-format", "csv", "--output", "json"],
        b"4000,d,4\n",
    );
    let report: Value = serde_json::from_str(&csv.ok()).unwrap();
    assert_eq!((&report["rows"], &report["blocks"]), (&1.into(), &1.into()));
    let ids: Vec<String> = tail(&sandbox)
        .iter()
        .map(|row| row["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids, ["a", "b", "c", "d"]);
    sandbox.run(&["verify", "sensors"]).ok();
    // What was pushed is published with the rest.
    let pushed = sandbox.run(&["push", "sensors"]);
    assert!(pushed.out.contains("ipns://"), "{pushed:?}");
}

#[test]
fn what_is_refused_changes_nothing() {
    let sandbox = with_sensors();
    let bad = sandbox.run_with_input(
        &["ingest", "sensors", "-"],
        b"{\"at\":1,\"id\":\"a\",\"value\":\"high\"}\n",
    );
    let error = bad.failed(6);
    assert!(error.contains("standard input, line 1, column `value`"), "{error}");
    let missing = sandbox.run(&["ingest", "sensors", "nowhere.json"]);
    assert_eq!(missing.code, Some(3), "{missing:?}");
    let other = sandbox.run_with_input(&["ingest", "sensors", "-", "--source-name", "x"], b"{}\n");
    assert!(other.failed(2).contains("`x`; it has default"));
    assert!(tail(&sandbox).is_empty());

    sandbox.file(
        "spark.yaml",
        MANIFEST
            .replace("name: sensors", "name: spark")
            .replace("engine: datafusion", "engine: spark"),
    );
    sandbox.run(&["add", "spark.yaml"]).ok();
    let spark = sandbox.run_with_input(&["ingest", "spark", "-"], b"{}\n");
    assert!(spark.err.contains("engine `spark`"), "{}", spark.err);
    assert_ne!(spark.code, Some(0));
    // The rows before a bad file stay.
    sandbox.file("1.json", "{\"at\":1000,\"id\":\"a\",\"value\":1}\n");
    sandbox.file("2.json", "{\"at\":oops}\n");
    let half = sandbox.run(&["ingest", "sensors", "1.json", "2.json"]);
    assert!(half.out.contains("1 row(s)"), "{half:?}");
    assert_ne!(half.code, Some(0));
    assert_eq!(tail(&sandbox).len(), 1);
}

#[test]
fn pushes_at_once_wait_their_turn() {
    const WRITERS: usize = 8;
    let sandbox = with_sensors();
    // Somebody owns the workspace, so that all work through one process.
    let owner = sandbox.start_owner(&["ingest", "sensors", "-"]);
    let writers: Vec<_> = (0..WRITERS)
        .map(|n| {
            let file = format!("{n}.json");
            let rows: String = (0..200)
                .map(|row| format!("{{\"at\":{row},\"id\":\"{n}-{row}\",\"value\":1}}\n"))
                .collect();
            sandbox.file(&file, rows);
            sandbox.start(&["ingest", "sensors", &file])
        })
        .collect();
    for writer in writers {
        assert!(writer.wait().ok().contains("200 row(s)"));
    }
    owner.end().ok();
    let rows: Vec<Value> =
        serde_json::from_str(&sandbox.run(&["tail", "sensors", "-n", "9999", "-o", "json"]).ok()).unwrap();
    assert_eq!(rows.len(), WRITERS * 200);
    sandbox.run(&["verify", "sensors"]).ok();
    let served = sandbox.run(&["push", "sensors"]);
    assert!(served.out.contains("Updated sensors to f1620"), "{served:?}");
}
