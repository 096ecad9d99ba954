//! Writing a slice, and making it durable under the name of its hash.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::thread::{self, JoinHandle};

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use odf_disk::{Access, Disk, DiskFile, PENDING_PREFIX};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::WriterProperties;

use super::SliceError;
use super::encode::Encoder;
use super::groups::Groups;
use super::pages::{HELD_BYTES, Pages};
use crate::digest::{DigestError, LogicalHasher, PhysicalHasher};
use odf_metadata::Multihash;

/// Batches that wait for the logical hash.
const QUEUED_BATCHES: usize = 4;

/// Tells the files of writers apart: two commands may work on one dataset, and only one of them will commit.
static WRITERS: AtomicU64 = AtomicU64::new(0);

const FILE_BUFFER_BYTES: usize = 256 << 10;

/// How much of a row group under construction is held in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Bytes of complete pages; the others wait in a file.
    pub(super) held_bytes: usize,
    /// The row group ends early when its columns have so many bytes that are in no page yet: the values of a dictionary, up to
    /// 1 MiB for each column, and a page. Tables of a hundred columns and more get there, others never.
    pub(super) unpaged_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            held_bytes: HELD_BYTES,
            unpaged_bytes: UNPAGED_BYTES,
        }
    }
}

const UNPAGED_BYTES: usize = 128 << 20;

/// What may differ between writers of slices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceOptions {
    /// The `created_by` of the file.
    pub created_by: String,
    /// How pages are packed.
    pub codec: Codec,
}

/// How the pages of a slice are packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// As the slices of an ingest are.
    #[default]
    Snappy,
    /// As those of a compaction are, at its level 3.
    Zstd,
}

impl Codec {
    fn compression(self) -> Compression {
        match self {
            Codec::Snappy => Compression::SNAPPY,
            // The default level is 1; 3 is one that it knows.
            Codec::Zstd => Compression::ZSTD(ZstdLevel::try_new(3).unwrap_or_default()),
        }
    }
}

impl Default for SliceOptions {
    fn default() -> Self {
        SliceOptions {
            created_by: concat!("odfs ", env!("CARGO_PKG_VERSION")).to_owned(),
            codec: Codec::default(),
        }
    }
}

/// A column by which the rows of a slice are in order. Readers may use it, and it is part of the bytes of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ordered {
    /// Name of the column.
    pub column: String,
    /// The greatest value first.
    pub descending: bool,
    /// Missing values first.
    pub nulls_first: bool,
}

/// Passes bytes on to a file and hashes them.
struct Hashing {
    file: BufWriter<DiskFile>,
    hasher: PhysicalHasher,
}

impl Write for Hashing {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let written = self.file.write(buf)?;
        self.hasher.update(&buf[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Removes the file again unless it was kept.
struct Pending {
    disk: Disk,
    path: Option<PathBuf>,
}

impl Pending {
    fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new(""))
    }

    fn keep(mut self) {
        self.path = None;
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(path) = &self.path
            && let Err(error) = self.disk.remove_file(path)
        {
            tracing::debug!(path = %path.display(), %error, "an unfinished slice stays until the next start");
        }
    }
}

/// Takes the logical hash on a thread of its own, beside those that encode.
struct LogicalThread {
    batches: SyncSender<RecordBatch>,
    hash: JoinHandle<Result<Multihash, DigestError>>,
}

impl LogicalThread {
    fn start(mut hasher: LogicalHasher) -> io::Result<LogicalThread> {
        let (batches, queue) = mpsc::sync_channel::<RecordBatch>(QUEUED_BATCHES);
        let hash = thread::Builder::new().name("logical-hash".to_owned()).spawn(move || {
            for batch in queue {
                hasher.update(&batch)?;
            }
            Ok(hasher.finish())
        })?;
        Ok(LogicalThread { batches, hash })
    }

    /// Waits while the queue is full. That the thread is gone shows in [`Self::finish`].
    fn update(&self, batch: &RecordBatch) {
        if self.batches.send(batch.clone()).is_err() {
            tracing::debug!("the logical hash failed and takes no more rows");
        }
    }

    fn finish(self) -> Result<Multihash, SliceError> {
        drop(self.batches);
        match self.hash.join() {
            Ok(hash) => Ok(hash?),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// What decides about the bytes of a slice beside its rows.
pub(super) fn properties(options: &SliceOptions, schema: &Schema, order: &[Ordered]) -> WriterProperties {
    let offset = SortingColumn {
        column_idx: 0,
        descending: false,
        nulls_first: false,
    };
    // The position among columns, not among leaves: it is written so by the reference implementation.
    let others = order.iter().map_while(|ordered| {
        Some(SortingColumn {
            column_idx: schema.index_of(&ordered.column).ok()?.try_into().ok()?,
            descending: ordered.descending,
            nulls_first: ordered.nulls_first,
        })
    });
    WriterProperties::builder()
        .set_compression(options.codec.compression())
        .set_created_by(options.created_by.clone())
        .set_sorting_columns(Some(std::iter::once(offset).chain(others).collect()))
        .build()
}

/// A slice under construction.
pub struct SliceWriter {
    encoder: Encoder<Hashing>,
    logical: LogicalThread,
    groups: Groups,
    pending: Pending,
    rows: u64,
}

impl SliceWriter {
    /// Begins a slice in `dir` under a temporary name. The first column must be the offset.
    ///
    /// # Errors
    /// [`SliceError::Digest`] before anything is created, else what the file system says.
    pub fn create(
        disk: &Disk,
        dir: &Path,
        schema: SchemaRef,
        options: &SliceOptions,
    ) -> Result<SliceWriter, SliceError> {
        Self::create_ordered(disk, dir, schema, options, &[])
    }

    /// As [`Self::create`], for rows that are in the order of these columns too, beside that of the offset.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn create_ordered(
        disk: &Disk,
        dir: &Path,
        schema: SchemaRef,
        options: &SliceOptions,
        order: &[Ordered],
    ) -> Result<SliceWriter, SliceError> {
        Self::bounded(disk, dir, schema, options, order, Bounds::default())
    }

    /// As [`Self::create`], within these bounds.
    pub(super) fn bounded(
        disk: &Disk,
        dir: &Path,
        schema: SchemaRef,
        options: &SliceOptions,
        order: &[Ordered],
        bounds: Bounds,
    ) -> Result<SliceWriter, SliceError> {
        let hasher = LogicalHasher::new(&schema)?;
        let number = WRITERS.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!("{PENDING_PREFIX}slice-{number}"));
        let file = disk.create(&path, Access::Readable)?;
        let pending = Pending {
            disk: disk.clone(),
            path: Some(path),
        };
        let sink = Hashing {
            file: BufWriter::with_capacity(FILE_BUFFER_BYTES, file),
            hasher: PhysicalHasher::new(),
        };
        let pages = Pages::new(dir, bounds.held_bytes);
        let properties = properties(options, &schema, order);
        let encoder = Encoder::new(sink, schema.clone(), properties, pages, bounds.unpaged_bytes)
            .map_err(|e| SliceError::parquet(pending.path(), e))?;
        Ok(SliceWriter {
            encoder,
            logical: LogicalThread::start(hasher).map_err(|e| SliceError::io("start hashing", dir, e))?,
            groups: Groups::new(schema),
            pending,
            rows: 0,
        })
    }

    /// Adds rows. Batches of any size are regrouped, so the bytes of the file do not depend on how rows were batched.
    pub fn write(&mut self, batch: RecordBatch) -> Result<(), SliceError> {
        self.rows += batch.num_rows() as u64;
        self.groups
            .push(&batch)
            .map_err(|e| SliceError::arrow(self.pending.path(), e))?;
        self.drain()
    }

    fn drain(&mut self) -> Result<(), SliceError> {
        while let Some(group) = self.groups.next() {
            self.encode(&group)?;
        }
        Ok(())
    }

    fn encode(&mut self, group: &RecordBatch) -> Result<(), SliceError> {
        self.logical.update(group);
        self.encoder
            .write(group)
            .map_err(|e| SliceError::parquet(self.pending.path(), e))
    }

    #[cfg(test)]
    pub(super) fn pages(&self) -> &Pages {
        self.encoder.pages()
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Completes the file, still under its temporary name and not yet durable.
    ///
    /// # Errors
    /// [`SliceError::NoRows`] when nothing was written; the file is gone then.
    pub fn finish(mut self) -> Result<WrittenSlice, SliceError> {
        if self.rows == 0 {
            return Err(SliceError::NoRows);
        }
        self.groups
            .finish()
            .map_err(|e| SliceError::arrow(self.pending.path(), e))?;
        self.drain()?;
        let path = self.pending.path();
        let sink = self.encoder.finish().map_err(|e| SliceError::parquet(path, e))?;
        let (physical_hash, size) = sink.hasher.finish();
        let file = sink
            .file
            .into_inner()
            .map_err(|e| SliceError::io("write", path, e.into_error()))?;
        Ok(WrittenSlice {
            physical_hash,
            logical_hash: self.logical.finish()?,
            size,
            rows: self.rows,
            file,
            pending: self.pending,
        })
    }
}

/// A complete slice that does not have its name yet. Dropping it removes the file.
pub struct WrittenSlice {
    physical_hash: Multihash,
    logical_hash: Multihash,
    size: u64,
    rows: u64,
    file: DiskFile,
    pending: Pending,
}

impl WrittenSlice {
    /// SHA3-256 of the file: its name.
    pub fn physical_hash(&self) -> &Multihash {
        &self.physical_hash
    }

    /// arrow0-sha3-256 of the rows.
    pub fn logical_hash(&self) -> &Multihash {
        &self.logical_hash
    }

    /// Length of the file in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Makes the file durable and names it `<dir>/<physical hash>`. Afterwards it survives power loss. A file that was
    /// there under this name is replaced by the same bytes.
    ///
    /// # Errors
    /// The disk fails; the file may have its name then, and does not count.
    pub fn install(self, dir: &Path) -> Result<PathBuf, SliceError> {
        let target = dir.join(self.physical_hash.to_string());
        let disk = self.pending.disk.clone();
        self.file.sync()?;
        disk.rename(self.pending.path(), &target)?;
        self.pending.keep();
        disk.sync_dir(dir)?;
        Ok(target)
    }
}
