//! Metadata blocks on their way into a chain: gone through from the oldest on, more than once.
//!
//! A long chain that arrives is not held in memory. [`NewBlocks`] has its exact bytes in a file without a name, and in memory
//! only where each block lies, which is 16 bytes.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use odf_disk::PENDING_PREFIX;

use super::error::DatasetError;
use odf_metadata::codec::EncodedBlock;

/// As many bytes of new blocks wait in memory before they go into a file; a chain that is shorter needs none.
const IN_MEMORY_BYTES: usize = 1 << 20;

/// Tells apart the files that are being made at one time.
static FILES: AtomicU64 = AtomicU64::new(0);

/// Metadata blocks in the order of a chain, oldest first.
pub trait Blocks {
    /// How many there are.
    fn count(&self) -> u64;

    /// The block at a place counted from 0; nothing behind the last.
    ///
    /// # Errors
    /// What was put aside cannot be read.
    fn at(&self, at: u64) -> Result<Option<Cow<'_, EncodedBlock>>, DatasetError>;

    /// The exact bytes of the block at a place.
    ///
    /// # Errors
    /// As [`Self::at`].
    fn bytes_at(&self, at: u64) -> Result<Option<Bytes>, DatasetError> {
        Ok(self.at(at)?.map(|block| block.bytes().clone()))
    }
}

/// Goes through blocks, oldest first. Ends with the first that cannot be read.
pub(crate) fn each(blocks: &dyn Blocks) -> impl Iterator<Item = Result<Cow<'_, EncodedBlock>, DatasetError>> {
    (0..blocks.count()).map_while(|at| blocks.at(at).transpose())
}

impl Blocks for [EncodedBlock] {
    fn count(&self) -> u64 {
        self.len() as u64
    }

    fn at(&self, at: u64) -> Result<Option<Cow<'_, EncodedBlock>>, DatasetError> {
        let found = usize::try_from(at).ok().and_then(|at| self.get(at));
        Ok(found.map(Cow::Borrowed))
    }
}

impl Blocks for Vec<EncodedBlock> {
    fn count(&self) -> u64 {
        self.as_slice().count()
    }

    fn at(&self, at: u64) -> Result<Option<Cow<'_, EncodedBlock>>, DatasetError> {
        self.as_slice().at(at)
    }
}

impl<B: Blocks + ?Sized> Blocks for &B {
    fn count(&self) -> u64 {
        (**self).count()
    }

    fn at(&self, at: u64) -> Result<Option<Cow<'_, EncodedBlock>>, DatasetError> {
        (**self).at(at)
    }

    fn bytes_at(&self, at: u64) -> Result<Option<Bytes>, DatasetError> {
        (**self).bytes_at(at)
    }
}

/// Blocks that came from elsewhere, put aside until they are part of a chain.
pub struct NewBlocks {
    /// Where the file is made that they lie in.
    dir: PathBuf,
    file: Option<File>,
    /// How many bytes are in the file; those behind them are in memory.
    written: u64,
    tail: Vec<u8>,
    places: VecDeque<Place>,
}

/// Where a block lies.
#[derive(Clone, Copy)]
struct Place {
    offset: u64,
    len: u32,
}

impl std::fmt::Debug for NewBlocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewBlocks")
            .field("count", &self.places.len())
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}

impl NewBlocks {
    /// None yet. Where they get many, a file is made in `dir`, which loses its name at once, so that nothing is left of it.
    pub fn beside(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            file: None,
            written: 0,
            tail: Vec::new(),
            places: VecDeque::new(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// How many bytes were put aside.
    pub fn bytes(&self) -> u64 {
        self.written + self.tail.len() as u64
    }

    /// Adds the block that comes behind all others.
    ///
    /// # Errors
    /// The file cannot be made or written; nothing was added.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), DatasetError> {
        let place = self.keep(bytes)?;
        self.places.push_back(place);
        Ok(())
    }

    /// Adds the block that comes before all others.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn push_front(&mut self, bytes: &[u8]) -> Result<(), DatasetError> {
        let place = self.keep(bytes)?;
        self.places.push_front(place);
        Ok(())
    }

    /// Drops the oldest `count` blocks.
    pub fn drop_first(&mut self, count: u64) {
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(self.places.len());
        self.places.drain(..count);
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<Place, DatasetError> {
        if !self.tail.is_empty() && self.tail.len() + bytes.len() > IN_MEMORY_BYTES {
            self.write()?;
        }
        let place = Place {
            offset: self.bytes(),
            // A metadata block is at most 2 MiB.
            len: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
        };
        self.tail.extend_from_slice(bytes);
        Ok(place)
    }

    /// Brings what is in memory into the file.
    fn write(&mut self) -> Result<(), DatasetError> {
        if self.file.is_none() {
            self.file = Some(without_name(&self.dir)?);
        }
        if let Some(file) = &self.file {
            file.write_all_at(&self.tail, self.written)
                .map_err(|error| DatasetError::io("put metadata blocks aside in", &self.dir, error))?;
        }
        self.written += self.tail.len() as u64;
        self.tail.clear();
        Ok(())
    }

    fn read(&self, place: Place) -> Result<Bytes, DatasetError> {
        let len = place.len as usize;
        let failed = |error| DatasetError::io("read metadata blocks that were put aside in", &self.dir, error);
        // No block lies in both: the file ends where one began.
        if let Some(from) = place.offset.checked_sub(self.written) {
            let from = usize::try_from(from).unwrap_or(usize::MAX);
            let found = self.tail.get(from..from.saturating_add(len));
            return match found {
                Some(bytes) => Ok(Bytes::copy_from_slice(bytes)),
                None => Err(failed(io::ErrorKind::UnexpectedEof.into())),
            };
        }
        let Some(file) = &self.file else {
            return Err(failed(io::ErrorKind::UnexpectedEof.into()));
        };
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, place.offset).map_err(failed)?;
        Ok(bytes.into())
    }
}

impl Blocks for NewBlocks {
    fn count(&self) -> u64 {
        self.places.len() as u64
    }

    fn at(&self, at: u64) -> Result<Option<Cow<'_, EncodedBlock>>, DatasetError> {
        let Some(bytes) = self.bytes_at(at)? else {
            return Ok(None);
        };
        let block = EncodedBlock::decode(bytes).map_err(|source| DatasetError::Block { sequence: None, source })?;
        Ok(Some(Cow::Owned(block)))
    }

    fn bytes_at(&self, at: u64) -> Result<Option<Bytes>, DatasetError> {
        let place = usize::try_from(at).ok().and_then(|at| self.places.get(at));
        place.map(|place| self.read(*place)).transpose()
    }
}

/// A file of no name.
fn without_name(dir: &Path) -> Result<File, DatasetError> {
    let number = FILES.fetch_add(1, Ordering::Relaxed);
    let path = dir.join(format!("{PENDING_PREFIX}blocks-{}-{number}", std::process::id()));
    let mut options = File::options();
    let options = options.read(true).write(true).create_new(true).mode(0o600);
    let file = options
        .open(&path)
        .map_err(|error| DatasetError::io("create", &path, error))?;
    fs::remove_file(&path).map_err(|error| DatasetError::io("remove", &path, error))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made_up::chain;

    fn all(blocks: &dyn Blocks) -> Vec<EncodedBlock> {
        each(blocks).map(|block| block.unwrap().into_owned()).collect()
    }

    #[test]
    fn blocks_come_back_from_memory_and_from_a_file_whichever_way_they_came() {
        let dir = tempfile::tempdir().unwrap();
        // All in memory; most in a file, with several in each write; each longer than what waits in memory.
        for (count, bytes) in [(20, 10), (50, 100 << 10), (4, IN_MEMORY_BYTES + 1)] {
            let chain = chain(count, bytes);
            let (mut there, mut back) = (NewBlocks::beside(dir.path()), NewBlocks::beside(dir.path()));
            for block in &chain {
                there.push(block.bytes()).unwrap();
            }
            for block in chain.iter().rev() {
                back.push_front(block.bytes()).unwrap();
            }
            assert_eq!(there.file.is_some(), bytes > 10);
            assert_eq!(all(&there), chain);
            assert_eq!(all(&back), chain);
            assert_eq!(back.bytes_at(2).unwrap().unwrap(), chain[2].bytes());
            assert!(back.at(count).unwrap().is_none() && back.bytes_at(count).unwrap().is_none());
            back.drop_first(3);
            assert_eq!(all(&back), chain[3..]);
            back.drop_first(count);
            assert!(back.is_empty());
            // Nothing that a crash could leave has a name.
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
            assert!(there.tail.len() <= IN_MEMORY_BYTES.max(bytes + 1000));
        }
    }

    #[test]
    fn what_cannot_be_put_aside_is_said() {
        let mut blocks = NewBlocks::beside(Path::new("/nowhere/at/all"));
        let block = vec![0; IN_MEMORY_BYTES];
        blocks.push(&block).unwrap();
        let error = blocks.push(&block).unwrap_err().to_string();
        assert!(error.contains("/nowhere/at/all"), "{error}");
        assert_eq!(blocks.count(), 1);
    }
}
