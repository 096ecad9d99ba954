//! Open files, kept open up to a bound.

use std::{
    collections::HashMap,
    fs::File,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{StoreError, index::Holder};

/// Keeps files open so that a read costs one system call, and closes those unused for longest beyond a bound.
pub(super) struct Handles {
    bound: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    clock: u64,
    files: HashMap<Holder, Handle>,
}

struct Handle {
    file: Arc<File>,
    writable: bool,
    used: u64,
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
        open: impl FnOnce() -> Result<File, StoreError>,
    ) -> Result<Arc<File>, StoreError> {
        {
            let mut kept = self.open();
            kept.clock += 1;
            let now = kept.clock;
            if let Some(handle) = kept
                .files
                .get_mut(&holder)
                .filter(|handle| handle.writable || !writable)
            {
                handle.used = now;
                return Ok(handle.file.clone());
            }
        }
        let file = Arc::new(open()?);
        let mut kept = self.open();
        if kept.files.len() >= self.bound && !kept.files.contains_key(&holder) {
            let oldest = kept
                .files
                .iter()
                .min_by_key(|(_, handle)| handle.used)
                .map(|(holder, _)| *holder);
            if let Some(oldest) = oldest {
                kept.files.remove(&oldest);
            }
        }
        let used = kept.clock;
        kept.files.insert(
            holder,
            Handle {
                file: file.clone(),
                writable,
                used,
            },
        );
        Ok(file)
    }

    /// Closes the file once nobody reads it any more.
    pub(super) fn forget(&self, holder: Holder) {
        self.open().files.remove(&holder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_unused_for_longest_is_closed() {
        let handles = Handles::new(2);
        let opened = std::cell::Cell::new(0);
        let open = || {
            opened.set(opened.get() + 1);
            Ok(tempfile::tempfile().unwrap())
        };
        for id in [1, 2, 1, 3, 1, 2] {
            handles.get(Holder::File(id), false, open).unwrap();
        }
        assert_eq!(opened.get(), 4, "1, 2, 3, and 2 again");
        handles.get(Holder::File(2), true, open).unwrap();
        handles.get(Holder::File(2), false, open).unwrap();
        assert_eq!(opened.get(), 5, "a handle for writing reads as well");
    }
}
