//! `odfs system`

use clap::Subcommand;

use super::place::Place;
use crate::failure::Failure;
use crate::io::Io;
use crate::session::Session;

mod compact;
mod decode;
mod encode;

/// Work with datasets below the level of everyday commands
#[derive(Subcommand, Debug)]
pub(crate) enum SystemCommand {
    Compact(compact::CompactArgs),
    Decode(decode::DecodeArgs),
    Encode(encode::EncodeArgs),
}

impl SystemCommand {
    /// Where the command runs.
    pub(super) fn place(&self) -> Place {
        match self {
            Self::Compact(_) => Place::Owner,
            Self::Decode(args) if args.needs_workspace() => Place::Owner,
            Self::Decode(_) | Self::Encode(_) => Place::Anywhere,
        }
    }
}

/// Runs a command that works on files alone.
pub(super) fn run_anywhere(command: &SystemCommand, io: &mut Io) -> Result<(), Failure> {
    match command {
        SystemCommand::Decode(args) => decode::run(args, None, io),
        SystemCommand::Encode(args) => encode::run(args, io),
        SystemCommand::Compact(_) => Err(Failure::usage("a compaction needs a workspace")),
    }
}

/// Runs a command on the workspace.
pub(super) fn run(command: &SystemCommand, session: &Session, io: &mut Io) -> Result<(), Failure> {
    match command {
        SystemCommand::Compact(args) => compact::run(args, session, io),
        SystemCommand::Decode(args) => decode::run(args, Some(session), io),
        SystemCommand::Encode(args) => encode::run(args, io),
    }
}
