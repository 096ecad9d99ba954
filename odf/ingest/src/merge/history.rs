//! The rows that are there already, read on every core and only as far as they can matter.
//!
//! What cannot hold a wanted row is passed over: whole slices and row groups by the statistics in the footer, pages within
//! a row group by the page index.

mod prune;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Mutex, PoisonError};
use std::thread;

use arrow::array::{ArrayRef, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::Field;
use arrow::record_batch::RecordBatch;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReaderBuilder, RowSelection};

use super::MergeError;
use odf_metadata::Vocabulary;
use odf_tables::slice::{SliceError, SliceFile};

pub(super) use prune::{Bound, Condition, Extents};

/// Threads that read slices.
pub(super) const MAX_READERS: usize = 8;

/// Batches that wait between the readers and the merge, for every reader.
const QUEUED_PER_READER: usize = 2;

/// The earlier slices of a dataset, oldest first.
pub struct History<'a> {
    /// Files of the slices.
    pub slices: &'a [PathBuf],
    /// Names of the system columns.
    pub vocabulary: &'a Vocabulary,
}

/// A row group to be read, and which of its rows; all if it does not say.
struct Task<'a> {
    path: &'a Path,
    slice: SliceFile,
    row_group: usize,
    rows: Option<RowSelection>,
}

/// What is still to be read. Footers are read one at a time, so that few are in memory.
struct Tasks<'a> {
    slices: std::slice::Iter<'a, PathBuf>,
    ready: Vec<Task<'a>>,
}

impl<'a> Tasks<'a> {
    fn next(&mut self, conditions: &[Condition<'_>]) -> Result<Option<Task<'a>>, MergeError> {
        loop {
            if let Some(task) = self.ready.pop() {
                return Ok(Some(task));
            }
            let Some(path) = self.slices.next() else {
                return Ok(None);
            };
            let slice = SliceFile::open(path, !conditions.is_empty())?;
            let parts = prune::select(slice.metadata(), conditions);
            self.ready = parts
                .into_iter()
                .rev()
                .map(|(row_group, rows)| Task {
                    path,
                    slice: slice.clone(),
                    row_group,
                    rows,
                })
                .collect();
        }
    }
}

impl History<'_> {
    /// Reads these columns of all rows for which all `conditions` can hold, brought to these types. Other rows may come too.
    ///
    /// `prepare` is called on several threads at once, in no order, `accept` with what it gives on this one.
    pub(super) fn scan<T: Send>(
        &self,
        fields: &[Field],
        conditions: &[Condition<'_>],
        prepare: impl Fn(Vec<ArrayRef>, usize) -> Result<T, MergeError> + Sync,
        accept: &mut dyn FnMut(T) -> Result<(), MergeError>,
    ) -> Result<(), MergeError> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        self.scan_on(processors, fields, conditions, prepare, accept)
    }

    /// As [`Self::scan`], on a machine with so many processors.
    pub(super) fn scan_on<T: Send>(
        &self,
        processors: usize,
        fields: &[Field],
        conditions: &[Condition<'_>],
        prepare: impl Fn(Vec<ArrayRef>, usize) -> Result<T, MergeError> + Sync,
        accept: &mut dyn FnMut(T) -> Result<(), MergeError>,
    ) -> Result<(), MergeError> {
        let tasks = Mutex::new(Tasks {
            slices: self.slices.iter(),
            ready: Vec::new(),
        });
        let stop = AtomicBool::new(false);
        let readers = processors.min(MAX_READERS);
        thread::scope(|scope| {
            let (sender, batches) = mpsc::sync_channel(readers * QUEUED_PER_READER);
            for _ in 0..readers {
                let sender: SyncSender<Result<T, MergeError>> = sender.clone();
                let (tasks, prepare, stop) = (&tasks, &prepare, &stop);
                let read = move || {
                    let give = |item| sender.send(item).is_ok() && !stop.load(Ordering::Relaxed);
                    if let Err(error) = read(tasks, fields, conditions, prepare, &give) {
                        give(Err(error));
                    }
                };
                let builder = thread::Builder::new().name("slice-reader".to_owned());
                builder.spawn_scoped(scope, read).map_err(|e| {
                    stop.store(true, Ordering::Relaxed);
                    SliceError::io(
                        "start reading",
                        self.slices.first().map_or(Path::new(""), PathBuf::as_path),
                        e,
                    )
                })?;
            }
            drop(sender);
            // Leaving this early drops the receiving end, which makes the readers stop.
            batches.into_iter().try_for_each(|prepared| accept(prepared?))
        })
    }
}

/// Reads task after task until none is left or `give` answers that nobody wants more.
fn read<T>(
    tasks: &Mutex<Tasks<'_>>,
    fields: &[Field],
    conditions: &[Condition<'_>],
    prepare: &(impl Fn(Vec<ArrayRef>, usize) -> Result<T, MergeError> + Sync),
    give: &dyn Fn(Result<T, MergeError>) -> bool,
) -> Result<(), MergeError> {
    let names: Vec<&str> = fields.iter().map(|f| f.name().as_str()).collect();
    loop {
        let task = tasks.lock().unwrap_or_else(PoisonError::into_inner).next(conditions)?;
        let Some(task) = task else {
            return Ok(());
        };
        let part = |reader: ParquetRecordBatchReaderBuilder<File>| {
            let reader = reader.with_row_groups(vec![task.row_group]);
            match task.rows {
                Some(rows) => reader.with_row_selection(rows),
                None => reader,
            }
        };
        for batch in task.slice.rows(Some(&names), part)? {
            let batch = batch?;
            let columns = columns(task.path, &batch, fields)?;
            if !give(Ok(prepare(columns, batch.num_rows())?)) {
                return Ok(());
            }
        }
    }
}

/// Brings the columns of an earlier slice to the types they have now; one that it lacks is null if it may be.
fn columns(path: &Path, batch: &RecordBatch, fields: &[Field]) -> Result<Vec<ArrayRef>, MergeError> {
    let column = |field: &Field| match batch.column_by_name(field.name()) {
        Some(array) if array.data_type() == field.data_type() => Some(array.clone()),
        Some(array) => cast(array, field.data_type()).ok(),
        None if field.is_nullable() => Some(new_null_array(field.data_type(), batch.num_rows())),
        None => None,
    };
    let unusable = |field: &Field| MergeError::History {
        path: path.to_owned(),
        column: field.name().clone(),
    };
    fields
        .iter()
        .map(|field| column(field).ok_or_else(|| unusable(field)))
        .collect()
}
