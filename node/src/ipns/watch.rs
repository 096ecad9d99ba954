//! Watching names: who wants to know at once that a better record of one is kept here, however it came.

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::Names;
use super::record::Name;

/// What has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A better record of this name is kept: a newer one, or one that says the same for longer.
    Of(Name),
    /// More than a watcher can be told of one by one: any name may have one.
    Many,
}

/// The names that change, one after the other. Made by [`Names::changes`].
pub struct Changes(broadcast::Receiver<Name>);

impl Changes {
    /// Waits for the next change. Nothing when every handle on the peer is gone.
    pub async fn next(&mut self) -> Option<Change> {
        match self.0.recv().await {
            Ok(name) => Some(Change::Of(name)),
            Err(RecvError::Lagged(_)) => Some(Change::Many),
            Err(RecvError::Closed) => None,
        }
    }
}

/// One name, watched. Made by [`Names::watch`].
pub struct Watch {
    name: Name,
    changes: Changes,
}

impl Watch {
    /// Waits until a better record of the name has been kept since the last call, or since the watch began; there may have
    /// been several. It can be read, by [`Names::status`] or by a resolution from memory, when this returns. False when every
    /// handle on the peer is gone.
    pub async fn changed(&mut self) -> bool {
        loop {
            match self.changes.next().await {
                Some(Change::Of(name)) if name != self.name => {}
                Some(_) => return true,
                None => return false,
            }
        }
    }
}

impl Names {
    /// Every name of which a better record is kept from now on: one that was published here, put by a peer, heard over
    /// PubSub, or found when the name was looked for. Names that were only looked up count, too.
    pub fn changes(&self) -> Changes {
        Changes(self.inner.states.changes())
    }

    /// As [`Self::changes`], of one name.
    pub fn watch(&self, name: &Name) -> Watch {
        Watch {
            name: *name,
            changes: self.changes(),
        }
    }
}
