//! Every hash and rule of a dataset checked again, from the files alone.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::chain::{ChainError, ChainState};
use crate::dataset::{Dataset, DatasetError};
use crate::digest;
use crate::metadata::{Checkpoint, DataSlice, Multihash};
use crate::slice::{self, SliceError};

/// What is wrong with a dataset: the first fault in the order of the chain.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The chain file, or the head, cannot be read.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// A metadata block breaks a rule.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The chain does not end at the head.
    #[error("the chain ends at {found}, but the head is {head}")]
    Head {
        /// Last block of the chain.
        found: Multihash,
        /// `refs/head`.
        head: Multihash,
    },
    /// A slice or checkpoint is not what its metadata block says.
    #[error("{} of metadata block {sequence} ({hash}): {found} instead of {expected}", .path.display())]
    Object {
        /// The file.
        path: PathBuf,
        /// Sequence number of the block that names it.
        sequence: u64,
        /// Hash of the block that names it.
        hash: Multihash,
        /// Hash or length in the block.
        expected: String,
        /// Hash or length found.
        found: String,
    },
    /// A slice or checkpoint cannot be read.
    #[error("{} of metadata block {sequence} cannot be read: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Sequence number of the block that names it.
        sequence: u64,
        /// Why not.
        source: SliceError,
    },
}

/// What was checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verified {
    /// Metadata blocks.
    pub blocks: u64,
    /// Slices.
    pub slices: u64,
    /// Checkpoints.
    pub checkpoints: u64,
    /// Bytes of slices and checkpoints.
    pub bytes: u64,
}

/// One file to check, and the block that names it.
struct Check {
    sequence: u64,
    hash: Multihash,
    what: What,
}

enum What {
    Slice(DataSlice),
    Checkpoint(Checkpoint),
}

/// Checks block hashes, the rules of the chain, and physical and logical hash of every file. `progress` gets the bytes
/// of each file as it is done.
///
/// # Errors
/// The first fault in the order of the chain.
pub fn verify(dataset: &Dataset, progress: &(dyn Fn(u64) + Send + Sync)) -> Result<Verified, VerifyError> {
    let mut state: Option<ChainState> = None;
    let mut verified = Verified::default();
    let mut checks = Vec::new();
    for stored in dataset.blocks_after(None)? {
        let block = stored?.block;
        let (hash, content) = (*block.hash(), block.block());
        let sequence = content.sequence_number;
        ChainState::append(&mut state, &block)?;
        verified.blocks += 1;
        let slice = content.event.new_data().cloned().map(What::Slice);
        let checkpoint = content.event.new_checkpoint().cloned().map(What::Checkpoint);
        checks.extend(
            slice
                .into_iter()
                .chain(checkpoint)
                .map(|what| Check { sequence, hash, what }),
        );
    }
    if let Some(found) = state.map(|state| state.head).filter(|found| found != dataset.head()) {
        return Err(VerifyError::Head {
            found,
            head: *dataset.head(),
        });
    }
    for check in &checks {
        match &check.what {
            What::Slice(slice) => {
                (verified.slices, verified.bytes) = (verified.slices + 1, verified.bytes + slice.size)
            }
            What::Checkpoint(file) => {
                (verified.checkpoints, verified.bytes) = (verified.checkpoints + 1, verified.bytes + file.size);
            }
        }
    }
    all(dataset, &checks, progress)?;
    Ok(verified)
}

/// Checks files on all cores; the fault reported is the first in the order of the chain.
fn all(dataset: &Dataset, checks: &[Check], progress: &(dyn Fn(u64) + Send + Sync)) -> Result<(), VerifyError> {
    let workers = std::thread::available_parallelism()
        .map_or(1, |cores| cores.get())
        .min(checks.len().max(1));
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let first: Mutex<Option<(usize, VerifyError)>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(check) = checks.get(at) else { break };
                    match one(dataset, check) {
                        Ok(bytes) => progress(bytes),
                        Err(error) => {
                            stop.store(true, Ordering::Relaxed);
                            let mut first = first.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                            if first.as_ref().is_none_or(|(earlier, _)| at < *earlier) {
                                *first = Some((at, error));
                            }
                        }
                    }
                }
            });
        }
    });
    let first = first.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    first.map_or(Ok(()), |(_, error)| Err(error))
}

fn one(dataset: &Dataset, check: &Check) -> Result<u64, VerifyError> {
    let (path, expected, size) = match &check.what {
        What::Slice(slice) => (
            dataset.slice_path(&slice.physical_hash),
            slice.physical_hash,
            slice.size,
        ),
        What::Checkpoint(file) => (
            dataset.checkpoint_path(&file.physical_hash),
            file.physical_hash,
            file.size,
        ),
    };
    let sequence = check.sequence;
    let other = |expected: String, found: String| VerifyError::Object {
        path: path.clone(),
        sequence,
        hash: check.hash,
        expected,
        found,
    };
    let unreadable = |source| VerifyError::Unreadable {
        path: path.clone(),
        sequence,
        source,
    };
    let (found, len) = digest::physical_hash(&path).map_err(|source| {
        unreadable(SliceError::Io {
            operation: "read",
            path: path.clone(),
            source,
        })
    })?;
    if len != size {
        return Err(other(format!("{size} bytes"), format!("{len} bytes")));
    }
    if found != expected {
        return Err(other(format!("physical hash {expected}"), found.to_string()));
    }
    if let What::Slice(slice) = &check.what {
        let found = slice::logical_hash(&path).map_err(unreadable)?;
        if found != slice.logical_hash {
            return Err(other(format!("logical hash {}", slice.logical_hash), found.to_string()));
        }
    }
    Ok(size)
}
