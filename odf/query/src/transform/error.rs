//! What can go wrong when a derivative dataset is computed.

use crate::sql::Gathering;
use odf_dataset::DatasetError;
use odf_ingest::FitError;
use odf_ingest::QueryError;
use odf_ingest::source::SourceError;
use odf_metadata::{DatasetId, Multihash};
use odf_tables::slice::SliceError;
use odf_tables::types::NoCounterpart;

/// Why a derivative dataset was not computed. It is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransformError {
    /// Nothing says how the dataset is computed.
    #[error("the dataset has no transform")]
    NoTransform,
    /// The queries are for another engine.
    #[error("the transform is for the engine `{0}`, which runs in a container, and odfs runs `datafusion` only")]
    Engine(String),
    /// An input is not in this workspace.
    #[error("the input {alias} ({id}) is not here")]
    NoInput {
        /// What the transform calls it.
        alias: String,
        /// Which dataset it is.
        id: DatasetId,
    },
    /// An input is not said in the way a chain says it.
    #[error("the input `{0}` of the transform is not resolved to a dataset")]
    Unresolved(String),
    /// The history of an input was rewritten: what was read of it is not part of it any more.
    #[error(
        "InvalidInputInterval: {read}, up to which {input} was read, is not in its history any more; its head is {head}"
    )]
    Diverged {
        /// Name of the input.
        input: String,
        /// The last block that was read.
        read: Multihash,
        /// Its head now.
        head: Multihash,
    },
    /// The schema of an input is in the form of before 2025, which says less than is needed.
    #[error("the schema of the input {0} is in the legacy Arrow form")]
    LegacySchema(String),
    /// The queries cannot be run.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// A query needs all rows of its inputs, and gets the new ones.
    #[error(
        "{0}, and that needs all rows of the inputs at once: odfs computes a derivative dataset from the new rows of each run \
         alone, which would give wrong rows in silence"
    )]
    Gathers(Gathering),
    /// The rows cannot be read or computed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The result does not fit the dataset.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// The result has a column whose name the dataset needs for itself.
    #[error(
        "the result has a column `{0}`, which the dataset needs for itself; give it another name in the query, or another \
         name to the dataset's own with SetVocab"
    )]
    Reserved(String),
    /// The result has no event time.
    #[error("the result has no event time column `{wanted}`; its columns are {columns}")]
    NoEventTime {
        /// Name of the column.
        wanted: String,
        /// The columns there are.
        columns: String,
    },
    /// A schema has a type that Arrow or ODF lacks.
    #[error(transparent)]
    NoCounterpart(#[from] NoCounterpart),
    /// The slice could not be written.
    #[error(transparent)]
    Slice(#[from] SliceError),
    /// A dataset could not be read or changed.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The dataset changed between planning and running.
    #[error("the dataset was changed by somebody else meanwhile")]
    Moved,
    /// Offsets end.
    #[error("the dataset is full: offsets end at {}", i64::MAX)]
    Full,
    /// It was asked to stop.
    #[error("stopped")]
    Stopped,
}
