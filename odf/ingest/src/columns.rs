//! Typed column builders for text formats: every value is parsed straight into its column, or refused with a reason.

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{
    Array, ArrayBuilder, ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Decimal256Builder,
    FixedSizeBinaryBuilder, Float16Builder, Float32Builder, Float64Builder, Int8Builder, Int16Builder, Int32Builder,
    Int64Array, Int64Builder, StringBuilder, UInt8Builder, UInt16Builder, UInt32Builder, UInt64Builder,
};
use arrow::compute::cast;
use arrow::compute::kernels::cast_utils::{Parser, parse_decimal};
use arrow::datatypes::{
    DataType, Decimal128Type, Decimal256Type, DecimalType, Field, FieldRef, Float16Type, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use super::infer::{UTC, parse_bool};
use super::json;
use super::moment::{parse_date, parse_date_lax, parse_moment, parse_time};
use super::shape::{Shape, type_name};
use super::source::{Problem, shorten};
use odf_metadata::Timestamp;

mod nested;

use nested::{List, Struct};

/// Integers from here up are Unix milliseconds, below Unix seconds: 1973-03-03 in milliseconds, the year 5138 in seconds.
pub(super) const EPOCH_MILLIS_FROM: i64 = 100_000_000_000;

/// The largest float below which every integral float is exactly one integer.
const EXACT_FLOAT: f64 = 9_007_199_254_740_992.0;

/// How values are to be understood.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    /// As kamu does: see [`Source::for_step`](super::source::Source::for_step).
    pub(super) lax: bool,
    /// The format has lists and objects.
    pub(super) nested: bool,
}

enum Values {
    Bool(BooleanBuilder),
    Int8(Int8Builder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    UInt8(UInt8Builder),
    UInt16(UInt16Builder),
    UInt32(UInt32Builder),
    UInt64(UInt64Builder),
    Float16(Float16Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Decimal128(Decimal128Builder, u8, i8),
    Decimal256(Decimal256Builder, u8, i8),
    Date(Date32Builder),
    /// Times with a date; the zone is that of values without one, none stands for UTC.
    Moment(Int64Builder, TimeUnit, Option<Tz>),
    /// Times of day.
    Time(Int64Builder, TimeUnit),
    Text(StringBuilder),
    Binary(BinaryBuilder),
    FixedBinary(FixedSizeBinaryBuilder),
    List(List),
    Struct(Struct),
}

/// Runs `$body` with `$builder` bound to whatever typed builder is inside, or `$list` and `$object`.
macro_rules! with_builder {
    ($values:expr, $builder:ident => $body:expr, $list:ident => $of_list:expr, $object:ident => $of_object:expr) => {
        match $values {
            Values::Bool($builder) => $body,
            Values::Int8($builder) => $body,
            Values::Int16($builder) => $body,
            Values::Int32($builder) => $body,
            Values::Int64($builder) => $body,
            Values::UInt8($builder) => $body,
            Values::UInt16($builder) => $body,
            Values::UInt32($builder) => $body,
            Values::UInt64($builder) => $body,
            Values::Float16($builder) => $body,
            Values::Float32($builder) => $body,
            Values::Float64($builder) => $body,
            Values::Decimal128($builder, _, _) => $body,
            Values::Decimal256($builder, _, _) => $body,
            Values::Date($builder) => $body,
            Values::Moment($builder, _, _) => $body,
            Values::Time($builder, _) => $body,
            Values::Text($builder) => $body,
            Values::Binary($builder) => $body,
            Values::FixedBinary($builder) => $body,
            Values::List($list) => $of_list,
            Values::Struct($object) => $of_object,
        }
    };
}

/// One column under construction.
pub(super) struct Column {
    values: Values,
    data_type: DataType,
    nullable: bool,
    /// Integers are Unix times.
    epoch: bool,
    lax: bool,
}

impl Column {
    /// None when the format cannot hold the type.
    pub(super) fn new(field: &Field, epoch: bool, reading: Reading) -> Option<Column> {
        let data_type = field.data_type();
        let values = match data_type {
            DataType::Boolean => Values::Bool(BooleanBuilder::new()),
            DataType::Int8 => Values::Int8(Int8Builder::new()),
            DataType::Int16 => Values::Int16(Int16Builder::new()),
            DataType::Int32 => Values::Int32(Int32Builder::new()),
            DataType::Int64 => Values::Int64(Int64Builder::new()),
            DataType::UInt8 => Values::UInt8(UInt8Builder::new()),
            DataType::UInt16 => Values::UInt16(UInt16Builder::new()),
            DataType::UInt32 => Values::UInt32(UInt32Builder::new()),
            DataType::UInt64 => Values::UInt64(UInt64Builder::new()),
            DataType::Float16 => Values::Float16(Float16Builder::new()),
            DataType::Float32 => Values::Float32(Float32Builder::new()),
            DataType::Float64 => Values::Float64(Float64Builder::new()),
            DataType::Decimal128(precision, scale) => {
                let builder = Decimal128Builder::new().with_precision_and_scale(*precision, *scale);
                Values::Decimal128(builder.ok()?, *precision, *scale)
            }
            DataType::Decimal256(precision, scale) => {
                let builder = Decimal256Builder::new().with_precision_and_scale(*precision, *scale);
                Values::Decimal256(builder.ok()?, *precision, *scale)
            }
            DataType::Date32 | DataType::Date64 => Values::Date(Date32Builder::new()),
            DataType::Timestamp(unit, zone) => {
                let zone = match zone.as_deref() {
                    None | Some(UTC | "Z" | "+00:00") => None,
                    Some(zone) => Some(zone.parse().ok()?),
                };
                Values::Moment(Int64Builder::new(), *unit, zone)
            }
            DataType::Time32(unit) | DataType::Time64(unit) => Values::Time(Int64Builder::new(), *unit),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Values::Text(StringBuilder::new()),
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Values::Binary(BinaryBuilder::new()),
            DataType::FixedSizeBinary(length) if *length >= 0 => {
                Values::FixedBinary(FixedSizeBinaryBuilder::new(*length))
            }
            DataType::List(item) | DataType::LargeList(item) if reading.nested => {
                Values::List(List::new(item, None, reading)?)
            }
            DataType::FixedSizeList(item, length) if reading.nested => {
                Values::List(List::new(item, Some(*length), reading)?)
            }
            DataType::Struct(fields) if reading.nested => Values::Struct(Struct::new(fields, reading)?),
            _ => return None,
        };
        Some(Column {
            values,
            data_type: data_type.clone(),
            nullable: field.is_nullable(),
            epoch,
            lax: reading.lax,
        })
    }

    /// Values so far.
    fn len(&self) -> usize {
        with_builder!(&self.values, builder => builder.len(), list => list.len(), object => object.len())
    }

    /// No value.
    pub(super) fn push_null(&mut self) -> Result<(), Problem> {
        if !self.nullable {
            return Err(Problem::Missing);
        }
        self.push_nothing();
        Ok(())
    }

    /// A place without a value, be it allowed or not: for the members of an object that is not there itself.
    fn push_nothing(&mut self) {
        with_builder!(&mut self.values,
            builder => builder.append_null(),
            list => list.push_nothing(),
            object => object.push_nothing()
        );
    }

    /// A field of a CSV record; an empty one is null.
    pub(super) fn push_text(&mut self, text: &str) -> Result<(), Problem> {
        if text.is_empty() {
            return self.push_null();
        }
        match &mut self.values {
            Values::Text(b) => {
                b.append_value(text);
                Ok(())
            }
            Values::Bool(b) => match parse_bool(text) {
                Some(value) => {
                    b.append_value(value);
                    Ok(())
                }
                None => Err(self.not_type(text)),
            },
            Values::Date(_) | Values::Moment(..) | Values::Time(..) => self.push_moment(text),
            Values::Binary(_) | Values::FixedBinary(_) => self.push_hex(text),
            _ if self.lax => self.push_number(text.trim()),
            _ => self.push_number(text),
        }
    }

    /// A JSON value as written.
    pub(super) fn push_json(&mut self, raw: &str) -> Result<(), Problem> {
        match raw.as_bytes().first() {
            Some(b'n') => self.push_null(),
            Some(b'"') => {
                let text = json::decode_string(raw)?;
                match &mut self.values {
                    Values::Text(b) => {
                        b.append_value(&text);
                        Ok(())
                    }
                    Values::Date(_) | Values::Moment(..) | Values::Time(..) => self.push_moment(&text),
                    Values::Binary(_) | Values::FixedBinary(_) => self.push_hex(&text),
                    // Decimals are kept as text by those who fear for the last digit.
                    Values::Decimal128(..) | Values::Decimal256(..) => self.push_number(&text),
                    Values::Bool(_) | Values::List(_) | Values::Struct(_) => Err(self.not_type(raw)),
                    _ if self.lax => self.push_number(text.trim()),
                    _ => Err(self.not_type(raw)),
                }
            }
            Some(b't' | b'f') => match &mut self.values {
                Values::Bool(b) => {
                    b.append_value(raw == "true");
                    Ok(())
                }
                Values::Text(b) => {
                    b.append_value(raw);
                    Ok(())
                }
                _ => Err(self.not_type(raw)),
            },
            Some(b'[') if matches!(self.values, Values::List(_)) => self.push_list(raw),
            Some(b'{' | b'[') => match &mut self.values {
                Values::Struct(object) if raw.starts_with('{') => object.push(raw),
                Values::Text(b) => {
                    b.append_value(json::canonical(raw)?);
                    Ok(())
                }
                _ => Err(self.not_type(raw)),
            },
            _ => match &mut self.values {
                Values::Text(b) => {
                    b.append_value(raw);
                    Ok(())
                }
                Values::Moment(..) => self.push_moment(raw),
                Values::Date(_) | Values::Time(..) if self.lax => self.push_count(raw),
                _ => self.push_number(raw),
            },
        }
    }

    fn push_list(&mut self, raw: &str) -> Result<(), Problem> {
        let pushed = match &mut self.values {
            Values::List(list) => list.push(raw)?,
            _ => false,
        };
        if pushed { Ok(()) } else { Err(self.not_type(raw)) }
    }

    fn push_moment(&mut self, text: &str) -> Result<(), Problem> {
        let (epoch, lax) = (self.epoch, self.lax);
        match &mut self.values {
            Values::Date(b) => {
                if let Some(days) = if lax { parse_date_lax(text) } else { parse_date(text) } {
                    b.append_value(days);
                    return Ok(());
                }
            }
            Values::Moment(b, unit, zone) => {
                // A number is taken in the unit of the column where kamu's rules hold.
                let count = || match text.parse().ok()? {
                    count if lax => Some(count),
                    count if epoch => epoch_millis(count),
                    _ => None,
                };
                if let Some(value) = parse_moment(text, *unit, *zone).or_else(count) {
                    b.append_value(value);
                    return Ok(());
                }
            }
            Values::Time(b, unit) => {
                if let Some(value) = parse_time(text, *unit) {
                    b.append_value(value);
                    return Ok(());
                }
            }
            _ => {}
        }
        Err(self.not_type(text))
    }

    /// A number of days, or of units of a time of day.
    fn push_count(&mut self, text: &str) -> Result<(), Problem> {
        match &mut self.values {
            Values::Date(b) => match text.parse() {
                Ok(days) => b.append_value(days),
                Err(_) => return Err(self.not_type(text)),
            },
            Values::Time(b, _) => match text.parse() {
                Ok(count) => b.append_value(count),
                Err(_) => return Err(self.not_type(text)),
            },
            _ => return Err(self.not_type(text)),
        }
        Ok(())
    }

    /// Bytes as hexadecimal digits.
    fn push_hex(&mut self, text: &str) -> Result<(), Problem> {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let pairs = text.as_bytes().chunks(2).map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        });
        let bytes: Option<Vec<u8>> = pairs.collect();
        let pushed = match (&mut self.values, bytes) {
            (Values::Binary(b), Some(bytes)) => {
                b.append_value(bytes);
                true
            }
            (Values::FixedBinary(b), Some(bytes)) => b.append_value(bytes).is_ok(),
            _ => false,
        };
        if pushed { Ok(()) } else { Err(self.not_type(text)) }
    }

    fn push_number(&mut self, text: &str) -> Result<(), Problem> {
        /// An integer, also when written as a float that is exactly one (`3.0`, as spreadsheets and data frames do).
        fn integer<T: std::str::FromStr + TryFrom<i64>>(text: &str) -> Option<T> {
            if let Ok(value) = text.parse() {
                return Some(value);
            }
            let float: f64 = text.parse().ok()?;
            if float.fract() != 0.0 || float.abs() >= EXACT_FLOAT {
                return None;
            }
            #[expect(clippy::cast_possible_truncation, reason = "integral and below 2^53")]
            T::try_from(float as i64).ok()
        }
        macro_rules! append {
            ($builder:expr, $value:expr) => {
                match $value {
                    Some(value) => $builder.append_value(value),
                    None => return Err(self.not_type(text)),
                }
            };
        }
        let lax = self.lax;
        match &mut self.values {
            Values::Int8(b) => append!(b, integer(text)),
            Values::Int16(b) => append!(b, integer(text)),
            Values::Int32(b) => append!(b, integer(text)),
            Values::Int64(b) => append!(b, integer(text)),
            Values::UInt8(b) => append!(b, integer(text)),
            Values::UInt16(b) => append!(b, integer(text)),
            Values::UInt32(b) => append!(b, integer(text)),
            Values::UInt64(b) => append!(b, integer(text)),
            Values::Float16(b) => append!(b, Float16Type::parse(text)),
            Values::Float32(b) => append!(b, text.parse().ok()),
            Values::Float64(b) => append!(b, text.parse().ok()),
            Values::Decimal128(b, precision, scale) => {
                append!(b, decimal::<Decimal128Type>(text, *precision, *scale, lax));
            }
            Values::Decimal256(b, precision, scale) => {
                append!(b, decimal::<Decimal256Type>(text, *precision, *scale, lax));
            }
            _ => return Err(self.not_type(text)),
        }
        Ok(())
    }

    fn not_type(&self, value: &str) -> Problem {
        not_type(value, &self.data_type)
    }

    /// The values so far as an array of the column's type, leaving the column empty.
    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let array: ArrayRef = match &mut self.values {
            Values::Moment(b, unit, _) => moments(b.finish(), *unit),
            values => with_builder!(values,
                builder => Arc::new(builder.finish()),
                list => list.finish()?,
                object => object.finish()?
            ),
        };
        match (&self.data_type, array.data_type()) {
            (wanted, has) if wanted == has => Ok(array),
            // Changes nothing but the type: the zone was taken into account for each value.
            (DataType::Timestamp(_, zone), _) => with_zone(&array, zone.clone()),
            (wanted @ DataType::Time32(_), _) => cast(&cast(&array, &DataType::Int32)?, wanted),
            (wanted, _) => cast(&array, wanted),
        }
    }
}

/// The refusal of a value that is not of this type.
pub(super) fn not_type(value: &str, data_type: &DataType) -> Problem {
    let name = type_name(data_type);
    let article = if matches!(name.as_bytes().first(), Some(b'A' | b'I' | b'U' | b'O' | b'E')) {
        "an"
    } else {
        "a"
    };
    Problem::NotType {
        value: shorten(value),
        expected: format!("{article} {name}"),
    }
}

/// Counts since 1970 as times in UTC.
fn moments(counts: Int64Array, unit: TimeUnit) -> ArrayRef {
    match unit {
        TimeUnit::Second => Arc::new(counts.reinterpret_cast::<TimestampSecondType>().with_timezone(UTC)),
        TimeUnit::Millisecond => Arc::new(counts.reinterpret_cast::<TimestampMillisecondType>().with_timezone(UTC)),
        TimeUnit::Microsecond => Arc::new(counts.reinterpret_cast::<TimestampMicrosecondType>().with_timezone(UTC)),
        TimeUnit::Nanosecond => Arc::new(counts.reinterpret_cast::<TimestampNanosecondType>().with_timezone(UTC)),
    }
}

/// The same times said to be in another zone.
pub(super) fn with_zone(array: &ArrayRef, zone: Option<Arc<str>>) -> Result<ArrayRef, ArrowError> {
    let DataType::Timestamp(unit, _) = array.data_type() else {
        return Ok(array.clone());
    };
    let data = array
        .to_data()
        .into_builder()
        .data_type(DataType::Timestamp(*unit, zone))
        .build()?;
    Ok(arrow::array::make_array(data))
}

/// A decimal that fits, without rounding unless `lax`.
fn decimal<T: DecimalType>(text: &str, precision: u8, scale: i8, lax: bool) -> Option<T::Native> {
    let fraction = text.split(['e', 'E']).next()?.split_once('.').map_or("", |(_, f)| f);
    let kept = usize::try_from(scale).unwrap_or(0);
    if !lax && fraction.len() > kept && fraction.bytes().skip(kept).any(|b| b != b'0') {
        return None;
    }
    parse_decimal::<T>(text, precision, scale).ok()
}

/// Unix seconds or milliseconds, told apart by size, as milliseconds; none outside of the years 0 to 9999.
pub(super) fn epoch_millis(value: i64) -> Option<i64> {
    let is_millis = value.unsigned_abs() >= EPOCH_MILLIS_FROM.unsigned_abs();
    let millis = if is_millis { value } else { value.checked_mul(1000)? };
    Timestamp::from_millis(millis).map(|_| millis)
}

/// The columns of one batch under construction.
pub(super) struct Table {
    shape: Shape,
    columns: Vec<Column>,
    rows: usize,
    bytes: usize,
}

impl Table {
    /// Fails with the position of the column that the format cannot hold.
    pub(super) fn new(shape: &Shape, reading: Reading) -> Result<Table, usize> {
        let column = |(at, field): (usize, &FieldRef)| {
            let epoch = shape.event_time() == Some(at) && !reading.lax;
            Column::new(field, epoch, reading).ok_or(at)
        };
        let fields = shape.schema().fields().iter().enumerate();
        Ok(Table {
            columns: fields.map(column).collect::<Result<Vec<_>, _>>()?,
            shape: shape.clone(),
            rows: 0,
            bytes: 0,
        })
    }

    pub(super) fn column(&mut self, at: usize) -> &mut Column {
        &mut self.columns[at]
    }

    /// Every column has one value more now; the row took `bytes` in the file.
    pub(super) fn row_done(&mut self, bytes: usize) {
        self.rows += 1;
        self.bytes += bytes;
    }

    pub(super) fn full(&self) -> bool {
        self.rows >= super::source::BATCH_ROWS || self.bytes >= super::source::BATCH_BYTES
    }

    /// The rows so far as a batch, leaving the table empty; none if there are none.
    pub(super) fn take(&mut self) -> Result<Option<RecordBatch>, Problem> {
        if self.rows == 0 {
            return Ok(None);
        }
        self.rows = 0;
        self.bytes = 0;
        let arrays = self
            .columns
            .iter_mut()
            .map(Column::finish)
            .collect::<Result<Vec<_>, _>>();
        arrays
            .and_then(|arrays| RecordBatch::try_new(self.shape.schema().clone(), arrays))
            .map(Some)
            .map_err(|error| Problem::Syntax(error.to_string()))
    }
}
