//! [`Timestamp`]: a UTC instant with nanoseconds, as metadata blocks carry it.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike as _, NaiveDate, NaiveTime, SecondsFormat, Timelike as _, Utc};

use super::text::serde_by_text;

/// A UTC instant to the nanosecond, in the years 0 to 9999 (those RFC 3339 can write).
///
/// Its text form is RFC 3339 with `Z` and the shortest of 0, 3, 6 or 9 decimals.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(DateTime<Utc>);

/// Why something is not a [`Timestamp`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimestampError {
    /// A member is out of its range, or the year is not in 0..=9999.
    #[error("no such time: year {year}, day {ordinal}, second {seconds}, nanosecond {nanoseconds}")]
    OutOfRange {
        /// Year.
        year: i32,
        /// Day of the year from 1.
        ordinal: u16,
        /// Seconds since midnight.
        seconds: u32,
        /// Nanoseconds since the second.
        nanoseconds: u32,
    },
    /// The text is not RFC 3339.
    #[error("`{text}` is not an RFC 3339 time")]
    NotRfc3339 {
        /// The text.
        text: String,
    },
}

impl Timestamp {
    /// The members of the FlatBuffers struct: year, day of the year from 1, seconds since midnight, nanoseconds.
    pub fn parts(&self) -> (i32, u16, u32, u32) {
        let (date, time) = (self.0.date_naive(), self.0.time());
        // A day of the year is at most 366.
        (
            date.year(),
            date.ordinal() as u16,
            time.num_seconds_from_midnight(),
            time.nanosecond(),
        )
    }

    /// The inverse of [`Self::parts`].
    ///
    /// # Errors
    /// [`TimestampError::OutOfRange`].
    pub fn from_parts(year: i32, ordinal: u16, seconds: u32, nanoseconds: u32) -> Result<Self, TimestampError> {
        let date = NaiveDate::from_yo_opt(year, u32::from(ordinal)).filter(|_| (0..=9999).contains(&year));
        let time = NaiveTime::from_num_seconds_from_midnight_opt(seconds, nanoseconds);
        match (date, time) {
            (Some(date), Some(time)) => Ok(Self(date.and_time(time).and_utc())),
            _ => Err(TimestampError::OutOfRange {
                year,
                ordinal,
                seconds,
                nanoseconds,
            }),
        }
    }

    /// The instant this many milliseconds after 1970, or `None` outside the range.
    pub fn from_millis(millis: i64) -> Option<Self> {
        Self::try_from(DateTime::from_timestamp_millis(millis)?).ok()
    }

    /// Milliseconds since 1970; nanoseconds are cut off, as kamu does for the `system_time` column of a slice.
    pub fn millis(&self) -> i64 {
        self.0.timestamp_millis()
    }

    /// The instant for calendar arithmetic.
    pub fn datetime(&self) -> DateTime<Utc> {
        self.0
    }
}

impl TryFrom<DateTime<Utc>> for Timestamp {
    type Error = TimestampError;

    fn try_from(time: DateTime<Utc>) -> Result<Self, TimestampError> {
        let (year, ordinal, seconds, nanoseconds) = Self(time).parts();
        Self::from_parts(year, ordinal, seconds, nanoseconds)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timestamp({self})")
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    /// Reads RFC 3339 with any offset.
    fn from_str(text: &str) -> Result<Self, TimestampError> {
        let read = DateTime::parse_from_rfc3339(text).map_err(|_| TimestampError::NotRfc3339 {
            text: text.chars().take(64).collect(),
        })?;
        Self::try_from(read.to_utc())
    }
}

serde_by_text!(Timestamp);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_the_shortest_fraction() {
        for text in [
            "2026-01-01T00:00:00Z",
            "2026-06-01T00:00:00.500Z",
            "2026-01-01T00:00:00.123456Z",
            "2026-01-01T00:00:00.123456789Z",
            "0000-01-01T00:00:00Z",
            "9999-12-31T23:59:60.999999999Z",
        ] {
            assert_eq!(text.parse::<Timestamp>().unwrap().to_string(), text);
        }
        assert_eq!(
            "2026-01-01T02:00:00.5+02:00".parse::<Timestamp>().unwrap().to_string(),
            "2026-01-01T00:00:00.500Z"
        );
    }

    #[test]
    fn parts_read_back_and_bad_ones_are_refused() {
        let time: Timestamp = "2024-02-29T00:00:01.5Z".parse().unwrap();
        assert_eq!(time.parts(), (2024, 60, 1, 500_000_000));
        assert_eq!(Timestamp::from_parts(2024, 60, 1, 500_000_000), Ok(time));
        assert_eq!(time.millis(), 1_709_164_801_500);
        assert_eq!(Timestamp::from_millis(time.millis()), Some(time));
        for (year, day, second, nano) in [
            (10_000, 1, 0, 0),
            (-1, 1, 0, 0),
            (2024, 0, 0, 0),
            (2023, 366, 0, 0),
            (2024, 1, 86_400, 0),
            (2024, 1, 0, u32::MAX),
        ] {
            assert!(
                Timestamp::from_parts(year, day, second, nano).is_err(),
                "{year} {day} {second} {nano}"
            );
        }
        assert_eq!(Timestamp::from_millis(i64::MAX), None);
        assert!("0000-01-01T00:00:00+01:00".parse::<Timestamp>().is_err());
    }
}
