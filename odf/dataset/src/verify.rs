//! Every hash and rule of a dataset checked again, from the files alone.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::dataset::{Damage, Dataset, DatasetError};
use crate::mirror::{Mirror, WrongPart};
use odf_metadata::chain::{ChainError, ChainState};
use odf_metadata::{Checkpoint, DataSlice, Multihash};
use odf_tables::digest;
use odf_tables::slice::{self, SliceError};

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
        /// Where the first wrong byte is, if the dataset has a second form to compare with.
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

/// Checks block hashes, the rules of the chain, and every file as deep as `depth` says. A wrong file is
/// compared with the second form of the dataset, if that is known, and the error says where the first wrong byte is. `progress`
/// hears of bytes of files as they are done, with [`Depth::Rows`] twice of those of slices: once read, once decoded.
///
/// # Errors
/// The first fault in the order of the chain.
pub fn verify(
    dataset: &Dataset,
    mirror: &dyn Mirror,
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
    let files = Files { dataset, mirror, depth };
    files.check_all(&checks, progress)?;
    Ok(verified)
}

/// Remembers what a verification found, or that it found nothing. Files that are only missing are remembered as such: the
/// dataset is in order when they are back.
///
/// # Errors
/// The note cannot be written.
pub fn remember(dataset: &Dataset, fault: Option<&VerifyError>) -> Result<(), DatasetError> {
    let Some(fault) = fault else {
        return dataset.set_damage(None);
    };
    let missing = match fault {
        VerifyError::Object { .. } | VerifyError::Unreadable { .. } => dataset.lacking(None)?,
        _ => Vec::new(),
    };
    let is_missing = |path: &Path| missing.iter().any(|object| object.path(dataset.dir()) == path);
    let lasting = match fault {
        VerifyError::Object { path, .. } | VerifyError::Unreadable { path, .. } => !is_missing(path),
        _ => true,
    };
    dataset.set_damage(Some(&Damage {
        reason: fault.to_string(),
        missing,
        lasting,
    }))
}

/// The files of a dataset under verification.
struct Files<'a> {
    dataset: &'a Dataset,
    mirror: &'a dyn Mirror,
    depth: Depth,
}

impl Files<'_> {
    /// Checks files on all cores; the fault reported is the first in the order of the chain, because whatever is begun
    /// is ended.
    fn check_all(&self, checks: &[Check], progress: &(dyn Fn(u64) + Send + Sync)) -> Result<(), VerifyError> {
        let workers = std::thread::available_parallelism()
            .map_or(1, |cores| cores.get())
            .min(checks.len().max(1));
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let first: Mutex<Option<(usize, VerifyError)>> = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    let fault = |at, error| {
                        stop.store(true, Ordering::Relaxed);
                        let mut first = first.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                        if first.as_ref().is_none_or(|(earlier, _)| at < *earlier) {
                            *first = Some((at, error));
                        }
                    };
                    let next = || {
                        while !stop.load(Ordering::Relaxed) {
                            let at = next.fetch_add(1, Ordering::Relaxed);
                            let check = checks.get(at)?;
                            match File::open(self.path(check)) {
                                Ok(file) => return Some(((at, check), Told { file, progress })),
                                Err(error) => fault(at, self.unread(check, error)),
                            }
                        }
                        None
                    };
                    digest::physical_hashes(next, |(at, check), found| {
                        let found = found.map_err(|error| self.unread(check, error));
                        if let Err(error) = found.and_then(|found| self.check(check, found, progress)) {
                            fault(at, error);
                        }
                    });
                });
            }
        });
        let first = first.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        first.map_or(Ok(()), |(_, error)| Err(error))
    }

    fn path(&self, check: &Check) -> PathBuf {
        match &check.what {
            What::Slice(slice) => self.dataset.slice_path(&slice.physical_hash),
            What::Checkpoint(file) => self.dataset.checkpoint_path(&file.physical_hash),
        }
    }

    fn unread(&self, check: &Check, source: io::Error) -> VerifyError {
        let path = self.path(check);
        VerifyError::Unreadable {
            path: path.clone(),
            sequence: check.sequence,
            source: SliceError::Io {
                operation: "read",
                path,
                source,
            },
        }
    }

    /// Whether a file that was read is what the chain says; `found` are its physical hash and its length in bytes.
    fn check(
        &self,
        check: &Check,
        (found, len): (Multihash, u64),
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), VerifyError> {
        let path = self.path(check);
        let (expected, size) = match &check.what {
            What::Slice(slice) => (slice.physical_hash, slice.size),
            What::Checkpoint(file) => (file.physical_hash, file.size),
        };
        let sequence = check.sequence;
        let other = |expected: String, found: String, place| VerifyError::Object {
            path: path.clone(),
            sequence,
            hash: check.hash,
            expected,
            found,
            place,
        };
        if (found, len) != (expected, size) {
            let place = self.mirror.wrong_part(self.dataset, &path, &expected);
            return Err(if len == size {
                other(format!("physical hash {expected}"), found.to_string(), place)
            } else {
                other(format!("{size} bytes"), format!("{len} bytes"), place)
            });
        }
        if let (What::Slice(slice), Depth::Rows) = (&check.what, self.depth) {
            let mut told = 0;
            let mut on_rows = |done: u64, all: u64| {
                let bytes = u128::from(size) * u128::from(done.min(all)) / u128::from(all.max(1));
                let bytes = u64::try_from(bytes).unwrap_or(size);
                progress(bytes.saturating_sub(told));
                told = bytes;
            };
            let found = slice::logical_hash_telling(&path, &mut on_rows);
            let found = found.map_err(|source| VerifyError::Unreadable {
                path: path.clone(),
                sequence,
                source,
            })?;
            if found != slice.logical_hash {
                let expected = format!("logical hash {}", slice.logical_hash);
                return Err(other(expected, found.to_string(), None));
            }
        }
        Ok(())
    }
}

/// A file that tells how much of it is read.
struct Told<'a> {
    file: File,
    progress: &'a (dyn Fn(u64) + Send + Sync),
}

impl Read for Told<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        (self.progress)(read as u64);
        Ok(read)
    }
}
