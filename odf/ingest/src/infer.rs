//! What types the columns of a text table have, found by looking at every value.
//!
//! | values seen (nulls aside) | column |
//! |---|---|
//! | `true`, `false` (in CSV in any case) | Boolean |
//! | integers that fit 64 bits signed, without leading zeros or `+` | Int64 |
//! | those and decimal fractions, exponents, `NaN`, `inf`, `-inf`, where a float keeps all of their digits | Float64 |
//! | numbers, of which a float would not keep a digit: `1234567890123456789` and `NaN`, `1e400`, 20 digits | String, as written |
//! | `2024-02-29` | Date |
//! | RFC 3339 times, also with a blank for the `T` or without seconds; without a zone: UTC; dates among them | Timestamp (ms, UTC) |
//! | such times, of which one has digits below the millisecond | String, as written |
//! | anything else or any other mixture, `007`, JSON arrays and objects | String, as written |
//! | none at all | String |
//!
//! A float keeps the digits of a number if it comes out the same when it is written with as many of them. With
//! [`ReadOptions::decimal`] columns of numbers with a point are Decimal instead, with [`ReadOptions::cut_times`] digits below
//! the millisecond do not make text of times.
//!
//! An empty CSV field is null. Every column of a text table is optional, whether or not a null was seen: a value that is
//! missing tomorrow must not make the dataset unpublishable, and ODF lets nobody turn a required column into an optional
//! one later. Primary keys and the event time are required.

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType};

use super::moment::{Counted, parse_date, parse_timestamp};
use super::number::{self, NotFloat};
use super::source::{Altered, ReadOptions};

pub use odf_tables::{UTC, timestamp};

/// Every integer up to here is a float of 64 bits.
const EXACT_FLOATS: u64 = 1 << 53;

/// The columns of a table as its rows tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inferred {
    /// In the order of the file; for JSON in the order of first appearance.
    pub columns: Vec<InferredColumn>,
    /// Number of rows examined, which is all of them.
    pub rows: u64,
}

impl Inferred {
    /// The names of its columns in one text, for messages.
    pub(crate) fn names(&self) -> String {
        let names: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        names.join(", ")
    }
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
    /// Why it is text, where it looks like something else.
    pub note: Option<Note>,
}

/// The kinds of values seen in one column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kinds {
    seen: u16,
    /// The most digits before the point of a number.
    whole: u8,
    /// The most digits behind it.
    fraction: u8,
}

impl Kinds {
    pub(super) const BOOL: Kinds = Kinds::of(1);
    /// An integer of 64 bits.
    pub(super) const INT: Kinds = Kinds::of(2);
    /// An integer of 64 bits that no float holds.
    const BIG: Kinds = Kinds::of(2 | 64);
    /// A number whose digits a float keeps.
    pub(super) const FLOAT: Kinds = Kinds::of(4);
    pub(super) const DATE: Kinds = Kinds::of(8);
    pub(super) const TIME: Kinds = Kinds::of(16);
    pub(super) const TEXT: Kinds = Kinds::of(32);
    /// A number that is neither.
    const LONG: Kinds = Kinds::of(128);
    /// A time with digits below the millisecond.
    const FINE: Kinds = Kinds::of(256);
    /// A number that decimals do not hold, or are not written like.
    const ODD: Kinds = Kinds::of(512);
    const NUMBERS: Kinds = Kinds::BIG.and(Kinds::FLOAT).and(Kinds::LONG).and(Kinds::ODD);
    /// A number with a decimal comma, or with commas between its thousands.
    const COMMA: Kinds = Kinds::of(1024);
    /// A date with another order of its parts, or another character between them, than `2026-02-01`.
    const LOCAL_DATE: Kinds = Kinds::of(2048);

    const fn of(seen: u16) -> Kinds {
        Kinds {
            seen,
            whole: 0,
            fraction: 0,
        }
    }

    const fn and(self, other: Kinds) -> Kinds {
        Kinds::of(self.seen | other.seen)
    }

    pub(super) fn add(&mut self, other: Kinds) {
        self.seen |= other.seen;
        self.whole = self.whole.max(other.whole);
        self.fraction = self.fraction.max(other.fraction);
    }

    /// Nothing seen later can change the outcome.
    pub(super) fn settled(self) -> bool {
        self.has(Kinds::TEXT)
    }

    fn has(self, other: Kinds) -> bool {
        self.seen & other.seen != 0
    }

    /// Something was seen, and nothing but these.
    fn only(self, among: Kinds) -> bool {
        self.seen != 0 && self.seen & !among.seen == 0
    }

    fn numbers_only(self) -> bool {
        self.only(Kinds::NUMBERS)
    }

    fn times_only(self) -> bool {
        self.only(Kinds::DATE.and(Kinds::TIME).and(Kinds::FINE))
    }

    /// The decimal type that holds all of them.
    fn decimal(self) -> Option<DataType> {
        let precision = self.whole.saturating_add(self.fraction).max(1);
        let fits = !self.has(Kinds::ODD) && precision <= DECIMAL128_MAX_PRECISION;
        let scale = i8::try_from(self.fraction).ok()?;
        fits.then_some(DataType::Decimal128(precision, scale))
    }

    pub(super) fn data_type(self, options: &ReadOptions) -> DataType {
        if self.numbers_only() {
            let decimal = options.decimal.then(|| self.decimal()).flatten();
            return match decimal {
                _ if self.only(Kinds::BIG) => DataType::Int64,
                Some(decimal) => decimal,
                // `BIG` shares its first bit with `INT`.
                None if self.seen & (64 | 128) == 0 => DataType::Float64,
                None => DataType::Utf8,
            };
        }
        if self.only(Kinds::DATE) {
            return DataType::Date32;
        }
        // Where few rows are looked at, kamu's reading decides, and that cuts.
        let cuts = options.cut_times || options.first_rows.is_some();
        if self.times_only() && (cuts || !self.has(Kinds::FINE)) {
            return timestamp();
        }
        match self {
            kinds if kinds.only(Kinds::BOOL) => DataType::Boolean,
            _ => DataType::Utf8,
        }
    }

    /// Why the column is text although its values look like something else.
    pub(super) fn note(self, options: &ReadOptions) -> Option<Note> {
        if self == Kinds::default() && options.first_rows.is_some() {
            return Some(Note::NoValues);
        }
        let data_type = self.data_type(options);
        let is_text = data_type == DataType::Utf8;
        self.note_on_digits(&data_type)
            .or((is_text && self.times_only()).then_some(Note::FineTimes))
            .or(
                (is_text && self.has(Kinds::COMMA) && self.only(Kinds::NUMBERS.and(Kinds::COMMA)))
                    .then_some(Note::Commas),
            )
            .or(
                (is_text && self.has(Kinds::LOCAL_DATE) && self.only(Kinds::LOCAL_DATE.and(Kinds::DATE)))
                    .then_some(Note::LocalDates),
            )
    }

    /// The same of numbers alone, in a column of this type.
    pub(super) fn note_on_digits(self, data_type: &DataType) -> Option<Note> {
        (*data_type == DataType::Utf8 && self.numbers_only()).then_some(Note::Digits)
    }
}

/// What there is to be said of a column: mostly, why it is text although all of its values are numbers, or times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// No number type that is chosen by itself keeps all of their digits.
    Digits,
    /// Some have digits below the millisecond, where the times of datasets end.
    FineTimes,
    /// They are numbers, some of which have a decimal comma, or commas between their thousands.
    Commas,
    /// They are dates, some of which are written in another way than `2026-02-01`.
    LocalDates,
    /// The rows that were looked at have no value in it.
    NoValues,
    /// It is not about the type: values were changed, or passed over.
    Altered(Altered),
    /// It is about a key, and about rows that have the one of an earlier row of the same table.
    Repeated {
        /// How many.
        rows: u64,
        /// The first of them, such as `row 5 has the key of row 2 (3)`.
        first: String,
        /// All rows of a key were taken; else the last one.
        taken: bool,
    },
}

impl Note {
    /// One word for programs; it stays what it is.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Digits => "digits",
            Self::FineTimes => "fineTimes",
            Self::Commas => "commas",
            Self::LocalDates => "localDates",
            Self::NoValues => "noValues",
            Self::Altered(altered) => altered.change.name(),
            Self::Repeated { .. } => "repeatedKeys",
        }
    }

    /// How many values it is about; none where it is not about values.
    pub fn values(&self) -> Option<u64> {
        match self {
            Self::Repeated { rows, .. } => Some(*rows),
            Self::Altered(altered) => Some(altered.values).filter(|values| *values > 0),
            Self::Digits | Self::FineTimes | Self::Commas | Self::LocalDates | Self::NoValues => None,
        }
    }
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Note::Digits => {
                "text, as written, because a Float64 would change digits of its numbers; published under another name, \
                 --decimal makes a Decimal of it where one is wide enough, and --schema gives it any type"
            }
            Note::Commas => {
                "text, because its numbers have commas in them, and numbers are read with a point alone (1234.5); no flag \
                 changes that: write them so, or let the query of a source do it (`odfs new NAME --root` writes one to start from)"
            }
            Note::LocalDates => {
                "text, because its dates are not written like 2026-02-01, the one form in which it is certain which is the day \
                 and which the month; no flag changes that: write them so, or let the query of a source do it (`odfs new NAME \
                 --root` writes one to start from)"
            }
            Note::NoValues => "text, because the first rows have no value in it",
            Note::Altered(changed) => return std::fmt::Display::fmt(changed, f),
            Note::Repeated { rows, first, taken } => {
                return match taken {
                    true => write!(
                        f,
                        "{rows} row(s) have the key of an earlier row of the file, and were taken beside it: a ledger compares with \
                         what the dataset has, not within one file. {first}; `--merge upsert` keeps the last row of each key"
                    ),
                    false => write!(
                        f,
                        "{rows} row(s) have the key of an earlier row of the file and other values; the last row of each key was \
                         taken, the others were not. {first}"
                    ),
                };
            }
            Note::FineTimes => {
                "text, because some of its times have digits below the millisecond; published under another name, \
                 --cut-times cuts them off and makes times of it"
            }
        })
    }
}

/// The kind of a CSV field that is not empty.
pub(super) fn kind_of_text(text: &str) -> Kinds {
    match text.as_bytes().first() {
        Some(b'0'..=b'9' | b'-' | b'.') => {
            let number = kind_of_number(text);
            match number == Kinds::TEXT {
                true => kind_of_moment_or_elsewhere(text),
                false => number,
            }
        }
        Some(b't' | b'T' | b'f' | b'F') if parse_bool(text).is_some() => Kinds::BOOL,
        Some(b'N' | b'i') if matches!(text, "NaN" | "inf") => Kinds::FLOAT.and(Kinds::ODD),
        _ => Kinds::TEXT,
    }
}

/// The kind of a decoded JSON string: only dates and times are more than text.
pub(super) fn kind_of_json_string(text: &str) -> Kinds {
    match text.as_bytes().first() {
        Some(b'0'..=b'9') => kind_of_moment_or_elsewhere(text),
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
    if text == "-inf" {
        return Kinds::FLOAT.and(Kinds::ODD);
    }
    let plausible = bytes.iter().any(u8::is_ascii_digit)
        && bytes
            .iter()
            .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    if !plausible {
        return Kinds::TEXT;
    }
    // Integers have no negative zero.
    let is_integer = bytes.iter().all(u8::is_ascii_digit) && text != "-0";
    let integer = if is_integer { text.parse::<i64>().ok() } else { None };
    let kind = match integer {
        Some(integer) if integer.unsigned_abs() <= EXACT_FLOATS => Kinds::INT,
        _ => match (number::float::<f64>(text, true), integer) {
            (Err(NotFloat::Text), _) => return Kinds::TEXT,
            (Ok(_), Some(_)) => Kinds::INT,
            (_, Some(_)) => Kinds::BIG,
            (Ok(_), None) if !is_integer => Kinds::FLOAT,
            _ => Kinds::LONG,
        },
    };
    match number::places(text) {
        Some((whole, fraction)) if text != "-0" => Kinds {
            whole: u8::try_from(whole).unwrap_or(u8::MAX),
            fraction: u8::try_from(fraction).unwrap_or(u8::MAX),
            ..kind
        },
        _ => kind.and(Kinds::ODD),
    }
}

fn kind_of_moment(text: &str) -> Kinds {
    match parse_timestamp(text) {
        _ if parse_date(text).is_some() => Kinds::DATE,
        Some(Counted::Exactly(_)) => Kinds::TIME,
        Some(Counted::Finer(_)) => Kinds::FINE,
        Some(Counted::TooFar) | None => Kinds::TEXT,
    }
}

fn kind_of_moment_or_elsewhere(text: &str) -> Kinds {
    match kind_of_moment(text) {
        moment if moment != Kinds::TEXT => moment,
        _ => kind_elsewhere(text),
    }
}

/// What people in many countries write for a number or a date. It is text all the same: `1,234` and `01/02/2026` are two things
/// in two countries.
fn kind_elsewhere(text: &str) -> Kinds {
    if has_commas(text) {
        Kinds::COMMA
    } else if is_local_date(text) {
        Kinds::LOCAL_DATE
    } else {
        Kinds::TEXT
    }
}

/// Whether it is a number like `12,5`, `1.234,5` or `1,234.5`.
fn has_commas(text: &str) -> bool {
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let in_thousands = |whole: &str, between: char| {
        let mut groups = whole.split(between);
        let first = groups.next().is_some_and(|first| is_number(first) && first.len() <= 3);
        let mut rest = groups.peekable();
        first && rest.peek().is_some() && rest.all(|group| is_number(group) && group.len() == 3)
    };
    let digits = text.strip_prefix('-').unwrap_or(text);
    let decimal = digits.rsplit_once(',');
    let is_decimal = |(whole, fraction): (&str, &str)| {
        is_number(fraction) && (whole.is_empty() || is_number(whole) || in_thousands(whole, '.'))
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    decimal.is_some_and(is_decimal) || (is_number(fraction) && in_thousands(whole, ','))
}

/// Whether it is a date of three numbers like `1.2.2026`, `01/02/26` or `2026/02/01`, with a time of day behind it or without;
/// and not one like `2026-02-31`, which there is none of.
fn is_local_date(text: &str) -> bool {
    let date = text.split([' ', 'T']).next().unwrap_or_default();
    let Some(between) = date
        .chars()
        .find(|c| !c.is_ascii_digit())
        .filter(|c| "./-".contains(*c))
    else {
        return false;
    };
    let parts: Vec<&str> = date.split(between).collect();
    let [first, second, third] = parts[..] else {
        return false;
    };
    let (year, one, other) = match first.len() {
        4 => (first, second, third),
        _ => (third, first, second),
    };
    let is_number =
        |part: &str, most: usize| (1..=most).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    let in_two = [one, other].iter().all(|part| part.len() == 2);
    let day = |part: &str| {
        part.parse()
            .ok()
            .filter(|day: &u8| is_number(part, 2) && (1..=31).contains(day))
    };
    let days = day(one)
        .zip(day(other))
        .is_some_and(|(one, other)| one.min(other) <= 12);
    let is_ours = between == '-' && first.len() == 4 && in_two;
    // `1.2.3` is a version.
    days && !is_ours && is_number(year, 4) && (year.len() == 4 || (year.len() == 2 && in_two))
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

    fn infer(values: &[&str], options: &ReadOptions) -> (DataType, Option<Note>) {
        let mut kinds = Kinds::default();
        for value in values {
            kinds.add(kind_of_text(value));
        }
        (kinds.data_type(options), kinds.note(options))
    }

    #[test]
    fn each_mixture_has_the_narrowest_type_that_loses_nothing() {
        let text = || DataType::Utf8;
        let digits = || Some(Note::Digits);
        let fine = || Some(Note::FineTimes);
        let commas = || Some(Note::Commas);
        let local = || Some(Note::LocalDates);
        let cases: &[(&[&str], DataType, Option<Note>)] = &[
            (&[], text(), None),
            (&["true", "False"], DataType::Boolean, None),
            (&["true", "1"], text(), None),
            (&["0", "-12", "9223372036854775807"], DataType::Int64, None),
            (&["9223372036854775808"], text(), digits()),
            (&["1", "9223372036854775808"], text(), digits()),
            (&["007"], text(), None),
            (&["-007"], text(), None),
            (&["1", "007"], text(), None),
            (&["-0"], DataType::Float64, None),
            (&["0", "0.5", "-.5", "1e5", "1.E+3"], DataType::Float64, None),
            (&["1", "NaN", "inf", "-inf"], DataType::Float64, None),
            (&["1234567890123456789", "NaN"], text(), digits()),
            (&["1234567890123456789", "0.5"], text(), digits()),
            (&["9007199254740992", "0.5"], DataType::Float64, None),
            (&["9007199254740993", "0.5"], text(), digits()),
            (&["-69187317487800970", "0.5"], text(), digits()),
            (&["1e400", "2"], text(), digits()),
            (&["1e-400"], text(), digits()),
            (&["1.23e-5", "0.1"], DataType::Float64, None),
            (&["0.10000000000000001"], DataType::Float64, None),
            (&["10.123456789012345678"], text(), digits()),
            (&["+5"], text(), None),
            (&["1,234"], text(), commas()),
            (&["12,5", "3", "-,5", "1.234.567,89", "0.5"], text(), commas()),
            (&["1,234,567.8"], text(), commas()),
            (&["12,5", "about 3"], text(), None),
            (&["1,2,3"], text(), None),
            (&["12,", ",", "1,23,456"], text(), None),
            (&["1 234"], text(), None),
            (&["1.234.567"], text(), None),
            (&["1_000"], text(), None),
            (&["0x10"], text(), None),
            (&["-"], text(), None),
            (&["1-2"], text(), None),
            (&["e5"], text(), None),
            (&["nano", "infra"], text(), None),
            (&["1/2/2024"], text(), local()),
            (
                &["31.12.2024 08:30", "2024-12-31", "01.02.24", "1/2/2024"],
                text(),
                local(),
            ),
            (&["2024/02/29"], text(), local()),
            (&["01.02.2024", "soon"], text(), None),
            (&["1.2.3"], text(), None),
            (&["31.31.2024"], text(), None),
            (&["0.1.2024"], text(), None),
            (&["192.168.1.1"], text(), None),
            (&["01.02.2024"], text(), local()),
            (&["08:30"], text(), None),
            (&["2024-02-29"], DataType::Date32, None),
            (&["2023-02-29"], text(), None),
            (&["2024-02-29", "2024-02-29T12:00:00Z"], timestamp(), None),
            (&["2024-02-29 08:30", "2024-02-29T08:30+01:00"], timestamp(), None),
            (
                &["2024-02-29 12:00:00.123000+02:00", "2024-02-29 12:00:00"],
                timestamp(),
                None,
            ),
            (&["2024-02-29 12:00:00.123456+02:00", "2024-02-29"], text(), fine()),
            (&["2024-02-29 12:00:00.123456+02:00", "soon"], text(), None),
            (&["2024-02-29", "5"], text(), None),
            (&["2024-13-01T00:00:00Z"], text(), None),
        ];
        for (values, wanted, note) in cases {
            assert_eq!(
                infer(values, &ReadOptions::default()),
                (wanted.clone(), note.clone()),
                "{values:?}"
            );
        }
    }

    #[test]
    fn decimals_and_cut_times_are_there_for_those_who_ask() {
        let decimal = ReadOptions {
            decimal: true,
            ..ReadOptions::default()
        };
        let cases: &[(&[&str], DataType)] = &[
            (&["1", "2"], DataType::Int64),
            (&["1234567890123456789", "0.5"], DataType::Decimal128(20, 1)),
            (&["-1.25", "10"], DataType::Decimal128(4, 2)),
            (&[".5"], DataType::Decimal128(1, 1)),
            (&["12345678901234567890"], DataType::Decimal128(20, 0)),
            (&["1.5", "NaN"], DataType::Float64),
            (&["1.5", "1e5"], DataType::Float64),
            (&["1.5", "1e400"], DataType::Utf8),
            (&["123456789012345678901234567890", "0.123456789"], DataType::Utf8),
            (&["1.5", "x"], DataType::Utf8),
        ];
        for (values, wanted) in cases {
            assert_eq!(infer(values, &decimal).0, *wanted, "{values:?}");
        }
        let cut = ReadOptions {
            cut_times: true,
            ..ReadOptions::default()
        };
        assert_eq!(
            infer(&["2024-02-29 12:00:00.123456", "2024-02-29"], &cut),
            (timestamp(), None)
        );
    }
}
