//! Memory of a node that has nothing to do.

use super::row::{Beside, Figure, Row, Scale};
use crate::Failure;
use interop_tests::process::resident;
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
        odfs: Figure::Memory(resident(node.process.id(), "VmRSS").ok_or("the node has ended")?),
        beside: Beside::kubo(Figure::Memory(
            resident(kubo.daemon_id().ok_or("no Kubo daemon runs")?, "VmRSS").ok_or("Kubo has ended")?,
        )),
        wanted: "60 MB at most",
        more: String::new(),
    }])
}
