//! One run over any number of sources: each is read to its end and becomes a file.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, ErrorKind, Read};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::Thread;

use bytes::Bytes;

use super::error::AddError;
use super::options::{AddOptions, Added, Progress};
use crate::block::{Block, inherent};
use crate::store::{Blocks as _, FileId, Leaf, Store};
use crate::threads::lock;
use crate::unixfs::import::{self, FileBuilder};
use crate::unixfs::{Entry, Profile};

/// Nodes above the leaves are put in batches of about this many bytes.
const NODE_BATCH_BYTES: usize = 1 << 20;
/// Leaves of a file in place are referred to in batches of this many.
const LEAF_BATCH: usize = 256;
/// Whenever this many bytes are written, they are sent to the disk.
const WRITE_BEHIND_BYTES: u64 = 64 << 20;
/// More workers than this do not help: reading is done by one at a time.
const MAX_WORKERS: usize = 16;

/// Where leaves go.
#[derive(Clone, Copy)]
pub(super) enum Sink {
    Packs,
    InPlace(FileId),
    Nothing,
}

/// Something to read to its end: it becomes one file.
pub(super) struct Input<'a> {
    pub(super) path: PathBuf,
    pub(super) reader: Box<dyn Read + Send + 'a>,
    /// Lengths of its chunks, where they are not those of the profile. What is behind the last of them is not read.
    pub(super) lengths: Option<&'a [usize]>,
}

/// Gives out the chunks of one source after the other.
struct Feeder<I, S> {
    sources: I,
    current: Option<Reading<S>>,
    opened: usize,
}

struct Reading<S> {
    source: S,
    file: usize,
    chunks: u64,
    /// Bytes that were given out.
    offset: u64,
}

/// What a worker is given.
enum Fed {
    /// `len` bytes of chunk `number` of a file are in the buffer. It is the last if that is known, or if [`Fed::End`] says so
    /// afterwards.
    Chunk {
        file: usize,
        number: u64,
        offset: u64,
        len: usize,
        is_last: bool,
    },
    /// A file has this many chunks.
    End { file: usize, chunks: u64 },
    /// Everything has been given out.
    Done,
}

impl<'a, I: Iterator<Item = Result<Input<'a>, AddError>>> Feeder<I, Input<'a>> {
    fn next(&mut self, buffer: &mut [u8]) -> Result<Fed, AddError> {
        let reading = match &mut self.current {
            Some(reading) => reading,
            none => {
                let Some(source) = self.sources.next() else {
                    return Ok(Fed::Done);
                };
                self.opened += 1;
                none.insert(Reading {
                    source: source?,
                    file: self.opened - 1,
                    chunks: 0,
                    offset: 0,
                })
            }
        };
        let wanted = match reading.source.lengths {
            Some(lengths) => lengths.get(reading.chunks as usize).copied().unwrap_or(0),
            None => buffer.len(),
        };
        // The buffer is as long as the longest.
        let wanted = wanted.min(buffer.len());
        let len = fill(&mut reading.source.reader, &mut buffer[..wanted]).map_err(|source| AddError::Read {
            path: reading.source.path.clone(),
            source,
        })?;
        let (file, chunks, offset) = (reading.file, reading.chunks, reading.offset);
        if len == 0 {
            self.current = None;
            return Ok(Fed::End { file, chunks });
        }
        reading.chunks += 1;
        reading.offset += len as u64;
        let is_last = len < wanted;
        if is_last {
            self.current = None;
        }
        Ok(Fed::Chunk {
            file,
            number: chunks,
            offset,
            len,
            is_last,
        })
    }
}

/// Fills the buffer, or less at the end.
fn fill(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Puts the leaves of files in order and builds the nodes above them.
struct Assembler {
    profile: Profile,
    open: HashMap<usize, Assembly>,
    /// What the files became, by their number.
    entries: Vec<Option<Entry>>,
    nodes: Vec<Block>,
    node_bytes: usize,
    leaves: Vec<Leaf>,
}

struct Assembly {
    builder: FileBuilder,
    next: u64,
    early: BTreeMap<u64, import::Leaf>,
    chunks: Option<u64>,
}

impl Assembler {
    fn new(profile: Profile) -> Self {
        let (open, entries, nodes, leaves) = (HashMap::new(), Vec::new(), Vec::new(), Vec::new());
        Self {
            profile,
            open,
            entries,
            nodes,
            node_bytes: 0,
            leaves,
        }
    }

    fn take(&mut self, file: usize, leaf: Option<(u64, import::Leaf)>, chunks: Option<u64>) -> Result<(), AddError> {
        let profile = &self.profile;
        let assembly = self.open.entry(file).or_insert_with(|| Assembly {
            builder: FileBuilder::new(profile),
            next: 0,
            early: BTreeMap::new(),
            chunks: None,
        });
        assembly.early.extend(leaf);
        assembly.chunks = assembly.chunks.or(chunks);
        let known = self.nodes.len();
        while let Some(leaf) = assembly.early.remove(&assembly.next) {
            assembly.builder.push(leaf, &mut self.nodes)?;
            assembly.next += 1;
        }
        if assembly.chunks == Some(assembly.next)
            && let Some(whole) = self.open.remove(&file)
        {
            let entry = whole.builder.finish(&mut self.nodes)?;
            if self.entries.len() <= file {
                self.entries.resize(file + 1, None);
            }
            self.entries[file] = Some(entry);
        }
        self.node_bytes += self.nodes[known..].iter().map(|node| node.data().len()).sum::<usize>();
        Ok(())
    }

    fn take_nodes(&mut self, at_least: usize) -> Vec<Block> {
        if self.node_bytes < at_least {
            return Vec::new();
        }
        self.node_bytes = 0;
        std::mem::take(&mut self.nodes)
    }

    fn take_leaves(&mut self, at_least: usize) -> Vec<Leaf> {
        if self.leaves.len() < at_least {
            Vec::new()
        } else {
            std::mem::take(&mut self.leaves)
        }
    }
}

/// The files that came out of a run.
pub(super) struct Run {
    pub(super) entries: Vec<Option<Entry>>,
    pub(super) bytes: u64,
}

impl Run {
    /// The only file of a run over one source.
    pub(super) fn single(self, path: &Path) -> Result<Added, AddError> {
        let entry = self.entries.first().copied().flatten().ok_or_else(|| cut_off(path))?;
        Ok(Added {
            entry,
            files: 1,
            bytes: self.bytes,
        })
    }
}

pub(super) fn cut_off(path: &Path) -> AddError {
    AddError::Read {
        path: path.to_path_buf(),
        source: ErrorKind::UnexpectedEof.into(),
    }
}

/// One run over any number of sources.
struct Work<'a, I> {
    store: &'a Store,
    sink: Sink,
    options: &'a AddOptions<'a>,
    /// Length of the longest chunk.
    chunk_bytes: usize,
    feeder: Mutex<Feeder<I, Input<'a>>>,
    assembler: Mutex<Assembler>,
    bytes: AtomicU64,
    failed: AtomicBool,
    /// No worker runs any more.
    ended: AtomicBool,
    /// The thread of [`Work::write_behind`].
    behind: OnceLock<Thread>,
}

pub(super) fn run<'a>(
    store: &'a Store,
    sources: impl Iterator<Item = Result<Input<'a>, AddError>> + Send,
    sink: Sink,
    options: &'a AddOptions<'a>,
    chunk_bytes: usize,
) -> Result<Run, AddError> {
    let work = Work {
        store,
        sink,
        options,
        chunk_bytes: chunk_bytes.max(1),
        feeder: Mutex::new(Feeder {
            sources,
            current: None,
            opened: 0,
        }),
        assembler: Mutex::new(Assembler::new(options.profile)),
        bytes: AtomicU64::new(0),
        failed: AtomicBool::new(false),
        ended: AtomicBool::new(false),
        behind: OnceLock::new(),
    };
    let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let workers = options.workers.map_or_else(cores, NonZeroUsize::get).min(MAX_WORKERS);
    std::thread::scope(|scope| {
        let behind = scope.spawn(|| work.write_behind());
        let _ = work.behind.set(behind.thread().clone());
        let _ending = Ending {
            ended: &work.ended,
            behind: behind.thread().clone(),
        };
        let others: Vec<_> = (1..workers).map(|_| scope.spawn(|| work.work())).collect();
        let mut outcome = work.work();
        for other in others {
            // A panic of a worker goes on in the caller.
            let other = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            outcome = outcome.and(other);
        }
        outcome
    })?;
    work.settle(0, 0)?;
    let assembler = work.assembler.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Run {
        entries: assembler.entries,
        bytes: work.bytes.into_inner(),
    })
}

/// Ends the thread of [`Work::write_behind`], also when a worker panics: the scope waits for it.
struct Ending<'a> {
    ended: &'a AtomicBool,
    behind: Thread,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        self.behind.unpark();
    }
}

impl<'a, I: Iterator<Item = Result<Input<'a>, AddError>> + Send> Work<'a, I> {
    fn work(&self) -> Result<(), AddError> {
        let outcome = self.until_done();
        if outcome.is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
        outcome
    }

    /// Sends bytes to the disk while more are hashed, so that the flush at the end finds little to do.
    fn write_behind(&self) {
        let mut sent = 0;
        while !self.ended.load(Ordering::Acquire) {
            std::thread::park();
            let written = self.bytes.load(Ordering::Relaxed);
            if written - sent >= WRITE_BEHIND_BYTES && !matches!(self.sink, Sink::Nothing) {
                sent = written;
                if let Err(error) = self.store.sync_blocks() {
                    tracing::debug!(%error, "not synced ahead; the flush will say so");
                }
            }
        }
    }

    fn until_done(&self) -> Result<(), AddError> {
        let mut buffer = vec![0; self.chunk_bytes];
        while !self.failed.load(Ordering::Relaxed) {
            self.options.check()?;
            let fed = lock(&self.feeder).next(&mut buffer)?;
            match fed {
                Fed::Done => return Ok(()),
                Fed::End { file, chunks } => lock(&self.assembler).take(file, None, Some(chunks))?,
                Fed::Chunk {
                    file,
                    number,
                    offset,
                    len,
                    is_last,
                } => {
                    let leaf = self.leaf(&buffer[..len])?;
                    let last = is_last.then_some(number + 1);
                    let mut assembler = lock(&self.assembler);
                    if let Sink::InPlace(_) = self.sink {
                        assembler.leaves.push(Leaf {
                            cid: leaf.cid,
                            offset,
                            len: len as u32,
                        });
                    }
                    assembler.take(file, Some((number, leaf)), last)?;
                    drop(assembler);
                    let before = self.bytes.fetch_add(len as u64, Ordering::Relaxed);
                    if before / WRITE_BEHIND_BYTES != (before + len as u64) / WRITE_BEHIND_BYTES {
                        self.behind.get().map(Thread::unpark);
                    }
                    (self.options.watch)(Progress::Bytes(len as u64));
                }
            }
            self.settle(NODE_BATCH_BYTES, LEAF_BATCH)?;
        }
        Ok(())
    }

    /// Hashes a chunk and writes it where it stays.
    fn leaf(&self, chunk: &[u8]) -> Result<import::Leaf, AddError> {
        if self.options.profile.raw_leaves {
            let leaf = import::hash_leaf(&self.options.profile, chunk)?;
            if matches!(self.sink, Sink::Packs) && inherent(&leaf.cid).is_none() {
                self.store.put_content(&[(leaf.cid.hash().to_bytes(), chunk)])?;
            }
            return Ok(leaf);
        }
        let (leaf, block) = import::leaf(&self.options.profile, Bytes::copy_from_slice(chunk))?;
        if !matches!(self.sink, Sink::Nothing) {
            self.store.put(&[block])?;
        }
        Ok(leaf)
    }

    /// Hands nodes and references to the store, once there are enough of them.
    fn settle(&self, node_bytes: usize, leaves: usize) -> Result<(), AddError> {
        let mut assembler = lock(&self.assembler);
        let (nodes, leaves) = (assembler.take_nodes(node_bytes), assembler.take_leaves(leaves));
        drop(assembler);
        if let Sink::InPlace(file) = self.sink
            && !leaves.is_empty()
        {
            self.store.put_references(file, &leaves)?;
        }
        if !nodes.is_empty() && !matches!(self.sink, Sink::Nothing) {
            self.store.put(&nodes)?;
        }
        Ok(())
    }
}
