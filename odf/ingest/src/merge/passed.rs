//! Rows that a ledger passes over although they say something else than what it has of their keys.
//!
//! A ledger keeps what it has, so such rows change nothing; whoever corrected one must be told. A row says nothing new if an
//! earlier one has all of its values. Only rows with a key that is known are asked for, and of the earlier slices only what
//! can hold one of these keys is read: where every key is new this costs nothing.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::compute::{filter, filter_record_batch};
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use arrow::record_batch::RecordBatch;
use odf_metadata::OperationType;

use super::batch::{operation, project};
use super::history::Extents;
use super::keys::{Among, ByHash, Key, RowHasher};
use super::spill::{PARTITIONS, Partitions, Record, Share, hash_of};
use super::{MergeError, Setting};

/// A new row by all of its values.
struct New(u128);

impl Record for New {
    const BYTES: usize = 16;

    fn encode(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.0.to_le_bytes());
    }

    fn decode(bytes: &[u8]) -> Self {
        New(hash_of(bytes))
    }
}

/// An earlier row by all of its values.
struct Old(u128);

impl Record for Old {
    const BYTES: usize = 16;

    fn encode(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.0.to_le_bytes());
    }

    fn decode(bytes: &[u8]) -> Self {
        Old(hash_of(bytes))
    }

    /// Once is enough.
    fn condense(records: &mut Vec<u8>) {
        let mut rows: Vec<u128> = records.chunks_exact(Self::BYTES).map(hash_of).collect();
        rows.sort_unstable();
        rows.dedup();
        records.clear();
        rows.into_iter().for_each(|row| Old(row).encode(records));
    }
}

/// Columns by position, and what hashes them.
struct Columns {
    positions: Vec<usize>,
    hasher: RowHasher,
    /// Whether a new row was hashed so.
    used: bool,
}

impl Columns {
    fn of(schema: &Schema, positions: Vec<usize>) -> Result<Columns, MergeError> {
        let fields: Vec<Field> = positions.iter().map(|at| schema.field(*at).clone()).collect();
        Ok(Columns {
            hasher: RowHasher::new(&fields)?,
            positions,
            used: false,
        })
    }

    /// `columns` are those of the shape.
    fn hash(&self, columns: &[ArrayRef], rows: usize) -> Result<Vec<u128>, MergeError> {
        let columns: Vec<ArrayRef> = self.positions.iter().map(|at| columns[*at].clone()).collect();
        self.hasher.hash(&columns, rows)
    }
}

/// New rows with known keys.
pub(super) struct Passed<'a> {
    setting: &'a Setting<'a>,
    key: &'a Key,
    new: Partitions<'a, New>,
    /// Between which values their keys are.
    extents: Extents,
    /// All columns.
    whole: Columns,
    /// All but the event time, for rows that have none: the ledger has the time of an ingest there.
    timeless: Columns,
}

impl<'a> Passed<'a> {
    pub(super) fn new(key: &'a Key, setting: &'a Setting<'a>) -> Result<Passed<'a>, MergeError> {
        let shape = setting.shape;
        let all: Vec<usize> = (0..shape.width()).collect();
        let timeless = all
            .iter()
            .copied()
            .filter(|at| shape.event_time() != Some(*at))
            .collect();
        Ok(Passed {
            new: Partitions::new(setting.scratch, setting.memory.keys),
            extents: Extents::new(&key.fields),
            whole: Columns::of(shape.schema(), all)?,
            timeless: Columns::of(shape.schema(), timeless)?,
            key,
            setting,
        })
    }

    /// Adds rows of a batch.
    pub(super) fn push(&mut self, batch: &RecordBatch, which: &BooleanArray) -> Result<(), MergeError> {
        if which.true_count() == 0 {
            return Ok(());
        }
        let rows = filter_record_batch(batch, which)?;
        self.extents.widen(&project(&rows, &self.key.positions));
        let times = self.setting.shape.event_time().map(|at| rows.column(at));
        let lacking = times.map_or(0, |times| times.null_count());
        let whole = match lacking == rows.num_rows() {
            true => Vec::new(),
            false => self.whole.hash(rows.columns(), rows.num_rows())?,
        };
        let timeless = match lacking {
            0 => Vec::new(),
            _ => self.timeless.hash(rows.columns(), rows.num_rows())?,
        };
        self.whole.used |= !whole.is_empty();
        self.timeless.used |= !timeless.is_empty();
        for row in 0..rows.num_rows() {
            let has_time = times.is_none_or(|times| times.is_valid(row));
            let hashes = if has_time { &whole } else { &timeless };
            if let Some(hash) = hashes.get(row) {
                self.new.push(*hash, &New(*hash))?;
            }
        }
        Ok(())
    }

    /// How many of them say something else than each earlier row of the same key.
    pub(super) fn count(mut self, on_batch: &mut dyn FnMut(u64) -> Result<(), MergeError>) -> Result<u64, MergeError> {
        let Setting { shape, history, .. } = self.setting;
        let mut among = Among::new(self.new.count());
        self.new.hashes(&mut |hash| among.insert(hash))?;
        // The operation, then the columns of the shape.
        let operations = Field::new(&history.vocabulary.operation_type_column, DataType::Int32, false);
        let columns = shape.schema().fields().iter();
        let columns = columns.map(|field| field.as_ref().clone().with_nullable(true));
        let fields: Vec<Field> = std::iter::once(operations).chain(columns).collect();
        let mut old = Partitions::<Old>::new(self.setting.scratch, self.setting.memory.keys);
        let (whole, timeless) = (&self.whole, &self.timeless);
        history.scan(
            &fields,
            &self.extents.conditions(),
            |columns, _| {
                let operations = columns[0].as_primitive::<Int32Type>();
                let holds: BooleanArray = operations
                    .values()
                    .iter()
                    .map(|number| {
                        let gone = [Some(OperationType::Retract), Some(OperationType::CorrectFrom)];
                        Some(!gone.contains(&operation(i64::from(*number))))
                    })
                    .collect();
                let columns: Vec<ArrayRef> = columns[1..]
                    .iter()
                    .map(|column| filter(column, &holds))
                    .collect::<Result<_, _>>()?;
                let mut hashes = Vec::new();
                for of in [whole, timeless].into_iter().filter(|of| of.used) {
                    let all = of.hash(&columns, holds.true_count())?;
                    hashes.extend(all.into_iter().filter(|hash| among.may_have(*hash)));
                }
                Ok(hashes)
            },
            &mut |hashes: Vec<u128>| {
                on_batch(hashes.len() as u64)?;
                hashes.into_iter().try_for_each(|hash| old.push(hash, &Old(hash)))
            },
        )?;
        let mut count = 0;
        for part in 0..PARTITIONS {
            for share in Share::all(old.bytes_of(part) + self.new.bytes_of(part)) {
                let there: ByHash<()> = old.take(part, share)?.map(|Old(row)| (row, ())).collect();
                let new = self.new.take(part, share)?;
                count += new.filter(|New(row)| !there.contains_key(row)).count() as u64;
            }
        }
        Ok(count)
    }
}
