//! Publishing one more line of a file that was published before.

use super::import::size;
use super::row::{Beside, Row, Scale, fastest};
use crate::Failure;
use interop_tests::process::run;
use interop_tests::{Node, Workspace};
use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::time::Duration;

const NAME: &str = "log";
const FILE: &str = "log.csv";
/// Bytes of a line, about.
const LINE: u64 = 100;
/// How long the first publish may take, which reads all of it.
const LIMIT: Duration = Duration::from_secs(300);

/// One line is appended and the file published as one that only grows, with a node running. Beside it is the same with every
/// byte of the file looked at.
pub(super) fn rows(scale: &Scale) -> Result<Vec<Row>, Failure> {
    let log = Log::new(scale.size)?;
    let odfs = fastest(scale.repeats, || log.publish("quick"))?;
    let figure = fastest(scale.repeats, || log.publish("full"))?;
    Ok(vec![Row {
        what: format!("publish one more line of {}", size(scale.size)),
        odfs,
        beside: Some(Beside { who: "full", figure }),
        wanted: "the same for every size",
        more: String::new(),
    }])
}

/// A file of made-up lines, published.
struct Log {
    workspace: Workspace,
    _node: Node,
    lines: Cell<u64>,
}

impl Log {
    fn new(bytes: u64) -> Result<Self, Failure> {
        let workspace = Workspace::new()?;
        let mut file = BufWriter::new(File::create(workspace.path().join(FILE))?);
        file.write_all(b"id,text\n")?;
        let lines = bytes / LINE;
        for id in 0..lines {
            file.write_all(line(id).as_bytes())?;
        }
        file.flush()?;
        let log = Self {
            _node: workspace.node()?,
            workspace,
            lines: Cell::new(lines),
        };
        let first = log.workspace.command(["publish", FILE, "--name", NAME, "--exit"])?;
        run(first, LIMIT)?.success()?;
        Ok(log)
    }

    /// Appends a line and publishes; what that took.
    fn publish(&self, check: &str) -> Result<Duration, Failure> {
        let id = self.lines.get();
        self.lines.set(id + 1);
        let mut file = OpenOptions::new().append(true).open(self.workspace.path().join(FILE))?;
        file.write_all(line(id).as_bytes())?;
        let published = self.workspace.publish(&[FILE, "--name", NAME, "--check", check])?;
        Ok(published.said.took)
    }
}

/// A line of about [`LINE`] bytes.
fn line(id: u64) -> String {
    format!("{id},reading {:082}\n", id % 997)
}
