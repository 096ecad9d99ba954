//! Numbers that are written in text of a fixed width, and the type that keeps all their digits.

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType};

use crate::number::{self, FLOAT_DIGITS};

/// Digits of an integer of 64 bits.
const INTEGER_DIGITS: usize = 19;

/// A number with the digits it is written with, in the form that JSON has: no plus, no zeros in front, a digit before the
/// point. None if it is no number.
pub(super) fn in_json(written: &str) -> Option<String> {
    let (sign, rest) = match written.as_bytes().first()? {
        b'-' => ("-", &written[1..]),
        b'+' => ("", &written[1..]),
        _ => ("", written),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (rest, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) || whole.len() + fraction.len() == 0 {
        return None;
    }
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        whole => whole,
    };
    let is_zero = whole == "0" && fraction.bytes().all(|digit| digit == b'0');
    let sign = if is_zero { "" } else { sign };
    let mut text = format!("{sign}{whole}");
    if !fraction.is_empty() {
        text.push('.');
        text.push_str(fraction);
    }
    if let Some(exponent) = exponent {
        let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        if digits.is_empty() || !is_number(digits) {
            return None;
        }
        text.push('e');
        text.push_str(exponent);
    }
    Some(text)
}

/// What a type must be able to hold for all numbers of a field to come back with the digits that they were written with.
#[derive(Debug, Default)]
pub(super) struct Needs {
    /// There are numbers.
    any: bool,
    /// One of them is no integer of 64 bits.
    beyond_integers: bool,
    /// One of them has a point or an exponent.
    broken: bool,
    /// One of them has an exponent.
    exponents: bool,
    /// A float would change digits of one of them.
    beyond_floats: bool,
    /// The most digits before and behind the point.
    whole: usize,
    fraction: usize,
}

impl Needs {
    /// Takes in a number, in the form that JSON has.
    pub(super) fn add(&mut self, number: &str) {
        self.any = true;
        let has_exponent = number.contains(['e', 'E']);
        self.exponents |= has_exponent;
        self.broken |= has_exponent || number.contains('.');
        self.beyond_integers |= number.parse::<i64>().is_err();
        self.beyond_floats |= number::float::<f64>(number, true).is_err();
        // Digits that a large exponent moves away do not count: no decimal is made of numbers with one.
        if let Some((whole, fraction)) = number::significant(number) {
            self.whole = self.whole.max(whole);
            self.fraction = self.fraction.max(fraction);
        }
    }

    /// The narrowest type for a field of so many characters, of which so many are digits behind a point. `floating`: the
    /// field was made for floats; `decimal`: a decimal is wanted where there is one. What the field may hold counts where
    /// that is an integer or a decimal, so that a later table with larger numbers in it fits too; else what is there.
    pub(super) fn narrowest(&self, length: usize, decimals: usize, floating: bool, decimal: bool) -> DataType {
        let of_digits = |digits: usize, scale: usize| match (u8::try_from(digits), i8::try_from(scale)) {
            (Ok(precision), Ok(scale)) if precision <= DECIMAL128_MAX_PRECISION => {
                Some(DataType::Decimal128(precision, scale))
            }
            _ => None,
        };
        if decimals == 0 && !self.broken {
            return match length {
                ..=INTEGER_DIGITS if !self.beyond_integers => DataType::Int64,
                _ => of_digits(length, 0).unwrap_or(DataType::Utf8),
            };
        }
        // One character is the point.
        let digits = length.saturating_sub(1);
        let scale = decimals.max(self.fraction);
        let fits = !self.exponents && scale <= digits && self.whole <= digits - scale;
        let exact = of_digits(digits, scale).filter(|_| fits);
        let float = (!self.beyond_floats).then_some(DataType::Float64);
        let found = if !decimal && (floating || digits <= FLOAT_DIGITS) {
            float.or(exact)
        } else {
            exact.or(float)
        };
        found.unwrap_or(DataType::Utf8)
    }

    /// A float if that holds every number, else the narrowest type; none if there are no numbers.
    pub(super) fn float_if_exact(&self, length: usize, decimals: usize) -> Option<DataType> {
        match (self.any, self.beyond_floats) {
            (false, _) => None,
            (true, false) => Some(DataType::Float64),
            (true, true) => Some(self.narrowest(length, decimals, false, false)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(numbers: &[&str]) -> Needs {
        let mut needs = Needs::default();
        for number in numbers {
            needs.add(&in_json(number).unwrap());
        }
        needs
    }

    #[test]
    fn numbers_are_written_as_json_has_them() {
        for (written, wanted) in [
            ("12", Some("12")),
            ("+5", Some("5")),
            ("-007", Some("-7")),
            ("000", Some("0")),
            ("-0.0", Some("0.0")),
            (".5", Some("0.5")),
            ("5.", Some("5")),
            ("-.50", Some("-0.50")),
            ("1.50e+010", Some("1.50e+010")),
            ("", None),
            ("-", None),
            (".", None),
            ("nan", None),
            ("inf", None),
            ("1,5", None),
            ("1e", None),
            ("1e+", None),
            ("1.2.3", None),
            ("0x10", None),
        ] {
            assert_eq!(in_json(written).as_deref(), wanted, "{written}");
        }
        // What comes out is JSON, exponents apart: their zeros are read too.
        assert_eq!(serde_json::from_str::<f64>("1.50e+010").unwrap(), 1.5e10);
    }

    #[test]
    fn each_field_has_a_type_that_loses_no_digit() {
        use DataType::{Decimal128, Float64, Int64, Utf8};
        for (numbers, length, decimals, floating, wanted) in [
            // Whole numbers.
            (&["1", "-2"][..], 9, 0, false, Int64),
            (&["9007199254740993"], 19, 0, false, Int64),
            (&["9223372036854775807"], 19, 0, false, Int64),
            (&["9223372036854775808"], 19, 0, false, Decimal128(19, 0)),
            (&["1"], 20, 0, false, Decimal128(20, 0)),
            (&["1"], 38, 0, false, Decimal128(38, 0)),
            (&["1"], 39, 0, false, Utf8),
            (&[], 10, 0, false, Int64),
            // Fractions: what fifteen digits hold, floats hold.
            (&["0.1"], 16, 2, false, Float64),
            (&["0.5"], 17, 2, false, Decimal128(16, 2)),
            (&["12345678.123456789012345"], 24, 15, false, Decimal128(23, 15)),
            (&["1234567890123.25"], 24, 15, false, Float64),
            (&["1234567890123456.27"], 24, 15, false, Utf8),
            (&["0.12345678901234567890"], 24, 2, false, Decimal128(23, 19)),
            (&["0.25"], 60, 30, false, Float64),
            (&["0.1234567890123456789"], 60, 30, false, Utf8),
            (&["1.5"], 9, 0, false, Float64),
            // Floats.
            (&["1.23456789012e+010"], 19, 11, true, Float64),
            (&["0.1"], 24, 15, true, Float64),
            (&["0.1234567890123456789"], 24, 19, true, Decimal128(23, 19)),
            (&["1.2345678901234567891e+300"], 30, 11, true, Utf8),
            (&["1e400"], 19, 11, true, Utf8),
        ] {
            let found = needs(numbers).narrowest(length, decimals, floating, false);
            assert_eq!(found, wanted, "{numbers:?} in ({length},{decimals})");
        }
        // With decimals wanted.
        for (numbers, length, decimals, floating, wanted) in [
            (&["1"][..], 9, 0, false, Int64),
            (&["0.1"], 16, 2, false, Decimal128(15, 2)),
            (&["0.1"], 24, 15, true, Decimal128(23, 15)),
            (&["1.5e3"], 24, 15, true, Float64),
        ] {
            let found = needs(numbers).narrowest(length, decimals, floating, true);
            assert_eq!(found, wanted, "{numbers:?} in ({length},{decimals})");
        }
        let as_kamu = |numbers: &[&str]| needs(numbers).float_if_exact(19, 0);
        assert_eq!(as_kamu(&["1", "2"]), Some(Float64));
        assert_eq!(as_kamu(&["9007199254740993"]), Some(Int64));
        assert_eq!(as_kamu(&[]), None);
    }
}
