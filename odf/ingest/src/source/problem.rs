//! What can be wrong with a table, and where.

use std::fmt;
use std::io;

use super::difference::Difference;

/// What went wrong in a table, and where: the file, the place and the column as far as they are known.
#[derive(Debug)]
pub struct SourceError {
    /// The file (or `-`, or the URL) as the user named it.
    pub name: String,
    /// Where in the file.
    pub place: Option<Place>,
    /// Name of the column.
    pub column: Option<String>,
    /// What is wrong there.
    pub problem: Problem,
}

/// A place in a table, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of a text file; the first line of a row that spans several.
    Line(u64),
    /// A row of a Parquet file, or of a sheet.
    Row(u64),
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match self.place {
            Some(Place::Line(line)) => write!(f, ", line {line}")?,
            Some(Place::Row(row)) => write!(f, ", row {row}")?,
            None => {}
        }
        if let Some(column) = &self.column {
            write!(f, ", column `{column}`")?;
        }
        write!(f, ": {}", self.problem)
    }
}

impl std::error::Error for SourceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            Problem::Io(error) => Some(error),
            _ => None,
        }
    }
}

/// What can be wrong with a table. The place is in the [`SourceError`] around it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// No such file.
    #[error("no such file")]
    NotFound,
    /// A directory was named.
    #[error("is a directory; name one table file")]
    Directory,
    /// The file could not be read.
    #[error("cannot be read: {0}")]
    Io(#[source] io::Error),
    /// Neither the extension nor an option says what the file is.
    #[error(
        "the format is not clear from the name; say it with --format csv|ndjson|json|geojson|ndgeojson|parquet|esrishapefile"
    )]
    FormatUnknown,
    /// A workbook has several sheets and none was named, or none of that name.
    #[error("{}its sheets are {sheets}", .wanted.as_ref().map(|name| format!("there is no sheet `{name}`; ")).unwrap_or_default())]
    Sheet {
        /// The name that was asked for.
        wanted: Option<String>,
        /// The names that there are.
        sheets: String,
    },
    /// An option of the read step has a value that is not supported.
    #[error("the read step has `{option}: {value}`, which is not supported; it can only be {supported}")]
    Option {
        /// The option, as manifests write it.
        option: &'static str,
        /// What it is set to.
        value: String,
        /// What it may be.
        supported: &'static str,
    },
    /// The read step declares columns that cannot be understood.
    #[error("the source declares columns that cannot be read: {0}")]
    Declaration(String),
    /// No bytes, or nothing but blanks.
    #[error("the file is empty")]
    Empty,
    /// A header and no rows, or an empty array.
    #[error("there are no rows")]
    NoRows,
    /// JSON objects without a member, and no others.
    #[error(
        "its objects have no members, so that {0} row(s) without a value of their own would come of them; give them \
         members, or leave them out"
    )]
    NoMembers(u64),
    /// A CSV record has another number of fields than the header, or, without one, than the first record.
    #[error("{found} field(s) where the header has {expected}")]
    Ragged {
        /// Fields in this record.
        found: u64,
        /// Fields in the header.
        expected: u64,
    },
    /// CSV columns without a header are found by place, and there are not as many as declared.
    #[error("the file has {found} column(s) and the source declares {expected} ({declared}); there must be as many")]
    Width {
        /// Columns of the file.
        found: u64,
        /// Columns of the source.
        expected: u64,
        /// Their names.
        declared: String,
    },
    /// The header of CSV does not have the columns that the source declares.
    #[error("the header {0}; names decide which column is which")]
    Header(Difference),
    /// The columns of the table are not those of the dataset.
    #[error("the file {0}")]
    Columns(Difference),
    /// Nothing says of what type a column is.
    #[error(
        "the first rows have no value in it, so nothing shows its type; declare the columns in the source (`schema`), or \
         leave it out"
    )]
    NoValues,
    /// A row has none of the columns that the source declares.
    #[error("nothing in it is a column that the source declares ({0}); all of its values would be lost")]
    NothingDeclared(String),
    /// A name differs from that of a column in case only, and the column has no value of its own.
    #[error("no such column, but `{0}`: upper and lower case count")]
    Case(String),
    /// The table is of another kind.
    #[error("this is {0}")]
    Foreign(&'static str),
    /// It is not clear what separates the columns.
    #[error(
        "the header has {0} and no comma, and the rows do not show what separates the columns; say it with --separator"
    )]
    Separator(String),
    /// A record has another number of fields than the header, if the most likely separator separates them.
    #[error("{found} field(s) where the header has {expected}, if {separator} separates the columns")]
    Uneven {
        /// Fields in this record.
        found: u64,
        /// Fields in the header.
        expected: u64,
        /// The separator, in words.
        separator: String,
    },
    /// A snapshot without a row, where there were some.
    #[error(
        "there are no rows, and a snapshot without rows would retract every row of the dataset; if that is meant, say so \
         with --allow-empty"
    )]
    Emptied,
    /// The bytes are not UTF-8.
    #[error("not UTF-8 text{0}")]
    NotUtf8(&'static str),
    /// The text is not what the format asks for.
    #[error("{0}")]
    Syntax(String),
    /// The value cannot be read as the type of its column.
    #[error("`{value}` is not {expected}, the type of this column")]
    NotType {
        /// The value as it stands in the file, shortened.
        value: String,
        /// The type that the column has.
        expected: String,
    },
    /// The value would come out as another one.
    #[error("`{value}` {reason}")]
    Changes {
        /// The value as it stands in the file, shortened.
        value: String,
        /// Why, and what helps.
        reason: &'static str,
    },
    /// No value in a column that must have one.
    #[error("no value, but this column must have one")]
    Missing,
    /// Something is wrong with a member of an object in the column.
    #[error("member `{member}`: {problem}")]
    Within {
        /// Name of the member.
        member: String,
        /// What is wrong with it.
        problem: Box<Problem>,
    },
    /// Two columns of one name.
    #[error("this column appears twice; names must differ")]
    Duplicate,
    /// A name that ODF keeps for itself.
    #[error("this name is reserved by ODF (offset, op, system_time); rename the column in the file")]
    Reserved,
    /// The dataset does not have this column.
    #[error("the dataset has no such column; its columns are {0}")]
    NotInDataset(String),
    /// The dataset has a column that the table lacks.
    #[error("the dataset has this column and the file does not")]
    NotInFile,
    /// A column was asked for by name (key or event time) and is not there.
    #[error("no such column; the file has {0}")]
    NoColumn(String),
    /// The event time column holds something else than times.
    #[error(
        "{0} cannot serve as event time; it takes RFC 3339 times, dates, or integers whose unit is declared (--schema \
         'COLUMN TIMESTAMP(0)' for seconds since 1970, (3) for milliseconds)"
    )]
    NotATime(String),
    /// A Parquet type that a dataset cannot hold.
    #[error("the type {0} is not supported; cast it to another one first")]
    Unsupported(String),
    /// A limit of this reader.
    #[error("larger than the limit of {limit} {unit}{hint}")]
    TooLarge {
        /// The limit.
        limit: usize,
        /// What is counted.
        unit: &'static str,
        /// What usually causes it, or nothing.
        hint: &'static str,
    },
    /// The preprocess query failed on the rows.
    #[error("the preprocess query failed: {0}")]
    Query(String),
    /// The progress callback asked to stop.
    #[error("stopped")]
    Cancelled,
}

impl Problem {
    /// The same problem of an object that the value is a member of.
    pub(crate) fn within(self, member: &str) -> Problem {
        Problem::Within {
            member: member.to_owned(),
            problem: Box::new(self),
        }
    }
}
