//! What does not fit into memory: rows in order, and records by key, in temporary files.
//!
//! The files are beside the slice under construction and lose their name as soon as they are open, so that no crash leaves
//! one behind.

use std::fs::File;
use std::io::{BufReader, BufWriter, Seek, SeekFrom, Write};
use std::marker::PhantomData;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;

use super::MergeError;
use crate::source::BATCH_ROWS;
use odf_tables::slice::{SliceError, bytes_of_rows, nameless, pieces};

const FILE_BUFFER_BYTES: usize = 256 << 10;

/// Batches in files end with the row that brings them to this many bytes, so that many files can be read at once.
const WRITTEN_BYTES: usize = 1 << 20;

/// Word in the names that temporary files have for a moment.
const PURPOSE: &str = "merge";

/// How much a merge holds in memory, in bytes, before it goes on in temporary files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// For rows: once for those that wait, once more for those being sorted.
    pub rows: usize,
    /// For keys: once for those of new rows, once more for those of earlier ones.
    pub keys: usize,
}

impl Default for Memory {
    /// Together with what readers and the writer of the slice hold, below 512 MiB.
    fn default() -> Memory {
        Memory {
            rows: 96 << 20,
            keys: 32 << 20,
        }
    }
}

/// A full disk reaches us wrapped; unwrap it so that callers can tell.
fn file_error(operation: &'static str, path: &Path, error: ArrowError) -> MergeError {
    match error {
        ArrowError::IoError(_, error) => MergeError::Slice(SliceError::io(operation, path, error)),
        other => MergeError::Arrow(other),
    }
}

/// Bytes that a batch takes in memory. Views share the bytes of whole pages or of other batches; other columns are counted as
/// long as their values are.
pub(super) fn bytes_of(batch: &RecordBatch) -> usize {
    let shared = batch.columns().iter().filter(|column| is_view(column));
    let shared: usize = shared.map(|column| column.get_array_memory_size()).sum();
    shared + bytes_of_rows(batch, 0..batch.num_rows())
}

fn is_view(column: &ArrayRef) -> bool {
    matches!(column.data_type(), DataType::Utf8View | DataType::BinaryView)
}

/// Batches on their way into a temporary file.
pub(super) struct BatchWriter {
    writer: StreamWriter<BufWriter<File>>,
    path: PathBuf,
    widest: usize,
}

impl BatchWriter {
    /// Begins with the first batch, which says what columns there are.
    pub(super) fn create(dir: &Path, first: &RecordBatch) -> Result<BatchWriter, MergeError> {
        let (file, path) = nameless(dir, PURPOSE)?;
        let file = BufWriter::with_capacity(FILE_BUFFER_BYTES, file);
        let writer = StreamWriter::try_new(file, &first.schema()).map_err(|e| file_error("write", &path, e))?;
        let mut writer = BatchWriter {
            writer,
            path,
            widest: 0,
        };
        writer.write(first)?;
        Ok(writer)
    }

    /// Adds the rows of a batch, in several if it is long.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), MergeError> {
        // All that views share would be written again with each of them.
        let own = |column: &ArrayRef| -> ArrayRef {
            match column.data_type() {
                DataType::Utf8View => Arc::new(column.as_string_view().gc()),
                DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
                _ => column.clone(),
            }
        };
        for piece in pieces(batch, BATCH_ROWS, WRITTEN_BYTES) {
            let columns = piece.columns().iter().map(own).collect();
            let piece = RecordBatch::try_new(piece.schema(), columns)?;
            self.widest = self.widest.max(bytes_of_rows(&piece, 0..piece.num_rows()));
            self.writer
                .write(&piece)
                .map_err(|e| file_error("write", &self.path, e))?;
        }
        Ok(())
    }

    /// Nothing more is added.
    pub(super) fn finish(self) -> Result<Written, MergeError> {
        let fail = |error| MergeError::Slice(SliceError::io("write", &self.path, error));
        let file = self
            .writer
            .into_inner()
            .map_err(|e| file_error("write", &self.path, e))?;
        let file = file.into_inner().map_err(|e| fail(e.into_error()))?;
        Ok(Written {
            file,
            widest: self.widest,
            path: self.path,
        })
    }
}

/// Batches in a temporary file, none of them in memory.
pub(super) struct Written {
    file: File,
    path: PathBuf,
    widest: usize,
}

impl Written {
    /// Bytes of memory that reading it takes, once more what is made of a batch to compare its rows included.
    pub(super) fn bytes_to_read(&self) -> usize {
        2 * self.widest + FILE_BUFFER_BYTES
    }

    /// What was written, from the first batch on.
    pub(super) fn read(mut self) -> Result<BatchReader, MergeError> {
        let sought = self.file.seek(SeekFrom::Start(0));
        sought.map_err(|e| MergeError::Slice(SliceError::io("read", &self.path, e)))?;
        let file = BufReader::with_capacity(FILE_BUFFER_BYTES, self.file);
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
        self.bytes += bytes_of(&batch);
        if self.bytes > self.limit {
            self.spilled = Some(BatchWriter::create(self.dir, &batch)?);
        } else {
            self.held.push(batch);
        }
        Ok(())
    }

    /// Whether some are in a file.
    pub(super) fn is_spilled(&self) -> bool {
        self.spilled.is_some()
    }

    /// All rows in the order in which they came.
    pub(super) fn drain(self) -> Result<impl Iterator<Item = Result<RecordBatch, MergeError>>, MergeError> {
        let spilled = self.spilled.map(|spilled| spilled.finish()?.read()).transpose()?;
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

/// Into how many parts keys are divided: each is looked at by itself, small enough for the cache of a processor.
pub(super) const PARTITIONS: usize = 256;

/// A part with more bytes than this is looked at in several shares. The tables that are made of records to compare them take
/// some four times as much.
pub(super) const SHARE_BYTES: usize = 12 << 20;

/// How much of a file is read at a time.
const READ_BYTES: usize = 1 << 20;

/// Some of the keys of a part: the same in all records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    at: u64,
    of: u64,
}

impl Share {
    /// The shares in which a part of so many bytes is looked at.
    pub(super) fn all(bytes: usize) -> impl Iterator<Item = Share> {
        let of = bytes.div_ceil(SHARE_BYTES).max(1) as u64;
        (0..of).map(move |at| Share { at, of })
    }

    fn has(self, key: u128) -> bool {
        // Neither the highest byte, by which parts go, nor what tables within a share go by.
        self.of == 1 || (key >> 64) % u128::from(self.of) == u128::from(self.at)
    }

    fn is_last(self) -> bool {
        self.at + 1 == self.of
    }
}

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
    /// Holds `limit` bytes in memory, or twice that where parts have just grown, and the rest in a file in `dir`.
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
            none => none.insert(nameless(self.dir, PURPOSE)?),
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

    /// Bytes of the records of a part.
    pub(super) fn bytes_of(&self, part: usize) -> usize {
        let spilled: usize = self.extents[part].iter().map(|(_, length)| length).sum();
        spilled + self.held[part].len()
    }

    /// Visits the records of a part, some at a time, in the order in which they came unless condensed.
    fn visit(&self, part: usize, visit: &mut dyn FnMut(&[u8])) -> Result<(), MergeError> {
        if let Some((file, path)) = &self.file {
            let most = (READ_BYTES / R::BYTES).max(1) * R::BYTES;
            let mut buffer = Vec::new();
            for (position, length) in &self.extents[part] {
                for start in (0..*length).step_by(most) {
                    buffer.resize(most.min(length - start), 0);
                    file.read_exact_at(&mut buffer, position + start as u64)
                        .map_err(|e| MergeError::Slice(SliceError::io("read", path, e)))?;
                    visit(&buffer);
                }
            }
        }
        visit(&self.held[part]);
        Ok(())
    }

    /// Visits the hash of every record.
    pub(super) fn hashes(&self, visit: &mut dyn FnMut(u128)) -> Result<(), MergeError> {
        for part in 0..PARTITIONS {
            self.visit(part, &mut |records| {
                records.chunks_exact(R::BYTES).for_each(|record| visit(hash_of(record)));
            })?;
        }
        Ok(())
    }

    /// The records of a share of a part, in the order in which they came unless condensed. With the last share they are gone
    /// from here.
    pub(super) fn take(&mut self, part: usize, share: Share) -> Result<impl Iterator<Item = R> + use<R>, MergeError> {
        let mut bytes = Vec::with_capacity(if share.of == 1 {
            self.bytes_of(part)
        } else {
            SHARE_BYTES
        });
        self.visit(part, &mut |records| match share.of {
            1 => bytes.extend_from_slice(records),
            _ => records
                .chunks_exact(R::BYTES)
                .filter(|record| share.has(hash_of(record)))
                .for_each(|record| bytes.extend_from_slice(record)),
        })?;
        if share.is_last() {
            self.held[part] = Vec::new();
            self.extents[part] = Vec::new();
        }
        Ok((0..bytes.len() / R::BYTES).map(move |n| R::decode(&bytes[n * R::BYTES..(n + 1) * R::BYTES])))
    }
}
