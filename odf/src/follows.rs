//! The names that a workspace is to be kept up to date with: what is wished is a small file for each, durable; what came of it
//! is in the index of the store, and may be lost with it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use odf_dataset::DatasetName;
use odf_disk::{Access, Disk, DiskError, read_small_text};
use odf_ipfs::pull::{Address, id_of};
use odf_ipfs::retention::{Retention, Rule};
use odf_ipfs::ticket::Ticket;
use odf_metadata::DatasetId;
use odf_node::ipns::Name;
use odf_node::store::{Store, StoreError};
use serde::{Deserialize, Serialize};

/// Directory of the wishes, in the workspace.
const DIR: &str = "followed";
/// Table of what came of them.
const OUTCOMES: &str = "odf.followed";
/// Longest file of a wish that is read.
const MAX_FILE_BYTES: u64 = 64 << 10;
/// Longest message of a failure that is remembered, in bytes.
const MAX_MESSAGE_BYTES: usize = 2 << 10;

/// Why the list of followed names could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FollowsError {
    /// A file does not hold what it must.
    #[error("{} is damaged: {reason}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// A name that is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Where the dataset is pulled from, as it is remembered with the dataset.
    pub address: Address,
    /// The name in it.
    pub name: Name,
    /// The dataset, once it is known.
    pub dataset: Option<DatasetId>,
    /// What a new dataset is called here.
    pub called: Option<DatasetName>,
    /// Every version that was ever here stays.
    pub mirror: bool,
    /// How many older versions stay; nothing: as the settings say.
    pub keep: Option<u64>,
    /// What it was named by, if that says where others are who have it: they are met again.
    pub ticket: Option<Ticket>,
}

impl Wish {
    /// A wish to follow what is at `address`; none if that is one fixed version.
    pub fn of(address: Address) -> Option<Self> {
        let name = *address.name()?;
        Some(Self {
            dataset: address.dataset_id(),
            address,
            name,
            called: None,
            mirror: false,
            keep: None,
            ticket: None,
        })
    }

    /// Which older versions stay, if the wish says that.
    pub fn retention(&self) -> Option<Retention> {
        match (self.mirror, self.keep) {
            (true, _) => Some(Retention::All),
            (false, Some(count)) => Some(Retention::Kept(vec![Rule::Newest(count)])),
            (false, None) => None,
        }
    }

    /// Whether this is about the dataset.
    pub fn is_of(&self, id: &DatasetId) -> bool {
        self.dataset.or_else(|| id_of(&self.name)).as_ref() == Some(id)
    }
}

/// As it is stored.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    address: String,
    #[serde(default)]
    dataset: Option<String>,
    #[serde(default)]
    called: Option<String>,
    #[serde(default)]
    mirror: bool,
    #[serde(default)]
    keep: Option<u64>,
    #[serde(default)]
    ticket: Option<String>,
}

/// What came of following a name. Times are seconds since 1970, 0 for never.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outcome {
    /// When the last rows came.
    pub updated: u64,
    /// When somebody was last asked or told something, and what is here was found to be all.
    pub checked: u64,
    /// Why the last attempt failed; nothing if it did not.
    pub failure: Option<String>,
    /// What to do about it.
    pub next: Option<String>,
    /// How many attempts in a row have failed.
    pub failed: u32,
}

/// The followed names of one workspace.
#[derive(Debug, Clone)]
pub struct Follows {
    disk: Disk,
    dir: PathBuf,
}

impl Follows {
    /// Those of the workspace in `root`. Nothing is read or made yet.
    pub fn of(root: &Path, disk: &Disk) -> Self {
        Self {
            disk: disk.clone(),
            dir: root.join(DIR),
        }
    }

    /// All of them, in the order of their names, and what is wrong with files that hold none. Files that are called like no name
    /// are passed over.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn list(&self) -> Result<(Vec<Wish>, Vec<FollowsError>), FollowsError> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), Vec::new())),
            Err(error) => return Err(DiskError::new("read", &self.dir, error).into()),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| DiskError::new("read", &self.dir, error))?;
            names.extend(entry.file_name().to_str().and_then(|name| name.parse::<Name>().ok()));
        }
        names.sort_unstable();
        let (mut wishes, mut damaged) = (Vec::new(), Vec::new());
        for name in &names {
            match self.get(name) {
                Ok(wish) => wishes.extend(wish),
                Err(error) => damaged.push(error),
            }
        }
        Ok((wishes, damaged))
    }

    /// The wish to follow `name`, if there is one.
    ///
    /// # Errors
    /// Its file cannot be read, or is damaged.
    pub fn get(&self, name: &Name) -> Result<Option<Wish>, FollowsError> {
        let path = self.path(name);
        let Some(text) = read_small_text(&path, MAX_FILE_BYTES)? else {
            return Ok(None);
        };
        let damaged = |reason: String| FollowsError::Damaged {
            path: path.clone(),
            reason,
        };
        let file: File = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        let address: Address = file
            .address
            .parse()
            .map_err(|_| damaged("it has no address".to_owned()))?;
        let wish = Wish::of(address).filter(|wish| wish.name == *name);
        let mut wish = wish.ok_or_else(|| damaged("its address is that of another name".to_owned()))?;
        let id = file.dataset.map(|id| id.parse()).transpose();
        let id = id.map_err(|_| damaged("it has the id of no dataset".to_owned()))?;
        let called = file.called.map(|called| called.parse()).transpose();
        wish.dataset = id.or(wish.dataset);
        wish.called = called.map_err(|_| damaged("it has no name for a dataset".to_owned()))?;
        wish.mirror = file.mirror;
        wish.keep = file.keep;
        let ticket = file.ticket.map(|ticket| ticket.parse()).transpose();
        wish.ticket = ticket.map_err(|_| damaged("it has no ticket".to_owned()))?;
        Ok(Some(wish))
    }

    /// The wish to follow the name that the dataset is pulled by, if there is one.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub fn of_dataset(&self, id: &DatasetId) -> Result<Option<Wish>, FollowsError> {
        let (wishes, _) = self.list()?;
        Ok(wishes.into_iter().find(|wish| wish.is_of(id)))
    }

    /// Remembers a wish in place of what was wished of its name before. Durable when this returns.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn put(&self, wish: &Wish) -> Result<(), FollowsError> {
        let file = File {
            address: wish.address.to_string(),
            dataset: wish.dataset.map(|id| id.to_string()),
            called: wish.called.as_ref().map(|called| called.to_string()),
            mirror: wish.mirror,
            keep: wish.keep,
            ticket: wish.ticket.as_ref().map(|ticket| ticket.to_string()),
        };
        self.disk.create_dirs(&self.dir, Access::Readable)?;
        // Plain texts and numbers have no way to fail.
        let bytes = serde_json::to_vec_pretty(&file).unwrap_or_default();
        Ok(self.disk.replace(&self.path(&wish.name), &bytes, Access::Readable)?)
    }

    /// Forgets that a name is followed; whether it was.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn remove(&self, name: &Name) -> Result<bool, FollowsError> {
        let path = self.path(name);
        if !path.exists() {
            return Ok(false);
        }
        self.disk.remove_file_if_there(&path)?;
        self.disk.sync_dir(&self.dir)?;
        Ok(true)
    }

    fn path(&self, name: &Name) -> PathBuf {
        self.dir.join(name.to_string())
    }
}

/// What came of following a name so far.
///
/// # Errors
/// The index cannot be read.
pub fn outcome(store: &Store, name: &Name) -> Result<Outcome, StoreError> {
    let saved = store.table(OUTCOMES)?.get(&key(name))?;
    // A form of another version counts as nothing.
    Ok(saved
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default())
}

/// Remembers what came of following a name.
///
/// # Errors
/// The index cannot be written.
pub fn note(store: &Store, name: &Name, outcome: &Outcome) -> Result<(), StoreError> {
    let short = |text: &String| -> String {
        let end = text.floor_char_boundary(MAX_MESSAGE_BYTES);
        text.get(..end).unwrap_or_default().to_owned()
    };
    let outcome = Outcome {
        failure: outcome.failure.as_ref().map(short),
        next: outcome.next.as_ref().map(short),
        ..outcome.clone()
    };
    // Plain texts and numbers have no way to fail.
    let bytes = serde_json::to_vec(&outcome).unwrap_or_default();
    store.table(OUTCOMES)?.insert(&key(name), &bytes)
}

/// Forgets what came of following a name.
///
/// # Errors
/// The index cannot be written.
pub fn forget(store: &Store, name: &Name) -> Result<(), StoreError> {
    store.table(OUTCOMES)?.remove(&key(name))
}

fn key(name: &Name) -> Vec<u8> {
    name.peer_id().to_bytes()
}

#[cfg(test)]
mod tests {
    use odf_node::keystore::Keypair;
    use odf_node::store::StoreOptions;

    use super::*;

    fn name() -> Name {
        Name::from_public_key(&Keypair::generate_ed25519().public())
    }

    #[test]
    fn a_wish_is_read_back_until_it_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let follows = Follows::of(dir.path(), &Disk::new());
        assert!(follows.list().unwrap().0.is_empty());
        let (first, second) = (name(), name());
        let id = id_of(&first).unwrap();
        let plain = Wish::of(Address::Name(second)).unwrap();
        let wish = Wish {
            called: Some("birds".parse().unwrap()),
            keep: Some(3),
            ticket: Some(Ticket::new(&Address::Name(first), None, Vec::new()).unwrap()),
            ..Wish::of(Address::Dataset { id, name: first }).unwrap()
        };
        follows.put(&wish).unwrap();
        follows.put(&plain).unwrap();
        assert_eq!(follows.get(&first).unwrap().as_ref(), Some(&wish));
        assert_eq!(follows.list().unwrap().0.len(), 2);
        assert_eq!(follows.of_dataset(&id).unwrap().as_ref(), Some(&wish));
        assert_eq!(wish.retention(), Some(Retention::Kept(vec![Rule::Newest(3)])));
        assert_eq!(plain.retention(), None);
        // A name that stands for a dataset with another key.
        let other = id_of(&name()).unwrap();
        let of_other = Wish {
            dataset: Some(other),
            mirror: true,
            ..plain.clone()
        };
        follows.put(&of_other).unwrap();
        assert!(of_other.is_of(&other) && !of_other.is_of(&id_of(&second).unwrap()));
        assert_eq!(follows.get(&second).unwrap(), Some(of_other));
        assert!(follows.remove(&first).unwrap());
        assert!(!follows.remove(&first).unwrap());
        assert_eq!(follows.list().unwrap().0.len(), 1);
    }

    #[test]
    fn a_file_that_is_no_wish_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let follows = Follows::of(dir.path(), &Disk::new());
        let (at, other) = (name(), name());
        fs::create_dir(dir.path().join(DIR)).unwrap();
        let path = dir.path().join(DIR).join(at.to_string());
        let too_long = " ".repeat(usize::try_from(MAX_FILE_BYTES).unwrap() + 1);
        for text in ["", "{}", &format!("{{\"address\":\"ipns://{other}\"}}"), &too_long] {
            fs::write(&path, text).unwrap();
            assert!(follows.get(&at).is_err(), "{}", text.len());
            let (wishes, damaged) = follows.list().unwrap();
            assert_eq!((wishes.len(), damaged.len()), (0, 1));
        }
        let longest = format!("{{\"address\":\"ipns://{at}\"}}");
        let longest = longest.clone() + &" ".repeat(too_long.len() - 1 - longest.len());
        fs::write(&path, longest).unwrap();
        assert!(follows.get(&at).unwrap().is_some());
    }

    #[test]
    fn a_long_message_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
        let at = name();
        assert_eq!(outcome(&store, &at).unwrap(), Outcome::default());
        let failed = Outcome {
            failure: Some("x".repeat(MAX_MESSAGE_BYTES + 1)),
            failed: 2,
            ..Outcome::default()
        };
        note(&store, &at, &failed).unwrap();
        let kept = outcome(&store, &at).unwrap();
        assert_eq!(kept.failure.map(|text| text.len()), Some(MAX_MESSAGE_BYTES));
        assert_eq!(kept.failed, 2);
        forget(&store, &at).unwrap();
        assert_eq!(outcome(&store, &at).unwrap(), Outcome::default());
    }
}
