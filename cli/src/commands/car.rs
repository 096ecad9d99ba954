//! `odfs car`: blocks in files, and from files.

mod export;
mod import;
mod look;
mod open;

use std::path::PathBuf;

use clap::Subcommand;

use super::Place;
use super::ipfs::path::IpfsPath;
use crate::failure::Failure;
use crate::io::Io;
use crate::output::OutputArgs;
use crate::session::Session;

pub(super) use export::{Sink, export};
pub(super) use import::{import, take};
pub(super) use open::Opened;

/// Work with CARs: files of blocks
#[derive(Subcommand, Debug)]
pub(crate) enum CarCommand {
    /// Write all blocks below a path to a file, each once and before those that it links to, as `ipfs dag export` does
    Export {
        /// Where to begin: /ipfs/CID/…, /ipns/NAME/… or CID/…
        #[arg(value_name = "IPFS_PATH")]
        path: IpfsPath,
        /// Where to; `-` for standard output
        #[arg(value_name = "FILE|-")]
        to: String,
        /// Write over a file that is there
        #[arg(short, long)]
        force: bool,
    },
    /// Take the blocks of CARs into the store, each checked
    Import {
        /// The files, of version 1 or 2; `-` for standard input
        #[arg(required = true, value_name = "FILE|-")]
        files: Vec<PathBuf>,
        /// Let what is imported be collected as garbage
        #[arg(long)]
        no_pin: bool,
    },
    /// List the blocks of a CAR, each checked
    Ls {
        /// The file, of version 1 or 2; `-` for standard input
        #[arg(value_name = "FILE|-")]
        file: PathBuf,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Check a CAR: that no block of it was changed, and that all is there that it says that it is of
    Verify {
        /// The file, of version 1 or 2; `-` for standard input
        #[arg(value_name = "FILE|-")]
        file: PathBuf,
        /// Ask only that no block was changed, where the file has a part of something
        #[arg(long)]
        part: bool,
    },
}

impl CarCommand {
    /// Where it runs: files are looked at without a workspace.
    pub(super) fn place(&self) -> Place {
        match self {
            Self::Ls { .. } | Self::Verify { .. } => Place::Anywhere,
            Self::Export { .. } | Self::Import { .. } => Place::Owner,
        }
    }
}

/// Looks at files, without a workspace.
pub(super) fn run_anywhere(command: &CarCommand, io: &mut Io) -> Result<(), Failure> {
    match command {
        CarCommand::Ls { file, output } => look::ls(file, *output, io),
        CarCommand::Verify { file, part } => look::verify(file, *part, io),
        CarCommand::Export { .. } | CarCommand::Import { .. } => Err(Failure::usage("this needs a workspace")),
    }
}

pub(super) fn run(command: &CarCommand, session: &Session, io: &mut Io) -> Result<(), Failure> {
    match command {
        CarCommand::Export { path, to, force } => export(path, to, *force, session, io),
        CarCommand::Import { files, no_pin } => import::run(files, !no_pin, session, io),
        CarCommand::Ls { .. } | CarCommand::Verify { .. } => run_anywhere(command, io),
    }
}
