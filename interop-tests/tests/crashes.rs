//! `kill -9` at random points: the workspace opens by itself, each dataset is at its old or its new head, whole, with its
//! root pinned and within reach of others, and the interrupted command succeeds when repeated.
//!
//! The points are drawn from a seed that a failure names; `ODFS_TEST_SEED` sets it, and `ODFS_KILLS` how often each command
//! is killed.

use interop_tests::trial::{Trial, commands};
use interop_tests::workspace::dataset::{same_dataset, table};
use interop_tests::{Outcome, Workspace};

fn killed(command: fn(Workspace) -> Outcome<Trial>) -> Outcome {
    command(Workspace::new()?)?.kill()
}

#[test]
fn a_killed_publish() -> Outcome {
    killed(commands::publish)
}

#[test]
fn a_killed_pull_by_name() -> Outcome {
    killed(commands::pull_ipns)
}

#[test]
fn a_killed_pull_from_a_directory() -> Outcome {
    killed(commands::pull_file)
}

#[test]
fn a_killed_pull_from_a_web_server() -> Outcome {
    killed(commands::pull_http)
}

#[test]
fn a_killed_pull_by_the_smart_protocol() -> Outcome {
    killed(commands::pull_smart)
}

#[test]
fn a_killed_push_to_a_name() -> Outcome {
    killed(commands::push_name)
}

#[test]
fn a_killed_push_to_a_directory() -> Outcome {
    killed(commands::push_file)
}

#[test]
fn a_killed_push_by_the_smart_protocol() -> Outcome {
    killed(commands::push_smart)
}

#[test]
fn a_killed_ingest() -> Outcome {
    killed(commands::ingest)
}

#[test]
fn a_killed_collection_of_garbage() -> Outcome {
    killed(commands::gc)
}

#[test]
fn a_killed_compaction() -> Outcome {
    killed(commands::compact)
}

#[test]
fn a_killed_reset() -> Outcome {
    killed(commands::reset)
}

#[test]
fn a_killed_rebase() -> Outcome {
    killed(commands::rebase)
}

#[test]
fn a_killed_delete() -> Outcome {
    killed(commands::delete)
}

#[test]
fn a_killed_node_comes_back_with_all_it_served() -> Outcome {
    let (here, there) = (Workspace::new()?, Workspace::new()?);
    let node = here.node()?;
    here.write("t.csv", table(500))?;
    let name = here.publish(&["t.csv", "--name", "t"])?.name;
    node.process.kill()?;
    let node = here.node()?;
    there.odfs(["pull", &format!("ipns://{name}"), "--as", "t", "--peer", &node.address])?;
    same_dataset((&here, "t"), (&there, "t"))
}
