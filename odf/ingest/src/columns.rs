//! Typed column builders for text formats: every value is parsed straight into its column, or refused with a reason.

mod convert;
mod nested;
mod plain;
mod table;

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{
    Array, ArrayBuilder, ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Decimal256Builder,
    FixedSizeBinaryBuilder, Float16Builder, Float32Builder, Float64Builder, Int8Builder, Int16Builder, Int32Builder,
    Int64Builder, NullBuilder, StringBuilder, UInt8Builder, UInt16Builder, UInt32Builder, UInt64Builder,
    new_null_array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Decimal256Type, Field, TimeUnit};
use arrow::error::ArrowError;

use super::infer::{UTC, parse_bool};
use super::json;
use super::moment::{
    Counted, DAY_MILLIS, Lax, parse_date, parse_date_lax, parse_moment, parse_moment_lax, parse_time, recount,
};
use super::number::{self, NotFloat};
use super::source::{Alteration, Problem, Reading};
use odf_tables::types::fits_fixed_lengths;

pub(super) use convert::{changes, is_tellable, moments, no_unit, not_midnight, not_type, settled, too_far, with_zone};
use nested::{Inner, List, Object};
pub(super) use plain::{Cell, Plain};
pub(super) use table::Table;

/// Nanoseconds of a day.
const DAY_NANOS: i64 = DAY_MILLIS * 1_000_000;

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
    List(List<Column>),
    Struct(Object<Column>),
    /// Nothing, whatever is given.
    Unread(NullBuilder),
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
            Values::Unread($builder) => $body,
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
    /// In which unit since 1970 integers count in a time column; none if nobody said it.
    integer_time: Option<TimeUnit>,
    lax: bool,
    cut_times: bool,
    /// What kamu cuts is cut, and counted below.
    tells: bool,
    /// Values of which something was cut, that came since it was asked for.
    cut: u64,
    /// Leap seconds likewise.
    leaps: u64,
}

impl Column {
    /// None when the format cannot hold the type. `integer_time` is the unit in which integers count, in a time column.
    pub(super) fn new(field: &Field, integer_time: Option<TimeUnit>, reading: Reading) -> Option<Column> {
        let data_type = field.data_type();
        // kamu's reader of CSV does not know them.
        let is_text_only = reading.lax && !reading.nested;
        let values = match data_type {
            DataType::Float16 | DataType::Binary | DataType::LargeBinary | DataType::BinaryView if is_text_only => {
                return None;
            }
            DataType::FixedSizeBinary(_) if is_text_only => return None,
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
            DataType::FixedSizeBinary(length) if fits_fixed_lengths(data_type) => {
                // The builder would otherwise make room for a thousand before the first has come.
                Values::FixedBinary(FixedSizeBinaryBuilder::with_capacity(0, *length))
            }
            DataType::List(item) | DataType::LargeList(item) if reading.nested => {
                Values::List(List::new(item, None, reading)?)
            }
            DataType::FixedSizeList(item, length) if reading.nested => {
                Values::List(List::new(item, Some(*length), reading)?)
            }
            DataType::Struct(fields) if reading.nested => Values::Struct(Object::new(fields, reading)?),
            _ => return None,
        };
        Some(Column {
            values,
            data_type: data_type.clone(),
            nullable: field.is_nullable(),
            integer_time,
            lax: reading.lax,
            cut_times: reading.cut_times,
            tells: reading.tells,
            cut: 0,
            leaps: 0,
        })
    }

    /// One that is not read.
    pub(super) fn unread(field: &Field, reading: Reading) -> Column {
        Column {
            values: Values::Unread(NullBuilder::new()),
            data_type: field.data_type().clone(),
            nullable: true,
            integer_time: None,
            lax: reading.lax,
            cut_times: reading.cut_times,
            tells: reading.tells,
            cut: 0,
            leaps: 0,
        }
    }

    /// No value.
    pub(super) fn push_null(&mut self) -> Result<(), Problem> {
        if !self.nullable {
            return Err(Problem::Missing);
        }
        self.push_nothing();
        Ok(())
    }

    /// A field of a CSV record; an empty one is null.
    pub(super) fn push_text(&mut self, text: &str) -> Result<(), Problem> {
        if text.is_empty() || matches!(self.values, Values::Unread(_)) {
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
            _ if self.tells && self.lax => self.push_digits(text),
            _ if self.lax => self.push_number(text.trim()),
            _ => self.push_number(text),
        }
    }

    /// A field of a CSV record that is quotes around nothing: an empty text, and no value of any other type.
    pub(super) fn push_quoted_nothing(&mut self) -> Result<(), Problem> {
        match &mut self.values {
            Values::Text(b) => {
                b.append_value("");
                Ok(())
            }
            _ => self.push_null(),
        }
    }

    /// A JSON value as written.
    pub(super) fn push_json(&mut self, raw: &str) -> Result<(), Problem> {
        match raw.as_bytes().first() {
            Some(b'n') => self.push_null(),
            _ if matches!(self.values, Values::Unread(_)) => self.push_null(),
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
                    _ if self.lax => self.push_digits(&text),
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
                Values::Moment(..) | Values::Date(_) | Values::Time(..) => self.push_count(raw),
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

    /// A time, a date or a time of day as text.
    fn push_moment(&mut self, text: &str) -> Result<(), Problem> {
        let (lax, tells, cut) = (self.lax, self.tells, self.cut_times || self.tells);
        let value = || text.to_owned();
        let pushed = match &mut self.values {
            Values::Date(b) => match if lax {
                parse_date_lax(text)
            } else {
                parse_date(text).map(exactly)
            } {
                Some(Counted::Exactly(days)) => {
                    b.append_value(tellable_days(days).ok_or_else(|| too_far(text))?);
                    true
                }
                Some(Counted::Finer(days)) if tells => {
                    b.append_value(tellable_days(days).ok_or_else(|| too_far(text))?);
                    self.cut += 1;
                    true
                }
                Some(_) => return Err(not_midnight(text)),
                None => false,
            },
            Values::Moment(b, unit, zone) => match if lax {
                parse_moment_lax(text, *unit, *zone)
            } else {
                parse_moment(text, *unit, *zone).map(|counted| Lax {
                    counted,
                    is_leap: false,
                })
            } {
                Some(Lax { is_leap: true, .. }) if !tells => false,
                Some(Lax { counted, is_leap }) => {
                    b.append_value(settled(counted, cut, *unit, &value)?);
                    self.leaps += u64::from(is_leap);
                    self.cut += u64::from(tells && matches!(counted, Counted::Finer(_)));
                    true
                }
                None => match (text.parse(), self.integer_time) {
                    (Ok(count), Some(counts)) => {
                        b.append_value(of_count(count, counts, *unit, cut, &value)?);
                        true
                    }
                    (Ok::<i64, _>(_), None) => return Err(no_unit(text)),
                    (Err(_), _) => false,
                },
            },
            Values::Time(b, unit) => match parse_time(text, *unit) {
                Some(counted) => {
                    b.append_value(settled(counted, cut, *unit, &value)?);
                    true
                }
                None => false,
            },
            _ => false,
        };
        if pushed { Ok(()) } else { Err(self.not_type(text)) }
    }

    /// A JSON number in a column of times, dates or times of day. Where kamu's rules hold it counts the unit of the column,
    /// or days.
    fn push_count(&mut self, text: &str) -> Result<(), Problem> {
        let value = || text.to_owned();
        let (count, is_cut) = match number::integer::<i64>(text).map(|count| (count, false)) {
            // So kamu reads a number in a time column.
            None if self.tells && matches!(self.values, Values::Moment(..)) => number::cut_integer(text),
            count => count,
        }
        .ok_or_else(|| self.not_type(text))?;
        self.cut += u64::from(is_cut);
        match &mut self.values {
            Values::Moment(b, unit, _) => {
                let counts = self.integer_time.or(self.lax.then_some(*unit));
                let counts = counts.ok_or_else(|| no_unit(text))?;
                b.append_value(of_count(count, counts, *unit, self.cut_times, &value)?);
            }
            Values::Date(b) if self.lax => b.append_value(tellable_days(count).ok_or_else(|| too_far(text))?),
            Values::Time(b, unit) if self.lax => match recount(count, *unit, TimeUnit::Nanosecond) {
                Counted::Exactly(0..DAY_NANOS) => b.append_value(count),
                _ => return Err(changes(text, "is no time of day, which ends before 24 hours")),
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

    /// A number as text, where kamu's rules hold: integers are digits and a sign.
    fn push_digits(&mut self, text: &str) -> Result<(), Problem> {
        let is_integer = self.data_type.is_integer();
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        if is_integer && !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(self.not_type(text));
        }
        self.push_number(text)
    }

    fn push_number(&mut self, text: &str) -> Result<(), Problem> {
        macro_rules! append {
            ($builder:expr, $value:expr) => {
                match $value {
                    Some(value) => $builder.append_value(value),
                    None => return Err(self.not_type(text)),
                }
            };
        }
        macro_rules! append_float {
            ($builder:expr) => {
                match number::float(text, !self.lax) {
                    Ok(value) => $builder.append_value(value),
                    Err(NotFloat::Text) => return Err(self.not_type(text)),
                    Err(NotFloat::TooFar) => {
                        return Err(changes(
                            text,
                            "is beyond the floats of this column; use a Decimal or a String",
                        ))
                    }
                    // It is a number, so it has a nearest float.
                    Err(NotFloat::Digits) if self.tells => match text.parse() {
                        Ok(value) => {
                            $builder.append_value(value);
                            self.cut += 1;
                        }
                        Err(_) => return Err(self.not_type(text)),
                    },
                    Err(NotFloat::Digits) => {
                        let reason = "has more digits than the floats of this column keep; use a Decimal or a String";
                        return Err(changes(text, reason));
                    }
                }
            };
        }
        macro_rules! append_decimal {
            ($type:ty, $builder:expr, $precision:expr, $scale:expr) => {
                match number::cut_decimal::<$type>(text, $precision, $scale) {
                    Some((value, is_cut)) if self.tells || !is_cut => {
                        $builder.append_value(value);
                        self.cut += u64::from(is_cut);
                    }
                    // From a Parquet file.
                    Some((_, true)) if self.lax => {
                        append!(
                            $builder,
                            number::rounded_decimal::<$type>(text, $precision, $scale)
                        )
                    }
                    _ => return Err(self.not_type(text)),
                }
            };
        }
        match &mut self.values {
            Values::Int8(b) => append!(b, number::integer(text)),
            Values::Int16(b) => append!(b, number::integer(text)),
            Values::Int32(b) => append!(b, number::integer(text)),
            Values::Int64(b) => append!(b, number::integer(text)),
            Values::UInt8(b) => append!(b, number::integer(text)),
            Values::UInt16(b) => append!(b, number::integer(text)),
            Values::UInt32(b) => append!(b, number::integer(text)),
            Values::UInt64(b) => append!(b, number::integer(text)),
            Values::Float16(b) => append_float!(b),
            Values::Float32(b) => append_float!(b),
            Values::Float64(b) => append_float!(b),
            Values::Decimal128(b, precision, scale) => {
                append_decimal!(Decimal128Type, b, *precision, *scale);
            }
            Values::Decimal256(b, precision, scale) => {
                append_decimal!(Decimal256Type, b, *precision, *scale);
            }
            _ => return Err(self.not_type(text)),
        }
        Ok(())
    }

    fn not_type(&self, value: &str) -> Problem {
        not_type(value, &self.data_type)
    }

    /// Adds what became of values since it was last asked for.
    fn changes(&mut self, changes: &mut Vec<(Alteration, u64)>) {
        let cut = match &mut self.values {
            Values::List(list) => return list.changes(changes),
            Values::Struct(object) => return object.changes(changes),
            Values::Date(_) => Alteration::CutDays,
            Values::Decimal128(..) | Values::Decimal256(..) => Alteration::CutDecimals,
            Values::Float16(_) | Values::Float32(_) | Values::Float64(_) => Alteration::Rounded,
            _ => Alteration::CutTimes,
        };
        changes.push((cut, std::mem::take(&mut self.cut)));
        changes.push((Alteration::LeapSeconds, std::mem::take(&mut self.leaps)));
    }

    /// The values so far as an array of the column's type, leaving the column empty.
    pub(super) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let array: ArrayRef = match &mut self.values {
            Values::Moment(b, unit, _) => moments(b.finish(), *unit),
            Values::Unread(b) => {
                let rows = b.len();
                b.finish();
                return Ok(new_null_array(&self.data_type, rows));
            }
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

impl Inner for Column {
    fn of(field: &Field, reading: Reading) -> Option<Column> {
        Column::new(field, None, reading)
    }

    fn len(&self) -> usize {
        with_builder!(&self.values, builder => builder.len(), list => list.len(), object => object.len())
    }

    fn push_json(&mut self, raw: &str) -> Result<(), Problem> {
        Column::push_json(self, raw)
    }

    fn push_null(&mut self) -> Result<(), Problem> {
        Column::push_null(self)
    }

    fn push_nothing(&mut self) {
        with_builder!(&mut self.values,
            builder => builder.append_null(),
            list => list.push_nothing(),
            object => object.push_nothing()
        );
    }

    fn changes(&mut self, changes: &mut Vec<(Alteration, u64)>) {
        Column::changes(self, changes);
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        Column::finish(self)
    }
}

fn exactly(days: i32) -> Counted {
    Counted::Exactly(days.into())
}

/// Days since 1970, if they are no further away than can be told.
fn tellable_days(days: i64) -> Option<i32> {
    let is_tellable = is_tellable(days.checked_mul(DAY_MILLIS)?, TimeUnit::Millisecond);
    is_tellable.then(|| i32::try_from(days).ok()).flatten()
}

/// A number of units since 1970 in the unit of its column.
fn of_count(
    count: i64,
    counts: TimeUnit,
    unit: TimeUnit,
    cut: bool,
    value: &dyn Fn() -> String,
) -> Result<i64, Problem> {
    let count = settled(recount(count, counts, unit), cut, unit, value)?;
    if is_tellable(count, unit) {
        Ok(count)
    } else {
        Err(too_far(&value()))
    }
}

#[cfg(test)]
mod tests;
