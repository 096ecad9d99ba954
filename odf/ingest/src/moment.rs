//! Dates and times as text tables write them.

use arrow::array::timezone::Tz;
use arrow::compute::kernels::cast_utils::{Parser, string_to_datetime, string_to_time_nanoseconds};
use arrow::datatypes::{Date32Type, TimeUnit};
use chrono::{DateTime, Utc};

/// Milliseconds of a day.
pub(super) const DAY_MILLIS: i64 = 86_400_000;

/// `YYYY-MM-DD` as days since 1970.
pub(super) fn parse_date(text: &str) -> Option<i32> {
    match text.as_bytes() {
        date @ [_, _, _, _, b'-', _, _, b'-', _, _] => i32::try_from(days(date)?).ok(),
        _ => None,
    }
}

/// A date as kamu takes it: also with one digit for the month or the day, without dashes, or cut from a time.
pub(super) fn parse_date_lax(text: &str) -> Option<i32> {
    parse_date(text).or_else(|| Date32Type::parse(text))
}

/// RFC 3339 (blank or `T`, any fraction, any offset; none means UTC) as milliseconds since 1970, rounded down.
pub(super) fn parse_timestamp(text: &str) -> Option<i64> {
    const SHORTEST: usize = "2024-01-01T00:00".len();
    let b = text.as_bytes();
    if b.len() < SHORTEST
        || b[4] != b'-'
        || b[7] != b'-'
        || !matches!(b[10], b'T' | b't' | b' ')
        || !b[0].is_ascii_digit()
    {
        return None;
    }
    common(b).or_else(|| string_to_datetime(&Utc, text).ok().map(|time| time.timestamp_millis()))
}

/// A time with a date in the given unit since 1970, rounded down; also a date alone. `zone` is that of times without one.
pub(super) fn parse_moment(text: &str, unit: TimeUnit, zone: Option<Tz>) -> Option<i64> {
    if unit == TimeUnit::Millisecond && zone.is_none() {
        let day = || parse_date(text).map(|days| i64::from(days) * DAY_MILLIS);
        if let Some(millis) = parse_timestamp(text).or_else(day) {
            return Some(millis);
        }
    }
    fn count<Z: chrono::TimeZone>(time: &DateTime<Z>, unit: TimeUnit) -> Option<i64> {
        match unit {
            TimeUnit::Second => Some(time.timestamp()),
            TimeUnit::Millisecond => Some(time.timestamp_millis()),
            TimeUnit::Microsecond => Some(time.timestamp_micros()),
            TimeUnit::Nanosecond => time.timestamp_nanos_opt(),
        }
    }
    match zone {
        None => count(&string_to_datetime(&Utc, text).ok()?, unit),
        Some(zone) => count(&string_to_datetime(&zone, text).ok()?, unit),
    }
}

/// A time of day in the given unit since midnight, rounded down.
pub(super) fn parse_time(text: &str, unit: TimeUnit) -> Option<i64> {
    let nanos = string_to_time_nanoseconds(text).ok()?;
    Some(match unit {
        TimeUnit::Second => nanos / 1_000_000_000,
        TimeUnit::Millisecond => nanos / 1_000_000,
        TimeUnit::Microsecond => nanos / 1_000,
        TimeUnit::Nanosecond => nanos,
    })
}

/// The layout that nearly all times have, `YYYY-MM-DD?HH:MM:SS[.fraction][Z]`, in UTC; none for anything else, which may
/// still be a time. Ten times as fast as the general way.
fn common(b: &[u8]) -> Option<i64> {
    let (clock, rest) = b.get(11..)?.split_at_checked(8)?;
    let [h1, h2, b':', m1, m2, b':', s1, s2] = clock else {
        return None;
    };
    let (hour, minute, second) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?, number(&[*s1, *s2])?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let rest = rest
        .strip_suffix(b"Z")
        .or_else(|| rest.strip_suffix(b"z"))
        .unwrap_or(rest);
    let millis = match rest {
        [] => 0,
        [b'.', fraction @ ..] if (1..=9).contains(&fraction.len()) => {
            number(fraction)?;
            let first = &fraction[..fraction.len().min(3)];
            number(first)? * [100, 10, 1][first.len() - 1]
        }
        _ => return None,
    };
    Some(days(&b[..10])? * DAY_MILLIS + ((hour * 60 + minute) * 60 + second) * 1000 + millis)
}

/// The decimal number that these bytes are. At most 18 of them.
fn number(digits: &[u8]) -> Option<i64> {
    digits
        .iter()
        .try_fold(0, |n, d| d.is_ascii_digit().then(|| n * 10 + i64::from(d - b'0')))
}

/// Days since 1970 of `YYYY?MM?DD`; none for a day that no calendar has.
fn days(b: &[u8]) -> Option<i64> {
    let (year, month, day) = (number(&b[0..4])?, number(&b[5..7])?, number(&b[8..10])?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let longest = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    if !(1..=longest).contains(&day) {
        return None;
    }
    // The year is counted from March, so that the leap day is the last one; 719,468 days lie before 1970-01-01.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_any_offset_and_rounded_down_to_milliseconds() {
        assert_eq!(parse_timestamp("1970-01-01T00:00:01Z"), Some(1000));
        assert_eq!(parse_timestamp("1970-01-01T02:00:00.0019+02:00"), Some(1));
        assert_eq!(parse_timestamp("1970-01-01 00:00:01"), Some(1000));
        assert_eq!(parse_timestamp("1970-01-01t00:00:00.5z"), Some(500));
        assert_eq!(parse_timestamp("1969-12-31T23:59:59.9995Z"), Some(-1));
        assert_eq!(parse_timestamp("1970-01-01"), None);
        assert_eq!(parse_date("1970-01-02"), Some(1));
        assert_eq!(parse_date("1969-12-31"), Some(-1));
        assert_eq!(parse_date("1970-1-02"), None);
        assert_eq!(parse_date("1970é01-0"), None);
        assert_eq!(parse_date_lax("1970-1-2"), Some(1));
        assert_eq!(parse_date_lax("1970-01-02T03:04:05Z"), Some(1));
        assert_eq!(parse_date_lax("tomorrow"), None);
    }

    #[test]
    fn moments_have_units_and_zones() {
        let east: Tz = "+02:00".parse().unwrap();
        let text = "1970-01-01T02:00:01.234567891";
        for (unit, wanted) in [
            (TimeUnit::Second, 1),
            (TimeUnit::Millisecond, 1_234),
            (TimeUnit::Microsecond, 1_234_567),
            (TimeUnit::Nanosecond, 1_234_567_891),
        ] {
            assert_eq!(parse_moment(text, unit, Some(east)), Some(wanted));
            assert_eq!(
                parse_moment("1970-01-01T00:00:01.234567891Z", unit, Some(east)),
                Some(wanted)
            );
            assert_eq!(parse_moment("1970-01-01T00:00:01.234567891", unit, None), Some(wanted));
            assert_eq!(parse_time("00:00:01.234567891", unit), Some(wanted));
        }
        assert_eq!(
            parse_moment("1970-01-02", TimeUnit::Millisecond, None),
            Some(DAY_MILLIS)
        );
        assert_eq!(parse_moment("1970-01-02", TimeUnit::Second, None), Some(86_400));
        assert_eq!(parse_moment("9999-01-01T00:00:00Z", TimeUnit::Nanosecond, None), None);
        assert_eq!(parse_time("25:00:00", TimeUnit::Second), None);
    }

    #[test]
    fn the_fast_way_and_the_general_way_agree() {
        let mut day = -800_000;
        while day < 3_000_000 {
            let millis = i64::from(day) * DAY_MILLIS + i64::from(day).rem_euclid(DAY_MILLIS) * 997 % DAY_MILLIS;
            let Some(time) = DateTime::from_timestamp_millis(millis) else {
                break;
            };
            let text = time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
            if text.len() == 24 {
                assert_eq!(common(text.as_bytes()), Some(millis), "{text}");
                assert_eq!(parse_date(&text[..10]), Some(day), "{text}");
            }
            day += 311;
        }
        for text in [
            "2023-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-04-31T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:60:00Z",
            "2024-01-01T00:00:61Z",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00.1x",
            "2024-01-01T00:00:00+",
            "2024-00-01T00:00:00Z",
        ] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
        assert!(parse_timestamp("2000-02-29T00:00:00Z").is_some());
    }
}
