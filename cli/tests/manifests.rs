//! Datasets from manifests, and what can be seen of a dataset that has no rows yet.

use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::Value;

use crate::sandbox::{Outcome, Sandbox};

fn json(outcome: Outcome) -> Value {
    serde_json::from_str(&outcome.ok()).unwrap()
}

const ROOT: &str = "kind: DatasetSnapshot
version: 1
content:
  name: cities
  kind: Root
  metadata:
    - kind: AddPushSource
      sourceName: default
      read:
        kind: Csv
        header: true
        schema:
          fields:
            - {name: city, type: String}
            - {name: people, type: {kind: Option, inner: Int64}}
      preprocess:
        kind: Sql
        engine: datafusion
        query: select * from input
      merge:
        kind: Ledger
        primaryKey: [city]
    - kind: SetInfo
      description: Cities
";

const DERIVATIVE: &str = "kind: DatasetSnapshot
version: 1
content:
  name: large
  kind: Derivative
  metadata:
    - kind: SetTransform
      inputs: [{datasetRef: cities}]
      transform: {kind: Sql, engine: flink, query: select * from cities}
";

/// `cities`, and `large` that is computed from it, in one file in the wrong order.
fn both() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.file("both.yaml", format!("{DERIVATIVE}---\n{ROOT}"));
    let out = sandbox
        .run(&["--system-time", "2026-01-01T00:00:00.5Z", "add", "both.yaml"])
        .ok();
    assert!(out.contains("Added large: Derivative, 2 metadata block(s)"), "{out}");
    assert!(out.contains("Added cities: Root, 3 metadata block(s)"), "{out}");
    sandbox
}

fn names(sandbox: &Sandbox) -> Vec<String> {
    let list = json(sandbox.run(&["list"]));
    let rows = list.as_array().unwrap().iter();
    rows.map(|row| row["Name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn manifests_come_from_everywhere() {
    let sandbox = Sandbox::new();
    sandbox.run_with_input(&["add", "-"], ROOT.as_bytes()).ok();
    sandbox
        .run_with_input(&["add", "--stdin", "--name", "again"], ROOT.as_bytes())
        .ok();
    sandbox.file("dir/a.yaml", ROOT.replace("cities", "a"));
    sandbox.file(
        "dir/deep/er/b.yml",
        format!("# Mine.\n\n---\n{}", ROOT.replace("cities", "b")),
    );
    sandbox.file("dir/notes.yaml", "shopping: [bread]\n");
    sandbox.file("dir/c.txt", ROOT.replace("cities", "c"));
    sandbox.run(&["add", "--recursive", "dir"]).ok();
    assert_eq!(names(&sandbox), ["a", "again", "b", "cities"]);

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/c.yaml", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        assert!(stream.read(&mut request).unwrap() > 0);
        let body = ROOT.replace("cities", "c");
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).unwrap();
    });
    let added = json(sandbox.run(&["add", &url, "-o", "json"]));
    server.join().unwrap();
    assert_eq!(
        (&added[0]["name"], &added[0]["blocks"]),
        (&Value::from("c"), &Value::from(3))
    );
    sandbox.run(&["add", "--recursive", "dir/deep/nothing"]).failed(3);
    let err = sandbox.run(&["add", "dir"]).failed(2);
    assert!(err.contains("--recursive"), "{err}");
    sandbox.run(&["add"]).failed(2);
}

#[test]
fn mistakes_are_told_with_their_place_and_nothing_is_made() {
    let sandbox = Sandbox::new();
    let refused = |text: &str, code: i32| {
        sandbox.file("m.yaml", text);
        let err = sandbox.run(&["add", "m.yaml"]).failed(code);
        assert!(err.contains("m.yaml") && err.contains("Next: "), "{err}");
        err
    };
    let typo = ROOT.replace("header: true", "headr: true");
    let err = refused(&format!("{DERIVATIVE}---\n{typo}"), 5);
    assert!(
        err.contains("document 2") && err.contains("unknown field `headr`") && err.contains("line 21"),
        "{err}"
    );
    let err = refused(&ROOT.replace("version: 1", "version: 2"), 5);
    assert!(err.contains("version 2") && err.contains("line 2"), "{err}");
    let err = refused(DERIVATIVE, 3);
    assert!(err.contains("input `cities` is not here"), "{err}");
    let err = refused(&ROOT.replace("    - kind: SetInfo", "    - kind: AddData"), 5);
    assert!(err.contains("unknown field `description`"), "{err}");
    let err = refused(&ROOT.replace("kind: Root", "kind: Derivative"), 5);
    assert!(err.contains("event 1 (AddPushSource)"), "{err}");
    refused("a: [b\n", 5);
    refused("# nothing\n", 4);
    refused("\u{0}", 5);
    refused(&"#".repeat((8 << 20) + 1), 5);
    sandbox.run(&["add", "none.yaml"]).failed(3);
    sandbox.file("two.yaml", format!("{ROOT}---\n{DERIVATIVE}"));
    sandbox.run(&["add", "two.yaml", "--name", "a"]).failed(2);
    assert!(names(&sandbox).is_empty());
    assert_eq!(json(sandbox.run(&["key", "list"])), Value::Array(Vec::new()));
}

/// Sources that could read nothing, whatever they get: kamu adds them, and refuses the rows.
#[test]
fn a_source_that_can_read_nothing_is_added_and_told_of() {
    let header = "        header: true\n";
    let columns = ROOT.find("        schema:").unwrap()..ROOT.find("      preprocess:").unwrap();
    let mut ddl = ROOT.to_owned();
    ddl.replace_range(columns, "        ddlSchema: [city WHAT]\n");
    let with = |option: &str| ROOT.replace(header, &format!("{header}        {option}\n"));
    for (manifest, words) in [
        (
            with("encoding: latin1"),
            "`encoding: latin1`, which is not supported; it can only be utf8",
        ),
        (with("timestampFormat: '%d.%m.%Y'"), "`timestampFormat: %d.%m.%Y`"),
        (ddl, "`city WHAT`"),
        (
            ROOT.replace("query: select * from input", "query: selct * form input"),
            "the query: SQL error",
        ),
    ] {
        let sandbox = Sandbox::new();
        sandbox.file("cities.yaml", manifest);
        sandbox.file("rows.csv", "city\nB\n");
        let output = sandbox.run(&["add", "cities.yaml"]);
        let said = output.err.clone();
        output.ok();
        assert!(
            said.contains("Note: cities.yaml, cities: ")
                && said.contains(words)
                && said.contains("nothing can be taken"),
            "{said}"
        );
        let err = sandbox.run(&["ingest", "cities", "rows.csv"]).failed(5);
        assert!(err.contains(words), "{err}");
    }
}

#[test]
fn a_dataset_is_replaced_when_asked_and_confirmed() {
    let sandbox = both();
    sandbox.file("cities.yaml", ROOT.replace("Cities", "Towns"));
    let before = json(sandbox.run(&["list", "-o", "json"]));
    let out = sandbox.run(&["add", "cities.yaml"]).ok();
    assert!(
        out.contains("Skipped cities: it exists already") && out.contains("--replace"),
        "{out}"
    );
    assert_eq!(json(sandbox.run(&["list", "-o", "json"])), before);
    let err = sandbox.run(&["-y", "add", "cities.yaml", "--replace"]).failed(7);
    assert!(err.contains("is an input of large"), "{err}");
    let err = sandbox.run(&["add", "both.yaml", "--replace"]).failed(7);
    assert!(err.contains("--yes"), "{err}");
    let out = sandbox.run(&["-y", "add", "both.yaml", "--replace"]).ok();
    assert!(out.contains("Replaced cities"), "{out}");
    let err = sandbox.run(&["-y", "delete", "cities"]).failed(7);
    assert!(
        err.contains("cities is an input of large") && err.contains("--recursive"),
        "{err}"
    );
    sandbox.run(&["-y", "delete", "--recursive", "cities"]).ok();
    assert!(names(&sandbox).is_empty());
}

/// A dataset that has neither rows nor schema is a dataset all the same.
#[test]
fn a_dataset_without_rows_works_everywhere() {
    let sandbox = both();
    for name in ["cities", "large"] {
        assert_eq!(json(sandbox.run(&["tail", name])), Value::Array(Vec::new()));
        assert_eq!(json(sandbox.run(&["verify", name]))[0]["Result"], "ok");
        sandbox.run(&["inspect", "schema", name]).failed(3);
        let dir = format!("out-{name}");
        sandbox.run(&["export", name, &dir]).ok();
        let head = std::fs::read_to_string(sandbox.path().join(&dir).join("refs/head")).unwrap();
        assert_eq!(json(sandbox.run(&["log", name]))[0]["Hash"], *head);
        sandbox.run(&["push", name]).ok();
    }
    assert_eq!(
        json(sandbox.run(&["status", "-o", "json"]))["names"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    for arguments in [
        &["list", "-w"][..],
        &["list"],
        &["inspect", "source", "large"],
        &["inspect", "lineage"],
    ] {
        assert!(
            !json(sandbox.run(arguments)).as_array().unwrap().is_empty(),
            "{arguments:?}"
        );
    }
}

/// kamu takes any engine, so manifests that name one that only others run can be added; it is said.
#[test]
fn an_engine_that_nobody_knows_is_pointed_out() {
    let sandbox = Sandbox::new();
    let add = |engine: &str, name: &str| {
        let text = ROOT.replace("datafusion", engine).replace("cities", name);
        let outcome = sandbox.run_with_input(&["add", "-"], text.as_bytes());
        let err = outcome.err.clone();
        outcome.ok();
        err
    };
    assert!(add("duckdb", "a").contains("engine `duckdb`"));
    assert_eq!(add("spark", "b"), "");
}

/// A dataset whose key is elsewhere is published under another one, and pulled by it.
#[test]
fn a_given_id_has_no_key_here() {
    let sandbox = Sandbox::new();
    let id = "did:odf:fed018b2140b19377a839111ddea95b1bf9cbaf85cd5650ca60a219df6457774da923";
    sandbox.file("cities.yaml", ROOT);
    sandbox.run(&["add", "cities.yaml", "--dataset-id", id]).ok();
    let err = sandbox.run(&["push", "cities"]).failed(7);
    assert!(err.contains("--to ipns://K"), "{err}");
    let name = sandbox.run(&["key", "gen", "mine"]).ok();
    let name = format!("ipns://{}", name.trim());
    let mut node = sandbox.start_owner(&["node"]);
    sandbox.run(&["push", "cities", "--to", &name]).ok();
    let status = json(sandbox.run(&["status", "-o", "json"]));
    let other = Sandbox::new();
    other
        .run(&[
            "pull",
            &name,
            "--as",
            "c",
            "--peer",
            status["addresses"][0].as_str().unwrap(),
        ])
        .ok();
    assert_eq!(json(other.run(&["list", "-w"]))[0]["ID"], id);
    assert_eq!(json(other.run(&["status", "-o", "json"]))["names"][0]["Dataset"], "c");
    node.signal(rustix::process::Signal::TERM);
    node.wait().ok();
}

#[test]
fn blocks_turn_into_text_and_back() {
    let sandbox = both();
    let log = sandbox.run(&["log", "cities", "-o", "yaml"]).ok();
    let hashes: Vec<&str> = log.lines().filter_map(|line| line.strip_prefix("# Block: ")).collect();
    let entries: Vec<&str> = log.split("---\n").skip(1).collect();
    for (sequence, (entry, hash)) in entries.into_iter().zip(&hashes).rev().enumerate() {
        sandbox.file("block.yaml", entry);
        let printed = sandbox.run(&["system", "encode", "block.yaml", "-o", "block"]).ok();
        assert_eq!(printed.trim(), *hash);
        let outcome = sandbox.run(&["system", "decode", "block"]);
        assert!(outcome.err.contains(&format!("{hash} (version 3)")), "{}", outcome.err);
        let text = outcome.ok();
        assert!(entry.contains(&text), "{entry}\n{text}");
        for of in [*hash, &sequence.to_string()] {
            assert_eq!(sandbox.run(&["system", "decode", "--dataset", "cities", of]).ok(), text);
        }
        let bytes = sandbox.run(&["system", "encode", "block.yaml", "-o", "-"]).bytes;
        assert_eq!(sandbox.run_with_input(&["system", "decode", "-"], &bytes).ok(), text);
    }
    assert_eq!(hashes.len(), 3);
    sandbox.file("noise", "kind: MetadataBlock");
    sandbox.run(&["system", "decode", "noise"]).failed(5);
    sandbox.run(&["system", "encode", "noise"]).failed(5);
    sandbox
        .run(&["system", "decode", "--dataset", "cities", "99"])
        .failed(3);
    sandbox.run(&["system", "decode", "--dataset", "cities", "x"]).failed(2);
}

#[test]
fn logs_read_as_kamus() {
    let sandbox = both();
    let text = sandbox.run(&["log", "large", "-o", "shell"]).ok();
    let id = json(sandbox.run(&["list", "-w"]))[0]["ID"].as_str().unwrap().to_owned();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("Block #1: f1620"), "{text}");
    let expected = [
        "SystemTime: 2026-01-01T00:00:00.500Z".to_owned(),
        "Kind: SetTransform".to_owned(),
        "Inputs:".to_owned(),
        "  [0]:".to_owned(),
        format!("    DatasetRef: {id}"),
        "    Name: cities".to_owned(),
        "    Alias: cities".to_owned(),
    ];
    assert_eq!(lines[1..8], expected);
    assert!(
        text.contains("\nBlock #0: f1620") && text.contains("\nDatasetKind: Derivative\n"),
        "{text}"
    );
}

#[test]
fn lineage_has_every_form() {
    let sandbox = both();
    let form = |form: &str| sandbox.run(&["inspect", "lineage", "large", "-o", form]).ok();
    assert_eq!(form("shell"), "large: Derivative\n└── cities: Root\n");
    assert_eq!(
        form("csv"),
        "name,available,depends_on\ncities,true,\nlarge,true,cities\n"
    );
    assert!(form("dot").contains("\"cities\" -> \"large\";"));
    assert!(form("html").contains(">cities</text>"));
    let nodes: Value = serde_json::from_str(&form("json")).unwrap();
    assert_eq!(nodes[1]["inputs"][0]["name"], "cities");
    let query = sandbox.run(&["inspect", "query", "large", "-o", "shell"]).ok();
    assert!(
        query.contains("Engine: flink\nQuery: large\n  select * from cities\n"),
        "{query}"
    );
    let query = json(sandbox.run(&["inspect", "query", "cities"]));
    assert_eq!(
        (&query[0]["event"], &query[0]["source"]),
        (&"AddPushSource".into(), &"default".into())
    );
    let source = sandbox.run(&["inspect", "source", "cities", "-o", "yaml"]).ok();
    assert!(
        source.starts_with("---\nkind: MetadataEvent\n") && source.contains("primaryKey:\n    - city\n"),
        "{source}"
    );
}

#[test]
fn templates_can_be_added() {
    let sandbox = Sandbox::new();
    sandbox.run(&["new", "my.data", "--root"]).ok();
    sandbox.run(&["add", "my.data.yaml"]).ok();
    let err = sandbox.run(&["new", "my.data", "--derivative"]).failed(7);
    assert!(err.contains("my.data.yaml is there already"), "{err}");
    sandbox.run(&["new", "my.data"]).failed(2);
    let text = sandbox.run(&["new", "my.sums", "--derivative", "-o", "-"]).ok();
    let text = text.replace("com.example.cities", "my.data");
    sandbox.run_with_input(&["add", "-"], text.as_bytes()).ok();
    assert_eq!(names(&sandbox), ["my.data", "my.sums"]);
}
