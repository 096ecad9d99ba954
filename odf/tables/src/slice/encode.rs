//! Rows into row groups, on several threads once there are many rows.
//!
//! The bytes do not depend on who encodes: columns know nothing of each other until their chunks are put one behind the
//! other, in the order of the schema.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, JoinHandle};

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, Int32Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, ArrowWriterOptions, compute_leaves,
};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;

use super::pages::Pages;

/// Rows of a slice that the caller encodes itself: to start threads for fewer costs more than it gives.
const ROWS_ALONE: usize = 1 << 14;

/// Threads that encode, at most. They may be more than the processors, so that columns of unequal cost share these evenly.
const MOST_THREADS: usize = 6;

/// Bytes of a leaf that are in no page, at most: a dictionary of 1 MiB and a page of as much.
const MOST_UNPAGED_BYTES: usize = 2 << 20;

/// Batches that wait for a thread.
const QUEUED_BATCHES: usize = 3;

/// Rows after which the reference implementation looks whether a page or a dictionary is full.
const ROWS_PER_LOOK: usize = 1024;

/// A dictionary, or a page, that has so many bytes is full: the default of the writer, for both.
const FULL_BYTES: usize = 1 << 20;

/// A file under construction.
pub(super) struct Encoder<W: Write + Send + 'static> {
    schema: SchemaRef,
    factory: ArrowRowGroupWriterFactory,
    /// For each leaf of the file its column, and whether a row may have several values of it.
    roots: Vec<(usize, bool)>,
    rows_per_group: usize,
    /// Rows in the open group, and in those before it.
    open_rows: usize,
    closed_rows: usize,
    groups: usize,
    pages: Pages,
    /// The open group ends early when its columns have more bytes in no page yet.
    unpaged_bytes: usize,
    open: Group,
    file: File<W>,
}

/// Who encodes the open group.
enum Group {
    None,
    Here(Vec<Column>),
    Threads(Vec<Worker>),
}

/// Who writes the groups that are complete.
enum File<W: Write + Send + 'static> {
    Here(SerializedFileWriter<W>),
    Thread(Writing<W>),
    /// It failed, as was said.
    Failed,
}

impl<W: Write + Send + 'static> Encoder<W> {
    /// Begins a file. A group ends when it is full, or when more than `unpaged_bytes` of it are in no page; the pages of a group
    /// wait in `pages`.
    pub(super) fn new(
        sink: W,
        schema: SchemaRef,
        properties: WriterProperties,
        pages: Pages,
        unpaged_bytes: usize,
    ) -> Result<Self, ParquetError> {
        let options = ArrowWriterOptions::new()
            .with_properties(properties)
            .with_page_store_factory(Arc::new(pages.clone()));
        let writer = ArrowWriter::try_new_with_options(sink, schema.clone(), options)?;
        let (file, factory) = writer.into_serialized_writer()?;
        let columns = file.schema_descr();
        Ok(Encoder {
            schema,
            factory,
            roots: (0..columns.num_columns())
                .map(|leaf| {
                    (
                        columns.get_column_root_idx(leaf),
                        columns.column(leaf).max_rep_level() > 0,
                    )
                })
                .collect(),
            rows_per_group: file.properties().max_row_group_row_count().unwrap_or(usize::MAX),
            open_rows: 0,
            closed_rows: 0,
            groups: 0,
            pages,
            unpaged_bytes,
            open: Group::None,
            file: File::Here(file),
        })
    }

    /// Takes rows into the open group, and closes it when it is full.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        let mut from = 0;
        while from < batch.num_rows() {
            let rows = (batch.num_rows() - from).min(self.rows_per_group - self.open_rows);
            self.encode(&batch.slice(from, rows))?;
            self.open_rows += rows;
            from += rows;
            if self.open_rows == self.rows_per_group || self.unpaged() > self.unpaged_bytes {
                self.close_group()?;
            }
        }
        Ok(())
    }

    /// Writes the open group and the footer.
    pub(super) fn finish(mut self) -> Result<W, ParquetError> {
        self.close_group()?;
        let file = match self.file {
            File::Here(file) => file,
            File::Thread(writing) => writing.finish()?,
            File::Failed => return Err(ended()),
        };
        file.into_inner()
    }

    fn encode(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        if matches!(self.open, Group::None) {
            self.open = Group::Here(self.columns()?);
        }
        if self.closed_rows + self.open_rows >= ROWS_ALONE
            && self.roots.len() * MOST_UNPAGED_BYTES <= self.unpaged_bytes
            && let Group::Here(columns) = &mut self.open
        {
            self.open = Group::Threads(Worker::start(std::mem::take(columns))?);
        }
        match &mut self.open {
            Group::None => Ok(()),
            Group::Here(columns) => columns
                .iter_mut()
                .try_for_each(|column| column.write(batch.column(column.at))),
            Group::Threads(workers) => workers.iter_mut().try_for_each(|worker| worker.write(batch)),
        }
    }

    /// Bytes of the open group that are in no page yet. Threads encode only where they cannot be too many: what a group holds
    /// would depend on which of them is ahead.
    fn unpaged(&self) -> usize {
        let Group::Here(columns) = &self.open else {
            return 0;
        };
        let leaves = columns.iter().flat_map(|column| &column.leaves);
        leaves.map(Leaf::unpaged).sum()
    }

    #[cfg(test)]
    pub(super) fn pages(&self) -> &Pages {
        &self.pages
    }

    /// Columns of a new group.
    fn columns(&self) -> Result<Vec<Column>, ParquetError> {
        self.pages.begin_group();
        let writers = self.factory.create_column_writers(self.groups)?;
        let leaves = writers.into_iter().zip(self.pages.bytes_by_column());
        let mut columns: Vec<Column> = Vec::with_capacity(self.schema.fields().len());
        for ((writer, paged), (at, repeats)) in leaves.zip(self.roots.iter().copied()) {
            let leaf = Leaf { writer, repeats, paged };
            match columns.last_mut().filter(|column| column.at == at) {
                Some(column) => column.leaves.push(leaf),
                None => columns.push(Column {
                    at,
                    field: self.schema.fields()[at].clone(),
                    leaves: vec![leaf],
                }),
            }
        }
        Ok(columns)
    }

    /// Has the open group written. Where threads encode, it is another thread that waits for them and writes, so that the
    /// next group can begin.
    fn close_group(&mut self) -> Result<(), ParquetError> {
        match std::mem::replace(&mut self.open, Group::None) {
            Group::None => return Ok(()),
            Group::Here(columns) => {
                // Only a slice whose rows were few so far is encoded here.
                let File::Here(file) = &mut self.file else {
                    return Err(ended());
                };
                let columns = columns.into_iter().map(Column::close).collect::<Result<Vec<_>, _>>()?;
                append(columns, file)?;
            }
            Group::Threads(workers) => {
                let writing = match std::mem::replace(&mut self.file, File::Failed) {
                    File::Here(file) => Writing::start(file)?,
                    File::Thread(writing) => writing,
                    File::Failed => return Err(ended()),
                };
                self.file = File::Thread(writing.write(workers)?);
            }
        }
        self.closed_rows += std::mem::take(&mut self.open_rows);
        self.groups += 1;
        Ok(())
    }
}

/// Puts the chunks of the columns, which come in any order, into a row group.
fn append<W: Write + Send>(mut columns: Vec<Closed>, file: &mut SerializedFileWriter<W>) -> Result<(), ParquetError> {
    columns.sort_by_key(|column| column.at);
    let mut group = file.next_row_group()?;
    for chunk in columns.into_iter().flat_map(|column| column.leaves) {
        chunk.append_to_row_group(&mut group)?;
    }
    group.close()?;
    Ok(())
}

/// A thread that waits for the columns of a group and writes them, group after group.
struct Writing<W: Write + Send + 'static> {
    /// At most one group waits while another is written.
    groups: SyncSender<Vec<Worker>>,
    thread: JoinHandle<Result<SerializedFileWriter<W>, ParquetError>>,
}

impl<W: Write + Send + 'static> Writing<W> {
    fn start(mut file: SerializedFileWriter<W>) -> Result<Self, ParquetError> {
        let (groups, queue) = mpsc::sync_channel::<Vec<Worker>>(0);
        let write = move || {
            for workers in queue {
                let columns: Vec<_> = workers.into_iter().map(Worker::close).collect::<Result<_, _>>()?;
                append(columns.into_iter().flatten().collect(), &mut file)?;
            }
            Ok(file)
        };
        let thread = thread::Builder::new().name("write-slice".to_owned()).spawn(write)?;
        Ok(Writing { groups, thread })
    }

    /// Waits while another group is written.
    fn write(self, workers: Vec<Worker>) -> Result<Self, ParquetError> {
        match self.groups.send(workers) {
            Ok(()) => Ok(self),
            // It ended early, and says why.
            Err(_) => self.finish().and(Err(ended())),
        }
    }

    fn finish(self) -> Result<SerializedFileWriter<W>, ParquetError> {
        drop(self.groups);
        joined(self.thread)
    }
}

fn joined<T>(thread: JoinHandle<Result<T, ParquetError>>) -> Result<T, ParquetError> {
    match thread.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn ended() -> ParquetError {
    ParquetError::General("a thread that writes the rows has ended".to_owned())
}

/// A column of the open group, with all its leaves.
struct Column {
    /// Its position in the schema.
    at: usize,
    field: FieldRef,
    leaves: Vec<Leaf>,
}

/// A column of the file.
struct Leaf {
    writer: ArrowColumnWriter,
    /// A row may have several values of it.
    repeats: bool,
    /// Bytes of its pages so far.
    paged: Arc<AtomicUsize>,
}

impl Leaf {
    /// Bytes of it that are in no page yet: its dictionary and a page that is not full.
    fn unpaged(&self) -> usize {
        let all = self.writer.get_estimated_total_bytes();
        all.saturating_sub(self.paged.load(Ordering::Relaxed))
    }
}

/// What has become of one.
struct Closed {
    at: usize,
    leaves: Vec<ArrowColumnChunk>,
}

impl Column {
    /// Takes values in parts of [`ROWS_PER_LOOK`] rows, between which pages and dictionaries end: newer writers would look at
    /// another time, wherever all rows have a value, or none has.
    fn write(&mut self, array: &ArrayRef) -> Result<(), ParquetError> {
        if !self.field.is_nullable() && array.data_type().is_primitive() {
            // Such values it takes in parts of as many rows by itself.
            return self.take(array, &|_| true);
        }
        // Of a list it is values after which they look, so those have to be given together.
        let single = has_single_values(array);
        let whole = |leaf: &Leaf| leaf.repeats && !single;
        if self.leaves.iter().any(whole) {
            self.take(array, &whole)?;
        }
        if self.leaves.iter().all(whole) {
            return Ok(());
        }
        for from in (0..array.len()).step_by(ROWS_PER_LOOK) {
            let part = array.slice(from, ROWS_PER_LOOK.min(array.len() - from));
            self.take(&self.undivided(part)?, &|leaf| !whole(leaf))?;
        }
        Ok(())
    }

    /// Gives the values to those leaves that are wanted.
    fn take(&mut self, values: &ArrayRef, wanted: &dyn Fn(&Leaf) -> bool) -> Result<(), ParquetError> {
        let parts = compute_leaves(&self.field, values)?;
        let mut leaves = parts.iter().zip(&mut self.leaves).filter(|(_, leaf)| wanted(leaf));
        leaves.try_for_each(|(part, leaf)| leaf.writer.write(part))
    }

    /// Values that the writer does not divide further. It would look behind every value of text that might fill a page or a
    /// dictionary, but leaves a dictionary whole: so those become one, of which each row has its own value.
    fn undivided(&self, part: ArrayRef) -> Result<ArrayRef, ParquetError> {
        let (text, bytes) = match part.data_type() {
            DataType::Utf8 => (DataType::Utf8, bytes_between(part.as_string::<i32>().value_offsets())),
            DataType::Binary => (DataType::Binary, bytes_between(part.as_binary::<i32>().value_offsets())),
            DataType::Utf8View => (DataType::Utf8, bytes_of_views(part.as_string_view().views())),
            DataType::BinaryView => (DataType::Binary, bytes_of_views(part.as_binary_view().views())),
            _ => return Ok(part),
        };
        // As they are written, each with its length before it.
        let bytes = bytes.saturating_add(part.len() * size_of::<u32>());
        let unpaged = self.leaves.first().map_or(0, Leaf::unpaged);
        if bytes.saturating_add(unpaged) < FULL_BYTES {
            return Ok(part);
        }
        let values = match text == *part.data_type() {
            true => part,
            false => cast(&part, &text)?,
        };
        let rows = i32::try_from(values.len()).unwrap_or(i32::MAX);
        let keys = Int32Array::new((0..rows).collect::<Vec<_>>().into(), values.logical_nulls());
        Ok(Arc::new(DictionaryArray::try_new(keys, values)?))
    }

    fn close(self) -> Result<Closed, ParquetError> {
        let leaves = self.leaves.into_iter().map(|leaf| leaf.writer.close());
        Ok(Closed {
            at: self.at,
            leaves: leaves.collect::<Result<_, _>>()?,
        })
    }
}

/// Whether an array is of lists none of which has two items.
fn has_single_values(array: &ArrayRef) -> bool {
    array.as_list_opt::<i32>().is_some_and(|lists| {
        let short = lists.value_offsets().windows(2).all(|ends| ends[1] - ends[0] < 2);
        short && !lists.values().data_type().is_nested()
    })
}

/// Bytes of values between these offsets.
fn bytes_between(offsets: &[i32]) -> usize {
    match (offsets.first(), offsets.last()) {
        (Some(first), Some(last)) => usize::try_from(last - first).unwrap_or(0),
        _ => 0,
    }
}

/// Bytes of the values that these views are of: each view begins with the length.
fn bytes_of_views(views: &[u128]) -> usize {
    views.iter().map(|view| *view as u32 as usize).sum()
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
        hands.resize_with(columns.len().clamp(1, MOST_THREADS), Vec::new);
        let count = hands.len();
        for (at, column) in columns.into_iter().enumerate() {
            hands[at % count].push(column);
        }
        let worker = |columns: Vec<Column>| {
            let (batches, queue) = mpsc::sync_channel(QUEUED_BATCHES);
            let encode = move || run(columns, &queue);
            let thread = thread::Builder::new().name("encode".to_owned()).spawn(encode)?;
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
            Err(_) => self.thread.take().map_or(Err(ended()), joined).and(Err(ended())),
        }
    }

    fn close(self) -> Result<Vec<Closed>, ParquetError> {
        drop(self.batches);
        self.thread.map_or(Err(ended()), joined)
    }
}

fn run(mut columns: Vec<Column>, batches: &Receiver<RecordBatch>) -> Result<Vec<Closed>, ParquetError> {
    for batch in batches {
        for column in &mut columns {
            column.write(batch.column(column.at))?;
        }
    }
    columns.into_iter().map(Column::close).collect()
}
