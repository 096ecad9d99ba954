//! Names of columns: checked, and told where a column is refused.

use super::excerpt::shorten;
use super::limits::{MAX_COLUMN_NAME_BYTES, MAX_COLUMNS};
use super::problem::{Problem, SourceError};
use super::table::Source;
use crate::shape::{Shape, type_name};

/// Checks names that come from a file: not twice, not too many, not too long.
pub(crate) fn check_names<'n>(source: &Source, names: impl Iterator<Item = &'n str>) -> Result<(), SourceError> {
    let mut seen = std::collections::HashSet::new();
    for (at, name) in names.enumerate() {
        if at >= MAX_COLUMNS {
            return Err(source.error(Problem::TooLarge {
                limit: MAX_COLUMNS,
                unit: "columns",
                hint: "",
            }));
        }
        if name.len() > MAX_COLUMN_NAME_BYTES {
            let problem = Problem::TooLarge {
                limit: MAX_COLUMN_NAME_BYTES,
                unit: "bytes for a column name",
                hint: "",
            };
            return Err(source.column_error(&shorten(name), problem));
        }
        if !seen.insert(name) {
            return Err(source.column_error(name, Problem::Duplicate));
        }
    }
    Ok(())
}

/// The refusal of a column whose type cannot be read from text.
pub(crate) fn unsupported(source: &Source, shape: &Shape, at: usize) -> SourceError {
    let data_type = type_name(shape.schema().field(at).data_type());
    source.column_error(&shorten(shape.name(at)), Problem::Unsupported(data_type))
}
