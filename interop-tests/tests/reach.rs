//! What others can still have of what was published here: whether this machine may be off, what ends with `unpublish`, and
//! what is told of rows that others took back or published with the same key.

use std::fs;

use interop_tests::workspace::dataset::table;
use interop_tests::{Outcome, Workspace};

/// The status as people see it.
fn status(workspace: &Workspace) -> Outcome<String> {
    Ok(workspace.odfs(["status", "-o", "table"])?.text())
}

#[test]
fn a_machine_may_be_off_once_somebody_else_gives_the_rows() -> Outcome {
    let here = Workspace::new()?;
    let file = here.write("t.csv", table(3))?.display().to_string();
    let published = here.publish(&[&file])?;
    assert!(
        published
            .said
            .stderr
            .contains("nobody knows the name yet: the next `odfs node`, publish or push sends it")
            && published.said.stderr.contains("This process ends now"),
        "{}",
        published.said.stderr
    );
    let node = here.node()?;
    let known = here.publish(&[&file])?;
    assert!(
        !known.said.stderr.contains("This process ends"),
        "{}",
        known.said.stderr
    );

    // Somebody who pulled them once and is off keeps the name nowhere, and gives the rows to nobody.
    let once = Workspace::new()?;
    let name = format!("ipns://{}", published.name);
    once.odfs(["pull", &name, "--as", "t", "--peer", &node.address])?;
    let alone = status(&here)?;
    assert!(alone.contains("Not safe to switch off"), "{alone}");
    // Somebody who runs a node and has not pulled knows the name only.
    let keeper = Workspace::new()?;
    keeper.know(&[&node.address])?;
    let keeping = keeper.node()?;
    here.odfs(["push", "t"])?;
    let here_only = "Not safe to switch off: others keep its published name findable until 20";
    let kept = status(&here)?;
    assert!(
        kept.contains(here_only) && kept.contains("nobody else is known to have the newest ones"),
        "{kept}"
    );
    // One that has the rows and runs gives them.
    once.know(&[&node.address])?;
    let following = once.node()?;
    let safe = status(&here)?;
    assert!(
        safe.contains("This machine may be off: others keep its published name findable until 20")
            && safe.contains("another machine had the newest rows at 20"),
        "{safe}"
    );
    // That is remembered, said in the end, and counts for these rows only.
    let ended = node.stop()?;
    assert!(ended.stderr.contains("This machine may be off"), "{}", ended.stderr);
    assert!(status(&here)?.contains("This machine may be off"));
    fs::write(&file, table(4))?;
    here.know(&[&keeping.address])?;
    let more = here.publish(&[&file])?;
    assert!(
        more.said
            .stderr
            .contains("This process ends now, and nobody else is known to have the newest rows"),
        "{}",
        more.said.stderr
    );
    let lost = status(&here)?;
    assert!(lost.contains(here_only), "{lost}");
    following.stop()?;
    keeping.stop()?;
    Ok(())
}

#[test]
fn what_is_unpublished_is_not_found_here_any_more() -> Outcome {
    let (here, follower, late) = (Workspace::new()?, Workspace::new()?, Workspace::new()?);
    let file = here.write("t.csv", table(3))?.display().to_string();
    let published = here.publish(&[&file])?;
    let name = format!("ipns://{}", published.name);
    let node = here.node()?;
    follower.odfs(["pull", &name, "--as", "t", "--peer", &node.address])?;
    let told = here.odfs(["unpublish", "t"])?;
    assert!(told.text().contains("`odfs delete t` ends that"), "{}", told.text());
    let refused = late.refused(["pull", &name, "--as", "t", "--peer", &node.address])?;
    assert!(
        [Some(8), Some(9)].contains(&refused.code()) && late.list()?.is_empty(),
        "{:?} {}",
        refused.code(),
        refused.stderr
    );
    // Who follows it still knows the name, and brings it back to nobody by way of this machine.
    follower.know(&[&node.address])?;
    let following = follower.node()?;
    follower.run(["pull", "t", "--peer", &node.address])?;
    let refused = late.refused(["ipfs", "name", "resolve", &published.name])?;
    assert!(!refused.succeeded());
    following.stop()?;
    let refused = late.refused(["pull", &name, "--as", "t", "--peer", &node.address])?;
    assert!(
        [Some(8), Some(9)].contains(&refused.code()) && late.list()?.is_empty(),
        "{:?} {}",
        refused.code(),
        refused.stderr
    );
    node.stop()?;
    Ok(())
}

#[test]
fn what_an_owner_took_back_is_told_to_who_follows() -> Outcome {
    let (here, there) = (Workspace::new()?, Workspace::new()?);
    let file = here.write("t.csv", table(3))?.display().to_string();
    let published = here.publish(&[&file])?;
    let before = here.dataset("t")?.head;
    fs::write(&file, table(5))?;
    here.publish(&[&file])?;
    let other = here.write("u.csv", table(2))?.display().to_string();
    let other = here.publish(&[&other])?;
    let node = here.node()?;
    let peer = ["--peer", &node.address];
    for (name, local) in [(&published.name, "t"), (&other.name, "u")] {
        there.odfs([&["pull", &format!("ipns://{name}"), "--as", local][..], &peer].concat())?;
    }
    here.odfs(["reset", "t", &before, "--yes"])?;
    here.odfs(["push", "t", "--force"])?;

    let told = there.refused([&["pull", "t"][..], &peer].concat())?;
    assert_eq!(told.code(), Some(7), "{}", told.stderr);
    assert!(
        told.stderr
            .contains("the owner of t took back 1 block(s) with 2 row(s)")
            && told.stderr.contains("`odfs pull t --force` follows"),
        "{}",
        told.stderr
    );
    assert_eq!(there.dataset("t")?.records, 5);
    let all = there.refused([&["pull", "--all"][..], &peer].concat())?;
    assert!(
        all.code() == Some(7)
            && all.stderr.contains("1 dataset(s) up-to-date")
            && all.stderr.contains("1 dataset(s) left as they were"),
        "{}",
        all.stderr
    );
    // Silence is not for what somebody has to decide.
    let quiet = there.refused([&["pull", "--all", "--quiet"][..], &peer].concat())?;
    assert!(
        quiet.stderr.contains("took back 1 block(s)") && !quiet.stderr.contains("up-to-date"),
        "{}",
        quiet.stderr
    );
    // The name that a dataset has here holds, and that is said.
    let named = there.odfs([&["pull", &format!("ipns://{}", other.name), "--as", "v"][..], &peer].concat())?;
    assert!(
        named.stderr.contains("It is here as u") && named.stderr.contains("`odfs rename u v`"),
        "{}",
        named.stderr
    );
    there.odfs([&["pull", "t", "--force", "--yes"][..], &peer].concat())?;
    assert_eq!(there.dataset("t")?.head, before);
    node.stop()?;
    Ok(())
}

#[test]
fn two_who_publish_with_one_key_are_told_of_each_other() -> Outcome {
    let (ann, bob) = (Workspace::new()?, Workspace::new()?);
    let file = ann.write("t.csv", table(3))?.display().to_string();
    let published = ann.publish(&[&file])?;
    let backup = ann.save()?;
    fs::write(&file, table(4))?;
    ann.publish(&[&file])?;
    let node = ann.node()?;
    bob.odfs([
        "pull",
        &format!("ipns://{}", published.name),
        "--as",
        "t",
        "--peer",
        &node.address,
    ])?;
    node.stop()?;
    // The machine is set up again from an old backup, and goes on with nobody in reach.
    ann.restore(&backup)?;
    let late = table(9).lines().last().map(str::to_owned).unwrap_or_default();
    fs::write(&file, format!("{}{late}\n", table(3)))?;
    let lost = ann.publish(&[&file])?;
    assert!(!lost.said.stderr.contains("another machine"), "{}", lost.said.stderr);
    let theirs = bob.node()?;
    ann.know(&[&theirs.address])?;
    let refused = ann.run(["push", "t"])?;
    let said = status(&ann)?;
    assert!(
        said.contains("t: another machine published other rows with the same key, heard of at 20"),
        "{said}\n{}",
        refused.stderr
    );
    let json = ann.odfs(["status", "-o", "json"])?.json()?;
    assert_eq!(json["attention"].as_array().map(Vec::len), Some(1));
    theirs.stop()?;
    Ok(())
}

#[test]
fn a_key_that_goes_takes_its_published_name_along() -> Outcome {
    let workspace = Workspace::new()?;
    let file = workspace.write("t.csv", table(3))?.display().to_string();
    for with_node in [false, true] {
        let name = workspace.publish(&[&file])?.name;
        assert!(status(&workspace)?.contains(&name));
        let node = with_node.then(|| workspace.node()).transpose()?;
        workspace.odfs(["delete", "t", "--with-key", "--yes"])?;
        let said = status(&workspace)?;
        assert!(!said.contains(&name) && !said.contains("switch off"), "{said}");
        if let Some(node) = node {
            node.stop()?;
        }
    }
    Ok(())
}

#[test]
fn who_asks_for_silence_gets_results_and_errors_alone() -> Outcome {
    let workspace = Workspace::new()?;
    let file = workspace.write("t.csv", table(3))?.display().to_string();
    for (result, rows) in [("created", 3), ("upToDate", 3), ("updated", 4)] {
        fs::write(&file, table(rows))?;
        let said = workspace.odfs(["publish", &file, "--exit", "-q", "-o", "json"])?;
        assert_eq!(said.stderr, "");
        assert_eq!(said.json()?["result"], result);
    }
    let failed = workspace.refused(["publish", "none.csv", "--exit", "--quiet", "-o", "json"])?;
    assert!(
        failed.stderr.starts_with("Error: ") && failed.text().is_empty(),
        "{}",
        failed.stderr
    );
    // A node starts although a peer that it was to connect to is not there.
    let nobody = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWBK7KngNBNmuFX18o5jaYaY5YE39yHRdHnUFW6bAmHyQL";
    let mut node = workspace.start(["node", "--peer", nobody])?;
    node.wait_for(interop_tests::workspace::LIMIT, |said| {
        said.contains("Gateway: ").then_some(())
    })?;
    node.interrupt()?;
    let ended = node.finish(interop_tests::workspace::LIMIT)?;
    assert!(
        ended.succeeded() && ended.stderr.contains("it is served without that peer"),
        "{}",
        ended.stderr
    );
    Ok(())
}
