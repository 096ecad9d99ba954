//! Files that a command makes.

use std::fs::{File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use odf::disk::Disk;
use tempfile::NamedTempFile;

use crate::failure::{Failure, Kind};

/// A file that gets its name when all of it is there.
pub(super) struct Target {
    pub(super) path: PathBuf,
    file: NamedTempFile,
    force: bool,
}

impl Target {
    /// A new file for this place; its folder is there.
    ///
    /// # Errors
    /// Something has that name, unless it is a file and to be written over; or no file can be made there.
    pub(super) fn new(path: PathBuf, force: bool) -> Result<Target, Failure> {
        if path.is_dir() {
            return Err(Failure::usage(format!("{} is a directory", path.display())).next("name a file in it"));
        }
        if !force && path.symlink_metadata().is_ok() {
            return Err(
                Failure::new(Kind::Refused, format!("{} is there already", path.display()))
                    .next("name another file, or write over it with --force"),
            );
        }
        let dir = dir_of(&path);
        if !dir.exists() {
            let dir = dir.display();
            return Err(
                Failure::new(Kind::NotFound, format!("there is no folder {dir} to put the file into"))
                    .next(format!("make it with `mkdir -p '{dir}'`, then run the command again")),
            );
        }
        let file = tempfile::Builder::new()
            // As any new file, less what the umask takes away.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(dir)
            .map_err(|error| Failure::file(dir, &error))?;
        Ok(Target { path, file, force })
    }

    /// The file, to write to.
    pub(super) fn reopen(&self) -> Result<File, Failure> {
        self.file.reopen().map_err(|error| Failure::file(&self.path, &error))
    }

    /// Gives the file its name, both of which survive power loss then, and says how long it is.
    pub(super) fn finish(mut self) -> Result<u64, Failure> {
        let failed = |error: &std::io::Error| Failure::file(&self.path, error);
        self.file.flush().map_err(|error| failed(&error))?;
        self.file.as_file().sync_all().map_err(|error| failed(&error))?;
        let bytes = self.file.as_file().metadata().map_err(|error| failed(&error))?.len();
        let named = match self.force {
            true => self.file.persist(&self.path),
            false => self.file.persist_noclobber(&self.path),
        };
        named.map_err(|error| failed(&error.error))?;
        Disk::new().sync_dir(dir_of(&self.path))?;
        Ok(bytes)
    }
}

/// The folder that holds a file.
fn dir_of(path: &Path) -> &Path {
    path.parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}
