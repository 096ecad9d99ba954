//! What ingest needs of the world around it: what a dataset holds already, a disk to write on, and something that runs
//! queries. It knows no dataset on disk and no query engine.

use std::error::Error;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use odf_disk::Disk;
use odf_metadata::chain::ChainState;
use odf_metadata::{DataSlice, MetadataEvent, Timestamp, Transform};
use odf_tables::slice::{Ordered, WrittenSlice};

use crate::effect::Effect;
use crate::infer::Note;
use crate::source::{Batches, SourceError};

/// Why the history of a dataset could not be read.
pub type HistoryError = Box<dyn Error + Send + Sync>;

/// What a dataset holds before its new rows.
pub trait History {
    /// What its chain amounts to; nothing for a dataset that comes into being with these rows.
    fn state(&self) -> Option<&ChainState>;

    /// Its slices. Only strategies that look at earlier rows ask.
    fn slices(&self) -> Arc<dyn Slices>;

    /// A file in which may be kept what is found out about the slices, named by their content, on the way. It need not be
    /// there. Without one everything is found out again each time.
    fn ranges(&self) -> Option<PathBuf> {
        None
    }
}

/// Earlier slices by their positions in the history, the oldest first. There may be very many, and most are never asked for.
pub trait Slices: Send + Sync {
    /// How many positions there are. Some may have no slice, and those that have one keep it for good.
    fn positions(&self) -> usize;

    /// Whether no position has a slice.
    fn is_empty(&self) -> bool;

    /// The files at these positions, one after another; nothing where there is no slice.
    ///
    /// # Errors
    /// The history cannot be read.
    fn files(&self, positions: Range<usize>) -> Result<Vec<Option<PathBuf>>, HistoryError>;

    /// What tells all that the history is up to a position, and with it, from every other history.
    ///
    /// # Errors
    /// The history cannot be read.
    fn mark(&self, position: usize) -> Result<Vec<u8>, HistoryError>;
}

/// Files of slices, each at a position of its own.
impl Slices for Vec<PathBuf> {
    fn positions(&self) -> usize {
        self.len()
    }

    fn is_empty(&self) -> bool {
        Vec::is_empty(self)
    }

    fn files(&self, positions: Range<usize>) -> Result<Vec<Option<PathBuf>>, HistoryError> {
        Ok(self[positions].iter().cloned().map(Some).collect())
    }

    fn mark(&self, position: usize) -> Result<Vec<u8>, HistoryError> {
        let names = self[..=position].iter().filter_map(|path| path.file_name());
        Ok(names
            .flat_map(|name| [name.as_encoded_bytes(), b"/"].concat())
            .collect())
    }
}

/// The history of a dataset that is still to be made.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHistory;

impl History for NoHistory {
    fn state(&self) -> Option<&ChainState> {
        None
    }

    fn slices(&self) -> Arc<dyn Slices> {
        Arc::new(Vec::<PathBuf>::new())
    }
}

/// Where an ingest takes place.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    /// What is there already.
    pub history: &'a dyn History,
    /// What runs the preprocess queries of sources.
    pub engine: &'a dyn Engine,
    /// What the new slice is written through.
    pub disk: &'a Disk,
    /// The directory that gets it. Temporary files go there too, under names that [`Disk::sweep`] removes.
    pub dir: &'a Path,
    /// The file that remembers how a published file was taken ([`Memory`](crate::taken::Memory)). It need not be there.
    pub marks: &'a Path,
}

impl Ground<'_> {
    /// The system time of the next blocks: `now`, or that of the head if it is later, because a chain never goes back.
    pub(crate) fn system_time(&self, now: Timestamp) -> Timestamp {
        self.history.state().map_or(now, |state| now.max(state.system_time))
    }
}

/// What to commit, all of it or nothing.
pub struct Prepared {
    /// The events, in order. At least one.
    pub events: Vec<MetadataEvent>,
    /// The system time of their blocks.
    pub system_time: Timestamp,
    /// The file that the last of them names, still under its temporary name.
    pub slice: Option<WrittenSlice>,
    /// What the event says about the file.
    pub data: Option<DataSlice>,
    /// Rows in it, retractions and corrections included.
    pub rows: u64,
    /// How many of them had no event time, and were given one: that of the options, else the system time.
    pub without_event_time: u64,
    /// What they did to those that were there.
    pub effect: Effect,
    /// What the types that were found out leave to be said.
    pub notes: Vec<ColumnNote>,
}

/// What came of rows.
#[expect(clippy::large_enum_variant, reason = "one at a time, and looked at right away")]
pub enum Ingested {
    /// Nothing is to be committed. Rows may have been [passed over](Effect::passed_over).
    Nothing(Effect),
    /// This is.
    News(Prepared),
}

impl From<Option<Prepared>> for Ingested {
    fn from(news: Option<Prepared>) -> Ingested {
        news.map_or_else(|| Ingested::Nothing(Effect::default()), Ingested::News)
    }
}

impl Ingested {
    /// What is to be committed, if anything is.
    pub fn news(self) -> Option<Prepared> {
        match self {
            Ingested::Nothing(_) => None,
            Ingested::News(prepared) => Some(prepared),
        }
    }
}

/// Why a column has the type that was found out for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnNote {
    /// Name of the column.
    pub column: String,
    /// The reason.
    pub note: Note,
}

/// Name of the rows that were read, in a preprocess query.
pub const INPUT: &str = "input";

/// Opens the rows of an input, by its position, from the start. The columns that will be looked at are given by position, if
/// not all are; the others are there and may hold anything, nulls in columns that must not have any included.
pub type Open<'a> = dyn Fn(usize, Option<&[usize]>) -> Result<Box<dyn Batches + 'a>, SourceError> + 'a;

/// Runs the queries of transforms.
pub trait Engine: Send + Sync {
    /// Plans a transform over inputs with these names and columns. `now` is the time that `now()` and its kin give.
    ///
    /// # Errors
    /// See [`QueryError`].
    fn plan(
        &self,
        transform: &Transform,
        inputs: Vec<(String, SchemaRef)>,
        now: Timestamp,
    ) -> Result<Box<dyn Planned>, QueryError>;
}

/// A transform that was understood: what its result looks like is known before a row is read.
pub trait Planned: Send + Sync {
    /// The columns of the result.
    fn schema(&self) -> &SchemaRef;

    /// The rows are going to be stored by this column, which need not be there, and where it is equal as they come: an order
    /// that the query asks for has no effect beside that, as in kamu.
    fn store_by(&mut self, event_time: &str);

    /// The same columns as they are written to a slice: some that the query leaves optional have no missing value, and the
    /// engine may say more about others.
    fn stored(&self) -> &SchemaRef;

    /// The columns by which the query says that its rows are in order.
    fn order(&self) -> &[Ordered];

    /// Runs it over the rows that `open` gives. `name` is what messages call them; temporary files go to `dir`.
    ///
    /// # Errors
    /// The engine cannot be set up, or an input not be opened.
    fn run<'a>(&'a self, name: &str, dir: &Path, open: Box<Open<'a>>) -> Result<Box<dyn Batches + 'a>, SourceError>;
}

/// Why a query cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// Another engine's.
    #[error(
        "the query is for the engine `{0}`, which runs in a container; odfs runs queries for `datafusion` only. Ways out: \
         declare the source anew with `engine: datafusion`, or let kamu run it and pull the dataset from there"
    )]
    Engine(String),
    /// No query at all.
    #[error("the transform has no query")]
    NoQuery,
    /// More than a limit allows.
    #[error("{what} beyond the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// A step that defines, changes or sets something.
    #[error("{step} is not a query; only SELECT (and WITH, VALUES) is run")]
    NotAQuery {
        /// The step.
        step: String,
    },
    /// A step that cannot be understood.
    #[error("{step}{}: {message}", at(.place))]
    Invalid {
        /// The step.
        step: String,
        /// What the engine says.
        message: String,
        /// Line and column in the query, from 1.
        place: Option<(u64, u64)>,
    },
    /// Two columns of the result have one name.
    #[error("the result of the query has two columns `{0}`; give one another name with AS")]
    Ambiguous(String),
    /// The engine could not be set up.
    #[error("the query cannot be run: {0}")]
    Engineless(String),
}

fn at(place: &Option<(u64, u64)>) -> String {
    place.map_or_else(String::new, |(line, column)| format!(" (line {line}, column {column})"))
}
