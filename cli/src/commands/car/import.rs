//! Taking the blocks of CARs into the store.

use std::path::PathBuf;

use odf_node::block::{Block, Cid};
use odf_node::store::{Blocks as _, Store};

use super::open::Opened;
use crate::commands::ipfs::pin::PIN_OWNER;
use crate::failure::Failure;
use crate::io::{Io, Step};
use crate::output;
use crate::session::Session;

/// Bytes of blocks that are kept at once.
const BATCH_BYTES: usize = 8 << 20;

/// A root is said once it is on the disk with all that came with it.
pub(super) fn run(files: &[PathBuf], pin: bool, session: &Session, io: &mut Io) -> Result<(), Failure> {
    for root in import(files, pin, session, io)?.roots {
        io.line(root)?;
    }
    Ok(())
}

/// Takes the blocks of several files; gives the roots that are here then, pinned if that is wanted, and on the disk.
///
/// # Errors
/// A file is damaged or cannot be read, or the store fails.
pub(in crate::commands) fn import(
    files: &[PathBuf],
    pin: bool,
    session: &Session,
    io: &mut Io,
) -> Result<Imported, Failure> {
    let store = session.workspace()?.store();
    let _hold = store.hold();
    let (mut roots, mut absent) = (Vec::new(), Vec::new());
    let mut taken = Taken::default();
    for file in files {
        let mut car = Opened::new(file, io)?;
        let of_one = take(&mut car, store, io)?;
        taken.blocks += of_one.blocks;
        taken.bytes += of_one.bytes;
        for root in car.reader.roots() {
            match store.has(root)? {
                true => roots.push(*root),
                false => absent.push((*root, car.what.clone())),
            }
        }
    }
    if pin {
        for root in &roots {
            store.pin(PIN_OWNER, root)?;
        }
    }
    store.flush()?;
    session.added(&roots);
    for (root, what) in absent {
        io.warn(format_args!(
            "{what} says that it is of {root}, and does not have that block: it is not kept"
        ));
    }
    Ok(Imported { roots, taken })
}

/// What several files brought.
pub(in crate::commands) struct Imported {
    /// The roots that are here.
    pub(in crate::commands) roots: Vec<Cid>,
    /// The blocks.
    pub(in crate::commands) taken: Taken,
}

/// Blocks that were in files, those that were here before included.
#[derive(Default)]
pub(in crate::commands) struct Taken {
    /// How many.
    pub(in crate::commands) blocks: u64,
    /// Their bytes.
    pub(in crate::commands) bytes: u64,
}

/// Takes the blocks of one file that have not been read.
///
/// # Errors
/// It is damaged or cannot be read, or the store fails. The blocks before that are in the store.
pub(in crate::commands) fn take(car: &mut Opened, store: &Store, io: &Io) -> Result<Taken, Failure> {
    let (mut batch, mut bytes): (Vec<Block>, usize) = (Vec::new(), 0);
    let mut taken = Taken::default();
    loop {
        let block = car.reader.block();
        let block = block.map_err(|error| car.failed(error));
        let is_end = !matches!(block, Ok(Some(_)));
        let failure = match block {
            Ok(block) => {
                bytes += block.as_ref().map_or(0, |block| block.data().len());
                batch.extend(block);
                None
            }
            Err(failure) => Some(failure),
        };
        if is_end || bytes >= BATCH_BYTES {
            io.check()?;
            store.put(&batch)?;
            taken.blocks += batch.len() as u64;
            taken.bytes += bytes as u64;
            io.progress().show(|| Step {
                text: output::bytes(taken.bytes),
                done: taken.bytes,
                total: car.total,
            });
            batch.clear();
            bytes = 0;
        }
        match failure {
            Some(failure) => return Err(failure),
            None if is_end => return Ok(taken),
            None => {}
        }
    }
}
