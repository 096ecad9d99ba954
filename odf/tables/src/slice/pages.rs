//! The pages of a row group under construction. They are complete long before their place in the file is known, because a
//! column follows another; those beyond a bound wait in a file of no name beside the slice.
//!
//! The bytes of the slice are the same wherever pages wait.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use parquet::arrow::arrow_writer::{PageKey, PageStore, PageStoreArgs, PageStoreFactory};
use parquet::errors::{ParquetError, Result};

use super::SliceError;
use super::nameless::nameless;

/// Bytes of pages that wait in memory.
pub(super) const HELD_BYTES: usize = 64 << 20;

/// Shorter ones, which are headers of pages for the most part, always do, and do not count.
const SHORT_BYTES: usize = 512;

/// Where all columns of a slice put their pages.
#[derive(Clone, Debug)]
pub(super) struct Pages {
    limit: usize,
    /// Bytes in memory, of all row groups: one may be written while the next is under construction.
    held: Arc<AtomicUsize>,
    group: Arc<Mutex<Arc<Group>>>,
}

/// What the columns of one row group share. Its file goes with the last of them.
#[derive(Debug)]
struct Group {
    dir: PathBuf,
    /// Bytes of all pages of each column.
    columns: Mutex<Vec<Arc<AtomicUsize>>>,
    file: Mutex<Spilled>,
}

#[derive(Debug, Default)]
struct Spilled {
    /// Made when it is first needed.
    file: Option<Arc<File>>,
    /// Where the next page goes in it.
    end: u64,
}

impl Group {
    fn new(dir: &Path) -> Arc<Group> {
        Arc::new(Group {
            dir: dir.to_owned(),
            columns: Mutex::default(),
            file: Mutex::default(),
        })
    }

    /// A place for so many bytes in the file.
    fn reserve(&self, length: usize) -> Result<(Arc<File>, u64)> {
        let mut spilled = lock(&self.file);
        let file = match &spilled.file {
            Some(file) => file.clone(),
            None => spilled.file.insert(Arc::new(create(&self.dir)?)).clone(),
        };
        let at = spilled.end;
        spilled.end += length as u64;
        Ok((file, at))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pages {
    /// Pages beyond `limit` bytes are put into a file in `dir`.
    pub(super) fn new(dir: &Path, limit: usize) -> Pages {
        Pages {
            limit,
            held: Arc::default(),
            group: Arc::new(Mutex::new(Group::new(dir))),
        }
    }

    /// Columns that are made from now on belong to another row group.
    pub(super) fn begin_group(&self) {
        let mut group = lock(&self.group);
        *group = Group::new(&group.dir);
    }

    /// Bytes of all pages of each column of the row group under construction, in the order in which the columns were made,
    /// now and from now on, whether they wait in memory or in the file.
    pub(super) fn bytes_by_column(&self) -> Vec<Arc<AtomicUsize>> {
        lock(&lock(&self.group).columns).clone()
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Counts a page as held in memory, if there is room for it.
    fn hold(&self, length: usize) -> bool {
        let more = |held: usize| held.checked_add(length).filter(|held| *held <= self.limit);
        self.held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    fn release(&self, length: usize) {
        self.held.fetch_sub(length, Ordering::Relaxed);
    }
}

impl PageStoreFactory for Pages {
    fn create(&self, _: &PageStoreArgs<'_>) -> Result<Box<dyn PageStore>> {
        let group = lock(&self.group).clone();
        let bytes: Arc<AtomicUsize> = Arc::default();
        lock(&group.columns).push(bytes.clone());
        Ok(Box::new(Column {
            pages: self.clone(),
            group,
            bytes,
            places: Vec::new(),
        }))
    }
}

/// Only what the operating system said reaches the one who writes the slice.
fn create(dir: &Path) -> Result<File> {
    match nameless(dir, "pages") {
        Ok((file, _)) => Ok(file),
        Err(SliceError::Io { source, .. }) => Err(source.into()),
        Err(other) => Err(ParquetError::External(Box::new(other))),
    }
}

/// The pages of one column.
struct Column {
    pages: Pages,
    group: Arc<Group>,
    bytes: Arc<AtomicUsize>,
    places: Vec<Place>,
}

enum Place {
    Short(Box<[u8]>),
    Held(bytes::Bytes),
    Filed { at: u64, length: usize },
    Taken,
}

impl PageStore for Column {
    fn put(&mut self, page: bytes::Bytes) -> Result<PageKey> {
        let key = PageKey::new(self.places.len() as u64);
        let length = page.len();
        self.bytes.fetch_add(length, Ordering::Relaxed);
        self.places.push(if length <= SHORT_BYTES {
            // A copy: the buffer of a header is a multiple of its length.
            Place::Short(page.as_ref().into())
        } else if self.pages.hold(length) {
            Place::Held(page)
        } else {
            let (file, at) = self.group.reserve(length)?;
            file.write_all_at(&page, at)?;
            Place::Filed { at, length }
        });
        Ok(key)
    }

    fn take(&mut self, key: PageKey) -> Result<bytes::Bytes> {
        let place = usize::try_from(key.get()).ok().and_then(|at| self.places.get_mut(at));
        let lost = || ParquetError::General("a page that does not wait".to_owned());
        match place.map(|place| std::mem::replace(place, Place::Taken)) {
            Some(Place::Short(page)) => Ok(page.into()),
            Some(Place::Held(page)) => {
                self.pages.release(page.len());
                Ok(page)
            }
            Some(Place::Filed { at, length }) => {
                let file = lock(&self.group.file).file.clone().ok_or_else(lost)?;
                let mut page = vec![0; length];
                file.read_exact_at(&mut page, at)?;
                Ok(page.into())
            }
            Some(Place::Taken) | None => Err(lost()),
        }
    }

    fn memory_size(&self) -> usize {
        let held = |place: &Place| match place {
            Place::Short(page) => page.len(),
            Place::Held(page) => page.len(),
            Place::Filed { .. } | Place::Taken => 0,
        };
        self.places.iter().map(held).sum()
    }
}

impl Drop for Column {
    fn drop(&mut self) {
        for place in &self.places {
            if let Place::Held(page) = place {
                self.pages.release(page.len());
            }
        }
    }
}
