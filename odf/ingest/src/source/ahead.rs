//! Rows read on a thread of their own, so that parsing goes on while the caller merges, hashes and writes.

use std::io;
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};

use arrow::record_batch::RecordBatch;

use super::Batches;
use super::problem::SourceError;

/// Batches that wait for the caller. One more is being made and one more is in the caller's hands.
const AHEAD_BATCHES: usize = 3;

/// A batch, how many bytes of the file were consumed with it, and whether a block ends with it.
type Read = Result<(RecordBatch, u64, bool), SourceError>;

/// Batches that another thread reads.
pub(super) struct Ahead {
    batches: Receiver<Read>,
    /// None once the thread was seen to end.
    thread: Option<JoinHandle<()>>,
    bytes: u64,
    ends_block: bool,
}

impl Ahead {
    /// Hands `reader` to a new thread. When the result is dropped, the thread ends after the batch it is at.
    pub(super) fn start(mut reader: Box<dyn Batches + Send>) -> io::Result<Ahead> {
        let (sender, batches) = mpsc::sync_channel::<Read>(AHEAD_BATCHES);
        let thread = thread::Builder::new().name("read-rows".to_owned()).spawn(move || {
            loop {
                let (read, last) = match reader.next_batch() {
                    Ok(Some(batch)) => (Ok((batch, reader.bytes(), reader.ends_block())), false),
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
        })
    }
}

impl Batches for Ahead {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        match self.batches.recv() {
            Ok(Ok((batch, bytes, ends_block))) => {
                self.bytes = bytes;
                self.ends_block = ends_block;
                Ok(Some(batch))
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
}
