//! Why a dataset could not be laid out as blocks.

use std::path::PathBuf;

use odf_dataset::DatasetError;
use odf_node::add::AddError;
use odf_node::block::BlockError;
use odf_node::store::StoreError;
use odf_node::unixfs::directory::{DirectoryError, LoadError};

/// Why a dataset could not be laid out. The dataset itself is unchanged; the next update starts from where the last
/// good one ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// The block store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A slice or checkpoint cannot be hashed.
    #[error(transparent)]
    Add(#[from] AddError),
    /// The dataset cannot be read.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// A directory node in the store is missing or damaged.
    #[error("the directory of the published layout cannot be changed: {0}")]
    Directory(String),
    /// A node does not fit into a block.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// A value has no dag-cbor form.
    #[error("a chain node cannot be written: {0}")]
    Encode(String),
    /// A slice or checkpoint cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A slice or checkpoint is not what its metadata block says.
    #[error("{} has {found} bytes, its metadata block says {expected}; run `odfs verify`", .path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// Length found.
        found: u64,
        /// Length in the metadata block.
        expected: u64,
    },
    /// The dataset does not lie in the store's workspace.
    #[error("{} is outside the workspace", .0.display())]
    Outside(PathBuf),
}

impl From<LoadError<LayoutError>> for LayoutError {
    fn from(error: LoadError<LayoutError>) -> Self {
        match error {
            LoadError::Load(error) => error,
            LoadError::Directory(error) => error.into(),
        }
    }
}

impl From<DirectoryError> for LayoutError {
    fn from(error: DirectoryError) -> Self {
        Self::Directory(error.to_string())
    }
}
