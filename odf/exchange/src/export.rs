//! A dataset as a plain ODF dataset directory: `refs`, `blocks`, `data` and `checkpoints`, as any ODF tool reads it and
//! as `ipfs get /ipns/NAME/files` gives it.

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use odf_dataset::Dataset;
use odf_dataset::receive::Progress;

use crate::{PushError, files};

/// Why a dataset could not be exported. What was written until then stays; there is no head.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The dataset cannot be read, or its files not be written.
    #[error(transparent)]
    Push(#[from] PushError),
    /// The target has something in it.
    #[error("{} is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// A file.
    #[error("cannot {operation} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exported {
    /// Metadata blocks.
    pub blocks: u64,
    /// Slices and checkpoints.
    pub objects: u64,
    /// All bytes.
    pub bytes: u64,
}

/// Writes the dataset into `dir`, which is made if need be and must be empty; the head comes last. Every file is checked
/// on its way.
///
/// # Errors
/// See [`ExportError`].
pub fn export(dataset: &Dataset, dir: &Path) -> Result<Exported, ExportError> {
    match fs::read_dir(dir).map(|mut entries| entries.next().is_some()) {
        Ok(true) => return Err(ExportError::NotEmpty(dir.to_owned())),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("read", dir)(error)),
        _ => {}
    }
    // All four, also those that stay empty: the directory is the one that is published.
    for part in ["blocks", "checkpoints", "data", "refs"] {
        let part = dir.join(part);
        fs::create_dir_all(&part).map_err(failed("create", &part))?;
    }
    let (objects, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
    files::push(dataset, dir, false, &|at| {
        match at {
            Progress::Planned { objects: planned, .. } => objects.store(planned, Ordering::Relaxed),
            Progress::Bytes(count) => {
                bytes.fetch_add(count, Ordering::Relaxed);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    })?;
    Ok(Exported {
        blocks: dataset.state().blocks(),
        objects: objects.into_inner(),
        bytes: bytes.into_inner() + dataset.state().totals.block_bytes,
    })
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ExportError + use<> {
    let path = path.to_owned();
    move |source| ExportError::Io {
        operation,
        path,
        source,
    }
}
