//! Parquet tables, whatever codec they are packed with. Types are brought to those a slice has; what the logical hash cannot
//! cover is refused by name.

mod given;
mod groups;
mod room;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, new_null_array};
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use odf_tables::slice::Widths;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::{Compression, Type as PhysicalType};
use parquet::errors::ParquetError;
use parquet::file::reader::ChunkReader;

use super::columns::{changes, not_type};
use super::exact::{Manner, Unfit, can_convert, convert, first_finer, has_fine_times};
use super::infer::{Inferred, InferredColumn, Note, timestamp};
use super::shape::{Shape, type_name};
use super::source::{BATCH_ROWS, Batches, Problem, RandomAccess, Source, SourceError, check_names, unsupported};
use given::{as_views, compact, in_unit};
use groups::RowGroups;
use room::Room;

/// The type a Parquet column gets in a slice; none if it has no place there.
///
/// Encodings (large, view, dictionary, run-end) are dropped, times become milliseconds in UTC, decimals of up to 38 digits
/// take 128 bits. A column of nothing but nulls is text that is not there. Durations, intervals, maps, unions and lists of
/// structs are what `arrow-digest` cannot hash (odf-facts §6.1).
fn slice_type(data_type: &DataType) -> Option<DataType> {
    type_of(data_type, false)
}

/// The same, but for times that are `fine`: those with digits below the millisecond become text.
fn type_of(data_type: &DataType, fine: bool) -> Option<DataType> {
    Some(match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => DataType::Utf8,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, value) => type_of(value, fine)?,
        DataType::RunEndEncoded(_, value) => type_of(value.data_type(), fine)?,
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale) => DataType::Decimal128(*precision, *scale),
        DataType::Decimal256(precision, scale) if *precision <= DECIMAL128_MAX_PRECISION => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Timestamp(TimeUnit::Microsecond | TimeUnit::Nanosecond, _) if fine => DataType::Utf8,
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
        | DataType::Decimal256(_, _) => data_type.clone(),
        DataType::List(item) | DataType::LargeList(item) | DataType::ListView(item) | DataType::LargeListView(item) => {
            DataType::List(item_of(item, fine)?)
        }
        DataType::FixedSizeList(item, length) => DataType::FixedSizeList(item_of(item, fine)?, *length),
        DataType::Struct(fields) => {
            let fields = fields
                .iter()
                .map(|f| type_of(f.data_type(), fine).map(|t| f.as_ref().clone().with_data_type(t)))
                .collect::<Option<Vec<_>>>()?;
            DataType::Struct(fields.into())
        }
        _ => return None,
    })
}

/// The items of a list likewise; lists of structs have no logical hash.
fn item_of(item: &Field, fine: bool) -> Option<FieldRef> {
    let inner = type_of(item.data_type(), fine).filter(|inner| !matches!(inner, DataType::Struct(_)))?;
    Some(Arc::new(item.clone().with_name("item").with_data_type(inner)))
}

/// How columns of a file get their types where no schema is declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Types {
    /// One for each kind of values, see [`slice_type`].
    Settled,
    /// Those that kamu's reader gives them: views for text and bytes, and in all else the encoding of the file, so that the
    /// slice has the same bytes. Nested ones stay as they are. Times keep the digits below the millisecond, for queries; what
    /// is stored of them is cut later, and told. Dictionaries stay what they are.
    Read,
}

impl Types {
    fn of(self, data_type: &DataType, fine: bool) -> Option<DataType> {
        if self == Types::Settled {
            return type_of(data_type, fine);
        }
        match data_type {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Some(DataType::Utf8View),
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Some(DataType::BinaryView),
            DataType::Timestamp(TimeUnit::Microsecond | TimeUnit::Nanosecond, _) => Some(data_type.clone()),
            DataType::Timestamp(..) => type_of(data_type, fine),
            other => as_encoded(other),
        }
    }
}

/// A type of a slice that keeps the encoding of the file wherever slices can have it, or a dictionary, which they cannot.
fn as_encoded(data_type: &DataType) -> Option<DataType> {
    let item = |item: &FieldRef| {
        let inner = as_encoded(item.data_type()).filter(|inner| !matches!(inner, DataType::Struct(_)))?;
        Some(Arc::new(plain_field(item).with_data_type(inner)))
    };
    Some(match data_type {
        DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal256(..)
        | DataType::Date64
        | DataType::Timestamp(..) => data_type.clone(),
        // For queries; rows that are stored have none, see `fit`.
        DataType::Dictionary(_, value) if as_encoded(value).is_some() => data_type.clone(),
        DataType::List(inner) => DataType::List(item(inner)?),
        DataType::LargeList(inner) => DataType::LargeList(item(inner)?),
        DataType::FixedSizeList(inner, length) => DataType::FixedSizeList(item(inner)?, *length),
        DataType::Struct(fields) => {
            let fields = fields
                .iter()
                .map(|field| as_encoded(field.data_type()).map(|inner| plain_field(field).with_data_type(inner)))
                .collect::<Option<Vec<_>>>()?;
            DataType::Struct(fields.into())
        }
        other => type_of(other, false)?,
    })
}

/// A field without what its file says about it beside name and type.
fn plain_field(field: &Field) -> Field {
    Field::new(field.name(), field.data_type().clone(), field.is_nullable())
}

/// Runs `$body` with `$builder` bound to a reader builder over the file or the bytes; times of INT96 come in `$unit`, the
/// columns at `$views` as views.
macro_rules! open {
    ($source:expr, $unit:expr, $builder:ident => $body:expr) => {
        open!($source, $unit, &[], $builder => $body)
    };
    ($source:expr, $unit:expr, $views:expr, $builder:ident => $body:expr) => {
        match $source.random_access()? {
            RandomAccess::File(file) => {
                let $builder = builder($source, file, $unit, $views)?;
                $body
            }
            RandomAccess::Bytes(bytes) => {
                let $builder = builder($source, bytes, $unit, $views)?;
                $body
            }
        }
    };
}

fn builder<T: ChunkReader + 'static>(
    source: &Source,
    input: T,
    unit: TimeUnit,
    views: &[usize],
) -> Result<ParquetRecordBatchReaderBuilder<T>, SourceError> {
    let fail = |error: ParquetError| source.error(Problem::Syntax(format!("not a readable Parquet file: {error}")));
    let mut metadata = ArrowReaderMetadata::load(&input, ArrowReaderOptions::new()).map_err(fail)?;
    let parquet = metadata.metadata().clone();
    let mut chunks = parquet.row_groups().iter().flat_map(|group| group.columns());
    // The one codec of the format that nothing writes any more.
    if let Some(column) = chunks.find(|column| column.compression() == Compression::LZO) {
        let what = "it is packed with LZO, which is not read; write the file with ZSTD, or another codec";
        return Err(source.column_error(&column.column_path().string(), Problem::Syntax(what.to_owned())));
    }
    let is_int96 = |leaf: usize| {
        let columns = parquet.file_metadata().schema_descr();
        leaf < columns.num_columns() && columns.column(leaf).physical_type() == PhysicalType::INT96
    };
    let columns = parquet.file_metadata().schema_descr().num_columns();
    if unit != TimeUnit::Nanosecond && (0..columns).any(is_int96) {
        let mut leaf = 0;
        let fields = metadata.schema().fields().iter();
        let fields: Vec<FieldRef> = fields.map(|field| in_unit(field, unit, &is_int96, &mut leaf)).collect();
        let schema = Arc::new(Schema::new_with_metadata(fields, metadata.schema().metadata().clone()));
        let options = ArrowReaderOptions::new().with_schema(schema);
        metadata = ArrowReaderMetadata::try_new(parquet.clone(), options).map_err(fail)?;
    }
    let metadata = as_views(metadata, views);
    Ok(ParquetRecordBatchReaderBuilder::new_with_metadata(input, metadata))
}

/// The unit in which times of INT96 are read. It reaches as far as they do; nanoseconds, the unit they come in by default,
/// wrap around outside of the years 1677 to 2262.
const INT96_UNIT: TimeUnit = TimeUnit::Microsecond;

/// Whether there may be times with digits below the millisecond in a column of this type.
fn may_be_fine(data_type: &DataType) -> bool {
    type_of(data_type, true) != type_of(data_type, false)
}

/// The columns, by position, that hold times with digits below the millisecond: values of those that may are looked at.
fn fine_columns(source: &Source, schema: &Schema) -> Result<Vec<usize>, SourceError> {
    let fields = schema.fields().iter().enumerate();
    let mut open: Vec<usize> = fields
        .filter(|(_, field)| may_be_fine(field.data_type()))
        .map(|(at, _)| at)
        .collect();
    let mut fine = Vec::new();
    if open.is_empty() || source.options().cut_times {
        return Ok(fine);
    }
    let decoded = open.clone();
    for batch in projected(source, &decoded, INT96_UNIT, &[], rows_per_batch(source, &decoded)?)? {
        let batch = batch.map_err(|error| source.error(Problem::Syntax(error.to_string())))?;
        let (found, left): (Vec<usize>, Vec<usize>) = open.into_iter().partition(|column| {
            let at = decoded.binary_search(column).unwrap_or(usize::MAX);
            batch.columns().get(at).is_some_and(has_fine_times)
        });
        fine.extend(found);
        open = left;
    }
    Ok(fine)
}

/// Rows of these columns, by position, that make a batch.
fn rows_per_batch(source: &Source, columns: &[usize]) -> Result<usize, SourceError> {
    let footer = open!(source, INT96_UNIT, builder => builder.metadata().clone());
    let widths = match source.random_access()? {
        RandomAccess::File(file) => Widths::of(&file, &footer),
        RandomAccess::Bytes(bytes) => Widths::of(&bytes, &footer),
    };
    let columns = ProjectionMask::roots(footer.file_metadata().schema_descr(), columns.iter().copied());
    Ok(widths.rows_per_batch(&columns, BATCH_ROWS))
}

/// A reader of these columns, by position, in the order of the file, in batches of so many rows. Those at `views` come as
/// views.
fn projected(
    source: &Source,
    columns: &[usize],
    unit: TimeUnit,
    views: &[usize],
    rows: usize,
) -> Result<ParquetRecordBatchReader, SourceError> {
    open!(source, unit, views, builder => {
        let mask = ProjectionMask::roots(builder.parquet_schema(), columns.iter().copied());
        builder
            .with_batch_size(rows)
            .with_projection(mask)
            .build()
            .map_err(|error| source.error(Problem::Syntax(error.to_string())))
    })
}

/// Columns as the file declares them.
pub(super) fn infer(source: &Source, types: Types) -> Result<Inferred, SourceError> {
    let (schema, rows): (SchemaRef, i64) = open!(source, INT96_UNIT, builder => {
        (builder.schema().clone(), builder.metadata().file_metadata().num_rows())
    });
    check_names(source, schema.fields().iter().map(|f| f.name().as_str()))?;
    let fine = match types {
        Types::Settled => fine_columns(source, &schema)?,
        Types::Read => Vec::new(),
    };
    let mut columns = Vec::with_capacity(schema.fields().len());
    for (at, field) in schema.fields().iter().enumerate() {
        let refuse = || source.column_error(field.name(), Problem::Unsupported(field.data_type().to_string()));
        let given = |fine| types.of(field.data_type(), fine).ok_or_else(refuse);
        let data_type = given(fine.contains(&at))?;
        let is_fine = data_type != given(false)?;
        columns.push(InferredColumn {
            name: field.name().clone(),
            data_type,
            nullable: field.is_nullable(),
            note: is_fine.then_some(Note::FineTimes),
        });
    }
    Ok(Inferred {
        columns,
        rows: u64::try_from(rows).unwrap_or(0),
    })
}

/// The names of the columns.
pub(super) fn names(source: &Source) -> Result<Vec<String>, SourceError> {
    let schema = open!(source, INT96_UNIT, builder => builder.schema().clone());
    let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    check_names(source, names.iter().map(String::as_str))?;
    Ok(names)
}

/// Columns whose last three digits the reader in microseconds does not give.
struct Nanos {
    reader: ParquetRecordBatchReader,
    /// Their positions among those that the other reader decodes.
    columns: Vec<usize>,
    batch: Option<RecordBatch>,
}

/// Batches with the columns and types that are asked for. Only those columns are decoded.
pub(super) struct Rows {
    source: Source,
    shape: Shape,
    reader: ParquetRecordBatchReader,
    /// For each column of the shape its position among those decoded, if it is there.
    positions: Vec<Option<usize>>,
    /// The columns with INT96 once more, in nanoseconds.
    nanos: Option<Nanos>,
    row: u64,
    /// How many rows and bytes the file has.
    size: (u64, u64),
    groups: RowGroups,
    /// What the reference implementation holds for rows, and for the last ones; where it is known.
    room: Option<Room>,
    held: Option<usize>,
}

impl Rows {
    /// Of a file of `length` bytes.
    pub(super) fn open(source: &Source, shape: &Shape, length: u64) -> Result<Rows, SourceError> {
        // What a source declares is what it selects; the dataset itself takes all or nothing.
        let selects = source.declared().is_some();
        if !selects {
            for name in &names(source)? {
                if shape.position(name).is_none() {
                    return Err(source.column_error(name, Problem::NotInDataset(shape.names())));
                }
            }
        }
        let (file, plain): (SchemaRef, SchemaRef) = (
            open!(source, INT96_UNIT, builder => builder.schema().clone()),
            open!(source, TimeUnit::Nanosecond, builder => builder.schema().clone()),
        );
        check_names(source, file.fields().iter().map(|f| f.name().as_str()))?;
        let mut found = Vec::with_capacity(shape.width());
        for (at, field) in shape.schema().fields().iter().enumerate() {
            if shape.is_unread(at) {
                found.push(None);
                continue;
            }
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
            let counts_time = || shape.event_time() == Some(at) || shape.integer_time(at).is_some();
            let fits = match slice_type(has) {
                _ if selects => can_convert(has, wants),
                None => false,
                Some(has) if has.is_integer() && matches!(wants, DataType::Timestamp(..)) && counts_time() => true,
                Some(_) => fits(has, wants),
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
        let reads_any = (0..shape.width()).any(|at| !shape.is_unread(at));
        if selects && reads_any && found.iter().all(Option::is_none) {
            return Err(source.error(Problem::NothingDeclared(shape.names())));
        }
        let wanted = found.iter().zip(shape.schema().fields());
        let views: Vec<usize> = wanted
            .filter(|(_, field)| matches!(field.data_type(), DataType::Utf8View | DataType::BinaryView))
            .filter_map(|(position, _)| *position)
            .collect();
        let mut decoded: Vec<usize> = found.iter().copied().flatten().collect();
        decoded.sort_unstable();
        let rank = |position: Option<usize>| position.and_then(|position| decoded.binary_search(&position).ok());
        let groups = open!(source, INT96_UNIT, builder => RowGroups::of(builder.metadata()));
        let rows_in_all = groups.rows() as u64;
        let room = match source.has_step() && !selects {
            false => None,
            true => Room::of(shape, &found, &file, groups.rows()),
        };
        let positions = found.into_iter().map(rank).collect();
        let rows = rows_per_batch(source, &decoded)?;
        let reader = projected(source, &decoded, INT96_UNIT, &views, rows)?;
        // A column has another type in the two units if there is INT96 in it.
        let int96 = |at: &usize| file.field(*at).data_type() != plain.field(*at).data_type();
        let int96: Vec<usize> = decoded.iter().copied().filter(int96).collect();
        let nanos = if int96.is_empty() || source.options().cut_times {
            None
        } else {
            Some(Nanos {
                reader: projected(source, &int96, TimeUnit::Nanosecond, &[], rows)?,
                columns: int96.iter().filter_map(|at| decoded.binary_search(at).ok()).collect(),
                batch: None,
            })
        };
        Ok(Rows {
            source: source.clone(),
            shape: shape.clone(),
            reader,
            positions,
            nanos,
            row: 0,
            size: (rows_in_all, length),
            groups,
            room,
            held: None,
        })
    }

    /// The row of the first time in a decoded column that has digits below the microsecond.
    fn below_micros(&self, position: usize, micros: &ArrayRef) -> Option<usize> {
        let nanos = self.nanos.as_ref()?;
        let at = nanos.columns.iter().position(|column| *column == position)?;
        first_finer(micros, nanos.batch.as_ref()?.columns().get(at)?)
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
                if let Some(row) = self.below_micros(position, given) {
                    const REASON: &str = "has digits below the microsecond, which are not read from INT96; write the column \
                                          as TIMESTAMP(NANOS), or cut them (`odfs publish --cut-times`)";
                    return Err(in_row(row, changes("a time", REASON)));
                }
                let manner = Manner {
                    reading: self.source.reading(),
                    integer_time: self.shape.integer_time(at),
                };
                let made = convert(given, field.data_type(), manner).map_err(|unfit| match unfit {
                    Unfit::Value(row, problem) => in_row(row, problem),
                    Unfit::Column(problem) => self.source.column_error(field.name(), problem),
                })?;
                compact(made)
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

/// Whether every value of a column of the file is a value of a column of the dataset.
fn fits(has: &DataType, wants: &DataType) -> bool {
    match (has, wants) {
        _ if has == wants => slice_type(has).is_some(),
        // Its values are nulls, which the column may have or not.
        (DataType::Null, _) => slice_type(wants).is_some(),
        (DataType::Dictionary(_, value), _) => fits(value, wants),
        (DataType::RunEndEncoded(_, value), _) => fits(value.data_type(), wants),
        (
            DataType::List(a) | DataType::LargeList(a) | DataType::ListView(a) | DataType::LargeListView(a),
            DataType::List(b) | DataType::LargeList(b),
        ) => fits(a.data_type(), b.data_type()),
        (DataType::FixedSizeList(a, has), DataType::FixedSizeList(b, wants)) => {
            has == wants && fits(a.data_type(), b.data_type())
        }
        // List items and struct members may differ in nullability and in the names of items.
        (DataType::Struct(a), DataType::Struct(b)) => {
            let same = |(a, b): (&FieldRef, &FieldRef)| a.name() == b.name() && fits(a.data_type(), b.data_type());
            a.len() == b.len() && a.iter().zip(b).all(same)
        }
        _ => [false, true]
            .into_iter()
            .filter_map(|fine| type_of(has, fine))
            .any(|has| widens(&has, wants)),
    }
}

/// Whether every value of the one type, which has no others in it, is a value of the other.
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
        (DataType::Decimal128(p, s), DataType::Decimal128(q, t) | DataType::Decimal256(q, t))
        | (DataType::Decimal256(p, s), DataType::Decimal256(q, t)) => {
            let whole = |precision: u8, scale: i8| i16::from(precision) - i16::from(scale);
            s <= t && whole(*p, *s) <= whole(*q, *t)
        }
        _ => false,
    }
}

impl Rows {
    fn decode(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        let batch = match self.reader.next() {
            None => return Ok(None),
            Some(Err(error)) => {
                return Err(self
                    .source
                    .error_in_row(self.row + 1, None, Problem::Syntax(error.to_string())));
            }
            Some(Ok(batch)) => batch,
        };
        if let Some(nanos) = &mut self.nanos {
            let next = nanos.reader.next().transpose();
            nanos.batch = next.map_err(|error| self.source.error(Problem::Syntax(error.to_string())))?;
        }
        if let Some(room) = &mut self.room {
            room.read(&batch);
        }
        let columns = (0..self.shape.width())
            .map(|at| self.column(&batch, at))
            .collect::<Result<Vec<_>, _>>()?;
        self.row += batch.num_rows() as u64;
        RecordBatch::try_new(self.shape.schema().clone(), columns)
            .map(Some)
            .map_err(|error| self.source.error(Problem::Syntax(error.to_string())))
    }
}

impl Batches for Rows {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        let batch = match self.groups.rest() {
            Some(rest) => Some(rest),
            None => self.decode()?,
        };
        let batch = batch.map(|batch| self.groups.cut(batch));
        if let (Some(batch), Some(room)) = (&batch, &mut self.room) {
            self.held = Some(room.take(batch.num_rows(), self.groups.is_end()));
        }
        Ok(batch)
    }

    fn ends_block(&self) -> bool {
        self.groups.is_end()
    }

    fn held(&self) -> Option<usize> {
        self.held
    }

    /// As many as there are rows: columns lie behind each other, so a row has no place of its own.
    fn bytes(&self) -> u64 {
        let (rows, bytes) = self.size;
        let read = u128::from(self.row.min(rows)) * u128::from(bytes) / u128::from(rows.max(1));
        u64::try_from(read).unwrap_or(bytes)
    }
}
