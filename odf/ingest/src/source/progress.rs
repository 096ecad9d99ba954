//! How far a reading has come, and its end if the caller wants it.

use std::ops::ControlFlow;

use super::problem::{Problem, SourceError};
use super::table::Source;

/// How far a reading has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// Bytes of the file seen in this phase.
    pub bytes: u64,
    /// Length of the file.
    pub total_bytes: u64,
    /// Rows seen in this phase; of both sides when they are compared.
    pub rows: u64,
}

/// The phases of an ingest, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Hashing the part that was taken earlier.
    #[default]
    Checking,
    /// Settling the types of columns.
    Inferring,
    /// Reading rows.
    Reading,
    /// Comparing them with those that are there. How many rows that will be is not known.
    Comparing,
    /// Writing the slice.
    Writing,
}

/// Called now and then with the progress; `Break` stops the work, nothing is changed then.
pub type OnProgress<'a> = dyn FnMut(Progress) -> ControlFlow<()> + 'a;

/// Tells the progress callback, and turns its `Break` into an error.
pub(crate) fn report(
    source: &Source,
    progress: &mut OnProgress<'_>,
    phase: Phase,
    bytes: u64,
    total_bytes: u64,
    rows: u64,
) -> Result<(), SourceError> {
    match progress(Progress {
        phase,
        bytes,
        total_bytes,
        rows,
    }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(source.error(Problem::Cancelled)),
    }
}
