//! ODF types and the Arrow types that stand for them in slices (odf-facts §8.4), both ways.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType as Arrow, Field, Schema, TimeUnit as ArrowUnit};
use arrow::error::ArrowError;

use super::UTC;
use odf_metadata::{DataField, DataSchema, DataType, TimeUnit};

/// The widest decimal that Arrow's 128 bits hold.
const MAX_DECIMAL128_PRECISION: u32 = 38;
/// The widest decimal that Arrow's 256 bits hold.
const MAX_DECIMAL256_PRECISION: u32 = 76;
/// How deep types may nest.
const MAX_DEPTH: usize = 64;

/// The most values that a list of a fixed length may have, those of lists within it included, and the most bytes of a
/// binary value of a fixed length: one that is missing takes as much room as one that is there.
pub const MAX_FIXED_LENGTH: u64 = 65_536;

/// A type that has no counterpart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column `{column}`: no counterpart for the type {data_type}")]
pub struct NoCounterpart {
    /// The column.
    pub column: String,
    /// Its type.
    pub data_type: String,
}

/// A column in another type. Values that do not fit are an error and never become null.
///
/// # Errors
/// A value that does not fit, or types between which there is no conversion.
pub fn convert(column: &ArrayRef, to: &Arrow) -> Result<ArrayRef, ArrowError> {
    if column.data_type() == to {
        return Ok(column.clone());
    }
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(column, to, &options)
}

/// Whether binary values and lists of a fixed length within this type keep to [`MAX_FIXED_LENGTH`], however they are nested.
pub fn fits_fixed_lengths(data_type: &Arrow) -> bool {
    values(data_type).is_some_and(|values| values <= MAX_FIXED_LENGTH)
}

/// How many values of fixed number a place of this type takes, bytes of binary values counted, even if nothing is there.
/// None if a list within it, whose own number is not fixed, has items beyond the limit.
fn values(data_type: &Arrow) -> Option<u64> {
    let length = |length: i32| u64::try_from(length).unwrap_or(u64::MAX);
    let inside = match data_type {
        Arrow::FixedSizeBinary(bytes) => length(*bytes),
        Arrow::FixedSizeList(item, items) => length(*items).saturating_mul(values(item.data_type())?),
        Arrow::Struct(fields) => {
            let mut each = fields.iter().map(|field| values(field.data_type()));
            each.try_fold(0u64, |sum, each| Some(sum.saturating_add(each?)))?
        }
        Arrow::List(item) | Arrow::LargeList(item) => {
            return fits_fixed_lengths(item.data_type()).then_some(1);
        }
        _ => 1,
    };
    // A place in which nothing can be is written down too.
    Some(inside.max(1))
}

/// The Arrow schema of slices with this ODF schema. Attributes about encodings are not looked at: every encoding of a type
/// reads as the plain one.
pub fn to_arrow(schema: &DataSchema) -> Result<Schema, NoCounterpart> {
    let fields = schema
        .fields
        .iter()
        .map(field_to_arrow)
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Schema::new(fields))
}

/// The Arrow field of one column.
pub fn field_to_arrow(field: &DataField) -> Result<Field, NoCounterpart> {
    let refuse = || NoCounterpart {
        column: field.name.clone(),
        data_type: format!("{:?}", field.data_type),
    };
    let (data_type, nullable) = type_to_arrow(&field.data_type, 0).ok_or_else(refuse)?;
    Ok(Field::new(&field.name, data_type, nullable))
}

fn type_to_arrow(data_type: &DataType, depth: usize) -> Option<(Arrow, bool)> {
    if depth > MAX_DEPTH {
        return None;
    }
    let inner = |t: &DataType| type_to_arrow(t, depth + 1);
    let plain = match data_type {
        DataType::Option { inner: of } => return Some((inner(of)?.0, true)),
        DataType::Binary { fixed_length: None } => Arrow::Binary,
        DataType::Binary {
            fixed_length: Some(length),
        } => Arrow::FixedSizeBinary(i32::try_from(*length).ok()?),
        DataType::Bool => Arrow::Boolean,
        DataType::Date => Arrow::Date32,
        DataType::Decimal { precision, scale } => {
            let scale = i8::try_from(*scale).ok()?;
            match *precision {
                1..=MAX_DECIMAL128_PRECISION => Arrow::Decimal128(u8::try_from(*precision).ok()?, scale),
                _ if *precision <= MAX_DECIMAL256_PRECISION => Arrow::Decimal256(u8::try_from(*precision).ok()?, scale),
                _ => return None,
            }
        }
        DataType::Duration { unit } => Arrow::Duration(unit_to_arrow(*unit)),
        DataType::Float16 => Arrow::Float16,
        DataType::Float32 => Arrow::Float32,
        DataType::Float64 => Arrow::Float64,
        DataType::Int8 => Arrow::Int8,
        DataType::Int16 => Arrow::Int16,
        DataType::Int32 => Arrow::Int32,
        DataType::Int64 => Arrow::Int64,
        DataType::UInt8 => Arrow::UInt8,
        DataType::UInt16 => Arrow::UInt16,
        DataType::UInt32 => Arrow::UInt32,
        DataType::UInt64 => Arrow::UInt64,
        DataType::List {
            item_type,
            fixed_length,
        } => {
            let (item, nullable) = inner(item_type)?;
            let item = Arc::new(Field::new("item", item, nullable));
            match fixed_length {
                None => Arrow::List(item),
                Some(length) => Arrow::FixedSizeList(item, i32::try_from(*length).ok()?),
            }
        }
        DataType::Struct { fields } => {
            let fields = fields
                .iter()
                .map(|f| inner(&f.data_type).map(|(t, nullable)| Field::new(&f.name, t, nullable)))
                .collect::<Option<Vec<_>>>()?;
            Arrow::Struct(fields.into())
        }
        DataType::Time { unit } => match unit_to_arrow(*unit) {
            unit @ (ArrowUnit::Second | ArrowUnit::Millisecond) => Arrow::Time32(unit),
            unit => Arrow::Time64(unit),
        },
        DataType::Timestamp { unit, timezone } => {
            let zone = timezone.as_deref().unwrap_or(UTC);
            Arrow::Timestamp(unit_to_arrow(*unit), Some(zone.into()))
        }
        DataType::String => Arrow::Utf8,
        DataType::Map { .. } | DataType::Null => return None,
    };
    fits_fixed_lengths(&plain).then_some((plain, false))
}

fn unit_to_arrow(unit: Option<TimeUnit>) -> ArrowUnit {
    match unit {
        Some(TimeUnit::Second) => ArrowUnit::Second,
        None | Some(TimeUnit::Millisecond) => ArrowUnit::Millisecond,
        Some(TimeUnit::Microsecond) => ArrowUnit::Microsecond,
        Some(TimeUnit::Nanosecond) => ArrowUnit::Nanosecond,
    }
}

/// The ODF schema of slices with this Arrow schema, in the form kamu writes it: timestamps with explicit unit and zone, no
/// attributes about encodings.
pub fn from_arrow(schema: &Schema) -> Result<DataSchema, NoCounterpart> {
    let fields = schema
        .fields()
        .iter()
        .map(|f| field_from_arrow(f))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(DataSchema { fields, extra: None })
}

/// The ODF field of one column.
pub fn field_from_arrow(field: &Field) -> Result<DataField, NoCounterpart> {
    let refuse = || NoCounterpart {
        column: field.name().clone(),
        data_type: field.data_type().to_string(),
    };
    Ok(DataField::new(
        field.name(),
        type_from_arrow(field, 0).ok_or_else(refuse)?,
    ))
}

fn type_from_arrow(field: &Field, depth: usize) -> Option<DataType> {
    if depth > MAX_DEPTH {
        return None;
    }
    let inner = |f: &Field| type_from_arrow(f, depth + 1);
    let plain = match field.data_type() {
        Arrow::Utf8 | Arrow::LargeUtf8 | Arrow::Utf8View => DataType::String,
        Arrow::Binary | Arrow::LargeBinary | Arrow::BinaryView => DataType::Binary { fixed_length: None },
        Arrow::FixedSizeBinary(length) => DataType::Binary {
            fixed_length: Some(u64::try_from(*length).ok()?),
        },
        Arrow::Boolean => DataType::Bool,
        Arrow::Date32 | Arrow::Date64 => DataType::Date,
        Arrow::Decimal32(precision, scale)
        | Arrow::Decimal64(precision, scale)
        | Arrow::Decimal128(precision, scale)
        | Arrow::Decimal256(precision, scale) => DataType::Decimal {
            precision: u32::from(*precision),
            scale: i32::from(*scale),
        },
        Arrow::Duration(unit) => DataType::Duration {
            unit: Some(unit_from_arrow(*unit)),
        },
        Arrow::Float16 => DataType::Float16,
        Arrow::Float32 => DataType::Float32,
        Arrow::Float64 => DataType::Float64,
        Arrow::Int8 => DataType::Int8,
        Arrow::Int16 => DataType::Int16,
        Arrow::Int32 => DataType::Int32,
        Arrow::Int64 => DataType::Int64,
        Arrow::UInt8 => DataType::UInt8,
        Arrow::UInt16 => DataType::UInt16,
        Arrow::UInt32 => DataType::UInt32,
        Arrow::UInt64 => DataType::UInt64,
        Arrow::List(item) | Arrow::LargeList(item) => DataType::List {
            item_type: Box::new(inner(item)?),
            fixed_length: None,
        },
        Arrow::FixedSizeList(item, length) => DataType::List {
            item_type: Box::new(inner(item)?),
            fixed_length: Some(u64::try_from(*length).ok()?),
        },
        Arrow::Struct(fields) => DataType::Struct {
            fields: fields
                .iter()
                .map(|f| inner(f).map(|t| DataField::new(f.name(), t)))
                .collect::<Option<Vec<_>>>()?,
        },
        Arrow::Time32(unit) | Arrow::Time64(unit) => DataType::Time {
            unit: Some(unit_from_arrow(*unit)),
        },
        Arrow::Timestamp(unit, zone) => DataType::Timestamp {
            unit: Some(unit_from_arrow(*unit)),
            timezone: Some(zone.as_deref().unwrap_or(UTC).to_owned()),
        },
        _ => return None,
    };
    Some(if field.is_nullable() { plain.optional() } else { plain })
}

fn unit_from_arrow(unit: ArrowUnit) -> TimeUnit {
    match unit {
        ArrowUnit::Second => TimeUnit::Second,
        ArrowUnit::Millisecond => TimeUnit::Millisecond,
        ArrowUnit::Microsecond => TimeUnit::Microsecond,
        ArrowUnit::Nanosecond => TimeUnit::Nanosecond,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timestamp;

    #[test]
    fn every_column_type_a_reader_gives_comes_back() {
        let fields = vec![
            Field::new("a", Arrow::Utf8, true),
            Field::new("b", Arrow::Boolean, false),
            Field::new("c", Arrow::Int64, true),
            Field::new("d", Arrow::Float64, true),
            Field::new("e", Arrow::Date32, false),
            Field::new("f", timestamp(), true),
            Field::new("g", Arrow::Decimal128(10, 2), true),
            Field::new("h", Arrow::List(Arc::new(Field::new("item", Arrow::Utf8, true))), true),
            Field::new(
                "i",
                Arrow::Struct(vec![Field::new("x", Arrow::Int32, false)].into()),
                true,
            ),
            Field::new("j", Arrow::FixedSizeBinary(4), true),
            Field::new("k", Arrow::Time64(ArrowUnit::Microsecond), true),
        ];
        let schema = Schema::new(fields);
        assert_eq!(to_arrow(&from_arrow(&schema).unwrap()).unwrap(), schema);
    }

    #[test]
    fn fixed_lengths_have_a_limit_however_they_are_nested() {
        let binary = |length| DataType::Binary {
            fixed_length: Some(length),
        };
        let list = |item, fixed_length| DataType::List {
            item_type: Box::new(item),
            fixed_length,
        };
        let object = |member| DataType::Struct {
            fields: vec![DataField::new("a", member), DataField::new("b", DataType::Int8)],
        };
        type Make<'a> = &'a dyn Fn(u64) -> DataType;
        let makers: [(Make<'_>, u64); 7] = [
            (&binary, MAX_FIXED_LENGTH),
            (&|length| binary(length).optional(), MAX_FIXED_LENGTH),
            (&|length| list(DataType::Int8, Some(length)), MAX_FIXED_LENGTH),
            (&|length| list(binary(length), None), MAX_FIXED_LENGTH),
            (&|length| list(binary(256), Some(length)), MAX_FIXED_LENGTH / 256),
            (
                &|length| list(list(DataType::Int8, Some(256)), Some(length)),
                MAX_FIXED_LENGTH / 256,
            ),
            (&|length| object(binary(length)), MAX_FIXED_LENGTH - 1),
        ];
        for (at, (make, most)) in makers.iter().enumerate() {
            let arrow = |length| field_to_arrow(&DataField::new("x", make(length)));
            assert!(arrow(*most).is_ok(), "{at}");
            assert_eq!(arrow(most + 1).unwrap_err().column, "x", "{at}");
            assert!(arrow(u64::MAX).is_err(), "{at}");
        }
    }

    #[test]
    fn what_has_no_counterpart_is_named() {
        let field = Field::new("x", Arrow::Null, true);
        assert_eq!(field_from_arrow(&field).unwrap_err().column, "x");
        let decimal = |precision| DataField::new("d", DataType::Decimal { precision, scale: 0 });
        assert!(field_to_arrow(&decimal(76)).is_ok());
        assert_eq!(field_to_arrow(&decimal(77)).unwrap_err().column, "d");
        let mut deep = DataType::Bool;
        for _ in 0..=MAX_DEPTH {
            deep = DataType::List {
                item_type: Box::new(deep),
                fixed_length: None,
            };
        }
        assert!(field_to_arrow(&DataField::new("deep", deep)).is_err());
    }
}
