//! Rows whose key an earlier row of the same table has: a ledger compares with what is there, not within one table, so it takes
//! all of them.

use arrow::record_batch::RecordBatch;
use arrow::util::display::array_value_to_string;
use odf_metadata::MergeStrategy;
use odf_tables::slice::displayable_column;

use super::keys::{ByHash, Key};
use super::spill::{PARTITIONS, Partitions, Record, Share, hash_of};
use super::{MergeError, Repeated, Setting};
use crate::shape::Shape;
use crate::source::shorten;

/// A row by its key.
pub(super) struct Keyed {
    pub(super) key: u128,
    /// Its number in the table, from 0.
    pub(super) row: u64,
}

impl Record for Keyed {
    const BYTES: usize = 24;

    fn encode(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.key.to_le_bytes());
        into.extend_from_slice(&self.row.to_le_bytes());
    }

    fn decode(bytes: &[u8]) -> Self {
        Keyed {
            key: hash_of(bytes),
            row: bytes.last_chunk().map_or(0, |row| u64::from_le_bytes(*row)),
        }
    }
}

/// Adds the rows of a batch that have a value in every column of the key; `before` rows of the table came earlier.
pub(super) fn push_keys(
    rows: &mut Partitions<'_, Keyed>,
    key: &Key,
    batch: &RecordBatch,
    before: u64,
) -> Result<(), MergeError> {
    let complete = key.complete(batch);
    for (row, hash) in key.of(batch)?.into_iter().enumerate() {
        if complete.as_ref().is_none_or(|complete| complete.is_valid(row)) {
            let row = before + row as u64;
            rows.push(hash, &Keyed { key: hash, row })?;
        }
    }
    Ok(())
}

/// The rows of a table that nothing else compares.
pub(super) struct Repeats<'a> {
    key: &'a Key,
    rows: Partitions<'a, Keyed>,
}

impl<'a> Repeats<'a> {
    pub(super) fn new(key: &'a Key, setting: &'a Setting<'_>) -> Repeats<'a> {
        Repeats {
            key,
            rows: Partitions::new(setting.scratch, setting.memory.keys),
        }
    }

    /// Adds the rows of a batch; `before` rows of the table came earlier.
    pub(super) fn push(&mut self, batch: &RecordBatch, before: u64) -> Result<(), MergeError> {
        push_keys(&mut self.rows, self.key, batch, before)
    }

    /// How many of them repeat a key.
    pub(super) fn count(mut self) -> Result<Repeated, MergeError> {
        let mut repeated = Repeated::default();
        for part in 0..PARTITIONS {
            for share in Share::all(self.rows.bytes_of(part)) {
                let mut seen: ByHash<u64> = ByHash::default();
                for Keyed { key, row } in self.rows.take(part, share)? {
                    if let Some(before) = seen.insert(key, row) {
                        repeated.note(before, row);
                    }
                }
            }
        }
        Ok(repeated)
    }
}

/// The values of the key in one row of a batch, such as `3, Oslo`; none where the key is not among the columns.
pub(crate) fn key_text(batch: &RecordBatch, row: usize, strategy: &MergeStrategy, shape: &Shape) -> Option<String> {
    let value = |name: &String| {
        let column = batch.columns().get(shape.position(name)?)?;
        array_value_to_string(&displayable_column(column), row).ok()
    };
    let values: Vec<String> = strategy.primary_key().iter().map(value).collect::<Option<_>>()?;
    Some(shorten(&values.join(", ")))
}
