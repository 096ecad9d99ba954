//! Why a query over datasets gave no rows.

use std::error::Error;
use std::io;

use datafusion::common::DataFusionError;

use super::table::TableError;
use crate::sql::{CATALOG, MAX_QUERY_BYTES, MAX_STEPS, message};

/// Why a query gave no rows.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// It is no SQL, or not of these tables and columns.
    #[error("the query cannot be understood: {message}{}", at(.place))]
    Invalid {
        /// What the engine says.
        message: String,
        /// Line and column of the query, from 1.
        place: Option<(u64, u64)>,
    },
    /// It names a table that is none.
    #[error("there is no dataset `{0}` here")]
    NoTable(String),
    /// It would change something.
    #[error("only what reads is run: SELECT, WITH, VALUES, EXPLAIN, DESCRIBE and SHOW TABLES")]
    NotAQuery,
    /// It is too long, or has too many statements.
    #[error("a text of queries has {MAX_QUERY_BYTES} bytes and {MAX_STEPS} statements at most")]
    TooLong,
    /// A dataset could not be opened, or its slices not be had.
    #[error(transparent)]
    Table(TableError),
    /// It needs more memory, or room for temporary files, than it may have.
    #[error(
        "the query needs more than the {limit} bytes of memory that it may have, or more room for temporary files: {message}"
    )]
    Memory {
        /// The memory that it may have.
        limit: u64,
        /// Which part of it wanted more.
        message: String,
    },
    /// Rows could not be computed: a value does not fit, a slice is damaged.
    #[error("the query failed: {0}")]
    Failed(String),
    /// The place for temporary files, or threads, cannot be had.
    #[error("the query engine cannot be set up: {0}")]
    Scratch(io::Error),
    /// It was no longer wanted.
    #[error("the query was stopped")]
    Stopped,
}

fn at(place: &Option<(u64, u64)>) -> String {
    place.map_or_else(String::new, |(line, column)| format!(" (line {line}, column {column})"))
}

impl SelectError {
    /// What an error of the engine means; `memory` is what the query may have.
    pub(super) fn of(error: DataFusionError, memory: u64) -> Self {
        if let Some(table) = cause::<TableError>(&error) {
            return Self::Table(table.clone());
        }
        let place = error.diagnostic().and_then(|diagnostic| diagnostic.span);
        let text = message(&error);
        let text = text
            .strip_prefix("Schema error: ")
            .map_or_else(|| text.clone(), str::to_owned);
        match error.find_root() {
            DataFusionError::ResourcesExhausted(_) => Self::Memory {
                limit: memory,
                message: text,
            },
            DataFusionError::SQL(..)
            | DataFusionError::Plan(_)
            | DataFusionError::SchemaError(..)
            | DataFusionError::NotImplemented(_) => match missing(&text) {
                Some(name) => Self::NoTable(name),
                None => Self::Invalid {
                    message: text,
                    place: place.map(|span| (span.start.line, span.start.column)),
                },
            },
            _ => Self::Failed(text),
        }
    }
}

/// The table that the engine did not find, as the query names it.
fn missing(text: &str) -> Option<String> {
    let name = text.split_once("table '")?.1.split_once("' not found")?.0;
    let own = format!("{CATALOG}.{CATALOG}.");
    Some(name.strip_prefix(&own).unwrap_or(name).to_owned())
}

/// The first error of a type that led to `error`.
fn cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
