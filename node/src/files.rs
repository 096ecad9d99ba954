//! Files and directories of this machine into blocks, on all cores.
//!
//! [`unixfs::import`](crate::unixfs::import) says what the blocks are; this reads the files, hashes chunks in parallel
//! and hands blocks to a store as they come, so memory does not grow with the file. What to add, under which names, is
//! for the caller: an [`Adder`] takes files, symlinks and finished directories one by one.

use std::fs::File;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use crate::block::{Block, BlockError};
use crate::store::{Blocks, StoreError};
use crate::unixfs::directory::{self, DirectoryError};
use crate::unixfs::import::{self, FileBuilder, Leaf};
use crate::unixfs::node;
use crate::unixfs::{Entry, Profile};

/// Blocks are handed to the store in batches of about this many bytes.
const BATCH_BYTES: usize = 4 << 20;
/// Bytes of a file that are in memory at once, over all threads, when it is read in parallel.
const ROUND_BYTES: usize = 32 << 20;
/// Threads that hash; more than this only wait for memory.
const MAX_THREADS: usize = 16;

/// Told how many more bytes of content are done; may stop the work. Called from several threads.
pub type OnBytes<'a> = &'a (dyn Fn(u64) -> ControlFlow<()> + Sync);

/// Why something could not be added. Blocks handed to the store before stay there; nothing refers to them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddError {
    /// A file cannot be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file became shorter while it was read.
    #[error("{} became shorter while it was read", .path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The store does not take the blocks.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The profile makes blocks that are too large.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// The names of a directory cannot be in one directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The caller's [`OnBytes`] stopped the work.
    #[error("stopped")]
    Stopped,
}

/// Makes blocks of files, symlinks and directories.
pub struct Adder<'a> {
    profile: Profile,
    store: Option<&'a dyn Blocks>,
    on_bytes: OnBytes<'a>,
    threads: usize,
    /// Blocks made on the caller's thread, on their way to the store.
    batch: Batch<'a>,
}

impl<'a> Adder<'a> {
    /// Blocks go to `store`, or nowhere: without one, content is only hashed.
    pub fn new(profile: &Profile, store: Option<&'a dyn Blocks>, on_bytes: OnBytes<'a>) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MAX_THREADS));
        Self { profile: *profile, store, on_bytes, threads, batch: Batch::new(store) }
    }

    /// Adds the content of a regular file.
    ///
    /// # Errors
    /// See [`AddError`].
    pub fn file(&mut self, path: &Path) -> Result<Entry, AddError> {
        let failed = |source| AddError::Read { path: path.to_path_buf(), source };
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return self.reader(path, file);
        }
        let read = |offset: u64, len: usize| {
            let mut bytes = vec![0; len];
            match file.read_exact_at(&mut bytes, offset) {
                Ok(()) => Ok(Bytes::from(bytes)),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    Err(AddError::Changed { path: path.to_path_buf() })
                }
                Err(source) => Err(failed(source)),
            }
        };
        let mut builder = FileBuilder::new(&self.profile);
        let mut round: Vec<(u64, usize)> = Vec::new();
        let per_round = self.chunks_per_round();
        let mut chunks = import::chunks(&self.profile, metadata.len());
        loop {
            round.clear();
            round.extend(chunks.by_ref().take(per_round));
            if round.is_empty() {
                break;
            }
            let leaves = self.round(round.len(), &|index| {
                let (offset, len) = round.get(index).copied().unwrap_or_default();
                read(offset, len)
            })?;
            self.grow(&mut builder, leaves)?;
        }
        self.end(builder)
    }

    /// Adds what a reader gives until its end. `path` is for messages.
    ///
    /// # Errors
    /// See [`AddError`].
    pub fn reader(&mut self, path: &Path, mut reader: impl Read) -> Result<Entry, AddError> {
        let mut builder = FileBuilder::new(&self.profile);
        let per_round = self.chunks_per_round();
        let mut ended = false;
        while !ended {
            let mut round = Vec::new();
            while round.len() < per_round && !ended {
                let mut chunk = Vec::new();
                let limit = self.profile.chunk_bytes as u64;
                let got = reader.by_ref().take(limit).read_to_end(&mut chunk);
                got.map_err(|source| AddError::Read { path: path.to_path_buf(), source })?;
                ended = (chunk.len() as u64) < limit;
                if !chunk.is_empty() {
                    round.push(Bytes::from(chunk));
                }
            }
            let leaves = self.round(round.len(), &|index| Ok(round.get(index).cloned().unwrap_or_default()))?;
            self.grow(&mut builder, leaves)?;
        }
        self.end(builder)
    }

    /// Adds a symbolic link to `target`.
    ///
    /// # Errors
    /// See [`AddError`].
    pub fn symlink(&mut self, target: &str) -> Result<Entry, AddError> {
        let (entry, block) = node::symlink(&self.profile, target)?;
        self.keep(vec![block])?;
        Ok(entry)
    }

    /// Adds a directory of entries that were added before.
    ///
    /// # Errors
    /// See [`AddError`].
    pub fn directory(&mut self, entries: impl IntoIterator<Item = (String, Entry)>) -> Result<Entry, AddError> {
        let built = directory::build(&self.profile, entries)?;
        self.keep(built.blocks)?;
        Ok(built.entry)
    }

    /// Hands over what still waits. Everything added is in the store then, and durable after its next flush.
    ///
    /// # Errors
    /// [`AddError::Store`].
    pub fn finish(mut self) -> Result<(), AddError> {
        self.batch.hand_over()
    }

    fn chunks_per_round(&self) -> usize {
        (ROUND_BYTES / self.profile.chunk_bytes.max(1)).max(1)
    }

    /// Reads and hashes `count` chunks on all threads; their leaves in order.
    fn round(
        &mut self,
        count: usize,
        read: &(dyn Fn(usize) -> Result<Bytes, AddError> + Sync),
    ) -> Result<Vec<Leaf>, AddError> {
        let threads = self.threads.min(count);
        let next = AtomicUsize::new(0);
        let mut leaves: Vec<(usize, Leaf)> = Vec::with_capacity(count);
        if threads <= 1 {
            for index in 0..count {
                let (leaf, block) = self.chunk(read(index)?)?;
                leaves.push((index, leaf));
                self.keep(block.into_iter().collect())?;
            }
        } else {
            let this = &*self;
            let work = || -> Result<Vec<(usize, Leaf)>, AddError> {
                let mut leaves = Vec::new();
                let mut batch = Batch::new(this.store);
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        batch.hand_over()?;
                        return Ok(leaves);
                    }
                    let (leaf, block) = read(index).and_then(|bytes| this.chunk(bytes)).inspect_err(|_| {
                        // The others stop at their next chunk.
                        next.store(count, Ordering::Relaxed);
                    })?;
                    leaves.push((index, leaf));
                    if let Some(block) = block {
                        batch.push(block)?;
                    }
                }
            };
            let results: Vec<_> = std::thread::scope(|scope| {
                let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
                workers.into_iter().map(|worker| worker.join()).collect()
            });
            for result in results {
                leaves.extend(result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
            }
            leaves.sort_unstable_by_key(|(index, _)| *index);
        }
        Ok(leaves.into_iter().map(|(_, leaf)| leaf).collect())
    }

    /// One leaf, and its block if there is a store to keep it.
    fn chunk(&self, bytes: Bytes) -> Result<(Leaf, Option<Block>), AddError> {
        let len = bytes.len() as u64;
        let made = match self.store {
            Some(_) => import::leaf(&self.profile, bytes).map(|(leaf, block)| (leaf, Some(block)))?,
            None => (import::hash_leaf(&self.profile, &bytes)?, None),
        };
        if (self.on_bytes)(len).is_break() {
            return Err(AddError::Stopped);
        }
        Ok(made)
    }

    fn grow(&mut self, builder: &mut FileBuilder, leaves: Vec<Leaf>) -> Result<(), AddError> {
        let mut nodes = Vec::new();
        for leaf in leaves {
            builder.push(leaf, &mut nodes)?;
        }
        self.keep(nodes)
    }

    fn end(&mut self, builder: FileBuilder) -> Result<Entry, AddError> {
        let mut nodes = Vec::new();
        let entry = builder.finish(&mut nodes)?;
        self.keep(nodes)?;
        Ok(entry)
    }

    fn keep(&mut self, blocks: Vec<Block>) -> Result<(), AddError> {
        blocks.into_iter().try_for_each(|block| self.batch.push(block))
    }
}

/// Blocks of one thread on their way to the store.
struct Batch<'a> {
    store: Option<&'a dyn Blocks>,
    blocks: Vec<Block>,
    bytes: usize,
}

impl<'a> Batch<'a> {
    fn new(store: Option<&'a dyn Blocks>) -> Self {
        Self { store, blocks: Vec::new(), bytes: 0 }
    }

    fn push(&mut self, block: Block) -> Result<(), AddError> {
        if self.store.is_none() {
            return Ok(());
        }
        self.bytes += block.data().len();
        self.blocks.push(block);
        if self.bytes >= BATCH_BYTES { self.hand_over() } else { Ok(()) }
    }

    fn hand_over(&mut self) -> Result<(), AddError> {
        self.bytes = 0;
        let blocks = std::mem::take(&mut self.blocks);
        match self.store {
            Some(store) if !blocks.is_empty() => Ok(store.put(&blocks)?),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;
    use crate::unixfs::{KUBO_CIDV1, UNIXFS_V0_2015, UNIXFS_V1_2025};

    const GO_ON: OnBytes<'static> = &|_| ControlFlow::Continue(());

    /// Lengths around the edges of chunks and rounds.
    fn sizes(profile: &Profile) -> Vec<usize> {
        let chunk = profile.chunk_bytes;
        vec![0, 1, chunk - 1, chunk, chunk + 1, ROUND_BYTES, ROUND_BYTES + 1]
    }

    #[test]
    fn files_streams_and_memory_give_the_same_blocks() {
        let dir = tempfile::tempdir().unwrap();
        for profile in [UNIXFS_V1_2025, UNIXFS_V0_2015, KUBO_CIDV1] {
            for size in sizes(&profile) {
                let content: Vec<u8> = (0..size).map(|i| (i / 7 % 251) as u8).collect();
                let path = dir.path().join("file");
                std::fs::write(&path, &content).unwrap();
                let (wanted, blocks) = import::file(&profile, &Bytes::from(content.clone())).unwrap();

                let store = MemoryStore::new();
                let mut adder = Adder::new(&profile, Some(&store), GO_ON);
                assert_eq!(adder.file(&path).unwrap(), wanted, "{} {size}", profile.name);
                adder.finish().unwrap();
                for block in blocks {
                    assert_eq!(store.get(block.cid()).unwrap().as_ref(), Some(&block));
                }
                let mut hasher = Adder::new(&profile, None, GO_ON);
                assert_eq!(hasher.file(&path).unwrap(), wanted);
                assert_eq!(hasher.reader(&path, &content[..]).unwrap(), wanted);
            }
        }
    }

    #[test]
    fn the_caller_can_stop_it() {
        let stop: OnBytes<'_> = &|_| ControlFlow::Break(());
        let mut adder = Adder::new(&UNIXFS_V1_2025, None, stop);
        assert!(matches!(adder.reader(Path::new("-"), &[1, 2, 3][..]), Err(AddError::Stopped)));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Adder::new(&UNIXFS_V1_2025, None, GO_ON).file(Path::new("/no/such")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read /no/such");
    }
}
