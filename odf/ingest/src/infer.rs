//! What types the columns of a text table have, found by looking at every value.
//!
//! | values seen (nulls aside) | column |
//! |---|---|
//! | `true`, `false` (in CSV in any case) | Boolean |
//! | integers that fit 64 bits signed, without leading zeros or `+` | Int64 |
//! | those and decimal fractions, exponents, `NaN`, `inf`, `-inf` | Float64 |
//! | `2024-02-29` | Date |
//! | RFC 3339 times, also with a blank for the `T`; without a zone: UTC; dates among them | Timestamp (ms, UTC) |
//! | anything else or any other mixture, `007`, integers of 20 digits, JSON arrays and objects | String, as written |
//! | none at all | String |
//!
//! An empty CSV field is null. Every column of a text table is optional, whether or not a null was seen: a value that is
//! missing tomorrow must not make the dataset unpublishable, and ODF lets nobody turn a required column into an optional
//! one later. Primary keys and the event time are required.

use arrow::datatypes::DataType;

use super::moment::{parse_date, parse_timestamp};

pub use odf_tables::{UTC, timestamp};

/// The columns of a table as its rows tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inferred {
    /// In the order of the file; for JSON in the order of first appearance.
    pub columns: Vec<InferredColumn>,
    /// Number of rows examined, which is all of them.
    pub rows: u64,
}

/// One column of [`Inferred`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InferredColumn {
    /// Its name.
    pub name: String,
    /// The narrowest type that every value fits.
    pub data_type: DataType,
    /// False only for Parquet columns that are declared required.
    pub nullable: bool,
}

/// The kinds of values seen in one column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kinds(u8);

impl Kinds {
    pub(super) const BOOL: Kinds = Kinds(1);
    pub(super) const INT: Kinds = Kinds(2);
    pub(super) const FLOAT: Kinds = Kinds(4);
    pub(super) const DATE: Kinds = Kinds(8);
    pub(super) const TIME: Kinds = Kinds(16);
    pub(super) const TEXT: Kinds = Kinds(32);

    pub(super) fn add(&mut self, other: Kinds) {
        self.0 |= other.0;
    }

    /// Nothing seen later can change the outcome.
    pub(super) fn settled(self) -> bool {
        self.0 & Kinds::TEXT.0 != 0
    }

    pub(super) fn data_type(self) -> DataType {
        const INT_FLOAT: u8 = Kinds::INT.0 | Kinds::FLOAT.0;
        const DATE_TIME: u8 = Kinds::DATE.0 | Kinds::TIME.0;
        match self {
            Kinds::BOOL => DataType::Boolean,
            Kinds::INT => DataType::Int64,
            Kinds::FLOAT | Kinds(INT_FLOAT) => DataType::Float64,
            Kinds::DATE => DataType::Date32,
            Kinds::TIME | Kinds(DATE_TIME) => timestamp(),
            _ => DataType::Utf8,
        }
    }
}

/// The kind of a CSV field that is not empty.
pub(super) fn kind_of_text(text: &str) -> Kinds {
    match text.as_bytes().first() {
        Some(b'0'..=b'9' | b'-' | b'.') => {
            let number = kind_of_number(text);
            if number == Kinds::TEXT {
                kind_of_moment(text)
            } else {
                number
            }
        }
        Some(b't' | b'T' | b'f' | b'F') if parse_bool(text).is_some() => Kinds::BOOL,
        Some(b'N' | b'i') if matches!(text, "NaN" | "inf") => Kinds::FLOAT,
        _ => Kinds::TEXT,
    }
}

/// The kind of a decoded JSON string: only dates and times are more than text.
pub(super) fn kind_of_json_string(text: &str) -> Kinds {
    match text.as_bytes().first() {
        Some(b'0'..=b'9') => kind_of_moment(text),
        _ => Kinds::TEXT,
    }
}

/// The kind of a number as written; [`Kinds::TEXT`] when a number type would not give the same text back.
pub(super) fn kind_of_number(text: &str) -> Kinds {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let bytes = digits.as_bytes();
    let leading_zero = bytes.len() > 1 && bytes[0] == b'0' && bytes[1].is_ascii_digit();
    if leading_zero {
        return Kinds::TEXT;
    }
    if !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit) {
        return if text.parse::<i64>().is_ok() {
            Kinds::INT
        } else {
            Kinds::TEXT
        };
    }
    let plausible = bytes.iter().any(u8::is_ascii_digit)
        && bytes
            .iter()
            .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    if text == "-inf" || (plausible && text.parse::<f64>().is_ok()) {
        Kinds::FLOAT
    } else {
        Kinds::TEXT
    }
}

fn kind_of_moment(text: &str) -> Kinds {
    if parse_date(text).is_some() {
        Kinds::DATE
    } else if parse_timestamp(text).is_some() {
        Kinds::TIME
    } else {
        Kinds::TEXT
    }
}

/// `true` or `false` in any case.
pub(super) fn parse_bool(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// Whether a type can hold event times.
pub(super) fn is_event_time(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Date32) || *data_type == timestamp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn infer(values: &[&str]) -> DataType {
        let mut kinds = Kinds::default();
        for value in values {
            kinds.add(kind_of_text(value));
        }
        kinds.data_type()
    }

    #[test]
    fn each_mixture_has_the_narrowest_type_that_loses_nothing() {
        let cases: &[(&[&str], DataType)] = &[
            (&[], DataType::Utf8),
            (&["true", "False"], DataType::Boolean),
            (&["true", "1"], DataType::Utf8),
            (&["0", "-12", "9223372036854775807"], DataType::Int64),
            (&["9223372036854775808"], DataType::Utf8),
            (&["007"], DataType::Utf8),
            (&["-007"], DataType::Utf8),
            (&["0", "0.5", "-.5", "1e5", "1.E+3"], DataType::Float64),
            (&["1", "NaN", "inf", "-inf"], DataType::Float64),
            (&["+5"], DataType::Utf8),
            (&["1,234"], DataType::Utf8),
            (&["-"], DataType::Utf8),
            (&["1-2"], DataType::Utf8),
            (&["e5"], DataType::Utf8),
            (&["nano", "infra"], DataType::Utf8),
            (&["2024-02-29"], DataType::Date32),
            (&["2023-02-29"], DataType::Utf8),
            (&["2024-02-29", "2024-02-29T12:00:00Z"], timestamp()),
            (
                &["2024-02-29 12:00:00.123456+02:00", "2024-02-29 12:00:00"],
                timestamp(),
            ),
            (&["2024-02-29", "5"], DataType::Utf8),
            (&["2024-13-01T00:00:00Z"], DataType::Utf8),
        ];
        for (values, wanted) in cases {
            assert_eq!(infer(values), *wanted, "{values:?}");
        }
    }
}
