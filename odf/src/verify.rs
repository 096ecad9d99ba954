//! Every hash and rule of a dataset checked again, from the files alone.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use odf_node::block::{Cid, MAX_BLOCK_BYTES};
use odf_node::unixfs::import;

use crate::chain::{ChainError, ChainState};
use crate::dataset::{Dataset, DatasetError};
use crate::digest;
use crate::layout::{Layout, PROFILE};
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
    #[error(
        "{} of metadata block {sequence} ({hash}): {found} instead of {expected}{}",
        .path.display(),
        .place.as_ref().map(|place| format!("; {place}")).unwrap_or_default()
    )]
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
        /// Where the first wrong byte is, if the dataset has a layout to compare with.
        place: Option<WrongPart>,
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

/// The part of a file that has the first wrong byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongPart {
    /// The IPLD block that the part was when the dataset was laid out.
    pub cid: Cid,
    /// Where the part begins in the file.
    pub start: u64,
    /// Where it ends as the layout has it; `None` for the only part of a file.
    pub end: Option<u64>,
}

impl fmt::Display for WrongPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cid, start, .. } = self;
        match self.end {
            Some(end) => write!(f, "the first wrong byte is in bytes {start} to {end}, IPLD block {cid}"),
            None => write!(f, "the first wrong byte is in IPLD block {cid}, the whole file"),
        }
    }
}

/// How much is checked of every slice. Metadata blocks, the rules of the chain and checkpoints always are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Depth {
    /// Every byte, by the physical hash that the owner's chain has for the file.
    #[default]
    Bytes,
    /// The rows too: they are decoded, and their logical hash compared.
    Rows,
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

/// Checks block hashes, the rules of the chain, and every file as deep as `depth` says. With a `layout` a wrong file is
/// compared with it leaf by leaf, and the error says where the first wrong byte is. `progress` gets the bytes of each
/// file as it is done.
///
/// # Errors
/// The first fault in the order of the chain.
pub fn verify(
    dataset: &Dataset,
    layout: Option<&Layout>,
    depth: Depth,
    progress: &(dyn Fn(u64) + Send + Sync),
) -> Result<Verified, VerifyError> {
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
    let files = Files { dataset, layout, depth };
    files.check_all(&checks, progress)?;
    Ok(verified)
}

/// The files of a dataset under verification.
struct Files<'a> {
    dataset: &'a Dataset,
    layout: Option<&'a Layout>,
    depth: Depth,
}

impl Files<'_> {
    /// Checks files on all cores; the fault reported is the first in the order of the chain.
    fn check_all(&self, checks: &[Check], progress: &(dyn Fn(u64) + Send + Sync)) -> Result<(), VerifyError> {
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
                        match self.check(check) {
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

    fn check(&self, check: &Check) -> Result<u64, VerifyError> {
        let (path, expected, size) = match &check.what {
            What::Slice(slice) => (
                self.dataset.slice_path(&slice.physical_hash),
                slice.physical_hash,
                slice.size,
            ),
            What::Checkpoint(file) => (
                self.dataset.checkpoint_path(&file.physical_hash),
                file.physical_hash,
                file.size,
            ),
        };
        let sequence = check.sequence;
        let unreadable = |source| VerifyError::Unreadable {
            path: path.clone(),
            sequence,
            source,
        };
        let unread = |source| {
            unreadable(SliceError::Io {
                operation: "read",
                path: path.clone(),
                source,
            })
        };
        let other = |expected: String, found: String, place| VerifyError::Object {
            path: path.clone(),
            sequence,
            hash: check.hash,
            expected,
            found,
            place,
        };
        let (found, len) = digest::physical_hash(&path).map_err(unread)?;
        if (found, len) != (expected, size) {
            let place = self.first_wrong_part(&path, &expected);
            return Err(if len == size {
                other(format!("physical hash {expected}"), found.to_string(), place)
            } else {
                other(format!("{size} bytes"), format!("{len} bytes"), place)
            });
        }
        if let (What::Slice(slice), Depth::Rows) = (&check.what, self.depth) {
            let found = slice::logical_hash(&path).map_err(unreadable)?;
            if found != slice.logical_hash {
                let expected = format!("logical hash {}", slice.logical_hash);
                return Err(other(expected, found.to_string(), None));
            }
        }
        Ok(size)
    }

    /// The first part of a file that is not what it was when the dataset was laid out. This only adds to what is known
    /// to be wrong already, so whatever fails here is only logged.
    fn first_wrong_part(&self, path: &Path, physical_hash: &Multihash) -> Option<WrongPart> {
        let leaves = self.layout?.leaves(&self.dataset.id(), physical_hash);
        let leaves = leaves.unwrap_or_else(|error| {
            tracing::warn!(%error, "the layout of a damaged dataset cannot be read");
            None
        })?;
        let mut file = File::open(path).ok()?;
        let mut bytes = Vec::new();
        for leaf in leaves {
            bytes.clear();
            let read = Read::by_ref(&mut file)
                .take(leaf.len.unwrap_or(MAX_BLOCK_BYTES as u64 + 1))
                .read_to_end(&mut bytes);
            if read.is_err() || import::hash_leaf(&PROFILE, &bytes).is_ok_and(|found| found.cid != leaf.cid) {
                return Some(WrongPart {
                    cid: leaf.cid,
                    start: leaf.offset,
                    end: leaf.len.map(|len| leaf.offset + len),
                });
            }
        }
        None
    }
}
