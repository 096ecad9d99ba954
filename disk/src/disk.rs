//! The handle through which every change goes: refused after a sync that failed, shown to the device.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use super::device::{Call, Device, FileKey};
use super::error::{DiskError, SyncFailed};

struct Shared {
    device: Option<Arc<dyn Device>>,
    poison: OnceLock<SyncFailed>,
    /// A change failed, so what was to follow it may not have.
    broke_off: AtomicBool,
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
                broke_off: AtomicBool::new(false),
            }),
        }
    }

    /// Tells the device which file is behind a path that was opened to be changed.
    pub(super) fn opened(&self, path: &Path, file: FileKey) {
        if let Some(device) = &self.shared.device {
            device.opened(path, file);
        }
    }

    /// Makes a change, unless a sync failed before or the device refuses it.
    pub(super) fn change<T>(
        &self,
        operation: &'static str,
        path: &Path,
        call: &Call<'_>,
        make: impl FnOnce() -> io::Result<T>,
    ) -> Result<T, DiskError> {
        self.attempt(call, make)
            .map_err(|source| DiskError::new(operation, path, source))
    }

    pub(super) fn attempt<T>(&self, call: &Call<'_>, make: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let attempted = self.attempt_now(call, make);
        if let Err(error) = &attempted
            && !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists)
        {
            self.shared.broke_off.store(true, Ordering::Relaxed);
        }
        attempted
    }

    fn attempt_now<T>(&self, call: &Call<'_>, make: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if let Some(failed) = self.shared.poison.get() {
            return Err(io::Error::other(failed.clone()));
        }
        let Some(device) = &self.shared.device else {
            return make();
        };
        let (mut make, mut made) = (Some(make), None);
        device.perform(call, &mut || {
            if let Some(make) = make.take() {
                made = Some(make()?);
            }
            Ok(())
        })?;
        made.ok_or_else(|| io::Error::other("the device made no change"))
    }

    /// As [`Self::change`] for a sync: that it failed is remembered.
    pub(super) fn sync(
        &self,
        path: &Path,
        call: &Call<'_>,
        make: impl FnOnce() -> io::Result<()>,
    ) -> Result<(), DiskError> {
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

    /// Whether a change failed since this disk was made, other than by what is there or not there. What should have followed
    /// it may not have been done, such as the sync of a directory in which a name had been changed before.
    pub fn broke_off(&self) -> bool {
        self.shared.broke_off.load(Ordering::Relaxed)
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
