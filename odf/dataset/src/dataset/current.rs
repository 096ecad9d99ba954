//! The state of a dataset at its head: its rows with retractions and corrections applied.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, Int32Type, Int64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use odf_metadata::{DataSlice, OperationType, Vocabulary};
use odf_tables::slice::{SliceError, SliceFile, conform};

use super::keyed::{self, MAX_KEY_BYTES, StateError, whole};
use super::{Dataset, Newest};

/// The last row of a key that did something else than append.
#[derive(Clone, Copy)]
struct Last {
    offset: i64,
    /// Whether it stands for the key from then on.
    holds: bool,
}

/// The rows that hold at the head, batch by batch.
pub struct Current {
    rows: Newest,
    vocabulary: Vocabulary,
    key: Vec<String>,
    lasts: HashMap<Box<[u8]>, Last>,
}

impl Dataset {
    /// The rows that hold at the head, in the order of their offsets, all columns: of every key the row that was added or
    /// corrected to last, unless it was retracted since. Nothing if the dataset has no rows.
    ///
    /// Rows are read once where nothing was retracted or corrected. Otherwise slices that do so are read twice, and the keys
    /// of these rows are in memory.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn current(&self) -> Result<Option<Current>, StateError> {
        let Some(rows) = self.newest(u64::MAX, 0)? else {
            return Ok(None);
        };
        let vocabulary = self.state.vocabulary();
        let key: Vec<String> = self
            .state
            .merge_strategy()
            .map_or(&[][..], |merge| merge.primary_key())
            .to_vec();
        let mut current = Current {
            rows,
            vocabulary,
            key,
            lasts: HashMap::new(),
        };
        for slice in current.rows.slices() {
            current.learn(self, &slice)?;
        }
        Ok(Some(current))
    }
}

impl Current {
    /// The columns of all batches.
    pub fn schema(&self) -> &SchemaRef {
        self.rows.schema()
    }

    /// Notes which rows of a slice retract or correct others.
    fn learn(&mut self, dataset: &Dataset, slice: &DataSlice) -> Result<(), StateError> {
        let path = dataset.slice_path(&slice.physical_hash);
        let operation = self.vocabulary.operation_type_column.clone();
        let file = SliceFile::open(&path, false)?;
        if file.holds_only(&operation, OperationType::Append as i64) {
            return Ok(());
        }
        let mut names = vec![self.vocabulary.offset_column.as_str(), operation.as_str()];
        names.extend(self.key.iter().map(String::as_str));
        for batch in file.rows(Some(&names), |reader| reader)? {
            let batch =
                conform(&batch?, &self.projected(&names)?).map_err(|source| SliceError::arrow(&path, source))?;
            let operations = whole(&batch, 1)?;
            let operations = operations.as_primitive::<Int32Type>();
            if operations
                .iter()
                .flatten()
                .all(|operation| operation == OperationType::Append as i32)
            {
                continue;
            }
            if self.key.is_empty() {
                return Err(StateError::NoKey);
            }
            let offsets = batch.column(0).as_primitive::<Int64Type>().clone();
            let keys = self.keys(&batch)?;
            for (row, key) in keys.into_iter().enumerate() {
                let operation = operations.value(row);
                if operation == OperationType::Append as i32 {
                    continue;
                }
                let last = Last {
                    offset: offsets.value(row),
                    // A row of an operation that nobody knows is there, as merges take it.
                    holds: ![OperationType::Retract as i32, OperationType::CorrectFrom as i32].contains(&operation),
                };
                self.lasts.insert(key, last);
            }
            let bytes: usize = self.lasts.len() * size_of::<(Box<[u8]>, Last)>()
                + self.lasts.keys().map(|key| key.len()).sum::<usize>();
            if bytes > MAX_KEY_BYTES {
                return Err(StateError::TooMany);
            }
        }
        Ok(())
    }

    /// The schema of these columns, with operations as the numbers that they are.
    fn projected(&self, names: &[&str]) -> Result<SchemaRef, StateError> {
        let all = self.rows.schema();
        let fields = names.iter().map(|name| match all.field_with_name(name) {
            Ok(field) => Ok(field.clone()),
            Err(_) => Err(StateError::NoColumn((*name).to_owned())),
        });
        Ok(Arc::new(Schema::new(fields.collect::<Result<Vec<Field>, _>>()?)))
    }

    /// The key of every row.
    fn keys(&self, batch: &RecordBatch) -> Result<Vec<Box<[u8]>>, StateError> {
        keyed::keys(batch, &self.key, &self.rows.dataset().data_dir())
    }

    /// The rows of a batch that hold.
    fn holding(&self, batch: &RecordBatch) -> Result<RecordBatch, StateError> {
        if self.lasts.is_empty() {
            return Ok(batch.clone());
        }
        let column = |name: &str| {
            batch
                .schema()
                .index_of(name)
                .map_err(|_| StateError::NoColumn(name.to_owned()))
        };
        let offsets = batch
            .column(column(&self.vocabulary.offset_column)?)
            .as_primitive::<Int64Type>()
            .clone();
        let holds: BooleanArray = self
            .keys(batch)?
            .iter()
            .enumerate()
            .map(|(row, key)| {
                let offset = offsets.value(row);
                Some(match self.lasts.get(key) {
                    // Appended since, or never anything else.
                    None => true,
                    Some(last) if offset > last.offset => true,
                    Some(last) => last.holds && offset == last.offset,
                })
            })
            .collect();
        filter_record_batch(batch, &holds)
            .map_err(|source| SliceError::arrow(&self.rows.dataset().data_dir(), source).into())
    }
}

impl Iterator for Current {
    type Item = Result<RecordBatch, StateError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.rows.next()?.map_err(StateError::from);
        Some(batch.and_then(|batch| self.holding(&batch)))
    }
}
