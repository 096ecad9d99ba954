//! odfs on a pseudo-terminal, as a person has it.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::peers::{required, skip};
use crate::process::{Finished, Running};
use crate::workspace::LIMIT;
use crate::{Failure, Outcome, Workspace};

/// How long is waited before each line that is typed slowly.
const LINE_PAUSE: Duration = Duration::from_millis(700);

/// Where what goes to standard error is to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Messages {
    /// On the terminal too, with the line that shows progress.
    There,
    /// In [`Finished::stderr`], where no progress is shown.
    Apart,
}

/// Whether there is a program that makes pseudo-terminals; if not, the test has been reported as skipped.
///
/// # Errors
/// There is none and it is required.
pub fn is_there() -> Outcome<bool> {
    let is_there = Command::new("script").arg("--version").output().is_ok();
    if !is_there && required() {
        return Err(Failure::new("`script` of util-linux is not here"));
    }
    if !is_there {
        skip("`script` of util-linux is not here");
    }
    Ok(is_there)
}

/// Runs `odfs ARGS` on a terminal of so many columns, on which `typed` is typed: what it shows there is its output. Answers
/// that are typed are seen in it, as a terminal shows them.
///
/// # Errors
/// It cannot be started, or has not ended after [`LIMIT`].
pub fn run(workspace: &Workspace, columns: u16, messages: Messages, args: &[&str], typed: &str) -> Outcome<Finished> {
    of(workspace, columns, messages, "exec", args, &[typed], Duration::ZERO)
}

/// As [`run`], with a pause before each line: what edits lines takes up what is typed once it is ready for it.
///
/// # Errors
/// As [`run`].
pub fn run_slowly(workspace: &Workspace, columns: u16, args: &[&str], lines: &[&str]) -> Outcome<Finished> {
    of(workspace, columns, Messages::There, "exec", args, lines, LINE_PAUSE)
}

/// Runs the command of the shell `feed`, and `odfs ARGS` on a terminal with what that prints as its input: what it shows
/// there, progress too, is its output.
///
/// # Errors
/// It cannot be started, or has not ended after [`LIMIT`].
pub fn run_fed(workspace: &Workspace, columns: u16, feed: &str, args: &[&str]) -> Outcome<Finished> {
    of(
        workspace,
        columns,
        Messages::There,
        &format!("{feed} |"),
        args,
        &[],
        Duration::ZERO,
    )
}

fn of(
    workspace: &Workspace,
    columns: u16,
    messages: Messages,
    before: &str,
    args: &[&str],
    typed: &[&str],
    pause: Duration,
) -> Outcome<Finished> {
    let plain = workspace.command(args)?;
    let words: Vec<String> = std::iter::once(plain.get_program())
        .chain(plain.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy().replace('\'', r"'\''")))
        .collect();
    let apart = tempfile::NamedTempFile::new()?;
    let messages_to = match messages {
        Messages::There => String::new(),
        Messages::Apart => format!(" 2>'{}'", apart.path().display()),
    };
    let mut command = Command::new("script");
    command
        .args([
            "-qec",
            &format!("stty cols {columns}; {before} {}{messages_to}", words.join(" ")),
        ])
        .arg("/dev/null")
        .current_dir(workspace.path())
        .env_clear();
    for (name, value) in plain.get_envs() {
        if let Some(value) = value.filter(|_| name != "COLUMNS") {
            command.env(name, value);
        }
    }
    command.env("TERM", "xterm");
    let (running, input) = Running::start_fed(command, Stdio::piped())?;
    // What is asked beyond that is answered by the end of the input.
    let mut input = input.ok_or("a terminal without input")?;
    for part in typed {
        std::thread::sleep(pause);
        input.write_all(part.as_bytes())?;
    }
    drop(input);
    let mut finished = running.finish(LIMIT)?;
    if messages == Messages::Apart {
        finished.stderr = fs::read_to_string(apart.path())?;
    }
    finished
        .stdout
        .retain(|byte| *byte != b'\r' || messages == Messages::There);
    Ok(finished)
}
