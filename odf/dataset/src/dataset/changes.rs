//! What rows did between two points of a chain: what was added, retracted and corrected.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::compute::{interleave_record_batch, take_record_batch};
use arrow::datatypes::{Field, Int32Type, Int64Type, Schema, SchemaRef};
use odf_metadata::{DataSlice, OperationType, Vocabulary};
use odf_tables::slice::{SliceError, SliceFile, SliceReader, conform};

use super::keyed::{self, MAX_KEY_BYTES, StateError, whole};
use super::{Dataset, DatasetError};

/// The most bytes of rows that are held because what became of them comes later.
#[cfg(not(test))]
const MAX_HELD_BYTES: usize = 512 << 20;
#[cfg(test)]
const MAX_HELD_BYTES: usize = 1024;

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It came.
    Added,
    /// It went.
    Retracted,
    /// It was replaced by the next one.
    CorrectedFrom,
    /// It replaces the one before.
    CorrectedTo,
}

impl Change {
    fn of(operation: i32) -> Self {
        match OperationType::try_from(operation) {
            Ok(OperationType::Retract) => Self::Retracted,
            Ok(OperationType::CorrectFrom) => Self::CorrectedFrom,
            Ok(OperationType::CorrectTo) => Self::CorrectedTo,
            // A row of an operation that nobody knows is there, as merges take it.
            Ok(OperationType::Append) | Err(_) => Self::Added,
        }
    }

    fn reversed(self) -> Self {
        match self {
            Self::Added => Self::Retracted,
            Self::Retracted => Self::Added,
            Self::CorrectedFrom => Self::CorrectedTo,
            Self::CorrectedTo => Self::CorrectedFrom,
        }
    }
}

/// Some rows, and what became of each.
#[derive(Clone, Debug)]
pub struct Changed {
    /// The rows, all columns.
    pub rows: RecordBatch,
    /// One for each row.
    pub changes: Vec<Change>,
}

/// A row of a key whose rows were corrected or retracted.
#[derive(Clone, Copy)]
struct Seen {
    offset: i64,
    /// Of the first one: the key had a row before. Of the last one: the key has one from then on.
    stands: bool,
}

/// The first and the last row of such a key.
#[derive(Clone, Copy)]
struct Touched {
    first: Seen,
    last: Seen,
}

/// Changes, batch by batch, in the order in which they came to stand.
///
/// Of every key there is one: what it was at the one point against what it is at the other, whatever was in between. Where
/// the dataset has no primary key every row is told as it came.
pub struct Changes {
    dataset: Dataset,
    schema: SchemaRef,
    vocabulary: Vocabulary,
    key: Vec<String>,
    touched: HashMap<Box<[u8]>, Touched>,
    /// Slices that were not begun yet, newest first.
    slices: Vec<DataSlice>,
    reader: Option<(PathBuf, SliceReader)>,
    /// Rows as they were at the first point, until it is met what became of them.
    pending: HashMap<Box<[u8]>, RecordBatch>,
    pending_bytes: usize,
    reversed: bool,
}

impl Dataset {
    /// What became of rows behind the block of this number, up to the head. Nothing if no rows came.
    ///
    /// Rows are read once where nothing was retracted or corrected. Otherwise their keys are read twice more, and those of
    /// rows that were are in memory. `reversed` tells what leads from the head back to that block.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn changes_since(&self, sequence: u64, reversed: bool) -> Result<Option<Changes>, StateError> {
        let slices = self.slices_of(sequence.saturating_add(1)..self.state.blocks())?;
        let mut slices: Vec<DataSlice> = slices.into_iter().flatten().collect();
        let Some(newest) = slices.last() else { return Ok(None) };
        let merge = self.state.merge_strategy();
        let mut changes = Changes {
            schema: self.columns_of(newest)?,
            dataset: self.clone(),
            vocabulary: self.state.vocabulary(),
            key: merge.map_or(&[][..], |merge| merge.primary_key()).to_vec(),
            touched: HashMap::new(),
            slices: Vec::new(),
            reader: None,
            pending: HashMap::new(),
            pending_bytes: 0,
            reversed,
        };
        if !changes.key.is_empty() {
            for slice in &slices {
                changes.learn(slice, Pass::Keys)?;
            }
            if !changes.touched.is_empty() {
                for slice in &slices {
                    changes.learn(slice, Pass::Places)?;
                }
            }
        }
        slices.reverse();
        changes.slices = slices;
        Ok(Some(changes))
    }
}

/// What is learnt of a slice before its rows are given.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// Which keys have rows that do something else than append.
    Keys,
    /// Which are the first and the last row of each.
    Places,
}

impl Changes {
    /// The columns of all batches.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The names of the system columns.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The columns of the primary key; none if the dataset has no such.
    pub fn key(&self) -> &[String] {
        &self.key
    }

    fn learn(&mut self, slice: &DataSlice, pass: Pass) -> Result<(), StateError> {
        let path = self.dataset.slice_path(&slice.physical_hash);
        let file = SliceFile::open(&path, false)?;
        let operation = self.vocabulary.operation_type_column.as_str();
        if pass == Pass::Keys && file.holds_only(operation, OperationType::Append as i64) {
            return Ok(());
        }
        let mut names = vec![self.vocabulary.offset_column.as_str(), operation];
        names.extend(self.key.iter().map(String::as_str));
        let schema = projected(&self.schema, &names)?;
        for batch in file.rows(Some(&names), |reader| reader)? {
            let batch = conform(&batch?, &schema).map_err(|source| SliceError::arrow(&path, source))?;
            let operations = whole(&batch, 1)?;
            let operations = operations.as_primitive::<Int32Type>();
            let appends = |operation| Change::of(operation) == Change::Added;
            if pass == Pass::Keys && operations.iter().flatten().all(appends) {
                continue;
            }
            let offsets = batch.column(0).as_primitive::<Int64Type>();
            for (row, key) in keyed::keys(&batch, &self.key, &path)?.into_iter().enumerate() {
                let change = Change::of(operations.value(row));
                let seen = |stands| Seen {
                    offset: offsets.value(row),
                    stands,
                };
                match pass {
                    Pass::Keys if change == Change::Added => {}
                    Pass::Keys => {
                        let unknown = Seen {
                            offset: i64::MAX,
                            stands: false,
                        };
                        self.touched.entry(key).or_insert(Touched {
                            first: unknown,
                            last: unknown,
                        });
                    }
                    Pass::Places => {
                        if let Some(touched) = self.touched.get_mut(&key) {
                            let goes = matches!(change, Change::Retracted | Change::CorrectedFrom);
                            if touched.first.offset == i64::MAX {
                                touched.first = seen(goes);
                            }
                            touched.last = seen(!goes);
                        }
                    }
                }
            }
            let bytes = self.touched.len() * size_of::<(Box<[u8]>, Touched)>()
                + self.touched.keys().map(|key| key.len()).sum::<usize>();
            if bytes > MAX_KEY_BYTES {
                return Err(StateError::TooMany);
            }
        }
        Ok(())
    }

    fn next_rows(&mut self) -> Result<Option<RecordBatch>, DatasetError> {
        loop {
            if let Some((path, reader)) = &mut self.reader
                && let Some(batch) = reader.next()
            {
                let whole = conform(&batch?, &self.schema).map_err(|source| SliceError::arrow(path, source))?;
                return Ok(Some(whole));
            }
            let Some(slice) = self.slices.pop() else {
                return Ok(None);
            };
            let path = self.dataset.slice_path(&slice.physical_hash);
            let reader = SliceFile::open(&path, false)?.rows(None, |reader| reader)?;
            self.reader = Some((path, reader));
        }
    }

    fn next_changed(&mut self) -> Result<Option<Changed>, StateError> {
        while let Some(batch) = self.next_rows()? {
            let changed = self.of(&batch)?;
            if !changed.changes.is_empty() {
                return Ok(Some(changed));
            }
        }
        Ok(None)
    }

    /// What becomes of the rows of a batch, as far as that is known with it.
    fn of(&mut self, batch: &RecordBatch) -> Result<Changed, StateError> {
        let place = self.dataset.data_dir();
        let in_rows = |source| SliceError::arrow(&place, source);
        let index = |name: &String| {
            let at = batch.schema().index_of(name);
            at.map_err(|_| StateError::NoColumn(name.clone()))
        };
        let offsets = batch.column(index(&self.vocabulary.offset_column)?);
        let offsets = offsets.as_primitive::<Int64Type>();
        let operations = whole(batch, index(&self.vocabulary.operation_type_column)?)?;
        let operations = operations.as_primitive::<Int32Type>();
        let keys = match self.touched.is_empty() {
            true => Vec::new(),
            false => keyed::keys(batch, &self.key, &place)?,
        };
        let mut held: Vec<RecordBatch> = Vec::new();
        // Rows by where they are: 0 is this batch, 1 the first of those that were held.
        let (mut picked, mut changes) = (Vec::new(), Vec::new());
        let mut met: HashMap<&[u8], usize> = HashMap::new();
        for row in 0..batch.num_rows() {
            let touched = keys.get(row).and_then(|key| Some((key, self.touched.get(key)?)));
            let Some((key, touched)) = touched else {
                let change = Change::of(operations.value(row));
                picked.push((0, row));
                changes.push(if self.reversed { change.reversed() } else { change });
                continue;
            };
            let offset = offsets.value(row);
            if touched.first.stands && touched.first.offset == offset {
                met.insert(key, row);
            }
            if touched.last.offset != offset {
                continue;
            }
            let before = match met.remove(&**key) {
                Some(row) => Some((0, row)),
                None => self.pending.remove(key).map(|row| {
                    self.pending_bytes = self.pending_bytes.saturating_sub(row.get_array_memory_size());
                    held.push(row);
                    (held.len(), 0)
                }),
            };
            let after = touched.last.stands.then_some((0, row));
            let (from, to) = match self.reversed {
                true => (after, before),
                false => (before, after),
            };
            let of = |(at, row): (usize, usize)| match at.checked_sub(1).and_then(|at| held.get(at)) {
                Some(batch) => (batch, row),
                None => (batch, row),
            };
            match (from, to) {
                (None, None) => {}
                (Some(from), Some(to)) if self.is_same(of(from), of(to)) => {}
                (Some(from), Some(to)) => {
                    picked.extend([from, to]);
                    changes.extend([Change::CorrectedFrom, Change::CorrectedTo]);
                }
                (Some(from), None) => {
                    picked.push(from);
                    changes.push(Change::Retracted);
                }
                (None, Some(to)) => {
                    picked.push(to);
                    changes.push(Change::Added);
                }
            }
        }
        for (key, row) in met {
            let row = UInt32Array::from(vec![u32::try_from(row).unwrap_or(u32::MAX)]);
            let row = take_record_batch(batch, &row).map_err(in_rows)?;
            self.pending_bytes += row.get_array_memory_size();
            if self.pending_bytes > MAX_HELD_BYTES {
                return Err(StateError::TooMany);
            }
            self.pending.insert(key.into(), row);
        }
        let rows = match picked.is_empty() {
            true => RecordBatch::new_empty(batch.schema()),
            false => {
                let sources: Vec<&RecordBatch> = std::iter::once(batch).chain(&held).collect();
                interleave_record_batch(&sources, &picked).map_err(in_rows)?
            }
        };
        Ok(Changed { rows, changes })
    }

    /// Whether two rows differ only in how they came.
    fn is_same(&self, (left, at): (&RecordBatch, usize), (right, with): (&RecordBatch, usize)) -> bool {
        let Vocabulary {
            offset_column,
            operation_type_column,
            system_time_column,
            ..
        } = &self.vocabulary;
        let system = [offset_column, operation_type_column, system_time_column];
        let columns = left.columns().iter().zip(right.columns());
        let mut named = self.schema.fields().iter().zip(columns);
        named.all(|(field, (left, right))| {
            system.contains(&field.name()) || left.slice(at, 1).as_ref() == right.slice(with, 1).as_ref()
        })
    }
}

/// The schema of these columns.
fn projected(schema: &SchemaRef, names: &[&str]) -> Result<SchemaRef, StateError> {
    let fields = names.iter().map(|name| match schema.field_with_name(name) {
        Ok(field) => Ok(field.clone()),
        Err(_) => Err(StateError::NoColumn((*name).to_owned())),
    });
    Ok(Arc::new(Schema::new(fields.collect::<Result<Vec<Field>, _>>()?)))
}

impl Iterator for Changes {
    type Item = Result<Changed, StateError>;

    /// After an error there is nothing more.
    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_changed();
        if next.is_err() {
            self.slices.clear();
            self.reader = None;
        }
        next.transpose()
    }
}
