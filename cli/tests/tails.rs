//! Rows as `odfs tail` shows them, and text that must not drive a terminal.

use std::io::Read as _;

use serde_json::Value;

use crate::sandbox::Sandbox;

/// A sandbox with a dataset `n` of rows that are numbered, in slices of these lengths.
fn numbered(slices: &[usize]) -> Sandbox {
    let sandbox = Sandbox::new();
    let mut text = String::from("n\n");
    let mut next = 0;
    for rows in slices {
        for n in next..next + rows {
            text.push_str(&format!("{n}\n"));
        }
        next += rows;
        sandbox.file("n.csv", &text);
        sandbox.run(&["publish", "n.csv", "--exit"]).ok();
    }
    sandbox
}

fn shown(sandbox: &Sandbox, args: &[&str]) -> Vec<i64> {
    let out = sandbox.run(&[&["tail", "n", "-o", "ndjson"], args].concat()).ok();
    let number = |line: &str| serde_json::from_str::<Value>(line).unwrap()["n"].as_i64().unwrap();
    out.lines().map(number).collect()
}

#[test]
fn more_than_a_million_rows_are_shown_and_skipped() {
    let sandbox = numbered(&[1_000_001, 3]);
    let out = sandbox.run(&["tail", "n", "-n", "2000000", "-o", "csv"]).ok();
    assert_eq!(out.lines().count(), 1_000_005);
    assert_eq!(
        shown(&sandbox, &["-n", "3", "-s", "1000000"]),
        [1, 2, 3],
        "rows that lie behind a million others"
    );
    assert_eq!(shown(&sandbox, &["-s", "1000004"]), [] as [i64; 0]);
}

#[test]
fn rows_across_slices_come_in_order() {
    let sandbox = numbered(&[3, 1, 2]);
    assert_eq!(shown(&sandbox, &[]), [0, 1, 2, 3, 4, 5]);
    assert_eq!(shown(&sandbox, &["-n", "3", "-s", "1"]), [2, 3, 4]);
    assert_eq!(shown(&sandbox, &["-n", "1", "-s", "2"]), [3]);
    assert_eq!(sandbox.run(&["tail", "n", "-s", "6"]).ok(), "[]\n");
    let header = sandbox.run(&["tail", "n", "-s", "6", "-o", "csv"]).ok();
    assert_eq!(header, "offset,op,system_time,event_time,n\n");
    let none = sandbox.run(&["tail", "n", "-s", "6", "-o", "table"]);
    assert!(none.err.contains("none of the dataset's 6 row(s)"), "{}", none.err);
}

#[test]
fn a_reader_that_goes_away_is_no_error_of_its_own() {
    let sandbox = numbered(&[200_000]);
    for form in ["csv", "json", "ndjson", "table"] {
        let mut running = sandbox.start(&["tail", "n", "-n", "200000", "-o", form]);
        let mut first = [0; 1];
        running.stdout().read_exact(&mut first).unwrap();
        let outcome = running.wait();
        assert_eq!(outcome.code, Some(141), "{form}: {}", outcome.err);
        assert_eq!(outcome.err, "", "{form}");
    }
}

#[test]
fn lists_and_structs_are_json_in_cells_of_csv() {
    let sandbox = Sandbox::new();
    sandbox.file(
        "j.ndjson",
        "{\"l\":[1,2],\"s\":{\"a\":\"x,y\"}}\n{\"l\":null,\"s\":null}\n",
    );
    let added = sandbox.run(&["publish", "j.ndjson", "--exit"]);
    // Whichever columns inference makes of them, both forms of output agree.
    added.ok();
    let csv = sandbox.run(&["tail", "j", "-o", "csv"]).ok();
    let json: Value = serde_json::from_str(&sandbox.run(&["tail", "j", "-o", "json"]).ok()).unwrap();
    assert_eq!(csv.lines().count(), 3, "{csv}");
    assert!(csv.contains("\"[1,2]\""), "{csv} {json}");
    assert!(csv.contains("\"{\"\"a\"\":\"\"x,y\"\"}\""), "{csv} {json}");
}

#[test]
fn numbers_that_json_has_not_are_told_of() {
    let sandbox = Sandbox::new();
    sandbox.file("n.csv", "f\nNaN\n1.5\n-inf\n");
    sandbox.run(&["publish", "n.csv", "--exit"]).ok();
    let json = sandbox.run(&["tail", "n", "-o", "json"]);
    assert_eq!(json.code, Some(0), "{}", json.err);
    assert_eq!(json.out.matches("\"f\":null").count(), 2, "{}", json.out);
    assert!(json.err.contains("2 value(s) are NaN or infinite"), "{}", json.err);
    let ndjson = sandbox.run(&["tail", "n", "-o", "ndjson"]);
    assert!(ndjson.out.contains("\"f\":\"NaN\""), "{}", ndjson.out);
    assert!(!ndjson.err.contains("NaN"), "{}", ndjson.err);
}

#[test]
fn a_null_and_an_empty_text_are_two_things_in_csv() {
    let sandbox = Sandbox::new();
    let table = "a,b,c\n,\"\",1\n\"\",x,\n";
    sandbox.file("e.csv", table);
    sandbox.run(&["publish", "e.csv", "--exit"]).ok();
    let csv = sandbox.run(&["tail", "e", "-o", "csv"]).ok();
    // What is read again is what was read: without the columns of the system it is the file.
    let again: String = csv
        .lines()
        .map(|line| line.splitn(5, ',').last().unwrap().to_owned() + "\n")
        .collect();
    assert_eq!(again, table, "{csv}");
}

#[test]
fn control_characters_of_a_file_do_not_reach_the_terminal() {
    let sandbox = Sandbox::new();
    sandbox.file("e.csv", "a\u{1b}[2Jb,c\n1,2\n");
    sandbox.run(&["publish", "e.csv", "--exit"]).ok();
    for form in [
        "ddl",
        "parquet",
        "odf-yaml",
        "odf-json",
        "arrow-json",
        "parquet-json",
        "table",
        "csv",
        "json",
    ] {
        let outcome = sandbox.run(&["inspect", "schema", "e", "-o", form]);
        let (code, err) = (outcome.code, outcome.err.clone());
        assert!(!outcome.bytes.contains(&0x1b), "{form}: {}", outcome.out);
        assert_eq!(code, Some(0), "{form}: {err}");
    }
    let ddl = sandbox.run(&["inspect", "schema", "e", "-o", "ddl"]).ok();
    assert!(ddl.contains("a\\u001b[2Jb"), "{ddl}");
    let log = sandbox.run(&["log", "e", "-o", "shell"]);
    assert!(!log.bytes.contains(&0x1b), "{}", log.out);
    // Nor by way of an error.
    sandbox.file("bad.csv", "a\u{1b}[2Jb,c\nx\u{1b}]0;y,2\n");
    let bad = sandbox.run(&["ingest", "e", "bad.csv"]);
    assert!(!bad.err.contains('\u{1b}'), "{:?}", bad.err);
    let missing = sandbox.run(&["tail", "no\u{1b}[2J"]);
    assert!(!missing.err.contains('\u{1b}'), "{:?}", missing.err);
}
