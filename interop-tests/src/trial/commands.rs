//! The commands that are tried. Each function prepares the workspace that it is given.

use super::{Heads, Pinned, Start, Target, Trial};
use crate::workspace::dataset::{Published, table};
use crate::{Node, Outcome, Workspace};
use std::net::TcpListener;

/// Rows of the dataset `t` at first, and of each later state.
const ROWS: [u64; 4] = [2_000, 2_040, 2_080, 2_120];
/// When the commands run that write metadata blocks, so that each run writes the same.
const NOW: &str = "2030-01-01T00:00:00Z";

impl Trial {
    fn new(what: &'static str, workspace: Workspace, args: &[&str]) -> Self {
        Self {
            what,
            workspace,
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            starts: Vec::new(),
            pinned: Pinned::Never,
            may_be_gone: false,
            frees: false,
            named: false,
            target: Target::None,
            heads: Heads::default(),
            _source: None,
        }
    }

    fn pinning(mut self, pinned: Pinned) -> Self {
        self.pinned = pinned;
        self
    }

    /// Keeps what the workspace is now as a start of the command.
    fn start_here(mut self) -> Outcome<Self> {
        let server = match &self.target {
            Target::Server(server) => Some(server.save()?),
            _ => None,
        };
        let saved = self.workspace.save()?;
        self.starts.push(Start { saved, server });
        Ok(self)
    }
}

/// Publishes the first `ROWS[state]` rows as `t`.
fn publish_state(workspace: &Workspace, state: usize) -> Outcome<Published> {
    workspace.write("t.csv", table(ROWS[state]))?;
    workspace.publish(&["t.csv", "--name", "t"])
}

/// Publishes each state up to `last`.
fn publish_states(workspace: &Workspace, last: usize) -> Outcome {
    (0..=last).try_for_each(|state| publish_state(workspace, state).map(drop))
}

/// `odfs publish`: a new dataset, and one that grew.
///
/// # Errors
/// The workspace cannot be prepared.
pub fn publish(workspace: Workspace) -> Outcome<Trial> {
    workspace.write("t.csv", table(ROWS[0]))?;
    let args = ["--system-time", NOW, "publish", "t.csv", "--name", "t", "--exit"];
    let mut trial = Trial::new("publish", workspace, &args).pinning(Pinned::Afterwards);
    trial.named = true;
    trial = trial.start_here()?;
    trial.workspace.publish(&["t.csv", "--name", "t"])?;
    trial.workspace.write("t.csv", table(ROWS[1]))?;
    trial.start_here()
}

/// `odfs pull` of a dataset that is not here, and of one that grew, from the address that `address` makes of the peer
/// that has it.
fn pull(
    what: &'static str,
    workspace: Workspace,
    address: impl Fn(&Workspace, &Node, &Published) -> Outcome<String>,
) -> Outcome<Trial> {
    let source = Workspace::new()?;
    let node = source.node()?;
    let published = publish_state(&source, 0)?;
    let address = address(&source, &node, &published)?;
    let by_name = address.starts_with("ipns://");
    let mut args = vec!["pull", &address, "--as", "t"];
    if by_name {
        args.extend(["--peer", &node.address]);
    }
    let mut trial = Trial::new(what, workspace, &args)
        .pinning(Pinned::AtOnce)
        .start_here()?;
    trial.workspace.odfs(&args)?;
    trial = trial.start_here()?;
    publish_state(&source, 1)?;
    if address.starts_with("file://") {
        source.odfs(["push", "t"])?;
    }
    trial.named = by_name;
    trial._source = Some((source, node));
    Ok(trial)
}

/// `odfs pull ipns://…` from a peer on loopback.
///
/// # Errors
/// The workspace cannot be prepared.
pub fn pull_ipns(workspace: Workspace) -> Outcome<Trial> {
    pull("pull ipns", workspace, |_, _, published| {
        Ok(format!("ipns://{}", published.name))
    })
}

/// `odfs pull file://…`.
///
/// # Errors
/// The workspace cannot be prepared.
pub fn pull_file(workspace: Workspace) -> Outcome<Trial> {
    pull("pull file", workspace, |source, _, _| {
        let place = format!("file://{}", source.path().join("there").display());
        source.odfs(["push", "t", "--to", &place])?;
        Ok(place)
    })
}

/// `odfs pull http://…`, a dataset directory behind a web server.
///
/// # Errors
/// The workspace cannot be prepared.
pub fn pull_http(workspace: Workspace) -> Outcome<Trial> {
    pull("pull http", workspace, |_, node, _| Ok(format!("{}/t", node.gateway)))
}

/// `odfs pull odf+http://…`, the smart transfer protocol.
///
/// # Errors
/// The workspace cannot be prepared.
pub fn pull_smart(workspace: Workspace) -> Outcome<Trial> {
    pull("pull odf+http", workspace, |_, node, _| {
        Ok(format!("odf+{}/t", node.gateway))
    })
}

/// `odfs push` of a dataset under its own name.
///
/// # Errors
/// The workspace cannot be prepared.
pub fn push_name(workspace: Workspace) -> Outcome<Trial> {
    let mut trial = Trial::new("push ipns", workspace, &["push", "t"]).pinning(Pinned::Afterwards);
    trial.named = true;
    let more = trial.workspace.write("more.csv", table(3))?.display().to_string();
    publish_states(&trial.workspace, 1)?;
    trial.workspace.odfs(["--system-time", NOW, "ingest", "t", &more])?;
    trial.start_here()
}

/// `odfs push --to file://…`: to where nothing is, and to where an older state is.
///
/// # Errors
/// The workspace cannot be prepared.
pub fn push_file(workspace: Workspace) -> Outcome<Trial> {
    publish_states(&workspace, 1)?;
    let place = format!("file://{}", workspace.path().join("there").display());
    let args = ["push", "t", "--to", &place];
    let mut trial = Trial::new("push file", workspace, &args);
    trial.target = Target::Address(place.clone());
    trial = trial.start_here()?;
    trial.workspace.odfs(args)?;
    publish_state(&trial.workspace, 2)?;
    trial.start_here()
}

/// `odfs push --to odf+http://…`: to a node that has nothing, and to one that has an older state.
///
/// # Errors
/// The workspace cannot be prepared.
pub fn push_smart(workspace: Workspace) -> Outcome<Trial> {
    push_between(workspace, Workspace::new()?)
}

/// As [`push_smart`], with `server` as the workspace of the node that it goes to.
///
/// # Errors
/// The workspaces cannot be prepared.
pub fn receive_smart(server: Workspace) -> Outcome<Trial> {
    push_between(Workspace::new()?, server)
}

fn push_between(workspace: Workspace, server: Workspace) -> Outcome<Trial> {
    publish_states(&workspace, 1)?;
    // The address is remembered, so it has to be the same in each round. Nobody else is given a port that was just free.
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    server.odfs(["config", "set", "gateway.listen", &format!("127.0.0.1:{port}")])?;
    let token = server.odfs(["repo", "token", "add", "trial"])?.text();
    let url = format!("odf+http://127.0.0.1:{port}/");
    workspace.odfs(["repo", "add", "there", &url, "--token", &token])?;
    let args = ["push", "t", "--to", "there"];
    let mut trial = Trial::new("push odf+http", workspace, &args);
    trial.target = Target::Server(Box::new(server));
    trial = trial.start_here()?;
    if let Target::Server(server) = &trial.target {
        let node = server.node()?;
        trial.workspace.odfs(args)?;
        node.stop()?;
    }
    publish_state(&trial.workspace, 2)?;
    trial.start_here()
}

/// `odfs ingest` into a dataset that was published, a ledger: the same rows again are nothing new.
///
/// # Errors
/// The workspace cannot be prepared.
pub fn ingest(workspace: Workspace) -> Outcome<Trial> {
    workspace.write("t.csv", table(ROWS[0]))?;
    workspace.publish(&["t.csv", "--name", "t", "--primary-key", "id"])?;
    workspace.write("more.csv", table(ROWS[0] + 500))?;
    Trial::new("ingest", workspace, &["--system-time", NOW, "ingest", "t", "more.csv"]).start_here()
}

/// `odfs ipfs repo gc` with roots to keep, and a dataset and a file to give up.
///
/// # Errors
/// The workspace cannot be prepared.
pub fn gc(workspace: Workspace) -> Outcome<Trial> {
    publish_states(&workspace, 2)?;
    workspace.write("gone.csv", table(5_000).replace("city", "town"))?;
    workspace.publish(&["gone.csv", "--name", "gone"])?;
    workspace.odfs(["-y", "delete", "gone"])?;
    workspace.write("file", crate::content::bytes(3 << 20, 7))?;
    let cid = workspace.odfs(["ipfs", "add", "-Q", "file"])?.text();
    workspace.odfs(["ipfs", "pin", "rm", &cid])?;
    let mut trial = Trial::new("gc", workspace, &["ipfs", "repo", "gc"]).pinning(Pinned::Afterwards);
    trial.frees = true;
    trial.start_here()
}

/// `odfs system compact --hard` of a published dataset of many slices.
///
/// # Errors
/// The workspace cannot be prepared.
pub fn compact(workspace: Workspace) -> Outcome<Trial> {
    publish_states(&workspace, ROWS.len() - 1)?;
    let args = ["--system-time", NOW, "-y", "system", "compact", "--hard", "t"];
    Trial::new("compact", workspace, &args).start_here()
}

/// `odfs reset` of a published dataset to an earlier head.
///
/// # Errors
/// The workspace cannot be prepared.
pub fn reset(workspace: Workspace) -> Outcome<Trial> {
    publish_states(&workspace, 1)?;
    let head = workspace.dataset("t")?.head;
    publish_state(&workspace, 2)?;
    publish_state(&workspace, 3)?;
    Trial::new("reset", workspace, &["-y", "reset", "t", &head]).start_here()
}

/// `odfs pull --rebase` of a dataset that went another way than the directory it is pushed to.
///
/// # Errors
/// The workspace cannot be prepared.
pub fn rebase(workspace: Workspace) -> Outcome<Trial> {
    let source = Workspace::new()?;
    let place = format!("file://{}", workspace.path().join("there").display());
    publish_state(&source, 0)?;
    source.odfs(["push", "t", "--to", &place])?;
    let key = workspace.path().join("t.key").display().to_string();
    source.odfs(["key", "export", "t", "--output", &key])?;
    workspace.odfs(["pull", &place, "--as", "t", "--no-alias"])?;
    workspace.odfs(["key", "import", "t", &key])?;
    workspace.write("more.csv", table(300))?;
    workspace.odfs(["publish", "more.csv", "--name", "t", "--exit", "--append-all"])?;
    publish_state(&source, 1)?;
    source.odfs(["push", "t"])?;
    let args = ["--system-time", NOW, "pull", &place, "--rebase"];
    Trial::new("pull --rebase", workspace, &args).start_here()
}

/// `odfs delete` of one of two published datasets.
///
/// # Errors
/// The workspace cannot be prepared.
pub fn delete(workspace: Workspace) -> Outcome<Trial> {
    publish_states(&workspace, 2)?;
    workspace.write("stays.csv", table(100))?;
    workspace.publish(&["stays.csv", "--name", "stays"])?;
    let mut trial = Trial::new("delete", workspace, &["-y", "delete", "t"]);
    trial.may_be_gone = true;
    trial.frees = true;
    trial.start_here()
}
