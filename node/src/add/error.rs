//! Why something could not be added.

use std::io;
use std::path::PathBuf;

use crate::block::BlockError;
use crate::store::StoreError;
use crate::unixfs::directory::DirectoryError;

/// The deepest nesting of directories that is added, and that is followed where one is saved: what is added can be had back.
pub const MAX_DEPTH: usize = 256;

/// Why something could not be added. What was kept until then is without a pin, so GC removes it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddError {
    /// A file or directory cannot be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// UnixFS knows files, directories and symlinks only.
    #[error("{} is neither a file nor a directory nor a symlink", .path.display())]
    Special {
        /// Which.
        path: PathBuf,
    },
    /// Names in UnixFS are UTF-8.
    #[error("the name of {} is not UTF-8", .path.display())]
    Name {
        /// Which.
        path: PathBuf,
    },
    /// Directories are nested too deeply.
    #[error("{} is nested more than {} directories deep", .path.display(), MAX_DEPTH)]
    TooDeep {
        /// The first one that is too deep.
        path: PathBuf,
    },
    /// A file can be added where it is only if its leaves are its own bytes.
    #[error("profile {profile} wraps the leaves of files, so they cannot stay in place")]
    WrapsLeaves {
        /// Name of the profile.
        profile: &'static str,
    },
    /// The profile's chunks or nodes do not fit into blocks.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// A directory cannot be made.
    #[error("cannot make a directory of {}", .path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: DirectoryError,
    },
    /// [`AddOptions::stop`](super::AddOptions::stop) said so.
    #[error("stopped")]
    Stopped,
    /// The store failed; [`StoreError::Full`] when the disk is full.
    #[error(transparent)]
    Store(#[from] StoreError),
}
