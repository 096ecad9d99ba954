//! Typed column builders for text formats: every value is parsed straight into its column, or refused with a reason.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder, Float64Builder, Int8Builder,
    Int16Builder, Int32Builder, Int64Builder, StringBuilder, TimestampMillisecondBuilder, UInt8Builder, UInt16Builder,
    UInt32Builder, UInt64Builder,
};
use arrow::compute::kernels::cast_utils::{Parser, parse_decimal};
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, TimeUnit};
use arrow::record_batch::RecordBatch;

use super::infer::{UTC, parse_bool, parse_date, parse_timestamp};
use super::json;
use super::shape::{Shape, type_name};
use super::source::{Problem, shorten};
use crate::metadata::Timestamp;

/// Integers from here up are Unix milliseconds, below Unix seconds: 1973-03-03 in milliseconds, the year 5138 in seconds.
pub(super) const EPOCH_MILLIS_FROM: i64 = 100_000_000_000;

/// The largest float below which every integral float is exactly one integer.
const EXACT_FLOAT: f64 = 9_007_199_254_740_992.0;

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
    Float32(Float32Builder),
    Float64(Float64Builder),
    Decimal(Decimal128Builder, u8, i8),
    Date(Date32Builder),
    Timestamp(TimestampMillisecondBuilder),
    Text(StringBuilder),
}

/// Runs `$body` with `$builder` bound to whatever typed builder is inside.
macro_rules! with_builder {
    ($values:expr, $builder:ident => $body:expr) => {
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
            Values::Float32($builder) => $body,
            Values::Float64($builder) => $body,
            Values::Decimal($builder, _, _) => $body,
            Values::Date($builder) => $body,
            Values::Timestamp($builder) => $body,
            Values::Text($builder) => $body,
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
    /// Values are read as kamu reads them: see [`Source::for_step`](super::source::Source::for_step).
    lax: bool,
}

impl Column {
    /// None when a text format cannot hold the type.
    pub(super) fn new(data_type: &DataType, nullable: bool, epoch: bool, lax: bool) -> Option<Column> {
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
            DataType::Float32 => Values::Float32(Float32Builder::new()),
            DataType::Float64 => Values::Float64(Float64Builder::new()),
            DataType::Decimal128(precision, scale) => {
                let builder = Decimal128Builder::new()
                    .with_precision_and_scale(*precision, *scale)
                    .ok()?;
                Values::Decimal(builder, *precision, *scale)
            }
            DataType::Date32 => Values::Date(Date32Builder::new()),
            DataType::Timestamp(TimeUnit::Millisecond, _) => {
                Values::Timestamp(TimestampMillisecondBuilder::new().with_timezone(UTC))
            }
            DataType::Utf8 => Values::Text(StringBuilder::new()),
            _ => return None,
        };
        Some(Column {
            values,
            data_type: data_type.clone(),
            nullable,
            epoch,
            lax,
        })
    }

    /// No value.
    pub(super) fn push_null(&mut self) -> Result<(), Problem> {
        if !self.nullable {
            return Err(Problem::Missing);
        }
        with_builder!(&mut self.values, b => b.append_null());
        Ok(())
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
            Values::Date(b) => match parse_date(text).or_else(|| if self.lax { Date32Type::parse(text) } else { None })
            {
                Some(value) => {
                    b.append_value(value);
                    Ok(())
                }
                None => Err(self.not_type(text)),
            },
            Values::Timestamp(_) => self.push_moment(text),
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
                    Values::Date(_) | Values::Timestamp(_) => {
                        if text.is_empty() {
                            return Err(self.not_type(raw));
                        }
                        self.push_text(&text)
                    }
                    // Kept as text by those who fear for the last digit.
                    Values::Decimal(..) => self.push_number(&text),
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
            Some(b'{' | b'[') => match &mut self.values {
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
                Values::Timestamp(_) => self.push_moment(raw),
                Values::Bool(_) | Values::Date(_) => Err(self.not_type(raw)),
                _ => self.push_number(raw),
            },
        }
    }

    fn push_moment(&mut self, text: &str) -> Result<(), Problem> {
        let epoch = self.epoch;
        let Values::Timestamp(b) = &mut self.values else {
            return Err(self.not_type(text));
        };
        let millis = parse_timestamp(text)
            .or_else(|| parse_date(text).map(|days| i64::from(days) * 86_400_000))
            .or_else(|| if epoch { epoch_millis(text.parse().ok()?) } else { None });
        match millis {
            Some(value) => {
                b.append_value(value);
                Ok(())
            }
            None => Err(self.not_type(text)),
        }
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
        match &mut self.values {
            Values::Int8(b) => append!(b, integer(text)),
            Values::Int16(b) => append!(b, integer(text)),
            Values::Int32(b) => append!(b, integer(text)),
            Values::Int64(b) => append!(b, integer(text)),
            Values::UInt8(b) => append!(b, integer(text)),
            Values::UInt16(b) => append!(b, integer(text)),
            Values::UInt32(b) => append!(b, integer(text)),
            Values::UInt64(b) => append!(b, integer(text)),
            Values::Float32(b) => append!(b, text.parse().ok()),
            Values::Float64(b) => append!(b, text.parse().ok()),
            Values::Decimal(b, precision, scale) => {
                append!(b, decimal(text, *precision, *scale, self.lax));
            }
            _ => return Err(self.not_type(text)),
        }
        Ok(())
    }

    fn not_type(&self, value: &str) -> Problem {
        let name = type_name(&self.data_type);
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

    fn finish(&mut self) -> ArrayRef {
        with_builder!(&mut self.values, b => Arc::new(b.finish()))
    }
}

/// A decimal that fits, without rounding unless `lax`.
fn decimal(text: &str, precision: u8, scale: i8, lax: bool) -> Option<i128> {
    if lax {
        return parse_decimal::<Decimal128Type>(text, precision, scale).ok();
    }
    let fraction = text.split(['e', 'E']).next()?.split_once('.').map_or("", |(_, f)| f);
    let kept = usize::try_from(scale).unwrap_or(0);
    if fraction.len() > kept && fraction.bytes().skip(kept).any(|b| b != b'0') {
        return None;
    }
    parse_decimal::<Decimal128Type>(text, precision, scale).ok()
}

/// Unix seconds or milliseconds, told apart by size, as milliseconds; none outside of the years 0 to 9999.
pub(super) fn epoch_millis(value: i64) -> Option<i64> {
    let is_millis = value.unsigned_abs() >= EPOCH_MILLIS_FROM.unsigned_abs();
    let millis = if is_millis { value } else { value.checked_mul(1000)? };
    Timestamp::from_millis(millis).map(|_| millis)
}

/// The columns of one batch under construction.
pub(super) struct Table<'s> {
    shape: &'s Shape,
    columns: Vec<Column>,
    rows: usize,
    bytes: usize,
}

impl<'s> Table<'s> {
    /// Fails with the position of the column that a text format cannot hold.
    pub(super) fn new(shape: &'s Shape, lax: bool) -> Result<Table<'s>, usize> {
        let columns = shape
            .schema()
            .fields()
            .iter()
            .enumerate()
            .map(|(at, f)| {
                let epoch = shape.event_time() == Some(at) && !lax;
                Column::new(f.data_type(), f.is_nullable(), epoch, lax).ok_or(at)
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Table {
            shape,
            columns,
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
        let arrays = self.columns.iter_mut().map(Column::finish).collect();
        RecordBatch::try_new(self.shape.schema().clone(), arrays)
            .map(Some)
            .map_err(|error| Problem::Syntax(error.to_string()))
    }
}
