//! What the cells of a sheet hold, as the texts that CSV would have: numbers with all their digits and no more, dates and
//! times as ISO 8601 has them.

use chrono::{Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};

use crate::source::MAX_ROW_BYTES;

/// The text of a value, or why there is none.
pub(super) type Value = Result<String, String>;

/// The cells of a row that have something in them, each with its column, counted from 0.
pub(super) type Cells = Vec<(u32, Value)>;

/// How many bytes a cell is to count that has no text to speak of.
const CELL_BYTES: usize = size_of::<(u32, Value)>();

/// The bytes that a row may still have.
pub(super) struct Room(usize);

impl Room {
    pub(super) fn new() -> Self {
        Self(MAX_ROW_BYTES)
    }

    /// Takes the room of a value, which is there so many times; false if there is not enough of it.
    pub(super) fn take(&mut self, value: &Value, times: u64) -> bool {
        let (Ok(text) | Err(text)) = value;
        let bytes = usize::try_from(times).map_or(usize::MAX, |times| times.saturating_mul(text.len() + CELL_BYTES));
        let left = self.0.checked_sub(bytes);
        self.0 = left.unwrap_or_default();
        left.is_some()
    }
}

/// Days behind the year 9999, where the calendars of spreadsheets end.
const DAYS_END: f64 = 2_958_466.0;

/// Microseconds of a day.
const DAY: f64 = 86_400_000_000.0;

/// As close to a whole millisecond as this many microseconds, a time is that millisecond: times are fractions of a day with
/// 15 or 16 digits, which hardly any millisecond is exactly.
const NOISE: i64 = 10;

/// How many digits at most tell a float from all others.
const FLOAT_DIGITS: usize = 17;

/// The name of a cell, such as `B7`, from its row, counted from 1, and its column, counted from 0.
pub(super) fn place(row: u64, column: u32) -> String {
    let mut letters = Vec::new();
    let mut rest = u64::from(column) + 1;
    while rest > 0 {
        letters.push(char::from(b'A' + u8::try_from((rest - 1) % 26).unwrap_or_default()));
        rest = (rest - 1) / 26;
    }
    let letters: String = letters.iter().rev().collect();
    format!("{letters}{row}")
}

/// Why a cell with an error has no value.
pub(super) fn error(shown: &str) -> String {
    format!("the cell holds the error {shown}; mend its formula, or clear it")
}

/// Why a formula has none.
pub(super) fn unreckoned() -> String {
    "a formula without a stored value; open the file in a spreadsheet program and save it there".to_owned()
}

/// A number as it is to be read: an integer without a point, and the fewest digits that stand for the same float. One with
/// more digits than a float has stays as it is written.
pub(super) fn number(text: &str) -> Value {
    let text = text.trim();
    let Some((sign, digits, exponent)) = decimal(text) else {
        return Err(format!("`{}` is not a number", crate::source::shorten(text)));
    };
    if digits.is_empty() {
        return Ok("0".to_owned());
    }
    let as_written = || Ok(text.strip_prefix('+').unwrap_or(text).to_owned());
    let Ok(float) = text.parse::<f64>() else {
        return as_written();
    };
    if let Ok(zeros @ 0..=18) = usize::try_from(exponent) {
        let integer = format!("{sign}{digits}{}", "0".repeat(zeros));
        if integer.parse::<i64>().is_ok() || digits.len() > FLOAT_DIGITS {
            return Ok(integer);
        }
    }
    if digits.len() > FLOAT_DIGITS || !float.is_finite() || float == 0.0 {
        return as_written();
    }
    // The float with as many digits as are written has to be what is written.
    let again = format!("{float:.*e}", digits.len() - 1);
    match decimal(&again) {
        Some(again) if again == (sign, digits, exponent) => {}
        _ => return as_written(),
    }
    Ok(match float.abs() {
        1e-5..1e16 => float.to_string(),
        _ => format!("{float:e}"),
    })
}

/// Sign, digits without zeros at either end, and the power of ten that the last of them counts; no digits for zero.
fn decimal(text: &str) -> Option<(&'static str, String, i64)> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, i64::from(exponent.parse::<i32>().ok()?)),
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let ahead = all.trim_start_matches('0');
    let digits = ahead.trim_end_matches('0');
    if digits.is_empty() {
        return Some(("", String::new(), 0));
    }
    let exponent = exponent - i64::try_from(fraction.len()).ok()? + i64::try_from(ahead.len() - digits.len()).ok()?;
    Some((sign, digits.to_owned(), exponent))
}

/// What a number in a cell is shown as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A number.
    Number,
    /// A date.
    Date,
    /// A date and a time of day.
    DateTime,
    /// A time of day.
    Time,
    /// Hours, which may be more than a day has.
    Elapsed,
    /// A date or a time; which one, only the value tells.
    Either,
}

/// What the format that every `.xlsx` has under this number shows.
pub(super) fn built_in(id: u32) -> Kind {
    match id {
        14..=17 => Kind::Date,
        22 => Kind::DateTime,
        18..=21 | 45 | 47 => Kind::Time,
        46 => Kind::Elapsed,
        // What East Asian programs have there is not the same in all languages.
        27..=36 | 50..=58 => Kind::Either,
        _ => Kind::Number,
    }
}

/// What a format such as `yyyy-mm-dd` shows.
pub(super) fn kind(format: &str) -> Kind {
    let (mut date, mut time, mut months) = (false, false, false);
    let mut rest = format.chars();
    while let Some(char) = rest.next() {
        match char.to_ascii_lowercase() {
            // The others are for negative numbers, zero and text.
            ';' => break,
            '"' => while !matches!(rest.next(), Some('"') | None) {},
            '\\' | '_' | '*' => {
                rest.next();
            }
            '[' => {
                let inner: String = rest.by_ref().take_while(|char| *char != ']').collect();
                if !inner.is_empty()
                    && inner
                        .chars()
                        .all(|char| matches!(char, 'h' | 'm' | 's' | 'H' | 'M' | 'S'))
                {
                    return Kind::Elapsed;
                }
            }
            'g' if rest
                .as_str()
                .get(..6)
                .is_some_and(|rest| rest.eq_ignore_ascii_case("eneral")) =>
            {
                rest.nth(5);
            }
            'e' if rest.as_str().starts_with(['+', '-']) => {}
            'y' | 'd' | 'e' | 'g' | 'b' => date = true,
            'h' | 's' => time = true,
            'm' => months = true,
            _ => {}
        }
    }
    match (date, time) {
        (true, true) => Kind::DateTime,
        (true, false) => Kind::Date,
        (false, true) => Kind::Time,
        (false, false) if months => Kind::Date,
        (false, false) => Kind::Number,
    }
}

/// The date or time that is so many days behind the beginning of the calendar: 1900, or 1904.
pub(super) fn moment(text: &str, kind: Kind, is_1904: bool) -> Value {
    let text = text.trim();
    let days: f64 = text
        .parse()
        .ok()
        .filter(|days: &f64| days.is_finite())
        .ok_or_else(|| format!("`{}` is not a number", crate::source::shorten(text)))?;
    let within_a_day = (0.0..1.0).contains(&days);
    let is_time = match kind {
        Kind::Elapsed => true,
        Kind::Time | Kind::Either => within_a_day,
        Kind::DateTime => within_a_day && !is_1904,
        Kind::Date | Kind::Number => false,
    };
    if is_time {
        if days.abs() >= DAYS_END {
            return Err("the cell holds a duration that is too long".to_owned());
        }
        return Ok(clock(days < 0.0, micros(days.abs())));
    }
    let none = || format!("the cell has the format of a date, and the calendar has no day {text}");
    if !(0.0..DAYS_END).contains(&days) {
        return Err(none());
    }
    let day = days.floor();
    // Spreadsheets show a 29 February 1900, which was none: up to it days count from another one.
    let (year, month, first) = match day {
        _ if is_1904 => (1904, 1, 1),
        0.0 | 60.0 => return Err(none()),
        1.0..60.0 => (1899, 12, 31),
        _ => (1899, 12, 30),
    };
    let date = NaiveDate::from_ymd_opt(year, month, first).and_then(|first| first.checked_add_days(whole_days(day)));
    let of_day = micros(days - day);
    let at = date.and_then(|date| {
        date.and_time(NaiveTime::MIN)
            .checked_add_signed(TimeDelta::microseconds(of_day))
    });
    Ok(written(
        at.ok_or_else(none)?,
        of_day == 0 && matches!(kind, Kind::Date | Kind::Either),
    ))
}

/// `day` is a whole number within the calendar.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the days are within a range that was looked at"
)]
fn whole_days(day: f64) -> Days {
    Days::new(day as u64)
}

/// Whole microseconds of so many days; those of a whole millisecond if it is one but for how it is stored.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the days are within a range that was looked at"
)]
fn micros(days: f64) -> i64 {
    without_noise((days * DAY).round() as i64)
}

fn without_noise(micros: i64) -> i64 {
    let millis = (micros + 500).div_euclid(1_000) * 1_000;
    match (micros - millis).abs() <= NOISE {
        true => millis,
        false => micros,
    }
}

fn written(at: NaiveDateTime, as_date: bool) -> String {
    if as_date {
        return at.date().to_string();
    }
    let micros = at.and_utc().timestamp_subsec_micros();
    format!("{}{}", at.format("%Y-%m-%dT%H:%M:%S"), below_a_second(micros.into()))
}

/// Digits below the second, as many as needed of three or six.
fn below_a_second(micros: i64) -> String {
    match (micros, micros % 1_000) {
        (0, _) => String::new(),
        (_, 0) => format!(".{:03}", micros / 1_000),
        _ => format!(".{micros:06}"),
    }
}

/// A time of day or a duration: `08:30:00`, `-26:00:00.500`.
fn clock(is_negative: bool, micros: i64) -> String {
    let (seconds, below) = (micros / 1_000_000, below_a_second(micros % 1_000_000));
    let sign = if is_negative && micros > 0 { "-" } else { "" };
    format!(
        "{sign}{:02}:{:02}:{:02}{below}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// A date, with a time or without, as `.ods` has it; what is neither stays as it is.
pub(super) fn iso_moment(text: &str) -> String {
    let text = text.trim();
    let Ok(at) = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f") else {
        return text.to_owned();
    };
    let nanos = i64::from(at.and_utc().timestamp_subsec_nanos());
    let millis = (nanos + 500_000).div_euclid(1_000_000) * 1_000_000;
    let moved = match nanos {
        _ if (nanos - millis).abs() <= NOISE * 1_000 => millis - nanos,
        _ if nanos % 1_000 == 0 => 0,
        // All its digits are meant.
        _ => return text.to_owned(),
    };
    let at = at.checked_add_signed(TimeDelta::nanoseconds(moved));
    at.map_or_else(|| text.to_owned(), |at| written(at, false))
}

/// A duration as `.ods` has it, `PT08H30M00S`, as a time of day.
pub(super) fn iso_duration(text: &str) -> Value {
    let text = text.trim();
    let fail = || format!("`{}` is not a time", crate::source::shorten(text));
    let (is_negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (days, times) = rest
        .strip_prefix('P')
        .ok_or_else(fail)?
        .split_once('T')
        .unwrap_or((rest, ""));
    let mut seconds = 0_f64;
    let mut add = |part: &str, units: &[(char, f64)]| -> Result<(), String> {
        let mut rest = part;
        while let Some(end) = rest.find(|char: char| char.is_ascii_alphabetic()) {
            let (count, behind) = rest.split_at(end);
            let unit = units
                .iter()
                .find(|(unit, _)| behind.starts_with(*unit))
                .ok_or_else(fail)?;
            let count: f64 = count.replace(',', ".").parse().map_err(|_| fail())?;
            seconds += count * unit.1;
            rest = behind.get(1..).unwrap_or_default();
        }
        if rest.is_empty() { Ok(()) } else { Err(fail()) }
    };
    let days = days.strip_prefix('P').unwrap_or(days);
    add(days, &[('D', 86_400.0)])?;
    add(times, &[('H', 3_600.0), ('M', 60.0), ('S', 1.0)])?;
    let of_days = seconds / 86_400.0;
    if !of_days.is_finite() || of_days >= DAYS_END || rest.len() < 3 {
        return Err(fail());
    }
    Ok(clock(is_negative, micros(of_days)))
}

/// Text in which `.xlsx` writes characters that XML has none for as `_x000D_`.
pub(super) fn unescaped(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find("_x") {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let code = from
            .get(2..6)
            .filter(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let char = code
            .filter(|_| from.get(6..7) == Some("_"))
            .and_then(|code| char::from_u32(u32::from_str_radix(code, 16).ok()?));
        match char {
            Some(char) => {
                out.push(char);
                rest = from.get(7..).unwrap_or_default();
            }
            None => {
                out.push_str("_x");
                rest = from.get(2..).unwrap_or_default();
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_have_the_names_that_spreadsheets_show() {
        for (row, column, name) in [(1, 0, "A1"), (7, 25, "Z7"), (1, 26, "AA1"), (10, 16_383, "XFD10")] {
            assert_eq!(place(row, column), name);
        }
    }

    #[test]
    fn numbers_keep_their_digits_and_get_none() {
        for (text, read) in [
            ("0", "0"),
            ("-0", "0"),
            ("0.0", "0"),
            ("-10", "-10"),
            (" 100.0 ", "100"),
            ("1E+2", "100"),
            ("1E+18", "1000000000000000000"),
            ("1234567890123456789", "1234567890123456789"),
            ("-9223372036854775808", "-9223372036854775808"),
            // Beyond 64 bits: a float if it is one, else what is written.
            ("1E+19", "1e19"),
            ("6.022E23", "6.022e23"),
            ("12345678901234567890", "12345678901234567890"),
            ("0.1", "0.1"),
            ("1.1000000000000001", "1.1"),
            ("0.30000000000000004", "0.30000000000000004"),
            ("1.10", "1.1"),
            ("1E-7", "1e-7"),
            ("0.1234567890123456789", "0.1234567890123456789"),
            ("9007199254740993.5", "9007199254740993.5"),
            ("1e400", "1e400"),
            ("1e-400", "1e-400"),
        ] {
            assert_eq!(number(text).unwrap(), read, "{text}");
        }
        for text in ["", "x", "1x", "NaN", "INF", "1e", "1,5", "--1", "1e99999999999"] {
            assert!(number(text).is_err(), "{text}");
        }
    }

    #[test]
    fn formats_tell_dates_and_times_from_numbers() {
        for (format, shown) in [
            ("General", Kind::Number),
            ("0.00E+00", Kind::Number),
            ("#,##0.00\\ \"days\"", Kind::Number),
            ("[Red]0;[Blue]yyyy", Kind::Number),
            ("[$-409]d/m/yy h:mm AM/PM", Kind::DateTime),
            ("yyyy-mm-dd", Kind::Date),
            ("mmm", Kind::Date),
            ("[h]:mm:ss", Kind::Elapsed),
            ("h:mm", Kind::Time),
            ("mm:ss.0", Kind::Time),
            ("_-* #,##0.00\\ [$d-1]_-", Kind::Number),
            ("\"unfinished", Kind::Number),
            ("[", Kind::Number),
            ("\\", Kind::Number),
        ] {
            assert_eq!(kind(format), shown, "{format}");
        }
        for (id, shown) in [
            (0, Kind::Number),
            (14, Kind::Date),
            (22, Kind::DateTime),
            (46, Kind::Elapsed),
            (49, Kind::Number),
        ] {
            assert_eq!(built_in(id), shown, "{id}");
        }
    }

    #[test]
    fn days_are_dates_and_times() {
        for (days, kind, is_1904, text) in [
            ("45292", Kind::Date, false, "2024-01-01"),
            ("43830", Kind::Date, true, "2024-01-01"),
            ("0", Kind::Date, true, "1904-01-01"),
            ("45292", Kind::DateTime, false, "2024-01-01T00:00:00"),
            ("45292.3541666667", Kind::DateTime, false, "2024-01-01T08:30:00"),
            ("45292.354166666664", Kind::Date, false, "2024-01-01T08:30:00"),
            ("45292.3541724537", Kind::Time, false, "2024-01-01T08:30:00.500"),
            ("45292.99999999999", Kind::DateTime, false, "2024-01-02T00:00:00"),
            ("1", Kind::Date, false, "1900-01-01"),
            ("59", Kind::Date, false, "1900-02-28"),
            ("61", Kind::Date, false, "1900-03-01"),
            ("0.5", Kind::Time, false, "12:00:00"),
            ("0.5", Kind::DateTime, false, "12:00:00"),
            ("0.5", Kind::DateTime, true, "1904-01-01T12:00:00"),
            ("1.25", Kind::Elapsed, false, "30:00:00"),
            ("-0.5", Kind::Elapsed, false, "-12:00:00"),
            ("0.000011574074074", Kind::Elapsed, false, "00:00:01"),
            ("2958465", Kind::Date, false, "9999-12-31"),
        ] {
            assert_eq!(moment(days, kind, is_1904).as_deref(), Ok(text), "{days} {kind:?}");
        }
        for days in ["0", "0.5", "60", "60.5", "-1", "2958466", "nan", "inf", "1e308", ""] {
            assert!(moment(days, Kind::Date, false).is_err(), "{days}");
        }
        assert!(moment("2958466", Kind::Elapsed, false).is_err());
    }

    #[test]
    fn dates_and_times_of_ods_are_those_of_xlsx() {
        for (text, read) in [
            ("2024-01-01", "2024-01-01"),
            ("2024-01-01T08:30:00", "2024-01-01T08:30:00"),
            ("2024-02-29T23:59:59.500000000", "2024-02-29T23:59:59.500"),
            ("2024-02-29T23:59:59.999999900", "2024-03-01T00:00:00"),
            ("2024-02-29T08:30:00.123456000", "2024-02-29T08:30:00.123456"),
            ("2024-02-29T08:30:00.123456700", "2024-02-29T08:30:00.123456700"),
            ("whenever", "whenever"),
        ] {
            assert_eq!(iso_moment(text), read);
        }
        for (text, read) in [
            ("PT08H30M00S", "08:30:00"),
            ("PT26H30M00.500000000S", "26:30:00.500"),
            ("-PT1H", "-01:00:00"),
            ("P1DT2H", "26:00:00"),
            ("PT0S", "00:00:00"),
        ] {
            assert_eq!(iso_duration(text).as_deref(), Ok(read));
        }
        for text in ["", "P", "8:30", "PT", "PT1X", "PT1H5", "PT1e308H", "P1M", "PTH"] {
            assert!(iso_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn escapes_are_the_characters_they_stand_for() {
        for (text, read) in [
            ("a_x000D_\nb", "a\r\nb"),
            ("_x005F_x000D_", "_x000D_"),
            ("_xZZZZ__x0041", "_xZZZZ__x0041"),
            ("_xD800_é_x", "_xD800_é_x"),
            ("", ""),
        ] {
            assert_eq!(unescaped(text), read);
        }
    }
}
