//! An open file whose every change is seen by the device.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;
use std::panic::Location;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;

use crate::{Call, Disk, DiskError, FileKey};

/// A file open for reading and writing. Dropping it syncs nothing.
///
/// Writing at a place ([`Self::write_at`]) takes no position and may be done from several threads. [`Write`] goes on from
/// a position of its own, which begins at 0 and which [`Seek`] moves.
#[derive(Debug)]
pub struct DiskFile {
    disk: Disk,
    file: File,
    path: PathBuf,
    key: FileKey,
    at: u64,
}

impl DiskFile {
    pub(crate) fn new(disk: Disk, file: File, path: &Path) -> io::Result<Self> {
        let key = FileKey::of(&file.metadata()?);
        Ok(Self {
            disk,
            file,
            path: path.to_owned(),
            key,
            at: 0,
        })
    }

    /// Which file it is.
    pub fn key(&self) -> FileKey {
        self.key
    }

    /// The path under which it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file, to read from it, lock it or ask for its length. Nothing is written through this.
    pub fn as_file(&self) -> &File {
        &self.file
    }

    /// Length of the file in bytes.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn len(&self) -> Result<u64, DiskError> {
        let metadata = self.file.metadata();
        metadata.map_or_else(
            |error| Err(self.error("read the size of", error)),
            |found| Ok(found.len()),
        )
    }

    /// Whether it has no bytes.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn is_empty(&self) -> Result<bool, DiskError> {
        Ok(self.len()? == 0)
    }

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// They could not be written; a part may have been.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), DiskError> {
        self.write(bytes, offset).map_err(|error| self.error("write", error))
    }

    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let call = Call::Write {
            path: &self.path,
            file: self.key,
            offset,
            bytes,
        };
        self.disk.attempt(&call, || self.file.write_all_at(bytes, offset))
    }

    /// Cuts the file, or lets it grow with zeros.
    ///
    /// # Errors
    /// It could not be done.
    pub fn set_len(&self, len: u64) -> Result<(), DiskError> {
        let call = Call::Resize {
            path: &self.path,
            file: self.key,
            len,
        };
        self.disk
            .change("set the length of", &self.path, &call, || self.file.set_len(len))
    }

    /// Takes room on the disk for the first `len` bytes.
    ///
    /// # Errors
    /// There is no room, or the file system cannot; [`io::ErrorKind::Unsupported`] then.
    pub fn allocate(&self, len: u64) -> Result<(), DiskError> {
        let call = Call::Resize {
            path: &self.path,
            file: self.key,
            len,
        };
        self.disk.change("take room for", &self.path, &call, || {
            Ok(rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, len)?)
        })
    }

    /// Gives a stretch of the file back to the file system: it reads as zeros, the length stays.
    ///
    /// # Errors
    /// It could not be done; on file systems that cannot, [`io::ErrorKind::Unsupported`].
    pub fn punch(&self, offset: u64, len: u64) -> Result<(), DiskError> {
        let call = Call::Punch {
            path: &self.path,
            file: self.key,
            offset,
            len,
        };
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        self.disk.change("free space in", &self.path, &call, || {
            Ok(rustix::fs::fallocate(&self.file, flags, offset, len)?)
        })
    }

    /// Makes the content and the length durable. The name is the directory's matter.
    ///
    /// # Errors
    /// The sync failed; nothing more is written to the disk then.
    #[track_caller]
    pub fn sync(&self) -> Result<(), DiskError> {
        let call = Call::Sync {
            path: &self.path,
            file: self.key,
            site: Location::caller(),
        };
        self.disk.sync(&self.path, &call, || self.file.sync_data())
    }

    fn error(&self, operation: &'static str, source: io::Error) -> DiskError {
        DiskError::new(operation, &self.path, source)
    }
}

impl Write for DiskFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        DiskFile::write(self, bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    /// Does nothing: what is written is with the kernel already, and durable only after [`DiskFile::sync`].
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for DiskFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (from, by) = match to {
            SeekFrom::Start(at) => (at, 0),
            SeekFrom::Current(by) => (self.at, by),
            SeekFrom::End(by) => (self.file.metadata()?.len(), by),
        };
        self.at = from
            .checked_add_signed(by)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}
