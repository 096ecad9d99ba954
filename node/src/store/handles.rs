//! Open files, kept open up to a bound.

use std::{
    collections::HashMap,
    fs::{self, File},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use odf_disk::DiskFile;
use rustix::fs::OFlags;

use super::{error::StoreError, place::Holder};

/// Keeps files open so that a read costs one system call, and closes those unused for longest beyond a bound.
pub(super) struct Handles {
    bound: usize,
    open: Mutex<Open>,
}

/// An open file.
pub(super) enum Handle {
    /// To be read.
    Read(File),
    /// To be written as well.
    Write(DiskFile),
}

impl Handle {
    /// The file, to read from it.
    pub(super) fn file(&self) -> &File {
        match self {
            Self::Read(file) => file,
            Self::Write(file) => file.as_file(),
        }
    }
}

#[derive(Default)]
struct Open {
    clock: u64,
    files: HashMap<Holder, (Arc<Handle>, u64)>,
}

impl Handles {
    pub(super) fn new(bound: usize) -> Self {
        Self {
            bound: bound.max(1),
            open: Mutex::default(),
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file of `holder`, for writing too if asked; calls `open` if it is not kept open that way.
    pub(super) fn get(
        &self,
        holder: Holder,
        writable: bool,
        open: impl FnOnce() -> Result<Handle, StoreError>,
    ) -> Result<Arc<Handle>, StoreError> {
        {
            let mut kept = self.open();
            kept.clock += 1;
            let now = kept.clock;
            if let Some((handle, used)) = kept.files.get_mut(&holder)
                && (!writable || matches!(**handle, Handle::Write(_)))
            {
                *used = now;
                return Ok(handle.clone());
            }
        }
        let file = Arc::new(open()?);
        let mut kept = self.open();
        if kept.files.len() >= self.bound && !kept.files.contains_key(&holder) {
            let oldest = kept
                .files
                .iter()
                .min_by_key(|(_, (_, used))| *used)
                .map(|(holder, _)| *holder);
            if let Some(oldest) = oldest {
                kept.files.remove(&oldest);
            }
        }
        let used = kept.clock;
        kept.files.insert(holder, (file.clone(), used));
        Ok(file)
    }

    /// Closes the file once nobody reads it any more.
    pub(super) fn forget(&self, holder: Holder) {
        self.open().files.remove(&holder);
    }
}

/// Opens a file to read it. Links are not followed, and nothing that is no file is waited for.
pub(super) fn open_to_read(path: &Path) -> Result<File, StoreError> {
    let opened = fs::OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
        .open(path);
    opened.map_err(|error| StoreError::io("open", path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_unused_for_longest_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let disk = odf_disk::Disk::new();
        let handles = Handles::new(2);
        let opened = std::cell::Cell::new(0);
        let open = || {
            opened.set(opened.get() + 1);
            Ok(Handle::Read(tempfile::tempfile().unwrap()))
        };
        for id in [1, 2, 1, 3, 1, 2] {
            handles.get(Holder::File(id), false, open).unwrap();
        }
        assert_eq!(opened.get(), 4, "1, 2, 3, and 2 again");
        let writable = || {
            let path = dir.path().join("f");
            Ok(Handle::Write(disk.create(&path, odf_disk::Access::Owner)?))
        };
        handles.get(Holder::File(2), true, writable).unwrap();
        handles.get(Holder::File(2), false, open).unwrap();
        assert_eq!(opened.get(), 4, "a handle for writing reads as well");
    }

    #[test]
    fn links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("f"), b"x").unwrap();
        std::os::unix::fs::symlink(dir.path().join("f"), dir.path().join("link")).unwrap();
        assert!(open_to_read(&dir.path().join("f")).is_ok());
        assert!(open_to_read(&dir.path().join("link")).is_err());
    }
}
