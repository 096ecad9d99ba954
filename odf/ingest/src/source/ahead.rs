//! Rows read on a thread of their own, so that parsing goes on while the caller merges, hashes and writes.

use std::io;
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};

use arrow::record_batch::RecordBatch;

use super::Batches;
use super::problem::SourceError;

/// Batches that wait for the caller. One more is being made and one more is in the caller's hands.
const AHEAD_BATCHES: usize = 3;

/// A batch, and what the reader says about it.
struct Read {
    batch: RecordBatch,
    bytes: u64,
    ends_block: bool,
    held: Option<usize>,
}

/// Batches that another thread reads.
pub(super) struct Ahead {
    batches: Receiver<Result<Read, SourceError>>,
    /// None once the thread was seen to end.
    thread: Option<JoinHandle<()>>,
    bytes: u64,
    ends_block: bool,
    held: Option<usize>,
}

impl Ahead {
    /// Hands `reader` to a new thread. When the result is dropped, the thread ends after the batch it is at.
    pub(super) fn start(mut reader: Box<dyn Batches + Send>) -> io::Result<Ahead> {
        let (sender, batches) = mpsc::sync_channel(AHEAD_BATCHES);
        let thread = thread::Builder::new().name("read-rows".to_owned()).spawn(move || {
            loop {
                let (read, last) = match reader.next_batch() {
                    Ok(Some(batch)) => {
                        let read = Read {
                            batch,
                            bytes: reader.bytes(),
                            ends_block: reader.ends_block(),
                            held: reader.held(),
                        };
                        (Ok(read), false)
                    }
                    Ok(None) => return,
                    Err(error) => (Err(error), true),
                };
                if sender.send(read).is_err() || last {
                    return;
                }
            }
        })?;
        Ok(Ahead {
            batches,
            thread: Some(thread),
            bytes: 0,
            ends_block: false,
            held: None,
        })
    }
}

impl Batches for Ahead {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        match self.batches.recv() {
            Ok(Ok(read)) => {
                self.bytes = read.bytes;
                self.ends_block = read.ends_block;
                self.held = read.held;
                Ok(Some(read.batch))
            }
            Ok(Err(error)) => Err(error),
            Err(mpsc::RecvError) => {
                if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
                    std::panic::resume_unwind(panic);
                }
                Ok(None)
            }
        }
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn ends_block(&self) -> bool {
        self.ends_block
    }

    fn held(&self) -> Option<usize> {
        self.held
    }
}
