//! How far a transfer is, and its end if the listener wants it.

use std::ops::ControlFlow;

use crate::Object;

/// What a transfer is about to do or has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// Another metadata block was read.
    Block,
    /// It is known what has to be transferred.
    Planned {
        /// Metadata blocks.
        blocks: u64,
        /// Slices and checkpoints.
        objects: u64,
        /// Bytes of those.
        bytes: u64,
    },
    /// Bytes of slices and checkpoints were transferred.
    Bytes(u64),
}

impl Progress {
    /// What has to be transferred.
    pub fn planned(blocks: u64, objects: &[Object]) -> Self {
        Self::Planned {
            blocks,
            objects: objects.len() as u64,
            bytes: objects.iter().map(|object| object.size).fold(0, u64::saturating_add),
        }
    }
}

/// Hears how far a transfer is, from several threads, and can end it.
pub type Listener<'a> = dyn Fn(Progress) -> ControlFlow<()> + Sync + 'a;

/// A transfer was ended by its [`Listener`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interrupted")]
pub struct Cancelled;

/// Tells how far a transfer is.
///
/// # Errors
/// The listener wants it to stop.
pub fn tell(listener: &Listener<'_>, at: Progress) -> Result<(), Cancelled> {
    match listener(at) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Cancelled),
    }
}
