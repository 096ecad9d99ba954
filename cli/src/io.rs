//! What a command talks to: output, messages, progress, input, and the user's wish to stop.
//!
//! A command never touches the process's own streams. It gets an [`Io`], which is the terminal of this process or,
//! for a command that came through the workspace's socket, the terminal of the process that sent it.

use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal, Read, Write};
use std::path::{Component, Path, PathBuf};

use chrono::Utc;
use odf::metadata::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::environment::Environment;
use crate::failure::{Failure, Kind};
use crate::printable::printable;

mod progress;

pub(crate) use progress::{Draw, Progress, Step};

/// Columns assumed when the output is not a terminal.
const DEFAULT_WIDTH: u16 = 100;

/// What is known of the user's terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Terminal {
    /// Standard input is a terminal: questions can be asked.
    pub(crate) input: bool,
    /// Standard output is a terminal: tables rather than JSON.
    pub(crate) output: bool,
    /// Standard error is a terminal: progress is shown.
    pub(crate) messages: bool,
    /// Columns.
    pub(crate) width: u16,
}

impl Terminal {
    fn of_process() -> Self {
        let width = rustix::termios::tcgetwinsize(io::stdout())
            .or_else(|_| rustix::termios::tcgetwinsize(io::stderr()))
            .map(|size| size.ws_col)
            .ok()
            .filter(|columns| *columns > 0)
            .unwrap_or(DEFAULT_WIDTH);
        Self {
            input: io::stdin().is_terminal(),
            output: io::stdout().is_terminal(),
            messages: io::stderr().is_terminal(),
            width,
        }
    }
}

/// The user's wish to stop, shared by everything that works for one command.
#[derive(Clone, Debug)]
pub(crate) struct Cancel(watch::Sender<bool>);

impl Cancel {
    /// Not cancelled yet.
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Asks the command to stop. It cannot be taken back.
    pub(crate) fn set(&self) {
        self.0.send_replace(true);
    }

    /// Whether the command was asked to stop.
    pub(crate) fn is_set(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when the command is asked to stop.
    pub(crate) async fn wait(&self) {
        // An error means that the sender is gone, but `self` is one.
        let _ = self.0.subscribe().wait_for(|stop| *stop).await;
    }
}

/// The streams of one command.
pub(crate) struct Io {
    out: Box<dyn Write + Send>,
    messages: Box<dyn Write + Send>,
    input: Box<dyn BufRead + Send>,
    progress: Progress,
    cwd: PathBuf,
    environment: Environment,
    terminal: Terminal,
    cancel: Cancel,
    /// Process whose `/dev/fd/N` and `/dev/stdin` the user means, when it is another one.
    sender: Option<u32>,
    /// Every question is answered with yes.
    yes: bool,
    /// Listings and reports use the terms of the field, and tell more.
    in_terms: bool,
    /// Lines for people are messages, because the output is for a program.
    lines_aside: bool,
    /// Only errors and what waits for a decision is said.
    quiet: bool,
    /// What the clock is to show; absent: the clock of this machine.
    system_time: Option<Timestamp>,
}

/// The parts of an [`Io`] that belongs to another process.
pub(crate) struct Remote {
    /// Where output goes.
    pub(crate) out: Box<dyn Write + Send>,
    /// Where messages go.
    pub(crate) messages: Box<dyn Write + Send>,
    /// Where input comes from.
    pub(crate) input: Box<dyn Read + Send>,
    /// What draws progress.
    pub(crate) progress: Progress,
    /// The sender's current directory.
    pub(crate) cwd: PathBuf,
    /// The sender's environment.
    pub(crate) environment: Environment,
    /// The sender's terminal.
    pub(crate) terminal: Terminal,
    /// Set by the sender's Ctrl-C, or when it goes away.
    pub(crate) cancel: Cancel,
    /// The sender's process id, when the system tells it.
    pub(crate) sender: Option<u32>,
}

impl Io {
    /// The streams of this process.
    ///
    /// # Errors
    /// The current directory is gone.
    pub(crate) fn of_process(cancel: Cancel) -> Result<Self, Failure> {
        let terminal = Terminal::of_process();
        let cwd = std::env::current_dir().map_err(|error| Failure::from(error).about("the current directory"))?;
        let progress = if terminal.messages {
            Progress::on_terminal()
        } else {
            Progress::quiet()
        };
        Ok(Self {
            out: Box::new(BufWriter::new(io::stdout())),
            messages: Box::new(io::stderr()),
            input: Box::new(BufReader::new(io::stdin())),
            progress,
            cwd,
            environment: Environment::of_process(),
            terminal,
            cancel,
            sender: None,
            yes: false,
            in_terms: false,
            lines_aside: false,
            quiet: false,
            system_time: None,
        })
    }

    /// The streams of another process.
    pub(crate) fn of_sender(remote: Remote) -> Self {
        Self {
            out: Box::new(BufWriter::new(remote.out)),
            messages: remote.messages,
            input: Box::new(BufReader::new(remote.input)),
            progress: remote.progress,
            cwd: remote.cwd,
            environment: remote.environment,
            terminal: remote.terminal,
            cancel: remote.cancel,
            sender: remote.sender,
            yes: false,
            in_terms: false,
            lines_aside: false,
            quiet: false,
            system_time: None,
        }
    }

    /// Results: what a script reads.
    pub(crate) fn out(&mut self) -> &mut (dyn Write + Send) {
        self.progress.clear();
        &mut self.out
    }

    /// Results as bytes, exactly: for programs, and for what is no text.
    ///
    /// # Errors
    /// The reader went away.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.out().write_all(bytes)?)
    }

    /// One line of results. What it holds from elsewhere cannot drive the terminal.
    ///
    /// # Errors
    /// The reader went away.
    pub(crate) fn line(&mut self, text: impl std::fmt::Display) -> Result<(), Failure> {
        if self.lines_aside {
            self.say(text);
            return Ok(());
        }
        self.text(&format!("{text}\n"))
    }

    /// Results that are text, with the ends of their lines; as [`Self::line`].
    ///
    /// # Errors
    /// The reader went away.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.write(printable(text).as_bytes())
    }

    /// One line of messages, for people, unless they asked for silence. Nobody listening is no failure.
    pub(crate) fn say(&mut self, text: impl std::fmt::Display) {
        if !self.quiet {
            self.warn(text);
        }
    }

    /// As [`Self::say`], of what was not done, or waits for somebody to decide: also told to who asked for silence.
    pub(crate) fn warn(&mut self, text: impl std::fmt::Display) {
        let _ = self.out.flush();
        self.progress.clear();
        let _ = self.messages.write_all(printable(&format!("{text}\n")).as_bytes());
    }

    /// The stream of messages.
    pub(crate) fn messages(&mut self) -> &mut dyn Write {
        self.progress.clear();
        &mut self.messages
    }

    /// Standard input.
    pub(crate) fn input(&mut self) -> &mut dyn BufRead {
        &mut self.input
    }

    /// Takes standard input away, for code that reads it elsewhere; what is left is empty.
    pub(crate) fn take_input(&mut self) -> Box<dyn BufRead + Send> {
        std::mem::replace(&mut self.input, Box::new(io::empty()))
    }

    /// Where progress is shown; cheap to clone.
    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// What is known of the terminal.
    pub(crate) fn terminal(&self) -> Terminal {
        self.terminal
    }

    /// The user's wish to stop.
    pub(crate) fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Fails when the user asked to stop.
    ///
    /// # Errors
    /// Interrupted.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.cancel.is_set() {
            Err(Failure::interrupted())
        } else {
            Ok(())
        }
    }

    /// The current directory of the user.
    pub(crate) fn cwd(&self) -> &Path {
        &self.cwd
    }

    /// The environment of the user.
    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The file that the user means by `path`: relative to the user's directory, and descriptors of the user's
    /// process (`/dev/stdin`, `<(…)` in a shell) even when the command runs in another one.
    pub(crate) fn resolve(&self, path: &Path) -> PathBuf {
        let Some(pid) = self.sender.filter(|_| cfg!(target_os = "linux")) else {
            return self.cwd.join(path);
        };
        let descriptor = match path.to_str() {
            Some("/dev/stdin") => Some("0"),
            Some(text) => text
                .strip_prefix("/dev/fd/")
                .or_else(|| text.strip_prefix("/proc/self/fd/")),
            None => None,
        };
        match descriptor {
            Some(number)
                if Path::new(number)
                    .components()
                    .all(|part| matches!(part, Component::Normal(_))) =>
            {
                PathBuf::from(format!("/proc/{pid}/fd")).join(number)
            }
            _ => self.cwd.join(path),
        }
    }

    /// Answers every question with yes from now on, if `yes`.
    pub(crate) fn assume_yes(&mut self, yes: bool) {
        self.yes = yes;
    }

    /// Uses the terms of the field from now on in place of plain words, if `in_terms`.
    pub(crate) fn speak_in_terms(&mut self, in_terms: bool) {
        self.in_terms = in_terms;
    }

    /// From now on only errors and what waits for a decision is said, and no progress shown, if `quiet`.
    pub(crate) fn be_quiet(&mut self, quiet: bool) {
        self.quiet = quiet;
        if quiet {
            self.progress = Progress::quiet();
        }
    }

    /// From now on lines for people go where messages go, and the output is left to [`Io::object`].
    pub(crate) fn put_lines_aside(&mut self) {
        self.lines_aside = true;
    }

    /// Writes a value for programs.
    ///
    /// # Errors
    /// The reader went away.
    pub(crate) fn object(&mut self, value: &serde_json::Value) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
        self.text(&format!("{text}\n"))
    }

    /// Whether the terms of the field are used, and more is told.
    pub(crate) fn in_terms(&self) -> bool {
        self.in_terms
    }

    /// Whether every question is answered with yes.
    pub(crate) fn assumes_yes(&self) -> bool {
        self.yes
    }

    /// From now on the clock shows this time to the command.
    pub(crate) fn set_system_time(&mut self, time: Option<Timestamp>) {
        self.system_time = time;
    }

    /// The time of what the command does: `--system-time`, else the clock.
    ///
    /// # Errors
    /// The clock shows a year that metadata blocks cannot hold.
    pub(crate) fn now(&self) -> Result<Timestamp, Failure> {
        match self.system_time {
            Some(time) => Ok(time),
            None => Utc::now()
                .try_into()
                .map_err(|error| Failure::new(Kind::General, error).about("the clock")),
        }
    }

    /// Asks a yes-or-no question. Without a terminal the answer is no.
    ///
    /// # Errors
    /// The answer is no, with the way to say yes beforehand; or the terminal cannot be read.
    pub(crate) fn confirm(&mut self, question: &str) -> Result<(), Failure> {
        let refused = || {
            Failure::new(crate::failure::Kind::Refused, "not confirmed, nothing was changed")
                .next("answer y, or pass --yes to go on without a question")
        };
        if self.yes {
            return Ok(());
        }
        if !self.terminal.input {
            return Err(refused());
        }
        self.out.flush()?;
        self.progress.clear();
        write!(self.messages, "{} [y/N] ", printable(question))?;
        self.messages.flush()?;
        let mut answer = String::new();
        self.input.by_ref().take(64).read_line(&mut answer)?;
        if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
            Ok(())
        } else {
            Err(refused())
        }
    }

    /// Lets `work` write its results to `out`; what it says to people goes where it always goes.
    ///
    /// # Errors
    /// That of `work`, or what it wrote last cannot be written.
    pub(crate) fn redirected<T>(
        &mut self,
        out: impl Write + Send + 'static,
        work: impl FnOnce(&mut Self) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.out.flush()?;
        let before = std::mem::replace(&mut self.out, Box::new(BufWriter::new(out)));
        let done = work(self);
        let mut written = std::mem::replace(&mut self.out, before);
        let done = done?;
        written.flush()?;
        Ok(done)
    }

    /// Hands everything written so far to the reader, and takes the progress line away.
    ///
    /// # Errors
    /// The reader went away, or the file behind the output cannot be written.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        self.progress.clear();
        self.out.flush()?;
        self.messages.flush()?;
        Ok(())
    }
}

#[cfg(test)]
impl Io {
    /// Streams that belong to nobody; results go to `out`.
    pub(crate) fn apart(out: impl Write + Send + 'static, cancel: Cancel) -> Self {
        Self::of_sender(Remote {
            out: Box::new(out),
            messages: Box::new(io::sink()),
            input: Box::new(io::empty()),
            progress: Progress::quiet(),
            cwd: PathBuf::from("/home/me"),
            environment: Environment::default(),
            terminal: Terminal {
                input: false,
                output: false,
                messages: false,
                width: 80,
            },
            cancel,
            sender: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn io(sender: Option<u32>) -> Io {
        Io {
            sender,
            ..Io::apart(io::sink(), Cancel::new())
        }
    }

    #[test]
    fn paths_are_those_of_the_user() {
        assert_eq!(io(None).resolve(Path::new("a.csv")), Path::new("/home/me/a.csv"));
        assert_eq!(io(Some(7)).resolve(Path::new("/a.csv")), Path::new("/a.csv"));
        assert_eq!(io(None).resolve(Path::new("/dev/fd/63")), Path::new("/dev/fd/63"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn descriptors_are_those_of_the_sender() {
        assert_eq!(io(Some(7)).resolve(Path::new("/dev/fd/63")), Path::new("/proc/7/fd/63"));
        assert_eq!(io(Some(7)).resolve(Path::new("/dev/stdin")), Path::new("/proc/7/fd/0"));
        assert_eq!(
            io(Some(7)).resolve(Path::new("/dev/fd/../x")),
            Path::new("/dev/fd/../x")
        );
    }

    #[test]
    fn no_terminal_means_no() {
        let failure = io(None).confirm("Delete?").unwrap_err();
        assert_eq!(failure.kind(), crate::failure::Kind::Refused);
    }
}
