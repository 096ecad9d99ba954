//! Datasets that are computed from somebody else's, which grows: what each run reads, that others compute the same, and that
//! anybody can do the runs again.

use std::fs;

use chrono::{SecondsFormat, Utc};
use interop_tests::workspace::dataset::table;
use interop_tests::{Outcome, Workspace};
use serde_json::Value;

/// Exit code for what is not here.
const NOT_FOUND: i32 = 3;

fn derivative(name: &str, input: &str, query: &str) -> String {
    format!(
        "kind: DatasetSnapshot\nversion: 1\ncontent:\n  name: {name}\n  kind: Derivative\n  metadata:\n    - kind: SetTransform\n      \
         inputs: [{{datasetRef: {input}}}]\n      transform: {{kind: Sql, engine: datafusion, query: \"{query}\"}}\n    - {{kind: \
         SetVocab, eventTimeColumn: at}}\n"
    )
}

/// Adds `one`, computed from `root`, and `two`, computed from `one`.
fn derive(workspace: &Workspace) -> Outcome {
    let manifests = [
        derivative(
            "one",
            "root",
            "select at, id, upper(city) as city, reading * 2 as doubled from root where id % 3 != 0",
        ),
        derivative(
            "two",
            "one",
            "select at, id, city || '!' as city from one where doubled > 100",
        ),
    ];
    let all = workspace.write("derivatives.yaml", manifests.join("---\n"))?;
    workspace.odfs(["add", &all.display().to_string()]).map(drop)
}

/// The ExecuteTransform events of a dataset, oldest first.
fn runs(workspace: &Workspace, name: &str) -> Outcome<Vec<Value>> {
    let log = workspace.odfs(["log", name, "--output", "json"])?.json()?;
    let mut contents: Vec<Value> = log
        .as_array()
        .into_iter()
        .flatten()
        .map(|block| block["Content"].clone())
        .filter(|content| content["kind"] == "ExecuteTransform")
        .collect();
    contents.reverse();
    Ok(contents)
}

/// Brings all up to date, with the rows of this round computed at this time.
fn round(workspace: &Workspace, now: &str, peer: &str) -> Outcome {
    workspace.odfs(["pull", "root", "--peer", peer])?;
    workspace.odfs(["--system-time", now, "pull", "two", "one"]).map(drop)
}

#[test]
fn a_derivative_of_a_derivative_follows_a_root_of_somebody_else_and_can_be_computed_again() -> Outcome {
    let publisher = Workspace::new()?;
    let file = publisher.write("root.csv", table(100))?.display().to_string();
    let node = publisher.node()?;
    let published = publisher.publish(&[&file, "--event-time", "at"])?;
    let address = format!("ipns://{}", published.name);
    let (here, there) = (Workspace::new()?, Workspace::new()?);
    for workspace in [&here, &there] {
        workspace.odfs(["pull", &address, "--as", "root", "--peer", &node.address])?;
        derive(workspace)?;
    }
    let mut read = Value::Null;
    for (at, rows) in [100, 250, 400].into_iter().enumerate() {
        fs::write(&file, table(rows))?;
        if at > 0 {
            publisher.publish(&[&file, "--event-time", "at"])?;
        }
        let now = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
        round(&here, &now, &node.address)?;
        round(&there, &now, &node.address)?;
        // Each run read what had come since the one before, and nothing else.
        let runs = runs(&here, "one")?;
        assert_eq!(runs.len(), at + 1);
        let last = &runs[at]["queryInputs"][0];
        assert_eq!(last["newOffset"], rows - 1, "{last}");
        assert_eq!(last["prevBlockHash"], read, "{last}");
        let before = at
            .checked_sub(1)
            .map(|before| runs[before]["queryInputs"][0]["newOffset"].clone());
        assert_eq!(last["prevOffset"], before.unwrap_or_default(), "{last}");
        read = last["newBlockHash"].clone();
        assert_eq!(read, here.dataset("root")?.head.as_str());
    }
    // Who has the same input computes the same.
    for name in ["one", "two"] {
        let (ours, theirs) = (runs(&here, name)?, runs(&there, name)?);
        assert_eq!((ours.len(), theirs.len()), (3, 3));
        for (ours, theirs) in ours.iter().zip(&theirs) {
            let rows = |run: &Value| run["newData"]["logicalHash"].clone();
            assert!(rows(ours).is_string(), "{ours}");
            assert_eq!(rows(ours), rows(theirs), "{name}");
            let of = |run: &Value| (run["newData"]["offsetInterval"].clone(), run["newWatermark"].clone());
            assert_eq!(of(ours), of(theirs));
        }
    }
    for workspace in [&here, &there] {
        let verified = workspace.odfs(["verify", "two", "--replay", "--recursive", "-o", "json"])?;
        let listing = verified.json()?;
        let listed: Vec<_> = listing
            .as_array()
            .into_iter()
            .flatten()
            .map(|row| {
                (
                    row["Dataset"].as_str().unwrap_or_default(),
                    row["Replayed"]["blocks"].as_u64(),
                )
            })
            .collect();
        assert_eq!(listed, [("root", None), ("one", Some(3)), ("two", Some(3))]);
    }

    // Whoever has a dataset and not what it is computed from is told what to get.
    let exported = here.export("one", "exported")?;
    let alone = Workspace::new()?;
    alone.odfs(["pull", &format!("file://{}", exported.display()), "--as", "one"])?;
    alone.odfs(["verify", "one"])?;
    for args in [
        &["verify", "one", "--replay"][..],
        &["verify", "one", "--replay", "--recursive"],
    ] {
        let refused = alone.refused(args)?;
        assert_eq!(refused.code(), Some(NOT_FOUND), "{}", refused.stderr);
        if !refused.stderr.contains("the input root") || !refused.stderr.contains(&format!("`odfs pull {address}`")) {
            return Err(refused.failure("it does not say which input is missing, and how to get it"));
        }
    }
    alone.odfs(["pull", &address, "--as", "root", "--peer", &node.address])?;
    alone.odfs(["verify", "one", "--replay", "--recursive"])?;
    node.stop()?;
    Ok(())
}
