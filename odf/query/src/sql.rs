//! Preprocess queries: SQL between reading and merging, run in this process by DataFusion (odf-facts §10).
//!
//! A query means what it means in kamu, which uses the same engine: the rows that were read are the table `input`, every
//! named step is a view for the steps behind it, the nameless last step gives the rows of the result, and identifiers
//! keep their case. DataFusion's own functions are there and those for JSON that kamu adds (`json_get_int`, `->>` and
//! their kin); those that it adds for Ethereum (`eth_decode_event`) are not. Only queries are run; they reach nothing but
//! their inputs, neither files nor the network. Where its engine gives other types than ours, queries have those of its
//! engine (`functions`), and the slice is written as it writes it (`stored`).
//!
//! Rows stream through. DataFusion asks for batches of an input when it wants them, and they are read on the thread that
//! takes the result, so that nothing runs ahead. Steps that have to hold rows (sorting, grouping, joining) may use
//! [`MEMORY_BYTES`] and then go on in temporary files.

mod feed;
mod functions;
mod gather;
mod placed;
mod stored;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::catalog::view::ViewTable;
use datafusion::common::{DataFusionError, TableReference};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use futures::StreamExt;
use tokio::runtime::Runtime;

use feed::{Feeds, Input};
use functions::{Substring, with_optional_values};
pub use gather::Gathering;
use odf_ingest::source::{Batches, MAX_COLUMNS, Problem, SourceError};
use odf_ingest::{Engine, Open, Planned, QueryError};
use odf_metadata::{SqlQueryStep, Timestamp, Transform, TransformSql};
use odf_tables::slice::Ordered;
use placed::{Placed, placed};
use stored::Stored;

/// The engine whose queries run in this process.
pub const ENGINE: &str = "datafusion";

/// Memory for rows that a query has to hold; beyond it they go to temporary files.
pub const MEMORY_BYTES: usize = 512 << 20;

/// The most steps a query may have.
pub const MAX_STEPS: usize = 256;

/// The longest text of one step in bytes.
pub const MAX_QUERY_BYTES: usize = 1 << 20;

/// Catalog and schema that queries see as theirs; kamu's names.
pub(crate) const CATALOG: &str = "kamu";

/// Directory for temporary files beside the slices, swept away with unfinished slices.
const SPILL_DIR: &str = ".pending-query";

/// DataFusion, in this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct DataFusion;

impl Engine for DataFusion {
    fn plan(
        &self,
        transform: &Transform,
        inputs: Vec<(String, SchemaRef)>,
        now: Timestamp,
    ) -> Result<Box<dyn Planned>, QueryError> {
        Ok(Box::new(Query::plan(transform, inputs, now)?))
    }
}

impl Planned for Query {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn store_by(&mut self, event_time: &str) {
        self.event_time = Some(event_time.to_owned());
    }

    fn stored(&self) -> &SchemaRef {
        &self.stored.schema
    }

    fn order(&self) -> &[Ordered] {
        &self.stored.order
    }

    fn run<'a>(&'a self, name: &str, dir: &Path, open: Box<Open<'a>>) -> Result<Box<dyn Batches + 'a>, SourceError> {
        Ok(Box::new(Query::run(self, name, dir, open)?))
    }
}

/// A transform that was understood: what its result looks like is known before a row is read.
pub struct Query {
    steps: Vec<SqlQueryStep>,
    inputs: Vec<(String, SchemaRef)>,
    schema: SchemaRef,
    stored: Stored,
    now: Timestamp,
    gathering: Option<Gathering>,
    /// The column of event times by which the rows are stored, if that is what becomes of them.
    event_time: Option<String>,
}

impl Query {
    /// Plans a transform over inputs with these names and columns. `now` is the time that `now()` and its kin give.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn plan(transform: &Transform, inputs: Vec<(String, SchemaRef)>, now: Timestamp) -> Result<Query, QueryError> {
        let steps = steps(transform)?;
        let runtime = runtime()?;
        let Session {
            context,
            plan,
            gathering,
        } = plan(&runtime, &steps, &inputs, &Feeds::default(), None)?;
        // Metadata of fields belongs to the engine; a slice's fields have none.
        let mut fields: Vec<Field> = plan.schema().fields().iter().map(|field| plain(field)).collect();
        // Types as they come out: those of the parts of a UNION are made one, and casts of JSON become functions.
        let state = context.state();
        let checked = state
            .analyzer()
            .execute_and_check(plan.clone(), state.config_options(), |_, _| {});
        // What it cannot be made of is said when it is run.
        if let Ok(checked) = checked {
            for (field, checked) in fields.iter_mut().zip(checked.schema().fields()) {
                field.set_data_type(checked.data_type().clone());
            }
        }
        if fields.len() > MAX_COLUMNS {
            return Err(QueryError::TooLarge {
                what: "the columns of the result are",
                limit: MAX_COLUMNS,
            });
        }
        let mut seen = HashSet::new();
        if let Some(twice) = fields.iter().find(|field| !seen.insert(field.name().as_str())) {
            return Err(QueryError::Ambiguous(twice.name().clone()));
        }
        let schema = Arc::new(Schema::new(fields));
        // What the engine cannot run is said when it is run.
        let stored = runtime.block_on(Stored::of(context.state(), &plan)).ok();
        let stored = stored.filter(|stored| stored.schema.fields().len() == schema.fields().len());
        Ok(Query {
            steps,
            inputs,
            stored: stored.unwrap_or_else(|| Stored::plainly(schema.clone())),
            schema,
            now,
            gathering,
            event_time: None,
        })
    }

    /// The columns of the result.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The first part of the query that needs all rows of its inputs at once; none if each row of the result comes from one
    /// row of an input, so that new rows can be taken by themselves.
    pub fn gathering(&self) -> Option<&Gathering> {
        self.gathering.as_ref()
    }

    /// Runs the query. `name` stands for the rows in messages; temporary files, should any be needed, are made in a
    /// directory below `dir` and are gone when the result is dropped.
    ///
    /// # Errors
    /// The engine cannot be set up. What goes wrong with the rows shows while they are taken.
    pub fn run<'a>(&self, name: &str, dir: &Path, open: Box<Open<'a>>) -> Result<Answer<'a>, SourceError> {
        let fail = |problem: String| SourceError {
            name: name.to_owned(),
            place: None,
            column: None,
            problem: Problem::Query(problem),
        };
        let spill = Spill::new(dir.join(SPILL_DIR)).map_err(|error| fail(error.to_string()))?;
        let runtime = runtime().map_err(|error| fail(error.to_string()))?;
        let feeds = Feeds::default();
        let Session { context, plan, .. } = plan(&runtime, &self.steps, &self.inputs, &feeds, Some(&spill.0))
            .map_err(|error| fail(error.to_string()))?;
        let mut state = context.state();
        state.execution_props_mut().query_execution_start_time = Some(self.now.datetime());
        let start = async {
            let placed = match &self.event_time {
                // What is not planned so is planned as it stands.
                Some(event_time) => placed(&state, plan.clone(), event_time, self.now.millis())
                    .await
                    .ok()
                    .flatten(),
                None => None,
            };
            let physical = match &placed {
                Some(placed) => Arc::clone(&placed.plan),
                None => state.create_physical_plan(&plan).await?,
            };
            Ok((execute_stream(physical, state.task_ctx())?, placed))
        };
        let (stream, placed) = runtime.block_on(start).map_err(|error| fail(message(&error)))?;
        Ok(Answer {
            name: name.to_owned(),
            schema: self.schema.clone(),
            stream,
            placed,
            feeds,
            open,
            readers: Vec::new(),
            bytes: 0,
            runtime,
            _spill: spill,
        })
    }
}

/// Whether the texts of a transform can be read as queries. What they select from is not looked at, and transforms for
/// another engine are left to that.
///
/// # Errors
/// See [`QueryError`].
pub fn check(transform: &Transform) -> Result<(), QueryError> {
    let steps = match steps(transform) {
        Err(QueryError::Engine(_)) => return Ok(()),
        steps => steps?,
    };
    let state = SessionContext::new_with_config(config()).state();
    for (at, step) in steps.iter().enumerate() {
        parsed(&state, &called(&steps, at), &step.query)?;
    }
    Ok(())
}

/// The queries of a transform for this engine.
fn steps(transform: &Transform) -> Result<Vec<SqlQueryStep>, QueryError> {
    let Transform::Sql(TransformSql {
        engine, query, queries, ..
    }) = transform;
    if !engine.eq_ignore_ascii_case(ENGINE) {
        return Err(QueryError::Engine(engine.clone()));
    }
    // Chains hold the normalized form; the other one stands for a single step.
    let single = query.iter().map(|query| SqlQueryStep {
        alias: None,
        query: query.clone(),
    });
    let steps: Vec<SqlQueryStep> = single.chain(queries.iter().flatten().cloned()).collect();
    if steps.last().is_none_or(|last| last.alias.is_some()) {
        return Err(QueryError::NoQuery);
    }
    if steps.len() > MAX_STEPS {
        return Err(QueryError::TooLarge {
            what: "the number of queries is",
            limit: MAX_STEPS,
        });
    }
    if steps.iter().any(|step| step.query.len() > MAX_QUERY_BYTES) {
        return Err(QueryError::TooLarge {
            what: "the bytes of a query are",
            limit: MAX_QUERY_BYTES,
        });
    }
    Ok(steps)
}

/// What messages call a step.
fn called(steps: &[SqlQueryStep], at: usize) -> String {
    match steps.get(at).and_then(|step| step.alias.as_deref()) {
        Some(alias) => format!("the query `{alias}`"),
        None if steps.len() == 1 => "the query".to_owned(),
        None => format!("the query {}", at + 1),
    }
}

fn config() -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema(CATALOG, CATALOG)
        .with_target_partitions(1);
    let parser = &mut config.options_mut().sql_parser;
    parser.enable_ident_normalization = false;
    parser.collect_spans = true;
    config
}

fn plain(field: &Field) -> Field {
    Field::new(field.name(), field.data_type().clone(), field.is_nullable())
}

/// Everything happens on the thread that asks; DataFusion only needs a place for its tasks.
fn runtime() -> Result<Runtime, QueryError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|error| QueryError::Engineless(error.to_string()))
}

/// A transform that the engine has understood.
struct Session {
    /// The inputs are its tables.
    context: SessionContext,
    /// The plan of the last step.
    plan: LogicalPlan,
    /// See [`Query::gathering`].
    gathering: Option<Gathering>,
}

/// Has the engine understand every step. Without `spill` nothing can be run in the session.
fn plan(
    runtime: &Runtime,
    steps: &[SqlQueryStep],
    inputs: &[(String, SchemaRef)],
    feeds: &Feeds,
    spill: Option<&Path>,
) -> Result<Session, QueryError> {
    let engineless = |error: DataFusionError| QueryError::Engineless(message(&error));
    let files = spill.map_or(DiskManagerMode::Disabled, |dir| {
        DiskManagerMode::Directories(vec![dir.to_owned()])
    });
    let environment = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(FairSpillPool::new(MEMORY_BYTES)))
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(files))
        .build_arc()
        .map_err(engineless)?;
    let mut builder = SessionStateBuilder::new()
        .with_config(config())
        .with_runtime_env(environment)
        .with_default_features();
    let planners = builder.expr_planners().get_or_insert_default();
    planners.insert(0, Substring::planner());
    let mut state = builder.build();
    functions::register(&mut state).map_err(engineless)?;
    let context = SessionContext::new_with_state(state);
    for (at, (name, schema)) in inputs.iter().enumerate() {
        let table = Input::table(at, schema.clone(), feeds.clone());
        context
            .register_table(TableReference::bare(name.as_str()), Arc::new(table))
            .map_err(engineless)?;
    }
    let (mut result, mut gathering) = (None, None);
    for (at, step) in steps.iter().enumerate() {
        let called = called(steps, at);
        let plan = runtime.block_on(understand(&context.state(), &called, &step.query))?;
        gathering = gathering.or_else(|| gather::find(&called, &step.query, &plan));
        match &step.alias {
            Some(alias) => {
                let view = ViewTable::new(plan, Some(step.query.clone()));
                let place = TableReference::bare(alias.as_str());
                let taken = context.table_exist(place.clone()).map_err(engineless)?;
                if taken {
                    return Err(QueryError::Invalid {
                        step: called,
                        message: "another table has this name".to_owned(),
                        place: None,
                    });
                }
                context.register_table(place, Arc::new(view)).map_err(engineless)?;
            }
            None => result = Some(plan),
        }
    }
    Ok(Session {
        context,
        plan: result.ok_or(QueryError::NoQuery)?,
        gathering,
    })
}

/// The plan of one step, if it is a query.
async fn understand(state: &SessionState, called: &str, sql: &str) -> Result<LogicalPlan, QueryError> {
    let statement = parsed(state, called, sql)?;
    let plan = state.statement_to_plan(statement).await.and_then(with_optional_values);
    plan.map_err(|error| invalid(called, &error))
}

/// The text of one step, if it is a query.
fn parsed(state: &SessionState, called: &str, sql: &str) -> Result<Statement, QueryError> {
    let dialect = state.config_options().sql_parser.dialect;
    let statement = state.sql_to_statement(sql, &dialect);
    let statement = statement.map_err(|error| invalid(called, &error))?;
    let is_query = matches!(&statement, Statement::Statement(inner) if matches!(**inner, SqlStatement::Query(_)));
    if !is_query {
        return Err(QueryError::NotAQuery {
            step: called.to_owned(),
        });
    }
    Ok(statement)
}

fn invalid(called: &str, error: &DataFusionError) -> QueryError {
    QueryError::Invalid {
        step: called.to_owned(),
        message: message(error),
        place: error
            .diagnostic()
            .and_then(|diagnostic| diagnostic.span)
            .map(|span| (span.start.line, span.start.column)),
    }
}

/// What an error of the engine says, without its inner life.
pub(crate) fn message(error: &DataFusionError) -> String {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => message(inner),
        DataFusionError::Shared(inner) => message(inner),
        DataFusionError::Collection(errors) => errors.first().map_or_else(String::new, message),
        other => other.strip_backtrace(),
    }
}

/// Directory for temporary files. The engine removes its files when a query ends, and this the directory.
struct Spill(PathBuf);

impl Spill {
    fn new(dir: PathBuf) -> std::io::Result<Spill> {
        fs::create_dir_all(&dir)?;
        Ok(Spill(dir))
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.0) {
            tracing::debug!(path = %self.0.display(), %error, "temporary files of a query stay until the next start");
        }
    }
}

/// The rows of a running query. Dropping it ends the query.
pub struct Answer<'a> {
    name: String,
    schema: SchemaRef,
    stream: SendableRecordBatchStream,
    placed: Option<Placed>,
    feeds: Feeds,
    open: Box<Open<'a>>,
    /// A reader for every place in the plan that reads an input; none before its first batch and after its last.
    readers: Vec<Option<Box<dyn Batches + 'a>>>,
    bytes: u64,
    // Dropped behind the stream, whose tasks live in it.
    runtime: Runtime,
    _spill: Spill,
}

/// Why the engine stopped for a moment.
enum Event {
    Batch(Option<Result<RecordBatch, DataFusionError>>),
    Hungry,
}

impl Answer<'_> {
    fn fail(&self, problem: String) -> SourceError {
        SourceError {
            name: self.name.clone(),
            place: None,
            column: None,
            problem: Problem::Query(problem),
        }
    }

    /// Gives a batch to every reading that waits for one.
    fn feed(&mut self) -> Result<(), SourceError> {
        for wanted in self.feeds.hungry() {
            if self.readers.len() <= wanted.feed {
                self.readers.resize_with(wanted.feed + 1, || None);
            }
            let slot = &mut self.readers[wanted.feed];
            let reader = match slot {
                Some(reader) => reader,
                None => slot.insert((self.open)(wanted.input, wanted.columns.as_deref())?),
            };
            let batch = reader.next_batch()?;
            self.bytes = self.bytes.max(reader.bytes());
            if batch.is_none() {
                *slot = None;
            }
            self.feeds.give(wanted.feed, batch);
        }
        Ok(())
    }
}

impl Batches for Answer<'_> {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        loop {
            let (stream, hunger) = (&mut self.stream, self.feeds.hunger());
            let event = self.runtime.block_on(async {
                tokio::select! {
                    biased;
                    batch = stream.next() => Event::Batch(batch),
                    () = hunger.notified() => Event::Hungry,
                }
            });
            match event {
                Event::Hungry => self.feed()?,
                Event::Batch(None) => return Ok(None),
                Event::Batch(Some(Err(error))) => return Err(self.fail(message(&error))),
                Event::Batch(Some(Ok(batch))) if batch.num_rows() == 0 => {}
                Event::Batch(Some(Ok(batch))) => {
                    let columns = match &self.placed {
                        None => batch.columns().to_vec(),
                        Some(placed) => placed.columns(&batch).map_err(|error| self.fail(error.to_string()))?,
                    };
                    // A query may select no column, and has rows all the same.
                    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
                    let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &rows);
                    return batch.map(Some).map_err(|error| self.fail(error.to_string()));
                }
            }
        }
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn ends_block(&self) -> bool {
        true
    }

    fn is_arranged(&self) -> bool {
        self.placed.as_ref().is_some_and(|placed| placed.is_arranged)
    }
}

#[cfg(test)]
mod tests;
