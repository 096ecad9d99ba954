//! `odfs ipfs block`

use clap::Subcommand;

use super::path::IpfsPath;
use super::source::{Source, whole_block};
use crate::failure::Failure;
use crate::io::Io;
use crate::session::Session;

/// Work with single blocks
#[derive(Subcommand, Debug)]
pub(crate) enum BlockCommand {
    /// Write the bytes of a block to standard output
    Get {
        /// CID of the block, or a path to it
        #[arg(value_name = "CID")]
        path: IpfsPath,
    },
}

pub(super) fn run(command: &BlockCommand, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let BlockCommand::Get { path } = command;
    let mut source = Source::new(session)?;
    let resolved = source.resolve(path, io)?;
    let block = source.block(&whole_block(&resolved, path)?, io)?;
    io.write(block.data())
}
