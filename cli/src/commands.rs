//! The root of the command tree and its dispatch, nothing else: one file a command.

use clap::Subcommand;

use crate::failure::Failure;
use crate::io::Io;
use crate::session::Session;
use crate::workspace::Workspace;

mod completions;
mod config;
pub(crate) mod node;

/// What odfs does.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    Node(node::NodeArgs),
    #[command(subcommand)]
    Config(config::ConfigCommand),
    Completions(completions::CompletionsArgs),
}

/// Where a command can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In any process, with no workspace.
    Anywhere,
    /// In any process, on the plain files of the workspace.
    Files,
    /// In the process that owns the workspace.
    Owner,
    /// As the process that owns the workspace, for as long as it runs.
    Serving {
        /// A publish has been done and only wants to be served, by this or any other lasting process.
        published: bool,
    },
}

/// What is left to do when a command is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// Nothing.
    Done,
    /// Serve until told to stop.
    Serve {
        /// With the HTTP gateway.
        gateway: bool,
    },
}

impl Command {
    /// Where the command runs.
    pub(crate) fn place(&self) -> Place {
        match self {
            Self::Completions(_) => Place::Anywhere,
            Self::Config(_) => Place::Files,
            Self::Node(_) => Place::Serving { published: false },
        }
    }
}

/// Runs a command whose place is [`Place::Anywhere`].
pub(crate) fn run_anywhere(command: Command, io: &mut Io) -> Result<After, Failure> {
    match command {
        Command::Completions(args) => completions::run(&args, io)?,
        other => return Err(misplaced(&other)),
    }
    Ok(After::Done)
}

/// Runs a command whose place is [`Place::Files`]. `environment` is `$ODFS_CONFIG`.
pub(crate) fn run_on_files(
    command: Command,
    workspace: &Workspace,
    environment: Option<&str>,
    io: &mut Io,
) -> Result<After, Failure> {
    match command {
        Command::Config(command) => config::run(&command, workspace, environment, io)?,
        other => return Err(misplaced(&other)),
    }
    Ok(After::Done)
}

/// Runs a command in the process that owns the workspace, for a terminal here or elsewhere.
pub(crate) fn run(command: Command, session: &Session, io: &mut Io) -> Result<After, Failure> {
    match command {
        Command::Node(_) => return Ok(After::Serve { gateway: true }),
        other @ (Command::Config(_) | Command::Completions(_)) => return Err(misplaced(&other)),
    }
    #[allow(unreachable_code)]
    Ok(After::Done)
}

fn misplaced(command: &Command) -> Failure {
    Failure::usage(format!("{command:?} does not run here"))
}
