//! `ddlSchema`, the older way in which a source declares its columns: `name TYPE [NOT NULL]` (odf-facts §8.4).

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};

use super::infer::timestamp;

/// A column declaration that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` does not declare a column")]
pub(super) struct DdlError(pub(super) String);

const MAX_PRECISION: u8 = 38;

/// The column that a declaration stands for. Columns are optional unless `NOT NULL` is said, except that dates and
/// decimals are always required: so kamu reads them.
pub(super) fn parse_column(text: &str) -> Result<Field, DdlError> {
    parse(text).ok_or_else(|| DdlError(text.chars().take(200).collect()))
}

fn parse(text: &str) -> Option<Field> {
    let text = text.trim();
    let (name, rest) = match text.strip_prefix(['"', '`']) {
        Some(quoted) => quoted.split_once(['"', '`'])?,
        None => {
            let at = text.find(|c: char| c.is_whitespace() || c == ':')?;
            text.split_at(at)
        }
    };
    let rest = rest.trim_start_matches(':').trim();
    let upper = rest.to_ascii_uppercase();
    let (declared, required) = match upper.strip_suffix("NOT NULL") {
        Some(declared) => (declared.trim(), true),
        None => (upper.strip_suffix("NULL").unwrap_or(&upper).trim(), false),
    };
    let data_type = data_type(declared)?;
    let always = matches!(data_type, DataType::Date32 | DataType::Decimal128(_, _));
    (!name.is_empty()).then(|| Field::new(name, data_type, !(required || always)))
}

fn data_type(text: &str) -> Option<DataType> {
    Some(match text {
        "BOOLEAN" | "BOOL" => DataType::Boolean,
        "TINYINT" => DataType::Int8,
        "SMALLINT" => DataType::Int16,
        "INT" | "INTEGER" => DataType::Int32,
        "BIGINT" => DataType::Int64,
        "TINYINT UNSIGNED" => DataType::UInt8,
        "SMALLINT UNSIGNED" => DataType::UInt16,
        "INT UNSIGNED" | "INTEGER UNSIGNED" => DataType::UInt32,
        "BIGINT UNSIGNED" => DataType::UInt64,
        "FLOAT" | "REAL" => DataType::Float32,
        "DOUBLE" | "DOUBLE PRECISION" => DataType::Float64,
        "DATE" => DataType::Date32,
        "TIMESTAMP" => timestamp(),
        "STRING" | "VARCHAR" | "TEXT" | "CHAR" => DataType::Utf8,
        _ => {
            if let Some(inner) = text.strip_prefix("ARRAY<").and_then(|t| t.strip_suffix('>')) {
                return Some(DataType::List(Arc::new(Field::new(
                    "item",
                    data_type(inner.trim())?,
                    true,
                ))));
            }
            let arguments = |name: &str| text.strip_prefix(name)?.trim().strip_prefix('(')?.strip_suffix(')');
            if arguments("VARCHAR").is_some() || arguments("CHAR").is_some() {
                return Some(DataType::Utf8);
            }
            let (precision, scale) = arguments("DECIMAL")?.split_once(',')?;
            let (precision, scale) = (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
            return (1..=MAX_PRECISION)
                .contains(&precision)
                .then_some(DataType::Decimal128(precision, scale));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_of_kamus_manifests_are_read() {
        let column =
            |text: &str| parse_column(text).map(|f| (f.name().clone(), f.data_type().clone(), f.is_nullable()));
        let named = |name: &str, data_type, nullable| Ok((name.to_owned(), data_type, nullable));
        assert_eq!(column("ts TIMESTAMP"), named("ts", timestamp(), true));
        assert_eq!(column("a: INT"), named("a", DataType::Int32, true));
        assert_eq!(column("a BIGINT NOT NULL"), named("a", DataType::Int64, false));
        assert_eq!(column("\"my col\" double"), named("my col", DataType::Float64, true));
        assert_eq!(column("date DATE"), named("date", DataType::Date32, false));
        assert_eq!(
            column("d DECIMAL(10, 2)"),
            named("d", DataType::Decimal128(10, 2), false)
        );
        assert_eq!(column("v VARCHAR(20)"), named("v", DataType::Utf8, true));
        let list = DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)));
        assert_eq!(column("l ARRAY<STRING>"), named("l", list, true));
        for bad in ["", "a", "a WHAT", "a DECIMAL(0,0)", "a DECIMAL(39,0)", "a ARRAY<X>"] {
            assert!(column(bad).is_err(), "{bad}");
        }
    }
}
