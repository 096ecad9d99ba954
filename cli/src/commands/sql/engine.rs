//! The engine as commands use it: over tables, within the settings of the workspace, as long as the user waits.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use odf::metadata::Timestamp;
use odf::select::{Answer, Read, SelectError, Session as Engine, Settings};
use odf::tables::WorkspaceTables;

use crate::failure::Failure;
use crate::io::{Io, Step};
use crate::output;
use crate::session::Session;

/// Of the free disk, a query leaves this part alone: one in so many.
const LEFT_FREE: u64 = 10;

/// How many threads compute.
pub(super) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// An engine over these tables.
pub(super) fn engine(
    tables: WorkspaceTables,
    threads: usize,
    now: Timestamp,
    session: &Session,
) -> Result<Engine, Failure> {
    let free = session.disk().free_bytes(session.root()).unwrap_or(0);
    let settings = Settings {
        memory: session.settings().query_memory.get(),
        spill: free - free / LEFT_FREE,
        scratch: scratch(session)?,
        now,
        threads,
    };
    Engine::open(Arc::new(tables), settings).map_err(|error| failed(error, session))
}

/// Where temporary files of queries go.
fn scratch(session: &Session) -> Result<PathBuf, Failure> {
    Ok(session.spool_dir()?.join("query"))
}

/// The rows of an answer, while somebody wants them.
pub(super) fn batches<'a>(
    mut answer: Answer<'a>,
    session: &'a Session,
    io: &Io,
) -> impl Iterator<Item = Result<RecordBatch, Failure>> + 'a {
    let (cancel, progress) = (io.cancel().clone(), io.progress().clone());
    let is_wanted = move |read: &Read| {
        progress.show(|| Step {
            text: format!(
                "reading: {} of at most {}",
                output::bytes(read.bytes()),
                output::bytes(read.wanted())
            ),
            done: read.bytes().min(read.wanted()),
            total: Some(read.wanted()).filter(|wanted| *wanted > 0),
        });
        !cancel.is_set()
    };
    std::iter::from_fn(move || {
        let next = answer.next(&is_wanted).transpose();
        next.map(|batch| batch.map_err(|error| failed(error, session)))
    })
}

/// What a person is told of a query that gave no rows.
pub(super) fn failed(error: SelectError, session: &Session) -> Failure {
    match error {
        SelectError::NoTable(name) => {
            let nearest = session
                .workspace()
                .map(|workspace| workspace.catalog().find_entry(&name));
            match nearest {
                Ok(Err(error)) => error.into(),
                _ => SelectError::NoTable(name).into(),
            }
        }
        error => error.into(),
    }
}
