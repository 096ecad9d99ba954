//! Reading slices back, whoever wrote them, and hashing what they hold.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow_digest::{RecordDigest, RecordDigestV0};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use sha3::{Digest, Sha3_256};

use super::{SliceError, is_hashable};
use crate::metadata::Multihash;

const ROWS_PER_BATCH: usize = 8192;
const HASH_BUFFER_BYTES: usize = 256 << 10;

/// Takes the logical hash of rows given batch by batch; how they are batched does not matter.
pub struct LogicalHasher(RecordDigestV0<Sha3_256>);

impl LogicalHasher {
    /// For rows of this schema. Every type in it must be [hashable](super::is_hashable).
    pub fn new(schema: &Schema) -> LogicalHasher {
        LogicalHasher(RecordDigestV0::new(schema))
    }

    /// Adds rows.
    pub fn update(&mut self, batch: &RecordBatch) {
        self.0.update(batch);
    }

    /// The hash of all rows.
    pub fn finish(self) -> Multihash {
        Multihash::from_arrow0_sha3_256(self.0.finalize().into())
    }
}

/// The rows of one slice, batch by batch in the order of the file.
pub struct SliceReader {
    path: PathBuf,
    schema: SchemaRef,
    rows: u64,
    reader: ParquetRecordBatchReader,
}

impl SliceReader {
    /// Opens all columns from the first row.
    pub fn open(path: &Path) -> Result<SliceReader, SliceError> {
        SliceReader::open_part(path, None, 0)
    }

    /// Opens the named columns (in the order of the file; all if absent) from the row number `skip` on.
    ///
    /// # Errors
    /// [`SliceError::NoColumn`] names the first that is missing.
    pub fn open_part(path: &Path, columns: Option<&[&str]>, skip: u64) -> Result<SliceReader, SliceError> {
        let file = File::open(path).map_err(|e| SliceError::io("open", path, e))?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| SliceError::parquet(path, e))?;
        let rows = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
        let mask = match columns {
            None => ProjectionMask::all(),
            Some(names) => {
                let schema = builder.schema();
                let find = |name: &&str| {
                    schema.index_of(name).map_err(|_| SliceError::NoColumn {
                        path: path.to_owned(),
                        column: (*name).to_owned(),
                    })
                };
                let roots = names.iter().map(find).collect::<Result<Vec<_>, _>>()?;
                ProjectionMask::roots(builder.parquet_schema(), roots)
            }
        };
        let reader = builder
            .with_projection(mask)
            .with_offset(usize::try_from(skip).unwrap_or(usize::MAX))
            .with_batch_size(ROWS_PER_BATCH)
            .build()
            .map_err(|e| SliceError::parquet(path, e))?;
        let schema = arrow::record_batch::RecordBatchReader::schema(&reader);
        Ok(SliceReader { path: path.to_owned(), schema, rows, reader })
    }

    /// The Arrow schema of the batches.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Number of rows in the whole file.
    pub fn rows(&self) -> u64 {
        self.rows
    }
}

impl Iterator for SliceReader {
    type Item = Result<RecordBatch, SliceError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.reader.next()?.map_err(|e| SliceError::arrow(&self.path, e)))
    }
}

/// The logical hash of a slice as it is on disk.
pub fn logical_hash(path: &Path) -> Result<Multihash, SliceError> {
    let reader = SliceReader::open(path)?;
    if let Some(field) = reader.schema().fields().iter().find(|f| !is_hashable(f.data_type())) {
        return Err(SliceError::NotHashable {
            column: field.name().clone(),
            data_type: field.data_type().to_string(),
        });
    }
    let mut hasher = LogicalHasher::new(reader.schema());
    for batch in reader {
        hasher.update(&batch?);
    }
    Ok(hasher.finish())
}

/// The SHA3-256 of a file: the name of a slice or checkpoint.
pub fn physical_hash(path: &Path) -> Result<Multihash, SliceError> {
    let mut file = File::open(path).map_err(|e| SliceError::io("open", path, e))?;
    let mut hasher = Sha3_256::new();
    let mut buffer = vec![0; HASH_BUFFER_BYTES];
    loop {
        let read = file.read(&mut buffer).map_err(|e| SliceError::io("read", path, e))?;
        if read == 0 {
            return Ok(Multihash::from_sha3_256(hasher.finalize().into()));
        }
        hasher.update(&buffer[..read]);
    }
}
