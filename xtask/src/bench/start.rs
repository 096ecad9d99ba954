//! From Enter to the answer of a local command.

use super::row::{Beside, Row, Scale, fastest};
use crate::Failure;
use interop_tests::workspace::earthquakes;
use interop_tests::{Kubo, Workspace};

/// With no node running: both programs open their store, print, and end.
pub(super) fn rows(scale: &Scale) -> Result<Vec<Row>, Failure> {
    let workspace = Workspace::new()?;
    let table = earthquakes().display().to_string();
    workspace.odfs(["publish", &table, "--name", "earthquakes", "--exit"])?;
    let kubo = Kubo::init()?.ok_or("Kubo is required")?;
    kubo.add(&earthquakes(), &["--cid-version=1"])?;
    Ok(vec![Row {
        what: "start of `odfs list` / `ipfs pin ls`".to_owned(),
        odfs: fastest(scale.repeats, || Ok(workspace.odfs(["list"])?.took))?,
        beside: Beside::kubo(fastest(scale.repeats, || {
            Ok(kubo.run(["pin", "ls", "-t", "recursive"])?.success()?.took)
        })?),
        wanted: "50 ms at most",
        more: String::new(),
    }])
}
