//! Who may read a dataset from this machine without a token.
//!
//! A dataset that was only made or pushed here is its owner's. Announcing it under a name, or saying so, makes it
//! everybody's; that is kept beside the chain, so it does not depend on an index.

use std::fmt;
use std::path::Path;

use odf_disk::Access;
use serde::{Deserialize, Serialize};

use super::head::read_text_if_there;
use super::{Dataset, DatasetError};

/// Name of the file in the directory of a dataset.
const FILE: &str = "shared.json";
/// The longest such file that is read.
pub(super) const MAX_SHARING_BYTES: u64 = 4 << 10;

/// How a dataset came to be readable for everybody, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Sharing {
    /// It was announced under a name here.
    Published,
    /// It was pulled from a name or root that everybody can look up.
    Followed,
    /// Its owner said so.
    Shared,
    /// Its owner said that it is not, whatever was before.
    Stopped,
}

impl Sharing {
    /// Whether everybody may read.
    pub fn is_open(self) -> bool {
        self != Sharing::Stopped
    }
}

impl fmt::Display for Sharing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Sharing::Published => "published",
            Sharing::Followed => "followed",
            Sharing::Shared => "shared",
            Sharing::Stopped => "stopped",
        })
    }
}

#[derive(Serialize, Deserialize)]
struct Note {
    sharing: Sharing,
}

impl Dataset {
    /// How the dataset is shared; nothing if nobody has said or done anything about it, and then it is not.
    ///
    /// # Errors
    /// What was noted cannot be read.
    pub fn sharing(&self) -> Result<Option<Sharing>, DatasetError> {
        sharing_in(&self.dir)
    }

    /// Whether everybody may read it from here. A note that cannot be read shares nothing.
    pub fn is_shared(&self) -> bool {
        is_shared_in(&self.dir)
    }

    /// Notes how the dataset is shared from now on; durable when this returns. That it is followed changes nothing that
    /// was noted before, also where that cannot be read any more: it may have been that it is not shared.
    ///
    /// # Errors
    /// The note cannot be written; it is as it was.
    pub fn set_sharing(&self, sharing: Sharing) -> Result<(), DatasetError> {
        let _turn = self.disk().lock_dir(&self.dir)?;
        match self.sharing() {
            Ok(None) => {}
            Ok(Some(known)) if known != sharing && sharing != Sharing::Followed => {}
            Err(_) if sharing != Sharing::Followed => {}
            Ok(Some(_)) | Err(_) => return Ok(()),
        }
        let path = self.dir.join(FILE);
        let text = serde_json::to_string(&Note { sharing }).map_err(|error| DatasetError::Damaged {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        Ok(self.disk().replace(&path, text.as_bytes(), Access::Readable)?)
    }
}

/// As [`Dataset::is_shared`], for the directory of a dataset that need not be opened for it.
pub(crate) fn is_shared_in(dir: &Path) -> bool {
    match sharing_in(dir) {
        Ok(sharing) => sharing.is_some_and(Sharing::is_open),
        Err(error) => {
            tracing::warn!(%error, "a dataset is not shared, because what was noted of that cannot be read");
            false
        }
    }
}

fn sharing_in(dir: &Path) -> Result<Option<Sharing>, DatasetError> {
    let path = dir.join(FILE);
    let Some(text) = read_text_if_there(&path, MAX_SHARING_BYTES)? else {
        return Ok(None);
    };
    let note: Note = serde_json::from_str(&text).map_err(|error| DatasetError::Damaged {
        path,
        reason: error.to_string(),
    })?;
    Ok(Some(note.sharing))
}
