//! `odfs car`: blocks from files.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use odf_node::block::{Block, Cid};
use odf_node::car::{CarError, Reader};
use odf_node::store::{Blocks as _, Store};

use super::ipfs::pin::PIN_OWNER;
use crate::failure::{Failure, Kind, chain};
use crate::io::{Io, Step};
use crate::output;
use crate::session::Session;

/// Bytes of blocks that are kept at once.
const BATCH_BYTES: usize = 8 << 20;

/// Work with CARs: files of blocks
#[derive(Subcommand, Debug)]
pub(crate) enum CarCommand {
    /// Take the blocks of CARs into the store, each checked
    Import {
        /// The files, of version 1 or 2
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Let what is imported be collected as garbage
        #[arg(long)]
        no_pin: bool,
    },
}

/// A root is said once it is on the disk with all that came with it.
pub(super) fn run(command: &CarCommand, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let CarCommand::Import { files, no_pin } = command;
    let store = session.workspace()?.store();
    let _hold = store.hold();
    let (mut roots, mut absent) = (Vec::new(), Vec::new());
    for file in files {
        let path = io.resolve(file);
        for root in import(&path, store, io)? {
            match store.has(&root)? {
                true => roots.push(root),
                false => absent.push((root, path.clone())),
            }
        }
    }
    if !no_pin {
        for root in &roots {
            store.pin(PIN_OWNER, root)?;
        }
    }
    store.flush()?;
    session.added(&roots);
    for root in &roots {
        io.line(root)?;
    }
    for (root, path) in absent {
        let path = path.display();
        io.warn(format_args!("{path} says that it is of {root}, and does not have that block: it is not kept"));
    }
    Ok(())
}

/// Takes the blocks of one file; gives its roots, whatever they are.
fn import(path: &Path, store: &Store, io: &Io) -> Result<Vec<Cid>, Failure> {
    let failed = |error: CarError| match error {
        CarError::Read(error) => Failure::file(path, &error),
        error => Failure::new(Kind::BadInput, format!("{}: {}", path.display(), chain(&error)))
            .next("get the file again; the blocks before that place are kept"),
    };
    let file = File::open(path).map_err(|error| Failure::file(path, &error))?;
    let total = file.metadata().ok().filter(fs::Metadata::is_file).map(|file| file.len());
    let mut reader = Reader::new(BufReader::new(file)).map_err(failed)?;
    let (mut batch, mut bytes, mut done): (Vec<Block>, usize, u64) = (Vec::new(), 0, 0);
    loop {
        let block = reader.block().map_err(failed)?;
        let is_end = block.is_none();
        if let Some(block) = block {
            bytes += block.data().len();
            batch.push(block);
        }
        if is_end || bytes >= BATCH_BYTES {
            io.check()?;
            store.put(&batch)?;
            done += bytes as u64;
            io.progress().show(|| Step {
                text: output::bytes(done),
                done,
                total,
            });
            batch.clear();
            bytes = 0;
        }
        if is_end {
            return Ok(reader.roots().to_vec());
        }
    }
}
