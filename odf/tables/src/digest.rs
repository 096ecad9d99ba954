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
    hasher: Sha3_256,
    size: u64,
}

impl PhysicalHasher {
    /// Before the first byte.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
    }

    /// The hash and the length in bytes of everything taken.
    pub fn finish(self) -> (Multihash, u64) {
        (Multihash::from_sha3_256(self.hasher.finalize().into()), self.size)
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

/// Feeds on batches of rows in order and gives their logical hash.
pub struct LogicalHasher {
    types: Vec<DataType>,
    digest: RecordDigestV0<Sha3_256>,
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
            digest: RecordDigestV0::new(schema),
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
        self.digest.update(batch);
        Ok(())
    }

    /// The logical hash of everything taken.
    pub fn finish(self) -> Multihash {
        Multihash::from_arrow0_sha3_256(self.digest.finalize().into())
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
