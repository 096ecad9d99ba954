//! Moving one file between two peers on loopback, from a store that holds it to an empty one.

use super::import::size;
use super::{Figure, Row, Scale};
use crate::Failure;
use interop_tests::process::run;
use interop_tests::{Kubo, Running, Workspace, content};
use std::time::Duration;

/// How long one transfer may take.
const LIMIT: Duration = Duration::from_secs(600);

/// Both receivers end with every block in their store. Kubo's is a running daemon, connected before the clock starts;
/// odfs's is one command, so its figure holds the start of a peer, the connection, and writing the content out.
pub(super) fn rows(scale: &Scale) -> Result<Vec<Row>, Failure> {
    let what = format!("move {} to a loopback peer", size(scale.size));
    Ok(vec![Row {
        what,
        odfs: Figure::Took(odfs(scale)?),
        kubo: Figure::Took(kubo(scale)?),
    }])
}

fn odfs(scale: &Scale) -> Result<Duration, Failure> {
    let (from, to) = (Workspace::new()?, Workspace::new()?);
    let file = from.path().join("file");
    content::write(&file, scale.size, 2)?;
    let mut add = from.command(["ipfs", "add", "-Q", "--cid-version", "1", "--raw-leaves"])?;
    add.arg(&file);
    let cid = run(add, LIMIT)?.success()?.text();
    let sender = from.node()?;
    to.know(&[&sender.address])?;
    Ok(Running::start_quiet(to.command(["ipfs", "cat", &cid])?)?
        .finish(LIMIT)?
        .success()?
        .took)
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
