//! A private home and workspace for `odfs`, and processes that end with the test.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Settings that keep a process to itself.
const SEALED: &str = "network.bootstrap=[];network.listen=[\"/ip4/127.0.0.1/tcp/0\"];network.mdns=false;\
                      gateway.listen=127.0.0.1:0";
/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A directory with a workspace in it.
pub(crate) struct Sandbox {
    dir: TempDir,
}

/// A process that has ended.
#[must_use]
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) err: String,
}

impl Outcome {
    /// Standard output of a process that succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "stdout: {}\nstderr: {}", self.out, self.err);
        self.out
    }

    /// Standard error of a process that failed in this way, with a message and a next step.
    #[track_caller]
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.out, self.err);
        assert!(self.err.contains("Error: ") || code == 2, "{}", self.err);
        self.err
    }
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// The current directory of the commands.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn workspace(&self) -> PathBuf {
        self.path().join("workspace")
    }

    /// Writes a file and gives its path.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// `odfs` with these arguments, not started.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_odfs"));
        command
            .env_clear()
            .env("HOME", self.path())
            .env("ODFS_PATH", self.workspace())
            .env("ODFS_CONFIG", SEALED)
            .current_dir(self.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .args(args);
        command
    }

    /// Runs to the end.
    pub(crate) fn run(&self, args: &[&str]) -> Outcome {
        finish(self.command(args).spawn().unwrap())
    }

    /// Runs to the end with something on standard input.
    pub(crate) fn run_with_input(&self, args: &[&str], input: &[u8]) -> Outcome {
        let mut running = self.start(args);
        let mut stdin = running.stdin();
        let input = input.to_vec();
        let writer = std::thread::spawn(move || {
            // The process may fail before it has read everything.
            let _ = stdin.write_all(&input);
        });
        let outcome = running.end();
        writer.join().unwrap();
        outcome
    }

    /// Starts a process that goes on until its standard input is closed, it ends, or the test does.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        Running::started(self.command(args))
    }

    /// As [`Self::start`], with one more setting.
    pub(crate) fn start_with_setting(&self, args: &[&str], setting: &str) -> Running {
        let mut command = self.command(args);
        command.env("ODFS_CONFIG", format!("{SEALED};{setting}"));
        Running::started(command)
    }

    /// Starts a process and waits until it owns the workspace and can be reached.
    pub(crate) fn start_owner(&self, args: &[&str]) -> Running {
        let owner = self.start(args);
        let socket = self.workspace().join("node.sock");
        wait_for("the owner's socket", || {
            std::os::unix::net::UnixStream::connect(&socket).is_ok()
        });
        owner
    }
}

/// A process that is killed when the test forgets it.
pub(crate) struct Running(Option<Child>);

impl Running {
    /// Starts a command that goes on until its standard input is closed, it ends, or the test does.
    pub(crate) fn started(mut command: Command) -> Self {
        Self(Some(command.stdin(Stdio::piped()).spawn().unwrap()))
    }

    fn child(&mut self) -> &mut Child {
        self.0.as_mut().unwrap()
    }

    pub(crate) fn stdin(&mut self) -> ChildStdin {
        self.child().stdin.take().unwrap()
    }

    pub(crate) fn stdout(&mut self) -> ChildStdout {
        self.child().stdout.take().unwrap()
    }

    /// Closes standard input and waits for the end.
    pub(crate) fn end(mut self) -> Outcome {
        let mut child = self.0.take().unwrap();
        drop(child.stdin.take());
        finish(child)
    }

    /// Waits for the end with standard input as it is.
    pub(crate) fn wait(mut self) -> Outcome {
        let mut child = self.0.take().unwrap();
        let stdin = child.stdin.take();
        let outcome = finish(child);
        drop(stdin);
        outcome
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child().try_wait().unwrap().is_some()
    }

    pub(crate) fn signal(&mut self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(self.child());
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits for a process, no longer than [`PATIENCE`].
fn finish(child: Child) -> Outcome {
    let pid = rustix::process::Pid::from_child(&child);
    let (done, ended) = std::sync::mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        if ended.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    });
    let output = child.wait_with_output().unwrap();
    drop(done);
    watchdog.join().unwrap();
    Outcome {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        bytes: output.stdout,
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[track_caller]
pub(crate) fn wait_for(what: &str, mut ready: impl FnMut() -> bool) {
    let start = Instant::now();
    while !ready() {
        assert!(start.elapsed() < PATIENCE, "{what} did not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}
