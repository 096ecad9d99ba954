//! A published dataset, and workspaces that follow it.

use super::made;
use crate::Failure;
use interop_tests::process::run;
use interop_tests::{Node, Workspace};
use std::cell::Cell;
use std::fs;
use std::net::TcpListener;
use std::time::Duration;

/// The dataset.
pub(in crate::bench) const NAME: &str = "growing";
/// How long a command may take that follows many blocks at once.
const LIMIT: Duration = Duration::from_secs(900);
/// The file that is published.
const ROW_FILE: &str = "row.ndjson";

/// How rows meet those that are there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::bench) enum Strategy {
    Append,
    /// A new key each time.
    Ledger,
    /// One key, whose value is another each time: each append retracts what was there.
    Snapshot,
    /// A new key each time.
    Upsert,
}

impl Strategy {
    /// What `--merge` calls it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Ledger => "ledger",
            Self::Snapshot => "snapshot",
            Self::Upsert => "upsert",
        }
    }
}

/// What an append was.
pub(in crate::bench) struct Appended {
    pub(super) took: Duration,
    /// What the node wrote meanwhile, to files and to others.
    pub(super) written: u64,
}

/// A dataset that gets one slice at a time, with a node.
pub(in crate::bench) struct Subject {
    pub(in crate::bench) workspace: Workspace,
    pub(super) strategy: Strategy,
    node: Option<Node>,
    /// The IPNS name.
    pub(in crate::bench) name: String,
    rows: Cell<u64>,
}

impl Subject {
    pub(in crate::bench) fn new(strategy: Strategy) -> Result<Self, Failure> {
        let workspace = workspace()?;
        let mut subject = Self {
            node: Some(workspace.node()?),
            workspace,
            strategy,
            name: String::new(),
            rows: Cell::new(0),
        };
        subject.append()?;
        let published = subject.workspace.publish(&[ROW_FILE, "--name", NAME])?;
        subject.name = published.name;
        // The second of a snapshot is the first that retracts.
        subject.append()?;
        Ok(subject)
    }

    /// The node.
    pub(in crate::bench) fn node(&self) -> Result<&Node, Failure> {
        self.node.as_ref().ok_or_else(|| "no node is running".into())
    }

    /// Stops the node and starts another.
    pub(super) fn restart(&mut self) -> Result<(), Failure> {
        self.stopped(|_| Ok(()))
    }

    /// Makes the chain `blocks` long.
    pub(in crate::bench) fn grow_to(&mut self, blocks: u64) -> Result<(), Failure> {
        self.stopped(|workspace| made::grow_to(workspace, NAME, blocks))?;
        self.rows.set(self.workspace.dataset(NAME)?.records);
        Ok(())
    }

    /// Makes so many datasets beside it.
    pub(super) fn beside(&mut self, count: u32) -> Result<(), Failure> {
        self.stopped(|workspace| made::copies(workspace, NAME, count))
    }

    fn stopped(&mut self, work: impl FnOnce(&Workspace) -> Result<(), Failure>) -> Result<(), Failure> {
        if let Some(node) = self.node.take() {
            node.stop()?;
        }
        work(&self.workspace)?;
        self.node = Some(self.workspace.node()?);
        Ok(())
    }

    /// Writes a file of one row that was not there before.
    fn write_row(&self) -> Result<(), Failure> {
        let row = self.rows.get();
        self.rows.set(row + 1);
        let key = if self.strategy == Strategy::Snapshot { 0 } else { row };
        let key_column = made::KEY;
        let text = format!("{{\"{key_column}\":{key},\"reading\":{row}}}\n");
        self.workspace.write(ROW_FILE, text)?;
        Ok(())
    }

    /// Appends one row and publishes the new head.
    pub(in crate::bench) fn append(&self) -> Result<Appended, Failure> {
        self.write_row()?;
        let mut args = vec!["publish", ROW_FILE, "--name", NAME, "--append-all", "--exit"];
        if self.rows.get() == 1 && self.strategy != Strategy::Append {
            args.extend(["--merge", self.strategy.word(), "--primary-key", made::KEY]);
        }
        let before = self.written()?;
        let finished = run(self.workspace.command(args)?, LIMIT)?.success()?;
        Ok(Appended {
            took: finished.took,
            written: self.written()? - before,
        })
    }

    /// Appends one row by the push source; what that took. The name stays where it is.
    pub(super) fn ingest(&self) -> Result<Duration, Failure> {
        self.write_row()?;
        Ok(self.workspace.odfs(["ingest", NAME, ROW_FILE])?.took)
    }

    /// Brings the directory up to date from which one of the followers pulls.
    pub(super) fn publish_in_directory(&self) -> Result<(), Failure> {
        let push = self.workspace.command(["push", NAME, "--to", &self.directory()])?;
        run(push, LIMIT)?.success()?;
        Ok(())
    }

    fn directory(&self) -> String {
        format!("file://{}", self.workspace.path().join("directory").display())
    }

    /// Bytes that the node has written since it was started.
    fn written(&self) -> Result<u64, Failure> {
        let counts = fs::read_to_string(format!("/proc/{}/io", self.node()?.process.id()))?;
        let line = counts.lines().find_map(|line| line.strip_prefix("wchar: "));
        let bytes = line.and_then(|bytes| bytes.parse().ok());
        Ok(bytes.ok_or("the system does not count what a process writes")?)
    }

    /// How long the packs are: they hold all nodes, and nothing of slices.
    pub(super) fn pack_bytes(&self) -> Result<u64, Failure> {
        let mut bytes = 0;
        for entry in fs::read_dir(self.workspace.store().join("packs"))? {
            let entry = entry?;
            if entry.path().extension().is_some_and(|extension| extension == "pack") {
                bytes += entry.metadata()?.len();
            }
        }
        Ok(bytes)
    }
}

/// From where a follower pulls.
#[derive(Clone, Copy)]
enum Way {
    Ipns,
    File,
    Http,
    Smart,
}

/// A workspace that pulls the dataset, with a node of its own.
pub(super) struct Follower {
    workspace: Workspace,
    _node: Node,
    way: Way,
}

impl Follower {
    /// One for each way, which has pulled once.
    pub(super) fn all(subject: &Subject) -> Result<Vec<Self>, Failure> {
        subject.publish_in_directory()?;
        let follower = |way| {
            let workspace = workspace()?;
            let follower = Self {
                _node: workspace.node()?,
                workspace,
                way,
            };
            follower.take(&["--as", NAME, &follower.address(subject)?], subject)?;
            Ok(follower)
        };
        [Way::Ipns, Way::File, Way::Http, Way::Smart]
            .into_iter()
            .map(follower)
            .collect()
    }

    pub(super) fn word(&self) -> &'static str {
        match self.way {
            Way::Ipns => "ipns",
            Way::File => "file",
            Way::Http => "HTTP",
            Way::Smart => "smart",
        }
    }

    /// Pulls what is new; what that took.
    pub(super) fn pull(&self, subject: &Subject) -> Result<Duration, Failure> {
        self.take(&[NAME], subject)
    }

    fn take(&self, what: &[&str], subject: &Subject) -> Result<Duration, Failure> {
        let mut pull = self.workspace.command(["pull"])?;
        pull.args(what);
        if matches!(self.way, Way::Ipns) {
            // Another one after each restart.
            pull.args(["--peer", &subject.node()?.address]);
        }
        Ok(run(pull, LIMIT)?.success()?.took)
    }

    fn address(&self, subject: &Subject) -> Result<String, Failure> {
        let gateway = &subject.node()?.gateway;
        Ok(match self.way {
            Way::Ipns => format!("ipns://{}", subject.name),
            Way::File => subject.directory(),
            Way::Http => format!("{gateway}/{NAME}"),
            Way::Smart => format!("odf+{gateway}/{NAME}"),
        })
    }
}

/// A workspace with the settings of one that somebody uses, but for where it listens and whom it knows. Its gateway is at the
/// same port after a restart.
fn workspace() -> Result<Workspace, Failure> {
    let workspace = Workspace::new()?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    workspace.configure(&format!(
        "[network]\nlisten = [\"/ip4/127.0.0.1/tcp/0\"]\nbootstrap = []\nmdns = false\n\n[gateway]\nlisten = \"127.0.0.1:{port}\"\n"
    ))?;
    Ok(workspace)
}
