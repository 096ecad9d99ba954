//! Single values and arrays on their way into a column.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::compute::kernels::cast_utils::parse_decimal;
use arrow::datatypes::{
    DataType, DecimalType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use arrow::error::ArrowError;
use odf_metadata::Timestamp;

use crate::infer::UTC;
use crate::shape::type_name;
use crate::source::{Problem, shorten};

/// Integers from here up are Unix milliseconds, below Unix seconds: 1973-03-03 in milliseconds, the year 5138 in seconds.
const EPOCH_MILLIS_FROM: i64 = 100_000_000_000;

/// The refusal of a value that is not of this type.
pub(crate) fn not_type(value: &str, data_type: &DataType) -> Problem {
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
pub(super) fn moments(counts: Int64Array, unit: TimeUnit) -> ArrayRef {
    match unit {
        TimeUnit::Second => Arc::new(counts.reinterpret_cast::<TimestampSecondType>().with_timezone(UTC)),
        TimeUnit::Millisecond => Arc::new(counts.reinterpret_cast::<TimestampMillisecondType>().with_timezone(UTC)),
        TimeUnit::Microsecond => Arc::new(counts.reinterpret_cast::<TimestampMicrosecondType>().with_timezone(UTC)),
        TimeUnit::Nanosecond => Arc::new(counts.reinterpret_cast::<TimestampNanosecondType>().with_timezone(UTC)),
    }
}

/// The same times said to be in another zone.
pub(crate) fn with_zone(array: &ArrayRef, zone: Option<Arc<str>>) -> Result<ArrayRef, ArrowError> {
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
pub(super) fn decimal<T: DecimalType>(text: &str, precision: u8, scale: i8, lax: bool) -> Option<T::Native> {
    let fraction = text.split(['e', 'E']).next()?.split_once('.').map_or("", |(_, f)| f);
    let kept = usize::try_from(scale).unwrap_or(0);
    if !lax && fraction.len() > kept && fraction.bytes().skip(kept).any(|b| b != b'0') {
        return None;
    }
    parse_decimal::<T>(text, precision, scale).ok()
}

/// Unix seconds or milliseconds, told apart by size, as milliseconds; none outside of the years 0 to 9999.
pub(crate) fn epoch_millis(value: i64) -> Option<i64> {
    let is_millis = value.unsigned_abs() >= EPOCH_MILLIS_FROM.unsigned_abs();
    let millis = if is_millis { value } else { value.checked_mul(1000)? };
    Timestamp::from_millis(millis).map(|_| millis)
}
