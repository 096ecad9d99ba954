//! A long chain between two workspaces by the repository transports.

use super::row::{Figure, Row, Scale};
use super::scale::{NAME, Strategy, Subject};
use crate::Failure;
use interop_tests::process::{Finished, resident};
use interop_tests::{Node, Workspace};

/// Pulls from a node by the smart protocol and by HTTP, and pushes to one by the smart protocol: every block but two has a
/// slice of one row. The most memory of both sides is beside the time; the side that has a node does its work in there.
pub(super) fn rows(scale: &Scale) -> Result<Vec<Row>, Failure> {
    let mut dataset = Subject::new(Strategy::Append)?;
    dataset.grow_to(scale.blocks.into())?;
    // Lays out what was made, with the name.
    dataset.append()?;
    let mut rows = Vec::new();
    for (how, scheme) in [("the smart protocol", "odf+"), ("HTTP", "")] {
        let to = Workspace::new()?;
        let address = format!("{scheme}{}/{NAME}", dataset.node()?.gateway);
        let pulled = to.odfs(["pull", &address])?;
        let memory = [pulled.peak_memory, most_memory(dataset.node()?)?];
        rows.push(row(&format!("pull by {how}"), scale, &pulled, memory));
    }
    let server = Workspace::new()?;
    let token = server.odfs(["repo", "token", "add", "bench"])?.text();
    let node = server.node()?;
    let url = format!("odf+{}/", node.gateway);
    let from = &dataset.workspace;
    from.odfs(["repo", "add", "there", &url, "--token", &token])?;
    let pushed = from.odfs(["push", NAME, "--to", "there"])?;
    let memory = [most_memory(dataset.node()?)?, most_memory(&node)?];
    rows.push(row("push by the smart protocol", scale, &pushed, memory));
    Ok(rows)
}

/// The most memory that a node had resident since it was started.
fn most_memory(node: &Node) -> Result<u64, Failure> {
    Ok(resident(node.process.id(), "VmHWM").ok_or("the node has ended")?)
}

fn row(what: &str, scale: &Scale, command: &Finished, memory: [u64; 2]) -> Row {
    let [here, there] = memory.map(Figure::Memory);
    Row {
        what: format!("{what}, {} blocks", scale.blocks),
        odfs: Figure::Took(command.took),
        beside: None,
        wanted: "3 s for 5,000 blocks",
        more: format!("{here} here and {there} there at most, 200 MiB wanted"),
    }
}
