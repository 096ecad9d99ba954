//! A small disk under a workspace: it fills up, grows and becomes read-only when a test says so.

use crate::peers::{required, skip};
use crate::process::{Running, run};
use crate::{Failure, Outcome};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::time::Duration;

/// How long it may take to mount the disk or to change it.
const LIMIT: Duration = Duration::from_secs(60);

/// A file system in memory, mounted in a mount namespace of its own.
///
/// The namespace lives as long as a process that waits for the end of its input, so nothing stays mounted when the test
/// ends, in whatever way.
pub struct Disk {
    keeper: Running,
    _input: ChildStdin,
    at: PathBuf,
}

impl Disk {
    /// Mounts one of `bytes` bytes over the folder `at`, or nothing when this user may not and need not; then the test has
    /// been reported as skipped.
    ///
    /// # Errors
    /// A disk is required and cannot be mounted.
    pub(super) fn mount(at: &Path, bytes: u64) -> Outcome<Option<Self>> {
        match Self::try_mount(at, bytes) {
            Ok(disk) => Ok(Some(disk)),
            Err(failure) if required() => {
                Err(failure.during("a small disk is needed (root, or CAP_SYS_ADMIN, and util-linux)"))
            }
            Err(failure) => {
                skip(&format!("no disk can be mounted here: {failure}"));
                Ok(None)
            }
        }
    }

    fn try_mount(at: &Path, bytes: u64) -> Outcome<Self> {
        let mut keeper = Command::new("unshare");
        keeper.args(["--mount", "--propagation", "private", "sh", "-c"]);
        keeper.arg("mount -t tmpfs -o \"$1\" odfs-test \"$2\" && echo mounted && exec cat");
        keeper.args(["sh", &format!("size={bytes},mode=0755")]).arg(at);
        let (mut keeper, input) = Running::start_fed(keeper, Stdio::piped())?;
        let input = input.ok_or("the keeper of a disk has no input")?;
        keeper.wait_for(LIMIT, |said| said.contains("mounted").then_some(()))?;
        Ok(Self {
            keeper,
            _input: input,
            at: at.to_path_buf(),
        })
    }

    /// Where this process, outside the namespace, finds the disk. Those inside find it there too.
    pub(super) fn path(&self) -> PathBuf {
        let at = self.at.strip_prefix("/").unwrap_or(&self.at);
        Path::new("/proc")
            .join(self.keeper.id().to_string())
            .join("root")
            .join(at)
    }

    /// A command line that goes on in the namespace, in the folder `inside`: the program and its arguments follow.
    pub(super) fn enter(&self, inside: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--mount=/proc/{}/ns/mnt", self.keeper.id()))
            .arg(format!("--wd={}", inside.display()));
        command
    }

    /// Gives the disk another size, in bytes.
    ///
    /// # Errors
    /// More is on it than that.
    pub fn resize(&self, bytes: u64) -> Outcome {
        self.remount(&format!("size={bytes}"))
    }

    /// Makes the disk read-only, or writable again.
    ///
    /// # Errors
    /// A process has a file open for writing.
    pub fn set_read_only(&self, read_only: bool) -> Outcome {
        self.remount(if read_only { "ro" } else { "rw" })
    }

    fn remount(&self, option: &str) -> Outcome {
        let mut command = self.enter(Path::new("/"));
        command
            .args(["mount", "-o", &format!("remount,{option}")])
            .arg(&self.at);
        run(command, LIMIT)?.success().map(drop)
    }

    /// Bytes in use.
    ///
    /// # Errors
    /// The operating system cannot say.
    pub fn used(&self) -> Outcome<u64> {
        let stat = rustix::fs::statvfs(self.path()).map_err(|error| Failure::new(format!("statvfs: {error}")))?;
        Ok((stat.f_blocks - stat.f_bfree) * stat.f_frsize)
    }
}
