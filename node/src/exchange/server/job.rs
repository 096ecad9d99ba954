//! Reading the store for one message: the part of serving that may block.

use std::time::{Duration, Instant};

use cid::Cid;
use libp2p::PeerId;

use crate::block::{self, Block};
use crate::denylist::Denylist;
use crate::exchange::message::WantKind;
use crate::store::{Blocks, StoreError};

/// A wanted presence of a block this small is answered with the block.
pub(super) const INLINE_BYTES: usize = 1024;
/// A message is sent once its blocks reach this many bytes. With one more block of the largest size it stays below
/// the frame limit.
pub(super) const MESSAGE_BYTES: usize = 512 << 10;
/// The most wants answered in one message.
pub(super) const WANTS_PER_JOB: usize = 256;
/// A job that has taken this long answers with what it has, so that nobody waits long for a turn.
const JOB_TIME: Duration = Duration::from_millis(4);

/// A piece of work for a thread that may block.
#[derive(Debug)]
pub(in crate::exchange) struct Job {
    pub(super) peer: PeerId,
    /// Which connect of the peer this belongs to.
    pub(super) epoch: u64,
    pub(super) wants: Vec<(Cid, WantKind)>,
}

/// What a [`Job`] found.
#[derive(Debug)]
pub(in crate::exchange) struct Answered {
    pub(super) job: Job,
    pub(super) answers: Vec<Answer>,
}

#[derive(Debug)]
pub(super) enum Answer {
    Block(Block),
    Have,
    Missing,
    /// The message was full, or the time was up, before the store was asked.
    Unread,
}

impl Job {
    /// For whom it is done.
    pub(in crate::exchange) fn peer(&self) -> PeerId {
        self.peer
    }

    /// Reads the store until the message is full or the time is up; at least one want is looked up. A store error is
    /// logged and answered like a missing block, so that the peer asks elsewhere.
    ///
    /// What is denied is answered like a missing block, too.
    pub(in crate::exchange) fn run(self, store: &dyn Blocks, denylist: &Denylist) -> Answered {
        let began = Instant::now();
        let (mut answers, mut bytes) = (Vec::with_capacity(self.wants.len()), 0);
        for (cid, kind) in &self.wants {
            let over = bytes >= MESSAGE_BYTES || (!answers.is_empty() && began.elapsed() >= JOB_TIME);
            let answer = if over {
                Answer::Unread
            } else if denylist.denies(cid) {
                Answer::Missing
            } else {
                look_up(store, cid, *kind).unwrap_or_else(|error| {
                    tracing::warn!(%cid, %error, "a wanted block could not be read");
                    Answer::Missing
                })
            };
            if let Answer::Block(block) = &answer {
                bytes += block.data().len();
            }
            answers.push(answer);
        }
        Answered { job: self, answers }
    }
}

fn look_up(store: &dyn Blocks, cid: &Cid, kind: WantKind) -> Result<Answer, StoreError> {
    if let Some(block) = block::inherent(cid) {
        return Ok(Answer::Block(block));
    }
    if kind == WantKind::Have {
        match store.size(cid)? {
            None => return Ok(Answer::Missing),
            Some(size) if size > INLINE_BYTES => return Ok(Answer::Have),
            Some(_) => {}
        }
    }
    Ok(store.get(cid)?.map_or(Answer::Missing, Answer::Block))
}
