//! A dataset as a plain ODF dataset directory: `refs`, `blocks`, `data` and `checkpoints`, as any ODF tool reads it and
//! as `ipfs get /ipns/NAME/files` gives it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::dataset::{Dataset, DatasetError};

/// Why a dataset could not be exported. What was written until then stays.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The dataset cannot be read.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
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

/// Writes the dataset into `dir`, which is made if need be and must be empty; the head comes last.
///
/// # Errors
/// See [`ExportError`].
pub fn export(dataset: &Dataset, dir: &Path) -> Result<Exported, ExportError> {
    match fs::read_dir(dir).map(|mut entries| entries.next().is_some()) {
        Ok(true) => return Err(ExportError::NotEmpty(dir.to_owned())),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("read", dir)(error)),
        _ => {}
    }
    for part in ["blocks", "checkpoints", "data", "refs"] {
        let part = dir.join(part);
        fs::create_dir_all(&part).map_err(failed("create", &part))?;
    }
    let mut exported = Exported::default();
    for stored in dataset.blocks_after(None)? {
        let block = stored?.block;
        write(&dir.join("blocks").join(block.hash().to_string()), block.bytes())?;
        exported.blocks += 1;
        exported.bytes += block.bytes().len() as u64;
        let event = &block.block().event;
        let slice = event
            .new_data()
            .map(|slice| ("data", slice.physical_hash, dataset.slice_path(&slice.physical_hash)));
        let checkpoint = event.new_checkpoint().map(|file| {
            (
                "checkpoints",
                file.physical_hash,
                dataset.checkpoint_path(&file.physical_hash),
            )
        });
        for (part, hash, from) in slice.into_iter().chain(checkpoint) {
            let to = dir.join(part).join(hash.to_string());
            exported.bytes += fs::copy(&from, &to).map_err(failed("copy", &from))?;
            exported.objects += 1;
        }
    }
    write(&dir.join("refs/head"), dataset.head().to_string().as_bytes())?;
    Ok(exported)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ExportError> {
    fs::write(path, bytes).map_err(failed("write", path))
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ExportError + use<> {
    let path = path.to_owned();
    move |source| ExportError::Io {
        operation,
        path,
        source,
    }
}
