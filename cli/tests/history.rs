//! History that is written again: `odfs reset` and `odfs system compact`.

use serde_json::Value;

use crate::sandbox::Sandbox;

fn json(sandbox: &Sandbox, args: &[&str]) -> Value {
    serde_json::from_str(&sandbox.run(args).ok()).unwrap()
}

/// A dataset with four slices of one row.
fn counter() -> Sandbox {
    let sandbox = Sandbox::new();
    let mut rows = String::new();
    for n in 1..=4 {
        rows.push_str(&format!("{{\"n\":{n}}}\n"));
        sandbox.file("counter.ndjson", &rows);
        let time = format!("2026-06-0{n}T00:00:00Z");
        let publish = ["--system-time", &time, "publish", "counter.ndjson", "--exit"];
        sandbox.run(&publish).ok();
    }
    sandbox
}

fn hashes(sandbox: &Sandbox) -> Vec<String> {
    let log = json(sandbox, &["log", "counter", "-o", "json"]);
    let mut hashes: Vec<String> = log
        .as_array()
        .unwrap()
        .iter()
        .map(|block| block["Hash"].as_str().unwrap().to_owned())
        .collect();
    hashes.reverse();
    hashes
}

#[test]
fn a_compaction_keeps_the_rows_and_asks_first() {
    let sandbox = counter();
    let (rows, before) = (sandbox.run(&["tail", "counter"]).ok(), hashes(&sandbox));
    let soft = sandbox.run(&["-y", "system", "compact", "counter"]).failed(2);
    assert!(soft.contains("--hard"), "{soft}");
    let asked = sandbox.run(&["system", "compact", "--hard", "counter"]).failed(7);
    assert!(asked.contains("not confirmed"), "{asked}");
    assert_eq!(hashes(&sandbox), before);

    let compact = [
        "--system-time",
        "2026-07-01T00:00:00Z",
        "-y",
        "system",
        "compact",
        "--hard",
        "--verify",
        "counter",
    ];
    let done = json(&sandbox, &compact);
    assert_eq!(
        (&done[0]["Result"], &done[0]["Slices"], &done[0]["OldSlices"]),
        (&"compacted".into(), &1.into(), &4.into())
    );
    let after = hashes(&sandbox);
    assert_eq!(done[0]["Head"], *after.last().unwrap());
    assert_eq!(after.len(), before.len() - 3);
    // The Seed stays; all other blocks are of the time of the compaction.
    assert_eq!(after[0], before[0]);
    assert!(after[1..].iter().all(|hash| !before.contains(hash)));
    assert_eq!(sandbox.run(&["tail", "counter"]).ok(), rows);
    assert_eq!(json(&sandbox, &compact)[0]["Result"], "nothing to do");
    // The name stands for the old history.
    let push = sandbox.run(&["push", "counter"]).failed(7);
    assert!(push.contains("--force publishes over it"), "{push}");
    sandbox.run(&["push", "--force", "counter"]).ok();
    sandbox.run(&["push", "counter"]).ok();
    sandbox.run(&["ipfs", "repo", "gc"]).ok();
    assert_eq!(json(&sandbox, &["verify", "counter"])[0]["Result"], "ok");

    let options = [
        "--system-time",
        "2026-08-01T00:00:00Z",
        "-y",
        "system",
        "compact",
        "--hard",
        "--keep-metadata-only",
        "counter",
    ];
    sandbox.run(&options).ok();
    assert_eq!(json(&sandbox, &["list"])[0]["Records"], 0);
    assert_eq!(sandbox.run(&["tail", "counter"]).ok(), "[]\n");
}

#[test]
fn a_reset_gives_up_what_came_later() {
    let sandbox = counter();
    let before = hashes(&sandbox);
    let target = &before[before.len() - 3];
    let elsewhere = format!("f1620{}", "0".repeat(64));
    let missing = sandbox.run(&["-y", "reset", "counter", &elsewhere]).failed(3);
    assert!(missing.contains("has no block"), "{missing}");
    sandbox.run(&["reset", "counter", target]).failed(7);
    let out = sandbox.run(&["-y", "reset", "counter", target]).ok();
    assert!(out.contains("2 block(s) came off"), "{out}");
    assert_eq!(hashes(&sandbox), before[..before.len() - 2]);
    assert_eq!(json(&sandbox, &["list"])[0]["Records"], 2);
    let again = sandbox.run(&["reset", "counter", target]).ok();
    assert!(again.contains("already"), "{again}");
    // The same file goes on where the dataset is now.
    let publish = [
        "--system-time",
        "2026-07-01T00:00:00Z",
        "publish",
        "counter.ndjson",
        "--exit",
    ];
    let refused = sandbox.run(&publish).failed(7);
    assert!(refused.contains("is not part of the local one"), "{refused}");
    sandbox.run(&["push", "--force", "counter"]).ok();
    assert_eq!(json(&sandbox, &["list"])[0]["Records"], 4);
    assert_eq!(json(&sandbox, &["verify", "counter"])[0]["Result"], "ok");
}
