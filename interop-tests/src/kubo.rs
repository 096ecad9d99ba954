//! Kubo: a throw-away repository, its daemon and its command line.

use crate::peers::{ODFS_KUBO, installed, odfs_binary};
use crate::process::{Finished, Running, run};
use crate::{Failure, Outcome};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long one `ipfs` command may take.
pub const LIMIT: Duration = Duration::from_secs(120);
/// The flags with which kamu adds a dataset directory.
pub const KAMU_FLAGS: [&str; 6] = [
    "--cid-version=1",
    "--raw-leaves",
    "--ignore",
    "/config",
    "--ignore",
    "/info",
];
/// How long the daemon may take to come up.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How often a condition on the daemon is looked at again.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// One Kubo node: `ipfs init --profile test`, so it listens on loopback at ports of the system's choice, knows no
/// bootstrap peer, and puts loopback addresses into the LAN DHT. Dropping it kills the daemon and removes the
/// repository.
pub struct Kubo {
    binary: PathBuf,
    dir: TempDir,
    daemon: Option<Running>,
    /// The network namespace that its commands run in, if they do not run here.
    namespace: Option<String>,
}

impl Kubo {
    /// A fresh repository without a daemon, or nothing when Kubo is not installed and need not be; then the test has
    /// been reported as skipped.
    ///
    /// # Errors
    /// Kubo is required and missing, or cannot make its repository.
    pub fn init() -> Outcome<Option<Self>> {
        Self::init_with(&[])
    }

    /// As [`Kubo::init`], with further configuration profiles.
    ///
    /// # Errors
    /// As for [`Kubo::init`].
    pub fn init_with(profiles: &[&str]) -> Outcome<Option<Self>> {
        Self::init_as("ed25519", profiles)
    }

    /// As [`Kubo::init_with`], of a peer whose key is of this type: `ed25519`, `rsa` or `secp256k1`.
    ///
    /// # Errors
    /// As for [`Kubo::init`].
    pub fn init_as(key: &str, profiles: &[&str]) -> Outcome<Option<Self>> {
        let Some(binary) = installed(ODFS_KUBO)? else {
            return Ok(None);
        };
        let kubo = Self::uninitialized(binary)?;
        let mut profile = "test".to_owned();
        for more in profiles {
            profile.push(',');
            profile.push_str(more);
        }
        kubo.ok(["init", "--algorithm", key, "--profile", &profile])?;
        Ok(Some(kubo))
    }

    /// A fresh workspace of odfs that is called by the name `ipfs`, as if it were Kubo: the same commands, the same answers.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn of_odfs() -> Outcome<Self> {
        let mut shim = Self::uninitialized(PathBuf::new())?;
        shim.binary = shim.path().join("ipfs");
        std::os::unix::fs::symlink(odfs_binary()?, &shim.binary)?;
        shim.ok(["init", "--profile", "test"])?;
        Ok(shim)
    }

    fn uninitialized(binary: PathBuf) -> Outcome<Self> {
        Ok(Self {
            binary,
            dir: tempfile::Builder::new().prefix("odfs-kubo-").tempdir()?,
            daemon: None,
            namespace: None,
        })
    }

    /// Moves it to the network namespace of this name, as a server of the public DHT there, on port 4001 of every interface.
    /// Before the daemon is started.
    ///
    /// # Errors
    /// The configuration cannot be changed.
    pub fn move_to(&mut self, namespace: &str, bootstrap: &[&str]) -> Outcome {
        self.ok(["config", "Routing.Type", "dhtserver"])?;
        let listen = r#"["/ip4/0.0.0.0/tcp/4001", "/ip4/0.0.0.0/udp/4001/quic-v1"]"#;
        self.ok(["config", "--json", "Addresses.Swarm", listen])?;
        self.ok(["config", "--json", "Bootstrap", &format!("{bootstrap:?}")])?;
        self.namespace = Some(namespace.to_owned());
        Ok(())
    }

    /// A fresh repository with its daemon running, or nothing as for [`Kubo::init`].
    ///
    /// # Errors
    /// As for [`Kubo::init`] and [`Kubo::start`].
    pub fn daemon() -> Outcome<Option<Self>> {
        let Some(mut kubo) = Self::init()? else { return Ok(None) };
        kubo.start()?;
        Ok(Some(kubo))
    }

    /// Starts the daemon and waits until it answers.
    ///
    /// # Errors
    /// It does not come up in time.
    pub fn start(&mut self) -> Outcome {
        let mut daemon = Running::start(self.command(["daemon"]))?;
        daemon.wait_for(START_LIMIT, |said| said.contains("Daemon is ready").then_some(()))?;
        self.daemon = Some(daemon);
        Ok(())
    }

    /// Stops the daemon in order.
    ///
    /// # Errors
    /// It does not stop, or none runs.
    pub fn stop(&mut self) -> Outcome {
        let daemon = self.daemon.take().ok_or("no Kubo daemon runs")?;
        self.ok(["shutdown"])?;
        daemon.finish(LIMIT)?.success().map(drop)
    }

    /// Kills the daemon.
    ///
    /// # Errors
    /// None runs.
    pub fn kill(&mut self) -> Outcome {
        let daemon = self.daemon.take().ok_or("no Kubo daemon runs")?;
        daemon.kill().map(drop)
    }

    /// The folder that holds the repository; free for files of the test, too.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The repository: `$IPFS_PATH`.
    pub fn repository(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    /// The process id of the daemon, if one runs.
    pub fn daemon_id(&self) -> Option<u32> {
        self.daemon.as_ref().map(Running::id)
    }

    /// `ipfs ARGS` on this repository.
    pub fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = match &self.namespace {
            None => Command::new(&self.binary),
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(&self.binary);
                command
            }
        };
        command.args(args).current_dir(self.path()).env_clear();
        command
            .env("IPFS_PATH", self.repository())
            .env("HOME", self.path())
            .env("IPFS_TELEMETRY", "off");
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command
    }

    /// Runs `ipfs ARGS` to its end, whatever that is.
    ///
    /// # Errors
    /// It cannot be started, or has not ended after [`LIMIT`].
    pub fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Outcome<Finished> {
        run(self.command(args), LIMIT)
    }

    /// Runs `ipfs ARGS`, which must succeed, and returns what it printed without the white space around it.
    ///
    /// # Errors
    /// It fails; the failure shows its output, and what the daemon has said, which may have died of it.
    pub fn ok<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Outcome<String> {
        let finished = self.run(args)?.success();
        let said = || self.daemon.as_ref().map(Running::stderr).unwrap_or_default();
        finished
            .map(|finished| finished.text())
            .map_err(|failure| Failure::new(format!("{failure}\n--- its daemon\n{}", said())))
    }

    /// The peer id.
    ///
    /// # Errors
    /// The repository is damaged.
    pub fn peer_id(&self) -> Outcome<String> {
        self.ok(["config", "Identity.PeerID"])
    }

    /// A TCP multiaddress of the running daemon, with its peer id.
    ///
    /// # Errors
    /// No daemon runs, or it listens nowhere.
    pub fn address(&self) -> Outcome<String> {
        self.address_over("tcp")
    }

    /// As [`Kubo::address`], over `tcp` or `quic-v1`, where the daemon listens there.
    ///
    /// # Errors
    /// As for [`Kubo::address`].
    pub fn address_over(&self, transport: &str) -> Outcome<String> {
        let addresses = self.ok(["id", "-f", "<addrs>"])?;
        let (transport, peer) = (format!("/{transport}/"), "/p2p/");
        let address = addresses
            .lines()
            .find(|line| line.contains(&transport) && line.contains(peer));
        address
            .map(str::to_owned)
            .ok_or_else(|| Failure::new(format!("Kubo does not listen on {transport}: {addresses}")))
    }

    /// The URL of the running daemon's gateway, without a slash at the end.
    ///
    /// # Errors
    /// No daemon runs.
    pub fn gateway(&self) -> Outcome<String> {
        let url = std::fs::read_to_string(self.repository().join("gateway"))?;
        Ok(url.trim().trim_end_matches('/').to_owned())
    }

    /// The multiaddress of the running daemon's RPC API.
    ///
    /// # Errors
    /// No daemon runs.
    pub fn api(&self) -> Outcome<String> {
        Ok(std::fs::read_to_string(self.repository().join("api"))?
            .trim()
            .to_owned())
    }

    /// Connects the daemon to a peer.
    ///
    /// # Errors
    /// The peer cannot be dialled.
    pub fn connect(&self, address: &str) -> Outcome {
        self.ok(["swarm", "connect", address]).map(drop)
    }

    /// Waits until the daemon has `peer` in its LAN routing table, so that both can use each other's DHT.
    ///
    /// # Errors
    /// It has not after `limit`.
    pub fn wait_for_dht_peer(&self, peer: &str, limit: Duration) -> Outcome {
        let deadline = Instant::now() + limit;
        loop {
            let table = self.ok(["stats", "dht", "lan"])?;
            if table.contains(peer) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("Kubo's LAN DHT did not take {peer} in {limit:?}:\n{table}").into());
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Adds a file or a directory with the given flags and returns the root CID.
    ///
    /// # Errors
    /// Kubo refuses it.
    pub fn add(&self, path: &Path, flags: &[&str]) -> Outcome<String> {
        let mut args: Vec<&OsStr> = ["add", "-Q", "-r"].map(OsStr::new).to_vec();
        args.extend(flags.iter().map(OsStr::new));
        args.push(path.as_os_str());
        self.ok(args)
    }
}
