//! Rows appended that say of earlier ones that they came, went or changed.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, TimestampMillisecondArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMillisecondType};
use odf_metadata::{
    AddData, DataSlice, MetadataEvent, OffsetInterval, OperationType, SetDataSchema, SourceState, Timestamp, Vocabulary,
};
use odf_tables::slice::{SliceError, SliceFile, SliceOptions, SliceWriter};
use odf_tables::types::to_arrow;

use super::changes::{Change, Changed};
use super::keyed::StateError;
use super::{Dataset, DatasetError};

/// Why rows were not appended. The dataset is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AmendError {
    /// The dataset, or the rows, cannot be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// The values of a column do not fit into the dataset as it is now.
    #[error("the column `{0}` has another type now, so its earlier values do not fit into it")]
    Column(String),
    /// There is no offset left.
    #[error("the dataset has as many rows as can be counted")]
    Full,
}

impl From<DatasetError> for AmendError {
    fn from(error: DatasetError) -> Self {
        Self::State(error.into())
    }
}

impl From<SliceError> for AmendError {
    fn from(error: SliceError) -> Self {
        DatasetError::from(error).into()
    }
}

impl Change {
    fn operation(self) -> OperationType {
        match self {
            Self::Added => OperationType::Append,
            Self::Retracted => OperationType::Retract,
            Self::CorrectedFrom => OperationType::CorrectFrom,
            Self::CorrectedTo => OperationType::CorrectTo,
        }
    }
}

impl Dataset {
    /// Appends rows that have come about elsewhere in its history, or in another one of it: each with the operation that its
    /// change stands for, as one slice and one block. Their event times stay. `source_state` is what the block says of how far
    /// the source was read. Gives how many rows were written; nothing is appended if that is none.
    ///
    /// # Errors
    /// See [`AmendError`].
    pub fn amend<E>(
        &mut self,
        changes: impl Iterator<Item = Result<Changed, E>>,
        options: &SliceOptions,
        source_state: Option<SourceState>,
        now: Timestamp,
    ) -> Result<u64, AmendError>
    where
        AmendError: From<E>,
    {
        let system_time = now.max(self.state.system_time);
        let start = self.state.last_offset.map_or(Some(0), |last| last.checked_add(1));
        let start = start.ok_or(AmendError::Full)?;
        let mut rows = Rows {
            schema: self.written()?,
            vocabulary: self.state.vocabulary(),
            next: i64::try_from(start).map_err(|_| AmendError::Full)?,
            system_time: system_time.millis(),
            latest: None,
        };
        let mut writer = SliceWriter::create(self.disk(), &self.data_dir(), rows.schema.clone(), options)?;
        let place = self.data_dir();
        for changed in changes {
            let batch = rows.complete(&changed?);
            writer.write(batch.map_err(|refused| refused.into_error(&place))?)?;
        }
        let count = writer.rows();
        if count == 0 {
            return Ok(0);
        }
        let slice = writer.finish()?;
        let data = DataSlice {
            logical_hash: *slice.logical_hash(),
            physical_hash: *slice.physical_hash(),
            offset_interval: OffsetInterval {
                start,
                end: start + (count - 1),
            },
            size: slice.size(),
        };
        let event = MetadataEvent::AddData(AddData {
            prev_checkpoint: self.state.last_added.and_then(|last| last.checkpoint),
            prev_offset: self.state.last_offset,
            new_data: Some(data),
            new_checkpoint: None,
            new_watermark: self.state.watermark.max(rows.latest.and_then(Timestamp::from_millis)),
            new_source_state: source_state,
            extra: None,
        });
        self.append_events(vec![event], system_time, Some(slice))?;
        Ok(count)
    }

    /// The columns as they are written: those of the schema, in the form that the newest slice has them in.
    fn written(&self) -> Result<SchemaRef, AmendError> {
        let declared = self.state.schema.as_ref().map(SetDataSchema::declared).transpose();
        let declared = declared.map_err(|source| DatasetError::Block { sequence: None, source })?;
        let newest = match self.newest(1, 0)?.and_then(|rows| rows.slices().pop()) {
            Some(slice) => {
                let file = SliceFile::open(&self.slice_path(&slice.physical_hash), false)?;
                Some(file.metadata().schema().clone())
            }
            None => None,
        };
        let declared = match declared.flatten() {
            Some(declared) => Some(to_arrow(&declared).map_err(|error| AmendError::Column(error.column))?),
            None => None,
        };
        Ok(match (declared, newest) {
            (Some(declared), Some(newest)) => {
                let fields = declared.fields().iter();
                let as_written = |field: &Arc<Field>| match newest.field_with_name(field.name()) {
                    Ok(written) => Arc::new(written.clone()),
                    Err(_) => field.clone(),
                };
                Arc::new(Schema::new(fields.map(as_written).collect::<Vec<_>>()))
            }
            (Some(only), None) => Arc::new(only),
            (None, Some(only)) => only,
            (None, None) => Arc::new(Schema::empty()),
        })
    }
}

/// Why a batch could not be completed.
enum Refused {
    Column(String),
    Arrow(arrow::error::ArrowError),
}

impl Refused {
    fn into_error(self, place: &std::path::Path) -> AmendError {
        match self {
            Self::Column(name) => AmendError::Column(name),
            Self::Arrow(source) => SliceError::arrow(place, source).into(),
        }
    }
}

impl From<arrow::error::ArrowError> for Refused {
    fn from(error: arrow::error::ArrowError) -> Self {
        Self::Arrow(error)
    }
}

/// Makes the rows of one slice.
struct Rows {
    schema: SchemaRef,
    vocabulary: Vocabulary,
    /// The offset of the next row.
    next: i64,
    /// In milliseconds.
    system_time: i64,
    /// The latest event time of a row that holds, in milliseconds.
    latest: Option<i64>,
}

impl Rows {
    fn complete(&mut self, changed: &Changed) -> Result<RecordBatch, Refused> {
        let (rows, count) = (&changed.rows, changed.rows.num_rows());
        let Vocabulary {
            offset_column,
            operation_type_column,
            system_time_column,
            event_time_column,
        } = &self.vocabulary;
        let end = self.next + i64::try_from(count).unwrap_or(i64::MAX);
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        for field in self.schema.fields() {
            let name = field.name();
            let made: ArrayRef = if name == offset_column {
                Arc::new(Int64Array::from_iter_values(self.next..end))
            } else if name == operation_type_column {
                let operations = changed.changes.iter().map(|change| change.operation() as i32);
                Arc::new(Int32Array::from_iter_values(operations))
            } else if name == system_time_column {
                let times = TimestampMillisecondArray::from_value(self.system_time, count);
                Arc::new(times.with_timezone("UTC"))
            } else {
                match rows.column_by_name(name) {
                    Some(column) if is_same_kind(column.data_type(), field.data_type()) => column.clone(),
                    Some(_) => return Err(Refused::Column(name.clone())),
                    None => new_null_array(field.data_type(), count),
                }
            };
            columns.push(cast(&made, field.data_type())?);
        }
        // Values that have no column any more are not dropped in silence.
        let gone = rows.schema();
        let mut gone = gone
            .fields()
            .iter()
            .filter(|field| self.schema.field_with_name(field.name()).is_err());
        if let Some(field) = gone.next() {
            return Err(Refused::Column(field.name().clone()));
        }
        if let Some(times) = rows.column_by_name(event_time_column) {
            let times = cast(times, &DataType::Timestamp(TimeUnit::Millisecond, None))?;
            let times = times.as_primitive::<TimestampMillisecondType>();
            let holding = times
                .iter()
                .zip(&changed.changes)
                .filter(|(_, change)| matches!(change, Change::Added | Change::CorrectedTo));
            self.latest = self.latest.max(holding.filter_map(|(time, _)| time).max());
        }
        self.next = end;
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }
}

/// Whether values of the one type are those of the other in another form.
fn is_same_kind(from: &DataType, to: &DataType) -> bool {
    let plain = |data_type: &DataType| match data_type {
        DataType::Dictionary(_, values) => values.as_ref().clone(),
        other => other.clone(),
    };
    let (from, to) = (plain(from), plain(to));
    let is_text = |of: &DataType| matches!(of, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let is_bytes = |of: &DataType| matches!(of, DataType::Binary | DataType::LargeBinary | DataType::BinaryView);
    from == to || is_text(&from) && is_text(&to) || is_bytes(&from) && is_bytes(&to)
}
