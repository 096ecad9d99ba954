//! Queries over whole datasets, for people and programs: each dataset is a table by its name.
//!
//! A [`Session`] has DataFusion plan and run them. Which tables there are is for [`Tables`] to say, and where the bytes of
//! their slices come from for a [`SliceSource`]: from files here, or block by block from whoever has them. Only what a query
//! needs is read: footers, and of the row groups that can hold its rows the columns that it looks at (`select/reader.rs`);
//! what the chain says of slices spares even footers (`select/provider.rs`).
//!
//! Queries reach nothing but these tables, neither files nor the network, and change nothing. Rows that have to be held
//! (sorting, grouping, joining) take as much memory as the session may, and then files below its scratch directory.

mod current;
mod error;
mod names;
mod provider;
mod query;
mod read;
mod reader;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};
use futures::StreamExt as _;
use odf_metadata::Timestamp;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::sql::CATALOG;
pub use error::SelectError;
use names::Names;
pub use query::Query;
pub use read::Read;
use reader::Stores;
pub use table::{Files, SliceSource, Table, TableError, Tables};

/// How many batches of rows lie ready for who takes them.
const READY: usize = 2;
/// How often a running query looks whether it is still wanted.
const TICK: Duration = Duration::from_millis(50);
/// The least memory that a session can work with, in bytes: below it even small sorts fail.
pub const LEAST_MEMORY: u64 = 16 << 20;

/// The engine and its version.
pub fn engine() -> String {
    format!("DataFusion {}", datafusion::DATAFUSION_VERSION)
}

/// What queries may take.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bytes of memory for rows that have to be held, of all queries of the session together.
    pub memory: u64,
    /// Bytes of files beyond that.
    pub spill: u64,
    /// Directory for these files, in a directory of its own for each session of the process.
    pub scratch: PathBuf,
    /// The time that `now()` gives.
    pub now: Timestamp,
    /// How many threads compute.
    pub threads: usize,
}

/// An engine over tables. Whoever uses it blocks, and is not a task of an async runtime.
pub struct Session {
    context: SessionContext,
    settings: Settings,
    read: Arc<Read>,
    /// There until the end of the session.
    runtime: Option<Runtime>,
    _scratch: Scratch,
}

impl Drop for Session {
    /// Whoever ends a session does not wait for a task that is in the middle of something.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Session {
    /// Opens a session over tables. Nothing is read yet.
    ///
    /// # Errors
    /// The scratch directory cannot be made, or threads not be started.
    pub fn open(tables: Arc<dyn Tables>, settings: Settings) -> Result<Session, SelectError> {
        let engineless = |error: DataFusionError| SelectError::of(error, 0);
        let scratch = Scratch::below(&settings.scratch).map_err(SelectError::Scratch)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(settings.threads.max(1))
            .thread_name("query")
            .enable_time()
            .build()
            .map_err(SelectError::Scratch)?;
        let memory = usize::try_from(settings.memory.max(LEAST_MEMORY)).unwrap_or(usize::MAX);
        let files = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![scratch.0.clone()]))
            .with_max_temp_directory_size(settings.spill);
        let environment = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(memory)))
            .with_disk_manager_builder(files)
            .with_object_store_registry(Arc::new(Stores::default()))
            .build_arc()
            .map_err(engineless)?;
        let read = Arc::new(Read::default());
        let names = Names::new(tables, read.clone());
        let state = SessionStateBuilder::new()
            .with_config(config(settings.threads))
            .with_runtime_env(environment)
            .with_default_features()
            .with_catalog_list(names.catalogs());
        let mut state = state.build();
        datafusion_functions_json::register_all(&mut state).map_err(engineless)?;
        let context = SessionContext::new_with_state(state);
        names.register_functions(&context);
        Ok(Session {
            context,
            settings,
            read,
            runtime: Some(runtime),
            _scratch: scratch,
        })
    }

    /// Plans a query and begins to run it.
    ///
    /// # Errors
    /// A table or column is not there, a type does not fit, a dataset cannot be read.
    pub fn select(&self, query: &Query) -> Result<Answer<'_>, SelectError> {
        let mut state = self.context.state();
        state.execution_props_mut().query_execution_start_time = Some(self.settings.now.datetime());
        let start = async {
            let plan = state.statement_to_plan(query.statement().clone()).await?;
            let only_read = SQLOptions::new()
                .with_allow_ddl(false)
                .with_allow_dml(false)
                .with_allow_statements(false);
            only_read.verify_plan(&plan)?;
            let physical = state.create_physical_plan(&plan).await?;
            execute_stream(physical, state.task_ctx())
        };
        let runtime = self.runtime.as_ref().ok_or(SelectError::Stopped)?;
        let started: Result<SendableRecordBatchStream, DataFusionError> = runtime.block_on(start);
        let mut stream = started.map_err(|error| SelectError::of(error, self.settings.memory))?;
        let schema = stream.schema();
        let (give, rows) = mpsc::sync_channel(READY);
        let (wanted, mut unwanted) = oneshot::channel::<()>();
        let handle = runtime.handle().clone();
        // The engine may be long in the middle of something, on every thread that it has; who waits looks up in between.
        let take = move || {
            loop {
                let next = handle.block_on(async {
                    tokio::select! {
                        biased;
                        _ = &mut unwanted => None,
                        next = stream.next() => Some(next),
                    }
                });
                match next {
                    Some(next) => {
                        let is_last = next.is_none();
                        if give.send(next).is_err() || is_last {
                            return;
                        }
                    }
                    None => return,
                }
            }
        };
        let thread = std::thread::Builder::new().name("rows of a query".to_owned());
        thread.spawn(take).map_err(SelectError::Scratch)?;
        Ok(Answer {
            schema,
            rows,
            session: self,
            _wanted: wanted,
        })
    }

    /// What the queries of this session have read.
    pub fn read(&self) -> &Read {
        &self.read
    }
}

/// The directory for temporary files of one session. It goes with the session, also while the engine is still in the middle
/// of something: files without a name stay readable.
struct Scratch(PathBuf);

impl Scratch {
    fn below(dir: &Path) -> std::io::Result<Self> {
        static SESSIONS: AtomicU64 = AtomicU64::new(0);
        let number = SESSIONS.fetch_add(1, Ordering::Relaxed);
        let own = dir.join(number.to_string());
        fs::create_dir_all(&own)?;
        Ok(Self(own))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let removed = fs::remove_dir_all(&self.0);
        // The last session takes the directory of all of them along.
        let parent = self.0.parent().map_or(Ok(()), fs::remove_dir);
        if let (Err(error), _) = (removed, parent) {
            tracing::debug!(path = %self.0.display(), %error, "temporary files of a query stay until the next start");
        }
    }
}

fn config(threads: usize) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema(CATALOG, CATALOG)
        .with_information_schema(true)
        .with_target_partitions(threads.max(1));
    let options = config.options_mut();
    // Names of columns and datasets keep their case, as in preprocess queries.
    options.sql_parser.enable_ident_normalization = false;
    options.sql_parser.collect_spans = true;
    // Text is read as views, which costs no copy, and is given as plain text, which every reader knows.
    options.optimizer.expand_views_at_output = true;
    // Release 55 passes over rows that cannot be the least of one column, and with them over those that can be the least of an
    // expression beside it: `min(a - b), min(c)`.
    options.optimizer.enable_aggregate_dynamic_filter_pushdown = false;
    config
}

/// The rows of a running query. Dropping it ends the query, as soon as the engine looks up.
pub struct Answer<'a> {
    schema: SchemaRef,
    /// Nothing behind the last rows.
    rows: mpsc::Receiver<Option<Result<RecordBatch, DataFusionError>>>,
    session: &'a Session,
    _wanted: oneshot::Sender<()>,
}

impl Answer<'_> {
    /// The columns of the rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The next rows; none behind the last. `is_wanted` is asked several times a second, and ends the query by saying no.
    ///
    /// # Errors
    /// [`SelectError::Stopped`]; slices cannot be had or read; a value does not fit; there is not memory enough.
    pub fn next(&mut self, is_wanted: &dyn Fn(&Read) -> bool) -> Result<Option<RecordBatch>, SelectError> {
        let Session { settings, read, .. } = self.session;
        loop {
            let next = self.rows.recv_timeout(TICK);
            if !is_wanted(read) {
                return Err(SelectError::Stopped);
            }
            match next {
                Err(RecvTimeoutError::Timeout) => {}
                // It ends without a word where the engine panics.
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(SelectError::Failed("the query engine broke down".to_owned()));
                }
                Ok(None) => return Ok(None),
                Ok(Some(Ok(batch))) if batch.num_rows() == 0 => {}
                Ok(Some(batch)) => {
                    return batch.map(Some).map_err(|error| SelectError::of(error, settings.memory));
                }
            }
        }
    }
}
