//! Physical (SHA3-256) and logical (arrow0-sha3-256) hashes.
//!
//! The physical hash names a file by its bytes. The logical hash names rows whatever file holds them: two writers
//! that lay out Parquet differently agree on it. It does not depend on how rows are split into batches, on whether
//! a column may be null, or on which of Arrow's string layouts is used.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};
use arrow_digest::{RecordDigest as _, RecordDigestV0};
use sha3::{Digest as _, Sha3_256};

use odf_metadata::Multihash;

mod columns;
mod files;
mod keccak;

pub use files::physical_hashes;

use columns::Column;
use keccak::{Sponge, Stream};

/// How much of a file is read at a time.
const READ_BYTES: usize = 1 << 20;

/// Why rows have no logical hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DigestError {
    /// ODF defines no logical hash for the type.
    #[error("column `{column}`: rows of type {data_type} have no logical hash")]
    UnsupportedType {
        /// Name of the column, or of the struct's member.
        column: String,
        /// Its Arrow type.
        data_type: String,
    },
    /// A batch does not have the columns the hasher was made for.
    #[error("a batch of {found} was given to a hasher for {expected}")]
    OtherSchema {
        /// Types the hasher was made for.
        expected: String,
        /// Types of the batch.
        found: String,
    },
}

/// Feeds on the bytes of a file in order and gives its physical hash and its length.
#[derive(Debug, Clone, Default)]
pub struct PhysicalHasher {
    stream: Stream,
    size: u64,
}

impl PhysicalHasher {
    /// Before the first byte.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.stream.update(bytes);
        self.size += bytes.len() as u64;
    }

    /// The hash and the length in bytes of everything taken.
    pub fn finish(self) -> (Multihash, u64) {
        (Multihash::from_sha3_256(self.stream.finish()), self.size)
    }
}

/// A sink, for writers that copy to several places.
impl io::Write for PhysicalHasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads to the end; gives the physical hash and the length in bytes.
///
/// # Errors
/// What reading gives.
pub fn physical_hash_of(mut reader: impl Read) -> io::Result<(Multihash, u64)> {
    let mut hasher = PhysicalHasher::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(len) => hasher.update(&buffer[..len]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The physical hash of a file, and its length in bytes.
///
/// # Errors
/// What opening or reading gives.
pub fn physical_hash(path: &Path) -> io::Result<(Multihash, u64)> {
    physical_hash_of(File::open(path)?)
}

/// Rows of a batch whose bytes wait in memory at a time, of each column.
const ROWS_AT_A_TIME: usize = 1024;

/// Feeds on batches of rows in order and gives their logical hash.
pub struct LogicalHasher {
    types: Vec<DataType>,
    rows: Rows,
}

/// Each column is a stream of bytes with a hash of its own; the logical hash is that of the schema and of these hashes.
enum Rows {
    /// Streams that are hashed side by side.
    Flat { schema: Sha3_256, columns: Vec<Sponge> },
    /// Rows with lists or structs in them.
    Nested(RecordDigestV0<Sha3_256>),
}

impl Rows {
    fn new(schema: &Schema) -> Rows {
        let mut head = Sha3_256::new();
        let mut columns = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            let Some(prefix) = columns::prefix(field.data_type()) else {
                return Rows::Nested(RecordDigestV0::new(schema));
            };
            head.update((field.name().len() as u64).to_le_bytes());
            head.update(field.name());
            // How deep the column is nested.
            head.update(0_u64.to_le_bytes());
            let mut column = Sponge::default();
            column.waiting().extend(prefix);
            columns.push(column);
        }
        Rows::Flat { schema: head, columns }
    }

    fn update(&mut self, batch: &RecordBatch) {
        match self {
            Rows::Nested(digest) => digest.update(batch),
            Rows::Flat { columns: streams, .. } => {
                let columns: Vec<Column> = batch.columns().iter().map(|array| Column::new(array)).collect();
                for first in (0..batch.num_rows()).step_by(ROWS_AT_A_TIME) {
                    let rows = first..(first + ROWS_AT_A_TIME).min(batch.num_rows());
                    for (column, stream) in columns.iter().zip(streams.iter_mut()) {
                        column.append(rows.clone(), stream.waiting());
                    }
                    keccak::absorb(streams.iter_mut());
                }
            }
        }
    }

    fn finish(self) -> [u8; 32] {
        match self {
            Rows::Nested(digest) => digest.finalize().into(),
            Rows::Flat { mut schema, columns } => {
                for hash in keccak::finish(columns) {
                    schema.update(hash);
                }
                schema.finalize().into()
            }
        }
    }
}

impl LogicalHasher {
    /// A hasher for rows with the columns of `schema`; without rows it gives the hash of an empty table.
    ///
    /// # Errors
    /// [`DigestError::UnsupportedType`].
    pub fn new(schema: &Schema) -> Result<Self, DigestError> {
        for field in schema.fields() {
            check_type(field.name(), field.data_type(), true)?;
        }
        let types = schema.fields().iter().map(|field| field.data_type().clone()).collect();
        Ok(Self {
            types,
            rows: Rows::new(schema),
        })
    }

    /// Takes the next rows.
    ///
    /// # Errors
    /// [`DigestError::OtherSchema`] if the columns are not of the types the hasher was made for; it is unchanged then.
    pub fn update(&mut self, batch: &RecordBatch) -> Result<(), DigestError> {
        let found: Vec<&DataType> = batch.columns().iter().map(|column| column.data_type()).collect();
        if found.iter().copied().ne(&self.types) {
            return Err(DigestError::OtherSchema {
                expected: format!("{:?}", self.types),
                found: format!("{found:?}"),
            });
        }
        self.rows.update(batch);
        Ok(())
    }

    /// The logical hash of everything taken.
    pub fn finish(self) -> Multihash {
        Multihash::from_arrow0_sha3_256(self.rows.finish())
    }
}

/// The digest crate aborts on what it does not know, so that is found out before.
fn check_type(column: &str, data_type: &DataType, structs: bool) -> Result<(), DigestError> {
    match data_type {
        DataType::Struct(fields) if structs => fields
            .iter()
            .try_for_each(|field| check_type(field.name(), field.data_type(), true)),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            check_type(column, item.data_type(), false)
        }
        DataType::Null
        | DataType::Duration(_)
        | DataType::Interval(_)
        | DataType::ListView(_)
        | DataType::LargeListView(_)
        | DataType::Struct(_)
        | DataType::Union(..)
        | DataType::Dictionary(..)
        | DataType::Map(..)
        | DataType::RunEndEncoded(..) => Err(DigestError::UnsupportedType {
            column: column.to_owned(),
            data_type: data_type.to_string(),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
