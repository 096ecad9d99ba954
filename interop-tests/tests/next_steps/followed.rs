//! Next steps that odfs names are run where they were named.

use std::collections::BTreeSet;
use std::fs;

use interop_tests::process::Finished;
use interop_tests::{Failure, Outcome, Workspace};

/// What a command of a next step may leave to the reader; `docs/how-to/refusals.md` says what each stands for.
pub(crate) const PLACEHOLDERS: [&str; 11] = [
    "ADDRESS", "BLOCK", "DATASET", "EVENTS", "FILE", "KEY", "NAME", "PATH", "TOKEN", "URL", "VALUE",
];

/// What is followed of a test, so that none of it is empty unnoticed.
#[derive(Default)]
pub(crate) struct Followed {
    /// How many ended commands named a next step.
    pub(crate) situations: usize,
    /// The commands that they named.
    pub(crate) commands: BTreeSet<String>,
}

/// The placeholder that a word of a command is or ends in, if there is one: `FILE` in `FILE.csv`, `KEY` in `ipns://KEY`.
pub(super) fn placeholder(word: &str) -> Option<&str> {
    let word = word.rsplit("://").next()?;
    let word = word.split('.').next()?;
    (word.len() > 1 && word.chars().all(|letter| letter.is_ascii_uppercase())).then_some(word)
}

/// The commands in backticks that are of odfs or of the shell.
pub(super) fn commands(next: &str) -> impl Iterator<Item = &str> {
    let quoted = next.split('`').skip(1).step_by(2);
    quoted.filter(|text| text.starts_with("odfs ") || text.starts_with("mkdir "))
}

impl Followed {
    /// Runs a command that is refused, and what it names.
    pub(crate) fn refusal(&mut self, workspace: &Workspace, args: &[&str]) -> Outcome {
        let refused = workspace.refused(args)?;
        self.follow(workspace, &refused)
    }

    /// Runs what a command that has ended names, and fails if there is no next step or a command of it does not work.
    pub(crate) fn follow(&mut self, workspace: &Workspace, ended: &Finished) -> Outcome {
        let mut lines = ended
            .stderr
            .lines()
            .filter_map(|line| line.strip_prefix("Next: "))
            .peekable();
        if lines.peek().is_none() {
            return Err(ended.failure("names no next step"));
        }
        self.situations += 1;
        for command in lines.flat_map(commands) {
            self.run(workspace, command)
                .map_err(|failure| ended.failure(&format!("names `{command}`, which does not work: {failure}")))?;
        }
        Ok(())
    }

    pub(super) fn run(&mut self, workspace: &Workspace, command: &str) -> Outcome {
        self.commands.insert(command.to_owned());
        let words: Vec<&str> = command.split_whitespace().skip(1).collect();
        if let Some(folder) = command.strip_prefix("mkdir -p ") {
            return Ok(fs::create_dir_all(workspace.path().join(folder.trim_matches('\'')))?);
        }
        let left: Vec<&str> = words.iter().filter_map(|word| placeholder(word)).collect();
        if let Some(word) = left.iter().find(|word| !PLACEHOLDERS.contains(word)) {
            return Err(Failure::new(format!("no page says what {word} stands for")));
        }
        if !left.is_empty() {
            return Self::is_there(workspace, &words);
        }
        let ends: &[&str] = if words.first() == Some(&"publish") && !words.contains(&"--help") {
            &["--exit"]
        } else {
            &[]
        };
        let finished = workspace.odfs([&["--yes"], words.as_slice(), ends].concat())?;
        match words.contains(&"--help") && finished.text().is_empty() {
            true => Err(finished.failure("prints nothing")),
            false => Ok(()),
        }
    }

    /// Fails unless there is such a command and it has the options.
    fn is_there(workspace: &Workspace, words: &[&str]) -> Outcome {
        let name = words
            .iter()
            .take_while(|word| placeholder(word).is_none() && word.chars().all(|letter| letter.is_ascii_lowercase()));
        let mut help: Vec<&str> = name.copied().collect();
        help.push("--help");
        let help = workspace.odfs(help)?;
        let text = help.text();
        let options = words.iter().filter(|word| word.starts_with('-') && word.len() > 1);
        for option in options {
            if !text.contains(option) {
                return Err(help.failure(&format!("does not know {option}")));
            }
        }
        Ok(())
    }
}
