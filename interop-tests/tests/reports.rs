//! What commands that do something tell programs: `docs/json.md` lists it.

use std::fs;

use interop_tests::workspace::dataset::table;
use interop_tests::{Failure, Outcome, Workspace, repository};
use serde_json::Value;

#[test]
fn a_pull_tells_programs_what_came_of_each_dataset() -> Outcome {
    let (here, there) = (Workspace::new()?, Workspace::new()?);
    let node = here.node()?;
    let file = here.write("stations.csv", table(3))?.display().to_string();
    let address = format!("ipns://{}", here.publish(&[&file])?.name);
    let pull = ["pull", &address, "--as", "far", "--peer", &node.address, "-o", "json"];
    let finished = there.odfs(pull)?;
    // The words for people are on standard error, all of them.
    assert!(finished.stderr.contains("Pulled far at "), "{}", finished.stderr);
    let told = finished.json()?;
    let far = there.dataset("far")?;
    assert_eq!(told.as_array().map(Vec::len), Some(1), "{told}");
    assert_eq!(
        (&told[0]["dataset"], &told[0]["result"]),
        (&"far".into(), &"pulled".into())
    );
    assert_eq!(
        (&told[0]["head"], &told[0]["id"]),
        (&far.head.clone().into(), &far.id.into())
    );
    assert_eq!(
        (&told[0]["from"], &told[0]["blocks"]),
        (&address.into(), &far.blocks.into())
    );
    assert!(
        told[0]["bytes"].as_u64() > Some(0) && told[0]["oldHead"].is_null(),
        "{told}"
    );

    fs::write(&file, table(4))?;
    here.publish(&[&file])?;
    let again = ["pull", "far", "--peer", &node.address, "-o", "json"];
    let told = there.odfs(again)?.json()?;
    assert_eq!((&told[0]["result"], &told[0]["blocks"]), (&"updated".into(), &1.into()));
    assert_eq!(told[0]["oldHead"], far.head);
    let told = there.odfs(again)?.json()?;
    assert_eq!(
        (&told[0]["result"], &told[0]["blocks"]),
        (&"upToDate".into(), &0.into())
    );
    node.stop()?;

    let offline = there.odfs(["pull", "far", "--offline", "-o", "json"])?.json()?;
    assert_eq!(offline[0]["result"], "notAsked");
    let failed = there.refused(["pull", "far", "-o", "json"])?;
    assert_eq!(failed.code(), Some(9), "{}", failed.stderr);
    let told = failed.json()?;
    assert_eq!(told[0]["result"], "failed");
    assert!(
        told[0]["next"].as_str().is_some_and(|next| next.contains("--offline")),
        "{told}"
    );
    Ok(())
}

/// The keys of all objects in `value`, each with whether it is of a row of a listing; below `Content` those of manifests not.
fn keys<'a>(value: &'a Value, is_listing: bool, found: &mut Vec<(&'a str, bool)>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| keys(value, is_listing, found)),
        Value::Object(members) => {
            for (key, value) in members {
                found.push((key, is_listing));
                if key != "Content" {
                    keys(value, false, found);
                }
            }
        }
        _ => {}
    }
}

/// Fails unless the keys of rows begin with a capital and all others with a small letter, all have letters only, and the page
/// has them.
fn in_style(what: &[&str], value: &Value, is_listing: bool, page: &str) -> Outcome {
    let mut found = Vec::new();
    keys(value, is_listing, &mut found);
    let wrong = found.iter().find(|(key, is_row)| {
        let is_plain = key.chars().all(|letter| letter.is_ascii_alphabetic());
        !is_plain || key.starts_with(|first: char| first.is_ascii_uppercase()) != *is_row
    });
    let unknown = found.iter().find(|(key, _)| !page.contains(&format!("`{key}`")));
    match (wrong, unknown) {
        (Some((key, _)), _) => Err(Failure::new(format!(
            "{what:?}: the key {key} is of another style: {value}"
        ))),
        (_, Some((key, _))) => Err(Failure::new(format!(
            "docs/json.md has no {key}, which {what:?} prints"
        ))),
        _ if found.is_empty() => Err(Failure::new(format!("{what:?} prints no keys: {value}"))),
        _ => Ok(()),
    }
}

/// A source that needs an approval.
const PIPE: &str = "kind: DatasetSnapshot
version: 1
content:
  name: pipe
  kind: Root
  metadata:
    - kind: SetPollingSource
      fetch:
        kind: FilesGlob
        path: /tmp/none/*.csv
      read:
        kind: Csv
        header: true
      merge:
        kind: Append
";

#[test]
fn keys_have_the_style_that_the_page_says() -> Outcome {
    let page = fs::read_to_string(repository().join("docs/json.md"))?;
    let workspace = Workspace::new()?;
    let file = workspace
        .write("t.csv", "id,city\n1,Oslo\n2,Rome\n")?
        .display()
        .to_string();
    let place = format!("file://{}", workspace.path().join("place").display());
    let snapshot = ["--primary-key", "id", "--merge", "snapshot"];
    let publish = [&["publish", file.as_str(), "--exit"], &snapshot[..]].concat();
    let report = |args: &[&str]| -> Outcome<Value> {
        let told = workspace.odfs([&["--yes"], args, &["-o", "json"]].concat())?.json()?;
        in_style(args, &told, false, &page)?;
        Ok(told)
    };
    report(&publish)?;
    fs::write(&file, "id,city\n1,Oslo\n2,Roma\n3,Bern\n")?;
    assert_eq!(report(&publish)?["corrected"], 1);
    fs::write(&file, "id,city\n1,Oslo\n2,Roma\n3,Bern\n4,Kyiv\n")?;
    report(&["ingest", "t", &file])?;
    report(&["push", "t"])?;
    report(&["push", "t", "--to", &place])?;
    report(&["pull", &place, "--as", "copy"])?;

    let before = workspace.dataset("t")?;
    let told = report(&["alter", "t", "--description", "Cities"])?;
    let after = workspace.dataset("t")?;
    assert_eq!(
        (&told["head"], &told["oldHead"]),
        (&after.head.clone().into(), &before.head.clone().into())
    );
    assert_eq!(
        (&told["dataset"], &told["id"]),
        (&"t".into(), &before.id.clone().into())
    );
    assert_eq!(told["blocks"], after.blocks - before.blocks);
    let again = report(&["alter", "t", "--description", "Cities"])?;
    assert_eq!((&again["blocks"], &again["head"]), (&0.into(), &again["oldHead"]));

    let told = report(&["reset", "t", &before.head])?;
    assert_eq!(
        (&told["dropped"], &told["head"]),
        (&1.into(), &before.head.clone().into())
    );
    assert_eq!(told["oldHead"], after.head);
    assert_eq!(report(&["reset", "t", &before.head])?["dropped"], 0);
    let told = report(&["restore", "t", "3"])?;
    assert_eq!(
        (&told["added"], &told["corrected"], &told["retracted"]),
        (&0.into(), &1.into(), &2.into())
    );
    assert_eq!(
        (&told["oldHead"], &told["head"]),
        (&before.head.into(), &workspace.dataset("t")?.head.into())
    );
    assert_eq!(report(&["restore", "t", "3"])?["corrected"], 0);

    let told = report(&["export", "t", "rows.csv"])?;
    let length = fs::metadata(workspace.path().join("rows.csv"))?.len();
    assert_eq!((&told["rows"], &told["bytes"]), (&2.into(), &length.into()));
    let told = report(&["export", "t", "folder"])?;
    assert_eq!(told["blocks"], workspace.dataset("t")?.blocks);
    let both = workspace.refused(["export", "t", "-", "-o", "json"])?;
    assert_eq!(both.code(), Some(2), "{}", both.stderr);
    assert_eq!(report(&["bundle", "t", "t.car"])?["dataset"], "t");
    let told = report(&["import", "t.car"])?;
    assert_eq!((&told["updated"], &told["dataset"]), (&false.into(), &"t".into()));
    assert_eq!(told["id"], workspace.dataset("t")?.id);
    report(&["unpublish", "t"])?;
    let listed = workspace.odfs(["list", "-o", "json"])?.json()?;
    assert_eq!(
        listed
            .as_array()
            .and_then(|rows| rows.iter().find(|row| row["Name"] == "t"))
            .map(|row| &row["Unpublished"]),
        Some(&true.into())
    );
    assert_eq!(report(&["rename", "t", "u"])?["oldName"], "t");
    assert_eq!(report(&["diff", "u", "3", "--stat"])?["dataset"], "u");

    let node = workspace.node()?;
    let other = Workspace::new()?;
    other.know(&[&node.address])?;
    let far = other.node()?;
    let mut status = workspace.odfs(["status", "-o", "json"])?.json()?;
    let names = status["names"].take();
    in_style(&["status"], &status, false, &page)?;
    in_style(&["status"], &names, true, &page)?;
    far.stop()?;
    node.stop()?;

    workspace.odfs(["repo", "add", "here", &place])?;
    workspace.odfs(["repo", "token", "add", "x"])?;
    workspace.write("pipe.yaml", PIPE)?;
    report(&["add", "pipe.yaml"])?;
    workspace.odfs(["approve", "--revoke", "pipe"])?;
    for args in [
        &["list"][..],
        &["list", "--wide"],
        &["log", "u"],
        &["verify"],
        &["repair", "--all"],
        &["share", "--list"],
        &["key", "list"],
        &["repo", "list"],
        &["repo", "alias", "list"],
        &["repo", "token", "list"],
        &["config", "list"],
        &["inspect", "schema", "u"],
        &["car", "ls", "t.car"],
        &["approve", "--list"],
    ] {
        let told = workspace.odfs([&["--yes"], args, &["-o", "json"]].concat())?.json()?;
        in_style(args, &told, true, &page)?;
    }
    let told = report(&["delete", "u", "--with-key"])?;
    assert_eq!(
        (&told[0]["dataset"], &told[0]["keyRemoved"]),
        (&"u".into(), &true.into())
    );
    Ok(())
}
