//! `ddlSchema`, the older way in which a source declares its columns: `name TYPE [NOT NULL]` (odf-facts §8.4).
//!
//! Columns are optional unless `NOT NULL` is said, except that dates and decimals are always required: so kamu reads them.
//! Items of arrays follow the same rule. Names may be quoted with `"` or `` ` ``; types are taken in any case. There are the
//! types that kamu knows there, and no others: a source that only one of the two programs reads would be worth less than a
//! refusal. Who types a command may say more ([`parse_types`]).

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};

use crate::timestamp;

/// The widest decimal that Arrow's 128 and 256 bits hold.
const MAX_PRECISION: [u8; 2] = [38, 76];

/// How deep arrays may nest.
const MAX_DEPTH: usize = 16;

/// A column declaration that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` does not declare a column; a declaration is `name TYPE [NOT NULL]` with BOOLEAN, INT, BIGINT, FLOAT, DOUBLE, \
     DECIMAL(p,s), DATE, TIMESTAMP, STRING or ARRAY<type>"
)]
pub struct DdlError(pub String);

/// The columns that declarations stand for. One text may declare several, separated by commas.
pub fn parse_columns(texts: &[String]) -> Result<Vec<Field>, DdlError> {
    let columns = texts.iter().flat_map(|text| split(text));
    columns
        .map(|text| parse_column(text).ok_or_else(|| DdlError(text.trim().chars().take(200).collect())))
        .collect()
}

/// A column whose type somebody wants, whatever a file suggests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnType {
    /// Its name and type; optional unless `NOT NULL` is said. Times are in milliseconds, whatever their integers count.
    pub field: Field,
    /// In which unit since 1970 integers count, for times that say a precision: seconds with `TIMESTAMP(0)`, milliseconds,
    /// microseconds and nanoseconds with 3, 6 and 9.
    pub integer_time: Option<TimeUnit>,
}

/// The types that one text declares, `id BIGINT, at TIMESTAMP(0)`.
///
/// # Errors
/// The first declaration that cannot be read.
pub fn parse_types(text: &str) -> Result<Vec<ColumnType>, DdlError> {
    let refuse = |text: &str| DdlError(text.trim().chars().take(200).collect());
    let column = |text: &str| {
        let Parsed {
            name,
            data_type,
            required,
            words,
            ..
        } = parse(text, Types::Any)?;
        let is_time = matches!(data_type, DataType::Timestamp(..));
        let precision = words.split_once('(').filter(|_| is_time);
        let integer_time = match precision.map(|(_, rest)| rest.split(')').next().unwrap_or_default().trim()) {
            None => None,
            Some("0") => Some(TimeUnit::Second),
            Some("3") => Some(TimeUnit::Millisecond),
            Some("6") => Some(TimeUnit::Microsecond),
            Some("9") => Some(TimeUnit::Nanosecond),
            Some(_) => return None,
        };
        Some(ColumnType {
            field: Field::new(name, data_type, !required),
            integer_time,
        })
    };
    split(text)
        .into_iter()
        .map(|text| column(text).ok_or_else(|| refuse(text)))
        .collect()
}

/// Cuts at the commas that are not inside of quotes, parentheses or angle brackets.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut depth, mut quote) = (0, 0usize, None);
    for (at, c) in text.char_indices() {
        match (c, quote) {
            (_, Some(open)) if c == open => quote = None,
            (_, Some(_)) => {}
            ('"' | '`', None) => quote = Some(c),
            ('(' | '<', None) => depth += 1,
            (')' | '>', None) => depth = depth.saturating_sub(1),
            (',', None) if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// A declaration taken apart.
struct Parsed {
    name: String,
    data_type: DataType,
    /// Whether columns of the type are optional unless something else is said.
    nullable: bool,
    /// `NOT NULL` is said.
    required: bool,
    /// The type in upper case.
    words: String,
}

fn parse_column(text: &str) -> Option<Field> {
    let parsed = parse(text, Types::OfKamu)?;
    Some(Field::new(
        parsed.name,
        parsed.data_type,
        parsed.nullable && !parsed.required,
    ))
}

/// Which types there are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Types {
    /// Those that kamu knows in a `ddlSchema`.
    OfKamu,
    /// Other words for numbers and texts, too.
    Any,
}

fn parse(text: &str, types: Types) -> Option<Parsed> {
    let text = text.trim();
    let (name, rest) = match text.chars().next()? {
        quote @ ('"' | '`') => quoted(&text[1..], quote)?,
        _ => {
            let at = text.find(|c: char| c.is_whitespace() || c == ':')?;
            (text[..at].to_owned(), &text[at..])
        }
    };
    let rest = rest.trim_start().trim_start_matches(':');
    let words: Vec<String> = rest.split_whitespace().map(str::to_ascii_uppercase).collect();
    let (declared, required) = match words.as_slice() {
        [declared @ .., not, null] if not == "NOT" && null == "NULL" => (declared, true),
        [declared @ .., null] if null == "NULL" && types == Types::Any => (declared, false),
        declared => (declared, false),
    };
    let words = declared.join(" ");
    let (data_type, nullable) = data_type(&words, types, 0)?;
    (!name.is_empty()).then_some(Parsed {
        name,
        data_type,
        nullable,
        required,
        words,
    })
}

/// A name up to its closing quote, doubled quotes inside standing for one, and what follows.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c != quote {
            name.push(c);
        } else if chars.next_if(|(_, next)| *next == quote).is_some() {
            name.push(quote);
        } else {
            return Some((name, &text[at + 1..]));
        }
    }
    None
}

/// The type and whether it may be null, from words in upper case with one blank between them.
fn data_type(text: &str, types: Types, depth: usize) -> Option<(DataType, bool)> {
    let (name, arguments) = match text.split_once('(') {
        Some((name, rest)) => {
            let (arguments, behind) = rest.split_once(')')?;
            (format!("{}{behind}", name.trim_end()), Some(arguments))
        }
        None => (text.to_owned(), None),
    };
    let optional = |data_type| Some((data_type, true));
    match (name.as_str(), arguments) {
        ("BOOLEAN" | "BOOL", None) => optional(DataType::Boolean),
        ("INT" | "INTEGER" | "SIGNED" | "SIGNED INTEGER" | "INT32", _) => optional(DataType::Int32),
        ("BIGINT", _) => optional(DataType::Int64),
        ("INT UNSIGNED" | "INTEGER UNSIGNED" | "UNSIGNED" | "UNSIGNED INTEGER" | "UINT32", _) => {
            optional(DataType::UInt32)
        }
        ("BIGINT UNSIGNED", _) => optional(DataType::UInt64),
        ("FLOAT" | "FLOAT32", _) => optional(DataType::Float32),
        ("DOUBLE", _) => optional(DataType::Float64),
        ("TINYINT", _) if types == Types::Any => optional(DataType::Int8),
        ("SMALLINT", _) if types == Types::Any => optional(DataType::Int16),
        ("TINYINT UNSIGNED", _) if types == Types::Any => optional(DataType::UInt8),
        ("SMALLINT UNSIGNED", _) if types == Types::Any => optional(DataType::UInt16),
        ("REAL", _) if types == Types::Any => optional(DataType::Float32),
        ("DOUBLE PRECISION", _) if types == Types::Any => optional(DataType::Float64),
        ("CHAR", _) if types == Types::Any => optional(DataType::Utf8),
        ("DATE", None) => Some((DataType::Date32, false)),
        ("TIMESTAMP" | "TIMESTAMP WITH TIME ZONE" | "TIMESTAMP WITHOUT TIME ZONE" | "TIMESTAMPTZ", _) => {
            optional(timestamp())
        }
        ("STRING" | "VARCHAR" | "FIXEDSTRING" | "TEXT" | "TINYTEXT" | "MEDIUMTEXT" | "LONGTEXT", _) => {
            optional(DataType::Utf8)
        }
        ("DECIMAL", Some(arguments)) => {
            let (precision, scale) = arguments.split_once(',')?;
            let (precision, scale): (u8, i8) = (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
            let fits = precision >= 1 && i16::from(scale) <= i16::from(precision);
            let decimal = match precision {
                _ if !fits => return None,
                _ if precision <= MAX_PRECISION[0] => DataType::Decimal128(precision, scale),
                _ if precision <= MAX_PRECISION[1] => DataType::Decimal256(precision, scale),
                _ => return None,
            };
            Some((decimal, false))
        }
        _ => {
            let item = text
                .strip_prefix("ARRAY")?
                .trim_start()
                .strip_prefix('<')?
                .strip_suffix('>')?;
            if depth >= MAX_DEPTH {
                return None;
            }
            let (item, nullable) = data_type(item.trim(), types, depth + 1)?;
            optional(DataType::List(Arc::new(Field::new("item", item, nullable))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(text: &str) -> Result<Vec<(String, DataType, bool)>, DdlError> {
        let fields = parse_columns(&[text.to_owned()])?;
        let parts = |f: Field| (f.name().clone(), f.data_type().clone(), f.is_nullable());
        Ok(fields.into_iter().map(parts).collect())
    }

    fn list(item: DataType, nullable: bool) -> DataType {
        DataType::List(Arc::new(Field::new("item", item, nullable)))
    }

    #[test]
    fn declarations_of_kamus_manifests_are_read() {
        let one = |name: &str, data_type, nullable| Ok(vec![(name.to_owned(), data_type, nullable)]);
        assert_eq!(columns("ts TIMESTAMP"), one("ts", timestamp(), true));
        assert_eq!(columns("ts timestamp(3) not null"), one("ts", timestamp(), false));
        assert_eq!(columns("a: INT"), one("a", DataType::Int32, true));
        assert_eq!(columns("a  BIGINT  NOT   NULL"), one("a", DataType::Int64, false));
        assert_eq!(columns("a INT(11) UNSIGNED"), one("a", DataType::UInt32, true));
        assert_eq!(columns("\"my col\" double"), one("my col", DataType::Float64, true));
        assert_eq!(columns("`a``, \"b` TEXT"), one("a`, \"b", DataType::Utf8, true));
        assert_eq!(columns("date DATE"), one("date", DataType::Date32, false));
        assert_eq!(
            columns("d DECIMAL(10, 2)"),
            one("d", DataType::Decimal128(10, 2), false)
        );
        assert_eq!(columns("d DECIMAL(76,2)"), one("d", DataType::Decimal256(76, 2), false));
        assert_eq!(columns("v VARCHAR(20)"), one("v", DataType::Utf8, true));
        assert_eq!(columns("l ARRAY<STRING>"), one("l", list(DataType::Utf8, true), true));
        let dates = list(list(DataType::Date32, false), true);
        assert_eq!(columns("l array < array<date> > NOT NULL"), one("l", dates, false));
        let two = columns("a DECIMAL(3,1), \"b,c\" ARRAY<DECIMAL(3, 1)>").unwrap();
        assert_eq!(two[0].1, DataType::Decimal128(3, 1));
        assert_eq!(
            two[1],
            ("b,c".to_owned(), list(DataType::Decimal128(3, 1), false), true)
        );
    }

    #[test]
    fn what_declares_nothing_is_refused() {
        let deep = |depth| format!("a {}INT{}", "ARRAY<".repeat(depth), ">".repeat(depth));
        assert!(columns(&deep(MAX_DEPTH)).is_ok());
        assert!(columns(&deep(MAX_DEPTH + 1)).is_err());
        for bad in [
            "",
            "a",
            "a WHAT",
            "a DECIMAL",
            "a DECIMAL(0,0)",
            "a DECIMAL(77,0)",
            "a DECIMAL(2,3)",
            "a ARRAY<X>",
            "a ARRAY<INT",
            "a INT(",
            "a INT,",
            "\"a INT",
            "\"\" INT",
            "a INT DEFAULT 5",
            "a BIGINT NULL",
            "a SMALLINT",
            "a TINYINT UNSIGNED",
            "a CHAR(4)",
            "a REAL",
            "a DOUBLE PRECISION",
            "a NUMERIC(5,2)",
            "a ARRAY<SMALLINT>",
            "a INT[]",
            "a STRUCT<x INT>",
            "a MAP<STRING, INT>",
            "a STRING COMMENT 'x'",
            "NOT NULL",
            "é",
        ] {
            assert!(columns(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn types_are_optional_and_times_say_what_their_integers_count() {
        let parsed = |text| {
            let types = parse_types(text).map_err(|error| error.to_string())?;
            let shown = types.iter().map(|column| {
                let field = &column.field;
                let unit = column.integer_time;
                format!(
                    "{} {} {} {unit:?}",
                    field.name(),
                    field.data_type(),
                    field.is_nullable()
                )
            });
            Ok::<_, String>(shown.collect::<Vec<_>>())
        };
        assert_eq!(
            parsed("id BIGINT NOT NULL, \"a, b\" DECIMAL(10,2), d DATE").unwrap(),
            [
                "id Int64 false None",
                "a, b Decimal128(10, 2) true None",
                "d Date32 true None"
            ]
        );
        for (text, unit) in [
            ("t TIMESTAMP", "None"),
            ("t timestamp(0)", "Some(Second)"),
            ("t TIMESTAMP( 3 )", "Some(Millisecond)"),
            ("t TIMESTAMP(6) WITH TIME ZONE", "Some(Microsecond)"),
            ("t TIMESTAMP(9)", "Some(Nanosecond)"),
        ] {
            let time = timestamp();
            assert_eq!(parsed(text).unwrap(), [format!("t {time} true {unit}")], "{text}");
        }
        assert_eq!(
            parsed("a SMALLINT NULL, b DOUBLE PRECISION, c CHAR(4)").unwrap(),
            ["a Int16 true None", "b Float64 true None", "c Utf8 true None"]
        );
        for text in ["t TIMESTAMP(1)", "t TIMESTAMP()", "t WHAT", "t", ""] {
            assert!(
                parsed(text).unwrap_err().contains("does not declare a column"),
                "{text}"
            );
        }
    }
}
