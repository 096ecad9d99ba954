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
mod file;
mod lock;
mod small;

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

pub use file::DiskFile;
pub use lock::DirLock;
pub use small::{read_small, read_small_text};

/// Names that begin so belong to unfinished work: whoever finds one that is not its own may remove it.
pub const PENDING_PREFIX: &str = ".pending-";

/// Why the disk could not be changed or read. Unless a call says otherwise, nothing was changed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}: {source}", .path.display())]
pub struct DiskError {
    /// What was tried, as a verb.
    pub operation: &'static str,
    /// On what.
    pub path: PathBuf,
    /// Why not.
    #[source]
    pub source: io::Error,
}

impl DiskError {
    /// An error of the operating system, with what was tried on what.
    pub fn new(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Self {
            operation,
            path: path.to_owned(),
            source,
        }
    }

    /// Whether the disk, or the quota on it, had no room.
    pub fn is_full(&self) -> bool {
        is_full(&self.source)
    }

    /// Whether an earlier sync failed, so that nothing more is written before the workspace is opened again.
    pub fn is_poisoned(&self) -> bool {
        is_poisoned(&self.source)
    }

    /// Whether the file is not there.
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == ErrorKind::NotFound
    }
}

/// Whether an error of the operating system means that there was no room.
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
    )
}

/// Whether an error of a [`Disk`], or of a [`DiskFile`] through [`std::io::Write`], says that an earlier sync failed.
pub fn is_poisoned(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<SyncFailed>())
}

/// The source of the error that every call after a failed sync gives.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the disk failed to keep {} earlier; nothing more is written until odfs is started again", .0.display())]
struct SyncFailed(PathBuf);

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

/// Which file a call is about, whatever its name: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileKey {
    /// Number of the device.
    pub device: u64,
    /// Number of the inode on it.
    pub inode: u64,
}

impl FileKey {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// A change of the disk, as its [`Device`] sees it.
#[derive(Debug, Clone, Copy)]
pub enum Call<'a> {
    /// A directory is made.
    CreateDir(&'a Path),
    /// A name is given to a new, empty file, or the file of that name is emptied.
    Create(&'a Path),
    /// Bytes are written.
    Write {
        /// Path under which the file was opened.
        path: &'a Path,
        /// The file.
        file: FileKey,
        /// Where in it, in bytes.
        offset: u64,
        /// What.
        bytes: &'a [u8],
    },
    /// The file is cut, or grows with zeros, to a length; or a stretch of it becomes zeros.
    Resize {
        /// Path under which the file was opened.
        path: &'a Path,
        /// The file.
        file: FileKey,
        /// The new length in bytes.
        len: u64,
    },
    /// A stretch of the file is given back to the file system and reads as zeros.
    Punch {
        /// Path under which the file was opened.
        path: &'a Path,
        /// The file.
        file: FileKey,
        /// Where it begins, in bytes.
        offset: u64,
        /// Its length in bytes.
        len: u64,
    },
    /// Content of a file is made durable.
    Sync {
        /// Path under which the file was opened.
        path: &'a Path,
        /// The file.
        file: FileKey,
    },
    /// Names in a directory are made durable.
    SyncDir(&'a Path),
    /// Everything on the file system of a path is made durable.
    SyncAll(&'a Path),
    /// A file or directory gets another name; a file of that name is gone then.
    Rename {
        /// The name it had.
        from: &'a Path,
        /// The name it gets.
        to: &'a Path,
    },
    /// A file gets a second name.
    Link {
        /// A name it has.
        from: &'a Path,
        /// The name it gets too.
        to: &'a Path,
    },
    /// A name of a file is taken away.
    RemoveFile(&'a Path),
    /// An empty directory is removed.
    RemoveDir(&'a Path),
}

impl Call<'_> {
    /// Whether the call makes something durable rather than changing it.
    pub fn is_sync(&self) -> bool {
        matches!(self, Call::Sync { .. } | Call::SyncDir(_) | Call::SyncAll(_))
    }
}

/// What lies below a [`Disk`] in tests. A program has none.
pub trait Device: Send + Sync + 'static {
    /// Sees a change before it is made.
    ///
    /// # Errors
    /// The change is not made and the caller gets this error, as if the operating system had refused.
    fn before(&self, call: &Call<'_>) -> io::Result<()>;

    /// Sees which file is behind a path that was opened to be changed.
    fn opened(&self, _path: &Path, _file: FileKey) {}

    /// Sees a change that was made.
    fn after(&self, _call: &Call<'_>) {}

    /// How many bytes are free, if the device has a say in it.
    fn free_bytes(&self) -> Option<u64> {
        None
    }
}

struct Shared {
    device: Option<Arc<dyn Device>>,
    poison: OnceLock<SyncFailed>,
}

/// A handle through which files are changed. Clones share the device, and the memory of a sync that failed.
#[derive(Clone)]
pub struct Disk {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk")
            .field("watched", &self.shared.device.is_some())
            .field("poison", &self.shared.poison.get())
            .finish()
    }
}

impl Default for Disk {
    /// As [`Disk::new`].
    fn default() -> Self {
        Self::new()
    }
}

impl Disk {
    /// The disk of the machine.
    pub fn new() -> Self {
        Self::over(None)
    }

    /// The disk of the machine behind a device that sees every change.
    pub fn with(device: Arc<dyn Device>) -> Self {
        Self::over(Some(device))
    }

    fn over(device: Option<Arc<dyn Device>>) -> Self {
        Self {
            shared: Arc::new(Shared {
                device,
                poison: OnceLock::new(),
            }),
        }
    }

    /// Makes a change, unless a sync failed before or the device refuses it.
    fn change<T>(
        &self,
        operation: &'static str,
        path: &Path,
        call: &Call<'_>,
        make: impl FnOnce() -> io::Result<T>,
    ) -> Result<T, DiskError> {
        self.attempt(call, make)
            .map_err(|source| DiskError::new(operation, path, source))
    }

    fn attempt<T>(&self, call: &Call<'_>, make: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if let Some(failed) = self.shared.poison.get() {
            return Err(io::Error::other(failed.clone()));
        }
        let Some(device) = &self.shared.device else {
            return make();
        };
        device.before(call)?;
        let made = make()?;
        device.after(call);
        Ok(made)
    }

    /// As [`Self::change`] for a sync: that it failed is remembered.
    fn sync(&self, path: &Path, call: &Call<'_>, make: impl FnOnce() -> io::Result<()>) -> Result<(), DiskError> {
        let synced = self.change("sync", path, call, make);
        if synced.is_err() {
            // Only the first failure is worth telling.
            let _ = self.shared.poison.set(SyncFailed(path.to_owned()));
        }
        synced
    }

    /// Whether a sync failed since this disk was made. Nothing is written any more then.
    ///
    /// # Errors
    /// The error that every change gives.
    pub fn check(&self) -> Result<(), DiskError> {
        match self.shared.poison.get() {
            None => Ok(()),
            Some(failed) => Err(DiskError::new(
                "write after",
                &failed.0,
                io::Error::other(failed.clone()),
            )),
        }
    }

    /// Makes a directory and those above it that are missing. New ones survive power loss when this returns; one that is
    /// there stays as it is.
    ///
    /// # Errors
    /// A directory cannot be made, or something else has its name. Those above it may be there.
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
        if let Some(device) = &self.shared.device {
            device.opened(path, file.key());
        }
        Ok(file)
    }

    /// Replaces a file, or makes it, in one step that survives power loss: whoever reads it, now or after a cut, sees the
    /// old or the new content and never a part.
    ///
    /// # Errors
    /// It could not be written; the old content stays. After a failed sync of the directory either may be there.
    pub fn replace(&self, path: &Path, bytes: &[u8], access: Access) -> Result<(), DiskError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let pending = path.with_file_name(format!("{PENDING_PREFIX}{name}"));
        let written = self
            .create_pending(&pending, access)
            .and_then(|file| {
                file.write_at(bytes, 0)?;
                file.sync()
            })
            .and_then(|()| self.rename(&pending, path));
        if let Err(error) = written {
            // The name is one that is swept; a disk that is full wants the room now.
            let _ = self.remove_file(&pending);
            return Err(error);
        }
        self.sync_dir(parent_of(path))
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
    pub fn sync_dir(&self, dir: &Path) -> Result<(), DiskError> {
        let opened = open_dir(dir)?;
        self.sync(dir, &Call::SyncDir(dir), || opened.sync_all())
    }

    /// Makes the content of an open file durable, whoever wrote it and however it was opened. `path` is for messages.
    ///
    /// # Errors
    /// The sync failed; nothing more is written then.
    pub fn sync_open(&self, file: &fs::File, path: &Path) -> Result<(), DiskError> {
        let metadata = file
            .metadata()
            .map_err(|error| DiskError::new("look at", path, error))?;
        let key = FileKey::of(&metadata);
        self.sync(path, &Call::Sync { path, file: key }, || file.sync_data())
    }

    /// Makes everything on the file system of `dir` durable: one call for any number of files.
    ///
    /// # Errors
    /// The sync failed; nothing more is written then.
    pub fn sync_all(&self, dir: &Path) -> Result<(), DiskError> {
        let opened = open_dir(dir)?;
        self.sync(dir, &Call::SyncAll(dir), || Ok(rustix::fs::syncfs(&opened)?))
    }

    /// How many bytes are free on the disk of `path`, for as much as the system tells.
    pub fn free_bytes(&self, path: &Path) -> Option<u64> {
        let device = self.shared.device.as_ref();
        device.and_then(|device| device.free_bytes()).or_else(|| {
            let stat = rustix::fs::statvfs(path).ok()?;
            Some(stat.f_bavail.saturating_mul(stat.f_frsize))
        })
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
