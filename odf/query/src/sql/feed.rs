//! Rows on demand: tables of a query that ask for their batches one at a time.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures::Stream;
use tokio::sync::Notify;

/// All readings of inputs in one running query. A query may read an input several times, each from the start.
#[derive(Clone, Default)]
pub(super) struct Feeds {
    feeds: Arc<Mutex<Vec<Feed>>>,
    hunger: Arc<Notify>,
}

/// One reading of one input.
struct Feed {
    input: usize,
    columns: Columns,
    /// At most one batch: the next is read when this one is taken.
    batches: VecDeque<RecordBatch>,
    state: State,
    waiting: Option<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Has what it needs for the moment.
    Fed,
    /// Waits for a batch.
    Hungry,
    /// Was given its last batch, or is not wanted any more.
    Ended,
}

/// The columns that a reading looks at, by position; none stands for all.
type Columns = Option<Arc<[usize]>>;

/// A reading that waits for a batch.
pub(super) struct Wanted {
    /// Which reading.
    pub(super) feed: usize,
    /// Of which input.
    pub(super) input: usize,
    /// Which columns of it are looked at.
    pub(super) columns: Columns,
}

impl Feeds {
    fn lock(&self) -> MutexGuard<'_, Vec<Feed>> {
        // Nothing here panics while holding the lock; should it, the data is still whole.
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notified whenever a reading begins to wait.
    pub(super) fn hunger(&self) -> Arc<Notify> {
        self.hunger.clone()
    }

    /// The readings that wait.
    pub(super) fn hungry(&self) -> Vec<Wanted> {
        let feeds = self.lock();
        let waiting = feeds.iter().enumerate().filter(|(_, feed)| feed.state == State::Hungry);
        waiting
            .map(|(at, feed)| Wanted {
                feed: at,
                input: feed.input,
                columns: feed.columns.clone(),
            })
            .collect()
    }

    /// Hands a reading its next batch, or tells it that there is none.
    pub(super) fn give(&self, feed: usize, batch: Option<RecordBatch>) {
        let mut feeds = self.lock();
        let Some(feed) = feeds.get_mut(feed) else { return };
        feed.state = if batch.is_some() { State::Fed } else { State::Ended };
        feed.batches.extend(batch);
        if let Some(waker) = feed.waiting.take() {
            waker.wake();
        }
    }
}

/// A table of the query. Each place in a plan that reads it asks for its own columns, and the others are not read.
#[derive(Clone)]
pub(super) struct Input {
    at: usize,
    schema: SchemaRef,
    feeds: Feeds,
    columns: Columns,
}

impl Input {
    /// The input at a position as a table.
    pub(super) fn table(at: usize, schema: SchemaRef, feeds: Feeds) -> Input {
        Input {
            at,
            schema,
            feeds,
            columns: None,
        }
    }
}

#[async_trait]
impl TableProvider for Input {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = Input {
            columns: projection.map(|columns| columns.as_slice().into()),
            ..self.clone()
        };
        let scan = StreamingTableExec::try_new(
            self.schema.clone(),
            vec![Arc::new(input)],
            projection,
            None,
            false,
            limit,
        )?;
        Ok(Arc::new(scan))
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input").field("at", &self.at).finish_non_exhaustive()
    }
}

impl PartitionStream for Input {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut feeds = self.feeds.lock();
        feeds.push(Feed {
            input: self.at,
            columns: self.columns.clone(),
            batches: VecDeque::new(),
            state: State::Fed,
            waiting: None,
        });
        Box::pin(Reading {
            feed: feeds.len() - 1,
            schema: self.schema.clone(),
            feeds: self.feeds.clone(),
        })
    }
}

/// The engine's end of a reading.
struct Reading {
    feed: usize,
    schema: SchemaRef,
    feeds: Feeds,
}

impl Stream for Reading {
    type Item = Result<RecordBatch>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut feeds = self.feeds.lock();
        let Some(feed) = feeds.get_mut(self.feed) else {
            return Poll::Ready(None);
        };
        match feed.batches.pop_front() {
            Some(batch) => Poll::Ready(Some(Ok(batch))),
            None if feed.state == State::Ended => Poll::Ready(None),
            None => {
                feed.state = State::Hungry;
                feed.waiting = Some(context.waker().clone());
                self.feeds.hunger.notify_one();
                Poll::Pending
            }
        }
    }
}

impl RecordBatchStream for Reading {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let Some(feed) = self.feeds.lock().get_mut(self.feed) {
            feed.state = State::Ended;
            feed.batches.clear();
        }
    }
}
