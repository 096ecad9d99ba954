//! Blocks that are fetched before their turn.

use std::collections::HashMap;
use std::sync::Arc;

use cid::Cid;
use odf_doors::Seat;
use tokio::task::JoinHandle;

use super::asking::Asking;
use super::source::{Source, SourceError};
use crate::block::Block;

/// The most blocks of one answer that are fetched before their turn.
pub(super) const READ_AHEAD: usize = 8;

/// The blocks of one answer, the next ones on their way while one is sent.
pub(super) struct Ahead<S: Source> {
    pub(super) asking: Arc<Asking<S>>,
    running: HashMap<Cid, Running>,
}

/// A block on its way before its turn. Dropping it cancels the fetch.
struct Running {
    task: JoinHandle<Result<Block, SourceError>>,
    _room: Seat,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<S: Source> Ahead<S> {
    pub(super) fn new(asking: &Arc<Asking<S>>) -> Self {
        Self {
            asking: Arc::clone(asking),
            running: HashMap::new(),
        }
    }

    /// The block, while fetches of those that come after it begin, as far as the limits allow.
    pub(super) async fn block(&mut self, cid: &Cid, upcoming: impl Iterator<Item = Cid>) -> Result<Block, SourceError> {
        let early = self.running.remove(cid);
        self.begin(upcoming.take(READ_AHEAD).filter(|next| next != cid));
        let Some(mut early) = early else {
            return self.asking.block(cid).await;
        };
        match (&mut early.task).await {
            Ok(result) => result,
            Err(error) => Err(SourceError::Failed(format!("fetching {cid}: {error}"))),
        }
    }

    fn begin(&mut self, upcoming: impl Iterator<Item = Cid>) {
        for cid in upcoming {
            if self.running.contains_key(&cid) {
                continue;
            }
            let Some(room) = self.asking.ahead() else { return };
            let asking = Arc::clone(&self.asking);
            let task = tokio::spawn(async move { asking.block(&cid).await });
            self.running.insert(cid, Running { task, _room: room });
        }
    }
}
