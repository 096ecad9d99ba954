//! Parquet tables. Types are brought to those a slice has; what the logical hash cannot cover is refused by name.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, new_null_array};
use arrow::compute::{can_cast_types, cast};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use arrow::util::display::array_value_to_string;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::file::reader::ChunkReader;

use super::columns::{epoch_millis, not_type, with_zone};
use super::infer::{Inferred, InferredColumn, timestamp};
use super::shape::{Shape, type_name};
use super::source::{BATCH_ROWS, Batches, Problem, RandomAccess, Source, SourceError, check_names, unsupported};

/// The type a Parquet column gets in a slice; none if it has no place there.
///
/// Encodings (large, view, dictionary) are dropped, times become milliseconds in UTC. Durations, intervals, maps, unions
/// and lists of structs are what `arrow-digest` cannot hash (odf-facts §6.1).
fn slice_type(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => DataType::Utf8,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, value) => slice_type(value)?,
        DataType::Timestamp(_, _) => timestamp(),
        DataType::Date32 | DataType::Date64 => DataType::Date32,
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64
        | DataType::Float16
        | DataType::Float32
        | DataType::Float64
        | DataType::Time32(_)
        | DataType::Time64(_)
        | DataType::FixedSizeBinary(_)
        | DataType::Decimal128(_, _) => data_type.clone(),
        DataType::List(item) | DataType::LargeList(item) => match slice_type(item.data_type())? {
            DataType::Struct(_) | DataType::List(_) => return None,
            inner => DataType::List(Arc::new(item.as_ref().clone().with_name("item").with_data_type(inner))),
        },
        DataType::Struct(fields) => {
            let fields = fields
                .iter()
                .map(|f| slice_type(f.data_type()).map(|t| f.as_ref().clone().with_data_type(t)))
                .collect::<Option<Vec<_>>>()?;
            DataType::Struct(fields.into())
        }
        _ => return None,
    })
}

/// Runs `$body` with `$builder` bound to a reader builder over the file or the bytes.
macro_rules! open {
    ($source:expr, $builder:ident => $body:expr) => {
        match $source.random_access()? {
            RandomAccess::File(file) => {
                let $builder = builder($source, file)?;
                $body
            }
            RandomAccess::Bytes(bytes) => {
                let $builder = builder($source, bytes)?;
                $body
            }
        }
    };
}

fn builder<T: ChunkReader + 'static>(
    source: &Source,
    input: T,
) -> Result<ParquetRecordBatchReaderBuilder<T>, SourceError> {
    ParquetRecordBatchReaderBuilder::try_new(input)
        .map_err(|error| source.error(Problem::Syntax(format!("not a readable Parquet file: {error}"))))
}

/// Columns as the file declares them.
pub(super) fn infer(source: &Source) -> Result<Inferred, SourceError> {
    let (schema, rows): (Arc<Schema>, i64) =
        open!(source, builder => (builder.schema().clone(), builder.metadata().file_metadata().num_rows()));
    check_names(source, schema.fields().iter().map(|f| f.name().as_str()))?;
    let mut columns = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let refuse = || source.column_error(field.name(), Problem::Unsupported(field.data_type().to_string()));
        let data_type = slice_type(field.data_type()).ok_or_else(refuse)?;
        columns.push(InferredColumn {
            name: field.name().clone(),
            data_type,
            nullable: field.is_nullable(),
        });
    }
    Ok(Inferred {
        columns,
        rows: u64::try_from(rows).unwrap_or(0),
    })
}

/// Batches with the columns and types that are asked for. Only those columns are decoded.
pub(super) struct Rows {
    source: Source,
    shape: Shape,
    reader: ParquetRecordBatchReader,
    /// For each column of the shape its position among those decoded, if it is there.
    positions: Vec<Option<usize>>,
    row: u64,
}

impl Rows {
    pub(super) fn open(source: &Source, shape: &Shape) -> Result<Rows, SourceError> {
        // What a source declares is what it selects; the dataset itself takes all or nothing.
        let selects = source.declared().is_some();
        if !selects {
            for column in &infer(source)?.columns {
                if shape.position(&column.name).is_none() {
                    return Err(source.column_error(&column.name, Problem::NotInDataset(shape.names())));
                }
            }
        }
        let file: Arc<Schema> = open!(source, builder => builder.schema().clone());
        check_names(source, file.fields().iter().map(|f| f.name().as_str()))?;
        let mut found = Vec::with_capacity(shape.width());
        for (at, field) in shape.schema().fields().iter().enumerate() {
            let Some((position, column)) = file.column_with_name(field.name()) else {
                let differs_in_case =
                    |column: &&Arc<Field>| column.name().to_lowercase() == field.name().to_lowercase();
                if let Some(column) = file.fields().iter().find(differs_in_case).filter(|_| selects) {
                    return Err(source.column_error(column.name(), Problem::Case(field.name().clone())));
                }
                let may_lack = shape.is_optional(at) || selects && field.is_nullable();
                if !may_lack {
                    return Err(source.column_error(field.name(), Problem::NotInFile));
                }
                found.push(None);
                continue;
            };
            let (has, wants) = (column.data_type(), field.data_type());
            let fits = match slice_type(has) {
                _ if selects => can_convert(has, wants),
                None => false,
                Some(has) if has.is_integer() && shape.event_time() == Some(at) => {
                    matches!(wants, DataType::Timestamp(_, _)) || widens(&has, wants)
                }
                Some(has) => widens(&has, wants),
            };
            if !fits {
                let value = format!("{} in the file", type_name(has));
                return Err(source.column_error(field.name(), not_type(&value, wants)));
            }
            if !selects && slice_type(wants).is_none() {
                return Err(unsupported(source, shape, at));
            }
            found.push(Some(position));
        }
        if selects && shape.width() > 0 && found.iter().all(Option::is_none) {
            return Err(source.error(Problem::NothingDeclared(shape.names())));
        }
        let mut decoded: Vec<usize> = found.iter().copied().flatten().collect();
        decoded.sort_unstable();
        let rank = |position: Option<usize>| position.and_then(|position| decoded.binary_search(&position).ok());
        let positions = found.into_iter().map(rank).collect();
        let reader = open!(source, builder => {
            let mask = ProjectionMask::roots(builder.parquet_schema(), decoded.iter().copied());
            builder
                .with_batch_size(BATCH_ROWS)
                .with_projection(mask)
                .build()
                .map_err(|error| source.error(Problem::Syntax(error.to_string())))?
        });
        Ok(Rows {
            source: source.clone(),
            shape: shape.clone(),
            reader,
            positions,
            row: 0,
        })
    }

    fn column(&self, batch: &RecordBatch, at: usize) -> Result<ArrayRef, SourceError> {
        let field = self.shape.schema().field(at);
        let in_row = |row: usize, problem| {
            let row = self.row + row as u64 + 1;
            self.source.error_in_row(row, Some(field.name()), problem)
        };
        let array = match self.positions[at] {
            None => new_null_array(field.data_type(), batch.num_rows()),
            Some(position) => {
                let given = batch.column(position);
                let fail = |error: ArrowError| {
                    self.source
                        .column_error(field.name(), Problem::Syntax(error.to_string()))
                };
                let is_epoch = self.source.declared().is_none() && self.shape.event_time() == Some(at);
                let given = match is_epoch && given.data_type().is_integer() {
                    true => epochs(given).map_err(fail)?,
                    false => given.clone(),
                };
                let array = convert(&given, field.data_type()).map_err(fail)?;
                // What cannot be converted has become null.
                if array.null_count() > given.null_count()
                    && let Some(row) = (0..array.len()).find(|row| array.is_null(*row) && given.is_valid(*row))
                {
                    let value = array_value_to_string(&given, row).map_err(fail)?;
                    return Err(in_row(row, not_type(&value, field.data_type())));
                }
                array
            }
        };
        if !field.is_nullable()
            && array.null_count() > 0
            && let Some(row) = (0..array.len()).find(|row| array.is_null(*row))
        {
            return Err(in_row(row, Problem::Missing));
        }
        Ok(array)
    }
}

/// Unix times as milliseconds.
fn epochs(given: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let numbers = cast(given, &DataType::Int64)?;
    let millis = numbers
        .as_primitive::<Int64Type>()
        .iter()
        .map(|value| value.and_then(epoch_millis));
    Ok(Arc::new(millis.collect::<Int64Array>()))
}

/// Whether [`convert`] knows a way; the values decide.
fn can_convert(has: &DataType, wants: &DataType) -> bool {
    match wants {
        DataType::Timestamp(unit, Some(_)) => can_cast_types(has, &DataType::Timestamp(*unit, None)),
        _ => can_cast_types(has, wants),
    }
}

/// Casts to the type of a column; values that do not fit become null. Times without a zone are in UTC; the cast itself
/// would ask for a time zone database.
fn convert(array: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == wanted {
        return Ok(array.clone());
    }
    let DataType::Timestamp(unit, zone) = wanted else {
        return cast(array, wanted);
    };
    let zoneless = match array.data_type() {
        DataType::Timestamp(_, Some(_)) => with_zone(array, None)?,
        _ => array.clone(),
    };
    with_zone(&cast(&zoneless, &DataType::Timestamp(*unit, None))?, zone.clone())
}

/// Whether every value of `has` is a value of `wants`.
fn widens(has: &DataType, wants: &DataType) -> bool {
    use DataType::{
        Date32, Float16, Float32, Float64, Int8, Int16, Int32, Int64, Timestamp, UInt8, UInt16, UInt32, UInt64,
    };
    if has == wants || slice_type(wants).as_ref() == Some(has) {
        return true;
    }
    match (has, wants) {
        (Int8, Int16 | Int32 | Int64 | Float32 | Float64)
        | (Int16, Int32 | Int64 | Float32 | Float64)
        | (Int32, Int64 | Float64)
        | (UInt8, UInt16 | UInt32 | UInt64 | Int16 | Int32 | Int64 | Float32 | Float64)
        | (UInt16, UInt32 | UInt64 | Int32 | Int64 | Float32 | Float64)
        | (UInt32, UInt64 | Int64 | Float64)
        | (Float16, Float32 | Float64)
        | (Float32, Float64)
        | (Date32, Timestamp(_, _)) => true,
        // List items and struct members may differ in nullability and in the names of items.
        (DataType::List(a), DataType::List(b)) => widens(a.data_type(), b.data_type()),
        (DataType::Struct(a), DataType::Struct(b)) => {
            a.len() == b.len()
                && a.iter()
                    .zip(b)
                    .all(|(a, b)| a.name() == b.name() && widens(a.data_type(), b.data_type()))
        }
        _ => false,
    }
}

impl Batches for Rows {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        let batch = match self.reader.next() {
            None => return Ok(None),
            Some(Err(error)) => {
                return Err(self
                    .source
                    .error_in_row(self.row + 1, None, Problem::Syntax(error.to_string())));
            }
            Some(Ok(batch)) => batch,
        };
        let columns = (0..self.shape.width())
            .map(|at| self.column(&batch, at))
            .collect::<Result<Vec<_>, _>>()?;
        self.row += batch.num_rows() as u64;
        RecordBatch::try_new(self.shape.schema().clone(), columns)
            .map(Some)
            .map_err(|error| self.source.error(Problem::Syntax(error.to_string())))
    }

    fn bytes(&self) -> u64 {
        0
    }
}
