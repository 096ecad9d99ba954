//! What does not fit into memory: rows in order, and records by key, in temporary files.
//!
//! The files are beside the slice under construction and lose their name as soon as they are open, so that no crash leaves
//! one behind.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Seek, SeekFrom, Write};
use std::marker::PhantomData;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;

use super::MergeError;
use odf_disk::PENDING_PREFIX;
use odf_tables::slice::SliceError;

const FILE_BUFFER_BYTES: usize = 256 << 10;

/// How much a merge holds in memory, in bytes, before it goes on in temporary files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// For rows: once for those that wait, once more for those being sorted.
    pub rows: usize,
    /// For keys of new and of earlier rows.
    pub keys: usize,
}

impl Default for Memory {
    /// Together with what readers and the writer of the slice hold, well below 1 GiB.
    fn default() -> Memory {
        Memory {
            rows: 192 << 20,
            keys: 96 << 20,
        }
    }
}

/// Tells apart the files that are being made at one time.
static FILES: AtomicU64 = AtomicU64::new(0);

/// A file of no name.
fn create(dir: &Path) -> Result<(File, PathBuf), MergeError> {
    let number = FILES.fetch_add(1, Ordering::Relaxed);
    let path = dir.join(format!("{PENDING_PREFIX}merge-{}-{number}", std::process::id()));
    let fail = |operation, error| MergeError::Slice(SliceError::io(operation, &path, error));
    let mut options = File::options();
    let file = options.read(true).write(true).create_new(true);
    let file = file.open(&path).map_err(|e| fail("create", e))?;
    fs::remove_file(&path).map_err(|e| fail("remove", e))?;
    Ok((file, path))
}

/// A full disk reaches us wrapped; unwrap it so that callers can tell.
fn file_error(operation: &'static str, path: &Path, error: ArrowError) -> MergeError {
    match error {
        ArrowError::IoError(_, error) => MergeError::Slice(SliceError::io(operation, path, error)),
        other => MergeError::Arrow(other),
    }
}

/// Batches on their way into a temporary file.
pub(super) struct BatchWriter {
    writer: StreamWriter<BufWriter<File>>,
    path: PathBuf,
}

impl BatchWriter {
    /// Begins with the first batch, which says what columns there are.
    pub(super) fn create(dir: &Path, first: &RecordBatch) -> Result<BatchWriter, MergeError> {
        let (file, path) = create(dir)?;
        let file = BufWriter::with_capacity(FILE_BUFFER_BYTES, file);
        let writer = StreamWriter::try_new(file, &first.schema()).map_err(|e| file_error("write", &path, e))?;
        let mut writer = BatchWriter { writer, path };
        writer.write(first)?;
        Ok(writer)
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), MergeError> {
        // Views share the bytes of whole pages or of other batches, all of which would be written again with each of them.
        let own = |column: &ArrayRef| -> ArrayRef {
            match column.data_type() {
                DataType::Utf8View => Arc::new(column.as_string_view().gc()),
                DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
                _ => column.clone(),
            }
        };
        let columns = batch.columns().iter().map(own).collect();
        let batch = RecordBatch::try_new(batch.schema(), columns)?;
        self.writer
            .write(&batch)
            .map_err(|e| file_error("write", &self.path, e))
    }

    /// What was written, from the first batch on.
    pub(super) fn read(self) -> Result<BatchReader, MergeError> {
        let fail = |error| MergeError::Slice(SliceError::io("write", &self.path, error));
        let file = self
            .writer
            .into_inner()
            .map_err(|e| file_error("write", &self.path, e))?;
        let mut file = file.into_inner().map_err(|e| fail(e.into_error()))?;
        file.seek(SeekFrom::Start(0)).map_err(fail)?;
        let file = BufReader::with_capacity(FILE_BUFFER_BYTES, file);
        let reader = StreamReader::try_new(file, None).map_err(|e| file_error("read", &self.path, e))?;
        Ok(BatchReader {
            reader,
            path: self.path,
        })
    }
}

/// Batches from a temporary file.
pub(super) struct BatchReader {
    reader: StreamReader<BufReader<File>>,
    path: PathBuf,
}

impl Iterator for BatchReader {
    type Item = Result<RecordBatch, MergeError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.reader.next()?.map_err(|e| file_error("read", &self.path, e)))
    }
}

/// Batches that wait, first in first out.
pub(super) struct Spool<'a> {
    dir: &'a Path,
    limit: usize,
    held: Vec<RecordBatch>,
    bytes: usize,
    spilled: Option<BatchWriter>,
}

impl<'a> Spool<'a> {
    /// Holds `limit` bytes in memory and the rest in a file in `dir`.
    pub(super) fn new(dir: &'a Path, limit: usize) -> Spool<'a> {
        Spool {
            dir,
            limit,
            held: Vec::new(),
            bytes: 0,
            spilled: None,
        }
    }

    pub(super) fn push(&mut self, batch: RecordBatch) -> Result<(), MergeError> {
        if let Some(spilled) = &mut self.spilled {
            return spilled.write(&batch);
        }
        self.bytes += batch.get_array_memory_size();
        if self.bytes > self.limit {
            self.spilled = Some(BatchWriter::create(self.dir, &batch)?);
        } else {
            self.held.push(batch);
        }
        Ok(())
    }

    /// All batches in the order in which they came.
    pub(super) fn drain(self) -> Result<impl Iterator<Item = Result<RecordBatch, MergeError>>, MergeError> {
        let spilled = self.spilled.map(BatchWriter::read).transpose()?;
        Ok(self.held.into_iter().map(Ok).chain(spilled.into_iter().flatten()))
    }
}

/// Something of fixed size that is kept for a row, with the hash of its key first.
pub(super) trait Record: Sized {
    /// Bytes of every record.
    const BYTES: usize;

    /// Appends exactly [`Self::BYTES`] bytes, the first 16 of which are the hash in little-endian order.
    fn encode(&self, into: &mut Vec<u8>);

    /// Reads them back.
    fn decode(bytes: &[u8]) -> Self;

    /// Leaves out what later records of the same key make irrelevant.
    fn condense(_records: &mut Vec<u8>) {}
}

/// The hash at the beginning of a record.
pub(super) fn hash_of(record: &[u8]) -> u128 {
    record
        .first_chunk::<16>()
        .map_or(0, |bytes| u128::from_le_bytes(*bytes))
}

/// Into how many parts keys are divided: each is looked at by itself, small enough for the cache of a processor and, when
/// there are a hundred million rows, for memory.
pub(super) const PARTITIONS: usize = 256;

/// Records in parts by the hash of their keys.
pub(super) struct Partitions<'a, R> {
    dir: &'a Path,
    limit: usize,
    held: Vec<Vec<u8>>,
    bytes: usize,
    count: u64,
    file: Option<(File, PathBuf)>,
    end: u64,
    /// For every part where in the file its records are: position and length in bytes.
    extents: Vec<Vec<(u64, usize)>>,
    records: PhantomData<R>,
}

impl<'a, R: Record> Partitions<'a, R> {
    /// Holds `limit` bytes in memory and the rest in a file in `dir`.
    pub(super) fn new(dir: &'a Path, limit: usize) -> Partitions<'a, R> {
        Partitions {
            dir,
            limit,
            held: vec![Vec::new(); PARTITIONS],
            bytes: 0,
            count: 0,
            file: None,
            end: 0,
            extents: vec![Vec::new(); PARTITIONS],
            records: PhantomData,
        }
    }

    /// How many records were added.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn push(&mut self, key: u128, record: &R) -> Result<(), MergeError> {
        // The highest byte; tables within a part go by the lowest ones.
        let part = usize::from(key.to_be_bytes()[0]);
        record.encode(&mut self.held[part]);
        self.bytes += R::BYTES;
        self.count += 1;
        if self.bytes > self.limit {
            self.spill()?;
        }
        Ok(())
    }

    fn spill(&mut self) -> Result<(), MergeError> {
        let (file, path) = match &mut self.file {
            Some(file) => file,
            none => none.insert(create(self.dir)?),
        };
        let fail = |error| MergeError::Slice(SliceError::io("write", path, error));
        let mut writer = BufWriter::with_capacity(FILE_BUFFER_BYTES, &*file);
        for (part, extents) in self.held.iter_mut().zip(&mut self.extents) {
            R::condense(part);
            if !part.is_empty() {
                writer.write_all(part).map_err(fail)?;
                extents.push((self.end, part.len()));
                self.end += part.len() as u64;
            }
            part.clear();
        }
        writer.flush().map_err(fail)?;
        self.bytes = 0;
        Ok(())
    }

    fn load(&self, part: usize) -> Result<Vec<u8>, MergeError> {
        let spilled: usize = self.extents[part].iter().map(|(_, length)| length).sum();
        let mut bytes = vec![0; spilled];
        if let Some((file, path)) = &self.file {
            let mut rest = &mut bytes[..];
            for (position, length) in &self.extents[part] {
                let (extent, after) = rest.split_at_mut(*length);
                file.read_exact_at(extent, *position)
                    .map_err(|e| MergeError::Slice(SliceError::io("read", path, e)))?;
                rest = after;
            }
        }
        bytes.extend_from_slice(&self.held[part]);
        Ok(bytes)
    }

    /// Visits the hash of every record.
    pub(super) fn hashes(&self, visit: &mut dyn FnMut(u128)) -> Result<(), MergeError> {
        for part in 0..PARTITIONS {
            self.load(part)?
                .chunks_exact(R::BYTES)
                .for_each(|record| visit(hash_of(record)));
        }
        Ok(())
    }

    /// The records of one part, in the order in which they came unless condensed; they are gone from here then.
    pub(super) fn take(&mut self, part: usize) -> Result<impl Iterator<Item = R>, MergeError> {
        let bytes = self.load(part)?;
        self.held[part] = Vec::new();
        self.extents[part] = Vec::new();
        Ok((0..bytes.len() / R::BYTES).map(move |n| R::decode(&bytes[n * R::BYTES..(n + 1) * R::BYTES])))
    }
}
