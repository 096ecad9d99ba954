//! Durable files: the one place through which odfs changes a disk.
//!
//! Goals, in this order: what a caller was told is durable survives power loss; nobody else can read or write what is
//! private; every change can be watched, refused or undone by a test. Not goals: speed beyond what the calls cost, and
//! reading, which goes to [`std::fs`] directly.
//!
//! A [`Disk`] is a cheap handle. Every change of a file or a name goes through one of its calls, and each call shows
//! itself to the [`Device`] below it first. The device of a program is none at all; that of a test records what was
//! written and synced, refuses the n-th call, or says that the disk is full (see `crash`).
//!
//! **Three rules** hold for whoever uses it:
//! - bytes are synced before the name under which they count is given to them ([`Disk::replace`] does both);
//! - a name counts once its directory is synced ([`Disk::sync_dir`]);
//! - after a sync that failed nothing more is written: the kernel reports such a failure once and then calls the lost
//!   pages clean, so a second try would succeed and prove nothing. The [`Disk`] and its clones refuse every later change
//!   ([`DiskError::is_poisoned`]) until the workspace is opened again.

pub mod crash;
mod device;
mod disk;
mod error;
mod file;
mod lock;
mod small;

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::panic::Location;
use std::path::Path;

pub use device::{Call, Device, FileKey};
pub use disk::Disk;
pub use error::{DiskError, is_full, is_poisoned};
pub use file::DiskFile;
pub use lock::DirLock;
pub use small::{read_small, read_small_text};

/// Names that begin so belong to unfinished work: whoever finds one that is not its own may remove it.
pub const PENDING_PREFIX: &str = ".pending-";

/// What is left free on a disk by whoever can tell beforehand how much it will write, in bytes: others need room, too.
pub const SPARE_BYTES: u64 = 64 << 20;

/// Who may use a file or directory that is made. The umask can take rights away and never adds any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Its owner alone (0600, directories 0700).
    Owner,
    /// Everybody may read it, its owner write it (0644, directories 0755).
    Readable,
}

impl Access {
    fn file_mode(self) -> u32 {
        match self {
            Access::Owner => 0o600,
            Access::Readable => 0o644,
        }
    }

    fn dir_mode(self) -> u32 {
        match self {
            Access::Owner => 0o700,
            Access::Readable => 0o755,
        }
    }
}

impl Disk {
    /// Makes a directory and those above it that are missing. New ones survive power loss when this returns; one that is
    /// there stays as it is.
    ///
    /// # Errors
    /// A directory cannot be made, or something else has its name. Those above it may be there.
    #[track_caller]
    pub fn create_dirs(&self, dir: &Path, access: Access) -> Result<(), DiskError> {
        match self.create_dir(dir, access) {
            Ok(()) => {}
            Err(error) if error.source.kind() == ErrorKind::AlreadyExists && dir.is_dir() => return Ok(()),
            Err(error) if error.is_not_found() => {
                let Some(parent) = dir.parent().filter(|parent| *parent != dir) else {
                    return Err(error);
                };
                self.create_dirs(parent, access)?;
                match self.create_dir(dir, access) {
                    Err(error) if error.source.kind() != ErrorKind::AlreadyExists => return Err(error),
                    _ => {}
                }
            }
            Err(error) => return Err(error),
        }
        self.sync_dir(parent_of(dir))
    }

    /// Makes one directory. It survives power loss once the directory above it is synced.
    ///
    /// # Errors
    /// It is there already, or cannot be made.
    pub fn create_dir(&self, dir: &Path, access: Access) -> Result<(), DiskError> {
        self.change("create", dir, &Call::CreateDir(dir), || {
            fs::DirBuilder::new().mode(access.dir_mode()).create(dir)
        })
    }

    /// As [`Self::create_dir`]; one that is there stays as it is.
    ///
    /// # Errors
    /// It cannot be made, or something else has its name.
    pub fn create_dir_if_missing(&self, dir: &Path, access: Access) -> Result<(), DiskError> {
        match self.create_dir(dir, access) {
            Err(error) if error.source.kind() == ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
            other => other,
        }
    }

    /// Opens a file to read and write it, made anew if it is not there and emptied if it is. Links are not followed.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(&self, path: &Path, access: Access) -> Result<DiskFile, DiskError> {
        let opened = self.change("create", path, &Call::Create(path), || {
            options(access).create(true).truncate(true).open(path)
        })?;
        self.file(opened, path)
    }

    /// As [`Self::create`], for a name that must be new.
    ///
    /// # Errors
    /// The name is taken, or the file cannot be made.
    pub fn create_new(&self, path: &Path, access: Access) -> Result<DiskFile, DiskError> {
        let opened = self.change("create", path, &Call::Create(path), || {
            options(access).create_new(true).open(path)
        })?;
        self.file(opened, path)
    }

    /// Opens a file that is there to read and write it. Links are not followed.
    ///
    /// # Errors
    /// It is not there, or may not be written.
    pub fn open(&self, path: &Path) -> Result<DiskFile, DiskError> {
        let opened = options(Access::Owner)
            .open(path)
            .map_err(|error| DiskError::new("open", path, error))?;
        self.file(opened, path)
    }

    /// Opens a file to read and write it, made if it is not there, and says whether it was.
    ///
    /// # Errors
    /// It cannot be opened or made.
    pub fn open_or_create(&self, path: &Path, access: Access) -> Result<(DiskFile, bool), DiskError> {
        loop {
            match self.open(path) {
                Ok(file) => return Ok((file, false)),
                Err(error) if !error.is_not_found() => return Err(error),
                Err(_) => {}
            }
            match self.create_new(path, access) {
                Ok(file) => return Ok((file, true)),
                // Somebody made it in between.
                Err(error) if error.source.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn file(&self, opened: fs::File, path: &Path) -> Result<DiskFile, DiskError> {
        let file = DiskFile::new(self.clone(), opened, path).map_err(|error| DiskError::new("open", path, error))?;
        self.opened(path, file.key());
        Ok(file)
    }

    /// Replaces a file, or makes it, in one step that survives power loss: whoever reads it, now or after a cut, sees the
    /// old or the new content and never a part.
    ///
    /// # Errors
    /// It could not be written; the old content stays. After a failed sync of the directory either may be there.
    #[track_caller]
    pub fn replace(&self, path: &Path, bytes: &[u8], access: Access) -> Result<(), DiskError> {
        self.replace_by(path, bytes, access, |file| file.sync())?;
        self.sync_dir(parent_of(path))
    }

    /// As [`Self::replace`], for what can be made again and is checked whenever it is read: nothing waits for the medium,
    /// so that after a cut the new content may be gone, or there in part.
    ///
    /// # Errors
    /// It could not be written; the old content stays.
    pub fn replace_unsynced(&self, path: &Path, bytes: &[u8], access: Access) -> Result<(), DiskError> {
        self.replace_by(path, bytes, access, |_| Ok(()))
    }

    /// Writes a file beside its place, has `settle` done to it, and gives it the name.
    fn replace_by(
        &self,
        path: &Path,
        bytes: &[u8],
        access: Access,
        settle: impl FnOnce(&DiskFile) -> Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let pending = path.with_file_name(format!("{PENDING_PREFIX}{name}"));
        let written = self
            .create_pending(&pending, access)
            .and_then(|file| {
                file.write_at(bytes, 0)?;
                settle(&file)
            })
            .and_then(|()| self.rename(&pending, path));
        if let Err(error) = written {
            // The name is one that is swept; a disk that is full wants the room now.
            let _ = self.remove_file(&pending);
            return Err(error);
        }
        Ok(())
    }

    /// A new file of this name. One that a cut left may have other permissions, so it is not written into.
    fn create_pending(&self, pending: &Path, access: Access) -> Result<DiskFile, DiskError> {
        match self.create_new(pending, access) {
            Err(error) if error.source.kind() == ErrorKind::AlreadyExists => {
                self.remove_file(pending)?;
                self.create_new(pending, access)
            }
            other => other,
        }
    }

    /// Gives a file or directory another name, on the same file system. Whatever file had that name is gone. It survives
    /// power loss once both directories are synced.
    ///
    /// # Errors
    /// It could not be renamed.
    pub fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        self.change("rename", from, &Call::Rename { from, to }, || fs::rename(from, to))
    }

    /// Gives a file a second name, which must be free.
    ///
    /// # Errors
    /// The name is taken, or the file system has no links.
    pub fn link(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        self.change("create", to, &Call::Link { from, to }, || fs::hard_link(from, to))
    }

    /// Removes a file. That it is gone survives power loss once its directory is synced.
    ///
    /// # Errors
    /// It is not there, or cannot be removed.
    pub fn remove_file(&self, path: &Path) -> Result<(), DiskError> {
        self.change("remove", path, &Call::RemoveFile(path), || fs::remove_file(path))
    }

    /// As [`Self::remove_file`]; one that is not there is no error.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove_file_if_there(&self, path: &Path) -> Result<(), DiskError> {
        match self.remove_file(path) {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// It is not empty, not there, or cannot be removed.
    pub fn remove_dir(&self, dir: &Path) -> Result<(), DiskError> {
        self.change("remove", dir, &Call::RemoveDir(dir), || fs::remove_dir(dir))
    }

    /// Removes a directory with all that is in it, or a file; links are removed, not followed. One that is not there is
    /// no error. This is not one step: give the directory a name that does not count before.
    ///
    /// # Errors
    /// Something in it cannot be removed; the rest may be gone.
    pub fn remove_tree(&self, path: &Path) -> Result<(), DiskError> {
        let found = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(DiskError::new("look at", path, error)),
            Ok(found) => found,
        };
        if !found.is_dir() {
            return self.remove_file(path);
        }
        let list = |error| DiskError::new("list", path, error);
        for entry in fs::read_dir(path).map_err(list)? {
            self.remove_tree(&entry.map_err(list)?.path())?;
        }
        self.remove_dir(path)
    }

    /// Removes what unfinished work left in a directory: everything whose name begins with [`PENDING_PREFIX`]. Call it
    /// only where nobody is working. A directory that is not there has nothing in it.
    ///
    /// # Errors
    /// The directory cannot be read, or something in it not be removed.
    pub fn sweep(&self, dir: &Path) -> Result<(), DiskError> {
        let list = |error| DiskError::new("list", dir, error);
        let entries = match fs::read_dir(dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            other => other.map_err(list)?,
        };
        for entry in entries {
            let entry = entry.map_err(list)?;
            if entry.file_name().to_string_lossy().starts_with(PENDING_PREFIX) {
                self.remove_tree(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// The sync failed; nothing more is written then. A directory that is not there only gives an error.
    #[track_caller]
    pub fn sync_dir(&self, dir: &Path) -> Result<(), DiskError> {
        let site = Location::caller();
        let opened = open_dir(dir)?;
        self.sync(dir, &Call::SyncDir { path: dir, site }, || opened.sync_all())
    }

    /// Makes the content of an open file durable, whoever wrote it and however it was opened. `path` is for messages.
    ///
    /// # Errors
    /// The sync failed; nothing more is written then.
    #[track_caller]
    pub fn sync_open(&self, file: &fs::File, path: &Path) -> Result<(), DiskError> {
        let site = Location::caller();
        let metadata = file
            .metadata()
            .map_err(|error| DiskError::new("look at", path, error))?;
        let file_key = FileKey::of(&metadata);
        let call = Call::Sync {
            path,
            file: file_key,
            site,
        };
        self.sync(path, &call, || file.sync_data())
    }

    /// Makes everything on the file system of `dir` durable: one call for any number of files.
    ///
    /// # Errors
    /// The sync failed; nothing more is written then.
    pub fn sync_all(&self, dir: &Path) -> Result<(), DiskError> {
        let opened = open_dir(dir)?;
        self.sync(dir, &Call::SyncAll(dir), || Ok(rustix::fs::syncfs(&opened)?))
    }
}

fn open_dir(dir: &Path) -> Result<fs::File, DiskError> {
    fs::File::open(dir).map_err(|error| DiskError::new("open", dir, error))
}

fn options(access: Access) -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options
        .read(true)
        .write(true)
        .mode(access.file_mode())
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
    options
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests;
