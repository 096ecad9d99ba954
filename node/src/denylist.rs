//! What is denied here: content and names that this peer serves nobody, by lists in files.
//!
//! Spec: <https://specs.ipfs.tech/compact-denylist-format/> (IPIP-383). Of the lists the later go before the earlier, and in each
//! the last line that matches decides. Where content is denied its block is given to nobody, so that nothing below it is
//! reached through it either; where a name is denied nothing below it is resolved.
//!
//! [`Denylist`] is asked at each door: by the [gateway](crate::gateway) and by the [exchange](crate::exchange).

mod rules;

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use cid::Cid;

use crate::threads::blocking;

use self::rules::Rules;
pub use self::rules::{MAX_HEADER_BYTES, MAX_LINE_BYTES, RulesError};

/// How often the files are looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A list cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the denylist {} cannot be used: {reason}", .path.display())]
pub struct DenylistError {
    /// The file.
    pub path: PathBuf,
    /// Why not.
    #[source]
    pub reason: RulesError,
}

/// Lists that are read again when their files change. Cloning gives another handle to the same. By default nothing is denied.
#[derive(Clone, Default)]
pub struct Denylist {
    lists: Arc<[List]>,
}

/// A file, and what it says.
struct List {
    path: PathBuf,
    read: RwLock<Read>,
}

/// What was read of a file.
struct Read {
    /// The file as it was then.
    state: State,
    rules: Arc<Rules>,
}

/// By what a file is seen to have changed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct State {
    modified: Option<SystemTime>,
    length: u64,
}

impl State {
    fn of(path: &Path) -> Result<Self, RulesError> {
        let found = path.metadata()?;
        Ok(Self {
            modified: found.modified().ok(),
            length: found.len(),
        })
    }
}

impl std::fmt::Debug for Denylist {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let paths = self.lists.iter().map(|list| &list.path);
        f.debug_list().entries(paths).finish()
    }
}

/// Handles to the same lists are equal.
impl PartialEq for Denylist {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.lists, &other.lists) || self.lists.is_empty() && other.lists.is_empty()
    }
}

impl Eq for Denylist {}

impl Denylist {
    /// Reads the files, of which later ones go before earlier ones. Blocks for as long as that takes.
    ///
    /// # Errors
    /// One of them cannot be read, or is of another version of the format. A line that is no rule is logged and passed over.
    pub fn open(files: &[PathBuf]) -> Result<Self, DenylistError> {
        let lists: Result<Vec<List>, DenylistError> = files.iter().map(|path| List::open(path)).collect();
        Ok(Self { lists: lists?.into() })
    }

    /// Whether the block is denied.
    pub fn denies(&self, cid: &Cid) -> bool {
        self.denies_path(cid, "")
    }

    /// Whether what is at the path below this root is denied. The path is not percent-encoded.
    pub fn denies_path(&self, root: &Cid, path: &str) -> bool {
        self.decides(|rules| rules.on_content(root, path))
    }

    /// Whether what is at the path below this name is denied: a key in any form, or a domain.
    pub fn denies_name(&self, name: &str, path: &str) -> bool {
        self.decides(|rules| rules.on_name(name, ""))
            || !path.is_empty() && self.decides(|rules| rules.on_name(name, path))
    }

    /// The word of the last list that has one.
    fn decides(&self, said: impl Fn(&Rules) -> Option<bool>) -> bool {
        let mut lists = self.lists.iter().rev();
        lists.find_map(|list| said(&list.rules())).unwrap_or(false)
    }

    /// Reads the files again that have changed. What was read of a file stays while it cannot be read.
    pub fn refresh(&self) {
        for list in self.lists.iter() {
            match list.refresh() {
                Ok(false) => {}
                Ok(true) => tracing::info!(path = %list.path.display(), "a denylist has changed and was read again"),
                Err(reason) => {
                    tracing::warn!(path = %list.path.display(), %reason, "a denylist cannot be read; what it said stays in force");
                }
            }
        }
    }

    /// Goes on looking whether the files change. Never ends.
    pub async fn watch(&self) {
        let mut tick = tokio::time::interval(LOOK_EVERY);
        loop {
            tick.tick().await;
            let lists = self.clone();
            blocking(move || lists.refresh()).await;
        }
    }
}

impl List {
    fn open(path: &Path) -> Result<Self, DenylistError> {
        let read = Read::of(path).map_err(|reason| DenylistError {
            path: path.to_owned(),
            reason,
        })?;
        Ok(Self {
            path: path.to_owned(),
            read: RwLock::new(read),
        })
    }

    fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.read.read().unwrap_or_else(PoisonError::into_inner).rules)
    }

    /// Whether the file has changed and was read again.
    fn refresh(&self) -> Result<bool, RulesError> {
        let known = self.read.read().unwrap_or_else(PoisonError::into_inner).state;
        if State::of(&self.path)? == known {
            return Ok(false);
        }
        let read = Read::of(&self.path)?;
        *self.read.write().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(true)
    }
}

impl Read {
    fn of(path: &Path) -> Result<Self, RulesError> {
        // Before it is read: what is written meanwhile is seen as a change.
        let state = State::of(path)?;
        let rules = Rules::read(BufReader::new(File::open(path)?), &path.display())?;
        Ok(Self {
            state,
            rules: Arc::new(rules),
        })
    }
}

#[cfg(test)]
mod tests;
