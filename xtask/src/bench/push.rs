//! Publishing one appended row at different chain lengths.

use super::row::{Beside, Figure, Row, Scale};
use crate::Failure;
use interop_tests::kubo::KAMU_FLAGS;
use interop_tests::workspace::dataset::Published;
use interop_tests::{Kubo, Node, Workspace};
use std::cell::Cell;
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
            beside: Beside::kubo(Figure::Took(started.elapsed())),
            wanted: "within 2x of the shortest chain",
            more: String::new(),
        });
    }
    Ok(rows)
}

/// The dataset that grows.
pub(super) const NAME: &str = "growing";

/// A dataset that gets one slice of one row at a time.
pub(super) struct Growing {
    pub(super) workspace: Workspace,
    _node: Node,
    /// The IPNS name.
    pub(super) name: String,
    rows: Cell<u32>,
}

impl Growing {
    pub(super) fn new() -> Result<Self, Failure> {
        let workspace = Workspace::new()?;
        let node = workspace.node()?;
        let mut growing = Self {
            workspace,
            _node: node,
            name: String::new(),
            rows: Cell::new(0),
        };
        growing.name = growing.push()?.name;
        Ok(growing)
    }

    /// Appends one row and publishes the new head; what that took.
    pub(super) fn append(&self) -> Result<Duration, Failure> {
        Ok(self.push()?.said.took)
    }

    fn push(&self) -> Result<Published, Failure> {
        let row = self.rows.get() + 1;
        self.rows.set(row);
        // Only the new row is read: the clock is to show the push, not the reading of a file that grows.
        self.workspace
            .write("row.ndjson", format!("{{\"row\":{row},\"reading\":{row}.5}}\n"))?;
        self.workspace.publish(&["row.ndjson", "--name", NAME, "--append-all"])
    }

    /// Appends until the chain has `length` blocks.
    pub(super) fn grow_to(&self, length: u32) -> Result<(), Failure> {
        let blocks = self.workspace.dataset(NAME)?.blocks;
        for _ in blocks..u64::from(length) {
            self.push()?;
        }
        Ok(())
    }
}
