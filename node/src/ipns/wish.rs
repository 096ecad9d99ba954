//! What the handle on names wants of the task that listens over PubSub.

use tokio::sync::oneshot;

use super::record::{Name, Record};

/// Wishes that wait. Whoever has one more waits.
pub(crate) const MAX_WISHES: usize = 256;

/// What the handle wants.
pub(crate) enum Wish {
    /// Listen to what is said of a name.
    Hear(Name),
    /// Listen no longer.
    Ignore(Name),
    /// Say a record, and listen to what is said of its name. The answer comes when it was said, or nobody was there to hear it.
    Say(Record, oneshot::Sender<()>),
}
