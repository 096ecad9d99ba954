//! `odfs publish --until-safe`: it ends when the dataset outlives the machine that published it, and says until when.

use interop_tests::workspace::LIMIT;
use interop_tests::workspace::dataset::{same_dataset, table};
use interop_tests::{Outcome, Workspace};

#[test]
fn a_publisher_may_go_when_a_follower_has_proved_that_it_has_the_rows() -> Outcome {
    // A stranger finds what is published here by whom everybody knows.
    let between = Workspace::new()?;
    let known = between.node()?;
    let here = Workspace::new()?;
    here.know(&[&known.address])?;
    let file = here.write("t.csv", table(3_000))?.display().to_string();
    let mut publishing = here.start(["publish", &file, "--name", "t", "--until-safe", "--copies", "1"])?;
    let ticket = publishing.wait_for(LIMIT, |said| {
        said.split_whitespace()
            .find(|word| word.starts_with("odfs1"))
            .map(str::to_owned)
    })?;
    let name = publishing.wait_for(LIMIT, |said| {
        said.split_whitespace()
            .find(|word| word.starts_with("ipns://"))
            .map(str::to_owned)
    })?;

    // Whoever follows it by the ticket finds its publisher again, with no other address than those in it.
    let there = Workspace::new()?;
    there.odfs(["follow", &ticket, "--as", "t", "--mirror"])?;
    let node = there.node()?;
    let ended = publishing.finish(LIMIT)?.success()?;
    assert!(ended.stderr.contains("You may go off-line until "), "{}", ended.stderr);
    assert!(ended.stderr.contains("1 other machine(s)"), "{}", ended.stderr);

    // It is gone, and a third gets everything.
    let late = Workspace::new()?;
    late.odfs(["pull", &name, "--as", "t", "--peer", &node.address])?;
    same_dataset((&here, "t"), (&late, "t"))?;
    node.stop()?;
    known.stop()?;
    Ok(())
}

#[test]
fn a_publisher_that_is_killed_while_it_waits_has_lost_nothing() -> Outcome {
    let here = Workspace::new()?;
    let file = here.write("t.csv", table(30))?.display().to_string();
    let mut publishing = here.start(["publish", &file, "--name", "t", "--until-safe"])?;
    publishing.wait_for(LIMIT, |said| said.contains("ipns://").then_some(()))?;
    publishing.kill()?;
    here.odfs(["verify", "t"])?;
    assert_eq!(here.dataset("t")?.records, 30);
    Ok(())
}

#[test]
fn without_anybody_else_it_says_what_is_missing() -> Outcome {
    let here = Workspace::new()?;
    let file = here.write("t.csv", table(3))?.display().to_string();
    let publish = ["publish", &file, "--name", "t", "--until-safe", "--timeout", "1s"];
    let refused = here.refused(publish)?;
    assert_eq!(refused.code(), Some(9));
    assert!(
        refused.stderr.contains("nobody else has the newest rows of t yet"),
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains("--mirror"), "{}", refused.stderr);

    // Programs are told in one object, and a node that runs here waits as well.
    let node = here.node()?;
    let refused = here.refused([&publish[..], &["-o", "json"]].concat())?;
    let report = refused.json()?;
    assert_eq!(report["copies"], serde_json::json!([]));
    assert!(
        report["offlineUntil"].is_null() && report["name"].is_string(),
        "{report}"
    );
    node.stop()?;

    let usage = here.refused(["publish", &file, "--copies", "2"])?;
    assert_eq!(usage.code(), Some(2));
    Ok(())
}
