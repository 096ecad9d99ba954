//! The queries of a transform over parts of its inputs, row by row: the same whether the rows are to be stored or to be
//! compared with those that are.

use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;
use std::path::Path;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use odf_ingest::source::{Batches, OnProgress, Phase, Problem, Progress, SourceError};
use odf_metadata::chain::ChainState;
use odf_metadata::{Timestamp, Transform};

use super::TransformError;
use super::inputs::Part;
use super::output::Output;
use crate::slices::unknown;
use crate::sql::{Answer, Query};

/// One run of a transform that can be done.
pub(super) struct Run<'a> {
    /// Name of the dataset, for messages.
    name: String,
    query: Query,
    output: Output,
    parts: &'a [Part],
    /// The offset of the first row.
    first: u64,
    system_time: Timestamp,
}

impl<'a> Run<'a> {
    /// A run on top of a chain that is in this state, at this time.
    ///
    /// # Errors
    /// The queries cannot be run, or do not give the columns of the dataset.
    pub(super) fn new(
        name: String,
        transform: &Transform,
        parts: &'a [Part],
        state: &ChainState,
        system_time: Timestamp,
    ) -> Result<Run<'a>, TransformError> {
        let inputs = parts
            .iter()
            .map(|part| (part.slices.name.clone(), part.slices.schema.clone()));
        let query = Query::plan(transform, inputs.collect(), system_time)?;
        if let Some(gathering) = query.gathering() {
            return Err(TransformError::Gathers(gathering.clone()));
        }
        let output = Output::new(query.schema(), &state.vocabulary(), state.schema.as_ref())?;
        Ok(Run {
            name,
            query,
            output,
            parts,
            first: state.next_offset(),
            system_time,
        })
    }

    /// The columns of the rows.
    pub(super) fn schema(&self) -> &SchemaRef {
        self.output.schema()
    }

    /// How many bytes will be read.
    pub(super) fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.slices.bytes()).sum()
    }

    /// Begins. Temporary files, should any be needed, are made below `scratch`.
    ///
    /// # Errors
    /// The engine cannot be set up.
    pub(super) fn rows<'b, 'p>(&'b self, scratch: &Path, watch: &'b Watch<'p>) -> Result<Rows<'b, 'p>, TransformError> {
        let answer = self.query.run(
            &self.name,
            scratch,
            Box::new(move |at, _| match self.parts.get(at) {
                Some(part) => Ok(watch.over(part.slices.open())),
                None => Err(unknown(at)),
            }),
        )?;
        Ok(Rows {
            run: self,
            answer,
            watch,
            count: 0,
        })
    }
}

/// The rows of a run, with their offsets.
pub(super) struct Rows<'a, 'p> {
    run: &'a Run<'a>,
    answer: Answer<'a>,
    watch: &'a Watch<'p>,
    count: u64,
}

impl Rows<'_, '_> {
    /// The next of them; none at the end.
    ///
    /// # Errors
    /// They cannot be computed; offsets end; it is to stop.
    pub(super) fn next_batch(&mut self) -> Result<Option<RecordBatch>, TransformError> {
        let Some(batch) = self.answer.next_batch()? else {
            return Ok(None);
        };
        let first = self.run.first.checked_add(self.count);
        let first = first
            .and_then(|first| i64::try_from(first).ok())
            .ok_or(TransformError::Full)?;
        self.count += batch.num_rows() as u64;
        self.watch.count(self.answer.bytes(), self.count)?;
        let batch = self.run.output.complete(&batch, first, self.run.system_time)?;
        Ok(Some(batch))
    }

    /// How many there were so far.
    pub(super) fn count(&self) -> u64 {
        self.count
    }
}

/// Says how far a run is, and has it end when that is wanted: also one that reads much and gives no row.
pub(super) struct Watch<'a> {
    progress: RefCell<&'a mut OnProgress<'a>>,
    total_bytes: u64,
    bytes: Cell<u64>,
    rows: Cell<u64>,
}

impl<'a> Watch<'a> {
    /// Over a run that reads so many bytes.
    pub(super) fn new(progress: &'a mut OnProgress<'a>, total_bytes: u64) -> Watch<'a> {
        Watch {
            progress: RefCell::new(progress),
            total_bytes,
            bytes: Cell::new(0),
            rows: Cell::new(0),
        }
    }

    /// The same rows, with a look at whether to go on before each batch.
    pub(super) fn over<'b>(&'b self, rows: Box<dyn Batches + 'b>) -> Box<dyn Batches + 'b> {
        Box::new(Watched { rows, watch: self })
    }

    fn count(&self, bytes: u64, rows: u64) -> Result<(), TransformError> {
        self.rows.set(rows);
        match self.tell(bytes) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(TransformError::Stopped),
        }
    }

    fn tell(&self, bytes: u64) -> ControlFlow<()> {
        self.bytes.set(self.bytes.get().max(bytes));
        // What is told does not read rows.
        match self.progress.try_borrow_mut() {
            Ok(mut progress) => progress(Progress {
                phase: Phase::Reading,
                bytes: self.bytes.get().min(self.total_bytes),
                total_bytes: self.total_bytes,
                rows: self.rows.get(),
            }),
            Err(_) => ControlFlow::Continue(()),
        }
    }
}

struct Watched<'a, 'p> {
    rows: Box<dyn Batches + 'a>,
    watch: &'a Watch<'p>,
}

impl Batches for Watched<'_, '_> {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        match self.watch.tell(self.rows.bytes()) {
            ControlFlow::Continue(()) => self.rows.next_batch(),
            ControlFlow::Break(()) => Err(SourceError {
                name: String::new(),
                place: None,
                column: None,
                problem: Problem::Cancelled,
            }),
        }
    }

    fn bytes(&self) -> u64 {
        self.rows.bytes()
    }
}
