//! Data through a command of the source. The command reads one file and writes another, in a process group of its own
//! that is killed when the work stops.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::super::spool::Spool;
use super::super::{FetchPhase, FetchProgress, MAX_CONTENT_BYTES, PollError, Surroundings};

/// The most bytes a command may say on standard error.
pub(in super::super) const MAX_STDERR_BYTES: u64 = 64 << 20;
/// How much of the end of that is told.
const STDERR_TAIL_BYTES: u64 = 2 << 10;
/// How often a running command is looked at: at first, and at most.
const POLL: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(50));

/// Runs the command with the file as its standard input; gives its standard output.
pub(super) fn pipe(input: &Path, command: &[String], around: &Surroundings<'_>) -> Result<Spool, PollError> {
    let words = command.join(" ");
    let failed = |failure: String, stderr: String| PollError::Pipe {
        command: words.clone(),
        failure,
        stderr,
    };
    let Some((program, arguments)) = command.split_first() else {
        return Err(failed("is empty".to_owned(), String::new()));
    };
    let stdin = File::open(input).map_err(|error| PollError::io("read", input, error))?;
    let (out, stdout) = Spool::create(around.spool)?;
    let (err, stderr) = Spool::create(around.spool)?;
    let child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(around.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(around.base)
        .stdin(stdin)
        .stdout(Stdio::from(stdout))
        .stderr(Stdio::from(stderr))
        .process_group(0)
        .spawn()
        .map_err(|error| failed(format!("cannot be started: {error}"), String::new()))?;
    let mut running = Running(child);
    let mut pause = POLL.0;
    let status = loop {
        // Before its files are looked at, so that what it wrote last counts too.
        let status = running
            .0
            .try_wait()
            .map_err(|error| failed(format!("cannot be waited for: {error}"), String::new()))?;
        let bytes = length(out.path())?;
        if bytes > MAX_CONTENT_BYTES {
            return Err(PollError::TooLarge {
                name: format!("the output of `{words}`"),
                limit: MAX_CONTENT_BYTES,
                hint: "",
            });
        }
        if length(err.path())? > MAX_STDERR_BYTES {
            return Err(PollError::TooLarge {
                name: format!("what `{words}` says on standard error"),
                limit: MAX_STDERR_BYTES,
                hint: "",
            });
        }
        if let Some(status) = status {
            break status;
        }
        around.check()?;
        (around.progress)(FetchProgress {
            phase: FetchPhase::Preparing,
            bytes,
            total: None,
        });
        std::thread::sleep(pause);
        pause = (pause * 2).min(POLL.1);
    };
    if status.success() {
        Ok(out)
    } else {
        Err(failed(ending(status), tail(err.path())?))
    }
}

/// A command that is killed, with everything it started, if it still runs when this is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(Some(_))) {
            return;
        }
        // It was not waited for, so the number is still its own.
        if let Err(error) = kill_process_group(Pid::from_child(&self.0), Signal::KILL) {
            tracing::warn!(%error, "a command of a source cannot be killed");
            return;
        }
        let _ = self.0.wait();
    }
}

fn length(path: &Path) -> Result<u64, PollError> {
    Ok(std::fs::metadata(path)
        .map_err(|error| PollError::io("read", path, error))?
        .len())
}

fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "failed".to_owned(),
    }
}

/// The end of a file, as far as it is text.
fn tail(path: &Path) -> Result<String, PollError> {
    let failed = |error| PollError::io("read", path, error);
    let mut file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(STDERR_TAIL_BYTES)))
        .map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(STDERR_TAIL_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}
