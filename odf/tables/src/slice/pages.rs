//! The pages of a row group under construction. They are complete long before their place in the file is known, because a
//! column follows another; those beyond a bound wait in a file of no name beside the slice.
//!
//! The bytes of the slice are the same wherever pages wait.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
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
pub(super) struct Pages(Arc<Mutex<Waiting>>);

#[derive(Debug)]
struct Waiting {
    dir: PathBuf,
    limit: usize,
    /// Bytes in memory.
    held: usize,
    /// Made when it is first needed.
    file: Option<File>,
    /// Where the next page goes in it.
    end: u64,
    /// Bytes of all pages of this row group.
    all: usize,
    /// Columns that may have pages here.
    columns: usize,
}

impl Pages {
    /// Pages beyond `limit` bytes are put into a file in `dir`.
    pub(super) fn new(dir: &Path, limit: usize) -> Pages {
        Pages(Arc::new(Mutex::new(Waiting {
            dir: dir.to_owned(),
            limit,
            held: 0,
            file: None,
            end: 0,
            all: 0,
            columns: 0,
        })))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics while it holds this.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of all pages of the row group under construction, whether they wait in memory or in the file.
    pub(super) fn bytes(&self) -> usize {
        self.waiting().all
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.waiting().held
    }
}

impl PageStoreFactory for Pages {
    fn create(&self, _: &PageStoreArgs<'_>) -> Result<Box<dyn PageStore>> {
        self.waiting().columns += 1;
        Ok(Box::new(Column {
            pages: self.clone(),
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
        let mut waiting = self.pages.waiting();
        waiting.all += length;
        self.places.push(if length <= SHORT_BYTES {
            // A copy: the buffer of a header is a multiple of its length.
            Place::Short(page.as_ref().into())
        } else if waiting.held + length <= waiting.limit {
            waiting.held += length;
            Place::Held(page)
        } else {
            let Waiting { file, end, dir, .. } = &mut *waiting;
            let file = match file {
                Some(file) => file,
                none => none.insert(create(dir)?),
            };
            file.write_all_at(&page, *end)?;
            let at = *end;
            *end += length as u64;
            Place::Filed { at, length }
        });
        Ok(key)
    }

    fn take(&mut self, key: PageKey) -> Result<bytes::Bytes> {
        let place = usize::try_from(key.get()).ok().and_then(|at| self.places.get_mut(at));
        let mut waiting = self.pages.waiting();
        match place.map(|place| std::mem::replace(place, Place::Taken)) {
            Some(Place::Short(page)) => Ok(page.into()),
            Some(Place::Held(page)) => {
                waiting.held -= page.len();
                Ok(page)
            }
            Some(Place::Filed { at, length }) => {
                let mut page = vec![0; length];
                if let Some(file) = &waiting.file {
                    file.read_exact_at(&mut page, at)?;
                }
                Ok(page.into())
            }
            Some(Place::Taken) | None => Err(ParquetError::General("a page that does not wait".to_owned())),
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
        let left = self.places.iter().map(|place| match place {
            Place::Held(page) => page.len(),
            _ => 0,
        });
        let left: usize = left.sum();
        let mut waiting = self.pages.waiting();
        waiting.held -= left;
        waiting.columns -= 1;
        if waiting.columns > 0 {
            return;
        }
        // The row group is written; the next begins.
        waiting.all = 0;
        waiting.end = 0;
        if let Some(file) = &waiting.file
            && let Err(error) = file.set_len(0)
        {
            tracing::debug!(%error, "the space of pages that were written is kept until the slice is done");
        }
    }
}
