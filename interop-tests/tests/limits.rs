//! How many connections a node keeps while a crowd wants more, and that those it was told of are not among them.

use std::process::Command;

use interop_tests::process::Running;
use interop_tests::workspace::LIMIT;
use interop_tests::{Node, Outcome, Workspace};

/// A node with this setting that was told of a friend, whom a crowd of peers from two networks connects to: as many as stay, the
/// friend not among them.
fn strangers_of(setting: &str, value: &str) -> Outcome<usize> {
    let friend = Workspace::new()?;
    let known = friend.node()?;
    let workspace = Workspace::new()?;
    workspace.odfs(["config", "set", setting, value])?;
    let node = workspace.node_with(&["--peer", &known.address])?;
    let crowd = ["127.66.0.1", "127.67.0.1"].map(|from| come(&node, from));
    let crowd = crowd.into_iter().collect::<Outcome<Vec<_>>>()?;
    let status = workspace.odfs(["status", "--output", "json"])?.json()?;
    let peers = status["peers"].as_array().ok_or("a node has a list of peers")?;
    let is_known = |peer: &&serde_json::Value| peer["peerId"] == known.peer_id.as_str();
    assert_eq!(peers.iter().filter(is_known).count(), 1, "the friend stays: {status}");
    for stranger in crowd {
        stranger.kill()?;
    }
    Ok(peers.len() - 1)
}

/// Twenty peers from one address, all of which have tried to connect when this returns.
fn come(node: &Node, from: &str) -> Outcome<Running> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hostile"));
    command.args(["idle", "--connections", "20", "--at", &node.address, "--from", from]);
    let mut crowd = Running::start(command)?;
    crowd.wait_for(LIMIT, |said| said.contains("ready").then_some(()))?;
    Ok(crowd)
}

#[test]
fn a_node_keeps_as_many_strangers_as_the_setting_says() -> Outcome {
    // A quarter of the places is for connections that the node makes itself.
    assert_eq!(strangers_of("network.maxConnections", "8")?, 6);
    assert_eq!(strangers_of("network.lowPower", "true")?, 15);
    Ok(())
}
