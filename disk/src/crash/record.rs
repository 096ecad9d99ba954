//! What a [`Recorder`](super::Recorder) writes down, and what a power cut does to it.

use std::panic::Location;
use std::path::PathBuf;

use crate::FileKey;

/// What becomes of bytes and names that were not synced when the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsynced {
    /// All of them reached the medium.
    Kept,
    /// None did.
    Dropped,
    /// Names did; of the writes to each file every second one, the last one by half; the rest reads as zeros.
    Torn,
}

impl Unsynced {
    /// All three.
    pub const ALL: [Unsynced; 3] = [Unsynced::Kept, Unsynced::Dropped, Unsynced::Torn];
}

/// Where in the code a sync is asked for.
pub(super) type Site = &'static Location<'static>;

/// A change, with everything needed to make it again on a model.
#[derive(Debug, Clone)]
pub(super) enum Record {
    Opened(PathBuf, FileKey),
    CreateDir(PathBuf),
    Create(PathBuf),
    Write(PathBuf, FileKey, u64, Vec<u8>),
    /// What others have written.
    Content(PathBuf, Vec<u8>),
    Resize(PathBuf, FileKey, u64),
    Punch(PathBuf, FileKey, u64, u64),
    Sync(PathBuf, FileKey, Site),
    SyncDir(PathBuf, Site),
    SyncAll,
    Rename(PathBuf, PathBuf),
    Link(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl std::fmt::Display for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Record::Write(path, _, offset, bytes) => {
                write!(f, "{} bytes written at {offset} of {}", bytes.len(), path.display())
            }
            Record::Sync(path, _, site) => write!(f, "Sync at {site} of {}", path.display()),
            Record::SyncDir(path, site) => write!(f, "SyncDir at {site} of {}", path.display()),
            other => write!(f, "{other:?}"),
        }
    }
}
