//! Rows into row groups, on several threads once there are many rows.
//!
//! The bytes do not depend on who encodes: columns know nothing of each other until their chunks are put one behind the
//! other, in the order of the schema.

use std::io::Write;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, JoinHandle};

use arrow::array::ArrayRef;
use arrow::datatypes::{FieldRef, SchemaRef};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, ArrowWriterOptions, compute_leaves,
};
use parquet::errors::ParquetError;
use parquet::file::writer::SerializedFileWriter;

/// Rows of a slice that the caller encodes itself: to start threads for fewer costs more than it gives.
const ROWS_ALONE: usize = 1 << 16;

/// Threads that encode, at most. They may be more than the processors, so that columns of unequal cost share these evenly.
const MOST_THREADS: usize = 6;

/// Batches that wait for a thread.
const QUEUED_BATCHES: usize = 3;

/// A file under construction.
pub(super) struct Encoder<W: Write + Send> {
    schema: SchemaRef,
    file: SerializedFileWriter<W>,
    factory: ArrowRowGroupWriterFactory,
    rows_per_group: usize,
    /// Rows in the open group, and in those before it.
    open_rows: usize,
    closed_rows: usize,
    group: Group,
}

/// Who encodes the open group.
enum Group {
    None,
    Here(Vec<Column>),
    Threads(Vec<Worker>),
}

impl<W: Write + Send> Encoder<W> {
    /// Begins a file.
    pub(super) fn new(sink: W, schema: SchemaRef, options: ArrowWriterOptions) -> Result<Self, ParquetError> {
        let writer = ArrowWriter::try_new_with_options(sink, schema.clone(), options)?;
        let (file, factory) = writer.into_serialized_writer()?;
        let rows_per_group = file.properties().max_row_group_row_count().unwrap_or(usize::MAX);
        Ok(Encoder {
            schema,
            file,
            factory,
            rows_per_group,
            open_rows: 0,
            closed_rows: 0,
            group: Group::None,
        })
    }

    /// Takes rows into the open group, and writes it when it is full.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        let mut from = 0;
        while from < batch.num_rows() {
            let rows = (batch.num_rows() - from).min(self.rows_per_group - self.open_rows);
            self.encode(&batch.slice(from, rows))?;
            self.open_rows += rows;
            from += rows;
            if self.open_rows == self.rows_per_group {
                self.close_group()?;
            }
        }
        Ok(())
    }

    /// Writes the open group and the footer.
    pub(super) fn finish(mut self) -> Result<W, ParquetError> {
        self.close_group()?;
        self.file.into_inner()
    }

    fn encode(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        if matches!(self.group, Group::None) {
            self.group = Group::Here(self.columns()?);
        }
        if self.closed_rows + self.open_rows >= ROWS_ALONE
            && let Group::Here(columns) = &mut self.group
        {
            self.group = Group::Threads(Worker::start(std::mem::take(columns))?);
        }
        match &mut self.group {
            Group::None => Ok(()),
            Group::Here(columns) => columns
                .iter_mut()
                .try_for_each(|column| column.write(batch.column(column.at))),
            Group::Threads(workers) => workers.iter_mut().try_for_each(|worker| worker.write(batch)),
        }
    }

    /// Columns of a new group.
    fn columns(&self) -> Result<Vec<Column>, ParquetError> {
        let leaves = self
            .factory
            .create_column_writers(self.file.flushed_row_groups().len())?;
        let mut columns: Vec<Column> = Vec::with_capacity(self.schema.fields().len());
        for (leaf, writer) in leaves.into_iter().enumerate() {
            let at = self.file.schema_descr().get_column_root_idx(leaf);
            match columns.last_mut().filter(|column| column.at == at) {
                Some(column) => column.leaves.push(writer),
                None => columns.push(Column {
                    at,
                    field: self.schema.fields()[at].clone(),
                    leaves: vec![writer],
                }),
            }
        }
        Ok(columns)
    }

    fn close_group(&mut self) -> Result<(), ParquetError> {
        let mut chunks = match std::mem::replace(&mut self.group, Group::None) {
            Group::None => return Ok(()),
            Group::Here(columns) => columns.into_iter().map(Column::close).collect::<Result<Vec<_>, _>>()?,
            Group::Threads(workers) => {
                let closed: Vec<_> = workers.into_iter().map(Worker::close).collect::<Result<_, _>>()?;
                closed.into_iter().flatten().collect()
            }
        };
        self.closed_rows += std::mem::take(&mut self.open_rows);
        chunks.sort_by_key(|column| column.at);
        let mut group = self.file.next_row_group()?;
        for chunk in chunks.into_iter().flat_map(|column| column.leaves) {
            chunk.append_to_row_group(&mut group)?;
        }
        group.close()?;
        Ok(())
    }
}

/// A column of the open group, with all its leaves.
struct Column {
    /// Its position in the schema.
    at: usize,
    field: FieldRef,
    leaves: Vec<ArrowColumnWriter>,
}

/// What has become of one.
struct Closed {
    at: usize,
    leaves: Vec<ArrowColumnChunk>,
}

impl Column {
    fn write(&mut self, array: &ArrayRef) -> Result<(), ParquetError> {
        for (leaf, writer) in compute_leaves(&self.field, array)?.iter().zip(&mut self.leaves) {
            writer.write(leaf)?;
        }
        Ok(())
    }

    fn close(self) -> Result<Closed, ParquetError> {
        let leaves = self.leaves.into_iter().map(ArrowColumnWriter::close);
        Ok(Closed {
            at: self.at,
            leaves: leaves.collect::<Result<_, _>>()?,
        })
    }
}

/// A thread that encodes some columns of one group.
struct Worker {
    batches: SyncSender<RecordBatch>,
    /// None once it was seen to end.
    thread: Option<JoinHandle<Result<Vec<Closed>, ParquetError>>>,
}

impl Worker {
    /// Deals the columns to threads.
    fn start(columns: Vec<Column>) -> Result<Vec<Worker>, ParquetError> {
        let mut hands: Vec<Vec<Column>> = Vec::new();
        hands.resize_with(columns.len().min(MOST_THREADS), Vec::new);
        let count = hands.len().max(1);
        for (at, column) in columns.into_iter().enumerate() {
            hands[at % count].push(column);
        }
        let worker = |columns: Vec<Column>| {
            let (batches, queue) = mpsc::sync_channel(QUEUED_BATCHES);
            let thread = thread::Builder::new()
                .name("encode".to_owned())
                .spawn(move || run(columns, queue))?;
            Ok(Worker {
                batches,
                thread: Some(thread),
            })
        };
        hands.into_iter().map(worker).collect()
    }

    /// Waits while too many batches do.
    fn write(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        match self.batches.send(batch.clone()) {
            Ok(()) => Ok(()),
            // It ended early, and says why.
            Err(_) => self.join().map(|_| ()),
        }
    }

    fn close(mut self) -> Result<Vec<Closed>, ParquetError> {
        let (closed, _) = mpsc::sync_channel(0);
        self.batches = closed;
        self.join()
    }

    fn join(&mut self) -> Result<Vec<Closed>, ParquetError> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Err(ParquetError::General(
                "the thread that encodes the rows has ended".to_owned(),
            )),
        }
    }
}

fn run(mut columns: Vec<Column>, batches: Receiver<RecordBatch>) -> Result<Vec<Closed>, ParquetError> {
    for batch in batches {
        for column in &mut columns {
            column.write(batch.column(column.at))?;
        }
    }
    columns.into_iter().map(Column::close).collect()
}
