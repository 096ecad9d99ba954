//! `odfs car`: blocks in files, and from files.

mod export;
mod import;
mod look;

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use odf_node::car::{CarError, Reader};

use super::Place;
use super::ipfs::path::IpfsPath;
use crate::failure::{Failure, Kind, chain};
use crate::io::Io;
use crate::output::OutputArgs;
use crate::session::Session;

pub(super) use export::{Sink, export};
pub(super) use import::{import, take};

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

/// A CAR that is read.
pub(super) struct Opened {
    /// What messages call it.
    pub(super) what: String,
    /// Its bytes, where it says how many there are.
    pub(super) total: Option<u64>,
    pub(super) reader: Reader<Box<dyn Read + Send>>,
}

impl Opened {
    /// # Errors
    /// It cannot be opened, or is no CAR.
    pub(super) fn new(file: &Path, io: &mut Io) -> Result<Self, Failure> {
        let (what, total, bytes): (_, _, Box<dyn Read + Send>) = if file == Path::new("-") {
            ("standard input".to_owned(), None, Box::new(io.take_input()))
        } else {
            let path = io.resolve(file);
            let file = File::open(&path).map_err(|error| Failure::file(&path, &error))?;
            let total = file
                .metadata()
                .ok()
                .filter(fs::Metadata::is_file)
                .map(|file| file.len());
            (path.display().to_string(), total, Box::new(BufReader::new(file)))
        };
        let reader = Reader::new(bytes).map_err(|error| failed(&what, error))?;
        Ok(Self { what, total, reader })
    }

    /// What went wrong with it.
    pub(super) fn failed(&self, error: CarError) -> Failure {
        failed(&self.what, error)
    }
}

fn failed(what: &str, error: CarError) -> Failure {
    match error {
        CarError::Read(error) => Failure::from(error).about(what),
        error => {
            let kind = match error {
                CarError::Block { .. } => Kind::Integrity,
                _ => Kind::BadInput,
            };
            Failure::new(kind, format!("{what}: {}", chain(&error)))
                .next("get the file again; what was taken before that place was checked, and is kept")
        }
    }
}
