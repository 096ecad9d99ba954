//! Publishing one appended row at different chain lengths.

use super::{Figure, Row, Scale};
use crate::Failure;
use interop_tests::kubo::KAMU_FLAGS;
use interop_tests::workspace::LIMIT;
use interop_tests::{Kubo, Workspace};
use std::time::Duration;

/// odfs appends a row and publishes, node running. Beside it is what kamu does through Kubo at the same length: `ipfs
/// add` of the whole dataset directory, then `ipfs name publish`; ingest and kamu's own start are not in its figure.
pub(super) fn rows(scale: &Scale) -> Result<Vec<Row>, Failure> {
    let dataset = Growing::new()?;
    let kubo = Kubo::daemon()?.ok_or("Kubo is required")?;
    let mut rows = Vec::new();
    for length in scale.chains {
        dataset.grow_to(*length)?;
        let odfs = (0..scale.repeats)
            .map(|_| dataset.append())
            .collect::<Result<Vec<_>, _>>()?;
        let odfs = odfs.into_iter().min().ok_or("no run")?;
        let copy = kubo.path().join(format!("at-{length}"));
        dataset.workspace.odfs(["export", NAME, &copy.display().to_string()])?;
        kubo.add(&copy, &KAMU_FLAGS)?;
        std::fs::write(copy.join("data/one-more-row"), length.to_string())?;
        let started = std::time::Instant::now();
        let root = kubo.add(&copy, &KAMU_FLAGS)?;
        kubo.ok([
            "name",
            "publish",
            "-Q",
            "--allow-offline",
            "--resolve=false",
            &format!("/ipfs/{root}"),
        ])?;
        let what = format!("push one row to a chain of {length}");
        rows.push(Row {
            what,
            odfs: Figure::Took(odfs),
            kubo: Figure::Took(started.elapsed()),
        });
    }
    Ok(rows)
}

/// The dataset that grows.
pub(super) const NAME: &str = "growing";

/// A dataset that gets one slice of one row at a time.
pub(super) struct Growing {
    pub(super) workspace: Workspace,
    pub(super) node: interop_tests::Node,
    rows: std::cell::Cell<u32>,
}

impl Growing {
    pub(super) fn new() -> Result<Self, Failure> {
        let workspace = Workspace::new()?;
        let node = workspace.node()?;
        let growing = Self {
            workspace,
            node,
            rows: std::cell::Cell::new(0),
        };
        growing.append()?;
        Ok(growing)
    }

    /// Appends one row and publishes the new head; what that took.
    pub(super) fn append(&self) -> Result<Duration, Failure> {
        let row = self.rows.get() + 1;
        self.rows.set(row);
        // Only the new row is read: the clock is to show the push, not the reading of a file that grows.
        let file = self
            .workspace
            .write("row.ndjson", format!("{{\"row\":{row},\"reading\":{row}.5}}\n"))?;
        let file = file.display().to_string();
        let args = [
            "publish",
            &file,
            "--name",
            NAME,
            "--merge",
            "ledger",
            "--primary-key",
            "row",
            "--exit",
        ];
        Ok(self.workspace.odfs(args)?.took)
    }

    /// Appends until the chain has `length` blocks.
    pub(super) fn grow_to(&self, length: u32) -> Result<(), Failure> {
        while self.length()? < length {
            for _ in self.length()?..length {
                self.append()?;
            }
        }
        Ok(())
    }

    fn length(&self) -> Result<u32, Failure> {
        let list = self.workspace.odfs(["list", "--wide", "--output", "json"])?.json()?;
        let blocks = list[0]["Blocks"].as_u64().or_else(|| list[0]["blocks"].as_u64());
        let blocks = blocks.ok_or_else(|| format!("`odfs list` names no number of blocks within {LIMIT:?}: {list}"))?;
        u32::try_from(blocks).map_err(|error| error.to_string().into())
    }
}
