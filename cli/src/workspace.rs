//! The workspace: where it is, and which process owns it.
//!
//! One process at a time owns a workspace, by an exclusive `flock` on its `lock` file. The kernel drops the lock when
//! the process ends in any way, so a stale lock cannot exist and nobody ever has to delete a file.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use odf::disk::{Access, Disk, DiskFile};
use rustix::fs::FlockOperation;

use crate::failure::{Failure, Kind};

/// Name of the directory that makes its parent, and everything below, use a workspace of their own.
pub(crate) const MARK: &str = ".odfs";
/// A file that each repository of Kubo has, and no workspace.
const KUBO_MARK: &str = "datastore_spec";
/// The directories in it.
const PARTS: [&str; 6] = ["datasets", "keys", "packs", "repos", "spool", "store"];
/// What lets others than the owner write.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// The longest note that is read from a lock file.
const MAX_NOTE_BYTES: u64 = 4096;

/// The environment variables that say where a workspace is.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// `$ODFS_PATH`.
    pub(crate) odfs_path: Option<PathBuf>,
    /// `$XDG_DATA_HOME`.
    pub(crate) xdg_data_home: Option<PathBuf>,
    /// `$HOME`.
    pub(crate) home: Option<PathBuf>,
    /// `$IPFS_PATH`, for a program that is called `ipfs`.
    pub(crate) ipfs_path: Option<PathBuf>,
}

impl Places {
    /// Those of this process. Empty ones count as not set.
    pub(crate) fn of_process() -> Self {
        let variable = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        Self {
            odfs_path: variable("ODFS_PATH"),
            xdg_data_home: variable("XDG_DATA_HOME"),
            home: variable("HOME"),
            ipfs_path: variable("IPFS_PATH"),
        }
    }
}

/// A workspace directory.
#[derive(Clone, Debug)]
pub(crate) struct WorkspaceDir {
    root: PathBuf,
}

/// The lock on a workspace, held until dropped.
#[derive(Debug)]
pub(crate) struct Ownership {
    _lock: DiskFile,
}

/// Whether the workspace could be taken.
pub(crate) enum Claim {
    /// This process owns it now.
    Owned(Ownership),
    /// Another one does; what it wrote about itself, for messages.
    Taken(String),
}

impl WorkspaceDir {
    /// The workspace in this very directory.
    #[cfg(test)]
    pub(crate) fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// The workspace that a directory has, or would have.
    pub(crate) fn inside(dir: &Path) -> Self {
        Self { root: dir.join(MARK) }
    }

    /// Finds the workspace: the nearest `.odfs` from `cwd` upwards, else `$ODFS_PATH`, else the platform's data
    /// directory. Creates nothing.
    ///
    /// # Errors
    /// There is no home directory either.
    pub(crate) fn discover(cwd: &Path, places: &Places) -> Result<Self, Failure> {
        if let Some(root) = cwd.ancestors().map(|dir| dir.join(MARK)).find(|root| root.is_dir()) {
            return Ok(Self { root });
        }
        if let Some(root) = &places.odfs_path {
            return Ok(Self { root: cwd.join(root) });
        }
        let data = match (&places.xdg_data_home, &places.home) {
            (Some(data), _) if data.is_absolute() => data.clone(),
            (_, Some(home)) if cfg!(target_os = "macos") => home.join("Library/Application Support"),
            (_, Some(home)) => home.join(".local/share"),
            (_, None) => {
                return Err(
                    Failure::usage("there is no workspace: neither ODFS_PATH nor HOME is set")
                        .next("set ODFS_PATH to a directory for the workspace, or make a directory `.odfs` here"),
                );
            }
        };
        Ok(Self {
            root: data.join("odfs"),
        })
    }

    /// As [`Self::discover`], where the program is called `ipfs`: `$IPFS_PATH` says first where its repository is.
    ///
    /// # Errors
    /// There is a repository of Kubo, whose files are others; or no home directory.
    pub(crate) fn of_ipfs(cwd: &Path, places: &Places) -> Result<Self, Failure> {
        let Some(root) = &places.ipfs_path else {
            return Self::discover(cwd, places);
        };
        let root = cwd.join(root);
        if root.join(KUBO_MARK).exists() {
            return Err(Failure::new(
                Kind::Refused,
                format!(
                    "{} is a repository of Kubo, which odfs neither reads nor changes",
                    root.display()
                ),
            )
            .next("set IPFS_PATH to another directory, or unset it for the workspace of odfs"));
        }
        Ok(Self { root })
    }

    /// The directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The settings file.
    pub(crate) fn settings_file(&self) -> PathBuf {
        self.root.join("config.toml")
    }

    /// The socket that the owner listens on.
    pub(crate) fn socket(&self) -> PathBuf {
        self.root.join("node.sock")
    }

    /// Makes the directory when it is missing, readable by its owner only. If others may write to one that is there, or to a
    /// directory in it, they may no more; gives a word about that.
    ///
    /// # Errors
    /// It cannot be made, or it belongs to another user: files written here by two users would lock both out.
    pub(crate) fn create(&self) -> Result<Option<String>, Failure> {
        let failed = |error: io::Error| self.explain(&self.root, &error);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.root)
            .map_err(failed)?;
        let owner = fs::metadata(&self.root).map_err(failed)?.uid();
        let me = rustix::process::geteuid().as_raw();
        if owner == me {
            return self.close_to_others();
        }
        Err(Failure::new(
            Kind::Permission,
            format!(
                "the workspace {} belongs to user {owner}, and this is user {me}",
                self.root.display()
            ),
        )
        .next("run odfs as that user, or set ODFS_PATH to a directory of your own"))
    }

    /// Whoever can write here can change what this user publishes, and where keys go.
    fn close_to_others(&self) -> Result<Option<String>, Failure> {
        let mut closed = Vec::new();
        for dir in std::iter::once(self.root.clone()).chain(PARTS.map(|part| self.root.join(part))) {
            // The workspace itself may be a link that its owner made.
            let found = match dir == self.root {
                true => fs::metadata(&dir),
                false => fs::symlink_metadata(&dir),
            };
            let Ok(found) = found else { continue };
            let mode = found.permissions().mode() & 0o7777;
            if !found.is_dir() || mode & WRITABLE_BY_OTHERS == 0 {
                continue;
            }
            fs::set_permissions(&dir, Permissions::from_mode(mode & !WRITABLE_BY_OTHERS)).map_err(|error| {
                Failure::new(
                    Kind::Permission,
                    format!(
                        "others can write to {} (mode {mode:03o}), and that cannot be changed: {error}",
                        dir.display()
                    ),
                )
                .next("take that right away with chmod go-w, or set ODFS_PATH to a directory of your own")
            })?;
            closed.push(format!("{} (mode {mode:03o})", dir.display()));
        }
        Ok((!closed.is_empty()).then(|| {
            format!(
                "others could write to {}: they cannot any more; `odfs verify --all` tells whether anything was changed",
                closed.join(" and ")
            )
        }))
    }

    /// Takes the workspace if no other process has it. `note` tells others who took it.
    ///
    /// # Errors
    /// The lock file cannot be opened or locked.
    pub(crate) fn claim(&self, note: &str) -> Result<Claim, Failure> {
        self.create()?;
        let path = self.root.join("lock");
        let failed = |error: io::Error| self.explain(&path, &error);
        let opened = Disk::new().open_or_create(&path, Access::Owner);
        let (lock, _) = opened.map_err(|error| failed(error.source))?;
        match rustix::fs::flock(lock.as_file(), FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                // The note only serves messages: a disk too full for it must not keep anybody out.
                let _ = lock.set_len(0).and_then(|()| lock.write_at(note.as_bytes(), 0));
                Ok(Claim::Owned(Ownership { _lock: lock }))
            }
            Err(error) if error == rustix::io::Errno::WOULDBLOCK => {
                let mut note = String::new();
                let _ = lock.as_file().take(MAX_NOTE_BYTES).read_to_string(&mut note);
                Ok(Claim::Taken(note.trim().to_owned()))
            }
            Err(error) => Err(failed(error.into())
                .next("the file system under the workspace must support flock; set ODFS_PATH to a local disk")),
        }
    }

    fn explain(&self, path: &Path, error: &io::Error) -> Failure {
        let failure = Failure::file(path, error);
        match failure.kind() {
            Kind::Permission => failure.next(
                "the workspace belongs to another user or is read-only; set ODFS_PATH to a directory of your own",
            ),
            Kind::DiskFull => failure,
            _ if error.kind() == io::ErrorKind::ReadOnlyFilesystem => Failure::new(
                Kind::Storage,
                format!(
                    "the workspace {} is on a disk that is read-only, and every command, also one that only shows something, \
                     writes there first (its lock, and the index that it opens)",
                    self.root.display()
                ),
            )
            .next(format!(
                "make the disk writable; or copy {0} to one that is, and set ODFS_PATH to the copy. Rows can be read without \
                 odfs: they are Parquet files in {0}/datasets/ID/data",
                self.root.display()
            )),
            _ => failure.next("check the workspace directory, or set ODFS_PATH to another one"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mark_wins_over_the_environment() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        fs::create_dir_all(&deep).unwrap();
        let places = Places {
            odfs_path: Some("/elsewhere".into()),
            ..Places::default()
        };
        assert_eq!(
            WorkspaceDir::discover(&deep, &places).unwrap().root(),
            Path::new("/elsewhere")
        );
        fs::create_dir(dir.path().join("a/.odfs")).unwrap();
        assert_eq!(
            WorkspaceDir::discover(&deep, &places).unwrap().root(),
            dir.path().join("a/.odfs")
        );
    }

    #[test]
    fn without_anything_it_is_the_data_directory() {
        let places = Places {
            home: Some("/home/me".into()),
            ..Places::default()
        };
        let root = WorkspaceDir::discover(Path::new("/nowhere"), &places).unwrap().root;
        assert!(root.starts_with("/home/me") && root.ends_with("odfs"));
        let failure = WorkspaceDir::discover(Path::new("/nowhere"), &Places::default()).unwrap_err();
        assert_eq!(failure.kind(), Kind::Usage);
    }

    #[test]
    fn a_workspace_is_closed_to_others_and_no_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("w");
        fs::create_dir_all(root.join("datasets")).unwrap();
        let set = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        set(&root, 0o777);
        set(&root.join("datasets"), 0o775);
        let workspace = WorkspaceDir { root: root.clone() };
        let word = workspace.create().unwrap().unwrap();
        assert!(
            word.contains("w (mode 777)") && word.contains("datasets (mode 775)"),
            "{word}"
        );
        assert_eq!((mode(&root), mode(&root.join("datasets"))), (0o755, 0o755));
        assert_eq!(workspace.create().unwrap(), None);

        let victim = dir.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, root.join("lock")).unwrap();
        assert!(workspace.claim("process 1").is_err());
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    }

    #[test]
    fn one_owner_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let workspace = WorkspaceDir {
            root: dir.path().join("w"),
        };
        let Claim::Owned(first) = workspace.claim("process 1").unwrap() else {
            panic!("nobody has it")
        };
        let Claim::Taken(note) = workspace.claim("process 2").unwrap() else {
            panic!("it is taken")
        };
        assert_eq!(note, "process 1");
        drop(first);
        assert!(matches!(workspace.claim("process 2").unwrap(), Claim::Owned(_)));
    }
}
