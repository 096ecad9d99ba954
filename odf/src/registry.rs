//! The repositories that a workspace knows by name, and the tokens for them.
//!
//! `repos/NAME` is the file that kamu writes, so that it can be copied; tokens are apart, in `repos/.tokens`, which only
//! its owner can read and which nothing prints.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::place::{Place, PlaceError};
use odf_dataset::{DatasetName, NameError};
use odf_disk::{Access, Disk, DiskError, read_small_text};

const DIR: &str = "repos";
const TOKENS: &str = ".tokens";
const KIND: &str = "Repository";
const VERSION: i32 = 1;
/// Longest file of a repository, or of tokens, that is read.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Longest token.
pub const MAX_TOKEN_BYTES: usize = 8 << 10;

/// Why the list of repositories could not be read or changed, or a text names none of their datasets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// No repository has this name.
    #[error("there is no repository `{0}`")]
    Unknown(String),
    /// The name is in use.
    #[error("there is a repository `{name}` already, at {place}")]
    Exists {
        /// The name.
        name: DatasetName,
        /// Where it is.
        place: Place,
    },
    /// A name that is not one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// An address that is not one.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A token that cannot be sent.
    #[error("a token has visible ASCII characters, at most {MAX_TOKEN_BYTES}")]
    BadToken,
    /// A file does not hold what it must.
    #[error("{} is damaged: {reason}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
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

/// A repository that is known by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// Its name here.
    pub name: DatasetName,
    /// Where it is.
    pub place: Place,
    /// Whether there is a token for it.
    pub has_token: bool,
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    kind: String,
    version: i32,
    content: Content,
}

#[derive(Serialize, Deserialize)]
struct Content {
    url: String,
}

/// The repositories of one workspace.
#[derive(Debug, Clone)]
pub struct Repositories {
    disk: Disk,
    dir: PathBuf,
}

impl Repositories {
    /// Those of the workspace in `root`. Nothing is read or made yet.
    pub fn of(root: &Path, disk: &Disk) -> Self {
        Self {
            disk: disk.clone(),
            dir: root.join(DIR),
        }
    }

    /// All of them by name; in the place of one whose file is damaged, what is wrong with it. Files that are no repositories
    /// are passed over.
    ///
    /// # Errors
    /// The directory or the tokens cannot be read.
    pub fn list(&self) -> Result<Vec<Result<Repository, RegistryError>>, RegistryError> {
        let tokens = self.tokens()?;
        let known = |name: DatasetName| {
            let place = self.read(&name)?;
            let has_token = tokens.contains_key(&key(&name));
            Ok(Repository { name, place, has_token })
        };
        Ok(self.names()?.into_iter().map(known).collect())
    }

    /// Their names, whatever is in their files.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn names(&self) -> Result<Vec<DatasetName>, RegistryError> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed("read", &self.dir)(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed("read", &self.dir))?.file_name();
            names.extend(name.to_str().and_then(|name| name.parse::<DatasetName>().ok()));
        }
        names.sort_by_key(key);
        Ok(names)
    }

    /// The repository of this name, in any case.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`], or its file cannot be read.
    pub fn get(&self, name: &str) -> Result<Repository, RegistryError> {
        let name = self.known(name)?;
        let place = self.read(&name)?;
        let has_token = self.tokens()?.contains_key(&key(&name));
        Ok(Repository { name, place, has_token })
    }

    /// The name of a repository as it was given, in any case. What is in its file does not matter.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`], or the directory cannot be read.
    pub fn known(&self, name: &str) -> Result<DatasetName, RegistryError> {
        let mut names = self.names()?.into_iter();
        names
            .find(|known| known.as_str().eq_ignore_ascii_case(name))
            .ok_or_else(|| RegistryError::Unknown(name.chars().take(200).collect()))
    }

    fn read(&self, name: &DatasetName) -> Result<Place, RegistryError> {
        let path = self.dir.join(name.as_str());
        let text = read_small(&path)?.unwrap_or_default();
        let damaged = |reason: String| RegistryError::Damaged {
            path: path.clone(),
            reason,
        };
        let manifest: Manifest = serde_norway::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        if (manifest.kind.as_str(), manifest.version) != (KIND, VERSION) {
            return Err(damaged(format!(
                "{} version {} where {KIND} version {VERSION} is wanted",
                manifest.kind, manifest.version
            )));
        }
        manifest
            .content
            .url
            .parse()
            .map_err(|error: PlaceError| damaged(error.to_string()))
    }

    /// Remembers a repository, and the token for it.
    ///
    /// # Errors
    /// [`RegistryError::Exists`], [`RegistryError::BadToken`], a place that cannot hold several datasets, or the files
    /// cannot be written.
    pub fn add(&self, name: &DatasetName, place: &Place, token: Option<&str>) -> Result<(), RegistryError> {
        self.disk.create_dirs(&self.dir, Access::Readable)?;
        let _turn = self.disk.lock_dir(&self.dir)?;
        match self.get(name.as_str()) {
            Ok(known) => {
                return Err(RegistryError::Exists {
                    name: known.name,
                    place: known.place,
                });
            }
            Err(RegistryError::Unknown(_)) => {}
            Err(error) => return Err(error),
        }
        place.dataset(None, name)?;
        if let Some(token) = token {
            self.set_token(name, Some(token))?;
        }
        let manifest = Manifest {
            kind: KIND.to_owned(),
            version: VERSION,
            content: Content { url: place.to_string() },
        };
        let path = self.dir.join(name.as_str());
        let text = serde_norway::to_string(&manifest).map_err(|error| RegistryError::Damaged {
            path,
            reason: error.to_string(),
        })?;
        self.write(name.as_str(), text.as_bytes(), Access::Readable)
    }

    /// Forgets a repository and its token. Datasets that are pulled from it or pushed to it keep their aliases.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`], or the files cannot be changed.
    pub fn delete(&self, name: &str) -> Result<(), RegistryError> {
        self.known(name)?;
        let _turn = self.disk.lock_dir(&self.dir)?;
        let known = self.known(name)?;
        self.set_token(&known, None)?;
        let path = self.dir.join(known.as_str());
        self.disk.remove_file(&path)?;
        Ok(self.disk.sync_dir(&self.dir)?)
    }

    fn set_token(&self, name: &DatasetName, token: Option<&str>) -> Result<(), RegistryError> {
        if token.is_some_and(|token| !is_token(token)) {
            return Err(RegistryError::BadToken);
        }
        let mut tokens = self.tokens()?;
        let changed = match token {
            Some(token) => tokens.insert(key(name), token.to_owned()).as_deref() != Some(token),
            None => tokens.remove(&key(name)).is_some(),
        };
        if !changed {
            return Ok(());
        }
        let path = self.dir.join(TOKENS);
        let text = serde_json::to_vec(&tokens).map_err(|error| RegistryError::Damaged {
            path,
            reason: error.to_string(),
        })?;
        self.write(TOKENS, &text, Access::Owner)
    }

    /// Tokens by the lower-case names of their repositories.
    fn tokens(&self) -> Result<BTreeMap<String, String>, RegistryError> {
        let path = self.dir.join(TOKENS);
        let Some(text) = read_small(&path)? else {
            return Ok(BTreeMap::new());
        };
        // The reason would show what is in the file.
        serde_json::from_str(&text).map_err(|_| RegistryError::Damaged {
            path,
            reason: "it is not a map from names to tokens".to_owned(),
        })
    }

    /// The token for a place: that of the repository it is in, the innermost if there are several. By host, port and
    /// path; it does not matter which of the two protocols the repository was added with.
    ///
    /// # Errors
    /// The files cannot be read.
    pub fn token_for(&self, place: &Place) -> Result<Option<String>, RegistryError> {
        let Some(url) = place.server_url() else {
            return Ok(None);
        };
        let mut tokens = self.tokens()?;
        let mut best: Option<(usize, String)> = None;
        for repository in self
            .list()?
            .into_iter()
            .flatten()
            .filter(|repository| repository.has_token)
        {
            let Some(base) = repository.place.server_url() else {
                continue;
            };
            // Both end with a slash, so a host or directory is not taken for another that begins with it.
            let (len, within) = (base.as_str().len(), url.as_str().starts_with(base.as_str()));
            if within && best.as_ref().is_none_or(|(longest, _)| len > *longest) {
                best = tokens.remove(&key(&repository.name)).map(|token| (len, token));
            }
        }
        Ok(best.map(|(_, token)| token))
    }

    /// What a text stands for that names a dataset elsewhere: an address, `repo/name` or `repo/account/name`.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`] repository, or [`RegistryError::Place`].
    pub fn resolve(&self, text: &str) -> Result<Place, RegistryError> {
        let parsed = text.parse::<Place>();
        let Err(error) = parsed else {
            return Ok(parsed?);
        };
        let names = |text: &str| text.split('/').map(str::parse).collect::<Result<Vec<DatasetName>, _>>();
        let parts = if text.contains("://") { None } else { names(text).ok() };
        match parts.as_deref() {
            Some([repository, name]) => Ok(self.get(repository.as_str())?.place.dataset(None, name)?),
            Some([repository, account, name]) => {
                Ok(self.get(repository.as_str())?.place.dataset(Some(account), name)?)
            }
            _ => Err(error.into()),
        }
    }

    /// What a text stands for that names a place to push `dataset` to: as [`Self::resolve`], or just a repository, in
    /// which the dataset gets its own name.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub fn resolve_target(&self, text: &str, dataset: &DatasetName) -> Result<Place, RegistryError> {
        match self.get(text) {
            Ok(repository) => Ok(repository.place.dataset(None, dataset)?),
            Err(RegistryError::Unknown(_)) => self.resolve(text),
            Err(error) => Err(error),
        }
    }

    /// Replaces a file as a whole, durably.
    fn write(&self, name: &str, bytes: &[u8], access: Access) -> Result<(), RegistryError> {
        Ok(self.disk.replace(&self.dir.join(name), bytes, access)?)
    }
}

/// Names are the same in any case.
fn key(name: &DatasetName) -> String {
    name.as_str().to_ascii_lowercase()
}

fn is_token(token: &str) -> bool {
    !token.is_empty() && token.len() <= MAX_TOKEN_BYTES && token.bytes().all(|byte| byte.is_ascii_graphic())
}

fn read_small(path: &Path) -> Result<Option<String>, RegistryError> {
    read_small_text(path, MAX_FILE_BYTES).map_err(|error| match error.source.kind() {
        io::ErrorKind::InvalidData => RegistryError::Damaged {
            path: error.path,
            reason: error.source.to_string(),
        },
        _ => error.into(),
    })
}

impl From<DiskError> for RegistryError {
    fn from(error: DiskError) -> Self {
        failed(error.operation, &error.path)(error.source)
    }
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RegistryError + use<> {
    let path = path.to_owned();
    move |source| RegistryError::Io {
        operation,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn name(text: &str) -> DatasetName {
        text.parse().unwrap()
    }

    fn place(text: &str) -> Place {
        text.parse().unwrap()
    }

    #[test]
    fn repositories_are_kept_in_the_form_of_kamu() {
        let dir = tempfile::tempdir().unwrap();
        let repositories = Repositories::of(dir.path(), &Disk::new());
        assert!(repositories.list().unwrap().is_empty());
        repositories
            .add(&name("Home"), &place("file:///srv/data"), None)
            .unwrap();
        repositories
            .add(&name("away"), &place("https://h/x"), Some("s3cret"))
            .unwrap();
        let text = fs::read_to_string(dir.path().join("repos/Home")).unwrap();
        assert_eq!(
            text,
            "kind: Repository\nversion: 1\ncontent:\n  url: file:///srv/data/\n"
        );
        let list: Vec<Repository> = repositories.list().unwrap().into_iter().map(Result::unwrap).collect();
        assert_eq!(
            list.iter().map(|r| (r.name.as_str(), r.has_token)).collect::<Vec<_>>(),
            [("away", true), ("Home", false)]
        );
        let mode = fs::metadata(dir.path().join("repos/.tokens"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(
            repositories.add(&name("HOME"), &place("file:///x"), None),
            Err(RegistryError::Exists { .. })
        ));
        for bad in ["", "a b", "a\nb", "é", &"x".repeat(MAX_TOKEN_BYTES + 1)] {
            assert!(matches!(
                repositories.add(&name("bad"), &place("http://h/"), Some(bad)),
                Err(RegistryError::BadToken)
            ));
        }
        repositories.delete("AWAY").unwrap();
        assert_eq!(repositories.token_for(&place("https://h/x/y")).unwrap(), None);
        assert!(matches!(repositories.delete("away"), Err(RegistryError::Unknown(_))));
    }

    #[test]
    fn a_token_goes_to_its_own_server_and_path_only() {
        let dir = tempfile::tempdir().unwrap();
        let repositories = Repositories::of(dir.path(), &Disk::new());
        repositories
            .add(&name("outer"), &place("odf+http://h:1/"), Some("outer"))
            .unwrap();
        repositories
            .add(&name("inner"), &place("http://h:1/a"), Some("inner"))
            .unwrap();
        repositories
            .add(&name("bare"), &place("http://h:1/a/b/"), None)
            .unwrap();
        let token = |text: &str| repositories.token_for(&place(text)).unwrap();
        assert_eq!(token("http://h:1/x/").as_deref(), Some("outer"));
        assert_eq!(token("odf+http://h:1/a/x").as_deref(), Some("inner"));
        assert_eq!(token("http://h:1/a/b/c").as_deref(), Some("inner"));
        assert_eq!(token("http://h:1/ab/").as_deref(), Some("outer"));
        for other in [
            "https://h:1/a/",
            "http://h:12/a/",
            "http://h/a/",
            "http://h1/a/",
            "file:///h/",
        ] {
            assert_eq!(token(other), None, "{other}");
        }
    }

    #[test]
    fn datasets_are_named_through_their_repository() {
        let dir = tempfile::tempdir().unwrap();
        let repositories = Repositories::of(dir.path(), &Disk::new());
        repositories.add(&name("r"), &place("file:///srv"), None).unwrap();
        let shown = |text: &str| repositories.resolve(text).map(|place| place.to_string());
        assert_eq!(shown("r/x").unwrap(), "file:///srv/x/");
        assert_eq!(shown("R/me/x").unwrap(), "file:///srv/me/x/");
        assert_eq!(shown("http://h/x").unwrap(), "http://h/x/");
        assert!(matches!(shown("other/x"), Err(RegistryError::Unknown(name)) if name == "other"));
        for bad in ["x", "r/", "r/../x", "r/a/b/c", "/r/x", "r/x/..", "gopher://r/x"] {
            assert!(matches!(shown(bad), Err(RegistryError::Place(_))), "{bad}");
        }
        let target = |text: &str| {
            repositories
                .resolve_target(text, &name("mine"))
                .map(|place| place.to_string())
        };
        assert_eq!(target("r").unwrap(), "file:///srv/mine/");
        assert_eq!(target("r/x").unwrap(), "file:///srv/x/");
        assert_eq!(target("odf+http://h").unwrap(), "odf+http://h/");
        assert!(target("nobody").is_err());
    }

    #[test]
    fn changes_made_at_once_are_all_kept() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let dir = dir.path();
                scope.spawn(move || {
                    let repositories = Repositories::of(dir, &Disk::new());
                    for n in 0..10 {
                        let name = name(&format!("r-{thread}-{n}"));
                        repositories
                            .add(&name, &place(&format!("http://{name}/")), Some("t"))
                            .unwrap();
                    }
                });
            }
        });
        let list = Repositories::of(dir.path(), &Disk::new()).list().unwrap();
        assert_eq!(list.into_iter().flatten().filter(|r| r.has_token).count(), 40);
    }

    #[test]
    fn files_that_are_wrong_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let repositories = Repositories::of(dir.path(), &Disk::new());
        repositories.add(&name("good"), &place("http://h/"), Some("t")).unwrap();
        let file = dir.path().join("repos/r");
        let long = format!("kind: {}", "x".repeat(MAX_FILE_BYTES as usize));
        for text in [
            "",
            "kind: Repository",
            "kind: Other\nversion: 1\ncontent:\n  url: file:///x\n",
            &long,
            "kind: Repository\nversion: 1\ncontent:\n  url: nowhere\n",
        ] {
            fs::write(&file, text).unwrap();
            let listed = repositories.list().unwrap();
            let [Ok(good), Err(error)] = &listed[..] else {
                panic!("{listed:?}")
            };
            assert_eq!(good.name.as_str(), "good");
            assert!(error.to_string().contains("repos/r is damaged"), "{error}");
            // It keeps nobody from using the others.
            assert_eq!(
                repositories.token_for(&place("http://h/x")).unwrap().as_deref(),
                Some("t")
            );
        }
        repositories.delete("r").unwrap();
        repositories.delete("good").unwrap();
        fs::write(dir.path().join("repos/not a name"), "x").unwrap();
        assert!(repositories.list().unwrap().is_empty());
        fs::write(dir.path().join("repos/.tokens"), "s3cret").unwrap();
        let error = repositories.list().unwrap_err().to_string();
        assert!(!error.contains("s3cret"), "{error}");
    }
}
