//! The shell of `odfs sql`: statements typed at a terminal, each answered by an `odfs sql` of its own.
//!
//! A process for each statement costs some milliseconds. In exchange Ctrl-C ends a query and nothing else, a query that goes
//! wrong takes nothing with it, and the workspace is nobody's between two queries.

mod editor;

use std::ffi::{OsStr, OsString};
use std::io::{Read as _, Write as _};
use std::process::{ChildStdout, Command, Stdio};
use std::time::Instant;

use rustyline::Editor;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;

use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::output;
use crate::workspace::{Places, WorkspaceDir};
use editor::Assistant;

/// What stands before the first line of a statement, and before its other lines (see [`editor`]).
const PROMPT: &str = "odfs> ";
/// The file of the workspace that remembers what was typed.
const HISTORY: &str = "sql_history";
/// How many statements it remembers.
const MAX_HISTORY: usize = 1_000;
/// What shows long answers where `$PAGER` names nothing: a screen of it at a time, lines cut at its edge.
const PAGER: (&str, &str) = ("less", "-FRSX");

/// Lines of a terminal that does not say how many it has.
const USUAL_SCREEN: usize = 24;

/// What is shown for `\?`.
const HELP: &str = "\
A statement ends with a semicolon and may have several lines; Tab completes names of datasets and columns.
\\d           the datasets that are here
\\d NAME      the columns of a dataset
\\o FORMAT    form of the rows: table, json, ndjson, csv, …
\\timing      say how long each statement took, or no longer
\\q           leave; so does Ctrl-D
Ctrl-C ends a query that runs, and drops what was typed.";

/// Reads statements until the user leaves; each gets the options in `passed_on` too.
///
/// # Errors
/// The terminal cannot be read.
pub(super) fn run(passed_on: Vec<OsString>, io: &mut Io) -> Result<(), Failure> {
    let broken = |error: ReadlineError| Failure::new(Kind::Storage, format!("the terminal cannot be read: {error}"));
    let history = WorkspaceDir::discover(io.cwd(), &Places::of_process())?
        .root()
        .join(HISTORY);
    let config = rustyline::Config::builder()
        .max_history_size(MAX_HISTORY)
        .and_then(|config| config.history_ignore_dups(true))
        .map_err(broken)?
        .auto_add_history(true)
        .build();
    let mut editor: Editor<Assistant, FileHistory> = Editor::with_config(config).map_err(broken)?;
    editor.set_helper(Some(Assistant::default()));
    // The first time there is none.
    let _ = editor.load_history(&history);
    io.say("SQL over the datasets of this workspace; \\? shows what can be typed");
    let mut shell = Shell {
        passed_on,
        format: None,
        timing: false,
    };
    loop {
        match editor.readline(PROMPT) {
            Ok(text) => {
                if !shell.obey(text.trim(), io)? {
                    break;
                }
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(broken(error)),
        }
        if let Err(error) = editor.save_history(&history) {
            tracing::debug!(%error, "what was typed is not remembered");
        }
    }
    Ok(())
}

struct Shell {
    passed_on: Vec<OsString>,
    /// The form of rows, if it is not that of a terminal.
    format: Option<String>,
    timing: bool,
}

impl Shell {
    /// Does what was typed; whether to go on.
    fn obey(&mut self, text: &str, io: &mut Io) -> Result<bool, Failure> {
        let mut words = text.split_whitespace();
        match (words.next(), words.next()) {
            (None, _) => {}
            (Some("\\q" | "exit" | "quit"), None) => return Ok(false),
            (Some("exit;" | "quit;"), None) => return Ok(false),
            (Some("\\?" | "\\h" | "help"), None) => io.say(HELP),
            (Some("\\d"), None) => self.answer(&["list".as_ref(), "--output".as_ref(), "table".as_ref()], io)?,
            (Some("\\d"), Some(name)) => {
                let name = name.trim_matches('"').trim_end_matches(';').replace('"', "\"\"");
                self.query(&format!("describe \"{name}\""), true, io)?;
            }
            (Some("\\o"), Some(format)) => self.format = Some(format.to_owned()).filter(|format| format != "table"),
            (Some("\\timing"), None) => {
                self.timing = !self.timing;
                io.say(if self.timing { "timing is on" } else { "timing is off" });
            }
            (Some(word), _) if word.starts_with('\\') => {
                io.say(format_args!(
                    "`{word}` is nothing that is known here; \\? shows what is"
                ));
            }
            _ => self.query(text, false, io)?,
        }
        Ok(true)
    }

    /// Has one text of statements answered.
    fn query(&self, text: &str, is_listing: bool, io: &mut Io) -> Result<(), Failure> {
        let format = self.format.as_deref().filter(|_| !is_listing).unwrap_or("table");
        let mut words: Vec<&OsStr> = ["sql", "--output", format].map(OsStr::new).to_vec();
        words.extend(self.passed_on.iter().map(OsString::as_os_str));
        words.extend(["--command", text].map(OsStr::new));
        self.answer(&words, io)
    }

    /// Runs a command of odfs. What goes wrong with it, it tells itself.
    fn answer(&self, words: &[&OsStr], io: &mut Io) -> Result<(), Failure> {
        let began = Instant::now();
        let program = std::env::current_exe()?;
        let mut command = Command::new(program);
        command.args(words).stdin(Stdio::null());
        let mut answering = command.stdout(Stdio::piped()).spawn()?;
        if let Some(rows) = answering.stdout.take() {
            show(rows, io)?;
        }
        answering.wait()?;
        if self.timing {
            io.say(output::duration(began.elapsed()));
        }
        Ok(())
    }
}

/// Shows an answer: as it is if it fits on the screen, else by the pager, if there is one.
fn show(mut rows: ChildStdout, io: &mut Io) -> Result<(), Failure> {
    let rows_of = |size: rustix::termios::Winsize| usize::from(size.ws_row);
    let screen = rustix::termios::tcgetwinsize(std::io::stdout()).map_or(0, rows_of);
    let screen = if screen == 0 { USUAL_SCREEN } else { screen };
    let (mut first, mut lines, mut is_whole) = (Vec::new(), 0, false);
    let mut buffer = [0; 1 << 12];
    while lines < screen && !is_whole {
        let count = rows.read(&mut buffer)?;
        is_whole = count == 0;
        let read = buffer.get(..count).unwrap_or_default();
        lines += read.iter().filter(|byte| **byte == b'\n').count();
        first.extend_from_slice(read);
    }
    let pager = match is_whole {
        true => None,
        false => pager().and_then(|mut pager| pager.stdin(Stdio::piped()).spawn().ok()),
    };
    match pager {
        Some(mut pager) => {
            if let Some(mut input) = pager.stdin.take() {
                // Whoever has seen enough closes the pager.
                let _ = input
                    .write_all(&first)
                    .and_then(|()| std::io::copy(&mut rows, &mut input).map(drop));
            }
            drop(rows);
            pager.wait()?;
            Ok(())
        }
        None => {
            io.write(&first)?;
            std::io::copy(&mut rows, io.out())?;
            Ok(io.out().flush()?)
        }
    }
}

/// What shows answers, if there is something.
fn pager() -> Option<Command> {
    match std::env::var("PAGER") {
        Ok(words) => {
            let mut words = words.split_whitespace();
            let mut command = Command::new(words.next()?);
            command.args(words);
            Some(command)
        }
        Err(_) => {
            let (program, options) = PAGER;
            let path = std::env::var_os("PATH")?;
            let is_there = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
            is_there.then(|| {
                let mut command = Command::new(program);
                command.arg(options);
                command
            })
        }
    }
}
