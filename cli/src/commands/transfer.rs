//! How far a transfer to or from a repository is, for the person who waits for it.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

use odf::receive::Progress as At;

use crate::io::{Cancel, Io, Progress, Step};
use crate::output;

/// Shows how far one transfer is, and ends it when the user wants to stop. Several threads may tell it.
pub(super) struct Watch {
    cancel: Cancel,
    progress: Progress,
    blocks: AtomicU64,
    done: AtomicU64,
    total: AtomicU64,
}

impl Watch {
    /// Nothing transferred yet.
    pub(super) fn new(io: &Io) -> Self {
        Self {
            cancel: io.cancel().clone(),
            progress: io.progress().clone(),
            blocks: AtomicU64::new(0),
            done: AtomicU64::new(0),
            total: AtomicU64::new(0),
        }
    }

    /// Takes the next piece of news.
    pub(super) fn hear(&self, at: At) -> ControlFlow<()> {
        match at {
            At::Block => {
                self.blocks.fetch_add(1, Ordering::Relaxed);
            }
            At::Planned { bytes, .. } => self.total.store(bytes, Ordering::Relaxed),
            At::Bytes(bytes) => {
                self.done.fetch_add(bytes, Ordering::Relaxed);
            }
            _ => {}
        }
        self.progress.show(|| self.step());
        if self.cancel.is_set() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    /// Bytes of slices and checkpoints so far.
    pub(super) fn bytes(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    fn step(&self) -> Step {
        let (done, total) = (self.bytes(), self.total.load(Ordering::Relaxed));
        let blocks = output::count(self.blocks.load(Ordering::Relaxed));
        Step {
            text: match total {
                0 => format!("{blocks} metadata block(s)"),
                _ => format!(
                    "{} of {}, {blocks} metadata block(s)",
                    output::bytes(done),
                    output::bytes(total)
                ),
            },
            done,
            total: (total > 0).then_some(total),
        }
    }
}
