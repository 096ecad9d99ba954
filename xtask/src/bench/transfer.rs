//! Moving one file between two peers on loopback, from a store that holds it to an empty one.

use super::import::size;
use super::row::{Beside, Figure, Row, Scale};
use crate::Failure;
use interop_tests::process::run;
use interop_tests::{Kubo, Workspace, content};
use std::time::Duration;

/// How long one transfer may take.
const LIMIT: Duration = Duration::from_secs(600);

/// Both receivers are running daemons that are connected to the sender before the clock starts, and end with every
/// block stored and pinned. The command line of each is in its figure.
pub(super) fn rows(scale: &Scale) -> Result<Vec<Row>, Failure> {
    let what = format!("move {} to a loopback peer", size(scale.size));
    Ok(vec![Row {
        what,
        odfs: Figure::Took(odfs(scale)?),
        beside: Beside::kubo(Figure::Took(kubo(scale)?)),
        wanted: "ratio of 1.5 at least",
        more: String::new(),
    }])
}

fn odfs(scale: &Scale) -> Result<Duration, Failure> {
    let (from, to) = (Workspace::new()?, Workspace::new()?);
    let file = from.path().join("file");
    content::write(&file, scale.size, 2)?;
    let mut add = from.command(["ipfs", "add", "-Q", "--cid-version", "1", "--raw-leaves"])?;
    add.arg(&file);
    let cid = run(add, LIMIT)?.success()?.text();
    let (sender, _receiver) = (from.node()?, to.node()?);
    to.odfs(["ipfs", "swarm", "connect", &sender.address])?;
    Ok(run(to.command(["ipfs", "pin", "add", &cid])?, LIMIT)?.success()?.took)
}

fn kubo(scale: &Scale) -> Result<Duration, Failure> {
    let from = Kubo::daemon()?.ok_or("Kubo is required")?;
    let to = Kubo::daemon()?.ok_or("Kubo is required")?;
    let file = from.path().join("file");
    content::write(&file, scale.size, 2)?;
    let mut add = from.command(["add", "-Q", "--cid-version", "1", "--raw-leaves"]);
    add.arg(&file);
    let cid = run(add, LIMIT)?.success()?.text();
    to.connect(&from.address()?)?;
    Ok(run(to.command(["pin", "add", &cid]), LIMIT)?.success()?.took)
}
