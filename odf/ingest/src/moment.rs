//! Dates and times as text tables write them. Nothing is cut: a time with digits below the unit that is asked for says so.

use std::borrow::Cow;

use arrow::array::timezone::Tz;
use arrow::compute::kernels::cast_utils::{Parser, string_to_datetime, string_to_time_nanoseconds};
use arrow::datatypes::{Date32Type, TimeUnit};
use chrono::Utc;

/// Milliseconds of a day.
pub(super) const DAY_MILLIS: i64 = 86_400_000;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// What a time comes to when it is counted in some unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// So many, and nothing is left.
    Exactly(i64),
    /// So many: the time has digits below the unit. Rounded down, but for [`recount`].
    Finer(i64),
    /// More than 64 bits hold.
    TooFar,
}

impl Counted {
    /// Counts something of which `seconds` and `nanos`, of any sign, are left since midnight or since 1970.
    fn of(seconds: i64, nanos: i64, unit: TimeUnit) -> Counted {
        let total = i128::from(seconds) * i128::from(NANOS_PER_SECOND) + i128::from(nanos);
        Counted::nanos(total, unit)
    }

    fn nanos(total: i128, unit: TimeUnit) -> Counted {
        // Times of our centuries fit into 64 bits, and to divide 128 takes as long as to read the time.
        if let Ok(total) = i64::try_from(total) {
            return Counted::parts(total, nanos_of(unit));
        }
        let each = i128::from(nanos_of(unit));
        match i64::try_from(total.div_euclid(each)) {
            Err(_) => Counted::TooFar,
            Ok(count) if total.rem_euclid(each) == 0 => Counted::Exactly(count),
            Ok(count) => Counted::Finer(count),
        }
    }

    /// How many times `each`, which is positive, goes into `total`.
    fn parts(total: i64, each: i64) -> Counted {
        let count = total.div_euclid(each);
        match total.rem_euclid(each) {
            0 => Counted::Exactly(count),
            _ => Counted::Finer(count),
        }
    }

    /// The same with something below every unit behind it.
    fn and_more(self) -> Counted {
        match self {
            Counted::Exactly(count) => Counted::Finer(count),
            other => other,
        }
    }
}

/// Nanoseconds of a unit.
fn nanos_of(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => NANOS_PER_SECOND,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

/// A number of one unit in another. Digits below go towards 1970, as in the casts of Arrow and so in kamu; those of texts
/// are rounded down.
pub(super) fn recount(count: i64, from: TimeUnit, to: TimeUnit) -> Counted {
    // Of two units the larger is a multiple of the other.
    let (has, wants) = (nanos_of(from), nanos_of(to));
    if has < wants {
        return match Counted::parts(count, wants / has) {
            Counted::Finer(below) if below < 0 => Counted::Finer(below + 1),
            counted => counted,
        };
    }
    count.checked_mul(has / wants).map_or(Counted::TooFar, Counted::Exactly)
}

/// `YYYY-MM-DD` as days since 1970.
pub(super) fn parse_date(text: &str) -> Option<i32> {
    match text.as_bytes() {
        date @ [_, _, _, _, b'-', _, _, b'-', _, _] => i32::try_from(days(date)?).ok(),
        _ => None,
    }
}

/// A date as kamu takes it: also with one digit for the month or the day, or without dashes; or a time, whose date it is.
pub(super) fn parse_date_lax(text: &str) -> Option<Counted> {
    if let Some(days) = parse_date(text) {
        return Some(Counted::Exactly(days.into()));
    }
    if text.len() > 10 && !text.starts_with(['+', '-']) {
        let Lax { counted: millis, .. } = parse_moment_lax(text, TimeUnit::Millisecond, None)?;
        return Some(match millis {
            Counted::Exactly(millis) if millis.rem_euclid(DAY_MILLIS) == 0 => {
                Counted::Exactly(millis.div_euclid(DAY_MILLIS))
            }
            Counted::Exactly(millis) | Counted::Finer(millis) => Counted::Finer(millis.div_euclid(DAY_MILLIS)),
            Counted::TooFar => Counted::TooFar,
        });
    }
    Date32Type::parse(text).map(|days| Counted::Exactly(days.into()))
}

/// RFC 3339 (blank or `T`, with or without seconds, any fraction, any offset; none means UTC) as milliseconds since 1970.
pub(super) fn parse_timestamp(text: &str) -> Option<Counted> {
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
    common(b).or_else(|| general(text, TimeUnit::Millisecond, None))
}

/// A time with a date in the given unit since 1970; also a date alone. `zone` is that of times without one.
pub(super) fn parse_moment(text: &str, unit: TimeUnit, zone: Option<Tz>) -> Option<Counted> {
    if unit == TimeUnit::Millisecond && zone.is_none() {
        let day = || parse_date(text).map(|days| Counted::Exactly(i64::from(days) * DAY_MILLIS));
        if let Some(millis) = parse_timestamp(text).or_else(day) {
            return Some(millis);
        }
    }
    general(text, unit, zone)
}

/// A time as kamu takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lax {
    pub(super) counted: Counted,
    /// It is a leap second, and counted as the second behind it.
    pub(super) is_leap: bool,
}

/// A time likewise, as kamu takes it: not without seconds, and leap seconds count as those behind them.
pub(super) fn parse_moment_lax(text: &str, unit: TimeUnit, zone: Option<Tz>) -> Option<Lax> {
    if lacks_seconds(text) {
        return None;
    }
    let plain = parse_moment(text, unit, zone).map(|counted| Lax {
        counted,
        is_leap: false,
    });
    plain.or_else(|| {
        let counted = counted(text, unit, zone, true)?;
        Some(Lax { counted, is_leap: true })
    })
}

fn general(text: &str, unit: TimeUnit, zone: Option<Tz>) -> Option<Counted> {
    counted(&with_seconds(text), unit, zone, false)
}

/// A time with all of its parts. A leap second is none unless they are wanted.
fn counted(text: &str, unit: TimeUnit, zone: Option<Tz>, leap_seconds: bool) -> Option<Counted> {
    let count = |seconds: i64, nanos: u32| {
        // A leap second has more than a second's nanoseconds. Counted it is the first second of the next minute.
        let nanos = i64::from(nanos);
        (leap_seconds || nanos < NANOS_PER_SECOND).then(|| Counted::of(seconds, nanos, unit))
    };
    // The parser takes `+02:60` for three hours.
    let offset = text.get(11..).and_then(|clock| clock.rsplit_once(['+', '-']));
    if offset.is_some_and(|(_, offset)| offset.len() >= 4 && offset.ends_with("60")) {
        return None;
    }
    let counted = match zone {
        None => {
            let time = string_to_datetime(&Utc, text).ok()?;
            count(time.timestamp(), time.timestamp_subsec_nanos())
        }
        Some(zone) => {
            let time = string_to_datetime(&zone, text).ok()?;
            count(time.timestamp(), time.timestamp_subsec_nanos())
        }
    }?;
    Some(if has_digits_below_nanos(text) {
        counted.and_more()
    } else {
        counted
    })
}

/// `2024-01-01T08:30` and whatever zone follows, with seconds.
fn with_seconds(text: &str) -> Cow<'_, str> {
    match text.split_at_checked(MINUTE_END) {
        Some((minutes, zone)) if lacks_seconds(text) => format!("{minutes}:00{zone}").into(),
        _ => text.into(),
    }
}

/// Where the minutes of a time end.
const MINUTE_END: usize = "2024-01-01T00:00".len();

/// Whether a text is a time, perhaps, that goes no further than to the minute.
pub(super) fn lacks_seconds(text: &str) -> bool {
    let b = text.as_bytes();
    b.len() >= MINUTE_END
        && b[13] == b':'
        && b[14..MINUTE_END].iter().all(u8::is_ascii_digit)
        && b.get(MINUTE_END)
            .is_none_or(|next| !matches!(next, b':' | b'.' | b'0'..=b'9'))
}

/// Whether a fraction of a second goes on behind its ninth digit.
fn has_digits_below_nanos(text: &str) -> bool {
    let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
    let digits = fraction.bytes().take_while(u8::is_ascii_digit);
    digits.skip(9).any(|digit| digit != b'0')
}

/// A time of day in the given unit since midnight.
pub(super) fn parse_time(text: &str, unit: TimeUnit) -> Option<Counted> {
    let is_leap_second = text.split(':').nth(2).is_some_and(|seconds| seconds.starts_with("60"));
    if is_leap_second {
        return None;
    }
    let counted = Counted::of(0, string_to_time_nanoseconds(text).ok()?, unit);
    Some(if has_digits_below_nanos(text) {
        counted.and_more()
    } else {
        counted
    })
}

/// The layout that nearly all times have, `YYYY-MM-DD?HH:MM:SS[.fraction][Z]`, in UTC; none for anything else, which may
/// still be a time. Ten times as fast as the general way.
fn common(b: &[u8]) -> Option<Counted> {
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
    let (millis, more) = match rest {
        [] => (0, false),
        [b'.', fraction @ ..] if (1..=9).contains(&fraction.len()) => {
            number(fraction)?;
            let (first, below) = fraction.split_at(fraction.len().min(3));
            let millis = number(first)? * [100, 10, 1][first.len() - 1];
            (millis, below.iter().any(|digit| *digit != b'0'))
        }
        _ => return None,
    };
    let millis = days(&b[..10])? * DAY_MILLIS + ((hour * 60 + minute) * 60 + second) * 1000 + millis;
    Some(if more {
        Counted::Finer(millis)
    } else {
        Counted::Exactly(millis)
    })
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
    use super::Counted::{Exactly, Finer, TooFar};
    use super::*;

    #[test]
    fn times_are_read_in_any_offset_and_never_cut_in_silence() {
        for (text, wanted) in [
            ("1970-01-01T00:00:01Z", Some(Exactly(1000))),
            ("1970-01-01T02:00:00.001900+02:00", Some(Finer(1))),
            ("1970-01-01T02:00:00.001000+02:00", Some(Exactly(1))),
            ("1970-01-01 00:00:01", Some(Exactly(1000))),
            ("1970-01-01t00:00:00.5z", Some(Exactly(500))),
            ("1970-01-01T00:00:00.123100Z", Some(Finer(123))),
            ("1970-01-01T00:00:00.123000000Z", Some(Exactly(123))),
            ("1970-01-01T00:00:00.1230000001Z", Some(Finer(123))),
            ("1970-01-01T00:00:00.1230000000Z", Some(Exactly(123))),
            // Before 1970 too the count is rounded down.
            ("1969-12-31T23:59:59.9995Z", Some(Finer(-1))),
            ("1969-12-31T23:59:59.999Z", Some(Exactly(-1))),
            ("1970-01-01T08:30", Some(Exactly(30_600_000))),
            ("1970-01-01 08:30Z", Some(Exactly(30_600_000))),
            ("1970-01-01 08:30+02:00", Some(Exactly(23_400_000))),
            ("1970-01-01 08:30 -01:00", Some(Exactly(34_200_000))),
            ("1970-01-01 24:30", None),
            // A count of milliseconds has no leap seconds.
            ("1970-01-01T23:59:60Z", None),
            ("1970-01-01T23:59:60.5+02:00", None),
            ("1970-01-01T08:30:00+02:60", None),
            ("1970-01-01 08:3", None),
            ("1970-01-01 8:30:00", None),
            ("1970-01-01", None),
        ] {
            assert_eq!(parse_timestamp(text), wanted, "{text}");
        }
        assert_eq!(parse_date("1970-01-02"), Some(1));
        assert_eq!(parse_date("1969-12-31"), Some(-1));
        assert_eq!(parse_date("1970-1-02"), None);
        assert_eq!(parse_date("1970é01-0"), None);
        assert_eq!(parse_date_lax("1970-1-2"), Some(Exactly(1)));
        assert_eq!(parse_date_lax("19700102"), Some(Exactly(1)));
        assert_eq!(parse_date_lax("1970-01-02T00:00:00Z"), Some(Exactly(1)));
        assert_eq!(parse_date_lax("1970-01-02T03:04:05Z"), Some(Finer(1)));
        assert_eq!(parse_date_lax("1970-01-02T23:00:00-05:00"), Some(Finer(2)));
        assert_eq!(parse_date_lax("tomorrow"), None);
        assert_eq!(parse_date_lax("the day after tomorrow"), None);
    }

    #[test]
    fn the_name_of_a_zone_gives_the_instant_that_its_clocks_showed_once() {
        for (text, utc) in [
            ("2024-02-29T08:30:00 Europe/Berlin", Some("2024-02-29T07:30:00Z")),
            ("2024-07-01 08:30 Europe/Berlin", Some("2024-07-01T06:30:00Z")),
            // The night in which they went forward, and the one in which they went back.
            ("2024-03-31T02:30:00 Europe/Berlin", None),
            ("2024-10-27T02:30:00 Europe/Berlin", None),
            ("2024-02-29T08:30:00 Europe/Nowhere", None),
        ] {
            let millis = |text| parse_moment(text, TimeUnit::Millisecond, None);
            assert_eq!(millis(text), utc.and_then(millis), "{text}");
        }
    }

    #[test]
    fn kamu_takes_leap_seconds_and_no_times_without_seconds() {
        let lax = |text| parse_moment_lax(text, TimeUnit::Millisecond, None);
        let plain = |text| parse_moment(text, TimeUnit::Millisecond, None).unwrap();
        for (text, wanted) in [
            ("2024-01-01T08:30", None),
            ("2024-01-01T08:30+02:00", None),
            ("2024-01-01", Some(("2024-01-01", false))),
            ("2024-01-01T08:30:00+02:00", Some(("2024-01-01T06:30:00", false))),
            ("2016-12-31T23:59:60Z", Some(("2017-01-01T00:00:00", true))),
            ("2016-12-31T23:59:60.5Z", Some(("2017-01-01T00:00:00.5", true))),
            ("2016-12-31T23:59:61Z", None),
        ] {
            let wanted = wanted.map(|(text, is_leap)| Lax {
                counted: plain(text),
                is_leap,
            });
            assert_eq!(lax(text), wanted, "{text}");
        }
        assert_eq!(parse_date_lax("2024-01-02T23:00-05:00"), None);
    }

    #[test]
    fn moments_have_units_and_zones() {
        let east: Tz = "+02:00".parse().unwrap();
        for (unit, wanted) in [
            (TimeUnit::Second, Finer(1)),
            (TimeUnit::Millisecond, Finer(1_234)),
            (TimeUnit::Microsecond, Finer(1_234_567)),
            (TimeUnit::Nanosecond, Exactly(1_234_567_891)),
        ] {
            for (text, zone) in [
                ("1970-01-01T02:00:01.234567891", Some(east)),
                ("1970-01-01T00:00:01.234567891Z", Some(east)),
                ("1970-01-01T00:00:01.234567891", None),
            ] {
                assert_eq!(parse_moment(text, unit, zone), Some(wanted), "{text}");
            }
            assert_eq!(parse_time("00:00:01.234567891", unit), Some(wanted));
        }
        assert_eq!(
            parse_moment("1970-01-02", TimeUnit::Millisecond, None),
            Some(Exactly(DAY_MILLIS))
        );
        assert_eq!(
            parse_moment("1970-01-02", TimeUnit::Second, None),
            Some(Exactly(86_400))
        );
        assert_eq!(
            parse_moment("9999-01-01T00:00:00Z", TimeUnit::Nanosecond, None),
            Some(TooFar)
        );
        assert_eq!(parse_time("25:00:00", TimeUnit::Second), None);
        assert_eq!(parse_time("23:59:60", TimeUnit::Second), None);
        assert_eq!(
            parse_moment("1970-01-01T23:59:60", TimeUnit::Nanosecond, Some(east)),
            None
        );
        assert_eq!(parse_time("08:30", TimeUnit::Second), Some(Exactly(30_600)));
    }

    #[test]
    fn units_are_counted_in_each_other() {
        use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
        for (count, from, to, wanted) in [
            (2, Second, Millisecond, Exactly(2_000)),
            (-1, Microsecond, Millisecond, Finer(0)),
            (-1_001, Microsecond, Millisecond, Finer(-1)),
            (-1_000, Microsecond, Millisecond, Exactly(-1)),
            (1_999, Microsecond, Millisecond, Finer(1)),
            (i64::MAX, Second, Millisecond, TooFar),
            (i64::MIN, Nanosecond, Second, Finer(-9_223_372_036)),
        ] {
            assert_eq!(recount(count, from, to), wanted, "{count}");
        }
    }

    #[test]
    fn the_fast_way_and_the_general_way_agree() {
        let mut day = -800_000;
        while day < 3_000_000 {
            let millis = i64::from(day) * DAY_MILLIS + i64::from(day).rem_euclid(DAY_MILLIS) * 997 % DAY_MILLIS;
            let Some(time) = chrono::DateTime::from_timestamp_millis(millis) else {
                break;
            };
            let text = time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
            if text.len() == 24 {
                assert_eq!(common(text.as_bytes()), Some(Exactly(millis)), "{text}");
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
