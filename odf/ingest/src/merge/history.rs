//! The rows that are there already, read on every core and only as far as they can matter.
//!
//! What cannot hold a wanted row is passed over: whole slices by what is [kept](ranges) of their footers, or by the statistics
//! in the footer, row groups by the same, pages within a row group by the page index.

mod prune;
mod ranges;

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use arrow::array::{ArrayRef, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::Field;
use arrow::record_batch::RecordBatch;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReaderBuilder, RowSelection};

use super::MergeError;
use crate::error::IngestError;
use crate::ground::{HistoryError, Slices};
use odf_metadata::Vocabulary;
use odf_tables::slice::{SliceError, SliceFile};

pub(super) use prune::{Bound, Condition, Extents};
pub(crate) use ranges::Ranges;
pub(super) use ranges::check;
#[cfg(test)]
pub(super) use ranges::{GROUP, MAX_FILE_BYTES, MAX_TEXT_BYTES};
use ranges::{Known, Wanted};

/// Threads that read slices.
pub(super) const MAX_READERS: usize = 8;

/// Batches that wait between the readers and the merge, for every reader.
const QUEUED_PER_READER: usize = 2;

/// The earlier slices of a dataset, oldest first.
pub struct History<'a> {
    /// Where the slices are.
    pub slices: &'a dyn Slices,
    /// Names of the system columns.
    pub vocabulary: &'a Vocabulary,
    /// What is kept of their footers, if anything may be.
    pub(crate) ranges: Option<&'a Ranges>,
}

/// A row group to be read, and which of its rows; all if it does not say.
struct Task {
    path: Arc<Path>,
    slice: SliceFile,
    row_group: usize,
    rows: Option<RowSelection>,
}

/// What is still to be read, for all readers. Each reads a footer when nothing else is to do, so that no more footers are in
/// memory than there are readers, and none waits for another's.
struct Tasks<'a> {
    known: Option<Known<'a>>,
    waiting: Mutex<Waiting>,
    /// A footer was read.
    opened: Condvar,
}

struct Waiting {
    /// Those that can hold a wanted row as far as is known, with their positions in the history.
    slices: std::vec::IntoIter<Wanted>,
    ready: Vec<Task>,
    /// How many footers are being read: what they say may be work for more than one.
    opening: usize,
}

impl<'a> Tasks<'a> {
    fn new(history: &History<'a>, from: usize, conditions: &[Condition<'_>]) -> Result<Self, HistoryError> {
        // Where every slice is read, nothing is gained by knowing of them.
        let ranges = history.ranges.filter(|_| !conditions.is_empty());
        let known = ranges.map(|ranges| ranges.known(history.slices)).transpose()?;
        let wanted = match &known {
            Some(known) => known
                .wanted(conditions)?
                .into_iter()
                .filter(|(at, _)| *at >= from)
                .collect(),
            None => {
                let files = history.slices.files(from..history.slices.positions())?;
                (from..)
                    .zip(files)
                    .filter_map(|(at, file)| Some((at, file?)))
                    .collect::<Vec<Wanted>>()
            }
        };
        Ok(Self {
            known,
            waiting: Mutex::new(Waiting {
                slices: wanted.into_iter(),
                ready: Vec::new(),
                opening: 0,
            }),
            opened: Condvar::new(),
        })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next part to be read; nothing when nothing is left.
    fn next(&self, conditions: &[Condition<'_>]) -> Result<Option<Task>, MergeError> {
        let mut waiting = self.waiting();
        loop {
            if let Some(task) = waiting.ready.pop() {
                return Ok(Some(task));
            }
            if let Some((at, path)) = waiting.slices.next() {
                waiting.opening += 1;
                drop(waiting);
                {
                    let _opening = Opening(self);
                    let tasks = self.open(at, &path, conditions)?;
                    self.waiting().ready.extend(tasks);
                }
                waiting = self.waiting();
            } else if waiting.opening > 0 {
                waiting = self.opened.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            } else {
                return Ok(None);
            }
        }
    }

    /// What is to be read of a slice, the last row group first.
    fn open(&self, at: usize, path: &Path, conditions: &[Condition<'_>]) -> Result<Vec<Task>, MergeError> {
        let slice = SliceFile::open(path, !conditions.is_empty())?;
        if let Some(known) = &self.known {
            known.learn(at, slice.metadata());
        }
        let parts = prune::select(slice.metadata(), conditions);
        let path: Arc<Path> = path.into();
        let tasks = parts.into_iter().rev().map(|(row_group, rows)| Task {
            path: Arc::clone(&path),
            slice: slice.clone(),
            row_group,
            rows,
        });
        Ok(tasks.collect())
    }
}

/// A footer that is being read. However that ends, those who wait for it go on.
struct Opening<'t, 'a>(&'t Tasks<'a>);

impl Drop for Opening<'_, '_> {
    fn drop(&mut self) {
        self.0.waiting().opening -= 1;
        self.0.opened.notify_all();
    }
}

impl History<'_> {
    /// Reads these columns of all rows from position `from` on for which all `conditions` can hold, brought to these types.
    /// Other rows may come too.
    ///
    /// `prepare` is called on several threads at once, in no order, `accept` with what it gives on this one.
    pub(super) fn scan_from<T: Send>(
        &self,
        from: usize,
        fields: &[Field],
        conditions: &[Condition<'_>],
        prepare: impl Fn(Vec<ArrayRef>, usize) -> Result<T, MergeError> + Sync,
        accept: &mut dyn FnMut(T) -> Result<(), MergeError>,
    ) -> Result<(), MergeError> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let tasks = Tasks::new(self, from, conditions).map_err(unreadable)?;
        self.run(tasks, processors, fields, conditions, prepare, accept)
    }

    /// As [`Self::scan_from`], from the first position on.
    pub(super) fn scan<T: Send>(
        &self,
        fields: &[Field],
        conditions: &[Condition<'_>],
        prepare: impl Fn(Vec<ArrayRef>, usize) -> Result<T, MergeError> + Sync,
        accept: &mut dyn FnMut(T) -> Result<(), MergeError>,
    ) -> Result<(), MergeError> {
        self.scan_from(0, fields, conditions, prepare, accept)
    }

    /// As [`Self::scan`], on a machine with so many processors.
    #[cfg(test)]
    pub(super) fn scan_on<T: Send>(
        &self,
        processors: usize,
        fields: &[Field],
        conditions: &[Condition<'_>],
        prepare: impl Fn(Vec<ArrayRef>, usize) -> Result<T, MergeError> + Sync,
        accept: &mut dyn FnMut(T) -> Result<(), MergeError>,
    ) -> Result<(), MergeError> {
        let tasks = Tasks::new(self, 0, conditions).map_err(unreadable)?;
        self.run(tasks, processors, fields, conditions, prepare, accept)
    }

    fn run<T: Send>(
        &self,
        tasks: Tasks<'_>,
        processors: usize,
        fields: &[Field],
        conditions: &[Condition<'_>],
        prepare: impl Fn(Vec<ArrayRef>, usize) -> Result<T, MergeError> + Sync,
        accept: &mut dyn FnMut(T) -> Result<(), MergeError>,
    ) -> Result<(), MergeError> {
        let stop = AtomicBool::new(false);
        let readers = processors.min(MAX_READERS);
        let scanned = thread::scope(|scope| {
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
                    SliceError::io("start reading", Path::new("earlier slices"), e)
                })?;
            }
            drop(sender);
            // Leaving this early drops the receiving end, which makes the readers stop.
            batches.into_iter().try_for_each(|prepared| accept(prepared?))
        });
        if let Some(known) = tasks.known {
            known.keep();
        }
        scanned
    }
}

fn unreadable(error: HistoryError) -> MergeError {
    MergeError::Refused(Box::new(IngestError::History(error)))
}

/// Reads task after task until none is left or `give` answers that nobody wants more.
fn read<T>(
    tasks: &Tasks<'_>,
    fields: &[Field],
    conditions: &[Condition<'_>],
    prepare: &(impl Fn(Vec<ArrayRef>, usize) -> Result<T, MergeError> + Sync),
    give: &dyn Fn(Result<T, MergeError>) -> bool,
) -> Result<(), MergeError> {
    let names: Vec<&str> = fields.iter().map(|f| f.name().as_str()).collect();
    loop {
        let Some(task) = tasks.next(conditions)? else {
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
            let columns = columns(&task.path, &batch, fields)?;
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
