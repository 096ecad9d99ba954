//! Where a dataset comes from.

use bytes::Bytes;
use odf_metadata::Multihash;

use super::arrival::Arrival;
use super::error::{ReceiveError, SourceError};
use super::progress::Listener;
use crate::Object;

/// Somewhere a dataset can be read. Bytes are given as they are found; the reader of this checks them. All calls are made
/// by threads that may block.
pub trait Source: Sync {
    /// Where it is, for messages.
    fn place(&self) -> &str;

    /// Hash of the newest metadata block; nothing if there is no dataset.
    ///
    /// # Errors
    /// It cannot be had, or is no hash.
    fn head(&self) -> Result<Option<Multihash>, SourceError>;

    /// The exact bytes of a metadata block, at most [`MAX_BLOCK_BYTES`](odf_metadata::codec::MAX_BLOCK_BYTES). They are
    /// asked for from the head on backwards, so a source that can have many at once fetches them when the first is asked
    /// for.
    ///
    /// # Errors
    /// It is missing, cannot be had, or is longer.
    fn block(&self, hash: &Multihash) -> Result<Bytes, SourceError>;

    /// Whether every metadata block costs a question over a network, so that those that came are worth keeping.
    fn is_far(&self) -> bool {
        false
    }

    /// Brings objects, each once, to where `arrival` wants them. When this returns each is complete, checked, synced and
    /// has its name; most sources leave that to [`Arrival::take`].
    ///
    /// # Errors
    /// An object is missing, cannot be had or is not what it should be. Those that were complete are kept.
    fn objects(&self, objects: &[Object], arrival: &Arrival, listener: &Listener<'_>) -> Result<(), ReceiveError>;
}

impl<S: Source + ?Sized> Source for &S {
    fn place(&self) -> &str {
        (**self).place()
    }

    fn head(&self) -> Result<Option<Multihash>, SourceError> {
        (**self).head()
    }

    fn block(&self, hash: &Multihash) -> Result<Bytes, SourceError> {
        (**self).block(hash)
    }

    fn is_far(&self) -> bool {
        (**self).is_far()
    }

    fn objects(&self, objects: &[Object], arrival: &Arrival, listener: &Listener<'_>) -> Result<(), ReceiveError> {
        (**self).objects(objects, arrival, listener)
    }
}
