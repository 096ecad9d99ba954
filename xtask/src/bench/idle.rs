//! Memory of a node that has nothing to do.

use super::{Figure, Row, Scale};
use crate::Failure;
use interop_tests::{Kubo, Workspace};
use std::time::Duration;

/// How long a node is left alone before it is looked at.
const SETTLE: Duration = Duration::from_secs(5);

/// Resident memory of both daemons, with one connected peer and nothing published.
pub(super) fn rows(_: &Scale) -> Result<Vec<Row>, Failure> {
    let (workspace, kubo) = (Workspace::new()?, Kubo::daemon()?.ok_or("Kubo is required")?);
    let node = workspace.node()?;
    kubo.connect(&node.address)?;
    std::thread::sleep(SETTLE);
    Ok(vec![Row {
        what: "resident memory of an idle node".to_owned(),
        odfs: Figure::Memory(resident(node.process.id())?),
        kubo: Figure::Memory(resident(kubo.daemon_id().ok_or("no Kubo daemon runs")?)?),
        wanted: "60 MB at most",
    }])
}

/// `VmRSS` of a process, in bytes.
fn resident(id: u32) -> Result<u64, Failure> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .ok_or("a process without VmRSS")?;
    let kibibytes = line
        .trim()
        .trim_end_matches("kB")
        .trim()
        .parse::<u64>()
        .map_err(|error| error.to_string())?;
    Ok(kibibytes * 1024)
}
