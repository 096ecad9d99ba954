//! Where a dataset comes from.

use std::path::Path;

use bytes::Bytes;
use odf_metadata::Multihash;

use super::arrival::Arrival;
use super::error::{ReceiveError, SourceError};
use super::progress::Listener;
use crate::{Dataset, Object};

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

    /// Brings as many of the metadata blocks that will be asked for next as it can in one go, if it can. Called when a walk
    /// turns out to be long. `local` is what is here of the dataset, as far as that is known; in the directory `aside` they
    /// may be put aside. That they could not be brought is no error: they are asked for one by one then.
    ///
    /// # Errors
    /// The listener wants it to stop, or they could not be put aside.
    fn bring_many(
        &self,
        _local: Option<&Dataset>,
        _aside: &Path,
        _listener: &Listener<'_>,
    ) -> Result<(), ReceiveError> {
        Ok(())
    }

    /// Whether the next metadata block costs a question over a network, so that one that came is worth keeping.
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

    fn bring_many(&self, local: Option<&Dataset>, aside: &Path, listener: &Listener<'_>) -> Result<(), ReceiveError> {
        (**self).bring_many(local, aside, listener)
    }

    fn is_far(&self) -> bool {
        (**self).is_far()
    }

    fn objects(&self, objects: &[Object], arrival: &Arrival, listener: &Listener<'_>) -> Result<(), ReceiveError> {
        (**self).objects(objects, arrival, listener)
    }
}
