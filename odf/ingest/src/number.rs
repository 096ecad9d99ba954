//! Numbers as text tables write them, digit by digit: whether a type holds what is written, and what it comes to.

use std::str::FromStr;

use arrow::compute::kernels::cast_utils::parse_decimal;
use arrow::datatypes::DecimalType;

/// More digits than any decimal type holds.
const MOST_DECIMAL_DIGITS: usize = 80;
/// Digits that every float of 64 bits keeps, whatever they are.
pub(super) const FLOAT_DIGITS: usize = 15;
/// Exponents of ten within which floats of 64 bits keep that many.
const FLOAT_EXPONENTS: std::ops::Range<i64> = -300..300;
/// The longest exact text of a float of 64 bits.
const MOST_FLOAT_DIGITS: usize = 800;

/// `-12.50e3`, taken apart: the value is `0.d₁d₂… · 10^point`.
#[derive(Debug, PartialEq, Eq)]
struct Digits {
    negative: bool,
    /// Without zeros at either end; none at all for zero.
    digits: String,
    point: i64,
}

impl Digits {
    /// None if the text is not `[+-]digits[.digits][e[+-]digits]` with at least one digit before the exponent.
    fn of(text: &str) -> Option<Digits> {
        let (negative, text) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.len() + fraction.len() == 0 || !all_digits(whole) || !all_digits(fraction) {
            return None;
        }
        let written = [whole, fraction].concat();
        let first = written.bytes().position(|digit| digit != b'0').unwrap_or(written.len());
        let digits = written[first..].trim_end_matches('0').to_owned();
        // A text fits memory, so its length fits 64 bits with room to spare.
        let point = whole.len() as i64 - first as i64 + i64::from(exponent);
        let point = if digits.is_empty() { 0 } else { point };
        Some(Digits {
            negative,
            digits,
            point,
        })
    }

    /// The integer that this is after `scale` more places, as text, and the first of the digits behind it, if there are any.
    /// None if it has more digits than any decimal type.
    fn scaled(&self, scale: i64) -> Option<(String, Option<u8>)> {
        let places = self.point + scale;
        let length = i64::try_from(self.digits.len()).ok()?;
        if self.digits.is_empty() {
            return Some(("0".to_owned(), None));
        }
        if places > MOST_DECIMAL_DIGITS as i64 {
            return None;
        }
        let Ok(places) = usize::try_from(places) else {
            return Some(("0".to_owned(), Some(b'0')));
        };
        if i64::try_from(places).ok()? >= length {
            let zeros = "0".repeat(places - self.digits.len());
            return Some((format!("{}{zeros}", self.digits), None));
        }
        let (kept, behind) = self.digits.split_at(places);
        let kept = if kept.is_empty() { "0" } else { kept };
        Some((kept.to_owned(), behind.bytes().next()))
    }
}

/// An integer, also when written as a fraction or with an exponent that come to exactly one (`3.0`, as spreadsheets and data
/// frames do).
pub(super) fn integer<T: FromStr>(text: &str) -> Option<T> {
    if let Ok(value) = text.parse() {
        return Some(value);
    }
    let digits = Digits::of(text)?;
    let (whole, behind) = digits.scaled(0)?;
    let sign = if digits.negative && whole != "0" { "-" } else { "" };
    behind
        .is_none()
        .then(|| format!("{sign}{whole}").parse().ok())
        .flatten()
}

/// A decimal that fits when the digits behind its scale are cut, and whether there are any.
pub(super) fn cut_decimal<T: DecimalType>(text: &str, precision: u8, scale: i8) -> Option<(T::Native, bool)> {
    let digits = Digits::of(text)?;
    let (whole, behind) = digits.scaled(scale.into())?;
    if whole.len() > usize::from(precision) {
        return None;
    }
    let sign = if digits.negative { "-" } else { "" };
    let decimal = parse_decimal::<T>(&format!("{sign}{whole}"), precision, 0).ok()?;
    Some((decimal, behind.is_some()))
}

/// A decimal that fits when it is rounded half away from zero.
pub(super) fn rounded_decimal<T: DecimalType>(text: &str, precision: u8, scale: i8) -> Option<T::Native> {
    let digits = Digits::of(text)?;
    let (mut whole, behind) = digits.scaled(scale.into())?;
    if behind.is_some_and(|digit| digit >= b'5') {
        whole = plus_one(&whole);
    }
    if whole.len() > usize::from(precision) {
        return None;
    }
    let sign = if digits.negative { "-" } else { "" };
    parse_decimal::<T>(&format!("{sign}{whole}"), precision, 0).ok()
}

/// The next integer.
fn plus_one(whole: &str) -> String {
    let kept = whole.trim_end_matches('9');
    let zeros = "0".repeat(whole.len() - kept.len());
    match kept.as_bytes().last() {
        None => format!("1{zeros}"),
        Some(last) => format!("{}{}{zeros}", &kept[..kept.len() - 1], char::from(last + 1)),
    }
}

/// The integer that is left of a number when its fraction is cut, and whether there is any; none beyond the integers that
/// floats hold.
pub(super) fn cut_integer(text: &str) -> Option<(i64, bool)> {
    let digits = Digits::of(text)?;
    let (whole, behind) = digits.scaled(0)?;
    let is_cut = behind.is_some();
    let sign = if digits.negative && whole != "0" { "-" } else { "" };
    let whole: i64 = format!("{sign}{whole}").parse().ok()?;
    (!is_cut || whole.unsigned_abs() < 1 << 53).then_some((whole, is_cut))
}

/// Why a text is no float of some width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotFloat {
    /// It is no number.
    Text,
    /// It is one that would become infinite, or zero.
    TooFar,
    /// It is one that would come out with other digits.
    Digits,
}

/// The nearest float. With `exactly` none of the digits that are written may get lost: the float, written with as many of
/// them, must be what was written. Integers have to be held exactly in any case.
pub(super) fn float<F>(text: &str, exactly: bool) -> Result<F, NotFloat>
where
    F: FromStr + Copy + Into<f64> + std::fmt::LowerExp,
{
    let float: F = text.parse().map_err(|_| NotFloat::Text)?;
    let value: f64 = float.into();
    if value.is_nan() {
        return Ok(float);
    }
    let has_digits = text.bytes().any(|b| b.is_ascii_digit());
    if value.is_infinite() {
        return if has_digits { Err(NotFloat::TooFar) } else { Ok(float) };
    }
    let short = text.len() <= FLOAT_DIGITS && size_of::<F>() == size_of::<f64>();
    if value != 0.0 && short {
        return Ok(float);
    }
    if value == 0.0 {
        let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
        let is_zero = !mantissa.bytes().any(|b| matches!(b, b'1'..=b'9'));
        return if is_zero { Ok(float) } else { Err(NotFloat::TooFar) };
    }
    let digits = Digits::of(text).ok_or(NotFloat::Text)?;
    let is_integer = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'+'));
    // Zeros before the point are digits like others, unless an exponent makes them.
    let whole = usize::try_from(digits.point).unwrap_or_default();
    let written = match text.contains(['e', 'E']) {
        true => digits.digits.len(),
        false => digits.digits.len().max(whole),
    };
    if (exactly || is_integer) && !keeps(float, &digits, written) {
        return Err(NotFloat::Digits);
    }
    Ok(float)
}

/// Whether a float, written with `length` digits, is the number of these digits.
fn keeps<F: Copy + std::fmt::LowerExp>(float: F, digits: &Digits, length: usize) -> bool {
    if size_of::<F>() == size_of::<f64>() && length <= FLOAT_DIGITS && FLOAT_EXPONENTS.contains(&digits.point) {
        return true;
    }
    if length > MOST_FLOAT_DIGITS {
        return false;
    }
    Digits::of(&format!("{float:.*e}", length.saturating_sub(1))).as_ref() == Some(digits)
}

/// Digits before and behind the point, where that is all there is: no exponent.
pub(super) fn places(text: &str) -> Option<(usize, usize)> {
    let text = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    (all_digits(whole) && all_digits(fraction)).then_some((whole.len(), fraction.len()))
}

/// Digits before and behind the point that count: zeros around the number do not, whatever its exponent. None if it is no
/// number.
pub(super) fn significant(text: &str) -> Option<(usize, usize)> {
    let digits = Digits::of(text)?;
    let behind = i64::try_from(digits.digits.len()).ok()?.saturating_sub(digits.point);
    let count = |places: i64| usize::try_from(places.max(0)).ok();
    Some((count(digits.point)?, count(behind)?))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{Decimal128Type, Decimal256Type, i256};

    use super::*;

    #[test]
    fn integers_are_what_their_digits_say() {
        for (text, wanted) in [
            ("3", Some(3)),
            ("3.0", Some(3)),
            ("-3.00", Some(-3)),
            ("1.5e3", Some(1500)),
            ("1500e-2", Some(15)),
            ("-0.0", Some(0)),
            ("9223372036854775807.0", Some(i64::MAX)),
            ("9007199254740993.0", Some(9_007_199_254_740_993)),
            ("1e12", Some(1_000_000_000_000)),
            ("1.5", None),
            ("123.00000000000000000001", None),
            ("9223372036854775808", None),
            ("1e400", None),
            ("1e2147483647", None),
            ("1e2147483648", None),
            ("1e-2147483648", None),
            (".", None),
            ("", None),
            ("e5", None),
            ("1,000", None),
            ("0x10", None),
        ] {
            assert_eq!(integer::<i64>(text), wanted, "{text}");
        }
    }

    #[test]
    fn decimals_are_rounded_half_away_from_zero() {
        for (text, wanted) in [
            ("1.999", Some(200)),
            ("2.675", Some(268)),
            ("-2.675", Some(-268)),
            ("2.674", Some(267)),
            ("0.005", Some(1)),
            ("0.0049", Some(0)),
            ("0.00049", Some(0)),
            ("99999999.994", Some(9_999_999_999)),
            ("99999999.995", None),
            ("NaN", None),
        ] {
            assert_eq!(rounded_decimal::<Decimal128Type>(text, 10, 2), wanted, "{text}");
        }
        assert_eq!(rounded_decimal::<Decimal128Type>("1255", 3, -1), Some(126));
    }

    #[test]
    fn what_is_cut_is_known() {
        for (text, wanted) in [
            ("1.999", Some((199, true))),
            ("-1.999", Some((-199, true))),
            ("1.99", Some((199, false))),
            ("1.50000", Some((150, false))),
            ("1.5e1", Some((1500, false))),
            ("0e999999999", Some((0, false))),
            ("-0", Some((0, false))),
            ("1e999999999", None),
            ("NaN", None),
            ("1 000", None),
            ("99999999.995", Some((9_999_999_999, true))),
            ("-0.001", Some((0, true))),
            ("1e-9", Some((0, true))),
            ("100000000", None),
            ("x", None),
        ] {
            assert_eq!(cut_decimal::<Decimal128Type>(text, 10, 2), wanted, "{text}");
        }
        let nines = "9".repeat(76);
        let wide = i256::from_string(&nines).map(|wide| (wide, false));
        assert_eq!(cut_decimal::<Decimal256Type>(&nines, 76, 0), wide);
        assert_eq!(cut_decimal::<Decimal256Type>(&format!("{nines}9"), 76, 0), None);
        assert_eq!(cut_decimal::<Decimal128Type>("1255", 3, -1), Some((125, true)));
        for (text, wanted) in [
            ("1.5", Some((1, true))),
            ("-1.5", Some((-1, true))),
            ("-0.5", Some((0, true))),
            ("1e12", Some((1_000_000_000_000, false))),
            ("9223372036854775807", Some((i64::MAX, false))),
            ("9007199254740991.5", Some((9_007_199_254_740_991, true))),
            ("9007199254740992.5", None),
            ("9223372036854775808", None),
            ("1e400", None),
            ("", None),
        ] {
            assert_eq!(cut_integer(text), wanted, "{text}");
        }
    }

    #[test]
    fn digits_are_counted_without_the_zeros_around_them() {
        for (text, wanted) in [
            ("0120.00", Some((3, 0))),
            ("1.2e2", Some((3, 0))),
            ("-1.050", Some((1, 2))),
            ("0.0012", Some((0, 4))),
            ("1.5e-2", Some((0, 3))),
            ("-0.00", Some((0, 0))),
            ("x", None),
        ] {
            assert_eq!(significant(text), wanted, "{text}");
        }
    }

    #[test]
    fn floats_keep_the_digits_that_are_written() {
        use NotFloat::{Digits, Text, TooFar};
        for (text, exact, nearest) in [
            ("0.1", Ok(0.1), Ok(0.1)),
            ("0.10000000000000001", Ok(0.1), Ok(0.1)),
            ("0.1000000000000000055511151231257827", Ok(0.1), Ok(0.1)),
            ("123456789012345678", Err(Digits), Err(Digits)),
            ("9007199254740993", Err(Digits), Err(Digits)),
            (
                "9007199254740992",
                Ok(9_007_199_254_740_992.0),
                Ok(9_007_199_254_740_992.0),
            ),
            ("-69187317487800970", Err(Digits), Err(Digits)),
            ("69187317487800970.0", Err(Digits), Ok(69_187_317_487_800_968.0)),
            ("100000000000000000000", Ok(1e20), Ok(1e20)),
            ("1e23", Ok(1e23), Ok(1e23)),
            ("1.2345678901234567890", Err(Digits), Ok(1.234_567_890_123_456_8)),
            ("1e400", Err(TooFar), Err(TooFar)),
            ("-1e400", Err(TooFar), Err(TooFar)),
            ("1e-400", Err(TooFar), Err(TooFar)),
            ("0e-400", Ok(0.0), Ok(0.0)),
            ("1.23456789012345e-310", Err(Digits), Ok(1.234_567_890_123_45e-310)),
            ("inf", Ok(f64::INFINITY), Ok(f64::INFINITY)),
            ("1,5", Err(Text), Err(Text)),
        ] {
            assert_eq!(float::<f64>(text, true), exact, "{text}");
            assert_eq!(float::<f64>(text, false), nearest, "{text}");
        }
        assert!(float::<f64>("NaN", true).is_ok_and(f64::is_nan));
        assert_eq!(float::<f32>("1e39", false), Err(TooFar));
        assert_eq!(float::<f32>("0.1", true), Ok(0.1));
        assert_eq!(float::<f32>("16777217", false), Err(Digits));
        assert_eq!(float::<f32>("0.123456789", true), Err(Digits));
    }
}
