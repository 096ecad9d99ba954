//! What stands between the store and sled.

use std::{
    io::ErrorKind,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
};

use odf_disk::{Access, Disk};

use super::error::StoreError;

/// Stands between the store and sled: no panic of sled's passes, damage is remembered, and nothing is written to a
/// disk that is nearly full, because sled does not survive a write that fails.
#[derive(Clone)]
pub(super) struct Guard {
    disk: Disk,
    root: Arc<Path>,
    damage_mark: Arc<Path>,
    min_free_bytes: u64,
}

impl Guard {
    /// For a store under `root`; damage that is met is recorded by making the file `damage_mark`.
    pub(super) fn new(disk: &Disk, root: &Path, damage_mark: &Path, min_free_bytes: u64) -> Self {
        Self {
            disk: disk.clone(),
            root: root.into(),
            damage_mark: damage_mark.into(),
            min_free_bytes,
        }
    }

    /// Runs a call into sled.
    ///
    /// # Errors
    /// [`StoreError::IndexDamaged`] if sled panics or reports damage; the next open then rebuilds the index.
    pub(super) fn run<T>(&self, call: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
        match catch_unwind(AssertUnwindSafe(call)) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) if !is_damage(&error) => Err(match error {
                sled::Error::Io(source) => StoreError::io("use the index of", &self.root, source),
                other => StoreError::Index(other),
            }),
            // sled panics on some writes that fail; its files are as they were then.
            Err(_) if matches!(self.room(), Err(StoreError::Full { .. })) => Err(StoreError::Full {
                path: self.root.to_path_buf(),
            }),
            damaged => {
                let error = damaged
                    .err()
                    .map_or_else(|| "sled reports damage".to_owned(), |panic| panic_text(&*panic));
                Err(self.damaged(&error))
            }
        }
    }

    /// Remembers that the index is damaged, so that the next opening makes it again. Gives the error that says so.
    pub(super) fn damaged(&self, error: &str) -> StoreError {
        tracing::error!(error, root = %self.root.display(), "the block index is damaged");
        if let Err(error) = self.disk.open_or_create(&self.damage_mark, Access::Owner) {
            tracing::error!(%error, "cannot leave a mark to rebuild the index");
        }
        StoreError::IndexDamaged
    }

    /// Whether this many bytes can be written without touching what is to be left free.
    pub(super) fn has_room_for(&self, bytes: u64) -> bool {
        self.free_bytes()
            .is_none_or(|free| free > self.min_free_bytes.saturating_add(bytes))
    }

    /// Refuses to go on when less than the reserve is free, or when a sync failed before: sled's files do not go through
    /// the disk that remembers that.
    ///
    /// # Errors
    /// [`StoreError::Full`], or one that [`StoreError::is_poisoned`].
    pub(super) fn room(&self) -> Result<(), StoreError> {
        self.disk.check()?;
        if self.is_short() {
            return Err(StoreError::Full {
                path: self.root.to_path_buf(),
            });
        }
        Ok(())
    }

    /// Whether less than the reserve is free.
    pub(super) fn is_short(&self) -> bool {
        self.free_bytes().is_some_and(|free| free < self.min_free_bytes)
    }

    /// Bytes that are free where the store is, if the system says.
    pub(super) fn free_bytes(&self) -> Option<u64> {
        self.disk.free_bytes(&self.root)
    }
}

/// Whether an error of sled's means that its files cannot be trusted, rather than that the system refused.
fn is_damage(error: &sled::Error) -> bool {
    match error {
        sled::Error::Io(error) => matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData),
        _ => true,
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("sled panicked")
        .to_owned()
}
