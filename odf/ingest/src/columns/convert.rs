//! Single values and arrays on their way into a column.

use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::{
    DataType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use arrow::error::ArrowError;
use chrono::{DateTime, Utc};

use crate::infer::UTC;
use crate::moment::Counted;
use crate::shape::type_name;
use crate::source::{Problem, shorten};

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
pub(crate) fn moments(counts: Int64Array, unit: TimeUnit) -> ArrayRef {
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

/// Integers in a time column of which nobody said what they count.
const NO_UNIT: &str = "is a number, and nothing says in which unit it counts since 1970. Say it with the type of the column: \
                       TIMESTAMP(0) for seconds, (3) milliseconds, (6) microseconds, (9) nanoseconds \
                       (`odfs publish --schema 'COLUMN TIMESTAMP(0)'`; in a source a Timestamp with `unit: Second` and the \
                       attribute `odfs.dev/integerTimes: true`), or write RFC 3339 times";

/// A time of a kind that the column cannot hold without a loss.
const fn finer(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => {
            "has digits below the second, which the column does not hold; make it a String, or give it a finer unit"
        }
        TimeUnit::Millisecond => {
            "has digits below the millisecond, which the column does not hold; cut them (`odfs publish --cut-times`), or \
             make it a String"
        }
        TimeUnit::Microsecond => "has digits below the microsecond, which the column does not hold; make it a String",
        TimeUnit::Nanosecond => "has digits below the nanosecond, which the column does not hold; make it a String",
    }
}

/// The refusal of a number in a time column whose unit is not known.
pub(crate) fn no_unit(value: &str) -> Problem {
    changes(value, NO_UNIT)
}

/// The refusal of a time of day in a date column.
pub(crate) fn not_midnight(value: &str) -> Problem {
    changes(
        value,
        "has a time of day, which a Date does not hold; make the column a Timestamp or a String",
    )
}

/// The refusal of a value that would come out as another one.
pub(crate) fn changes(value: &str, reason: &'static str) -> Problem {
    Problem::Changes {
        value: shorten(value),
        reason,
    }
}

/// A time in its unit, if nothing is lost with it, or only what may be cut.
pub(crate) fn settled(counted: Counted, cut: bool, unit: TimeUnit, value: &dyn Fn() -> String) -> Result<i64, Problem> {
    match counted {
        Counted::Exactly(count) => Ok(count),
        Counted::Finer(count) if cut => Ok(count),
        Counted::Finer(_) => Err(changes(&value(), finer(unit))),
        Counted::TooFar => Err(too_far(&value())),
    }
}

/// The refusal of a time beyond those that can be shown.
pub(crate) fn too_far(value: &str) -> Problem {
    changes(
        value,
        "lies beyond the times that can be told, which end about 262,000 years from now; leave it out, or make the column a \
         String",
    )
}

/// Seconds of the times that can be told.
const TELLABLE: RangeInclusive<i64> = DateTime::<Utc>::MIN_UTC.timestamp()..=DateTime::<Utc>::MAX_UTC.timestamp();

/// Whether a time can be told in years, months and days.
pub(crate) fn is_tellable(count: i64, unit: TimeUnit) -> bool {
    let per_second = match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => return true,
    };
    TELLABLE.contains(&count.div_euclid(per_second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_can_be_told_where_the_calendar_reaches() {
        let told = |count, unit| match unit {
            TimeUnit::Second => DateTime::from_timestamp(count, 0).is_some(),
            TimeUnit::Millisecond => DateTime::from_timestamp_millis(count).is_some(),
            _ => DateTime::from_timestamp_micros(count).is_some(),
        };
        for (unit, per_second) in [
            (TimeUnit::Second, 1),
            (TimeUnit::Millisecond, 1_000),
            (TimeUnit::Microsecond, 1_000_000),
        ] {
            for end in [*TELLABLE.start(), *TELLABLE.end(), 0] {
                let first = end * per_second;
                for count in [first - 1, first, first + per_second - 1, first + per_second] {
                    assert_eq!(is_tellable(count, unit), told(count, unit), "{count} of {unit:?}");
                }
            }
            for count in [i64::MIN, i64::MAX] {
                assert_eq!(is_tellable(count, unit), told(count, unit), "{count} of {unit:?}");
            }
        }
    }
}
