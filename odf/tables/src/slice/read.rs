//! Reading slices back, whoever wrote them, and hashing what they hold.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StructArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::file::metadata::{PageIndexPolicy, SortingColumn};
use parquet::file::statistics::Statistics;

use super::SliceError;
use super::widths::Widths;
use super::write::Ordered;
use crate::digest::LogicalHasher;
use odf_metadata::Multihash;

/// Rows in a batch; fewer where they are long.
const ROWS_PER_BATCH: usize = 8192;

/// A slice whose footer has been read, so that parts of it can be chosen.
#[derive(Clone)]
pub struct SliceFile {
    path: PathBuf,
    metadata: ArrowReaderMetadata,
    widths: Widths,
}

impl SliceFile {
    /// Reads the footer and, if wanted and there, the page index.
    pub fn open(path: &Path, page_index: bool) -> Result<SliceFile, SliceError> {
        let file = File::open(path).map_err(|e| SliceError::io("open", path, e))?;
        let policy = if page_index {
            PageIndexPolicy::Optional
        } else {
            PageIndexPolicy::Skip
        };
        let options = ArrowReaderOptions::new().with_page_index_policy(policy);
        let metadata = ArrowReaderMetadata::load(&file, options).map_err(|e| SliceError::parquet(path, e))?;
        Ok(SliceFile {
            path: path.to_owned(),
            widths: Widths::of(&file, metadata.metadata()),
            metadata,
        })
    }

    /// Whether the footer says that a column of integers holds this value and nothing else.
    pub fn holds_only(&self, column: &str, value: i64) -> bool {
        let metadata = self.metadata.metadata();
        let schema = metadata.file_metadata().schema_descr();
        let leaves = 0..schema.num_columns();
        let Some(at) = leaves
            .into_iter()
            .find(|at| schema.column(*at).path().parts() == [column])
        else {
            return false;
        };
        metadata.row_groups().iter().all(|group| {
            let bounds = match group.column(at).statistics() {
                Some(Statistics::Int32(of)) => (
                    of.min_opt().map(|least| i64::from(*least)),
                    of.max_opt().map(|most| i64::from(*most)),
                ),
                Some(Statistics::Int64(of)) => (of.min_opt().copied(), of.max_opt().copied()),
                _ => (None, None),
            };
            let nulls = group.column(at).statistics().and_then(|of| of.null_count_opt());
            bounds == (Some(value), Some(value)) && nulls == Some(0)
        })
    }

    /// What the footer says.
    pub fn metadata(&self) -> &ArrowReaderMetadata {
        &self.metadata
    }

    /// The columns by which the footer says that the rows are in order, behind the offset; none if that is not the first of
    /// them. Columns that the footer does not name for sure (the format counts leaves, writers count columns) end the list.
    pub fn order(&self) -> Vec<Ordered> {
        let schema = self.metadata.schema();
        let leaves = self.metadata.parquet_schema();
        let group = self.metadata.metadata().row_groups().first();
        let sorted = group.and_then(|group| group.sorting_columns()).map(Vec::as_slice);
        let Some([offset, others @ ..]) = sorted else {
            return Vec::new();
        };
        if (offset.column_idx, offset.descending) != (0, false) {
            return Vec::new();
        }
        let column = |sorted: &SortingColumn| {
            let at = usize::try_from(sorted.column_idx).ok()?;
            let name = schema.fields().get(at)?.name();
            let leaf = leaves.columns().get(at)?;
            (leaf.path().parts() == [name.as_str()]).then(|| Ordered {
                column: name.clone(),
                descending: sorted.descending,
                nulls_first: sorted.nulls_first,
            })
        };
        others.iter().map_while(column).collect()
    }

    /// Reads those of the named columns that the file has (all if absent), from the rows that `part` selects.
    pub fn rows(
        &self,
        columns: Option<&[&str]>,
        part: impl FnOnce(ParquetRecordBatchReaderBuilder<File>) -> ParquetRecordBatchReaderBuilder<File>,
    ) -> Result<SliceReader, SliceError> {
        let file = File::open(&self.path).map_err(|e| SliceError::io("open", &self.path, e))?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone());
        let mask = match columns {
            None => ProjectionMask::all(),
            Some(names) => {
                let roots = names.iter().filter_map(|name| builder.schema().index_of(name).ok());
                ProjectionMask::roots(builder.parquet_schema(), roots)
            }
        };
        let rows = self.widths.rows_per_batch(&mask, ROWS_PER_BATCH);
        let builder = builder.with_projection(mask).with_batch_size(rows);
        let reader = part(builder).build().map_err(|e| SliceError::parquet(&self.path, e))?;
        Ok(SliceReader {
            path: self.path.clone(),
            schema: arrow::record_batch::RecordBatchReader::schema(&reader),
            rows: u64::try_from(self.metadata.metadata().file_metadata().num_rows()).unwrap_or(0),
            reader,
        })
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
        let slice = SliceFile::open(path, false)?;
        let reader = slice.rows(columns, |reader| {
            reader.with_offset(usize::try_from(skip).unwrap_or(usize::MAX))
        })?;
        let missing = |name: &&&str| reader.schema.index_of(name).is_err();
        match columns.unwrap_or_default().iter().find(missing) {
            None => Ok(reader),
            Some(column) => Err(SliceError::NoColumn {
                path: path.to_owned(),
                column: (*column).to_owned(),
            }),
        }
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

/// The same rows under another schema: columns by their names, cast where types differ, null where there are none, left out
/// where the schema does not have them.
///
/// # Errors
/// A value does not fit, or is null or missing where the schema wants one.
pub fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let column = |field: &Arc<Field>| match batch.column_by_name(field.name()) {
        Some(array) => cast(array, field.data_type()),
        None => Ok(new_null_array(field.data_type(), batch.num_rows())),
    };
    let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(schema.clone(), columns)
}

/// The same rows with the time zone `UTC` of timestamp columns written as `+00:00`.
///
/// Arrow's formatters and JSON and CSV writers know names of time zones only with a time zone database built in, which
/// this program does not need. Rows that are to be shown go through here first.
pub fn displayable(batch: &RecordBatch) -> RecordBatch {
    let columns: Vec<ArrayRef> = batch.columns().iter().map(displayable_column).collect();
    let fields = batch
        .schema()
        .fields()
        .iter()
        .zip(&columns)
        .map(|(field, column)| field.as_ref().clone().with_data_type(column.data_type().clone()))
        .collect::<Vec<_>>();
    let schema = Schema::new_with_metadata(fields, batch.schema().metadata().clone());
    // Only the zone of columns changed, in schema and columns alike.
    RecordBatch::try_new(Arc::new(schema), columns).unwrap_or_else(|_| batch.clone())
}

/// One column of [`displayable`], columns within it included.
pub fn displayable_column(column: &ArrayRef) -> ArrayRef {
    use arrow::datatypes::{
        TimestampMicrosecondType as Micros, TimestampMillisecondType as Millis, TimestampNanosecondType as Nanos,
        TimestampSecondType as Seconds,
    };
    let (unit, zone) = match column.data_type() {
        DataType::Timestamp(unit, Some(zone)) => (unit, zone),
        DataType::List(item) => {
            let list = column.as_list::<i32>();
            let values = displayable_column(list.values());
            let item = item.as_ref().clone().with_data_type(values.data_type().clone());
            let made = ListArray::try_new(item.into(), list.offsets().clone(), values, list.nulls().cloned());
            return made.map_or_else(|_| column.clone(), |made| Arc::new(made));
        }
        DataType::Struct(fields) => {
            let object = column.as_struct();
            let members: Vec<ArrayRef> = object.columns().iter().map(displayable_column).collect();
            let fields = fields.iter().zip(&members);
            let fields =
                fields.map(|(field, member)| field.as_ref().clone().with_data_type(member.data_type().clone()));
            let (fields, nulls) = (fields.collect(), object.nulls().cloned());
            let made = StructArray::try_new_with_length(fields, members, nulls, object.len());
            return made.map_or_else(|_| column.clone(), |made| Arc::new(made));
        }
        _ => return column.clone(),
    };
    if zone.as_ref() != "UTC" {
        return column.clone();
    }
    const ZONE: &str = "+00:00";
    match unit {
        TimeUnit::Second => Arc::new(column.as_primitive::<Seconds>().clone().with_timezone(ZONE)),
        TimeUnit::Millisecond => Arc::new(column.as_primitive::<Millis>().clone().with_timezone(ZONE)),
        TimeUnit::Microsecond => Arc::new(column.as_primitive::<Micros>().clone().with_timezone(ZONE)),
        TimeUnit::Nanosecond => Arc::new(column.as_primitive::<Nanos>().clone().with_timezone(ZONE)),
    }
}

/// The logical hash of a slice as it is on disk.
pub fn logical_hash(path: &Path) -> Result<Multihash, SliceError> {
    logical_hash_telling(path, &mut |_, _| {})
}

/// The same; `on_rows` hears after each batch how many rows are done, and how many there are.
///
/// # Errors
/// As for [`logical_hash`].
pub fn logical_hash_telling(path: &Path, on_rows: &mut dyn FnMut(u64, u64)) -> Result<Multihash, SliceError> {
    let reader = SliceReader::open(path)?;
    let (mut done, all) = (0, reader.rows());
    let mut hasher = LogicalHasher::new(reader.schema())?;
    for batch in reader {
        let batch = batch?;
        hasher.update(&batch)?;
        done += batch.num_rows() as u64;
        on_rows(done, all);
    }
    Ok(hasher.finish())
}
