//! Disks that are full, or can only be read: a clear answer, nothing lost, and all goes on once there is room again.

use interop_tests::trial::{LARGE_DISK, Trial, commands, refused_in_words};
use interop_tests::workspace::LIMIT;
use interop_tests::workspace::dataset::table;
use interop_tests::{Outcome, Workspace};

/// Exit codes for what a disk that can only be read may do to a command.
const READ_ONLY: [i32; 2] = [13, 16];

fn filled(command: fn(Workspace) -> Outcome<Trial>) -> Outcome {
    match Workspace::on_small_disk(LARGE_DISK)? {
        Some(workspace) => command(workspace)?.fill(),
        None => Ok(()),
    }
}

#[test]
fn a_disk_too_small_for_a_publish() -> Outcome {
    filled(commands::publish)
}

#[test]
fn a_disk_too_small_for_a_pull_by_name() -> Outcome {
    filled(commands::pull_ipns)
}

#[test]
fn a_disk_too_small_for_a_pull_from_a_directory() -> Outcome {
    filled(commands::pull_file)
}

#[test]
fn a_disk_too_small_for_a_pull_from_a_web_server() -> Outcome {
    filled(commands::pull_http)
}

#[test]
fn a_disk_too_small_for_a_pull_by_the_smart_protocol() -> Outcome {
    filled(commands::pull_smart)
}

#[test]
fn a_disk_too_small_for_a_push_to_a_name() -> Outcome {
    filled(commands::push_name)
}

#[test]
fn a_disk_too_small_for_a_push_to_a_directory() -> Outcome {
    filled(commands::push_file)
}

#[test]
fn a_disk_too_small_for_a_push_by_the_smart_protocol_to_it() -> Outcome {
    filled(commands::receive_smart)
}

#[test]
fn a_disk_too_small_for_an_ingest() -> Outcome {
    filled(commands::ingest)
}

#[test]
fn a_disk_too_small_for_a_collection_of_garbage() -> Outcome {
    filled(commands::gc)
}

#[test]
fn a_disk_too_small_for_a_compaction() -> Outcome {
    filled(commands::compact)
}

#[test]
fn a_disk_too_small_for_a_reset() -> Outcome {
    filled(commands::reset)
}

#[test]
fn a_disk_too_small_for_a_delete() -> Outcome {
    filled(commands::delete)
}

#[test]
fn a_disk_that_can_only_be_read() -> Outcome {
    let Some(workspace) = Workspace::on_small_disk(LARGE_DISK)? else {
        return Ok(());
    };
    let disk = workspace.disk().ok_or("a disk of its own")?;
    workspace.write("t.csv", table(100))?;
    let published = workspace.publish(&["t.csv", "--name", "t"])?;
    let first = workspace.dataset("t")?.head;
    workspace.write("t.csv", table(120))?;
    workspace.publish(&["t.csv", "--name", "t"])?;
    workspace.write("t.csv", table(140))?;
    workspace.write("new.csv", table(10))?;
    workspace.write("more.csv", table(3))?;
    // With a peer that has a dataset which is not here.
    let other = Workspace::new()?;
    let node = other.node()?;
    other.write("o.csv", table(50))?;
    let address = format!("ipns://{}", other.publish(&["o.csv", "--name", "o"])?.name);
    let outside = tempfile::tempdir()?;
    let outside = |name: &str| outside.path().join(name).display().to_string();

    let reads: [&[&str]; 14] = [
        &["list", "--wide"],
        &["log", "t"],
        &["tail", "t"],
        &["inspect", "schema", "t"],
        &["inspect", "lineage"],
        &["verify", "t", "--logical"],
        &["key", "list"],
        &["config", "list"],
        &["repo", "list"],
        &["ipfs", "pin", "ls", "--type=recursive"],
        &["ipfs", "repo", "stat"],
        &["ipfs", "cat", &format!("{}/refs/head", published.root)],
        &["ipfs", "dag", "get", &published.root],
        &["status"],
    ];
    let place = format!("file://{}", outside("there"));
    let writes: [&[&str]; 16] = [
        &["publish", "t.csv", "--name", "t", "--exit"],
        &["publish", "new.csv", "--exit"],
        &["ingest", "t", "more.csv"],
        &["pull", &address, "--as", "o", "--peer", &node.address],
        &["push", "t", "--to", &place],
        &["rename", "t", "u"],
        &["-y", "delete", "t"],
        &["-y", "reset", "t", &first],
        &["-y", "system", "compact", "--hard", "t"],
        &["ipfs", "add", "new.csv"],
        &["ipfs", "pin", "rm", &published.root],
        &["config", "set", "retention", "1"],
        &["key", "gen", "k"],
        &["repo", "add", "there", &place],
        &["repo", "token", "add", "somebody"],
        &["export", "t", "export"],
    ];
    let answers = |args: &[&str]| -> Outcome<String> { Ok(workspace.odfs(args)?.text()) };
    let before = reads.iter().map(|args| answers(args)).collect::<Outcome<Vec<_>>>()?;

    disk.set_read_only(true)?;
    let mut faults = Vec::new();
    for (args, before) in reads.iter().zip(&before) {
        let finished = workspace.run(*args)?;
        let outcome = match finished.succeeded() {
            true if finished.text() == *before => Ok(()),
            true => Err(finished.failure("answers otherwise than before")),
            false => refused_in_words(&finished, &READ_ONLY, &["ead-only"]),
        };
        faults.extend(outcome.err());
    }
    for args in writes {
        faults.extend(refused_in_words(&workspace.run(args)?, &READ_ONLY, &["ead-only"]).err());
    }
    // A node may serve from there, or say why it does not.
    let mut node = workspace.start(["node"])?;
    let serves = node.wait_for(LIMIT, |said| said.contains("Gateway: ").then_some(()));
    if serves.is_err() {
        faults.extend(refused_in_words(&node.finish(LIMIT)?, &READ_ONLY, &["ead-only"]).err());
    } else {
        node.interrupt()?;
        node.finish(LIMIT)?;
    }

    disk.set_read_only(false)?;
    for (args, before) in reads.iter().zip(&before) {
        if answers(args)? != *before {
            faults.push(format!("{args:?} answers otherwise than before").into());
        }
    }
    workspace.odfs(["publish", "t.csv", "--name", "t", "--exit"])?;
    workspace.odfs(["verify", "%"])?;
    if faults.is_empty() {
        return Ok(());
    }
    let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
    Err(format!("{} fault(s)\n{}", told.len(), told.join("\n")).into())
}
