//! What the owner of this machine agreed to of a dataset: sources that may run, transforms that may read.
//!
//! An approval is of the metadata block that set a source, so a block that somebody else puts in its place waits, whoever
//! has the dataset's key. It is kept beside the chain and belongs to this machine: it never travels with the dataset.

use std::path::{Path, PathBuf};

use odf_disk::Access;
use odf_metadata::{Multihash, Timestamp};
use serde::{Deserialize, Serialize};

use super::head::read_text_if_there;
use super::{Dataset, DatasetError};

/// Name of the file in the directory of a dataset.
const FILE: &str = "approved.json";
/// The longest file of approvals that is read.
pub(super) const MAX_APPROVAL_FILE_BYTES: u64 = 1 << 20;
/// The most approvals that are kept of one dataset; the oldest makes room.
pub const MAX_APPROVALS: usize = 64;

/// A source or a transform that was approved here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// The metadata block that sets it.
    pub block: Multihash,
    /// When it was approved.
    pub time: Timestamp,
    /// What it may use.
    #[serde(flatten)]
    pub grant: Grant,
}

/// What an approved source may use beside what its block says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The files and directories that it may read.
    pub paths: Vec<PathBuf>,
    /// Whether the host that it names may be of this machine or its network.
    pub private: bool,
}

impl Dataset {
    /// The approval of the polling source or transform in force, if there is one.
    ///
    /// # Errors
    /// The file of approvals cannot be read. Nothing counts as approved then.
    pub fn approval(&self) -> Result<Option<Approval>, DatasetError> {
        let Some(block) = &self.state.source_block else {
            return Ok(None);
        };
        let mut approvals = read(&self.dir)?.into_iter();
        Ok(approvals.find(|approval| approval.block == block.hash))
    }

    /// Approves the polling source or transform in force. Durable when this returns. Without one nothing is done.
    ///
    /// # Errors
    /// The approvals cannot be written; they are as they were.
    pub fn approve(&self, grant: Grant, time: Timestamp) -> Result<(), DatasetError> {
        let Some(block) = &self.state.source_block else {
            return Ok(());
        };
        let _turn = self.disk().lock_dir(&self.dir)?;
        // What cannot be read approves nothing, and nothing is lost with it that could not be approved again.
        let mut approvals = read(&self.dir).unwrap_or_default();
        approvals.retain(|approval| approval.block != block.hash);
        let surplus = (approvals.len() + 1).saturating_sub(MAX_APPROVALS);
        approvals.drain(..surplus);
        approvals.push(Approval {
            block: block.hash,
            time,
            grant,
        });
        self.write_approvals(&approvals)
    }

    /// Takes all approvals back. Gives whether there were any.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn revoke_approvals(&self) -> Result<bool, DatasetError> {
        let path = self.dir.join(FILE);
        let _turn = self.disk().lock_dir(&self.dir)?;
        let known = path.symlink_metadata().is_ok();
        self.disk().remove_file_if_there(&path)?;
        self.disk().sync_dir(&self.dir)?;
        Ok(known)
    }

    /// Lets an approval that counted before the history was written again count for the block that now says the same.
    pub(crate) fn carry_approval(&self, before: Option<Approval>) -> Result<(), DatasetError> {
        match before {
            Some(Approval { time, grant, .. }) => self.approve(grant, time),
            None => Ok(()),
        }
    }

    fn write_approvals(&self, approvals: &[Approval]) -> Result<(), DatasetError> {
        let path = self.dir.join(FILE);
        let text = serde_json::to_string_pretty(approvals).map_err(|error| DatasetError::Damaged {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        Ok(self.disk().replace(&path, text.as_bytes(), Access::Owner)?)
    }
}

fn read(dir: &Path) -> Result<Vec<Approval>, DatasetError> {
    let path = dir.join(FILE);
    let Some(text) = read_text_if_there(&path, MAX_APPROVAL_FILE_BYTES)? else {
        return Ok(Vec::new());
    };
    serde_json::from_str(&text).map_err(|error| DatasetError::Damaged {
        path,
        reason: error.to_string(),
    })
}
