//! Primary keys as 128-bit hashes of their rows in Arrow's row format.
//!
//! The hash is keyed with fresh random numbers in every process, so nobody can prepare two keys that collide; by chance it
//! happens once in 2^128 / n² merges of n keys. The outcome of a merge does not depend on the random numbers.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::datatypes::Field;
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};

use super::{MergeError, project};
use crate::ingest::shape::Shape;

/// Hashes the values of some columns, row by row.
pub(super) struct RowHasher {
    converter: RowConverter,
    states: [RandomState; 2],
}

impl RowHasher {
    pub(super) fn new(fields: &[Field]) -> Result<RowHasher, MergeError> {
        let converter = RowConverter::new(fields.iter().map(|f| SortField::new(f.data_type().clone())).collect())?;
        Ok(RowHasher {
            converter,
            states: [RandomState::new(), RandomState::new()],
        })
    }

    /// One hash for each row. Columns must have the types of the fields.
    pub(super) fn hash(&self, columns: &[ArrayRef]) -> Result<Vec<u128>, MergeError> {
        let rows = self.converter.convert_columns(columns)?;
        let [high, low] = &self.states;
        let both = |row: &[u8]| u128::from(high.hash_one(row)) << 64 | u128::from(low.hash_one(row));
        Ok(rows.iter().map(|row| both(row.as_ref())).collect())
    }
}

/// The columns of a primary key within a shape.
pub(super) struct Key {
    pub(super) positions: Vec<usize>,
    pub(super) fields: Vec<Field>,
    pub(super) hasher: RowHasher,
}

impl Key {
    pub(super) fn new(shape: &Shape, primary_key: &[String]) -> Result<Key, MergeError> {
        let find = |name: &String| {
            shape
                .position(name)
                .ok_or_else(|| MergeError::NoKeyColumn(name.clone()))
        };
        let positions = primary_key.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        // Earlier rows may lack a value even where new ones must have it: kamu writes such keys.
        let fields: Vec<Field> = positions
            .iter()
            .map(|at| shape.schema().field(*at).clone().with_nullable(true))
            .collect();
        let hasher = RowHasher::new(&fields)?;
        Ok(Key {
            positions,
            fields,
            hasher,
        })
    }

    /// The key hash of every row of a batch. `before` rows of the table came earlier, for messages.
    pub(super) fn of(&self, batch: &RecordBatch, before: u64) -> Result<Vec<u128>, MergeError> {
        let columns = project(batch, &self.positions);
        for (column, field) in columns.iter().zip(&self.fields) {
            if column.null_count() > 0
                && let Some(row) = (0..column.len()).find(|row| column.is_null(*row))
            {
                return Err(MergeError::NullKey {
                    row: before + row as u64 + 1,
                    column: field.name().clone(),
                });
            }
        }
        self.hasher.hash(&columns)
    }
}

/// The primary keys of earlier rows.
pub(super) struct KeySet {
    key: Key,
    seen: HashSet<u128>,
}

impl KeySet {
    pub(super) fn new(shape: &Shape, primary_key: &[String]) -> Result<KeySet, MergeError> {
        Ok(KeySet {
            key: Key::new(shape, primary_key)?,
            seen: HashSet::new(),
        })
    }

    /// The columns to read from earlier slices.
    pub(super) fn fields(&self) -> &[Field] {
        &self.key.fields
    }

    /// Adds earlier rows, given by their key columns.
    pub(super) fn insert(&mut self, columns: &[ArrayRef]) -> Result<(), MergeError> {
        self.seen.extend(self.key.hasher.hash(columns)?);
        Ok(())
    }

    /// Which rows have a key that was not seen. `before` rows of the table came earlier, for messages.
    pub(super) fn unseen(&self, batch: &RecordBatch, before: u64) -> Result<BooleanArray, MergeError> {
        let hashes = self.key.of(batch, before)?;
        Ok(hashes.iter().map(|hash| Some(!self.seen.contains(hash))).collect())
    }
}
