//! How to add, how it goes, and what came out.

use std::num::NonZeroUsize;
use std::path::Path;

use super::error::AddError;
use crate::unixfs::{Entry, Profile};

/// How to add.
#[derive(Clone, Copy)]
pub struct AddOptions<'a> {
    /// Decides which CIDs come out.
    pub profile: Profile,
    /// Compute the CIDs, keep nothing.
    pub only_hash: bool,
    /// Take entries of directories whose names begin with a dot, too.
    pub hidden: bool,
    /// Says which entries of directories, by their names, are left out.
    pub ignore: &'a (dyn Fn(&str) -> bool + Sync),
    /// Threads that hash and write; as many as there are cores if not given.
    pub workers: Option<NonZeroUsize>,
    /// Is told how things go, from several threads.
    pub watch: &'a (dyn Fn(Progress<'_>) + Sync),
    /// Is asked now and then, from several threads, whether to stop.
    pub stop: &'a (dyn Fn() -> bool + Sync),
}

impl AddOptions<'_> {
    /// Keeps everything but hidden files, with all cores, watched by nobody.
    pub fn new(profile: Profile) -> Self {
        Self {
            profile,
            only_hash: false,
            hidden: false,
            ignore: &|_| false,
            workers: None,
            watch: &|_| {},
            stop: &|| false,
        }
    }

    pub(super) fn check(&self) -> Result<(), AddError> {
        if (self.stop)() { Err(AddError::Stopped) } else { Ok(()) }
    }
}

/// How things go.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// This many more bytes are read, hashed and written.
    Bytes(u64),
    /// A file, symlink or directory is whole. Files and symlinks come first, in the order of their paths, then
    /// directories, inner ones before outer ones, as `ipfs add` lists them. Said once all content is read.
    Added {
        /// Where it was, beginning with the name of what was added.
        path: &'a Path,
        /// What it became.
        entry: Entry,
    },
}

/// What was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Added {
    /// The root.
    pub entry: Entry,
    /// Regular files.
    pub files: u64,
    /// Bytes of their content.
    pub bytes: u64,
}
