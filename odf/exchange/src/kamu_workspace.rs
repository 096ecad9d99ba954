//! The datasets of a kamu workspace, read from its `.kamu` directory, in which nothing is written or made.
//!
//! Its SQLite database says which datasets there are and where their heads stand; `refs/head` follows later. Without a
//! database the directories speak for themselves. The files of each dataset are then read like those of any other
//! directory, and every one of them is checked.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rand::distr::{Alphanumeric, SampleString as _};
use rusqlite::{Connection, OpenFlags};
use serde::Deserialize;
use url::Url;

use super::files::FilesSource;
use odf_dataset::receive::Source as _;
use odf_dataset::{DatasetName, NameError, RemoteAliases};
use odf_metadata::{DatasetId, Multihash};

/// The directory that makes its parent a workspace of kamu.
const MARK: &str = ".kamu";
/// The version of the layout that is read, the current one of kamu 0.265.
pub const WORKSPACE_VERSION: u32 = 7;
const DATABASE: &str = "workspace.sqlite.db";
/// Files beside the database with changes that are not in it yet.
const UNSETTLED: [&str; 2] = ["-wal", "-journal"];
/// Longest `version`, `workspace.config` and `info/alias` that are read.
const MAX_SMALL_BYTES: u64 = 64 << 10;
/// Most datasets that are listed.
pub const MAX_DATASETS: usize = 100_000;

/// Why a workspace of kamu could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KamuWorkspaceError {
    /// There is none.
    #[error("{} is no workspace of kamu: it has no {MARK}/version", .0.display())]
    NotAWorkspace(PathBuf),
    /// Its layout is another one.
    #[error("{} has workspace version {found}, odfs reads version {WORKSPACE_VERSION}", .path.display())]
    Version {
        /// The workspace.
        path: PathBuf,
        /// What it says.
        found: String,
    },
    /// The database cannot be read.
    #[error("the database {} cannot be read: {reason}", .path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Something in it is not what it must be.
    #[error("{} is damaged: {reason}", .path.display())]
    Damaged {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// More than [`MAX_DATASETS`].
    #[error("{} has more than {MAX_DATASETS} datasets", .0.display())]
    TooMany(PathBuf),
    /// No dataset, or several, have the name.
    #[error("{} has no dataset `{name}`{}", .path.display(), meant(.candidates))]
    Unknown {
        /// The workspace.
        path: PathBuf,
        /// What was asked for.
        name: String,
        /// Datasets of several accounts that are called so.
        candidates: Vec<String>,
    },
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

fn meant(candidates: &[String]) -> String {
    match candidates {
        [] => String::new(),
        several => format!("; it could be {}", several.join(" or ")),
    }
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KamuWorkspaceError + use<> {
    let path = path.to_owned();
    move |source| KamuWorkspaceError::Io {
        operation,
        path,
        source,
    }
}

/// A dataset of a kamu workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KamuDataset {
    /// Its identity.
    pub id: DatasetId,
    /// Whose it is, in a workspace of several accounts.
    pub account: Option<DatasetName>,
    /// What it is called.
    pub name: DatasetName,
    /// Its newest metadata block; nothing for one that is being made.
    pub head: Option<Multihash>,
    dir: PathBuf,
}

impl KamuDataset {
    /// Its files.
    pub fn source(&self) -> FilesSource {
        let source = FilesSource::new(&self.dir);
        match self.head {
            Some(head) => source.at(head),
            None => source,
        }
    }

    /// Where it is pulled from and pushed to.
    ///
    /// # Errors
    /// `info/config` is damaged.
    pub fn aliases(&self) -> Result<RemoteAliases, KamuWorkspaceError> {
        RemoteAliases::in_directory(&self.dir).map_err(|error| KamuWorkspaceError::Damaged {
            path: self.dir.join("info/config"),
            reason: error.to_string(),
        })
    }

    /// Its name with the account before it, if there are several.
    pub fn full_name(&self) -> String {
        match &self.account {
            Some(account) => format!("{account}/{}", self.name),
            None => self.name.to_string(),
        }
    }
}

/// A workspace of kamu.
#[derive(Debug, Clone)]
pub struct KamuWorkspace {
    dir: PathBuf,
    datasets: Vec<KamuDataset>,
}

impl KamuWorkspace {
    /// Reads the list of datasets of the workspace at `path`, which is its `.kamu` or the directory above. If kamu was
    /// stopped, or is, with changes beside its database, they are read from a copy below `scratch`, which is removed.
    ///
    /// # Errors
    /// See [`KamuWorkspaceError`].
    pub fn open(path: &Path, scratch: &Path) -> Result<Self, KamuWorkspaceError> {
        let below = path.join(MARK);
        let dir = if below.is_dir() { below } else { path.to_owned() };
        let version = match read_small(&dir.join("version")) {
            Ok(Some(text)) => text.trim().to_owned(),
            Ok(None) => return Err(KamuWorkspaceError::NotAWorkspace(path.to_owned())),
            Err(error) => return Err(error),
        };
        if version.parse() != Ok(WORKSPACE_VERSION) {
            return Err(KamuWorkspaceError::Version {
                path: dir,
                found: version.chars().take(32).collect(),
            });
        }
        let multi_tenant = is_multi_tenant(&dir)?;
        let mut datasets = match Database::open(&dir, scratch)? {
            Some(database) => database.datasets(&dir)?,
            None => in_directories(&dir)?,
        };
        if !multi_tenant {
            datasets.iter_mut().for_each(|dataset| dataset.account = None);
        }
        datasets.sort_by_key(|dataset| dataset.full_name().to_ascii_lowercase());
        Ok(Self { dir, datasets })
    }

    /// All datasets by name.
    pub fn datasets(&self) -> &[KamuDataset] {
        &self.datasets
    }

    /// The dataset that `text` stands for: a name, in any case, `account/name`, or an id.
    ///
    /// # Errors
    /// [`KamuWorkspaceError::Unknown`].
    pub fn find(&self, text: &str) -> Result<&KamuDataset, KamuWorkspaceError> {
        let id = text.parse::<DatasetId>().ok();
        let is_meant = |dataset: &&KamuDataset| {
            id == Some(dataset.id)
                || dataset.name.as_str().eq_ignore_ascii_case(text)
                || dataset.full_name().eq_ignore_ascii_case(text)
        };
        let found: Vec<&KamuDataset> = self.datasets.iter().filter(is_meant).collect();
        match found.as_slice() {
            [only] => Ok(only),
            several => Err(KamuWorkspaceError::Unknown {
                path: self.dir.clone(),
                name: text.chars().take(200).collect(),
                candidates: several.iter().map(|dataset| dataset.full_name()).collect(),
            }),
        }
    }

    /// What a dataset is called outside of its workspace: its name, or `account.name` if several accounts have one of
    /// that name.
    pub fn local_name(&self, dataset: &KamuDataset) -> DatasetName {
        let namesakes = self.datasets.iter().filter(|other| other.name == dataset.name).count();
        let with_account = dataset.account.as_ref().filter(|_| namesakes > 1);
        with_account
            .and_then(|account| format!("{account}.{}", dataset.name).parse().ok())
            .unwrap_or_else(|| dataset.name.clone())
    }
}

#[derive(Deserialize)]
struct ConfigManifest {
    content: Config,
}

#[derive(Deserialize, Default)]
struct Config {
    #[serde(default, alias = "multiTenant")]
    multi_tenant: bool,
}

fn is_multi_tenant(dir: &Path) -> Result<bool, KamuWorkspaceError> {
    let path = dir.join("workspace.config");
    let Some(text) = read_small(&path)? else {
        return Ok(false);
    };
    let manifest: ConfigManifest = serde_norway::from_str(&text).map_err(|error| KamuWorkspaceError::Damaged {
        path,
        reason: error.to_string(),
    })?;
    Ok(manifest.content.multi_tenant)
}

/// The datasets as their directories tell, for a workspace without a database.
fn in_directories(dir: &Path) -> Result<Vec<KamuDataset>, KamuWorkspaceError> {
    let datasets = dir.join("datasets");
    let mut found = Vec::new();
    let entries = match fs::read_dir(&datasets) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(failed("read", &datasets)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(failed("read", &datasets))?;
        let (file_name, dir) = (entry.file_name(), entry.path());
        // What begins with a dot is being made or removed.
        let Some(id) = file_name.to_str().filter(|name| !name.starts_with('.')) else {
            continue;
        };
        let damaged = |reason: String| KamuWorkspaceError::Damaged {
            path: dir.clone(),
            reason,
        };
        let id = DatasetId::from_multibase(id).map_err(|error| damaged(error.to_string()))?;
        let alias = read_small(&dir.join("info/alias"))?.ok_or_else(|| damaged("it has no info/alias".to_owned()))?;
        let (account, name) = match alias.trim().split_once('/') {
            Some((account, name)) => (Some(account), name),
            None => (None, alias.trim()),
        };
        let name_of = |text: &str| text.parse().map_err(|error: NameError| damaged(error.to_string()));
        let head = FilesSource::new(&dir)
            .head()
            .map_err(|error| damaged(error.to_string()))?;
        found.push(KamuDataset {
            id,
            account: account.map(name_of).transpose()?,
            name: name_of(name)?,
            head,
            dir: dir.clone(),
        });
        if found.len() > MAX_DATASETS {
            return Err(KamuWorkspaceError::TooMany(datasets));
        }
    }
    Ok(found)
}

/// The database of a workspace, open for reading.
struct Database {
    connection: Connection,
    path: PathBuf,
    /// Removed when this is dropped, after the connection.
    _copy: Option<Copy>,
}

/// A copy of a database with the changes beside it.
struct Copy(PathBuf);

impl Drop for Copy {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::debug!(path = %self.0.display(), %error, "the copy of a database stays");
        }
    }
}

impl Database {
    fn open(dir: &Path, scratch: &Path) -> Result<Option<Self>, KamuWorkspaceError> {
        let path = dir.join(DATABASE);
        if !path.exists() {
            return Ok(None);
        }
        let beside = |suffix: &str| dir.join(format!("{DATABASE}{suffix}"));
        let unsettled = UNSETTLED
            .iter()
            .any(|suffix| fs::metadata(beside(suffix)).is_ok_and(|file| file.len() > 0));
        let failed_to = |error: rusqlite::Error| KamuWorkspaceError::Database {
            path: path.clone(),
            reason: error.to_string(),
        };
        if !unsettled {
            // `immutable` keeps SQLite from making files beside the database, even for reading.
            let url = Url::from_file_path(path.canonicalize().map_err(failed("open", &path))?);
            let url = url.map_err(|()| failed("open", &path)(io::ErrorKind::InvalidInput.into()))?;
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection =
                Connection::open_with_flags(format!("{url}?mode=ro&immutable=1"), flags).map_err(failed_to)?;
            return Ok(Some(Self {
                connection,
                path,
                _copy: None,
            }));
        }
        let random = Alphanumeric.sample_string(&mut rand::rng(), 16);
        let copy = Copy(scratch.join(format!("kamu-{random}")));
        fs::create_dir_all(&copy.0).map_err(failed("create", &copy.0))?;
        for suffix in [&[""], &UNSETTLED[..]].concat() {
            let from = beside(suffix);
            if from.exists() {
                let to = copy.0.join(format!("{DATABASE}{suffix}"));
                let mut reader = fs::File::open(&from).map_err(failed("read", &from))?;
                let mut writer = fs::File::create(&to).map_err(failed("create", &to))?;
                io::copy(&mut reader, &mut writer).map_err(failed("copy", &from))?;
            }
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(copy.0.join(DATABASE), flags).map_err(failed_to)?;
        Ok(Some(Self {
            connection,
            path,
            _copy: Some(copy),
        }))
    }

    fn datasets(&self, dir: &Path) -> Result<Vec<KamuDataset>, KamuWorkspaceError> {
        let rows = self.rows().map_err(|error| KamuWorkspaceError::Database {
            path: self.path.clone(),
            reason: error.to_string(),
        })?;
        if rows.len() > MAX_DATASETS {
            return Err(KamuWorkspaceError::TooMany(self.path.clone()));
        }
        let mut datasets = BTreeMap::new();
        for row in rows {
            let damaged = |reason: String| KamuWorkspaceError::Damaged {
                path: self.path.clone(),
                reason: format!("dataset {}: {reason}", row.id),
            };
            let name_of = |text: &str| text.parse().map_err(|error: NameError| damaged(error.to_string()));
            let id: DatasetId = row.id.parse().map_err(|error| damaged(format!("{error}")))?;
            let dataset_dir = dir.join("datasets").join(id.to_multibase());
            let head = match row.head {
                Some(digest) => {
                    let digest = digest
                        .try_into()
                        .map_err(|_| damaged("its head is no hash".to_owned()))?;
                    Some(Multihash::from_sha3_256(digest))
                }
                None => FilesSource::new(&dataset_dir)
                    .head()
                    .map_err(|error| damaged(error.to_string()))?,
            };
            datasets.insert(
                id,
                KamuDataset {
                    id,
                    account: row.account.as_deref().map(name_of).transpose()?,
                    name: name_of(&row.name)?,
                    head,
                    dir: dataset_dir,
                },
            );
        }
        Ok(datasets.into_values().collect())
    }

    fn rows(&self) -> Result<Vec<Row>, rusqlite::Error> {
        // Workspaces that were not used for a while have no column for the account yet.
        let account = self
            .connection
            .prepare("SELECT owner_name FROM dataset_entries LIMIT 0")
            .map_or("NULL", |_| "e.owner_name");
        let mut statement = self.connection.prepare(&format!(
            "SELECT e.dataset_id, {account}, e.dataset_name, r.block_hash_bin FROM dataset_entries e \
             LEFT JOIN dataset_references r ON r.dataset_id = e.dataset_id AND r.block_ref_name = 'head' LIMIT {}",
            MAX_DATASETS + 1
        ))?;
        let rows = statement.query_map([], |row| {
            Ok(Row {
                id: row.get(0)?,
                account: row.get(1)?,
                name: row.get(2)?,
                head: row.get(3)?,
            })
        })?;
        rows.collect()
    }
}

/// What the database says of one dataset.
struct Row {
    id: String,
    account: Option<String>,
    name: String,
    head: Option<Vec<u8>>,
}

/// A small text file; nothing if there is none.
fn read_small(path: &Path) -> Result<Option<String>, KamuWorkspaceError> {
    use io::Read as _;
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(failed("open", path)(error)),
    };
    let mut text = String::new();
    let read = file
        .take(MAX_SMALL_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(failed("read", path))?;
    if read as u64 > MAX_SMALL_BYTES {
        return Err(KamuWorkspaceError::Damaged {
            path: path.to_owned(),
            reason: format!("longer than {MAX_SMALL_BYTES} bytes"),
        });
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests;
