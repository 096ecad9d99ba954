//! What asking a source came to, and how far it was read with that.

use std::path::Path;

use odf_metadata::{DEFAULT_SOURCE, SourceState, Timestamp};

use super::spool::Content;
use crate::source::Fingerprint;

/// Kind of a source state that holds an ETag, or the name of a file.
pub const KIND_ETAG: &str = "odf/etag";
/// Kind of a source state that holds a time.
pub const KIND_LAST_MODIFIED: &str = "odf/last-modified";

/// New data of a source, fetched and prepared. The file goes away with this, unless it is the source's own.
#[derive(Debug)]
pub struct Fetched {
    pub(super) content: Content,
    /// What messages call it: the URL as it stands in the source (so with secrets left as templates), or the path.
    pub name: String,
    /// Event time of rows that have none.
    pub event_time: Timestamp,
    /// How far the source was read with this; `None` if it does not say.
    pub state: Option<SourceState>,
    /// Whether the source has more, to be asked for once this was taken.
    pub has_more: bool,
    /// The file of the source as the state is of it, if that is what is read.
    pub seen: Option<Fingerprint>,
}

impl Fetched {
    /// The file that holds the data. It may be empty.
    pub fn path(&self) -> &Path {
        self.content.path()
    }
}

/// A source state that this module knows how to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Etag(String),
    LastModified(Timestamp),
}

impl State {
    /// What a block says; another kind, or a time that is none, is as if there were no state.
    pub(super) fn read(state: &SourceState) -> Option<State> {
        match state.kind.as_str() {
            KIND_ETAG => Some(State::Etag(state.value.clone())),
            KIND_LAST_MODIFIED => {
                let time = state.value.parse();
                if time.is_err() {
                    tracing::warn!(value = %state.value, "a source state holds no time and is ignored");
                }
                time.ok().map(State::LastModified)
            }
            kind => {
                tracing::debug!(kind, "a source state of another kind is ignored");
                None
            }
        }
    }

    pub(super) fn write(&self) -> SourceState {
        let (kind, value) = match self {
            State::Etag(value) => (KIND_ETAG, value.clone()),
            State::LastModified(time) => (KIND_LAST_MODIFIED, time.to_string()),
        };
        SourceState {
            source_name: DEFAULT_SOURCE.to_owned(),
            kind: kind.to_owned(),
            value,
        }
    }
}
