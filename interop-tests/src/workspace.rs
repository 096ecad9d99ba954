//! A throw-away odfs workspace on this machine, and the commands that run in it.

pub mod dataset;
pub mod disk;

use self::disk::Disk;
use crate::peers::odfs_binary;
use crate::process::{Finished, Running, run};
use crate::{Clock, Failure, Outcome};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// How long a command may take before the test that runs it fails.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Where a workspace's peer listens and whom it finds by itself.
enum Reach {
    /// Loopback only; finds nobody that it is not told of.
    Loopback,
    /// All interfaces of a network namespace; finds others by mDNS.
    Namespace(String),
}

/// A temporary folder with a home of its own and an odfs workspace, removed when it goes away.
///
/// The settings empty the bootstrap list, so nothing that runs here dials the public network.
pub struct Workspace {
    // Before the folder, so that it is unmounted first.
    disk: Option<Disk>,
    dir: TempDir,
    reach: Reach,
    /// What its commands have in their environment besides.
    environment: Vec<(&'static str, PathBuf)>,
}

/// The folders of a workspace as they once were.
pub struct Saved(TempDir);

/// A running `odfs node`.
pub struct Node {
    /// The process.
    pub process: Running,
    /// The peer id.
    pub peer_id: String,
    /// A multiaddress by which peers on this machine reach it, with the peer id.
    pub address: String,
    /// The gateway's URL, without a slash at the end.
    pub gateway: String,
}

impl Workspace {
    /// A workspace whose peer listens on loopback, on ports of the system's choice.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn new() -> Outcome<Self> {
        Self::with(Reach::Loopback)
    }

    /// A workspace whose commands run in the network namespace `name` and find peers there by mDNS.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn in_namespace(name: &str) -> Outcome<Self> {
        Self::with(Reach::Namespace(name.to_owned()))
    }

    /// The same, whose commands go by this clock.
    pub fn by(mut self, clock: &Clock) -> Self {
        self.environment.extend(clock.environment());
        self
    }

    /// A workspace on a disk of `bytes` bytes, or nothing when this user may not mount one and need not; then the
    /// test has been reported as skipped.
    ///
    /// # Errors
    /// The disk is required and cannot be mounted.
    pub fn on_small_disk(bytes: u64) -> Outcome<Option<Self>> {
        let dir = tempfile::Builder::new().prefix("odfs-").tempdir()?;
        let disk = Disk::mount(dir.path(), bytes)?;
        disk.map(|disk| Self::at(dir, Reach::Loopback, Some(disk))).transpose()
    }

    fn with(reach: Reach) -> Outcome<Self> {
        Self::at(tempfile::Builder::new().prefix("odfs-").tempdir()?, reach, None)
    }

    fn at(dir: TempDir, reach: Reach, disk: Option<Disk>) -> Outcome<Self> {
        let workspace = Self {
            disk,
            dir,
            reach,
            environment: Vec::new(),
        };
        fs::create_dir_all(workspace.store())?;
        fs::create_dir(workspace.home())?;
        workspace.know(&[])?;
        Ok(workspace)
    }

    /// Writes the usual settings with these peers as the bootstrap list: every process here connects to them.
    ///
    /// # Errors
    /// The settings cannot be written.
    pub fn know(&self, peers: &[&str]) -> Outcome {
        let (listen, mdns) = match self.reach {
            Reach::Loopback => ("/ip4/127.0.0.1/tcp/0", false),
            Reach::Namespace(_) => ("/ip4/0.0.0.0/tcp/0", true),
        };
        // Trials look whether each root that was pinned still is: none may be given up because another took its place soon.
        self.configure(&format!(
            "retention = \"all\"\n\n[network]\nlisten = [\"{listen}\"]\nbootstrap = {peers:?}\nmdns = {mdns}\n\n[gateway]\nlisten = \"127.0.0.1:0\"\n"
        ))
    }

    /// The disk that it lies on, if it has one of its own.
    pub fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref()
    }

    fn root(&self) -> PathBuf {
        self.disk
            .as_ref()
            .map_or_else(|| self.dir.path().to_owned(), Disk::path)
    }

    /// The directory in which commands run.
    pub fn path(&self) -> PathBuf {
        self.root().join("work")
    }

    /// The `.odfs` directory.
    pub fn store(&self) -> PathBuf {
        self.path().join(".odfs")
    }

    fn home(&self) -> PathBuf {
        self.root().join("home")
    }

    /// Keeps a copy of everything in it. No odfs may run on it meanwhile.
    ///
    /// # Errors
    /// Something cannot be read or copied.
    pub fn save(&self) -> Outcome<Saved> {
        let saved = tempfile::Builder::new().prefix("odfs-saved-").tempdir()?;
        for folder in FOLDERS {
            copy(&self.root().join(folder), &saved.path().join(folder))?;
        }
        Ok(Saved(saved))
    }

    /// Makes everything in it what it was when `saved` was kept, at the same paths. No odfs may run on it meanwhile.
    ///
    /// # Errors
    /// Something cannot be removed or copied.
    pub fn restore(&self, saved: &Saved) -> Outcome {
        for folder in FOLDERS {
            let here = self.root().join(folder);
            fs::remove_dir_all(&here).map_err(|error| format!("{}: {error}", here.display()))?;
            copy(&saved.0.path().join(folder), &here)?;
        }
        Ok(())
    }

    /// Replaces `config.toml`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn configure(&self, toml: &str) -> Outcome {
        Ok(fs::write(self.store().join("config.toml"), toml)?)
    }

    /// Writes a file into the working directory, with the folders it needs, and says where it is.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Outcome<PathBuf> {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        fs::write(&path, content)?;
        Ok(path)
    }

    /// `odfs ARGS` in a sealed environment: no settings, home or terminal but those of this workspace.
    ///
    /// # Errors
    /// There is no binary and none can be built.
    pub fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Outcome<Command> {
        let binary = odfs_binary()?;
        let mut command = match (&self.disk, &self.reach) {
            (Some(disk), _) => {
                let mut command = disk.enter(&self.path());
                command.arg(binary);
                command
            }
            (None, Reach::Loopback) => Command::new(binary),
            (None, Reach::Namespace(name)) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", name]).arg(binary);
                command
            }
        };
        command
            .args(args)
            .current_dir(self.path())
            .env_clear()
            .env("HOME", self.home());
        for kept in ["PATH", "TMPDIR", "RUST_LOG", "RUST_BACKTRACE"] {
            if let Some(value) = std::env::var_os(kept) {
                command.env(kept, value);
            }
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
            .env("LANG", "C.UTF-8")
            .env("NO_COLOR", "1")
            .env("COLUMNS", "120");
        Ok(command)
    }

    /// Starts `odfs ARGS`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Outcome<Running> {
        Running::start(self.command(args)?)
    }

    /// Runs `odfs ARGS` to its end, whatever that is.
    ///
    /// # Errors
    /// It cannot be started, or has not ended after [`LIMIT`].
    pub fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Outcome<Finished> {
        run(self.command(args)?, LIMIT)
    }

    /// Runs `odfs ARGS`, which must succeed.
    ///
    /// # Errors
    /// It does not; the failure shows its output.
    pub fn odfs<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Outcome<Finished> {
        self.run(args)?.success()
    }

    /// Runs `odfs ARGS`, which must be refused: an exit code of its own, a message, no panic.
    ///
    /// # Errors
    /// It succeeds, dies or panics, or it says nothing on standard error.
    pub fn refused<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Outcome<Finished> {
        let finished = self.run(args)?.refusal()?;
        if finished.stderr.trim().is_empty() {
            return Err(finished.failure("was refused without a word"));
        }
        Ok(finished)
    }

    /// Starts `odfs node` and waits until its peer and its gateway answer.
    ///
    /// # Errors
    /// It does not come up within [`LIMIT`].
    pub fn node(&self) -> Outcome<Node> {
        self.node_with(&[])
    }

    /// As [`Self::node`], with `args` after `odfs node`.
    ///
    /// # Errors
    /// It does not come up within [`LIMIT`].
    pub fn node_with(&self, args: &[&str]) -> Outcome<Node> {
        let mut process = self.start(["node"].iter().chain(args))?;
        // The node prints one `key: value` line for each address once it serves there.
        let gateway = process.wait_for(LIMIT, |said| {
            field(said, "Gateway").map(|url| url.trim_end_matches('/').to_owned())
        })?;
        let status = self.odfs(["status", "--output", "json"])?.json()?;
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        let peer_id = text(&status["peerId"]).ok_or_else(|| unexpected("a peerId", &status))?;
        let mut addresses = status["addresses"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(serde_json::Value::as_str);
        let address = addresses
            .find(|address| address.contains("/tcp/"))
            .ok_or_else(|| unexpected("a TCP address in addresses", &status))?;
        let address = match address.split_once("/p2p/") {
            Some(_) => address.to_owned(),
            None => format!("{address}/p2p/{peer_id}"),
        };
        Ok(Node {
            process,
            peer_id,
            address,
            gateway,
        })
    }
}

/// What a workspace consists of.
const FOLDERS: [&str; 2] = ["work", "home"];

/// Copies a folder with everything in it, permissions included. Sockets stay behind: nobody listens on them.
fn copy(from: &Path, to: &Path) -> Outcome {
    let about = |path: &Path| {
        let path = path.display().to_string();
        move |error: std::io::Error| Failure::new(format!("{path}: {error}"))
    };
    fs::create_dir(to).map_err(about(to))?;
    fs::set_permissions(to, fs::metadata(from)?.permissions()).map_err(about(to))?;
    for entry in fs::read_dir(from).map_err(about(from))? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path())?, &target).map_err(about(&target))?;
        } else if kind.is_file() {
            fs::copy(entry.path(), &target).map_err(about(&target))?;
        }
    }
    Ok(())
}

impl Node {
    /// Stops it as Ctrl-C does and waits for its end.
    ///
    /// # Errors
    /// It does not end within [`LIMIT`], or not with success.
    pub fn stop(self) -> Outcome<Finished> {
        self.process.interrupt()?;
        self.process.finish(LIMIT)?.success()
    }
}

/// The value of the first line `name: value`, letter case and space around it aside.
pub fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim().eq_ignore_ascii_case(name) && !value.trim().is_empty()).then(|| value.trim().to_owned())
    })
}

fn unexpected(wanted: &str, found: &serde_json::Value) -> Failure {
    Failure::new(format!("`odfs status --output json` has no {wanted}: {found}"))
}

/// The table that ships with the repository: earthquakes of one week, in order of time.
pub fn earthquakes() -> PathBuf {
    crate::repository().join("examples/earthquakes.csv")
}
