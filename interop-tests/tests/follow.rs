//! Datasets that stay up to date by themselves: rows that are printed as they arrive, and names that a node follows.

use std::fs;
use std::time::{Duration, Instant};

use interop_tests::process::Running;
use interop_tests::workspace::dataset::{same_dataset, table};
use interop_tests::workspace::{LIMIT, Node};
use interop_tests::{Failure, Outcome, Workspace};

/// A dataset that somebody publishes, and the node there.
struct Publisher {
    workspace: Workspace,
    node: Node,
    file: String,
    /// `ipns://…`
    address: String,
}

impl Publisher {
    fn new(rows: u64) -> Outcome<Self> {
        let workspace = Workspace::new()?;
        let file = workspace.write("t.csv", table(rows))?.display().to_string();
        let node = workspace.node()?;
        let published = workspace.publish(&[&file])?;
        Ok(Self {
            workspace,
            node,
            file,
            address: format!("ipns://{}", published.name),
        })
    }

    fn grow(&self, rows: u64) -> Outcome {
        fs::write(&self.file, table(rows))?;
        self.workspace.publish(&[&self.file])?;
        Ok(())
    }
}

fn begun(watch: &mut Running) -> Outcome {
    watch.wait_for(LIMIT, |said| {
        said.contains("more are printed as they arrive").then_some(())
    })
}

/// Waits until so many lines stand in the output, and gives them.
fn lines(watch: &mut Running, count: usize) -> Outcome<Vec<String>> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let said = watch.stdout();
        if said.lines().count() >= count && said.ends_with('\n') {
            return Ok(said.lines().map(str::to_owned).collect());
        }
        if Instant::now() > deadline || watch.has_ended()? {
            return Err(Failure::new(format!(
                "{count} lines were awaited\n{said}\n{}",
                watch.stderr()
            )));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until a dataset has so many rows.
fn has_rows(workspace: &Workspace, name: &str, rows: u64) -> Outcome {
    let deadline = Instant::now() + LIMIT;
    while workspace.listed(name)?.is_none_or(|listed| listed.records != rows) {
        if Instant::now() > deadline {
            let followed = workspace.odfs(["follow", "-o", "json"])?;
            return Err(followed.failure(&format!("{name} has not got {rows} rows")));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

#[test]
fn rows_are_printed_as_they_arrive_and_no_others() -> Outcome {
    let publisher = Publisher::new(3)?;
    let there = Workspace::new()?;
    let peer = publisher.node.address.as_str();
    let pull = ["pull", &publisher.address, "--as", "t", "--peer", peer, "--watch"];

    let mut watch = there.start([&pull[..], &["-o", "ndjson", "--interval", "1s"]].concat())?;
    begun(&mut watch)?;
    assert_eq!(watch.stdout(), "", "what was there before is no news");
    publisher.grow(5)?;
    let two = lines(&mut watch, 2)?;
    assert!(two[0].contains("\"id\":3") && two[1].contains("\"id\":4"), "{two:?}");
    publisher.grow(6)?;
    assert_eq!(lines(&mut watch, 3)?.len(), 3);
    watch.interrupt()?;
    let ended = watch.finish(LIMIT)?.success()?;
    assert_eq!(ended.text().lines().count(), 3);
    same_dataset((&publisher.workspace, "t"), (&there, "t"))?;

    // What was missed is news for who has the dataset; an array ends with the command.
    publisher.grow(8)?;
    let mut watch = there.start(["pull", "t", "--peer", peer, "--watch", "-o", "json"])?;
    watch.wait_for(LIMIT, |said| said.contains("\"id\":7").then_some(()))?;
    begun(&mut watch)?;
    publisher.grow(9)?;
    watch.wait_for(LIMIT, |said| said.contains("\"id\":8").then_some(()))?;
    watch.interrupt()?;
    let array = watch.finish(LIMIT)?.success()?.json()?;
    let ids: Vec<u64> = array
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|row| row["id"].as_u64())
        .collect();
    assert_eq!(ids, [6, 7, 8]);
    publisher.node.stop()?;
    Ok(())
}

#[test]
fn a_watch_works_through_a_node_and_ends_with_it() -> Outcome {
    let publisher = Publisher::new(3)?;
    let there = Workspace::new()?;
    there.know(&[&publisher.node.address])?;
    let node = there.node()?;
    let mut csv = there.start(["pull", &publisher.address, "--as", "t", "--watch", "-o", "csv"])?;
    begun(&mut csv)?;
    let mut text = there.start(["pull", "t", "--watch", "-o", "table"])?;
    begun(&mut text)?;
    // The columns stand there before a row does.
    assert!(lines(&mut csv, 1)?[0].ends_with("id,at,city,reading"));
    publisher.grow(4)?;
    assert!(lines(&mut csv, 2)?[1].contains(",3,"));
    text.wait_for(LIMIT, |said| said.contains("city-3").then_some(()))?;
    publisher.grow(5)?;
    text.wait_for(LIMIT, |said| said.contains("city-4").then_some(()))?;
    // Widths are the same, so the headings stand there once.
    assert_eq!(text.stdout().matches("reading").count(), 1, "{}", text.stdout());
    text.interrupt()?;
    text.finish(LIMIT)?.success()?;
    node.stop()?;
    let ended = csv.finish(LIMIT)?;
    assert_eq!(ended.code(), Some(15), "{}", ended.stderr);
    assert!(ended.stderr.contains("run the command again"), "{}", ended.stderr);
    publisher.node.stop()?;
    Ok(())
}

#[test]
fn what_cannot_be_watched_is_said() -> Outcome {
    let workspace = Workspace::new()?;
    let file = workspace.write("t.csv", table(2))?.display().to_string();
    let published = workspace.publish(&[&file])?;
    let root = format!("ipfs://{}", published.root);
    for (args, words) in [
        (["pull", &root, "--watch"], "is that of one version"),
        (["follow", &root, "--mirror"], "is that of one version"),
        (["pull", "t", "-octal"], "-o"),
        (["pull", "t", "-ocsv"], "--watch"),
        (["unfollow", "t", "-q"], "t is not followed"),
    ] {
        let refused = workspace.refused(args)?;
        assert!(refused.stderr.contains(words), "{args:?}: {}", refused.stderr);
    }
    Ok(())
}

#[test]
fn a_node_follows_and_gives_on_what_the_owner_has_gone_with() -> Outcome {
    let publisher = Publisher::new(3)?;
    let mirror = Workspace::new()?;
    mirror.know(&[&publisher.node.address])?;
    let said = mirror.odfs(["follow", &publisher.address, "--as", "t", "--keep", "1", "-o", "table"])?;
    assert!(
        said.text().contains("t is followed: 1 older version stays") && said.stderr.contains("No node runs here now"),
        "{}\n{}",
        said.text(),
        said.stderr
    );
    assert_eq!(mirror.dataset("t")?.records, 3);
    // What was missed comes when a node starts, and the rest while it runs.
    publisher.grow(4)?;
    assert_eq!(mirror.dataset("t")?.records, 3);
    let node = mirror.node()?;
    has_rows(&mirror, "t", 4)?;
    for rows in 5..8 {
        publisher.grow(rows)?;
        has_rows(&mirror, "t", rows)?;
    }
    let listed = mirror.odfs(["follow", "-o", "json"])?.json()?;
    assert_eq!(listed[0]["Keep"], 1);
    assert!(
        listed[0]["Updated"].is_string() && listed[0]["Failure"].is_null(),
        "{listed}"
    );
    let status = mirror.odfs(["status", "-o", "json"])?.json()?;
    assert_eq!(status["names"][0]["Role"], "followed");
    assert_eq!(status["followed"][0]["Dataset"], "t");
    let id = mirror.dataset("t")?.id;
    let pins = mirror.odfs(["ipfs", "pin", "ls", "--type=recursive"])?.text();
    assert!(
        pins.lines().count() <= 3,
        "the newest and one older stay of {id}:\n{pins}"
    );

    // The owner is gone for good: name and rows come from who follows.
    same_dataset((&publisher.workspace, "t"), (&mirror, "t"))?;
    publisher.node.stop()?;
    let late = Workspace::new()?;
    late.odfs(["pull", &publisher.address, "--as", "t", "--peer", &node.address])?;
    same_dataset((&publisher.workspace, "t"), (&late, "t"))?;
    node.stop()?;
    let said = mirror.odfs(["unfollow", "t"])?;
    assert!(said.text().contains("t is followed no longer"), "{}", said.text());
    assert_eq!(mirror.odfs(["follow", "-o", "json"])?.json()?, serde_json::json!([]));
    Ok(())
}

/// Waits until that is said to be in the way of what is followed.
fn in_the_way(workspace: &Workspace, words: &str) -> Outcome {
    let deadline = Instant::now() + LIMIT;
    loop {
        let status = workspace.odfs(["status", "-o", "json"])?;
        let told = status.json()?["followed"][0]["Failure"]
            .as_str()
            .is_some_and(|told| told.contains(words));
        if told {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(status.failure(&format!("does not say that {words}")));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What was signed before and now is kept, and checked where nobody knows anything of it.
fn a_third_machine_can_check(mirror: &Workspace, address: &str) -> Outcome {
    let all = mirror.odfs(["audit", "t", "-o", "json"])?.json()?;
    let of = |relation: &str| {
        all.as_array()
            .into_iter()
            .flatten()
            .find(|row| row["Relation"] == relation)
            .cloned()
    };
    assert_eq!(of("wentBack").map(|row| row["Blocks"].clone()), Some(1.into()), "{all}");
    let found = of("forked").ok_or_else(|| Failure::new(format!("no fork is shown: {all}")))?;
    let file = found["File"].as_str().unwrap_or_default();
    let third = Workspace::new()?;
    let proof = fs::read_to_string(file)?;
    let copy = third.write("proof.json", &proof)?.display().to_string();
    let said = third.odfs(["audit", "--check", &copy, "-o", "table"])?;
    let name = address.trim_start_matches("ipns://");
    assert!(
        said.text()
            .contains(&format!("The proof holds. Signed by the key of {name}")),
        "{}",
        said.text()
    );
    let json = third.odfs(["audit", "--check", &copy, "-o", "json"])?.json()?;
    assert_eq!(
        (&json["relation"], &json["blocks"]),
        (&found["Relation"], &found["Blocks"])
    );
    // Half of it shows nothing, and nothing can be put in the place of what was signed.
    let mut half: serde_json::Value = serde_json::from_str(&proof)?;
    half["records"][1] = half["records"][0].clone();
    let half = third.write("half.json", half.to_string())?.display().to_string();
    let refused = third.refused(["audit", "--check", &half])?;
    assert!(
        refused.code() == Some(10) && refused.stderr.contains("both say the same"),
        "{}",
        refused.stderr
    );
    let forged = third.write(
        "forged.json",
        proof.replace(
            name,
            &third.odfs(["status", "-o", "json"])?.json()?["peerId"].to_string(),
        ),
    )?;
    assert_eq!(
        third
            .refused(["audit", "--check", &forged.display().to_string()])?
            .code(),
        Some(10)
    );
    Ok(())
}

#[test]
fn nothing_is_dropped_for_an_owner_who_takes_rows_back() -> Outcome {
    let publisher = Publisher::new(3)?;
    let before = publisher.workspace.dataset("t")?.head;
    publisher.grow(5)?;
    let mirror = Workspace::new()?;
    mirror.know(&[&publisher.node.address])?;
    let node = mirror.node()?;
    let said = mirror.odfs(["follow", &publisher.address, "--as", "t", "--mirror", "-o", "json"])?;
    assert_eq!(said.json()?[0]["Mirror"], true);
    publisher.workspace.odfs(["reset", "t", &before, "--yes"])?;
    publisher.workspace.odfs(["push", "t", "--force"])?;
    in_the_way(&mirror, "took back 1 block(s) with 2 row(s)")?;
    publisher.grow(4)?;
    in_the_way(&mirror, "diverged")?;
    assert_eq!(mirror.dataset("t")?.records, 5);
    a_third_machine_can_check(&mirror, &publisher.address)?;
    // A dataset that is deleted is followed no longer, or it would come again.
    let said = mirror.odfs(["delete", "t", "--yes"])?;
    assert!(said.stderr.contains("It is followed no longer"), "{}", said.stderr);
    assert_eq!(mirror.odfs(["follow", "-o", "json"])?.json()?, serde_json::json!([]));
    node.stop()?;
    publisher.node.stop()?;
    Ok(())
}
