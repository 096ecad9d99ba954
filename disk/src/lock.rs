//! A turn at changing small files by reading them and writing them again.

use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, OFlags};

use crate::{Disk, DiskError};

/// Keeps others, threads and processes alike, from taking the same lock until it is dropped.
#[derive(Debug)]
#[must_use = "the lock ends when it is dropped"]
pub struct DirLock(#[allow(dead_code, reason = "closing it ends the lock")] fs::File);

impl Disk {
    /// Waits for a turn at changing what lies in a directory, which must be there. Only those who ask for it too are kept
    /// out; a process that ends gives its turn back.
    ///
    /// # Errors
    /// The directory cannot be opened or is a link, or the file system has no locks.
    pub fn lock_dir(&self, dir: &Path) -> Result<DirLock, DiskError> {
        let opened = fs::OpenOptions::new()
            .read(true)
            .custom_flags((OFlags::NOFOLLOW | OFlags::DIRECTORY).bits() as i32)
            .open(dir)
            .map_err(|error| DiskError::new("open", dir, error))?;
        loop {
            match rustix::fs::flock(&opened, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(DirLock(opened)),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(DiskError::new("lock", dir, error.into())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_for_one_at_a_time_and_no_link_leads_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let count = dir.path().join("count");
        fs::write(&count, "0").unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let _turn = Disk::new().lock_dir(dir.path()).unwrap();
                        let value: u32 = fs::read_to_string(&count).unwrap().parse().unwrap();
                        Disk::new()
                            .replace(&count, (value + 1).to_string().as_bytes(), crate::Access::Owner)
                            .unwrap();
                    }
                });
            }
        });
        assert_eq!(fs::read_to_string(&count).unwrap(), "200");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        assert!(Disk::new().lock_dir(&link).is_err());
        assert!(Disk::new().lock_dir(&dir.path().join("nothing")).is_err());
    }
}
