//! What odfs answers in the first week, sentence by sentence.

use std::fs;

use interop_tests::workspace::dataset::table;
use interop_tests::{Outcome, Workspace};
use serde_json::Value;

/// Rows of a CSV text without its header, in the order of the text.
fn rows(csv: &str) -> Vec<&str> {
    csv.lines().skip(1).collect()
}

#[test]
fn a_pull_without_the_publisher_says_that_nobody_could_be_asked() -> Outcome {
    let (here, there) = (Workspace::new()?, Workspace::new()?);
    let node = here.node()?;
    let file = here.write("stations.csv", table(3))?.display().to_string();
    let published = here.publish(&[&file])?;
    let words: Vec<&str> = published.pull.split_whitespace().skip(1).collect();
    there.odfs([&words[..], &["--peer", &node.address]].concat())?;
    // The printed command has given it the name that it has there.
    assert_eq!(there.dataset("stations")?.records, 3);
    node.stop()?;
    fs::write(&file, table(4))?;
    here.odfs(["publish", &file, "--exit"])?;

    for command in [&["pull", "stations"][..], &["pull", "--all"]] {
        let told = there.run(command)?;
        assert_eq!(told.code(), Some(9), "{command:?}: {}", told.stderr);
        assert!(
            told.stderr
                .contains("nobody could be asked for news of stations; what is here is of 20"),
            "{command:?}: {}",
            told.stderr
        );
        assert!(!told.text().contains("up to date"), "{command:?}: {}", told.text());
    }
    let all = there.run(["pull", "--all"])?;
    assert!(!all.stderr.contains("up-to-date"), "{}", all.stderr);

    let offline = there.odfs(["pull", "stations", "--offline"])?;
    assert!(
        offline
            .text()
            .starts_with("stations: nobody was asked; what is here is of 20"),
        "{}",
        offline.text()
    );
    assert!(
        offline.stderr.contains("1 dataset(s) without an answer"),
        "{}",
        offline.stderr
    );
    let unknown = there.refused([
        "pull",
        "ipns://k51qzi5uqu5di8kjif8v8o83s3qjmfjcx712a5b73v7ad7zsdocy7m7er4pnho",
        "--offline",
    ])?;
    assert_eq!(unknown.code(), Some(3), "{}", unknown.stderr);
    Ok(())
}

#[test]
fn who_publishes_is_told_of_the_key_and_can_ask_for_holders() -> Outcome {
    let workspace = Workspace::new()?;
    let file = workspace.write("t.csv", table(3))?.display().to_string();
    let alone = workspace.refused(["publish", &file, "--exit", "--require-holders", "1"])?;
    assert_eq!(alone.code(), Some(9), "{}", alone.stderr);
    assert!(
        alone
            .stderr
            .contains("0 other machine(s) know the name, and 1 are required"),
        "{}",
        alone.stderr
    );
    assert!(
        alone.stderr.contains("`odfs key export t` writes a copy"),
        "{}",
        alone.stderr
    );
    workspace.odfs(["key", "export", "t", "--output", "-"])?;
    // The rows are there all the same, and the reminder comes once.
    fs::write(&file, table(4))?;
    let grown = workspace.odfs(["publish", &file, "--exit", "--require-holders", "0"])?;
    assert!(
        grown.text().contains("Updated t to") && !grown.stderr.contains("key export"),
        "{}",
        grown.stderr
    );
    let status = workspace.odfs(["status", "-o", "table"])?.text();
    assert!(
        status.contains("Not safe to switch off: nobody else keeps the published name"),
        "{status}"
    );

    // With a peer that keeps it the name is found, and leads to rows that nobody else has.
    let other = Workspace::new()?;
    let node = other.node()?;
    workspace.know(&[&node.address])?;
    let held = workspace.odfs(["publish", &file, "--exit", "--require-holders", "1"])?;
    assert!(
        held.stderr.contains("One other machine knows the name"),
        "{}",
        held.stderr
    );
    let status = workspace.odfs(["status", "-o", "table"])?.text();
    assert!(
        status.contains("Not safe to switch off: others keep its published name findable until 20"),
        "{status}"
    );
    node.stop()?;
    Ok(())
}

#[test]
fn rows_come_out_as_they_hold_now_or_as_they_came() -> Outcome {
    let workspace = Workspace::new()?;
    let file = workspace
        .write("t.csv", "id,city,note\n1,Oslo,\n2,Rome,\"a, b\"\n3,Bern,x\n")?
        .display()
        .to_string();
    let publish = |workspace: &Workspace| {
        workspace.odfs(["publish", &file, "--exit", "--merge", "snapshot", "--primary-key", "id"])
    };
    publish(&workspace)?;
    // One is corrected, one goes, one comes; then the one that went comes back.
    fs::write(&file, "id,city,note\n1,Oslo,\n2,Roma,\"a, b\"\n4,Kyiv,y\n")?;
    publish(&workspace)?;
    fs::write(&file, "id,city,note\n1,Oslo,\n2,Roma,\"a, b\"\n4,Kyiv,y\n3,Bern,z\n")?;
    publish(&workspace)?;

    let out = workspace.path().join("out.csv");
    let path = out.display().to_string();
    let told = workspace.odfs(["export", "t", &path])?;
    assert!(told.stderr.contains("Wrote 4 row(s) of t, "), "{}", told.stderr);
    assert!(out.is_file());
    let csv = fs::read_to_string(&out)?;
    assert_eq!(csv.lines().next(), Some("event_time,id,city,note"));
    let cells: Vec<&str> = rows(&csv)
        .iter()
        .map(|row| row.split_once(',').map_or("", |(_, rest)| rest))
        .collect();
    assert_eq!(cells, ["1,Oslo,", "2,Roma,\"a, b\"", "4,Kyiv,y", "3,Bern,z"]);

    // Nothing is written over unasked, and what is half written has no name.
    let there = workspace.refused(["export", "t", &path])?;
    assert_eq!(there.code(), Some(7), "{}", there.stderr);
    workspace.odfs(["export", "t", &path, "--force"])?;
    assert_eq!(fs::read_to_string(&out)?, csv);

    let history = workspace.odfs(["export", "t", "-", "--history"])?.text();
    let words: Vec<&str> = rows(&history)
        .iter()
        .map(|row| row.split(',').nth(1).unwrap_or_default())
        .collect();
    assert_eq!(
        words,
        [
            "append",
            "append",
            "append",
            "correct-from",
            "correct-to",
            "retract",
            "append",
            "append"
        ],
        "{history}"
    );

    let ndjson = workspace.odfs(["export", "t", "-", "--format", "ndjson"])?.text();
    let ids: Vec<i64> = ndjson
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).map(|row| row["id"].as_i64().unwrap_or(-1)))
        .collect::<Result<_, _>>()?;
    assert_eq!(ids, [1, 2, 4, 3]);

    // Parquet is read back by odfs itself as the same rows.
    let parquet = workspace.path().join("out.parquet").display().to_string();
    workspace.odfs(["export", "t", &parquet])?;
    workspace.odfs([
        "publish",
        &parquet,
        "--name",
        "again",
        "--event-time",
        "event_time",
        "--exit",
    ])?;
    let again = workspace.odfs(["export", "again", "-"])?.text();
    assert_eq!(again, csv.trim_end());

    let taken = workspace.path().join("taken.csv");
    fs::create_dir(&taken)?;
    let taken = workspace.refused(["export", "t", &taken.display().to_string(), "--force"])?;
    assert!(
        taken.code() == Some(2) && taken.stderr.contains("name a file in it"),
        "{}",
        taken.stderr
    );

    // A folder that is not there is named, with what makes it.
    let missing = workspace.path().join("no/such").display().to_string();
    let inside = format!("{missing}/out.csv");
    let refused = workspace.refused(["export", "t", &inside])?;
    assert!(
        refused.code() == Some(3) && refused.stderr.contains(&format!("no folder {missing} ")),
        "{}",
        refused.stderr
    );
    assert!(
        refused.stderr.contains(&format!("`mkdir -p '{missing}'`")),
        "{}",
        refused.stderr
    );
    fs::create_dir_all(&missing)?;
    workspace.odfs(["export", "t", &inside])?;

    // A name without a known ending is a directory, as it was.
    let directory = workspace.path().join("plain").display().to_string();
    workspace.odfs(["export", "t", &directory])?;
    assert!(workspace.path().join("plain/refs/head").is_file());
    let wrong = workspace.refused(["export", "t", &format!("{directory}2"), "--history"])?;
    assert_eq!(wrong.code(), Some(2), "{}", wrong.stderr);
    Ok(())
}

#[test]
fn a_dataset_is_described_when_it_is_there_already() -> Outcome {
    let workspace = Workspace::new()?;
    let file = workspace.write("t.csv", table(3))?.display().to_string();
    workspace.odfs(["publish", &file, "--exit"])?;
    let readme = workspace.write("README.md", "# Stations\n")?.display().to_string();
    let alter = |args: &[&str]| workspace.odfs([&["alter", "t"], args].concat());
    let told = alter(&[
        "--description",
        "Stations of the city",
        "--keyword",
        "water",
        "--keyword",
        "river",
        "--license",
        "CC-BY-4.0",
        "--attach",
        &readme,
    ])?;
    assert!(told.text().contains("(3 block(s))"), "{}", told.text());
    assert!(told.stderr.contains("`odfs push t` announces it"), "{}", told.stderr);
    // The same again is nothing new, and what is not named stays.
    let same = alter(&["--license", "CC-BY-4.0", "--attach", &readme])?;
    assert_eq!(same.text(), "t is up to date");
    alter(&["--description", "Stations"])?;
    let log = workspace.odfs(["log", "t", "-o", "yaml", "-n", "1"])?.text();
    assert!(
        log.contains("description: Stations\n") && log.contains("- water"),
        "{log}"
    );
    let gone = workspace.refused(["alter", "t", "--detach", "LICENSE"])?;
    assert!(
        gone.code() == Some(3) && gone.stderr.contains("attached are README.md"),
        "{}",
        gone.stderr
    );
    alter(&["--detach", "README.md"])?;
    workspace.odfs(["verify"])?;
    workspace.odfs(["push", "t"])?;

    // One byte over what is attached at most.
    let long = workspace
        .write("long.txt", "x".repeat((1 << 20) + 1))?
        .display()
        .to_string();
    let long = workspace.refused(["alter", "t", "--attach", &long])?;
    assert!(
        long.code() == Some(5) && long.stderr.contains("longer than the limit of 1.0 MiB"),
        "{}",
        long.stderr
    );
    let nothing = workspace.refused(["alter", "t"])?;
    assert_eq!(nothing.code(), Some(2), "{}", nothing.stderr);
    let events = workspace.write(
        "events.yaml",
        "kind: MetadataEvent\nversion: 1\ncontent:\n  kind: AddData\n  newWatermark: 2024-01-01T00:00:00Z\n",
    )?;
    let made = workspace.refused(["alter", "t", "-f", &events.display().to_string()])?;
    assert_eq!(made.code(), Some(2), "{}", made.stderr);
    Ok(())
}
