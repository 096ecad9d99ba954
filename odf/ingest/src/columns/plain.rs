//! Values that are written in the plainest way, taken into columns without the general rules of JSON values.
//!
//! Only what those rules would take as it stands comes through here; for everything else the answer is none, and the row is
//! read by the general rules, which have the words for what is wrong with it.

use arrow::datatypes::Decimal128Type;

use super::{Column, Values, tellable_days};
use crate::moment::{Counted, Lax, parse_date, parse_moment, parse_moment_lax};
use crate::number;
use crate::source::Problem;

/// A scalar as JSON writes it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Plain<'t> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// Digits with or without a minus that 64 bits hold, and the same as text.
    Integer(i64, &'t str),
    /// Any other number.
    Number(&'t str),
    /// What stands in the quotes, without escapes.
    Text(&'t str),
}

/// A value that fits its column.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cell<'t> {
    /// The row does not have the column.
    Absent,
    Null,
    Bool(bool),
    /// Also a time or a date, as what the column counts.
    Integer(i64),
    Float(f64),
    Decimal(i128),
    Text(&'t str),
}

impl Column {
    /// Whether values of its type may come through here.
    pub(super) fn has_cells(&self) -> bool {
        match &self.values {
            Values::Bool(_)
            | Values::Int8(_)
            | Values::Int16(_)
            | Values::Int32(_)
            | Values::Int64(_)
            | Values::UInt8(_)
            | Values::UInt16(_)
            | Values::UInt32(_)
            | Values::UInt64(_)
            | Values::Float32(_)
            | Values::Float64(_)
            | Values::Decimal128(..)
            | Values::Date(_)
            | Values::Moment(..)
            | Values::Text(_)
            | Values::Unread(_) => true,
            Values::Float16(_)
            | Values::Decimal256(..)
            | Values::Time(..)
            | Values::Binary(_)
            | Values::FixedBinary(_)
            | Values::List(_)
            | Values::Struct(_) => false,
        }
    }

    /// Puts into `cell` what a value comes to in this column; none if that takes more than a look, or if it is refused.
    pub(super) fn cell<'t>(&self, value: Plain<'t>, cell: &mut Cell<'t>) -> Option<()> {
        *cell = match (&self.values, value) {
            (Values::Unread(_), _) => Cell::Null,
            (Values::Text(_), Plain::Text(text)) => Cell::Text(text),
            (Values::Int64(_), Plain::Integer(value, _)) => Cell::Integer(value),
            (Values::Moment(_, unit, zone), Plain::Text(text)) if self.lax => {
                // What is cut, or a leap second, is counted by the general rules.
                match parse_moment_lax(text, *unit, *zone)? {
                    Lax {
                        counted: Counted::Exactly(count),
                        is_leap: false,
                    } => Cell::Integer(count),
                    _ => return None,
                }
            }
            (Values::Moment(_, unit, zone), Plain::Text(text)) => match parse_moment(text, *unit, *zone)? {
                Counted::Exactly(count) => Cell::Integer(count),
                Counted::Finer(count) if self.cut_times => Cell::Integer(count),
                Counted::Finer(_) | Counted::TooFar => return None,
            },
            (Values::Float32(_), Plain::Integer(_, text) | Plain::Number(text)) => {
                Cell::Float(number::float::<f32>(text, !self.lax).ok()?.into())
            }
            (Values::Float64(_), Plain::Integer(_, text) | Plain::Number(text)) => {
                Cell::Float(number::float(text, !self.lax).ok()?)
            }
            (Values::Decimal128(_, precision, scale), Plain::Integer(_, text) | Plain::Number(text)) => {
                match number::cut_decimal::<Decimal128Type>(text, *precision, *scale)? {
                    (value, false) => Cell::Decimal(value),
                    (_, true) => return None,
                }
            }
            (Values::Date(_), Plain::Text(text)) => Cell::Integer(tellable_days(parse_date(text)?.into())?.into()),
            (Values::Bool(_), Plain::Bool(value)) => Cell::Bool(value),
            (Values::Int8(_), Plain::Integer(value, _)) => Cell::Integer(i8::try_from(value).ok()?.into()),
            (Values::Int16(_), Plain::Integer(value, _)) => Cell::Integer(i16::try_from(value).ok()?.into()),
            (Values::Int32(_), Plain::Integer(value, _)) => Cell::Integer(i32::try_from(value).ok()?.into()),
            (Values::UInt8(_), Plain::Integer(value, _)) => Cell::Integer(u8::try_from(value).ok()?.into()),
            (Values::UInt16(_), Plain::Integer(value, _)) => Cell::Integer(u16::try_from(value).ok()?.into()),
            (Values::UInt32(_), Plain::Integer(value, _)) => Cell::Integer(u32::try_from(value).ok()?.into()),
            (Values::UInt64(_), Plain::Integer(value, _)) if value >= 0 => Cell::Integer(value),
            (_, Plain::Null) => self.no_cell()?,
            _ => return None,
        };
        Some(())
    }

    /// The cell of a row without a value in this column; none if it must have one.
    pub(super) fn no_cell<'t>(&self) -> Option<Cell<'t>> {
        self.nullable.then_some(Cell::Null)
    }

    /// Takes a cell that this column gave.
    pub(super) fn push_cell(&mut self, cell: Cell<'_>) -> Result<(), Problem> {
        macro_rules! append {
            ($builder:expr, $value:expr) => {
                match $value.try_into() {
                    Ok(value) => $builder.append_value(value),
                    Err(_) => return Err(self.not_type(&format!("{cell:?}"))),
                }
            };
        }
        match (&mut self.values, cell) {
            (Values::Text(b), Cell::Text(text)) => b.append_value(text),
            (Values::Int64(b) | Values::Moment(b, ..), Cell::Integer(value)) => b.append_value(value),
            (_, Cell::Absent | Cell::Null) => return self.push_null(),
            (Values::Float64(b), Cell::Float(value)) => b.append_value(value),
            // It was one of 32 bits.
            (Values::Float32(b), Cell::Float(value)) => b.append_value(value as f32),
            (Values::Decimal128(b, ..), Cell::Decimal(value)) => b.append_value(value),
            (Values::Bool(b), Cell::Bool(value)) => b.append_value(value),
            (Values::Date(b), Cell::Integer(value)) => append!(b, value),
            (Values::Int8(b), Cell::Integer(value)) => append!(b, value),
            (Values::Int16(b), Cell::Integer(value)) => append!(b, value),
            (Values::Int32(b), Cell::Integer(value)) => append!(b, value),
            (Values::UInt8(b), Cell::Integer(value)) => append!(b, value),
            (Values::UInt16(b), Cell::Integer(value)) => append!(b, value),
            (Values::UInt32(b), Cell::Integer(value)) => append!(b, value),
            (Values::UInt64(b), Cell::Integer(value)) => append!(b, value),
            (_, cell) => return Err(self.not_type(&format!("{cell:?}"))),
        }
        Ok(())
    }
}
