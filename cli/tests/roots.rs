//! One root for several appends, and which older roots stay.

use std::collections::BTreeSet;

use rustix::process::Signal;
use serde_json::Value;

use crate::sandbox::{Outcome, Running, Sandbox, wait_for};

fn table(rows: u32) -> String {
    let rows = (0..rows).map(|row| format!("{row},2024-01-01T00:00:{:02}Z,row {row}\n", row % 60));
    "id,at,what\n".to_owned() + &rows.collect::<String>()
}

fn json(outcome: Outcome) -> Value {
    serde_json::from_str(&outcome.ok()).unwrap()
}

/// Publishes the table with so many rows.
fn publish(sandbox: &Sandbox, rows: u32, more: &[&str]) -> Value {
    sandbox.file("t.csv", table(rows));
    let args = ["publish", "t.csv", "--exit", "-o", "json"];
    json(sandbox.run(&[more, &args].concat()))
}

fn root(report: &Value) -> String {
    assert!(report["root"].is_string(), "{report}");
    report["root"].as_str().unwrap().to_owned()
}

fn pins(sandbox: &Sandbox) -> BTreeSet<String> {
    let pins = sandbox.run(&["ipfs", "pin", "ls", "--type=recursive"]).ok();
    pins.lines()
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .collect()
}

fn set(sandbox: &Sandbox, name: &str, value: &str) {
    sandbox.run(&["config", "set", name, value]).ok();
}

fn status(sandbox: &Sandbox) -> Value {
    json(sandbox.run(&["status", "--output", "json"]))
}

fn start_node(sandbox: &Sandbox) -> Running {
    let node = sandbox.start_owner(&["node"]);
    wait_for("the node", || status(sandbox)["running"] == true);
    node
}

/// What the one name here stands for.
fn value(sandbox: &Sandbox) -> String {
    status(sandbox)["names"][0]["Value"].as_str().unwrap().to_owned()
}

fn records(sandbox: &Sandbox) -> Value {
    json(sandbox.run(&["list"]))[0]["Records"].clone()
}

#[test]
fn by_default_a_root_that_is_soon_superseded_is_given_up_and_its_space_comes_back() {
    let sandbox = Sandbox::new();
    let roots: Vec<String> = (3..9).map(|rows| root(&publish(&sandbox, rows, &[]))).collect();
    assert_eq!(pins(&sandbox), BTreeSet::from([roots[5].clone()]));
    let size = |sandbox: &Sandbox| status(sandbox)["store"]["packBytes"].as_u64().unwrap();
    let before = size(&sandbox);
    assert!(sandbox.run(&["ipfs", "repo", "gc"]).ok().starts_with("removed "));
    assert!(size(&sandbox) < before);
    for root in &roots[..2] {
        sandbox.run(&["ipfs", "dag", "get", root]).failed(9);
    }
    sandbox.run(&["verify", "t", "--logical"]).ok();
    // What somebody pinned stays, whole.
    let seventh = root(&publish(&sandbox, 9, &[]));
    sandbox.run(&["ipfs", "pin", "add", &seventh]).ok();
    let eighth = root(&publish(&sandbox, 10, &[]));
    assert_eq!(pins(&sandbox), BTreeSet::from([seventh.clone(), eighth]));
    sandbox.run(&["ipfs", "repo", "gc"]).ok();
    let files = format!("/ipfs/{seventh}/files");
    sandbox.run(&["ipfs", "get", &files, "-o", "old"]).ok();
    assert_eq!(
        std::fs::read_dir(sandbox.path().join("old/blocks")).unwrap().count(),
        10
    );
}

#[test]
fn a_root_that_stood_long_enough_stays() {
    let sandbox = Sandbox::new();
    set(&sandbox, "retention", "announced>1ms");
    let roots: BTreeSet<String> = (3..6).map(|rows| root(&publish(&sandbox, rows, &[]))).collect();
    assert_eq!(pins(&sandbox), roots);
    // What stays is decided when a root is superseded.
    set(&sandbox, "retention", "announced>1h");
    let passing = root(&publish(&sandbox, 6, &[]));
    let newest = root(&publish(&sandbox, 7, &[]));
    let kept = pins(&sandbox);
    assert!(!kept.contains(&passing) && kept.contains(&newest), "{kept:?}");
    assert_eq!(
        kept.len(),
        3,
        "those that were kept when they were superseded: {kept:?}"
    );
}

#[test]
fn roots_are_thinned_by_their_age() {
    let sandbox = Sandbox::new();
    set(&sandbox, "retention", "[\"12h\", \"2d/1d\"]");
    assert_eq!(
        sandbox.run(&["config", "get", "retention"]).ok().trim(),
        "[\"12h\", \"2d/1d\"]"
    );
    let mut roots = Vec::new();
    for (day, hour) in [(1, 1), (1, 20), (2, 1), (2, 20), (3, 8), (3, 18), (3, 20)] {
        let time = format!("2026-06-{day:02}T{hour:02}:00:00Z");
        roots.push(root(&publish(
            &sandbox,
            3 + roots.len() as u32,
            &["--system-time", &time],
        )));
    }
    // Of the second day the last, of the third those of twelve hours; the last of the first is 48 hours old.
    let wanted: BTreeSet<String> = [1, 3, 4, 5, 6].map(|n: usize| roots[n].clone()).into();
    assert_eq!(pins(&sandbox), wanted);
    sandbox.run(&["ipfs", "repo", "gc"]).ok();
    for root in &wanted {
        let files = format!("/ipfs/{root}/files");
        sandbox.run(&["ipfs", "get", &files, "-o", root]).ok();
    }
    sandbox.run(&["verify", "t"]).ok();
    let time = ["--system-time", "2026-06-04T09:00:00Z"];
    roots.push(root(&publish(&sandbox, 10, &time)));
    let wanted: BTreeSet<String> = [3, 6, 7].map(|n: usize| roots[n].clone()).into();
    assert_eq!(pins(&sandbox), wanted);
    for wrong in ["-1", "some", "1d/", "all,3"] {
        let err = sandbox.run(&["config", "set", "retention", wrong]).failed(2);
        assert!(err.contains("announced>1m"), "{err}");
    }
}

#[test]
fn a_copy_keeps_roots_by_the_same_rules() {
    let origin = Sandbox::new();
    let mut node = start_node(&origin);
    let first = publish(&origin, 3, &[]);
    let there = Sandbox::new();
    let address = status(&origin)["addresses"][0].as_str().unwrap().to_owned();
    let name = first["name"].as_str().unwrap();
    let pull = || there.run(&["pull", name, "--as", "t", "--peer", &address]).ok();
    let mut last = first.clone();
    pull();
    for rows in 4..7 {
        last = publish(&origin, rows, &[]);
        pull();
    }
    assert_eq!(pins(&there), BTreeSet::from([root(&last)]));
    there.run(&["ipfs", "repo", "gc"]).ok();
    there.run(&["verify", "t", "--logical"]).ok();
    set(&there, "retention", "all");
    last = publish(&origin, 7, &[]);
    pull();
    assert!(pins(&there).len() == 2 && pins(&there).contains(&root(&last)));
    node.signal(Signal::TERM);
    node.wait().ok();
    // Nobody has it any more.
    there.run(&["ipfs", "dag", "get", &root(&first)]).failed(9);
}

#[test]
fn appends_that_a_killed_node_was_to_make_one_root_of_are_there_and_the_next_makes_it() {
    let sandbox = Sandbox::new();
    set(&sandbox, "publish.batch", "1h");
    set(&sandbox, "retention", "all");
    let node = start_node(&sandbox);
    let first = publish(&sandbox, 3, &[]);
    assert_eq!(first["dueInMs"], Value::Null);
    let stands = format!("/ipfs/{}", root(&first));
    for rows in 4..9 {
        let left = publish(&sandbox, rows, &[]);
        assert_eq!(
            (&left["root"], &left["sequence"], &left["blocks"]),
            (&Value::Null, &Value::Null, &1.into())
        );
        let due = left["dueInMs"].as_u64().unwrap();
        assert!(due > 3_000_000 && due <= 3_600_000, "{left}");
        assert_eq!(left["name"], first["name"]);
    }
    sandbox.file("t.csv", table(9));
    let said = sandbox.run(&["publish", "t.csv"]);
    assert!(
        said.err.contains("The name still leads to what was before"),
        "{}",
        said.err
    );
    assert!(!said.ok().contains("  root "));
    assert_eq!(records(&sandbox), 9);
    assert_eq!((value(&sandbox), pins(&sandbox).len()), (stands.clone(), 1));
    // SIGKILL.
    drop(node);

    // The next opening makes the one root of all of them; no process moves a name that does not serve.
    assert_eq!(records(&sandbox), 9);
    assert_eq!((value(&sandbox), pins(&sandbox).len()), (stands.clone(), 2));
    sandbox.run(&["verify", "t"]).ok();
    let mut node = start_node(&sandbox);
    wait_for("the name to move", || value(&sandbox) != stands);
    let moved = value(&sandbox);
    assert_eq!(
        pins(&sandbox),
        BTreeSet::from([root(&first), moved["/ipfs/".len()..].to_owned()])
    );
    let there = Sandbox::new();
    let address = status(&sandbox)["addresses"][0].as_str().unwrap().to_owned();
    let pull = ["pull", first["name"].as_str().unwrap(), "--as", "t", "--peer", &address];
    there.run(&pull).ok();
    assert_eq!(records(&there), 9);

    // A push does not wait, and ends what is due.
    let left = publish(&sandbox, 10, &[]);
    assert_eq!(left["root"], Value::Null);
    let pushed = json(sandbox.run(&["push", "t", "-o", "json"]));
    assert_eq!((&pushed["head"], &pushed["dueInMs"]), (&left["head"], &Value::Null));
    assert_eq!(value(&sandbox), format!("/ipfs/{}", root(&pushed)));
    // What is due is done by a node that is told to stop.
    let left = publish(&sandbox, 11, &[]);
    assert_eq!(left["root"], Value::Null);
    node.signal(Signal::TERM);
    node.wait().ok();
    let last = value(&sandbox);
    assert_ne!(last, format!("/ipfs/{}", root(&pushed)));
    let again = publish(&sandbox, 11, &[]);
    assert_eq!((format!("/ipfs/{}", root(&again)), &again["blocks"]), (last, &0.into()));
}

#[test]
fn a_node_makes_what_was_left_to_it_in_its_time() {
    let sandbox = Sandbox::new();
    set(&sandbox, "publish.batch", "5s");
    set(&sandbox, "retention", "all");
    // Without a node each has its own.
    let own: BTreeSet<String> = (3..5).map(|rows| root(&publish(&sandbox, rows, &[]))).collect();
    assert_eq!(pins(&sandbox), own);
    let mut node = start_node(&sandbox);
    let reports: Vec<Value> = (5..11).map(|rows| publish(&sandbox, rows, &[])).collect();
    let head = |root: &str| sandbox.run(&["ipfs", "cat", &format!("{root}/refs/head")]).ok();
    wait_for("the name to move", || {
        head(&value(&sandbox)).trim() == reports[5]["head"].as_str().unwrap()
    });
    let at_once = reports.iter().filter(|report| report["root"].is_string()).count();
    assert!(
        at_once >= 1 && pins(&sandbox).len() < own.len() + reports.len(),
        "{reports:?}"
    );
    // Rows that are pushed in wait for the node, too, and nothing that looks at what is served finds it wanting.
    for rows in 0..5 {
        sandbox.file("more.csv", format!("id,at,what\n{rows},2025-01-01T00:00:00Z,more\n"));
        let report = json(sandbox.run(&["ingest", "t", "more.csv", "-o", "json"]));
        assert_eq!(report["rows"], 1, "{report}");
    }
    sandbox.run(&["verify", "t"]).ok();
    node.signal(Signal::TERM);
    node.wait().ok();
    sandbox.run(&["verify", "t", "--logical"]).ok();
    assert_eq!(records(&sandbox), 15);
}
