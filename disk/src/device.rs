//! What a device sees: every change of a file or a name, before and after it is made.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::panic::Location;
use std::path::Path;

/// Which file a call is about, whatever its name: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileKey {
    /// Number of the device.
    pub device: u64,
    /// Number of the inode on it.
    pub inode: u64,
}

impl FileKey {
    pub(super) fn of(metadata: &fs::Metadata) -> Self {
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
        /// Where in the code it is asked for.
        site: &'static Location<'static>,
    },
    /// Names in a directory are made durable.
    SyncDir {
        /// The directory.
        path: &'a Path,
        /// Where in the code it is asked for.
        site: &'static Location<'static>,
    },
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
        matches!(self, Call::Sync { .. } | Call::SyncDir { .. } | Call::SyncAll(_))
    }
}

/// What lies below a [`Disk`](crate::Disk) in tests. A program has none.
pub trait Device: Send + Sync + 'static {
    /// Sees a change before it is made.
    ///
    /// # Errors
    /// The change is not made and the caller gets this error, as if the operating system had refused.
    fn before(&self, call: &Call<'_>) -> io::Result<()>;

    /// Makes a change between [`before`](Self::before) and [`after`](Self::after). A device that must see the changes of
    /// several threads in the order in which they are made lets one do so at a time.
    ///
    /// # Errors
    /// Those of `before` and `make`.
    fn perform(&self, call: &Call<'_>, make: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        self.before(call)?;
        make()?;
        self.after(call);
        Ok(())
    }

    /// Sees which file is behind a path that was opened to be changed.
    fn opened(&self, _path: &Path, _file: FileKey) {}

    /// Sees a change that was made.
    fn after(&self, _call: &Call<'_>) {}

    /// How many bytes are free, if the device has a say in it.
    fn free_bytes(&self) -> Option<u64> {
        None
    }
}
