//! What can go wrong on the way of a table into a dataset.

use std::path::PathBuf;

use arrow::error::ArrowError;

use super::effect::Effect;
use super::ground::{HistoryError, QueryError};
use super::plan::PlanError;
use super::source::SourceError;
use super::taken::Change;
use odf_metadata::codec::DecodeError;
use odf_tables::slice::SliceError;
use odf_tables::types::NoCounterpart;

/// Why a table could not be taken. The dataset is as it was, and a new one is not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IngestError {
    /// Something is wrong with the table.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The table does not fit the dataset.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The rows of a source do not fit the dataset.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// The preprocess query of a source cannot be run.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// Rows could not be merged with those that are there.
    #[error(transparent)]
    Merge(MergeError),
    /// The slice could not be written.
    #[error(transparent)]
    Slice(#[from] SliceError),
    /// What the dataset holds already could not be read.
    #[error("{0}")]
    History(#[source] HistoryError),
    /// A source declares a column in a way that cannot be read.
    #[error("the source of the dataset declares a column that cannot be read: {0}")]
    Declaration(String),
    /// The file is not the one taken before with more behind it.
    #[error(
        "{name} is not what was published before with more rows behind it: its first {length} bytes were taken, and \
         {change}. Ways out: publish the file under another name (--name), append all of its rows again (--append-all), or \
         say which columns tell rows apart (--primary-key, with --merge snapshot where the file is all that holds, or --merge \
         upsert where it is a part of it): then changed values are taken as corrections"
    )]
    Changed {
        /// The file.
        name: String,
        /// How many bytes were taken before.
        length: u64,
        /// Where they are others.
        change: Change,
    },
    /// The last line that was taken of the file has gone on since.
    #[error(
        "nothing ended the last line of {0} when it was published, and now that line goes on: the row that was taken of it \
         was half a row. Ways out: publish the file under another name (--name), append all of its rows again \
         (--append-all), or key the rows (--merge snapshot with --primary-key), which retracts the half"
    )]
    WentOn(String),
    /// A snapshot would retract more rows than were [allowed](crate::Retracting).
    #[error(
        "{name} lacks {} of the {} rows that are there{}, and a snapshot retracts what its file lacks",
        .effect.retracted, .effect.held, such_as(.gone, .effect.retracted)
    )]
    Drastic {
        /// The file.
        name: String,
        /// What it would do.
        effect: Effect,
        /// The first rows that would go, by their keys: a text for each.
        gone: Vec<String>,
    },
    /// The file is as it was when it was published last, and the rows were changed otherwise since, which it would undo.
    #[error(
        "{name} is as it was when it was published last, and the dataset was changed since: to publish it again would take that \
         back"
    )]
    Superseded {
        /// The file.
        name: String,
        /// What it would do.
        effect: Effect,
    },
    /// The columns of the dataset are those that a query gives.
    #[error("the push source of the dataset sends rows through a query, which decides what columns there are")]
    ColumnsOfQuery,
    /// The source takes the columns that a table has.
    #[error("the push source of the dataset declares no columns that others could be added to")]
    ColumnsOpen,
    /// The source that is polled decides which columns there are.
    #[error("the rows of the dataset come from a source that is asked for them, which decides what columns there are")]
    ColumnsPolled,
    /// A column that is to be added is there.
    #[error("the dataset has a column `{0}` already")]
    ColumnThere(String),
    /// A column that is to be added has a name that ODF keeps for itself.
    #[error("the dataset needs the name `{0}` for itself")]
    ColumnReserved(String),
    /// Rows that are there have no value in a new column.
    #[error("the column `{0}` cannot be NOT NULL: the rows that are there have no value in it")]
    ColumnRequired(String),
    /// The file changed each time that it was read.
    #[error("{0} changes while it is read, each time anew")]
    Unsteady(String),
    /// The dataset has rows and no note of which file they are from.
    #[error(
        "the dataset has {rows} rows, and which of {name}'s rows are among them is not known. Ways out: append all of \
         them (--append-all), say which columns tell rows apart (--primary-key, with --merge upsert, or --merge snapshot where \
         the file is all that holds), or publish under another name"
    )]
    Unknown {
        /// The file.
        name: String,
        /// Rows of the dataset.
        rows: u64,
    },
    /// Another event time column than the dataset's was asked for.
    #[error("the event time of the dataset is `{actual}`; it cannot become `{wanted}`")]
    EventTimeFixed {
        /// The column the dataset has.
        actual: String,
        /// The column asked for.
        wanted: String,
    },
    /// Another type was asked for than the column has.
    #[error("the column `{column}` of the dataset is {actual}; it cannot become {wanted}")]
    TypeFixed {
        /// The column.
        column: String,
        /// The type it has.
        actual: String,
        /// The type asked for.
        wanted: String,
    },
    /// Nothing in the chain says how pushed rows are read.
    #[error("the dataset has no push source, so nothing says how the rows are to be read")]
    NoPushSource,
    /// It does not have the push source that was named.
    #[error("the dataset has no push source `{wanted}`; it has {}", .names.join(", "))]
    OtherPushSource {
        /// The name.
        wanted: String,
        /// The names there are.
        names: Vec<String>,
    },
    /// It has several, and none was named.
    #[error("the dataset has several push sources: {}", .names.join(", "))]
    WhichPushSource {
        /// Their names.
        names: Vec<String>,
    },
    /// Publishing takes rows as they stand, and the source does something to them first.
    #[error("the push source of the dataset sends rows through a query first, which publishing does not")]
    Preprocessed,
    /// Rows are fetched, not pushed.
    #[error("the dataset fetches its rows from a polling source; none can be pushed into it")]
    NotPushed,
    /// Rows cannot be fetched because nothing says from where.
    #[error("the dataset has no polling source")]
    NoPollingSource,
    /// A link to an object that cannot be followed.
    #[error("column `{column}`: the link to an object `{link}` is refused: {reason}")]
    Link {
        /// The column.
        column: String,
        /// The link, or the attribute that declares links.
        link: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Derivative datasets are computed, not published.
    #[error("the dataset is derivative: its rows are computed from other datasets")]
    Derivative,
    /// The dataset is fed by polling with another strategy.
    #[error("the dataset has a polling source; its merge strategy cannot be changed by publishing")]
    Polling,
    /// The schema is in the form of before 2025 and cannot be read.
    #[error("the dataset's schema is in the legacy Arrow form and cannot be read: {0}")]
    LegacySchema(#[from] DecodeError),
    /// A number is beyond what a slice can hold.
    #[error("the dataset is full: offsets end at {}", i64::MAX)]
    Full,
}

/// Why the rows of a source do not fit the dataset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FitError {
    /// A name that ODF keeps for itself.
    #[error(
        "the data has a column `{0}`, which the dataset needs for itself; give the column another name in the preprocess \
         query or the read step, or another name to the dataset's own with SetVocab"
    )]
    Reserved(String),
    /// The event time holds something else than times.
    #[error("the event time column `{column}` must hold dates or timestamps, and it holds {found}")]
    EventTime {
        /// The column.
        column: String,
        /// Its type.
        found: String,
    },
    /// The operations are something else than numbers.
    #[error(
        "the operation column `{column}` must hold integers (0 append, 1 retract, 2 correct from, 3 correct to), and it \
         holds {found}"
    )]
    Operation {
        /// The column.
        column: String,
        /// Its type.
        found: String,
    },
    /// A stream of changes must say what each row is.
    #[error("the merge strategy ChangelogStream needs the column `{0}`, which the data does not have")]
    NoOperation(String),
    /// A column of the key is not in the data.
    #[error("the primary key column `{column}` is not in the data, which has {columns}")]
    NoKeyColumn {
        /// The column.
        column: String,
        /// Those that are there.
        columns: String,
    },
    /// Dictionaries are no type of ODF's, and nobody said what the column is to be.
    #[error(
        "column `{0}` holds numbers that stand for values of a list (a dictionary, as pandas writes categories), and nothing \
         says what they are to be in the dataset"
    )]
    Coded(String),
    /// Other columns than the dataset's.
    #[error("the rows do not fit the dataset's schema: {0}")]
    Incompatible(String),
    /// A column has a type that ODF does not have.
    #[error(transparent)]
    NoCounterpart(#[from] NoCounterpart),
}

impl From<MergeError> for IngestError {
    fn from(error: MergeError) -> Self {
        match error {
            MergeError::Refused(error) => *error,
            error => IngestError::Merge(error),
        }
    }
}

impl From<NoCounterpart> for IngestError {
    fn from(error: NoCounterpart) -> Self {
        IngestError::Plan(PlanError::NoCounterpart(error))
    }
}

impl IngestError {
    /// Whether the disk, or the quota on it, had no room.
    pub fn is_disk_full(&self) -> bool {
        match self {
            IngestError::Slice(error) | IngestError::Merge(MergeError::Slice(error)) => error.is_disk_full(),
            _ => false,
        }
    }
}

/// Why new rows could not be merged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// The table could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// An earlier slice could not be read, or the new one not written.
    #[error(transparent)]
    Slice(#[from] SliceError),
    /// A row has no value in its primary key.
    #[error("row {row}: the primary key column `{column}` has no value")]
    NullKey {
        /// Row of the table, from 1, the header not counted.
        row: u64,
        /// The column.
        column: String,
    },
    /// Two rows of a snapshot have one primary key.
    #[error("rows {first} and {second} have the same primary key ({key}); a snapshot holds each key once")]
    RepeatedKey {
        /// Row of the table, from 1, the header not counted.
        first: u64,
        /// The later row.
        second: u64,
        /// The values of the key.
        key: String,
    },
    /// A column of the key is not in the table.
    #[error("the primary key column `{0}` is not in the data")]
    NoKeyColumn(String),
    /// The strategy goes by a key and names no column.
    #[error("the merge strategy names no primary key column")]
    EmptyKey,
    /// A column to be compared is not in the data.
    #[error("the column `{0}`, which the merge strategy compares, is not in the data")]
    NoCompareColumn(String),
    /// A row of a stream of changes does not say what it does.
    #[error("new row {row}: the operation column `{column}` has no value")]
    NoOperation {
        /// Row of those that were read, from 1, the header not counted.
        row: u64,
        /// The column.
        column: String,
    },
    /// A row says something that is no operation.
    #[error(
        "new row {row}: {value} in the column `{column}` is no operation; it takes 0 (append), 1 (retract), 2 (correct from) \
         and 3 (correct to)"
    )]
    NotAnOperation {
        /// Row of those that were read, from 1, the header not counted.
        row: u64,
        /// The column.
        column: String,
        /// What stands there.
        value: i64,
    },
    /// What the merged rows are for does not take one of them.
    #[error(transparent)]
    Refused(Box<IngestError>),
    /// Columns did not fit together.
    #[error("rows could not be merged: {0}")]
    Arrow(#[from] ArrowError),
    /// An earlier slice lacks a column or has it in a type that cannot be converted.
    #[error("the earlier slice {} has no usable column `{column}`", .path.display())]
    History {
        /// The slice.
        path: PathBuf,
        /// The column.
        column: String,
    },
}

/// A merge strategy from the words of the command line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeOptionError {
    /// No such strategy.
    #[error("`{0}` is not a merge strategy; use append, ledger, snapshot, changelog or upsert")]
    Unknown(String),
    /// The strategy needs to know which rows are the same.
    #[error("{0} needs --primary-key")]
    KeyMissing(&'static str),
    /// The strategy has no use for a key.
    #[error("append takes all rows and has no primary key; leave --primary-key away, or use ledger or snapshot")]
    KeyUnused,
}

/// Some of `all` rows, in brackets.
fn such_as(rows: &[String], all: u64) -> String {
    let more = if all > rows.len() as u64 { "; …" } else { "" };
    match rows.is_empty() {
        true => String::new(),
        false => format!(" ({}{more})", rows.join("; ")),
    }
}
