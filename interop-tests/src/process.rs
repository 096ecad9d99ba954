//! A child process with its output collected and an end in sight.

use crate::{Failure, Outcome};
use rustix::process::{Pid, Signal, kill_process_group};
use std::io::Read;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often a waiting test looks again.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// How long output may still trickle in once a process has ended.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How much of each stream is kept; what comes after that is read and dropped.
const MAX_KEPT_BYTES: usize = 64 << 20;

/// A process that was started and has not been waited for. Dropping it kills it and all it started.
pub struct Running {
    what: String,
    child: Child,
    started: Instant,
    peak_memory: u64,
    stdout: Stream,
    stderr: Stream,
}

/// A process that has ended.
#[derive(Debug, Clone)]
pub struct Finished {
    what: String,
    status: ExitStatus,
    /// Everything it wrote to standard output.
    pub stdout: Vec<u8>,
    /// Everything it wrote to standard error, bad bytes replaced.
    pub stderr: String,
    /// From start to end.
    pub took: Duration,
    /// The most memory it had resident, in bytes, seen within a few milliseconds of its end; 0 where the system does not say.
    pub peak_memory: u64,
}

struct Stream {
    seen: Arc<Mutex<Vec<u8>>>,
    ended: Receiver<()>,
}

/// Runs `command` to its end.
///
/// # Errors
/// It cannot be started, or has not ended after `limit`: then it was killed, and the failure shows its output.
pub fn run(command: Command, limit: Duration) -> Outcome<Finished> {
    Running::start(command)?.finish(limit)
}

/// A line of `/proc/ID/status` that counts kibibytes of memory, such as `VmRSS` or `VmHWM`, in bytes; `None` once the
/// process has ended.
pub fn resident(id: u32, line: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let value = status
        .lines()
        .find_map(|found| found.strip_prefix(line)?.strip_prefix(':'))?;
    let kibibytes: u64 = value.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Begins to count `VmHWM` of a process anew, from what it has resident now (proc(5), `clear_refs`).
///
/// # Errors
/// The process has ended, or is somebody else's.
pub fn forget_peak(id: u32) -> Outcome {
    Ok(std::fs::write(format!("/proc/{id}/clear_refs"), "5")?)
}

/// The time that processors have worked for a process since it began, in its own code and in the system for it; `None` once it
/// has ended.
pub fn processor_time(id: u32) -> Option<Duration> {
    /// Ticks a second in `/proc`: `USER_HZ`, which is the same wherever Rust runs on Linux.
    const TICKS: u32 = 100;
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name may hold anything; what follows it does not have its closing bracket (proc(5)).
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u32>().ok();
    Some(Duration::from_secs(1) * (ticks()? + ticks()?) / TICKS)
}

impl Running {
    /// Starts `command` in a process group of its own, with nothing on standard input unless the command says so.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start(command: Command) -> Outcome<Self> {
        Self::start_reading(command, Stdio::null())
    }

    /// Starts `command` with `stdin` as its standard input.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start_reading(command: Command, stdin: Stdio) -> Outcome<Self> {
        Self::start_fed(command, stdin).map(|(running, _)| running)
    }

    /// Starts `command` with `stdin` as its standard input, and gives the other end of that if it is a pipe.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start_fed(mut command: Command, stdin: Stdio) -> Outcome<(Self, Option<ChildStdin>)> {
        let what = shown(&command);
        let started = Instant::now();
        let mut child = command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| format!("cannot start `{what}`: {error}"))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().map_or_else(Stream::empty, Stream::collect);
        let stderr = child.stderr.take().map_or_else(Stream::empty, Stream::collect);
        let running = Self {
            what,
            child,
            started,
            peak_memory: 0,
            stdout,
            stderr,
        };
        Ok((running, stdin))
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Waits until `find` finds what it looks for in standard output or standard error.
    ///
    /// # Errors
    /// The process ends before that, or `limit` passes; the failure shows what it has written.
    pub fn wait_for<T>(&mut self, limit: Duration, mut find: impl FnMut(&str) -> Option<T>) -> Outcome<T> {
        let deadline = Instant::now() + limit;
        loop {
            // Asked before the output is read: what a process wrote before it ended is always seen.
            let ended = self.child.try_wait()?;
            if ended.is_some() {
                self.stdout.wait_end();
                self.stderr.wait_end();
            }
            if let Some(found) = find(&self.stdout()).or_else(|| find(&self.stderr())) {
                return Ok(found);
            }
            if let Some(status) = ended {
                return Err(self.failure(&format!("ended ({status}) before it said what was waited for")));
            }
            if Instant::now() > deadline {
                return Err(self.failure(&format!("did not say what was waited for in {limit:?}")));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Whether it has ended by itself.
    ///
    /// # Errors
    /// The operating system cannot say.
    pub fn has_ended(&mut self) -> Outcome<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Sends Ctrl-C to the process and all it started.
    ///
    /// # Errors
    /// The signal cannot be sent.
    pub fn interrupt(&self) -> Outcome {
        self.signal(Signal::INT)
    }

    /// `kill -9` for the process and all it started, now.
    ///
    /// # Errors
    /// The process cannot be waited for.
    pub fn kill(mut self) -> Outcome<Finished> {
        self.signal(Signal::KILL)?;
        let status = self.child.wait()?;
        Ok(self.finished(status))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It has not ended after `limit`: then it was killed, and the failure shows its output.
    pub fn finish(mut self, limit: Duration) -> Outcome<Finished> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(self.finished(status));
            }
            self.peak_memory = resident(self.id(), "VmHWM").unwrap_or(self.peak_memory);
            if Instant::now() > deadline {
                return Err(self.failure(&format!("still ran after {limit:?}")));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn finished(&mut self, status: ExitStatus) -> Finished {
        let took = self.started.elapsed();
        self.stdout.wait_end();
        self.stderr.wait_end();
        Finished {
            what: self.what.clone(),
            status,
            stdout: self.stdout.bytes(),
            stderr: self.stderr.text(),
            took,
            peak_memory: self.peak_memory,
        }
    }

    fn signal(&self, signal: Signal) -> Outcome {
        let id = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .ok_or("a process id out of range")?;
        match kill_process_group(id, signal) {
            // It ended by itself, which is what was asked for.
            Err(rustix::io::Errno::SRCH) => Ok(()),
            other => other.map_err(|error| Failure::new(format!("cannot signal `{}`: {error}", self.what))),
        }
    }

    fn failure(&self, why: &str) -> Failure {
        Failure::new(format!(
            "`{}` {why}\n--- stdout\n{}\n--- stderr\n{}",
            self.what,
            self.stdout(),
            self.stderr()
        ))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Also after a normal end: what the process left running must not outlive the test. Errors mean it is gone.
        let _ = self.signal(Signal::KILL);
        let _ = self.child.wait();
    }
}

impl Finished {
    /// Whether it ended with exit code 0.
    pub fn succeeded(&self) -> bool {
        self.status.success()
    }

    /// The exit code, if it ended by itself.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The signal that ended it, if one did.
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// Standard output as text, bad bytes replaced, without the white space around it.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }

    /// Standard output as JSON.
    ///
    /// # Errors
    /// It is none; the failure shows it.
    pub fn json(&self) -> Outcome<serde_json::Value> {
        serde_json::from_slice(&self.stdout).map_err(|error| self.failure(&format!("printed no JSON ({error})")))
    }

    /// Itself, if it succeeded.
    ///
    /// # Errors
    /// It did not; the failure shows the command and all it wrote.
    pub fn success(self) -> Outcome<Self> {
        if self.succeeded() {
            Ok(self)
        } else {
            Err(self.failure("failed"))
        }
    }

    /// Itself, if it ended by itself with an exit code that is neither success nor a Rust panic.
    ///
    /// # Errors
    /// It succeeded, was killed, or panicked.
    pub fn refusal(self) -> Outcome<Self> {
        /// What the runtime exits with when a thread panics in `main`.
        const PANICKED: i32 = 101;
        match self.code() {
            Some(0) => Err(self.failure("should have been refused")),
            Some(PANICKED) | None => Err(self.failure("should have been refused in order")),
            Some(_) => Ok(self),
        }
    }

    /// A failure that says `why` and shows the command, how it ended and all it wrote.
    pub fn failure(&self, why: &str) -> Failure {
        Failure::new(format!(
            "`{}` {why} ({}, {:?})\n--- stdout\n{}\n--- stderr\n{}",
            self.what,
            self.status,
            self.took,
            self.text(),
            self.stderr
        ))
    }
}

impl Stream {
    fn empty() -> Self {
        let (_, ended) = sync_channel(1);
        Self {
            seen: Arc::default(),
            ended,
        }
    }

    fn collect(mut from: impl Read + Send + 'static) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (done, ended) = sync_channel(1);
        let into = Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut buffer = [0; 16 << 10];
            while let Ok(n @ 1..) = from.read(&mut buffer) {
                let mut seen = into.lock().unwrap_or_else(PoisonError::into_inner);
                let room = MAX_KEPT_BYTES.saturating_sub(seen.len());
                seen.extend_from_slice(&buffer[..n.min(room)]);
            }
            // The owner may have gone; then nobody waits.
            let _ = done.send(());
        });
        Self { seen, ended }
    }

    fn bytes(&self) -> Vec<u8> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    /// Waits until the stream is read to its end, or a process that inherited it holds it open too long.
    fn wait_end(&self) {
        match self.ended.recv_timeout(LAST_WORDS) {
            Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
    }
}

fn shown(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let mut shown = program
        .file_name()
        .unwrap_or(program.as_os_str())
        .to_string_lossy()
        .into_owned();
    for arg in command.get_args() {
        shown.push(' ');
        shown.push_str(&arg.to_string_lossy());
    }
    shown
}
